/* New content beside its place, and what was there before beside the record. Nothing of the owner
 * is replaced here.
 */
#include "review/review_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void kept_name(size_t i, char dst[REVIEW_TEMP_NAME])
{
    snprintf(dst, REVIEW_TEMP_NAME, "kept-%zu", i);
}

/* ---- keeping ---- */

static int keep_one(struct review_txn *t, size_t i)
{
    struct review_op *op = &t->ops[i];
    char leaf[REVIEW_MAX_NAME], kept[REVIEW_TEMP_NAME];
    struct stat st;
    if (op->kind == REVIEW_DRESS || !S_ISREG(op->before.mode))
        return 0;
    GVM_AUTOCLOSE int from = -1;
    GVM_AUTOCLOSE int dir = review_open_parent(t->run->host, op->path, leaf);
    if (dir < 0)
        return dir;
    int r = review_open_file(dir, leaf, &from, &st);
    if (r < 0)
        return r;
    if (!review_same_file(&op->before, &st))
        return -ESTALE;
    r = review_step("keep");
    if (r < 0)
        return r;
    kept_name(i, kept);
    GVM_AUTOCLOSE int to =
        openat(t->dir, kept, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return -errno;
    r = review_copy(from, to);
    if (r == 0)
        r = review_hash_fd(to, op->before.hash);
    return r == 0 && t->sync_each && fsync(to) < 0 ? -errno : r;
}

int review_keep_all(struct review_txn *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->n; i++) {
        t->at = i;
        int r = keep_one(t, i);
        /* Its number names what was kept, so one that drops out leaves a gap and no more. */
        t->ops[i].skipped = review_is_skip(r);
        if (r < 0 && !t->ops[i].skipped)
            return r;
        kept += r == 0;
    }
    return kept && !t->sync_each && syncfs(t->dir) < 0 ? -errno : 0;
}

/* ---- staging ---- */

int review_stage_place(const struct review_txn *t, const struct review_op *op,
                       char leaf[REVIEW_MAX_NAME])
{
    bool alone = op->tree == REVIEW_ALONE;
    size_t top = alone ? (size_t)(op - t->ops) : op->tree;
    const struct review_op *root = &t->ops[top];
    char temp[REVIEW_TEMP_NAME];
    review_temp_name(t, top, temp);
    GVM_AUTOCLOSE int dir = review_open_parent(t->run->host, root->path, leaf);
    if (dir < 0 || alone) {
        int r = gvm_str_copy(leaf, REVIEW_MAX_NAME, gvm_str(temp));
        return dir < 0 || r == 0 ? gvm_steal_fd(&dir) : r;
    }
    GVM_AUTOCLOSE int in = openat(dir, temp, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0)
        return -errno;
    struct gvm_str rest = {op->path.p + root->path.n + 1, op->path.n - root->path.n - 1};
    return review_open_parent(in, rest, leaf);
}

/* Where the content comes from: the layer, or what an earlier commit kept. */
static int open_source(const struct review_txn *t, const struct review_op *op, int *ret)
{
    char leaf[REVIEW_MAX_NAME];
    struct stat st;
    if (t->source >= 0) {
        kept_name(op->source, leaf);
        return review_open_file(t->source, leaf, ret, &st);
    }
    GVM_AUTOCLOSE int dir = review_open_parent(t->run->upper, op->path, leaf);
    return dir < 0 ? dir : review_open_file(dir, leaf, ret, &st);
}

static int stage_file(const struct review_txn *t, const struct review_op *op, int from, int dir,
                      const char *leaf)
{
    char hash[65];
    GVM_AUTOCLOSE int to =
        openat(dir, leaf, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return -errno;
    int r = review_step("copy");
    if (r == 0)
        r = op->has_text ? gvm_write_all(to, op->text.p, op->text.n) : review_copy(from, to);
    /* What was put on record is what lands. */
    if (r == 0)
        r = review_hash_fd(to, hash);
    if (r == 0 && op->after.hash[0] && strcmp(hash, op->after.hash) != 0)
        r = -ESTALE;
    if (r == 0)
        r = review_dress(dir, leaf, &op->after);
    return r == 0 && t->sync_each && fsync(to) < 0 ? -errno : r;
}

static int make_node(int dir, const char *leaf, const struct review_state *s)
{
    char target[GVM_PATH_MAX];
    if (S_ISLNK(s->mode)) {
        int r = gvm_str_copy(target, sizeof(target), s->target);
        return r < 0 ? r : symlinkat(target, dir, leaf) < 0 ? -errno : 0;
    }
    if (S_ISDIR(s->mode))
        return mkdirat(dir, leaf, 0700) < 0 ? -errno : 0;
    return mknodat(dir, leaf, (s->mode & S_IFMT) | 0600, s->rdev) < 0 ? -errno : 0;
}

static int stage_one(struct review_txn *t, size_t i)
{
    struct review_op *op = &t->ops[i];
    char leaf[REVIEW_MAX_NAME];
    GVM_AUTOCLOSE int from = -1;
    int r = review_step("stage");
    if (r < 0)
        return r;
    if (S_ISREG(op->after.mode) && !op->has_text)
        r = open_source(t, op, &from);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int dir = review_stage_place(t, op, leaf);
    if (dir < 0)
        return dir;
    if (S_ISREG(op->after.mode))
        return stage_file(t, op, from, dir, leaf);
    r = make_node(dir, leaf, &op->after);
    /* A folder is dressed once everything is in it. */
    return r < 0 || S_ISDIR(op->after.mode) ? r : review_dress(dir, leaf, &op->after);
}

static int dress_folders(const struct review_txn *t)
{
    int r = 0;
    for (size_t i = t->n; r == 0 && i-- > 0;) {
        const struct review_op *op = &t->ops[i];
        char leaf[REVIEW_MAX_NAME];
        if (op->kind != REVIEW_PUT || op->skipped || !S_ISDIR(op->after.mode))
            continue;
        GVM_AUTOCLOSE int dir = review_stage_place(t, op, leaf);
        if (dir < 0)
            return dir;
        r = review_dress(dir, leaf, &op->after);
        if (r == 0 && t->sync_each) {
            GVM_AUTOCLOSE int made = openat(dir, leaf, O_PATH | O_DIRECTORY | O_CLOEXEC);
            /* One that even its owner may not read is synced with what is above it. */
            int s = made < 0 ? -errno : review_sync_dir(made);
            r = s == -EACCES ? 0 : s;
        }
    }
    return r;
}

int review_stage_all(struct review_txn *t)
{
    int r = 0;
    for (size_t i = 0; i < t->n; i++) {
        struct review_op *op = &t->ops[i];
        if (op->kind != REVIEW_PUT || op->skipped)
            continue;
        t->at = i;
        if (op->tree != REVIEW_ALONE && t->ops[op->tree].skipped)
            r = -ENOENT;
        else
            r = stage_one(t, i);
        op->skipped = review_is_skip(r);
        if (r < 0 && !op->skipped)
            return r;
    }
    r = dress_folders(t);
    return r == 0 && !t->sync_each && syncfs(t->run->host) < 0 ? -errno : r;
}

int review_unstage(const struct review_txn *t, size_t i)
{
    char leaf[REVIEW_MAX_NAME], temp[REVIEW_TEMP_NAME];
    review_temp_name(t, i, temp);
    GVM_AUTOCLOSE int dir = review_open_parent(t->run->host, t->ops[i].path, leaf);
    if (dir < 0)
        return review_is_skip(dir) ? 0 : dir;
    if (unlinkat(dir, temp, 0) == 0 || errno == ENOENT)
        return 0;
    int r = review_step("unstage");
    return r < 0 ? r : gvm_remove_tree_at(dir, temp, NULL);
}

int review_unstage_all(const struct review_txn *t)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < t->n; i++)
        if (t->ops[i].kind == REVIEW_PUT && t->ops[i].tree == REVIEW_ALONE)
            r = review_unstage(t, i);
    return r;
}

/* ---- bringing back ---- */

/* Of its own, because the other temporary name tells whether the operation had landed. */
static void back_name(const struct review_txn *t, size_t i, char dst[REVIEW_TEMP_NAME])
{
    snprintf(dst, REVIEW_TEMP_NAME, ".gvm-%s-%zub", t->token, i);
}

static int remake(const struct review_txn *t, size_t i, int dir, const char *temp)
{
    const struct review_state *s = &t->ops[i].before;
    char kept[REVIEW_TEMP_NAME];
    int r;
    if (!S_ISREG(s->mode)) {
        r = make_node(dir, temp, s);
        return r < 0 ? r : review_dress(dir, temp, s);
    }
    kept_name(i, kept);
    struct stat st;
    GVM_AUTOCLOSE int from = -1;
    r = review_open_file(t->dir, kept, &from, &st);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int to =
        openat(dir, temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return -errno;
    r = review_copy(from, to);
    if (r == 0)
        r = review_dress(dir, temp, s);
    return r == 0 && fsync(to) < 0 ? -errno : r;
}

/* What landed makes room for what was there. */
static int put_back(const struct review_txn *t, size_t i, int dir, const char *leaf)
{
    const struct review_op *op = &t->ops[i];
    char temp[REVIEW_TEMP_NAME];
    if (!op->before.mode)
        return gvm_remove_tree_at(dir, leaf, NULL);
    back_name(t, i, temp);
    int r = remake(t, i, dir, temp);
    if (r < 0)
        return r;
    struct stat st;
    if (fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return renameat(dir, temp, dir, leaf) < 0 ? -errno : 0;
    if (S_ISDIR(st.st_mode) == S_ISDIR(op->before.mode))
        return renameat(dir, temp, dir, leaf) < 0 ? -errno : 0;
    if (renameat2(dir, temp, dir, leaf, RENAME_EXCHANGE) < 0)
        return -errno;
    return gvm_remove_tree_at(dir, temp, NULL);
}

int review_bring_back(const struct review_txn *t, size_t i)
{
    const struct review_op *op = &t->ops[i];
    char leaf[REVIEW_MAX_NAME], temp[REVIEW_TEMP_NAME];
    struct stat st;
    GVM_AUTOCLOSE int dir = review_open_parent(t->run->host, op->path, leaf);
    if (dir < 0)
        return review_is_skip(dir) ? 0 : dir;
    int r = review_step("back");
    if (r < 0)
        return r;
    back_name(t, i, temp);
    r = gvm_remove_tree_at(dir, temp, NULL);
    if (r < 0)
        return r;
    bool there = fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (op->kind == REVIEW_DRESS)
        return there ? review_dress(dir, leaf, &op->before) : 0;
    if (op->kind == REVIEW_DELETE)
        return there ? 0 : put_back(t, i, dir, leaf);
    review_temp_name(t, i, temp);
    struct stat staged;
    bool landed = fstatat(dir, temp, &staged, AT_SYMLINK_NOFOLLOW) < 0;
    if (!landed && there && op->before.mode &&
        (staged.st_mode & S_IFMT) == (op->before.mode & S_IFMT) &&
        (op->before.mode & S_IFMT) != (op->after.mode & S_IFMT) &&
        (st.st_mode & S_IFMT) == (op->after.mode & S_IFMT)) {
        /* Exchanged, and the old one not yet removed. */
        if (renameat2(dir, temp, dir, leaf, RENAME_EXCHANGE) < 0)
            return -errno;
    }
    if (landed && there)
        return review_same_file(&op->before, &st) ? 0 : put_back(t, i, dir, leaf);
    return gvm_remove_tree_at(dir, temp, NULL);
}
