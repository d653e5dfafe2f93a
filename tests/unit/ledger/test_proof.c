/* Proofs of single entries: good for that entry, index, head and key, and for nothing else. */
#include "ledger_test.h"

struct proof {
    struct gvm_buf text, entry;
};

static struct proof prove(uint64_t index)
{
    struct proof p;
    struct gvm_err err = {0};
    gvm_buf_init(&p.text, GVM_MAX_PROOF);
    gvm_buf_init(&p.entry, GVM_MAX_ENTRY + 1);
    if (gvm_proof_make(test_dir, index, &p.text, &p.entry, &err) < 0)
        fail_msg("prove %" PRIu64 ": %s", index, err.text);
    return p;
}

static void done(struct proof *p)
{
    gvm_buf_done(&p->text);
    gvm_buf_done(&p->entry);
}

static int check(struct gvm_str text, struct gvm_str entry, uint64_t *index)
{
    struct gvm_keychain keys = test_keys();
    struct gvm_checkpoint head;
    return gvm_proof_check(text, entry, &keys, index, &head, NULL);
}

static void test_every_entry(void **state)
{
    static const unsigned sizes[] = {1, 2, 3, 255, 256, 257, 511, 513, 700};
    char buf[256];
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        make_log(sizes[s], 9000);
        for (uint64_t i = 0; i < sizes[s]; i += 1 + sizes[s] / 40) {
            struct proof p = prove(i);
            uint64_t index = UINT64_MAX;
            assert_true(gvm_str_eq(gvm_buf_str(&p.entry), test_line(buf, sizeof buf, i)));
            assert_int_equal(check(gvm_buf_str(&p.text), gvm_buf_str(&p.entry), &index), 0);
            assert_int_equal(index, i);
            done(&p);
        }
        assert_int_equal(dir_teardown(NULL), 0);
        assert_int_equal(mkdir(test_dir, 0700), 0);
    }
}

/* More than one tile level: 70,000 entries, as in the specification's example. */
static void test_three_levels(void **state)
{
    struct gvm_err err = {0};
    struct ledger_writer *w = writer_open(0);
    append(w, 70000, 4000);
    publish(w);
    ledger_writer_abandon(w);
    assert_verifies(70000);
    static const uint64_t at[] = {0, 1, 255, 256, 65535, 65536, 69887, 69888, 69999};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        uint64_t index;
        struct proof p = prove(at[i]);
        assert_int_equal(check(gvm_buf_str(&p.text), gvm_buf_str(&p.entry), &index), 0);
        assert_int_equal(index, at[i]);
        done(&p);
    }
    struct proof p;
    gvm_buf_init(&p.text, GVM_MAX_PROOF);
    gvm_buf_init(&p.entry, GVM_MAX_ENTRY + 1);
    assert_int_equal(gvm_proof_make(test_dir, 70000, &p.text, &p.entry, &err), -ERANGE);
    done(&p);
}

/* Replaces the first `from` in the proof's text. */
static struct gvm_buf replaced(const struct gvm_buf *text, const char *from, const char *to)
{
    struct gvm_buf out;
    gvm_buf_init(&out, GVM_MAX_PROOF);
    const char *p = (const char *)gvm_buf_data(text),
               *at = memmem(p, text->len, from, strlen(from));
    assert_non_null(at);
    gvm_buf_add(&out, p, (size_t)(at - p));
    gvm_buf_addz(&out, to);
    at += strlen(from);
    gvm_buf_add(&out, at, text->len - (size_t)(at - p));
    return out;
}

static void expect_refused(const struct gvm_buf *text, const char *from, const char *to,
                           struct gvm_str entry)
{
    uint64_t index;
    struct gvm_buf b = replaced(text, from, to);
    if (check(gvm_buf_str(&b), entry, &index) == 0)
        fail_msg("'%s' for '%s' was taken", to, from);
    gvm_buf_done(&b);
}

static void test_mixed_up(void **state)
{
    uint64_t index;
    make_log(400, 9000);
    struct proof a = prove(17), b = prove(18);
    struct gvm_str entry = gvm_buf_str(&a.entry);
    assert_true(check(gvm_buf_str(&a.text), gvm_buf_str(&b.entry), &index) < 0); /* another event */
    assert_true(check(gvm_buf_str(&b.text), entry, &index) < 0);
    expect_refused(&a.text, "index 17", "index 18", entry);
    expect_refused(&a.text, "index 17", "index 16", entry);
    expect_refused(&a.text, "index 17", "index 273", entry);
    expect_refused(&a.text, "index 17", "index 017", entry);
    expect_refused(&a.text, "index 17", "index 99999999999999999999", entry);
    expect_refused(&a.text, "index 17\n", "", entry);
    expect_refused(&a.text, "@v1", "@v2", entry);
    struct gvm_str s = gvm_buf_str(&a.text);
    char first[64], two[128];
    const char *path = memmem(s.p, s.n, "index 17\n", 9);
    (void)snprintf(first, sizeof first, "%.45s", path + 9);
    (void)snprintf(two, sizeof two, "%s%s", first, first);
    expect_refused(&a.text, first, "", entry);  /* truncated path */
    expect_refused(&a.text, first, two, entry); /* extra hash */
    expect_refused(&a.text, "\n\n", "\n", entry);

    /* another checkpoint: a later head of the same log */
    struct ledger_writer *w = writer_open(9000);
    append(w, 1, 1);
    publish(w);
    ledger_writer_close(w);
    struct gvm_buf later = slurp("checkpoint"), mixed;
    const char *note = (const char *)memmem(s.p, s.n, "\n\n", 2) + 2;
    gvm_buf_init(&mixed, GVM_MAX_PROOF);
    gvm_buf_add(&mixed, s.p, (size_t)(note - s.p));
    gvm_buf_adds(&mixed, gvm_buf_str(&later));
    assert_true(check(gvm_buf_str(&mixed), entry, &index) < 0);
    assert_int_equal(check(s, entry, &index), 0); /* the old proof holds on */
    gvm_buf_done(&mixed);
    gvm_buf_done(&later);
    done(&a);
    done(&b);
}

static void test_every_flip(void **state)
{
    uint64_t index;
    make_log(5, 0);
    struct proof p = prove(3);
    struct gvm_str text = gvm_buf_str(&p.text), entry = gvm_buf_str(&p.entry);
    assert_int_equal(check(text, entry, &index), 0);
    for (size_t i = 0; i < text.n * 8; i++) {
        gvm_buf_data(&p.text)[i / 8] ^= (uint8_t)(1 << i % 8);
        if (check(text, entry, &index) == 0)
            fail_msg("bit %zu of byte %zu of the proof changes nothing", i % 8, i / 8);
        gvm_buf_data(&p.text)[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t i = 0; i < entry.n * 8; i++) {
        gvm_buf_data(&p.entry)[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_true(check(text, entry, &index) < 0);
        gvm_buf_data(&p.entry)[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t n = 0; n < text.n; n++)
        assert_true(check((struct gvm_str){text.p, n}, entry, &index) < 0);
    done(&p);
}

static void test_other_key_and_extra(void **state)
{
    static const uint8_t other[32] = {7};
    uint64_t index;
    struct gvm_checkpoint head;
    struct gvm_keychain keys = {.n = 1};
    make_log(5, 0);
    struct proof p = prove(2);
    assert_int_equal(gvm_vkey_from_seed(other, ORIGIN, &keys.key[0], NULL), 0);
    assert_int_equal(
        gvm_proof_check(gvm_buf_str(&p.text), gvm_buf_str(&p.entry), &keys, &index, &head, NULL),
        -EKEYREJECTED);
    struct gvm_buf b = replaced(&p.text, "index", "extra aGVsbG8=\nindex");
    assert_int_equal(check(gvm_buf_str(&b), gvm_buf_str(&p.entry), &index), 0);
    gvm_buf_done(&b);
    expect_refused(&p.text, "index", "extra !\nindex", gvm_buf_str(&p.entry));
    expect_refused(&p.text, "index", "extra aGVsbG8=\nextra aGVsbG8=\nindex",
                   gvm_buf_str(&p.entry));
    done(&p);
}

#define T(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_every_entry), T(test_three_levels),        T(test_mixed_up),
        T(test_every_flip),  T(test_other_key_and_extra),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
