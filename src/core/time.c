#include "core/time.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define NS 1000000000ll

static int64_t clock_ns(clockid_t which)
{
    struct timespec ts;
    (void)clock_gettime(which, &ts); /* cannot fail for these clocks */
    return (int64_t)ts.tv_sec * NS + ts.tv_nsec;
}

int64_t gvm_now_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

int64_t gvm_mono_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* Proleptic Gregorian calendar, counted in 400-year eras that start on 1 March. */
static int64_t days_from_date(int64_t y, unsigned m, unsigned d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400);
    unsigned doy = (153 * (m + (m > 2 ? -3u : 9u)) + 2) / 5 + d - 1;
    unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (int64_t)doe - 719468;
}

static void date_from_days(int64_t days, int *y, unsigned *m, unsigned *d)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned doe = (unsigned)(days - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp < 10 ? mp + 3 : mp - 9;
    *y = (int)((int64_t)yoe + era * 400 + (*m <= 2));
}

static char *put(char *p, unsigned v, unsigned digits)
{
    for (unsigned i = digits; i-- > 0; v /= 10)
        p[i] = (char)('0' + v % 10);
    return p + digits;
}

void gvm_time_text(char dst[GVM_TIME_TEXT], int64_t ns)
{
    int64_t secs = ns / NS, frac = ns % NS;
    if (frac < 0) {
        frac += NS;
        secs--;
    }
    int64_t days = secs / 86400, rest = secs % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    int y;
    unsigned m, d;
    date_from_days(days, &y, &m, &d);
    char *p = put(dst, (unsigned)y, 4);
    *p++ = '-';
    p = put(p, m, 2);
    *p++ = '-';
    p = put(p, d, 2);
    *p++ = 'T';
    p = put(p, (unsigned)(rest / 3600), 2);
    *p++ = ':';
    p = put(p, (unsigned)(rest / 60 % 60), 2);
    *p++ = ':';
    p = put(p, (unsigned)(rest % 60), 2);
    *p++ = '.';
    p = put(p, (unsigned)frac, 9);
    *p++ = 'Z';
    *p = '\0';
}

/* Exactly `digits` digits, then they are taken off the front of `s`. */
static bool number(struct gvm_str *s, unsigned digits, unsigned max, unsigned *ret)
{
    unsigned v = 0;
    if (s->n < digits)
        return false;
    for (unsigned i = 0; i < digits; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return false;
        v = v * 10 + (unsigned)(s->p[i] - '0');
    }
    s->p += digits;
    s->n -= digits;
    *ret = v;
    return v <= max;
}

static bool sign(struct gvm_str *s, const char *any)
{
    if (s->n == 0 || !memchr(any, s->p[0], strlen(any)))
        return false;
    s->p++;
    s->n--;
    return true;
}

static bool fraction(struct gvm_str *s, int64_t *ret_ns)
{
    int64_t unit = NS / 10, ns = 0;
    size_t i = 0;
    while (i < s->n && s->p[i] >= '0' && s->p[i] <= '9') {
        ns += (s->p[i++] - '0') * unit; /* digits past the ninth count nothing */
        unit /= 10;
    }
    s->p += i;
    s->n -= i;
    *ret_ns = ns;
    return i > 0;
}

static bool offset(struct gvm_str *s, int64_t *ret_secs)
{
    *ret_secs = 0;
    if (sign(s, "Zz"))
        return true;
    bool west = s->n && s->p[0] == '-';
    unsigned h, m;
    if (!sign(s, "+-") || !number(s, 2, 23, &h) || !sign(s, ":") || !number(s, 2, 59, &m))
        return false;
    *ret_secs = (int64_t)(h * 3600 + m * 60) * (west ? -1 : 1);
    return true;
}

static unsigned month_days(unsigned y, unsigned m)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return days[m - 1] + (m == 2 && leap);
}

int gvm_time_parse(struct gvm_str s, int64_t *ret_ns)
{
    unsigned y, mo, d, h, mi, sec;
    int64_t frac = 0, off = 0;
    if (!number(&s, 4, 9999, &y) || !sign(&s, "-") || !number(&s, 2, 12, &mo) || !sign(&s, "-") ||
        !number(&s, 2, 31, &d) || !sign(&s, "Tt") || !number(&s, 2, 23, &h) || !sign(&s, ":") ||
        !number(&s, 2, 59, &mi) || !sign(&s, ":") || !number(&s, 2, 60, &sec))
        return -EINVAL;
    if (mo == 0 || d == 0 || d > month_days(y, mo))
        return -EINVAL;
    if (sign(&s, ".") && !fraction(&s, &frac))
        return -EINVAL;
    if (!offset(&s, &off) || s.n)
        return -EINVAL;
    int64_t secs = days_from_date(y, mo, d) * 86400 + (int64_t)(h * 3600 + mi * 60 + sec) - off;
    int64_t ns;
    if (__builtin_mul_overflow(secs, NS, &ns) || __builtin_add_overflow(ns, frac, &ns))
        return -EINVAL;
    *ret_ns = ns;
    return 0;
}
