/* sums.c - what `gvm stats` adds up.
 *
 * The index keeps sums for every hour. A question whose time begins or ends within an hour takes
 * those hours from the entries themselves, so that the answer is exact. What the log has beyond the
 * index is read and added here.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "index/index_int.h"

#define OPEN_REQUESTS                                                                              \
    1000000u /* of the part of the log that is read; further ones have no host                     \
              */

struct request {
    struct gvm_str host, decision; /* behind this struct */
};

struct summing {
    struct gvm_index *ix;
    const struct gvm_index_filter *filter;
    void (*each)(void *arg, const struct gvm_index_sum *sum);
    void *arg;
    struct gvm_map *requests; /* id -> struct request */
};

static struct gvm_str named(struct gvm_str kind, struct gvm_str decision)
{
    bool refused = gvm_str_eqz(kind, "http.refused") || gvm_str_eqz(kind, "dns.refused");
    return refused && !decision.n ? GVM_STR("refused") : decision;
}

/* ---- from the index ---- */

static struct gvm_str column_text(sqlite3_stmt *s, int at)
{
    const void *p = sq.column_blob(s, at);
    return (struct gvm_str){p ? p : "", p ? (size_t)sq.column_bytes(s, at) : 0};
}

static void give_row(const struct summing *m, sqlite3_stmt *s)
{
    struct gvm_index_sum sum = {.run = column_text(s, 0),
                                .agent = column_text(s, 1),
                                .kind = column_text(s, 2),
                                .host = column_text(s, 3),
                                .decision = column_text(s, 4)};
    int64_t *const numbers[] = {&sum.n,   &sum.bytes_out, &sum.bytes_in,   &sum.ms,
                                &sum.llm, &sum.tokens_in, &sum.tokens_out, &sum.cost_micro};
    for (int i = 0; i < 8; i++)
        *numbers[i] = sq.column_int64(s, 5 + i);
    sum.decision = named(sum.kind, sum.decision);
    m->each(m->arg, &sum);
}

/* `inner` gives ids and numbers; names are put in their place. */
static int give_all(const struct summing *m, const char *inner, struct gvm_err *err)
{
    sqlite3_stmt *s = NULL;
    sqlite3 *db = m->ix->db;
    char *sql = sq.mprintf("SELECT r.name, a.name, k.name, h.name, d.name, x.n, bo, bi, ms, llm, "
                           "ti, tout, cost FROM (%s) x"
                           " LEFT JOIN names r ON r.id = run LEFT JOIN names a ON a.id = agent "
                           "LEFT JOIN names k ON k.id = kind"
                           " LEFT JOIN names h ON h.id = host LEFT JOIN names d ON d.id = decision",
                           inner);
    int r = sql ? index_prepare(db, sql, &s, err) : gvm_err_set(err, ENOMEM, "out of memory");
    int rc = SQLITE_DONE;
    while (r == 0 && (rc = sq.step(s)) == SQLITE_ROW)
        give_row(m, s);
    if (r == 0 && rc != SQLITE_DONE)
        r = index_sql_failed(db, err);
    (void)sq.finalize(s);
    sq.free(sql);
    return r;
}

/* Whole hours [from, to). */
static int give_hours(const struct summing *m, int64_t from, int64_t to, struct gvm_err *err)
{
    static const char *const columns[INDEX_CLASSES] = {"kind", "run", "agent", "host", "decision"};
    struct index_where w;
    int r = index_where_make(m->ix, m->filter, columns, NULL, false, &w, err);
    if (r < 0)
        return r;
    char *sql =
        w.none ? NULL
               : sq.mprintf(
                     "SELECT run, agent, kind, host, decision, sum(n) AS n, sum(bytes_out) AS bo,"
                     " sum(bytes_in) AS bi, sum(ms) AS ms, sum(llm) AS llm, sum(tokens_in) AS ti,"
                     " sum(tokens_out) AS tout, sum(cost) AS cost FROM sums WHERE %s AND"
                     " hour >= %lld AND hour < %lld GROUP BY run, agent, kind, host, decision",
                     gvm_buf_cstr(&w.sql), (long long)from, (long long)to);
    if (!w.none)
        r = sql ? give_all(m, sql, err) : gvm_err_set(err, ENOMEM, "out of memory");
    sq.free(sql);
    index_where_done(&w);
    return r;
}

/* Entries of a part of an hour, [from, to). */
static int give_moments(const struct summing *m, int64_t from, int64_t to, struct gvm_err *err)
{
    static const char *const columns[INDEX_CLASSES] = {
        "e.kind", "e.run", "e.agent", "ifnull(e.host, o.host)", "ifnull(e.decision, o.decision)"};
    struct index_where w;
    if (from >= to)
        return 0;
    int r = index_where_make(m->ix, m->filter, columns, NULL, false, &w, err);
    if (r < 0)
        return r;
    char *sql =
        w.none ? NULL
               : sq.mprintf(
                     "SELECT e.run AS run, e.agent AS agent, e.kind AS kind, ifnull(e.host, "
                     "o.host) AS host,"
                     " ifnull(e.decision, o.decision) AS decision, count(*) AS n, "
                     "total(o.bytes_out) AS bo,"
                     " total(o.bytes_in) AS bi, total(o.ms) AS ms, total(o.llm) AS llm,"
                     " total(o.tokens_in) AS ti, total(o.tokens_out) AS tout, total(o.cost) AS cost"
                     " FROM entries e LEFT JOIN outcomes o ON o.idx = e.idx WHERE %s AND e.t >= "
                     "%lld AND"
                     " e.t < %lld AND e.idx < %lld GROUP BY 1, 2, 3, 4, 5",
                     gvm_buf_cstr(&w.sql), (long long)from, (long long)to, (long long)m->ix->next);
    if (!w.none)
        r = sql ? give_all(m, sql, err) : gvm_err_set(err, ENOMEM, "out of memory");
    sq.free(sql);
    index_where_done(&w);
    return r;
}

static int give_indexed(const struct summing *m, struct gvm_err *err)
{
    const struct gvm_index_filter *f = m->filter;
    if (!f->since_ns && !f->until_ns)
        return give_hours(m, INT64_MIN, INT64_MAX, err);
    /* Without a time an entry is in the hour INT64_MIN, which no time reaches. */
    int64_t since = f->since_ns, until = f->until_ns ? f->until_ns : INT64_MAX - INDEX_HOUR;
    int64_t first = since / INDEX_HOUR + (since % INDEX_HOUR != 0), end = until / INDEX_HOUR;
    if (first > end) /* within one hour */
        return give_moments(m, since, until, err);
    int r = give_moments(m, since, first * INDEX_HOUR, err);
    if (r == 0)
        r = give_hours(m, first, end, err);
    return r == 0 && f->until_ns ? give_moments(m, end * INDEX_HOUR, until, err) : r;
}

/* ---- from the log ---- */

static int remember(struct summing *m, const struct gvm_index_facts *e)
{
    if (!e->id.n || !e->decision.n)
        return 0;
    struct request *q = malloc(sizeof *q + e->host.n + e->decision.n);
    if (!q)
        return -ENOMEM;
    char *text = (char *)(q + 1);
    memcpy(text, e->host.p, e->host.n);
    memcpy(text + e->host.n, e->decision.p, e->decision.n);
    *q = (struct request){{text, e->host.n}, {text + e->host.n, e->decision.n}};
    int r = gvm_map_put(m->requests, e->id, q);
    if (r < 0)
        free(q);
    return r == -ENOBUFS ? 0 : r;
}

/* The request was decided in the indexed part. */
static void ask_index(const struct summing *m, struct gvm_index_facts *e, sqlite3_stmt **s)
{
    *s = NULL;
    if (!m->ix->db ||
        index_prepare(m->ix->db,
                      "SELECT h.name, d.name FROM entries e LEFT JOIN names h ON h.id = e.host"
                      " JOIN names d ON d.id = e.decision WHERE e.request = ?1"
                      " ORDER BY e.idx DESC LIMIT 1",
                      s, NULL) < 0)
        return;
    (void)sq.bind_int64(*s, 1, index_request(e->id));
    if (sq.step(*s) != SQLITE_ROW)
        return;
    e->host = e->host.n ? e->host : column_text(*s, 0);
    e->decision = e->decision.n ? e->decision : column_text(*s, 1);
}

static bool is_outcome(const struct gvm_index_facts *e)
{
    return gvm_str_eqz(e->kind, "http.outcome") || gvm_str_eqz(e->kind, "tcp.close") || e->llm;
}

static int add_scanned(struct summing *m, struct gvm_index_facts *e)
{
    sqlite3_stmt *s = NULL;
    bool outcome = is_outcome(e);
    int r = remember(m, e);
    if (r == 0 && outcome && e->id.n) {
        const struct request *q = gvm_map_get(m->requests, e->id);
        if (q) {
            e->host = e->host.n ? e->host : q->host;
            e->decision = e->decision.n ? e->decision : q->decision;
        } else {
            ask_index(m, e, &s);
        }
    }
    if (r == 0 && gvm_index_matches(m->filter, e)) {
        struct gvm_index_sum sum = {.run = e->run,
                                    .agent = e->agent,
                                    .kind = e->kind,
                                    .host = e->host,
                                    .decision = named(e->kind, e->decision),
                                    .n = 1};
        if (outcome) {
            sum.bytes_out = e->bytes_out, sum.bytes_in = e->bytes_in, sum.ms = e->ms,
            sum.llm = e->llm;
            sum.tokens_in = e->tokens_in, sum.tokens_out = e->tokens_out,
            sum.cost_micro = e->cost_micro;
        }
        m->each(m->arg, &sum);
    }
    if (s)
        (void)sq.finalize(s);
    return r;
}

static int give_scanned(struct summing *m, struct gvm_err *err)
{
    struct gvm_index *ix = m->ix;
    struct gvm_index_facts e;
    struct gvm_str line;
    uint64_t index;
    m->requests = gvm_map_new(OPEN_REQUESTS, free);
    int r = m->requests ? index_read_from(ix, ix->next, err)
                        : gvm_err_set(err, ENOMEM, "out of memory");
    while (r == 0 && (r = gvm_ledger_reader_next(ix->reader, &index, &line, err)) > 0) {
        gvm_index_facts(line, &ix->scratch, &e);
        r = add_scanned(m, &e);
        if (r < 0)
            gvm_err_set(err, -r, "out of memory");
    }
    gvm_map_free(m->requests);
    return r;
}

int gvm_index_sums(struct gvm_index *ix, const struct gvm_index_filter *f,
                   void (*each)(void *arg, const struct gvm_index_sum *sum), void *arg,
                   struct gvm_err *err)
{
    struct gvm_index_filter plain = *f;
    struct summing m = {.ix = ix, .filter = &plain, .each = each, .arg = arg};
    plain.request = NULL;
    int r = index_ready(ix, err);
    if (r == 0 && ix->db && give_indexed(&m, NULL) < 0) {
        each(arg, NULL);
        index_distrust(ix);
    }
    return r < 0 ? r : give_scanned(&m, err);
}
