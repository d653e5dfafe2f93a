/* A layer: a small directory that an overlay puts on top of a directory of the host.
 *
 * A character device 0/0 in it is a whiteout: the name beneath does not exist, neither the file
 * that is there now nor one that appears later. Creating whiteouts needs no privilege. A directory
 * in the layer merges with the host's and lends it its own mode and times, so those are copied.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Mode and times of host directory `st` onto the layer's; what cannot be read is shown as 0755. */
static void look_alike(int fd, const struct stat *st)
{
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    if (fchmod(fd, st->st_mode & 0777) == 0)
        futimens(fd, times);
}

int sandbox_layer_open(struct sandbox_init *in, const char *name, const char *host,
                       struct sandbox_layer *ret, struct gvm_err *err)
{
    struct stat st;
    if (mkdirat(in->layers, name, 0755) < 0)
        return gvm_err_sys(err, errno, "cannot make a layer for %s", host);
    int fd = openat(in->layers, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot open the layer for %s", host);
    if (stat(host, &st) == 0)
        look_alike(fd, &st);
    *ret = (struct sandbox_layer){.fd = fd, .host = host, .near_fd = -1};
    return 0;
}

void sandbox_layer_close(struct sandbox_layer *l)
{
    gvm_close(&l->near_fd);
    gvm_close(&l->fd);
}

/* Opens layer/`dir`, making what is missing; a whiteout on the way means it is all hidden already
 * (-ENOTDIR). */
static int open_dir(struct sandbox_layer *l, struct gvm_str dir)
{
    GVM_AUTOCLOSE int fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 3);
    struct gvm_str part, rest = dir;
    char name[NAME_MAX + 1], host[GVM_PATH_MAX];
    while (fd >= 0 && rest.n) {
        struct stat st;
        gvm_str_cut(&rest, '/', &part);
        if (part.n == 0 || gvm_str_eqz(part, "."))
            continue;
        if (gvm_str_eqz(part, "..") || gvm_str_copy(name, sizeof(name), part) < 0)
            return -EINVAL;
        bool made = mkdirat(fd, name, 0755) == 0;
        if (!made && errno != EEXIST)
            return -errno;
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0)
            return -errno;
        gvm_close(&fd);
        fd = next;
        int upto = (int)(part.p + part.n - dir.p);
        if (made &&
            snprintf(host, sizeof(host), "%s/%.*s", l->host, upto, dir.p) < (int)sizeof(host) &&
            stat(host, &st) == 0 && S_ISDIR(st.st_mode))
            look_alike(fd, &st);
    }
    return fd < 0 ? -errno : gvm_steal_fd(&fd);
}

static struct gvm_str split(const char *rel, const char **ret_name)
{
    const char *slash = strrchr(rel, '/');
    *ret_name = slash ? slash + 1 : rel;
    return (struct gvm_str){rel, slash ? (size_t)(slash - rel) : 0};
}

/* The layer's directory for `dir`: a descriptor that stays the layer's, or as open_dir(). */
static int borrow_dir(struct sandbox_layer *l, struct gvm_str dir)
{
    if (dir.n == 0)
        return l->fd;
    if (l->near_fd >= 0 && gvm_str_eqz(dir, l->near))
        return l->near_fd;
    int fd = open_dir(l, dir);
    if (fd < 0)
        return fd;
    gvm_close(&l->near_fd);
    l->near_fd = fd;
    if (gvm_str_copy(l->near, sizeof(l->near), dir) < 0)
        l->near[0] = '\0'; /* too long to be found again */
    return fd;
}

/* Cuts `rel` behind its first part that the host does not have: that part is what gets hidden, so
 * that no empty parents show up inside, and nothing the host makes there later. */
static void cut_at_missing(struct sandbox_layer *l, char *rel)
{
    char path[GVM_PATH_MAX];
    struct stat st;
    for (char *p = strchr(rel, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        int n = snprintf(path, sizeof(path), "%s/%s", l->host, rel);
        if (n >= (int)sizeof(path) || lstat(path, &st) < 0) {
            if (gvm_str_copy(l->gone, sizeof(l->gone), gvm_str(rel)) < 0)
                l->gone[0] = '\0';
            return;
        }
        *p = '/';
    }
}

static bool is_whiteout(int dir, const char *name)
{
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode);
}

/* Puts a whiteout in place of whatever is there: a directory made for a deeper name, which the
 * shallower one covers. */
static int white_out(struct sandbox_layer *l, int dir, const char *name)
{
    if (mknodat(dir, name, S_IFCHR, makedev(0, 0)) == 0) {
        l->hidden++;
        return 0;
    }
    if (errno != EEXIST)
        return -errno;
    if (is_whiteout(dir, name))
        return 0;
    if (dir != l->near_fd)
        gvm_close(&l->near_fd); /* it may be in what goes */
    int r = gvm_remove_tree_at(dir, name, NULL);
    if (r < 0)
        return r;
    return mknodat(dir, name, S_IFCHR, makedev(0, 0)) < 0 ? -errno : 0;
}

int sandbox_layer_hide(struct sandbox_layer *l, const char *place, struct gvm_err *err)
{
    const char *name;
    char rel[GVM_PATH_MAX];
    if (gvm_str_copy(rel, sizeof(rel), gvm_str(place)) < 0)
        return gvm_err_set(err, ENAMETOOLONG, "the path %.80s... is too long", place);
    struct gvm_str dir_name = split(rel, &name);
    if (dir_name.n && gvm_str_eqz(dir_name, l->gone))
        return 0;
    if (l->near_fd < 0 || !gvm_str_eqz(dir_name, l->near))
        cut_at_missing(l, rel);
    if (l->hidden >= SANDBOX_MAX_HIDE)
        return gvm_err_set(err, E2BIG,
                           "more than %d secret files in %s: they cannot all be hidden (choose a "
                           "smaller --workspace)",
                           SANDBOX_MAX_HIDE, l->host);
    int dir = borrow_dir(l, split(rel, &name));
    if (dir == -ENOTDIR || dir == -ELOOP)
        return 0; /* beneath something hidden */
    int r = dir < 0 ? dir : white_out(l, dir, name);
    return r < 0 ? gvm_err_sys(err, -r, "cannot hide %s/%s", l->host, rel) : 0;
}

int sandbox_layer_file(struct sandbox_layer *l, const char *rel, const void *p, size_t n,
                       struct gvm_err *err)
{
    const char *name;
    int dir = borrow_dir(l, split(rel, &name));
    if (dir < 0)
        return gvm_err_sys(err, -dir, "cannot make %s/%s", l->host, rel);
    if (is_whiteout(dir, name) && unlinkat(dir, name, 0) == 0)
        l->hidden--;
    GVM_AUTOCLOSE int fd =
        openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    int r = fd < 0 ? -errno : gvm_write_all(fd, p, n);
    return r < 0 ? gvm_err_sys(err, -r, "cannot write %s/%s", l->host, rel) : 0;
}

int sandbox_layer_link(struct sandbox_layer *l, const char *rel, const char *to,
                       struct gvm_err *err)
{
    const char *name;
    int dir = borrow_dir(l, split(rel, &name));
    int r = dir < 0 ? dir : linkat(l->fd, to, dir, name, 0) < 0 ? -errno : 0;
    return r < 0 ? gvm_err_sys(err, -r, "cannot make %s/%s", l->host, rel) : 0;
}
