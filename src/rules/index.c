/* rules/index.c - from a host and a first path segment to the few rules that can match.
 *
 * Names are hashed from their last byte to their first, so that one pass over a host yields the
 * hash of each of its suffixes on the way. The hash is not keyed: the tables hold what the owner
 * wrote, and an agent that makes hosts collide only finds a slot whose text differs. Texts are
 * always compared.
 */
#include "rules/rules_int.h"

#include <errno.h>

/* Buckets with fewer rules are scanned as they are. */
enum { SPLIT_FROM = 8 };

#define HASH_SEED       0x9e3779b97f4a7c15ull
#define HASH_STEP(h, c) (((h) ^ (uint8_t)(c)) * 0x100000001b3ull)

/* 0 is a free slot's hash too, but those are told apart by their id. */
static uint32_t hash_final(uint64_t h, uint32_t salt)
{
    h ^= h >> 32;
    h = (h + salt) * 0xd6e8feb86659fd93ull;
    return (uint32_t)(h >> 32);
}

static uint32_t hash_reverse(struct gvm_str s, uint32_t salt)
{
    uint64_t h = HASH_SEED;
    for (size_t i = s.n; i > 0; i--)
        h = HASH_STEP(h, s.p[i - 1]);
    return hash_final(h, salt);
}

/* ---- tables ---- */

static int table_init(struct gvm_arena *a, struct rules_table *t, uint32_t n)
{
    uint32_t size = 4;
    while (size < 2 * n)
        size *= 2;
    t->slots = gvm_arena_alloc(a, size * sizeof *t->slots);
    t->mask = size - 1;
    return t->slots ? 0 : -ENOMEM;
}

/* The free slot where a search for `hash` ends. */
static void table_put(struct rules_table *t, uint32_t hash, uint32_t id)
{
    uint32_t i = hash & t->mask;
    while (t->slots[i].id)
        i = (i + 1) & t->mask;
    t->slots[i] = (struct rules_slot){hash, id + 1};
}

static uint32_t find_bucket(const struct gvm_ruleset *rs, enum rules_host kind, struct gvm_str host,
                            uint32_t hash)
{
    const struct rules_table *t = &rs->hosts;
    for (uint32_t i = hash & t->mask; t->slots[i].id; i = (i + 1) & t->mask) {
        uint32_t id = t->slots[i].id - 1;
        if (t->slots[i].hash == hash && rs->buckets[id].kind == kind &&
            gvm_str_eq(rs->buckets[id].host, host))
            return id;
    }
    return RULES_NONE;
}

static uint32_t find_branch(const struct gvm_ruleset *rs, uint32_t bucket, struct gvm_str first,
                            uint32_t hash)
{
    const struct rules_table *t = &rs->firsts;
    for (uint32_t i = hash & t->mask; t->slots[i].id; i = (i + 1) & t->mask) {
        uint32_t id = t->slots[i].id - 1;
        if (t->slots[i].hash == hash && rs->branches[id].bucket == bucket &&
            gvm_str_eq(rs->branches[id].first, first))
            return id;
    }
    return RULES_NONE;
}

/* ---- building ---- */

static uint32_t add_bucket(struct gvm_ruleset *rs, const struct rule_info *info)
{
    uint32_t hash = hash_reverse(info->host, info->host_kind);
    uint32_t id = find_bucket(rs, info->host_kind, info->host, hash);
    if (id != RULES_NONE)
        return id;
    id = rs->nbuckets++;
    rs->buckets[id] = (struct rules_bucket){.host = info->host, .kind = info->host_kind};
    table_put(&rs->hosts, hash, id);
    if (info->host_kind == RULES_HOST_ANY)
        rs->any = id;
    if (info->host_kind == RULES_HOST_SUFFIX)
        rs->suffix_lens[info->host.n / 64] |= 1ull << info->host.n % 64;
    return id;
}

static uint32_t add_branch(struct gvm_ruleset *rs, uint32_t bucket, struct gvm_str first)
{
    uint32_t hash = hash_reverse(first, bucket);
    uint32_t id = find_branch(rs, bucket, first, hash);
    if (id != RULES_NONE)
        return id;
    id = rs->nbranches++;
    rs->branches[id] = (struct rules_branch){.bucket = bucket, .first = first};
    table_put(&rs->firsts, hash, id);
    return id;
}

/* Which list takes rule i, whose bucket is where[i]. */
static struct rules_list *list_of(struct gvm_ruleset *rs, const uint32_t *where, uint32_t i)
{
    struct rules_bucket *b = &rs->buckets[where[i]];
    if (!b->split || !rs->infos[i].first.p)
        return &b->wild;
    return &rs->branches[add_branch(rs, where[i], rs->infos[i].first)].list;
}

static void lay_out(struct gvm_ruleset *rs, const uint32_t *where)
{
    uint32_t off = 0;
    for (uint32_t i = 0; i < rs->nrules; i++)
        list_of(rs, where, i)->n++;
    for (uint32_t b = 0; b < rs->nbuckets; b++) {
        rs->buckets[b].wild.off = off;
        off += rs->buckets[b].wild.n;
        rs->buckets[b].wild.n = 0;
    }
    for (uint32_t b = 0; b < rs->nbranches; b++) {
        rs->branches[b].list.off = off;
        off += rs->branches[b].list.n;
        rs->branches[b].list.n = 0;
    }
    for (uint32_t i = 0; i < rs->nrules; i++) {
        struct rules_list *l = list_of(rs, where, i);
        rs->numbers[l->off + l->n++] = i;
    }
}

int rules_index_build(struct gvm_ruleset *rs)
{
    uint32_t n = rs->nrules ? rs->nrules : 1;
    GVM_AUTOFREE uint32_t *where = gvm_calloc(n, sizeof *where);
    rs->buckets = gvm_arena_alloc(rs->arena, n * sizeof *rs->buckets);
    rs->branches = gvm_arena_alloc(rs->arena, n * sizeof *rs->branches);
    rs->numbers = gvm_arena_alloc(rs->arena, n * sizeof *rs->numbers);
    rs->any = RULES_NONE;
    if (!where || !rs->buckets || !rs->branches || !rs->numbers ||
        table_init(rs->arena, &rs->hosts, n) < 0 || table_init(rs->arena, &rs->firsts, n) < 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < rs->nrules; i++) {
        where[i] = add_bucket(rs, &rs->infos[i]);
        rs->buckets[where[i]].nfirst += rs->infos[i].first.p != NULL;
    }
    for (uint32_t b = 0; b < rs->nbuckets; b++)
        rs->buckets[b].split = rs->buckets[b].nfirst >= SPLIT_FROM;
    lay_out(rs, where);
    return 0;
}

/* ---- looking up ---- */

static bool see_bucket(const struct gvm_ruleset *rs, uint32_t id, struct gvm_str first,
                       const struct rules_walk *w)
{
    const struct rules_bucket *b = &rs->buckets[id];
    if (b->split && first.p) {
        uint32_t branch = find_branch(rs, id, first, hash_reverse(first, id));
        if (branch != RULES_NONE) {
            const struct rules_list *l = &rs->branches[branch].list;
            if (!w->see(w->ctx, rs->numbers + l->off, l->n))
                return false;
        }
    }
    return b->wild.n == 0 || w->see(w->ctx, rs->numbers + b->wild.off, b->wild.n);
}

static bool has_suffix_len(const struct gvm_ruleset *rs, size_t n)
{
    return n < 256 && (rs->suffix_lens[n / 64] >> n % 64 & 1);
}

void rules_index_walk(const struct gvm_ruleset *rs, struct gvm_str host, struct gvm_str first,
                      const struct rules_walk *w)
{
    uint64_t h = HASH_SEED;
    for (size_t i = host.n; i > 0; i--) {
        size_t len = host.n - i;
        if (host.p[i - 1] == '.' && i > 1 && has_suffix_len(rs, len)) {
            uint32_t id = find_bucket(rs, RULES_HOST_SUFFIX, (struct gvm_str){host.p + i, len},
                                      hash_final(h, RULES_HOST_SUFFIX));
            if (id != RULES_NONE && !see_bucket(rs, id, first, w))
                return;
        }
        h = HASH_STEP(h, host.p[i - 1]);
    }
    uint32_t id = find_bucket(rs, RULES_HOST_EXACT, host, hash_final(h, RULES_HOST_EXACT));
    if (id != RULES_NONE && !see_bucket(rs, id, first, w))
        return;
    if (rs->any != RULES_NONE)
        (void)see_bucket(rs, rs->any, first, w);
}
