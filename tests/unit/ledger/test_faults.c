/* Fail the 1st, 2nd, ... nth file operation until a run has none left to fail: an error once, a
 * short write, a dead disk, and a power cut that takes what was not synced. Nothing acknowledged
 * may be lost, nothing refused may count, and the log verifies in the end. */
#include "ledger_test.h"

enum mode { ERROR_ONCE, FULL_ONCE, SHORT_WRITE, STAYS_DEAD };

/* What a power cut leaves of a file: the bytes of its last sync. */
struct tracked {
    ino_t ino;
    int fd;
    uint8_t *synced;
    size_t n;
    bool dirty;
};

static struct {
    enum mode mode;
    unsigned count, at; /* operations so far; which one fails */
    bool fired, tracking;
    struct tracked file[512];
    size_t nfiles;
} disk;

/* True when this operation is to fail. */
static bool fails(void)
{
    disk.count++;
    if (disk.mode == STAYS_DEAD ? disk.count < disk.at : disk.count != disk.at)
        return false;
    disk.fired = true;
    return true;
}

static int error(void)
{
    return disk.mode == FULL_ONCE ? -ENOSPC : -EIO;
}

static struct tracked *track(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    if (!disk.tracking || !S_ISREG(st.st_mode))
        return NULL;
    for (size_t i = 0; i < disk.nfiles; i++)
        if (disk.file[i].ino == st.st_ino)
            return &disk.file[i];
    assert_true(disk.nfiles < 512);
    struct tracked *t = &disk.file[disk.nfiles++];
    char self[64];
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    *t = (struct tracked){.ino = st.st_ino, .fd = open(self, O_RDWR | O_CLOEXEC)};
    assert_true(t->fd >= 0);
    return t;
}

static void snapshot(struct tracked *t)
{
    struct stat st;
    if (!t)
        return;
    assert_int_equal(fstat(t->fd, &st), 0);
    t->n = (size_t)st.st_size;
    t->synced = realloc(t->synced, t->n + 1);
    assert_int_equal(pread(t->fd, t->synced, t->n, 0), t->n);
    t->dirty = false;
}

static void dirty(int fd)
{
    struct tracked *t = track(fd);
    if (t)
        t->dirty = true;
}

/* `keep` of 8: how much of what came after the last sync survives, as torn sectors do. */
static void power_cut(unsigned keep)
{
    for (size_t i = 0; i < disk.nfiles; i++) {
        struct tracked *t = &disk.file[i];
        struct stat st;
        assert_int_equal(fstat(t->fd, &st), 0);
        size_t now = (size_t)st.st_size,
               survive = t->n + (now > t->n ? (now - t->n) * keep / 8 : 0);
        if (t->dirty && st.st_nlink) {
            uint8_t *rest = malloc(now + 1);
            assert_int_equal(pread(t->fd, rest, now, 0), now);
            assert_int_equal(ftruncate(t->fd, (off_t)t->n), 0);
            if (t->n)
                assert_int_equal(pwrite(t->fd, t->synced, t->n, 0), t->n);
            /* Inside the preallocated zeros too: some of the new bytes, then zeros again. */
            size_t diff = 0;
            while (diff < t->n && diff < now && rest[diff] == t->synced[diff])
                diff++;
            size_t end = now;
            while (end > diff && !rest[end - 1])
                end--;
            if (keep && end > diff && survive >= diff)
                assert_true(pwrite(t->fd, rest + diff, (end - diff) * keep / 8, (off_t)diff) >= 0);
            free(rest);
        }
        close(t->fd);
        free(t->synced);
    }
    disk.nfiles = 0;
}

static int f_open(void *arg, int dirfd, const char *name, int flags, mode_t mode)
{
    if (fails())
        return error();
    int fd = ledger_real_ops.open(NULL, dirfd, name, flags, mode);
    if (fd >= 0 && disk.tracking && (flags & O_ACCMODE) != O_RDONLY) {
        struct stat st;
        size_t before = disk.nfiles;
        struct tracked *t = track(fd);
        assert_int_equal(fstat(fd, &st), 0);
        if (t && disk.nfiles > before && st.st_size)
            snapshot(t);
        if (t && flags & O_TRUNC)
            t->dirty = true;
    }
    return fd;
}

static ssize_t f_pread(void *arg, int fd, void *p, size_t n, uint64_t off)
{
    return fails() ? error() : ledger_real_ops.pread(NULL, fd, p, n, off);
}

static ssize_t f_pwrite(void *arg, int fd, const void *p, size_t n, uint64_t off)
{
    dirty(fd);
    if (!fails())
        return ledger_real_ops.pwrite(NULL, fd, p, n, off);
    if (disk.mode == SHORT_WRITE && n > 1) {
        disk.at++; /* and the rest does not fit */
        return ledger_real_ops.pwrite(NULL, fd, p, n / 2, off);
    }
    if (disk.mode == STAYS_DEAD && disk.count == disk.at)
        (void)!ledger_real_ops.pwrite(NULL, fd, p, n / 3, off);
    return error();
}

static int f_datasync(void *arg, int fd)
{
    if (fails())
        return error();
    snapshot(track(fd));
    return 0;
}

static int f_truncate(void *arg, int fd, uint64_t size)
{
    if (fails())
        return error();
    dirty(fd);
    return ledger_real_ops.truncate(NULL, fd, size);
}

static int f_allocate(void *arg, int fd, uint64_t off, uint64_t n)
{
    if (fails())
        return error();
    dirty(fd);
    return ledger_real_ops.allocate(NULL, fd, off, n < 4096 ? n : 4096);
}

static int f_rename(void *arg, int dirfd, const char *from, const char *to)
{
    return fails() ? error() : ledger_real_ops.rename(NULL, dirfd, from, to);
}

static int f_exchange(void *arg, int dirfd, const char *a, const char *b)
{
    return fails() ? error() : ledger_real_ops.exchange(NULL, dirfd, a, b);
}

static int f_unlink(void *arg, int dirfd, const char *name, int flags)
{
    return fails() ? error() : ledger_real_ops.unlink(NULL, dirfd, name, flags);
}

static int f_mkdir(void *arg, int dirfd, const char *name)
{
    return fails() ? error() : ledger_real_ops.mkdir(NULL, dirfd, name);
}

static void f_close(void *arg, int fd)
{
    close(fd);
}

static const struct ledger_file_ops faulty = {
    .open = f_open,
    .pread = f_pread,
    .pwrite = f_pwrite,
    .datasync = f_datasync,
    .truncate = f_truncate,
    .allocate = f_allocate,
    .rename = f_rename,
    .exchange = f_exchange,
    .unlink = f_unlink,
    .mkdir = f_mkdir,
    .close = f_close,
};

static void arm(enum mode mode, unsigned at, bool tracking)
{
    disk.mode = mode;
    disk.count = 0;
    disk.at = at;
    disk.fired = false;
    disk.tracking = tracking;
    disk.nfiles = 0;
}

/* ---- a run ---- */

enum { BATCHES = 14, BATCH = 41, SEGMENT = 20000 };

struct outcome {
    uint64_t acknowledged;
    struct gvm_checkpoint head; /* last published */
};

/* One batch; true when it was acknowledged. */
static bool one_batch(struct ledger_writer *w)
{
    char buf[256];
    struct gvm_err err = {0};
    for (unsigned i = 0; i < BATCH; i++)
        assert_int_equal(ledger_writer_add(w, test_line(buf, sizeof buf, w->durable + w->count)),
                         0);
    bool ok = ledger_writer_commit(w, &err) == 0;
    if (ok && ledger_writer_settle(w, &err) < 0)
        assert_true(w->failed);
    return ok;
}

static void heal(struct ledger_writer *w)
{
    struct gvm_err err = {0};
    for (unsigned i = 0; w->failed && i < 4; i++)
        if (ledger_writer_heal(w, &err) == 0)
            return;
    if (w->failed && disk.mode != STAYS_DEAD)
        fail_msg("does not heal: %s", err.text);
}

static struct outcome run(void)
{
    struct outcome out = {0};
    struct gvm_err err = {0};
    struct ledger_writer *w = NULL;
    int r = writer_open_at(test_dir, &faulty, SEGMENT, &w, &err);
    if (r < 0 && disk.mode != STAYS_DEAD)
        r = writer_open_at(test_dir, &faulty, SEGMENT, &w,
                           &err); /* one error: the next start works */
    if (r < 0) {
        if (disk.mode != STAYS_DEAD)
            fail_msg("second open: %s", err.text);
        return out;
    }
    uint64_t before = w->durable;
    for (unsigned i = 0; i < BATCHES; i++) {
        bool ok = one_batch(w);
        if (ok)
            out.acknowledged += BATCH;
        assert_int_equal(w->durable, before + out.acknowledged);
        heal(w);
        if (!w->failed && try_publish(w, &err) == 0)
            out.head = w->head;
        while (!w->failed && i == BATCHES / 2 && ledger_writer_idle(w))
            ;
    }
    if (disk.mode == STAYS_DEAD && disk.fired)
        ledger_writer_abandon(w);
    else
        ledger_writer_close(w);
    return out;
}

/* After any fault and with a good disk: everything acknowledged is there, in order, and verifies.
 */
static void check_after(const struct outcome *out, unsigned at)
{
    struct gvm_err err = {0};
    struct ledger_writer *w = NULL;
    struct gvm_ledger_reader *r = NULL;
    struct gvm_str line;
    uint64_t index;
    char buf[256];
    if (writer_open_at(test_dir, NULL, SEGMENT, &w, &err) < 0)
        fail_msg("fault %u: open: %s", at, err.text);
    if (w->durable < out->acknowledged)
        fail_msg("fault %u: %" PRIu64 " acknowledged, %" PRIu64 " there", at, out->acknowledged,
                 w->durable);
    publish(w);
    ledger_writer_close(w);
    assert_int_equal(gvm_ledger_reader_open(test_dir, 0, &r, &err), 0);
    for (uint64_t i = 0; i < out->acknowledged; i++) {
        assert_int_equal(gvm_ledger_reader_next(r, &index, &line, &err), 1);
        if (!gvm_str_eq(line, test_line(buf, sizeof buf, i)))
            fail_msg("fault %u: entry %" PRIu64 " is %.*s", at, i, GVM_STR_ARG(line));
    }
    gvm_ledger_reader_free(r);
    struct gvm_verify_report rep = verify_since(out->head.origin[0] ? &out->head : NULL);
    if (!rep.ok)
        fail_msg("fault %u: %s (%s)", at, rep.reason, rep.bad_file);
}

enum { NO_CUT = 9 };

/* `keep`: eighths of the unsynced bytes that survive a power cut at the end, or NO_CUT. */
static void until_clean(enum mode mode, unsigned keep)
{
    bool fired = true;
    unsigned at = 0;
    while (fired) {
        arm(mode, ++at, keep != NO_CUT);
        struct outcome out = run();
        fired = disk.fired;
        if (keep != NO_CUT)
            power_cut(keep);
        arm(ERROR_ONCE, 0, false);
        check_after(&out, at);
        assert_int_equal(dir_teardown(NULL), 0);
        assert_int_equal(mkdir(test_dir, 0700), 0);
    }
    assert_true(at > 100); /* it did go through a whole run */
}

static void test_error_once(void **state)
{
    until_clean(ERROR_ONCE, NO_CUT);
}

static void test_disk_full_once(void **state)
{
    until_clean(FULL_ONCE, NO_CUT);
}

static void test_short_write(void **state)
{
    until_clean(SHORT_WRITE, NO_CUT);
}

static void test_killed(void **state)
{
    until_clean(STAYS_DEAD, NO_CUT);
}

static void test_power_cut_all_lost(void **state)
{
    until_clean(STAYS_DEAD, 0);
}

static void test_power_cut_torn(void **state)
{
    until_clean(STAYS_DEAD, 5);
}

#define T(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_error_once), T(test_disk_full_once),     T(test_short_write),
        T(test_killed),     T(test_power_cut_all_lost), T(test_power_cut_torn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
