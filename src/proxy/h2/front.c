/* The agent's side of HTTP/2, inwards: header blocks become requests that can be judged.
 *
 * nghttp2 holds the agent to RFC 9113 section 8 (pseudo-fields and their order, lower case, no
 * connection fields, content-length against DATA, no field with CR, LF or NUL); a stream that
 * breaks a rule is reset there and recorded here. What is left is what HTTP/1 has to check too. */
#include "proxy/h2/front.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

static struct h2_stream *stream_of(nghttp2_session *ng, int32_t id)
{
    return nghttp2_session_get_stream_user_data(ng, id);
}

static_assert(offsetof(struct h2_front, s) == 0, "callbacks get the session");

/* ---- streams ---- */

static struct h2_stream *new_stream(struct h2_front *f, int32_t id)
{
    struct h2_stream *st = gvm_calloc(1, sizeof *st);
    if (!st)
        return NULL;
    st->front = f;
    st->id = id;
    gvm_buf_init(&st->out, PX_IN_MAX);
    gvm_buf_init(&st->trailers, GVM_MAX_TRAILERS);
    gvm_buf_bill(&st->out, f->conn->run->bill);
    gvm_buf_bill(&st->trailers, f->conn->run->bill);
    px_request_init(&st->rq, f->conn, &h2_front);
    st->rq.state = PX_HEAD;
    st->rq.minor = 1;
    st->next = f->streams;
    if (st->next)
        st->next->link = &st->next;
    st->link = &f->streams;
    f->streams = st;
    f->nstreams++;
    f->conn->run->nstreams++;
    f->conn->px->nstreams++;
    return st;
}

static void free_stream(uv_handle_t *h)
{
    struct px_request *rq = h->data;
    struct h2_stream *st = (struct h2_stream *)rq;
    px_request_done(rq);
    gvm_buf_done(&st->out);
    gvm_buf_done(&st->trailers);
    free(st);
}

static_assert(offsetof(struct h2_stream, rq) == 0, "a stream is its request");

static void end_stream(struct h2_stream *st, const char *error)
{
    px_request_end(&st->rq, 0, error);
    *st->link = st->next;
    if (st->next)
        st->next->link = st->link;
    st->front->nstreams--;
    st->rq.run->nstreams--;
    st->rq.px->nstreams--;
    uv_close((uv_handle_t *)&st->rq.timer, free_stream);
}

/* ---- from a header block to a request ---- */

struct pseudo {
    struct gvm_str method, scheme, authority, path, protocol, host;
};

static const struct {
    const char *name;
    size_t offset;
} pseudo_fields[] = {
    {":method", offsetof(struct pseudo, method)},
    {":scheme", offsetof(struct pseudo, scheme)},
    {":authority", offsetof(struct pseudo, authority)},
    {":path", offsetof(struct pseudo, path)},
    {":protocol", offsetof(struct pseudo, protocol)},
};

static void take_pseudo(struct pseudo *p, const struct gvm_header *f)
{
    for (size_t i = 0; i < sizeof pseudo_fields / sizeof *pseudo_fields; i++)
        if (gvm_str_eqz(f->name, pseudo_fields[i].name))
            memcpy((char *)p + pseudo_fields[i].offset, &f->value, sizeof f->value);
}

/* They may be split over several fields (RFC 9113 8.2.3); everything behind us wants one. */
static void join_cookies(struct gvm_http1_head *h, struct gvm_buf *mem)
{
    struct gvm_header *first = NULL;
    unsigned n = 0;
    gvm_buf_reset(mem);
    for (unsigned i = 0; i < h->nheaders; i++) {
        struct gvm_header *f = &h->headers[i];
        if (!gvm_str_eqz(f->name, "cookie")) {
            h->headers[n++] = *f;
            continue;
        }
        if (mem->len)
            gvm_buf_add(mem, "; ", 2);
        gvm_buf_adds(mem, f->value);
        if (!first)
            first = &h->headers[n++], *first = *f;
    }
    h->nheaders = n;
    if (first)
        first->value = gvm_buf_str(mem);
}

static int take_fields(const struct h2_block *b, struct pseudo *p, struct gvm_http1_head *h,
                       struct gvm_err *err)
{
    struct gvm_header f;
    size_t at = 0;
    while (h2_block_next(b, &at, &f)) {
        if (f.name.n && f.name.p[0] == ':') {
            take_pseudo(p, &f);
            continue;
        }
        if (gvm_str_eqz(f.name, "host")) {
            if (p->host.n)
                return gvm_err_set(err, EINVAL, "two Host fields");
            p->host = f.value;
        } else if (gvm_str_eqz(f.name, "expect")) {
            if (!gvm_str_ieqz(f.value, "100-continue"))
                return gvm_err_set(err, EINVAL, "an Expect other than 100-continue");
            h->expect_continue = true;
        } else if (gvm_str_eqz(f.name, "content-length")) {
            if (gvm_parse_u64(f.value, INT64_MAX, &h->content_length) < 0)
                return gvm_err_set(err, EINVAL, "a content-length that is no number");
            h->body = GVM_BODY_LENGTH;
        }
        h->headers[h->nheaders++] = f;
    }
    return 0;
}

/* The block as a head that the rest of the proxy understands. Views into the block and px->scratch.
 */
static int read_block(struct h2_front *f, bool end, struct pseudo *p, struct gvm_http1_head *h,
                      struct gvm_err *err)
{
    h->nheaders = 0;
    h->body = GVM_BODY_CHUNKED; /* until its end */
    h->content_length = 0;
    h->response = h->upgrade = h->expect_continue = false;
    h->keep_alive = true;
    h->minor = 1;
    int r = take_fields(&f->s.block, p, h, err);
    if (r < 0)
        return r;
    if (end || p->protocol.n)
        h->body = GVM_BODY_NONE;
    h->method = p->method;
    h->target = p->path;
    h->host = p->host;
    join_cookies(h, &f->s.px->scratch);
    return 0;
}

static bool is_grpc(const struct gvm_http1_head *h)
{
    const struct gvm_header *t = gvm_http1_find(h, "content-type");
    static const struct gvm_str type = {"application/grpc", 16};
    return t && t->value.n >= type.n && gvm_str_ieq((struct gvm_str){t->value.p, type.n}, type) &&
           (t->value.n == type.n || strchr("+; ", t->value.p[type.n]) != NULL);
}

static void identified(struct h2_stream *st, const struct pseudo *p, const struct gvm_http1_head *h)
{
    struct px_request *rq = &st->rq;
    struct px_conn *c = rq->conn;
    struct px_refusal f = {400, "malformed"};
    struct gvm_err err = {0};
    struct px_target t;
    struct px_names names = {p->scheme, p->authority, p->host, p->path};
    if (px_identify_names(&c->dest, c->tls, c->sni, &names, &t, &f, &err) < 0) {
        px_refuse(rq, f.status, f.why, err.text);
        return;
    }
    int r = px_request_take(rq, h, &t, &err);
    if (r == 0 && rq->websocket)
        r = px_ws_key(rq);
    if (r < 0)
        px_refuse(rq, r == -E2BIG ? 431 : 400, "malformed", err.text);
    else
        px_judge(rq);
}

static void begin(struct h2_stream *st, bool end)
{
    struct px_request *rq = &st->rq;
    struct gvm_http1_head *h = &rq->px->head;
    struct gvm_err err = {0};
    struct pseudo p = {0};
    rq->in_done = end; /* as long as nothing else is known */
    if (st->front->s.block.too_large) {
        px_refuse(rq, 431, "malformed", "the request head is too large");
        return;
    }
    if (read_block(st->front, end, &p, h, &err) < 0) {
        px_refuse(rq, 400, "malformed", err.text);
        return;
    }
    st->grpc = is_grpc(h);
    if (rq->run->nstreams > GVM_RUN_STREAMS || rq->px->nstreams > GVM_ALL_STREAMS) {
        px_refuse(rq, 503, "busy", "too many requests at a time");
        return;
    }
    if (p.protocol.n && (end || !gvm_str_eqz(p.protocol, "websocket"))) {
        px_refuse(rq, 501, "connect", "extended CONNECT is offered for WebSocket alone");
        return;
    }
    if (p.protocol.n) { /* RFC 8441: a WebSocket, judged as its handshake in HTTP/1.1 would be */
        rq->websocket = true;
        p.method = h->method = GVM_STR("GET");
    }
    if (!px_request_method(rq, p.method))
        px_refuse(rq, 400, "malformed", "the method is too long");
    else if (px_is_trace(rq->method))
        px_refuse(rq, 405, "method", PX_NO_TRACE);
    else if (strcmp(rq->method, "CONNECT") == 0)
        px_refuse(rq, 405, "connect", "CONNECT inside HTTP/2 is not offered");
    else
        identified(st, &p, h);
}

/* ---- callbacks ---- */

/* RFC 9113 5.1.1: a stream that was passed by cannot be opened any more. */
static void out_of_order(struct h2_front *f)
{
    if (!f->s.broken)
        nghttp2_session_terminate_session(f->s.ng, NGHTTP2_PROTOCOL_ERROR);
    if (!f->s.broken)
        f->s.broken = "a stream identifier that was passed by";
    h2_mark(&f->s);
}

static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *arg)
{
    struct h2_front *f = arg;
    h2_charge(&f->s, hd);
    if (hd->type != NGHTTP2_HEADERS)
        return 0;
    if (hd->stream_id > f->last_id)
        f->last_id = hd->stream_id;
    else if (!nghttp2_session_find_stream(ng, hd->stream_id))
        out_of_order(f); /* nghttp2 would pass over it in silence */
    return 0;
}

/* There is no request yet that could be refused: the connection's own stands for it in the record.
 */
static void record_malformed(struct h2_front *f, const char *reason)
{
    struct px_request *rq = &f->conn->rq;
    h2_charge_reset(&f->s);
    rq->id[0] = '\0';
    px_record_refused(rq, 400, "malformed", reason, (struct gvm_str){0});
    rq->id[0] = '\0';
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
    record_malformed(arg, "a header field with bytes that are not allowed");
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* not dropped in silence: RFC 9113 8.2.1 */
}

static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame, int code, void *arg)
{
    (void)ng;
    (void)frame;
    record_malformed(arg, nghttp2_strerror(code));
    return 0;
}

static int on_headers(struct h2_front *f, const nghttp2_frame *frame)
{
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    struct h2_stream *st = stream_of(f->s.ng, frame->hd.stream_id);
    if (st) { /* trailers: nghttp2 has seen to END_STREAM */
        h2_block_lines(&f->s.block, &st->rq.trailers);
        return 0;
    }
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    st = new_stream(f, frame->hd.stream_id);
    if (!st)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    f->served++;
    nghttp2_session_set_stream_user_data(f->s.ng, frame->hd.stream_id, st);
    px_no_timer(&f->conn->rq);
    begin(st, end);
    return 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct h2_front *f = arg;
    int r = 0;
    if (f->ended)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        r = on_headers(f, frame);
    bool ends = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    struct h2_stream *st = ends && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
                               ? stream_of(ng, frame->hd.stream_id)
                               : NULL;
    if (st && !px_closed(&st->rq) && st->rq.websocket)
        px_relay_stream_eof(&st->rq);
    else if (st && !px_closed(&st->rq) && !st->rq.in_done)
        px_body_end(&st->rq);
    if (st)
        st->rq.in_done = st->rq.ws_eof = true;
    return r;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *arg)
{
    struct h2_front *f = arg;
    (void)flags;
    struct h2_stream *st = stream_of(ng, id);
    nghttp2_session_consume_connection(ng, n);
    if (st && !f->ended && st->stop) {
        h2_answer_dropped(st, n);
        return 0;
    }
    if (!st || f->ended || px_closed(&st->rq) || (st->rq.in_done && !st->rq.websocket)) {
        nghttp2_session_consume_stream(ng, id, n); /* nobody wants it */
        return 0;
    }
    st->owed += n;
    px_body(&st->rq, (struct gvm_str){(const char *)p, n});
    if (!st->paused) {
        nghttp2_session_consume_stream(ng, id, st->owed);
        st->owed = 0;
    }
    return 0;
}

static void on_idle(uv_timer_t *t);

static void await_request(struct h2_front *f)
{
    const struct gvm_conf_timeouts *t = px_timeouts(f->conn->run);
    px_timer(&f->conn->rq, f->served ? t->idle : t->head, on_idle);
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    struct h2_front *f = arg;
    struct h2_stream *st = stream_of(ng, id);
    if (!st || f->ended)
        return 0;
    nghttp2_session_set_stream_user_data(ng, id, NULL);
    end_stream(st, code ? "the client reset the stream" : "the stream ended before its answer");
    if (!f->nstreams)
        await_request(f);
    return 0;
}

static int on_frame_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    (void)arg;
    bool ends = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (!ends || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    struct h2_stream *st = stream_of(ng, frame->hd.stream_id);
    if (st)
        h2_answer_sent(st);
    return 0;
}

static const nghttp2_session_callbacks *callbacks(void)
{
    static nghttp2_session_callbacks *cb;
    if (cb || !(cb = h2_callbacks()))
        return cb;
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_invalid_header_callback(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    return cb;
}

/* ---- the connection ---- */

static void over(struct h2_session *s)
{
    struct h2_front *f = (struct h2_front *)s;
    if (s->broken) {
        struct px_request *rq = &f->conn->rq;
        rq->id[0] = '\0';
        px_record_refused(rq, 0, "http2", s->broken, (struct gvm_str){0});
    }
    px_conn_close(f->conn, PX_LINGER_MS, s->broken);
}

static void on_idle(uv_timer_t *t)
{
    struct px_conn *c = ((struct px_request *)t->data)->conn;
    struct h2_front *f = c->h2;
    if (f->leaving) {
        px_conn_close(c, 0, NULL);
        return;
    }
    f->leaving = true;
    nghttp2_session_terminate_session(f->s.ng, NGHTTP2_NO_ERROR);
    h2_mark(&f->s);
    px_timer(&c->rq, PX_LINGER_MS, on_idle); /* for one that does not even read that */
}

void px_h2_start(struct px_conn *c)
{
    struct h2_front *f = gvm_calloc(1, sizeof *f);
    c->rq.state = PX_H2;
    c->h2 = f;
    if (f) {
        f->conn = c;
        f->s.over = over;
    }
    if (!f || h2_session_init(&f->s, c->px, c->agent, true, callbacks()) < 0) {
        px_conn_close(c, 0, NULL);
        return;
    }
    await_request(f);
    h2_read(&f->s, gvm_buf_data(&c->in), c->in.len);
    gvm_buf_done(&c->in);
    px_conn_resume(c);
}

void px_h2_data(struct px_conn *c, const uint8_t *p, size_t n)
{
    h2_read(&c->h2->s, p, n);
}

/* HTTP/2 has ends of its own; who closes the connection has left. */
void px_h2_eof(struct px_conn *c)
{
    px_conn_close(c, 0, "the client left");
}

void px_h2_drain(struct px_conn *c)
{
    h2_mark(&c->h2->s);
}

void px_h2_end(struct px_conn *c, const char *error)
{
    struct h2_front *f = c->h2;
    if (!f || f->ended)
        return;
    f->ended = true;
    while (f->streams)
        end_stream(f->streams, error);
    f->s.stream = NULL;
}

void px_h2_free(struct px_conn *c)
{
    if (c->h2)
        h2_session_done(&c->h2->s);
    free(c->h2);
    c->h2 = NULL;
}
