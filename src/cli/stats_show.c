/* How `gvm stats` shows its sums: tables for people, one object for programs. */
#include <inttypes.h>
#include <stdlib.h>
#include "cli/stats.h"

#define SHOWN 15 /* rows of a table; --json has all of them */

static const struct {
    enum stats_group group;
    const char *title, *json;
} groups[] = {{STATS_AGENT, "agent", "agents"},
              {STATS_HOST, "host", "hosts"},
              {STATS_DECISION, "decision", "decisions"},
              {STATS_RUN, "run", "runs"},
              {STATS_KIND, "kind", "kinds"}};

/* Most requests first, then most entries, then by name. */
static int by_size(const void *a, const void *b)
{
    const struct stats_row *x = *(struct stats_row *const *)a, *y = *(struct stats_row *const *)b;
    if (x->requests != y->requests)
        return x->requests < y->requests ? 1 : -1;
    if (x->entries != y->entries)
        return x->entries < y->entries ? 1 : -1;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int c = memcmp(x->name.p, y->name.p, n);
    return c ? c : (x->name.n > y->name.n) - (x->name.n < y->name.n);
}

/* malloc'ed; NULL when empty or out of memory. */
static struct stats_row **sorted(const struct stats *s, enum stats_group g, size_t *ret_n)
{
    size_t n = gvm_map_size(s->groups[g]), pos = 0, i = 0;
    struct stats_row **list = n ? gvm_calloc(n, sizeof *list) : NULL;
    struct gvm_str key;
    void *v;
    while (list && i < n && gvm_map_next(s->groups[g], &pos, &key, &v))
        list[i++] = v;
    if (i)
        qsort(list, i, sizeof *list, by_size);
    *ret_n = i;
    return list;
}

/* ---- tables ---- */

static const char *bytes_text(int64_t n, char dst[32])
{
    static const char units[] = "kMGTP";
    if (n < 1000) {
        (void)snprintf(dst, 32, "%" PRId64 " B", n);
        return dst;
    }
    double v = (double)n / 1000;
    size_t u = 0;
    while (v >= 999.5 && u + 2 < sizeof units)
        v /= 1000, u++;
    (void)snprintf(dst, 32, "%.*f %cB", v < 9.95 ? 1 : 0, v, units[u]);
    return dst;
}

static void print_name(struct gvm_str name)
{
    cli_print_safe(stdout, name);
    for (size_t n = name.n; n < 28; n++)
        putchar(' ');
}

static void print_row(const struct stats *s, const struct stats_row *r)
{
    char out[32], in[32], ms[24] = "-";
    if (r->answers)
        (void)snprintf(ms, sizeof ms, "%" PRId64, r->ms / r->answers);
    printf(" %8" PRId64 " %7" PRId64 " %7" PRId64 " %7" PRId64 " %9s %9s %7s", r->requests,
           r->denied + r->refused, r->asked, r->delayed, bytes_text(r->bytes_out, out),
           bytes_text(r->bytes_in, in), ms);
    if (s->total.llm)
        printf(" %11" PRId64 " %11" PRId64 " %10.4f", r->tokens_in, r->tokens_out,
               (double)r->cost_micro / 1e6);
    putchar('\n');
}

static void print_head(const struct stats *s, const char *title)
{
    printf("\n%-28s %8s %7s %7s %7s %9s %9s %7s", title, "requests", "denied", "asked", "delayed",
           "out", "in", "ms");
    if (s->total.llm)
        printf(" %11s %11s %10s", "tokens in", "tokens out", "cost");
    putchar('\n');
}

/* Entries that are about no request say nothing in these tables. */
static bool shown(const struct stats_row *r)
{
    return r->requests || r->refused || r->answers || r->llm;
}

static void print_group(const struct stats *s, enum stats_group g, const char *title)
{
    size_t n = 0, printed = 0, more = 0;
    struct stats_row **list = sorted(s, g, &n);
    for (size_t i = 0; i < n; i++) {
        if (!shown(list[i]))
            continue;
        if (printed == SHOWN) {
            more++;
            continue;
        }
        if (printed++ == 0)
            print_head(s, title);
        print_name(list[i]->name);
        print_row(s, list[i]);
    }
    if (more)
        printf("and %zu more (see --json)\n", more);
    free(list);
}

void stats_print(const struct stats *s)
{
    const struct stats_row *t = &s->total;
    printf("%" PRId64 " entries, %" PRId64 " requests: %" PRId64 " allowed, %" PRId64
           " delayed, %" PRId64 " asked about, %" PRId64 " denied, %" PRId64 " refused\n",
           t->entries, t->requests, t->allowed, t->delayed, t->asked, t->denied, t->refused);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (groups[i].group != STATS_KIND)
            print_group(s, groups[i].group, groups[i].title);
}

/* ---- JSON ---- */

static void put_numbers(struct gvm_jw *w, const struct stats *s, const struct stats_row *r)
{
    gvm_jw_kint(w, "entries", r->entries);
    gvm_jw_kint(w, "requests", r->requests);
    gvm_jw_kint(w, "allowed", r->allowed);
    gvm_jw_kint(w, "delayed", r->delayed);
    gvm_jw_kint(w, "asked", r->asked);
    gvm_jw_kint(w, "denied", r->denied);
    gvm_jw_kint(w, "refused", r->refused);
    gvm_jw_kint(w, "bytes_out", r->bytes_out);
    gvm_jw_kint(w, "bytes_in", r->bytes_in);
    gvm_jw_kint(w, "ms", r->ms);
    if (!s->total.llm)
        return;
    char cost[32];
    (void)snprintf(cost, sizeof cost, "%" PRId64 ".%06" PRId64, r->cost_micro / 1000000,
                   r->cost_micro % 1000000);
    gvm_jw_kint(w, "tokens_in", r->tokens_in);
    gvm_jw_kint(w, "tokens_out", r->tokens_out);
    gvm_jw_key(w, "cost");
    gvm_jw_raw(w, gvm_str(cost));
}

static void flush(struct gvm_buf *out)
{
    fwrite(gvm_buf_data(out), 1, out->len, stdout);
    gvm_buf_reset(out);
}

static void put_group(struct gvm_jw *w, const struct stats *s, enum stats_group g, const char *key)
{
    size_t n = 0;
    struct stats_row **list = sorted(s, g, &n);
    gvm_jw_key(w, key);
    gvm_jw_array(w);
    for (size_t i = 0; i < n; i++) {
        if (!list[i]->entries)
            continue;
        gvm_jw_object(w);
        gvm_jw_kstr(w, "name", list[i]->name);
        put_numbers(w, s, list[i]);
        gvm_jw_object_end(w);
        flush(w->out); /* there may be very many */
    }
    gvm_jw_array_end(w);
    free(list);
}

void stats_print_json(const struct stats *s)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 1u << 20);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    put_numbers(&w, s, &s->total);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        put_group(&w, s, groups[i].group, groups[i].json);
    gvm_jw_object_end(&w);
    gvm_buf_addc(&out, '\n');
    flush(&out);
}
