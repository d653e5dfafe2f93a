/* Bytes both ways, unread: an opaque stream that a tcp rule allows, TLS that is not intercepted, and a
 * WebSocket after its handshake. Each direction ends on its own; the slower side holds the other back. */
#include "proxy/pipeline/px.h"

/* What the agent sent before there was anybody to send it to. */
static void flush_early(struct px_conn *c)
{
    struct gvm_buf *in = &c->in;
    if (in->len)
        px_relay_data(c, gvm_buf_data(in), in->len);
    gvm_buf_done(in);
}

void px_relay_start(struct px_conn *c, struct gvm_str from_upstream)
{
    c->state = PX_RELAY;
    px_conn_no_timer(c);
    if (from_upstream.n && c->agent &&
        stream_write(c->agent, from_upstream.p, from_upstream.n) < 0)
        gvm_log(GVM_LOG_DEBUG, "a relay ended before it began");
    flush_early(c);
    px_conn_resume(c);
    stream_resume(c->rq.up);
    if (c->agent_eof)
        stream_shutdown(c->rq.up);
}

void px_relay_open(struct px_conn *c)
{
    px_relay_start(c, (struct gvm_str){0});
}

void px_relay_data(struct px_conn *c, const uint8_t *p, size_t n)
{
    struct px_request *rq = &c->rq;
    rq->bytes_out += n;
    if (stream_write(rq->up, p, n) == 0 && stream_queued(rq->up) > GVM_STREAM_HIGH)
        px_conn_pause(c);
}

void px_relay_agent_eof(struct px_conn *c)
{
    if (c->up_eof)
        px_conn_close(c, PX_LINGER_MS, NULL);
    else
        stream_shutdown(c->rq.up);
}
