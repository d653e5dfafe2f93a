/* dial.c - one connection out of several checked addresses (RFC 8305, section 5).
 *
 *   0 ms   first address ----------------------------- connected: the others are closed
 *   250 ms        second address -----...
 *   on a failure the next one is tried at once
 *
 * An address that swallows packets thus costs 250 ms and not the connect time. The order is the
 * resolver's with the families taking turns, the first answer's family first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/upstream/upstream_int.h"

#define DIAL_STAGGER_MS 250u

struct dial {
    uv_loop_t *loop;
    uv_timer_t timer;
    dial_cb *done; /* NULL: over, the timer is closing */
    void *arg;
    struct endpoint to[DIAL_MAX];
    struct attempt {
        struct dial *dial;
        struct stream *stream; /* NULL: not begun or over */
    } attempt[DIAL_MAX];
    unsigned n, begun, failed;
    uint64_t deadline;
    struct gvm_err last;
};

static void timer_closed(uv_handle_t *h)
{
    free(h->data);
}

static void end(struct dial *d)
{
    d->done = NULL;
    for (unsigned i = 0; i < d->begun; i++)
        if (d->attempt[i].stream)
            stream_close(d->attempt[i].stream, 0);
    uv_close((uv_handle_t *)&d->timer, timer_closed);
}

void dial_cancel(struct dial *d)
{
    if (d && d->done)
        end(d);
}

static void give(struct dial *d, struct stream *s, const struct endpoint *to,
                 const struct gvm_err *err)
{
    dial_cb *done = d->done;
    void *arg = d->arg;
    struct endpoint at = *to;
    struct gvm_err why = err ? *err : (struct gvm_err){0};
    end(d); /* its memory lasts until the timer has closed */
    done(arg, s, &at, err ? &why : NULL);
}

static void next(struct dial *d);

static void on_timer(uv_timer_t *t)
{
    struct dial *d = t->data;
    if (d->done)
        next(d);
}

static void on_attempt(void *arg, struct stream *s, const struct gvm_err *err)
{
    struct attempt *at = arg;
    struct dial *d = at->dial;
    at->stream = NULL;
    if (!err) {
        stream_set_events(s, NULL, NULL);
        give(d, s, &d->to[at - d->attempt], NULL);
        return;
    }
    d->failed++;
    d->last = *err;
    if (d->failed == d->n)
        give(d, NULL, &d->to[at - d->attempt], &d->last);
    else if (d->begun < d->n)
        next(d);
}

/* Begins the next attempt that can be begun; the rest follow by timer. Nothing is reported from
 * here unless no attempt is left: callbacks come from the loop. */
static void next(struct dial *d)
{
    while (d->begun < d->n) {
        unsigned i = d->begun++;
        struct sockaddr_storage sa;
        (void)gvm_ip_to_sockaddr(&d->to[i].ip, d->to[i].port, &sa);
        uint64_t now = uv_now(d->loop), left = d->deadline > now ? d->deadline - now : 1;
        if (stream_connect(d->loop, (struct sockaddr *)&sa, left, NULL, &d->attempt[i], on_attempt,
                           &d->attempt[i].stream, &d->last) == 0) {
            if (d->begun < d->n)
                (void)uv_timer_start(&d->timer, on_timer, DIAL_STAGGER_MS, 0);
            return;
        }
        d->failed++;
    }
    if (d->failed == d->n)
        give(d, NULL, &d->to[d->n - 1], &d->last);
}

/* v6 a, v6 b, v4 c -> v6 a, v4 c, v6 b */
static void take_turns(struct endpoint *to, unsigned n)
{
    for (unsigned i = 1; i < n; i++) {
        unsigned j = i;
        while (j < n && to[j].ip.family == to[i - 1].ip.family)
            j++;
        if (j == n)
            return;
        struct endpoint found = to[j];
        memmove(&to[i + 1], &to[i], (j - i) * sizeof *to);
        to[i] = found;
    }
}

static void begin(uv_timer_t *t)
{
    on_timer(t);
}

int dial_begin(uv_loop_t *loop, const struct endpoint *to, unsigned n, uint64_t ms, dial_cb *done,
               void *arg, struct dial **ret, struct gvm_err *err)
{
    struct dial *d = gvm_calloc(1, sizeof *d);
    if (!d)
        return gvm_err_set(err, ENOMEM, "upstream: out of memory");
    d->loop = loop;
    d->done = done;
    d->arg = arg;
    d->n = n < DIAL_MAX ? n : DIAL_MAX;
    memcpy(d->to, to, d->n * sizeof *to);
    take_turns(d->to, d->n);
    for (unsigned i = 0; i < d->n; i++)
        d->attempt[i].dial = d;
    d->deadline = uv_now(loop) + ms;
    (void)uv_timer_init(loop, &d->timer);
    d->timer.data = d;
    (void)uv_timer_start(&d->timer, begin, 0, 0);
    *ret = d;
    return 0;
}
