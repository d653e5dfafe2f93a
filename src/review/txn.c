/* All or nothing.
 *
 *   1. what was there is copied into run_dir/commit/, and synced
 *   2. the record of every operation is written, and synced
 *   3. new content is built beside its place under a temporary name, and synced
 *   4. the caller puts the commit on record in the ledger
 *   5. "go" is written and synced: from now on the commit happens
 *   6. deletions, deepest first; renames into place; modes and attributes; synced
 *   7. what landed leaves the upper layer
 *   8. run_dir/commit becomes run_dir/undo-<number>
 *
 * Killed before 5, the next look removes the temporary files and the directory: the workspace is as
 * before. Killed after 5, it goes on with 6, where each step is one that can be repeated. If a step
 * of 6 fails for good (a disk that gives no more), "back" is written and everything is made as it
 * was, from what was kept; killed in there, the next look begins that again.
 *
 * Every folder is reached with openat2() beneath the workspace without following links, every last
 * name is used with NOFOLLOW calls relative to it, and content is copied, never linked or renamed
 * out of the layer: a hard link the agent kept cannot reach the owner's file.
 */
#include "review/review_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYNC_EACH 8u /* up to so many operations are synced one by one, more with one syncfs() */

bool review_is_skip(int r)
{
    return r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -EEXIST || r == -ENOTEMPTY ||
           r == -ESTALE;
}

/* ---- markers ---- */

static int set_marker(const struct review_txn *t, const char *name)
{
    int r = review_step(name);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd = openat(t->dir, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 || fsync(fd) < 0 ? -errno : review_sync_dir(t->dir);
}

static bool has_marker(const struct review_txn *t, const char *name)
{
    return faccessat(t->dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- landing ---- */

/* The folder and name of an operation that still applies; `leaf` is checked against `before`. */
static int open_place(const struct review_txn *t, const struct review_op *op, char *leaf)
{
    struct stat st;
    GVM_AUTOCLOSE int dir = review_open_parent(t->run->host, op->path, leaf);
    if (dir < 0)
        return dir;
    bool there = fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there != (op->before.mode != 0))
        return there ? -EEXIST : -ENOENT;
    if (there && !review_same_file(&op->before, &st))
        return -ESTALE;
    return gvm_steal_fd(&dir);
}

static int land_delete(const struct review_txn *t, const struct review_op *op)
{
    char leaf[REVIEW_MAX_NAME];
    GVM_AUTOCLOSE int dir = open_place(t, op, leaf);
    if (dir == -ENOENT || dir == -ENOTDIR || dir == -ELOOP)
        return 0; /* gone already: by us, by the owner, or with the folder it was in */
    int r = dir < 0 ? dir : review_step("delete");
    if (r < 0)
        return r;
    if (unlinkat(dir, leaf, S_ISDIR(op->before.mode) ? AT_REMOVEDIR : 0) < 0)
        return -errno;
    return t->sync_each ? review_sync_dir(dir) : 0;
}

static int land_dress(const struct review_txn *t, const struct review_op *op)
{
    char leaf[REVIEW_MAX_NAME];
    GVM_AUTOCLOSE int dir = open_place(t, op, leaf);
    int r = dir < 0 ? dir : review_step("dress");
    return r < 0 ? r : review_dress(dir, leaf, &op->after);
}

/* A folder and something that is none change places; what was there then goes. An old folder must
 * be empty by now. */
static int exchange(int dir, const char *temp, const char *leaf, bool old_is_dir)
{
    if (renameat2(dir, temp, dir, leaf, RENAME_EXCHANGE) < 0)
        return -errno;
    int r = review_step("drop old");
    if (r < 0)
        return r;
    if (unlinkat(dir, temp, old_is_dir ? AT_REMOVEDIR : 0) == 0)
        return 0;
    r = -errno;
    return renameat2(dir, temp, dir, leaf, RENAME_EXCHANGE) < 0 ? -errno : r;
}

/* The exchange was done and the old one is still there under the temporary name. */
static int finish_exchange(int dir, const char *temp, const char *leaf, mode_t staged)
{
    if (unlinkat(dir, temp, S_ISDIR(staged) ? AT_REMOVEDIR : 0) == 0)
        return 0;
    int r = -errno;
    return renameat2(dir, temp, dir, leaf, RENAME_EXCHANGE) < 0 ? -errno : r;
}

static int rename_new(int dir, const char *temp, const char *leaf)
{
    if (renameat2(dir, temp, dir, leaf, RENAME_NOREPLACE) == 0)
        return 0;
    /* Not every file system knows NOREPLACE; that nothing is there was seen a moment ago. */
    return errno != EINVAL || renameat(dir, temp, dir, leaf) < 0 ? -errno : 0;
}

static int land_put(const struct review_txn *t, size_t i)
{
    const struct review_op *op = &t->ops[i];
    char leaf[REVIEW_MAX_NAME], temp[REVIEW_TEMP_NAME];
    struct stat st;
    review_temp_name(t, i, temp);
    GVM_AUTOCLOSE int at = review_open_parent(t->run->host, op->path, leaf);
    if (at < 0)
        return at;
    if (fstatat(at, temp, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno; /* in place already */
    bool swaps = op->before.mode && (op->before.mode & S_IFMT) != (op->after.mode & S_IFMT) &&
                 (S_ISDIR(op->before.mode) || S_ISDIR(op->after.mode));
    if (swaps && (st.st_mode & S_IFMT) == (op->before.mode & S_IFMT))
        return finish_exchange(at, temp, leaf, st.st_mode);
    GVM_AUTOCLOSE int dir = open_place(t, op, leaf);
    int r = dir < 0 ? dir : review_step("rename");
    if (r < 0)
        return r;
    if (swaps)
        r = exchange(dir, temp, leaf, S_ISDIR(op->before.mode));
    else if (!op->before.mode)
        r = rename_new(dir, temp, leaf);
    else
        r = renameat(dir, temp, dir, leaf) < 0 ? -errno : 0;
    return r < 0 || !t->sync_each ? r : review_sync_dir(dir);
}

/* Keeps on after what concerns one operation only; any other failure is the end. */
static int settle(struct review_txn *t, size_t i, int r)
{
    t->at = i;
    t->ops[i].skipped = review_is_skip(r);
    return t->ops[i].skipped ? 0 : r;
}

static size_t count_skipped(const struct review_txn *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        n += t->ops[i].skipped;
    return n;
}

/* Without its temporary file an operation counts as done: what is skipped must be known before. */
static int save_skips(struct review_txn *t)
{
    size_t n = count_skipped(t);
    int r = n == t->saved_skips ? 0 : review_skipped_write(t);
    if (r == 0)
        t->saved_skips = n;
    return r;
}

static int land_all(struct review_txn *t)
{
    int r = 0;
    for (size_t i = t->n; r == 0 && i-- > 0;)
        if (t->ops[i].kind == REVIEW_DELETE && !t->ops[i].skipped)
            r = settle(t, i, land_delete(t, &t->ops[i]));
    for (size_t i = 0; r == 0 && i < t->n; i++) {
        const struct review_op *op = &t->ops[i];
        if (op->kind != REVIEW_PUT || op->skipped)
            continue;
        if (op->tree == REVIEW_ALONE)
            r = settle(t, i, land_put(t, i));
        else
            t->ops[i].skipped |= t->ops[op->tree].skipped;
    }
    for (size_t i = 0; r == 0 && i < t->n; i++)
        if (t->ops[i].kind == REVIEW_DRESS && !t->ops[i].skipped)
            r = settle(t, i, land_dress(t, &t->ops[i]));
    if (r == 0)
        r = review_step("sync");
    return r == 0 && !t->sync_each && syncfs(t->run->host) < 0 ? -errno : r;
}

/* ---- taking back ---- */

static int remove_commit(const struct review_txn *t)
{
    int r = gvm_remove_tree_at(t->run->dir, REVIEW_OPEN_COMMIT, NULL);
    return r < 0 ? r : review_sync_dir(t->run->dir);
}

/* Nothing landed yet. */
static int forget(const struct review_txn *t)
{
    int r = review_unstage_all(t);
    if (r == 0 && t->n && syncfs(t->run->host) < 0)
        r = -errno;
    return r < 0 ? r : remove_commit(t);
}

/* In the order opposite to landing: deletions last, a folder before what was in it. */
static int take_back(struct review_txn *t)
{
    int r = 0;
    for (size_t i = t->n; r == 0 && i-- > 0;) {
        const struct review_op *op = &t->ops[i];
        t->at = i;
        if (op->kind == REVIEW_DRESS || (op->kind == REVIEW_PUT && op->tree == REVIEW_ALONE))
            r = op->skipped ? review_unstage(t, i) : review_bring_back(t, i);
    }
    for (size_t i = 0; r == 0 && i < t->n; i++) {
        t->at = i;
        if (t->ops[i].kind == REVIEW_DELETE && !t->ops[i].skipped)
            r = review_bring_back(t, i);
    }
    /* Bringing files back moved the folders' times and needed their modes open. */
    for (size_t i = t->n; r == 0 && i-- > 0;)
        if (t->ops[i].kind == REVIEW_DELETE && S_ISDIR(t->ops[i].before.mode)) {
            char leaf[REVIEW_MAX_NAME];
            GVM_AUTOCLOSE int dir = review_open_parent(t->run->host, t->ops[i].path, leaf);
            if (dir >= 0)
                r = review_dress(dir, leaf, &t->ops[i].before);
        }
    if (r == 0 && syncfs(t->run->host) < 0)
        r = -errno;
    return r < 0 ? r : remove_commit(t);
}

/* ---- leaving the layer ---- */

/* A folder goes when nothing in it waits any more; else only its mode is settled. */
static int drop_dir(const struct review_run *run, struct gvm_str path, int dir, const char *leaf)
{
    struct stat host;
    int r = review_lstat(run->host, path, &host);
    if (r == 0 && S_ISDIR(host.st_mode))
        r = review_chmod(dir, leaf, host.st_mode & 07777);
    review_prune(run, path);
    return review_is_skip(r) ? 0 : r;
}

int review_drop(const struct review_run *run, struct gvm_str path)
{
    char leaf[REVIEW_MAX_NAME];
    GVM_AUTOCLOSE int dir = review_open_parent(run->upper, path, leaf);
    struct stat st;
    /* Part of a bigger deletion: nothing of its own is there. */
    if (dir < 0)
        return review_is_skip(dir) ? 0 : dir;
    if (fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    int r = review_step("drop");
    if (r == 0)
        r = S_ISDIR(st.st_mode) ? drop_dir(run, path, dir, leaf) : review_unlink(dir, leaf, 0);
    if (r == 0)
        review_prune(run, review_dirname(path));
    return r;
}

static int keep_base(const struct review_txn *t, const struct review_op *op)
{
    char leaf[REVIEW_MAX_NAME];
    struct stat st;
    GVM_AUTOCLOSE int fd = -1;
    GVM_AUTOCLOSE int dir = review_open_parent(t->run->host, op->path, leaf);
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf text;
    gvm_buf_init(&text, 8u << 20);
    int r = dir < 0 ? dir : review_open_file(dir, leaf, &fd, &st);
    if (r == 0)
        r = gvm_read_fd(fd, &text);
    return r < 0 ? r : review_base_write(t->run, op->path, gvm_buf_str(&text));
}

/* Deepest first, so that folders are empty when their turn comes. A folder that stays says nothing
 * any more once the host's is like it. */
static int drop_landed(struct review_txn *t)
{
    int r = 0;
    for (size_t i = t->n; r == 0 && i-- > 0;) {
        const struct review_op *op = &t->ops[i];
        t->at = i;
        if (op->skipped || op->change == SIZE_MAX || t->source >= 0 || t->run->upper < 0)
            continue;
        /* What stays is compared with what landed from now on. */
        r = op->keep ? keep_base(t, op) : review_drop(t->run, op->path);
    }
    return r;
}

/* ---- the end ---- */

static void close_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

int review_last_undo(const struct review_run *r)
{
    GVM_AUTOCLOSE int fd = openat(r->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    GVM_CLEANUP(close_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
    uint64_t last = 0, n;
    if (!d)
        return -errno;
    gvm_steal_fd(&fd);
    for (const struct dirent *e; (e = readdir(d));) {
        struct gvm_str name = gvm_str(e->d_name);
        if (!gvm_str_starts(name, GVM_STR("undo-")))
            continue;
        name.p += 5;
        name.n -= 5;
        if (gvm_parse_u64(name, INT32_MAX - 1, &n) == 0 && n > last)
            last = n;
    }
    return (int)last;
}

static int close_commit(const struct review_txn *t)
{
    char name[REVIEW_TEMP_NAME];
    int last = review_last_undo(t->run);
    int r = last < 0 ? last : review_step("close");
    if (r < 0)
        return r;
    snprintf(name, sizeof(name), "undo-%d", last + 1);
    if (renameat2(t->run->dir, REVIEW_OPEN_COMMIT, t->run->dir, name, RENAME_NOREPLACE) < 0)
        return -errno;
    return review_sync_dir(t->run->dir);
}

static int finish(struct review_txn *t)
{
    int r = save_skips(t);
    if (r == 0)
        r = drop_landed(t);
    if (r == 0 && t->saved_skips)
        r = review_unstage_all(t);
    return r < 0 ? r : close_commit(t);
}

/* ---- the whole ---- */

static int begin(struct review_txn *t)
{
    uint64_t random;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -errno;
    gvm_hex(t->token, &random, sizeof(random));
    t->when_ns = gvm_now_ns();
    t->sync_each = t->n <= SYNC_EACH;
    int r = review_step("begin");
    if (r < 0)
        return r;
    if (mkdirat(t->run->dir, REVIEW_OPEN_COMMIT, 0700) < 0)
        return -errno;
    t->dir =
        openat(t->run->dir, REVIEW_OPEN_COMMIT, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return t->dir < 0 ? -errno : review_sync_dir(t->run->dir);
}

static int tell(const struct review_txn *t, const struct gvm_commit_how *how, struct gvm_err *err)
{
    size_t n = 0;
    if (!how->record)
        return 0;
    GVM_AUTOFREE struct gvm_landing *list = gvm_calloc(t->n, sizeof(*list));
    if (!list)
        return gvm_err_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < t->n; i++) {
        const struct review_op *op = &t->ops[i];
        if (!op->skipped)
            list[n++] = (struct gvm_landing){.path = op->path,
                                             .index = op->change,
                                             .before = op->before.hash,
                                             .after = op->kind == REVIEW_PUT ? op->after.hash : "",
                                             .merged = op->merged};
    }
    return n ? how->record(how->arg, list, n, err) : 0;
}

static int prepare(struct review_txn *t)
{
    int r = begin(t);
    if (r == 0)
        r = review_keep_all(t);
    if (r == 0)
        r = review_record_write(t);
    if (r == 0)
        r = review_stage_all(t);
    return r < 0 ? r : save_skips(t);
}

static int failed(const struct review_txn *t, int r, const char *what, struct gvm_err *err)
{
    const char *path = t->at < t->n ? t->ops[t->at].path.p : "";
    return gvm_err_sys(err, -r, "%s at '%.300s'", what, path);
}

/* Past "go": lands, or takes everything back. */
static int go_on(struct review_txn *t, struct gvm_err *err)
{
    int r = land_all(t);
    if (r == 0) {
        r = finish(t);
        return r < 0 ? failed(t, r, "everything landed, but the commit could not be closed", err)
                     : 0;
    }
    failed(t, r, "the commit stopped and was taken back", err);
    int back = set_marker(t, "back");
    if (back == 0)
        back = take_back(t);
    return back < 0 ? failed(t, back, "the commit stopped, and taking it back failed", err) : r;
}

int review_txn_run(struct review_txn *t, const struct gvm_commit_how *how, size_t *ret_done,
                   struct gvm_err *err)
{
    if (t->n == 0) {
        *ret_done = 0;
        return 0;
    }
    int r = prepare(t);
    if (r < 0)
        failed(t, r, "nothing landed: the commit stopped", err);
    else
        r = tell(t, how, err);
    if (r == 0) {
        r = set_marker(t, "go");
        if (r < 0)
            gvm_err_sys(err, -r, "nothing landed: the commit of run %s stopped", t->run->rec.run);
    }
    if (r < 0) {
        (void)!forget(t); /* what this leaves, the next look removes */
        return r;
    }
    r = go_on(t, err);
    if (r < 0)
        return r;
    *ret_done = 0;
    for (size_t i = 0; i < t->n; i++)
        *ret_done += !t->ops[i].skipped && t->ops[i].change != SIZE_MAX;
    return 0;
}

void review_txn_done(struct review_txn *t)
{
    gvm_close(&t->dir);
    gvm_close(&t->source);
    gvm_arena_free(t->arena);
    t->arena = NULL;
}

/* ---- after a crash ---- */

bool review_needs_recovery(const struct review_run *r)
{
    return faccessat(r->dir, REVIEW_OPEN_COMMIT, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int recover(struct review_txn *t, struct gvm_err *err)
{
    int r = review_record_read(t);
    if (r == -ENODATA) {
        t->n = 0; /* it was not whole yet, so nothing was staged */
        r = 0;
    }
    if (r == 0)
        r = review_skipped_read(t);
    t->saved_skips = count_skipped(t);
    if (r == 0 && !has_marker(t, "go"))
        r = forget(t);
    else if (r == 0 && has_marker(t, "back"))
        r = take_back(t);
    else if (r == 0)
        return go_on(t, err);
    return r < 0 ? failed(t, r, "cannot take back a commit that was killed", err) : 0;
}

int review_recover(const struct review_run *run, struct gvm_err *err)
{
    struct review_txn t = {.run = run,
                           .source = -1,
                           .dir = openat(run->dir, REVIEW_OPEN_COMMIT,
                                         O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (t.dir < 0)
        return errno == ENOENT ? 0
                               : gvm_err_sys(err, errno,
                                             "cannot look at a commit of run %s that was "
                                             "killed",
                                             run->rec.run);
    t.arena = gvm_arena_new(2 * (size_t)REVIEW_MAX_MEMORY);
    int r = t.arena ? recover(&t, err) : gvm_err_set(err, ENOMEM, "out of memory");
    review_txn_done(&t);
    return r;
}
