/* The agent's side of HTTP/1, inwards: heads become requests that can be judged, bodies lose their
 * framing. */
#include <errno.h>

#include "proxy/http1/head.h"
#include "proxy/pipeline/px.h"

static void on_head_timeout(uv_timer_t *t)
{
    px_refuse(t->data, 408, "timeout", "the request head did not come to an end in time");
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
        px_refuse(&c->rq, r == -EXDEV ? 421 : 400, r == -EXDEV ? "host mismatch" : "malformed",
                  err.text);
        return false;
    }
    if (d->kind == PX_DEST_IP) {
        struct gvm_ip ip = d->ip;
        px_dest_of(c->run->names, &ip, d->port, d);
    }
    if (d->kind == PX_DEST_UNKNOWN ||
        (d->kind == PX_DEST_IP &&
         (gvm_ip_class(&d->ip) == GVM_IP_METADATA || gvm_ip_class(&d->ip) == GVM_IP_UNSPECIFIED))) {
        px_refuse(&c->rq, 403, "address", "this address is never reached");
        return false;
    }
    return true;
}

static void begin_connect(struct px_conn *c, const struct gvm_http1_head *h)
{
    static const char yes[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    struct px_dest d;
    if (c->tls || c->tunnel) {
        px_refuse(&c->rq, 405, "connect", "CONNECT inside a connection that is judged already");
        return;
    }
    if (h->body != GVM_BODY_NONE) {
        px_refuse(&c->rq, 400, "malformed", "CONNECT with a body");
        return;
    }
    if (!connect_dest(c, h, &d))
        return;
    if (c->dest.kind != PX_DEST_ANY && !same_dest(&d, &c->dest)) {
        px_refuse(&c->rq, 421, "host mismatch", "CONNECT to another host than the connection's");
        return;
    }
    gvm_buf_consume(&c->in, h->length);
    c->dest = d;
    c->tunnel = true;
    if (stream_write(c->agent, yes, sizeof yes - 1) < 0) {
        px_conn_close(c, 0, NULL);
        return;
    }
    px_request_reset(&c->rq);
    px_sniff_start(c);
}

/* ---- bodies ---- */

void px_http1_body_in(struct px_conn *c, const uint8_t *p, size_t n)
{
    struct px_request *rq = &c->rq;
    struct gvm_str in = {(const char *)p, n};
    struct gvm_err err = {0};
    while (!rq->in_done) {
        struct gvm_str span = {0};
        size_t before = in.n;
        int r = gvm_http1_body_feed(&rq->in_body, &in, &span, &err);
        if (r < 0) {
            px_body_bad(rq, err.text);
            return;
        }
        if (span.n)
            px_body(rq, span);
        if (r == 1 && !px_closed(rq))
            px_body_end(rq);
        if (px_closed(rq))
            return;
        if (r == 0 && (!in.n || in.n == before))
            break;
    }
    if (in.n && px_conn_keep(c, (const uint8_t *)in.p, in.n) && c->in.len > PX_PIPELINED)
        px_conn_pause(c);
}

/* What came along with the head. False when it was no body. */
static bool first_of_body(struct px_conn *c)
{
    struct px_request *rq = &c->rq;
    struct gvm_str in = gvm_buf_str(&c->in);
    struct gvm_err err = {0};
    size_t had = in.n;
    int r = rq->in_done ? 1 : 0;
    while (r == 0 && in.n) {
        struct gvm_str span = {0};
        r = gvm_http1_body_feed(&rq->in_body, &in, &span, &err);
        if (r >= 0)
            gvm_buf_adds(&rq->held, span);
    }
    if (r < 0 || rq->held.failed) {
        px_refuse(rq, 400, "malformed", r < 0 ? err.text : "out of memory");
        return false;
    }
    gvm_buf_consume(&c->in, had - in.n);
    if (r == 1 && !rq->in_done)
        px_body_end(rq);
    return true;
}

/* ---- requests ---- */

static void begin_request(struct px_conn *c, const struct gvm_http1_head *h)
{
    struct px_request *rq = &c->rq;
    struct px_target t;
    struct px_refusal f = {400, "malformed"};
    struct gvm_err err = {0};
    if (px_identify(&c->dest, c->tls, c->sni, h, &t, &f, &err) < 0) {
        px_refuse(rq, f.status, f.why, err.text);
        return;
    }
    rq->websocket = px_http1_websocket(h) && h->body == GVM_BODY_NONE;
    int r = px_request_take(rq, h, &t, &err);
    if (r < 0) {
        px_refuse(rq, r == -E2BIG ? 431 : 400, "malformed", err.text);
        return;
    }
    gvm_http1_body_init(&rq->in_body, rq->body, h->content_length);
    rq->in_body.trailers = &rq->trailers;
    gvm_buf_consume(&c->in, h->length);
    if (first_of_body(c))
        px_judge(rq);
}

static void begin(struct px_conn *c)
{
    struct px_request *rq = &c->rq;
    const struct gvm_http1_head *h = &c->px->head;
    rq->minor = h->minor;
    rq->close = !h->keep_alive;
    if (!px_request_method(rq, h->method))
        px_refuse(rq, 400, "malformed", "the method is too long");
    else if (px_is_trace(rq->method))
        px_refuse(rq, 405, "method", PX_NO_TRACE);
    else if (strcmp(rq->method, "CONNECT") == 0)
        begin_connect(c, h);
    else
        begin_request(c, h);
}

void px_http1_read(struct px_conn *c)
{
    struct gvm_err err = {0};
    int r = gvm_http1_request(gvm_buf_str(&c->in), &c->px->head, &err);
    if (r == 0) {
        if (c->agent_eof)
            px_conn_close(c, 0, NULL);
        else if (c->first_head)
            px_timer(&c->rq, px_timeouts(c->run)->head, on_head_timeout);
        c->first_head = false;
        return;
    }
    px_no_timer(&c->rq);
    if (r < 0)
        px_refuse(&c->rq, r == -E2BIG ? 431 : 400, "malformed", err.text);
    else
        begin(c);
}

/* ---- the next one ---- */

static void on_idle(uv_timer_t *t)
{
    px_conn_close(((struct px_request *)t->data)->conn, 0, NULL);
}

void px_http1_next(struct px_conn *c)
{
    px_request_reset(&c->rq);
    if (c->agent_eof && !c->in.len) {
        px_conn_close(c, PX_LINGER_MS, NULL);
        return;
    }
    c->rq.state = PX_HEAD;
    c->first_head = true;
    px_timer(&c->rq, px_timeouts(c->run)->idle, on_idle);
    px_conn_resume(c);
    if (c->in.len)
        px_http1_read(c);
}
