/* rules/zone.c - the offset of a time zone at an instant, from its changes and its POSIX rule:
 *
 *   std offset[dst[offset][,start[/time],end[/time]]]     start, end: Mm.w.d, Jn or n
 */
#include "rules/narrow.h"

enum { DAY = 86400 };

struct cursor {
    const char *p, *end;
};

static bool take_char(struct cursor *c, char want)
{
    if (c->p == c->end || *c->p != want)
        return false;
    c->p++;
    return true;
}

/* "CET", "<+0330>" */
static bool take_name(struct cursor *c)
{
    const char *from = c->p;
    if (take_char(c, '<')) {
        while (c->p < c->end && *c->p != '>')
            c->p++;
        return take_char(c, '>');
    }
    while (c->p < c->end && gvm_lower(*c->p) >= 'a' && gvm_lower(*c->p) <= 'z')
        c->p++;
    return c->p > from;
}

static bool take_number(struct cursor *c, int64_t *ret)
{
    const char *from = c->p;
    int64_t n = 0;
    while (c->p < c->end && *c->p >= '0' && *c->p <= '9' && c->p - from < 4)
        n = n * 10 + (*c->p++ - '0');
    *ret = n;
    return c->p > from;
}

/* [+-]hh[:mm[:ss]] in seconds */
static bool take_time(struct cursor *c, int64_t *ret)
{
    bool minus = c->p < c->end && *c->p == '-';
    int64_t part, total = 0, unit = 3600;
    if (!take_char(c, '-'))
        (void)take_char(c, '+');
    do {
        if (!take_number(c, &part))
            return false;
        total += part * unit;
        unit /= 60;
    } while (unit && take_char(c, ':'));
    *ret = minus ? -total : total;
    return true;
}

static bool leap(int64_t y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

/* Days from 1970-01-01 to the first of January of year y. */
static int64_t year_start(int64_t y)
{
    int64_t p = y - 1;
    return 365 * (y - 1970) + (p / 4 - p / 100 + p / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
}

static int64_t year_of(int64_t secs)
{
    int64_t y = 1970 + secs / (366 * (int64_t)DAY);
    while (year_start(y + 1) * DAY <= secs)
        y++;
    while (y > 1 && year_start(y) * DAY > secs)
        y--;
    return y;
}

/* Week `week` (5: the last) of weekday `wday` in a month, as a day of the year from 0. */
static int64_t month_day(int64_t y, int64_t month, int64_t week, int64_t wday)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t day = 0;
    for (int64_t m = 1; m < month; m++)
        day += lengths[m - 1] + (m == 2 && leap(y));
    int64_t length = lengths[month - 1] + (month == 2 && leap(y));
    int64_t first = ((year_start(y) + day) % 7 + 7 + 4) % 7; /* 1970-01-01 was a Thursday */
    int64_t at = (wday - first + 7) % 7 + (week - 1) * 7;
    while (at >= length)
        at -= 7;
    return day + at;
}

/* ",M3.5.0/2": seconds into year y, local. */
static bool take_change(struct cursor *c, int64_t y, int64_t *ret)
{
    int64_t day, month, week, time = 7200;
    if (!take_char(c, ','))
        return false;
    if (take_char(c, 'M')) {
        if (!take_number(c, &month) || !take_char(c, '.') || !take_number(c, &week) ||
            !take_char(c, '.') || !take_number(c, &day) || month < 1 || month > 12 || week < 1 ||
            week > 5 || day > 6)
            return false;
        day = month_day(y, month, week, day);
    } else if (take_char(c, 'J')) { /* 1..365, 29 February is not counted */
        if (!take_number(c, &day) || day < 1)
            return false;
        day += (leap(y) && day >= 60) - 1;
    } else if (!take_number(c, &day)) {
        return false;
    }
    if (take_char(c, '/') && !take_time(c, &time))
        return false;
    *ret = day * DAY + time;
    return true;
}

/* Offset east of UTC by the rule; `dflt` when it cannot be read. */
static int64_t by_rule(struct gvm_str rule, int64_t secs, int64_t dflt)
{
    struct cursor c = {rule.p, rule.p + rule.n};
    int64_t std, dst, start, end;
    if (!take_name(&c) || !take_time(&c, &std))
        return dflt;
    if (c.p == c.end)
        return -std;
    dst = std - 3600;
    if (!take_name(&c) || (c.p < c.end && *c.p != ',' && !take_time(&c, &dst)))
        return dflt;
    int64_t y = year_of(secs - std), base = year_start(y) * DAY;
    if (!take_change(&c, y, &start) || !take_change(&c, y, &end))
        return dflt;
    start += base + std; /* local standard time to UTC */
    end += base + dst;
    bool summer = start < end ? secs >= start && secs < end : secs < end || secs >= start;
    return summer ? -dst : -std;
}

int64_t rules_zone_offset(const struct gvm_conf_zone *z, int64_t secs)
{
    uint32_t low = 0, high = z->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (z->from[mid] <= secs)
            low = mid + 1;
        else
            high = mid;
    }
    int64_t offset = low ? z->offset[low - 1] : z->first;
    return low == z->n && z->rule.n ? by_rule(z->rule, secs, offset) : offset;
}
