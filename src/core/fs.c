#include "core/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/encode.h"
#include "core/mem.h"

int gvm_write_all(int fd, const void *p, size_t n)
{
    const uint8_t *at = p;
    while (n) {
        ssize_t k = write(fd, at, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -errno;
        at += k;
        n -= (size_t)k;
    }
    return 0;
}

int gvm_read_fd(int fd, struct gvm_buf *out)
{
    for (;;) {
        size_t left = out->max - out->len;
        size_t want = left < 16384 ? left : 16384;
        uint8_t extra = 0, *p = want ? gvm_buf_space(out, want) : &extra;
        if (!p)
            return -ENOMEM;
        ssize_t k = read(fd, p, want ? want : 1);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return k < 0 ? -errno : 0;
        if (!want)
            return -EFBIG;
        gvm_buf_grew(out, (size_t)k);
    }
}

int gvm_read_file(const char *path, struct gvm_buf *out, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot open %s", path);
    int r = gvm_read_fd(fd, out);
    if (r == -EFBIG)
        return gvm_err_set(err, EFBIG, "%s is larger than %zu bytes", path, out->max);
    return r < 0 ? gvm_err_sys(err, -r, "cannot read %s", path) : 0;
}

/* Makes the renames and new names of a directory survive a power loss. */
static int sync_dir(int dirfd)
{
    GVM_AUTOCLOSE int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return -errno;
    return 0;
}

static int fill(int fd, const void *p, size_t n, mode_t mode)
{
    int r = gvm_write_all(fd, p, n);
    if (r == 0 && fchmod(fd, mode) < 0)
        r = -errno;
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    return r;
}

int gvm_write_file_at(int dirfd, const char *name, const void *p, size_t n, mode_t mode,
                      struct gvm_err *err)
{
    uint64_t random;
    char suffix[17], temp[300];
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return gvm_err_sys(err, errno, "cannot get random bytes");
    gvm_hex(suffix, &random, sizeof random);
    if (!name[0] || strchr(name, '/') ||
        snprintf(temp, sizeof temp, ".%s.%s", name, suffix) >= (int)sizeof temp)
        return gvm_err_set(err, EINVAL, "bad file name \"%s\"", name);
    GVM_AUTOCLOSE int fd =
        openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & 0600);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot create a file for %s", name);
    int r = fill(fd, p, n, mode);
    if (r == 0 && renameat(dirfd, temp, dirfd, name) < 0)
        r = -errno;
    if (r < 0) {
        (void)unlinkat(dirfd, temp, 0);
        return gvm_err_sys(err, -r, "cannot write %s", name);
    }
    r = sync_dir(dirfd);
    return r < 0 ? gvm_err_sys(err, -r, "cannot sync the directory of %s", name) : 0;
}

int gvm_mkdirs(const char *path, mode_t mode, struct gvm_err *err)
{
    char part[GVM_PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return gvm_err_set(err, ENAMETOOLONG, "bad directory name \"%.80s\"", path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, mode) == 0 || errno == EEXIST)
            continue;
        /* An unwritable or read-only parent that exists answers EACCES or EROFS before EEXIST. */
        int code = errno;
        struct stat st;
        if (stat(part, &st) < 0 || !S_ISDIR(st.st_mode))
            return gvm_err_sys(err, code, "cannot create directory %s", part);
    }
    struct stat st;
    if (stat(path, &st) < 0)
        return gvm_err_sys(err, errno, "cannot create directory %s", path);
    return S_ISDIR(st.st_mode) ? 0 : gvm_err_set(err, ENOTDIR, "%s is not a directory", path);
}

int gvm_open_beneath(int dirfd, const char *path, int flags, mode_t mode, bool nolinks)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
        .mode = (flags & (O_CREAT | __O_TMPFILE)) ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (nolinks ? RESOLVE_NO_SYMLINKS : 0),
    };
    for (int tries = 0;; tries++) {
        long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);
        if (fd >= 0)
            return (int)fd;
        /* EAGAIN: a rename ran beside the walk and the kernel could not vouch for it. */
        if (errno != EINTR && (errno != EAGAIN || tries >= 64))
            return -errno;
    }
}

int gvm_memfd(const char *name, const void *p, size_t n)
{
    GVM_AUTOCLOSE int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int r = gvm_write_all(fd, p, n);
    if (r < 0)
        return r;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0 ||
        lseek(fd, 0, SEEK_SET) < 0)
        return -errno;
    return gvm_steal_fd(&fd);
}
