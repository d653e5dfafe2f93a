/* Requests on connections of HTTP/2 to upstreams, and their answers. */
#include "proxy/h2/up.h"
#include "proxy/http1/head.h"

/* ---- the request ---- */

static ssize_t read_out(nghttp2_session *ng, int32_t id, uint8_t *frame, size_t cap,
                        uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct h2_call *call = source->ptr;
    (void)arg;
    if (!call->out.len && !call->ended) {
        call->waits = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    ssize_t n = h2_take(&call->out, frame, cap);
    if (call->ended && !call->out.len) {
        struct gvm_str lines = gvm_buf_str(&call->trailers);
        struct h2_fields f = {.n = 0};
        struct gvm_header h;
        while (px_field_next(&lines, &h))
            if (px_trailer_ok(h.name))
                h2_field(&f, h.name, h.value);
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (f.n && nghttp2_submit_trailer(ng, id, f.nv, f.n) == 0)
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    }
    if (call->above && call->out.len < H2_LOW) {
        call->above = false;
        if (call->rq)
            px_back_drained(call->rq);
    }
    return n;
}

/* What HTTP/1 says in its head and HTTP/2 in its framing. */
static bool says_framing(struct gvm_str name)
{
    return gvm_str_ieqz(name, "host") || gvm_str_ieqz(name, "transfer-encoding") ||
           gvm_str_ieqz(name, "connection") || gvm_str_ieqz(name, "upgrade");
}

static void add_lines(struct h2_fields *f, struct gvm_str lines, bool secret)
{
    struct gvm_header h;
    while (px_field_next(&lines, &h)) {
        if (says_framing(h.name))
            continue;
        if (secret || gvm_str_ieqz(h.name, "authorization"))
            h2_field_secret(f, h.name, h.value);
        else
            h2_field(f, h.name, h.value);
    }
}

/* rq->head and rq->cred as fields; `mem` holds what has to be put together. */
static void write_fields(const struct px_request *rq, struct h2_fields *f, struct gvm_buf *mem)
{
    struct gvm_str lines = gvm_buf_str(&rq->head), first;
    gvm_str_cut(&lines, '\n', &first);
    gvm_buf_reset(mem);
    if (gvm_authority_format(rq->host, rq->port, rq->tls, mem) < 0)
        mem->failed = true;
    size_t split = mem->len;
    gvm_buf_adds(mem, gvm_buf_str(&rq->path));
    if (rq->has_query) {
        gvm_buf_addc(mem, '?');
        gvm_buf_adds(mem, gvm_buf_str(&rq->query));
    }
    struct gvm_str text = gvm_buf_str(mem);
    h2_field(f, GVM_STR(":method"), gvm_str(rq->method));
    h2_field(f, GVM_STR(":scheme"), rq->tls ? GVM_STR("https") : GVM_STR("http"));
    h2_field(f, GVM_STR(":authority"), (struct gvm_str){text.p, split});
    h2_field(f, GVM_STR(":path"), (struct gvm_str){text.p + split, text.n - split});
    add_lines(f, lines, false);
    add_lines(f, gvm_buf_str(&rq->cred), true);
    if (rq->te_trailers)
        h2_field(f, GVM_STR("te"), GVM_STR("trailers"));
}

static void head(struct px_request *rq)
{
    struct h2_call *call = rq->call;
    struct h2_fields f = {.n = 0};
    struct gvm_buf mem GVM_CLEANUP(gvm_buf_done);
    gvm_buf_init(&mem, GVM_MAX_HEAD * 2);
    write_fields(rq, &f, &mem);
    nghttp2_data_provider from = {.source = {.ptr = call}, .read_callback = read_out};
    bool body = rq->body != GVM_BODY_NONE;
    call->id = mem.failed ? -1
                          : nghttp2_submit_request(call->up->s.ng, NULL, f.nv, f.n,
                                                   body ? &from : NULL, call);
    call->ended = !body;
    h2_mark(&call->up->s);
}

static void more(struct h2_call *call)
{
    if (call->waits)
        nghttp2_session_resume_data(call->up->s.ng, call->id);
    call->waits = false;
    h2_mark(&call->up->s);
}

static void data(struct px_request *rq, struct gvm_str span)
{
    struct h2_call *call = rq->call;
    if (!call)
        return;
    if (gvm_buf_adds(&call->out, span) < 0)
        nghttp2_submit_rst_stream(call->up->s.ng, NGHTTP2_FLAG_NONE, call->id, NGHTTP2_CANCEL);
    if (call->out.len > H2_HIGH)
        call->above = true;
    more(call);
}

static void end(struct px_request *rq, struct gvm_str trailers)
{
    struct h2_call *call = rq->call;
    if (!call || call->ended)
        return;
    gvm_buf_adds(&call->trailers, trailers);
    call->ended = true;
    more(call);
}

static bool full(const struct px_request *rq)
{
    return rq->call && rq->call->above;
}

static void hold(struct px_request *rq)
{
    if (rq->call)
        rq->call->paused = true;
}

static void resume(struct px_request *rq)
{
    struct h2_call *call = rq->call;
    if (!call)
        return;
    call->paused = false;
    if (call->owed)
        nghttp2_session_consume_stream(call->up->s.ng, call->id, call->owed);
    call->owed = 0;
    h2_mark(&call->up->s);
}

/* What is left of a body that was given whole still goes out; anything else is cancelled. */
static void release(struct px_request *rq, bool whole, uint64_t linger_ms)
{
    struct h2_call *call = rq->call;
    (void)linger_ms;
    rq->call = NULL;
    if (!call)
        return;
    call->rq = NULL;
    if (call->id <= 0) {
        h2_call_free(call);
        return;
    }
    if (!whole)
        nghttp2_submit_rst_stream(call->up->s.ng, NGHTTP2_FLAG_NONE, call->id, NGHTTP2_CANCEL);
    h2_mark(&call->up->s);
}

const struct px_back h2_back = {
    .head = head,
    .data = data,
    .end = end,
    .full = full,
    .pause = hold,
    .resume = resume,
    .release = release,
};

/* ---- the answer ---- */

static unsigned status_of(const struct h2_block *b)
{
    struct gvm_header f;
    size_t at = 0;
    while (h2_block_next(b, &at, &f)) /* nghttp2 has seen to three digits */
        if (gvm_str_eqz(f.name, ":status") && f.value.n == 3)
            return (unsigned)(f.value.p[0] - '0') * 100 + (unsigned)(f.value.p[1] - '0') * 10 +
                   (unsigned)(f.value.p[2] - '0');
    return 0;
}

static void read_head(const struct h2_block *b, bool end_stream, unsigned status,
                      struct gvm_http1_head *h)
{
    struct gvm_header f;
    size_t at = 0;
    h->response = h->keep_alive = true;
    h->minor = 1;
    h->status = (uint16_t)status;
    h->reason = (struct gvm_str){0};
    h->nheaders = 0;
    h->upgrade = h->expect_continue = false;
    h->content_length = 0;
    h->body = GVM_BODY_CHUNKED;
    while (h2_block_next(b, &at, &f)) {
        if (f.name.n && f.name.p[0] == ':')
            continue;
        if (gvm_str_eqz(f.name, "content-length"))
            h->body = GVM_BODY_LENGTH;
        h->headers[h->nheaders++] = f;
    }
    if (end_stream || status < 200)
        h->body = GVM_BODY_NONE;
}

static void on_silent(uv_timer_t *t)
{
    struct px_request *rq = t->data;
    rq->front->close(rq, 0, "the server went silent in the middle of its answer");
}

static void await_more(struct px_request *rq)
{
    px_timer(rq, rq->policy->conf->timeouts.idle, on_silent);
}

static void on_headers(struct h2_call *call, bool end_stream)
{
    struct px_request *rq = call->rq;
    const struct h2_block *b = &call->up->s.block;
    unsigned status = status_of(b);
    rq->bytes_in += b->size;
    if (b->too_large) {
        px_fail(rq, 502, "the server's head is too large");
        return;
    }
    if (!status) {
        h2_block_lines(b, &rq->out_trailers);
        return;
    }
    read_head(b, end_stream, status, &rq->px->head);
    px_reply_head(rq, &rq->px->head);
    if (status >= 200 && !px_closed(rq))
        await_more(rq);
}

/* ---- callbacks ---- */

static struct h2_call *call_of(nghttp2_session *ng, int32_t id)
{
    return nghttp2_session_get_stream_user_data(ng, id);
}

static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                             void *arg)
{
    (void)ng;
    (void)frame;
    (void)name;
    (void)name_len;
    (void)value;
    (void)value_len;
    (void)flags;
    (void)arg;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct h2_up *up = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        h2_up_unlist(up);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    bool end_stream = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    struct h2_call *call = call_of(ng, frame->hd.stream_id);
    if (call && call->rq && frame->hd.type == NGHTTP2_HEADERS)
        on_headers(call, end_stream);
    if (call && call->rq && end_stream)
        px_reply_end(call->rq, gvm_buf_str(&call->rq->out_trailers));
    return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *arg)
{
    struct h2_call *call = call_of(ng, id);
    (void)flags;
    (void)arg;
    nghttp2_session_consume_connection(ng, n);
    if (!call || !call->rq) {
        nghttp2_session_consume_stream(ng, id, n);
        return 0;
    }
    call->owed += n;
    call->rq->bytes_in += n;
    px_reply_data(call->rq, (struct gvm_str){(const char *)p, n});
    if (!call->rq)
        return 0;
    await_more(call->rq);
    if (!call->paused) {
        nghttp2_session_consume_stream(ng, id, call->owed);
        call->owed = 0;
    }
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    struct h2_up *up = arg;
    struct h2_call *call = call_of(ng, id);
    if (!call)
        return 0;
    struct px_request *rq = call->rq;
    nghttp2_session_set_stream_user_data(ng, id, NULL);
    h2_call_free(call);
    if (rq) {
        rq->call = NULL;
        px_reply_cut(rq, code == NGHTTP2_REFUSED_STREAM, "the server reset the stream");
    }
    h2_up_rest(up);
    return 0;
}

const nghttp2_session_callbacks *h2_up_callbacks(void)
{
    static nghttp2_session_callbacks *cb;
    if (cb || !(cb = h2_callbacks()))
        return cb;
    nghttp2_session_callbacks_set_on_invalid_header_callback(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    return cb;
}
