/* Theory of operation: stream_int.h. This file owns the life of a stream, reading and its timer;
 * write.c the way out, stream_tls.c the TLS layer, loop.c what the streams of a loop share. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include "proxy/stream/stream_int.h"

#define REST_MAX (4u * STREAM_CHUNK)

static void kicked(void *arg);

void streams_init(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
}

/* ---- timer: one per stream, for the phase (connect, handshake, linger) and for idleness ---- */

static void on_timer(uv_timer_t *t);

/* The earlier of two; 0 is never. */
static uint64_t sooner(uint64_t a, uint64_t b)
{
    return !a || (b && b < a) ? b : a;
}

static void timer_arm(struct stream *s)
{
    uint64_t due = sooner(s->phase_at, s->idle_ms ? s->idle_from + s->idle_ms : 0);
    due = sooner(due, stream_tls_trim_at(s));
    if (!due || s->state == STREAM_GONE)
        return;
    /* A timer that fires too early only looks again, so bytes that arrive do not touch it. */
    if (s->timer_at && s->timer_at <= due)
        return;
    uint64_t now = uv_now(s->sl->loop);
    s->timer_at = due;
    (void)uv_timer_start(&s->timer, on_timer, due > now ? due - now : 0, 0);
}

void stream_timer_set(struct stream *s, uint64_t phase_ms)
{
    s->phase_at = phase_ms ? uv_now(s->sl->loop) + phase_ms : 0;
    timer_arm(s);
}

void stream_timer_look(struct stream *s)
{
    timer_arm(s);
}

static void connect_failed(struct stream *s, int code)
{
    struct gvm_err err = {0};
    gvm_err_set(&err, code, "connect: %s", strerrordesc_np(code));
    void (*cb)(void *, struct stream *, const struct gvm_err *) = s->connected;
    stream_drop(s);
    cb(s->arg, NULL, &err);
}

static void phase_over(struct stream *s)
{
    s->phase_at = 0;
    if (s->state == STREAM_CONNECTING)
        connect_failed(s, ETIMEDOUT);
    else if (s->state == STREAM_LINGER)
        stream_drop(s);
    else if (s->handshaking)
        stream_tls_timeout(s);
}

static void on_timer(uv_timer_t *t)
{
    struct stream *s = t->data;
    struct stream_loop *sl = s->sl;
    uint64_t now = uv_now(sl->loop);
    s->timer_at = 0;
    stream_enter(sl);
    if (s->phase_at && now >= s->phase_at) {
        phase_over(s);
    } else if (s->idle_ms && now >= s->idle_from + s->idle_ms) {
        s->idle_ms = 0;
        if (s->state == STREAM_OPEN && s->idle_cb)
            s->idle_cb(s->arg);
    }
    stream_tls_trim(s, now);
    timer_arm(s);
    stream_leave(sl);
}

void stream_idle(struct stream *s, uint64_t ms, void (*cb)(void *arg))
{
    s->idle_ms = ms;
    s->idle_cb = cb;
    s->idle_from = uv_now(s->sl->loop);
    timer_arm(s);
}

/* ---- birth and death ---- */

static struct stream *stream_new(uv_loop_t *loop, const struct stream_events *ev, void *arg)
{
    struct stream *s = gvm_calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->sl = stream_loop_ref(loop);
    if (!s->sl || uv_tcp_init(loop, &s->tcp) < 0) {
        stream_loop_unref(s->sl);
        free(s);
        return NULL;
    }
    (void)uv_timer_init(loop, &s->timer); /* cannot fail */
    s->tcp.data = s->timer.data = s->connecting.data = s->writing.data = s;
    s->born = uv_now(loop);
    s->handles = 2;
    s->ev = ev;
    s->arg = arg;
    s->fd = -1;
    s->paused = true;
    gvm_buf_init(&s->pend, STREAM_CAP);
    s->pend.secret = true;                 /* injected credentials pass here */
    gvm_buf_init(&s->out, 2 * STREAM_CAP); /* TLS adds a little to every record */
    gvm_buf_init(&s->flying, 2 * STREAM_CAP);
    gvm_buf_init(&s->rest, REST_MAX);
    return s;
}

static void handle_closed(uv_handle_t *h)
{
    struct stream *s = h->data;
    if (--s->handles)
        return;
    stream_tls_free(s);
    gvm_buf_wipe(&s->pend);
    gvm_buf_done(&s->out);
    gvm_buf_done(&s->flying);
    gvm_buf_wipe(&s->rest);
    gvm_bill_unref(s->bill);
    stream_loop_unref(s->sl);
    free(s);
}

static void clean_unlink(struct stream *s)
{
    if (!s->is_dirty)
        return;
    *s->prev_dirty = s->next_dirty;
    if (s->next_dirty)
        s->next_dirty->prev_dirty = s->prev_dirty;
    s->is_dirty = false;
}

void stream_drop(struct stream *s)
{
    if (s->state == STREAM_GONE)
        return;
    s->state = STREAM_GONE;
    clean_unlink(s);
    defer_cancel(&s->kick);
    uv_close((uv_handle_t *)&s->tcp, handle_closed);
    uv_close((uv_handle_t *)&s->timer, handle_closed);
}

/* Tells the owner once. NULL = orderly. */
void stream_fail(struct stream *s, const struct gvm_err *err)
{
    if (s->state == STREAM_GONE)
        return;
    bool tell = s->state == STREAM_OPEN && s->ev && s->ev->on_close;
    stream_drop(s);
    if (tell)
        s->ev->on_close(s->arg, err);
}

static void fail_code(struct stream *s, int code, const char *what)
{
    struct gvm_err err = {0};
    const char *why = strerrordesc_np(code);
    gvm_err_set(&err, code, "%s: %s", what, why ? why : "unknown error");
    if (s->handshaking && s->state == STREAM_OPEN) {
        void (*done)(void *, const struct gvm_err *) = s->tls_done;
        stream_drop(s);
        done(s->tls_arg, &err);
        return;
    }
    stream_fail(s, &err);
}

void stream_break(struct stream *s, int code, const char *what)
{
    if (s->broken || s->state == STREAM_GONE)
        return;
    s->broken = code;
    s->broken_what = what;
    defer_set(&s->kick, s->sl, kicked, s);
}

static void kicked(void *arg)
{
    struct stream *s = arg;
    if (s->broken)
        fail_code(s, s->broken, s->broken_what);
    else if (s->shut_sent && (s->eof_in || (s->state == STREAM_LINGER && s->eof_wire)))
        stream_fail(s, NULL);
    else if (s->ssl)
        stream_tls_kick(s);
    if (s->state != STREAM_GONE)
        stream_read_more(s);
}

void stream_kick(struct stream *s)
{
    defer_set(&s->kick, s->sl, kicked, s);
}

/* ---- accept and connect ---- */

static int opened(struct stream *s)
{
    uv_os_fd_t fd;
    int r = uv_fileno((uv_handle_t *)&s->tcp, &fd);
    if (r < 0)
        return r;
    s->fd = fd;
    s->state = STREAM_OPEN;
    return uv_tcp_nodelay(&s->tcp, 1);
}

int stream_accept(uv_stream_t *listener, const struct stream_events *ev, void *arg,
                  struct stream **ret, struct gvm_err *err)
{
    struct stream *s = stream_new(listener->loop, ev, arg);
    if (!s)
        return gvm_err_set(err, ENOMEM, "accept: out of memory");
    int r = uv_accept(listener, (uv_stream_t *)&s->tcp);
    if (r >= 0)
        r = opened(s);
    if (r < 0) {
        stream_drop(s);
        return gvm_err_sys(err, -r, "accept");
    }
    *ret = s;
    return 0;
}

static void on_connected(uv_connect_t *req, int status)
{
    struct stream *s = req->data;
    struct stream_loop *sl = s->sl;
    if (s->state != STREAM_CONNECTING)
        return; /* given up or timed out: the handle is closing */
    stream_enter(sl);
    s->phase_at = 0;
    int r = status < 0 ? status : opened(s);
    if (r < 0)
        connect_failed(s, -r);
    else
        s->connected(s->arg, s, NULL);
    stream_leave(sl);
}

int stream_connect(uv_loop_t *loop, const struct sockaddr *to, uint64_t timeout_ms,
                   const struct stream_events *ev, void *arg,
                   void (*connected)(void *arg, struct stream *s, const struct gvm_err *err),
                   struct stream **ret, struct gvm_err *err)
{
    struct stream *s = stream_new(loop, ev, arg);
    if (!s)
        return gvm_err_set(err, ENOMEM, "connect: out of memory");
    s->state = STREAM_CONNECTING;
    s->connected = connected;
    int r = uv_tcp_connect(&s->connecting, &s->tcp, to, on_connected);
    if (r < 0) {
        stream_drop(s);
        return gvm_err_sys(err, -r, "connect");
    }
    stream_timer_set(s, timeout_ms);
    *ret = s;
    return 0;
}

uint64_t stream_age(const struct stream *s)
{
    return uv_now(s->sl->loop) - s->born;
}

void stream_set_events(struct stream *s, const struct stream_events *ev, void *arg)
{
    s->ev = ev;
    s->arg = arg;
    if (!s->paused)
        stream_resume(s);
}

void stream_bill(struct stream *s, struct gvm_bill *bill)
{
    if (s->bill == bill)
        return;
    struct gvm_bill *was = s->bill;
    s->bill = gvm_bill_ref(bill);
    gvm_buf_bill(&s->pend, bill);
    gvm_buf_bill(&s->out, bill);
    gvm_buf_bill(&s->flying, bill);
    gvm_buf_bill(&s->rest, bill);
    gvm_bill_unref(was);
}

SSL *stream_ssl(struct stream *s)
{
    return s->ssl;
}

bool stream_truncated(const struct stream *s)
{
    return s->truncated;
}

/* ---- reading ---- */

static bool wants_bytes(const struct stream *s)
{
    if (s->state == STREAM_LINGER)
        return true;
    return s->state == STREAM_OPEN && s->rest.len == 0 && (s->handshaking || (!s->paused && s->ev));
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    (void)hint;
    struct stream *s = h->data;
    /* An empty buffer makes libuv come back with UV_ENOBUFS and read nothing: the pause takes hold.
     */
    bool wanted = wants_bytes(s);
    *buf = uv_buf_init(wanted ? (char *)s->sl->in : NULL, wanted ? STREAM_CHUNK : 0);
}

void stream_deliver(struct stream *s, const uint8_t *p, size_t n)
{
    if (s->state == STREAM_OPEN && s->ev && s->ev->on_data)
        s->ev->on_data(s->arg, p, n);
}

static void check_finished(struct stream *s)
{
    if (s->eof_in && s->shut_sent && s->state == STREAM_OPEN)
        stream_kick(s);
}

void stream_end_in(struct stream *s)
{
    if (s->eof_in || s->state != STREAM_OPEN)
        return;
    s->eof_in = true;
    if (s->ev && s->ev->on_eof)
        s->ev->on_eof(s->arg);
    check_finished(s);
}

static void got_eof(struct stream *s)
{
    s->reading = false; /* libuv stopped by itself */
    s->eof_wire = true;
    if (s->state == STREAM_LINGER) {
        if (s->shut_sent)
            stream_drop(s);
    } else if (s->ssl) {
        stream_tls_feed(s, NULL, 0);
    } else {
        stream_end_in(s);
    }
}

static void got_bytes(struct stream *s, const uint8_t *p, size_t n)
{
    if (s->state != STREAM_OPEN)
        return;
    s->idle_from = uv_now(s->sl->loop);
    if (s->ssl)
        stream_tls_feed(s, p, n);
    else
        stream_deliver(s, p, n);
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *buf)
{
    struct stream *s = h->data;
    struct stream_loop *sl = s->sl;
    stream_enter(sl);
    if (n > 0) {
        got_bytes(s, (const uint8_t *)buf->base, (size_t)n);
    } else if (n == UV_ENOBUFS) {
        (void)uv_read_stop(h);
        s->reading = false;
    } else if (n == UV_EOF) {
        got_eof(s);
    } else if (n < 0) {
        s->reading = false;
        if (s->state == STREAM_LINGER)
            stream_drop(s);
        else
            fail_code(s, (int)-n, "read");
    }
    stream_leave(sl);
}

void stream_read_more(struct stream *s)
{
    if (s->reading || s->eof_wire || s->broken || !wants_bytes(s))
        return;
    int r = uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read);
    if (r < 0)
        stream_break(s, -r, "read");
    else
        s->reading = true;
}

void stream_resume(struct stream *s)
{
    s->paused = false;
    if (s->state != STREAM_OPEN)
        return;
    if (s->more)
        stream_kick(s); /* decrypted or buffered bytes wait; on_data must not run in here */
    else
        stream_read_more(s);
}

void stream_pause(struct stream *s)
{
    s->paused = true;
}

/* ---- the end, as the owner wants it ---- */

void stream_close(struct stream *s, uint64_t linger_ms)
{
    if (s->state == STREAM_GONE || s->state == STREAM_LINGER)
        return;
    s->ev = NULL;
    if (!linger_ms || s->state == STREAM_CONNECTING || s->handshaking || s->broken) {
        stream_drop(s);
        return;
    }
    stream_shutdown(s);
    if (s->state == STREAM_GONE)
        return;
    s->state = STREAM_LINGER;
    s->idle_ms = 0;
    stream_timer_set(s, linger_ms);
    if (s->eof_wire && s->shut_sent)
        stream_drop(s);
    else
        stream_read_more(s);
}

void stream_abort(struct stream *s)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (s->fd >= 0 && s->state != STREAM_GONE)
        (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    stream_close(s, 0);
}

bool stream_quiet(struct stream *s)
{
    if (s->state != STREAM_OPEN || s->eof_wire || s->eof_in || s->broken || s->more ||
        s->rest.len || s->shut_wanted || s->handshaking || (s->ssl && SSL_has_pending(s->ssl)))
        return false;
    uint8_t byte;
    return recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}
