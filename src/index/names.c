/* names.c - hosts, agents, kinds and the like are stored once and stand as numbers in the rows.
 *
 * How often each is used is kept too: it tells which condition of a question leaves the fewest
 * rows.
 */
#include <errno.h>
#include <stdlib.h>
#include "index/index_int.h"

#define CACHED    65536u /* an agent can ask for any number of names; memory stays bounded */
#define NAME_KEEP 1024u  /* longer texts, which GVM itself never writes, are looked up each time */

struct name {
    int64_t id, used; /* used: not written down yet */
};

struct index_names {
    sqlite3 *db;
    sqlite3_stmt *find, *add, *count;
    struct gvm_map *cache; /* class and text -> struct name */
};

int index_names_new(sqlite3 *db, struct index_names **ret, struct gvm_err *err)
{
    struct index_names *n = gvm_calloc(1, sizeof *n);
    if (!n)
        return gvm_err_set(err, ENOMEM, "out of memory");
    n->db = db;
    n->cache = gvm_map_new(CACHED, free);
    int r = n->cache ? 0 : gvm_err_set(err, ENOMEM, "out of memory");
    if (r == 0)
        r = index_prepare(db, "SELECT id FROM names WHERE class = ?1 AND name = ?2", &n->find, err);
    if (r == 0)
        r = index_prepare(db, "INSERT INTO names(class, name, n) VALUES(?1, ?2, 0)", &n->add, err);
    if (r == 0)
        r = index_prepare(db, "UPDATE names SET n = n + ?1 WHERE id = ?2", &n->count, err);
    if (r < 0)
        index_names_free(n);
    else
        *ret = n;
    return r;
}

void index_names_free(struct index_names *n)
{
    if (!n)
        return;
    (void)sq.finalize(n->find);
    (void)sq.finalize(n->add);
    (void)sq.finalize(n->count);
    gvm_map_free(n->cache);
    free(n);
}

static int bind_and_step(sqlite3_stmt *s, enum index_class c, struct gvm_str text)
{
    (void)sq.reset(s);
    (void)sq.bind_int(s, 1, (int)c);
    (void)sq.bind_blob64(s, 2, text.p, text.n, SQLITE_STATIC);
    return sq.step(s);
}

static int find_or_add(struct index_names *n, enum index_class c, struct gvm_str text, int64_t *ret,
                       struct gvm_err *err)
{
    int rc = bind_and_step(n->find, c, text);
    if (rc == SQLITE_ROW) {
        *ret = sq.column_int64(n->find, 0);
    } else if (rc == SQLITE_DONE) {
        rc = bind_and_step(n->add, c, text);
        *ret = sq.last_insert_rowid(n->db);
    }
    int r = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : index_sql_failed(n->db, err);
    (void)sq.reset(n->find);
    (void)sq.reset(n->add);
    return r;
}

static int add_count(struct index_names *n, const struct name *v, struct gvm_err *err)
{
    (void)sq.reset(n->count);
    (void)sq.bind_int64(n->count, 1, v->used);
    (void)sq.bind_int64(n->count, 2, v->id);
    int rc = sq.step(n->count);
    int r = rc == SQLITE_DONE ? 0 : index_sql_failed(n->db, err);
    (void)sq.reset(n->count);
    return r;
}

int index_names_flush(struct index_names *n, struct gvm_err *err)
{
    size_t pos = 0;
    struct gvm_str key;
    void *v;
    int r = 0;
    while (r == 0 && gvm_map_next(n->cache, &pos, &key, &v)) {
        struct name *name = v;
        if (name->used)
            r = add_count(n, name, err);
        name->used = 0;
    }
    return r;
}

/* Makes room by forgetting all of it: what is used again comes back soon. */
static int remember(struct index_names *n, struct gvm_str key, int64_t id, struct gvm_err *err)
{
    int r = 0;
    if (gvm_map_size(n->cache) >= CACHED) {
        r = index_names_flush(n, err);
        gvm_map_free(n->cache);
        n->cache = gvm_map_new(CACHED, free);
    }
    struct name *v = r == 0 && n->cache ? gvm_calloc(1, sizeof *v) : NULL;
    if (v)
        *v = (struct name){.id = id, .used = 1};
    if (r == 0 && (!v || gvm_map_put(n->cache, key, v) < 0)) {
        free(v);
        r = gvm_err_set(err, ENOMEM, "out of memory");
    }
    return r;
}

int index_names_id(struct index_names *n, enum index_class c, struct gvm_str text, int64_t *ret,
                   struct gvm_err *err)
{
    char key[NAME_KEEP + 1];
    *ret = 0;
    if (!text.n)
        return 0;
    if (text.n > NAME_KEEP)
        return find_or_add(n, c, text, ret, err);
    key[0] = (char)('0' + c);
    memcpy(key + 1, text.p, text.n);
    struct gvm_str whole = {key, text.n + 1};
    struct name *v = gvm_map_get(n->cache, whole);
    if (v) {
        v->used++;
        *ret = v->id;
        return 0;
    }
    int r = find_or_add(n, c, text, ret, err);
    return r < 0 ? r : remember(n, whole, *ret, err);
}
