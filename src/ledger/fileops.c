/* fileops.c - the real file operations, and loops over them that leave no short read or write. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ledger/ledger_int.h"

static int real_open(void *arg, int dirfd, const char *name, int flags, mode_t mode)
{
    int fd = openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
    return fd < 0 ? -errno : fd;
}

static ssize_t real_pread(void *arg, int fd, void *p, size_t n, uint64_t off)
{
    ssize_t r = pread(fd, p, n, (off_t)off);
    return r < 0 ? -errno : r;
}

static ssize_t real_pwrite(void *arg, int fd, const void *p, size_t n, uint64_t off)
{
    ssize_t r = pwrite(fd, p, n, (off_t)off);
    return r < 0 ? -errno : r;
}

static int real_datasync(void *arg, int fd)
{
    return fdatasync(fd) < 0 ? -errno : 0;
}

static int real_truncate(void *arg, int fd, uint64_t size)
{
    return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

static int real_allocate(void *arg, int fd, uint64_t off, uint64_t n)
{
    return fallocate(fd, 0, (off_t)off, (off_t)n) < 0 ? -errno : 0;
}

static int real_rename(void *arg, int dirfd, const char *from, const char *to)
{
    return renameat(dirfd, from, dirfd, to) < 0 ? -errno : 0;
}

static int real_exchange(void *arg, int dirfd, const char *a, const char *b)
{
    return renameat2(dirfd, a, dirfd, b, RENAME_EXCHANGE) < 0 ? -errno : 0;
}

static int real_unlink(void *arg, int dirfd, const char *name, int flags)
{
    return unlinkat(dirfd, name, flags) < 0 ? -errno : 0;
}

static int real_mkdir(void *arg, int dirfd, const char *name)
{
    return mkdirat(dirfd, name, 0700) < 0 ? -errno : 0;
}

static void real_close(void *arg, int fd)
{
    close(fd);
}

const struct ledger_file_ops ledger_real_ops = {
    .open = real_open,
    .pread = real_pread,
    .pwrite = real_pwrite,
    .datasync = real_datasync,
    .truncate = real_truncate,
    .allocate = real_allocate,
    .rename = real_rename,
    .exchange = real_exchange,
    .unlink = real_unlink,
    .mkdir = real_mkdir,
    .close = real_close,
};

ssize_t ledger_read_at(const struct ledger_file_ops *ops, int fd, void *p, size_t n, uint64_t off)
{
    size_t done = 0;
    while (done < n) {
        ssize_t r = ops->pread(ops->arg, fd, (uint8_t *)p + done, n - done, off + done);
        if (r == -EINTR)
            continue;
        if (r < 0)
            return r;
        if (r == 0)
            break;
        done += (size_t)r;
    }
    return (ssize_t)done;
}

int ledger_write_at(const struct ledger_file_ops *ops, int fd, const void *p, size_t n,
                    uint64_t off)
{
    size_t done = 0;
    while (done < n) {
        ssize_t r = ops->pwrite(ops->arg, fd, (const uint8_t *)p + done, n - done, off + done);
        if (r == -EINTR)
            continue;
        if (r <= 0)
            return r < 0 ? (int)r : -EIO;
        done += (size_t)r;
    }
    return 0;
}

int ledger_sync_dir(const struct ledger_file_ops *ops, int dirfd, const char *name)
{
    int fd = ops->open(ops->arg, dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    int r = ops->datasync(ops->arg, fd);
    ops->close(ops->arg, fd);
    return r;
}

int ledger_replace(const struct ledger_file_ops *ops, int dirfd, const char *name, const void *p,
                   size_t n, bool sync)
{
    char temp[TILE_PATH + 8];
    int m = snprintf(temp, sizeof temp, "%s.new", name);
    if (m < 0 || (size_t)m >= sizeof temp)
        return -ENAMETOOLONG;
    int fd = ops->open(ops->arg, dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return fd;
    int r = ledger_write_at(ops, fd, p, n, 0);
    if (!r && sync)
        r = ops->datasync(ops->arg, fd);
    ops->close(ops->arg, fd);
    if (!r)
        r = ops->rename(ops->arg, dirfd, temp, name);
    if (!r && sync)
        r = ledger_sync_dir(ops, dirfd, ".");
    return r;
}
