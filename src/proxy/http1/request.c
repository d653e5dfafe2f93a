/* The agent's side of HTTP/1: heads become requests that can be judged. The head that will be forwarded
 * is written here, before the decision, from canonical parts; nothing of the agent's own request line is
 * used afterwards. */
#include <errno.h>

#include "proxy/http1/head.h"
#include "proxy/pipeline/px.h"

static void on_head_timeout(uv_timer_t *t)
{
    px_refuse(t->data, 408, "timeout", "the request head did not come to an end in time");
}

void px_request_reset(struct px_conn *c)
{
    struct px_request *rq = &c->rq;
    if (rq->up)
        stream_close(rq->up, 0);
    px_policy_unref(rq->policy);
    if (rq->cred.len)
        gvm_buf_wipe(&rq->cred);
    gvm_buf_reset(&rq->path);
    gvm_buf_reset(&rq->query);
    gvm_buf_reset(&rq->head);
    gvm_buf_reset(&rq->rin);
    gvm_buf_reset(&rq->grant_key);
    *rq = (struct px_request){.path = rq->path, .query = rq->query, .head = rq->head, .cred = rq->cred,
                              .rin = rq->rin, .grant_key = rq->grant_key};
    c->up_eof = false;
}

/* ---- CONNECT ---- */

static bool same_dest(const struct px_dest *a, const struct px_dest *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* False when it was refused. */
static bool connect_dest(struct px_conn *c, const struct gvm_http1_head *h, struct px_dest *d)
{
    struct gvm_err err = {0};
    int r = px_identify_connect(h, d, &err);
    if (r < 0) {
        px_refuse(c, r == -EXDEV ? 421 : 400, r == -EXDEV ? "host mismatch" : "malformed", err.text);
        return false;
    }
    if (d->kind == PX_DEST_IP) {
        struct gvm_ip ip = d->ip;
        px_dest_of(c->run->names, &ip, d->port, d);
    }
    if (d->kind == PX_DEST_UNKNOWN ||
        (d->kind == PX_DEST_IP && (gvm_ip_class(&d->ip) == GVM_IP_METADATA ||
                                   gvm_ip_class(&d->ip) == GVM_IP_UNSPECIFIED))) {
        px_refuse(c, 403, "address", "this address is never reached");
        return false;
    }
    return true;
}

static void begin_connect(struct px_conn *c)
{
    static const char yes[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    const struct gvm_http1_head *h = &c->px->head;
    struct px_dest d;
    if (c->tls || c->tunnel) {
        px_refuse(c, 405, "connect", "CONNECT inside a connection that is judged already");
        return;
    }
    if (h->body != GVM_BODY_NONE) {
        px_refuse(c, 400, "malformed", "CONNECT with a body");
        return;
    }
    if (!connect_dest(c, h, &d))
        return;
    if (c->dest.kind != PX_DEST_ANY && !same_dest(&d, &c->dest)) {
        px_refuse(c, 421, "host mismatch", "CONNECT to another host than the connection's");
        return;
    }
    gvm_buf_consume(&c->in, h->length);
    c->dest = d;
    c->tunnel = true;
    if (stream_write(c->agent, yes, sizeof yes - 1) < 0) {
        px_conn_close(c, 0, NULL);
        return;
    }
    px_request_reset(c);
    px_sniff_start(c);
}

/* ---- requests ---- */

static bool take_target(struct px_conn *c, const struct px_target *t, struct gvm_err *err)
{
    struct px_request *rq = &c->rq;
    memcpy(rq->host, t->host, sizeof rq->host);
    rq->is_ip = t->is_ip;
    rq->ip = t->ip;
    rq->port = t->port;
    rq->tls = t->tls;
    return gvm_target_canon(t->origin, &rq->path, &rq->query, &rq->has_query, err) == 0;
}

static void take_body(struct px_request *rq, const struct gvm_http1_head *h)
{
    rq->body = h->body == GVM_BODY_LENGTH && !h->content_length ? GVM_BODY_NONE : h->body;
    gvm_http1_body_init(&rq->in_body, rq->body, h->content_length);
    rq->in_done = rq->body == GVM_BODY_NONE;
    rq->expect_continue = h->expect_continue && !rq->in_done;
}

static void write_head(struct px_conn *c, const struct gvm_http1_head *h)
{
    struct px_request *rq = &c->rq;
    struct px_http1_line line = {.method = rq->method, .host = rq->host, .port = rq->port, .tls = rq->tls,
                                 .has_query = rq->has_query, .websocket = rq->websocket,
                                 .path = gvm_buf_str(&rq->path), .query = gvm_buf_str(&rq->query)};
    px_http1_request_head(h, &line, &rq->head);
}

static void begin_request(struct px_conn *c)
{
    struct px_request *rq = &c->rq;
    const struct gvm_http1_head *h = &c->px->head;
    struct px_target t;
    struct px_refusal f = {400, "malformed"};
    struct gvm_err err = {0};
    if (px_identify(&c->dest, c->tls, c->sni, h, &t, &f, &err) < 0) {
        px_refuse(c, f.status, f.why, err.text);
        return;
    }
    if (!take_target(c, &t, &err)) {
        px_refuse(c, 400, "malformed", err.text);
        return;
    }
    rq->kind = PX_HTTP;
    rq->websocket = px_http1_websocket(h) && h->body == GVM_BODY_NONE;
    take_body(rq, h);
    write_head(c, h);
    gvm_buf_consume(&c->in, h->length);
    if (rq->head.failed)
        px_refuse(c, 431, "malformed", "the request head is too large");
    else
        px_judge(c);
}

/* Upper case: what the rules see is what is forwarded. */
static bool take_method(struct px_request *rq, struct gvm_str method)
{
    if (method.n > GVM_MAX_METHOD)
        return false;
    for (size_t i = 0; i < method.n; i++)
        rq->method[i] = method.p[i] >= 'a' && method.p[i] <= 'z' ? (char)(method.p[i] - 32) : method.p[i];
    rq->method[method.n] = '\0';
    return true;
}

static void begin(struct px_conn *c)
{
    struct px_request *rq = &c->rq;
    const struct gvm_http1_head *h = &c->px->head;
    rq->minor = h->minor;
    rq->close = !h->keep_alive;
    if (!take_method(rq, h->method))
        px_refuse(c, 400, "malformed", "the method is too long");
    else if (strcmp(rq->method, "TRACE") == 0 || strcmp(rq->method, "TRACK") == 0)
        px_refuse(c, 405, "method", "TRACE shows what was added to a request; it is refused");
    else if (strcmp(rq->method, "CONNECT") == 0)
        begin_connect(c);
    else
        begin_request(c);
}

void px_request_read(struct px_conn *c)
{
    struct gvm_err err = {0};
    if (c->first_head) {
        c->first_head = false;
        px_conn_timer(c, px_timeouts(c->run)->head, on_head_timeout);
    }
    int r = gvm_http1_request(gvm_buf_str(&c->in), &c->px->head, &err);
    if (r == 0) {
        if (c->agent_eof)
            px_conn_close(c, 0, NULL);
        return;
    }
    px_conn_no_timer(c);
    if (r < 0)
        px_refuse(c, r == -E2BIG ? 431 : 400, "malformed", err.text);
    else
        begin(c);
}
