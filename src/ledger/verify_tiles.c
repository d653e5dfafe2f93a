/* verify_tiles.c - tiles on disk against the hashes just computed, and the place of entries that
 * were pruned: of those only the leaf hashes are left, in the tiles of level 0. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include "ledger/ledger.h"
#include "ledger/verify_check.h"

static void tile_differs(struct check *c, const char *file, uint64_t entry, unsigned level,
                         bool leaf, const char *how)
{
    struct vmismatch m = {.set = true, .entry = entry, .level = level, .how = how};
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
    const struct vlevel *l = &c->level[level];
    gvm_buf_reset(&c->buf);
    int r = vfiles_read(c->dirfd, file, &c->buf);
    if (r == -ENOMEM || r == -EIO || r == -EMFILE)
        return r;
    bool absent = r == -ENOENT || r == -ENOTDIR;
    bool torn = !r && c->buf.len < (size_t)width * VHASH;
    if ((absent || torn) && !must)
        return 0;
    if (r < 0 || c->buf.len != (size_t)width * VHASH) {
        tile_differs(c, file, 0, level, false,
                     absent ? "is missing" : "has not the size of a tile");
        return 0;
    }
    c->rep->tiles++;
    const uint8_t *p = gvm_buf_data(&c->buf);
    for (unsigned i = l->known; i < width && i < l->n; i++) {
        if (memcmp(p + (size_t)i * VHASH, l->hash[i], VHASH) == 0)
            continue;
        tile_differs(c, file, (l->index * VTILE + i) << (8 * level), level, level == 0,
                     "differs from the entries it stands for");
        return 0;
    }
    if (width > l->n && !grown(c))
        tile_differs(c, file, c->tree.size, level, false, "stands for entries that are not here");
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

int vcheck_complete(void *arg, unsigned height, const uint8_t hash[VHASH], struct gvm_err *err)
{
    struct check *c = arg;
    unsigned level = height / 8;
    if (level >= VLEVELS)
        return 0;
    struct vlevel *l = &c->level[level];
    memcpy(l->hash[l->n++], hash, VHASH);
    if (l->n < VTILE)
        return 0;
    char file[VPATH];
    vfiles_tile_path(file, level, l->index);
    uint64_t end = (l->index + 1) << (8 * level) << 8;
    /* A tile is not compared with itself. */
    int r = level == 0 && c->from_tiles ? 0 : compare_tile(c, level, file, VTILE, end <= c->tiled);
    if (!r)
        r = compare_partials(c, level);
    l->n = l->known = 0;
    l->index++;
    return r < 0 ? gvm_err_sys(err, -r, "cannot read %s", file) : 0;
}

/* The tiles behind the last full one of each level: partial ones are compared, and a full one there
 * stands for entries that were cut off. */
int vcheck_last_tiles(struct check *c, struct gvm_err *err)
{
    char file[VPATH];
    for (unsigned level = 0; level < VLEVELS; level++) {
        vfiles_tile_path(file, level, c->level[level].index);
        int r = compare_tile(c, level, file, VTILE, false);
        if (!r)
            r = compare_partials(c, level);
        if (r < 0)
            return gvm_err_sys(err, -r, "cannot read tiles");
    }
    return 0;
}

/* ---- entries that were pruned ---- */

/* The first `width` leaf hashes of a full tile. */
static int take_tile(struct check *c, uint64_t index, unsigned width, struct gvm_err *err)
{
    char file[VPATH];
    vfiles_tile_path(file, 0, index);
    gvm_buf_reset(&c->buf);
    int r = vfiles_read(c->dirfd, file, &c->buf);
    if (r == -ENOMEM || r == -EIO || r == -EMFILE)
        return gvm_err_sys(err, -r, "cannot read %s", file);
    const uint8_t *tile = gvm_buf_data(&c->buf);
    if (r < 0 || c->buf.len != VTILE * VHASH || !tile) {
        c->broken = true;
        vcheck_blame_entry(c, index * VTILE);
        vcheck_blame(c, file,
                     "the entries before %" PRIu64
                     " are not here, and neither is this tile of theirs",
                     c->first);
        return 0;
    }
    c->rep->tiles++;
    uint8_t hashes[VTILE * VHASH]; /* c->buf is used for other tiles on the way */
    memcpy(hashes, tile, sizeof hashes);
    for (unsigned i = 0; !r && i < width; i++)
        r = vcheck_leaf(c, hashes + (size_t)i * VHASH, err);
    return r;
}

int vcheck_pruned(struct check *c, struct gvm_err *err)
{
    int r = 0;
    c->from_tiles = true;
    while (!r && !c->broken && c->tree.size < c->first) {
        uint64_t left = c->first - c->tree.size;
        r = take_tile(c, c->tree.size / VTILE, left < VTILE ? (unsigned)left : VTILE, err);
    }
    c->from_tiles = false;
    return r;
}
