/* Pruning by size and age, and what tells it from cutting (row L5); verification that goes on
 * behind a head verified before; the same verdicts on several cores. */
#include "ledger_test.h"

enum { SEGMENT = 9000, DAY = 86400 };
#define NS 1000000000ll

static void commit(struct ledger_writer *w)
{
    struct gvm_err err = {0};
    assert_int_equal(ledger_writer_commit(w, &err), 0);
    assert_int_equal(ledger_writer_settle(w, &err), 0);
}

/* What the process does between batches: the ledger's own entries, the head, the put-off work. */
static void chores(struct ledger_writer *w, int64_t now)
{
    struct gvm_buf b;
    gvm_buf_init(&b, GVM_MAX_ENTRY);
    while (ledger_writer_own(w, now, &b)) {
        assert_int_equal(ledger_writer_add(w, gvm_buf_str(&b)), 0);
        ledger_writer_told(w, now);
        gvm_buf_reset(&b);
    }
    gvm_buf_done(&b);
    if (w->count)
        commit(w);
    publish(w);
    while (ledger_writer_idle(w))
        ;
}

static struct ledger_writer *open_keeping(uint64_t bytes, int64_t age_ns)
{
    struct gvm_err err = {0};
    struct ledger_writer *w = NULL;
    struct ledger_writer_opts opts = {
        .origin = ORIGIN, .segment_max = SEGMENT, .keep = {.bytes = bytes, .age_ns = age_ns}};
    int fd = open(test_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ledger_writer_open(fd, &opts, &w, &err) < 0)
        fail_msg("open: %s", err.text);
    return w;
}

static struct gvm_checkpoint head_now(void)
{
    struct gvm_checkpoint cp;
    struct gvm_vkey key = test_key();
    struct gvm_buf b = slurp("checkpoint");
    assert_int_equal(gvm_checkpoint_open(gvm_buf_str(&b), &key, &cp, NULL), 0);
    gvm_buf_done(&b);
    return cp;
}

/* A log of about n entries that was pruned; its tiles are durable far enough. Returns its first
 * entry. */
static uint64_t make_pruned(unsigned n)
{
    struct ledger_writer *w = open_keeping(0, 0);
    append(w, n, 7);
    publish(w);
    ledger_writer_close(w);
    w = open_keeping(6 * SEGMENT, 0);
    while (w->tiles_synced + 2 * TILE_WIDTH < w->durable) /* as if it had rested for long */
        w->tiles_synced += TILE_WIDTH;
    chores(w, gvm_now_ns());
    chores(w, gvm_now_ns());
    uint64_t first = w->nclosed ? w->closed[0].first : w->seg.first;
    assert_true(first > 0);
    assert_true(w->prune.to == 0);
    ledger_writer_close(w);
    return first;
}

static void expect(bool ok, uint64_t bad, const char *file)
{
    for (unsigned threads = 1; threads < 4; threads += 2) {
        struct gvm_vkey key = test_key();
        struct gvm_verify_opts opts = {.key = &key, .threads = threads};
        struct gvm_verify_report rep = {0};
        struct gvm_err err = {0};
        if (gvm_ledger_verify(test_dir, &opts, &rep, &err) < 0)
            fail_msg("verify: %s", err.text);
        if (rep.ok != ok)
            fail_msg("ok is %d: %s", rep.ok, rep.reason);
        if (bad != UINT64_MAX && (!rep.have_bad_index || rep.bad_index != bad))
            fail_msg("names %" PRIu64 ", not %" PRIu64 ": %s", rep.bad_index, bad, rep.reason);
        if (file && strcmp(rep.bad_file, file) != 0)
            fail_msg("blames '%s': %s", rep.bad_file, rep.reason);
    }
}

static void remove_segment(uint64_t first)
{
    char name[SEGMENT_NAME], rel[80], path[256];
    for (unsigned form = LEDGER_PLAIN; form <= LEDGER_PACKED; form++) {
        ledger_segment_name(name, first, (enum ledger_form)form);
        (void)snprintf(rel, sizeof rel, "events/%s", name);
        path_in(path, rel);
        (void)unlink(path);
    }
}

static uint64_t second_segment(void)
{
    struct ledger_closed *list = NULL;
    size_t n = 0;
    char path[256];
    path_in(path, "events");
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(ledger_segment_list(fd, &list, &n, NULL), 0);
    close(fd);
    assert_true(n > 1);
    uint64_t second = list[1].first;
    free(list);
    return second;
}

/* ---- L5 ---- */

static void test_pruned_is_good(void **state)
{
    struct gvm_buf proof, entry;
    struct gvm_err err = {0};
    struct gvm_keychain keys = test_keys();
    struct gvm_checkpoint cp;
    uint64_t index;
    make_log(300, SEGMENT);
    struct gvm_checkpoint old = head_now();
    gvm_buf_init(&proof, GVM_MAX_PROOF);
    gvm_buf_init(&entry, GVM_MAX_ENTRY);
    assert_int_equal(gvm_proof_make(test_dir, 20, &proof, &entry, &err), 0);
    uint64_t first = make_pruned(1700);
    expect(true, UINT64_MAX, NULL);
    assert_int_equal(verify_since(NULL).pruned, first);
    /* A head and a proof from before the pruning hold. */
    struct gvm_verify_report rep = verify_since(&old);
    assert_true(rep.ok && rep.since_ok);
    assert_int_equal(
        gvm_proof_check(gvm_buf_str(&proof), gvm_buf_str(&entry), &keys, &index, &cp, &err), 0);
    /* What is left can be proved, what is gone is said to be pruned. */
    gvm_buf_reset(&proof);
    gvm_buf_reset(&entry);
    assert_int_equal(gvm_proof_make(test_dir, first, &proof, &entry, &err), 0);
    assert_int_equal(gvm_proof_make(test_dir, 20, &proof, &entry, &err), -ENODATA);
    gvm_buf_done(&proof);
    gvm_buf_done(&entry);
}

static void test_cut_is_not_pruned(void **state)
{
    uint64_t first = make_pruned(2000), second = second_segment();
    remove_segment(first);
    expect(false, first, NULL);
    remove_segment(second);
    expect(false, first, NULL);
}

static void test_cut_without_any_pruning(void **state)
{
    make_log(1000, SEGMENT);
    uint64_t second = second_segment();
    remove_segment(0);
    expect(false, 0, NULL);
    remove_segment(second);
    expect(false, 0, NULL);
}

/* A line that says "pruned" and is not signed excuses nothing. */
static void test_unsigned_word_is_worth_nothing(void **state)
{
    struct gvm_buf b;
    struct gvm_jw j;
    make_log(1000, SEGMENT);
    uint64_t second = second_segment();
    remove_segment(0);
    gvm_buf_init(&b, GVM_MAX_ENTRY);
    gvm_entry_begin(&j, &b, "ledger.pruned", NULL, NULL);
    gvm_jw_kint(&j, "from", 0);
    gvm_jw_kint(&j, "to", (int64_t)second);
    assert_int_equal(gvm_entry_end(&j), 0);
    struct ledger_writer *w = open_keeping(0, 0);
    assert_int_equal(ledger_writer_add(w, gvm_buf_str(&b)), 0);
    commit(w);
    expect(false, 0, NULL);
    /* The same entry signed by the ledger does: that is what it means. */
    publish(w);
    ledger_writer_close(w);
    expect(true, UINT64_MAX, NULL);
    gvm_buf_done(&b);
}

static void test_by_age(void **state)
{
    struct ledger_writer *w = open_keeping(0, 10ll * DAY * NS);
    append(w, 1200, 7);
    chores(w, gvm_now_ns());
    assert_int_equal(w->closed[0].first, 0);
    w->tiles_synced = w->durable / TILE_WIDTH * TILE_WIDTH;
    chores(w, gvm_now_ns() + 9ll * DAY * NS);
    assert_int_equal(w->closed[0].first, 0);
    chores(w, gvm_now_ns() + 11ll * DAY * NS);
    assert_true(!w->nclosed || w->closed[0].first > 0);
    ledger_writer_close(w);
    expect(true, UINT64_MAX, NULL);
    assert_true(verify_since(NULL).pruned > 0);
}

/* An old segment is closed before it is full, or its entries would outlive their time with it. */
static void test_old_segment_is_closed(void **state)
{
    struct ledger_writer *w = open_keeping(0, 80ll * DAY * NS);
    append(w, 5, 5);
    assert_int_equal(w->nclosed, 0);
    w->seg.born_ns -= 11ll * DAY * NS;
    append(w, 5, 5);
    assert_int_equal(w->nclosed, 1);
    assert_int_equal(w->closed[0].first, 0);
    chores(w, gvm_now_ns());
    ledger_writer_close(w);
    expect(true, UINT64_MAX, NULL);
    w = open_keeping(0, 80ll * DAY * NS);
    assert_true(w->seg.born_ns < gvm_now_ns()); /* told by the entry: 2026-11-23 */
    ledger_writer_close(w);
}

/* A head over the word first, the files second; not before it is durable. */
static void test_order(void **state)
{
    struct gvm_buf b;
    struct ledger_writer *w = open_keeping(0, 0);
    append(w, 1700, 7);
    publish(w);
    ledger_writer_close(w);
    w = open_keeping(6 * SEGMENT, 0);
    gvm_buf_init(&b, GVM_MAX_ENTRY);
    assert_true(ledger_writer_own(w, gvm_now_ns(), &b));
    assert_int_equal(ledger_writer_add(w, gvm_buf_str(&b)), 0);
    ledger_writer_told(w, gvm_now_ns());
    gvm_buf_reset(&b);
    assert_false(ledger_writer_own(w, gvm_now_ns(), &b)); /* one at a time */
    while (ledger_writer_idle(w))
        ;
    assert_int_equal(w->closed[0].first, 0);
    commit(w);
    while (ledger_writer_idle(w))
        ;
    assert_int_equal(w->closed[0].first, 0); /* durable, not signed */
    publish(w);
    while (ledger_writer_idle(w))
        ;
    assert_true(w->closed[0].first > 0);
    gvm_buf_done(&b);
    ledger_writer_close(w);
    expect(true, UINT64_MAX, NULL);
}

static void test_goes_on_after_pruning(void **state)
{
    char path[256];
    uint64_t first = make_pruned(1700);
    struct ledger_writer *w = open_keeping(6 * SEGMENT, 0);
    append(w, 2000, 7);
    publish(w);
    chores(w, gvm_now_ns());
    chores(w, gvm_now_ns());
    ledger_writer_close(w);
    expect(true, UINT64_MAX, NULL);
    assert_true(verify_since(NULL).pruned >= first);
    path_in(path, "tiles-synced"); /* a hint only */
    assert_int_equal(unlink(path), 0);
    w = open_keeping(6 * SEGMENT, 0);
    append(w, 10, 7);
    publish(w);
    ledger_writer_close(w);
    expect(true, UINT64_MAX, NULL);
    struct gvm_ledger_reader *r = NULL;
    struct gvm_str line;
    uint64_t index;
    assert_int_equal(gvm_ledger_reader_open(test_dir, 0, &r, NULL), 0);
    assert_int_equal(gvm_ledger_reader_next(r, &index, &line, NULL), 1);
    assert_int_equal(index, verify_since(NULL).pruned);
    gvm_ledger_reader_free(r);
}

/* Tiles that stand for pruned entries: every byte of each is held against the root. */
static void test_flip_tiles_of_pruned(void **state)
{
    char path[256];
    make_pruned(1700);
    static const char *const names[] = {"tile/0/000", "tile/0/001"};
    for (size_t t = 0; t < 2; t++) {
        struct gvm_buf b = slurp(names[t]);
        path_in(path, names[t]);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        for (size_t i = 0; i < b.len; i += 3) {
            uint8_t now = (uint8_t)(gvm_buf_data(&b)[i] ^ (1u << i % 8));
            assert_int_equal(pwrite(fd, &now, 1, (off_t)i), 1);
            struct gvm_verify_report rep = verify_since(NULL);
            if (rep.ok || strcmp(rep.bad_file, names[t]) != 0)
                fail_msg("%s byte %zu: ok %d, blames '%s': %s", names[t], i, rep.ok, rep.bad_file,
                         rep.reason);
            assert_int_equal(pwrite(fd, gvm_buf_data(&b) + i, 1, (off_t)i), 1);
        }
        close(fd);
        assert_int_equal(unlink(path), 0);
        expect(false, t * TILE_WIDTH, names[t]);
        spew(names[t], gvm_buf_data(&b), b.len);
        gvm_buf_done(&b);
    }
    expect(true, UINT64_MAX, NULL);
}

/* ---- going on behind a verified head ---- */

static struct gvm_verify_report verify_from(const struct gvm_verified *from)
{
    struct gvm_vkey key = test_key();
    struct gvm_verify_opts opts = {.key = &key, .from = from};
    struct gvm_verify_report rep = {0};
    struct gvm_err err = {0};
    if (gvm_ledger_verify(test_dir, &opts, &rep, &err) < 0)
        fail_msg("verify: %s", err.text);
    return rep;
}

static void test_incremental(void **state)
{
    static const unsigned sizes[] = {1, 255, 256, 257, 511, 700, 1024, 1500, 1501};
    struct gvm_verified kept = {0};
    struct gvm_buf text;
    gvm_buf_init(&text, 8192);
    struct ledger_writer *w = writer_open(SEGMENT);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        append(w, sizes[i] - (unsigned)w->durable, 10);
        publish(w);
        while (ledger_writer_idle(w))
            ;
        struct gvm_verify_report rep = verify_from(i ? &kept : NULL);
        if (!rep.ok)
            fail_msg("at %u: %s (%s)", sizes[i], rep.reason, rep.bad_file);
        assert_int_equal(rep.from, i ? sizes[i - 1] : 0);
        assert_int_equal(rep.entries, sizes[i]);
        gvm_buf_reset(&text);
        assert_int_equal(gvm_verified_write(&rep.verified, &text), 0);
        assert_int_equal(gvm_verified_parse(gvm_buf_str(&text), &kept, NULL), 0);
    }
    ledger_writer_close(w);
    /* No byte of the kept head may change. */
    for (size_t i = 0; i < text.len; i++) {
        struct gvm_verified v;
        uint8_t *p = gvm_buf_data(&text) + i, was = *p;
        *p ^= 1;
        if (gvm_verified_parse(gvm_buf_str(&text), &v, NULL) == 0)
            assert_true(v.head.size != 1501 || v.pruned_to || strcmp(v.head.origin, ORIGIN) != 0);
        *p = was;
    }
    gvm_buf_done(&text);
    assert_int_equal(verify_from(&kept).from, 1501);
    /* Another history under the same name does not extend what was kept. */
    assert_int_equal(dir_teardown(NULL), 0);
    assert_int_equal(mkdir(test_dir, 0700), 0);
    w = writer_open(SEGMENT);
    assert_int_equal(ledger_writer_add(w, GVM_STR("{\"another\":\"history\"}")), 0);
    append(w, 1600, 10);
    publish(w);
    ledger_writer_close(w);
    assert_false(verify_from(&kept).ok);
    assert_true(verify_from(NULL).ok);
}

static void test_incremental_finds_edit(void **state)
{
    make_log(300, 0);
    struct gvm_verified kept = verify_from(NULL).verified;
    struct ledger_writer *w = writer_open(0);
    append(w, 300, 10);
    publish(w);
    ledger_writer_close(w);
    assert_true(verify_from(&kept).ok);
    struct gvm_buf b = slurp("events/00000000000000000000.jsonl");
    char *at = memmem(gvm_buf_data(&b), b.len, "\"r.450\"", 7);
    at[5] = '1';
    spew("events/00000000000000000000.jsonl", gvm_buf_data(&b), b.len);
    gvm_buf_done(&b);
    struct gvm_verify_report rep = verify_from(&kept);
    assert_false(rep.ok);
    assert_int_equal(rep.bad_index, 450);
}

#define T(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_pruned_is_good),
        T(test_cut_is_not_pruned),
        T(test_cut_without_any_pruning),
        T(test_unsigned_word_is_worth_nothing),
        T(test_by_age),
        T(test_old_segment_is_closed),
        T(test_order),
        T(test_goes_on_after_pruning),
        T(test_flip_tiles_of_pruned),
        T(test_incremental),
        T(test_incremental_finds_edit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
