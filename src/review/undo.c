/* Taking a commit back: its record read backwards, carried out as a commit of its own.
 *
 * What a commit replaced or removed lies beside its record, so an undo needs nothing but the run's
 * directory, and works as long as that is kept. A name counts as touched when it is not any more
 * what the commit made of it; such a name is left alone unless the owner says otherwise. The undo
 * keeps what it replaces itself, and its record names the commit it took back.
 */
#include "review/review_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct gvm_undo {
    struct review_run run;
    int lock;
    struct review_txn t; /* the commit's record, later turned round */
    int number;
    struct gvm_undo_item *items;
    size_t n;
    size_t *op_of; /* per item: its operation */
};

/* ---- which commit ---- */

static int open_number(const struct review_run *run, int number, bool whole, struct review_txn *t)
{
    char name[REVIEW_TEMP_NAME];
    snprintf(name, sizeof(name), "undo-%d", number);
    *t = (struct review_txn){.run = run, .source = -1};
    t->dir = openat(run->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (t->dir < 0)
        return -errno;
    t->arena = gvm_arena_new(whole ? 2 * (size_t)REVIEW_MAX_MEMORY : 1u << 20);
    int r = !t->arena ? -ENOMEM : whole ? review_record_read(t) : review_record_head(t);
    if (r == 0 && whole)
        r = review_skipped_read(t);
    if (r < 0)
        review_txn_done(t);
    return r;
}

/* Marks what a later undo of this commit already took back. */
static int mark_undone(struct review_txn *t, const struct review_txn *later)
{
    struct gvm_map *done = gvm_map_new(2 * REVIEW_MAX_CHANGES, NULL);
    int r = done ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < later->n; i++)
        if (!later->ops[i].skipped)
            r = gvm_map_put(done, later->ops[i].path, t);
    for (size_t i = 0; r == 0 && i < t->n; i++)
        t->ops[i].skipped |= gvm_map_get(done, t->ops[i].path) != NULL;
    gvm_map_free(done);
    return r;
}

/* The record of commit `number` without what was taken back since. 1 = nothing is left of it. */
static int read_left(const struct review_run *run, int number, int last, struct review_txn *t)
{
    int r = open_number(run, number, true, t);
    if (r < 0)
        return r;
    if (t->undoes)
        r = 1;
    for (int k = number + 1; r == 0 && k <= last; k++) {
        struct review_txn head, later;
        if (open_number(run, k, false, &head) < 0)
            continue;
        bool ours = head.undoes == number;
        review_txn_done(&head);
        if (!ours)
            continue;
        r = open_number(run, k, true, &later);
        if (r == 0)
            r = mark_undone(t, &later);
        review_txn_done(&later);
    }
    size_t left = 0;
    for (size_t i = 0; r == 0 && i < t->n; i++)
        left += !t->ops[i].skipped;
    if (r == 0 && left == 0)
        r = 1;
    if (r)
        review_txn_done(t);
    return r;
}

static int find_commit(struct gvm_undo *u, int below, struct gvm_err *err)
{
    int last = review_last_undo(&u->run), r = last < 0 ? last : 1;
    for (int k = below > 0 ? below - 1 : last; r == 1 && k > 0; k--) {
        r = read_left(&u->run, k, last, &u->t);
        u->number = k;
        if (r == -ENOENT)
            r = 1; /* its time was over */
    }
    if (r == 1)
        return gvm_err_set(err, ENOENT, "there is nothing to undo in run %s", u->run.rec.run);
    return r < 0 ? gvm_err_sys(err, -r, "cannot read the commits of run %s", u->run.rec.run) : 0;
}

/* ---- what it would do ---- */

/* NULL when the name is what the commit made of it. */
static const char *touched(const struct review_run *run, const struct review_op *op,
                           struct review_state *now)
{
    char leaf[REVIEW_MAX_NAME];
    if (!op->after.mode)
        return now->mode ? "something is there again" : NULL;
    if (!now->mode)
        return "it is not there any more";
    if ((now->mode & S_IFMT) != (op->after.mode & S_IFMT))
        return "it is of another kind now";
    if (S_ISLNK(now->mode))
        return gvm_str_eq(now->target, op->after.target) ? NULL : "it leads elsewhere now";
    if (op->kind != REVIEW_PUT || !S_ISREG(now->mode))
        return NULL;
    GVM_AUTOCLOSE int dir = review_open_parent(run->host, op->path, leaf);
    if (dir < 0 || review_hash_file(dir, leaf, now->hash) < 0)
        return "it cannot be read";
    return strcmp(now->hash, op->after.hash) == 0 ? NULL : "its content changed since";
}

/* Nothing to do: it is already as it was before the commit. */
static bool is_before(const struct review_op *op, const struct review_state *now)
{
    if (!op->before.mode || !now->mode)
        return !op->before.mode && !now->mode;
    return S_ISDIR(op->before.mode) && S_ISDIR(now->mode) && op->kind != REVIEW_DRESS;
}

static void turn_round(struct review_op *op, size_t number, const struct review_state *now)
{
    struct review_state before = op->before;
    enum review_op_kind kind = op->kind;
    op->source = number;
    op->change = number;
    op->keep = false;
    op->before = *now;
    if (kind == REVIEW_DRESS) {
        op->after = *now;
        op->after.mode = (now->mode & S_IFMT) | (before.mode & 07777);
        op->after.uid = before.uid;
        op->after.gid = before.gid;
        op->after.xattrs = before.xattrs;
        op->after.mtime_ns = before.mtime_ns;
        return;
    }
    op->kind = before.mode ? REVIEW_PUT : REVIEW_DELETE;
    op->after = before;
}

static int look_at(struct gvm_undo *u, size_t i)
{
    struct review_op *op = &u->t.ops[i];
    struct review_state now;
    int r = review_capture(u->run.host, op->path, REVIEW_XATTRS_ALL, u->t.arena, &now);
    if (r < 0)
        return r;
    if (is_before(op, &now)) {
        op->skipped = true;
        return 0;
    }
    struct gvm_undo_item *it = &u->items[u->n];
    *it = (struct gvm_undo_item){.path = op->path,
                                 .is_dir =
                                     S_ISDIR(op->before.mode ? op->before.mode : op->after.mode),
                                 .touched = touched(&u->run, op, &now)};
    it->what = op->kind == REVIEW_DRESS ? GVM_CHANGE_MODE
               : !op->before.mode       ? GVM_CHANGE_DELETED
               : op->after.mode         ? GVM_CHANGE_MODIFIED
                                        : GVM_CHANGE_CREATED;
    u->op_of[u->n++] = i;
    turn_round(op, i, &now);
    return 0;
}

static int look_at_all(struct gvm_undo *u, struct gvm_err *err)
{
    u->items = gvm_calloc(u->t.n + 1, sizeof(*u->items));
    u->op_of = gvm_calloc(u->t.n + 1, sizeof(*u->op_of));
    if (!u->items || !u->op_of)
        return gvm_err_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < u->t.n; i++) {
        if (u->t.ops[i].skipped)
            continue;
        int r = look_at(u, i);
        if (r < 0)
            return gvm_err_sys(err, -r, "cannot look at '%.300s'", u->t.ops[i].path.p);
    }
    return 0;
}

static int open_locked(struct gvm_undo *u, const char *run_dir, int below, struct gvm_err *err)
{
    int r = review_open(run_dir, &u->run, err);
    if (r == 0)
        r = review_lock(&u->run, true, &u->lock, err);
    if (r == 0)
        r = review_recover(&u->run, err);
    if (r == 0)
        r = find_commit(u, below, err);
    return r == 0 ? look_at_all(u, err) : r;
}

int gvm_undo_open(const char *run_dir, int below, struct gvm_undo **ret, struct gvm_err *err)
{
    struct gvm_undo *u = gvm_calloc(1, sizeof(*u));
    if (!u)
        return gvm_err_set(err, ENOMEM, "out of memory");
    u->lock = u->t.dir = u->t.source = -1;
    u->run = (struct review_run){.dir = -1, .upper = -1, .host = -1};
    int r = open_locked(u, run_dir, below, err);
    if (r == 0)
        *ret = u;
    else
        gvm_undo_free(u);
    return r;
}

void gvm_undo_free(struct gvm_undo *u)
{
    if (!u)
        return;
    review_txn_done(&u->t);
    review_close(&u->run);
    gvm_close(&u->lock);
    free(u->items);
    free(u->op_of);
    free(u);
}

const struct gvm_undo_item *gvm_undo_items(const struct gvm_undo *u, size_t *ret_n)
{
    *ret_n = u->n;
    return u->items;
}

int gvm_undo_number(const struct gvm_undo *u)
{
    return u->number;
}

int64_t gvm_undo_when(const struct gvm_undo *u)
{
    return u->t.when_ns;
}

int gvm_undo_run(struct gvm_undo *u, const bool *choose, const struct gvm_commit_how *how,
                 size_t *ret_done, struct gvm_err *err)
{
    struct review_txn *t = &u->t;
    size_t n = 0;
    for (size_t i = 0; i < u->n; i++)
        if (choose[i] && (!u->items[i].touched || how->force))
            t->ops[n++] = t->ops[u->op_of[i]];
    t->n = n;
    t->undoes = u->number;
    t->source = gvm_steal_fd(&t->dir); /* the kept content of the commit */
    t->saved_skips = 0;
    int r = review_plan_trees(t);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot look at the folders of %.300s", u->run.rec.workspace);
    return review_txn_run(t, how, ret_done, err);
}

/* ---- how long ---- */

static void close_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

static int prune_run(int runs, const char *name, int64_t before_ns)
{
    struct review_run run = {.upper = -1, .host = -1};
    run.dir = openat(runs, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int last = run.dir < 0 ? 0 : review_last_undo(&run), r = 0;
    for (int k = 1; r == 0 && k <= last; k++) {
        struct review_txn t;
        char undo[REVIEW_TEMP_NAME];
        if (open_number(&run, k, false, &t) < 0)
            continue;
        bool old = t.when_ns < before_ns;
        review_txn_done(&t);
        snprintf(undo, sizeof(undo), "undo-%d", k);
        if (old)
            r = gvm_remove_tree_at(run.dir, undo, NULL);
    }
    review_close(&run);
    return r;
}

int gvm_undo_prune(const char *runs_dir, int64_t before_ns, struct gvm_err *err)
{
    GVM_CLEANUP(close_dir) DIR *d = opendir(runs_dir);
    int r = 0;
    if (!d)
        return errno == ENOENT ? 0 : gvm_err_sys(err, errno, "cannot open %s", runs_dir);
    for (const struct dirent *e; r == 0 && (e = readdir(d));)
        if (e->d_name[0] != '.')
            r = prune_run(dirfd(d), e->d_name, before_ns);
    return r < 0 ? gvm_err_sys(err, -r, "cannot remove old copies below %s", runs_dir) : 0;
}
