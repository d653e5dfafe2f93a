/* Power lost before every single operation on the disk, in a script of 200 steps with rotation,
 * packing and pruning. The disk of this test keeps only what was synced for certain: of everything
 * else, each sector of a file, its size, and each name in a directory is as it was or as it became,
 * by chance and on its own. After each cut the log must open, hold every entry that was
 * acknowledged and not pruned by signed word, extend every head that was given out, and verify.
 * Where everything became (the process was killed, the disk was not), it must verify before anybody
 * opens it. */
#include "ledger_test.h"
#include <dirent.h>

enum { MAX_NODES = 6000, MAX_NAMES = 6000, SECTOR = 512, STEPS = 200, SEGMENT = 6000, KEEP = 9000 };

/* ---- the disk ---- */

struct node {
    bool dir;
    uint8_t *synced; /* what is there for certain */
    size_t n;
    int fd; /* of the real file, which is what it became */
    bool dirty;
};

struct name {
    char path[100];
    int certain, now; /* node, or -1 */
};

static struct {
    struct node node[MAX_NODES];
    int nodes;
    struct name name[MAX_NAMES];
    int names;
    ino_t events;
    unsigned seed, ops;
    bool busy; /* a cut is being looked at: its own operations do not count */
} disk;

/* What the world knows. */
static struct {
    uint64_t acknowledged;
    struct gvm_checkpoint head; /* published last */
} world;

static void look_at_cut(void);

static unsigned chance(void)
{
    disk.seed = disk.seed * 1103515245u + 12345u;
    return disk.seed >> 16 & 0x7fff;
}

/* Before each operation that changes the disk. */
static void tick(void)
{
    disk.ops++;
    look_at_cut();
}

static void full_path(char dst[100], int dirfd, const char *name)
{
    struct stat st;
    assert_int_equal(fstat(dirfd, &st), 0);
    bool events = st.st_ino == disk.events;
    if (strcmp(name, ".") == 0)
        (void)snprintf(dst, 100, "%s", events ? "events" : "");
    else
        (void)snprintf(dst, 100, "%s%s", events ? "events/" : "", name);
}

static struct name *find(const char *path, bool make)
{
    for (int i = 0; i < disk.names; i++)
        if (strcmp(disk.name[i].path, path) == 0)
            return &disk.name[i];
    if (!make)
        return NULL;
    assert_true(disk.names < MAX_NAMES);
    struct name *n = &disk.name[disk.names++];
    *n = (struct name){.certain = -1, .now = -1};
    (void)snprintf(n->path, sizeof n->path, "%s", path);
    return n;
}

static int new_node(bool dir, int fd)
{
    char self[64];
    assert_true(disk.nodes < MAX_NODES);
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    disk.node[disk.nodes] =
        (struct node){.dir = dir, .fd = dir ? -1 : open(self, O_RDONLY | O_CLOEXEC)};
    return disk.nodes++;
}

static struct node *node_of(int fd)
{
    struct stat a, b;
    assert_int_equal(fstat(fd, &a), 0);
    for (int i = disk.nodes; i-- > 0;)
        if (disk.node[i].fd >= 0 && fstat(disk.node[i].fd, &b) == 0 && a.st_ino == b.st_ino)
            return &disk.node[i];
    return NULL;
}

static uint8_t *content(const struct node *n, size_t *ret)
{
    struct stat st;
    assert_int_equal(fstat(n->fd, &st), 0);
    *ret = (size_t)st.st_size;
    uint8_t *p = malloc(*ret + 1);
    assert_int_equal(pread(n->fd, p, *ret, 0), *ret);
    return p;
}

/* ---- operations ---- */

static int d_open(void *arg, int dirfd, const char *name, int flags, mode_t mode)
{
    char path[100];
    full_path(path, dirfd, name);
    struct name *n = find(path, false);
    bool fresh = flags & O_CREAT && (!n || n->now < 0);
    if (fresh || flags & O_TRUNC)
        tick();
    int fd = ledger_real_ops.open(NULL, dirfd, name, flags, mode);
    if (fd >= 0 && fresh)
        find(path, true)->now = new_node(false, fd);
    if (fd >= 0 && flags & O_TRUNC)
        node_of(fd)->dirty = true;
    return fd;
}

static ssize_t d_pread(void *arg, int fd, void *p, size_t n, uint64_t off)
{
    return ledger_real_ops.pread(NULL, fd, p, n, off);
}

static ssize_t d_pwrite(void *arg, int fd, const void *p, size_t n, uint64_t off)
{
    tick();
    node_of(fd)->dirty = true;
    return ledger_real_ops.pwrite(NULL, fd, p, n, off);
}

static bool below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    const char *rest = n ? path + n + 1 : path;
    return (!n || (strncmp(path, dir, n) == 0 && path[n] == '/')) && !strchr(rest, '/');
}

static int d_datasync(void *arg, int fd)
{
    struct stat st;
    tick();
    assert_int_equal(fstat(fd, &st), 0);
    if (!S_ISDIR(st.st_mode)) {
        struct node *n = node_of(fd);
        free(n->synced);
        n->synced = content(n, &n->n);
        n->dirty = false;
        return 0;
    }
    char self[64], dir[256];
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(self, dir, sizeof dir - 1);
    assert_true(len > 0);
    dir[len] = '\0';
    const char *rel = dir + strlen(test_dir);
    for (int i = 0; i < disk.names; i++)
        if (below(disk.name[i].path, *rel ? rel + 1 : ""))
            disk.name[i].certain = disk.name[i].now;
    return 0;
}

static int d_truncate(void *arg, int fd, uint64_t size)
{
    tick();
    node_of(fd)->dirty = true;
    return ledger_real_ops.truncate(NULL, fd, size);
}

static int d_allocate(void *arg, int fd, uint64_t off, uint64_t n)
{
    tick();
    node_of(fd)->dirty = true;
    return ledger_real_ops.allocate(NULL, fd, off, 4096);
}

static int d_rename(void *arg, int dirfd, const char *from, const char *to)
{
    char a[100], b[100];
    tick();
    full_path(a, dirfd, from);
    full_path(b, dirfd, to);
    int r = ledger_real_ops.rename(NULL, dirfd, from, to);
    if (!r) {
        find(b, true)->now = find(a, true)->now;
        find(a, true)->now = -1;
    }
    return r;
}

static int d_exchange(void *arg, int dirfd, const char *a, const char *b)
{
    char x[100], y[100];
    tick();
    full_path(x, dirfd, a);
    full_path(y, dirfd, b);
    int r = ledger_real_ops.exchange(NULL, dirfd, a, b);
    if (!r) {
        int node = find(x, true)->now;
        find(x, true)->now = find(y, true)->now;
        find(y, true)->now = node;
    }
    return r;
}

static int d_unlink(void *arg, int dirfd, const char *name, int flags)
{
    char path[100];
    full_path(path, dirfd, name);
    struct name *n = find(path, false);
    if (n && n->now >= 0)
        tick();
    int r = ledger_real_ops.unlink(NULL, dirfd, name, flags);
    if (!r)
        find(path, true)->now = -1;
    return r;
}

static int d_mkdir(void *arg, int dirfd, const char *name)
{
    char path[100];
    full_path(path, dirfd, name);
    struct name *n = find(path, false);
    if (n && n->now >= 0)
        return -EEXIST;
    tick();
    int r = ledger_real_ops.mkdir(NULL, dirfd, name);
    if (r < 0)
        return r;
    find(path, true)->now = new_node(true, -1);
    if (strcmp(path, "events") == 0) {
        struct stat st;
        assert_int_equal(fstatat(dirfd, name, &st, 0), 0);
        disk.events = st.st_ino;
    }
    return 0;
}

static void d_close(void *arg, int fd)
{
    close(fd);
}

static const struct ledger_file_ops sim = {
    .open = d_open,
    .pread = d_pread,
    .pwrite = d_pwrite,
    .datasync = d_datasync,
    .truncate = d_truncate,
    .allocate = d_allocate,
    .rename = d_rename,
    .exchange = d_exchange,
    .unlink = d_unlink,
    .mkdir = d_mkdir,
    .close = d_close,
};

/* ---- the cut ---- */

enum fate { CERTAIN, BECAME, EITHER };

static bool became(enum fate f)
{
    return f == BECAME || (f == EITHER && chance() & 1);
}

/* What a file holds afterwards. */
static uint8_t *survives(const struct node *n, enum fate f, size_t *ret)
{
    size_t now;
    uint8_t *p = content(n, &now);
    if (!n->dirty) {
        *ret = now;
        return p;
    }
    size_t size = became(f) ? now : n->n;
    uint8_t *out = calloc(1, size + 1);
    for (size_t at = 0; at < size; at += SECTOR) {
        bool fresh = became(f);
        const uint8_t *from = fresh ? p : n->synced;
        size_t have = fresh ? now : n->n, want = size - at < SECTOR ? size - at : SECTOR;
        if (from && at < have)
            memcpy(out + at, from + at, have - at < want ? have - at : want);
    }
    free(p);
    *ret = size;
    return out;
}

static bool parent_there(const char *root, const char *path)
{
    char dir[300];
    (void)snprintf(dir, sizeof dir, "%s/%s", root, path);
    *strrchr(dir, '/') = '\0';
    return access(dir, F_OK) == 0;
}

/* Names in the order they were first used: a directory before what is in it. */
static void rebuild(const char *root, enum fate f)
{
    char path[300];
    for (int i = 0; i < disk.names; i++) {
        const struct name *m = &disk.name[i];
        int which = m->certain == m->now || !became(f) ? m->certain : m->now;
        if (which < 0 || !parent_there(root, m->path))
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", root, m->path);
        if (disk.node[which].dir) {
            assert_int_equal(mkdir(path, 0700), 0);
            continue;
        }
        size_t n;
        uint8_t *p = survives(&disk.node[which], f, &n);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_int_equal(gvm_write_all(fd, p, n), 0);
        close(fd);
        free(p);
    }
}

static void check_entries(uint64_t from)
{
    struct gvm_ledger_reader *r = NULL;
    struct gvm_err err = {0};
    struct gvm_str line;
    uint64_t index, next = from;
    char buf[256];
    assert_int_equal(gvm_ledger_reader_open(test_dir, 0, &r, &err), 0);
    for (; next < world.acknowledged; next++) {
        if (gvm_ledger_reader_next(r, &index, &line, &err) != 1 || index != next)
            fail_msg("operation %u: entry %" PRIu64 " is gone (%s)", disk.ops, next, err.text);
        bool own = memmem(line.p, line.n, "\"kind\":\"ledger.", 15) != NULL;
        if (!own && !gvm_str_eq(line, test_line(buf, sizeof buf, index)))
            fail_msg("operation %u: entry %" PRIu64 " is %.*s", disk.ops, index, GVM_STR_ARG(line));
    }
    gvm_ledger_reader_free(r);
}

static void look_at_cut(void)
{
    char real[sizeof test_dir];
    struct gvm_err err = {0};
    struct ledger_writer *w = NULL;
    if (disk.busy)
        return;
    disk.busy = true;
    memcpy(real, test_dir, sizeof real);
    assert_int_equal(dir_setup(NULL), 0);
    enum fate fate = (enum fate)(disk.ops % 4 > 2 ? 2 : disk.ops % 4);
    rebuild(test_dir, fate);
    if (fate == BECAME && world.head.origin[0]) { /* only killed: good as it lies there */
        struct gvm_verify_report rep = verify_since(&world.head);
        if (!rep.ok)
            fail_msg("operation %u, killed: %s (%s)", disk.ops, rep.reason, rep.bad_file);
    }
    if (writer_open_at(test_dir, NULL, SEGMENT, &w, &err) < 0)
        fail_msg("operation %u: does not open: %s", disk.ops, err.text);
    if (w->durable < world.acknowledged)
        fail_msg("operation %u: %" PRIu64 " acknowledged, %" PRIu64 " there", disk.ops,
                 world.acknowledged, w->durable);
    publish(w);
    ledger_writer_close(w);
    struct gvm_verify_report rep = verify_since(world.head.origin[0] ? &world.head : NULL);
    if (!rep.ok)
        fail_msg("operation %u: %s (%s)", disk.ops, rep.reason, rep.bad_file);
    check_entries(rep.pruned);
    assert_int_equal(dir_teardown(NULL), 0);
    memcpy(test_dir, real, sizeof real);
    disk.busy = false;
}

/* ---- the script ---- */

static void commit(struct ledger_writer *w)
{
    struct gvm_err err = {0};
    assert_int_equal(ledger_writer_commit(w, &err), 0);
    world.acknowledged = w->durable; /* those who wait are told here */
    assert_int_equal(ledger_writer_settle(w, &err), 0);
}

static void own_entries(struct ledger_writer *w)
{
    struct gvm_buf b;
    gvm_buf_init(&b, GVM_MAX_ENTRY);
    while (ledger_writer_own(w, gvm_now_ns(), &b)) {
        assert_int_equal(ledger_writer_add(w, gvm_buf_str(&b)), 0);
        ledger_writer_told(w, gvm_now_ns());
        gvm_buf_reset(&b);
    }
    gvm_buf_done(&b);
}

static void publish_head(struct ledger_writer *w, bool sync)
{
    struct gvm_err err = {0};
    struct gvm_m_sign head;
    if (!ledger_writer_head(w, &head))
        return;
    struct gvm_m_signed sig = sign_as(test_seed, ORIGIN, &head);
    assert_int_equal(ledger_writer_publish(w, &head, &sig, sync, &err), 0);
    world.head = w->head;
}

static void step(struct ledger_writer *w, unsigned i)
{
    char buf[256];
    static const unsigned sizes[] = {1, 9, 30, 2, 40, 5};
    switch (i % 4) {
    case 0:
    case 1:
        for (unsigned k = 0; k < sizes[i / 2 % 6]; k++)
            assert_int_equal(
                ledger_writer_add(w, test_line(buf, sizeof buf, w->durable + w->count)), 0);
        own_entries(w);
        commit(w);
        for (unsigned k = 0; k < i % 3 && ledger_writer_idle(w); k++)
            ; /* before a head counts them, too */
        break;
    case 2:
        publish_head(w, i % 8 == 2);
        break;
    default:
        for (unsigned k = 0; k < 3 + i % 5 && ledger_writer_idle(w); k++)
            ;
        if (i % 16 == 15)
            assert_int_equal(ledger_writer_partials(w), 0);
        break;
    }
}

static void run(unsigned seed, unsigned lazy, unsigned most)
{
    struct gvm_err err = {0};
    struct ledger_writer *w = NULL;
    struct ledger_writer_opts opts = {.origin = ORIGIN,
                                      .ops = &sim,
                                      .segment_max = SEGMENT,
                                      .keep = {.bytes = KEEP},
                                      .tiles_lazy = lazy,
                                      .tiles_most = most};
    memset(&world, 0, sizeof world);
    disk.nodes = disk.names = 0;
    disk.ops = seed;
    disk.seed = seed;
    disk.events = 0;
    int fd = open(test_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ledger_writer_open(fd, &opts, &w, &err) < 0)
        fail_msg("open: %s", err.text);
    unsigned pruned = 0;
    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t was = w->nclosed ? w->closed[0].first : 0;
        step(w, i);
        pruned +=
            w->nclosed && w->closed[0].first > was && was + 1 > 0 && w->closed[0].first != was;
    }
    assert_true(w->durable > 1000);
    assert_true(pruned > 3); /* the script did what it is for */
    ledger_writer_close(w);
    assert_true(disk.ops - seed > 800);
    look_at_cut();
    for (int i = 0; i < disk.nodes; i++) {
        free(disk.node[i].synced);
        gvm_close(&disk.node[i].fd);
    }
}

static void test_every_operation(void **state)
{
    run(0, 1, 0);
}

static void test_every_operation_again(void **state)
{
    run(2, 1, 0); /* another fate for each operation, and other dice */
}

/* The same on a log that never rests: tiles are synced between batches, not when idle. */
static void test_every_operation_when_busy(void **state)
{
    run(1, 1000, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_every_operation), T(test_every_operation_again),
                                       T(test_every_operation_when_busy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
