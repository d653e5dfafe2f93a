/* Changes of key: each voucher leads one step on, in one direction, and only when the old key
 * signed it. */
#include "ledger_test.h"

static const uint8_t seeds[4][32] = {{1}, {2}, {3}, {4}};

static struct gvm_vkey key_of(unsigned i)
{
    struct gvm_vkey k;
    assert_int_equal(gvm_vkey_from_seed(seeds[i], ORIGIN, &k, NULL), 0);
    return k;
}

static void add(struct gvm_buf *b, unsigned from, unsigned to)
{
    assert_int_equal(gvm_voucher_make(seeds[from], seeds[to], ORIGIN, b, NULL), 0);
}

static int follow(unsigned first, const struct gvm_buf *b, struct gvm_keychain *ret)
{
    struct gvm_vkey k = key_of(first);
    return gvm_keychain_follow(&k, gvm_buf_str(b), ret, NULL);
}

static void test_follow(void **state)
{
    struct gvm_keychain c;
    struct gvm_buf b;
    gvm_buf_init(&b, GVM_MAX_VOUCHERS);
    assert_int_equal(follow(0, &b, &c), 0);
    assert_int_equal(c.n, 1);
    add(&b, 0, 1);
    add(&b, 1, 2);
    add(&b, 2, 3);
    for (unsigned first = 0; first < 4; first++) {
        assert_int_equal(follow(first, &b, &c), 0);
        assert_int_equal(c.n, 4 - first);
        assert_memory_equal(c.key[c.n - 1].key, key_of(3).key, 32);
    }
    gvm_buf_done(&b);
}

static void test_refused(void **state)
{
    static const unsigned bad[][4][2] = {
        {{0, 1}, {0, 2}}, /* two from one */
        {{0, 1}, {2, 3}}, /* a gap */
        {{0, 1}, {1, 0}}, /* back */
        {{0, 1}, {1, 2}, {2, 1}},
    };
    struct gvm_keychain c;
    struct gvm_buf b;
    gvm_buf_init(&b, GVM_MAX_VOUCHERS);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        gvm_buf_reset(&b);
        for (unsigned k = 0; k < 4 && bad[i][k][0] != bad[i][k][1]; k++)
            add(&b, bad[i][k][0], bad[i][k][1]);
        assert_true(follow(0, &b, &c) < 0);
    }
    gvm_buf_reset(&b);
    assert_true(gvm_voucher_make(seeds[0], seeds[0], ORIGIN, &b, NULL) == 0);
    assert_true(follow(0, &b, &c) < 0); /* for itself */
    gvm_buf_reset(&b);
    assert_int_equal(gvm_voucher_make(seeds[0], seeds[1], "another.test", &b, NULL), 0);
    assert_int_equal(follow(0, &b, &c), 0); /* of another log: not ours to follow */
    assert_int_equal(c.n, 1);
    gvm_buf_done(&b);
}

/* Any byte changed: never a way to another key. */
static void test_every_flip(void **state)
{
    struct gvm_keychain c;
    struct gvm_buf b;
    gvm_buf_init(&b, GVM_MAX_VOUCHERS);
    add(&b, 0, 1);
    add(&b, 1, 2);
    uint8_t *p = gvm_buf_data(&b);
    for (size_t i = 0; i < b.len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            p[i] ^= (uint8_t)(1u << bit);
            if (follow(0, &b, &c) == 0 && c.n > 1)
                fail_msg("byte %zu, bit %u: %u keys", i, bit, c.n);
            p[i] ^= (uint8_t)(1u << bit);
        }
    }
    /* A voucher somebody else signed in the old key's name. */
    gvm_buf_reset(&b);
    add(&b, 0, 1);
    struct gvm_str text = gvm_buf_str(&b);
    char forged[2048];
    ptrdiff_t blank = (const char *)memmem(text.p, text.n, "\n\n", 2) - text.p;
    uint8_t sig[64];
    size_t n = 64;
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seeds[3], 32);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey), 1);
    assert_int_equal(EVP_DigestSign(ctx, sig, &n, (const uint8_t *)text.p, (size_t)blank + 1), 1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    uint8_t blob[68];
    char b64[GVM_B64_LEN(68) + 1];
    memcpy(blob, key_of(0).id, 4);
    memcpy(blob + 4, sig, 64);
    gvm_b64(b64, blob, sizeof blob);
    (void)snprintf(forged, sizeof forged, "%.*s\n\n\u2014 %s %s\n", (int)blank, text.p, ORIGIN,
                   b64);
    gvm_buf_reset(&b);
    assert_int_equal(gvm_buf_addz(&b, forged), 0);
    assert_int_equal(follow(0, &b, &c), -EKEYREJECTED);
    gvm_buf_done(&b);
}

/* A head is known under whichever key of the chain signed it. */
static void test_heads(void **state)
{
    struct gvm_keychain c;
    struct gvm_buf b, note;
    struct gvm_checkpoint cp;
    unsigned by = 9;
    gvm_buf_init(&b, GVM_MAX_VOUCHERS);
    gvm_buf_init(&note, 4096);
    add(&b, 0, 1);
    assert_int_equal(follow(0, &b, &c), 0);
    for (unsigned i = 0; i < 3; i++) {
        struct gvm_m_sign head = {.size = 5};
        struct gvm_m_signed s = sign_as(seeds[i], ORIGIN, &head);
        uint8_t blob[68];
        char b64[GVM_B64_LEN(68) + 1], root[GVM_B64_LEN(32) + 1];
        memcpy(blob, s.key_id, 4);
        memcpy(blob + 4, s.signature, 64);
        gvm_b64(b64, blob, sizeof blob);
        gvm_b64(root, head.root, 32);
        gvm_buf_reset(&note);
        gvm_buf_addf(&note, "%s\n5\n%s\n\n\u2014 %s %s\n", ORIGIN, root, ORIGIN, b64);
        int r = gvm_keychain_open(gvm_buf_str(&note), &c, &cp, &by, NULL);
        assert_int_equal(r, i < 2 ? 0 : -EKEYREJECTED);
        if (i < 2)
            assert_int_equal(by, i);
    }
    gvm_buf_done(&b);
    gvm_buf_done(&note);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_every_flip),
        cmocka_unit_test(test_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
