/* Bytes both ways, unread: an opaque stream that a tcp rule allows, TLS that is not intercepted,
 * and a WebSocket after its handshake. Each direction ends on its own; the slower side holds the
 * other back. The agent's side is a connection, or, for a WebSocket on HTTP/2, one stream of it. */
#include "proxy/pipeline/px.h"

static bool gone(const struct px_request *rq)
{
    return rq->conn->h2 ? px_closed(rq) : px_conn_closed(rq->conn);
}

static bool agent_ended(const struct px_request *rq)
{
    return rq->conn->h2 ? rq->ws_eof : rq->conn->agent_eof;
}

/* ---- to either side ---- */

void px_relay_to_agent(struct px_request *rq, struct gvm_str span)
{
    struct px_conn *c = rq->conn;
    if (c->h2)
        rq->front->data(rq, span);
    else if (!c->agent || stream_write(c->agent, span.p, span.n) < 0)
        return; /* the stream tells why, from the loop */
    if (rq->front->full(rq) && rq->up)
        stream_pause(rq->up);
}

void px_relay_to_upstream(struct px_request *rq, struct gvm_str span)
{
    if (rq->up && stream_write(rq->up, span.p, span.n) == 0 &&
        stream_queued(rq->up) > GVM_STREAM_HIGH)
        rq->front->pause(rq);
}

void px_relay_close(struct px_request *rq, const char *error)
{
    if (!rq->conn->h2) {
        px_conn_close(rq->conn, PX_LINGER_MS, error);
        return;
    }
    if (px_closed(rq))
        return;
    rq->front->end(rq, (struct gvm_str){0});
    px_request_quit(rq, PX_LINGER_MS, error);
    px_outcome(rq, error);
    rq->front->done(rq);
}

/* ---- from the upstream ---- */

static void up_data(void *arg, const uint8_t *p, size_t n)
{
    struct px_request *rq = arg;
    rq->bytes_in += n;
    if (rq->ws)
        px_ws_data(rq, false, p, n);
    else
        px_relay_to_agent(rq, (struct gvm_str){(const char *)p, n});
}

static void up_eof(void *arg)
{
    struct px_request *rq = arg;
    rq->up_eof = true;
    if (agent_ended(rq))
        px_relay_close(rq, NULL);
    else if (rq->conn->h2)
        rq->front->end(rq, (struct gvm_str){0});
    else if (rq->conn->agent)
        stream_shutdown(rq->conn->agent);
}

static void up_drain(void *arg)
{
    struct px_request *rq = arg;
    rq->front->resume(rq);
}

static void up_close(void *arg, const struct gvm_err *err)
{
    struct px_request *rq = arg;
    rq->up = NULL;
    px_relay_close(rq, err ? "the server's connection broke" : NULL);
}

static const struct stream_events up_events = {up_data, up_eof, up_drain, up_close};

/* ---- from the agent ---- */

void px_relay_span(struct px_request *rq, struct gvm_str span)
{
    rq->bytes_out += span.n;
    if (rq->ws)
        px_ws_data(rq, true, (const uint8_t *)span.p, span.n);
    else
        px_relay_to_upstream(rq, span);
}

void px_relay_data(struct px_conn *c, const uint8_t *p, size_t n)
{
    px_relay_span(&c->rq, (struct gvm_str){(const char *)p, n});
}

/* What the agent sent before there was anybody to send it to. */
static void flush_early(struct px_request *rq)
{
    struct gvm_buf *in = rq->conn->h2 ? &rq->held : &rq->conn->in;
    if (in->len)
        px_relay_span(rq, gvm_buf_str(in));
    gvm_buf_done(in);
}

void px_relay_start(struct px_request *rq, struct gvm_str from_upstream)
{
    rq->state = PX_RELAY;
    px_no_timer(rq);
    stream_idle(rq->up, 0, NULL);
    stream_set_events(rq->up, &up_events, rq);
    if (from_upstream.n && rq->ws)
        px_ws_data(rq, false, (const uint8_t *)from_upstream.p, from_upstream.n);
    else if (from_upstream.n)
        px_relay_to_agent(rq, from_upstream);
    if (gone(rq))
        return;
    flush_early(rq);
    if (gone(rq))
        return;
    rq->front->resume(rq);
    stream_resume(rq->up);
    if (agent_ended(rq))
        stream_shutdown(rq->up);
}

void px_relay_open(struct px_request *rq)
{
    px_relay_start(rq, (struct gvm_str){0});
}

static void agent_eof(struct px_request *rq)
{
    if (rq->up_eof)
        px_relay_close(rq, NULL);
    else if (rq->up)
        stream_shutdown(rq->up);
}

void px_relay_agent_eof(struct px_conn *c)
{
    agent_eof(&c->rq);
}

void px_relay_stream_eof(struct px_request *rq)
{
    rq->ws_eof = true;
    if (rq->state == PX_RELAY)
        agent_eof(rq);
}
