/* Unified diff of two texts, after E. Myers, "An O(ND) Difference Algorithm and Its Variations"
 * (1986).
 *
 * Lines become numbers (equal lines, equal numbers), equal lines at both ends are set aside, and
 * the greedy search runs on the rest, keeping the furthest points of every round to walk back
 * along. Memory and time grow with the square of the number of differences, so past MAX_ROUNDS the
 * rest is shown as replaced whole: still a true diff, only not the shortest.
 */
#include "review/review_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LINES  200000u /* lines of one text */
#define MAX_ROUNDS 1500    /* differences searched for: 9 MB of points */
#define CONTEXT    3u      /* unchanged lines around a change */

struct lines {
    struct gvm_str *text;
    unsigned *number;
    bool *changed; /* deleted from the one side, or inserted in the other */
    size_t n;
};

static void lines_done(struct lines *l)
{
    free(l->text);
    free(l->number);
    free(l->changed);
}

/* Each line with its newline; the last may lack one. 1 = too many. */
static int split(struct gvm_str s, struct lines *l)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '\n' || i + 1 == s.n;
    if (n > MAX_LINES)
        return 1;
    l->text = gvm_calloc(n, sizeof(*l->text));
    l->number = gvm_calloc(n, sizeof(*l->number));
    l->changed = gvm_calloc(n + 1, sizeof(*l->changed));
    if (!l->text || !l->number || !l->changed)
        return -ENOMEM;
    for (size_t from = 0; from < s.n;) {
        const char *end = memchr(s.p + from, '\n', s.n - from);
        size_t len = end ? (size_t)(end + 1 - (s.p + from)) : s.n - from;
        l->text[l->n++] = (struct gvm_str){s.p + from, len};
        from += len;
    }
    return 0;
}

static int number_lines(struct gvm_map *seen, struct lines *l)
{
    for (size_t i = 0; i < l->n; i++) {
        void *known = gvm_map_get(seen, l->text[i]);
        if (!known) {
            known = (void *)(uintptr_t)(gvm_map_size(seen) + 1);
            int r = gvm_map_put(seen, l->text[i], known);
            if (r < 0)
                return r;
        }
        l->number[i] = (unsigned)(uintptr_t)known;
    }
    return 0;
}

/* The part of both texts that is searched. */
struct search {
    const unsigned *a, *b;
    int na, nb;
    int **rounds; /* furthest x per diagonal -d..d, stored at [d][k + d] */
    int found;    /* round that reached the end, -1: none */
};

static int furthest(const struct search *s, int d, int k)
{
    return s->rounds[d][k + d];
}

/* Where diagonal k of round d starts: down (an insertion) or right (a deletion) from round d-1. */
static int start_of(const struct search *s, int d, int k)
{
    if (d == 0)
        return 0;
    if (k == -d || (k != d && furthest(s, d - 1, k - 1) < furthest(s, d - 1, k + 1)))
        return furthest(s, d - 1, k + 1);
    return furthest(s, d - 1, k - 1) + 1;
}

static int run_round(struct search *s, int d)
{
    s->rounds[d] = gvm_calloc(2 * (size_t)d + 1, sizeof(int));
    if (!s->rounds[d])
        return -ENOMEM;
    for (int k = -d; k <= d; k += 2) {
        int x = start_of(s, d, k), y = x - k;
        while (x < s->na && y >= 0 && y < s->nb && s->a[x] == s->b[y])
            x++, y++;
        s->rounds[d][k + d] = x;
        if (x == s->na && y == s->nb)
            s->found = d;
    }
    return 0;
}

static int run_search(struct search *s)
{
    int r = 0;
    s->found = -1;
    s->rounds = gvm_calloc(MAX_ROUNDS, sizeof(*s->rounds));
    if (!s->rounds)
        return -ENOMEM;
    for (int d = 0; r == 0 && d < MAX_ROUNDS && s->found < 0; d++)
        r = run_round(s, d);
    return r;
}

/* Walks back from the end and marks what each round deleted or inserted. */
static void mark(const struct search *s, bool *deleted, bool *inserted)
{
    int x = s->na, y = s->nb;
    for (int d = s->found; d > 0; d--) {
        int k = x - y;
        bool down = k == -d || (k != d && furthest(s, d - 1, k - 1) < furthest(s, d - 1, k + 1));
        int before = down ? k + 1 : k - 1;
        x = furthest(s, d - 1, before);
        y = x - before;
        if (down)
            inserted[y] = true;
        else
            deleted[x] = true;
    }
}

static int compare(struct lines *a, struct lines *b)
{
    size_t head = 0, tail = 0;
    while (head < a->n && head < b->n && a->number[head] == b->number[head])
        head++;
    while (tail < a->n - head && tail < b->n - head &&
           a->number[a->n - 1 - tail] == b->number[b->n - 1 - tail])
        tail++;
    struct search s = {.a = a->number + head,
                       .b = b->number + head,
                       .na = (int)(a->n - head - tail),
                       .nb = (int)(b->n - head - tail)};
    int r = run_search(&s);
    if (r == 0 && s.found >= 0) {
        mark(&s, a->changed + head, b->changed + head);
    } else if (r == 0) {
        memset(a->changed + head, true, (size_t)s.na);
        memset(b->changed + head, true, (size_t)s.nb);
    }
    for (int d = 0; s.rounds && d < MAX_ROUNDS; d++)
        free(s.rounds[d]);
    free(s.rounds);
    return r;
}

/* ---- two texts side by side ---- */

struct gvm_diff {
    struct lines a, b;
    struct gvm_hunk *hunks;
    size_t n;
};

static bool differs(const struct lines *l, size_t i)
{
    return i < l->n && l->changed[i];
}

static int find_hunks(struct gvm_diff *d)
{
    size_t most = 0, i = 0, j = 0;
    for (size_t k = 0; k < d->a.n || k < d->b.n; k++)
        most += differs(&d->a, k) + differs(&d->b, k);
    d->hunks = gvm_calloc(most + 1, sizeof(*d->hunks));
    if (!d->hunks)
        return -ENOMEM;
    while (i < d->a.n || j < d->b.n) {
        struct gvm_hunk h = {.a = i, .b = j};
        while (differs(&d->a, i))
            i++;
        while (differs(&d->b, j))
            j++;
        h.na = i - h.a;
        h.nb = j - h.b;
        if (h.na || h.nb)
            d->hunks[d->n++] = h;
        else
            i++, j++;
    }
    return 0;
}

static int fill(struct gvm_diff *d, struct gvm_str before, struct gvm_str after)
{
    int r = split(before, &d->a);
    if (r == 0)
        r = split(after, &d->b);
    if (r)
        return r;
    struct gvm_map *seen = gvm_map_new(2 * MAX_LINES + 1, NULL);
    if (!seen)
        return -ENOMEM;
    r = number_lines(seen, &d->a);
    if (r == 0)
        r = number_lines(seen, &d->b);
    gvm_map_free(seen);
    if (r == 0)
        r = compare(&d->a, &d->b);
    return r < 0 ? r : find_hunks(d);
}

void gvm_diff_free(struct gvm_diff *d)
{
    if (!d)
        return;
    lines_done(&d->a);
    lines_done(&d->b);
    free(d->hunks);
    free(d);
}

int gvm_diff_new(struct gvm_str before, struct gvm_str after, struct gvm_diff **ret,
                 struct gvm_err *err)
{
    struct gvm_diff *d = gvm_calloc(1, sizeof(*d));
    int r = d ? fill(d, before, after) : -ENOMEM;
    if (r == 0)
        *ret = d;
    else
        gvm_diff_free(d);
    return r < 0 ? gvm_err_sys(err, -r, "cannot compare two texts") : r;
}

const struct gvm_hunk *gvm_diff_hunks(const struct gvm_diff *d, size_t *ret_n)
{
    *ret_n = d->n;
    return d->hunks;
}

struct gvm_str gvm_diff_line(const struct gvm_diff *d, bool second, size_t i)
{
    const struct lines *l = second ? &d->b : &d->a;
    return i < l->n ? l->text[i] : (struct gvm_str){NULL, 0};
}

static void add_lines(struct gvm_buf *out, const struct lines *l, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++)
        gvm_buf_adds(out, l->text[i]);
}

int gvm_diff_apply(const struct gvm_diff *d, const bool *take, struct gvm_buf *out)
{
    size_t at = 0;
    for (size_t k = 0; k < d->n; k++) {
        const struct gvm_hunk *h = &d->hunks[k];
        add_lines(out, &d->a, at, h->a - at);
        if (take[k])
            add_lines(out, &d->b, h->b, h->nb);
        else
            add_lines(out, &d->a, h->a, h->na);
        at = h->a + h->na;
    }
    add_lines(out, &d->a, at, d->a.n - at);
    return out->failed ? -ENOBUFS : 0;
}

/* ---- hunks ---- */

static void put_line(struct gvm_buf *out, char sign, struct gvm_str line)
{
    gvm_buf_addc(out, sign);
    gvm_buf_adds(out, line);
    if (line.n == 0 || line.p[line.n - 1] != '\n')
        gvm_buf_addz(out, "\n\\ No newline at end of file\n");
}

/* A range of a hunk header: an empty one names the line before it. */
static void put_range(struct gvm_buf *out, char sign, size_t from, size_t n)
{
    gvm_buf_addf(out, n == 1 ? "%c%zu" : "%c%zu,%zu", sign, n ? from + 1 : from, n);
}

/* Lines [i, i_end) of a and [j, j_end) of b, which begin and end in step. */
static void put_hunk(struct gvm_buf *out, const struct lines *a, const struct lines *b, size_t i,
                     size_t i_end, size_t j, size_t j_end)
{
    gvm_buf_addz(out, "@@ ");
    put_range(out, '-', i, i_end - i);
    gvm_buf_addc(out, ' ');
    put_range(out, '+', j, j_end - j);
    gvm_buf_addz(out, " @@\n");
    while (i < i_end || j < j_end) {
        while (i < i_end && a->changed[i])
            put_line(out, '-', a->text[i++]);
        while (j < j_end && b->changed[j])
            put_line(out, '+', b->text[j++]);
        if (i < i_end && j < j_end) {
            put_line(out, ' ', a->text[i++]);
            j++;
        }
    }
}

/* Goes over both texts in step; a hunk ends when 2 * CONTEXT unchanged lines follow. */
static void put_hunks(struct gvm_buf *out, const struct lines *a, const struct lines *b)
{
    size_t i = 0, j = 0;
    while (i < a->n || j < b->n) {
        if (!differs(a, i) && !differs(b, j)) {
            i++, j++;
            continue;
        }
        size_t before = i < CONTEXT ? i : CONTEXT;
        size_t from_i = i - before, from_j = j - before, same = 0;
        while ((i < a->n || j < b->n) && same <= 2 * CONTEXT) {
            bool change = differs(a, i) || differs(b, j);
            same = change ? 0 : same + 1;
            if (change) {
                i += differs(a, i);
                j += differs(b, j);
            } else {
                i++, j++;
            }
        }
        size_t extra = same > CONTEXT ? same - CONTEXT : 0;
        put_hunk(out, a, b, from_i, i - extra, from_j, j - extra);
    }
}

int review_hunks(struct gvm_str before, struct gvm_str after, struct gvm_buf *out)
{
    struct gvm_diff *d = NULL;
    int r = gvm_diff_new(before, after, &d, NULL);
    if (r)
        return r;
    put_hunks(out, &d->a, &d->b);
    gvm_diff_free(d);
    return out->failed ? -ENOBUFS : 0;
}
