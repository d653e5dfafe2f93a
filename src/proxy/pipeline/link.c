/* Channels to our siblings, on the loop, and the questions that wait for an answer.
 *
 * A question's id holds its slot in px->waiters and that slot's generation, so that an answer to a
 * cancelled question finds nobody. A link that is replaced or lost answers all of its questions
 * with NULL: whoever asked then denies. */
#include <errno.h>
#include <stdlib.h>

#include "proxy/pipeline/px.h"

#define LINK_QUEUE  (16u << 20) /* bytes that may wait for a sibling */
#define LINK_BURST  64          /* frames taken from one link before others have a turn */
#define WAITERS_MAX 65536u

static void free_link(uv_handle_t *h)
{
    free(h->data);
}

static void on_poll(uv_poll_t *handle, int status, int events);

/* Polls for what the channel needs now. */
static int watch(struct px_link *l)
{
    int events = UV_READABLE | (gvm_chan_wants_write(l->chan) ? UV_WRITABLE : 0);
    if (events == l->events)
        return 0;
    l->events = events;
    return uv_poll_start(&l->poll, events, on_poll);
}

static void answer_all(struct px *px, enum gvm_role role)
{
    for (uint32_t i = 0; i < px->nwaiters; i++) {
        struct px_waiter *w = &px->waiters[i];
        if (!w->cb || w->role != role)
            continue;
        px_answer_fn *cb = w->cb;
        void *arg = w->arg;
        w->cb = NULL;
        w->gen++;
        w->next_free = px->free_waiter;
        px->free_waiter = i + 1;
        cb(arg, NULL);
    }
}

void px_link_close(struct px *px, enum gvm_role role)
{
    struct px_link *l = px->links[role];
    if (!l)
        return;
    px->links[role] = NULL;
    l->poll.data = l;
    uv_close((uv_handle_t *)&l->poll, free_link);
    gvm_chan_free(l->chan);
    l->chan = NULL;
    answer_all(px, role);
}

int px_link_open(struct px *px, enum gvm_role role, int fd)
{
    struct px_link *l = gvm_calloc(1, sizeof *l);
    if (!l)
        return -ENOMEM;
    l->px = px;
    l->role = role;
    l->chan = gvm_chan_new(fd, GVM_ROLE_PROXY, role, LINK_QUEUE);
    if (!l->chan || uv_poll_init(&px->loop, &l->poll, fd) < 0) {
        if (l->chan)
            gvm_chan_free(l->chan);
        else
            gvm_close(&fd);
        free(l);
        return -ENOMEM;
    }
    l->poll.data = l;
    px_link_close(px, role);
    px->links[role] = l;
    return watch(l) < 0 ? -EIO : 0;
}

static void lost(struct px_link *l)
{
    struct px *px = l->px;
    enum gvm_role role = l->role;
    px_link_close(px, role);
    px_on_link_lost(px, role);
}

static struct px_waiter *waiter_of(struct px *px, uint64_t id)
{
    uint32_t slot = (uint32_t)id;
    if (slot == 0 || slot > px->nwaiters)
        return NULL;
    struct px_waiter *w = &px->waiters[slot - 1];
    return w->cb && w->gen == (uint32_t)(id >> 32) ? w : NULL;
}

static void release(struct px *px, struct px_waiter *w)
{
    w->cb = NULL;
    w->gen++;
    w->next_free = px->free_waiter;
    px->free_waiter = (uint32_t)(w - px->waiters) + 1;
}

/* An answer goes to who asked; anything else to the process. */
static int deliver(struct px_link *l, struct gvm_msg *m)
{
    struct px_waiter *w = m->id ? waiter_of(l->px, m->id) : NULL;
    if (w && w->role == l->role) {
        px_answer_fn *cb = w->cb;
        void *arg = w->arg;
        release(l->px, w);
        cb(arg, m);
        return 0;
    }
    switch ((int)m->type) {
    case GVM_MSG_OK:
    case GVM_MSG_FAILED:
    case GVM_MSG_APPENDED:
    case GVM_MSG_LEAF_CERT:
    case GVM_MSG_CRED_HEADERS:
        return 0; /* nobody waits for it any more */
    default:
        return px_on_message(l->px, l->role, m);
    }
}

/* 0, or negative when the link is to be closed. */
static int receive_burst(struct px_link *l)
{
    struct px *px = l->px;
    enum gvm_role role = l->role;
    for (int i = 0; i < LINK_BURST; i++) {
        struct gvm_msg m;
        int r = gvm_chan_recv(l->chan, &m);
        if (r <= 0)
            return r;
        r = deliver(l, &m);
        gvm_msg_done(&m);
        if (px->links[role] != l)
            return 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct px_link *l = handle->data;
    struct px *px = l->px;
    enum gvm_role role = l->role;
    if (status < 0) {
        lost(l);
        return;
    }
    if ((events & UV_WRITABLE) && gvm_chan_flush(l->chan) < 0) {
        lost(l);
        return;
    }
    stream_batch_begin(&px->loop);
    int r = receive_burst(l);
    stream_batch_end(&px->loop);
    if (px->links[role] != l) /* replaced meanwhile */
        return;
    if (r < 0) {
        lost(l);
        return;
    }
    watch(l);
    if (role == GVM_ROLE_LEDGER && !px_ledger_busy(px))
        px_unpark(px);
}

int px_link_send(struct px *px, enum gvm_role role, enum gvm_msg_type type, uint64_t id,
                 const void *a, size_t an, const void *b, size_t bn)
{
    struct px_link *l = px->links[role];
    if (!l)
        return -EPIPE;
    int r = gvm_chan_send2(l->chan, type, id, a, an, b, bn, NULL, 0);
    return r < 0 ? r : watch(l) < 0 ? -EIO : 0;
}

/* Index + 1 of a free slot, 0 when there is none. */
static uint32_t free_slot(struct px *px)
{
    if (px->free_waiter) {
        uint32_t slot = px->free_waiter;
        px->free_waiter = px->waiters[slot - 1].next_free;
        return slot;
    }
    if (px->nwaiters >= WAITERS_MAX)
        return 0;
    uint32_t n = px->nwaiters ? px->nwaiters * 2 : 64;
    struct px_waiter *more = realloc(px->waiters, n * sizeof *more);
    if (!more)
        return 0;
    memset(more + px->nwaiters, 0, (n - px->nwaiters) * sizeof *more);
    for (uint32_t i = n; i > px->nwaiters + 1; i--) {
        more[i - 1].next_free = px->free_waiter;
        px->free_waiter = i;
    }
    px->waiters = more;
    uint32_t slot = px->nwaiters + 1;
    px->nwaiters = n;
    return slot;
}

int px_link_ask(struct px *px, enum gvm_role role, enum gvm_msg_type type, const void *a, size_t an,
                const void *b, size_t bn, px_answer_fn *cb, void *arg, uint64_t *ret_waiter)
{
    uint32_t slot = free_slot(px);
    if (!slot)
        return -ENOBUFS;
    struct px_waiter *w = &px->waiters[slot - 1];
    uint64_t id = (uint64_t)w->gen << 32 | slot;
    w->cb = cb;
    w->arg = arg;
    w->role = role;
    int r = px_link_send(px, role, type, id, a, an, b, bn);
    if (r < 0) {
        release(px, w);
        return r;
    }
    *ret_waiter = id;
    return 0;
}

void px_link_cancel(struct px *px, uint64_t *waiter)
{
    struct px_waiter *w = *waiter ? waiter_of(px, *waiter) : NULL;
    if (w)
        release(px, w);
    *waiter = 0;
}

bool px_gate_open(const struct px *px)
{
    return px->links[GVM_ROLE_LEDGER] && px->links[GVM_ROLE_KEYS] && px->log_open && !px->stopping;
}

bool px_ledger_busy(const struct px *px)
{
    return px->links[GVM_ROLE_LEDGER] && gvm_chan_wants_write(px->links[GVM_ROLE_LEDGER]->chan);
}
