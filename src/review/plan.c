/* From choices to operations.
 *
 * An operation is one name of the workspace with its state before and after. What the agent may not
 * decide is decided here: owners, setuid bits, attributes, and which of two changed texts holds.
 *
 * A folder that is not there yet is put as a whole: it is built under a temporary name with
 * everything that goes into it, and appears with one rename.
 */
#include "review/review_int.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_MERGE (4u << 20) /* bytes of a text that is merged */

/* ---- what comes to be ---- */

/* Mode of a file: as the agent left it, without the bits that give rights away. */
static mode_t safe_mode(mode_t m, bool force)
{
    if (S_ISDIR(m)) /* the owner must be able to work in it */
        return S_IFDIR | (m & 0777) | 0700;
    return (m & S_IFMT) | (m & (S_ISREG(m) && force ? 07777 : 0777));
}

/* A new file belongs to whom the replaced one did, else to its creator, and to the group of a
 * setgid folder. */
static int choose_owner(const struct review_txn *t, struct gvm_str path,
                        const struct review_state *before, struct review_state *after)
{
    struct stat st;
    char leaf[REVIEW_MAX_NAME];
    if (before->mode) {
        after->uid = before->uid;
        after->gid = before->gid;
        return 0;
    }
    GVM_AUTOCLOSE int dir = review_open_parent(t->run->host, path, leaf);
    if (dir >= 0 && fstat(dir, &st) == 0 && (st.st_mode & S_ISGID))
        after->gid = st.st_gid;
    return 0;
}

static int plan_after(const struct review_txn *t, const struct gvm_change *ch, bool force,
                      struct review_op *op)
{
    struct review_state *s = &op->after;
    int r = review_capture(t->run->upper, ch->path, REVIEW_XATTRS_USER, t->arena, s);
    if (r < 0)
        return r;
    if ((s->mode & S_IFMT) != (ch->mode & S_IFMT))
        return -ESTALE; /* not what was shown */
    s->mode = safe_mode(s->mode, force);
    r = choose_owner(t, ch->path, &op->before, s);
    return r < 0 ? r : review_xattrs_keep_acl(t->arena, s->xattrs, op->before.xattrs, &s->xattrs);
}

/* ---- both sides changed ---- */

static int read_host(const struct review_txn *t, struct gvm_str path, int root, struct gvm_buf *out)
{
    char leaf[REVIEW_MAX_NAME];
    struct stat st;
    GVM_AUTOCLOSE int fd = -1;
    GVM_AUTOCLOSE int dir = review_open_parent(root, path, leaf);
    (void)t;
    if (dir < 0)
        return dir;
    int r = review_open_file(dir, leaf, &fd, &st);
    if (r < 0)
        return r;
    return st.st_size > (off_t)MAX_MERGE ? -EFBIG : gvm_read_fd(fd, out);
}

int review_merge_change(const struct review_run *run, struct gvm_str path, struct gvm_buf *out)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf base, ours, theirs;
    gvm_buf_init(&base, MAX_MERGE);
    gvm_buf_init(&ours, MAX_MERGE);
    gvm_buf_init(&theirs, MAX_MERGE);
    const struct review_txn t = {.run = run};
    int r = review_base_read(run, path, &base);
    if (r)
        return r < 0 && r != -EFBIG ? r : 1;
    r = read_host(&t, path, run->host, &ours);
    if (r == 0)
        r = read_host(&t, path, run->upper, &theirs);
    if (r < 0)
        return r == -EFBIG || review_is_skip(r) ? 1 : r;
    return review_merge(gvm_buf_str(&base), gvm_buf_str(&ours), gvm_buf_str(&theirs), out);
}

static int set_text(struct review_txn *t, struct review_op *op, struct gvm_str text)
{
    const char *copy = gvm_arena_dup(t->arena, text.p ? text.p : "", text.n);
    if (!copy)
        return -ENOMEM;
    op->has_text = true;
    op->text = (struct gvm_str){copy, text.n};
    return 0;
}

/* The owner's file changed since the agent began: the lines of both, or a skip. */
static int plan_merge(struct review_txn *t, const struct gvm_change *ch, struct review_op *op)
{
    if (ch->kind != GVM_CHANGE_MODIFIED || !S_ISREG(op->before.mode) || !S_ISREG(op->after.mode))
        return -ESTALE;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf merged;
    gvm_buf_init(&merged, 2 * MAX_MERGE);
    int r = review_merge_change(t->run, ch->path, &merged);
    if (r)
        return r < 0 ? r : -ESTALE;
    op->merged = true;
    return set_text(t, op, gvm_buf_str(&merged));
}

bool review_is_conflict(const struct review_run *run, struct gvm_str path,
                        const struct review_state *host)
{
    int64_t since = run->rec.layer_ns ? run->rec.layer_ns : run->rec.started_ns;
    if (!host->mode || S_ISDIR(host->mode) || host->ctime_ns <= since)
        return false;
    if (!S_ISREG(host->mode))
        return true;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf base, now;
    gvm_buf_init(&base, MAX_MERGE);
    gvm_buf_init(&now, MAX_MERGE);
    const struct review_txn t = {.run = run};
    return review_base_read(run, path, &base) != 0 || read_host(&t, path, run->host, &now) < 0 ||
           !gvm_str_eq(gvm_buf_str(&base), gvm_buf_str(&now));
}

/* ---- one change ---- */

static enum review_op_kind kind_of(const struct gvm_change *ch)
{
    if (ch->kind == GVM_CHANGE_DELETED)
        return REVIEW_DELETE;
    bool dress = ch->kind == GVM_CHANGE_MODE || ch->kind == GVM_CHANGE_ATTRIBUTES;
    return dress ? REVIEW_DRESS : REVIEW_PUT;
}

/* The owner's file must still be of the kind it was when the list was made. */
static int check_host(const struct gvm_change *ch, const struct review_state *before)
{
    if (!before->mode != !ch->host_mode)
        return before->mode ? -EEXIST : -ENOENT;
    return (before->mode & S_IFMT) == (ch->host_mode & S_IFMT) ? 0 : -ESTALE;
}

/* The decision was made over a text: it holds as long as that is what is there. */
static int check_seen(const struct review_txn *t, const struct gvm_change *ch,
                      const struct gvm_choice *choice)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf now;
    gvm_buf_init(&now, MAX_MERGE);
    if (!choice->has_seen || !ch->host_mode)
        return 0;
    int r = read_host(t, ch->path, t->run->host, &now);
    return r < 0 || !gvm_str_eq(gvm_buf_str(&now), choice->seen) ? -ESTALE : 0;
}

static int plan_hash(const struct review_txn *t, struct review_op *op)
{
    char leaf[REVIEW_MAX_NAME];
    if (op->kind != REVIEW_PUT || !S_ISREG(op->after.mode))
        return 0;
    if (op->has_text) {
        op->after.size = op->text.n;
        return review_hash_text(op->text, op->after.hash);
    }
    GVM_AUTOCLOSE int dir = review_open_parent(t->run->upper, op->path, leaf);
    return dir < 0 ? dir : review_hash_file(dir, leaf, op->after.hash);
}

static int plan_one(struct review_txn *t, const struct gvm_change *ch,
                    const struct gvm_choice *choice, bool force, struct review_op *op)
{
    *op = (struct review_op){.path = ch->path, .kind = kind_of(ch), .tree = REVIEW_ALONE};
    int r = review_capture(t->run->host, ch->path, REVIEW_XATTRS_ALL, t->arena, &op->before);
    if (r == 0)
        r = check_host(ch, &op->before);
    if (r == 0 && op->kind != REVIEW_DELETE)
        r = plan_after(t, ch, force, op);
    if (r == 0 && op->kind == REVIEW_DRESS) {
        struct review_state now = op->before;
        now.mode = op->after.mode;
        now.xattrs = op->after.xattrs;
        op->after = now;
    }
    if (r == 0)
        r = check_seen(t, ch, choice);
    bool conflict = r == 0 && !force && review_is_conflict(t->run, ch->path, &op->before);
    if (conflict && !choice->has_text)
        r = plan_merge(t, ch, op);
    else if (r == 0 && choice->has_text)
        r = S_ISREG(op->after.mode) ? set_text(t, op, choice->text) : -ESTALE;
    op->keep = choice->keep;
    return r < 0 ? r : plan_hash(t, op);
}

int review_plan(struct review_txn *t, const struct gvm_changes *c, const struct gvm_choice *choices,
                bool force)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += choices[i].land && !c->list[i].refusal;
    t->ops = gvm_arena_alloc(t->arena, (n + 1) * sizeof(*t->ops));
    if (!t->ops)
        return -E2BIG;
    for (size_t i = 0; i < c->n; i++) {
        if (!choices[i].land || c->list[i].refusal)
            continue;
        struct review_op *op = &t->ops[t->n];
        int r = plan_one(t, &c->list[i], &choices[i], force, op);
        op->change = t->at = i;
        if (r == 0)
            t->n++;
        else if (!review_is_skip(r))
            return r;
    }
    return 0;
}

/* ---- folders on the way ---- */

static int by_path(const void *a, const void *b)
{
    struct gvm_str x = ((const struct review_op *)a)->path, y = ((const struct review_op *)b)->path;
    int r = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return r ? r : (x.n > y.n) - (x.n < y.n);
}

struct folders {
    struct gvm_map *put; /* path -> index + 1 of the operation that puts a folder there */
    struct review_op *more;
    size_t n, cap;
};

static int add_folder(struct review_txn *t, struct folders *f, struct gvm_str path)
{
    if (f->n == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 64;
        struct review_op *mem = gvm_arena_alloc(t->arena, cap * sizeof(*mem));
        if (!mem)
            return -E2BIG;
        if (f->n)
            memcpy(mem, f->more, f->n * sizeof(*mem));
        f->more = mem;
        f->cap = cap;
    }
    struct review_op *op = &f->more[f->n++];
    *op = (struct review_op){
        .path = path, .kind = REVIEW_PUT, .tree = REVIEW_ALONE, .change = SIZE_MAX};
    int r = 0;
    if (t->source < 0) {
        r = review_capture(t->run->upper, path, REVIEW_XATTRS_USER, t->arena, &op->after);
        if (r == 0 && !S_ISDIR(op->after.mode))
            r = -ENOTDIR;
    } else { /* an undo, and somebody removed the folder since */
        int64_t now = gvm_now_ns();
        op->after = (struct review_state){.mode = S_IFDIR | 0755,
                                          .uid = geteuid(),
                                          .gid = getegid(),
                                          .atime_ns = now,
                                          .mtime_ns = now,
                                          .target = {"", 0},
                                          .xattrs = {"", 0}};
    }
    op->after.mode = safe_mode(op->after.mode, false);
    return r < 0 ? r : gvm_map_put(f->put, path, op);
}

/* Every folder above `path` is there, or is put. */
static int need_parents(struct review_txn *t, struct folders *f, struct gvm_str path)
{
    struct gvm_str parent = review_dirname(path);
    struct stat st;
    if (!parent.n || gvm_map_get(f->put, parent))
        return 0;
    int r = review_lstat(t->run->host, parent, &st);
    if (r == 0)
        return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
    if (r != -ENOENT)
        return r;
    for (size_t i = 1; i <= parent.n; i++) {
        struct gvm_str at = {parent.p, i};
        if ((i < parent.n && parent.p[i] != '/') || gvm_map_get(f->put, at))
            continue;
        r = review_lstat(t->run->host, at, &st);
        if (r == 0)
            r = S_ISDIR(st.st_mode) ? 1 : -ENOTDIR;
        if (r == -ENOENT)
            r = add_folder(t, f, at);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_missing(struct review_txn *t, struct folders *f)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct review_op *op = &t->ops[i];
        if (op->kind == REVIEW_PUT && S_ISDIR(op->after.mode)) {
            int r = gvm_map_put(f->put, op->path, (void *)(uintptr_t)op);
            if (r < 0)
                return r;
        }
    }
    for (size_t i = 0; i < t->n; i++) {
        int r = t->ops[i].kind == REVIEW_PUT ? need_parents(t, f, t->ops[i].path) : 0;
        if (r < 0 && !review_is_skip(r))
            return r;
        if (r == 0)
            t->ops[kept++] = t->ops[i];
    }
    t->n = kept;
    return 0;
}

static int join(struct review_txn *t, const struct folders *f)
{
    struct review_op *all = gvm_arena_alloc(t->arena, (t->n + f->n + 1) * sizeof(*all));
    if (!all)
        return -E2BIG;
    memcpy(all, t->ops, t->n * sizeof(*all));
    if (f->n)
        memcpy(all + t->n, f->more, f->n * sizeof(*all));
    t->ops = all;
    t->n += f->n;
    qsort(all, t->n, sizeof(*all), by_path);
    return 0;
}

/* Sorted by path, a folder stands before what is in it. */
static int find_trees(struct review_txn *t)
{
    struct gvm_map *put = gvm_map_new(2 * REVIEW_MAX_CHANGES, NULL);
    int r = put ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < t->n; i++) {
        struct review_op *op = &t->ops[i];
        op->tree = REVIEW_ALONE;
        if (op->kind != REVIEW_PUT)
            continue;
        size_t parent = (size_t)(uintptr_t)gvm_map_get(put, review_dirname(op->path));
        if (parent) {
            size_t up = t->ops[parent - 1].tree;
            op->tree = up == REVIEW_ALONE ? parent - 1 : up;
        }
        if (S_ISDIR(op->after.mode))
            r = gvm_map_put(put, op->path, (void *)(uintptr_t)(i + 1));
    }
    gvm_map_free(put);
    return r;
}

int review_plan_trees(struct review_txn *t)
{
    struct folders f = {.put = gvm_map_new(2 * REVIEW_MAX_CHANGES, NULL)};
    if (!f.put)
        return -ENOMEM;
    int r = add_missing(t, &f);
    gvm_map_free(f.put);
    if (r == 0)
        r = join(t, &f);
    return r < 0 ? r : find_trees(t);
}
