/* The upstream's side of HTTP/1: the head that was judged, the agent's body in the same framing,
 * and the answer without its framing. */
#include "proxy/http1/head.h"
#include "proxy/pipeline/px.h"

/* ---- the request ---- */

/* A connection that broke tells so by itself, after what it had answered. */
static void to_upstream(struct px_request *rq, const void *p, size_t n)
{
    if (n && rq->up && stream_write(rq->up, p, n) < 0)
        gvm_log(GVM_LOG_DEBUG, "a request could not be sent");
}

static void head(struct px_request *rq)
{
    to_upstream(rq, gvm_buf_data(&rq->head), rq->head.len);
    to_upstream(rq, gvm_buf_data(&rq->cred), rq->cred.len);
    to_upstream(rq, "\r\n", 2);
}

static void data(struct px_request *rq, struct gvm_str span)
{
    if (rq->body != GVM_BODY_CHUNKED) {
        to_upstream(rq, span.p, span.n);
        return;
    }
    struct gvm_buf *out = &rq->px->scratch;
    gvm_buf_reset(out);
    px_http1_chunk(out, span);
    to_upstream(rq, gvm_buf_data(out), out->len);
}

static void end(struct px_request *rq, struct gvm_str trailers)
{
    if (rq->body != GVM_BODY_CHUNKED)
        return;
    struct gvm_buf *out = &rq->px->scratch;
    gvm_buf_reset(out);
    px_http1_last_chunk(out, trailers);
    to_upstream(rq, gvm_buf_data(out), out->len);
}

static bool full(const struct px_request *rq)
{
    return rq->up && stream_queued(rq->up) > GVM_STREAM_HIGH;
}

static void hold(struct px_request *rq)
{
    if (rq->up)
        stream_pause(rq->up);
}

static void resume(struct px_request *rq)
{
    if (rq->up)
        stream_resume(rq->up);
}

static void release(struct px_request *rq, bool whole, uint64_t linger_ms)
{
    struct stream *s = rq->up;
    rq->up = NULL;
    if (!s)
        return;
    stream_idle(s, 0, NULL);
    if (!whole || !rq->rclean || rq->up_eof) {
        stream_close(s, linger_ms);
        return;
    }
    struct upstream_want want;
    px_upstream_want(rq, &want);
    stream_pause(s);
    upstream_put(rq->px->upstreams, &want, s);
}

/* ---- the body of the answer ---- */

/* What follows the answer in what was read makes the connection unfit for another request. */
static void pass_body(struct px_request *rq, struct gvm_str in)
{
    struct gvm_err err = {0};
    for (;;) {
        struct gvm_str span = {0};
        size_t before = in.n;
        int r = gvm_http1_body_feed(&rq->out_body, &in, &span, &err);
        if (r < 0) {
            rq->front->close(rq, 0, err.text);
            return;
        }
        if (span.n)
            px_reply_data(rq, span);
        if (r == 1) {
            rq->rclean = rq->rclean && !in.n;
            px_reply_end(rq, gvm_buf_str(&rq->out_trailers));
            return;
        }
        if (!in.n || in.n == before)
            return;
    }
}

/* ---- the head ---- */

static void upgraded(struct px_request *rq, const struct gvm_http1_head *h)
{
    if (rq->conn->h2 && !px_ws_accepted(rq, h)) {
        px_fail(rq, 502, "the server did not answer the WebSocket handshake");
        return;
    }
    rq->status = 101;
    rq->rhead_done = rq->upgraded = true;
    struct gvm_str agreed = {"", 0};
    for (unsigned i = 0; i < h->nheaders; i++)
        if (gvm_str_ieqz(h->headers[i].name, "sec-websocket-extensions"))
            agreed = agreed.n ? GVM_STR("more, than one") : h->headers[i].value;
    if (!px_ws_start(rq, agreed)) {
        rq->front->close(rq, 0, "out of memory");
        return;
    }
    rq->front->head(rq, h);
    gvm_buf_consume(&rq->rin, h->length);
    px_relay_start(rq, gvm_buf_str(&rq->rin));
}

static void on_idle(void *arg)
{
    struct px_request *rq = arg;
    rq->front->close(rq, 0, "the server went silent in the middle of its answer");
}

static void final(struct px_request *rq, const struct gvm_http1_head *h)
{
    rq->rclean = h->keep_alive && h->body != GVM_BODY_CLOSE;
    gvm_http1_body_init(&rq->out_body, h->body, h->content_length);
    rq->out_body.trailers = &rq->out_trailers;
    stream_idle(rq->up, rq->policy->conf->timeouts.idle, on_idle);
    px_reply_head(rq, h);
    gvm_buf_consume(&rq->rin, h->length);
    pass_body(rq, gvm_buf_str(&rq->rin));
}

/* One head. True when another may follow in what was read. */
static bool read_head(struct px_request *rq)
{
    struct gvm_http1_head *h = &rq->px->head;
    struct gvm_err err = {0};
    int r = gvm_http1_response(gvm_buf_str(&rq->rin), gvm_str(rq->method), h, &err);
    if (r == 0)
        return false;
    if (r < 0) {
        px_fail(rq, 502, err.text);
    } else if (h->status == 101) {
        if (rq->websocket)
            upgraded(rq, h);
        else
            px_fail(rq, 502, "the server switched protocols unasked");
    } else if (h->status < 200) {
        px_reply_head(rq, h);
        gvm_buf_consume(&rq->rin, h->length);
        return rq->rin.len > 0;
    } else {
        final(rq, h);
    }
    return false;
}

/* ---- events of the upstream stream ---- */

static void on_data(void *arg, const uint8_t *p, size_t n)
{
    struct px_request *rq = arg;
    rq->bytes_in += n;
    if (rq->rhead_done) {
        pass_body(rq, (struct gvm_str){(const char *)p, n});
        return;
    }
    if (gvm_buf_add(&rq->rin, p, n) < 0) {
        px_fail(rq, 502, "the server's head is too large");
        return;
    }
    while (read_head(rq))
        ;
}

/* The upstream will send nothing more. */
static void ended(struct px_request *rq, const char *why)
{
    bool whole = rq->rhead_done && rq->out_body.kind == GVM_BODY_CLOSE && rq->up &&
                 !stream_truncated(rq->up);
    if (whole)
        px_reply_end(rq, (struct gvm_str){0});
    else
        px_reply_cut(rq, false, why);
}

static void on_eof(void *arg)
{
    struct px_request *rq = arg;
    rq->up_eof = true;
    ended(rq, "the server closed the connection before its answer was whole");
}

static void on_drain(void *arg)
{
    px_back_drained(arg);
}

static void on_close(void *arg, const struct gvm_err *err)
{
    struct px_request *rq = arg;
    rq->up = NULL;
    ended(rq, err ? err->text : "the server closed the connection");
}

static const struct stream_events events = {on_data, on_eof, on_drain, on_close};

static const struct px_back http1_back = {
    .head = head,
    .data = data,
    .end = end,
    .full = full,
    .pause = hold,
    .resume = resume,
    .release = release,
};

void px_http1_back(struct px_request *rq)
{
    rq->back = &http1_back;
    stream_set_events(rq->up, &events, rq);
}
