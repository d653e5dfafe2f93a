/* Run CAs: leaves verify for their name and no other, sealing keeps a CA whole and nobody else's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <cmocka.h>
#include <openssl/x509v3.h>
#include "keys/keys_int.h"

static const char RUN[] = "20260101T000000-abcdef";

struct leaf {
    X509 *cert, *ca;
    EVP_PKEY *key;
};

static struct leaf make_leaf(struct keys_ca *ca, const char *host)
{
    struct gvm_m_leaf_cert n;
    struct gvm_buf out;
    gvm_buf_init(&out, GVM_MAX_FRAME);
    assert_int_equal(keys_ca_leaf(ca, host, &n, &out, NULL), 0);
    assert_int_equal(out.len, n.cert_len + n.key_len + n.ca_len);
    const uint8_t *p = gvm_buf_data(&out), *key = p + n.cert_len, *issuer = key + n.key_len;
    struct leaf l = {.cert = d2i_X509(NULL, &p, n.cert_len),
                     .key = d2i_AutoPrivateKey(NULL, &key, n.key_len),
                     .ca = d2i_X509(NULL, &issuer, n.ca_len)};
    assert_non_null(l.cert);
    assert_non_null(l.key);
    assert_non_null(l.ca);
    gvm_buf_wipe(&out);
    return l;
}

static void free_leaf(struct leaf *l)
{
    X509_free(l->cert);
    X509_free(l->ca);
    EVP_PKEY_free(l->key);
}

/* What a strict client does: chain, dates, purpose and name. */
static int verify(const struct leaf *l, X509 *anchor, const char *name, const char *ip)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, anchor);
    X509_STORE_CTX_init(ctx, store, l->cert, NULL);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
    if (name)
        X509_VERIFY_PARAM_set1_host(param, name, 0);
    if (ip)
        X509_VERIFY_PARAM_set1_ip_asc(param, ip);
    int ok = X509_verify_cert(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return ok;
}

static void leaf_is_for_its_name(void **state)
{
    (void)state;
    struct keys_ca *ca = NULL;
    assert_int_equal(keys_ca_new(RUN, &ca, NULL), 0);
    struct leaf l = make_leaf(ca, "api.example.com");
    assert_int_equal(verify(&l, l.ca, "api.example.com", NULL), 1);
    assert_int_not_equal(verify(&l, l.ca, "other.example.com", NULL), 1);
    assert_int_not_equal(verify(&l, l.ca, "example.com", NULL), 1);
    assert_int_equal(X509_check_private_key(l.cert, l.key), 1);
    free_leaf(&l);
    keys_ca_free(ca);
}

static void leaf_for_addresses_and_long_names(void **state)
{
    (void)state;
    char name[200];
    struct keys_ca *ca = NULL;
    assert_int_equal(keys_ca_new(RUN, &ca, NULL), 0);
    struct leaf v4 = make_leaf(ca, "203.0.113.7"), v6 = make_leaf(ca, "2001:db8::7");
    assert_int_equal(verify(&v4, v4.ca, NULL, "203.0.113.7"), 1);
    assert_int_equal(verify(&v6, v6.ca, NULL, "2001:db8::7"), 1);
    assert_int_not_equal(verify(&v6, v6.ca, NULL, "2001:db8::8"), 1);
    for (size_t i = 0; i < sizeof name - 1; i++)
        name[i] = i % 50 == 49 ? '.' : 'a';
    name[sizeof name - 1] = 0;
    name[sizeof name - 2] = 'z';
    struct leaf l = make_leaf(ca, name);
    assert_int_equal(verify(&l, l.ca, name, NULL), 1);
    free_leaf(&v4);
    free_leaf(&v6);
    free_leaf(&l);
    keys_ca_free(ca);
}

static int extensions(const struct leaf *l)
{
    return X509_get_ext_count(l->cert);
}

/* Leaves share their making: nothing of one may be in the next. */
static void leaves_do_not_mix(void **state)
{
    (void)state;
    struct keys_ca *ca = NULL;
    assert_int_equal(keys_ca_new(RUN, &ca, NULL), 0);
    struct leaf a = make_leaf(ca, "a.example"), b = make_leaf(ca, "203.0.113.7"),
                c = make_leaf(ca, "c.example");
    assert_int_equal(verify(&a, a.ca, "a.example", NULL), 1);
    assert_int_equal(verify(&b, b.ca, NULL, "203.0.113.7"), 1);
    assert_int_equal(verify(&c, c.ca, "c.example", NULL), 1);
    assert_int_not_equal(verify(&c, c.ca, "a.example", NULL), 1);
    assert_int_not_equal(verify(&c, c.ca, NULL, "203.0.113.7"), 1);
    assert_int_equal(extensions(&a), 6);
    assert_int_equal(extensions(&c), 6);
    assert_int_equal(X509_NAME_entry_count(X509_get_subject_name(c.cert)), 1);
    assert_int_not_equal(
        ASN1_INTEGER_cmp(X509_get0_serialNumber(a.cert), X509_get0_serialNumber(c.cert)), 0);
    /* notBefore in the past, a week at most, never beyond the CA. */
    int days = 0, seconds = 0;
    assert_int_equal(ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(c.cert), NULL), 1);
    assert_true(days == 0 && seconds >= 3500);
    assert_int_equal(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(c.cert)), 1);
    assert_true(days >= 6 && days <= 7);
    assert_true(ASN1_TIME_compare(X509_get0_notAfter(c.cert), X509_get0_notAfter(c.ca)) < 0);
    free_leaf(&a);
    free_leaf(&b);
    free_leaf(&c);
    keys_ca_free(ca);
}

static void not_a_host_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "a,DNS:evil.com", "a b", "A.com", "a\n", "*.com", "a/b"};
    struct gvm_m_leaf_cert n;
    struct gvm_buf out;
    struct keys_ca *ca = NULL;
    assert_int_equal(keys_ca_new(RUN, &ca, NULL), 0);
    gvm_buf_init(&out, GVM_MAX_FRAME);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(keys_ca_leaf(ca, bad[i], &n, &out, NULL), -EINVAL);
    gvm_buf_done(&out);
    keys_ca_free(ca);
}

static void cas_do_not_vouch_for_each_other(void **state)
{
    (void)state;
    struct keys_ca *a = NULL, *b = NULL;
    assert_int_equal(keys_ca_new("run-a", &a, NULL), 0);
    assert_int_equal(keys_ca_new("run-b", &b, NULL), 0);
    struct leaf of_a = make_leaf(a, "x.com"), of_b = make_leaf(b, "x.com");
    assert_int_not_equal(verify(&of_a, of_b.ca, "x.com", NULL), 1);
    free_leaf(&of_a);
    free_leaf(&of_b);
    keys_ca_free(a);
    keys_ca_free(b);
}

static void sealed_comes_back_whole(void **state)
{
    (void)state;
    static const uint8_t key[KEYS_SEED] = {1, 2, 3}, other[KEYS_SEED] = {4};
    struct gvm_buf plain, sealed, back;
    struct keys_ca *ca = NULL, *again = NULL;
    gvm_buf_init(&plain, 16384);
    gvm_buf_init(&sealed, 16384);
    gvm_buf_init(&back, 16384);
    assert_int_equal(keys_ca_new(RUN, &ca, NULL), 0);
    assert_int_equal(keys_ca_export(ca, &plain, NULL), 0);
    assert_int_equal(keys_seal(key, RUN, gvm_buf_str(&plain), &sealed, NULL), 0);
    assert_int_equal(keys_unseal(key, RUN, gvm_buf_str(&sealed), &back, NULL), 0);
    assert_int_equal(keys_ca_import(RUN, gvm_buf_str(&back), &again, NULL), 0);
    struct leaf before = make_leaf(ca, "x.com"), after = make_leaf(again, "x.com");
    assert_int_equal(verify(&after, before.ca, "x.com", NULL), 1);
    gvm_buf_reset(&back);
    assert_int_equal(keys_unseal(key, "another-run", gvm_buf_str(&sealed), &back, NULL), -EBADMSG);
    assert_int_equal(keys_unseal(other, RUN, gvm_buf_str(&sealed), &back, NULL), -EBADMSG);
    for (size_t i = 0; i < sealed.len; i += 7) {
        gvm_buf_data(&sealed)[i] ^= 1;
        assert_int_equal(keys_unseal(key, RUN, gvm_buf_str(&sealed), &back, NULL), -EBADMSG);
        gvm_buf_data(&sealed)[i] ^= 1;
    }
    free_leaf(&before);
    free_leaf(&after);
    gvm_buf_wipe(&plain);
    gvm_buf_done(&sealed);
    gvm_buf_wipe(&back);
    keys_ca_free(ca);
    keys_ca_free(again);
}

static void broken_blobs_are_refused(void **state)
{
    (void)state;
    struct keys_ca *ca = NULL, *again = NULL;
    struct gvm_buf plain;
    gvm_buf_init(&plain, 16384);
    assert_int_equal(keys_ca_new(RUN, &ca, NULL), 0);
    assert_int_equal(keys_ca_export(ca, &plain, NULL), 0);
    for (size_t n = 0; n < plain.len; n += 13)
        assert_int_equal(
            keys_ca_import(RUN, (struct gvm_str){gvm_buf_str(&plain).p, n}, &again, NULL),
            -EBADMSG);
    gvm_buf_wipe(&plain);
    keys_ca_free(ca);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaf_is_for_its_name),
        cmocka_unit_test(leaf_for_addresses_and_long_names),
        cmocka_unit_test(leaves_do_not_mix),
        cmocka_unit_test(not_a_host_is_refused),
        cmocka_unit_test(cas_do_not_vouch_for_each_other),
        cmocka_unit_test(sealed_comes_back_whole),
        cmocka_unit_test(broken_blobs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
