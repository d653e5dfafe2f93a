/* ledger/verify_check.h - one verification at work: what the parts of verify.c share. */
#ifndef GVM_LEDGER_VERIFY_CHECK_H
#define GVM_LEDGER_VERIFY_CHECK_H

#include "ledger/verify_int.h"

#define VLEVELS 8u /* of tiles: 256^8 entries */

struct vlevel {
    uint64_t index; /* of the tile being filled */
    unsigned n;
    unsigned known; /* hashes before this one were not computed in this run */
    uint8_t hash[VTILE][VHASH];
};

struct vmismatch {
    bool set;
    unsigned level;
    uint64_t entry; /* first entry the differing hash stands for */
    char file[VPATH];
    const char *how;
};

struct check {
    const char *dir;
    int dirfd;
    const struct gvm_verify_opts *opts;
    struct gvm_verify_report *rep;
    struct vhasher hasher;
    struct vtree tree;
    struct vlevel level[VLEVELS];
    struct vmismatch leaf; /* first differing hash of an entry */
    struct vmismatch tile; /* first tile that is not what it should be */
    bool have_head, root_ok, since_root_ok;
    uint64_t tiled;     /* entries whose tiles must be there and whole */
    uint64_t first;     /* entry of the first segment; before it only tiles are left */
    uint64_t pruned_to; /* what signed ledger.pruned entries say of it */
    bool from_tiles;    /* leaf hashes come from the tiles, not from entries */
    bool broken;        /* the entries end in something that is no entry, or in a gap */
    uint64_t *segment;  /* first entries of all segments */
    size_t segments;
    struct vpool *pool; /* NULL: no threads */
    struct gvm_buf buf;
};

/* The first finding stays. */
void vcheck_blame(struct check *c, const char *file, const char *fmt, ...) GVM_PRINTF(3, 4);
void vcheck_blame_entry(struct check *c, uint64_t index);

/* verify_tiles.c: the tree's `complete`, and what is behind its last full tiles. */
int vcheck_complete(void *arg, unsigned height, const uint8_t hash[VHASH],
                    struct gvm_err *err) GVM_MUST_CHECK;
int vcheck_last_tiles(struct check *c, struct gvm_err *err) GVM_MUST_CHECK;
/* Takes the leaf hashes of pruned entries, [0, c->first), from the tiles. */
int vcheck_pruned(struct check *c, struct gvm_err *err) GVM_MUST_CHECK;

/* verify_entries.c: reads all entries from tree.size on into the tree. -ENOENT: a segment went
 * away. */
int vcheck_entries(struct check *c, struct gvm_err *err) GVM_MUST_CHECK;
/* True for an entry of the kind ledger.pruned; *ret_to (may be NULL) is the first entry it kept. */
bool ventry_pruned(struct gvm_str line, uint64_t *ret_to);
/* Compares the root where a head is known. */
void vcheck_roots(struct check *c);
/* Adds a leaf, and does so. */
int vcheck_leaf(struct check *c, const uint8_t hash[VHASH], struct gvm_err *err) GVM_MUST_CHECK;

/* verify_saved.c: goes on behind a head that was verified before; false when that cannot be done.
 */
bool vcheck_resume(struct check *c, const struct gvm_verified *from);
/* The tree as it is now, for a later vcheck_resume(). */
void vcheck_keep(const struct check *c, struct gvm_verified *ret);

/* ---- hashing on several cores (verify_pool.c) ---- */

#define VCHUNK_LINES 2048u
#define VCHUNK_BYTES (512u << 10)

/* Whole lines of one segment, in order, and what was found out about them. */
struct vchunk {
    uint8_t *bytes; /* VCHUNK_BYTES */
    size_t n;
    unsigned lines;
    uint32_t len[VCHUNK_LINES]; /* without newline */
    uint8_t hash[VCHUNK_LINES][VHASH];
    unsigned bad_form;    /* first line that is no entry; `lines` when all are */
    unsigned bad_private; /* first line that does not hold to its commitment */
    bool pruned;          /* a ledger.pruned entry is among them */
};
/* Hashes a chunk's lines and judges their form. */
void vchunk_judge(struct vchunk *c, struct vhasher *h);

struct vpool;
/* `threads` of 2 and more, or fewer when there are not so many cores. */
int vpool_new(unsigned threads, struct vpool **ret, struct gvm_err *err) GVM_MUST_CHECK;
void vpool_free(struct vpool *p);
/* An empty chunk, or NULL when all are under way: take one with vpool_next() first. */
struct vchunk *vpool_empty(struct vpool *p);
/* Hands the chunk from vpool_empty() to whoever is free. */
void vpool_submit(struct vpool *p);
/* The oldest chunk submitted, judged; NULL when none is under way. Then vpool_taken(). */
struct vchunk *vpool_next(struct vpool *p);
void vpool_taken(struct vpool *p);

#endif
