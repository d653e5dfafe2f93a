/* index_int.h - what the files of this room share.
 *
 *   state/index/lock       flock: who holds it writes; readers do not wait for it
 *   state/index/<N>.db     the index; the highest N is the one in use. A new one never takes the
 * name of an old one, because SQLite finds its -wal and -shm files by name.
 */
#ifndef GVM_INDEX_INT_H
#define GVM_INDEX_INT_H

#include "index/index.h"
#include "index/sqlite.h"

#define INDEX_VERSION 1          /* of the tables; any other is thrown away */
#define INDEX_APP     0x47564d49 /* "GVMI", in the file's header */
#define INDEX_BATCH   50000u     /* entries per transaction: what a kill costs */
#define INDEX_WAIT_MS 500        /* for another gvm that is filling the index */
#define INDEX_HOUR    INT64_C(3600000000000)

/* What names are of. Each row of `entries` has one id of each class, or NULL. */
enum index_class { INDEX_KIND, INDEX_RUN, INDEX_AGENT, INDEX_HOST, INDEX_DECISION };
enum { INDEX_CLASSES = INDEX_DECISION + 1 };

struct gvm_index {
    char dir[GVM_PATH_MAX]; /* of the ledger */
    char own[GVM_PATH_MAX]; /* of the index, "" without */
    struct gvm_ledger_reader *reader;
    struct gvm_buf scratch;
    void (*progress)(uint64_t done, uint64_t total);
    char note[GVM_ERR_TEXT];
    /* the index, while it can be used; NULL: the log is read */
    sqlite3 *db;
    int own_fd, lock_fd;
    uint64_t generation;
    bool tried, locked;
    /* what it covers: entries from `first` up to `next`, the last of which is at `place` */
    uint64_t first, next;
    struct gvm_ledger_place place;
};

/* store.c: files, locks, tables. Errors of SQLite are -EBADMSG when the file is to blame. */
int index_sql_failed(sqlite3 *db, struct gvm_err *err);
int index_exec(sqlite3 *db, const char *sql, struct gvm_err *err) GVM_MUST_CHECK;
int index_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret,
                  struct gvm_err *err) GVM_MUST_CHECK;
/* Opens the newest index for reading; -ENOENT when there is none. */
int index_store_open(struct gvm_index *ix, struct gvm_err *err) GVM_MUST_CHECK;
void index_store_close(struct gvm_index *ix);
/* Waits up to INDEX_WAIT_MS. -EWOULDBLOCK: somebody else fills it. */
int index_store_lock(struct gvm_index *ix, struct gvm_err *err) GVM_MUST_CHECK;
void index_store_unlock(struct gvm_index *ix);
/* Under the lock: an empty index in place of the one in use, which is removed. */
int index_store_renew(struct gvm_index *ix, struct gvm_err *err) GVM_MUST_CHECK;
/* What the index covers, and the last entry it holds (appended). */
int index_store_read_meta(struct gvm_index *ix, struct gvm_buf *last_line,
                          struct gvm_err *err) GVM_MUST_CHECK;

/* names.c: texts to ids, with a cache of bounded size; one transaction's worth. */
struct index_names;
int index_names_new(sqlite3 *db, struct index_names **ret, struct gvm_err *err) GVM_MUST_CHECK;
void index_names_free(struct index_names *n);
/* Its id, made when new and counted once more; 0 for the empty text. */
int index_names_id(struct index_names *n, enum index_class c, struct gvm_str text, int64_t *ret,
                   struct gvm_err *err) GVM_MUST_CHECK;
/* Writes the counts down. */
int index_names_flush(struct index_names *n, struct gvm_err *err) GVM_MUST_CHECK;

/* fill.c: brings the index up to the signed head. Afterwards ix->db is there, or NULL when it
 * cannot be used; the note says why. Only a damaged log is an error. */
int index_ready(struct gvm_index *ix, struct gvm_err *err) GVM_MUST_CHECK;

/* where.c: a condition that lets every entry through that matches, and perhaps others. */
struct index_where {
    struct gvm_buf sql; /* never empty */
    bool none;          /* nothing in the index can match */
    const char *lead;   /* with `drive`: how entries are best walked, for behind FROM entries */
};
/* `columns`: what stands for each class in the question at hand; `t`: for the clock, NULL: times
 * are the caller's. `drive`: over `entries`, where one condition should lead and the others follow.
 */
int index_where_make(struct gvm_index *ix, const struct gvm_index_filter *f,
                     const char *const columns[INDEX_CLASSES], const char *t, bool drive,
                     struct index_where *ret, struct gvm_err *err) GVM_MUST_CHECK;
void index_where_done(struct index_where *w);

/* search.c: an index that was caught lying goes at once; the next gvm fills the new one. */
void index_distrust(struct gvm_index *ix);
/* search.c: puts the reader at entry `from` of the log, or at the first one there is. */
int index_read_from(struct gvm_index *ix, uint64_t from, struct gvm_err *err) GVM_MUST_CHECK;
/* A request's id as it stands in the index; never 0. */
int64_t index_request(struct gvm_str id);

#endif
