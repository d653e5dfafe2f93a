/* Whom to believe. The system bundle is parsed once; each distinct [upstream] ca_file gives one
 * SSL_CTX (system trust and its own), kept with the TLS sessions learned through it. A session is
 * resumed only for the same name, port and trust, and its certificate was verified for that name
 * when it was made.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/upstream/upstream_int.h"

#define CTX_MAX      64u
#define SESSIONS_MAX 512u
#define SESSION_KEY  (GVM_MAX_HOST + 8)

struct ctx {
    struct ctx *next;
    char *pem;
    size_t pem_len;
    SSL_CTX *ssl;
};

struct trust {
    STACK_OF(X509) * system;
    struct ctx *ctxs;
    unsigned nctxs;
};

static void session_free(void *p)
{
    SSL_SESSION_free(p);
}

/* The map of sessions lives as long as its SSL_CTX, which connections may hold longer than we do.
 */
static void sessions_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl,
                          void *argp)
{
    (void)parent;
    (void)ad;
    (void)idx;
    (void)argl;
    (void)argp;
    gvm_map_free(ptr);
}

static int sessions_index(void)
{
    static int idx = -1;
    if (idx < 0)
        idx = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, sessions_free);
    return idx;
}

static struct gvm_str session_key(SSL *ssl, char dst[SESSION_KEY])
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    const char *host = X509_VERIFY_PARAM_get0_host(param, 0);
    char *ip = host ? NULL : X509_VERIFY_PARAM_get1_ip_asc(param);
    int n = snprintf(dst, SESSION_KEY, "%s|%u",
                     host ? host
                     : ip ? ip
                          : "",
                     (unsigned)(uintptr_t)SSL_get_app_data(ssl));
    OPENSSL_free(ip);
    return (struct gvm_str){dst, n > 0 && n < (int)SESSION_KEY ? (size_t)n : 0};
}

/* TLS 1.3 brings tickets after the handshake, so they are taken whenever they come. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct gvm_map *m = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), sessions_index());
    char text[SESSION_KEY];
    struct gvm_str key = session_key(ssl, text);
    if (!m || !key.n || SSL_get_verify_result(ssl) != X509_V_OK)
        return 0;
    if (SSL_get_certificate(ssl)) /* a server takes who resumes it for the owner of that identity */
        return 0;
    if (gvm_map_size(m) >= SESSIONS_MAX && !gvm_map_get(m, key)) {
        size_t pos = 0;
        struct gvm_str old;
        void *value;
        if (gvm_map_next(m, &pos, &old, &value))
            (void)gvm_map_del(m, old);
    }
    return gvm_map_put(m, key, session) == 0; /* 1: we keep the reference */
}

/* ---- contexts ---- */

static int add_pem(X509_STORE *store, STACK_OF(X509) * list, struct gvm_str pem, unsigned *ret_n)
{
    BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);
    if (!b)
        return -ENOMEM;
    X509 *x;
    int ok = 1;
    while (ok && (x = PEM_read_bio_X509(b, NULL, NULL, NULL))) {
        ++*ret_n;
        if (store)
            ok = X509_STORE_add_cert(store, x);
        if (list && sk_X509_push(list, x) > 0)
            continue; /* the list has it now */
        X509_free(x);
    }
    BIO_free(b);
    ERR_clear_error();
    return ok ? 0 : -ENOMEM;
}

int trust_new(struct gvm_str system_pem, struct trust **ret, struct gvm_err *err)
{
    struct trust *t = gvm_calloc(1, sizeof *t);
    unsigned n = 0;
    if (t)
        t->system = sk_X509_new_null();
    if (!t || !t->system || sessions_index() < 0 ||
        (system_pem.n && add_pem(NULL, t->system, system_pem, &n) < 0)) {
        trust_free(t);
        return gvm_err_set(err, ENOMEM, "trust store: out of memory");
    }
    *ret = t;
    return 0;
}

static void ctx_free(struct ctx *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->ssl);
    free(c->pem);
    free(c);
}

void trust_free(struct trust *t)
{
    if (!t)
        return;
    while (t->ctxs) {
        struct ctx *c = t->ctxs;
        t->ctxs = c->next;
        ctx_free(c);
    }
    sk_X509_pop_free(t->system, X509_free);
    free(t);
}

static int ctx_setup(SSL_CTX *ctx)
{
    struct gvm_map *sessions = gvm_map_new(SESSIONS_MAX, session_free);
    if (!sessions || !SSL_CTX_set_ex_data(ctx, sessions_index(), sessions)) {
        gvm_map_free(sessions);
        return -ENOMEM;
    }
    if (!SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION))
        return -ENOMEM;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
    return 0;
}

static int ctx_trust(const struct trust *t, SSL_CTX *ctx, struct gvm_str extra, struct gvm_err *err)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    for (int i = 0; i < sk_X509_num(t->system); i++) {
        if (!X509_STORE_add_cert(store, sk_X509_value(t->system, i)))
            return gvm_err_set(err, ENOMEM, "trust store: out of memory");
    }
    unsigned n = 0;
    if (extra.n && (add_pem(store, NULL, extra, &n) < 0 || n == 0))
        return gvm_err_set(err, EINVAL, "[upstream] ca_file holds no certificate that can be read");
    return 0;
}

static int ctx_new(const struct trust *t, struct gvm_str extra, struct ctx **ret,
                   struct gvm_err *err)
{
    struct ctx *c = gvm_calloc(1, sizeof *c);
    if (c) {
        c->ssl = SSL_CTX_new(TLS_client_method());
        c->pem = malloc(extra.n + 1);
        c->pem_len = extra.n;
    }
    if (!c || !c->ssl || !c->pem || ctx_setup(c->ssl) < 0) {
        ctx_free(c);
        return gvm_err_set(err, ENOMEM, "TLS context: out of memory");
    }
    if (extra.n)
        memcpy(c->pem, extra.p, extra.n);
    int r = ctx_trust(t, c->ssl, extra, err);
    if (r < 0) {
        ctx_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

/* Forgets the one longest unused; connections that use it keep it alive. */
static void drop_last(struct trust *t)
{
    struct ctx **at = &t->ctxs;
    while ((*at)->next)
        at = &(*at)->next;
    ctx_free(*at);
    *at = NULL;
    t->nctxs--;
}

int trust_ctx(struct trust *t, struct gvm_str extra_pem, SSL_CTX **ret, struct gvm_err *err)
{
    struct ctx **at = &t->ctxs;
    while (*at && ((*at)->pem_len != extra_pem.n ||
                   (extra_pem.n && memcmp((*at)->pem, extra_pem.p, extra_pem.n) != 0)))
        at = &(*at)->next;
    struct ctx *c = *at;
    if (c) {
        *at = c->next; /* to the front again */
    } else {
        int r = ctx_new(t, extra_pem, &c, err);
        if (r < 0)
            return r;
        if (++t->nctxs > CTX_MAX)
            drop_last(t);
    }
    c->next = t->ctxs;
    t->ctxs = c;
    SSL_CTX_up_ref(c->ssl);
    *ret = c->ssl;
    return 0;
}

static bool name_peer(SSL *ssl, const char *host)
{
    struct gvm_ip ip;
    if (gvm_ip_parse(gvm_str(host), &ip) == 0) {
        X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
        return X509_VERIFY_PARAM_set1_ip(param, ip.bytes, ip.family == 4 ? 4 : 16) == 1;
    }
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

int trust_ssl(SSL_CTX *ctx, const char *host, uint16_t port, struct gvm_str alpn,
              const struct upstream_identity *id, SSL **ret, struct gvm_err *err)
{
    SSL *ssl = SSL_new(ctx);
    if (!ssl || !name_peer(ssl, host) ||
        SSL_set_alpn_protos(ssl, (const unsigned char *)alpn.p, (unsigned)alpn.n) != 0) {
        SSL_free(ssl);
        ERR_clear_error();
        return gvm_err_set(err, ENOMEM, "TLS to %s: out of memory", host);
    }
    if (id) {
        int r = identity_use(id, ssl, err);
        if (r < 0) {
            SSL_free(ssl);
            return r;
        }
        *ret = ssl;
        return 0;
    }
    SSL_set_app_data(ssl, (void *)(uintptr_t)port);
    char text[SESSION_KEY];
    SSL_SESSION *known =
        gvm_map_get(SSL_CTX_get_ex_data(ctx, sessions_index()), session_key(ssl, text));
    if (known)
        (void)SSL_set_session(ssl, known);
    *ret = ssl;
    return 0;
}
