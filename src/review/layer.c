/* What the overlay means by what is in its upper layer (Documentation/filesystems/overlayfs.rst).
 *
 * Mounted with userxattr inside a user namespace, the layer says:
 *   deleted              a character device 0/0, or an empty file with user.overlay.whiteout
 *                        in a folder whose user.overlay.opaque is "x"
 *   nothing below shows  a folder with user.overlay.opaque = "y"
 *   copied up            user.overlay.origin, with the lower file's handle or empty
 * Redirects and metacopy are off, so a name in the layer always is the file's own.
 */
#include "review/review_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define OPAQUE "user.overlay.opaque"

char review_opaque(int dirfd)
{
    char path[REVIEW_MAX_NAME + 64], value[4];
    review_proc_path(dirfd, NULL, path);
    ssize_t n = getxattr(path, OPAQUE, value, sizeof(value));
    return n == 1 && (value[0] == 'y' || value[0] == 'x') ? value[0] : 0;
}

static bool has_attribute(int dirfd, const char *name, const char *attribute)
{
    char path[REVIEW_MAX_NAME + 64], value[1];
    review_proc_path(dirfd, name, path);
    return lgetxattr(path, attribute, value, sizeof(value)) >= 0 || errno == ERANGE;
}

bool review_is_whiteout(int dirfd, const char *name, const struct stat *st, char dir_opaque)
{
    if (S_ISCHR(st->st_mode))
        return st->st_rdev == makedev(0, 0);
    return dir_opaque == 'x' && S_ISREG(st->st_mode) && st->st_size == 0 &&
           has_attribute(dirfd, name, "user.overlay.whiteout");
}

bool review_has_origin(int dirfd, const char *name)
{
    return has_attribute(dirfd, name, "user.overlay.origin");
}

/* ---- taking one deletion out of a folder's ---- */

static void close_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

/* In `to`, a whiteout for every name of the host's folder `from` that has no entry there, but not
 * `except`. */
static int whiteout_all(int to, int from, struct gvm_str except)
{
    GVM_AUTOCLOSE int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    GVM_CLEANUP(close_dir) DIR *d = fdopendir(fd);
    if (!d)
        return -errno;
    gvm_steal_fd(&fd);
    for (const struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            gvm_str_eqz(except, e->d_name))
            continue;
        if (mknodat(to, e->d_name, S_IFCHR, makedev(0, 0)) < 0 && errno != EEXIST)
            return -errno;
    }
    return 0;
}

/* A whiteout that stood for the folder `at` becomes a folder with one whiteout per name, but none
 * for `next`. Built beside the layer and swapped in, so that a crash leaves one or the other. */
static int open_whiteout(const struct review_run *r, struct gvm_str at, struct gvm_str next)
{
    static const char temp[] = "uncover.tmp";
    char leaf[REVIEW_MAX_NAME];
    GVM_AUTOCLOSE int parent = review_open_parent(r->upper, at, leaf);
    GVM_AUTOCLOSE int host = review_open_dir(r->host, at, true);
    if (parent < 0 || host < 0)
        return parent < 0 ? parent : host;
    int n = gvm_remove_tree_at(r->dir, temp, NULL);
    struct stat st;
    if (n < 0 || fstat(host, &st) < 0)
        return n < 0 ? n : -errno;
    if (mkdirat(r->dir, temp, 0700) < 0)
        return -errno;
    GVM_AUTOCLOSE int made = openat(r->dir, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (made < 0)
        return -errno;
    n = whiteout_all(made, host, next);
    if (n < 0 || fchmod(made, st.st_mode & 07777) < 0)
        return n < 0 ? n : -errno;
    if (renameat2(r->dir, temp, parent, leaf, RENAME_EXCHANGE) < 0)
        return -errno;
    return unlinkat(r->dir, temp, 0) < 0 ? -errno : 0;
}

/* A folder that hides everything below it names what it hides, but not `next`. */
static int open_opaque(const struct review_run *r, int dir, struct gvm_str at, struct gvm_str next)
{
    GVM_AUTOCLOSE int host = review_open_dir(r->host, at, true);
    if (host < 0)
        return host == -ENOENT || host == -ENOTDIR || host == -ELOOP ? 0 : host;
    int n = whiteout_all(dir, host, next);
    if (n < 0)
        return n;
    char path[REVIEW_MAX_NAME + 64];
    review_proc_path(dir, NULL, path);
    return removexattr(path, OPAQUE) < 0 && errno != ENODATA ? -errno : 0;
}

/* One level: `at` is a folder on the way, `next` the name below it that must not be hidden, or "".
 */
static int uncover_level(const struct review_run *r, struct gvm_str at, struct gvm_str next)
{
    if (at.n) {
        char leaf[REVIEW_MAX_NAME];
        struct stat st;
        GVM_AUTOCLOSE int parent = review_open_parent(r->upper, at, leaf);
        if (parent < 0)
            return parent == -ENOENT ? 0 : parent;
        if (fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return errno == ENOENT ? 0 : -errno;
        if (review_is_whiteout(parent, leaf, &st, review_opaque(parent)))
            return open_whiteout(r, at, next);
        if (!S_ISDIR(st.st_mode))
            return -ENOTDIR;
    }
    GVM_AUTOCLOSE int dir = review_open_dir(r->upper, at, false);
    if (dir < 0)
        return dir == -ENOENT ? 0 : dir;
    return review_opaque(dir) == 'y' ? open_opaque(r, dir, at, next) : 0;
}

int review_uncover(const struct review_run *r, struct gvm_str path)
{
    struct gvm_str at = {path.p, 0};
    for (size_t i = 0; i < path.n; i++) {
        size_t end = i;
        while (end < path.n && path.p[end] != '/')
            end++;
        /* On the way everything is named, the next folder too; its own turn comes. */
        struct gvm_str next = {path.p + i, end < path.n ? 0 : end - i};
        int n = uncover_level(r, at, next);
        if (n < 0)
            return n;
        at.n = end;
        i = end;
    }
    return 0;
}

/* ---- tidying ---- */

/* True when the folder `path` of the layer says no more than the host's own does. */
static bool says_nothing(const struct review_run *r, int parent, const char *leaf,
                         struct gvm_str path)
{
    struct stat up, host;
    if (fstatat(parent, leaf, &up, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(up.st_mode))
        return false;
    int n = review_lstat(r->host, path, &host);
    if (n == -ENOENT)
        return true; /* only there for what it held, and that is gone */
    if (n < 0 || !S_ISDIR(host.st_mode) || (up.st_mode & 07777) != (host.st_mode & 07777))
        return false;
    GVM_AUTOCLOSE int dir = openat(parent, leaf, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return dir >= 0 && review_opaque(dir) != 'y';
}

void review_prune(const struct review_run *r, struct gvm_str path)
{
    for (; path.n; path = review_dirname(path)) {
        char leaf[REVIEW_MAX_NAME];
        GVM_AUTOCLOSE int parent = review_open_parent(r->upper, path, leaf);
        if (parent < 0 || !says_nothing(r, parent, leaf, path) ||
            review_unlink(parent, leaf, AT_REMOVEDIR) < 0)
            return;
    }
}
