/* segment.c - the files that hold the entries.
 *
 *   events/<first index, 20 digits>.jsonl
 *
 *   +---------+----+---------+----+-- ... --+---------+----+--------------+
 *   | entry i | \n | i + 1   | \n |         | i + n-1 | \n | 0 0 0 ...    |
 *   +---------+----+---------+----+-- ... --+---------+----+--------------+
 *   0                                                      off           alloc
 *
 * An entry is 2 to 65,535 bytes: one JSON object, '{' to '}', UTF-8, no byte below 0x20. The
 * segment being written is preallocated in steps of 1 MiB, so that making an entry durable need not
 * change the file's size; the zeros behind the last entry are its end for every reader. A closed
 * segment has none. The next segment is named by the index behind the last entry of this one, and
 * is only made when this one is cut to its length and durable. A segment without entries may be the
 * last one, no other. Closed segments are packed when there is time (pack.c), and removed from the
 * oldest on when there are too many or they are too old (prune.c).
 *
 * After a crash there may be bytes behind the last whole entry: part of a batch that nobody was
 * told was durable. They are moved to events/torn-<index>-<time> (recover.c).
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ledger/ledger_int.h"

void ledger_segment_name(char dst[SEGMENT_NAME], uint64_t first, enum ledger_form form)
{
    static const char *const ends[] = {
        [LEDGER_PLAIN] = "", [LEDGER_PACKED] = ".zst", [LEDGER_PACKING] = ".zst.new"};
    (void)snprintf(dst, SEGMENT_NAME, "%020" PRIu64 ".jsonl%s", first, ends[form]);
}

static bool parse_name(const char *name, uint64_t *ret, bool *ret_packed)
{
    if (strlen(name) < 26)
        return false;
    *ret_packed = strcmp(name + 20, ".jsonl.zst") == 0;
    if (!*ret_packed && strcmp(name + 20, ".jsonl") != 0)
        return false;
    size_t zeros = strspn(name, "0");
    if (zeros >= 20)
        zeros = 19;
    return gvm_parse_u64((struct gvm_str){name + zeros, 20 - zeros}, UINT64_MAX, ret) == 0;
}

/* Of two forms of one segment the plain one comes first. */
static int compare(const void *a, const void *b)
{
    const struct ledger_closed *x = a, *y = b;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : x->packed - y->packed;
}

/* Sorts, and drops the packed form where the plain one is still there. */
static size_t tidy(struct ledger_closed *list, size_t n)
{
    size_t kept = 0;
    if (n)
        qsort(list, n, sizeof *list, compare);
    for (size_t i = 0; i < n; i++)
        if (!kept || list[i].first != list[kept - 1].first)
            list[kept++] = list[i];
    return kept;
}

int ledger_closed_add(struct ledger_closed **list, size_t *n, struct ledger_closed c)
{
    if ((*n & (*n - 1)) == 0) { /* full at every power of two */
        struct ledger_closed *more = reallocarray(*list, *n ? 2 * *n : 1, sizeof c);
        if (!more)
            return -ENOMEM;
        *list = more;
    }
    (*list)[(*n)++] = c;
    return 0;
}

int ledger_segment_list(int eventsfd, struct ledger_closed **ret, size_t *ret_n,
                        struct gvm_err *err)
{
    int fd = openat(eventsfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int e = errno;
        gvm_close(&fd);
        return gvm_err_sys(err, e, "ledger: cannot list events");
    }
    struct ledger_closed *list = NULL, c = {0};
    size_t n = 0;
    struct stat st;
    for (struct dirent *e; (e = readdir(d));) {
        if (!parse_name(e->d_name, &c.first, &c.packed) ||
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        c.bytes = (uint64_t)st.st_size;
        c.closed_ns = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;
        if (ledger_closed_add(&list, &n, c) < 0) {
            free(list);
            closedir(d);
            return gvm_err_set(err, ENOMEM, "ledger: out of memory");
        }
    }
    closedir(d);
    *ret_n = tidy(list, n);
    *ret = list;
    return 0;
}

int ledger_segment_create(const struct ledger_file_ops *ops, int dirfd, int eventsfd,
                          uint64_t first, struct ledger_segment *s)
{
    char name[SEGMENT_NAME];
    ledger_segment_name(name, first, LEDGER_PLAIN);
    int fd = ops->open(ops->arg, eventsfd, name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return fd;
    int r = ledger_sync_dir(ops, dirfd, "events");
    if (r < 0) {
        ops->close(ops->arg, fd);
        (void)ops->unlink(ops->arg, eventsfd, name, 0);
        return r;
    }
    *s = (struct ledger_segment){.fd = fd, .first = first, .born_ns = gvm_now_ns()};
    return 0;
}

void ledger_segment_close(const struct ledger_file_ops *ops, struct ledger_segment *s)
{
    if (s->fd >= 0)
        ops->close(ops->arg, s->fd);
    s->fd = -1;
}

int ledger_segment_finish(const struct ledger_file_ops *ops, struct ledger_segment *s)
{
    int r = 0;
    if (s->alloc > s->off) {
        r = ops->truncate(ops->arg, s->fd, s->off);
        if (!r)
            r = ops->datasync(ops->arg, s->fd);
    }
    if (!r)
        ledger_segment_close(ops, s);
    return r;
}

void ledger_segment_reserve(const struct ledger_file_ops *ops, struct ledger_segment *s, uint64_t n)
{
    if (s->off + n <= s->alloc)
        return;
    uint64_t want = (s->off + n - s->alloc + SEGMENT_STEP - 1) / SEGMENT_STEP * SEGMENT_STEP;
    if (ops->allocate(ops->arg, s->fd, s->alloc, want) == 0)
        s->alloc += want;
}

/* ---- scanning ---- */

struct scan {
    struct ledger_scan out;
    void (*line)(void *arg, const uint8_t *p, size_t n);
    void *arg;
    bool stopped; /* behind `good` comes no entry; only the end is still looked for */
};

/* Takes whole lines off the front of p; returns how many bytes. */
static size_t take_lines(struct scan *s, const uint8_t *p, size_t n)
{
    size_t pos = 0;
    while (pos < n && !s->stopped) {
        const uint8_t *nl = memchr(p + pos, '\n', n - pos);
        if (!nl) {
            s->stopped = n - pos > GVM_MAX_ENTRY;
            break;
        }
        size_t len = (size_t)(nl - (p + pos));
        if (!ledger_line_ok((struct gvm_str){(const char *)p + pos, len})) {
            s->stopped = true;
            break;
        }
        if (s->line)
            s->line(s->arg, p + pos, len);
        s->out.lines++;
        pos += len + 1;
    }
    s->out.good += pos;
    return pos;
}

static void note_end(struct scan *s, const uint8_t *p, size_t n, uint64_t off)
{
    while (n && p[n - 1] == 0)
        n--;
    if (n)
        s->out.end = off + n;
}

int ledger_segment_scan(const struct ledger_file_ops *ops, int fd,
                        void (*line)(void *arg, const uint8_t *p, size_t n), void *arg,
                        struct ledger_scan *ret)
{
    enum { WINDOW = 1 << 20 };
    struct scan s = {.line = line, .arg = arg};
    GVM_AUTOFREE uint8_t *win = malloc(WINDOW);
    if (!win)
        return -ENOMEM;
    size_t have = 0; /* bytes of the window, which begins at out.good until stopped */
    for (;;) {
        ssize_t r = ledger_read_at(ops, fd, win + have, WINDOW - have, s.out.size);
        if (r < 0)
            return (int)r;
        if (r == 0)
            break;
        note_end(&s, win + have, (size_t)r, s.out.size);
        s.out.size += (uint64_t)r;
        have += (size_t)r;
        size_t taken = take_lines(&s, win, have);
        have = s.stopped ? 0 : have - taken;
        memmove(win, win + taken, have);
    }
    if (s.out.end < s.out.good)
        s.out.end = s.out.good;
    *ret = s.out;
    return 0;
}
