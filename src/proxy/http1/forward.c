/* An allowed request on its way upstream: connection, head, body, with the agent held back when the
 * server is slower. */
#include <errno.h>

#include "proxy/http1/head.h"
#include "proxy/pipeline/px.h"

static const struct stream_events response_events = {px_response_data, px_response_eof, px_response_drain,
                                                     px_response_lost};

void px_upstream_want(const struct px_conn *c, struct upstream_want *ret)
{
    const struct px_request *rq = &c->rq;
    *ret = (struct upstream_want){
        .run = c->run->id,
        .host = rq->host,
        .port = rq->port,
        .tls = rq->tls,
        .private_ok = rq->verdict.private_ok,
        .credential = rq->cred_id,
        .conf = rq->policy->conf,
        .fresh = rq->kind != PX_HTTP || rq->retried || rq->websocket,
    };
}

void px_upstream_failed(struct px_conn *c, const struct gvm_err *err)
{
    if (err->code == EACCES)
        px_refuse_address(c, err->text);
    else
        px_fail(c, err->code == ETIMEDOUT ? 504 : 502, err->text);
}

/* ---- the body ---- */

/* Adds to `out` what `in` holds of the body, framed for the upstream. Negative: broken framing. */
static int take_spans(struct px_request *rq, struct gvm_str *in, struct gvm_buf *out, struct gvm_err *err)
{
    while (!rq->in_done) {
        struct gvm_str span = {0};
        size_t before = in->n;
        int r = gvm_http1_body_feed(&rq->in_body, in, &span, err);
        if (r < 0)
            return r;
        if (rq->body == GVM_BODY_CHUNKED)
            px_http1_chunk(out, span);
        else
            gvm_buf_adds(out, span);
        rq->in_done = r == 1;
        if (r == 0 && (!in->n || in->n == before))
            return 0;
    }
    if (rq->body == GVM_BODY_CHUNKED && !rq->sent_end)
        gvm_buf_addz(out, PX_HTTP1_LAST_CHUNK);
    rq->sent_end = true;
    return 0;
}

static void on_first_byte_timeout(uv_timer_t *t)
{
    px_fail(t->data, 504, "the server did not answer in time");
}

static void await_answer(struct px_conn *c)
{
    if (!c->rq.rhead_done)
        px_conn_timer(c, c->rq.policy->conf->timeouts.first_byte, on_first_byte_timeout);
}

/* Passes bytes on. A connection that broke tells so by itself, after what it had answered. */
static void write_up(struct px_conn *c, const void *p, size_t n)
{
    struct px_request *rq = &c->rq;
    if (!n)
        return;
    rq->bytes_out += n;
    int r = stream_write(rq->up, p, n);
    if (r == 0 && stream_queued(rq->up) > GVM_STREAM_HIGH)
        px_conn_pause(c);
}

static void bad_body(struct px_conn *c, const struct gvm_err *err)
{
    px_record_refused(c, 400, "malformed", err->text, (struct gvm_str){0});
    px_fail(c, 400, err->text);
}

void px_forward_body(struct px_conn *c, const uint8_t *p, size_t n)
{
    struct px_request *rq = &c->rq;
    struct gvm_buf *out = &c->px->scratch;
    struct gvm_str in = {(const char *)p, n};
    struct gvm_err err = {0};
    gvm_buf_reset(out);
    if (take_spans(rq, &in, out, &err) < 0 || out->failed) {
        rq->close = true;
        bad_body(c, &err);
        return;
    }
    write_up(c, gvm_buf_data(out), out->len);
    await_answer(c);
    if (in.n)
        (void)px_conn_keep(c, (const uint8_t *)in.p, in.n);
}

/* ---- the head ---- */

static void send_request(struct px_conn *c)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct px_request *rq = &c->rq;
    struct gvm_buf *out = &c->px->scratch;
    struct gvm_str in = gvm_buf_str(&c->in);
    struct gvm_err err = {0};
    gvm_buf_reset(out);
    gvm_buf_add(out, "\r\n", 2);
    size_t had = in.n;
    if (take_spans(rq, &in, out, &err) < 0 || out->failed) {
        rq->close = true;
        bad_body(c, &err);
        return;
    }
    gvm_buf_consume(&c->in, had - in.n);
    c->state = PX_BODY;
    stream_batch_begin(&c->px->loop);
    write_up(c, gvm_buf_data(&rq->head), rq->head.len);
    write_up(c, gvm_buf_data(&rq->cred), rq->cred.len);
    write_up(c, gvm_buf_data(out), out->len);
    stream_batch_end(&c->px->loop);
    if (rq->expect_continue && !had && stream_write(c->agent, go_on, sizeof go_on - 1) == 0)
        rq->expect_continue = false;
    await_answer(c);
    stream_resume(rq->up);
    if (!rq->in_done && c->agent_eof)
        px_conn_close(c, 0, "the client left in the middle of its request");
    else if (!rq->in_done && stream_queued(rq->up) <= GVM_STREAM_HIGH)
        px_conn_resume(c);
}

static void connected(struct px_conn *c, const struct upstream_got *got)
{
    struct px_request *rq = &c->rq;
    rq->up = got->stream;
    rq->up_ip = got->ip;
    rq->up_port = got->port;
    rq->reused = got->reused;
    stream_set_events(rq->up, &response_events, c);
    if (rq->kind == PX_HTTP)
        send_request(c);
    else
        px_relay_open(c);
}

static void on_upstream(void *arg, const struct upstream_got *got, const struct gvm_err *err)
{
    struct px_conn *c = arg;
    c->rq.ask_up = NULL;
    if (got)
        connected(c, got);
    else
        px_upstream_failed(c, err);
}

void px_connect(struct px_conn *c)
{
    struct upstream_want want;
    struct upstream_got got;
    struct gvm_err err = {0};
    px_upstream_want(c, &want);
    if (!want.fresh && upstream_take(c->px->upstreams, &want, &got)) {
        connected(c, &got);
        return;
    }
    int r = upstream_get(c->px->upstreams, &want, on_upstream, c, &c->rq.ask_up, &err);
    if (r < 0)
        px_upstream_failed(c, &err);
}
