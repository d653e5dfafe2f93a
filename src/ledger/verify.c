/* verify.c - reads a whole ledger once and says whether it is what was signed.
 *
 * In this order: the checkpoint's form and signature; each entry's form; the segments' names
 * against the number of entries; the root of the first `size` entries against the signed one, and
 * against a head kept elsewhere; each tile, full or partial, against the hashes just computed.
 * Memory does not grow with the log. A writer may be at work meanwhile: the checkpoint is read
 * first, and what comes after it may still be on its way.
 *
 * Who is to blame: if the root is the signed one, the entries are good and a tile that differs was
 * changed. If not, the first leaf that differs from its tile is the first bad entry; without a tile
 * that differs it lies behind the last full tile.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "ledger/ledger.h"
#include "ledger/verify_check.h"

void vcheck_blame(struct check *c, const char *file, const char *fmt, ...)
{
    va_list ap;
    if (c->rep->reason[0])
        return; /* the first finding stays */
    va_start(ap, fmt);
    (void)vsnprintf(c->rep->reason, sizeof c->rep->reason, fmt, ap);
    va_end(ap);
    (void)snprintf(c->rep->bad_file, sizeof c->rep->bad_file, "%s", file);
}

void vcheck_blame_entry(struct check *c, uint64_t index)
{
    if (c->rep->have_bad_index)
        return;
    c->rep->have_bad_index = true;
    c->rep->bad_index = index;
}

/* ---- the verdict ---- */

static int read_head(struct check *c, struct gvm_err *err)
{
    struct gvm_err why = {0};
    int r = vfiles_read_head(c->dirfd, &c->buf);
    if (r == -ENOENT)
        return 0;
    if (r == -ENOMEM || r == -EIO || r == -EACCES)
        return gvm_err_sys(err, -r, "cannot read checkpoint");
    if (r < 0) {
        vcheck_blame(c, "checkpoint", "the checkpoint is not a small regular file");
        return 0;
    }
    r = gvm_checkpoint_open(gvm_buf_str(&c->buf), c->opts->key, &c->rep->head, &why);
    if (r < 0)
        vcheck_blame(c, "checkpoint", "%.240s", why.text);
    c->have_head = r == 0;
    return 0;
}

/* Tiles are derived from the entries and reach the disk after them: up to the mark that the writer
 * left in tiles-synced, and up to the head, they must be whole. Without a mark none was certain
 * yet. */
static int read_tiled(struct check *c, struct gvm_err *err)
{
    uint64_t mark = 0;
    gvm_buf_reset(&c->buf);
    int r = vfiles_read(c->dirfd, "tiles-synced", &c->buf);
    if (r == -ENOENT)
        return 0;
    if (r == -ENOMEM || r == -EIO || r == -EACCES)
        return gvm_err_sys(err, -r, "cannot read tiles-synced");
    struct gvm_str text = gvm_buf_str(&c->buf), line;
    if (r < 0 || !gvm_str_cut(&text, '\n', &line) || text.n ||
        gvm_parse_u64(line, UINT64_MAX, &mark) < 0) {
        vcheck_blame(c, "tiles-synced", "tiles-synced is not one number on a line");
        return 0;
    }
    if (c->have_head)
        c->tiled = mark < c->rep->head.size ? mark : c->rep->head.size;
    return 0;
}

/* Entries that are not those that were signed. */
static void judge_entries(struct check *c)
{
    uint64_t size = c->tree.size, head = c->rep->head.size;
    bool cut = c->have_head && size < head;
    if (c->have_head && !cut && c->root_ok)
        return;
    if (c->rep->have_bad_index && c->leaf.set && c->rep->bad_index < c->leaf.entry)
        return; /* an earlier one is to blame already */
    if (c->leaf.set && (c->broken || cut || c->have_head)) {
        c->rep->reason[0] = '\0';
        c->rep->have_bad_index = false;
        vcheck_blame_entry(c, c->leaf.entry);
        vcheck_blame(c, "",
                     "entry %" PRIu64 " is not the one that was signed (it differs from %.80s)",
                     c->leaf.entry, c->leaf.file);
    } else if (cut) {
        vcheck_blame_entry(c, size);
        vcheck_blame(c, "", "%" PRIu64 " entries were signed, only %" PRIu64 " are here", head,
                     size);
    } else if (c->have_head) {
        uint64_t from = c->tile.set ? 0 : head / VTILE * VTILE;
        vcheck_blame_entry(c, from);
        vcheck_blame(
            c, "",
            "the entries give another root than the signed one; the first bad entry is at or "
            "after %" PRIu64,
            from);
    } else if (size) {
        vcheck_blame(c, "checkpoint", "there is no checkpoint: nothing here was signed");
    }
}

static void judge_since(struct check *c)
{
    const struct gvm_checkpoint *s = c->opts->since;
    if (!s)
        return;
    if (c->tree.size < s->size) {
        vcheck_blame_entry(c, c->tree.size);
        vcheck_blame(c, "",
                     "the log was cut: a head of %" PRIu64 " entries is known, only %" PRIu64
                     " are here",
                     s->size, c->tree.size);
    } else if (!c->since_root_ok) {
        vcheck_blame(c, "",
                     "the log is not the one whose head of %" PRIu64 " entries is known: it was "
                     "rewritten",
                     s->size);
    } else {
        c->rep->since_ok = true;
    }
}

/* Segments that are missing at the front: pruned by the writer, which leaves its signed word, or
 * cut. */
static void judge_pruned(struct check *c)
{
    c->rep->pruned = c->first;
    if (c->first <= c->pruned_to)
        return;
    vcheck_blame_entry(c, c->pruned_to);
    vcheck_blame(c, "",
                 "entries %" PRIu64 " to %" PRIu64
                 " are not here, and no signed entry says that they were "
                 "pruned",
                 c->pruned_to, c->first - 1);
}

static void judge_tiles(struct check *c)
{
    char file[VPATH];
    if (!c->tile.set)
        return;
    if (c->tile.level == 1 && c->tile.entry < c->first && !c->root_ok) {
        /* Of pruned entries only tiles are left: of two that disagree, the root tells which. */
        vfiles_tile_path(file, 0, c->tile.entry / VTILE);
        c->rep->reason[0] = '\0';
        c->rep->have_bad_index = false;
        vcheck_blame_entry(c, c->tile.entry);
        vcheck_blame(c, file, "the tile is not that of the entries that were signed and pruned");
    }
    vcheck_blame(c, c->tile.file, "the tile %s", c->tile.how);
}

static int judge(struct check *c, struct gvm_err *err)
{
    int r = vcheck_last_tiles(c, err);
    if (r < 0)
        return r;
    judge_entries(c);
    judge_pruned(c);
    judge_since(c);
    judge_tiles(c);
    c->rep->entries = c->tree.size;
    if (c->have_head && c->tree.size > c->rep->head.size)
        c->rep->unsigned_entries = c->tree.size - c->rep->head.size;
    c->rep->ok = !c->rep->reason[0];
    return 0;
}

/* ---- a look at the whole ---- */

enum { TRIES = 5 };

/* Segments and head as they belong together while a writer goes on: what was removed before the
 * first look is told of by the head, what the head counts is there at the second. -ENOENT: try once
 * more. */
static int take_stock(struct check *c, struct gvm_err *err)
{
    GVM_AUTOFREE uint64_t *before = NULL;
    size_t n = 0;
    int r = vfiles_segments(c->dirfd, &before, &n, err);
    if (!r)
        r = read_head(c, err);
    if (!r)
        r = read_tiled(c, err);
    if (!r)
        r = vfiles_segments(c->dirfd, &c->segment, &c->segments, err);
    if (r < 0)
        return r;
    c->first = c->segments ? c->segment[0] : 0;
    if (n && c->segments && before[0] != c->first)
        return gvm_err_set(err, ENOENT, "the log was pruned while it was looked at");
    return 0;
}

static int verify(struct check *c, struct gvm_err *err)
{
    int r = vhasher_init(&c->hasher, err);
    if (r < 0)
        return r;
    c->tree.h = &c->hasher;
    c->tree.complete = vcheck_complete;
    c->tree.arg = c;
    r = take_stock(c, err);
    if (r < 0)
        return r;
    bool resumed = c->opts->from && vcheck_resume(c, c->opts->from);
    c->rep->from = c->tree.size;
    if (!resumed) {
        vcheck_roots(c);
        r = vcheck_pruned(c, err);
    }
    if (!r && !c->broken)
        r = vcheck_entries(c, err);
    if (!r)
        r = judge(c, err);
    c->rep->verified.pruned_to = c->pruned_to;
    return r;
}

static int once(const char *dir, int dirfd, const struct gvm_verify_opts *opts, struct vpool *pool,
                struct gvm_verify_report *ret, struct gvm_err *err)
{
    struct gvm_verify_report rep = {0};
    struct check *c = gvm_calloc(1, sizeof *c);
    if (!c)
        return gvm_err_set(err, ENOMEM, "out of memory");
    c->dir = dir;
    c->dirfd = dirfd;
    c->opts = opts;
    c->rep = &rep;
    c->pool = pool;
    gvm_buf_init(&c->buf, 64 * 1024);
    int r = verify(c, err);
    vhasher_done(&c->hasher);
    gvm_buf_done(&c->buf);
    free(c->segment);
    free(c);
    if (!r)
        *ret = rep;
    return r;
}

int gvm_ledger_verify(const char *dir, const struct gvm_verify_opts *opts,
                      struct gvm_verify_report *ret, struct gvm_err *err)
{
    struct vpool *pool = NULL;
    GVM_AUTOCLOSE int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return gvm_err_sys(err, errno, "cannot open the ledger %s", dir);
    int r = vpool_new(opts->threads, &pool, err);
    if (r < 0)
        return r;
    r = -ENOENT;
    for (unsigned i = 0; r == -ENOENT && i < TRIES; i++) { /* a writer may prune under our hands */
        if (i && err)
            *err = (struct gvm_err){0};
        r = once(dir, dirfd, opts, pool, ret, err);
    }
    vpool_free(pool);
    return r;
}
