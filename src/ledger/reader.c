/* reader.c - entries in order, for whoever shows or searches them: follows the log as it grows.
 *
 * The writer may be at work. A byte 0 or half a line at the end of the last segment means "no more
 * for now"; the next segment is the one named by the index reached. Bytes seen here may not be
 * durable yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>
#include "ledger/ledger.h"
#include "ledger/verify_int.h"

struct gvm_ledger_reader {
    int dirfd, notify;
    bool open;                     /* lines is on a segment */
    uint64_t index;                /* of the next entry */
    struct gvm_ledger_place place; /* of the one given last */
    uint64_t end_checked;          /* index + 1 where the end was found without a gap behind it */
    struct vlines lines;
};

static int open_segment(struct gvm_ledger_reader *r, uint64_t first)
{
    struct vlines next;
    int e = vlines_open(&next, r->dirfd, first);
    if (e < 0)
        return e;
    if (r->open)
        vlines_done(&r->lines);
    r->lines = next;
    r->open = true;
    r->index = first;
    r->place = (struct gvm_ledger_place){first, 0};
    return 0;
}

/* The segment that holds entry `from`, or the nearest one. */
static int open_nearest(struct gvm_ledger_reader *r, uint64_t from, struct gvm_err *err)
{
    GVM_AUTOFREE uint64_t *first = NULL;
    size_t n = 0, at = 0;
    int e = vfiles_segments(r->dirfd, &first, &n, err);
    if (e < 0 || !n)
        return e;
    while (at + 1 < n && first[at + 1] <= from)
        at++;
    e = open_segment(r, first[at]);
    return e < 0 ? gvm_err_sys(err, -e, "cannot open the segment of entry %" PRIu64, from) : 0;
}

static int seek_segment(struct gvm_ledger_reader *r, uint64_t from, struct gvm_err *err)
{
    int e = -ENOENT;
    for (unsigned i = 0; e == -ENOENT && i < 3;
         i++) /* it may be pruned between the look and the hand */
        e = open_nearest(r, from, err);
    if (!e && r->open)
        r->index = vlines_skip_to(&r->lines, from);
    return e;
}

int gvm_ledger_reader_open(const char *dir, uint64_t from, struct gvm_ledger_reader **ret,
                           struct gvm_err *err)
{
    struct gvm_ledger_reader *r = gvm_calloc(1, sizeof *r);
    if (!r)
        return gvm_err_set(err, ENOMEM, "out of memory");
    r->notify = -1;
    r->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int e = r->dirfd < 0 ? gvm_err_sys(err, errno, "cannot open the ledger %s", dir)
                         : seek_segment(r, from, err);
    uint64_t index = 0;
    struct gvm_str line;
    while (!e && r->index < from) {
        int got = gvm_ledger_reader_next(r, &index, &line, err);
        if (got <= 0) {
            e = got;
            break;
        }
    }
    if (e < 0) {
        gvm_ledger_reader_free(r);
        return e;
    }
    *ret = r;
    return 0;
}

void gvm_ledger_reader_free(struct gvm_ledger_reader *r)
{
    if (!r)
        return;
    if (r->open)
        vlines_done(&r->lines);
    gvm_close(&r->notify);
    gvm_close(&r->dirfd);
    free(r);
}

static int damaged(const struct gvm_ledger_reader *r, struct gvm_err *err)
{
    return gvm_err_set(
        err, EBADMSG, "the ledger is damaged at entry %" PRIu64 "; run gvm audit verify", r->index);
}

/* At the end of what this segment has: is there a next one? 1 yes and open, 0 no. */
static int next_segment(struct gvm_ledger_reader *r, struct gvm_err *err)
{
    uint64_t first = r->index;
    int e = open_segment(r, first);
    if (e == -ENOENT)
        return 0;
    return e < 0 ? gvm_err_sys(err, -e, "cannot open the segment of entry %" PRIu64, first) : 1;
}

/* Looks for a segment behind the entry wanted next: then what lies between is missing (*ret_gap),
 * or, if no segment before it is there either, was pruned: *ret_pruned is the first entry kept. */
static int gap_ahead(struct gvm_ledger_reader *r, bool *ret_gap, uint64_t *ret_pruned,
                     struct gvm_err *err)
{
    GVM_AUTOFREE uint64_t *first = NULL;
    size_t n = 0;
    int e = vfiles_segments(r->dirfd, &first, &n, err);
    if (e < 0)
        return e;
    *ret_gap = n && first[n - 1] > r->index;
    *ret_pruned = n && first[0] > r->index ? first[0] : 0;
    return 0;
}

/* The bytes read so far end here. 0: no more for now; 1: the next segment is open, or the place
 * must be looked at once more (*suspect: a gap was seen, which a writer may just have filled). */
static int at_end(struct gvm_ledger_reader *r, bool *suspect, struct gvm_err *err)
{
    bool gap = false;
    uint64_t pruned = 0;
    /* A segment without entries: its successor would have its own name. */
    int e = r->open && r->lines.off + r->lines.pos == 0 ? 0 : next_segment(r, err);
    if (e != 0 || r->end_checked == r->index + 1)
        return e;
    e = gap_ahead(r, &gap, &pruned, err);
    if (e < 0)
        return e;
    if (pruned) {
        r->index = pruned;
        return next_segment(r, err);
    }
    if (gap && *suspect)
        return damaged(r, err);
    *suspect = gap;
    if (!gap)
        r->end_checked = r->index + 1;
    return gap;
}

int gvm_ledger_reader_next(struct gvm_ledger_reader *r, uint64_t *ret_index,
                           struct gvm_str *ret_line, struct gvm_err *err)
{
    struct gvm_str line;
    bool again = false, suspect = false;
    for (;;) {
        int kind = r->open ? vlines_next(&r->lines, &line) : VLINE_END;
        if (kind < 0)
            return gvm_err_sys(err, -kind, "cannot read entry %" PRIu64, r->index);
        if (kind == VLINE_LONG || kind == VLINE_DAMAGED)
            return damaged(r, err);
        if (kind == VLINE_ENTRY) {
            r->place.offset = r->lines.off + r->lines.pos - line.n - 1;
            *ret_index = r->index++;
            *ret_line = line;
            return 1;
        }
        if (r->open)
            vlines_again(&r->lines);
        again =
            !again; /* what was read ahead may be old: look once more before believing the end */
        if (again)
            continue;
        int e = at_end(r, &suspect, err);
        if (e <= 0)
            return e;
    }
}

struct gvm_ledger_place gvm_ledger_reader_place(const struct gvm_ledger_reader *r)
{
    return r->place;
}

int gvm_ledger_reader_seek(struct gvm_ledger_reader *r, uint64_t index,
                           struct gvm_ledger_place place, struct gvm_err *err)
{
    int e = r->open && r->place.segment == place.segment ? 0 : open_segment(r, place.segment);
    if (e < 0)
        return gvm_err_sys(err, -e, "cannot open the segment of entry %" PRIu64, index);
    vlines_seek(&r->lines, place.offset);
    r->index = index;
    r->place = place;
    r->end_checked = 0;
    return 0;
}

int gvm_ledger_reader_fd(struct gvm_ledger_reader *r)
{
    if (r->notify >= 0)
        return r->notify;
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d/events", r->dirfd);
    r->notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (r->notify >= 0 &&
        inotify_add_watch(r->notify, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0)
        gvm_close(&r->notify);
    return r->notify;
}

void gvm_ledger_reader_drain(struct gvm_ledger_reader *r)
{
    char buf[4096];
    while (r->notify >= 0 && read(r->notify, buf, sizeof buf) > 0)
        ;
}

int gvm_ledger_size(const char *dir, uint64_t *ret, struct gvm_err *err)
{
    struct gvm_ledger_reader *r = NULL;
    uint64_t index = 0;
    struct gvm_str line;
    int e = gvm_ledger_reader_open(dir, UINT64_MAX, &r, err);
    if (e < 0)
        return e;
    while ((e = gvm_ledger_reader_next(r, &index, &line, err)) > 0)
        ;
    if (!e)
        *ret = r->index;
    gvm_ledger_reader_free(r);
    return e;
}
