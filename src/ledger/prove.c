/* prove.c - paths through the tree, out of a few tiles instead of a walk over the log.
 *
 * The root of any complete subtree comes out of a full tile, or out of the tiles below it, or
 * (behind the last full tile) out of the entries themselves.
 */
#include "ledger/prove.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include "ledger/ledger.h"
#include "ledger/private.h"

enum { LEVELS = PROVE_LEVELS, MAX_CHECKPOINT = 64 * 1024 };

/* ---- hashes of subtrees ---- */

static uint64_t tail_start(const struct prover *p)
{
    return p->head.size / VTILE * VTILE;
}

static int load_tile(struct prover *p, unsigned level, uint64_t index)
{
    char path[VPATH];
    vfiles_tile_path(path, level, index);
    gvm_buf_reset(&p->tile);
    int r = vfiles_read(p->dirfd, path, &p->tile);
    if (!r && p->tile.len != VTILE * VHASH)
        r = -EBADMSG;
    return r;
}

/* Folds `n` hashes (a power of two) in place. */
static void fold(struct vhasher *h, uint8_t *hashes, size_t n, uint8_t ret[VHASH])
{
    for (; n > 1; n /= 2)
        for (size_t i = 0; i < n / 2; i++)
            vhash_node(h, hashes + 2 * i * VHASH, hashes + (2 * i + 1) * VHASH, hashes + i * VHASH);
    memcpy(ret, hashes, VHASH);
}

int prover_hash(struct prover *p, unsigned level, uint64_t i, uint8_t ret[VHASH])
{
    uint64_t full = level + 1 < LEVELS ? p->head.size >> (8 * (level + 1)) : 0;
    if (i / VTILE < full) {
        int r = load_tile(p, level, i / VTILE);
        if (!r)
            memcpy(ret, gvm_buf_data(&p->tile) + i % VTILE * VHASH, VHASH);
        return r;
    }
    if (level == 0) {
        memcpy(ret, p->tail[i - tail_start(p)], VHASH);
        return 0;
    }
    int r = load_tile(p, level - 1, i);
    if (!r)
        fold(&p->hasher, gvm_buf_data(&p->tile), VTILE, ret);
    return r;
}

/* The root of the complete subtree of 2^height entries, the `i`-th of its height. */
static int subtree_hash(struct prover *p, unsigned height, uint64_t i, uint8_t ret[VHASH])
{
    uint8_t row[VTILE / 2][VHASH];
    unsigned level = height / 8, n = 1u << (height % 8);
    for (unsigned k = 0; k < n; k++) {
        int r = prover_hash(p, level, i * n + k, row[k]);
        if (r < 0)
            return r;
    }
    fold(&p->hasher, row[0], n, ret);
    return 0;
}

/* The root over [lo, hi), hi being the end of the tree or the range complete: complete subtrees
 * from the left, folded from the right. */
static int range_hash(struct prover *p, uint64_t lo, uint64_t hi, uint8_t ret[VHASH])
{
    uint8_t part[64][VHASH];
    unsigned n = 0;
    while (lo < hi) {
        unsigned height = lo ? (unsigned)__builtin_ctzll(lo) : 62;
        while ((uint64_t)1 << height > hi - lo)
            height--;
        int r = subtree_hash(p, height, lo >> height, part[n++]);
        if (r < 0)
            return r;
        lo += (uint64_t)1 << height;
    }
    if (!n)
        return -EINVAL;
    memcpy(ret, part[--n], VHASH);
    while (n--)
        vhash_node(&p->hasher, part[n], ret, ret);
    return 0;
}

int prover_root(struct prover *p, uint8_t ret[VHASH])
{
    if (p->head.size)
        return range_hash(p, 0, p->head.size, ret);
    vhash_bytes(&p->hasher, "", 0, ret);
    return 0;
}

/* ---- paths ---- */

static void turn_round(uint8_t (*path)[VHASH], size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        uint8_t tmp[VHASH];
        memcpy(tmp, path[i], VHASH);
        memcpy(path[i], path[n - 1 - i], VHASH);
        memcpy(path[n - 1 - i], tmp, VHASH);
    }
}

/* The largest power of two below n (n > 1). */
static uint64_t split(uint64_t n)
{
    return (uint64_t)1 << (63 - __builtin_clzll(n - 1));
}

/* RFC 6962 section 2.1.1, from the root down; the path is wanted from the leaf up. */
static int make_path(struct prover *p, uint64_t index, uint8_t (*path)[VHASH], size_t *ret_n)
{
    uint64_t lo = 0, hi = p->head.size;
    size_t n = 0;
    while (hi - lo > 1) {
        uint64_t k = split(hi - lo);
        bool left = index < lo + k;
        int r = left ? range_hash(p, lo + k, hi, path[n]) : range_hash(p, lo, lo + k, path[n]);
        if (r < 0)
            return r;
        n++;
        if (left)
            hi = lo + k;
        else
            lo += k;
    }
    turn_round(path, n);
    *ret_n = n;
    return 0;
}

/* SUBPROOF of RFC 6962 section 2.1.2, from the root down. */
static int make_extends(struct prover *p, uint64_t size, uint8_t (*path)[VHASH], size_t *ret_n)
{
    uint64_t lo = 0, hi = p->head.size;
    size_t n = 0;
    int r = 0;
    while (!r && size < hi) {
        uint64_t k = lo + split(hi - lo);
        r = size <= k ? range_hash(p, k, hi, path[n++]) : range_hash(p, lo, k, path[n++]);
        if (size <= k)
            hi = k;
        else
            lo = k;
    }
    if (!r && lo > 0) /* else it is the old root, which the verifier has */
        r = range_hash(p, lo, hi, path[n++]);
    turn_round(path, n);
    *ret_n = n;
    return r;
}

int prover_path(struct prover *p, uint64_t index, const uint8_t leaf[VHASH],
                uint8_t ret[PROVE_PATH][VHASH], size_t *ret_n, struct gvm_err *err)
{
    uint8_t root[VHASH];
    size_t n = 0;
    if (index >= p->head.size)
        return gvm_err_set(err, ERANGE,
                           "entry %" PRIu64 " is not signed yet: the head has %" PRIu64 " entries",
                           index, p->head.size);
    int r = make_path(p, index, ret, &n);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read the tiles; run gvm audit verify");
    if (!vproof_root(&p->hasher, index, p->head.size, leaf, (const uint8_t(*)[VHASH])ret, n,
                     root) ||
        memcmp(root, p->head.root, VHASH) != 0)
        return gvm_err_set(err, EBADMSG,
                           "the log does not fit its checkpoint; run gvm audit verify");
    *ret_n = n;
    return 0;
}

int prover_extends(struct prover *p, const struct gvm_checkpoint *old,
                   uint8_t ret[PROVE_PATH + 1][VHASH], size_t *ret_n, struct gvm_err *err)
{
    size_t n = 0;
    if (strcmp(old->origin, p->head.origin) != 0)
        return gvm_err_set(err, EBADMSG, "the older head is of the log %s, this is %s", old->origin,
                           p->head.origin);
    if (old->size > p->head.size)
        return gvm_err_set(err, EBADMSG,
                           "the log was cut: a head of %" PRIu64
                           " entries is known, the checkpoint has %" PRIu64,
                           old->size, p->head.size);
    int r = old->size ? make_extends(p, old->size, ret, &n) : 0;
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read the tiles; run gvm audit verify");
    if (!vproof_extends(&p->hasher, old, &p->head, (const uint8_t(*)[VHASH])ret, n))
        return gvm_err_set(
            err, EBADMSG,
            "the log does not extend the head of %" PRIu64 " entries: it was rewritten", old->size);
    *ret_n = n;
    return 0;
}

/* ---- entries ---- */

int prover_walk(const char *dir, uint64_t from, uint64_t to,
                int (*fn)(void *arg, uint64_t index, struct gvm_str line, struct gvm_err *err),
                void *arg, struct gvm_err *err)
{
    if (from >= to)
        return 0;
    struct gvm_ledger_reader *r = NULL;
    uint64_t index = from;
    struct gvm_str line;
    int e = gvm_ledger_reader_open(dir, from, &r, err);
    while (!e && from < to) {
        int got = gvm_ledger_reader_next(r, &index, &line, err);
        if (got < 0)
            e = got;
        else if (got == 0)
            e = gvm_err_set(err, EBADMSG, "entry %" PRIu64 " was signed and is not here", from);
        else if (index >= to)
            e = gvm_err_set(err, ENODATA,
                            "entry %" PRIu64 " was pruned; the first one kept is %" PRIu64, from,
                            index);
        else
            e = fn(arg, index, line, err);
        from = index + 1;
    }
    gvm_ledger_reader_free(r);
    return e;
}

int gvm_line_entry(struct gvm_str line, struct gvm_buf *out)
{
    struct private_seam s;
    if (!private_seam(line, &s))
        return gvm_buf_adds(out, line);
    int r = gvm_buf_adds(out, s.head);
    return r < 0 ? r : gvm_buf_addc(out, '}');
}

static int keep_tail_leaf(void *arg, uint64_t index, struct gvm_str line, struct gvm_err *err)
{
    struct prover *p = arg;
    vhash_leaf(&p->hasher, line.p, line.n, p->tail[index - tail_start(p)]);
    return 0;
}

static int read_head(struct prover *p, struct gvm_err *err)
{
    int r = vfiles_read_head(p->dirfd, &p->note);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read the checkpoint of %s", p->dir);
    return gvm_err_wrap(err, gvm_checkpoint_parse(gvm_buf_str(&p->note), &p->head, err),
                        "checkpoint");
}

int prover_open(const char *dir, struct prover **ret, struct gvm_err *err)
{
    struct prover *p = gvm_calloc(1, sizeof *p);
    if (!p)
        return gvm_err_set(err, ENOMEM, "out of memory");
    p->dir = dir;
    gvm_buf_init(&p->tile, VTILE * VHASH + 1);
    gvm_buf_init(&p->note, MAX_CHECKPOINT);
    p->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = p->dirfd < 0 ? gvm_err_sys(err, errno, "cannot open the ledger %s", dir)
                         : vhasher_init(&p->hasher, err);
    if (!r)
        r = read_head(p, err);
    if (!r)
        r = prover_walk(dir, tail_start(p), p->head.size, keep_tail_leaf, p, err);
    if (r < 0)
        prover_free(p);
    else
        *ret = p;
    return r;
}

void prover_free(struct prover *p)
{
    if (!p)
        return;
    gvm_close(&p->dirfd);
    vhasher_done(&p->hasher);
    gvm_buf_done(&p->note);
    gvm_buf_done(&p->tile);
    free(p);
}
