/* ledger/verify_int.h - what the verifying files share among themselves; the writer has its own. */
#ifndef GVM_LEDGER_VERIFY_INT_H
#define GVM_LEDGER_VERIFY_INT_H

#include <stdbool.h>
#include <stdint.h>
#include "core/core.h"
#include "ledger/verify.h"

#define VHASH GVM_LEDGER_HASH
#define VTILE 256u

struct vhasher {
    struct evp_md_st *md;
    struct evp_md_ctx_st *ctx;
};
int vhasher_init(struct vhasher *h, struct gvm_err *err) GVM_MUST_CHECK;
void vhasher_done(struct vhasher *h);
/* Of an entry as it is. */
void vhash_entry(struct vhasher *h, struct gvm_str entry, uint8_t ret[VHASH]);
/* Of a line: of the entry in it, which ends at the seam (private.h). */
void vhash_leaf(struct vhasher *h, const void *p, size_t n, uint8_t ret[VHASH]);
/* True when the private members of a line, if it has any, are those its entry commits to. */
bool vhash_private_ok(struct vhasher *h, struct gvm_str line);
void vhash_node(struct vhasher *h, const uint8_t l[VHASH], const uint8_t r[VHASH],
                uint8_t ret[VHASH]);
void vhash_bytes(struct vhasher *h, const void *p, size_t n, uint8_t ret[VHASH]);

/* A stack of complete subtrees, tallest first: the tree so far. */
struct vtree {
    struct vhasher *h;
    uint64_t size;
    unsigned depth;
    struct {
        uint8_t hash[VHASH];
        unsigned height;
    } stack[65];
    /* Told of each complete subtree whose height is a multiple of 8, leaves included. */
    int (*complete)(void *arg, unsigned height, const uint8_t hash[VHASH], struct gvm_err *err);
    void *arg;
};
int vtree_add(struct vtree *t, const uint8_t leaf[VHASH], struct gvm_err *err) GVM_MUST_CHECK;
void vtree_root(const struct vtree *t, uint8_t ret[VHASH]);

/* RFC 9162 section 2.1.3.2: the root that `leaf` at `index` and the path give. False when the path
 * has not exactly the length it must have. */
bool vproof_root(struct vhasher *h, uint64_t index, uint64_t size, const uint8_t leaf[VHASH],
                 const uint8_t (*path)[VHASH], size_t n, uint8_t ret[VHASH]);

/* RFC 9162 section 2.1.4.2: whether the proof of consistency leads from both roots. A proof between
 * equal heads, or from an empty one, is empty. */
bool vproof_extends(struct vhasher *h, const struct gvm_checkpoint *old,
                    const struct gvm_checkpoint *now, const uint8_t (*path)[VHASH], size_t n);

/* Segments of a directory: first indexes, ascending, none twice; malloc'ed. */
int vfiles_segments(int dirfd, uint64_t **ret, size_t *ret_n, struct gvm_err *err) GVM_MUST_CHECK;
#define VPATH 160
/* "events/<first>.jsonl", with ".zst" when packed. */
void vfiles_segment_path(char dst[VPATH], uint64_t first, bool packed);
void vfiles_tile_path(char dst[VPATH], unsigned level, uint64_t index);
/* A tile by the name that clients of a tlog-tiles log ask for (serve.c). */
struct vtile_name {
    bool entries;   /* a bundle of entries; else hashes */
    unsigned level; /* 0 for entries */
    uint64_t index;
    unsigned width; /* VTILE, or fewer: a partial tile */
};
/* False for any name but the one form of C2SP tlog-tiles: from anywhere. */
bool vtile_name_parse(struct gvm_str path, struct vtile_name *ret);
/* Opens a regular file below dirfd for reading, no links: descriptor or negative errno. */
int vfiles_open(int dirfd, const char *path);
/* Reads a whole small file: 0, -ENOENT, -EFBIG ... */
int vfiles_read(int dirfd, const char *path, struct gvm_buf *out) GVM_MUST_CHECK;
/* The same of the checkpoint, which a writer may be replacing: whole, as it was at one moment. */
int vfiles_read_head(int dirfd, struct gvm_buf *out) GVM_MUST_CHECK;

/* ---- packed segments (verify_pack.c) ---- */

struct vpack;
struct vpack *vpack_new(uint64_t first) GVM_MUST_CHECK; /* NULL: out of memory */
void vpack_free(struct vpack *p);
/* The next block's lines into dst. -ENODATA at the end of the file, -EBADMSG for damage. */
int vpack_next(struct vpack *p, int fd, uint8_t *dst, size_t cap, size_t *ret_n) GVM_MUST_CHECK;
/* Where vpack_next() goes on: an entry, and bytes of lines before it. */
struct vpack_place {
    uint64_t index, offset;
};
/* Steps over blocks, unpacking none, to the one that holds the entry or the byte of the lines asked
 * for; the other limit is UINT64_MAX. Begins at the front. What is skipped is not checked. */
struct vpack_place vpack_seek(struct vpack *p, int fd, uint64_t index, uint64_t offset);

/* ---- lines of one segment, by a window of fixed size ---- */

enum vline { VLINE_ENTRY, VLINE_END, VLINE_ZEROS, VLINE_TORN, VLINE_LONG, VLINE_DAMAGED };
struct vlines {
    int fd;
    struct vpack *pack; /* NULL: a plain segment */
    uint8_t *win;
    uint64_t first; /* entry */
    size_t have, pos;
    size_t skip;  /* of the next block */
    size_t step;  /* bytes of the window to fill at a time */
    uint64_t off; /* offset of win[0] in the lines */
    bool eof;
};
/* The segment that begins with entry `first`, plain or packed. */
int vlines_open(struct vlines *l, int dirfd, uint64_t first) GVM_MUST_CHECK;
void vlines_done(struct vlines *l);
/* Goes on at a byte of the lines, without reading it again when it is in the window. Little is read
 * at first: who jumps wants a line, not a segment. */
void vlines_seek(struct vlines *l, uint64_t offset);
/* Right after opening: skips towards entry `index`; returns the index of the next line (the
 * segment's first at least, `index` at most). What is skipped is not checked. */
uint64_t vlines_skip_to(struct vlines *l, uint64_t index);
/* Next whole line, or why there is none; negative errno on a read error. ZEROS: a byte 0 stands
 * where a line should begin. TORN: bytes without a newline behind, or with a 0 among them. DAMAGED:
 * a block of a packed segment is not what was packed. */
int vlines_next(struct vlines *l, struct gvm_str *ret) GVM_MUST_CHECK;
/* After ZEROS: true when nothing but zeros follows. */
int vlines_zeros(struct vlines *l, bool *ret) GVM_MUST_CHECK;
/* Forgets what was read ahead of the next line, so that the next look sees what a writer has done
 * meanwhile. A packed segment does not change. */
void vlines_again(struct vlines *l);

#endif
