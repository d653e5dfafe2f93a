/* writer.c - one batch at a time: write, sync, tell, then hash and file.
 *
 *   add ... add -> commit (one write, one fdatasync) -> [askers are answered] -> settle (tree,
 * tiles)
 *                     |
 *                     '- failed: cut back, nothing of the batch counts, heal() until it works again
 *
 * Invariants: durable counts entries whose bytes were synced and nothing else; tree->size <=
 * durable, equal after settle(); a head is only made from the tree. Full tiles are written together
 * before the next head is published (each new file may have to wait for the file system's journal),
 * and synced when there is nothing else to do (idle), or some with each batch while TILES_UNSYNCED
 * are not; how far that got is kept in `tiles-synced`, from where recovery computes them again.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>
#include "ledger/ledger_int.h"
#include "ledger/private.h"

enum {
    TILES_LAZY = 64,       /* an eighth of a megabyte of hashes */
    TILES_AT_END = 256,    /* more than so many are not synced at the end: it would take long */
    TILES_UNSYNCED = 4096, /* ... before settle() syncs some each time */
    TILES_FORCED = 64,     /* so many: more than a batch can add */
};

/* ---- making durable ---- */

int ledger_writer_add(struct ledger_writer *w, struct gvm_str line)
{
    if (!ledger_line_ok(line))
        return -EINVAL;
    if (w->unhashed || ledger_writer_full(w))
        return -ENOBUFS;
    if (gvm_buf_adds(&w->batch, line) < 0)
        return -ENOMEM;
    if (gvm_buf_addc(&w->batch, '\n') < 0) {
        w->batch.len -= line.n;
        return -ENOMEM;
    }
    if (private_claims(line)) {
        int r = private_seal(w->hasher.ctx,
                             (char *)gvm_buf_data(&w->batch) + w->batch.len - line.n - 1, line.n);
        if (r < 0) {
            w->batch.len -= line.n + 1;
            return r;
        }
    }
    w->lens[w->count++] = (uint32_t)line.n;
    return 0;
}

static int rotate(struct ledger_writer *w)
{
    if (w->seg.fd >= 0) {
        struct ledger_closed c = {w->seg.first, w->seg.off, gvm_now_ns(), false};
        int r = ledger_segment_finish(w->ops, &w->seg);
        if (!r)
            r = ledger_closed_add(&w->closed, &w->nclosed, c);
        if (r < 0)
            return r;
        w->closed_bytes += c.bytes;
        w->untold++;
    }
    return ledger_segment_create(w->ops, w->dirfd, w->eventsfd, w->durable, &w->seg);
}

/* Full; or so old that its first entries would be kept much longer than they are to be. */
static bool segment_over(const struct ledger_writer *w)
{
    if (w->seg.off + w->batch.len > w->segment_max)
        return true;
    return w->keep.age_ns && gvm_now_ns() - w->seg.born_ns > w->keep.age_ns / 8;
}

static int write_batch(struct ledger_writer *w)
{
    if (w->seg.fd < 0 || (w->seg.off && segment_over(w))) {
        int r = rotate(w);
        if (r < 0)
            return r;
    }
    ledger_segment_reserve(w->ops, &w->seg, w->batch.len);
    int r = ledger_write_at(w->ops, w->seg.fd, gvm_buf_data(&w->batch), w->batch.len, w->seg.off);
    if (r < 0)
        return r;
    r = w->ops->datasync(w->ops->arg, w->seg.fd);
    w->fresh_segment |= r < 0;
    return r;
}

static void drop_batch(struct ledger_writer *w)
{
    gvm_buf_reset(&w->batch);
    w->count = 0;
    w->unhashed = false;
}

int ledger_writer_commit(struct ledger_writer *w, struct gvm_err *err)
{
    if (w->failed)
        return gvm_err_set(err, EIO, "ledger: closed since an earlier failure");
    if (!w->count || w->unhashed)
        return 0;
    int r = write_batch(w);
    if (r < 0) {
        w->failed = true;
        if (w->seg.fd >= 0) /* heal() does it again, and waits until it works */
            (void)w->ops->truncate(w->ops->arg, w->seg.fd, w->seg.off);
        drop_batch(w);
        return gvm_err_sys(err, -r, "ledger: cannot make entries durable");
    }
    w->seg.off += w->batch.len;
    if (w->seg.alloc < w->seg.off)
        w->seg.alloc = w->seg.off;
    w->durable += w->count;
    w->unhashed = true;
    return 0;
}

/* ---- tree and tiles ---- */

static int put_tile(struct ledger_writer *w, unsigned level, uint64_t index, const uint8_t *hashes)
{
    int r = ledger_tile_write(w->ops, w->dirfd, level, index, hashes);
    if (r < 0 || w->partial[level] != index + 1)
        return r;
    ledger_tile_drop_partials(w->ops, w->dirfd, level, index);
    w->partial[level] = 0;
    return 0;
}

int ledger_writer_tiles(struct ledger_writer *w)
{
    for (unsigned i = 0; i < w->nwaiting; i++) {
        const struct ledger_waiting_tile *t = &w->waiting[i];
        int r = put_tile(w, t->level, t->index, t->hashes);
        if (r < 0)
            return r; /* the rest is computed again when the writer heals */
    }
    w->nwaiting = 0;
    return 0;
}

/* The tree's sink: a tile has filled. */
static int keep_waiting(void *arg, unsigned level, uint64_t index, const uint8_t *hashes)
{
    struct ledger_writer *w = arg;
    int r = w->nwaiting == TILES_WAITING ? ledger_writer_tiles(w) : 0;
    if (r < 0)
        return r;
    struct ledger_waiting_tile *t = &w->waiting[w->nwaiting++];
    t->level = level;
    t->index = index;
    memcpy(t->hashes, hashes, TILE_BYTES);
    return 0;
}

static uint64_t full_tiles(const struct ledger_writer *w, unsigned level)
{
    return w->tree->size >> (8 * level) >> 8;
}

/* Syncs the next tile that was not; 0 when none is left, 1 when it did one. */
static int sync_one(struct ledger_writer *w)
{
    for (unsigned l = 0; l < TILE_LEVELS; l++) {
        uint64_t end = full_tiles(w, l);
        if (w->synced[l] >= end)
            continue;
        int r = ledger_tile_sync(w->ops, w->dirfd, l, w->synced[l], w->synced[l] + 1 == end);
        if (r < 0)
            return r;
        w->synced[l]++;
        return 1;
    }
    return 0;
}

static int write_mark(struct ledger_writer *w, uint64_t mark)
{
    char text[32];
    if (mark == w->tiles_synced)
        return 0;
    int n = snprintf(text, sizeof text, "%" PRIu64 "\n", mark);
    int r = ledger_replace(w->ops, w->dirfd, "tiles-synced", text, (size_t)n, true);
    if (!r)
        w->tiles_synced = mark;
    return r;
}

/* Makes durable all tiles of the first `tiles` * 256 entries, and says so in the mark. The last one
 * of each level is synced again in case that sync_one() stopped there, before its directory. */
static int sync_up_to(struct ledger_writer *w, uint64_t tiles)
{
    int r = ledger_writer_tiles(w);
    for (unsigned l = 0; !r && l < TILE_LEVELS; l++) {
        uint64_t end = tiles >> (8 * l);
        uint64_t from = end && w->synced[l] >= end ? end - 1 : w->synced[l];
        for (uint64_t i = from; !r && i < end; i++)
            if (!(r = ledger_tile_sync(w->ops, w->dirfd, l, i, i + 1 == end)) && i >= w->synced[l])
                w->synced[l] = i + 1;
    }
    return r < 0 ? r : write_mark(w, tiles * TILE_WIDTH);
}

int ledger_writer_settle(struct ledger_writer *w, struct gvm_err *err)
{
    uint8_t hash[HASH];
    const uint8_t *p = gvm_buf_data(&w->batch);
    for (unsigned i = 0; w->unhashed && i < w->count; i++) {
        ledger_hash_leaf(&w->hasher, p, w->lens[i], hash);
        ledger_tree_add(w->tree, hash);
        p += w->lens[i] + 1;
    }
    if (w->unhashed)
        drop_batch(w);
    int r = w->tree->sink_error;
    uint64_t full = full_tiles(w, 0), certain = w->tiles_synced / TILE_WIDTH;
    if (!r && full > certain + w->tiles_most)
        r = sync_up_to(w, certain + TILES_FORCED < full ? certain + TILES_FORCED : full);
    if (!r)
        return 0;
    w->failed = true;
    return gvm_err_sys(err, -r, "ledger: cannot write tiles");
}

static bool sync_some(struct ledger_writer *w)
{
    if (full_tiles(w, 0) * TILE_WIDTH < w->tiles_synced + w->tiles_lazy * TILE_WIDTH)
        return false;
    int r = ledger_writer_tiles(w);
    if (!r)
        r = sync_one(w);
    if (r == 0)
        r = write_mark(w, full_tiles(w, 0) * TILE_WIDTH);
    return r > 0;
}

bool ledger_writer_idle(struct ledger_writer *w)
{
    if (w->failed)
        return false;
    return sync_some(w) || ledger_prune_step(w) > 0 || ledger_pack_step(w) > 0;
}

int ledger_writer_partials(struct ledger_writer *w)
{
    for (unsigned l = 0; l < TILE_LEVELS; l++) {
        const struct ledger_tile_level *lv = &w->tree->level[l];
        if (!lv->n)
            continue;
        uint64_t index = w->tree->size >> (8 * l) >> 8;
        w->partial[l] = index + 1;
        int r = ledger_tile_write_partial(w->ops, w->dirfd, l, index, lv->n, lv->hash[0]);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- life ---- */

static int start(struct ledger_writer *w, struct gvm_err *err)
{
    w->nwaiting = 0;
    w->untold = 0;
    w->prune.to = 0;
    w->pack_failed = NO_INDEX;
    ledger_pack_drop(w);
    int r = ledger_recover(w, err);
    if (r < 0)
        return r;
    w->tree->sink = keep_waiting;
    w->tree->arg = w;
    for (unsigned l = 0; l < TILE_LEVELS; l++) /* who wrote before may have left some */
        w->partial[l] = (w->tree->size >> (8 * l) >> 8) + 1;
    return 0;
}

int ledger_writer_heal(struct ledger_writer *w, struct gvm_err *err)
{
    uint64_t durable = w->durable;
    if (w->unhashed)
        drop_batch(w); /* durable: read back from the segment below */
    if (w->seg.fd >= 0) {
        int r = w->ops->truncate(w->ops->arg, w->seg.fd, w->seg.off);
        if (!r)
            r = w->ops->datasync(w->ops->arg, w->seg.fd);
        if (r < 0)
            return gvm_err_sys(err, -r, "ledger: cannot cut back to the last good entry");
        ledger_segment_close(w->ops, &w->seg);
    }
    int r = start(w, err);
    if (!r && w->durable != durable)
        r = gvm_err_set(err, EBADMSG,
                        "ledger: %" PRIu64 " entries were durable and %" PRIu64 " are on disk",
                        durable, w->durable);
    if (!r && w->fresh_segment && w->seg.off)
        if ((r = rotate(w)) < 0)
            r = gvm_err_sys(err, -r, "ledger: cannot start a new segment");
    if (r < 0) {
        ledger_segment_close(w->ops, &w->seg);
        w->durable = durable;
        return r;
    }
    w->failed = w->fresh_segment = false;
    return 0;
}

static int open_files(struct ledger_writer *w, struct gvm_err *err)
{
    const struct ledger_file_ops *ops = w->ops;
    w->lockfd = ops->open(ops->arg, w->dirfd, "lock", O_RDWR | O_CREAT, 0600);
    if (w->lockfd < 0)
        return gvm_err_sys(err, -w->lockfd, "ledger: cannot open the lock");
    if (flock(w->lockfd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? gvm_err_set(err, EBUSY, "ledger: another process writes this ledger")
                   : gvm_err_sys(err, errno, "ledger: cannot lock");
    static const char *const dirs[] = {"events", "tile"};
    for (size_t i = 0; i < 2; i++) {
        int r = ops->mkdir(ops->arg, w->dirfd, dirs[i]);
        if (!r)
            r = ledger_sync_dir(ops, w->dirfd, ".");
        if (r < 0 && r != -EEXIST)
            return gvm_err_sys(err, -r, "ledger: cannot make %s", dirs[i]);
    }
    w->eventsfd = ops->open(ops->arg, w->dirfd, "events", O_RDONLY | O_DIRECTORY, 0);
    if (w->eventsfd < 0)
        return gvm_err_sys(err, -w->eventsfd, "ledger: cannot open events");
    return 0;
}

/* The first entry after a recovery that changed something. */
static int tell_recovery(struct ledger_writer *w, struct gvm_err *err)
{
    struct gvm_buf b;
    struct gvm_jw j;
    gvm_buf_init(&b, GVM_MAX_ENTRY);
    gvm_entry_begin(&j, &b, "ledger.recovered", NULL, NULL);
    gvm_jw_kint(&j, "cut_bytes", (int64_t)w->cut_bytes);
    gvm_jw_kstrz(&j, "sha256", w->cut_bytes ? w->cut_hash : NULL);
    gvm_jw_kstrz(&j, "moved_to", w->cut_bytes ? w->cut_to : NULL);
    gvm_jw_kbool(&j, "head_lost", w->head_lost);
    int r = gvm_entry_end(&j);
    if (!r)
        r = ledger_writer_add(w, gvm_buf_str(&b));
    gvm_buf_done(&b);
    if (r < 0)
        return gvm_err_sys(err, -r, "ledger: cannot record the recovery");
    r = ledger_writer_commit(w, err);
    if (!r)
        r = ledger_writer_settle(w, err);
    return r;
}

static struct ledger_writer *alloc_writer(int dirfd, const struct ledger_writer_opts *opts)
{
    struct ledger_writer *w = gvm_calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->ops = opts->ops ? opts->ops : &ledger_real_ops;
    w->segment_max = opts->segment_max ? opts->segment_max : SEGMENT_MAX;
    w->keep = opts->keep;
    w->tiles_lazy = opts->tiles_lazy ? opts->tiles_lazy : TILES_LAZY;
    w->tiles_most = opts->tiles_most ? opts->tiles_most : TILES_UNSYNCED;
    w->dirfd = dirfd;
    w->eventsfd = w->lockfd = w->seg.fd = -1;
    gvm_buf_init(&w->batch, BATCH_BYTES + GVM_MAX_ENTRY + 2);
    w->tree = gvm_calloc(1, sizeof *w->tree);
    w->lens = gvm_calloc(BATCH_ENTRIES, sizeof *w->lens);
    w->waiting = gvm_calloc(TILES_WAITING, sizeof *w->waiting);
    if (w->tree && w->lens && w->waiting && ledger_hasher_init(&w->hasher) == 0) {
        ledger_tree_init(w->tree, &w->hasher);
        return w;
    }
    w->dirfd = -1;
    ledger_writer_abandon(w);
    return NULL;
}

int ledger_writer_open(int dirfd, const struct ledger_writer_opts *opts, struct ledger_writer **ret,
                       struct gvm_err *err)
{
    if (!gvm_vkey_name_ok(gvm_str(opts->origin)))
        return gvm_err_set(err, EINVAL, "ledger: not a name for a log");
    struct ledger_writer *w = alloc_writer(dirfd, opts);
    if (!w)
        return gvm_err_set(err, ENOMEM, "ledger: out of memory");
    int r = gvm_str_copy(w->origin, sizeof w->origin, gvm_str(opts->origin));
    if (!r)
        r = open_files(w, err);
    if (!r)
        r = start(w, err);
    if (!r && w->recovered)
        r = tell_recovery(w, err);
    if (r < 0) {
        w->dirfd = -1; /* stays the caller's */
        ledger_writer_abandon(w);
        return r;
    }
    *ret = w;
    return 0;
}

void ledger_writer_abandon(struct ledger_writer *w)
{
    if (!w)
        return;
    ledger_segment_close(w->ops, &w->seg);
    ledger_pack_drop(w);
    free(w->closed);
    gvm_close(&w->eventsfd);
    gvm_close(&w->lockfd);
    gvm_close(&w->dirfd);
    ledger_hasher_done(&w->hasher);
    gvm_buf_done(&w->batch);
    free(w->lens);
    free(w->waiting);
    free(w->tree);
    free(w);
}

void ledger_writer_close(struct ledger_writer *w)
{
    if (!w)
        return;
    if (!w->failed) {
        /* What fails here is done again by the next start. */
        (void)ledger_writer_partials(w);
        (void)ledger_writer_tiles(w);
        if (full_tiles(w, 0) <= w->synced[0] + TILES_AT_END)
            (void)sync_up_to(w, full_tiles(w, 0));
        (void)ledger_segment_finish(w->ops, &w->seg);
        (void)w->ops->unlink(w->ops->arg, w->dirfd, "checkpoint.new", 0);
    }
    ledger_writer_abandon(w);
}
