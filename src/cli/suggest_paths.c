/* Paths of one method on one host to the patterns that take them all.
 *
 * 1. A segment that looks like an id becomes "{id}".
 * 2. Where paths of one length are equal but for one segment, and that one has three values or
 * more, it becomes "{id}" too; repeated until nothing changes.
 * 3. More than SUG_MAX_PATTERNS are taken together: "/a/b/" and deeper, then "/a/" and deeper, then
 * all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cli/suggest.h"

enum { VARIES_FROM = 3, DEEP = 8 };

struct shape {
    struct gvm_str *segs; /* p == NULL: "{id}" */
    unsigned n;
    bool rest; /* and everything below */
    uint64_t seen;
};

/* ---- what looks like an id ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (gvm_lower(c) >= 'a' && gvm_lower(c) <= 'f');
}

static bool is_alpha(char c)
{
    return gvm_lower(c) >= 'a' && gvm_lower(c) <= 'z';
}

struct tally {
    size_t digits, hex, lower, upper, other;
};

static struct tally count(struct gvm_str s)
{
    struct tally t = {0};
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        t.digits += is_digit(c);
        t.hex += is_hex(c);
        t.lower += c >= 'a' && c <= 'z';
        t.upper += c >= 'A' && c <= 'Z';
        t.other += !is_digit(c) && !is_alpha(c);
    }
    return t;
}

/* '9' stands for a digit, 'x' for a hex digit, anything else for itself. */
static bool has_form(struct gvm_str s, const char *form, bool may_go_on)
{
    size_t n = strlen(form);
    if (may_go_on ? s.n < n : s.n != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool ok = form[i] == '9'   ? is_digit(s.p[i])
                  : form[i] == 'x' ? is_hex(s.p[i])
                                   : s.p[i] == form[i];
        if (!ok)
            return false;
    }
    return true;
}

/* "cus_NffrFeUfNV2Hib", "user-1234abcd": a short word, a separator, a token with a digit in it. */
static bool is_prefixed_token(struct gvm_str s)
{
    size_t i = 0;
    while (i < s.n && is_alpha(s.p[i]))
        i++;
    if (i == 0 || i > 8 || i >= s.n || (s.p[i] != '_' && s.p[i] != '-'))
        return false;
    struct tally t = count((struct gvm_str){s.p + i + 1, s.n - i - 1});
    return s.n - i - 1 >= 8 && t.other == 0 && t.digits > 0 && t.digits < s.n - i;
}

static bool is_token(struct gvm_str s, const struct tally *t)
{
    size_t i = 0;
    while (i < s.n && (is_alpha(s.p[i]) || is_digit(s.p[i]) || strchr("-_=+.~%", s.p[i])))
        i++;
    if (i < s.n || s.n < 20 || t->digits == 0)
        return false;
    bool mixed = t->upper >= 2 && t->lower >= 2;
    bool dense = t->other == 0 && t->digits >= 4;
    return mixed || dense;
}

bool sug_is_id(struct gvm_str s)
{
    struct tally t = count(s);
    if (s.n == 0)
        return false;
    if (t.digits == s.n)
        return true;
    if (has_form(s, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", false))
        return true;
    if (s.n >= 8 && t.hex == s.n && t.digits > 0)
        return true;
    if (has_form(s, "9999-99-99", false) || has_form(s, "9999-99-99T", true))
        return true;
    /* "@" marks an address, "*" cannot be written literally in a pattern */
    if (memchr(s.p, '*', s.n) || (memchr(s.p, '@', s.n) && s.p[0] != '@'))
        return true;
    return is_prefixed_token(s) || is_token(s, &t);
}

/* ---- shapes ---- */

static int make_shape(struct gvm_arena *a, const struct sug_sample *x, struct shape *ret)
{
    struct gvm_str rest = {x->path.p + 1, x->path.n - 1}, seg;
    unsigned n = 1;
    for (size_t i = 1; i < x->path.n; i++)
        n += x->path.p[i] == '/';
    bool deep = n > SUG_MAX_SEGMENTS;
    if (deep)
        n = DEEP;
    struct gvm_str *segs = gvm_arena_alloc(a, n * sizeof(*segs));
    if (!segs)
        return -ENOMEM;
    for (unsigned i = 0; i < n; i++) {
        (void)gvm_str_cut(&rest, '/', &seg);
        segs[i] = sug_is_id(seg) ? (struct gvm_str){NULL, 0} : seg;
    }
    *ret = (struct shape){segs, n, deep, x->seen};
    return 0;
}

static int compare_segment(struct gvm_str a, struct gvm_str b)
{
    if (!a.p || !b.p)
        return !a.p - !b.p;
    size_t n = a.n < b.n ? a.n : b.n;
    int r = n ? memcmp(a.p, b.p, n) : 0;
    return r ? r : (a.n > b.n) - (a.n < b.n);
}

/* Equal means: the same but for segment `skip` (UINT_MAX: the same). */
static int compare_but(const struct shape *a, const struct shape *b, unsigned skip)
{
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    if (a->rest != b->rest)
        return a->rest - b->rest;
    for (unsigned i = 0; i < a->n; i++) {
        int r = i == skip ? 0 : compare_segment(a->segs[i], b->segs[i]);
        if (r)
            return r;
    }
    return 0;
}

static int compare(const void *a, const void *b, void *skip)
{
    int r = compare_but(a, b, *(unsigned *)skip);
    if (r || *(unsigned *)skip == UINT32_MAX)
        return r;
    const struct shape *x = a, *y = b;
    return *(unsigned *)skip < x->n
               ? compare_segment(x->segs[*(unsigned *)skip], y->segs[*(unsigned *)skip])
               : 0;
}

/* Sorts and drops doubles, adding up how often they were seen. Returns how many are left. */
static size_t unique(struct shape *v, size_t n)
{
    unsigned all = UINT32_MAX;
    size_t out = 0;
    qsort_r(v, n, sizeof(*v), compare, &all);
    for (size_t i = 0; i < n; i++) {
        if (out && compare_but(&v[out - 1], &v[i], all) == 0)
            v[out - 1].seen += v[i].seen;
        else
            v[out++] = v[i];
    }
    return out;
}

/* v[0..n) differ in segment `at` only, and are sorted by it. True when it became "{id}". */
static bool merge_run(struct shape *v, size_t n, unsigned at)
{
    size_t values = 0, first = 0;
    while (first < n && v[first].segs[at].p && v[first].segs[at].n == 0)
        first++; /* an empty segment is not one that "{id}" matches */
    for (size_t i = first; i < n; i++)
        values += i == first || compare_segment(v[i - 1].segs[at], v[i].segs[at]) != 0;
    bool has_id = n > first && !v[n - 1].segs[at].p;
    if (values < 2 || (values < VARIES_FROM && !has_id))
        return false;
    for (size_t i = first; i < n; i++)
        v[i].segs[at] = (struct gvm_str){NULL, 0};
    return true;
}

static bool merge_at(struct shape *v, size_t n, unsigned at)
{
    bool changed = false;
    qsort_r(v, n, sizeof(*v), compare, &at);
    for (size_t i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && compare_but(&v[i], &v[j], at) == 0;)
            j++;
        if (at < v[i].n)
            changed = merge_run(v + i, j - i, at) || changed;
    }
    return changed;
}

static size_t merge_all(struct shape *v, size_t n)
{
    bool changed = true;
    while (changed && n > 1) {
        changed = false;
        for (unsigned at = 0; at < SUG_MAX_SEGMENTS; at++) {
            unsigned longest = 0;
            for (size_t i = 0; i < n; i++)
                longest = v[i].n > longest ? v[i].n : longest;
            if (at >= longest)
                break;
            if (merge_at(v, n, at)) {
                changed = true;
                n = unique(v, n);
            }
        }
    }
    return n;
}

static size_t take_together(struct shape *v, size_t n)
{
    for (unsigned depth = 2; n > SUG_MAX_PATTERNS; depth--) {
        for (size_t i = 0; i < n; i++) {
            if (v[i].n <= depth)
                continue;
            v[i].n = depth;
            v[i].rest = true;
        }
        n = unique(v, n);
        if (depth == 0)
            break;
    }
    return n;
}

static int write_shape(struct gvm_arena *a, const struct shape *s, struct sug_pattern *ret)
{
    struct gvm_buf b;
    gvm_buf_init(&b, 4 * GVM_MAX_TARGET);
    for (unsigned i = 0; i < s->n; i++) {
        (void)gvm_buf_addc(&b, '/');
        (void)gvm_buf_adds(&b, s->segs[i].p ? s->segs[i] : GVM_STR("{id}"));
    }
    if (s->rest && s->n)
        (void)gvm_buf_addz(&b, "/**");
    char *p =
        b.failed ? NULL : gvm_arena_dup(a, b.len ? (const char *)gvm_buf_data(&b) : "", b.len);
    *ret = (struct sug_pattern){{p, b.len}, s->seen};
    gvm_buf_done(&b);
    return p ? 0 : -ENOMEM;
}

int sug_generalise(struct gvm_arena *a, const struct sug_sample *const *samples, size_t n,
                   struct sug_pattern **ret, size_t *ret_n, struct gvm_err *err)
{
    struct shape *v = gvm_arena_alloc(a, (n ? n : 1) * sizeof(*v));
    int r = v ? 0 : -ENOMEM;
    for (size_t i = 0; i < n && r == 0; i++)
        r = make_shape(a, samples[i], &v[i]);
    if (r < 0)
        return gvm_err_set(err, ENOMEM, "no memory for the patterns");
    n = take_together(v, merge_all(v, unique(v, n)));
    struct sug_pattern *out = gvm_arena_alloc(a, (n ? n : 1) * sizeof(*out));
    for (size_t i = 0; i < n && out && r == 0; i++)
        r = write_shape(a, &v[i], &out[i]);
    if (!out || r < 0)
        return gvm_err_set(err, ENOMEM, "no memory for the patterns");
    *ret = out;
    *ret_n = n;
    return 0;
}
