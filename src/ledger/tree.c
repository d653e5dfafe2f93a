/* tree.c - the writer's Merkle tree: the right edge in memory, full tiles handed out as they fill.
 *
 * `edge[k]` is the root of the complete subtree of 2^k entries that ends the tree where bit k of
 * the size is set: like a binary counter, adding an entry carries. A subtree of height 8L that
 * comes to be on the way is the next hash of the tile being filled on level L.
 */
#include <assert.h>
#include "ledger/ledger_int.h"

void ledger_tree_init(struct ledger_tree *t, struct ledger_hasher *h)
{
    t->hasher = h;
    t->size = 0;
    t->sink = NULL;
    t->arg = NULL;
    t->sink_error = 0;
    for (unsigned i = 0; i < MARKS; i++)
        t->mark[i].size = t->mark[i].nleft = t->mark[i].nmid = 0;
    for (unsigned l = 0; l < TILE_LEVELS; l++)
        t->level[l].n = 0;
}

static void tile_push(struct ledger_tree *t, unsigned level, uint64_t index,
                      const uint8_t hash[HASH])
{
    if (level >= TILE_LEVELS)
        return;
    struct ledger_tile_level *l = &t->level[level];
    memcpy(l->hash[l->n++], hash, HASH);
    if (l->n < TILE_WIDTH)
        return;
    l->n = 0;
    if (!t->sink)
        return;
    int r = t->sink(t->arg, level, index / TILE_WIDTH, l->hash[0]);
    if (r < 0 && !t->sink_error)
        t->sink_error = r;
}

/* A subtree that begins behind a mark becomes part of one that does not: it is final. */
static void note_marks(struct ledger_tree *t, unsigned height, uint64_t index,
                       const uint8_t hash[HASH])
{
    for (unsigned i = 0; i < MARKS; i++) {
        struct ledger_mark *m = &t->mark[i];
        if (m->size && index << height >= m->size && (index - 1) << height < m->size)
            memcpy(m->mid[m->nmid++], hash, HASH);
    }
}

void ledger_tree_mark(struct ledger_tree *t, unsigned which)
{
    struct ledger_mark *m = &t->mark[which];
    m->size = t->size;
    m->nleft = m->nmid = 0;
    for (unsigned k = 64; k-- > 0;)
        if (t->size >> k & 1)
            memcpy(m->left[m->nleft++], t->edge[k], HASH);
}

size_t ledger_tree_since(const struct ledger_tree *t, unsigned which,
                         uint8_t ret[GVM_SIGN_NODES][HASH])
{
    const struct ledger_mark *m = &t->mark[which];
    size_t n = 0;
    memcpy(ret[n], m->left, m->nleft * sizeof *m->left);
    n += m->nleft;
    memcpy(ret[n], m->mid, m->nmid * sizeof *m->mid);
    n += m->nmid;
    for (unsigned k = 64; k-- > 0;)
        if (t->size >> k & 1 && (t->size >> k ^ 1) << k >= m->size)
            memcpy(ret[n++], t->edge[k], HASH);
    return n;
}

static void add_at(struct ledger_tree *t, unsigned height, const uint8_t hash[HASH])
{
    uint8_t h[HASH];
    uint64_t index = t->size >> height; /* of this subtree among those of its height */
    assert((index << height) == t->size);
    memcpy(h, hash, HASH);
    t->size += (uint64_t)1 << height;
    for (;; height++, index >>= 1) {
        if (height % 8 == 0)
            tile_push(t, height / 8, index, h);
        if (!(index & 1))
            break;
        note_marks(t, height, index, h);
        ledger_hash_node(t->hasher, t->edge[height], h, h);
    }
    memcpy(t->edge[height], h, HASH);
    if (t->size == t->mark_at)
        ledger_tree_mark(t, MARK_SIGNED);
}

void ledger_tree_add(struct ledger_tree *t, const uint8_t hash[HASH])
{
    add_at(t, 0, hash);
}

void ledger_tree_add_subtree(struct ledger_tree *t, unsigned level, const uint8_t hash[HASH])
{
    add_at(t, 8 * level, hash);
}

void ledger_tree_root(const struct ledger_tree *t, uint8_t ret[HASH])
{
    bool any = false;
    uint8_t acc[HASH];
    for (unsigned k = 0; k < 64; k++) {
        if (!(t->size >> k & 1))
            continue;
        if (any)
            ledger_hash_node(t->hasher, t->edge[k], acc, acc);
        else
            memcpy(acc, t->edge[k], HASH);
        any = true;
    }
    if (!any)
        ledger_hash_bytes(t->hasher, "", 0, acc);
    memcpy(ret, acc, HASH);
}

void ledger_tile_root(struct ledger_hasher *h, const uint8_t *hashes, uint8_t ret[HASH])
{
    uint8_t row[TILE_WIDTH / 2][HASH];
    for (unsigned i = 0; i < TILE_WIDTH / 2; i++)
        ledger_hash_node(h, hashes + 2 * i * HASH, hashes + (2 * i + 1) * HASH, row[i]);
    for (unsigned n = TILE_WIDTH / 4; n > 0; n /= 2)
        for (unsigned i = 0; i < n; i++)
            ledger_hash_node(h, row[2 * i], row[2 * i + 1], row[i]);
    memcpy(ret, row[0], HASH);
}
