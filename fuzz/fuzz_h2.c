/* Any bytes from an agent that speaks HTTP/2, against the real front and a pipeline that answers by
 * path:
 *
 *   /e  echoes the body, with trailers    /d  an answer of our own    /c  cut    /x  reset by us
 *   /i  103, then like /e                 /w  a WebSocket, when it is asked for: echoes
 *
 * Anything else is held until the connection ends.
 *
 * First byte: how many bytes arrive at a time. Whatever is judged is for the host of the
 * connection, and its head is one that our own strict HTTP/1 parser takes. */
#include <stdint.h>
#include <stdlib.h>
#include "proxy/http1/head.h"
#include "proxy/pipeline/px.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOST "good.test"

static struct px px;
static struct px_run run;
static size_t written;

static void check(bool good)
{
    if (!good)
        abort();
}

/* ---- what the front stands on ---- */

void upstream_identity_unref(struct upstream_identity *id)
{
    check(!id);
}

size_t stream_queued(const struct stream *s)
{
    (void)s;
    return written;
}

int stream_write(struct stream *s, const void *p, size_t n)
{
    (void)s;
    (void)p;
    check(n <= 16384 + 9);
    written += n;
    return 0;
}

void px_inspect_done(struct px_request *rq)
{
    (void)rq;
}
int px_ws_key(struct px_request *rq)
{
    check(rq->websocket);
    return 0;
}

void px_ws_free(struct px_request *rq)
{
    (void)rq;
}
void px_conn_close(struct px_conn *c, uint64_t linger_ms, const char *error)
{
    (void)linger_ms;
    if (px_conn_closed(c))
        return;
    px_h2_end(c, error);
    px_request_end(&c->rq, 0, error);
}

void px_conn_resume(struct px_conn *c)
{
    (void)c;
}

const struct gvm_conf_timeouts *px_timeouts(const struct px_run *r)
{
    static const struct gvm_conf_timeouts some = {1000, 1000, 1000, 1000, 1000, 1000};
    (void)r;
    return &some;
}

void px_record_refused(struct px_request *rq, unsigned status, const char *why, const char *reason,
                       struct gvm_str raw)
{
    (void)rq;
    (void)status;
    (void)raw;
    check(why && reason);
}

void px_ask_gone(struct px_request *rq, const char *why)
{
    (void)rq;
    (void)why;
}

void px_unpark_one(struct px_request *rq)
{
    (void)rq;
}

void px_link_cancel(struct px *p, uint64_t *waiter)
{
    (void)p;
    *waiter = 0;
}

void upstream_cancel(struct upstream_ask *ask)
{
    (void)ask;
}

void px_dial_forget(struct px_request *rq)
{
    (void)rq;
}

void px_outcome(struct px_request *rq, const char *error)
{
    (void)rq;
    (void)error;
}

void px_batch_forget(struct px_request *rq)
{
    (void)rq;
}

void px_policy_unref(struct px_policy *p)
{
    (void)p;
}

/* ---- the pipeline ---- */

static void say(struct px_request *rq, unsigned status)
{
    struct px_answer a = {.status = status,
                          .decision = "Deny",
                          .json = GVM_STR("{\"error\":\"x\"}"),
                          .reason = GVM_STR("because \xc3\xa4 100%")};
    rq->status = status;
    rq->front->answer(rq, &a);
    rq->front->done(rq);
}

void px_refuse(struct px_request *rq, unsigned status, const char *why, const char *reason)
{
    check(!px_closed(rq) && why && reason);
    say(rq, status);
}

/* What would be forwarded is one request for the connection's host. */
static void check_head(const struct px_request *rq)
{
    static struct gvm_http1_head h;
    struct gvm_buf all;
    struct gvm_authority a;
    gvm_buf_init(&all, 4 * GVM_MAX_HEAD);
    gvm_buf_adds(&all, gvm_buf_str(&rq->head));
    gvm_buf_addz(&all, "\r\n");
    check(strcmp(rq->host, HOST) == 0 && rq->port == 443 && rq->tls);
    if (all.len <= GVM_MAX_HEAD) {
        check(gvm_http1_request(gvm_buf_str(&all), &h, NULL) == 1);
        check(h.length == all.len && gvm_str_eqz(h.method, rq->method));
        check(gvm_authority_parse(h.host, &a, NULL) == 0 && strcmp(a.host, HOST) == 0);
        check((h.body == GVM_BODY_NONE) == (rq->body == GVM_BODY_NONE) ||
              (h.body == GVM_BODY_LENGTH && !h.content_length));
    }
    gvm_buf_done(&all);
}

static bool is(const struct px_request *rq, char what)
{
    struct gvm_str p = gvm_buf_str(&rq->path);
    return p.p && p.n > 1 && p.p[1] == what;
}

static void head(struct px_request *rq, uint16_t status, enum gvm_body_kind body)
{
    struct gvm_http1_head *h = &px.head;
    h->status = status;
    h->body = body;
    h->nheaders = 2;
    h->headers[0] = (struct gvm_header){GVM_STR("X-Some"), GVM_STR("thing")};
    h->headers[1] = (struct gvm_header){GVM_STR("Connection"), GVM_STR("x-other")};
    rq->front->head(rq, h);
}

static void finish(struct px_request *rq)
{
    rq->front->end(rq, GVM_STR("X-Sum: 1\r\nContent-Length: 3\r\n"));
    rq->front->done(rq);
}

void px_judge(struct px_request *rq)
{
    check_head(rq);
    rq->state = PX_BODY;
    if (rq->websocket && is(rq, 'w')) {
        head(rq, 101, GVM_BODY_NONE);
        rq->state = PX_RELAY;
    } else if (is(rq, 'd')) {
        say(rq, 403);
    } else if (is(rq, 'c')) {
        rq->front->cut(rq, "cut");
    } else if (is(rq, 'x')) {
        rq->front->close(rq, 0, "closed");
    } else if (is(rq, 'e') || is(rq, 'i')) {
        if (is(rq, 'i'))
            head(rq, 103, GVM_BODY_NONE);
        if (rq->expect_continue)
            rq->front->go_on(rq);
        head(rq, 200, rq->in_done ? GVM_BODY_NONE : GVM_BODY_CHUNKED);
        if (rq->in_done)
            finish(rq);
    } else {
        rq->state = PX_HELD;
    }
}

void px_relay_stream_eof(struct px_request *rq)
{
    check(rq->websocket && !px_closed(rq));
    rq->ws_eof = true;
    if (rq->state == PX_RELAY)
        finish(rq);
}

void px_body(struct px_request *rq, struct gvm_str span)
{
    check(!px_closed(rq) && (rq->websocket ? !rq->ws_eof : !rq->in_done));
    if (rq->state == PX_RELAY || (rq->state == PX_BODY && !rq->websocket))
        rq->front->data(rq, span);
    if (rq->front->full(rq))
        rq->front->pause(rq);
    if (rq->state == PX_HELD && gvm_buf_adds(&rq->held, span) == 0 && rq->held.len > PX_PIPELINED)
        rq->front->pause(rq);
}

void px_body_end(struct px_request *rq)
{
    check(!px_closed(rq));
    rq->in_done = true;
    if (rq->state == PX_BODY)
        finish(rq);
}

void px_front_drained(struct px_request *rq)
{
    rq->front->resume(rq);
}

/* ---- one connection ---- */

static void close_conn(uv_handle_t *h)
{
    struct px_conn *c = ((struct px_request *)h->data)->conn;
    px_h2_free(c);
    px_request_done(&c->rq);
    gvm_buf_done(&c->in);
    free(c);
}

static struct px_conn *open_conn(void)
{
    struct px_conn *c = gvm_calloc(1, sizeof *c);
    check(c != NULL);
    c->px = &px;
    c->run = &run;
    c->tls = true;
    c->agent = (struct stream *)c; /* only handed on */
    c->dest = (struct px_dest){.kind = PX_DEST_NAME, .host = HOST, .port = 443};
    gvm_buf_init(&c->in, PX_IN_MAX);
    px_request_init(&c->rq, c, NULL);
    gvm_buf_addz(&c->in, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    px_h2_start(c);
    return c;
}

static void set_up(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    check(uv_loop_init(&px.loop) == 0);
    gvm_buf_init(&px.scratch, 8u << 20);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    set_up();
    struct px_conn *c = open_conn();
    size_t step = size ? 1 + data[0] * 16u : 1;
    for (size_t at = 1; at < size && !px_conn_closed(c); at += step) {
        px_h2_data(c, data + at, size - at < step ? size - at : step);
        px_h2_speak(&px);
        written = 0; /* the peer has read it */
        (void)uv_run(&px.loop, UV_RUN_NOWAIT);
    }
    px_conn_close(c, 0, "the end");
    uv_close((uv_handle_t *)&c->rq.timer, close_conn);
    (void)uv_run(&px.loop, UV_RUN_NOWAIT);
    check(px.marked == NULL);
    return 0;
}
