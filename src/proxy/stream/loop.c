#include <stdlib.h>
#include "proxy/stream/stream_int.h"

/* The loops of this thread, usually one. Streams find their shared buffers here. */
static _Thread_local struct stream_loop *loops;

static void run_deferred(uv_idle_t *idle)
{
    struct stream_loop *sl = idle->data;
    /* What is deferred from now on waits for the next turn: move the list to a head of our own. */
    struct defer *head = sl->deferred;
    sl->deferred = NULL;
    if (head)
        head->prev = &head;
    stream_enter(sl);
    while (head) {
        struct defer *d = head;
        defer_cancel(d);
        d->fn(d->arg);
    }
    stream_leave(sl);
    if (!sl->deferred)
        (void)uv_idle_stop(&sl->idle);
}

static struct stream_loop *loop_find(uv_loop_t *loop)
{
    struct stream_loop *sl = loops;
    while (sl && sl->loop != loop)
        sl = sl->next;
    return sl;
}

struct stream_loop *stream_loop_ref(uv_loop_t *loop)
{
    struct stream_loop *sl = loop_find(loop);
    if (!sl) {
        sl = malloc(sizeof *sl); /* not zeroed: its buffers need no touch */
        if (!sl || uv_idle_init(loop, &sl->idle) < 0) {
            free(sl);
            return NULL;
        }
        sl->loop = loop;
        sl->idle.data = sl;
        sl->refs = sl->depth = sl->batches = sl->keepers = 0;
        sl->deferred = NULL;
        sl->dirty = NULL;
        /* One handshake flight or some records; sent whenever it holds more than a chunk. */
        gvm_buf_init(&sl->wire, STREAM_CAP);
        sl->next = loops;
        loops = sl;
    }
    sl->refs++;
    return sl;
}

static void loop_closed(uv_handle_t *h)
{
    struct stream_loop *sl = h->data;
    gvm_buf_done(&sl->wire);
    free(sl);
}

void stream_loop_unref(struct stream_loop *sl)
{
    if (!sl || --sl->refs)
        return;
    struct stream_loop **at = &loops;
    while (*at != sl)
        at = &(*at)->next;
    *at = sl->next;
    uv_close((uv_handle_t *)&sl->idle, loop_closed);
}

void defer_set(struct defer *d, struct stream_loop *sl, void (*fn)(void *arg), void *arg)
{
    if (d->prev)
        return;
    d->fn = fn;
    d->arg = arg;
    d->sl = sl;
    d->next = sl->deferred;
    if (d->next)
        d->next->prev = &d->next;
    d->prev = &sl->deferred;
    sl->deferred = d;
    (void)uv_idle_start(&sl->idle, run_deferred);
}

void defer_cancel(struct defer *d)
{
    if (!d->prev)
        return;
    *d->prev = d->next;
    if (d->next)
        d->next->prev = d->prev;
    d->next = NULL;
    d->prev = NULL;
}

void stream_batch_begin(uv_loop_t *loop)
{
    struct stream_loop *sl = loop_find(loop);
    if (!sl)
        return;
    sl->batches++;
    stream_enter(sl);
}

void stream_batch_end(uv_loop_t *loop)
{
    struct stream_loop *sl = loop_find(loop);
    if (!sl || !sl->batches)
        return; /* began before the first stream was made: nothing was held */
    sl->batches--;
    stream_leave(sl);
}
