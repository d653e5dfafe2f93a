#include "body/decimal.h"

#include <errno.h>

enum { DIGITS = 17, REACH = 300 };

/* 0.d1 d2 d3... x 10^exp; no leading or trailing zero among the digits; n == 0 is zero. */
struct decimal {
    bool minus;
    uint8_t digit[DIGITS];
    unsigned n;
    int64_t exp;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t run_of_digits(struct gvm_str s, size_t at)
{
    size_t n = 0;
    while (at + n < s.n && is_digit(s.p[at + n]))
        n++;
    return n;
}

bool gvm_decimal_valid(struct gvm_str s)
{
    size_t i = s.n && s.p[0] == '-', n = run_of_digits(s, i);
    if (n == 0 || (n > 1 && s.p[i] == '0'))
        return false;
    i += n;
    if (i < s.n && s.p[i] == '.') {
        n = run_of_digits(s, i + 1);
        if (n == 0)
            return false;
        i += 1 + n;
    }
    if (i < s.n && gvm_lower(s.p[i]) == 'e') {
        i++;
        i += i < s.n && (s.p[i] == '+' || s.p[i] == '-');
        n = run_of_digits(s, i);
        if (n == 0)
            return false;
        i += n;
    }
    return i == s.n;
}

/* The exponent behind 'e'; far ones stop at a value that is out of reach anyway. */
static int64_t read_exponent(struct gvm_str s)
{
    bool minus = s.n && s.p[0] == '-';
    int64_t v = 0;
    for (size_t i = s.n && !is_digit(s.p[0]); i < s.n; i++)
        if (v < 1000000)
            v = v * 10 + (s.p[i] - '0');
    return minus ? -v : v;
}

/* Significant digits go to d; `pending` zeros count only when another digit follows them. */
static int read(struct gvm_str s, struct decimal *d)
{
    *d = (struct decimal){.minus = s.n && s.p[0] == '-'};
    bool point = false;
    int64_t pending = 0;
    size_t i = d->minus;
    if (!gvm_decimal_valid(s))
        return -EINVAL;
    for (; i < s.n && gvm_lower(s.p[i]) != 'e'; i++) {
        if (s.p[i] == '.') {
            point = true;
            continue;
        }
        if (s.p[i] == '0') {
            d->exp += d->n ? !point : -(int64_t)point;
            pending += d->n != 0;
            continue;
        }
        if (pending + 1 > DIGITS - (int64_t)d->n)
            return -ERANGE;
        d->n += (unsigned)pending;
        pending = 0;
        d->digit[d->n++] = (uint8_t)(s.p[i] - '0');
        d->exp += !point;
    }
    if (i < s.n)
        d->exp += read_exponent((struct gvm_str){s.p + i + 1, s.n - i - 1});
    if (d->n == 0)
        *d = (struct decimal){0}; /* also -0 */
    return d->n && (d->exp > REACH || d->exp < -REACH) ? -ERANGE : 0;
}

static int magnitude(const struct decimal *a, const struct decimal *b)
{
    if (a->n == 0 || b->n == 0)
        return (a->n != 0) - (b->n != 0);
    if (a->exp != b->exp)
        return a->exp < b->exp ? -1 : 1;
    for (unsigned i = 0; i < DIGITS; i++)
        if (a->digit[i] != b->digit[i])
            return a->digit[i] < b->digit[i] ? -1 : 1;
    return 0;
}

int gvm_decimal_compare(struct gvm_str a, struct gvm_str b, int *ret)
{
    struct decimal x, y;
    int r = read(a, &x);
    if (r == 0)
        r = read(b, &y);
    if (r < 0)
        return r;
    if (x.minus != y.minus)
        *ret = x.minus ? -1 : 1;
    else
        *ret = x.minus ? magnitude(&y, &x) : magnitude(&x, &y);
    return 0;
}
