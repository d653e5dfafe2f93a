/* The verifier against tampering: every byte flipped, entries moved, cut, rewritten, re-signed. */
#include "ledger_test.h"

static const uint8_t other_seed[32] = {42};

/* Short entries, so that a log of several tiles is small. */
static void make_small(unsigned n)
{
    struct gvm_err err = {0};
    struct ledger_writer *w = writer_open(4000);
    char buf[32];
    for (unsigned i = 0; i < n; i++) {
        int len = snprintf(buf, sizeof buf, "{\"i\":%u}", i);
        assert_int_equal(ledger_writer_add(w, (struct gvm_str){buf, (size_t)len}), 0);
        if (w->count < 50 && i + 1 < n)
            continue;
        assert_int_equal(ledger_writer_commit(w, &err), 0);
        assert_int_equal(ledger_writer_settle(w, &err), 0);
    }
    publish(w);
    ledger_writer_close(w);
}

static uint64_t *segments(size_t *n)
{
    struct ledger_closed *list = NULL;
    char path[256];
    path_in(path, "events");
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(ledger_segment_list(fd, &list, n, NULL), 0);
    close(fd);
    uint64_t *first = calloc(*n + 1, sizeof *first);
    for (size_t i = 0; i < *n; i++)
        first[i] = list[i].first;
    free(list);
    return first;
}

static void expect_bad(const char *what, uint64_t index, const char *file)
{
    struct gvm_verify_report rep = verify_since(NULL);
    if (rep.ok)
        fail_msg("%s: verifies", what);
    if (index != UINT64_MAX && (!rep.have_bad_index || rep.bad_index != index))
        fail_msg("%s: names entry %" PRIu64 ", not %" PRIu64 ": %s", what, rep.bad_index, index,
                 rep.reason);
    if (file && strcmp(rep.bad_file, file) != 0)
        fail_msg("%s: blames '%s', not '%s': %s", what, rep.bad_file, file, rep.reason);
}

/* Flips bits of a file: all of each byte, or a different one per byte. `segment`: the entry is
 * named. */
static void flip_file(const char *name, bool all, bool segment, uint64_t first)
{
    char path[256], what[300];
    struct gvm_buf b = slurp(name);
    path_in(path, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    uint64_t entry = first;
    for (size_t i = 0; i < b.len; i++) {
        uint8_t was = gvm_buf_data(&b)[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            if (!all && bit != i % 8)
                continue;
            uint8_t now = (uint8_t)(was ^ (1u << bit));
            (void)snprintf(what, sizeof what, "%s byte %zu bit %u", name, i, bit);
            assert_int_equal(pwrite(fd, &now, 1, (off_t)i), 1);
            expect_bad(what, segment ? entry : UINT64_MAX, segment ? NULL : name);
        }
        assert_int_equal(pwrite(fd, &was, 1, (off_t)i), 1);
        entry += was == '\n';
    }
    close(fd);
    gvm_buf_done(&b);
}

static void flip_segments(bool all)
{
    size_t n;
    uint64_t *first = segments(&n);
    for (size_t i = 0; i < n; i++) {
        char name[64], file[SEGMENT_NAME];
        ledger_segment_name(file, first[i], LEDGER_PLAIN);
        (void)snprintf(name, sizeof name, "events/%s", file);
        flip_file(name, all, true, first[i]);
    }
    free(first);
}

/* Every bit of a log without a full tile, and one bit of every byte of a log with one. */
static void test_flip_every_bit(void **state)
{
    make_small(12);
    assert_verifies(12);
    flip_segments(true);
    flip_file("tile/0/000.p/12", true, false, 0);
    flip_file("checkpoint", true, false, 0);
    assert_verifies(12);
}

static void test_flip_every_byte(void **state)
{
    make_small(260);
    assert_verifies(260);
    flip_segments(false);
    flip_file("tile/0/000", false, false, 0);
    flip_file("tile/0/001.p/4", false, false, 0);
    flip_file("tile/1/000.p/1", false, false, 0);
    flip_file("checkpoint", false, false, 0);
    assert_verifies(260);
}

/* ---- rewriting the lines of a log ---- */

struct lines {
    char *text[400];
    size_t n;
};

static struct lines split(struct gvm_buf *b)
{
    struct lines l = {.n = 0};
    char *p = (char *)gvm_buf_data(b), *end = p + b->len;
    while (p < end) {
        char *nl = memchr(p, '\n', (size_t)(end - p));
        *nl = '\0';
        l.text[l.n++] = p;
        p = nl + 1;
    }
    return l;
}

static void write_lines(const struct lines *l)
{
    struct gvm_buf b;
    gvm_buf_init(&b, 1 << 20);
    for (size_t i = 0; i < l->n; i++) {
        gvm_buf_addz(&b, l->text[i]);
        gvm_buf_addc(&b, '\n');
    }
    spew("events/00000000000000000000.jsonl", gvm_buf_data(&b), b.len);
    gvm_buf_done(&b);
}

static struct lines insert(struct lines l, size_t at, char *text)
{
    memmove(l.text + at + 1, l.text + at, (l.n - at) * sizeof *l.text);
    l.text[at] = text;
    l.n++;
    return l;
}

static struct lines removed(struct lines l, size_t at)
{
    memmove(l.text + at, l.text + at + 1, (l.n - at - 1) * sizeof *l.text);
    l.n--;
    return l;
}

static void test_moved_entries(void **state)
{
    static char forged[] = "{\"forged\":1}";
    make_log(300, 0);
    struct gvm_buf seg = slurp("events/00000000000000000000.jsonl");
    const struct lines good = split(&seg);
    assert_int_equal(good.n, 300);
    static const size_t at[] = {0, 1, 100, 254, 255, 256, 298};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        struct lines l = good;
        l.text[at[i]] = good.text[at[i] + 1];
        l.text[at[i] + 1] = good.text[at[i]];
        write_lines(&l);
        expect_bad("swap", at[i], NULL);
        l = removed(good, at[i]);
        write_lines(&l);
        expect_bad("delete", at[i], NULL);
        l = insert(good, at[i], good.text[at[i]]);
        write_lines(&l);
        expect_bad("duplicate", at[i] + 1, NULL);
        l = insert(good, at[i], forged);
        write_lines(&l);
        expect_bad("insert", at[i], NULL);
        l = good;
        l.text[at[i]] = forged;
        write_lines(&l);
        expect_bad("replace", at[i], NULL);
    }
    /* Appending is no tampering: those entries are said to be unsigned. */
    struct lines l = insert(good, 300, forged);
    write_lines(&l);
    struct gvm_verify_report rep = verify_since(NULL);
    assert_true(rep.ok);
    assert_int_equal(rep.unsigned_entries, 1);
    write_lines(&good);
    assert_verifies(300);
    gvm_buf_done(&seg);
}

/* Without any tile to compare with, tampering is still found; the place is said as near as known.
 */
static void test_edit_without_tiles(void **state)
{
    char path[256];
    make_log(20, 0);
    path_in(path, "tile/0/000.p/20");
    assert_int_equal(unlink(path), 0);
    assert_verifies(20);
    struct gvm_buf seg = slurp("events/00000000000000000000.jsonl");
    struct lines l = split(&seg);
    l = removed(l, 10);
    write_lines(&l);
    expect_bad("delete", 19, NULL);
    gvm_buf_done(&seg);
}

static void test_missing_files(void **state)
{
    char path[256], rel[64], name[SEGMENT_NAME];
    size_t n;
    make_log(600, 9000);
    uint64_t *first = segments(&n);
    assert_true(n > 3);
    for (size_t i = 0; i < n; i++) {
        ledger_segment_name(name, first[i], LEDGER_PLAIN);
        (void)snprintf(rel, sizeof rel, "events/%s", name);
        struct gvm_buf b = slurp(rel);
        path_in(path, rel);
        assert_int_equal(unlink(path), 0);
        expect_bad("missing segment", i ? first[i] : 0, NULL);
        assert_int_equal(mkdir(path, 0700), 0); /* a directory in its place must not hang anybody */
        struct gvm_vkey key = test_key();
        struct gvm_verify_opts opts = {.key = &key};
        struct gvm_verify_report rep = {0};
        assert_true(gvm_ledger_verify(test_dir, &opts, &rep, NULL) < 0 || !rep.ok);
        assert_int_equal(rmdir(path), 0);
        spew(rel, gvm_buf_data(&b), b.len);
        gvm_buf_done(&b);
    }
    path_in(path, "tile/0/001");
    struct gvm_buf b = slurp("tile/0/001");
    assert_int_equal(unlink(path), 0);
    expect_bad("missing tile", UINT64_MAX, "tile/0/001");
    spew("tile/0/001", gvm_buf_data(&b), b.len);
    gvm_buf_done(&b);
    path_in(path, "checkpoint");
    assert_int_equal(unlink(path), 0);
    expect_bad("missing checkpoint", UINT64_MAX, "checkpoint");
    free(first);
}

/* ---- heads ---- */

static struct gvm_checkpoint head_now(void)
{
    struct gvm_checkpoint cp;
    struct gvm_vkey key = test_key();
    struct gvm_buf b = slurp("checkpoint");
    assert_int_equal(gvm_checkpoint_open(gvm_buf_str(&b), &key, &cp, NULL), 0);
    gvm_buf_done(&b);
    return cp;
}

static void wipe_log(void)
{
    assert_int_equal(dir_teardown(NULL), 0);
    assert_int_equal(mkdir(test_dir, 0700), 0);
}

/* Cut together with its checkpoint: only a head kept elsewhere can tell, and any one does. */
static void test_cut_and_resigned(void **state)
{
    struct gvm_checkpoint heads[4];
    static const unsigned sizes[4] = {100, 256, 300, 600};
    struct ledger_writer *w = writer_open(9000);
    for (size_t i = 0; i < 4; i++) {
        append(w, sizes[i] - (unsigned)w->durable, 10);
        publish(w);
        heads[i] = head_now();
    }
    ledger_writer_close(w);
    for (size_t i = 0; i < 4; i++) {
        struct gvm_verify_report rep = verify_since(&heads[i]);
        assert_true(rep.ok && rep.since_ok);
    }
    static const unsigned cuts[] = {599, 590, 300, 299, 1};
    for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c++) {
        wipe_log();
        make_log(cuts[c], 9000); /* the same entries, the same key, a shorter history */
        assert_verifies(cuts[c]);
        for (size_t i = 0; i < 4; i++) {
            struct gvm_verify_report rep = verify_since(&heads[i]);
            assert_int_equal(rep.ok, heads[i].size <= cuts[c]);
            if (!rep.ok)
                assert_int_equal(rep.bad_index, cuts[c]);
        }
    }
}

static void test_rewritten_and_resigned(void **state)
{
    make_log(50, 0);
    struct gvm_checkpoint kept = head_now();
    wipe_log();
    struct ledger_writer *w = writer_open(0);
    assert_int_equal(ledger_writer_add(w, GVM_STR("{\"another\":\"history\"}")), 0);
    append(w, 100, 10);
    publish(w);
    ledger_writer_close(w);
    assert_true(verify_since(NULL).ok);
    struct gvm_verify_report rep = verify_since(&kept);
    assert_false(rep.ok);
    assert_non_null(strstr(rep.reason, "rewritten"));
}

/* Tiles that outlive the entries betray a cut even without an outside head. */
static void test_cut_but_tiles_left(void **state)
{
    make_log(255, 0);
    struct gvm_buf cp = slurp("checkpoint"), seg = slurp("events/00000000000000000000.jsonl");
    wipe_log();
    make_log(600, 0);
    spew("checkpoint", gvm_buf_data(&cp), cp.len);
    spew("events/00000000000000000000.jsonl", gvm_buf_data(&seg), seg.len);
    expect_bad("tiles left", UINT64_MAX, "tile/0/000");
    gvm_buf_done(&cp);
    gvm_buf_done(&seg);
}

static void test_other_key(void **state)
{
    struct gvm_err err = {0};
    struct gvm_m_sign head;
    struct ledger_writer *w = writer_open(0);
    append(w, 10, 10);
    assert_true(ledger_writer_head(w, &head));
    struct gvm_m_signed sig = sign_as(other_seed, ORIGIN, &head);
    assert_int_equal(ledger_writer_publish(w, &head, &sig, true, &err), 0);
    expect_bad("another key", UINT64_MAX, "checkpoint");
    ledger_writer_close(w);
    struct gvm_buf cp = slurp("checkpoint");
    char *dash = memmem(gvm_buf_data(&cp), cp.len, "\xe2\x80\x94", 3);
    spew("checkpoint", gvm_buf_data(&cp), (size_t)(dash - (char *)gvm_buf_data(&cp)));
    expect_bad("stripped", UINT64_MAX, "checkpoint");
    gvm_buf_done(&cp);
}

static void test_empty(void **state)
{
    struct gvm_vkey key = test_key();
    struct gvm_verify_opts opts = {.key = &key};
    struct gvm_verify_report rep = {0};
    struct gvm_err err = {0};
    assert_int_equal(gvm_ledger_verify("/nonexistent", &opts, &rep, &err), -ENOENT);
    ledger_writer_close(writer_open(0));
    assert_verifies(0);
}

/* The clock is no part of the order. */
static void test_clock_back(void **state)
{
    struct gvm_err err = {0};
    struct ledger_writer *w = writer_open(0);
    static const char *const lines[] = {"{\"v\":1,\"t\":\"2026-11-23T12:00:00.000000000Z\"}",
                                        "{\"v\":1,\"t\":\"2026-11-23T11:00:00.000000000Z\"}"};
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(ledger_writer_add(w, gvm_str(lines[i])), 0);
    assert_int_equal(ledger_writer_commit(w, &err), 0);
    assert_int_equal(ledger_writer_settle(w, &err), 0);
    publish(w);
    ledger_writer_close(w);
    assert_verifies(2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_flip_every_bit),
        T(test_flip_every_byte),
        T(test_moved_entries),
        T(test_edit_without_tiles),
        T(test_missing_files),
        T(test_cut_and_resigned),
        T(test_rewritten_and_resigned),
        T(test_cut_but_tiles_left),
        T(test_other_key),
        T(test_empty),
        T(test_clock_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
