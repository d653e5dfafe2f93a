#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/ipc.h"

#define BACKLOG         128
#define CONNECT_SECONDS 5

int gvm_ipc_pair(int ret_fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret_fds) < 0
               ? -errno
               : 0;
}

/* Fills an address for `path`. sun_path holds 107 bytes; a longer path is named through a
 * descriptor of its directory, which the caller closes after use (*ret_dir, -1 when not needed). */
static int address(const char *path, struct sockaddr_un *sa, int *ret_dir, struct gvm_err *err)
{
    *sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n < sizeof sa->sun_path) {
        memcpy(sa->sun_path, path, n + 1);
        return 0;
    }
    const char *base = strrchr(path, '/');
    char dir[GVM_PATH_MAX];
    if (!base || gvm_str_copy(dir, sizeof dir, (struct gvm_str){path, (size_t)(base - path)}) < 0)
        return gvm_err_set(err, ENAMETOOLONG, "socket path too long: %.100s...", path);
    GVM_AUTOCLOSE int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot open %s", dir);
    int k = snprintf(sa->sun_path, sizeof sa->sun_path, "/proc/self/fd/%d%s", fd, base);
    if (k < 0 || (size_t)k >= sizeof sa->sun_path)
        return gvm_err_set(err, ENAMETOOLONG, "socket name too long: %.100s", base + 1);
    *ret_dir = gvm_steal_fd(&fd);
    return 0;
}

/* A socket left by a daemon that died is removed; anything else in the way is not ours. */
static int clear_way(const char *path, struct gvm_err *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : gvm_err_sys(err, errno, "cannot look at %s", path);
    if (!S_ISSOCK(st.st_mode))
        return gvm_err_set(err, EEXIST, "%s exists and is not a socket; remove it", path);
    return unlink(path) < 0 && errno != ENOENT ? gvm_err_sys(err, errno, "cannot remove %s", path)
                                               : 0;
}

int gvm_ipc_listen(const char *path, int *ret_fd, struct gvm_err *err)
{
    struct sockaddr_un sa;
    GVM_AUTOCLOSE int dir = -1;
    int r = clear_way(path, err);
    if (r == 0)
        r = address(path, &sa, &dir, err);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot make a socket");
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0)
        return gvm_err_sys(err, errno, "cannot bind %s", path);
    if (chmod(path, 0600) < 0 || listen(fd, BACKLOG) < 0)
        return gvm_err_sys(err, errno, "cannot listen on %s", path);
    *ret_fd = gvm_steal_fd(&fd);
    return 0;
}

static int same_user(int fd)
{
    struct ucred cred;
    socklen_t n = sizeof cred;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0)
        return -errno;
    return cred.uid == geteuid() ? 0 : -EPERM;
}

int gvm_ipc_accept(int listen_fd, int *ret_fd)
{
    GVM_AUTOCLOSE int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return -errno;
    int r = same_user(fd);
    if (r == 0)
        *ret_fd = gvm_steal_fd(&fd);
    return r;
}

int gvm_ipc_connect(const char *path, int *ret_fd, struct gvm_err *err)
{
    struct sockaddr_un sa;
    GVM_AUTOCLOSE int dir = -1;
    int r = address(path, &sa, &dir, err);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot make a socket");
    struct timeval patience = {.tv_sec = CONNECT_SECONDS};
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0)
        return gvm_err_sys(err, errno, "cannot connect to %s", path);
    r = same_user(fd);
    if (r < 0)
        return gvm_err_set(err, -r, "%s belongs to another user", path);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return gvm_err_sys(err, errno, "cannot prepare the connection to %s", path);
    *ret_fd = gvm_steal_fd(&fd);
    return 0;
}
