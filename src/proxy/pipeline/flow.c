/* An allowed request on its way upstream and its answer on the way back, whatever versions are
 * spoken on the two sides. Each direction is held back when the side it goes to is behind.
 *
 * What of the agent's body comes before there is an upstream is held; once there is one it flows.
 * The answer may come, and end, before the request did. */
#include <errno.h>

#include "proxy/pipeline/px.h"

#define BATCHED 4096u /* bytes that streams hold back until the turn of the loop ends */

/* What the agent speaks is what the server is asked for first; HTTP/2 in the clear only when the
 * agent took for granted that its server speaks it. */
static enum upstream_http http_of(const struct px_request *rq)
{
    if (rq->kind != PX_HTTP || rq->websocket)
        return UPSTREAM_ANY;
    return rq->conn->h2 && rq->tls == rq->conn->tls ? UPSTREAM_HTTP2 : UPSTREAM_HTTP1;
}

void px_upstream_want(const struct px_request *rq, struct upstream_want *ret)
{
    *ret = (struct upstream_want){
        .run = rq->run->id,
        .host = rq->host,
        .port = rq->port,
        .tls = rq->tls,
        .private_ok = rq->verdict.private_ok,
        .credential = rq->cred_id,
        .identity = rq->identity,
        .conf = rq->policy->conf,
        .fresh = rq->kind != PX_HTTP || rq->retried || rq->websocket,
        .http = http_of(rq),
    };
}

/* ---- the request ---- */

static void on_first_byte_timeout(uv_timer_t *t)
{
    px_fail(t->data, 504, "the server did not answer in time");
}

static void await_answer(struct px_request *rq)
{
    if (!rq->rhead_done)
        px_timer(rq, rq->policy->conf->timeouts.first_byte, on_first_byte_timeout);
}

static void pass_on(struct px_request *rq, struct gvm_str span)
{
    rq->bytes_out += span.n;
    rq->back->data(rq, span);
    if (rq->back->full(rq))
        rq->front->pause(rq);
}

static void pass_end(struct px_request *rq)
{
    rq->sent_end = true;
    rq->back->end(rq, gvm_buf_str(&rq->trailers));
}

void px_body(struct px_request *rq, struct gvm_str span)
{
    if (rq->state == PX_RELAY) {
        px_relay_span(rq, span);
        return;
    }
    if (rq->state == PX_BODY && !rq->websocket) {
        pass_on(rq, span);
        await_answer(rq);
        return;
    }
    if (gvm_buf_adds(&rq->held, span) < 0 && rq->inspecting)
        px_refuse(rq, 503, "busy", PX_NO_MEMORY);
    else if (rq->held.failed)
        rq->front->close(rq, 0, PX_NO_MEMORY);
    else if (rq->inspecting)
        px_inspect_more(rq);
    else if (rq->held.len > PX_PIPELINED)
        rq->front->pause(rq);
}

void px_body_end(struct px_request *rq)
{
    rq->in_done = true;
    if (rq->inspecting)
        px_inspect_more(rq);
    if (rq->state != PX_BODY)
        return;
    pass_end(rq);
    await_answer(rq);
}

void px_body_bad(struct px_request *rq, const char *why)
{
    rq->close = true;
    px_record_refused(rq, 400, "malformed", why, (struct gvm_str){0});
    px_fail(rq, 400, why);
}

/* Streams hold small writes back until the decisions of this turn are with the ledger; what is more
 * goes out at once, so the ledger has to come first. */
static bool recorded_before(struct px_request *rq, size_t n)
{
    return !rq->unsent || n < BATCHED || px_batch_flush(rq->px) == 0;
}

/* A body that was judged may be larger than what is framed at once. */
static void pass_held(struct px_request *rq)
{
    struct gvm_str all = gvm_buf_str(&rq->held);
    while (all.n) {
        struct gvm_str piece = {all.p, all.n < PX_PIPELINED ? all.n : PX_PIPELINED};
        pass_on(rq, piece);
        all.p += piece.n;
        all.n -= piece.n;
    }
}

static void send_request(struct px_request *rq)
{
    bool had = rq->held.len > 0;
    if (!recorded_before(rq, rq->head.len + rq->cred.len + rq->held.len) || px_closed(rq))
        return;
    rq->state = PX_BODY;
    stream_batch_begin(&rq->px->loop);
    rq->bytes_out += rq->head.len + rq->cred.len;
    rq->back->head(rq);
    if (!rq->websocket) /* frames wait until the server has agreed to them */
        pass_held(rq);
    if (rq->in_done)
        pass_end(rq);
    stream_batch_end(&rq->px->loop);
    if (!rq->websocket)
        px_empty(&rq->held);
    if (rq->expect_continue && !had)
        rq->front->go_on(rq);
    rq->expect_continue = false;
    await_answer(rq);
    rq->back->resume(rq);
    if (!rq->in_done && !rq->back->full(rq))
        rq->front->resume(rq);
}

static void begin(struct px_request *rq)
{
    if (rq->kind == PX_HTTP)
        send_request(rq);
    else
        px_relay_open(rq);
}

/* rq->up is there. */
static void connected(struct px_request *rq, const struct upstream_got *got)
{
    rq->up = got->stream;
    rq->up_ip = got->ip;
    rq->up_port = got->port;
    rq->reused = got->reused;
    stream_bill(rq->up, rq->run->bill);
    px_http1_back(rq);
    begin(rq);
}

void px_connect_failed(struct px_request *rq, const struct gvm_err *err)
{
    if (err->code == EACCES)
        px_refuse_address(rq, err->text);
    else
        px_fail(rq, err->code == ETIMEDOUT ? 504 : 502, err->text);
}

/* A new connection on which HTTP/2 was agreed. */
static void connected_http2(struct px_request *rq, const struct upstream_got *got)
{
    struct upstream_want want;
    char text[UPSTREAM_KEY_MAX];
    px_upstream_want(rq, &want);
    rq->up = got->stream;
    rq->up_ip = got->ip;
    rq->up_port = got->port;
    stream_bill(rq->up, rq->run->bill);
    if (px_h2_open(rq, upstream_key(&want, text)))
        begin(rq);
    else
        px_fail(rq, 503, "too many connections, or out of memory");
}

static void on_upstream(void *arg, const struct upstream_got *got, const struct gvm_err *err)
{
    struct px_request *rq = arg;
    struct px_dial *others = px_dial_take(rq); /* rq may be gone when they have their turn */
    rq->ask_up = NULL;
    if (!got)
        px_connect_failed(rq, err);
    else if (got->http2)
        connected_http2(rq, got);
    else
        connected(rq, got);
    px_dial_over(others, got && got->http2, err);
}

/* A connection that is there already. */
static bool take_one(struct px_request *rq, const struct upstream_want *want, struct gvm_str key)
{
    struct upstream_got got;
    bool first2 = want->http == UPSTREAM_HTTP2;
    if (want->fresh)
        return false;
    if (first2 && px_h2_join(rq, key)) {
        begin(rq);
        return true;
    }
    if (upstream_take(rq->px->upstreams, want, &got)) {
        connected(rq, &got);
        return true;
    }
    if (first2 || !px_h2_join(rq, key))
        return false;
    begin(rq);
    return true;
}

void px_connect(struct px_request *rq)
{
    struct upstream_want want;
    struct gvm_err err = {0};
    char text[UPSTREAM_KEY_MAX];
    px_upstream_want(rq, &want);
    struct gvm_str key = upstream_key(&want, text);
    if (take_one(rq, &want, key))
        return;
    bool may_share = want.http == UPSTREAM_HTTP2 && !want.fresh && !rq->alone && key.n;
    if (may_share && px_dial_wait(rq, key))
        return;
    int r = upstream_get(rq->px->upstreams, &want, on_upstream, rq, &rq->ask_up, &err);
    if (r < 0) {
        px_dial_forget(rq);
        px_connect_failed(rq, &err);
    }
}

void px_back_drained(struct px_request *rq)
{
    if (rq->state == PX_BODY)
        rq->front->resume(rq);
}

/* ---- the answer ---- */

void px_reply_head(struct px_request *rq, const struct gvm_http1_head *h)
{
    if (h->status < 200) {
        if (h->status != 100) /* the agent was told to go on by us */
            rq->front->head(rq, h);
        return;
    }
    px_no_timer(rq);
    rq->rhead_done = true;
    rq->status = h->status;
    if (!rq->in_done)
        rq->close = true;
    rq->front->head(rq, h);
}

void px_reply_data(struct px_request *rq, struct gvm_str span)
{
    rq->front->data(rq, span);
    if (rq->front->full(rq))
        rq->back->pause(rq);
}

void px_reply_end(struct px_request *rq, struct gvm_str trailers)
{
    bool whole = rq->in_done && rq->sent_end;
    if (!whole)
        rq->close = true;
    rq->front->end(rq, trailers);
    rq->back->release(rq, whole, 0);
    rq->back = NULL;
    px_no_timer(rq);
    px_outcome(rq, NULL);
    rq->front->done(rq);
}

/* RFC 9110 9.2.2, and of those only the ones that carry nothing we no longer have. */
static bool is_repeatable(const struct px_request *rq)
{
    static const char *const idempotent[] = {"GET",    "HEAD",     "OPTIONS", "PUT",
                                             "DELETE", "PROPFIND", "REPORT"};
    for (size_t i = 0; i < sizeof idempotent / sizeof *idempotent; i++)
        if (strcmp(rq->method, idempotent[i]) == 0)
            return true;
    return false;
}

/* A pooled connection may have ended just before it was used, and a server may say that it did
 * nothing: once more, on a new connection. */
static bool try_again(struct px_request *rq, bool untouched)
{
    bool may = untouched || (rq->reused && !rq->bytes_in && is_repeatable(rq));
    if (!may || rq->retried || rq->rhead_done || rq->body != GVM_BODY_NONE)
        return false;
    px_no_timer(rq);
    rq->back->release(rq, false, 0);
    rq->back = NULL;
    rq->retried = true;
    rq->sent_end = rq->up_eof = false;
    rq->bytes_out = 0;
    rq->state = PX_HELD;
    px_connect(rq);
    return true;
}

void px_reply_cut(struct px_request *rq, bool untouched, const char *why)
{
    if (try_again(rq, untouched))
        return;
    if (rq->rhead_done)
        rq->front->close(rq, 0, why);
    else
        px_fail(rq, 502, why);
}

void px_front_drained(struct px_request *rq)
{
    if (rq->back && (rq->state == PX_BODY || rq->state == PX_RELAY))
        rq->back->resume(rq);
}
