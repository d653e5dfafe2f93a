/* Credentials: by host only, by policy only, never for an unverified peer. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "keys/keys_int.h"

static const char SET[] =
    "{\"credentials\":["
    "{\"host\":\"api.a.com\",\"type\":\"Bearer\",\"header\":\"authorization\",\"value\":\"secret-"
    "a\","
    "\"private\":false},"
    "{\"host\":\"api.b.com\",\"type\":\"ApiKey\",\"header\":\"x-b-key\",\"value\":\"secret-b\","
    "\"private\":true}]}";

static const char *ask(const struct keys_creds *c, uint32_t policy, bool tls, const char *host,
                       struct gvm_buf *out)
{
    struct gvm_m_cred m = {.policy = policy, .tls = tls};
    (void)snprintf(m.host, sizeof m.host, "%s", host);
    gvm_buf_reset(out);
    assert_int_equal(keys_creds_answer(c, &m, out, NULL), 0);
    return gvm_buf_cstr(out);
}

static const char NONE[] = "{\"remove\":[],\"set\":[]}";

static void given_by_host_and_policy(void **state)
{
    (void)state;
    struct gvm_buf out;
    struct keys_creds *c = keys_creds_new();
    gvm_buf_init(&out, 4096);
    assert_int_equal(keys_creds_load(c, 7, GVM_STR(SET), NULL), 0);
    assert_non_null(
        strstr(ask(c, 7, true, "api.a.com", &out), "[\"authorization\",\"Bearer secret-a\"]"));
    assert_non_null(strstr(ask(c, 7, true, "api.a.com", &out), "\"remove\":[\"authorization\""));
    assert_non_null(strstr(ask(c, 7, true, "api.b.com", &out), "[\"x-b-key\",\"secret-b\"]"));
    assert_string_equal(ask(c, 7, true, "api.c.com", &out), NONE);
    assert_string_equal(ask(c, 7, true, "api.a.com.evil.com", &out), NONE);
    assert_string_equal(ask(c, 8, true, "api.a.com", &out), NONE);
    gvm_buf_wipe(&out);
    keys_creds_free(c);
}

static void plain_peers_get_private_ones_only(void **state)
{
    (void)state;
    struct gvm_buf out;
    struct keys_creds *c = keys_creds_new();
    gvm_buf_init(&out, 4096);
    assert_int_equal(keys_creds_load(c, 1, GVM_STR(SET), NULL), 0);
    assert_string_equal(ask(c, 1, false, "api.a.com", &out), NONE);
    assert_non_null(strstr(ask(c, 1, false, "api.b.com", &out), "secret-b"));
    gvm_buf_wipe(&out);
    keys_creds_free(c);
}

static void a_broken_set_leaves_the_old_one(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{",
        "{\"credentials\":[{\"host\":\"\",\"type\":\"Bearer\",\"value\":\"x\"}]}",
        "{\"credentials\":[{\"host\":\"h\",\"type\":\"Basic\",\"value\":\"x\"}]}",
        "{\"credentials\":[{\"host\":\"h\",\"type\":\"Bearer\",\"value\":\"\"}]}",
        "{\"credentials\":[{\"host\":\"h\",\"type\":\"Bearer\",\"value\":\"a\\r\\nEvil: 1\"}]}",
    };
    struct gvm_buf out;
    struct keys_creds *c = keys_creds_new();
    gvm_buf_init(&out, 4096);
    assert_int_equal(keys_creds_load(c, 1, GVM_STR(SET), NULL), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_true(keys_creds_load(c, 1, gvm_str(bad[i]), NULL) < 0);
        assert_non_null(strstr(ask(c, 1, true, "api.a.com", &out), "secret-a"));
    }
    assert_int_equal(keys_creds_load(c, 1, GVM_STR("{\"credentials\":[]}"), NULL), 0);
    assert_string_equal(ask(c, 1, true, "api.a.com", &out), NONE);
    gvm_buf_wipe(&out);
    keys_creds_free(c);
}

/* ---- client certificates ---- */

/* PEM of a certificate of `key` and of `shown`, which may be another one, as JSON writes it. */
static void make_pem(EVP_PKEY *key, EVP_PKEY *shown, struct gvm_buf *out)
{
    X509 *x = X509_new();
    BIO *b = BIO_new(BIO_s_mem());
    char *text = NULL;
    assert_true(x && b && X509_set_pubkey(x, key) && X509_gmtime_adj(X509_getm_notBefore(x), 0) &&
                X509_gmtime_adj(X509_getm_notAfter(x), 60) && X509_sign(x, key, EVP_sha256()));
    assert_true(PEM_write_bio_X509(b, x) &&
                PEM_write_bio_PrivateKey(b, shown, NULL, NULL, 0, NULL, NULL));
    long n = BIO_get_mem_data(b, &text);
    gvm_buf_reset(out);
    for (long i = 0; i < n; i++)
        if (text[i] == '\n')
            gvm_buf_addz(out, "\\n");
        else
            gvm_buf_addc(out, text[i]);
    BIO_free(b);
    X509_free(x);
}

static int load_certificate(struct keys_creds *c, const char *pem, struct gvm_err *err)
{
    struct gvm_buf set;
    gvm_buf_init(&set, 65536);
    gvm_buf_addf(&set,
                 "{\"credentials\":[{\"host\":\"a.com\",\"type\":\"ClientCertificate\","
                 "\"identity\":\"%s\",\"private\":true},{\"host\":\"b.com\",\"type\":\"Bearer\","
                 "\"value\":\"t\",\"identity\":\"%s\",\"private\":true}]}",
                 pem, pem);
    int r = keys_creds_load(c, 1, gvm_buf_str(&set), err);
    gvm_buf_wipe(&set);
    return r;
}

static void certificates_go_to_tls_only(void **state)
{
    (void)state;
    struct gvm_buf out, pem;
    struct gvm_err err = {0};
    struct keys_creds *c = keys_creds_new();
    EVP_PKEY *one = EVP_EC_gen("P-256"), *two = EVP_EC_gen("P-256");
    assert_true(one && two);
    gvm_buf_init(&out, 65536);
    gvm_buf_init(&pem, 65536);
    make_pem(one, one, &pem);
    assert_int_equal(load_certificate(c, gvm_buf_cstr(&pem), &err), 0);
    const char *said = ask(c, 1, true, "a.com", &out);
    assert_non_null(strstr(said, gvm_buf_cstr(&pem)));
    assert_non_null(strstr(said, "{\"remove\":[],\"set\":[],\"identity\":"));
    said = ask(c, 1, true, "b.com", &out);
    assert_non_null(strstr(said, "BEGIN PRIVATE KEY"));
    assert_non_null(strstr(said, "Bearer t"));
    assert_string_equal(ask(c, 1, true, "c.com", &out), NONE);
    assert_string_equal(ask(c, 1, false, "a.com", &out), NONE);
    assert_null(strstr(ask(c, 1, false, "b.com", &out), "PRIVATE"));
    /* What does not belong together is refused, and the old set stays. */
    make_pem(one, two, &pem);
    assert_int_equal(load_certificate(c, gvm_buf_cstr(&pem), &err), -EKEYREJECTED);
    assert_non_null(strstr(err.text, "do not belong together"));
    assert_int_equal(load_certificate(c, "-----BEGIN CERTIFICATE-----", NULL), -EKEYREJECTED);
    assert_int_equal(load_certificate(c, "", NULL), -EINVAL);
    assert_non_null(strstr(ask(c, 1, true, "a.com", &out), "BEGIN PRIVATE KEY"));
    gvm_buf_wipe(&out);
    gvm_buf_wipe(&pem);
    EVP_PKEY_free(one);
    EVP_PKEY_free(two);
    keys_creds_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_by_host_and_policy),
        cmocka_unit_test(certificates_go_to_tls_only),
        cmocka_unit_test(plain_peers_get_private_ones_only),
        cmocka_unit_test(a_broken_set_leaves_the_old_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
