/* fill.c - brings the index up to the signed head of the log.
 *
 * Only signed entries are taken in: they are durable and final. What the log has beyond its head
 * may still be cut off by a crash, and is read from the log by every search.
 *
 * Whether the index is of this log is asked of the last entry it holds: that one's bytes are kept,
 * and must stand at their place. Entries that were pruned from the log are dropped here too, so
 * that a question has the same answer before and after the index was made anew.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "index/index_int.h"

#define REQUESTS 65536u /* open requests whose host is remembered; the others are looked up */
#define PROGRESS 20000u /* entries between two words about it */

struct request {
    int64_t id, host, decision;
};

struct fill {
    struct gvm_index *ix;
    struct index_names *names;
    sqlite3_stmt *entry, *outcome, *request;
    struct request *requests; /* by the low bits of the id */
    uint64_t from, count, head;
    struct gvm_ledger_place place;
    struct gvm_buf last; /* the newest entry taken in */
};

int64_t index_request(struct gvm_str id)
{
    uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a: our own ids, chosen by nobody else */
    for (size_t i = 0; i < id.n; i++)
        h = (h ^ (unsigned char)id.p[i]) * UINT64_C(1099511628211);
    h &= INT64_MAX;
    return h ? (int64_t)h : 1;
}

/* ---- rows ---- */

static void bind_id(sqlite3_stmt *s, int at, int64_t id)
{
    if (id)
        (void)sq.bind_int64(s, at, id);
    else
        (void)sq.bind_null(s, at);
}

static int step(struct fill *f, sqlite3_stmt *s, struct gvm_err *err)
{
    int rc = sq.step(s);
    (void)sq.reset(s);
    return rc == SQLITE_DONE ? 0 : index_sql_failed(f->ix->db, err);
}

static int find_request(struct fill *f, int64_t id, struct request *ret, struct gvm_err *err)
{
    const struct request *known = &f->requests[(uint64_t)id % REQUESTS];
    *ret = (struct request){.id = id};
    if (known->id == id) {
        *ret = *known;
        return 0;
    }
    (void)sq.bind_int64(f->request, 1, id);
    int rc = sq.step(f->request);
    if (rc == SQLITE_ROW) {
        ret->host = sq.column_int64(f->request, 0);
        ret->decision = sq.column_int64(f->request, 1);
    }
    (void)sq.reset(f->request);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : index_sql_failed(f->ix->db, err);
}

static int put_outcome(struct fill *f, uint64_t index, int64_t request,
                       const struct gvm_index_facts *e, struct gvm_err *err)
{
    struct request of;
    int r = find_request(f, request, &of, err);
    if (r < 0)
        return r;
    (void)sq.bind_int64(f->outcome, 1, (int64_t)index);
    bind_id(f->outcome, 2, of.host);
    bind_id(f->outcome, 3, of.decision);
    const int64_t numbers[] = {e->bytes_out, e->bytes_in,   e->ms,        e->llm,
                               e->tokens_in, e->tokens_out, e->cost_micro};
    for (int i = 0; i < 7; i++)
        (void)sq.bind_int64(f->outcome, 4 + i, numbers[i]);
    return step(f, f->outcome, err);
}

static bool is_outcome(const struct gvm_index_facts *e)
{
    return gvm_str_eqz(e->kind, "http.outcome") || gvm_str_eqz(e->kind, "tcp.close") || e->llm;
}

static int put_entry(struct fill *f, uint64_t index, const struct gvm_index_facts *e,
                     struct gvm_err *err)
{
    const struct gvm_str texts[INDEX_CLASSES] = {e->kind, e->run, e->agent, e->host, e->decision};
    struct gvm_ledger_place place = gvm_ledger_reader_place(f->ix->reader);
    int64_t ids[INDEX_CLASSES], request = e->id.n ? index_request(e->id) : 0;
    for (unsigned c = 0; c < INDEX_CLASSES; c++) {
        int r = index_names_id(f->names, (enum index_class)c, texts[c], &ids[c], err);
        if (r < 0)
            return r;
        bind_id(f->entry, 5 + (int)c, ids[c]);
    }
    (void)sq.bind_int64(f->entry, 1, (int64_t)index);
    (void)sq.bind_int64(f->entry, 2, (int64_t)place.segment);
    (void)sq.bind_int64(f->entry, 3, (int64_t)place.offset);
    if (e->t == INT64_MIN)
        (void)sq.bind_null(f->entry, 4);
    else
        (void)sq.bind_int64(f->entry, 4, e->t);
    bind_id(f->entry, 10, request);
    int r = step(f, f->entry, err);
    if (r < 0)
        return r;
    if (request && e->decision.n)
        f->requests[(uint64_t)request % REQUESTS] =
            (struct request){request, ids[INDEX_HOST], ids[INDEX_DECISION]};
    return is_outcome(e) ? put_outcome(f, index, request, e, err) : 0;
}

/* ---- a transaction ---- */

static int put_meta(struct fill *f, struct gvm_err *err)
{
    sqlite3_stmt *s = NULL;
    const struct {
        const char *name;
        uint64_t v;
    } rows[] = {
        {"next", f->from + f->count}, {"segment", f->place.segment}, {"offset", f->place.offset}};
    int r = index_prepare(f->ix->db, "UPDATE meta SET value = ?1 WHERE name = ?2", &s, err);
    for (size_t i = 0; r == 0 && i < sizeof rows / sizeof *rows; i++) {
        (void)sq.bind_int64(s, 1, (int64_t)rows[i].v);
        (void)sq.bind_text(s, 2, rows[i].name, -1, SQLITE_STATIC);
        r = step(f, s, err);
    }
    if (r == 0) {
        (void)sq.bind_blob64(s, 1, gvm_buf_data(&f->last), f->last.len, SQLITE_STATIC);
        (void)sq.bind_text(s, 2, "last", -1, SQLITE_STATIC);
        r = step(f, s, err);
    }
    (void)sq.finalize(s);
    return r;
}

/* Sums over the entries [?1, ?2), added to what is there. A NULL in a key would not be equal to
 * itself, so absent members stand as 0, and a clock that cannot be read as the hour before all
 * others. */
static int add_sums(sqlite3 *db, uint64_t from, uint64_t to, struct gvm_err *err)
{
    static const char sql[] =
        "INSERT INTO sums SELECT ifnull(e.t / 3600000000000, -9223372036854775808), ifnull(e.run, "
        "0),"
        " ifnull(e.agent, 0), ifnull(e.kind, 0), coalesce(e.host, o.host, 0),"
        " coalesce(e.decision, o.decision, 0) AS d, count(*), total(o.bytes_out), "
        "total(o.bytes_in),"
        " total(o.ms), total(o.llm), total(o.tokens_in), total(o.tokens_out), total(o.cost)"
        " FROM entries e LEFT JOIN outcomes o USING(idx) WHERE e.idx >= ?1 AND e.idx < ?2"
        " GROUP BY 1, 2, 3, 4, 5, 6"
        " ON CONFLICT DO UPDATE SET n = n + excluded.n, bytes_out = bytes_out + excluded.bytes_out,"
        " bytes_in = bytes_in + excluded.bytes_in, ms = ms + excluded.ms, llm = llm + excluded.llm,"
        " tokens_in = tokens_in + excluded.tokens_in, tokens_out = tokens_out + "
        "excluded.tokens_out,"
        " cost = cost + excluded.cost";
    sqlite3_stmt *s = NULL;
    int r = index_prepare(db, sql, &s, err);
    if (r < 0)
        return r;
    (void)sq.bind_int64(s, 1, (int64_t)from);
    (void)sq.bind_int64(s, 2, (int64_t)to);
    if (sq.step(s) != SQLITE_DONE)
        r = index_sql_failed(db, err);
    (void)sq.finalize(s);
    return r;
}

/* Up to INDEX_BATCH entries. *ret_more: there are others. A log that cannot be read further ends
 * the filling without an error: who searches will meet the same place. */
static int take_batch(struct fill *f, bool *ret_more, struct gvm_err *err)
{
    struct gvm_index *ix = f->ix;
    struct gvm_index_facts e;
    struct gvm_str line;
    uint64_t index;
    f->from = ix->next;
    f->count = 0;
    *ret_more = true;
    while (f->count < INDEX_BATCH && f->from + f->count < f->head) {
        if (gvm_ledger_reader_next(ix->reader, &index, &line, NULL) <= 0 ||
            index != f->from + f->count) {
            *ret_more = false;
            break;
        }
        gvm_index_facts(line, &ix->scratch, &e);
        int r = put_entry(f, index, &e, err);
        if (r < 0)
            return r;
        f->place = gvm_ledger_reader_place(ix->reader);
        gvm_buf_reset(&f->last);
        if (gvm_buf_adds(&f->last, line) < 0)
            return gvm_err_set(err, ENOMEM, "out of memory");
        if (++f->count % PROGRESS == 0 && ix->progress)
            ix->progress(index, f->head);
    }
    *ret_more = *ret_more && f->from + f->count < f->head;
    return 0;
}

static int one_batch(struct fill *f, bool *ret_more, struct gvm_err *err)
{
    sqlite3 *db = f->ix->db;
    int r = index_exec(db, "BEGIN IMMEDIATE", err);
    if (r < 0)
        return r;
    r = take_batch(f, ret_more, err);
    if (r == 0 && f->count)
        r = add_sums(db, f->from, f->from + f->count, err);
    if (r == 0 && f->count)
        r = index_names_flush(f->names, err);
    if (r == 0 && f->count)
        r = put_meta(f, err);
    if (r == 0)
        r = index_exec(db, "COMMIT", err);
    if (r < 0) {
        (void)!index_exec(db, "ROLLBACK", NULL);
        return r;
    }
    f->ix->next = f->from + f->count;
    f->ix->place = f->count ? f->place : f->ix->place;
    return 0;
}

static int fill_open(struct fill *f, struct gvm_err *err)
{
    sqlite3 *db = f->ix->db;
    gvm_buf_init(&f->last, GVM_MAX_ENTRY);
    f->requests = gvm_calloc(REQUESTS, sizeof *f->requests);
    int r = f->requests ? index_names_new(db, &f->names, err)
                        : gvm_err_set(err, ENOMEM, "out of memory");
    if (r == 0)
        r = index_prepare(db, "INSERT INTO entries VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                          &f->entry, err);
    if (r == 0)
        r = index_prepare(db,
                          "INSERT INTO outcomes VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                          &f->outcome, err);
    if (r == 0)
        r = index_prepare(
            db,
            "SELECT host, decision FROM entries WHERE request = ?1 AND decision IS NOT NULL"
            " ORDER BY idx DESC LIMIT 1",
            &f->request, err);
    return r;
}

static void fill_done(struct fill *f)
{
    (void)sq.finalize(f->entry);
    (void)sq.finalize(f->outcome);
    (void)sq.finalize(f->request);
    index_names_free(f->names);
    free(f->requests);
    gvm_buf_done(&f->last);
}

static int fill_to(struct gvm_index *ix, uint64_t head, struct gvm_err *err)
{
    struct fill f = {.ix = ix, .head = head};
    bool more = true;
    int r = fill_open(&f, err);
    while (r == 0 && more)
        r = one_batch(&f, &more, err);
    fill_done(&f);
    return r;
}

/* ---- is it of this log, and how much of it is still there ---- */

/* Size of the signed head; 0 when there is none. Nobody has checked the signature: it only says how
 * far the log is final. */
static uint64_t signed_size(const struct gvm_index *ix)
{
    struct gvm_checkpoint head;
    char path[GVM_PATH_MAX + 16];
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf note;
    gvm_buf_init(&note, GVM_MAX_NOTE);
    (void)snprintf(path, sizeof path, "%s/checkpoint", ix->dir);
    if (gvm_read_file(path, &note, NULL) < 0 ||
        gvm_checkpoint_parse(gvm_buf_str(&note), &head, NULL) < 0)
        return 0;
    return head.size < INT64_MAX ? head.size : 0;
}

/* The oldest entry the log has. False when there is none. */
static bool oldest(const struct gvm_index *ix, uint64_t *ret)
{
    struct gvm_ledger_reader *r = NULL;
    struct gvm_str line;
    bool there = gvm_ledger_reader_open(ix->dir, 0, &r, NULL) == 0 &&
                 gvm_ledger_reader_next(r, ret, &line, NULL) > 0;
    gvm_ledger_reader_free(r);
    return there;
}

/* Afterwards the reader stands behind the last entry of the index. */
static bool of_this_log(struct gvm_index *ix, uint64_t first, uint64_t head, struct gvm_str last)
{
    struct gvm_str line;
    uint64_t index;
    if (ix->next > head || ix->next <= first || ix->first > first)
        return false;
    return gvm_ledger_reader_seek(ix->reader, ix->next - 1, ix->place, NULL) == 0 &&
           gvm_ledger_reader_next(ix->reader, &index, &line, NULL) > 0 && gvm_str_eq(line, last);
}

/* An outcome whose request was pruned has no host any more, as if the index had begun after it. */
static const char prune_sql[] =
    "UPDATE outcomes SET host = NULL, decision = NULL WHERE idx IN (SELECT e.idx FROM entries d"
    " JOIN entries e ON e.request = d.request WHERE d.idx < ?1 AND d.decision IS NOT NULL AND "
    "e.idx >= ?1"
    " AND NOT EXISTS (SELECT 1 FROM entries n WHERE n.request = e.request AND n.decision IS NOT "
    "NULL"
    " AND n.idx >= ?1 AND n.idx < e.idx))";
static const char *const prune_more[] = {"DELETE FROM entries WHERE idx < ?1",
                                         "DELETE FROM outcomes WHERE idx < ?1",
                                         "UPDATE meta SET value = ?1 WHERE name = 'first'"};

static int run_with(sqlite3 *db, const char *sql, uint64_t v, struct gvm_err *err)
{
    sqlite3_stmt *s = NULL;
    int r = index_prepare(db, sql, &s, err);
    if (r < 0)
        return r;
    (void)sq.bind_int64(s, 1, (int64_t)v);
    if (sq.step(s) != SQLITE_DONE)
        r = index_sql_failed(db, err);
    (void)sq.finalize(s);
    return r;
}

static int prune(struct gvm_index *ix, uint64_t first, struct gvm_err *err)
{
    sqlite3 *db = ix->db;
    int r = index_exec(db, "BEGIN IMMEDIATE", err);
    if (r == 0)
        r = run_with(db, prune_sql, first, err);
    for (size_t i = 0; r == 0 && i < sizeof prune_more / sizeof *prune_more; i++)
        r = run_with(db, prune_more[i], first, err);
    if (r == 0)
        r = index_exec(db, "DELETE FROM sums", err);
    if (r == 0)
        r = add_sums(db, first, ix->next, err);
    if (r == 0)
        r = index_exec(db, "COMMIT", err);
    if (r < 0)
        (void)!index_exec(db, "ROLLBACK", NULL);
    else
        ix->first = first;
    return r;
}

static int begin_at(struct gvm_index *ix, uint64_t first, struct gvm_err *err)
{
    char sql[128];
    struct gvm_ledger_reader *r = NULL;
    (void)snprintf(sql, sizeof sql,
                   "UPDATE meta SET value = %" PRIu64 " WHERE name IN ('first', 'next')", first);
    int x = index_exec(ix->db, sql, err);
    if (x == 0)
        x = gvm_ledger_reader_open(ix->dir, first, &r, err);
    if (x < 0)
        return x;
    gvm_ledger_reader_free(ix->reader);
    ix->reader = r;
    ix->first = ix->next = first;
    return 0;
}

static void say(struct gvm_index *ix, const char *fmt, ...) GVM_PRINTF(2, 3);
static void say(struct gvm_index *ix, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(ix->note, sizeof ix->note, fmt, ap);
    va_end(ap);
}

/* Opens what is there, or begins anew; *ret_first: of the log. */
static int open_or_renew(struct gvm_index *ix, uint64_t first, uint64_t head, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf last;
    gvm_buf_init(&last, GVM_MAX_ENTRY);
    int r = index_store_open(ix, err);
    bool was_there = r != -ENOENT;
    if (r == 0)
        r = index_store_read_meta(ix, &last, err);
    if (r == 0 && ix->next > ix->first && !of_this_log(ix, first, head, gvm_buf_str(&last)))
        r = gvm_err_set(err, EBADMSG, "the index is of another log");
    if (r == 0 && ix->next > ix->first)
        return first > ix->first ? prune(ix, first, err) : 0;
    if (r < 0 && r != -ENOENT && r != -EBADMSG)
        return r;
    if (r < 0 && was_there)
        say(ix, "%s; it is made anew", err->text);
    if (r < 0) {
        r = index_store_renew(ix, err);
        if (r < 0)
            return r;
    }
    return begin_at(ix, first, err);
}

/* With the lock. */
static int write_up(struct gvm_index *ix, uint64_t first, uint64_t head, struct gvm_err *err)
{
    int r = open_or_renew(ix, first, head, err);
    if (r == 0 && ix->next < head)
        r = fill_to(ix, head, err);
    if (r != -EBADMSG)
        return r;
    /* Damaged in a place that was not looked at before. Once more, from nothing. */
    say(ix, "%s; it is made anew", err->text);
    r = index_store_renew(ix, err);
    if (r == 0)
        r = begin_at(ix, first, err);
    return r == 0 ? fill_to(ix, head, err) : r;
}

/* Without the lock: as far as it is. */
static int read_only(struct gvm_index *ix, uint64_t first, uint64_t head, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf last;
    gvm_buf_init(&last, GVM_MAX_ENTRY);
    int r = index_store_open(ix, err);
    if (r == 0)
        r = index_exec(ix->db, "BEGIN", err);
    if (r == 0)
        r = index_store_read_meta(ix, &last, err);
    if (r == 0 && !of_this_log(ix, first, head, gvm_buf_str(&last)))
        r = gvm_err_set(err, EBADMSG, "the index is of another log");
    return r;
}

int index_ready(struct gvm_index *ix, struct gvm_err *err)
{
    struct gvm_err why = {0};
    uint64_t first, head = signed_size(ix);
    if (ix->tried || !ix->own[0])
        return 0;
    ix->tried = true;
    if (!oldest(ix, &first) || first >= head)
        return 0; /* nothing to index; a damaged log shows itself to the search */
    int r = index_store_lock(ix, &why);
    if (r == 0)
        r = write_up(ix, first, head, &why);
    /* From here on one state of the index is looked at, whoever goes on filling it. */
    if (r == 0)
        r = index_exec(ix->db, "BEGIN", &why);
    if (r == 0) {
        GVM_CLEANUP(gvm_buf_done) struct gvm_buf last;
        gvm_buf_init(&last, GVM_MAX_ENTRY);
        r = index_store_read_meta(ix, &last, &why);
    }
    index_store_unlock(ix);
    if (r == -EWOULDBLOCK)
        r = read_only(ix, first, head, &why);
    if (r < 0) {
        index_store_close(ix);
        if (r != -ENOENT)
            say(ix, "%s", why.text);
    }
    return 0;
}

int gvm_index_fill(struct gvm_index *ix, struct gvm_err *err)
{
    return index_ready(ix, err);
}
