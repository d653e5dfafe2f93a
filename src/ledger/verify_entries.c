/* verify_entries.c - reads the entries: lines into chunks, chunks to whoever hashes them, hashes
 * into the tree in their order. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "ledger/verify_check.h"

enum { SETTLE_TRIES = 5, SETTLE_MS = 20 };

/* ---- the tree ---- */

void vcheck_roots(struct check *c)
{
    uint8_t root[VHASH];
    bool at_head = c->have_head && c->tree.size == c->rep->head.size;
    bool at_since = c->opts->since && c->tree.size == c->opts->since->size;
    if (!at_head && !at_since)
        return;
    vtree_root(&c->tree, root);
    if (at_head) {
        c->root_ok = memcmp(root, c->rep->head.root, VHASH) == 0;
        vcheck_keep(c, &c->rep->verified);
    }
    if (at_since)
        c->since_root_ok = memcmp(root, c->opts->since->root, VHASH) == 0;
}

int vcheck_leaf(struct check *c, const uint8_t hash[VHASH], struct gvm_err *err)
{
    int r = vtree_add(&c->tree, hash, err);
    if (!r)
        vcheck_roots(c);
    return r;
}

bool ventry_pruned(struct gvm_str line, uint64_t *ret_to)
{
    static const char head[] = "{\"v\":1,\"t\":\"", kind[] = "\",\"kind\":\"ledger.pruned\",";
    const size_t at = sizeof head - 1 + GVM_TIME_TEXT - 1;
    if (line.n < at + sizeof kind - 1 || memcmp(line.p + at, kind, sizeof kind - 1) != 0 ||
        memcmp(line.p, head, sizeof head - 1) != 0)
        return false;
    if (!ret_to)
        return true;
    struct gvm_json *v = NULL;
    struct gvm_arena *a = gvm_arena_new(1 << 20);
    int64_t to = a && gvm_json_parse(a, line, &v, NULL) == 0 ? gvm_json_int(v, "to", -1) : -1;
    gvm_arena_free(a);
    *ret_to = to < 0 ? 0 : (uint64_t)to;
    return true;
}

/* Only what was signed counts: anybody can add a line. */
static void note_pruned(struct check *c, struct gvm_str line)
{
    uint64_t to;
    if (c->have_head && c->tree.size < c->rep->head.size && ventry_pruned(line, &to) &&
        to > c->pruned_to)
        c->pruned_to = to;
}

static int take_chunk(struct check *c, const struct vchunk *k, const char *file,
                      struct gvm_err *err)
{
    const char *p = (const char *)k->bytes;
    int r = 0;
    for (unsigned i = 0; !r && i < k->bad_form; i++) {
        if (i == k->bad_private) {
            vcheck_blame_entry(c, c->tree.size);
            vcheck_blame(c, file,
                         "the private members of entry %" PRIu64 " are not those it commits to",
                         c->tree.size);
        }
        if (k->pruned)
            note_pruned(c, (struct gvm_str){p, k->len[i]});
        p += k->len[i] + 1;
        c->rep->bytes += k->len[i] + 1;
        r = vcheck_leaf(c, k->hash[i], err);
    }
    if (!r && k->bad_form < k->lines) {
        c->broken = true;
        vcheck_blame_entry(c, c->tree.size);
        vcheck_blame(c, file, "entry %" PRIu64 " is not one line of JSON text", c->tree.size);
    }
    return r;
}

/* ---- chunks ---- */

/* Where lines go: the pool's chunks, or one of our own. */
struct sink {
    struct check *c;
    const char *file;
    struct vchunk *own, *fill;
};

static int take_oldest(struct sink *s, struct gvm_err *err)
{
    struct vchunk *k = vpool_next(s->c->pool);
    int r = k && !s->c->broken ? take_chunk(s->c, k, s->file, err) : 0;
    if (k)
        vpool_taken(s->c->pool);
    return r < 0 ? r : k != NULL;
}

/* The chunk being filled goes to be judged. */
static int submit(struct sink *s, struct gvm_err *err)
{
    struct check *c = s->c;
    if (!s->fill || !s->fill->lines)
        return 0;
    if (c->pool) {
        vpool_submit(c->pool);
        s->fill = NULL;
        return 0;
    }
    vchunk_judge(s->fill, &c->hasher);
    int r = take_chunk(c, s->fill, s->file, err);
    s->fill->n = s->fill->lines = 0;
    return r;
}

/* Everything that is under way into the tree, or off the ring after a finding or an error. */
static int drain(struct sink *s, struct gvm_err *err)
{
    int r = submit(s, err), got = s->c->pool != NULL;
    while (got) {
        got = take_oldest(s, r < 0 ? NULL : err);
        r = r < 0 ? r : got < 0 ? got : 0;
        s->c->broken |= r < 0; /* the rest is only taken off */
    }
    return r;
}

static int put_line(struct sink *s, struct gvm_str line, struct gvm_err *err)
{
    int r = 0;
    if (s->fill && (s->fill->lines == VCHUNK_LINES || s->fill->n + line.n + 1 > VCHUNK_BYTES))
        r = submit(s, err);
    if (!s->c->pool)
        s->fill = s->own;
    while (r >= 0 && !s->fill && !(s->fill = vpool_empty(s->c->pool)))
        r = take_oldest(s, err);
    if (r < 0)
        return r;
    memcpy(s->fill->bytes + s->fill->n, line.p, line.n + 1); /* its newline too */
    s->fill->n += line.n + 1;
    s->fill->len[s->fill->lines++] = (uint32_t)line.n;
    return 0;
}

/* ---- segments ---- */

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

/* The lines of a segment from entry `from` on; *ret_end is why they end. */
static int read_lines(struct sink *s, struct vlines *l, uint64_t from, bool last, int *ret_end,
                      struct gvm_err *err)
{
    struct gvm_str line;
    uint64_t index = vlines_skip_to(l, from);
    int r, kind = VLINE_END;
    for (r = 0; !r && !s->c->broken; index++) {
        kind = next_line(s->c, l, last, &line);
        if (kind != VLINE_ENTRY)
            break;
        r = index < from ? 0 : put_line(s, line, err);
    }
    *ret_end = kind;
    int d = drain(s, err);
    return r < 0 ? r : d;
}

/* How a segment ended is judged behind its last whole entry. */
static void judge_end(struct check *c, int end, const char *file, bool last, bool packed)
{
    if (end == VLINE_END || (last && end == VLINE_ZEROS) || c->broken)
        return;
    c->broken = true;
    /* Behind everything that was signed it is what a crash leaves of a batch nobody was told of. */
    c->rep->torn_tail =
        last && !packed && end != VLINE_LONG && c->have_head && c->tree.size >= c->rep->head.size;
    if (c->rep->torn_tail)
        return;
    vcheck_blame_entry(c, c->tree.size);
    vcheck_blame(c, file,
                 end == VLINE_DAMAGED ? "after %" PRIu64
                                        " entries comes a block that is not what was packed"
                                      : "after %" PRIu64 " entries come bytes that are no entry",
                 c->tree.size);
}

static int read_segment(struct sink *s, uint64_t first, bool last, struct gvm_err *err)
{
    struct check *c = s->c;
    struct vlines l;
    char file[VPATH];
    int end = VLINE_END, r = vlines_open(&l, c->dirfd, first);
    vfiles_segment_path(file, first, !r && l.pack);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot open %s", file);
    s->file = file;
    c->rep->segments++;
    r = read_lines(s, &l, c->tree.size, last, &end, err);
    if (!r && end < 0)
        r = gvm_err_sys(err, -end, "cannot read %s", file);
    if (!r)
        judge_end(c, end, file, last, l.pack != NULL);
    vlines_done(&l);
    return r;
}

static int read_segments(struct sink *s, struct gvm_err *err)
{
    struct check *c = s->c;
    char file[VPATH];
    int r = 0;
    size_t i = 0;
    while (i + 1 < c->segments && c->segment[i + 1] <= c->tree.size && c->tree.size > c->first)
        i++; /* verified before */
    for (bool begun = false; !r && i < c->segments && !c->broken; i++, begun = true) {
        uint64_t first = c->segment[i];
        if (begun ? first != c->tree.size : first > c->tree.size) {
            vfiles_segment_path(file, first, false);
            c->broken = true;
            vcheck_blame_entry(c, first < c->tree.size ? first : c->tree.size);
            vcheck_blame(c, file,
                         "the segment begins with entry %" PRIu64 ", but %" PRIu64
                         " entries stand before it: entries were removed or added",
                         first, c->tree.size);
            break;
        }
        r = read_segment(s, first, i + 1 == c->segments, err);
    }
    return r;
}

int vcheck_entries(struct check *c, struct gvm_err *err)
{
    struct sink s = {.c = c};
    if (!c->pool) {
        s.own = gvm_calloc(1, sizeof *s.own);
        if (s.own)
            s.own->bytes = malloc(VCHUNK_BYTES);
        if (!s.own || !s.own->bytes) {
            free(s.own);
            return gvm_err_set(err, ENOMEM, "out of memory");
        }
    }
    int r = read_segments(&s, err);
    if (s.own)
        free(s.own->bytes);
    free(s.own);
    return r;
}
