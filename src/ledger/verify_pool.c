/* verify_pool.c - lines are hashed on several cores and come back in their order.
 *
 * A ring of chunks: the reader fills the one at `head`, workers judge those between, the reader
 * takes them back at `tail`. The ring is as long as twice the workers, so memory does not depend on
 * the log.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include "ledger/verify_check.h"

enum { MAX_THREADS = 16 };
enum state { EMPTY, WAITING, TAKEN, DONE };

struct slot {
    enum state state;
    struct vchunk chunk;
};

struct worker {
    struct vpool *pool;
    pthread_t thread;
    struct vhasher hasher;
};

struct vpool {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    unsigned workers, slots;
    unsigned head, tail,
        next; /* filled; taken back; given to a worker next: counts, modulo slots */
    bool stop;
    struct worker worker[MAX_THREADS];
    struct slot *slot;
};

/* ---- judging ---- */

/* One line of UTF-8 without control bytes. Plain ASCII, the usual case, goes eight bytes at a time.
 */
static bool text_ok(struct gvm_str s)
{
    const uint64_t high = 0x8080808080808080u, space = 0x2020202020202020u;
    uint64_t low = 0, bits = 0, word;
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        memcpy(&word, s.p + i, 8);
        bits |= word;
        low |= (word - space) & ~word; /* exact for the lowest such byte: enough to know of one */
    }
    for (; i < s.n; i++) {
        bits |= (unsigned char)s.p[i];
        low |= (unsigned char)s.p[i] < 0x20 ? high : 0;
    }
    return !(low & high) && (!(bits & high) || gvm_utf8_valid(s));
}

static bool entry_form_ok(struct gvm_str s)
{
    return s.n >= 2 && s.p[0] == '{' && s.p[s.n - 1] == '}' && text_ok(s);
}

void vchunk_judge(struct vchunk *c, struct vhasher *h)
{
    const char *p = (const char *)c->bytes;
    c->bad_form = c->bad_private = c->lines;
    c->pruned = false;
    for (unsigned i = 0; i < c->lines; i++) {
        struct gvm_str line = {p, c->len[i]};
        p += line.n + 1;
        if (!entry_form_ok(line)) {
            c->bad_form = i;
            return;
        }
        if (!vhash_private_ok(h, line) && c->bad_private == c->lines)
            c->bad_private = i;
        vhash_leaf(h, line.p, line.n, c->hash[i]);
        c->pruned |= ventry_pruned(line, NULL);
    }
}

/* ---- the ring ---- */

static struct slot *slot_at(struct vpool *p, unsigned i)
{
    return &p->slot[i % p->slots];
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct vpool *p = w->pool;
    (void)pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        if (p->next == p->head) {
            (void)pthread_cond_wait(&p->work, &p->lock);
            continue;
        }
        struct slot *s = slot_at(p, p->next++);
        s->state = TAKEN;
        (void)pthread_mutex_unlock(&p->lock);
        vchunk_judge(&s->chunk, &w->hasher);
        (void)pthread_mutex_lock(&p->lock);
        s->state = DONE;
        (void)pthread_cond_signal(&p->done);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct vchunk *vpool_empty(struct vpool *p)
{
    struct slot *s = slot_at(p, p->head);
    if (p->head - p->tail == p->slots)
        return NULL;
    s->chunk.n = s->chunk.lines = 0;
    return &s->chunk;
}

void vpool_submit(struct vpool *p)
{
    (void)pthread_mutex_lock(&p->lock);
    slot_at(p, p->head++)->state = WAITING;
    (void)pthread_cond_signal(&p->work);
    (void)pthread_mutex_unlock(&p->lock);
}

struct vchunk *vpool_next(struct vpool *p)
{
    if (p->head == p->tail)
        return NULL;
    struct slot *s = slot_at(p, p->tail);
    (void)pthread_mutex_lock(&p->lock);
    while (s->state != DONE)
        (void)pthread_cond_wait(&p->done, &p->lock);
    (void)pthread_mutex_unlock(&p->lock);
    return &s->chunk;
}

void vpool_taken(struct vpool *p)
{
    slot_at(p, p->tail++)->state = EMPTY;
}

/* ---- life ---- */

static int make_slots(struct vpool *p)
{
    p->slots = 2 * p->workers + 1;
    p->slot = gvm_calloc(p->slots, sizeof *p->slot);
    for (unsigned i = 0; p->slot && i < p->slots; i++)
        if (!(p->slot[i].chunk.bytes = malloc(VCHUNK_BYTES)))
            return -ENOMEM;
    return p->slot ? 0 : -ENOMEM;
}

static int start_workers(struct vpool *p, unsigned n)
{
    for (; p->workers < n; p->workers++) {
        struct worker *w = &p->worker[p->workers];
        w->pool = p;
        if (vhasher_init(&w->hasher, NULL) < 0)
            return -ENOMEM;
        int e = pthread_create(&w->thread, NULL, work, w);
        if (e) {
            vhasher_done(&w->hasher);
            return -e;
        }
    }
    return 0;
}

int vpool_new(unsigned threads, struct vpool **ret, struct gvm_err *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores > 0 && threads > (unsigned)cores)
        threads = (unsigned)cores;
    threads = threads > MAX_THREADS ? MAX_THREADS : threads;
    struct vpool *p = threads < 2 ? NULL : gvm_calloc(1, sizeof *p);
    if (!p) {
        *ret = NULL;
        return threads < 2 ? 0 : gvm_err_set(err, ENOMEM, "out of memory");
    }
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->work, NULL);
    (void)pthread_cond_init(&p->done, NULL);
    p->workers = threads - 1; /* who reads hashes inner nodes */
    int r = make_slots(p);
    p->workers = 0;
    if (!r)
        r = start_workers(p, threads - 1);
    if (r < 0) {
        vpool_free(p);
        return gvm_err_sys(err, -r, "cannot start threads");
    }
    *ret = p;
    return 0;
}

void vpool_free(struct vpool *p)
{
    if (!p)
        return;
    (void)pthread_mutex_lock(&p->lock);
    p->stop = true;
    (void)pthread_cond_broadcast(&p->work);
    (void)pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->workers; i++) {
        (void)pthread_join(p->worker[i].thread, NULL);
        vhasher_done(&p->worker[i].hasher);
    }
    for (unsigned i = 0; p->slot && i < p->slots; i++)
        free(p->slot[i].chunk.bytes);
    free(p->slot);
    (void)pthread_cond_destroy(&p->work);
    (void)pthread_cond_destroy(&p->done);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}
