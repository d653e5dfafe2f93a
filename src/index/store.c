/* store.c - the files of the index: found, locked, made, thrown away.
 *
 * Everything in here is derived, so there is one answer to every doubt: a new, empty file. It gets
 * the next number; those who still read the old one keep it until they close it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "index/index_int.h"

static const char schema[] =
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE names(id INTEGER PRIMARY KEY, class INTEGER NOT NULL, name BLOB NOT NULL,"
    " n INTEGER NOT NULL, UNIQUE(class, name));"
    "CREATE TABLE entries(idx INTEGER PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT "
    "NULL,"
    " t INTEGER, kind INTEGER, run INTEGER, agent INTEGER, host INTEGER, decision INTEGER, request "
    "INTEGER);"
    /* What an outcome adds to the sums of the host and decision of its request. */
    "CREATE TABLE outcomes(idx INTEGER PRIMARY KEY, host INTEGER, decision INTEGER, bytes_out "
    "INTEGER,"
    " bytes_in INTEGER, ms INTEGER, llm INTEGER, tokens_in INTEGER, tokens_out INTEGER, cost "
    "INTEGER);"
    "CREATE TABLE sums(hour INTEGER, run INTEGER, agent INTEGER, kind INTEGER, host INTEGER,"
    " decision INTEGER, n INTEGER, bytes_out INTEGER, bytes_in INTEGER, ms INTEGER, llm INTEGER,"
    " tokens_in INTEGER, tokens_out INTEGER, cost INTEGER,"
    " PRIMARY KEY(hour, run, agent, kind, host, decision)) WITHOUT ROWID;"
    "CREATE INDEX by_t ON entries(t);"
    "CREATE INDEX by_kind ON entries(kind);"
    "CREATE INDEX by_run ON entries(run) WHERE run IS NOT NULL;"
    "CREATE INDEX by_agent ON entries(agent) WHERE agent IS NOT NULL;"
    "CREATE INDEX by_host ON entries(host) WHERE host IS NOT NULL;"
    "CREATE INDEX by_decision ON entries(decision) WHERE decision IS NOT NULL;"
    "CREATE INDEX by_request ON entries(request) WHERE request IS NOT NULL;"
    "INSERT INTO meta VALUES('first', 0), ('next', 0), ('segment', 0), ('offset', 0), ('last', "
    "x'');";

int index_sql_failed(sqlite3 *db, struct gvm_err *err)
{
    int code = db ? sq.extended_errcode(db) : SQLITE_NOMEM;
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* a table is not what it should be */
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
        return gvm_err_set(err, EBADMSG, "the index is damaged (%s)", sq.errmsg(db));
    case SQLITE_NOMEM:
        return gvm_err_set(err, ENOMEM, "out of memory");
    default:
        return gvm_err_set(err, EIO, "the index cannot be used (%s)", sq.errmsg(db));
    }
}

int index_exec(sqlite3 *db, const char *sql, struct gvm_err *err)
{
    return sq.exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : index_sql_failed(db, err);
}

int index_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret, struct gvm_err *err)
{
    return sq.prepare_v2(db, sql, -1, ret, NULL) == SQLITE_OK ? 0 : index_sql_failed(db, err);
}

/* ---- directory ---- */

/* "12.db" to 12; 0 for any other name. */
static uint64_t generation_of(const char *name)
{
    struct gvm_str s = gvm_str(name);
    uint64_t v = 0;
    if (!gvm_str_ends(s, GVM_STR(".db")))
        return 0;
    s.n -= 3;
    return gvm_parse_u64(s, INT64_MAX, &v) < 0 ? 0 : v;
}

static int newest(const struct gvm_index *ix, uint64_t *ret)
{
    int fd = openat(ix->own_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int e = errno;
        gvm_close(&fd);
        return -e;
    }
    *ret = 0;
    for (struct dirent *e; (e = readdir(d));) {
        uint64_t v = generation_of(e->d_name);
        *ret = v > *ret ? v : *ret;
    }
    closedir(d);
    return 0;
}

/* Under the lock: whatever is there but generation `keep` and the lock. */
static void remove_others(const struct gvm_index *ix, uint64_t keep)
{
    char mine[32];
    int n = snprintf(mine, sizeof mine, "%" PRIu64 ".db", keep);
    int fd = openat(ix->own_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        gvm_close(&fd);
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] != '.' && strcmp(e->d_name, "lock") != 0 &&
            strncmp(e->d_name, mine, (size_t)n) != 0)
            (void)unlinkat(ix->own_fd, e->d_name, 0);
    }
    closedir(d);
}

static int open_dir(struct gvm_index *ix, struct gvm_err *err)
{
    if (ix->own_fd >= 0)
        return 0;
    int r = index_sqlite_load(err);
    if (r == 0)
        r = gvm_mkdirs(ix->own, 0700, err);
    if (r < 0)
        return r;
    ix->own_fd = open(ix->own, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return ix->own_fd < 0 ? gvm_err_sys(err, errno, "cannot open %s", ix->own) : 0;
}

/* ---- lock ---- */

int index_store_lock(struct gvm_index *ix, struct gvm_err *err)
{
    int r = open_dir(ix, err);
    if (r < 0)
        return r;
    if (ix->lock_fd < 0)
        ix->lock_fd = openat(ix->own_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (ix->lock_fd < 0)
        return gvm_err_sys(err, errno, "cannot open %s/lock", ix->own);
    int64_t until = gvm_mono_ns() + INDEX_WAIT_MS * INT64_C(1000000);
    while (flock(ix->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return gvm_err_sys(err, errno, "cannot lock %s", ix->own);
        if (gvm_mono_ns() > until)
            return gvm_err_set(err, EWOULDBLOCK,
                               "another gvm is filling the index; the log is read");
        (void)usleep(10000);
    }
    ix->locked = true;
    return 0;
}

void index_store_unlock(struct gvm_index *ix)
{
    if (ix->locked)
        (void)flock(ix->lock_fd, LOCK_UN);
    ix->locked = false;
}

/* ---- the file ---- */

static int settings(sqlite3 *db, struct gvm_err *err)
{
    (void)sq.extended_result_codes(db, 1);
    (void)sq.db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sq.db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    (void)sq.busy_timeout(db, INDEX_WAIT_MS);
    /* Power loss may cost the last transaction, and never more: WAL with NORMAL. */
    return index_exec(
        db,
        "PRAGMA cell_size_check = 1; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
        "PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;",
        err);
}

static int open_file(struct gvm_index *ix, uint64_t generation, int flags, struct gvm_err *err)
{
    char path[GVM_PATH_MAX + 64];
    (void)snprintf(path, sizeof path, "%s/%" PRIu64 ".db", ix->own, generation);
    int rc = sq.open_v2(path, &ix->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | flags, NULL);
    int r = rc == SQLITE_OK ? settings(ix->db, err) : index_sql_failed(ix->db, err);
    if (r < 0) {
        (void)sq.close(ix->db);
        ix->db = NULL;
        return r;
    }
    ix->generation = generation;
    return 0;
}

static int64_t pragma(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s = NULL;
    int64_t v = -1;
    if (sq.prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sq.step(s) == SQLITE_ROW)
        v = sq.column_int64(s, 0);
    (void)sq.finalize(s);
    return v;
}

void index_store_close(struct gvm_index *ix)
{
    if (ix->db)
        (void)sq.close(ix->db);
    ix->db = NULL;
    ix->first = ix->next = 0;
}

int index_store_open(struct gvm_index *ix, struct gvm_err *err)
{
    uint64_t generation = 0;
    index_store_close(ix);
    int r = open_dir(ix, err);
    if (r < 0)
        return r;
    r = newest(ix, &generation);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read %s", ix->own);
    if (!generation)
        return gvm_err_set(err, ENOENT, "there is no index yet");
    ix->generation = generation;
    r = open_file(ix, generation, 0, err);
    if (r == 0 && (pragma(ix->db, "PRAGMA application_id") != INDEX_APP ||
                   pragma(ix->db, "PRAGMA user_version") != INDEX_VERSION)) {
        index_store_close(ix);
        r = gvm_err_set(err, EBADMSG, "the index is of another version");
    }
    return r;
}

int index_store_renew(struct gvm_index *ix, struct gvm_err *err)
{
    uint64_t last = 0;
    char sql[128], name[32];
    index_store_close(ix);
    int r = newest(ix, &last);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read %s", ix->own);
    (void)snprintf(name, sizeof name, "%" PRIu64 ".db", last + 1);
    /* SQLite gives -wal and -shm the mode of the file, so it is made before. Closed at once: a
     * later close would take SQLite's locks on it away (fcntl(2)). */
    int fd = openat(ix->own_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot make %s/%s", ix->own, name);
    gvm_close(&fd);
    r = open_file(ix, last + 1, 0, err);
    (void)snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d;",
                   INDEX_APP, INDEX_VERSION);
    if (r == 0)
        r = index_exec(ix->db, "BEGIN IMMEDIATE", err);
    if (r == 0)
        r = index_exec(ix->db, schema, err);
    if (r == 0)
        r = index_exec(ix->db, sql, err);
    if (r == 0)
        r = index_exec(ix->db, "COMMIT", err);
    if (r < 0) {
        index_store_close(ix);
        remove_others(ix, last);
        return r;
    }
    remove_others(ix, last + 1);
    return 0;
}

int index_store_read_meta(struct gvm_index *ix, struct gvm_buf *last_line, struct gvm_err *err)
{
    sqlite3_stmt *s = NULL;
    uint64_t v[4] = {0};
    static const char *const names[4] = {"first", "next", "segment", "offset"};
    unsigned seen = 0;
    int r = index_prepare(ix->db, "SELECT name, value FROM meta", &s, err), rc = SQLITE_DONE;
    while (r == 0 && (rc = sq.step(s)) == SQLITE_ROW) {
        const char *name = (const char *)sq.column_text(s, 0);
        for (unsigned i = 0; name && i < 4; i++) {
            if (strcmp(name, names[i]) != 0)
                continue;
            v[i] = (uint64_t)sq.column_int64(s, 1);
            seen |= 1u << i;
        }
        if (name && strcmp(name, "last") == 0) {
            const void *p = sq.column_blob(s, 1);
            r = gvm_buf_add(last_line, p ? p : "", (size_t)sq.column_bytes(s, 1));
        }
    }
    if (r == 0 && rc != SQLITE_DONE)
        r = index_sql_failed(ix->db, err);
    (void)sq.finalize(s);
    if (r == 0 && (seen != 15 || v[0] > v[1] || v[1] > INT64_MAX))
        r = gvm_err_set(err, EBADMSG, "the index does not know what it holds");
    if (r < 0)
        return r;
    ix->first = v[0];
    ix->next = v[1];
    ix->place = (struct gvm_ledger_place){v[2], v[3]};
    return 0;
}
