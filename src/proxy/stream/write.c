#include <errno.h>
#include <sys/socket.h>
#include "proxy/stream/stream_int.h"

/* A buffer that grew past this is given back once it is empty. */
#define KEEP_MEMORY (16u * 1024u)

void stream_enter(struct stream_loop *sl)
{
    sl->depth++;
}

void stream_leave(struct stream_loop *sl)
{
    /* Flushing runs no callbacks, so the list only shrinks here. */
    while (sl->depth == 1 && sl->dirty) {
        struct stream *s = sl->dirty;
        sl->dirty = s->next_dirty;
        if (sl->dirty)
            sl->dirty->prev_dirty = &sl->dirty;
        s->is_dirty = false;
        stream_flush(s);
    }
    sl->depth--;
}

static void mark_dirty(struct stream *s)
{
    if (s->is_dirty)
        return;
    s->next_dirty = s->sl->dirty;
    if (s->next_dirty)
        s->next_dirty->prev_dirty = &s->next_dirty;
    s->prev_dirty = &s->sl->dirty;
    s->sl->dirty = s;
    s->is_dirty = true;
}

static void empty(struct gvm_buf *b)
{
    if (b->cap > KEEP_MEMORY)
        gvm_buf_done(b);
    else
        gvm_buf_reset(b);
}

static void on_written(uv_write_t *req, int status);

static void start_writing(struct stream *s)
{
    if (s->flying.len || !s->out.len || s->state == STREAM_GONE)
        return;
    struct gvm_buf was = s->flying;
    s->flying = s->out;
    s->out = was;
    uv_buf_t b = uv_buf_init((char *)gvm_buf_data(&s->flying), (unsigned)s->flying.len);
    int r = uv_write(&s->writing, (uv_stream_t *)&s->tcp, &b, 1, on_written);
    if (r < 0) {
        gvm_buf_reset(&s->flying);
        stream_break(s, -r, "write");
    }
}

size_t stream_queued(const struct stream *s)
{
    size_t flying =
        s->flying.len ? uv_stream_get_write_queue_size((const uv_stream_t *)&s->tcp) : 0;
    return s->pend.len + s->out.len + flying;
}

static void check_drained(struct stream *s)
{
    if (!s->above || stream_queued(s) >= GVM_STREAM_LOW || s->state != STREAM_OPEN)
        return;
    s->above = false;
    if (s->ev && s->ev->on_drain)
        s->ev->on_drain(s->arg);
}

static void on_written(uv_write_t *req, int status)
{
    struct stream *s = req->data;
    struct stream_loop *sl = s->sl;
    empty(&s->flying);
    if (s->state == STREAM_GONE)
        return;
    stream_enter(sl);
    if (status < 0) {
        stream_break(s, -status, "write");
    } else {
        start_writing(s);
        stream_flush(s);
        check_drained(s);
    }
    stream_leave(sl);
}

void stream_send(struct stream *s, const uint8_t *p, size_t n)
{
    if (s->broken || !n)
        return;
    if (!s->flying.len && !s->out.len) {
        ssize_t sent = send(s->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            stream_break(s, errno, "write");
            return;
        }
        if (sent > 0) {
            p += sent;
            n -= (size_t)sent;
        }
    }
    if (n && gvm_buf_add(&s->out, p, n) < 0)
        stream_break(s, ENOMEM, "write");
    else
        start_writing(s);
}

/* FIN, once everything before it is with the kernel. */
static void shut_when_empty(struct stream *s)
{
    if (!s->shut_wanted || s->shut_sent || s->handshaking || s->pend.len || s->broken)
        return;
    if (s->ssl)
        stream_tls_notify(s);
    if (s->out.len || s->flying.len || s->broken)
        return;
    s->shut_sent = true;
    if (shutdown(s->fd, SHUT_WR) < 0)
        stream_break(s, errno, "shutdown");
    else if (s->eof_in || (s->state == STREAM_LINGER && s->eof_wire))
        stream_kick(s);
}

void stream_flush(struct stream *s)
{
    if (s->state == STREAM_GONE || s->state == STREAM_CONNECTING || s->handshaking)
        return;
    if (s->pend.len && !s->broken) {
        if (s->ssl) {
            gvm_buf_consume(&s->pend, stream_tls_write(s, gvm_buf_data(&s->pend), s->pend.len));
        } else {
            stream_send(s, gvm_buf_data(&s->pend), s->pend.len);
            gvm_buf_consume(&s->pend, s->pend.len);
        }
        if (!s->pend.len)
            empty(&s->pend);
    }
    shut_when_empty(s);
}

/* Large bytes skip `pend` when nothing is before them. Returns what was taken. */
static size_t write_through(struct stream *s, const uint8_t *p, size_t n)
{
    if (s->handshaking || s->state == STREAM_CONNECTING || s->pend.len)
        return 0; /* behind `pend`; one copy is cheaper than one more packet */
    if (s->ssl)
        return stream_tls_write(s, p, n);
    stream_send(s, p, n);
    return n;
}

int stream_write(struct stream *s, const void *p, size_t n)
{
    if ((s->state != STREAM_OPEN && s->state != STREAM_CONNECTING) || s->shut_wanted || s->broken)
        return -EPIPE;
    if (stream_queued(s) + n > STREAM_CAP)
        return -ENOBUFS;
    size_t done = 0;
    if (s->pend.len + n > STREAM_SMALL)
        done = write_through(s, p, n);
    if (s->broken)
        return -EPIPE;
    if (done < n && gvm_buf_add(&s->pend, (const uint8_t *)p + done, n - done) < 0) {
        stream_break(s, ENOMEM, "write");
        return -ENOMEM;
    }
    if (s->sl->depth && s->pend.len <= STREAM_SMALL)
        mark_dirty(s);
    else
        stream_flush(s);
    if (stream_queued(s) > GVM_STREAM_HIGH)
        s->above = true;
    return s->broken ? -EPIPE : 0;
}

void stream_shutdown(struct stream *s)
{
    if (s->shut_wanted || s->state == STREAM_GONE)
        return;
    s->shut_wanted = true;
    /* Not at once inside a callback: an answer and the FIN behind it leave in order anyway. */
    stream_flush(s);
}
