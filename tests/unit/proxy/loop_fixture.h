/* A pair of streams on loopback, and a loop that runs until something holds. */
#ifndef LOOP_FIXTURE_H
#define LOOP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "proxy/stream/stream.h"

struct side {
    struct stream *s;
    struct gvm_buf got;
    size_t count; /* bytes received in all */
    uint32_t sum; /* order-sensitive sum of them */
    bool keep;    /* put them into `got` */
    bool echo, echo_waits;
    bool eof, closed, tls_ok, tls_over, drained, idle;
    bool pause_once; /* pause in the next on_data */
    int code;
    char text[GVM_ERR_TEXT];
    size_t peak; /* most ever queued on s */
    unsigned calls;
};

static inline void side_data(void *arg, const uint8_t *p, size_t n)
{
    struct side *d = arg;
    d->calls++;
    d->count += n;
    for (size_t i = 0; i < n; i++)
        d->sum = d->sum * 31 + p[i];
    if (d->keep)
        (void)gvm_buf_add(&d->got, p, n);
    if (d->pause_once) {
        d->pause_once = false;
        stream_pause(d->s);
    }
    if (!d->echo)
        return;
    assert_int_equal(stream_write(d->s, p, n), 0);
    if (stream_queued(d->s) > d->peak)
        d->peak = stream_queued(d->s);
    if (stream_queued(d->s) > GVM_STREAM_HIGH) {
        d->echo_waits = true;
        stream_pause(d->s);
    }
}

static inline void side_eof(void *arg)
{
    struct side *d = arg;
    d->eof = true;
    if (d->echo)
        stream_shutdown(d->s);
}

static inline void side_drain(void *arg)
{
    struct side *d = arg;
    d->drained = true;
    if (d->echo_waits) {
        d->echo_waits = false;
        stream_resume(d->s);
    }
}

static inline void side_note(struct side *d, const struct gvm_err *err)
{
    d->code = err ? err->code : 0;
    if (err)
        memcpy(d->text, err->text, sizeof d->text);
}

static inline void side_close(void *arg, const struct gvm_err *err)
{
    struct side *d = arg;
    assert_false(d->closed);
    d->closed = true;
    side_note(d, err);
    d->s = NULL;
}

static inline void side_tls(void *arg, const struct gvm_err *err)
{
    struct side *d = arg;
    assert_false(d->tls_over);
    d->tls_over = true;
    d->tls_ok = !err;
    side_note(d, err);
    if (err)
        d->s = NULL;
    else
        stream_resume(d->s);
}

static const struct stream_events side_events = {side_data, side_eof, side_drain, side_close};

static inline void never(uv_timer_t *t)
{
    *(bool *)t->data = true;
}

/* Runs until *flag, at most `ms`; false when it did not come true. */
static inline bool run_for(uv_loop_t *loop, const bool *flag, uint64_t ms)
{
    bool late = false;
    uv_timer_t t;
    uv_timer_init(loop, &t);
    t.data = &late;
    uv_timer_start(&t, never, ms, 0);
    while (!*flag && !late)
        uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&t, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    return *flag;
}

static inline bool run_until(uv_loop_t *loop, const bool *flag)
{
    return run_for(loop, flag, 20000);
}

static inline void run_some(uv_loop_t *loop, uint64_t ms)
{
    bool no = false;
    (void)run_for(loop, &no, ms);
}

/* Everything must be gone by itself: a handle left open is a leak. */
static inline void loop_end(uv_loop_t *loop)
{
    for (int i = 0; i < 400 && uv_loop_alive(loop); i++)
        run_some(loop, 5);
    assert_int_equal(uv_loop_close(loop), 0);
}

#endif
