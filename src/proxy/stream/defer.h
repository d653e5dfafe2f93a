/* proxy/stream/defer.h - "call this from the loop, soon": keeps callbacks out of the calls that
 * cause them. */
#ifndef GVM_PROXY_DEFER_H
#define GVM_PROXY_DEFER_H

#include <uv.h>
#include "core/core.h"

struct stream_loop;

/* Lives inside its owner, zeroed at first. */
struct defer {
    void (*fn)(void *arg);
    void *arg;
    struct defer *next, **prev;
    struct stream_loop *sl;
};

/* The per-loop state that deferring and streams share; hold a reference while using it. */
struct stream_loop *stream_loop_ref(uv_loop_t *loop) GVM_MUST_CHECK;
void stream_loop_unref(struct stream_loop *sl);

/* fn(arg) runs once in the next turn of the loop, unless cancelled before. Set again: stays as it
 * is. */
void defer_set(struct defer *d, struct stream_loop *sl, void (*fn)(void *arg), void *arg);
void defer_cancel(struct defer *d);

#endif
