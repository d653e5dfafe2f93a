/* Signing heads: the key text and id of the formats, and no head that contradicts an earlier one.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <openssl/sha.h>
#include "keys/keys_int.h"

static const uint8_t SEED[KEYS_SEED] = {9, 8, 7};

static void signature_verifies(void **state)
{
    (void)state;
    struct keys_signer s;
    struct gvm_m_sign head = {.size = 5, .root = {0xaa}};
    struct gvm_m_signed got;
    assert_int_equal(keys_signer_init(&s, SEED, "gvm.example/test", NULL), 0);
    assert_int_equal(keys_sign(&s, &head, NULL, 0, &got, NULL), 0);
    char root[45];
    gvm_b64(root, head.root, 32);
    struct gvm_buf text;
    gvm_buf_init(&text, 512);
    assert_int_equal(gvm_buf_addf(&text, "gvm.example/test\n5\n%s\n", root), 0);
    EVP_PKEY *pub = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, s.public_key, 32);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pub), 1);
    assert_int_equal(EVP_DigestVerify(ctx, got.signature, 64, gvm_buf_data(&text), text.len), 1);
    got.signature[3] ^= 1;
    assert_int_not_equal(EVP_DigestVerify(ctx, got.signature, 64, gvm_buf_data(&text), text.len),
                         1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pub);
    gvm_buf_done(&text);
    keys_signer_done(&s);
}

static void never_contradicts_itself(void **state)
{
    (void)state;
    struct keys_signer s;
    struct gvm_m_sign head = {.size = 10, .root = {1}};
    struct gvm_m_signed got;
    assert_int_equal(keys_signer_init(&s, SEED, "log", NULL), 0);
    assert_int_equal(keys_sign(&s, &head, NULL, 0, &got, NULL), 0);
    assert_int_equal(keys_sign(&s, &head, NULL, 0, &got, NULL), 0);
    head.root[0] = 2;
    assert_int_equal(keys_sign(&s, &head, NULL, 0, &got, NULL), -EPERM);
    head.size = 9;
    assert_int_equal(keys_sign(&s, &head, NULL, 0, &got, NULL), -EPERM);
    head.size = 11;
    assert_int_equal(keys_sign(&s, &head, NULL, 0, &got, NULL), -EPERM); /* it must be shown */
    keys_signer_done(&s);
}

/* ---- one head extends another ---- */

enum { LEAVES = 70 };

/* RFC 6962 section 2.1, word for word; leaf i of history `h` is a hash of its own. */
static void tree_hash(const uint8_t (*leaf)[32], size_t n, uint8_t ret[32])
{
    uint8_t in[65] = {1};
    size_t k = 1;
    if (n == 1) {
        memcpy(ret, leaf[0], 32);
        return;
    }
    while (2 * k < n)
        k *= 2;
    tree_hash(leaf, k, in + 1);
    tree_hash(leaf + k, n - k, in + 33);
    SHA256(in, sizeof in, ret);
}

/* The complete subtrees of [lo, hi), by trying. */
static size_t subtrees(const uint8_t (*leaf)[32], size_t lo, size_t hi, uint8_t (*ret)[32])
{
    size_t n = 0;
    while (lo < hi) {
        size_t width = 1;
        while (lo % (2 * width) == 0 && lo + 2 * width <= hi)
            width *= 2;
        tree_hash(leaf + lo, width, ret[n++]);
        lo += width;
    }
    return n;
}

static void extends(void **state)
{
    (void)state;
    static uint8_t leaf[LEAVES][32], fork[LEAVES][32], nodes[GVM_SIGN_NODES][32];
    for (size_t i = 0; i < LEAVES; i++)
        leaf[i][0] = fork[i][0] = (uint8_t)(i + 1);
    fork[3][9] = 1;
    for (size_t from = 1; from < LEAVES; from++) {
        for (size_t to = from + 1; to <= LEAVES; to++) {
            struct gvm_m_sign old = {.size = from}, now = {.size = to}, other = {.size = to};
            tree_hash(leaf, from, old.root);
            tree_hash(leaf, to, now.root);
            size_t n = subtrees(leaf, 0, from, nodes);
            n += subtrees(leaf, from, to, nodes + n);
            assert_true(keys_extends(&old, &now, nodes, n));
            assert_false(keys_extends(&old, &now, nodes, n - 1));
            assert_false(keys_extends(&old, &now, nodes, n + 1));
            for (size_t i = 0; i < n; i++) {
                nodes[i][31] ^= 1;
                assert_false(keys_extends(&old, &now, nodes, n));
                nodes[i][31] ^= 1;
            }
            if (from <= 3)
                continue;
            /* A history that went another way: honest about either end, it fits the other not. */
            tree_hash(fork, to, other.root);
            assert_false(keys_extends(&old, &other, nodes, n));
            n = subtrees(fork, 0, from, nodes);
            n += subtrees(fork, from, to, nodes + n);
            assert_false(keys_extends(&old, &other, nodes, n));
        }
    }
}

/* A signer that is started anew remembers, and what the log shows counts too. */
static void remembers(void **state)
{
    (void)state;
    struct keys_signer s;
    struct gvm_m_sign head = {.size = 10, .root = {1}}, other = {.size = 10, .root = {2}},
                      more = {.size = 12, .root = {3}};
    struct gvm_m_signed got;
    struct gvm_err err = {0};
    char self[] = "/tmp/gvm-signed-XXXXXX";
    int mine = mkstemp(self);
    assert_true(mine >= 0);
    assert_int_equal(keys_signer_init(&s, SEED, "log", NULL), 0);
    assert_int_equal(keys_signer_remember(&s, mine, &err), 0); /* empty: nothing was signed */
    assert_int_equal(keys_sign(&s, &head, NULL, 0, &got, NULL), 0);
    keys_signer_done(&s);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(keys_signer_init(&s, SEED, "log", NULL), 0);
        assert_int_equal(keys_signer_remember(&s, open(self, O_RDWR | O_CLOEXEC), &err), 0);
        assert_int_equal(keys_sign(&s, &other, NULL, 0, &got, NULL), -EPERM);
        other.size = 9;
        assert_int_equal(keys_sign(&s, &other, NULL, 0, &got, NULL), -EPERM);
        other.size = 10;
        assert_int_equal(keys_signer_known(&s, &other, NULL), -EPERM);
        assert_int_equal(keys_signer_known(&s, &head, NULL), 0);
        if (round)
            assert_int_equal(keys_signer_known(&s, &more, NULL), 0);
        assert_int_equal(keys_sign(&s, &head, NULL, 0, &got, NULL), round ? -EPERM : 0);
        keys_signer_done(&s);
    }
    /* No byte of it may change; zeros are a file that a power cut took. */
    for (off_t i = 0; i < 72; i++) {
        uint8_t byte;
        mine = open(self, O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(mine, &byte, 1, i), 1);
        byte ^= 4;
        assert_int_equal(pwrite(mine, &byte, 1, i), 1);
        assert_int_equal(keys_signer_init(&s, SEED, "log", NULL), 0);
        assert_int_equal(keys_signer_remember(&s, mine, &err), -EBADMSG);
        keys_signer_done(&s);
        byte ^= 4;
        assert_int_equal(pwrite(mine, &byte, 1, i), 1);
        close(mine);
    }
    assert_int_equal(truncate(self, 0), 0);
    assert_int_equal(truncate(self, 72), 0);
    assert_int_equal(keys_signer_init(&s, SEED, "log", NULL), 0);
    assert_int_equal(keys_signer_remember(&s, open(self, O_RDWR | O_CLOEXEC), &err), 0);
    assert_false(s.signed_before);
    keys_signer_done(&s);
    (void)unlink(self);
}

static void key_text(void **state)
{
    (void)state;
    struct gvm_buf out;
    gvm_buf_init(&out, 512);
    assert_int_equal(gvm_keys_verifier(SEED, "gvm.example/test", &out, NULL), 0);
    assert_int_equal(strncmp(gvm_buf_cstr(&out), "gvm.example/test+", 17), 0);
    assert_int_equal(out.len, 17 + 8 + 1 + GVM_B64_LEN(33));
    assert_int_equal(gvm_buf_cstr(&out)[26], 'A'); /* 0x01 first */
    gvm_buf_done(&out);
    struct keys_signer s;
    assert_int_equal(keys_signer_init(&s, SEED, "with space", NULL), -EINVAL);
    assert_int_equal(keys_signer_init(&s, SEED, "with+plus", NULL), -EINVAL);
    assert_int_equal(keys_signer_init(&s, SEED, "", NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signature_verifies),
        cmocka_unit_test(never_contradicts_itself),
        cmocka_unit_test(extends),
        cmocka_unit_test(remembers),
        cmocka_unit_test(key_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
