/* New connections that others may share. While it is not known whether a server speaks HTTP/2,
 * requests for the same place wait for the first connection to it instead of each making one. */
#include <errno.h>
#include <stdlib.h>

#include "proxy/pipeline/px.h"

struct px_dial {
    struct px_request *dialer;
    struct px_request *waiters, **tail;
    size_t key_len;
    char key[];
};

bool px_dial_wait(struct px_request *rq, struct gvm_str key)
{
    struct px *px = rq->px;
    struct px_dial *d = gvm_map_get(px->dials, key);
    if (d) {
        rq->dial = d;
        rq->dial_next = NULL;
        *d->tail = rq;
        d->tail = &rq->dial_next;
        return true;
    }
    d = gvm_calloc(1, sizeof *d + key.n);
    if (!d)
        return false;
    memcpy(d->key, key.p, key.n);
    d->key_len = key.n;
    d->dialer = rq;
    d->tail = &d->waiters;
    if (gvm_map_put(px->dials, key, d) < 0)
        free(d);
    else
        rq->dial = d;
    return false;
}

struct px_dial *px_dial_take(struct px_request *rq)
{
    struct px_dial *d = rq->dial;
    if (!d || d->dialer != rq)
        return NULL;
    rq->dial = NULL;
    d->dialer = NULL;
    gvm_map_take(rq->px->dials, (struct gvm_str){d->key, d->key_len});
    return d;
}

static struct px_request *next_waiter(struct px_dial *d)
{
    struct px_request *rq = d->waiters;
    if (!rq)
        return NULL;
    d->waiters = rq->dial_next;
    if (!d->waiters)
        d->tail = &d->waiters;
    rq->dial = NULL;
    rq->dial_next = NULL;
    return rq;
}

/* Those who waited may be ended by what happens to others meanwhile: px_dial_forget() takes them
 * out. */
void px_dial_over(struct px_dial *d, bool shared, const struct gvm_err *err)
{
    struct px_request *w;
    while (d && (w = next_waiter(d)) != NULL) {
        w->alone = !shared;
        if (err)
            px_connect_failed(w, err);
        else
            px_connect(w);
    }
    free(d);
}

void px_dial_forget(struct px_request *rq)
{
    struct px_dial *d = rq->dial;
    if (!d)
        return;
    if (d->dialer == rq) {
        px_dial_over(px_dial_take(rq), true, NULL); /* the next of them dials */
        return;
    }
    for (struct px_request **at = &d->waiters; *at; at = &(*at)->dial_next) {
        if (*at != rq)
            continue;
        *at = rq->dial_next;
        if (!*at)
            d->tail = at;
        break;
    }
    rq->dial = NULL;
    rq->dial_next = NULL;
}
