/* What a name holds: captured before a change, put on afterwards, compared later.
 *
 * Extended attributes travel as one blob: name, NUL, length (4 bytes, big-endian), value, and so
 * on. From the layer only user.* counts, without what the overlay itself keeps there. Of the
 * owner's own file everything is kept that this user may read, but not the labels that the system
 * derives anew (SELinux, IMA, EVM).
 */
#include "review/review_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_XATTRS (256u << 10) /* bytes of all attributes of one file */

static int64_t to_ns(struct timespec t)
{
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static struct timespec from_ns(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    if (t.tv_nsec < 0) {
        t.tv_nsec += 1000000000;
        t.tv_sec--;
    }
    return t;
}

/* ---- extended attributes ---- */

static bool wanted(struct gvm_str name, enum review_xattrs which)
{
    if (which == REVIEW_XATTRS_USER)
        return gvm_str_starts(name, GVM_STR("user.")) &&
               !gvm_str_starts(name, GVM_STR("user.overlay."));
    return !gvm_str_eqz(name, "security.selinux") && !gvm_str_eqz(name, "security.ima") &&
           !gvm_str_eqz(name, "security.evm");
}

static int add_xattr(const char *path, const char *name, struct gvm_buf *out)
{
    ssize_t n = lgetxattr(path, name, NULL, 0);
    if (n < 0)
        return errno == ENODATA || errno == EACCES || errno == EPERM ? 0 : -errno;
    uint8_t len[4];
    gvm_buf_add(out, name, strlen(name) + 1);
    gvm_put32(len, (uint32_t)n);
    gvm_buf_add(out, len, sizeof(len));
    uint8_t *p = gvm_buf_space(out, n ? (size_t)n : 1);
    if (!p || out->failed)
        return -E2BIG;
    ssize_t got = n ? lgetxattr(path, name, p, (size_t)n) : 0;
    if (got != n)
        return got < 0 ? -errno : -EAGAIN;
    gvm_buf_grew(out, (size_t)n);
    return 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a fixed order, so that equal sets are equal blobs. */
static int add_sorted(const char *path, char *names, size_t n, enum review_xattrs which,
                      struct gvm_buf *out)
{
    size_t count = 0, at = 0;
    for (const char *p = names; p < names + n; p += strlen(p) + 1)
        count++;
    GVM_AUTOFREE char **list = gvm_calloc(count, sizeof(*list));
    if (!list)
        return -ENOMEM;
    for (char *p = names; p < names + n; p += strlen(p) + 1)
        list[at++] = p;
    qsort(list, count, sizeof(*list), by_text);
    int r = 0;
    for (size_t i = 0; r == 0 && i < count; i++)
        if (wanted(gvm_str(list[i]), which))
            r = add_xattr(path, list[i], out);
    return r;
}

int review_xattrs_read(int dirfd, const char *name, enum review_xattrs which, struct gvm_arena *a,
                       struct gvm_str *ret)
{
    char path[REVIEW_MAX_NAME + 64];
    review_proc_path(dirfd, name, path);
    ssize_t n = llistxattr(path, NULL, 0);
    *ret = (struct gvm_str){"", 0};
    if (n <= 0)
        return n == 0 || errno == EOPNOTSUPP || errno == EACCES ? 0 : -errno;
    if ((size_t)n > MAX_XATTRS)
        return -E2BIG;
    GVM_AUTOFREE char *names = malloc((size_t)n + 1);
    if (!names)
        return -ENOMEM;
    n = llistxattr(path, names, (size_t)n);
    if (n < 0)
        return -errno;
    names[n] = '\0';
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, MAX_XATTRS);
    int r = add_sorted(path, names, (size_t)n, which, &out);
    if (r < 0 || out.len == 0)
        return r;
    const char *copy = gvm_arena_dup(a, gvm_buf_data(&out), out.len);
    if (!copy)
        return -ENOMEM;
    *ret = (struct gvm_str){copy, out.len};
    return 0;
}

bool review_xattrs_next(struct gvm_str *blob, struct gvm_str *ret_name, struct gvm_str *ret_value)
{
    ptrdiff_t end = blob->n ? gvm_str_find(*blob, '\0') : -1;
    if (end < 0 || blob->n - (size_t)end < 5)
        return false;
    size_t head = (size_t)end + 5;
    size_t len = gvm_get32((const uint8_t *)blob->p + end + 1);
    if (blob->n - head < len)
        return false;
    *ret_name = (struct gvm_str){blob->p, (size_t)end};
    *ret_value = (struct gvm_str){blob->p + head, len};
    blob->p += head + len;
    blob->n -= head + len;
    return true;
}

static bool has_name(struct gvm_str blob, struct gvm_str name)
{
    struct gvm_str n, v;
    while (review_xattrs_next(&blob, &n, &v))
        if (gvm_str_eq(n, name))
            return true;
    return false;
}

/* Attributes of an older time that are not in `blob` go. */
static int remove_others(const char *path, struct gvm_str blob)
{
    char names[4096];
    ssize_t n = llistxattr(path, names, sizeof(names) - 1);
    if (n <= 0)
        return 0;
    names[n] = '\0';
    for (const char *p = names; p < names + n; p += strlen(p) + 1) {
        struct gvm_str name = gvm_str(p);
        if (wanted(name, REVIEW_XATTRS_USER) && !has_name(blob, name) &&
            lremovexattr(path, p) < 0 && errno != ENODATA)
            return -errno;
    }
    return 0;
}

static int put_xattrs(const char *path, struct gvm_str blob)
{
    struct gvm_str name, value;
    int r = remove_others(path, blob);
    while (r == 0 && review_xattrs_next(&blob, &name, &value)) {
        if (lsetxattr(path, name.p, value.p, value.n, 0) == 0)
            continue;
        /* Not every file system keeps them, and some are root's to give. */
        if (errno != EOPNOTSUPP && errno != EPERM)
            r = -errno;
    }
    return r;
}

int review_xattrs_keep_acl(struct gvm_arena *a, struct gvm_str user, struct gvm_str host,
                           struct gvm_str *ret)
{
    struct gvm_str rest = host, name, value;
    *ret = user;
    for (const char *from = rest.p; review_xattrs_next(&rest, &name, &value); from = rest.p) {
        if (!gvm_str_starts(name, GVM_STR("system.posix_acl_")))
            continue;
        size_t n = (size_t)(rest.p - from);
        char *both = gvm_arena_alloc(a, ret->n + n + 1);
        if (!both)
            return -ENOMEM;
        memcpy(both, ret->p, ret->n);
        memcpy(both + ret->n, from, n);
        *ret = (struct gvm_str){both, ret->n + n};
    }
    return 0;
}

/* ---- capture ---- */

static int capture_link(int dir, const char *leaf, struct gvm_arena *a, struct review_state *s)
{
    char target[GVM_PATH_MAX];
    ssize_t n = readlinkat(dir, leaf, target, sizeof(target));
    const char *copy = n < 0 ? NULL : gvm_arena_dup(a, target, (size_t)n);
    if (!copy)
        return n < 0 ? -errno : -ENOMEM;
    s->target = (struct gvm_str){copy, (size_t)n};
    return review_hash_text(s->target, s->hash);
}

int review_capture(int root, struct gvm_str path, enum review_xattrs which, struct gvm_arena *a,
                   struct review_state *ret)
{
    char leaf[REVIEW_MAX_NAME];
    struct stat st;
    *ret = (struct review_state){.xattrs = {"", 0}, .target = {"", 0}};
    GVM_AUTOCLOSE int dir = review_open_parent(root, path, leaf);
    if (dir < 0)
        return dir == -ENOENT || dir == -ENOTDIR || dir == -ELOOP ? 0 : dir;
    if (fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    *ret = (struct review_state){.mode = st.st_mode,
                                 .uid = st.st_uid,
                                 .gid = st.st_gid,
                                 .rdev = st.st_rdev,
                                 .size = (uint64_t)st.st_size,
                                 .ino = st.st_ino,
                                 .atime_ns = to_ns(st.st_atim),
                                 .mtime_ns = to_ns(st.st_mtim),
                                 .ctime_ns = to_ns(st.st_ctim),
                                 .xattrs = {"", 0},
                                 .target = {"", 0}};
    int r = S_ISLNK(st.st_mode) ? capture_link(dir, leaf, a, ret) : 0;
    return r < 0 ? r : review_xattrs_read(dir, leaf, which, a, &ret->xattrs);
}

bool review_same_file(const struct review_state *s, const struct stat *st)
{
    if ((st->st_mode & S_IFMT) != (s->mode & S_IFMT))
        return false;
    return S_ISDIR(st->st_mode) || (st->st_ino == s->ino && (uint64_t)st->st_size == s->size &&
                                    to_ns(st->st_mtim) == s->mtime_ns);
}

/* ---- putting on ---- */

/* Only root can give a file away; for anybody else it is theirs already. */
static int set_owner(const char *path, const struct review_state *s)
{
    return lchown(path, s->uid, s->gid) == 0 || errno == EPERM || errno == EINVAL ? 0 : -errno;
}

int review_dress(int dirfd, const char *name, const struct review_state *s)
{
    char path[REVIEW_MAX_NAME + 64];
    struct timespec times[2] = {from_ns(s->atime_ns), from_ns(s->mtime_ns)};
    review_proc_path(dirfd, name, path);
    int r = set_owner(path, s);
    if (r == 0 && !S_ISLNK(s->mode))
        r = put_xattrs(path, s->xattrs);
    /* After the owner and the attributes: both may change or need the mode. */
    if (r == 0 && !S_ISLNK(s->mode))
        r = review_chmod(dirfd, name, s->mode);
    if (r == 0 && utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    return r;
}
