/* The writer: what it accepts, what is on disk after it, and that a second one stays out. */
#include "ledger_test.h"

static void test_append_and_reopen(void **state)
{
    uint64_t total = 0;
    for (unsigned round = 0; round < 6; round++) {
        struct ledger_writer *w = writer_open(4096);
        assert_int_equal(w->durable, total);
        append(w, 37 * round + 1, 5);
        total += 37 * round + 1;
        assert_int_equal(w->durable, total);
        publish(w);
        ledger_writer_close(w);
        assert_verifies(total);
    }
}

/* Every size around the edges of tiles and segments opens, continues and verifies. */
static void test_sizes(void **state)
{
    uint64_t total = 0;
    static const unsigned steps[] = {1, 254, 1, 1, 255, 256, 512, 1, 300};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct ledger_writer *w = writer_open(20000);
        append(w, steps[i], 100);
        total += steps[i];
        publish(w);
        ledger_writer_close(w);
        assert_verifies(total);
    }
}

static void test_unsigned_entries_are_said(void **state)
{
    struct ledger_writer *w = writer_open(0);
    append(w, 10, 10);
    publish(w);
    append(w, 3, 3);
    ledger_writer_close(w);
    struct gvm_verify_report rep = verify_since(NULL);
    assert_true(rep.ok);
    assert_int_equal(rep.entries, 13);
    assert_int_equal(rep.unsigned_entries, 3);
    w = writer_open(0); /* they are kept and get signed */
    publish(w);
    ledger_writer_close(w);
    rep = verify_since(NULL);
    assert_true(rep.ok);
    assert_int_equal(rep.head.size, 13);
}

/* A log that is being written verifies: preallocated zeros, no partial tiles. */
static void test_verify_live(void **state)
{
    struct ledger_writer *w = writer_open(0);
    append(w, 700, 100);
    publish(w);
    append(w, 5, 5);
    assert_verifies(705);
    ledger_writer_abandon(w); /* kill -9: nothing is cut or written */
    assert_verifies(705);
    w = writer_open(0);
    assert_int_equal(w->durable, 705);
    assert_false(w->recovered);
    ledger_writer_close(w);
}

static void test_lines(void **state)
{
    struct ledger_writer *w = writer_open(0);
    static char big[GVM_MAX_ENTRY + 2];
    memset(big, 'x', sizeof big);
    big[0] = '{';
    big[GVM_MAX_ENTRY - 1] = '}';
    static const struct {
        const char *text;
        size_t n;
        int want;
    } rows[] = {
        {"{}", 2, 0},
        {"{\"a\":\"\xc3\xa4\"}", 10, 0},
        {"", 0, -EINVAL},
        {"{", 1, -EINVAL},
        {"[]", 2, -EINVAL},
        {"{\"a\":1}\n", 8, -EINVAL},
        {"{\n}", 3, -EINVAL},
        {"{\0}", 3, -EINVAL},
        {"{\"0123456789\t\"}", 15, -EINVAL},
        {"{\"0123456789\x1f\"}", 15, -EINVAL},
        {"{\"\xff\"}", 5, -EINVAL},
        {"{\"\xc0\xaf\"}", 6, -EINVAL},
        {"{\"\xed\xa0\x80\"}", 7, -EINVAL},
        {"{\"0123456789abcdef\x80\"}", 21, -EINVAL},
        {big, GVM_MAX_ENTRY, 0},
    };
    unsigned good = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int r = ledger_writer_add(w, (struct gvm_str){rows[i].text, rows[i].n});
        if (r != rows[i].want)
            fail_msg("row %zu: %d, not %d", i, r, rows[i].want);
        good += r == 0;
    }
    big[GVM_MAX_ENTRY - 1] = 'x';
    big[GVM_MAX_ENTRY] = '}';
    assert_int_equal(ledger_writer_add(w, (struct gvm_str){big, GVM_MAX_ENTRY + 1}), -EINVAL);
    struct gvm_err err = {0};
    assert_int_equal(ledger_writer_commit(w, &err), 0);
    assert_int_equal(ledger_writer_settle(w, &err), 0);
    publish(w);
    ledger_writer_close(w);
    assert_verifies(good);
}

/* What agents can put into an entry stays one line of UTF-8 whatever it is. */
static void test_hostile_text(void **state)
{
    static char value[70 * 1024];
    struct gvm_buf b;
    struct gvm_jw j;
    memset(value, 'a', sizeof value);
    gvm_buf_init(&b, GVM_MAX_ENTRY);
    gvm_entry_begin(&j, &b, "http.refused", "run", "agent");
    gvm_jw_kstr(&j, "client", (struct gvm_str){value, sizeof value});
    assert_int_equal(gvm_entry_end(&j), -E2BIG);
    gvm_buf_reset(&b);
    gvm_entry_begin(&j, &b, "http.refused", "run\n", "agent\xff");
    gvm_jw_kstr(&j, "client", (struct gvm_str){"a\0b\nc\r\xfe\xe2\x80\xa8", 10});
    assert_int_equal(gvm_entry_end(&j), 0);
    struct ledger_writer *w = writer_open(0);
    assert_int_equal(ledger_writer_add(w, gvm_buf_str(&b)), 0);
    gvm_buf_done(&b);
    struct gvm_err err = {0};
    assert_int_equal(ledger_writer_commit(w, &err), 0);
    assert_int_equal(ledger_writer_settle(w, &err), 0);
    publish(w);
    ledger_writer_close(w);
    assert_verifies(1);
}

static void test_second_writer(void **state)
{
    struct gvm_err err = {0};
    struct ledger_writer *w = writer_open(0), *other = NULL;
    append(w, 3, 3);
    assert_int_equal(writer_open_at(test_dir, NULL, 0, &other, &err), -EBUSY);
    assert_non_null(strstr(err.text, "another process"));
    append(w, 3, 3);
    publish(w);
    ledger_writer_close(w);
    other = writer_open(0);
    assert_int_equal(other->durable, 6);
    ledger_writer_close(other);
}

/* ---- what stops a start ---- */

static void refuse_open(const char *words)
{
    struct gvm_err err = {0};
    struct ledger_writer *w = NULL;
    assert_true(writer_open_at(test_dir, NULL, 0, &w, &err) < 0);
    if (!strstr(err.text, words))
        fail_msg("said: %s", err.text);
}

static void test_refuses_lost_entries(void **state)
{
    make_log(300, 0);
    struct gvm_buf seg = slurp("events/00000000000000000000.jsonl");
    size_t n = seg.len - 1;
    while (gvm_buf_data(&seg)[n - 1] != '\n')
        n--;
    spew("events/00000000000000000000.jsonl", gvm_buf_data(&seg), n);
    refuse_open("300 entries were signed and only 299");
    spew("events/00000000000000000000.jsonl", gvm_buf_data(&seg), seg.len);
    ledger_writer_close(writer_open(0));
    gvm_buf_done(&seg);
}

static void test_refuses_edited_entries(void **state)
{
    make_log(300, 0);
    struct gvm_buf seg = slurp("events/00000000000000000000.jsonl");
    struct gvm_buf tile = slurp("tile/0/000");
    char *id = memmem(gvm_buf_data(&seg), seg.len, "r.299", 5);
    assert_non_null(id);
    id[4] = '8';
    spew("events/00000000000000000000.jsonl", gvm_buf_data(&seg), seg.len);
    refuse_open("not those that were signed");
    struct gvm_buf after = slurp("tile/0/000"); /* the evidence is left as it was */
    assert_memory_equal(gvm_buf_data(&tile), gvm_buf_data(&after), TILE_BYTES);
    gvm_buf_done(&seg);
    gvm_buf_done(&tile);
    gvm_buf_done(&after);
}

static void test_refuses_damaged_checkpoint(void **state)
{
    make_log(5, 0);
    struct gvm_buf cp = slurp("checkpoint");
    spew("checkpoint", "nonsense\n", 9);
    refuse_open("damaged");
    spew("checkpoint", gvm_buf_data(&cp), cp.len);
    ledger_writer_close(writer_open(0));
    spew("checkpoint", "", 0); /* what a power cut can leave: signed anew, and said */
    struct ledger_writer *w = writer_open(0);
    assert_true(w->recovered && w->head_lost);
    assert_int_equal(w->durable, 6);
    publish(w);
    ledger_writer_close(w);
    assert_verifies(6);
    gvm_buf_done(&cp);
}

static void test_refuses_other_name(void **state)
{
    struct gvm_err err = {0};
    struct ledger_writer *w = NULL;
    make_log(5, 0);
    struct ledger_writer_opts opts = {.origin = "gvm.test/other"};
    int fd = open(test_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(ledger_writer_open(fd, &opts, &w, &err), -EINVAL);
    assert_non_null(strstr(err.text, "keeps its name"));
    opts.origin = "a name with spaces";
    assert_int_equal(ledger_writer_open(fd, &opts, &w, &err), -EINVAL);
    close(fd);
}

static void test_never_publishes_another_head(void **state)
{
    struct gvm_err err = {0};
    struct gvm_m_sign head;
    struct ledger_writer *w = writer_open(0);
    append(w, 5, 5);
    assert_true(ledger_writer_head(w, &head));
    struct gvm_m_signed sig = sign_as(test_seed, ORIGIN, &head);
    sig.size = 6;
    assert_int_equal(ledger_writer_publish(w, &head, &sig, false, &err), -EBADMSG);
    sig.size = head.size = 6; /* beyond what is durable */
    assert_int_equal(ledger_writer_publish(w, &head, &sig, false, &err), -EBADMSG);
    publish(w);
    sig.size = head.size = 4;
    assert_int_equal(ledger_writer_publish(w, &head, &sig, false, &err), -EBADMSG);
    assert_false(ledger_writer_head(w, &head)); /* nothing new to sign */
    ledger_writer_close(w);
    assert_verifies(5);
}

/* A torn tail is moved aside byte for byte and named in one entry. */
static void test_torn_tail(void **state)
{
    make_log(20, 0);
    struct gvm_buf seg = slurp("events/00000000000000000000.jsonl");
    size_t good = seg.len;
    gvm_buf_addz(&seg, "{\"v\":1,\"torn");
    spew("events/00000000000000000000.jsonl", gvm_buf_data(&seg), seg.len);
    struct gvm_verify_report rep = verify_since(NULL);
    assert_true(rep.ok && rep.torn_tail);
    assert_int_equal(rep.entries, 20);
    struct ledger_writer *w = writer_open(0);
    assert_true(w->recovered);
    assert_int_equal(w->cut_bytes, seg.len - good);
    struct gvm_buf torn = slurp(w->cut_to);
    assert_int_equal(torn.len, seg.len - good);
    assert_memory_equal(gvm_buf_data(&torn), gvm_buf_data(&seg) + good, torn.len);
    assert_int_equal(w->durable, 21);
    publish(w);
    ledger_writer_close(w);
    assert_verifies(21);
    struct gvm_buf after = slurp("events/00000000000000000000.jsonl");
    assert_non_null(memmem(gvm_buf_data(&after), after.len, "\"kind\":\"ledger.recovered\"", 25));
    gvm_buf_done(&seg);
    gvm_buf_done(&torn);
    gvm_buf_done(&after);
    w = writer_open(0);
    assert_false(w->recovered);
    ledger_writer_close(w);
}

/* Tiles are derived: whatever happens to them, a start makes them right again. */
static void test_tiles_rebuilt(void **state)
{
    make_log(1500, 30000);
    char path[256];
    path_in(path, "tile/0/001");
    assert_int_equal(unlink(path), 0);
    spew("tile/0/003", "short", 5);
    assert_false(verify_since(NULL).ok);
    path_in(path, "tiles-synced");
    assert_int_equal(unlink(path), 0);
    assert_verifies(1500); /* as after a crash: no tile was certain yet */
    ledger_writer_close(writer_open(0));
    assert_verifies(1500);
    uint8_t zeros[TILE_BYTES] = {0}; /* wrong and trusted by the mark: the root tells */
    spew("tile/0/002", zeros, sizeof zeros);
    ledger_writer_close(writer_open(0));
    assert_verifies(1500);
}

/* ---- reading ---- */

static void expect_entries(struct gvm_ledger_reader *r, uint64_t from, uint64_t to)
{
    struct gvm_err err = {0};
    struct gvm_str line;
    uint64_t index;
    char buf[256];
    for (uint64_t i = from; i < to; i++) {
        int got = gvm_ledger_reader_next(r, &index, &line, &err);
        if (got != 1)
            fail_msg("entry %" PRIu64 ": %d %s", i, got, err.text);
        assert_int_equal(index, i);
        assert_true(gvm_str_eq(line, test_line(buf, sizeof buf, i)));
    }
    assert_int_equal(gvm_ledger_reader_next(r, &index, &line, &err), 0);
    assert_int_equal(gvm_ledger_reader_next(r, &index, &line, &err), 0);
}

static void test_reader_follows(void **state)
{
    struct gvm_err err = {0};
    struct gvm_ledger_reader *r = NULL, *late = NULL;
    assert_int_equal(gvm_ledger_reader_open("/nonexistent/ledger", 0, &r, &err), -ENOENT);
    struct ledger_writer *w = writer_open(3000);
    assert_int_equal(gvm_ledger_reader_open(test_dir, 0, &r, &err), 0);
    expect_entries(r, 0, 0);
    uint64_t at = 0, size;
    for (unsigned round = 1; round < 30; round++) {
        append(w, round, 4);
        expect_entries(r, at, w->durable);
        at = w->durable;
        assert_int_equal(gvm_ledger_size(test_dir, &size, &err), 0);
        assert_int_equal(size, at);
    }
    assert_int_equal(gvm_ledger_reader_open(test_dir, at - 100, &late, &err), 0);
    expect_entries(late, at - 100, at);
    assert_true(gvm_ledger_reader_fd(late) >= 0);
    gvm_ledger_reader_drain(late);
    append(w, 1, 1);
    expect_entries(late, at, at + 1);
    gvm_ledger_reader_free(late);
    gvm_ledger_reader_free(r);
    ledger_writer_close(w);
}

/* Every place that was told leads back to its entry, in any order and while the log grows. */
static void test_reader_seeks(void **state)
{
    enum { N = 3000 };
    static struct gvm_ledger_place at[N];
    struct gvm_err err = {0};
    struct gvm_ledger_reader *r = NULL;
    struct gvm_str line;
    uint64_t index;
    char buf[256];
    struct ledger_writer *w = writer_open(30000);
    append(w, N, 7);
    assert_int_equal(gvm_ledger_reader_open(test_dir, 0, &r, &err), 0);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(gvm_ledger_reader_next(r, &index, &line, &err), 1);
        at[i] = gvm_ledger_reader_place(r);
    }
    assert_true(at[N - 1].segment > 0); /* more than one segment */
    for (unsigned i = 1, k = 0; k < N; k++, i = (i * 1103u + 7) % N) {
        assert_int_equal(gvm_ledger_reader_seek(r, i, at[i], &err), 0);
        assert_int_equal(gvm_ledger_reader_next(r, &index, &line, &err), 1);
        assert_int_equal(index, i);
        assert_true(gvm_str_eq(line, test_line(buf, sizeof buf, i)));
    }
    struct gvm_ledger_place gone = {.segment = 1};
    assert_int_equal(gvm_ledger_reader_seek(r, 5, gone, &err), -ENOENT);
    assert_int_equal(gvm_ledger_reader_seek(r, N - 2, at[N - 2], &err), 0);
    append(w, 10, 1);
    expect_entries(r, N - 2, N + 10);
    gvm_ledger_reader_free(r);
    ledger_writer_close(w);
}

static void test_reader_finds_gap(void **state)
{
    struct gvm_err err = {0};
    struct gvm_ledger_reader *r = NULL;
    struct gvm_str line;
    uint64_t index;
    int got;
    make_log(200, 3000);
    struct ledger_closed *seg = NULL;
    size_t n = 0;
    char path[256], name[SEGMENT_NAME], rel[64];
    int fd = open(test_dir, O_RDONLY | O_DIRECTORY);
    int events = openat(fd, "events", O_RDONLY | O_DIRECTORY);
    assert_int_equal(ledger_segment_list(events, &seg, &n, &err), 0);
    assert_true(n > 3);
    ledger_segment_name(name, seg[1].first, LEDGER_PLAIN);
    (void)snprintf(rel, sizeof rel, "events/%s", name);
    path_in(path, rel);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(gvm_ledger_reader_open(test_dir, 0, &r, &err), 0);
    while ((got = gvm_ledger_reader_next(r, &index, &line, &err)) > 0)
        assert_true(index < seg[1].first);
    assert_int_equal(got, -EBADMSG);
    gvm_ledger_reader_free(r);
    free(seg);
    close(events);
    close(fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_append_and_reopen),
        T(test_sizes),
        T(test_unsigned_entries_are_said),
        T(test_verify_live),
        T(test_lines),
        T(test_hostile_text),
        T(test_second_writer),
        T(test_refuses_lost_entries),
        T(test_refuses_edited_entries),
        T(test_refuses_damaged_checkpoint),
        T(test_refuses_other_name),
        T(test_never_publishes_another_head),
        T(test_torn_tail),
        T(test_tiles_rebuilt),
        T(test_reader_follows),
        T(test_reader_finds_gap),
        T(test_reader_seeks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
