#include "core/str.h"

#include <errno.h>

bool gvm_str_eq(struct gvm_str a, struct gvm_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool gvm_str_eqz(struct gvm_str a, const char *z)
{
    return gvm_str_eq(a, gvm_str(z));
}

bool gvm_str_ieq(struct gvm_str a, struct gvm_str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (gvm_lower(a.p[i]) != gvm_lower(b.p[i]))
            return false;
    }
    return true;
}

bool gvm_str_ieqz(struct gvm_str a, const char *z)
{
    return gvm_str_ieq(a, gvm_str(z));
}

bool gvm_str_starts(struct gvm_str s, struct gvm_str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool gvm_str_ends(struct gvm_str s, struct gvm_str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

static bool is_ows(char c)
{
    return c == ' ' || c == '\t';
}

struct gvm_str gvm_str_trim(struct gvm_str s)
{
    while (s.n && is_ows(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && is_ows(s.p[s.n - 1]))
        s.n--;
    return s;
}

ptrdiff_t gvm_str_find(struct gvm_str s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? at - s.p : -1;
}

bool gvm_str_cut(struct gvm_str *s, char sep, struct gvm_str *ret_head)
{
    ptrdiff_t at = gvm_str_find(*s, sep);
    if (at < 0) {
        *ret_head = *s;
        s->p = s->n ? s->p + s->n : s->p;
        s->n = 0;
        return false;
    }
    *ret_head = (struct gvm_str){s->p, (size_t)at};
    s->p += at + 1;
    s->n -= (size_t)at + 1;
    return true;
}

bool gvm_glob(struct gvm_str pattern, struct gvm_str text)
{
    /* Only the last '*' seen needs to be tried again: what came before it matched the shortest
     * possible text already. */
    size_t p = 0, t = 0, star = SIZE_MAX, mark = 0;
    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            mark = t;
        } else if (p < pattern.n && (pattern.p[p] == '?' || pattern.p[p] == text.p[t])) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

int gvm_parse_u64(struct gvm_str s, uint64_t max, uint64_t *ret)
{
    if (s.n == 0 || (s.n > 1 && s.p[0] == '0'))
        return -EINVAL;
    uint64_t v = 0;
    bool over = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -EINVAL;
        over = over || __builtin_mul_overflow(v, 10u, &v) ||
               __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v);
    }
    if (over || v > max)
        return -ERANGE;
    *ret = v;
    return 0;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* Digits, then one of the unit names (the first one is "" with what a bare number means). */
static int parse_unit(struct gvm_str s, const struct unit *units, size_t nunits, uint64_t *ret)
{
    size_t digits = 0;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    uint64_t v;
    int r = gvm_parse_u64((struct gvm_str){s.p, digits}, UINT64_MAX, &v);
    if (r < 0)
        return r;
    struct gvm_str tail = {s.p + digits, s.n - digits};
    for (size_t i = 0; i < nunits; i++) {
        if (!gvm_str_ieqz(tail, units[i].name))
            continue;
        if (__builtin_mul_overflow(v, units[i].factor, &v))
            return -ERANGE;
        *ret = v;
        return 0;
    }
    return -EINVAL;
}

int gvm_parse_duration_ms(struct gvm_str s, uint64_t *ret_ms)
{
    static const struct unit units[] = {
        {"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
    };
    return parse_unit(s, units, sizeof units / sizeof *units, ret_ms);
}

int gvm_parse_size(struct gvm_str s, uint64_t *ret_bytes)
{
    static const struct unit units[] = {
        {"", 1},
        {"b", 1},
        {"k", 1u << 10},
        {"kb", 1u << 10},
        {"kib", 1u << 10},
        {"m", 1u << 20},
        {"mb", 1u << 20},
        {"mib", 1u << 20},
        {"g", 1u << 30},
        {"gb", 1u << 30},
        {"gib", 1u << 30},
        {"t", 1ull << 40},
        {"tb", 1ull << 40},
        {"tib", 1ull << 40},
    };
    return parse_unit(s, units, sizeof units / sizeof *units, ret_bytes);
}

int gvm_str_copy(char *dst, size_t cap, struct gvm_str s)
{
    if (s.n >= cap)
        return -ENAMETOOLONG;
    if (s.n)
        memcpy(dst, s.p, s.n);
    dst[s.n] = '\0';
    return 0;
}

/* Length of the well-formed sequence at p (RFC 3629 table 3-7), 0 when there is none. */
static size_t utf8_seq(const uint8_t *p, size_t n)
{
    uint8_t lo = 0x80, hi = 0xbf;
    size_t len;
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        len = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        len = 3;
        lo = p[0] == 0xe0 ? 0xa0 : lo;
        hi = p[0] == 0xed ? 0x9f : hi;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        len = 4;
        lo = p[0] == 0xf0 ? 0x90 : lo;
        hi = p[0] == 0xf4 ? 0x8f : hi;
    } else {
        return 0;
    }
    if (n < len || p[1] < lo || p[1] > hi)
        return 0;
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return len;
}

size_t gvm_utf8_next(struct gvm_str s)
{
    return s.n ? utf8_seq((const uint8_t *)s.p, s.n) : 0;
}

bool gvm_utf8_valid(struct gvm_str s)
{
    while (s.n) {
        size_t k = gvm_utf8_next(s);
        if (k == 0)
            return false;
        s.p += k;
        s.n -= k;
    }
    return true;
}
