#include "proxy/h2/session.h"

#include <errno.h>

#define WINDOW_CONNECTION (16 << 20) /* never the bottleneck: streams are what is limited */
#define WINDOW_AGENT      (64 << 10)
#define WINDOW_UPSTREAM   (256 << 10) /* the other end is far away */

/* ---- what a peer may cost ----
 *
 * Frames that make us work and move nothing are paid from a credit that fills up again. A peer that
 * has none left is told ENHANCE_YOUR_CALM and let go: rapid reset (CVE-2023-44487) and its
 * relatives by PING, SETTINGS, PRIORITY, empty DATA and CONTINUATION. Requests are not charged
 * here; each is judged and recorded, and GVM_MAX_STREAMS of them run at a time. */

#define CREDIT_MAX 20000
#define CREDIT_NS  250000 /* one comes back in this time */
#define COST_RESET 40

static const uint8_t costs[] = {
    [NGHTTP2_PRIORITY] = 2,      [NGHTTP2_RST_STREAM] = COST_RESET,
    [NGHTTP2_SETTINGS] = 100,    [NGHTTP2_PUSH_PROMISE] = 100,
    [NGHTTP2_PING] = 20,         [NGHTTP2_GOAWAY] = 100,
    [NGHTTP2_CONTINUATION] = 20,
};
#define COST_UNKNOWN    10
#define COST_EMPTY_DATA 20

static void charge(struct h2_session *s, int64_t cost)
{
    int64_t back = (gvm_mono_ns() - s->credit_ns) / CREDIT_NS;
    s->credit += back;
    s->credit_ns += back * CREDIT_NS;
    if (s->credit > CREDIT_MAX)
        s->credit = CREDIT_MAX;
    s->credit -= cost;
    if (s->credit >= 0 || s->broken)
        return;
    s->broken = "a flood of frames that ask for work and move nothing";
    nghttp2_session_terminate_session(s->ng, NGHTTP2_ENHANCE_YOUR_CALM);
    h2_mark(s);
}

void h2_charge(struct h2_session *s, const nghttp2_frame_hd *hd)
{
    int64_t cost = hd->type < sizeof costs ? costs[hd->type] : COST_UNKNOWN;
    if (hd->type == NGHTTP2_DATA && !hd->length && !(hd->flags & NGHTTP2_FLAG_END_STREAM))
        cost = COST_EMPTY_DATA;
    if (cost)
        charge(s, cost);
}

void h2_charge_reset(struct h2_session *s)
{
    charge(s, COST_RESET);
}

/* ---- what both sides do with what comes ---- */

/* A field in a block: its lengths, then its bytes. */
struct lengths {
    uint32_t name, value;
};

static void block_begin(struct h2_block *b)
{
    gvm_buf_reset(&b->mem);
    b->n = 0;
    b->size = 0;
    b->too_large = false;
}

static void block_add(struct h2_block *b, const uint8_t *name, size_t name_len,
                      const uint8_t *value, size_t value_len)
{
    struct lengths l = {(uint32_t)name_len, (uint32_t)value_len};
    b->size += name_len + value_len + 32;
    if (b->too_large || b->size > GVM_MAX_HEAD || ++b->n > GVM_MAX_HEADERS) {
        b->too_large = true;
        return;
    }
    gvm_buf_add(&b->mem, &l, sizeof l);
    gvm_buf_add(&b->mem, name, name_len);
    gvm_buf_add(&b->mem, value, value_len);
    b->too_large = b->mem.failed;
}

static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *arg)
{
    (void)ng;
    h2_charge(arg, hd);
    return 0;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct h2_session *s = arg;
    (void)ng;
    (void)frame;
    block_begin(&s->block);
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct h2_session *s = arg;
    (void)ng;
    (void)frame;
    (void)flags;
    block_add(&s->block, name, name_len, value, value_len);
    return 0;
}

nghttp2_session_callbacks *h2_callbacks(void)
{
    nghttp2_session_callbacks *cb;
    if (nghttp2_session_callbacks_new(&cb) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    return cb;
}

/* ---- life ---- */

static nghttp2_option *options(void)
{
    nghttp2_option *o;
    if (nghttp2_option_new(&o) != 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_max_outbound_ack(o, 100);
    nghttp2_option_set_max_settings(o, 32);
    nghttp2_option_set_max_reserved_remote_streams(o, 0);
    nghttp2_option_set_peer_max_concurrent_streams(o, GVM_MAX_STREAMS);
    return o;
}

static int make(struct h2_session *s, bool server, const nghttp2_session_callbacks *callbacks)
{
    nghttp2_option *o = options();
    if (!o)
        return NGHTTP2_ERR_NOMEM;
    int r = server ? nghttp2_session_server_new2(&s->ng, callbacks, s, o)
                   : nghttp2_session_client_new2(&s->ng, callbacks, s, o);
    nghttp2_option_del(o);
    return r;
}

static int greet(nghttp2_session *ng, bool server)
{
    nghttp2_settings_entry agent[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, GVM_MAX_STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_AGENT},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, GVM_MAX_HEAD},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1}, /* RFC 8441 */
    };
    nghttp2_settings_entry upstream[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_UPSTREAM},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, GVM_MAX_HEAD},
    };
    int r = nghttp2_submit_settings(ng, NGHTTP2_FLAG_NONE, server ? agent : upstream,
                                    server ? sizeof agent / sizeof *agent
                                           : sizeof upstream / sizeof *upstream);
    if (r == 0)
        r = nghttp2_session_set_local_window_size(ng, NGHTTP2_FLAG_NONE, 0, WINDOW_CONNECTION);
    return r;
}

int h2_session_init(struct h2_session *s, struct px *px, struct stream *stream, bool server,
                    const nghttp2_session_callbacks *callbacks)
{
    s->px = px;
    s->stream = stream;
    s->credit = CREDIT_MAX;
    s->credit_ns = gvm_mono_ns();
    gvm_buf_init(&s->block.mem, 2 * GVM_MAX_HEAD);
    if (!callbacks || make(s, server, callbacks) != 0 || greet(s->ng, server) != 0)
        return -ENOMEM;
    h2_mark(s);
    return 0;
}

void h2_session_done(struct h2_session *s)
{
    for (struct h2_session **at = &s->px->marked; s->marked && *at; at = &(*at)->next_marked) {
        if (*at == s) {
            *at = s->next_marked;
            break;
        }
    }
    s->marked = false;
    s->stream = NULL;
    nghttp2_session_del(s->ng);
    s->ng = NULL;
    gvm_buf_done(&s->block.mem);
}

/* ---- bytes ---- */

void h2_mark(struct h2_session *s)
{
    if (s->marked)
        return;
    s->marked = true;
    s->next_marked = s->px->marked;
    s->px->marked = s;
}

void h2_read(struct h2_session *s, const uint8_t *p, size_t n)
{
    if (s->broken || !s->stream)
        return;
    ssize_t r = nghttp2_session_mem_recv(s->ng, p, n);
    if (r < 0 && !s->broken)
        s->broken = nghttp2_strerror((int)r);
    h2_mark(s);
}

void h2_send(struct h2_session *s)
{
    while (s->stream && stream_queued(s->stream) <= GVM_STREAM_HIGH) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(s->ng, &p);
        if (n < 0 && !s->broken)
            s->broken = nghttp2_strerror((int)n);
        if (n <= 0)
            break;
        if (stream_write(s->stream, p, (size_t)n) < 0)
            break; /* the stream tells why, from the loop */
    }
    bool silent = !nghttp2_session_want_write(s->ng) && !nghttp2_session_want_read(s->ng);
    if (s->stream && (s->broken || silent))
        s->over(s);
}

void px_h2_speak(struct px *px)
{
    while (px->marked) {
        struct h2_session *s = px->marked;
        px->marked = s->next_marked;
        s->marked = false;
        h2_send(s);
    }
}

ssize_t h2_take(struct gvm_buf *from, uint8_t *frame, size_t cap)
{
    size_t n = from->len < cap ? from->len : cap;
    if (n)
        memcpy(frame, gvm_buf_data(from), n);
    gvm_buf_consume(from, n);
    return (ssize_t)n;
}

/* ---- header blocks ---- */

bool h2_block_next(const struct h2_block *b, size_t *at, struct gvm_header *ret)
{
    struct lengths l;
    if (b->too_large || *at >= b->mem.len)
        return false;
    const char *p = (const char *)gvm_buf_data(&b->mem) + *at;
    memcpy(&l, p, sizeof l);
    p += sizeof l;
    ret->name = (struct gvm_str){p, l.name};
    ret->value = (struct gvm_str){p + l.name, l.value};
    *at += sizeof l + l.name + l.value;
    return true;
}

void h2_block_lines(const struct h2_block *b, struct gvm_buf *out)
{
    size_t at = 0;
    struct gvm_header f;
    while (h2_block_next(b, &at, &f)) {
        gvm_buf_adds(out, f.name);
        gvm_buf_add(out, ": ", 2);
        gvm_buf_adds(out, f.value);
        gvm_buf_add(out, "\r\n", 2);
    }
}

/* ---- fields to send ---- */

static void add(struct h2_fields *f, struct gvm_str name, struct gvm_str value, uint8_t flags)
{
    if (f->n == sizeof f->nv / sizeof *f->nv)
        return; /* more than a head may have */
    f->nv[f->n++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.p,
                                 .namelen = name.n,
                                 .value = (uint8_t *)(uintptr_t)(value.n ? value.p : ""),
                                 .valuelen = value.n,
                                 .flags = flags};
}

void h2_field(struct h2_fields *f, struct gvm_str name, struct gvm_str value)
{
    add(f, name, value, NGHTTP2_NV_FLAG_NONE);
}

void h2_field_secret(struct h2_fields *f, struct gvm_str name, struct gvm_str value)
{
    add(f, name, value, NGHTTP2_NV_FLAG_NO_INDEX);
}
