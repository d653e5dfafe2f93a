/* The content of files: copied with their holes, and hashed. */
#include "review/review_int.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK (128u << 10)

/* For file systems between which the kernel does not copy. */
static int copy_through(int from, int to, off_t at, off_t end)
{
    GVM_AUTOFREE char *mem = malloc(BLOCK);
    if (!mem)
        return -ENOMEM;
    while (at < end) {
        size_t want = end - at < (off_t)BLOCK ? (size_t)(end - at) : BLOCK;
        ssize_t n = pread(from, mem, want, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        for (ssize_t done = 0; done < n;) {
            ssize_t k = pwrite(to, mem + done, (size_t)(n - done), at + done);
            if (k < 0 && errno != EINTR)
                return -errno;
            done += k > 0 ? k : 0;
        }
        at += n;
    }
    return 0;
}

static int copy_range(int from, int to, off_t at, off_t end)
{
    while (at < end) {
        off_t in = at, out = at;
        ssize_t n = copy_file_range(from, &in, to, &out, (size_t)(end - at), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP &&
            errno != EPERM)
            return -errno;
        if (n <= 0)
            return copy_through(from, to, at, end);
        at += n;
    }
    return 0;
}

int review_copy(int from, int to)
{
    struct stat st;
    if (fstat(from, &st) < 0)
        return -errno;
    for (off_t at = 0; at < st.st_size;) {
        off_t data = lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        off_t end = data < 0 ? st.st_size : lseek(from, data, SEEK_HOLE);
        if (data < 0)
            data = at; /* a file system that does not know its holes */
        if (end < 0)
            return -errno;
        int r = copy_range(from, to, data, end);
        if (r < 0)
            return r;
        at = end;
    }
    return ftruncate(to, st.st_size) < 0 ? -errno : 0;
}

static int update_from(int fd, EVP_MD_CTX *md)
{
    GVM_AUTOFREE char *mem = malloc(BLOCK);
    if (!mem)
        return -ENOMEM;
    for (off_t at = 0;;) {
        ssize_t n = pread(fd, mem, BLOCK, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        if (!EVP_DigestUpdate(md, mem, (size_t)n))
            return -ENOMEM;
        at += n;
    }
}

static int hash(int fd, struct gvm_str text, char ret[65])
{
    unsigned char sum[32];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int r = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) ? 0 : -ENOMEM;
    if (r == 0)
        r = fd >= 0 ? update_from(fd, md) : EVP_DigestUpdate(md, text.p, text.n) ? 0 : -ENOMEM;
    if (r == 0 && !EVP_DigestFinal_ex(md, sum, NULL))
        r = -ENOMEM;
    EVP_MD_CTX_free(md);
    if (r == 0)
        gvm_hex(ret, sum, sizeof(sum));
    return r;
}

int review_hash_fd(int fd, char ret[65])
{
    return hash(fd, (struct gvm_str){"", 0}, ret);
}

int review_hash_text(struct gvm_str text, char ret[65])
{
    return hash(-1, text, ret);
}

int review_hash_file(int dirfd, const char *name, char ret[65])
{
    GVM_AUTOCLOSE int fd = -1;
    struct stat st;
    int r = review_open_file(dirfd, name, &fd, &st);
    return r < 0 ? r : review_hash_fd(fd, ret);
}

/* ---- comparing ---- */

static ssize_t read_at(int fd, char *p, size_t n, off_t at)
{
    size_t have = 0;
    while (have < n) {
        ssize_t k = pread(fd, p + have, n - have, at + (off_t)have);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -errno;
        if (k == 0)
            break;
        have += (size_t)k;
    }
    return (ssize_t)have;
}

/* Where the next bytes that are no hole begin. */
static off_t next_data(int fd, off_t at, off_t size)
{
    off_t data = lseek(fd, at, SEEK_DATA);
    return data >= 0 ? data : errno == ENXIO ? size : at;
}

int review_same_bytes(int a, int b)
{
    struct stat sa, sb;
    if (fstat(a, &sa) < 0 || fstat(b, &sb) < 0 || sa.st_size != sb.st_size)
        return 0;
    GVM_AUTOFREE char *mem = malloc(2 * (size_t)BLOCK);
    if (!mem)
        return -ENOMEM;
    for (off_t at = 0; at < sa.st_size;) {
        /* What is a hole in both is equal. */
        off_t da = next_data(a, at, sa.st_size), db = next_data(b, at, sa.st_size);
        at = da < db ? da : db;
        ssize_t na = read_at(a, mem, BLOCK, at), nb = read_at(b, mem + BLOCK, BLOCK, at);
        if (na < 0 || nb < 0 || na != nb || memcmp(mem, mem + BLOCK, (size_t)na) != 0)
            return 0;
        if (na == 0)
            break;
        at += na;
    }
    return 1;
}
