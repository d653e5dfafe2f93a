/* verify_static.c - somebody's log as a static C2SP tlog-tiles directory: are its entries what was
 * signed?
 *
 * Reads each bundle and tile once, in order, in constant memory. Nothing in it need be ours: an
 * entry is bytes. Unlike our own directory, everything must be there: partial tiles and bundles of
 * the signed size too.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "ledger/evidence.h"
#include "ledger/verify_int.h"

enum { LEVELS = 8, BUNDLE_MAX = VTILE * (2 + GVM_MAX_ENTRY) };

struct level {
    uint64_t index;
    unsigned n;
    uint8_t hash[VTILE][VHASH];
};

struct check {
    int dirfd;
    const struct gvm_verify_opts *opts;
    struct gvm_verify_report *rep;
    struct vhasher hasher;
    struct vtree tree;
    struct level level[LEVELS];
    struct gvm_buf buf, bundle;
};

/* The first finding stays. */
static void blame(struct check *c, const char *file, const char *fmt, ...) GVM_PRINTF(3, 4);
static void blame(struct check *c, const char *file, const char *fmt, ...)
{
    va_list ap;
    if (c->rep->reason[0])
        return;
    va_start(ap, fmt);
    (void)vsnprintf(c->rep->reason, sizeof c->rep->reason, fmt, ap);
    va_end(ap);
    (void)snprintf(c->rep->bad_file, sizeof c->rep->bad_file, "%s", file);
}

static bool cannot_look(int r)
{
    return r == -ENOMEM || r == -EIO || r == -EACCES || r == -EMFILE || r == -ENFILE;
}

/* ---- tiles ---- */

static int compare_tile(struct check *c, unsigned level, unsigned width)
{
    const struct level *l = &c->level[level];
    char path[VPATH];
    vfiles_tile_path(path, level, l->index);
    if (width < VTILE)
        (void)snprintf(path + strlen(path), VPATH - strlen(path), ".p/%u", width);
    gvm_buf_reset(&c->buf);
    int r = vfiles_read(c->dirfd, path, &c->buf);
    if (cannot_look(r))
        return r;
    c->rep->tiles++;
    if (r < 0)
        blame(c, path, "the tile is missing");
    else if (c->buf.len != (size_t)width * VHASH ||
             memcmp(gvm_buf_data(&c->buf), l->hash, c->buf.len) != 0)
        blame(c, path, "the tile differs from the entries it stands for");
    return 0;
}

static int complete(void *arg, unsigned height, const uint8_t hash[VHASH], struct gvm_err *err)
{
    struct check *c = arg;
    if (height / 8 >= LEVELS)
        return 0;
    struct level *l = &c->level[height / 8];
    memcpy(l->hash[l->n++], hash, VHASH);
    if (l->n < VTILE)
        return 0;
    int r = compare_tile(c, height / 8, VTILE);
    l->n = 0;
    l->index++;
    return r < 0 ? gvm_err_sys(err, -r, "cannot read a tile") : 0;
}

static int compare_partials(struct check *c, struct gvm_err *err)
{
    for (unsigned level = 0; level < LEVELS; level++) {
        int r = c->level[level].n ? compare_tile(c, level, c->level[level].n) : 0;
        if (r < 0)
            return gvm_err_sys(err, -r, "cannot read a tile");
    }
    return 0;
}

/* ---- entries ---- */

static int check_since(struct check *c)
{
    uint8_t root[VHASH];
    const struct gvm_checkpoint *since = c->opts->since;
    if (!since || since->size != c->tree.size)
        return 0;
    vtree_root(&c->tree, root);
    c->rep->since_ok = memcmp(root, since->root, VHASH) == 0;
    return 0;
}

static int take_bundle(struct check *c, const char *path, unsigned width, struct gvm_err *err)
{
    const uint8_t *p = gvm_buf_data(&c->bundle);
    size_t left = c->bundle.len;
    uint8_t leaf[VHASH];
    for (unsigned i = 0; i < width; i++) {
        size_t n = left >= 2 ? gvm_get16(p) : 0;
        if (left < 2 || left - 2 < n) {
            blame(c, path, "the bundle ends within entry %" PRIu64, c->tree.size);
            return 0;
        }
        vhash_entry(&c->hasher, (struct gvm_str){(const char *)p + 2, n}, leaf);
        int r = vtree_add(&c->tree, leaf, err);
        if (r < 0)
            return r;
        (void)check_since(c);
        p += 2 + n;
        left -= 2 + n;
    }
    if (left)
        blame(c, path, "the bundle holds more than its entries");
    c->rep->bytes += c->bundle.len;
    return 0;
}

static int read_bundle(struct check *c, uint64_t index, unsigned width, struct gvm_err *err)
{
    char path[VPATH], tile[VPATH];
    vfiles_tile_path(tile, 0, index);
    int n =
        snprintf(path, sizeof path, "tile/entries/%.*s", VPATH - 32, tile + sizeof "tile/0/" - 1);
    if (width < VTILE)
        (void)snprintf(path + n, sizeof path - (size_t)n, ".p/%u", width);
    gvm_buf_reset(&c->bundle);
    int r = vfiles_read(c->dirfd, path, &c->bundle);
    if (cannot_look(r))
        return gvm_err_sys(err, -r, "cannot read %s", path);
    c->rep->segments++;
    if (r < 0) {
        blame(c, path, "the bundle is missing, or too large");
        return 0;
    }
    return take_bundle(c, path, width, err);
}

static int read_entries(struct check *c, struct gvm_err *err)
{
    uint64_t size = c->rep->head.size;
    int r = check_since(c);
    for (uint64_t i = 0; !r && i < (size + VTILE - 1) / VTILE && !c->rep->reason[0]; i++)
        r = read_bundle(c, i, i < size / VTILE ? VTILE : (unsigned)(size % VTILE), err);
    return r;
}

/* ---- the verdict ---- */

static int read_head(struct check *c, struct gvm_err *err)
{
    struct gvm_err why = {0};
    int r = vfiles_read(c->dirfd, "checkpoint", &c->buf);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read checkpoint");
    if (gvm_checkpoint_open(gvm_buf_str(&c->buf), c->opts->key, &c->rep->head, &why) < 0)
        blame(c, "checkpoint", "%.240s", why.text);
    return 0;
}

static void judge(struct check *c)
{
    const struct gvm_checkpoint *since = c->opts->since;
    uint8_t root[VHASH];
    vtree_root(&c->tree, root);
    c->rep->entries = c->tree.size;
    if (!c->rep->reason[0] && memcmp(root, c->rep->head.root, VHASH) != 0)
        blame(c, "", "the entries give another root than the signed one");
    if (since && since->size > c->rep->head.size)
        blame(c, "", "the log was cut: a head of %" PRIu64 " entries is known", since->size);
    else if (since && !c->rep->since_ok)
        blame(c, "", "the log is not the one whose head of %" PRIu64 " entries is known",
              since->size);
    c->rep->ok = !c->rep->reason[0];
}

static int verify(struct check *c, struct gvm_err *err)
{
    c->tree.h = &c->hasher;
    c->tree.complete = complete;
    c->tree.arg = c;
    int r = vhasher_init(&c->hasher, err);
    if (!r)
        r = read_head(c, err);
    if (!r && !c->rep->reason[0])
        r = read_entries(c, err);
    if (!r && !c->rep->reason[0])
        r = compare_partials(c, err);
    if (!r)
        judge(c);
    vhasher_done(&c->hasher);
    return r;
}

int gvm_tiles_verify(const char *dir, const struct gvm_verify_opts *opts,
                     struct gvm_verify_report *ret, struct gvm_err *err)
{
    struct gvm_verify_report rep = {0};
    GVM_AUTOCLOSE int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return gvm_err_sys(err, errno, "cannot open %s", dir);
    struct check *c = gvm_calloc(1, sizeof *c);
    if (!c)
        return gvm_err_set(err, ENOMEM, "out of memory");
    c->dirfd = dirfd;
    c->opts = opts;
    c->rep = &rep;
    gvm_buf_init(&c->buf, GVM_MAX_NOTE);
    gvm_buf_init(&c->bundle, BUNDLE_MAX);
    int r = verify(c, err);
    gvm_buf_done(&c->buf);
    gvm_buf_done(&c->bundle);
    free(c);
    if (!r)
        *ret = rep;
    return r;
}
