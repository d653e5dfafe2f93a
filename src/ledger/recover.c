/* recover.c - what is on disk becomes the writer's state again.
 *
 * What may have been left behind, and what is done:
 *   - a torn tail (part of a batch that was never acknowledged): moved aside, named in an entry;
 *   - whole entries beyond the signed head: kept, signed next;
 *   - no checkpoint, or an empty one: signed again;
 *   - tiles missing, short or old: computed again from the entries. They are trusted up to the mark
 * in `tiles-synced`, and only if the root that comes of them is the signed one. What stops the
 * start: fewer entries than were signed, another root than was signed, another origin. Signing on
 * would be signing a second history.
 *
 * So that a start is quick on a long log, only the last segment is read; the tree below is taken
 * from the tiles. When their root is wrong, everything is read once more from the first entry
 * before anybody is accused, and no tile is rewritten before the root was right.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "ledger/ledger_int.h"

struct rebuild {
    struct ledger_writer *w;
    uint64_t at;   /* index of the next line of the scan */
    uint64_t stop; /* lines from here on are not added */
};

static void add_line(void *arg, const uint8_t *p, size_t n)
{
    struct rebuild *b = arg;
    uint8_t hash[HASH];
    if (b->at >= b->w->tree->size && b->at < b->stop) {
        ledger_hash_leaf(&b->w->hasher, p, n, hash);
        ledger_tree_add(b->w->tree, hash);
    }
    b->at++;
}

/* ---- tiles ---- */

static uint64_t read_mark(struct ledger_writer *w)
{
    char text[32];
    uint64_t mark = 0;
    int fd = w->ops->open(w->ops->arg, w->dirfd, "tiles-synced", O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return 0;
    ssize_t n = ledger_read_at(w->ops, fd, text, sizeof text, 0);
    w->ops->close(w->ops->arg, fd);
    if (n < 2 || text[n - 1] != '\n' ||
        gvm_parse_u64((struct gvm_str){text, (size_t)n - 1}, UINT64_MAX, &mark) < 0)
        return 0;
    return mark / TILE_WIDTH * TILE_WIDTH;
}

/* The tree of the first `size` entries (a multiple of 256) from its tiles: at each level, from the
 * top, the hashes of the tile that is not full are the roots of full tiles one level below. */
static int tree_from_tiles(struct ledger_writer *w, uint64_t size)
{
    uint8_t hashes[TILE_BYTES], root[HASH];
    for (unsigned level = TILE_LEVELS - 1; level > 0; level--) {
        uint64_t end = size >> (8 * level);
        for (uint64_t i = end / TILE_WIDTH * TILE_WIDTH; i < end; i++) {
            int r = ledger_tile_read(w->ops, w->dirfd, level - 1, i, hashes);
            if (r < 0)
                return r;
            ledger_tile_root(&w->hasher, hashes, root);
            ledger_tree_add_subtree(w->tree, level, root);
        }
    }
    return 0;
}

static int keep_tile(void *arg, unsigned level, uint64_t index, const uint8_t *hashes)
{
    struct ledger_writer *w = arg;
    uint8_t old[TILE_BYTES];
    if (ledger_tile_read(w->ops, w->dirfd, level, index, old) == 0 &&
        memcmp(old, hashes, TILE_BYTES) == 0)
        return 0;
    ledger_tile_drop_partials(w->ops, w->dirfd, level, index);
    return ledger_tile_write(w->ops, w->dirfd, level, index, hashes);
}

/* ---- entries ---- */

static int open_segment(struct ledger_writer *w, const struct ledger_closed *s, int flags,
                        struct gvm_err *err)
{
    char name[SEGMENT_NAME];
    ledger_segment_name(name, s->first, s->packed ? LEDGER_PACKED : LEDGER_PLAIN);
    int fd = w->ops->open(w->ops->arg, w->eventsfd, name, flags | O_NONBLOCK, 0);
    if (fd < 0)
        gvm_err_sys(err, -fd, "ledger: cannot open events/%s", name);
    return fd;
}

static int scan_segment(struct ledger_writer *w, const struct ledger_closed *s, struct rebuild *b,
                        struct ledger_scan *ret, struct gvm_err *err)
{
    int fd = open_segment(w, s, O_RDONLY, err);
    if (fd < 0)
        return fd;
    int r = s->packed ? ledger_pack_scan(w, fd, add_line, b, ret)
                      : ledger_segment_scan(w->ops, fd, add_line, b, ret);
    w->ops->close(w->ops->arg, fd);
    return r < 0
               ? gvm_err_sys(err, -r, "ledger: cannot read the segment of entry %" PRIu64, s->first)
               : 0;
}

/* Adds entries from the tree's size up to `stop`. */
static int add_entries(struct ledger_writer *w, const struct ledger_closed *seg, size_t n,
                       uint64_t stop, struct gvm_err *err)
{
    struct ledger_scan scan;
    for (size_t i = 0; i < n && w->tree->size < stop; i++) {
        if (i + 1 < n && seg[i + 1].first <= w->tree->size)
            continue;
        struct rebuild b = {.w = w, .at = seg[i].first, .stop = stop};
        int r = scan_segment(w, &seg[i], &b, &scan, err);
        if (r < 0)
            return r;
        if (i + 1 < n && seg[i].first + scan.lines != seg[i + 1].first)
            return gvm_err_set(err, EBADMSG,
                               "ledger: the segment of entry %" PRIu64 " should hold %" PRIu64
                               " entries and holds %" PRIu64 "; run gvm audit verify",
                               seg[i].first, seg[i + 1].first - seg[i].first, scan.lines);
    }
    if (w->tree->size < stop)
        return gvm_err_set(err, EBADMSG, "ledger: entries from %" PRIu64 " on are missing",
                           w->tree->size);
    return 0;
}

static int tree_to(struct ledger_writer *w, uint64_t base, const struct ledger_closed *seg,
                   size_t n, uint64_t stop, struct gvm_err *err)
{
    ledger_tree_init(w->tree, &w->hasher);
    if (base && tree_from_tiles(w, base) < 0)
        return -EAGAIN;
    return add_entries(w, seg, n, stop, err);
}

/* True when the first `head.size` entries are the signed ones, taking what is below `base` from
 * tiles. */
static int try_base(struct ledger_writer *w, uint64_t base, const struct ledger_closed *seg,
                    size_t n, bool *ret_same, struct gvm_err *err)
{
    uint8_t root[HASH];
    int r = tree_to(w, base, seg, n, w->head.size, err);
    if (r == -EAGAIN) {
        *ret_same = false;
        return 0;
    }
    if (r < 0)
        return r;
    ledger_tree_root(w->tree, root);
    *ret_same = memcmp(root, w->head.root, HASH) == 0;
    return 0;
}

static int rebuild_tree(struct ledger_writer *w, const struct ledger_closed *seg, size_t n,
                        struct gvm_err *err)
{
    bool same = true;
    /* Where segments were pruned, only the tiles know; their last tile is full (prune.c). */
    uint64_t least = n ? (seg[0].first + TILE_WIDTH - 1) / TILE_WIDTH * TILE_WIDTH : 0;
    uint64_t base = read_mark(w);
    if (base > w->head.size)
        base = w->head.size / TILE_WIDTH * TILE_WIDTH;
    if (base < least)
        base = least;
    if (w->head.origin[0]) {
        int r = try_base(w, base, seg, n, &same, err);
        if (!r && !same && base > least) {
            base = least;
            r = try_base(w, base, seg, n, &same, err);
        }
        if (r < 0)
            return r;
    }
    if (!same)
        return gvm_err_set(
            err, EBADMSG,
            "ledger: the entries on disk are not those that were signed (head of %" PRIu64
            " entries); nothing will be signed over them; run gvm audit verify",
            w->head.size);
    ledger_tree_init(w->tree, &w->hasher);
    if (base && tree_from_tiles(w, base) < 0)
        return gvm_err_set(err, EIO, "ledger: a tile became unreadable");
    for (unsigned l = 0; l < TILE_LEVELS; l++)
        w->synced[l] = base >> (8 * l) >> 8;
    w->tiles_synced = base;
    w->tree->sink = keep_tile;
    w->tree->arg = w;
    int r = add_entries(w, seg, n, w->durable, err);
    if (!r && w->tree->sink_error)
        r = gvm_err_sys(err, -w->tree->sink_error, "ledger: cannot write a tile");
    return r;
}

/* ---- the torn tail ---- */

/* Copies [from, to) of the segment to a file of its own and hashes it. */
static int save_tail(struct ledger_writer *w, uint64_t from, uint64_t to, struct gvm_err *err)
{
    uint64_t n = to - from;
    /* Never longer than a batch; anything longer is kept from its start, and the hash says so. */
    if (n > BATCH_BYTES + 2 * (GVM_MAX_ENTRY + 1))
        n = BATCH_BYTES + 2 * (GVM_MAX_ENTRY + 1);
    GVM_AUTOFREE uint8_t *p = malloc(n);
    if (!p)
        return gvm_err_set(err, ENOMEM, "ledger: out of memory");
    ssize_t got = ledger_read_at(w->ops, w->seg.fd, p, n, from);
    if (got < 0 || (uint64_t)got != n)
        return gvm_err_sys(err, got < 0 ? (int)-got : EIO, "ledger: cannot read a torn tail");
    uint8_t hash[HASH];
    ledger_hash_bytes(&w->hasher, p, n, hash);
    gvm_hex(w->cut_hash, hash, HASH);
    char name[48];
    (void)snprintf(name, sizeof name, "torn-%" PRIu64 "-%" PRId64, w->durable,
                   gvm_now_ns() / 1000000);
    (void)snprintf(w->cut_to, sizeof w->cut_to, "events/%s", name);
    int r = ledger_replace(w->ops, w->eventsfd, name, p, n, true);
    return r < 0 ? gvm_err_sys(err, -r, "ledger: cannot move a torn tail to %s", w->cut_to) : 0;
}

static int cut_tail(struct ledger_writer *w, const struct ledger_scan *scan, struct gvm_err *err)
{
    if (scan->end > scan->good) {
        int r = save_tail(w, scan->good, scan->end, err);
        if (r < 0)
            return r;
        w->cut_bytes = scan->end - scan->good;
        w->recovered = true;
    }
    if (scan->size == scan->good)
        return 0;
    int r = w->ops->truncate(w->ops->arg, w->seg.fd, scan->good);
    return r < 0 ? gvm_err_sys(err, -r, "ledger: cannot cut the tail of the last segment") : 0;
}

/* The time in a segment's first entry; now, when it has none that can be read. */
static int64_t first_time(struct ledger_writer *w)
{
    static const char head[] = "{\"v\":1,\"t\":\"";
    char text[sizeof head - 1 + GVM_TIME_TEXT - 1];
    int64_t now = gvm_now_ns(), t;
    ssize_t n = ledger_read_at(w->ops, w->seg.fd, text, sizeof text, 0);
    struct gvm_str at = {text + sizeof head - 1, GVM_TIME_TEXT - 1};
    if (n != (ssize_t)sizeof text || memcmp(text + 6, head + 6, sizeof head - 7) != 0 ||
        gvm_time_parse(at, &t) < 0)
        return now;
    return t < now ? t : now;
}

/* Opens the last segment and finds where it ends. */
static int open_last(struct ledger_writer *w, const struct ledger_closed *last,
                     struct ledger_scan *ret, struct gvm_err *err)
{
    if (last->packed) /* only closed segments are packed: its successor was there */
        return gvm_err_set(err, EBADMSG,
                           "ledger: the segment after the one of entry %" PRIu64
                           " is missing; run gvm audit verify",
                           last->first);
    int fd = open_segment(w, last, O_RDWR, err);
    if (fd < 0)
        return fd;
    w->seg = (struct ledger_segment){.fd = fd, .first = last->first};
    int r = ledger_segment_scan(w->ops, fd, NULL, NULL, ret);
    if (r < 0)
        return gvm_err_sys(err, -r, "ledger: cannot read the last segment");
    w->seg.off = w->seg.alloc = ret->good;
    w->seg.born_ns = first_time(w);
    w->durable = last->first + ret->lines;
    return 0;
}

static int check_head(struct ledger_writer *w, struct gvm_err *err)
{
    if (w->head.origin[0] && strcmp(w->head.origin, w->origin) != 0)
        return gvm_err_set(err, EINVAL,
                           "ledger: this log is named %s, not %s; a log keeps its name",
                           w->head.origin, w->origin);
    if (w->durable < w->head.size)
        return gvm_err_set(err, EBADMSG,
                           "ledger: %" PRIu64 " entries were signed and only %" PRIu64
                           " are here; nothing will be signed over the gap; run gvm audit verify",
                           w->head.size, w->durable);
    return 0;
}

static int list_segments(struct ledger_writer *w, size_t *ret_n, struct gvm_err *err)
{
    struct ledger_closed *list = NULL;
    int r = ledger_segment_list(w->eventsfd, &list, ret_n, err);
    if (r < 0)
        return r;
    free(w->closed);
    w->closed = list;
    w->closed_bytes = 0;
    for (size_t i = 0; i + 1 < *ret_n; i++)
        w->closed_bytes += list[i].bytes;
    return 0;
}

int ledger_recover(struct ledger_writer *w, struct gvm_err *err)
{
    struct ledger_scan scan = {0};
    size_t n = 0;
    int r = ledger_checkpoint_load(w, &w->head, &w->head_lost, err);
    if (r < 0)
        return r;
    w->head_durable = 0; /* what was read may be in memory only */
    r = list_segments(w, &n, err);
    if (r < 0)
        return r;
    if (n && (r = open_last(w, &w->closed[n - 1], &scan, err)) < 0)
        return r;
    if (!n)
        w->durable = 0;
    r = check_head(w, err);
    w->tree->mark_at = w->signed_from > w->head.size ? w->signed_from : w->head.size;
    if (!r)
        r = rebuild_tree(w, w->closed, n, err);
    w->nclosed = n ? n - 1 : 0; /* the last one is open */
    if (!r && n)
        r = cut_tail(w, &scan, err);
    if (r < 0)
        return r;
    if (n) /* whole entries may have been written and not synced */
        r = w->ops->datasync(w->ops->arg, w->seg.fd);
    else
        r = ledger_segment_create(w->ops, w->dirfd, w->eventsfd, 0, &w->seg);
    w->recovered |= w->head_lost;
    return r < 0 ? gvm_err_sys(err, -r, "ledger: cannot ready the last segment") : 0;
}
