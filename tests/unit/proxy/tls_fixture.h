/* Certificates for tests, made in memory: a CA, and leaves with the flaws a test asks for. */
#ifndef TLS_FIXTURE_H
#define TLS_FIXTURE_H

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

struct fixture_cert {
    X509 *cert;
    EVP_PKEY *key;
};

static inline void fixture_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (!e || !X509_add_ext(x, e, -1))
        abort();
    X509_EXTENSION_free(e);
}

/* issuer NULL: a self-signed CA. `san` like "DNS:a.test,IP:127.0.0.1". Valid from now + `from` to
 * now + `to` seconds. */
static inline struct fixture_cert fixture_make(const char *cn, const struct fixture_cert *issuer,
                                               const char *san, long from, long to)
{
    static long serial = 1;
    struct fixture_cert c = {X509_new(), EVP_EC_gen("P-256")};
    if (!c.cert || !c.key)
        abort();
    X509_set_version(c.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(c.cert), from);
    X509_gmtime_adj(X509_getm_notAfter(c.cert), to);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c.cert), "CN", MBSTRING_UTF8,
                               (const unsigned char *)cn, -1, -1, 0);
    X509 *by = issuer ? issuer->cert : c.cert;
    X509_set_issuer_name(c.cert, X509_get_subject_name(by));
    X509_set_pubkey(c.cert, c.key);
    fixture_ext(c.cert, by, NID_subject_key_identifier, "hash");
    if (issuer) {
        fixture_ext(c.cert, by, NID_authority_key_identifier, "keyid");
        fixture_ext(c.cert, by, NID_ext_key_usage, "serverAuth");
        fixture_ext(c.cert, by, NID_subject_alt_name, san);
    } else {
        fixture_ext(c.cert, by, NID_basic_constraints, "critical,CA:TRUE");
        fixture_ext(c.cert, by, NID_key_usage, "critical,keyCertSign");
    }
    if (!X509_sign(c.cert, issuer ? issuer->key : c.key, EVP_sha256()))
        abort();
    return c;
}

static inline void fixture_free(struct fixture_cert *c)
{
    X509_free(c->cert);
    EVP_PKEY_free(c->key);
}

/* PEM text, malloc'ed. */
static inline char *fixture_pem(X509 *x)
{
    BIO *b = BIO_new(BIO_s_mem());
    if (!b || !PEM_write_bio_X509(b, x))
        abort();
    char *p;
    long n = BIO_get_mem_data(b, &p);
    char *copy = strndup(p, (size_t)n);
    BIO_free(b);
    return copy;
}

static inline SSL_CTX *fixture_server_ctx(const struct fixture_cert *leaf)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx || SSL_CTX_use_certificate(ctx, leaf->cert) != 1 ||
        SSL_CTX_use_PrivateKey(ctx, leaf->key) != 1)
        abort();
    return ctx;
}

static inline SSL_CTX *fixture_client_ctx(const struct fixture_cert *ca)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx || !X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca->cert))
        abort();
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return ctx;
}

#endif
