/* ledger/ledger_int.h - what the writer's files share. The verifying side (verify.c, proof.c,
 * note.c) must not include it: verify_int.h is theirs. */
#ifndef GVM_LEDGER_INT_H
#define GVM_LEDGER_INT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "core/core.h"
#include "ipc/messages.h"
#include "ledger/ledger.h"

#define HASH          GVM_LEDGER_HASH
#define TILE_WIDTH    256u
#define TILE_BYTES    (TILE_WIDTH * HASH)
#define TILE_LEVELS   8u          /* 256^8 entries */
#define SEGMENT_MAX   (64u << 20) /* a segment is closed when the next batch would pass this */
#define SEGMENT_STEP  (1u << 20)  /* preallocated at a time */
#define TILES_WAITING 32u         /* full tiles kept in memory until the next head is published */
#define BATCH_ENTRIES 4096u
#define BATCH_BYTES   (4u << 20)

/* ---- file operations: the thin layer tests break things in (fileops.c) ---- */

/* Each returns what the system call does, or a negative errno. */
struct ledger_file_ops {
    void *arg;
    int (*open)(void *arg, int dirfd, const char *name, int flags, mode_t mode);
    ssize_t (*pread)(void *arg, int fd, void *p, size_t n, uint64_t off);
    ssize_t (*pwrite)(void *arg, int fd, const void *p, size_t n, uint64_t off);
    int (*datasync)(void *arg, int fd);
    int (*truncate)(void *arg, int fd, uint64_t size);
    int (*allocate)(void *arg, int fd, uint64_t off, uint64_t n); /* grows the file with zeros */
    int (*rename)(void *arg, int dirfd, const char *from, const char *to);
    int (*exchange)(void *arg, int dirfd, const char *a,
                    const char *b); /* both names must be there */
    int (*unlink)(void *arg, int dirfd, const char *name, int flags);
    int (*mkdir)(void *arg, int dirfd, const char *name);
    void (*close)(void *arg, int fd);
};
extern const struct ledger_file_ops ledger_real_ops;

/* Whole reads and writes on top of the above. read_at: bytes read, fewer only at the end. */
ssize_t ledger_read_at(const struct ledger_file_ops *ops, int fd, void *p, size_t n, uint64_t off);
int ledger_write_at(const struct ledger_file_ops *ops, int fd, const void *p, size_t n,
                    uint64_t off);
/* fsync of a directory below `dirfd`. */
int ledger_sync_dir(const struct ledger_file_ops *ops, int dirfd, const char *name);
/* Replaces dirfd/name whole: temp file, optionally synced, rename. */
int ledger_replace(const struct ledger_file_ops *ops, int dirfd, const char *name, const void *p,
                   size_t n, bool sync);

/* ---- hashes (hash.c) ---- */

struct ledger_hasher {
    struct evp_md_st *md;
    struct evp_md_ctx_st *ctx;
};
int ledger_hasher_init(struct ledger_hasher *h) GVM_MUST_CHECK;
void ledger_hasher_done(struct ledger_hasher *h);
/* SHA-256 cannot fail once fetched; a failure here ends the process (a wrong hash must not be
 * signed). */
/* Of a line: of the entry in it (private.h). */
void ledger_hash_leaf(struct ledger_hasher *h, const void *p, size_t n, uint8_t ret[HASH]);
void ledger_hash_node(struct ledger_hasher *h, const uint8_t l[HASH], const uint8_t r[HASH],
                      uint8_t ret[HASH]);
void ledger_hash_bytes(struct ledger_hasher *h, const void *p, size_t n, uint8_t ret[HASH]);

/* ---- the tree (tree.c) ---- */

struct ledger_tile_level {
    unsigned n; /* hashes of the tile being filled */
    uint8_t hash[TILE_WIDTH][HASH];
};
/* The tree at some earlier size, and what has become of it: hashes of the complete subtrees of its
 * entries, and of those subtrees behind them that lie left of what is still growing. */
struct ledger_mark {
    uint64_t size;
    unsigned nleft, nmid;
    uint8_t left[64][HASH], mid[64][HASH];
};
enum { MARK_SIGNED, MARK_ASKED, MARKS };
struct ledger_tree {
    struct ledger_hasher *hasher;
    uint64_t size;
    struct ledger_mark mark[MARKS];
    uint64_t mark_at;       /* MARK_SIGNED is set when the tree has just so many entries */
    uint8_t edge[64][HASH]; /* edge[k] counts when bit k of size is set */
    struct ledger_tile_level level[TILE_LEVELS];
    /* Called with each tile that becomes full; NULL: not wanted. An error sticks in sink_error. */
    int (*sink)(void *arg, unsigned level, uint64_t index, const uint8_t *hashes);
    void *arg;
    int sink_error;
};
void ledger_tree_init(struct ledger_tree *t, struct ledger_hasher *h);
/* Adds a leaf's hash. */
void ledger_tree_add(struct ledger_tree *t, const uint8_t hash[HASH]);
/* Adds the hash of a complete subtree of height 8 * level; size must be a multiple of its width. */
void ledger_tree_add_subtree(struct ledger_tree *t, unsigned level, const uint8_t hash[HASH]);
void ledger_tree_root(const struct ledger_tree *t, uint8_t ret[HASH]);
/* Sets a mark here. */
void ledger_tree_mark(struct ledger_tree *t, unsigned which);
/* Hashes of complete subtrees that show how the tree extends a mark (GVM_MSG_SIGN): how many. */
size_t ledger_tree_since(const struct ledger_tree *t, unsigned which,
                         uint8_t ret[GVM_SIGN_NODES][HASH]);
/* Root over the 256 hashes of a full tile. */
void ledger_tile_root(struct ledger_hasher *h, const uint8_t *hashes, uint8_t ret[HASH]);

/* ---- tiles on disk (tiles.c) ---- */

#define TILE_PATH 96
/* "tile/0/x001/234", with ".p/17" when width is not 0. */
void ledger_tile_path(char dst[TILE_PATH], unsigned level, uint64_t index, unsigned width);
int ledger_tile_write(const struct ledger_file_ops *ops, int dirfd, unsigned level, uint64_t index,
                      const uint8_t *hashes);
/* Removes the partial forms of a tile that is full now. */
void ledger_tile_drop_partials(const struct ledger_file_ops *ops, int dirfd, unsigned level,
                               uint64_t index);
int ledger_tile_write_partial(const struct ledger_file_ops *ops, int dirfd, unsigned level,
                              uint64_t index, unsigned width, const uint8_t *hashes);
int ledger_tile_read(const struct ledger_file_ops *ops, int dirfd, unsigned level, uint64_t index,
                     uint8_t *ret_hashes);
/* Makes a written tile durable; `last` also its directory. */
int ledger_tile_sync(const struct ledger_file_ops *ops, int dirfd, unsigned level, uint64_t index,
                     bool last);

/* ---- segments (segment.c) ---- */

#define SEGMENT_NAME 48
enum ledger_form { LEDGER_PLAIN, LEDGER_PACKED, LEDGER_PACKING };
struct ledger_closed {     /* a segment that gets no more entries */
    uint64_t first, bytes; /* on disk */
    int64_t closed_ns;     /* wall clock; of the packed form when it is packed */
    bool packed;
};
struct ledger_segment {
    int fd;          /* -1: none open */
    uint64_t first;  /* index of its first entry */
    uint64_t off;    /* where the next entry goes: everything before is whole entries */
    uint64_t alloc;  /* file size; [off, alloc) is zeros */
    int64_t born_ns; /* wall clock of its first entry, or later */
};
/* "<20 digits>.jsonl", and ".zst" or ".zst.new" */
void ledger_segment_name(char dst[SEGMENT_NAME], uint64_t first, enum ledger_form form);
/* All segments, the open one too, ascending; malloc'ed. */
int ledger_segment_list(int eventsfd, struct ledger_closed **ret, size_t *ret_n,
                        struct gvm_err *err);
/* Appends to a list that only this and ledger_segment_list() made grow. */
int ledger_closed_add(struct ledger_closed **list, size_t *n,
                      struct ledger_closed c) GVM_MUST_CHECK;
int ledger_segment_create(const struct ledger_file_ops *ops, int dirfd, int eventsfd,
                          uint64_t first, struct ledger_segment *s);
/* Takes the zeros off, makes it durable, closes it. */
int ledger_segment_finish(const struct ledger_file_ops *ops, struct ledger_segment *s);
void ledger_segment_close(const struct ledger_file_ops *ops, struct ledger_segment *s);
/* Preallocates so that [off, off + n) is there, if the file system can. */
void ledger_segment_reserve(const struct ledger_file_ops *ops, struct ledger_segment *s,
                            uint64_t n);

struct ledger_scan {
    uint64_t lines; /* whole entries */
    uint64_t good;  /* offset behind the last one */
    uint64_t end;   /* offset behind the last byte that is not zero; > good: a torn tail */
    uint64_t size;  /* of the file */
};
/* Walks a segment; `line` (may be NULL) gets each entry. Stops at the first byte that cannot be
 * part of a whole entry. */
int ledger_segment_scan(const struct ledger_file_ops *ops, int fd,
                        void (*line)(void *arg, const uint8_t *p, size_t n), void *arg,
                        struct ledger_scan *ret);

/* ---- the writer (writer.c, recover.c, checkpoint.c) ---- */

struct ledger_waiting_tile {
    unsigned level;
    uint64_t index;
    uint8_t hashes[TILE_BYTES];
};

/* What may stay of closed segments; 0: everything. */
struct ledger_keep {
    uint64_t bytes;
    int64_t age_ns;
};
#define NO_INDEX UINT64_MAX

struct ledger_writer {
    const struct ledger_file_ops *ops;
    int dirfd, eventsfd, lockfd;
    char origin[GVM_MAX_ORIGIN + 1];
    uint64_t segment_max;
    struct ledger_hasher hasher;
    struct ledger_tree *tree;
    struct ledger_segment seg;
    struct gvm_buf batch; /* lines, each with its newline */
    uint32_t *lens;       /* of the lines of the batch */
    unsigned count;
    bool unhashed;                       /* the batch is durable but not in the tree yet */
    uint64_t durable;                    /* entries on disk for certain */
    struct gvm_checkpoint head;          /* last published; origin "" while there is none */
    struct ledger_waiting_tile *waiting; /* full tiles not written yet: written before a head is */
    unsigned nwaiting;
    uint64_t partial[TILE_LEVELS]; /* index + 1 of the tile that may have partial forms on disk */
    uint64_t tiles_synced;         /* entries whose tiles are on disk for certain */
    uint64_t synced[TILE_LEVELS];
    bool failed;
    bool fresh_segment;           /* a sync failed: do not trust this segment's file again */
    struct ledger_closed *closed; /* ascending */
    size_t nclosed;
    uint64_t closed_bytes;
    unsigned untold;          /* closed segments, the last ones, without a ledger.rotated entry */
    struct ledger_pack *pack; /* the segment being packed, or NULL */
    uint64_t pack_failed;     /* first entry of a segment that does not pack; or NO_INDEX */
    struct ledger_keep keep;
    uint64_t tiles_lazy; /* full tiles of level 0 before idle() starts to sync them */
    uint64_t tiles_most; /* and before settle() does */
    struct {             /* told in an entry, and not finished yet */
        uint64_t to;     /* first entry kept; 0: nothing is being pruned */
        uint64_t entry;  /* index of that ledger.pruned entry */
    } prune;
    uint64_t head_durable; /* size of the last head that is on disk for certain */
    size_t note_len;       /* bytes of the checkpoint's file, when this writer wrote it; or 0 */
    size_t spare_len;      /* bytes of checkpoint.new, when it is the head before; or 0 */
    uint64_t signed_from;  /* keys says that the head signed last is of so many; 0: it did not */
    bool recovered;        /* what the open found, for the ledger.recovered entry: */
    bool head_lost;
    uint64_t cut_bytes;
    char cut_hash[2 * HASH + 1];
    char cut_to[64];
};

struct ledger_writer_opts {
    const char *origin;
    const struct ledger_file_ops *ops; /* NULL: the real ones */
    uint64_t segment_max;              /* 0: SEGMENT_MAX */
    struct ledger_keep keep;
    uint64_t tiles_lazy; /* 0: 64 */
    uint64_t tiles_most; /* 0: 4096 */
};
/* Locks the directory, recovers, and is ready to append. Takes `dirfd` only on success. */
int ledger_writer_open(int dirfd, const struct ledger_writer_opts *opts, struct ledger_writer **ret,
                       struct gvm_err *err) GVM_MUST_CHECK;
/* Orderly end: publishes nothing, but leaves tiles durable and the segment without zeros. NULL is
 * fine. */
void ledger_writer_close(struct ledger_writer *w);
/* Ends without touching a file. */
void ledger_writer_abandon(struct ledger_writer *w);

/* What an entry must look like to be taken. */
bool ledger_line_ok(struct gvm_str line);
/* Puts a line into the batch: -EINVAL, -ENOBUFS (commit first). */
int ledger_writer_add(struct ledger_writer *w, struct gvm_str line) GVM_MUST_CHECK;
static inline bool ledger_writer_full(const struct ledger_writer *w)
{
    return w->count >= BATCH_ENTRIES || w->batch.len >= BATCH_BYTES;
}
/* Makes the batch durable: all of it, or none of it counts and the writer has failed. */
int ledger_writer_commit(struct ledger_writer *w, struct gvm_err *err) GVM_MUST_CHECK;
/* Puts the durable batch into the tree (and full tiles on disk). Must follow each commit. */
int ledger_writer_settle(struct ledger_writer *w, struct gvm_err *err) GVM_MUST_CHECK;
/* After a failure: cuts back to the last good byte and starts over. Retry until 0. */
int ledger_writer_heal(struct ledger_writer *w, struct gvm_err *err) GVM_MUST_CHECK;
/* One small piece of put-off work (tiles to sync, segments to prune and to pack); true while there
 * is more. */
bool ledger_writer_idle(struct ledger_writer *w);
/* Writes an entry of the ledger's own into *out when one is due (a segment was closed, or old ones
 * are to be pruned): false when none is. The caller adds it at once, and then calls
 * ledger_writer_told(). */
bool ledger_writer_own(const struct ledger_writer *w, int64_t now_ns, struct gvm_buf *out);
/* The entry from ledger_writer_own() is in the batch. */
void ledger_writer_told(struct ledger_writer *w, int64_t now_ns);
/* The durable head, to be signed. False when it is the published one or nothing is there. */
bool ledger_writer_head(const struct ledger_writer *w, struct gvm_m_sign *ret);
/* How long to wait before the next head is signed, when publishing one takes so long on the
 * average: heads should be within 5 ms of their entries; a disk on which that cannot be gets fewer
 * of them, so that they take at most an eighth of its time. */
static inline int64_t ledger_head_pause(int64_t cost_ns)
{
    const int64_t least = 2000000, most = cost_ns < 2000000 ? 3000000 : 50000000;
    return 8 * cost_ns < least ? least : 8 * cost_ns > most ? most : 8 * cost_ns;
}
/* Publishes a signed head, its tiles first. -EBADMSG unless it is the head `asked`. */
int ledger_writer_publish(struct ledger_writer *w, const struct gvm_m_sign *asked,
                          const struct gvm_m_signed *sig, bool sync,
                          struct gvm_err *err) GVM_MUST_CHECK;
/* Writes the tiles that wait. */
int ledger_writer_tiles(struct ledger_writer *w);
/* Makes the published head durable, if it is not. */
int ledger_checkpoint_sync(struct ledger_writer *w);
/* Partial tiles of the present size, for readers of the tile format. */
int ledger_writer_partials(struct ledger_writer *w);

/* pack.c: one block more; 1 while there may be more, 0 when all closed segments are packed. */
int ledger_pack_step(struct ledger_writer *w);
void ledger_pack_drop(struct ledger_writer *w);
/* As ledger_segment_scan(), for a packed segment. -EBADMSG. */
int ledger_pack_scan(struct ledger_writer *w, int fd,
                     void (*line)(void *arg, const uint8_t *p, size_t n), void *arg,
                     struct ledger_scan *ret);

/* prune.c: removes one segment that a signed entry has named; 1 while there may be more, 0, or an
 * error. */
int ledger_prune_step(struct ledger_writer *w);

/* recover.c: sets tree, segment and durable from what is on disk. */
int ledger_recover(struct ledger_writer *w, struct gvm_err *err) GVM_MUST_CHECK;
/* checkpoint.c: the published head, or none; *ret_lost when a crash left an empty file. */
int ledger_checkpoint_load(struct ledger_writer *w, struct gvm_checkpoint *ret, bool *ret_lost,
                           struct gvm_err *err) GVM_MUST_CHECK;

#endif
