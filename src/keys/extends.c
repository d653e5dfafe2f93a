/* extends.c - does the head to be signed extend the one signed last?
 *
 * The ledger process sends the hashes of complete subtrees, from the left: those that make up the
 * entries of the last head, then those from there to the new one (each as large as its place and
 * the end allow: the compact ranges of a Merkle tree, RFC 6962 section 2.1). Folded, the first ones
 * must give the last root, and all of them the new root. So not even a ledger process in other
 * hands gets a second history signed.
 */
#include <openssl/sha.h>
#include "keys/keys_int.h"

enum { HASH = 32, DEPTH = 64 };

struct stack {
    unsigned n;
    uint8_t hash[DEPTH + 1][HASH];
    unsigned height[DEPTH + 1];
};

static bool node(const uint8_t l[HASH], const uint8_t r[HASH], uint8_t ret[HASH])
{
    uint8_t in[1 + 2 * HASH] = {0x01};
    memcpy(in + 1, l, HASH);
    memcpy(in + 1 + HASH, r, HASH);
    return SHA256(in, sizeof in, ret) != NULL;
}

/* Height of the largest complete subtree that begins at `lo` and ends by `hi`. */
static unsigned height_at(uint64_t lo, uint64_t hi)
{
    unsigned most = 63 - (unsigned)__builtin_clzll(hi - lo);
    unsigned own = lo ? (unsigned)__builtin_ctzll(lo) : 63;
    return own < most ? own : most;
}

/* Takes the subtrees of [lo, hi) off the nodes. */
static bool take(struct stack *s, uint64_t lo, uint64_t hi, const uint8_t (**nodes)[HASH],
                 size_t *n)
{
    while (lo < hi) {
        unsigned height = height_at(lo, hi);
        if (!*n || s->n > DEPTH)
            return false;
        memcpy(s->hash[s->n], **nodes, HASH);
        s->height[s->n++] = height;
        (*nodes)++;
        (*n)--;
        lo += (uint64_t)1 << height;
        for (; s->n > 1 && s->height[s->n - 1] == s->height[s->n - 2]; s->n--) {
            if (!node(s->hash[s->n - 2], s->hash[s->n - 1], s->hash[s->n - 2]))
                return false;
            s->height[s->n - 2]++;
        }
    }
    return true;
}

static bool has_root(const struct stack *s, const uint8_t want[HASH])
{
    uint8_t root[HASH];
    if (!s->n)
        return false;
    memcpy(root, s->hash[s->n - 1], HASH);
    for (unsigned i = s->n - 1; i-- > 0;)
        if (!node(s->hash[i], root, root))
            return false;
    return memcmp(root, want, HASH) == 0;
}

bool keys_extends(const struct gvm_m_sign *old, const struct gvm_m_sign *now,
                  const uint8_t (*nodes)[HASH], size_t n)
{
    struct stack s = {.n = 0};
    return old->size && old->size < now->size && take(&s, 0, old->size, &nodes, &n) &&
           has_root(&s, old->root) && take(&s, old->size, now->size, &nodes, &n) && !n &&
           has_root(&s, now->root);
}
