/* index/sqlite.h - the functions of SQLite, found when the first question is asked.
 *
 * Every gvm would otherwise spend a part of a millisecond on a library that most verbs do not need,
 * and none would start where it is not installed.
 */
#ifndef GVM_INDEX_SQLITE_H
#define GVM_INDEX_SQLITE_H

#include <sqlite3.h>
#include "core/core.h"

/* clang-format off */
#define INDEX_SQLITE(X) \
    X(bind_blob64) X(bind_int) X(bind_int64) X(bind_null) X(bind_text) X(busy_timeout) \
    X(close) X(column_blob) X(column_bytes) X(column_int64) X(column_text) X(db_config) \
    X(errmsg) X(exec) X(extended_errcode) X(extended_result_codes) X(finalize) X(free) \
    X(last_insert_rowid) X(mprintf) X(open_v2) X(prepare_v2) X(reset) X(step)
/* clang-format on */

struct index_sqlite {
#define X(name) __typeof__(sqlite3_##name) *name;
    INDEX_SQLITE(X)
#undef X
};
/* All there after index_sqlite_load() returned 0. */
extern struct index_sqlite sq;

/* -ENOSYS: not installed, or too old. */
int index_sqlite_load(struct gvm_err *err) GVM_MUST_CHECK;

#endif
