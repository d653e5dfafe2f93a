/* ca.c - one certificate authority per run, and its leaves (RFC 5280).
 *
 * CA: P-256, CN "GVM run CA <run>", pathlen 0, from an hour ago for 30 days. Leaf: one P-256 key
 * per run, the host as the only subjectAltName, serverAuth, at most 7 days and never beyond the CA.
 * notBefore lies in the past so that a slow clock inside does not refuse it.
 */
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include "keys/keys_int.h"

enum { HOUR = 3600, DAY = 24 * HOUR, CA_LIFE = 30 * DAY, LEAF_LIFE = 7 * DAY, MAX_DER = 8192 };

struct keys_ca {
    char run[GVM_MAX_RUN_ID + 1];
    EVP_PKEY *key, *leaf_key;
    X509 *cert;
    X509 *blank; /* the last leaf: the next differs in serial, dates and name only */
    /* What every leaf is sent with, as DER. Encoding a key anew takes longer than signing. */
    uint8_t *leaf_key_der, *cert_der;
    int leaf_key_len, cert_len;
};

void keys_ca_free(struct keys_ca *ca)
{
    if (!ca)
        return;
    EVP_PKEY_free(ca->key);
    EVP_PKEY_free(ca->leaf_key);
    X509_free(ca->cert);
    X509_free(ca->blank);
    OPENSSL_clear_free(ca->leaf_key_der, (size_t)ca->leaf_key_len);
    OPENSSL_free(ca->cert_der);
    free(ca);
}

static void free_ca(struct keys_ca **ca)
{
    keys_ca_free(*ca);
}
static void free_cert(X509 **x)
{
    X509_free(*x);
}

static int add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    int ok = e && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok ? 0 : -EIO;
}

static int set_serial(X509 *x)
{
    uint8_t bytes[16];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return -EIO;
    bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive, of full length */
    BIGNUM *n = BN_bin2bn(bytes, sizeof bytes, NULL);
    int ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok ? 0 : -EIO;
}

static int set_name(X509 *x, const char *cn)
{
    X509_NAME *name = X509_get_subject_name(x);
    int ok = X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0);
    return ok == 1 ? 0 : -EIO;
}

/* Serial and validity: what is new in each certificate. */
static int renew(X509 *x, int life)
{
    if (set_serial(x) < 0 || !X509_gmtime_adj(X509_getm_notBefore(x), -HOUR) ||
        !X509_gmtime_adj(X509_getm_notAfter(x), life))
        return -EIO;
    return 0;
}

/* ---- keys as DER ----
 *
 * OpenSSL's encoders take hundreds of microseconds a key, longer than making and signing it, and
 * every start of a run waits for three of them. The encodings of a P-256 key have fixed lengths, so
 * only the numbers are filled in. */

enum { SCALAR = 32, POINT = 1 + 2 * SCALAR };

/* The public key, uncompressed (SEC 1, 2.3.3). */
static int get_point(const EVP_PKEY *key, uint8_t point[POINT])
{
    size_t n = 0;
    int ok = EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, POINT, &n);
    return ok == 1 && n == POINT && point[0] == 4 ? 0 : -EIO;
}

static int get_scalar(const EVP_PKEY *key, uint8_t scalar[SCALAR])
{
    BIGNUM *n = NULL;
    int ok = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &n) == 1 &&
             BN_bn2binpad(n, scalar, SCALAR) == SCALAR;
    BN_clear_free(n);
    return ok ? 0 : -EIO;
}

/* SubjectPublicKeyInfo (RFC 5480). */
static int set_public_key(X509 *x, const EVP_PKEY *key)
{
    uint8_t *point = OPENSSL_malloc(POINT);
    int ok =
        point && get_point(key, point) == 0 &&
        X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(x), OBJ_nid2obj(NID_X9_62_id_ecPublicKey),
                               V_ASN1_OBJECT, OBJ_nid2obj(NID_X9_62_prime256v1), point, POINT) == 1;
    if (!ok)
        OPENSSL_free(point);
    return ok ? 0 : -EIO;
}

/* PKCS#8 (RFC 5208) around an ECPrivateKey (RFC 5915), because every library reads it. Returns its
 * length, to be wiped and freed by the caller; 0 on failure. */
static int key_der(const EVP_PKEY *key, uint8_t **ret)
{
    static const uint8_t head[] = {
        0x30, 0x81, 0x87, 0x02, 0x01, 0x00,                               /* version 0 */
        0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, /* ecPublicKey */
        0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,       /* prime256v1 */
        0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20};            /* version 1, scalar */
    static const uint8_t middle[] = {0xa1, 0x44, 0x03, 0x42, 0x00};       /* [1] public key */
    const size_t n = sizeof head + SCALAR + sizeof middle + POINT;
    uint8_t *der = OPENSSL_malloc(n), *p = der;
    if (!der || get_scalar(key, p + sizeof head) < 0 ||
        get_point(key, p + sizeof head + SCALAR + sizeof middle) < 0) {
        OPENSSL_clear_free(der, n);
        return 0;
    }
    memcpy(p, head, sizeof head);
    memcpy(p + sizeof head + SCALAR, middle, sizeof middle);
    *ret = der;
    return (int)n;
}

/* Version and key too: what both kinds share. */
static X509 *begin(EVP_PKEY *key, int life)
{
    X509 *x = X509_new();
    if (!x || X509_set_version(x, X509_VERSION_3) != 1 || renew(x, life) < 0 ||
        set_public_key(x, key) < 0) {
        X509_free(x);
        return NULL;
    }
    return x;
}

static int make_cert(struct keys_ca *ca)
{
    char cn[64];
    (void)snprintf(cn, sizeof cn, "GVM run CA %s", ca->run);
    GVM_CLEANUP(free_cert) X509 *x = begin(ca->key, CA_LIFE);
    if (!x || set_name(x, cn) < 0 || X509_set_issuer_name(x, X509_get_subject_name(x)) != 1 ||
        add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") < 0 ||
        add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") < 0 ||
        add_extension(x, x, NID_subject_key_identifier, "hash") < 0 ||
        X509_sign(x, ca->key, EVP_sha256()) == 0)
        return -EIO;
    ca->cert = gvm_steal_ptr(&x);
    return 0;
}

static struct keys_ca *allocate(const char *run)
{
    struct keys_ca *ca = gvm_calloc(1, sizeof *ca);
    if (ca && gvm_str_copy(ca->run, sizeof ca->run, gvm_str(run)) < 0) {
        keys_ca_free(ca);
        return NULL;
    }
    return ca;
}

/* A leaf with everything but a name. */
static X509 *make_blank(struct keys_ca *ca)
{
    GVM_CLEANUP(free_cert) X509 *x = begin(ca->leaf_key, LEAF_LIFE);
    if (!x || X509_set_issuer_name(x, X509_get_subject_name(ca->cert)) != 1 ||
        add_extension(x, ca->cert, NID_basic_constraints, "critical,CA:FALSE") < 0 ||
        add_extension(x, ca->cert, NID_key_usage, "critical,digitalSignature") < 0 ||
        add_extension(x, ca->cert, NID_ext_key_usage, "serverAuth") < 0 ||
        add_extension(x, ca->cert, NID_subject_key_identifier, "hash") < 0 ||
        add_extension(x, ca->cert, NID_authority_key_identifier, "keyid:always") < 0)
        return NULL;
    return gvm_steal_ptr(&x);
}

/* Before the first leaf, not before the run starts: many runs never need one. */
static int prepare_leaves(struct keys_ca *ca)
{
    if (!ca->leaf_key)
        ca->leaf_key = EVP_EC_gen("P-256");
    if (ca->leaf_key && !ca->leaf_key_len)
        ca->leaf_key_len = key_der(ca->leaf_key, &ca->leaf_key_der);
    if (ca->cert_len <= 0)
        ca->cert_len = i2d_X509(ca->cert, &ca->cert_der);
    if (ca->leaf_key_len > 0 && ca->cert_len > 0)
        ca->blank = make_blank(ca);
    return ca->blank ? 0 : -ENOMEM;
}

int keys_ca_new(const char *run, struct keys_ca **ret, struct gvm_err *err)
{
    GVM_CLEANUP(free_ca) struct keys_ca *ca = allocate(run);
    if (ca)
        ca->key = EVP_EC_gen("P-256");
    if (!ca || !ca->key || make_cert(ca) < 0)
        return gvm_err_set(err, ENOMEM, "cannot make the CA of run %s", run);
    *ret = gvm_steal_ptr(&ca);
    return 0;
}

/* Appends a length and the DER; takes and wipes `der`. */
static int add_block(struct gvm_buf *out, uint8_t *der, int n)
{
    uint8_t length[4];
    if (n <= 0)
        return -ENOMEM;
    gvm_put32(length, (uint32_t)n);
    int r = gvm_buf_add(out, length, sizeof length);
    if (r == 0)
        r = gvm_buf_add(out, der, (size_t)n);
    OPENSSL_clear_free(der, (size_t)n);
    return r;
}

int keys_ca_export(const struct keys_ca *ca, struct gvm_buf *out, struct gvm_err *err)
{
    uint8_t *cert = NULL, *key = NULL;
    int n = i2d_X509(ca->cert, &cert);
    int r = add_block(out, cert, n);
    if (r == 0) {
        n = key_der(ca->key, &key);
        r = add_block(out, key, n);
    }
    return r < 0 ? gvm_err_set(err, -r, "cannot export the CA of run %s", ca->run) : 0;
}

/* The next length-prefixed block; false when the blob is too short. */
static bool take_block(struct gvm_str *blob, struct gvm_str *ret)
{
    if (blob->n < 4)
        return false;
    uint32_t n = gvm_get32((const uint8_t *)blob->p);
    if (n > MAX_DER || n > blob->n - 4)
        return false;
    *ret = (struct gvm_str){blob->p + 4, n};
    *blob = (struct gvm_str){blob->p + 4 + n, blob->n - 4 - n};
    return true;
}

int keys_ca_import(const char *run, struct gvm_str blob, struct keys_ca **ret, struct gvm_err *err)
{
    struct gvm_str cert, key;
    GVM_CLEANUP(free_ca) struct keys_ca *ca = allocate(run);
    if (!ca)
        return gvm_err_set(err, ENOMEM, "out of memory");
    if (take_block(&blob, &cert) && take_block(&blob, &key) && blob.n == 0) {
        const uint8_t *p = (const uint8_t *)cert.p, *q = (const uint8_t *)key.p;
        ca->cert = d2i_X509(NULL, &p, (long)cert.n);
        ca->key = d2i_AutoPrivateKey(NULL, &q, (long)key.n);
    }
    if (!ca->cert || !ca->key || X509_check_private_key(ca->cert, ca->key) != 1)
        return gvm_err_set(err, EBADMSG, "the kept CA of run %s is broken", run);
    *ret = gvm_steal_ptr(&ca);
    return 0;
}

int keys_ca_pem(const struct keys_ca *ca, struct gvm_buf *out, struct gvm_err *err)
{
    char *text = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    int ok = bio && PEM_write_bio_X509(bio, ca->cert) == 1;
    long n = ok ? BIO_get_mem_data(bio, &text) : 0;
    int r = n > 0 ? gvm_buf_add(out, text, (size_t)n) : -ENOMEM;
    BIO_free(bio);
    return r < 0 ? gvm_err_set(err, -r, "cannot write the CA certificate of run %s", ca->run) : 0;
}

/* ---- leaves ---- */

/* `host` is canonical (wire/url.h): only [a-z0-9._-] or an address, so it cannot break out of the
 * value. Checked again, because here a comma would add a name. */
static bool plain_host(const char *host)
{
    size_t n = strlen(host);
    return n > 0 && n <= GVM_MAX_HOST &&
           strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789._:-") == n;
}

static bool is_address(const char *host)
{
    ASN1_OCTET_STRING *ip = a2i_IPADDRESS(host);
    ASN1_OCTET_STRING_free(ip);
    return ip != NULL;
}

/* The name goes into CN only when it fits there (64 bytes); subjectAltName is what counts. */
static int name_leaf(X509 *x, X509 *ca, const char *host)
{
    char san[GVM_MAX_HOST + 24];
    bool fits = strlen(host) <= 64;
    X509_NAME *empty = X509_NAME_new();
    int ok = empty && X509_set_subject_name(x, empty) == 1;
    X509_NAME_free(empty);
    if (!ok || (fits && set_name(x, host) < 0))
        return -EIO;
    int at = X509_get_ext_by_NID(x, NID_subject_alt_name, -1);
    X509_EXTENSION_free(at < 0 ? NULL : X509_delete_ext(x, at));
    (void)snprintf(san, sizeof san, "%s%s:%s", fits ? "" : "critical,",
                   is_address(host) ? "IP" : "DNS", host);
    return add_extension(x, ca, NID_subject_alt_name, san);
}

/* Fills the blank in and signs it. Encoding a public key takes OpenSSL longer than all the rest, so
 * the blank is used again; every field that differs is set anew. */
static X509 *make_leaf(struct keys_ca *ca, const char *host)
{
    X509 *x = ca->blank;
    if (renew(x, LEAF_LIFE) < 0 || name_leaf(x, ca->cert, host) < 0)
        return NULL;
    if (ASN1_TIME_compare(X509_get0_notAfter(x), X509_get0_notAfter(ca->cert)) > 0 &&
        X509_set1_notAfter(x, X509_get0_notAfter(ca->cert)) != 1)
        return NULL;
    return X509_sign(x, ca->key, EVP_sha256()) ? x : NULL;
}

int keys_ca_leaf(struct keys_ca *ca, const char *host, struct gvm_m_leaf_cert *ret,
                 struct gvm_buf *out, struct gvm_err *err)
{
    uint8_t *cert = NULL;
    if (!plain_host(host))
        return gvm_err_set(err, EINVAL, "asked for a certificate for something that is not a host");
    if (!ca->blank && prepare_leaves(ca) < 0)
        return gvm_err_set(err, ENOMEM, "cannot prepare the certificates of run %s", ca->run);
    X509 *x = make_leaf(ca, host);
    int n = x ? i2d_X509(x, &cert) : 0;
    int r = n > 0 ? gvm_buf_add(out, cert, (size_t)n) : -ENOMEM;
    OPENSSL_free(cert);
    if (r == 0)
        r = gvm_buf_add(out, ca->leaf_key_der, (size_t)ca->leaf_key_len);
    if (r == 0)
        r = gvm_buf_add(out, ca->cert_der, (size_t)ca->cert_len);
    if (r < 0)
        return gvm_err_set(err, -r, "cannot make a certificate for %s", host);
    *ret = (struct gvm_m_leaf_cert){.cert_len = (uint32_t)n,
                                    .key_len = (uint32_t)ca->leaf_key_len,
                                    .ca_len = (uint32_t)ca->cert_len};
    return 0;
}
