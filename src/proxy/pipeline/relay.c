/* Bytes both ways, unread: an opaque stream that a tcp rule allows, TLS that is not intercepted,
 * and a WebSocket after its handshake. Each direction ends on its own; the slower side holds the
 * other back. */
#include "proxy/pipeline/px.h"

/* ---- from the upstream ---- */

static void up_data(void *arg, const uint8_t *p, size_t n)
{
    struct px_request *rq = arg;
    struct px_conn *c = rq->conn;
    rq->bytes_in += n;
    if (rq->ws) {
        px_ws_data(rq, false, p, n);
        return;
    }
    if (c->agent && stream_write(c->agent, p, n) == 0 && stream_queued(c->agent) > GVM_STREAM_HIGH)
        stream_pause(rq->up);
}

static void up_eof(void *arg)
{
    struct px_request *rq = arg;
    rq->up_eof = true;
    if (rq->conn->agent_eof)
        px_conn_close(rq->conn, PX_LINGER_MS, NULL);
    else if (rq->conn->agent)
        stream_shutdown(rq->conn->agent);
}

static void up_drain(void *arg)
{
    px_conn_resume(((struct px_request *)arg)->conn);
}

static void up_close(void *arg, const struct gvm_err *err)
{
    struct px_request *rq = arg;
    rq->up = NULL;
    px_conn_close(rq->conn, PX_LINGER_MS, err ? "the server's connection broke" : NULL);
}

static const struct stream_events up_events = {up_data, up_eof, up_drain, up_close};

/* ---- from the agent ---- */

/* What the agent sent before there was anybody to send it to. */
static void flush_early(struct px_conn *c)
{
    struct gvm_buf *in = &c->in;
    if (in->len)
        px_relay_data(c, gvm_buf_data(in), in->len);
    gvm_buf_done(in);
}

void px_relay_start(struct px_request *rq, struct gvm_str from_upstream)
{
    struct px_conn *c = rq->conn;
    rq->state = PX_RELAY;
    px_no_timer(rq);
    stream_idle(rq->up, 0, NULL);
    stream_set_events(rq->up, &up_events, rq);
    if (from_upstream.n && rq->ws)
        px_ws_data(rq, false, (const uint8_t *)from_upstream.p, from_upstream.n);
    else if (from_upstream.n && c->agent &&
             stream_write(c->agent, from_upstream.p, from_upstream.n) < 0)
        gvm_log(GVM_LOG_DEBUG, "a relay ended before it began");
    if (px_conn_closed(c))
        return;
    flush_early(c);
    if (px_conn_closed(c))
        return;
    px_conn_resume(c);
    stream_resume(rq->up);
    if (c->agent_eof)
        stream_shutdown(rq->up);
}

void px_relay_open(struct px_request *rq)
{
    px_relay_start(rq, (struct gvm_str){0});
}

void px_relay_data(struct px_conn *c, const uint8_t *p, size_t n)
{
    struct px_request *rq = &c->rq;
    rq->bytes_out += n;
    if (rq->ws) {
        px_ws_data(rq, true, p, n);
        return;
    }
    if (stream_write(rq->up, p, n) == 0 && stream_queued(rq->up) > GVM_STREAM_HIGH)
        px_conn_pause(c);
}

void px_relay_agent_eof(struct px_conn *c)
{
    if (c->rq.up_eof)
        px_conn_close(c, PX_LINGER_MS, NULL);
    else
        stream_shutdown(c->rq.up);
}
