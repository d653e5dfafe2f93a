/* serve.c - the files of a static tlog-tiles directory (export.c), made one by one when somebody
 * asks, out of the ledger itself. Everything is answered as of one signed head, and a later one is
 * looked for when the checkpoint is asked for, or something that the known head does not have.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "ledger/prove.h"

enum { BUNDLE_MAX = VTILE * (2 + GVM_MAX_ENTRY) };

struct gvm_tiles {
    char *dir;
    struct prover *p; /* NULL: there was no head yet */
};

/* ---- names ---- */

/* "x001/x234/067": groups of three digits, without looking whether it is the shortest form. */
static bool parse_groups(struct gvm_str s, uint64_t *ret)
{
    uint64_t v = 0;
    struct gvm_str group;
    bool more;
    do {
        more = gvm_str_cut(&s, '/', &group);
        if (more && !(group.n == 4 && group.p[0] == 'x'))
            return false;
        if (more)
            group = (struct gvm_str){group.p + 1, 3};
        uint64_t digits;
        if (group.n != 3 || v > UINT64_MAX / VTILE / 1000000)
            return false;
        size_t zeros = group.p[0] != '0' ? 0 : group.p[1] != '0' ? 1 : 2;
        if (gvm_parse_u64((struct gvm_str){group.p + zeros, 3 - zeros}, 999, &digits) < 0)
            return false;
        v = v * 1000 + digits;
    } while (more);
    *ret = v;
    return true;
}

static void format(char dst[VPATH], const struct vtile_name *t)
{
    char tile[VPATH - 32];
    char full[VPATH];
    vfiles_tile_path(full, t->entries ? 0 : t->level, t->index);
    (void)snprintf(tile, sizeof tile, "%s", strchr(full + sizeof "tile/" - 1, '/'));
    int n = t->entries ? snprintf(dst, VPATH, "tile/entries%s", tile)
                       : snprintf(dst, VPATH, "tile/%u%s", t->level, tile);
    if (t->width < VTILE)
        (void)snprintf(dst + n, VPATH - (size_t)n, ".p/%u", t->width);
}

bool vtile_name_parse(struct gvm_str path, struct vtile_name *ret)
{
    struct vtile_name t = {.width = VTILE};
    struct gvm_str rest = path, part;
    uint64_t n;
    char again[VPATH];
    if (path.n >= VPATH - 32 || !gvm_str_cut(&rest, '/', &part) ||
        !gvm_str_eq(part, GVM_STR("tile")) || !gvm_str_cut(&rest, '/', &part))
        return false;
    t.entries = gvm_str_eq(part, GVM_STR("entries"));
    if (!t.entries) {
        if (gvm_parse_u64(part, PROVE_LEVELS - 1, &n) < 0)
            return false;
        t.level = (unsigned)n;
    }
    const char *p = memmem(rest.p, rest.n, ".p/", 3);
    if (p) {
        struct gvm_str width = {p + 3, rest.n - (size_t)(p + 3 - rest.p)};
        if (gvm_parse_u64(width, VTILE - 1, &n) < 0 || !n)
            return false;
        t.width = (unsigned)n;
        rest.n = (size_t)(p - rest.p);
    }
    if (!parse_groups(rest, &t.index))
        return false;
    format(again, &t); /* one name only for each */
    *ret = t;
    return gvm_str_eq(path, gvm_str(again));
}

/* ---- the head ---- */

struct gvm_tiles *gvm_tiles_new(const char *dir)
{
    struct gvm_tiles *t = gvm_calloc(1, sizeof *t);
    if (t && !(t->dir = strdup(dir))) {
        free(t);
        return NULL;
    }
    return t;
}

void gvm_tiles_free(struct gvm_tiles *t)
{
    if (!t)
        return;
    prover_free(t->p);
    free(t->dir);
    free(t);
}

static int refresh(struct gvm_tiles *t, struct gvm_err *err)
{
    struct prover *p = NULL;
    int r = prover_open(t->dir, &p, err);
    if (r < 0)
        return r;
    prover_free(t->p);
    t->p = p;
    return 0;
}

/* True when the known head counts what the tile stands for. */
static bool has(const struct gvm_tiles *t, const struct vtile_name *n)
{
    return t->p && n->index * VTILE + n->width <= t->p->head.size >> (8 * n->level);
}

/* ---- contents ---- */

static int get_head(struct gvm_tiles *t, struct gvm_buf *out, struct gvm_err *err)
{
    struct gvm_buf now;
    gvm_buf_init(&now, GVM_MAX_NOTE);
    int r = t->p ? vfiles_read_head(t->p->dirfd, &now) : 0;
    if (r < 0)
        gvm_err_sys(err, -r, "cannot read the checkpoint of %s", t->dir);
    else if (!t->p || !gvm_str_eq(gvm_buf_str(&now), gvm_buf_str(&t->p->note)))
        r = refresh(t, err);
    gvm_buf_done(&now);
    if (!r && gvm_buf_adds(out, gvm_buf_str(&t->p->note)) < 0)
        r = gvm_err_set(err, ENOMEM, "out of memory");
    return r;
}

static int get_hashes(struct gvm_tiles *t, const struct vtile_name *n, struct gvm_buf *out,
                      struct gvm_err *err)
{
    uint8_t hash[VHASH];
    for (unsigned i = 0; i < n->width; i++) {
        int r = prover_hash(t->p, n->level, n->index * VTILE + i, hash);
        if (!r)
            r = gvm_buf_add(out, hash, sizeof hash);
        if (r < 0)
            return gvm_err_sys(err, -r, "cannot read the tiles; run gvm audit verify");
    }
    return 0;
}

struct bundle {
    struct gvm_buf *out, entry;
};

static int add_entry(void *arg, uint64_t index, struct gvm_str line, struct gvm_err *err)
{
    struct bundle *b = arg;
    uint8_t len[2];
    gvm_buf_reset(&b->entry);
    int r = gvm_line_entry(line, &b->entry);
    gvm_put16(len, (uint16_t)b->entry.len);
    if (!r)
        r = gvm_buf_add(b->out, len, sizeof len);
    if (!r)
        r = gvm_buf_adds(b->out, gvm_buf_str(&b->entry));
    return r < 0 ? gvm_err_set(err, ENOMEM, "out of memory") : 0;
}

int gvm_tiles_get(struct gvm_tiles *t, struct gvm_str path, struct gvm_buf *out,
                  struct gvm_err *err)
{
    struct vtile_name n;
    gvm_buf_init(out, BUNDLE_MAX);
    if (gvm_str_eq(path, GVM_STR("checkpoint")))
        return get_head(t, out, err);
    if (!vtile_name_parse(path, &n))
        return gvm_err_set(err, ENOENT, "there is no such file in a tlog-tiles log");
    int r = has(t, &n) ? 0 : refresh(t, err);
    if (!r && !has(t, &n))
        r = gvm_err_set(err, ENOENT, "the log has not come so far");
    if (r < 0)
        return r;
    if (!n.entries)
        return get_hashes(t, &n, out, err);
    struct bundle b = {.out = out};
    gvm_buf_init(&b.entry, GVM_MAX_ENTRY + 1);
    r = prover_walk(t->dir, n.index * VTILE, n.index * VTILE + n.width, add_entry, &b, err);
    gvm_buf_done(&b.entry);
    return r;
}
