/* proof.c - C2SP tlog-proof@v1: that one entry stands at one index under one signed head.
 *
 *   c2sp.org/tlog-proof@v1
 *   extra <base64>                 optional, ignored here
 *   index <decimal>
 *   <base64 hash>                  the path, from the leaf's sibling up, one a line
 *   <empty line>
 *   <checkpoint, verbatim>
 *
 * The entry's exact bytes travel beside it. Making one costs a few tiles, not a walk over the log:
 * the root of any complete subtree comes out of a full tile, or out of the tiles below it, or
 * (behind the last full tile) out of the entries themselves.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>
#include "ledger/ledger.h"
#include "ledger/private.h"
#include "ledger/verify_int.h"

enum { PATH_MAX_HASHES = 63, LEVELS = 8 };
static const char magic[] = "c2sp.org/tlog-proof@v1";

struct prover {
    const char *dir;
    int dirfd;
    uint64_t size;
    struct vhasher hasher;
    uint8_t tail[VTILE][VHASH]; /* leaf hashes behind the last full tile */
    struct gvm_buf tile;
};

static uint64_t tail_start(const struct prover *p)
{
    return p->size / VTILE * VTILE;
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

/* The hash at tile level `level`, position `i`. */
static int level_hash(struct prover *p, unsigned level, uint64_t i, uint8_t ret[VHASH])
{
    uint64_t full = level + 1 < LEVELS ? p->size >> (8 * (level + 1)) : 0;
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
        int r = level_hash(p, level, i * n + k, row[k]);
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

/* RFC 6962 section 2.1.1, from the root down; the path is wanted from the leaf up. */
static int make_path(struct prover *p, uint64_t index, uint8_t (*path)[VHASH], size_t *ret_n)
{
    uint64_t lo = 0, hi = p->size;
    size_t n = 0;
    while (hi - lo > 1) {
        uint64_t k = 1;
        while (k < hi - lo - k)
            k *= 2;
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
    for (size_t i = 0; i < n / 2; i++) {
        uint8_t tmp[VHASH];
        memcpy(tmp, path[i], VHASH);
        memcpy(path[i], path[n - 1 - i], VHASH);
        memcpy(path[n - 1 - i], tmp, VHASH);
    }
    *ret_n = n;
    return 0;
}

/* Calls back with entries [from, to). */
static int walk_entries(const char *dir, uint64_t from, uint64_t to,
                        int (*fn)(void *arg, uint64_t index, struct gvm_str line), void *arg,
                        struct gvm_err *err)
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
        else
            e = fn(arg, index, line);
        from = index + 1;
    }
    gvm_ledger_reader_free(r);
    return e;
}

static int keep_tail_leaf(void *arg, uint64_t index, struct gvm_str line)
{
    struct prover *p = arg;
    vhash_leaf(&p->hasher, line.p, line.n, p->tail[index - tail_start(p)]);
    return 0;
}

static int keep_entry(void *arg, uint64_t index, struct gvm_str line)
{
    struct gvm_buf *out = arg;
    struct private_seam s;
    gvm_buf_reset(out);
    if (!private_seam(line, &s))
        return gvm_buf_adds(out, line);
    int r = gvm_buf_adds(out, s.head);
    return r < 0 ? r : gvm_buf_addc(out, '}');
}

static int write_proof(struct gvm_buf *out, uint64_t index, const uint8_t (*path)[VHASH], size_t n,
                       struct gvm_str note)
{
    char b64[GVM_B64_LEN(VHASH) + 1];
    gvm_buf_addf(out, "%s\nindex %" PRIu64 "\n", magic, index);
    for (size_t i = 0; i < n; i++) {
        gvm_b64(b64, path[i], VHASH);
        gvm_buf_addf(out, "%s\n", b64);
    }
    gvm_buf_addc(out, '\n');
    gvm_buf_adds(out, note);
    return out->failed ? -ENOBUFS : 0;
}

static int prove(struct prover *p, uint64_t index, struct gvm_str note,
                 const struct gvm_checkpoint *cp, struct gvm_buf *out, struct gvm_buf *entry,
                 struct gvm_err *err)
{
    uint8_t path[PATH_MAX_HASHES][VHASH], leaf[VHASH], root[VHASH];
    size_t n = 0;
    if (index >= cp->size)
        return gvm_err_set(err, ERANGE,
                           "entry %" PRIu64 " is not signed yet: the head has %" PRIu64 " entries",
                           index, cp->size);
    p->size = cp->size;
    int r = walk_entries(p->dir, tail_start(p), p->size, keep_tail_leaf, p, err);
    if (!r)
        r = walk_entries(p->dir, index, index + 1, keep_entry, entry, err);
    if (r < 0)
        return r;
    r = make_path(p, index, path, &n);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read the tiles; run gvm audit verify");
    vhash_leaf(&p->hasher, gvm_buf_data(entry), entry->len, leaf);
    if (!vproof_root(&p->hasher, index, cp->size, leaf, (const uint8_t(*)[VHASH])path, n, root) ||
        memcmp(root, cp->root, VHASH) != 0)
        return gvm_err_set(err, EBADMSG,
                           "the log does not fit its checkpoint; run gvm audit verify");
    r = write_proof(out, index, (const uint8_t(*)[VHASH])path, n, note);
    return r < 0 ? gvm_err_sys(err, -r, "cannot write the proof") : 0;
}

int gvm_proof_make(const char *dir, uint64_t index, struct gvm_buf *out, struct gvm_buf *ret_entry,
                   struct gvm_err *err)
{
    GVM_AUTOCLOSE int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return gvm_err_sys(err, errno, "cannot open the ledger %s", dir);
    struct prover *p = gvm_calloc(1, sizeof *p);
    if (!p)
        return gvm_err_set(err, ENOMEM, "out of memory");
    p->dir = dir;
    p->dirfd = dirfd;
    gvm_buf_init(&p->tile, VTILE * VHASH + 1);
    struct gvm_buf note;
    struct gvm_checkpoint cp;
    gvm_buf_init(&note, 64 * 1024);
    int r = vhasher_init(&p->hasher, err);
    if (!r && (r = vfiles_read(dirfd, "checkpoint", &note)) < 0)
        gvm_err_sys(err, -r, "cannot read the checkpoint");
    if (!r)
        r = gvm_err_wrap(err, gvm_checkpoint_parse(gvm_buf_str(&note), &cp, err), "checkpoint");
    if (!r)
        r = prove(p, index, gvm_buf_str(&note), &cp, out, ret_entry, err);
    vhasher_done(&p->hasher);
    gvm_buf_done(&note);
    gvm_buf_done(&p->tile);
    free(p);
    return r;
}

/* ---- checking ---- */

struct parsed {
    uint64_t index;
    uint8_t path[PATH_MAX_HASHES][VHASH];
    size_t n;
    struct gvm_str note;
};

static bool parse_path(struct gvm_str *text, struct parsed *ret)
{
    struct gvm_str line;
    size_t n;
    for (;;) {
        if (!gvm_str_cut(text, '\n', &line))
            return false;
        if (!line.n)
            return true;
        if (ret->n == PATH_MAX_HASHES || gvm_unb64(ret->path[ret->n], VHASH, line, &n) < 0 ||
            n != VHASH)
            return false;
        ret->n++;
    }
}

static bool parse_proof(struct gvm_str text, struct parsed *ret)
{
    struct gvm_str line;
    if (text.n > GVM_MAX_PROOF || !gvm_str_cut(&text, '\n', &line) || !gvm_str_eqz(line, magic) ||
        !gvm_str_cut(&text, '\n', &line))
        return false;
    if (gvm_str_starts(line, GVM_STR("extra "))) {
        GVM_AUTOFREE uint8_t *extra = malloc(line.n + 1);
        struct gvm_str b64 = {line.p + 6, line.n - 6};
        size_t n;
        if (!extra || gvm_unb64(extra, line.n, b64, &n) < 0 || !gvm_str_cut(&text, '\n', &line))
            return false;
    }
    if (!gvm_str_starts(line, GVM_STR("index ")) ||
        gvm_parse_u64((struct gvm_str){line.p + 6, line.n - 6}, INT64_MAX, &ret->index) < 0 ||
        !parse_path(&text, ret))
        return false;
    ret->note = text;
    return true;
}

int gvm_proof_check(struct gvm_str proof, struct gvm_str entry, const struct gvm_vkey *key,
                    uint64_t *ret_index, struct gvm_checkpoint *ret_head, struct gvm_err *err)
{
    struct parsed p = {0};
    struct gvm_checkpoint cp;
    struct vhasher h;
    uint8_t leaf[VHASH], root[VHASH];
    if (!parse_proof(proof, &p))
        return gvm_err_set(err, EBADMSG, "not a proof (%s)", magic);
    int r = gvm_checkpoint_open(p.note, key, &cp, err);
    if (r < 0)
        return gvm_err_wrap(err, r, "the proof's checkpoint");
    if (entry.n > GVM_MAX_ENTRY)
        return gvm_err_set(err, EBADMSG, "the entry is longer than any entry");
    r = vhasher_init(&h, err);
    if (r < 0)
        return r;
    vhash_leaf(&h, entry.p, entry.n, leaf);
    bool ok = vproof_root(&h, p.index, cp.size, leaf, (const uint8_t(*)[VHASH])p.path, p.n, root) &&
              memcmp(root, cp.root, VHASH) == 0;
    vhasher_done(&h);
    if (!ok)
        return gvm_err_set(err, EBADMSG, "this entry is not entry %" PRIu64 " of the log %s",
                           p.index, cp.origin);
    *ret_index = p.index;
    *ret_head = cp;
    return 0;
}
