/* export.c - the log as a static directory that any C2SP tlog-tiles client reads:
 *
 *   checkpoint                      the signed head, written last
 *   tile/<L>/<N>[.p/<W>]            hashes
 *   tile/entries/<N>[.p/<W>]        entries, 256 a file, each with its length as 2 bytes,
 * big-endian
 *
 * Entries go out without their private members: a directory like this is for strangers. What is
 * there already stays, if it is of the same log and the log extends it, so that an export can be
 * repeated as the log grows. Entries that were pruned have no bundle; their hashes are still in the
 * tiles.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ledger/prove.h"

enum { BUNDLE_MAX = VTILE * (2 + GVM_MAX_ENTRY) };

struct exporter {
    struct prover *p;
    int outfd;
    struct gvm_buf bundle, entry;
    uint8_t leaf[VTILE][VHASH];
    uint64_t next; /* index the bundle being filled goes on with */
    struct gvm_export_report rep;
};

/* ---- files ---- */

static int make_parents(int dirfd, const char *path)
{
    char part[VPATH];
    for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
        (void)snprintf(part, sizeof part, "%.*s", (int)(p - path), path);
        if (mkdirat(dirfd, part, 0755) < 0 && errno != EEXIST)
            return -errno;
    }
    return 0;
}

static int put_file(struct exporter *x, const char *path, const void *p, size_t n)
{
    static const char tmp[] = ".tmp";
    int r = make_parents(x->outfd, path);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd =
        openat(x->outfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return -errno;
    r = gvm_write_all(fd, p, n);
    if (!r && renameat(x->outfd, tmp, x->outfd, path) < 0)
        r = -errno;
    return r;
}

static bool is_there(const struct exporter *x, const char *path)
{
    return faccessat(x->outfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- hashes ---- */

static int put_tile(struct exporter *x, unsigned level, uint64_t index, unsigned width)
{
    uint8_t hashes[VTILE][VHASH];
    char path[VPATH];
    vfiles_tile_path(path, level, index);
    if (width < VTILE)
        (void)snprintf(path + strlen(path), VPATH - strlen(path), ".p/%u", width);
    x->rep.tiles++;
    if (is_there(x, path))
        return 0;
    for (unsigned i = 0; i < width; i++) {
        int r = prover_hash(x->p, level, index * VTILE + i, hashes[i]);
        if (r < 0)
            return r;
    }
    return put_file(x, path, hashes, (size_t)width * VHASH);
}

static int put_tiles(struct exporter *x)
{
    int r = 0;
    for (unsigned level = 0; !r && level < PROVE_LEVELS; level++) {
        uint64_t n = x->p->head.size >> (8 * level);
        for (uint64_t i = 0; !r && i < n / VTILE; i++)
            r = put_tile(x, level, i, VTILE);
        if (!r && n % VTILE)
            r = put_tile(x, level, n / VTILE, (unsigned)(n % VTILE));
    }
    return r;
}

/* ---- entries ---- */

static void bundle_path(char dst[VPATH], uint64_t index, unsigned width)
{
    char tile[VPATH];
    vfiles_tile_path(tile, 0, index);
    int n = snprintf(dst, VPATH, "tile/entries/%.*s", VPATH - 32, tile + sizeof "tile/0/" - 1);
    if (width < VTILE)
        (void)snprintf(dst + n, VPATH - (size_t)n, ".p/%u", width);
}

/* Writes the bundle that ends before x->next; its entries must be those the tiles stand for. */
static int flush(struct exporter *x, struct gvm_err *err)
{
    char path[VPATH];
    uint8_t hash[VHASH];
    uint64_t first = (x->next - 1) / VTILE * VTILE;
    unsigned width = (unsigned)(x->next - first);
    for (unsigned i = 0; i < width; i++) {
        int r = prover_hash(x->p, 0, first + i, hash);
        if (r < 0)
            return gvm_err_sys(err, -r, "cannot read the tiles; run gvm audit verify");
        if (memcmp(hash, x->leaf[i], VHASH) != 0)
            return gvm_err_set(err, EBADMSG,
                               "entry %" PRIu64 " is not the one in its tile; run gvm audit verify",
                               first + i);
    }
    bundle_path(path, first / VTILE, width);
    int r = put_file(x, path, gvm_buf_data(&x->bundle), x->bundle.len);
    gvm_buf_reset(&x->bundle);
    x->rep.bundles++;
    return r < 0 ? gvm_err_sys(err, -r, "cannot write %s", path) : 0;
}

static int add_entry(void *arg, uint64_t index, struct gvm_str line, struct gvm_err *err)
{
    struct exporter *x = arg;
    uint8_t len[2];
    if (index != x->next) { /* entries before it were pruned: begin with a whole bundle */
        if (index % VTILE)
            return 0;
        x->next = index;
        gvm_buf_reset(&x->bundle);
    }
    gvm_buf_reset(&x->entry);
    if (gvm_line_entry(line, &x->entry) < 0)
        return gvm_err_set(err, ENOMEM, "out of memory");
    vhash_leaf(&x->p->hasher, line.p, line.n, x->leaf[index % VTILE]);
    gvm_put16(len, (uint16_t)x->entry.len);
    gvm_buf_add(&x->bundle, len, sizeof len);
    if (gvm_buf_adds(&x->bundle, gvm_buf_str(&x->entry)) < 0)
        return gvm_err_set(err, ENOMEM, "out of memory");
    x->rep.entries++;
    x->next = index + 1;
    return x->next % VTILE == 0 ? flush(x, err) : 0;
}

/* Behind the full bundles that are there. */
static uint64_t first_missing(const struct exporter *x)
{
    char path[VPATH];
    uint64_t i = 0;
    for (; i < x->p->head.size / VTILE; i++) {
        bundle_path(path, i, VTILE);
        if (!is_there(x, path))
            break;
    }
    return i * VTILE;
}

static int put_entries(struct exporter *x, struct gvm_err *err)
{
    uint64_t from = first_missing(x), size = x->p->head.size;
    x->next = from;
    int r = prover_walk(x->p->dir, from, size, add_entry, x, err);
    return !r && x->next == size && size % VTILE && from < size ? flush(x, err) : r;
}

/* How the log's first key leads to the present one, for who has the first. */
static int put_key_chain(struct exporter *x, struct gvm_err *err)
{
    struct gvm_buf chain;
    gvm_buf_init(&chain, GVM_MAX_VOUCHERS);
    int r = vfiles_read(x->p->dirfd, "key-chain", &chain);
    if (!r)
        r = put_file(x, "key-chain", gvm_buf_data(&chain), chain.len);
    gvm_buf_done(&chain);
    return r < 0 && r != -ENOENT ? gvm_err_sys(err, -r, "cannot copy key-chain") : 0;
}

/* ---- the whole ---- */

/* An older export there must be of this log, and this log extend it. */
static int check_old(struct exporter *x, struct gvm_err *err)
{
    struct gvm_buf note;
    struct gvm_checkpoint old;
    uint8_t path[PROVE_PATH + 1][VHASH];
    size_t n;
    gvm_buf_init(&note, GVM_MAX_NOTE);
    int r = vfiles_read(x->outfd, "checkpoint", &note);
    if (r == -ENOENT) {
        r = 0;
    } else if (r < 0) {
        gvm_err_sys(err, -r, "cannot read the checkpoint that is there");
    } else {
        r = gvm_checkpoint_parse(gvm_buf_str(&note), &old, err);
        if (!r)
            r = prover_extends(x->p, &old, path, &n, err);
        gvm_err_wrap(err, r, "the directory holds another export");
    }
    gvm_buf_done(&note);
    return r;
}

static int export(struct exporter *x, struct gvm_err *err)
{
    uint8_t root[VHASH];
    int r = check_old(x, err);
    if (r < 0)
        return r;
    r = prover_root(x->p, root);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read the tiles; run gvm audit verify");
    if (memcmp(root, x->p->head.root, VHASH) != 0)
        return gvm_err_set(err, EBADMSG,
                           "the tiles do not give the signed root; run gvm audit verify");
    r = put_tiles(x);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot write the tiles");
    r = put_entries(x, err);
    if (!r)
        r = put_key_chain(x, err);
    if (r < 0)
        return r;
    r = put_file(x, "checkpoint", gvm_buf_data(&x->p->note), x->p->note.len);
    return r < 0 ? gvm_err_sys(err, -r, "cannot write the checkpoint") : 0;
}

int gvm_export_tiles(const char *dir, const char *out, struct gvm_export_report *ret,
                     struct gvm_err *err)
{
    struct exporter x = {.outfd = -1};
    int r = gvm_mkdirs(out, 0755, err);
    if (r < 0)
        return r;
    x.outfd = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (x.outfd < 0)
        return gvm_err_sys(err, errno, "cannot open %s", out);
    gvm_buf_init(&x.bundle, BUNDLE_MAX + 1);
    gvm_buf_init(&x.entry, GVM_MAX_ENTRY + 1);
    r = prover_open(dir, &x.p, err);
    if (!r)
        r = export(&x, err);
    if (!r) {
        x.rep.head = x.p->head;
        *ret = x.rep;
    }
    prover_free(x.p);
    gvm_buf_done(&x.bundle);
    gvm_buf_done(&x.entry);
    gvm_close(&x.outfd);
    return r;
}
