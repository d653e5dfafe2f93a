/* where.c - a filter as conditions over the numbers that stand for its names.
 *
 * SQLite knows nothing of how often a host or a kind occurs; we do. The condition that leaves the
 * fewest rows leads, by INDEXED BY; the others get a '+' before the column, so that they are only
 * tested. A condition that leaves half of everything leads nowhere: then the table itself is
 * walked.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include "index/index_int.h"

#define LISTED  16u /* ids written into the statement; more go to a table of their own */
#define SQL_MAX 8192u

struct wanted {
    unsigned n; /* ids */
    int64_t ids[LISTED];
    int64_t uses; /* entries that have one of them, about */
    bool any;     /* no condition */
};

static bool name_wanted(const struct gvm_index_filter *f, enum index_class c, struct gvm_str name)
{
    switch (c) {
    case INDEX_KIND:
        return gvm_glob(gvm_str(f->kind), name);
    case INDEX_RUN:
        return gvm_str_starts(name, gvm_str(f->run));
    case INDEX_AGENT:
        return gvm_glob(gvm_str(f->agent), name);
    case INDEX_HOST:
        return gvm_glob(gvm_str(f->host), name);
    case INDEX_DECISION:
        return gvm_str_ieqz(name, f->decision);
    default:
        return false;
    }
}

static const char *pattern_of(const struct gvm_index_filter *f, enum index_class c)
{
    const char *const patterns[INDEX_CLASSES] = {f->kind, f->run, f->agent, f->host, f->decision};
    return patterns[c];
}

static int keep_id(sqlite3 *db, sqlite3_stmt *put, enum index_class c, int64_t id,
                   struct gvm_err *err)
{
    (void)sq.bind_int(put, 1, (int)c);
    (void)sq.bind_int64(put, 2, id);
    int rc = sq.step(put);
    (void)sq.reset(put);
    return rc == SQLITE_DONE ? 0 : index_sql_failed(db, err);
}

/* The ids of all names that fit, in w->ids and, all of them, in temp.wanted. */
static int find_ids(struct gvm_index *ix, const struct gvm_index_filter *f, enum index_class c,
                    struct wanted *w, struct gvm_err *err)
{
    sqlite3_stmt *s = NULL, *put = NULL;
    const char *pattern = pattern_of(f, c);
    *w = (struct wanted){.any = !pattern || (c != INDEX_RUN && strcmp(pattern, "*") == 0)};
    if (w->any)
        return 0;
    int r = index_prepare(ix->db, "SELECT id, name, n FROM names WHERE class = ?1", &s, err);
    if (r == 0)
        r = index_prepare(ix->db, "INSERT INTO temp.wanted VALUES(?1, ?2)", &put, err);
    int rc = SQLITE_DONE;
    if (r == 0)
        (void)sq.bind_int(s, 1, (int)c);
    while (r == 0 && (rc = sq.step(s)) == SQLITE_ROW) {
        struct gvm_str name = {sq.column_blob(s, 1), (size_t)sq.column_bytes(s, 1)};
        int64_t id = sq.column_int64(s, 0);
        if (!name.p || !name_wanted(f, c, name))
            continue;
        if (w->n < LISTED)
            w->ids[w->n] = id;
        w->n++;
        w->uses += sq.column_int64(s, 2);
        r = keep_id(ix->db, put, c, id, err);
    }
    if (r == 0 && rc != SQLITE_DONE)
        r = index_sql_failed(ix->db, err);
    (void)sq.finalize(s);
    (void)sq.finalize(put);
    return r;
}

static void put_ids(struct gvm_buf *sql, enum index_class c, const struct wanted *w)
{
    if (w->n > LISTED) {
        gvm_buf_addf(sql, " IN (SELECT id FROM temp.wanted WHERE class = %d)", (int)c);
        return;
    }
    gvm_buf_addz(sql, w->n == 1 ? " = " : " IN (");
    for (unsigned i = 0; i < w->n; i++)
        gvm_buf_addf(sql, "%s%" PRId64, i ? ", " : "", w->ids[i]);
    if (w->n != 1)
        gvm_buf_addc(sql, ')');
}

/* Entries in the time wanted, about: by whole hours. */
static int count_time(struct gvm_index *ix, const struct gvm_index_filter *f, int64_t *ret,
                      struct gvm_err *err)
{
    sqlite3_stmt *s = NULL;
    int r =
        index_prepare(ix->db, "SELECT total(n) FROM sums WHERE hour >= ?1 AND hour <= ?2", &s, err);
    if (r < 0)
        return r;
    (void)sq.bind_int64(s, 1, f->since_ns ? f->since_ns / INDEX_HOUR : INT64_MIN);
    (void)sq.bind_int64(s, 2, f->until_ns ? f->until_ns / INDEX_HOUR : INT64_MAX);
    if (sq.step(s) == SQLITE_ROW)
        *ret = sq.column_int64(s, 0);
    else
        r = index_sql_failed(ix->db, err);
    (void)sq.finalize(s);
    return r;
}

enum { LEAD_TIME = INDEX_CLASSES, LEAD_REQUEST, LEAD_NONE };

static const char *const leads[] = {
    "INDEXED BY by_kind",     "INDEXED BY by_run", "INDEXED BY by_agent",   "INDEXED BY by_host",
    "INDEXED BY by_decision", "INDEXED BY by_t",   "INDEXED BY by_request", "NOT INDEXED"};
static_assert(sizeof leads / sizeof *leads == LEAD_NONE + 1, "one for each");

static int choose_lead(struct gvm_index *ix, const struct gvm_index_filter *f,
                       const struct wanted *w, int *ret, struct gvm_err *err)
{
    int64_t best = (int64_t)(ix->next - ix->first) / 2, n = 0;
    *ret = LEAD_NONE;
    if (f->request) {
        *ret = LEAD_REQUEST;
        return 0;
    }
    for (int c = 0; c < INDEX_CLASSES; c++) {
        if (!w[c].any && w[c].uses < best) {
            best = w[c].uses;
            *ret = c;
        }
    }
    int r = f->since_ns || f->until_ns ? count_time(ix, f, &n, err) : 0;
    if (r == 0 && (f->since_ns || f->until_ns) && n < best)
        *ret = LEAD_TIME;
    return r;
}

static void put_time(const struct gvm_index_filter *f, const char *t, const char *plus,
                     struct gvm_buf *sql)
{
    if (f->since_ns)
        gvm_buf_addf(sql, " AND %s%s >= %" PRId64, plus, t, f->since_ns);
    if (f->until_ns)
        gvm_buf_addf(sql, " AND %s%s < %" PRId64, plus, t, f->until_ns);
}

static int make(struct gvm_index *ix, const struct gvm_index_filter *f, const char *const columns[],
                const char *t, bool drive, struct index_where *ret, struct gvm_err *err)
{
    struct wanted w[INDEX_CLASSES];
    int lead = LEAD_NONE;
    int r = index_exec(ix->db,
                       "CREATE TEMP TABLE IF NOT EXISTS wanted(class INTEGER, id INTEGER,"
                       " PRIMARY KEY(class, id)) WITHOUT ROWID; DELETE FROM temp.wanted",
                       err);
    for (int c = 0; r == 0 && c < INDEX_CLASSES; c++) {
        r = find_ids(ix, f, (enum index_class)c, &w[c], err);
        ret->none |= r == 0 && !w[c].any && !w[c].n;
    }
    if (r == 0 && drive && !ret->none)
        r = choose_lead(ix, f, w, &lead, err);
    ret->lead = leads[lead];
    gvm_buf_addz(&ret->sql, "1");
    for (int c = 0; r == 0 && c < INDEX_CLASSES; c++) {
        if (w[c].any || !w[c].n)
            continue;
        gvm_buf_addf(&ret->sql, " AND %s%s", drive && lead != c ? "+" : "", columns[c]);
        put_ids(&ret->sql, (enum index_class)c, &w[c]);
    }
    if (r == 0 && t)
        put_time(f, t, drive && lead != LEAD_TIME ? "+" : "", &ret->sql);
    if (r == 0 && drive && f->request)
        gvm_buf_addf(&ret->sql, " AND request = %" PRId64, index_request(gvm_str(f->request)));
    if (r == 0 && ret->sql.failed)
        r = gvm_err_set(err, ENOMEM, "out of memory");
    return r;
}

int index_where_make(struct gvm_index *ix, const struct gvm_index_filter *f,
                     const char *const columns[INDEX_CLASSES], const char *t, bool drive,
                     struct index_where *ret, struct gvm_err *err)
{
    *ret = (struct index_where){.none = false};
    gvm_buf_init(&ret->sql, SQL_MAX);
    int r = make(ix, f, columns, t, drive, ret, err);
    if (r < 0)
        index_where_done(ret);
    return r;
}

void index_where_done(struct index_where *w)
{
    gvm_buf_done(&w->sql);
}
