/* Who we are to a server that asks for a certificate. The owner binds one to a host; keys hands it
 * over for a request that was allowed, as it does with a token, and it goes with the request. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include "proxy/upstream/upstream_int.h"

struct upstream_identity {
    unsigned refs;
    X509 *leaf;
    STACK_OF(X509) * chain; /* what stands behind the leaf */
    EVP_PKEY *key;
};

/* Keys here have no password; OpenSSL would ask for one on a terminal. */
static int no_password(char *dst, int cap, int writing, void *arg)
{
    (void)dst;
    (void)cap;
    (void)writing;
    (void)arg;
    return -1;
}

static bool read_pem(struct upstream_identity *id, struct gvm_str pem)
{
    BIO *certs = BIO_new_mem_buf(pem.p, (int)pem.n), *key = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509 *x;
    id->chain = sk_X509_new_null();
    if (certs && key && id->chain) {
        id->leaf = PEM_read_bio_X509(certs, NULL, no_password, NULL);
        while ((x = PEM_read_bio_X509(certs, NULL, no_password, NULL)) != NULL)
            if (sk_X509_push(id->chain, x) <= 0)
                X509_free(x);
        id->key = PEM_read_bio_PrivateKey(key, NULL, no_password, NULL);
    }
    BIO_free(certs);
    BIO_free(key);
    ERR_clear_error(); /* the end of the text is one */
    return id->leaf && id->key;
}

int upstream_identity_new(struct gvm_str pem, struct upstream_identity **ret, struct gvm_err *err)
{
    struct upstream_identity *id = gvm_calloc(1, sizeof *id);
    if (!id)
        return gvm_err_set(err, ENOMEM, "client certificate: out of memory");
    id->refs = 1;
    if (!read_pem(id, pem)) {
        upstream_identity_unref(id);
        return gvm_err_set(err, EINVAL, "the client certificate or its key cannot be read");
    }
    *ret = id;
    return 0;
}

struct upstream_identity *upstream_identity_ref(struct upstream_identity *id)
{
    if (id)
        id->refs++;
    return id;
}

void upstream_identity_unref(struct upstream_identity *id)
{
    if (!id || --id->refs)
        return;
    X509_free(id->leaf);
    sk_X509_pop_free(id->chain, X509_free);
    EVP_PKEY_free(id->key); /* wipes */
    free(id);
}

int identity_use(const struct upstream_identity *id, SSL *ssl, struct gvm_err *err)
{
    int ok = SSL_use_certificate(ssl, id->leaf);
    for (int i = 0; ok && i < sk_X509_num(id->chain); i++)
        ok = SSL_add1_chain_cert(ssl, sk_X509_value(id->chain, i));
    ok = ok && SSL_use_PrivateKey(ssl, id->key);
    ERR_clear_error();
    return ok ? 0 : gvm_err_set(err, EINVAL, "the client certificate cannot be used");
}
