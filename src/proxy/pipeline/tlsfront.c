/* TLS towards the agent. The ClientHello is read before anything is answered: its server name must
 * agree with the address, decides whether the connection stays opaque (a rule says so), and picks
 * the certificate. A server name that disagrees is still answered with a handshake, so that the
 * agent gets to read the 421 that its request receives; nothing goes upstream for it. */
#include <errno.h>

#include "proxy/pipeline/px.h"

static int pick_protocol(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                         const unsigned char *in, unsigned int inlen, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    unsigned char *picked;
    if (SSL_select_next_proto(&picked, outlen, ours, sizeof ours - 1, in, inlen) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = picked;
    return SSL_TLSEXT_ERR_OK;
}

int px_tls_ctx(struct px_run *run, struct gvm_err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return gvm_err_set(err, ENOMEM, "cannot make a TLS context");
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets only */
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)run->id,
                                   (unsigned)strnlen(run->id, SSL_MAX_SID_CTX_LENGTH));
    SSL_CTX_set_alpn_select_cb(ctx, pick_protocol, NULL);
    run->tls = ctx;
    return 0;
}

static bool agreed_h2(const struct px_conn *c)
{
    const unsigned char *p;
    unsigned n;
    SSL_get0_alpn_selected(stream_ssl(c->agent), &p, &n);
    return n == 2 && memcmp(p, "h2", 2) == 0;
}

static void on_handshake(void *arg, const struct gvm_err *err)
{
    struct px_conn *c = arg;
    if (err) {
        c->agent = NULL; /* the stream ended itself */
        px_record_refused(&c->rq, 0, "tls", err->text, (struct gvm_str){0});
        px_conn_close(c, 0, NULL);
        return;
    }
    c->tls = true;
    if (agreed_h2(c))
        px_h2_start(c);
    else
        px_http1_next(c);
}

void px_tls_leaf(struct px_conn *c, struct px_leaf *leaf)
{
    struct gvm_err err = {0};
    if (!leaf) {
        px_refuse(&c->rq, 0, "certificate", "no certificate could be made");
        return;
    }
    SSL *ssl = SSL_new(c->run->tls);
    if (!ssl || SSL_use_cert_and_key(ssl, leaf->cert, leaf->key, NULL, 1) != 1) {
        SSL_free(ssl);
        px_refuse(&c->rq, 0, "certificate", "the certificate could not be used");
        return;
    }
    int r = stream_start_tls(c->agent, ssl, true, gvm_buf_str(&c->in), px_timeouts(c->run)->tls,
                             on_handshake, c, &err);
    if (r < 0) {
        px_refuse(&c->rq, 0, "tls", err.text);
        return;
    }
    gvm_buf_reset(&c->in);
    px_conn_resume(c);
}

/* The canonical server name into c->sni. */
static int take_sni(struct px_conn *c, const struct gvm_tls_hello *hello, struct gvm_err *err)
{
    struct gvm_authority a;
    c->sni[0] = '\0';
    if (!hello->sni.n)
        return 0;
    int r = gvm_authority_parse(hello->sni, &a, err);
    if (r < 0)
        return r;
    if (a.port)
        return gvm_err_set(err, EINVAL, "a port in the server name");
    if (!a.is_ip)
        memcpy(c->sni, a.host, sizeof c->sni);
    else if (c->dest.kind != PX_DEST_IP || strcmp(a.host, c->dest.host) != 0)
        return gvm_err_set(err, EINVAL, "the server name is an address");
    return 0;
}

/* What the connection is for, as far as it can be told before a request; NULL when nothing tells.
 */
static const char *host_of(const struct px_conn *c)
{
    if (c->dest.kind == PX_DEST_NAME)
        return c->dest.host;
    if (c->sni[0])
        return c->sni;
    return c->dest.kind == PX_DEST_IP ? c->dest.host : NULL;
}

static bool names_disagree(const struct px_conn *c)
{
    if (!c->sni[0])
        return false;
    if (c->dest.kind == PX_DEST_NAME)
        return strcmp(c->sni, c->dest.host) != 0;
    return c->dest.kind == PX_DEST_IP && gvm_ip_class(&c->dest.ip) != GVM_IP_PUBLIC;
}

/* Sets c->rq for a tunnel when a rule or the command line says that this host is not intercepted.
 */
static bool stays_opaque(struct px_conn *c, const char *host)
{
    struct px_policy *p = px_policy_get(c->px, c->run->policy_id);
    if (!p)
        return false;
    struct gvm_verdict v;
    struct gvm_facts f = {.protocol = GVM_PROTO_HTTP,
                          .host = gvm_str(host),
                          .port = c->dest.port,
                          .tls = true,
                          .agent = gvm_str(c->run->agent),
                          .now_ns = gvm_now_ns()};
    bool yes = gvm_rules_opaque(p->rules, &f, &v) || px_run_no_intercept(c->run, host);
    px_policy_unref(p);
    return yes;
}

static void begin_opaque(struct px_conn *c, const char *host)
{
    struct px_request *rq = &c->rq;
    if (names_disagree(c)) {
        px_refuse(&c->rq, 0, "server name mismatch",
                  "the server name is not the host of the connection");
        return;
    }
    rq->kind = PX_TLS_OPAQUE;
    rq->tls = false; /* the bytes pass as they are */
    rq->port = c->dest.port;
    rq->is_ip = c->dest.kind == PX_DEST_IP && !c->sni[0];
    rq->ip = c->dest.ip;
    memcpy(rq->host, host, strnlen(host, GVM_MAX_HOST) + 1);
    px_judge(&c->rq);
}

static void begin_intercept(struct px_conn *c)
{
    const char *host = c->sni[0] ? c->sni : host_of(c);
    c->rq.state = PX_SHAKE;
    struct px_leaf *leaf = px_leaf_find(c->run, host);
    if (leaf)
        px_tls_leaf(c, leaf);
    else if (px_leaf_ask(c, host) < 0)
        px_refuse(&c->rq, 0, "certificate", "the keys process is not there");
}

void px_hello(struct px_conn *c)
{
    struct gvm_buf scratch GVM_CLEANUP(gvm_buf_done);
    struct gvm_tls_hello hello;
    struct gvm_err err = {0};
    gvm_buf_init(&scratch, 2 * GVM_MAX_TLS_HELLO);
    int r = gvm_tls_hello_parse(gvm_buf_str(&c->in), &scratch, &hello, &err);
    if (r == 0)
        return; /* the timer goes on */
    px_no_timer(&c->rq);
    px_conn_pause(c);
    if (r < 0 || take_sni(c, &hello, &err) < 0) {
        px_refuse(&c->rq, 0, r < 0 ? "malformed hello" : "server name", err.text);
        return;
    }
    const char *host = host_of(c);
    if (!host || c->dest.kind == PX_DEST_ANY)
        px_refuse(&c->rq, 0, "no host", "TLS to an address that stands for no host");
    else if (c->tls)
        px_refuse(&c->rq, 0, "tls in tls", "TLS inside an intercepted connection");
    else if (stays_opaque(c, host))
        begin_opaque(c, host);
    else
        begin_intercept(c);
}
