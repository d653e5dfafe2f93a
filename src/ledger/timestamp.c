/* timestamp.c - RFC 3161: a time-stamping authority says that a head existed at a time.
 *
 * What is stamped is the checkpoint as it stands in its file, signatures and all, by SHA-256.
 * Request and response are the plain DER of the standard, so that `openssl ts -verify -data HEAD
 * -in RESPONSE` reads them.
 */
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ts.h>
#include <stdio.h>
#include "ledger/evidence.h"

enum { NONCE = 8, MAX_CERTS = 64 };

/* ---- the request ---- */

static bool set_imprint(TS_REQ *req, struct gvm_str data)
{
    uint8_t md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    TS_MSG_IMPRINT *imprint = TS_MSG_IMPRINT_new();
    X509_ALGOR *algo = X509_ALGOR_new();
    bool ok = imprint && algo && EVP_Digest(data.p, data.n, md, &n, EVP_sha256(), NULL) == 1 &&
              X509_ALGOR_set0(algo, OBJ_nid2obj(NID_sha256), V_ASN1_NULL, NULL) == 1 &&
              TS_MSG_IMPRINT_set_algo(imprint, algo) == 1 &&
              TS_MSG_IMPRINT_set_msg(imprint, md, (int)n) == 1 &&
              TS_REQ_set_msg_imprint(req, imprint) == 1;
    TS_MSG_IMPRINT_free(imprint);
    X509_ALGOR_free(algo);
    return ok;
}

static bool set_nonce(TS_REQ *req)
{
    uint8_t raw[NONCE];
    ASN1_INTEGER *nonce = ASN1_INTEGER_new();
    bool ok = nonce && RAND_bytes(raw, sizeof raw) == 1;
    uint64_t v = 0;
    for (size_t i = 0; i < sizeof raw; i++)
        v = v << 8 | raw[i];
    ok = ok && ASN1_INTEGER_set_uint64(nonce, v) == 1 && TS_REQ_set_nonce(req, nonce) == 1;
    ASN1_INTEGER_free(nonce);
    return ok;
}

int gvm_timestamp_request(struct gvm_str data, struct gvm_buf *out, struct gvm_err *err)
{
    uint8_t *der = NULL;
    TS_REQ *req = TS_REQ_new();
    bool ok = req && TS_REQ_set_version(req, 1) == 1 && set_imprint(req, data) && set_nonce(req) &&
              TS_REQ_set_cert_req(req, 1) == 1;
    int n = ok ? i2d_TS_REQ(req, &der) : -1;
    int r = n > 0 ? gvm_buf_add(out, der, (size_t)n) : -ENOMEM;
    OPENSSL_free(der);
    TS_REQ_free(req);
    return r < 0 ? gvm_err_set(err, ENOMEM, "cannot make the request for a timestamp") : 0;
}

/* ---- the response ---- */

static X509_STORE *read_store(struct gvm_str pem)
{
    X509_STORE *store = pem.n <= INT_MAX ? X509_STORE_new() : NULL;
    BIO *bio = store ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    unsigned n = 0;
    for (X509 *c; bio && n < MAX_CERTS && (c = PEM_read_bio_X509(bio, NULL, NULL, NULL)); n++) {
        (void)X509_STORE_add_cert(store, c);
        X509_free(c);
    }
    BIO_free(bio);
    if (n)
        return store;
    X509_STORE_free(store);
    return NULL;
}

/* What is given is the context's. The names of before OpenSSL 3.4 are deprecated there. */
static void set_up(TS_VERIFY_CTX *ctx, BIO *data, X509_STORE *store)
{
#if OPENSSL_VERSION_NUMBER >= 0x30400000L
    (void)TS_VERIFY_CTX_set0_data(ctx, data);
    (void)TS_VERIFY_CTX_set0_store(ctx, store);
#else
    TS_VERIFY_CTX_set_data(ctx, data);
    TS_VERIFY_CTX_set_store(ctx, store);
#endif
}

static bool verify(TS_RESP *resp, struct gvm_str request, struct gvm_str data, struct gvm_str ca)
{
    const uint8_t *p = (const uint8_t *)request.p;
    TS_REQ *req = request.n ? d2i_TS_REQ(NULL, &p, (long)request.n) : NULL;
    TS_VERIFY_CTX *ctx =
        request.n ? (req ? TS_REQ_to_TS_VERIFY_CTX(req, NULL) : NULL) : TS_VERIFY_CTX_new();
    TS_REQ_free(req);
    BIO *bio = ctx ? BIO_new_mem_buf(data.p, (int)data.n) : NULL;
    X509_STORE *store = bio && ca.n ? read_store(ca) : NULL;
    bool ok = bio && (!ca.n || store);
    if (ok) {
        (void)TS_VERIFY_CTX_add_flags(ctx, TS_VFY_VERSION | TS_VFY_DATA |
                                               (store ? TS_VFY_SIGNATURE : 0));
        set_up(ctx, bio, store);
        ok = TS_RESP_verify_response(ctx, resp) == 1;
    } else {
        BIO_free(bio);
        X509_STORE_free(store);
    }
    TS_VERIFY_CTX_free(ctx);
    return ok;
}

static bool when(TS_RESP *resp, int64_t *ret_s)
{
    struct tm tm;
    const ASN1_GENERALIZEDTIME *t = TS_TST_INFO_get_time(TS_RESP_get_tst_info(resp));
    if (!t || ASN1_TIME_to_tm(t, &tm) != 1)
        return false;
    *ret_s = (int64_t)timegm(&tm);
    return true;
}

int gvm_timestamp_check(struct gvm_str response, struct gvm_str request, struct gvm_str data,
                        struct gvm_str ca_pem, int64_t *ret_seconds, struct gvm_err *err)
{
    const uint8_t *p = (const uint8_t *)response.p;
    int64_t seconds = 0;
    if (response.n > GVM_MAX_TIMESTAMP || request.n > GVM_MAX_TIMESTAMP || data.n > GVM_MAX_NOTE)
        return gvm_err_set(err, EBADMSG, "the timestamp is longer than any");
    TS_RESP *resp = response.n ? d2i_TS_RESP(NULL, &p, (long)response.n) : NULL;
    int r = 0;
    if (!resp || p != (const uint8_t *)response.p + response.n)
        r = gvm_err_set(err, EBADMSG, "not a timestamp response (RFC 3161)");
    else if (!TS_RESP_get_tst_info(resp))
        r = gvm_err_set(err, EBADMSG, "the authority refused to give a timestamp");
    else if (!verify(resp, request, data, ca_pem))
        r = gvm_err_set(err, EBADMSG, "the timestamp does not hold for this head%s: %s",
                        ca_pem.n ? " and these authorities" : "",
                        ERR_reason_error_string(ERR_peek_last_error()) ?: "malformed");
    else if (!when(resp, &seconds))
        r = gvm_err_set(err, EBADMSG, "the timestamp's time is malformed");
    TS_RESP_free(resp);
    ERR_clear_error();
    if (!r)
        *ret_seconds = seconds;
    return r;
}
