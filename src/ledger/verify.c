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
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "ledger/ledger.h"
#include "ledger/verify_int.h"

enum { LEVELS = 8, SETTLE_TRIES = 5, SETTLE_MS = 20 };

struct level {
    uint64_t index; /* of the tile being filled */
    unsigned n;
    uint8_t hash[VTILE][VHASH];
};

struct mismatch {
    bool set;
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
    struct level level[LEVELS];
    struct mismatch leaf; /* first differing hash of an entry */
    struct mismatch tile; /* first tile that is not what it should be */
    bool have_head, root_ok, since_root_ok;
    uint64_t tiled; /* entries whose tiles must be there and whole */
    bool broken;    /* the entries end in something that is no entry, or in a gap */
    struct gvm_buf buf;
};

static void blame(struct check *c, const char *file, const char *fmt, ...) GVM_PRINTF(3, 4);
static void blame(struct check *c, const char *file, const char *fmt, ...)
{
    va_list ap;
    if (c->rep->reason[0])
        return; /* the first finding stays */
    va_start(ap, fmt);
    (void)vsnprintf(c->rep->reason, sizeof c->rep->reason, fmt, ap);
    va_end(ap);
    (void)snprintf(c->rep->bad_file, sizeof c->rep->bad_file, "%s", file);
}

static void blame_entry(struct check *c, uint64_t index)
{
    if (c->rep->have_bad_index)
        return;
    c->rep->have_bad_index = true;
    c->rep->bad_index = index;
}

/* ---- tiles ---- */

static void tile_differs(struct check *c, const char *file, uint64_t entry, bool leaf,
                         const char *how)
{
    struct mismatch m = {.set = true, .entry = entry, .how = how};
    (void)snprintf(m.file, sizeof m.file, "%s", file);
    if (!c->tile.set)
        c->tile = m;
    if (leaf && (!c->leaf.set || entry < c->leaf.entry))
        c->leaf = m;
}

/* True when a writer has added entries since they were read: they are there before their tile is.
 */
static bool grown(const struct check *c)
{
    uint64_t now = 0;
    return gvm_ledger_size(c->dir, &now, NULL) == 0 && now > c->tree.size;
}

/* Compares a file of `width` hashes with the tile being filled. One that holds more than there are
 * entries for shows that some were cut, unless a writer is just ahead of us. One that is not there
 * or not whole is only wrong if it must be (struct check, tiled): a crash leaves such, and the next
 * start writes them. */
static int compare_tile(struct check *c, unsigned level, const char *file, unsigned width,
                        bool must)
{
    const struct level *l = &c->level[level];
    gvm_buf_reset(&c->buf);
    int r = vfiles_read(c->dirfd, file, &c->buf);
    if (r == -ENOMEM || r == -EIO || r == -EMFILE)
        return r;
    bool absent = r == -ENOENT || r == -ENOTDIR;
    bool torn = !r && c->buf.len < (size_t)width * VHASH;
    if ((absent || torn) && !must)
        return 0;
    if (r < 0 || c->buf.len != (size_t)width * VHASH) {
        tile_differs(c, file, 0, false, absent ? "is missing" : "has not the size of a tile");
        return 0;
    }
    c->rep->tiles++;
    const uint8_t *p = gvm_buf_data(&c->buf);
    for (unsigned i = 0; i < width && i < l->n; i++) {
        if (memcmp(p + (size_t)i * VHASH, l->hash[i], VHASH) == 0)
            continue;
        tile_differs(c, file, (l->index * VTILE + i) << (8 * level), level == 0,
                     "differs from the entries it stands for");
        return 0;
    }
    if (width > l->n && !grown(c))
        tile_differs(c, file, c->tree.size, false, "stands for entries that are not here");
    return 0;
}

static unsigned partial_width(const char *name)
{
    uint64_t w;
    return gvm_parse_u64(gvm_str(name), VTILE - 1, &w) < 0 ? 0 : (unsigned)w;
}

/* Every tile/L/N.p/W of the tile being filled. */
static int compare_partials(struct check *c, unsigned level)
{
    char dir[VPATH], file[VPATH + 16];
    vfiles_tile_path(dir, level, c->level[level].index);
    (void)snprintf(dir + strlen(dir), VPATH - strlen(dir), ".p");
    int fd = openat(c->dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        gvm_close(&fd);
        return 0;
    }
    int r = 0;
    for (struct dirent *e; !r && (e = readdir(d));) {
        unsigned w = partial_width(e->d_name);
        (void)snprintf(file, sizeof file, "%s/%u", dir, w);
        if (w)
            r = compare_tile(c, level, file, w, false);
    }
    closedir(d);
    return r;
}

static int complete(void *arg, unsigned height, const uint8_t hash[VHASH], struct gvm_err *err)
{
    struct check *c = arg;
    unsigned level = height / 8;
    if (level >= LEVELS)
        return 0;
    struct level *l = &c->level[level];
    memcpy(l->hash[l->n++], hash, VHASH);
    if (l->n < VTILE)
        return 0;
    char file[VPATH];
    vfiles_tile_path(file, level, l->index);
    uint64_t end = (l->index + 1) << (8 * level) << 8;
    int r = compare_tile(c, level, file, VTILE, end <= c->tiled);
    if (!r)
        r = compare_partials(c, level);
    l->n = 0;
    l->index++;
    return r < 0 ? gvm_err_sys(err, -r, "cannot read %s", file) : 0;
}

/* The tiles behind the last full one of each level: partial ones are compared, and a full one there
 * stands for entries that were cut off. */
static int compare_last_tiles(struct check *c, struct gvm_err *err)
{
    char file[VPATH];
    for (unsigned level = 0; level < LEVELS; level++) {
        vfiles_tile_path(file, level, c->level[level].index);
        int r = compare_tile(c, level, file, VTILE, false);
        if (!r)
            r = compare_partials(c, level);
        if (r < 0)
            return gvm_err_sys(err, -r, "cannot read tiles");
    }
    return 0;
}

/* ---- entries ---- */

/* One line of UTF-8 without control bytes. Plain ASCII, the usual case, goes eight bytes at a time.
 */
static bool text_ok(struct gvm_str s)
{
    const uint64_t high = 0x8080808080808080u, space = 0x2020202020202020u;
    uint64_t low = 0, bits = 0, word;
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        memcpy(&word, s.p + i, 8);
        bits |= word;
        low |= (word - space) & ~word; /* exact for the lowest such byte: enough to know of one */
    }
    for (; i < s.n; i++) {
        bits |= (unsigned char)s.p[i];
        low |= (unsigned char)s.p[i] < 0x20 ? high : 0;
    }
    return !(low & high) && (!(bits & high) || gvm_utf8_valid(s));
}

static bool entry_form_ok(struct gvm_str s)
{
    return s.n >= 2 && s.p[0] == '{' && s.p[s.n - 1] == '}' && text_ok(s);
}

static void check_roots(struct check *c)
{
    uint8_t root[VHASH];
    bool at_head = c->have_head && c->tree.size == c->rep->head.size;
    bool at_since = c->opts->since && c->tree.size == c->opts->since->size;
    if (!at_head && !at_since)
        return;
    vtree_root(&c->tree, root);
    if (at_head)
        c->root_ok = memcmp(root, c->rep->head.root, VHASH) == 0;
    if (at_since)
        c->since_root_ok = memcmp(root, c->opts->since->root, VHASH) == 0;
}

static int take_entry(struct check *c, struct gvm_str line, const char *file, struct gvm_err *err)
{
    uint8_t hash[VHASH];
    if (!entry_form_ok(line)) {
        c->broken = true;
        blame_entry(c, c->tree.size);
        blame(c, file, "entry %" PRIu64 " is not one line of JSON text", c->tree.size);
        return 0;
    }
    if (!vhash_private_ok(&c->hasher, line)) {
        blame_entry(c, c->tree.size);
        blame(c, file, "the private members of entry %" PRIu64 " are not those it commits to",
              c->tree.size);
    }
    vhash_leaf(&c->hasher, line.p, line.n, hash);
    int r = vtree_add(&c->tree, hash, err);
    if (r < 0)
        return r;
    c->rep->bytes += line.n + 1;
    check_roots(c);
    return 0;
}

static void sleep_ms(long ms)
{
    struct timespec ts = {.tv_nsec = ms * 1000000};
    (void)nanosleep(&ts, NULL);
}

/* The next line of the last segment; a batch that a writer is just writing gets time to become
 * whole. */
static int next_line(const struct check *c, struct vlines *l, bool last, struct gvm_str *ret)
{
    int r = VLINE_END, tries = c->opts->still ? 1 : SETTLE_TRIES;
    for (int i = 0; i < tries; i++) {
        r = vlines_next(l, ret);
        if (!last || (r != VLINE_TORN && r != VLINE_ZEROS))
            return r;
        uint64_t at = l->off + l->pos;
        bool zeros = false;
        int z = r == VLINE_ZEROS ? vlines_zeros(l, &zeros) : 0;
        if (z < 0)
            return z;
        if (zeros)
            return VLINE_ZEROS;
        if (i + 1 < tries)
            sleep_ms(SETTLE_MS);
        l->off = at;
        l->have = l->pos = 0;
        l->eof = false;
    }
    return r == VLINE_ZEROS ? VLINE_TORN : r;
}

static int read_segment(struct check *c, uint64_t first, bool last, struct gvm_err *err)
{
    char file[VPATH];
    struct vlines l;
    struct gvm_str line;
    int r = vlines_open(&l, c->dirfd, first);
    vfiles_segment_path(file, first, !r && l.pack);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot open %s", file);
    c->rep->segments++;
    while ((r = next_line(c, &l, last, &line)) == VLINE_ENTRY && !c->broken) {
        r = take_entry(c, line, file, err);
        if (r < 0)
            break;
    }
    bool packed = l.pack != NULL;
    vlines_done(&l);
    if (r < 0)
        return gvm_err_wrap(err, err && err->code ? r : gvm_err_sys(err, -r, "read error"), "%s",
                            file);
    bool clean = r == VLINE_END || (last && r == VLINE_ZEROS);
    if (clean || c->broken)
        return 0;
    c->broken = true;
    /* Behind everything that was signed it is what a crash leaves of a batch nobody was told of. */
    c->rep->torn_tail =
        last && !packed && r != VLINE_LONG && c->have_head && c->tree.size >= c->rep->head.size;
    if (c->rep->torn_tail)
        return 0;
    blame_entry(c, c->tree.size);
    blame(c, file,
          r == VLINE_DAMAGED ? "after %" PRIu64 " entries comes a block that is not what was packed"
                             : "after %" PRIu64 " entries come bytes that are no entry",
          c->tree.size);
    return 0;
}

static int read_entries(struct check *c, struct gvm_err *err)
{
    GVM_AUTOFREE uint64_t *first = NULL;
    size_t n = 0;
    int r = vfiles_segments(c->dirfd, &first, &n, err);
    for (size_t i = 0; !r && i < n && !c->broken; i++) {
        if (first[i] != c->tree.size) {
            char file[VPATH];
            vfiles_segment_path(file, first[i], false);
            c->broken = true;
            blame_entry(c, first[i] < c->tree.size ? first[i] : c->tree.size);
            blame(c, file,
                  "the segment begins with entry %" PRIu64 ", but %" PRIu64
                  " entries stand before it: entries were removed or added",
                  first[i], c->tree.size);
            break;
        }
        r = read_segment(c, first[i], i + 1 == n, err);
    }
    return r;
}

/* ---- the verdict ---- */

static int read_head(struct check *c, struct gvm_err *err)
{
    struct gvm_err why = {0};
    gvm_buf_reset(&c->buf);
    int r = vfiles_read(c->dirfd, "checkpoint", &c->buf);
    if (r == -ENOENT)
        return 0;
    if (r == -ENOMEM || r == -EIO || r == -EACCES)
        return gvm_err_sys(err, -r, "cannot read checkpoint");
    if (r < 0) {
        blame(c, "checkpoint", "the checkpoint is not a small regular file");
        return 0;
    }
    r = gvm_checkpoint_open(gvm_buf_str(&c->buf), c->opts->key, &c->rep->head, &why);
    if (r < 0)
        blame(c, "checkpoint", "%.240s", why.text);
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
        blame(c, "tiles-synced", "tiles-synced is not one number on a line");
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
        blame_entry(c, c->leaf.entry);
        blame(c, "", "entry %" PRIu64 " is not the one that was signed (it differs from %.80s)",
              c->leaf.entry, c->leaf.file);
    } else if (cut) {
        blame_entry(c, size);
        blame(c, "", "%" PRIu64 " entries were signed, only %" PRIu64 " are here", head, size);
    } else if (c->have_head) {
        uint64_t from = c->tile.set ? 0 : head / VTILE * VTILE;
        blame_entry(c, from);
        blame(c, "",
              "the entries give another root than the signed one; the first bad entry is at or "
              "after %" PRIu64,
              from);
    } else if (size) {
        blame(c, "checkpoint", "there is no checkpoint: nothing here was signed");
    }
}

static void judge_since(struct check *c)
{
    const struct gvm_checkpoint *s = c->opts->since;
    if (!s)
        return;
    if (c->tree.size < s->size) {
        blame_entry(c, c->tree.size);
        blame(c, "",
              "the log was cut: a head of %" PRIu64 " entries is known, only %" PRIu64 " are here",
              s->size, c->tree.size);
    } else if (!c->since_root_ok) {
        blame(c, "",
              "the log is not the one whose head of %" PRIu64 " entries is known: it was "
              "rewritten",
              s->size);
    } else {
        c->rep->since_ok = true;
    }
}

static int judge(struct check *c, struct gvm_err *err)
{
    int r = compare_last_tiles(c, err);
    if (r < 0)
        return r;
    judge_entries(c);
    judge_since(c);
    if (c->tile.set)
        blame(c, c->tile.file, "the tile %s", c->tile.how);
    c->rep->entries = c->tree.size;
    if (c->have_head && c->tree.size > c->rep->head.size)
        c->rep->unsigned_entries = c->tree.size - c->rep->head.size;
    c->rep->ok = !c->rep->reason[0];
    return 0;
}

static int verify(struct check *c, struct gvm_err *err)
{
    int r = vhasher_init(&c->hasher, err);
    if (r < 0)
        return r;
    c->tree.h = &c->hasher;
    c->tree.complete = complete;
    c->tree.arg = c;
    r = read_head(c, err);
    if (!r)
        r = read_tiled(c, err);
    if (r < 0)
        return r;
    check_roots(c);
    r = read_entries(c, err);
    return r < 0 ? r : judge(c, err);
}

int gvm_ledger_verify(const char *dir, const struct gvm_verify_opts *opts,
                      struct gvm_verify_report *ret, struct gvm_err *err)
{
    GVM_AUTOCLOSE int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return gvm_err_sys(err, errno, "cannot open the ledger %s", dir);
    struct gvm_verify_report rep = {0};
    struct check *c = gvm_calloc(1, sizeof *c);
    if (!c)
        return gvm_err_set(err, ENOMEM, "out of memory");
    c->dir = dir;
    c->dirfd = dirfd;
    c->opts = opts;
    c->rep = &rep;
    gvm_buf_init(&c->buf, 64 * 1024);
    int r = verify(c, err);
    vhasher_done(&c->hasher);
    gvm_buf_done(&c->buf);
    free(c);
    if (!r)
        *ret = rep;
    return r;
}
