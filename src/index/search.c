/* search.c - entries that match: first what the index names, then what the log has beyond it.
 *
 * Each entry the index names is read from the log and asked again. One that does not match there,
 * or is no entry, means that the index is wrong: it is thrown away, and the rest is read from the
 * log.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "index/index_int.h"

struct held {
    uint64_t index;
    char *line;
    size_t n;
};

struct gvm_index_search {
    struct gvm_index *ix;
    struct gvm_index_filter filter;
    sqlite3_stmt *rows; /* what the index names and was not given yet */
    bool scanning, ended;
    uint64_t seen;     /* everything before this was given or did not match */
    struct held *ring; /* with `last` */
    uint64_t last, held, given;
};

/* ---- the room's object ---- */

int gvm_index_open(const char *ledger_dir, const char *index_dir, struct gvm_index **ret,
                   struct gvm_err *err)
{
    struct gvm_index *ix = gvm_calloc(1, sizeof *ix);
    if (!ix)
        return gvm_err_set(err, ENOMEM, "out of memory");
    ix->own_fd = ix->lock_fd = -1;
    gvm_buf_init(&ix->scratch, GVM_INDEX_SCRATCH);
    int r = 0;
    /* All of it now: an entry must not go missing later for want of memory. */
    if (!gvm_buf_space(&ix->scratch, GVM_MAX_ENTRY))
        r = gvm_err_set(err, ENOMEM, "out of memory");
    else if (gvm_str_copy(ix->dir, sizeof ix->dir, gvm_str(ledger_dir)) < 0 ||
             gvm_str_copy(ix->own, sizeof ix->own, gvm_str(index_dir ? index_dir : "")) < 0)
        r = gvm_err_set(err, ENAMETOOLONG, "the path of the ledger is too long");
    if (r == 0)
        r = gvm_ledger_reader_open(ix->dir, 0, &ix->reader, err);
    if (r < 0)
        gvm_index_free(ix);
    else
        *ret = ix;
    return r;
}

void gvm_index_free(struct gvm_index *ix)
{
    if (!ix)
        return;
    index_store_close(ix);
    index_store_unlock(ix);
    gvm_ledger_reader_free(ix->reader);
    gvm_buf_done(&ix->scratch);
    gvm_close(&ix->lock_fd);
    gvm_close(&ix->own_fd);
    free(ix);
}

const char *gvm_index_note(const struct gvm_index *ix)
{
    return ix->note;
}

void gvm_index_on_progress(struct gvm_index *ix, void (*fn)(uint64_t done, uint64_t total))
{
    ix->progress = fn;
}

int index_read_from(struct gvm_index *ix, uint64_t from, struct gvm_err *err)
{
    struct gvm_ledger_reader *r = NULL;
    struct gvm_str line;
    uint64_t index;
    bool known = ix->db && from == ix->next && from > ix->first;
    if (known && gvm_ledger_reader_seek(ix->reader, from - 1, ix->place, NULL) == 0 &&
        gvm_ledger_reader_next(ix->reader, &index, &line, NULL) > 0)
        return 0;
    int x = gvm_ledger_reader_open(ix->dir, from, &r, err);
    if (x < 0)
        return x;
    gvm_ledger_reader_free(ix->reader);
    ix->reader = r;
    return 0;
}

void index_distrust(struct gvm_index *ix)
{
    uint64_t was = ix->generation, now = 0;
    index_store_close(ix);
    if (index_store_lock(ix, NULL) == 0 && index_store_open(ix, NULL) == 0)
        now = ix->generation;
    if (now == was && index_store_renew(ix, NULL) == 0)
        (void)snprintf(ix->note, sizeof ix->note,
                       "the index did not fit the log; it is made anew next time");
    else
        (void)snprintf(ix->note, sizeof ix->note,
                       "the index does not fit the log and was not used");
    index_store_close(ix);
    index_store_unlock(ix);
}

/* ---- one entry ---- */

/* 1 = there it is, 0 = the log has ended, negative. */
static int next_scanned(struct gvm_index_search *s, uint64_t *ret_index, struct gvm_str *ret_line,
                        struct gvm_err *err)
{
    struct gvm_index *ix = s->ix;
    struct gvm_index_facts e;
    int r;
    while ((r = gvm_ledger_reader_next(ix->reader, ret_index, ret_line, err)) > 0) {
        s->seen = *ret_index + 1;
        if (gvm_index_any(&s->filter))
            return 1;
        gvm_index_facts(*ret_line, &ix->scratch, &e);
        if (gvm_index_matches(&s->filter, &e))
            return 1;
    }
    return r;
}

/* The entry a row names. False: the row is wrong. */
static bool fetch(struct gvm_index_search *s, uint64_t *ret_index, struct gvm_str *ret_line,
                  bool *ret_match)
{
    struct gvm_index *ix = s->ix;
    struct gvm_index_facts e;
    uint64_t want = (uint64_t)sq.column_int64(s->rows, 0);
    struct gvm_ledger_place place = {(uint64_t)sq.column_int64(s->rows, 1),
                                     (uint64_t)sq.column_int64(s->rows, 2)};
    if (want < s->seen || gvm_ledger_reader_seek(ix->reader, want, place, NULL) < 0 ||
        gvm_ledger_reader_next(ix->reader, ret_index, ret_line, NULL) <= 0)
        return false;
    gvm_index_facts(*ret_line, &ix->scratch, &e);
    *ret_match = gvm_index_matches(&s->filter, &e);
    /* Two requests may share a number in the index; nothing else may differ. */
    return *ret_match || (e.whole && s->filter.request);
}

/* 1 = there it is, 0 = no more rows. */
static int next_indexed(struct gvm_index_search *s, uint64_t *ret_index, struct gvm_str *ret_line)
{
    bool match = false, wrong = false;
    while (s->rows && !match && !wrong) {
        int rc = sq.step(s->rows);
        if (rc == SQLITE_DONE)
            break;
        wrong = rc != SQLITE_ROW || !fetch(s, ret_index, ret_line, &match);
        if (!wrong)
            s->seen = *ret_index + 1;
    }
    if (match)
        return 1;
    (void)sq.finalize(s->rows);
    s->rows = NULL;
    if (wrong)
        index_distrust(s->ix);
    else
        s->seen = s->ix->next;
    return 0;
}

static int next_of_all(struct gvm_index_search *s, uint64_t *ret_index, struct gvm_str *ret_line,
                       struct gvm_err *err)
{
    if (s->rows && next_indexed(s, ret_index, ret_line))
        return 1;
    if (!s->scanning) {
        int r = index_read_from(s->ix, s->seen, err);
        if (r < 0)
            return r;
        s->scanning = true;
    }
    return next_scanned(s, ret_index, ret_line, err);
}

/* ---- the newest N ---- */

static int hold(struct gvm_index_search *s, uint64_t index, struct gvm_str line,
                struct gvm_err *err)
{
    struct held *h = &s->ring[s->held++ % s->last];
    char *copy = malloc(line.n + 1);
    if (!copy)
        return gvm_err_set(err, ENOMEM, "out of memory");
    memcpy(copy, line.p, line.n);
    free(h->line);
    *h = (struct held){index, copy, line.n};
    return 0;
}

static int gather(struct gvm_index_search *s, struct gvm_err *err)
{
    uint64_t index;
    struct gvm_str line;
    int r;
    s->ring = gvm_calloc(s->last, sizeof *s->ring);
    if (!s->ring)
        return gvm_err_set(err, ENOMEM, "out of memory");
    bool trusted = s->rows != NULL, again;
    do {
        while ((r = next_of_all(s, &index, &line, err)) > 0 && (r = hold(s, index, line, err)) == 0)
            ;
        /* Only the newest rows were asked for, and they were wrong: all of the log, then. */
        again = r == 0 && trusted && !s->ix->db;
        if (again) {
            trusted = s->scanning = false;
            s->seen = s->held = 0;
        }
    } while (again);
    s->given = s->held > s->last ? s->held - s->last : 0;
    return r;
}

/* ---- beginning ---- */

/* With `last`, rows come newest first from the table and are turned round. */
static int ask(struct gvm_index_search *s, struct gvm_err *err)
{
    static const char *const columns[INDEX_CLASSES] = {"kind", "run", "agent", "host", "decision"};
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf sql;
    struct index_where w;
    int r = index_where_make(s->ix, &s->filter, columns, "t", true, &w, err);
    if (r < 0)
        return r;
    gvm_buf_init(&sql, 2 * w.sql.max);
    gvm_buf_addf(&sql, "SELECT idx, segment, offset FROM entries %s WHERE ", w.lead);
    gvm_buf_adds(&sql, gvm_buf_str(&w.sql));
    gvm_buf_addf(&sql, " AND idx < %" PRIu64, s->ix->next);
    if (w.none)
        gvm_buf_addz(&sql, " AND 0");
    if (s->last)
        gvm_buf_addf(&sql, " ORDER BY idx DESC LIMIT %" PRIu64, s->last);
    const char *inner = gvm_buf_cstr(&sql);
    char *text = s->last ? sq.mprintf("SELECT * FROM (%s) ORDER BY idx", inner)
                         : sq.mprintf("%s ORDER BY idx", inner);
    r = !text || sql.failed ? gvm_err_set(err, ENOMEM, "out of memory")
                            : index_prepare(s->ix->db, text, &s->rows, err);
    sq.free(text);
    index_where_done(&w);
    return r;
}

static int begin(struct gvm_index_search *s, struct gvm_err *err)
{
    /* Who wants everything is served best by the log. */
    bool all = gvm_index_any(&s->filter) && !s->last;
    int r = all ? 0 : index_ready(s->ix, err);
    if (r == 0 && s->ix->db && !all && ask(s, NULL) < 0)
        index_distrust(s->ix);
    return r == 0 && s->last ? gather(s, err) : r;
}

int gvm_index_search(struct gvm_index *ix, const struct gvm_index_filter *f, uint64_t last,
                     struct gvm_index_search **ret, struct gvm_err *err)
{
    struct gvm_index_search *s = last <= GVM_INDEX_LAST ? gvm_calloc(1, sizeof *s) : NULL;
    if (!s)
        return last > GVM_INDEX_LAST
                   ? gvm_err_set(err, ERANGE, "at most %u entries", GVM_INDEX_LAST)
                   : gvm_err_set(err, ENOMEM, "out of memory");
    s->ix = ix;
    s->filter = *f;
    s->last = last;
    int r = begin(s, err);
    if (r < 0)
        gvm_index_search_free(s);
    else
        *ret = s;
    return r;
}

void gvm_index_search_free(struct gvm_index_search *s)
{
    if (!s)
        return;
    if (s->rows)
        (void)sq.finalize(s->rows);
    for (uint64_t i = 0; s->ring && i < s->last; i++)
        free(s->ring[i].line);
    free(s->ring);
    free(s);
}

int gvm_index_next(struct gvm_index_search *s, uint64_t *ret_index, struct gvm_str *ret_line,
                   struct gvm_err *err)
{
    if (!s->ring)
        return next_of_all(s, ret_index, ret_line, err);
    if (s->given == s->held)
        return 0;
    const struct held *h = &s->ring[s->given++ % s->last];
    *ret_index = h->index;
    *ret_line = (struct gvm_str){h->line, h->n};
    return 1;
}

uint64_t gvm_index_end(const struct gvm_index_search *s)
{
    return s->seen;
}
