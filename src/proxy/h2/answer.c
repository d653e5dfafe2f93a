/* The agent's side of HTTP/2, outwards: answers as frames, in the order nghttp2 chooses among
 * streams. */
#include "proxy/h2/front.h"

#include "proxy/http1/head.h"

static struct h2_stream *of(const struct px_request *rq)
{
    return (struct h2_stream *)(uintptr_t)rq;
}

static void mark(struct h2_stream *st)
{
    if (!st->front->ended)
        h2_mark(&st->front->s);
}

static void more(struct h2_stream *st)
{
    if (st->waits)
        nghttp2_session_resume_data(st->front->s.ng, st->id);
    st->waits = false;
    mark(st);
}

/* ---- the request's body ---- */

static void go_on(struct px_request *rq)
{
    struct h2_stream *st = of(rq);
    struct h2_fields f = {.n = 0};
    h2_field(&f, GVM_STR(":status"), GVM_STR("100"));
    nghttp2_submit_headers(st->front->s.ng, NGHTTP2_FLAG_NONE, st->id, NULL, f.nv, f.n, NULL);
    mark(st);
}

static void hold(struct px_request *rq)
{
    of(rq)->paused = true;
}

static void resume(struct px_request *rq)
{
    struct h2_stream *st = of(rq);
    st->paused = false;
    if (st->owed)
        nghttp2_session_consume_stream(st->front->s.ng, st->id, st->owed);
    st->owed = 0;
    mark(st);
}

/* ---- the answer's body ---- */

/* Trailers, when there are any, carry the end of the stream. */
static uint32_t send_trailers(struct h2_stream *st)
{
    struct gvm_str lines = gvm_buf_str(&st->trailers);
    struct h2_fields f = {.n = 0};
    struct gvm_header h;
    while (px_field_next(&lines, &h))
        if (px_trailer_ok(h.name))
            h2_field(&f, h.name, h.value);
    if (!f.n || nghttp2_submit_trailer(st->front->s.ng, st->id, f.nv, f.n) != 0)
        return NGHTTP2_DATA_FLAG_EOF;
    return NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
}

static ssize_t read_out(nghttp2_session *ng, int32_t id, uint8_t *frame, size_t cap,
                        uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct h2_stream *st = source->ptr;
    (void)ng;
    (void)id;
    (void)arg;
    if (!st->out.len && !st->ended) {
        st->waits = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    ssize_t n = h2_take(&st->out, frame, cap);
    if (st->ended && !st->out.len)
        *flags |= send_trailers(st);
    if (st->above && st->out.len < H2_LOW) {
        st->above = false;
        px_front_drained(&st->rq);
    }
    return n;
}

static bool full(const struct px_request *rq)
{
    return of(rq)->above;
}

static void reset(struct h2_stream *st, uint32_t code)
{
    nghttp2_submit_rst_stream(st->front->s.ng, NGHTTP2_FLAG_NONE, st->id, code);
    mark(st);
}

static void data(struct px_request *rq, struct gvm_str span)
{
    struct h2_stream *st = of(rq);
    if (gvm_buf_adds(&st->out, span) < 0)
        reset(st, NGHTTP2_INTERNAL_ERROR);
    if (st->out.len > H2_HIGH)
        st->above = true;
    more(st);
}

static void end(struct px_request *rq, struct gvm_str trailers)
{
    struct h2_stream *st = of(rq);
    gvm_buf_adds(&st->trailers, trailers);
    st->ended = true;
    more(st);
}

/* ---- heads ---- */

static void submit(struct h2_stream *st, const struct h2_fields *f, bool body)
{
    nghttp2_data_provider from = {.source = {.ptr = st}, .read_callback = read_out};
    if (nghttp2_submit_response(st->front->s.ng, st->id, f->nv, f->n, body ? &from : NULL) != 0)
        reset(st, NGHTTP2_INTERNAL_ERROR);
    mark(st);
}

static void head(struct px_request *rq, const struct gvm_http1_head *h)
{
    struct h2_stream *st = of(rq);
    struct h2_fields f = {.n = 0};
    char status[12];
    bool opened = h->status == 101; /* a WebSocket: here it is an answer like any other */
    (void)snprintf(status, sizeof status, "%u", opened ? 200u : h->status);
    h2_field(&f, GVM_STR(":status"), gvm_str(status));
    bool nominates = px_http1_nominates(h);
    for (unsigned i = 0; i < h->nheaders; i++)
        if (px_http1_stays(h, &h->headers[i], nominates) &&
            !(opened && gvm_str_ieqz(h->headers[i].name, "sec-websocket-accept")))
            h2_field(&f, h->headers[i].name, h->headers[i].value);
    if (opened || h->status >= 200) {
        submit(st, &f, opened || h->body != GVM_BODY_NONE);
        return;
    }
    nghttp2_submit_headers(st->front->s.ng, NGHTTP2_FLAG_NONE, st->id, NULL, f.nv, f.n, NULL);
    mark(st);
}

/* ---- answers of our own ---- */

/* What our status means to a gRPC client (grpc/doc/statuscodes.md): 7 PERMISSION_DENIED,
 * 4 DEADLINE_EXCEEDED, 14 UNAVAILABLE, 13 INTERNAL. */
static const char *grpc_status(unsigned status)
{
    switch (status) {
    case 403:
        return "7";
    case 504:
        return "4";
    case 502:
    case 503:
        return "14";
    default:
        return "13";
    }
}

/* grpc-message: percent-encoded but for printable ASCII without '%' (gRPC over HTTP/2). */
static void grpc_message(struct gvm_str text, struct gvm_buf *out)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c >= 0x20 && c <= 0x7e && c != '%')
            gvm_buf_addc(out, (char)c);
        else
            gvm_buf_addf(out, "%%%02X", c);
    }
}

/* One block is the whole answer: a gRPC client takes its status from there. */
static void answer_grpc(struct h2_stream *st, const struct px_answer *a, struct h2_fields *f)
{
    struct gvm_buf *text = &st->front->s.px->scratch;
    gvm_buf_reset(text);
    gvm_buf_addz(text, "GVM: ");
    grpc_message(a->reason, text);
    h2_field(f, GVM_STR(":status"), GVM_STR("200"));
    h2_field(f, GVM_STR("content-type"), GVM_STR("application/grpc"));
    h2_field(f, GVM_STR("grpc-status"), gvm_str(grpc_status(a->status)));
    h2_field(f, GVM_STR("grpc-message"), gvm_buf_str(text));
    if (a->decision)
        h2_field(f, GVM_STR("x-gvm-decision"), gvm_str(a->decision));
    submit(st, f, false);
}

static void answer(struct px_request *rq, const struct px_answer *a)
{
    struct h2_stream *st = of(rq);
    struct h2_fields f = {.n = 0};
    char status[12], length[24];
    st->ended = true;
    if (st->grpc) {
        answer_grpc(st, a, &f);
        return;
    }
    (void)snprintf(status, sizeof status, "%u", a->status);
    (void)snprintf(length, sizeof length, "%zu", a->json.n);
    h2_field(&f, GVM_STR(":status"), gvm_str(status));
    h2_field(&f, GVM_STR("content-type"), GVM_STR("application/json"));
    h2_field(&f, GVM_STR("content-length"), gvm_str(length));
    h2_field(&f, GVM_STR("cache-control"), GVM_STR("no-store"));
    if (a->decision)
        h2_field(&f, GVM_STR("x-gvm-decision"), gvm_str(a->decision));
    if (a->status == 503)
        h2_field(&f, GVM_STR("retry-after"), GVM_STR("1"));
    bool body = strcmp(rq->method, "HEAD") != 0 && gvm_buf_adds(&st->out, a->json) == 0;
    submit(st, &f, body);
}

/* ---- the end ---- */

/* A request that is answered before its body is whole. RFC 9113 8.1 lets the server reset the
 * stream without an error once its answer is sent; clients that are writing just then see the reset
 * before the answer and lose it, and some read no answer before they have written all. So what they
 * still write is taken and dropped, up to a size, and until they pause. */
static void stop_now(struct h2_stream *st)
{
    px_no_timer(&st->rq);
    reset(st, NGHTTP2_NO_ERROR);
}

static void on_dropped_enough(uv_timer_t *t)
{
    stop_now(of(t->data));
}

void h2_answer_sent(struct h2_stream *st)
{
    st->sent = true;
    if (!st->stop)
        return;
    if (st->dropped > H2_DRAIN)
        stop_now(st);
    else
        px_timer(&st->rq, PX_LINGER_MS, on_dropped_enough);
}

void h2_answer_dropped(struct h2_stream *st, size_t n)
{
    st->dropped += n;
    if (st->dropped <= H2_DRAIN)
        nghttp2_session_consume_stream(st->front->s.ng, st->id, n);
    if (st->sent) /* until then its window stays shut */
        h2_answer_sent(st);
}

/* The stream goes on until its answer is sent; its window is open for what is still under way. */
static void done(struct px_request *rq)
{
    struct h2_stream *st = of(rq);
    px_batch_forget(rq);
    st->stop = rq->websocket ? !rq->ws_eof : !rq->in_done;
    resume(rq);
    rq->state = PX_CLOSED;
}

static void give_up(struct px_request *rq, uint64_t linger_ms, const char *error)
{
    (void)linger_ms;
    px_request_end(rq, 0, error);
    reset(of(rq), NGHTTP2_INTERNAL_ERROR);
}

static void cut(struct px_request *rq, const char *error)
{
    give_up(rq, 0, error);
}

const struct px_front h2_front = {
    .go_on = go_on,
    .pause = hold,
    .resume = resume,
    .full = full,
    .head = head,
    .data = data,
    .end = end,
    .answer = answer,
    .done = done,
    .close = give_up,
    .cut = cut,
};
