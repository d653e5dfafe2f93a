/* How changes land.
 *
 *   1. the journal names every temporary file that may come to be, and is synced
 *   2. new content is written beside its place, under a temporary name, and synced; nothing is
 * replaced yet. A failure here (a full disk) takes it all back
 *   3. deletions, deepest first; then each temporary file is renamed into place
 *   4. the folders are synced
 *   5. what landed leaves the upper layer; the journal goes
 *
 * A crash at any point leaves each file as before or as after. Between 3 and 5 the upper layer
 * still has what already landed, but the scan sees no difference and does not list it.
 *
 * Every folder is reached with openat2() beneath the workspace without following links, every last
 * name is used with NOFOLLOW calls relative to it, and content is copied, never linked or renamed
 * out of the layer: a hard link the agent kept cannot reach the owner's file.
 */
#include "review/review_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYNC_EACH 8u /* up to so many changes are synced one by one, more with one syncfs() */

enum state { SKIP = 0, PICKED, STAGED, LANDED };

struct commit {
    const struct review_run *run;
    const struct gvm_changes *c;
    struct review_journal journal;
    bool force, sync_each;
    bool *picked;
    unsigned char *state; /* enum state per change */
    size_t at;            /* the change worked on, for the error's text */
    size_t done;
};

/* What stands in the way of one change only: it is skipped and stays staged. */
static bool is_skip(int r)
{
    return r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -EEXIST || r == -ENOTEMPTY ||
           r == -ESTALE;
}

/* ---- folders on the way ---- */

/* Makes the folder `path` of the host as the layer has it. Its parent exists. */
static int make_dir(const struct commit *k, struct gvm_str path)
{
    char leaf[REVIEW_MAX_NAME];
    struct stat up;
    int r = review_lstat(k->run->upper, path, &up);
    if (r < 0)
        return r;
    if (!S_ISDIR(up.st_mode))
        return -ENOTDIR;
    GVM_AUTOCLOSE int dir = review_open_parent(k->run->host, path, leaf);
    if (dir < 0)
        return dir;
    r = review_step("mkdir");
    if (r < 0)
        return r;
    if (mkdirat(dir, leaf, 0700) < 0)
        return errno == EEXIST ? 0 : -errno;
    /* The owner must be able to work in it whatever mode the agent chose; no setuid, setgid or
     * sticky. */
    r = review_chmod(dir, leaf, (up.st_mode & 0777) | 0700);
    return r < 0 || !k->sync_each ? r : review_sync_dir(dir);
}

/* The folder of the host that will hold `path`, with what is missing on the way. */
static int open_parent(const struct commit *k, struct gvm_str path, char leaf[REVIEW_MAX_NAME])
{
    int dir = review_open_parent(k->run->host, path, leaf);
    if (dir != -ENOENT)
        return dir;
    struct gvm_str parent = review_dirname(path);
    for (size_t i = 1; i <= parent.n; i++) {
        if (i < parent.n && parent.p[i] != '/')
            continue;
        struct stat st;
        struct gvm_str at = {parent.p, i};
        int r = review_lstat(k->run->host, at, &st);
        if (r == -ENOENT)
            r = make_dir(k, at);
        else if (r == 0 && !S_ISDIR(st.st_mode))
            r = -ENOTDIR;
        if (r < 0)
            return r;
    }
    return review_open_parent(k->run->host, path, leaf);
}

/* ---- staging ---- */

static int copy_bytes(int from, int to)
{
    for (;;) {
        ssize_t n = copy_file_range(from, NULL, to, NULL, 1u << 30, 0);
        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
    }
    if (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP &&
        errno != EPERM)
        return -errno;
    enum { BLOCK = 128 << 10 };
    GVM_AUTOFREE char *mem = malloc(BLOCK);
    if (!mem)
        return -ENOMEM;
    for (;;) {
        ssize_t n = read(from, mem, BLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        int r = gvm_write_all(to, mem, (size_t)n);
        if (r < 0)
            return r;
    }
}

/* Owner, times and mode of the new file: the owner of what it replaces, else of the layer's file.
 * Only root can give a file away; for anybody else it is theirs already. */
static int dress(const struct commit *k, int fd, int dir, const char *leaf, const struct stat *up)
{
    struct stat host, parent;
    bool replaces = fstatat(dir, leaf, &host, AT_SYMLINK_NOFOLLOW) == 0;
    uid_t uid = replaces ? host.st_uid : up->st_uid;
    gid_t gid = replaces ? host.st_gid : up->st_gid;
    if (!replaces && fstat(dir, &parent) == 0 && (parent.st_mode & S_ISGID))
        gid = parent.st_gid;
    if (fchown(fd, uid, gid) < 0 && errno != EPERM)
        return -errno;
    struct timespec times[2] = {up->st_atim, up->st_mtim};
    if (futimens(fd, times) < 0 || fchmod(fd, up->st_mode & (k->force ? 07777 : 0777)) < 0)
        return -errno;
    return k->sync_each && fsync(fd) < 0 ? -errno : 0;
}

static int stage_file(const struct commit *k, int dir, const char *leaf, const char *temp,
                      int up_dir, const char *up_leaf)
{
    struct stat st;
    GVM_AUTOCLOSE int from = -1;
    int r = review_open_file(up_dir, up_leaf, &from, &st);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int to =
        openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return -errno;
    r = review_step("copy");
    if (r == 0)
        r = copy_bytes(from, to);
    return r < 0 ? r : dress(k, to, dir, leaf, &st);
}

static int stage_link(int dir, const char *temp, int up_dir, const char *up_leaf)
{
    char target[GVM_PATH_MAX];
    ssize_t n = readlinkat(up_dir, up_leaf, target, sizeof(target) - 1);
    if (n < 0)
        return -errno;
    target[n] = '\0';
    return symlinkat(target, dir, temp) < 0 ? -errno : 0;
}

static int stage_at(const struct commit *k, size_t i, int dir, const char *leaf)
{
    const struct gvm_change *ch = &k->c->list[i];
    char up_leaf[REVIEW_MAX_NAME], temp[REVIEW_TEMP_NAME];
    GVM_AUTOCLOSE int up_dir = review_open_parent(k->run->upper, ch->path, up_leaf);
    if (up_dir < 0)
        return up_dir;
    review_temp_name(&k->journal, i, temp);
    if (S_ISREG(ch->mode))
        return stage_file(k, dir, leaf, temp, up_dir, up_leaf);
    if (S_ISLNK(ch->mode))
        return stage_link(dir, temp, up_dir, up_leaf);
    if (S_ISFIFO(ch->mode))
        return mkfifoat(dir, temp, ch->mode & 0777) < 0 ? -errno : 0;
    if (mkdirat(dir, temp, 0700) < 0)
        return -errno;
    return review_chmod(dir, temp, (ch->mode & 0777) | 0700);
}

/* A folder takes the place of something else at once, so that what goes into it can be staged. */
static int land_folder(const struct commit *k, size_t i, int dir, const char *leaf)
{
    char temp[REVIEW_TEMP_NAME];
    review_temp_name(&k->journal, i, temp);
    int r = review_step("exchange");
    if (r < 0)
        return r;
    if (renameat2(dir, temp, dir, leaf, RENAME_EXCHANGE) < 0)
        return -errno;
    r = review_step("drop old");
    if (r < 0)
        return r;
    return unlinkat(dir, temp, 0) < 0 ? -errno : 0;
}

static void unstage(const struct commit *k, size_t i)
{
    char leaf[REVIEW_MAX_NAME], temp[REVIEW_TEMP_NAME];
    review_temp_name(&k->journal, i, temp);
    GVM_AUTOCLOSE int dir = review_open_parent(k->run->host, k->c->list[i].path, leaf);
    if (dir >= 0 && unlinkat(dir, temp, 0) < 0 && errno != ENOENT)
        (void)unlinkat(dir, temp, AT_REMOVEDIR);
}

/* The owner's file must still be of the kind, and as old, as when the list was made. */
static int check_host(const struct commit *k, const struct gvm_change *ch, int dir,
                      const char *leaf)
{
    struct stat st;
    bool there = fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there != (ch->host_mode != 0))
        return there ? -EEXIST : -ENOENT;
    if (!there)
        return 0;
    if ((st.st_mode & S_IFMT) != (ch->host_mode & S_IFMT))
        return -ESTALE;
    return !k->force && !S_ISDIR(st.st_mode) && review_changed_since(&st, k->run->rec.started_ns)
               ? -ESTALE
               : 0;
}

static int stage_one(struct commit *k, size_t i)
{
    const struct gvm_change *ch = &k->c->list[i];
    char leaf[REVIEW_MAX_NAME];
    if (ch->kind == GVM_CHANGE_DELETED || ch->kind == GVM_CHANGE_MODE)
        return 0;
    GVM_AUTOCLOSE int dir = open_parent(k, ch->path, leaf);
    if (dir < 0)
        return dir;
    int r = check_host(k, ch, dir, leaf);
    if (r < 0)
        return r;
    r = review_step("stage");
    if (r < 0)
        return r;
    r = stage_at(k, i, dir, leaf);
    if (r == 0 && ch->kind == GVM_CHANGE_TYPE && S_ISDIR(ch->mode)) {
        r = land_folder(k, i, dir, leaf);
        if (r == 0)
            k->state[i] = LANDED;
    }
    if (r < 0)
        unstage(k, i);
    return r;
}

/* ---- landing ---- */

static int delete_one(const struct commit *k, const struct gvm_change *ch)
{
    char leaf[REVIEW_MAX_NAME];
    GVM_AUTOCLOSE int dir = review_open_parent(k->run->host, ch->path, leaf);
    if (dir < 0)
        return dir;
    int r = check_host(k, ch, dir, leaf);
    if (r == 0)
        r = review_step("delete");
    if (r < 0)
        return r;
    if (unlinkat(dir, leaf, S_ISDIR(ch->host_mode) ? AT_REMOVEDIR : 0) < 0)
        return -errno;
    return k->sync_each ? review_sync_dir(dir) : 0;
}

static int set_mode(const struct commit *k, const struct gvm_change *ch)
{
    char leaf[REVIEW_MAX_NAME];
    GVM_AUTOCLOSE int dir = review_open_parent(k->run->host, ch->path, leaf);
    if (dir < 0)
        return dir;
    int r = check_host(k, ch, dir, leaf);
    if (r == 0)
        r = review_step("chmod");
    return r < 0 ? r : review_chmod(dir, leaf, ch->mode & (k->force ? 07777 : 0777));
}

/* Something that is no folder takes the place of one, which must be empty by now. */
static int exchange_folder(int dir, const char *temp, const char *leaf)
{
    if (renameat2(dir, temp, dir, leaf, RENAME_EXCHANGE) < 0)
        return -errno;
    if (unlinkat(dir, temp, AT_REMOVEDIR) == 0)
        return 0;
    int r = -errno;
    return renameat2(dir, temp, dir, leaf, RENAME_EXCHANGE) < 0 ? -errno : r;
}

static int rename_one(const struct commit *k, size_t i)
{
    const struct gvm_change *ch = &k->c->list[i];
    char leaf[REVIEW_MAX_NAME], temp[REVIEW_TEMP_NAME];
    review_temp_name(&k->journal, i, temp);
    GVM_AUTOCLOSE int dir = review_open_parent(k->run->host, ch->path, leaf);
    if (dir < 0)
        return dir;
    int r = check_host(k, ch, dir, leaf);
    if (r == 0)
        r = review_step("rename");
    if (r < 0)
        return r;
    if (S_ISDIR(ch->host_mode)) {
        r = exchange_folder(dir, temp, leaf);
    } else if (ch->host_mode == 0) {
        /* Not every file system knows NOREPLACE; check_host() a moment ago is what is left then. */
        if (renameat2(dir, temp, dir, leaf, RENAME_NOREPLACE) < 0)
            r = errno != EINVAL || renameat(dir, temp, dir, leaf) < 0 ? -errno : 0;
    } else {
        r = renameat(dir, temp, dir, leaf) < 0 ? -errno : 0;
    }
    return r < 0 || !k->sync_each ? r : review_sync_dir(dir);
}

static int land_one(const struct commit *k, size_t i)
{
    const struct gvm_change *ch = &k->c->list[i];
    if (ch->kind == GVM_CHANGE_DELETED)
        return delete_one(k, ch);
    return ch->kind == GVM_CHANGE_MODE ? set_mode(k, ch) : rename_one(k, i);
}

/* Keeps on after what concerns one change only; any other failure is the end. */
static int settle(struct commit *k, size_t i, int r)
{
    k->at = i;
    if (r == 0) {
        k->state[i] = LANDED;
        return 0;
    }
    if (k->state[i] == STAGED)
        unstage(k, i);
    k->state[i] = SKIP;
    return is_skip(r) ? 0 : r;
}

static int land_all(struct commit *k)
{
    int r = 0;
    for (size_t i = k->c->n; r == 0 && i-- > 0;)
        if (k->state[i] == STAGED && k->c->list[i].kind == GVM_CHANGE_DELETED)
            r = settle(k, i, land_one(k, i));
    for (size_t i = 0; r == 0 && i < k->c->n; i++)
        if (k->state[i] == STAGED)
            r = settle(k, i, land_one(k, i));
    return r;
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
    return is_skip(r) ? 0 : r;
}

static int drop_one(const struct review_run *run, const struct gvm_change *ch)
{
    char leaf[REVIEW_MAX_NAME];
    GVM_AUTOCLOSE int dir = review_open_parent(run->upper, ch->path, leaf);
    struct stat st;
    /* Part of a bigger deletion: nothing of its own is there. */
    if (dir < 0)
        return is_skip(dir) ? 0 : dir;
    if (fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    int r = review_step("drop");
    if (r == 0)
        r = S_ISDIR(st.st_mode) ? drop_dir(run, ch->path, dir, leaf) : review_unlink(dir, leaf, 0);
    if (r == 0)
        review_prune(run, review_dirname(ch->path));
    return r;
}

/* Deepest first, so that folders are empty when their turn comes. A folder that stays says nothing
 * any more once the host's is like it. */
static int drop_landed(struct commit *k)
{
    int r = 0;
    for (size_t i = k->c->n; r == 0 && i-- > 0;)
        if (k->state[i] == LANDED) {
            k->at = i;
            r = drop_one(k->run, &k->c->list[i]);
        }
    return r;
}

/* ---- the whole ---- */

static int sync_all(const struct commit *k)
{
    int r = review_step("sync");
    return r < 0 || k->sync_each ? r : syncfs(k->run->host) < 0 ? -errno : 0;
}

static int stage_all(struct commit *k)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < k->c->n; i++) {
        if (k->state[i] != PICKED)
            continue;
        k->at = i;
        r = stage_one(k, i);
        if (r == 0 && k->state[i] != LANDED)
            k->state[i] = STAGED;
        else if (is_skip(r))
            k->state[i] = SKIP, r = 0;
    }
    return r < 0 ? r : sync_all(k);
}

static int run_phases(struct commit *k)
{
    int r = stage_all(k);
    if (r == 0)
        r = land_all(k);
    if (r == 0)
        r = sync_all(k);
    if (r == 0)
        r = drop_landed(k);
    for (size_t i = 0; i < k->c->n; i++) {
        if (k->state[i] == STAGED)
            unstage(k, i);
        k->done += k->state[i] == LANDED;
    }
    return r;
}

static int commit_locked(struct commit *k, struct gvm_err *err)
{
    int r = review_recover(k->run, err);
    if (r == 0)
        r = review_journal_begin(k->run, k->c, k->picked, &k->journal, err);
    if (r < 0)
        return r;
    r = run_phases(k);
    if (r < 0)
        gvm_err_sys(err, -r, "the commit stopped at '%.300s'; what did not land is still staged",
                    k->c->list[k->at].path.p);
    int end = review_journal_end(k->run, &k->journal);
    if (r == 0 && end < 0)
        return gvm_err_sys(err, -end, "cannot remove the journal of run %s", k->run->rec.run);
    return r;
}

static size_t choose(struct commit *k, bool (*pick)(void *arg, const struct gvm_change *ch),
                     void *arg)
{
    size_t n = 0;
    for (size_t i = 0; i < k->c->n; i++) {
        const struct gvm_change *ch = &k->c->list[i];
        k->picked[i] = !ch->refusal && (!ch->conflict || k->force) && pick(arg, ch);
        k->state[i] = k->picked[i] ? PICKED : SKIP;
        n += k->picked[i];
    }
    return n;
}

int gvm_changes_commit(const char *run_dir, const struct gvm_changes *c,
                       bool (*pick)(void *arg, const struct gvm_change *ch), void *arg, bool force,
                       size_t *ret_done, struct gvm_err *err)
{
    GVM_AUTOFREE bool *picked = gvm_calloc(c->n, sizeof(*picked));
    GVM_AUTOFREE unsigned char *state = gvm_calloc(c->n, 1);
    if (!picked || !state)
        return gvm_err_set(err, ENOMEM, "out of memory");
    struct review_run run;
    int r = review_open(run_dir, &run, err);
    if (r < 0)
        return r;
    struct commit k = {.run = &run,
                       .c = c,
                       .force = force,
                       .picked = picked,
                       .state = state,
                       .journal = {.fd = -1}};
    size_t n = run.upper < 0 ? 0 : choose(&k, pick, arg);
    k.sync_each = n <= SYNC_EACH;
    GVM_AUTOCLOSE int lock = -1;
    if (n)
        r = review_lock(&run, true, &lock, err);
    if (n && r == 0)
        r = commit_locked(&k, err);
    review_close(&run);
    if (r == 0)
        *ret_done = k.done;
    return r;
}
