/* Three-way merge by lines.
 *
 * Both sides are compared with what they began with. Where only one side changed, its lines hold;
 * where both changed the same lines, or lines that touch, they must have become the same. Otherwise
 * the sides contradict each other and a person decides. This is the rule git merges by.
 */
#include "review/review_int.h"

#include <errno.h>
#include <stdlib.h>

struct side {
    struct gvm_diff *diff; /* from the base to this side */
    const struct gvm_hunk *hunks;
    size_t n, at;
};

static void close_side(struct side *s)
{
    gvm_diff_free(s->diff);
}

static int open_side(struct gvm_str base, struct gvm_str text, struct side *ret)
{
    int r = gvm_diff_new(base, text, &ret->diff, NULL);
    if (r == 0)
        ret->hunks = gvm_diff_hunks(ret->diff, &ret->n);
    return r;
}

static size_t next_start(const struct side *s)
{
    return s->at < s->n ? s->hunks[s->at].a : SIZE_MAX;
}

/* Takes the hunks that begin at or before *end and widens the range by them. True when one did. */
static bool take(struct side *s, size_t *end, size_t *count)
{
    bool any = false;
    while (s->at < s->n && s->hunks[s->at].a <= *end) {
        size_t to = s->hunks[s->at].a + s->hunks[s->at].na;
        if (to > *end)
            *end = to;
        s->at++;
        (*count)++;
        any = true;
    }
    return any;
}

/* Lines [from, from + n) that the base's [start, end) became on this side, whose last `count` hunks
 * lie in it. */
static void range_of(const struct side *s, size_t count, size_t start, size_t end, size_t *from,
                     size_t *n)
{
    const struct gvm_hunk *first = &s->hunks[s->at - count], *last = &s->hunks[s->at - 1];
    *from = first->b - (first->a - start);
    *n = last->b + last->nb + (end - (last->a + last->na)) - *from;
}

static void put(struct gvm_buf *out, const struct side *s, bool second, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++)
        gvm_buf_adds(out, gvm_diff_line(s->diff, second, i));
}

static bool same(const struct side *x, size_t fx, size_t nx, const struct side *y, size_t fy,
                 size_t ny)
{
    if (nx != ny)
        return false;
    for (size_t i = 0; i < nx; i++)
        if (!gvm_str_eq(gvm_diff_line(x->diff, true, fx + i), gvm_diff_line(y->diff, true, fy + i)))
            return false;
    return true;
}

/* One stretch of the base that one side or both changed; 1 = they contradict each other. */
static int merge_stretch(struct side *x, struct side *y, size_t *at, struct gvm_buf *out)
{
    size_t a = next_start(x), b = next_start(y), start = a < b ? a : b, end = start;
    size_t cx = 0, cy = 0, fx = 0, nx = 0, fy = 0, ny = 0;
    while (take(x, &end, &cx) || take(y, &end, &cy))
        ;
    put(out, x, false, *at, start - *at);
    *at = end;
    if (cx)
        range_of(x, cx, start, end, &fx, &nx);
    if (cy)
        range_of(y, cy, start, end, &fy, &ny);
    if (cx && cy && !same(x, fx, nx, y, fy, ny))
        return 1;
    if (cx)
        put(out, x, true, fx, nx);
    else
        put(out, y, true, fy, ny);
    return 0;
}

int review_merge(struct gvm_str base, struct gvm_str ours, struct gvm_str theirs,
                 struct gvm_buf *out)
{
    GVM_CLEANUP(close_side) struct side x = {0};
    GVM_CLEANUP(close_side) struct side y = {0};
    int r = open_side(base, ours, &x);
    if (r == 0)
        r = open_side(base, theirs, &y);
    size_t at = 0;
    while (r == 0 && (x.at < x.n || y.at < y.n))
        r = merge_stretch(&x, &y, &at, out);
    if (r)
        return r;
    for (struct gvm_str line; (line = gvm_diff_line(x.diff, false, at)).p; at++)
        gvm_buf_adds(out, line);
    return out->failed ? -ENOBUFS : 0;
}
