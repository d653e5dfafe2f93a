/* Reaching a path below a root: openat2() in pieces, because an agent can nest deeper than
 * PATH_MAX. */
#include "review/review_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE 4000u /* bytes of a path given to the kernel at once, below PATH_MAX */

int (*review_step_hook)(const char *what);

static int open_record(const char *run_dir, struct review_run *run, struct gvm_err *err)
{
    int r = gvm_run_record_read(run_dir, &run->rec, err);
    if (r < 0)
        return r;
    run->dir = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run->dir < 0)
        return gvm_err_sys(err, errno, "cannot open %s", run_dir);
    run->upper = openat(run->dir, "upper", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (run->upper < 0 && errno != ENOENT)
        return gvm_err_sys(err, errno, "cannot open %s/upper", run_dir);
    GVM_AUTOCLOSE int top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (top < 0)
        return gvm_err_sys(err, errno, "cannot open /");
    struct gvm_str path = gvm_str(run->rec.workspace);
    while (path.n && path.p[0] == '/')
        path.p++, path.n--;
    run->host = review_open_dir(top, path, true);
    if (run->host < 0)
        return gvm_err_sys(err, -run->host, "cannot open the workspace %s", run->rec.workspace);
    return 0;
}

int review_open(const char *run_dir, struct review_run *ret, struct gvm_err *err)
{
    struct review_run run = {.dir = -1, .upper = -1, .host = -1};
    int r = open_record(run_dir, &run, err);
    if (r < 0)
        review_close(&run);
    else
        *ret = run;
    return r;
}

void review_close(struct review_run *r)
{
    gvm_close(&r->dir);
    gvm_close(&r->upper);
    gvm_close(&r->host);
}

int review_lock(const struct review_run *r, bool wait, int *ret_fd, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd =
        openat(r->dir, "review.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot open the lock of run %s", r->rec.run);
    while (flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB)) < 0)
        if (errno != EINTR)
            return gvm_err_sys(err, errno, "cannot lock run %s", r->rec.run);
    *ret_fd = gvm_steal_fd(&fd);
    return 0;
}

struct gvm_str review_dirname(struct gvm_str path)
{
    const char *slash = path.n ? memrchr(path.p, '/', path.n) : NULL;
    return (struct gvm_str){path.p, slash ? (size_t)(slash - path.p) : 0};
}

struct gvm_str review_basename(struct gvm_str path)
{
    size_t n = review_dirname(path).n;
    n += n ? 1 : 0;
    return (struct gvm_str){path.p + n, path.n - n};
}

/* Takes at most PIECE bytes of whole names off the front, with a NUL. */
static int take_piece(struct gvm_str *path, char piece[PIECE + 1])
{
    size_t n = path->n;
    if (n > PIECE) {
        const char *slash = memrchr(path->p, '/', PIECE);
        if (!slash || slash == path->p)
            return -ENAMETOOLONG;
        n = (size_t)(slash - path->p);
    }
    memcpy(piece, path->p, n);
    piece[n] = '\0';
    size_t gone = n < path->n ? n + 1 : n;
    path->p += gone;
    path->n -= gone;
    return 0;
}

int review_open_dir(int root, struct gvm_str path, bool readable)
{
    int flags = O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
    GVM_AUTOCLOSE int at = openat(root, ".", flags | (readable && !path.n ? O_RDONLY : O_PATH));
    if (at < 0)
        return -errno;
    while (path.n) {
        char piece[PIECE + 1];
        int r = take_piece(&path, piece);
        if (r < 0)
            return r;
        int next =
            gvm_open_beneath(at, piece, flags | (readable && !path.n ? O_RDONLY : O_PATH), 0, true);
        if (next < 0)
            return next;
        gvm_close(&at);
        at = next;
    }
    return gvm_steal_fd(&at);
}

int review_open_parent(int root, struct gvm_str path, char leaf[REVIEW_MAX_NAME])
{
    struct gvm_str name = review_basename(path);
    if (name.n == 0 || gvm_str_eqz(name, ".") || gvm_str_eqz(name, ".."))
        return -EINVAL;
    int r = gvm_str_copy(leaf, REVIEW_MAX_NAME, name);
    return r < 0 ? r : review_open_dir(root, review_dirname(path), false);
}

int review_lstat(int root, struct gvm_str path, struct stat *ret)
{
    char leaf[REVIEW_MAX_NAME];
    GVM_AUTOCLOSE int dir = review_open_parent(root, path, leaf);
    /* ELOOP: a link stands where a folder would have to be. */
    if (dir < 0)
        return dir == -ENOTDIR || dir == -ELOOP ? -ENOENT : dir;
    return fstatat(dir, leaf, ret, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int review_sync_dir(int dirfd)
{
    GVM_AUTOCLOSE int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

void review_proc_path(int dirfd, const char *name, char dst[REVIEW_MAX_NAME + 64])
{
    snprintf(dst, REVIEW_MAX_NAME + 64, "/proc/self/fd/%d%s%s", dirfd, name ? "/" : "",
             name ? name : "");
}

int review_chmod(int dirfd, const char *name, mode_t mode)
{
    GVM_AUTOCLOSE int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (S_ISLNK(st.st_mode))
        return -ELOOP;
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return chmod(path, mode & 07777) < 0 ? -errno : 0;
}

int review_unlink(int dirfd, const char *name, int flags)
{
    struct stat st;
    if (unlinkat(dirfd, name, flags) == 0)
        return 0;
    int r = -errno;
    if (r != -EACCES || fstat(dirfd, &st) < 0 || st.st_uid != geteuid() ||
        (st.st_mode & 0300) == 0300)
        return r;
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", dirfd);
    if (chmod(path, (st.st_mode & 07777) | 0300) < 0)
        return r;
    return unlinkat(dirfd, name, flags) < 0 ? -errno : 0;
}

static int open_regular(int dirfd, const char *name, int *ret_fd, struct stat *ret_st)
{
    /* O_NONBLOCK: what was a file a moment ago may be a FIFO now. */
    GVM_AUTOCLOSE int fd =
        openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, ret_st) < 0)
        return -errno;
    if (!S_ISREG(ret_st->st_mode))
        return -EINVAL;
    *ret_fd = gvm_steal_fd(&fd);
    return 0;
}

int review_open_file(int dirfd, const char *name, int *ret_fd, struct stat *ret_st)
{
    int r = open_regular(dirfd, name, ret_fd, ret_st);
    struct stat st;
    if (r != -EACCES || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 0400))
        return r;
    r = review_chmod(dirfd, name, (st.st_mode & 07777) | 0400);
    if (r < 0)
        return r;
    r = open_regular(dirfd, name, ret_fd, ret_st);
    int back = review_chmod(dirfd, name, st.st_mode & 07777);
    if (r < 0 || back < 0) {
        if (r == 0)
            gvm_close(ret_fd);
        return r < 0 ? r : back;
    }
    ret_st->st_mode = st.st_mode;
    return 0;
}
