/* Idle connections, by everything that makes two requests different to an upstream or to a policy.
 */
#include <stdlib.h>
#include <string.h>
#include "proxy/upstream/upstream_int.h"

#define POOL_IDLE_MS 60000u /* when no policy says */

struct idle {
    struct pool *pool;
    struct stream *s;
    struct bucket *bucket;
    struct idle *newer, *older;            /* of the pool, newest first */
    struct idle *bucket_next, **bucket_at; /* of the bucket, newest first */
};

struct bucket {
    struct idle *first;
    unsigned n;
    char run[GVM_MAX_RUN_ID + 1];
    size_t key_len;
    char key[];
};

struct pool {
    struct gvm_map *buckets;
    struct idle *newest, *oldest;
    unsigned n;
};

struct pool *pool_new(void)
{
    struct pool *p = gvm_calloc(1, sizeof *p);
    if (p)
        p->buckets = gvm_map_new(POOL_TOTAL + 1, free);
    if (p && !p->buckets) {
        free(p);
        p = NULL;
    }
    return p;
}

/* run | host | port tls private | credential | policy hash */
struct gvm_str upstream_key(const struct upstream_want *w, char *dst)
{
    const char where[] = {(char)(w->port >> 8), (char)w->port, w->tls ? 's' : 'p',
                          w->private_ok ? 'l' : 'w'};
    const struct gvm_str parts[] = {gvm_str(w->run),
                                    gvm_str(w->host),
                                    {where, sizeof where},
                                    gvm_str(w->credential),
                                    gvm_str(w->conf ? w->conf->hash : NULL)};
    size_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].n >= UPSTREAM_KEY_MAX - at)
            return (struct gvm_str){dst, 0};
        if (parts[i].n)
            memcpy(dst + at, parts[i].p, parts[i].n);
        at += parts[i].n;
        dst[at++] = '\n';
    }
    return (struct gvm_str){dst, at};
}

static void unlink_idle(struct idle *i)
{
    struct pool *p = i->pool;
    *(i->newer ? &i->newer->older : &p->newest) = i->older;
    *(i->older ? &i->older->newer : &p->oldest) = i->newer;
    *i->bucket_at = i->bucket_next;
    if (i->bucket_next)
        i->bucket_next->bucket_at = i->bucket_at;
    p->n--;
    if (--i->bucket->n == 0)
        (void)gvm_map_del(p->buckets, (struct gvm_str){i->bucket->key, i->bucket->key_len});
}

static void drop(struct idle *i)
{
    unlink_idle(i);
    if (i->s)
        stream_close(i->s, 0);
    free(i);
}

/* An idle upstream has nothing to say: bytes, an end or an error all end it. */
static void idle_data(void *arg, const uint8_t *p, size_t n)
{
    (void)p;
    (void)n;
    drop(arg);
}

static void idle_over(void *arg)
{
    drop(arg);
}

static void idle_close(void *arg, const struct gvm_err *err)
{
    (void)err;
    struct idle *i = arg;
    i->s = NULL;
    drop(i);
}

static const struct stream_events idle_events = {
    .on_data = idle_data, .on_eof = idle_over, .on_close = idle_close};

static struct bucket *bucket_for(struct pool *p, struct gvm_str key, const char *run)
{
    struct bucket *b = gvm_map_get(p->buckets, key);
    if (b)
        return b;
    b = gvm_calloc(1, sizeof *b + key.n);
    if (!b)
        return NULL;
    memcpy(b->key, key.p, key.n);
    b->key_len = key.n;
    if (gvm_str_copy(b->run, sizeof b->run, gvm_str(run ? run : "")) < 0 ||
        gvm_map_put(p->buckets, key, b) < 0) {
        free(b);
        return NULL;
    }
    return b;
}

static void link_idle(struct pool *p, struct bucket *b, struct idle *i)
{
    i->pool = p;
    i->bucket = b;
    i->older = p->newest;
    *(i->older ? &i->older->newer : &p->oldest) = i;
    p->newest = i;
    i->bucket_next = b->first;
    if (b->first)
        b->first->bucket_at = &i->bucket_next;
    i->bucket_at = &b->first;
    b->first = i;
    p->n++;
    b->n++;
}

static struct idle *oldest_of(const struct bucket *b)
{
    struct idle *i = b->first;
    while (i->bucket_next)
        i = i->bucket_next;
    return i;
}

static bool too_old(const struct upstream_want *want, const struct stream *s)
{
    uint64_t life = want->conf ? want->conf->timeouts.pool_life : 0;
    return life && stream_age(s) >= life;
}

void pool_put(struct pool *p, const struct upstream_want *want, struct stream *s)
{
    char text[UPSTREAM_KEY_MAX];
    struct gvm_str key = upstream_key(want, text);
    bool keep = key.n && !too_old(want, s); /* other fitness is judged when it is taken */
    struct idle *i = keep ? gvm_calloc(1, sizeof *i) : NULL;
    struct bucket *b = i ? bucket_for(p, key, want->run) : NULL;
    if (!b) {
        free(i);
        stream_close(s, 0);
        return;
    }
    i->s = s;
    link_idle(p, b, i);
    stream_set_events(s, &idle_events, i);
    uint64_t idle = want->conf ? want->conf->timeouts.pool_idle : 0;
    stream_idle(s, idle ? idle : POOL_IDLE_MS, idle_over);
    stream_resume(s);
    if (b->n > POOL_PER_KEY)
        drop(oldest_of(b));
    if (p->n > POOL_TOTAL)
        drop(p->oldest);
}

bool pool_take(struct pool *p, const struct upstream_want *want, struct upstream_got *ret)
{
    char text[UPSTREAM_KEY_MAX];
    struct gvm_str key = upstream_key(want, text);
    struct bucket *b;
    while (key.n && (b = gvm_map_get(p->buckets, key)) != NULL) {
        struct idle *i = b->first;
        struct upstream_got got = {.stream = i->s, .reused = true};
        if (too_old(want, i->s) || !stream_quiet(i->s) ||
            stream_peer(i->s, &got.ip, &got.port) < 0) {
            drop(i);
            continue;
        }
        unlink_idle(i);
        free(i);
        stream_pause(got.stream);
        stream_idle(got.stream, 0, NULL);
        stream_set_events(got.stream, NULL, NULL);
        *ret = got;
        return true;
    }
    return false;
}

void pool_forget_run(struct pool *p, const char *run)
{
    struct idle *next;
    for (struct idle *i = p->newest; i; i = next) {
        next = i->older;
        if (strcmp(i->bucket->run, run) == 0)
            drop(i);
    }
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    while (p->newest)
        drop(p->newest);
    gvm_map_free(p->buckets);
    free(p);
}
