/* The first bytes of a connection, or of a tunnel inside CONNECT, and where it goes from there.
 *
 * A host and port that a tcp rule takes is opaque at once: its server may have to speak first. With
 * watch mode, where nothing is blocked, a client that stays silent is taken to wait for its server,
 * but not on the ports of HTTP, where silence is a connection opened in advance. */
#include "proxy/pipeline/px.h"

static void opaque(struct px_conn *c)
{
    struct px_request *rq = &c->rq;
    px_no_timer(&c->rq);
    if (c->dest.kind == PX_DEST_ANY || c->dest.kind == PX_DEST_UNKNOWN) {
        px_refuse(&c->rq, 0, "opaque", "neither HTTP nor TLS, and nothing names its destination");
        return;
    }
    rq->kind = PX_TCP;
    rq->tls = false;
    rq->port = c->dest.port;
    rq->is_ip = c->dest.kind == PX_DEST_IP;
    rq->ip = c->dest.ip;
    memcpy(rq->host, c->dest.host, sizeof rq->host);
    px_judge(&c->rq);
}

static void on_silence(uv_timer_t *t)
{
    opaque(((struct px_request *)t->data)->conn);
}

static void on_head_timeout(uv_timer_t *t)
{
    struct px_conn *c = ((struct px_request *)t->data)->conn;
    if (c->in.len)
        px_refuse(&c->rq, 0, "timeout", "the first bytes did not come to an end in time");
    else
        px_conn_close(c, 0, NULL);
}

/* May silence mean that the server speaks first? */
static bool server_may_speak_first(const struct px_conn *c)
{
    return c->run->watch && c->dest.kind != PX_DEST_ANY && c->dest.kind != PX_DEST_UNKNOWN &&
           c->dest.port != 80 && c->dest.port != 443;
}

void px_sniff_start(struct px_conn *c)
{
    c->rq.state = PX_SNIFF;
    struct gvm_verdict v;
    bool named = c->dest.kind == PX_DEST_NAME || c->dest.kind == PX_DEST_IP;
    if (named && px_tcp_rule(c, c->dest.host, c->dest.port, &v) && v.decision != GVM_DENY) {
        opaque(c);
        return;
    }
    if (server_may_speak_first(c))
        px_timer(&c->rq, PX_SILENCE_MS, on_silence);
    else
        px_timer(&c->rq, px_timeouts(c->run)->head, on_head_timeout);
    px_conn_resume(c);
    if (c->in.len)
        px_sniff(c);
}

void px_sniff(struct px_conn *c)
{
    switch (px_classify(gvm_buf_str(&c->in))) {
    case PX_PROTO_MORE:
        px_timer(&c->rq, px_timeouts(c->run)->head, on_head_timeout);
        return;
    case PX_PROTO_TLS:
        c->rq.state = PX_HELLO;
        px_timer(&c->rq, px_timeouts(c->run)->tls, on_head_timeout);
        px_hello(c);
        return;
    case PX_PROTO_HTTP1:
        c->rq.state = PX_HEAD;
        c->first_head = true;
        px_http1_read(c);
        return;
    case PX_PROTO_H2:
        px_h2_start(c);
        return;
    case PX_PROTO_OPAQUE:
        opaque(c);
        return;
    }
}
