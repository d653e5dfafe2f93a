/* Signed notes, checkpoints and verifier keys: known ones hold, everything else is refused. */
#include "ledger_test.h"

/* The example of Go's golang.org/x/mod/sumdb/note. */
#define PETER_KEY "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"

static struct gvm_vkey key;

static void test_go_key(void **state)
{
    struct gvm_vkey k;
    struct gvm_err err = {0};
    struct gvm_buf out;
    assert_int_equal(gvm_vkey_parse(gvm_str(PETER_KEY "\n"), &k, &err), 0);
    assert_string_equal(k.name, "PeterNeumann");
    gvm_buf_init(&out, 1024);
    assert_int_equal(gvm_vkey_text(&k, &out), 0);
    assert_string_equal(gvm_buf_cstr(&out), PETER_KEY);
    gvm_buf_done(&out);
}

static void test_bad_keys(void **state)
{
    static const char *const bad[] = {
        "",
        "+",
        "++",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeuman+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TX",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWAAAA",
        "PeterNeumann+c74f20a3+AhpC2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    };
    struct gvm_vkey k;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(gvm_vkey_parse(gvm_str(bad[i]), &k, NULL), -EINVAL);
}

static void test_names(void **state)
{
    static const char *const good[] = {"a", "gvm.example/host7", "m\xc3\xa4rz", "\xe2\x82\xac"};
    static const char *const bad[] = {
        "",          "a b",           "a+b",          "a\nb",         "a\tb", "\x7f",
        "a\xc2\xa0", "\xe2\x80\x83x", "\xe3\x80\x80", "\xe2\x80\xa8", "\xff", "\xc2\x85"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(gvm_vkey_name_ok(gvm_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(gvm_vkey_name_ok(gvm_str(bad[i])));
}

/* RFC 8032 section 7.1, test 1. */
static void test_rfc8032(void **state)
{
    uint8_t seed[32], pub[32];
    struct gvm_vkey k;
    assert_int_equal(gvm_unhex(seed, 32,
                               GVM_STR("9d61b19deffd5a60ba844af492ec2cc4"
                                       "4449c5697b326919703bac031cae7f60")),
                     0);
    assert_int_equal(gvm_unhex(pub, 32,
                               GVM_STR("d75a980182b10ab7d54bfed3c964073a"
                                       "0ee172f3daa62325af021a68f707511a")),
                     0);
    assert_int_equal(gvm_vkey_from_seed(seed, "rfc8032", &k, NULL), 0);
    assert_memory_equal(k.key, pub, 32);
    assert_int_equal(gvm_vkey_from_seed(seed, "a b", &k, NULL), -EINVAL);
}

/* ---- notes ---- */

static char note[4096], sigline[1024];

/* A checkpoint signed by the test key, in `note`; its signature line in `sigline`. */
static void make_note(const char *origin, const uint8_t seed[32], uint64_t size)
{
    struct gvm_m_sign head = {.size = size};
    memset(head.root, 0x5a, 32);
    struct gvm_m_signed sig = sign_as(seed, origin, &head);
    uint8_t blob[68];
    char b64[128], root[64];
    memcpy(blob, sig.key_id, 4);
    memcpy(blob + 4, sig.signature, 64);
    gvm_b64(b64, blob, 68);
    gvm_b64(root, head.root, 32);
    (void)snprintf(sigline, sizeof sigline, "\xe2\x80\x94 %s %s\n", origin, b64);
    (void)snprintf(note, sizeof note, "%s\n%" PRIu64 "\n%s\n\n%s", origin, size, root, sigline);
}

static int open_note(const char *text)
{
    struct gvm_checkpoint cp;
    return gvm_checkpoint_open(gvm_str(text), &key, &cp, NULL);
}

static void test_open(void **state)
{
    struct gvm_checkpoint cp;
    struct gvm_err err = {0};
    make_note(ORIGIN, test_seed, 1234);
    assert_int_equal(gvm_checkpoint_open(gvm_str(note), &key, &cp, &err), 0);
    assert_int_equal(cp.size, 1234);
    assert_string_equal(cp.origin, ORIGIN);
    assert_int_equal(gvm_checkpoint_parse(gvm_str(note), &cp, &err), 0);
    make_note(ORIGIN, test_seed, 0);
    assert_int_equal(open_note(note), 0);
}

static void test_every_flip(void **state)
{
    make_note(ORIGIN, test_seed, 1234);
    size_t n = strlen(note);
    for (size_t i = 0; i < 8 * n; i++) {
        char copy[sizeof note];
        memcpy(copy, note, n + 1);
        copy[i / 8] = (char)(copy[i / 8] ^ (1 << i % 8));
        struct gvm_checkpoint cp;
        if (gvm_checkpoint_open((struct gvm_str){copy, n}, &key, &cp, NULL) == 0)
            fail_msg("bit %zu of byte %zu changes nothing", i % 8, i / 8);
    }
    for (size_t cut = 0; cut < n; cut++) {
        struct gvm_checkpoint cp;
        assert_true(gvm_checkpoint_open((struct gvm_str){note, cut}, &key, &cp, NULL) < 0);
    }
}

static void test_other_keys(void **state)
{
    static const uint8_t other[32] = {9};
    char both[8192], own[1024];
    make_note(ORIGIN, other, 7); /* same name, another key */
    assert_int_equal(open_note(note), -EKEYREJECTED);
    make_note("gvm.test/other", test_seed, 7);
    assert_int_equal(open_note(note), -EKEYREJECTED);

    /* A signature of an unknown key beside ours is skipped, in either order. */
    make_note(ORIGIN, test_seed, 7);
    memcpy(own, sigline, sizeof own);
    size_t text = strlen(note) - strlen(own);
    make_note("gvm.test/witness", other, 7);
    char theirs[1024];
    memcpy(theirs, sigline, sizeof theirs);
    make_note(ORIGIN, test_seed, 7);
    (void)snprintf(both, sizeof both, "%.*s%s%s", (int)text, note, theirs, own);
    assert_int_equal(open_note(both), 0);
    (void)snprintf(both, sizeof both, "%.*s%s%s", (int)text, note, own, theirs);
    assert_int_equal(open_note(both), 0);
    (void)snprintf(both, sizeof both, "%.*s%s", (int)text, note, theirs);
    assert_int_equal(open_note(both), -EKEYREJECTED);
    (void)snprintf(both, sizeof both, "%.*s", (int)text, note); /* stripped */
    assert_true(open_note(both) < 0);

    /* 16 lines are read, 17 are not. */
    int n = snprintf(both, sizeof both, "%.*s", (int)text, note);
    for (unsigned i = 0; i < 15; i++)
        n += snprintf(both + n, sizeof both - (size_t)n, "%s", theirs);
    n += snprintf(both + n, sizeof both - (size_t)n, "%s", own);
    assert_int_equal(open_note(both), 0);
    (void)snprintf(both + n, sizeof both - (size_t)n, "%s", own);
    assert_true(open_note(both) < 0);
}

static void test_malformed(void **state)
{
    static const char *const bad[] = {
        "",
        "\n",
        "\n\n",
        "\n\n\n",
        "a\n\n",
        "a\n1\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n",
        "a\n01\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n\n\xe2\x80\x94 a AAAAAAA=\n",
        "a\n-1\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n\n\xe2\x80\x94 a AAAAAAA=\n",
        "a\n1\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlp=\n\n\xe2\x80\x94 a AAAAAAA=\n",
        "a\n1\nWlpa\n\n\xe2\x80\x94 a AAAAAAA=\n",
        "a\n1\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\next\n\n\xe2\x80\x94 a AAAAAAA=\n",
        "a\n1\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n\n- a AAAAAAA=\n",
        "a\n1\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n\n\xe2\x80\x94 a AAAA\n",
        "a\n1\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n\n\xe2\x80\x94 a AAAAAAA\n",
        "a\n1\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n\n\xe2\x80\x94 a AAAAAAA=",
        "a b\n1\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n\n\xe2\x80\x94 a AAAAAAA=\n",
        "a\r\n1\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n\n\xe2\x80\x94 a AAAAAAA=\n",
    };
    struct gvm_checkpoint cp;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (gvm_checkpoint_parse(gvm_str(bad[i]), &cp, NULL) == 0)
            fail_msg("note %zu was taken", i);
    assert_int_equal(
        gvm_checkpoint_parse(gvm_str("a\n1\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n\n"
                                     "\xe2\x80\x94 a AAAAAAA=\n"),
                             &cp, NULL),
        0);
}

static int setup(void **state)
{
    key = test_key();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_go_key),     cmocka_unit_test(test_bad_keys),
        cmocka_unit_test(test_names),      cmocka_unit_test(test_rfc8032),
        cmocka_unit_test(test_open),       cmocka_unit_test(test_every_flip),
        cmocka_unit_test(test_other_keys), cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
