/* verify_files.c - the ledger's files as a stranger finds them: opened without following links,
 * read in windows of fixed size, nothing about them believed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ledger/verify_int.h"

enum { WINDOW = 1 << 20, JUMP = 8 << 10, MAX_SEGMENTS = 1 << 24 };

void vfiles_segment_path(char dst[VPATH], uint64_t first, bool packed)
{
    (void)snprintf(dst, VPATH, "events/%020" PRIu64 ".jsonl%s", first, packed ? ".zst" : "");
}

void vfiles_tile_path(char dst[VPATH], unsigned level, uint64_t index)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRIu64, index);
    int pad = (3 - n % 3) % 3;
    size_t len = (size_t)snprintf(dst, VPATH, "tile/%u/", level);
    for (int i = -pad; i < n; i++) {
        if ((i + pad) % 3 == 0) {
            if (i + pad)
                dst[len++] = '/';
            if (n - i > 3)
                dst[len++] = 'x';
        }
        dst[len++] = i < 0 ? '0' : digits[i];
    }
    dst[len] = '\0';
}

/* "00000000000000000042.jsonl" or ".jsonl.zst" -> 42; false for any other name. */
static bool segment_index(const char *name, uint64_t *ret)
{
    uint64_t v = 0;
    for (int i = 0; i < 20; i++) {
        if (name[i] < '0' || name[i] > '9' || v > (UINT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (uint64_t)(name[i] - '0');
    }
    *ret = v;
    return strcmp(name + 20, ".jsonl") == 0 || strcmp(name + 20, ".jsonl.zst") == 0;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int vfiles_segments(int dirfd, uint64_t **ret, size_t *ret_n, struct gvm_err *err)
{
    int fd = openat(dirfd, "events", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int e = errno;
        gvm_close(&fd);
        return gvm_err_sys(err, e, "cannot open events of the ledger");
    }
    uint64_t *list = NULL, v;
    size_t n = 0, cap = 0;
    int r = 0;
    for (struct dirent *e; !r && (e = readdir(d));) {
        if (!segment_index(e->d_name, &v))
            continue;
        if (n == cap) {
            size_t more = cap ? cap * 2 : 64;
            uint64_t *p = more > MAX_SEGMENTS ? NULL : reallocarray(list, more, sizeof *list);
            if (!p) {
                r = gvm_err_set(err, ENOMEM, "too many segments");
                break;
            }
            list = p;
            cap = more;
        }
        list[n++] = v;
    }
    closedir(d);
    if (r < 0) {
        free(list);
        return r;
    }
    if (n)
        qsort(list, n, sizeof *list, by_value);
    size_t kept = 0; /* a segment is there twice while the writer packs it */
    for (size_t i = 0; i < n; i++)
        if (!i || list[i] != list[i - 1])
            list[kept++] = list[i];
    *ret = list;
    *ret_n = kept;
    return 0;
}

int vfiles_open(int dirfd, const char *path)
{
    struct stat st;
    GVM_AUTOCLOSE int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    return S_ISREG(st.st_mode) ? gvm_steal_fd(&fd) : -EISDIR;
}

int vfiles_read(int dirfd, const char *path, struct gvm_buf *out)
{
    GVM_AUTOCLOSE int fd = vfiles_open(dirfd, path);
    return fd < 0 ? fd : gvm_read_fd(fd, out);
}

/* A writer replaces the file, but may write over one that was replaced two heads ago and that we
 * still hold open. What is the same twice was not written meanwhile. */
int vfiles_read_head(int dirfd, struct gvm_buf *out)
{
    enum { TRIES = 8 };
    struct gvm_buf before;
    gvm_buf_init(&before, GVM_MAX_NOTE);
    int r = vfiles_read(dirfd, "checkpoint", &before);
    for (unsigned i = 0; !r && i < TRIES; i++) {
        gvm_buf_reset(out);
        r = vfiles_read(dirfd, "checkpoint", out);
        if (r < 0 || gvm_str_eq(gvm_buf_str(out), gvm_buf_str(&before)))
            break;
        gvm_buf_reset(&before);
        if (gvm_buf_adds(&before, gvm_buf_str(out)) < 0)
            r = -ENOMEM;
    }
    gvm_buf_done(&before);
    return r;
}

/* ---- lines ---- */

/* The plain form goes away only when the packed one is there: looked for again, it cannot be
 * missed. */
static int open_either(int dirfd, uint64_t first, bool *ret_packed)
{
    char path[VPATH];
    int fd = -ENOENT;
    for (unsigned i = 0; fd == -ENOENT && i < 3; i++) {
        *ret_packed = i == 1;
        vfiles_segment_path(path, first, *ret_packed);
        fd = vfiles_open(dirfd, path);
    }
    return fd;
}

int vlines_open(struct vlines *l, int dirfd, uint64_t first)
{
    bool packed = false;
    struct vlines next = {.fd = open_either(dirfd, first, &packed), .first = first, .step = WINDOW};
    if (next.fd < 0)
        return next.fd;
    next.win = malloc(WINDOW);
    next.pack = packed ? vpack_new(first) : NULL;
    if (!next.win || (packed && !next.pack)) {
        vlines_done(&next);
        return -ENOMEM;
    }
    *l = next;
    return 0;
}

void vlines_seek(struct vlines *l, uint64_t offset)
{
    l->eof = false;
    if (offset >= l->off && offset <= l->off + l->have) {
        l->pos = (size_t)(offset - l->off);
        return;
    }
    l->have = l->pos = l->skip = 0;
    l->step = JUMP;
    l->off = offset;
    if (!l->pack)
        return;
    l->off = vpack_seek(l->pack, l->fd, UINT64_MAX, offset).offset;
    l->skip = (size_t)(offset - l->off); /* past the block: nothing lies there */
}

void vlines_done(struct vlines *l)
{
    free(l->win);
    l->win = NULL;
    vpack_free(l->pack);
    l->pack = NULL;
    gvm_close(&l->fd);
}

uint64_t vlines_skip_to(struct vlines *l, uint64_t index)
{
    if (!l->pack)
        return l->first;
    struct vpack_place at = vpack_seek(l->pack, l->fd, index, UINT64_MAX);
    l->off = at.offset;
    return at.index;
}

void vlines_again(struct vlines *l)
{
    if (l->pack)
        return;
    l->off += l->pos;
    l->have = l->pos = 0;
    l->eof = false;
}

/* The next block; all lines of the one before were taken. */
static int fill_packed(struct vlines *l)
{
    size_t n = 0;
    int r = vpack_next(l->pack, l->fd, l->win, WINDOW, &n);
    l->eof = r == -ENODATA;
    l->off += l->have;
    l->have = n;
    l->pos = l->skip < n ? l->skip : n;
    l->skip = 0;
    return l->eof ? 0 : r;
}

/* Moves what is unread to the front and reads behind it. */
static int fill(struct vlines *l)
{
    if (l->pack)
        return fill_packed(l);
    memmove(l->win, l->win + l->pos, l->have - l->pos);
    l->off += l->pos;
    l->have -= l->pos;
    l->pos = 0;
    size_t until = l->have + l->step < WINDOW ? l->have + l->step : WINDOW;
    l->step = l->step < WINDOW ? l->step * 2 : WINDOW;
    while (l->have < until) {
        ssize_t r = pread(l->fd, l->win + l->have, until - l->have, (off_t)(l->off + l->have));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0) {
            l->eof = true;
            break;
        }
        l->have += (size_t)r;
    }
    return 0;
}

int vlines_next(struct vlines *l, struct gvm_str *ret)
{
    for (;;) {
        const uint8_t *p = l->win + l->pos;
        size_t n = l->have - l->pos;
        const uint8_t *nl = n ? memchr(p, '\n', n) : NULL;
        if (n && p[0] == 0)
            return VLINE_ZEROS;
        if (nl) {
            size_t len = (size_t)(nl - p);
            *ret = (struct gvm_str){(const char *)p, len};
            if (memchr(p, 0, len))
                return VLINE_TORN;
            l->pos += len + 1;
            return len > GVM_MAX_ENTRY ? VLINE_LONG : VLINE_ENTRY;
        }
        if (n > GVM_MAX_ENTRY)
            return memchr(p, 0, n) ? VLINE_TORN : VLINE_LONG;
        if (l->eof)
            return n ? VLINE_TORN : VLINE_END;
        int r = fill(l);
        if (r < 0)
            return r == -EBADMSG ? VLINE_DAMAGED : r;
    }
}

int vlines_zeros(struct vlines *l, bool *ret)
{
    for (;;) {
        for (; l->pos < l->have; l->pos++) {
            if (l->win[l->pos]) {
                *ret = false;
                return 0;
            }
        }
        if (l->eof) {
            *ret = true;
            return 0;
        }
        int r = fill(l);
        if (r < 0)
            return r;
    }
}
