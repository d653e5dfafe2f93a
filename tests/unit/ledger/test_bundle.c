/* Bundles and extension proofs: they hold for what they were made of, and for nothing else. */
#include "ledger_test.h"
#include "ledger/private.h"

#define BLANK44 "............................................"
#define BLANK24 "........................"

/* Entries 3, 7, 11, ... have private members. */
static struct gvm_str mixed_line(char *buf, size_t cap, uint64_t i)
{
    if (i % 4 != 3)
        return test_line(buf, cap, i);
    int n = snprintf(
        buf, cap,
        "{\"v\":2,\"t\":\"2026-11-23T23:13:00.000000000Z\",\"kind\":\"test\",\"id\":\"r.%" PRIu64
        "\",\"private\":\"" BLANK44 "\",\"salt\":\"" BLANK24 "\",\"host\":\"h%" PRIu64
        ".test\",\"path\":\"/secret\"}",
        i, i);
    return (struct gvm_str){buf, (size_t)n};
}

static void make_mixed(unsigned n)
{
    struct gvm_err err = {0};
    char buf[512];
    struct ledger_writer *w = writer_open(0);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(ledger_writer_add(w, mixed_line(buf, sizeof buf, w->durable)), 0);
        assert_int_equal(ledger_writer_commit(w, &err), 0);
        assert_int_equal(ledger_writer_settle(w, &err), 0);
    }
    publish(w);
    ledger_writer_close(w);
}

struct sink {
    struct gvm_buf text;
    uint64_t step;
};

static int take(void *arg, uint64_t index, struct gvm_str line, struct gvm_err *err)
{
    const struct sink *s = arg;
    return index % s->step == 0 || index % s->step == 3;
}

static int keep(void *arg, struct gvm_str line)
{
    struct sink *s = arg;
    return gvm_buf_adds(&s->text, line);
}

static struct gvm_buf bundle(uint64_t step, struct gvm_redact *redact, uint64_t *ret_rows)
{
    struct sink s = {.step = step};
    struct gvm_err err = {0};
    gvm_buf_init(&s.text, 64 << 20);
    struct gvm_bundle_opts o = {.want = take, .redact = redact, .write = keep, .arg = &s};
    if (gvm_bundle_make(test_dir, &o, ret_rows, &err) < 0)
        fail_msg("bundle: %s", err.text);
    return s.text;
}

/* 0 or the error; what was shown goes to `events`, one a line. */
static int check_as(const char *name, const uint8_t seed[32], struct gvm_str text,
                    struct gvm_buf *events)
{
    struct gvm_keychain keys = {.n = 1};
    struct gvm_bundle *b = NULL;
    struct gvm_bundle_row row;
    struct gvm_checkpoint head;
    struct gvm_str line;
    uint64_t rows;
    assert_int_equal(gvm_vkey_from_seed(seed, name, &keys.key[0], NULL), 0);
    assert_int_equal(gvm_bundle_new(&keys, &b, NULL), 0);
    int r = 0;
    while (r >= 0 && text.n) {
        (void)gvm_str_cut(&text, '\n', &line);
        r = gvm_bundle_line(b, line, &row, NULL);
        if (r == 1 && events)
            gvm_buf_addf(events, "%" PRIu64 " %.*s %.*s\n", row.index, (int)row.event.n,
                         row.event.p, (int)row.hidden.n, row.hidden.p);
    }
    if (r >= 0)
        r = gvm_bundle_end(b, &head, &rows, NULL);
    gvm_bundle_free(b);
    return r;
}

static int check(struct gvm_str text, struct gvm_buf *events)
{
    return check_as(ORIGIN, test_seed, text, events);
}

static void test_holds(void **state)
{
    struct gvm_redact none = {0};
    struct gvm_buf events;
    uint64_t rows = 0;
    gvm_buf_init(&events, 1 << 20);
    make_mixed(600);
    struct gvm_buf text = bundle(100, &none, &rows);
    assert_int_equal(rows, 12);
    assert_int_equal(check(gvm_buf_str(&text), &events), 0);
    assert_non_null(memmem(gvm_buf_data(&events), events.len,
                           "\"host\":\"h103.test\",\"path\":\"/secret\"} []", 39));
    assert_null(memmem(gvm_buf_data(&events), events.len, "salt", 4));
    gvm_buf_done(&text);
    gvm_buf_done(&events);
}

static void test_redacted(void **state)
{
    static const char *const names[] = {"path", "nothing"};
    struct gvm_redact path = {.names = names, .n = 2}, all = {.all = true};
    struct gvm_buf events;
    uint64_t rows;
    gvm_buf_init(&events, 1 << 20);
    make_mixed(20);
    struct gvm_buf text = bundle(8, &path, &rows);
    assert_int_equal(path.used, 1);
    assert_null(memmem(gvm_buf_data(&text), text.len, "/secret", 7));
    assert_int_equal(check(gvm_buf_str(&text), &events), 0);
    assert_non_null(
        memmem(gvm_buf_data(&events), events.len, "\"host\":\"h11.test\"} [\"path\"]", 27));
    gvm_buf_done(&text);
    text = bundle(8, &all, &rows);
    assert_null(memmem(gvm_buf_data(&text), text.len, "h11.test", 8));
    gvm_buf_reset(&events);
    assert_int_equal(check(gvm_buf_str(&text), &events), 0);
    assert_non_null(memmem(gvm_buf_data(&events), events.len, "} [\"host\",\"path\"]", 17));
    gvm_buf_done(&text);
    gvm_buf_done(&events);
}

/* Whatever is changed, what is shown is never anything else. */
static void test_every_flip(void **state)
{
    static const char *const names[] = {"path"};
    struct gvm_redact path = {.names = names, .n = 1};
    struct gvm_buf want, got;
    uint64_t rows;
    gvm_buf_init(&want, 1 << 20);
    gvm_buf_init(&got, 1 << 20);
    make_mixed(9);
    struct gvm_buf text = bundle(4, &path, &rows);
    assert_int_equal(check(gvm_buf_str(&text), &want), 0);
    uint8_t *p = gvm_buf_data(&text);
    size_t refused = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t was = p[i];
        p[i] ^= (uint8_t)(1u << i % 7);
        gvm_buf_reset(&got);
        if (check(gvm_buf_str(&text), &got) < 0)
            refused++;
        else if (!gvm_str_eq(gvm_buf_str(&got), gvm_buf_str(&want)))
            fail_msg("byte %zu: accepted, and shows something else", i);
        p[i] = was;
    }
    assert_true(refused > text.len - 10);
    gvm_buf_done(&text);
    gvm_buf_done(&want);
    gvm_buf_done(&got);
}

static struct gvm_str nth_line(struct gvm_str text, unsigned n)
{
    struct gvm_str line = {0};
    for (unsigned i = 0; i <= n; i++)
        (void)gvm_str_cut(&text, '\n', &line);
    return line;
}

static int check_lines(const struct gvm_str *lines, size_t n)
{
    struct gvm_buf text;
    gvm_buf_init(&text, 1 << 20);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(gvm_buf_adds(&text, lines[i]), 0);
        assert_int_equal(gvm_buf_addc(&text, '\n'), 0);
    }
    int r = check(gvm_buf_str(&text), NULL);
    gvm_buf_done(&text);
    return r;
}

/* Rows out of order, twice, left out, cut off, of another key, another log. */
static void test_mixed_up(void **state)
{
    struct gvm_redact none = {0};
    static const uint8_t other[32] = {9};
    uint64_t rows;
    make_mixed(9);
    struct gvm_buf text = bundle(4, &none, &rows), later;
    struct gvm_str t = gvm_buf_str(&text), head = nth_line(t, 0), a = nth_line(t, 1),
                   b = nth_line(t, 2), end = nth_line(t, 6);
    assert_int_equal(rows, 5);
    assert_true(gvm_str_eqz(end, "{\"end\":5}"));
    assert_int_equal(check_lines((struct gvm_str[]){head, b, a, GVM_STR("{\"end\":2}")}, 4),
                     -EBADMSG);
    assert_int_equal(check_lines((struct gvm_str[]){head, a, a, GVM_STR("{\"end\":2}")}, 4),
                     -EBADMSG);
    assert_int_equal(check_lines((struct gvm_str[]){head, a, b, end}, 4), -EBADMSG);
    assert_int_equal(check_lines((struct gvm_str[]){head, a, b}, 3), -EBADMSG);
    assert_int_equal(check_lines((struct gvm_str[]){a, b, end}, 3), -EBADMSG);
    assert_int_equal(check_lines((struct gvm_str[]){head, a, GVM_STR("{\"end\":1}"), b}, 4),
                     -EBADMSG);
    assert_int_equal(check_lines((struct gvm_str[]){head, a, b, GVM_STR("{\"end\":2}")}, 4), 0);
    assert_int_equal(check_as(ORIGIN, other, t, NULL), -EKEYREJECTED);
    assert_int_equal(check_as("another.test", test_seed, t, NULL), -EKEYREJECTED);
    struct ledger_writer *w = writer_open(0);
    append(w, 5, 1);
    publish(w);
    ledger_writer_close(w);
    later = bundle(4, &none, &rows);
    assert_int_equal(
        check_lines((struct gvm_str[]){nth_line(gvm_buf_str(&later), 0), a, GVM_STR("{\"end\":1}")},
                    3),
        -EBADMSG);
    gvm_buf_done(&text);
    gvm_buf_done(&later);
}

/* What somebody might show instead of a member. */
static void test_forged_members(void **state)
{
    char line[512];
    struct ledger_hasher h;
    struct gvm_buf event, hidden, entry;
    struct gvm_redact none = {0};
    struct gvm_jw w;
    assert_int_equal(ledger_hasher_init(&h), 0);
    gvm_buf_init(&event, 1 << 16);
    gvm_buf_init(&hidden, 1 << 16);
    gvm_buf_init(&entry, 1 << 16);
    size_t n = mixed_line(line, sizeof line, 3).n;
    assert_int_equal(private_seal(h.ctx, line, n), 0);
    assert_int_equal(gvm_line_entry((struct gvm_str){line, n}, &entry), 0);
    gvm_jw_init(&w, &hidden);
    assert_int_equal(gvm_disclose((struct gvm_str){line, n}, &none, &w, NULL), 0);
    struct gvm_str e = gvm_buf_str(&entry), good = gvm_buf_str(&hidden);
    struct gvm_buf out;
    gvm_buf_init(&out, 1 << 16);
    gvm_jw_init(&w, &out);
    assert_int_equal(gvm_disclosed(e, good, &event, &w, NULL), 0);
    static const char *const bad[] = {
        "[]",
        "null",
        "{}",
        "[1]",
        "",
        "[{\"name\":\"host\"},{\"name\":\"path\"}]",
        "[{\"name\":\"path\",\"hash\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"}]",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (gvm_disclosed(e, gvm_str(bad[i]), &event, &w, NULL) != -EBADMSG)
            fail_msg("accepted: %s", bad[i]);
    /* The members of another entry. */
    char second[512];
    size_t m = mixed_line(second, sizeof second, 7).n;
    assert_int_equal(private_seal(h.ctx, second, m), 0);
    gvm_buf_reset(&entry);
    assert_int_equal(gvm_line_entry((struct gvm_str){second, m}, &entry), 0);
    assert_int_equal(gvm_disclosed(gvm_buf_str(&entry), good, &event, &w, NULL), -EBADMSG);
    gvm_buf_done(&event);
    gvm_buf_done(&hidden);
    gvm_buf_done(&entry);
    gvm_buf_done(&out);
    ledger_hasher_done(&h);
}

/* A writer of our own key that commits to a member which is already public: shown, it would be two.
 */
static void test_shadowed_member(void **state)
{
    static const char text[] = "{\"v\":2,\"t\":\"x\",\"decision\":\"Deny\",\"private\":\"" BLANK44
                               "\",\"salt\":\"" BLANK24 "\",\"decision\":\"Allow\"}";
    char line[sizeof text];
    struct ledger_hasher h;
    struct gvm_buf event, hidden, list, entry;
    struct gvm_redact none = {0};
    struct gvm_jw w;
    memcpy(line, text, sizeof text);
    assert_int_equal(ledger_hasher_init(&h), 0);
    gvm_buf_init(&event, 1 << 16);
    gvm_buf_init(&hidden, 1 << 16);
    gvm_buf_init(&list, 1 << 16);
    gvm_buf_init(&entry, 1 << 16);
    assert_int_equal(private_seal(h.ctx, line, sizeof line - 1), 0);
    assert_int_equal(gvm_line_entry((struct gvm_str){line, sizeof line - 1}, &entry), 0);
    gvm_jw_init(&w, &list);
    assert_int_equal(gvm_disclose((struct gvm_str){line, sizeof line - 1}, &none, &w, NULL), 0);
    gvm_jw_init(&w, &hidden);
    assert_int_equal(gvm_disclosed(gvm_buf_str(&entry), gvm_buf_str(&list), &event, &w, NULL),
                     -EBADMSG);
    gvm_buf_done(&event);
    gvm_buf_done(&hidden);
    gvm_buf_done(&list);
    gvm_buf_done(&entry);
    ledger_hasher_done(&h);
}

/* ---- extensions ---- */

static struct gvm_checkpoint head_now(void)
{
    struct gvm_buf b = slurp("checkpoint");
    struct gvm_checkpoint cp;
    assert_int_equal(gvm_checkpoint_parse(gvm_buf_str(&b), &cp, NULL), 0);
    gvm_buf_done(&b);
    return cp;
}

/* Every pair of sizes up to 70, and around tiles. */
static void test_extends(void **state)
{
    static struct gvm_checkpoint old[80];
    struct gvm_keychain keys = test_keys();
    struct ledger_writer *w = writer_open(0);
    unsigned n = 0;
    for (unsigned size = 1; size <= 520; size += size < 70 ? 1 : 90) {
        struct gvm_checkpoint got;
        append(w, size - (unsigned)w->durable, 50);
        publish(w);
        old[n++] = head_now();
        for (unsigned i = 0; i < n; i++) {
            struct gvm_buf proof;
            struct gvm_err err = {0};
            gvm_buf_init(&proof, GVM_MAX_PROOF);
            if (gvm_extends_make(test_dir, &old[i], &proof, &err) < 0)
                fail_msg("%" PRIu64 " in %u: %s", old[i].size, size, err.text);
            assert_int_equal(gvm_extends_check(gvm_buf_str(&proof), &old[i], &keys, &got, NULL), 0);
            assert_int_equal(got.size, size);
            struct gvm_checkpoint wrong = old[i];
            wrong.root[5] ^= 1;
            assert_int_equal(gvm_extends_check(gvm_buf_str(&proof), &wrong, &keys, &got, NULL),
                             -EBADMSG);
            assert_int_equal(gvm_extends_make(test_dir, &wrong, &proof, &err), -EBADMSG);
            wrong = old[i];
            wrong.size++;
            assert_true(gvm_extends_check(gvm_buf_str(&proof), &wrong, &keys, &got, NULL) < 0);
            gvm_buf_done(&proof);
        }
    }
    ledger_writer_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_holds, dir_setup, dir_teardown),
        cmocka_unit_test_setup_teardown(test_redacted, dir_setup, dir_teardown),
        cmocka_unit_test_setup_teardown(test_every_flip, dir_setup, dir_teardown),
        cmocka_unit_test_setup_teardown(test_mixed_up, dir_setup, dir_teardown),
        cmocka_unit_test(test_forged_members),
        cmocka_unit_test(test_shadowed_member),
        cmocka_unit_test_setup_teardown(test_extends, dir_setup, dir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
