/* Open addressing with linear probing and backward-shift deletion; SipHash-2-4 with a random key
 * per map, so that who chooses the keys cannot choose the collisions. */
#include "core/map.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct slot {
    char *key; /* NULL = free */
    size_t n;
    uint64_t hash;
    void *value;
};

struct gvm_map {
    struct slot *slots;
    size_t cap, size, max; /* cap is a power of two, or 0 */
    uint64_t seed[2];
    void (*free_value)(void *);
};

static inline uint64_t rotl(uint64_t v, unsigned k)
{
    return v << k | v >> (64 - k);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

static inline uint64_t le64(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static uint64_t siphash(const uint64_t k[2], const uint8_t *p, size_t n)
{
    uint64_t v[4] = {k[0] ^ 0x736f6d6570736575u, k[1] ^ 0x646f72616e646f6du,
                     k[0] ^ 0x6c7967656e657261u, k[1] ^ 0x7465646279746573u};
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        uint64_t m;
        memcpy(&m, p + i, 8);
        m = le64toh(m);
        v[3] ^= m;
        sip_round(v);
        sip_round(v);
        v[0] ^= m;
    }
    uint64_t last = le64(p + i, n - i) | (uint64_t)n << 56;
    v[3] ^= last;
    sip_round(v);
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int round = 0; round < 4; round++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

struct gvm_map *gvm_map_new(size_t max, void (*free_value)(void *))
{
    struct gvm_map *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->max = max;
    m->free_value = free_value;
    if (getrandom(m->seed, sizeof m->seed, 0) != (ssize_t)sizeof m->seed) {
        free(m);
        return NULL;
    }
    return m;
}

void gvm_map_free(struct gvm_map *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].key && m->free_value)
            m->free_value(m->slots[i].value);
        free(m->slots[i].key);
    }
    free(m->slots);
    free(m);
}

size_t gvm_map_size(const struct gvm_map *m)
{
    return m->size;
}

static uint64_t hash_of(const struct gvm_map *m, struct gvm_str key)
{
    return siphash(m->seed, (const uint8_t *)key.p, key.n);
}

/* The slot holding `key`, or the free slot where it would go. The table is never full. */
static size_t probe(const struct gvm_map *m, struct gvm_str key, uint64_t h)
{
    size_t i = h & (m->cap - 1);
    while (m->slots[i].key) {
        const struct slot *s = &m->slots[i];
        if (s->hash == h && s->n == key.n && (key.n == 0 || memcmp(s->key, key.p, key.n) == 0))
            break;
        i = (i + 1) & (m->cap - 1);
    }
    return i;
}

static int rehash(struct gvm_map *m)
{
    size_t cap = m->cap ? m->cap * 2 : 16;
    struct slot *slots = calloc(cap, sizeof *slots);
    if (!slots)
        return -ENOMEM;
    for (size_t i = 0; i < m->cap; i++) {
        if (!m->slots[i].key)
            continue;
        size_t j = m->slots[i].hash & (cap - 1);
        while (slots[j].key)
            j = (j + 1) & (cap - 1);
        slots[j] = m->slots[i];
    }
    free(m->slots);
    m->slots = slots;
    m->cap = cap;
    return 0;
}

void *gvm_map_get(const struct gvm_map *m, struct gvm_str key)
{
    if (m->size == 0)
        return NULL;
    const struct slot *s = &m->slots[probe(m, key, hash_of(m, key))];
    return s->key ? s->value : NULL;
}

static void replace(struct gvm_map *m, struct slot *s, void *value)
{
    if (m->free_value && s->value != value)
        m->free_value(s->value);
    s->value = value;
}

int gvm_map_put(struct gvm_map *m, struct gvm_str key, void *value)
{
    uint64_t h = hash_of(m, key);
    if (m->size) {
        struct slot *s = &m->slots[probe(m, key, h)];
        if (s->key) {
            replace(m, s, value);
            return 0;
        }
    }
    if (m->size >= m->max)
        return -ENOBUFS;
    if ((m->size + 1) * 4 > m->cap * 3 && rehash(m) < 0)
        return -ENOMEM;
    char *copy = malloc(key.n + 1);
    if (!copy)
        return -ENOMEM;
    if (key.n)
        memcpy(copy, key.p, key.n);
    copy[key.n] = '\0';
    m->slots[probe(m, key, h)] = (struct slot){.key = copy, .n = key.n, .hash = h, .value = value};
    m->size++;
    return 0;
}

/* Empties slot `i` and moves later members of its cluster up, so that no probe meets a hole. */
static void vacate(struct gvm_map *m, size_t i)
{
    size_t mask = m->cap - 1;
    for (size_t j = (i + 1) & mask; m->slots[j].key; j = (j + 1) & mask) {
        size_t home = m->slots[j].hash & mask;
        if (((j - home) & mask) < ((j - i) & mask))
            continue;
        m->slots[i] = m->slots[j];
        i = j;
    }
    m->slots[i] = (struct slot){0};
}

void *gvm_map_take(struct gvm_map *m, struct gvm_str key)
{
    if (m->size == 0)
        return NULL;
    size_t i = probe(m, key, hash_of(m, key));
    if (!m->slots[i].key)
        return NULL;
    void *value = m->slots[i].value;
    free(m->slots[i].key);
    vacate(m, i);
    m->size--;
    return value;
}

bool gvm_map_del(struct gvm_map *m, struct gvm_str key)
{
    size_t before = m->size;
    void *value = gvm_map_take(m, key);
    if (m->size == before)
        return false;
    if (m->free_value)
        m->free_value(value);
    return true;
}

bool gvm_map_next(const struct gvm_map *m, size_t *pos, struct gvm_str *ret_key, void **ret_value)
{
    for (; *pos < m->cap; ++*pos) {
        const struct slot *s = &m->slots[*pos];
        if (!s->key)
            continue;
        if (ret_key)
            *ret_key = (struct gvm_str){s->key, s->n};
        if (ret_value)
            *ret_value = s->value;
        ++*pos;
        return true;
    }
    return false;
}
