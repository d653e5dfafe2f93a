/* rules/limit.c - how much of a limit is used: a window that slides, from two counts.
 *
 *   used = now + before * (share of the window before that the sliding window still covers)
 */
#include "rules/rules.h"

/* Brings the counts up to date. */
static void roll(struct gvm_limit_count *c, int64_t window, int64_t now)
{
    if (!c->began_ns || now - c->began_ns >= 2 * window) {
        *c = (struct gvm_limit_count){.began_ns = now};
    } else if (now - c->began_ns >= window) {
        c->before = c->now;
        c->now = 0;
        c->began_ns += window;
    }
}

bool gvm_limit_room(struct gvm_limit_count *c, const struct gvm_limit *l, uint64_t more,
                    int64_t mono_ns)
{
    int64_t window = (int64_t)l->ms * 1000000;
    roll(c, window, mono_ns);
    double left = 1.0 - (double)(mono_ns - c->began_ns) / (double)window;
    double used = (double)c->now + (double)c->before * left;
    return more ? used + (double)more <= (double)l->amount : used < (double)l->amount;
}

void gvm_limit_add(struct gvm_limit_count *c, const struct gvm_limit *l, uint64_t n,
                   int64_t mono_ns)
{
    roll(c, (int64_t)l->ms * 1000000, mono_ns);
    c->now += n;
}
