/* The upstream's answer on its way to the agent: interim heads, one final head, the body in the framing
 * the agent understands. Bytes go out as they come; a slow agent holds the upstream back. */
#include <errno.h>

#include "proxy/http1/head.h"
#include "proxy/pipeline/px.h"

static void to_agent(struct px_conn *c, const void *p, size_t n)
{
    if (!n || !c->agent)
        return;
    if (stream_write(c->agent, p, n) == 0 && stream_queued(c->agent) > GVM_STREAM_HIGH && c->rq.up)
        stream_pause(c->rq.up);
}

static void on_idle(void *arg)
{
    px_conn_close(arg, 0, "the server went silent in the middle of its answer");
}

/* ---- the end of an answer ---- */

static void done(struct px_conn *c)
{
    struct px_request *rq = &c->rq;
    bool over = rq->in_done && rq->sent_end;
    bool close = rq->close || !over;
    if (rq->up) {
        stream_idle(rq->up, 0, NULL);
        if (rq->rclean && over && !c->up_eof) {
            struct upstream_want want;
            px_upstream_want(c, &want);
            stream_pause(rq->up);
            upstream_put(c->px->upstreams, &want, rq->up);
        } else {
            stream_close(rq->up, 0);
        }
        rq->up = NULL;
    }
    px_conn_no_timer(c);
    px_outcome(c, NULL);
    if (close)
        px_conn_close(c, PX_LINGER_MS, NULL);
    else
        px_conn_next(c);
}

/* ---- the body ---- */

/* Adds what `in` holds of the body to `out`. 1: the body is whole. */
static int take_spans(struct px_request *rq, struct gvm_str *in, struct gvm_buf *out, struct gvm_err *err)
{
    for (;;) {
        struct gvm_str span = {0};
        size_t before = in->n;
        int r = gvm_http1_body_feed(&rq->out_body, in, &span, err);
        if (r < 0)
            return r;
        if (rq->rchunked)
            px_http1_chunk(out, span);
        else
            gvm_buf_adds(out, span);
        if (r == 1) {
            if (rq->rchunked)
                gvm_buf_addz(out, PX_HTTP1_LAST_CHUNK);
            return 1;
        }
        if (!in->n || in->n == before)
            return 0;
    }
}

/* `out` holds what goes before it, the head or nothing. */
static void pass_body(struct px_conn *c, struct gvm_str in, struct gvm_buf *out)
{
    struct px_request *rq = &c->rq;
    struct gvm_err err = {0};
    int r = take_spans(rq, &in, out, &err);
    if (r < 0 || out->failed) {
        px_conn_close(c, 0, r < 0 ? err.text : "out of memory");
        return;
    }
    to_agent(c, gvm_buf_data(out), out->len);
    if (r == 1) {
        rq->rclean = rq->rclean && !in.n;
        done(c);
    }
}

/* A body of known length that goes on needs no framing and no copy. */
static bool pass_plain(struct px_conn *c, const uint8_t *p, size_t n)
{
    struct px_request *rq = &c->rq;
    struct gvm_http1_body *b = &rq->out_body;
    bool close = b->kind == GVM_BODY_CLOSE && !rq->rchunked;
    if (!close && (b->kind != GVM_BODY_LENGTH || n >= b->left))
        return false;
    if (!close)
        b->left -= n;
    to_agent(c, p, n);
    return true;
}

/* ---- the head ---- */

static void bad_answer(struct px_conn *c, const char *why)
{
    px_fail(c, 502, why);
}

static void interim(struct px_conn *c, const struct gvm_http1_head *h)
{
    struct gvm_buf *out = &c->px->scratch;
    if (h->status == 100 || !c->rq.minor)
        return; /* the agent was told to go on by us */
    gvm_buf_reset(out);
    px_http1_response_head(h, c->rq.minor, false, false, out);
    to_agent(c, gvm_buf_data(out), out->len);
}

static void upgraded(struct px_conn *c, const struct gvm_http1_head *h)
{
    struct px_request *rq = &c->rq;
    struct gvm_buf *out = &c->px->scratch;
    rq->status = 101;
    rq->rhead_done = rq->upgraded = true;
    gvm_buf_reset(out);
    px_http1_response_head(h, rq->minor, false, false, out);
    to_agent(c, gvm_buf_data(out), out->len);
    gvm_buf_consume(&rq->rin, h->length);
    px_relay_start(c, gvm_buf_str(&rq->rin));
}

static void final(struct px_conn *c, const struct gvm_http1_head *h)
{
    struct px_request *rq = &c->rq;
    struct gvm_buf *out = &c->px->scratch;
    px_conn_no_timer(c);
    rq->rhead_done = true;
    rq->status = h->status;
    rq->rclean = h->keep_alive && h->body != GVM_BODY_CLOSE;
    rq->rchunked = h->body == GVM_BODY_CHUNKED && rq->minor;
    if (h->body == GVM_BODY_CLOSE || (h->body == GVM_BODY_CHUNKED && !rq->minor) || !rq->in_done)
        rq->close = true;
    gvm_http1_body_init(&rq->out_body, h->body, h->content_length);
    gvm_buf_reset(out);
    px_http1_response_head(h, rq->minor, rq->rchunked, rq->close, out);
    stream_idle(rq->up, rq->policy->conf->timeouts.idle, on_idle);
    gvm_buf_consume(&rq->rin, h->length);
    pass_body(c, gvm_buf_str(&rq->rin), out);
}

/* One head. True when another may follow in what was read. */
static bool read_head(struct px_conn *c)
{
    struct px_request *rq = &c->rq;
    struct gvm_http1_head *h = &c->px->head;
    struct gvm_err err = {0};
    int r = gvm_http1_response(gvm_buf_str(&rq->rin), gvm_str(rq->method), h, &err);
    if (r == 0)
        return false;
    if (r < 0) {
        bad_answer(c, err.text);
    } else if (h->status == 101) {
        if (rq->websocket)
            upgraded(c, h);
        else
            bad_answer(c, "the server switched protocols unasked");
    } else if (h->status < 200) {
        interim(c, h);
        gvm_buf_consume(&rq->rin, h->length);
        return rq->rin.len > 0;
    } else {
        final(c, h);
    }
    return false;
}

/* ---- events of the upstream stream ---- */

void px_response_data(void *arg, const uint8_t *p, size_t n)
{
    struct px_conn *c = arg;
    struct px_request *rq = &c->rq;
    rq->bytes_in += n;
    if (c->state == PX_RELAY) {
        to_agent(c, p, n);
        return;
    }
    if (rq->rhead_done) {
        if (pass_plain(c, p, n))
            return;
        gvm_buf_reset(&c->px->scratch);
        pass_body(c, (struct gvm_str){(const char *)p, n}, &c->px->scratch);
        return;
    }
    if (gvm_buf_add(&rq->rin, p, n) < 0) {
        bad_answer(c, "the server's head is too large");
        return;
    }
    while (read_head(c))
        ;
}

/* A pooled connection may have ended just before it was used: once more, on a new one. */
static bool try_again(struct px_conn *c)
{
    struct px_request *rq = &c->rq;
    if (!rq->reused || rq->retried || rq->rhead_done || rq->rin.len || rq->bytes_in ||
        rq->body != GVM_BODY_NONE)
        return false;
    rq->retried = true;
    rq->sent_end = false;
    rq->bytes_out = 0;
    px_conn_no_timer(c);
    if (rq->up)
        stream_close(rq->up, 0);
    rq->up = NULL;
    c->state = PX_HELD;
    c->up_eof = false;
    px_connect(c);
    return true;
}

/* The upstream will send nothing more. */
static void ended(struct px_conn *c, const char *why)
{
    struct px_request *rq = &c->rq;
    if (!rq->rhead_done) {
        if (!try_again(c))
            bad_answer(c, why);
    } else if (rq->out_body.kind == GVM_BODY_CLOSE && rq->up && !stream_truncated(rq->up)) {
        done(c);
    } else {
        px_conn_close(c, 0, why);
    }
}

void px_response_eof(void *arg)
{
    struct px_conn *c = arg;
    c->up_eof = true;
    if (c->state != PX_RELAY) {
        ended(c, "the server closed the connection before its answer was whole");
        return;
    }
    if (c->agent_eof)
        px_conn_close(c, PX_LINGER_MS, NULL);
    else if (c->agent)
        stream_shutdown(c->agent);
}

void px_response_drain(void *arg)
{
    struct px_conn *c = arg;
    if (c->state == PX_BODY || c->state == PX_RELAY)
        px_conn_resume(c);
}

void px_response_lost(void *arg, const struct gvm_err *err)
{
    struct px_conn *c = arg;
    c->rq.up = NULL;
    if (c->state == PX_RELAY)
        px_conn_close(c, PX_LINGER_MS, err ? "the server's connection broke" : NULL);
    else
        ended(c, err ? err->text : "the server closed the connection");
}
