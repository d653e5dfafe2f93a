#include "../unit.h"

#include <errno.h>

#include "core/core.h"

#define S(lit) GVM_STR(lit)

static void numbers_are_strict(void **state)
{
    static const struct {
        const char *text;
        uint64_t max;
        int r;
        uint64_t v;
    } rows[] = {
        {"0", 10, 0, 0},
        {"7", 10, 0, 7},
        {"10", 10, 0, 10},
        {"11", 10, -ERANGE, 0},
        {"18446744073709551615", UINT64_MAX, 0, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, -ERANGE, 0},
        {"99999999999999999999999", UINT64_MAX, -ERANGE, 0},
        {"", 10, -EINVAL, 0},
        {"01", 10, -EINVAL, 0},
        {"00", 10, -EINVAL, 0},
        {"+1", 10, -EINVAL, 0},
        {"-1", 10, -EINVAL, 0},
        {" 1", 10, -EINVAL, 0},
        {"1 ", 10, -EINVAL, 0},
        {"1x", 10, -EINVAL, 0},
        {"0x1", 10, -EINVAL, 0},
        {"99999999999999999999999x", 10, -EINVAL, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t v = 0;
        assert_int_equal(gvm_parse_u64(gvm_str(rows[i].text), rows[i].max, &v), rows[i].r);
        assert_true(v == rows[i].v); /* untouched when refused */
    }
}

static void durations_and_sizes(void **state)
{
    uint64_t v;
    assert_int_equal(gvm_parse_duration_ms(S("10"), &v), 0);
    assert_int_equal(v, 10000);
    assert_int_equal(gvm_parse_duration_ms(S("250ms"), &v), 0);
    assert_int_equal(v, 250);
    assert_int_equal(gvm_parse_duration_ms(S("2h"), &v), 0);
    assert_int_equal(v, 7200000);
    assert_int_equal(gvm_parse_duration_ms(S("1d"), &v), 0);
    assert_int_equal(v, 86400000);
    assert_int_equal(gvm_parse_duration_ms(S("5 m"), &v), -EINVAL);
    assert_int_equal(gvm_parse_duration_ms(S("m"), &v), -EINVAL);
    assert_int_equal(gvm_parse_duration_ms(S("18446744073709551615d"), &v), -ERANGE);
    assert_int_equal(gvm_parse_size(S("512"), &v), 0);
    assert_int_equal(v, 512);
    assert_int_equal(gvm_parse_size(S("64k"), &v), 0);
    assert_int_equal(v, 65536);
    assert_int_equal(gvm_parse_size(S("2GiB"), &v), 0);
    assert_true(v == 2ull << 30);
    assert_int_equal(gvm_parse_size(S("1q"), &v), -EINVAL);
    assert_int_equal(gvm_parse_size(S("18446744073709551615T"), &v), -ERANGE);
}

static void cutting_and_trimming(void **state)
{
    struct gvm_str s = S("a:b:"), head;
    assert_true(gvm_str_cut(&s, ':', &head));
    assert_str(head, "a");
    assert_true(gvm_str_cut(&s, ':', &head));
    assert_str(head, "b");
    assert_false(gvm_str_cut(&s, ':', &head));
    assert_str(head, "");
    assert_int_equal(s.n, 0);
    assert_str(gvm_str_trim(S(" \t x y\t ")), "x y");
    assert_str(gvm_str_trim(S(" \t ")), "");
    assert_true(gvm_str_ieq(S("HoSt"), S("hOsT")));
    assert_false(gvm_str_ieq(S("host"), S("hosts")));
    assert_false(gvm_str_ieq(S("@"), S("`"))); /* 0x20 apart, no letters */
    assert_true(gvm_str_starts(S("abc"), S("")));
    assert_false(gvm_str_ends(S("c"), S("bc")));
    assert_true(gvm_str_eq((struct gvm_str){NULL, 0}, S("")));
    char dst[4] = "old";
    assert_int_equal(gvm_str_copy(dst, sizeof dst, S("four")), -ENAMETOOLONG);
    assert_string_equal(dst, "old");
    assert_int_equal(gvm_str_copy(dst, sizeof dst, S("abc")), 0);
    assert_string_equal(dst, "abc");
}

static void globs(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool match;
    } rows[] = {
        {"", "", true},          {"", "a", false},       {"*", "", true},
        {"*", "abc", true},      {"a*c", "abbbc", true}, {"a*c", "abbb", false},
        {"?", "a", true},        {"?", "", false},       {"*a*b", "xaxbxab", true},
        {"*.x", "a.x.y", false}, {"**", "z", true},      {"a?c", "abc", true},
        {"abc", "abcd", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(gvm_glob(gvm_str(rows[i].pattern), gvm_str(rows[i].text)), rows[i].match);
    /* What makes a naive matcher exponential: ends, and fast. */
    char text[4001], pattern[101];
    memset(text, 'a', 4000);
    text[4000] = '\0';
    for (int i = 0; i < 50; i++)
        memcpy(pattern + 2 * i, "*a", 2);
    memcpy(pattern + 99, "b", 2);
    int64_t before = gvm_mono_ns();
    assert_false(gvm_glob(gvm_str(pattern), gvm_str(text)));
    assert_true(gvm_mono_ns() - before < 1000000000);
}

static void utf8_as_rfc3629(void **state)
{
    static const char *const good[] = {"",
                                       "abc",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "a\xe2\x82",
                                      "\xe2\x82z"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(gvm_utf8_valid(gvm_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(gvm_utf8_valid(gvm_str(bad[i])));
}

static void hex_both_ways(void **state)
{
    char text[9];
    uint8_t back[4] = {0};
    gvm_hex(text, "\x00\xff\x10\xab", 4);
    assert_string_equal(text, "00ff10ab");
    assert_int_equal(gvm_unhex(back, 4, S("00Ff10aB")), 0);
    assert_memory_equal(back, "\x00\xff\x10\xab", 4);
    assert_int_equal(gvm_unhex(back, 4, S("00ff10a")), -EINVAL);
    assert_int_equal(gvm_unhex(back, 4, S("00ff10ab0")), -EINVAL);
    assert_int_equal(gvm_unhex(back, 4, S("00ff10ag")), -EINVAL);
    assert_memory_equal(back, "\x00\xff\x10\xab", 4);
}

static void base64_of_rfc4648(void **state)
{
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[16], back[16];
        size_t n = 99;
        gvm_b64(text, rows[i][0], strlen(rows[i][0]));
        assert_string_equal(text, rows[i][1]);
        assert_int_equal(gvm_unb64(back, sizeof back, gvm_str(rows[i][1]), &n), 0);
        assert_int_equal(n, strlen(rows[i][0]));
        assert_memory_equal(back, rows[i][0], n);
    }
    static const char *const bad[] = {"Z",      "Zg", "Zg=",  "Zg===",    "Zh==", "Zm9=", "Zm 9v",
                                      "Zm9v\n", "=",  "====", "Zg==Zg==", "Zm-v", "Zm_v", "Z=g="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char back[16];
        size_t n;
        assert_int_equal(gvm_unb64(back, sizeof back, gvm_str(bad[i]), &n), -EINVAL);
    }
    char tiny[2];
    size_t n;
    assert_int_equal(gvm_unb64(tiny, sizeof tiny, S("Zm9v"), &n), -ENOBUFS);
    uint8_t raw[256], again[256];
    char text[GVM_B64_LEN(256) + 1];
    for (size_t i = 0; i < 256; i++)
        raw[i] = (uint8_t)i;
    for (size_t len = 0; len <= 256; len++) {
        gvm_b64(text, raw, len);
        assert_int_equal(strlen(text), GVM_B64_LEN(len));
        assert_int_equal(gvm_unb64(again, sizeof again, gvm_str(text), &n), 0);
        assert_int_equal(n, len);
        assert_memory_equal(raw, again, len);
    }
}

static void times(void **state)
{
    char text[GVM_TIME_TEXT];
    int64_t ns = -1;
    gvm_time_text(text, 0);
    assert_string_equal(text, "1970-01-01T00:00:00.000000000Z");
    gvm_time_text(text, -1);
    assert_string_equal(text, "1969-12-31T23:59:59.999999999Z");
    gvm_time_text(text, 951782400123456789);
    assert_string_equal(text, "2000-02-29T00:00:00.123456789Z");
    gvm_time_text(text, INT64_MAX);
    assert_string_equal(text, "2262-04-11T23:47:16.854775807Z");
    gvm_time_text(text, INT64_MIN);
    assert_string_equal(text, "1677-09-21T00:12:43.145224192Z");
    assert_int_equal(gvm_time_parse(S("2000-02-29T01:30:00.5+01:30"), &ns), 0);
    assert_true(ns == 951782400500000000);
    assert_int_equal(gvm_time_parse(S("2026-11-23t23:13:00z"), &ns), 0);
    static const char *const bad[] = {"",
                                      "2026-11-23",
                                      "2026-11-23T23:13:00",
                                      "2026-13-01T00:00:00Z",
                                      "2026-02-29T00:00:00Z",
                                      "2026-00-01T00:00:00Z",
                                      "2026-01-00T00:00:00Z",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:60:00Z",
                                      "2026-01-01T00:00:61Z",
                                      "2026-01-01T00:00:00.Z",
                                      "2026-01-01T00:00:00+1:00",
                                      "2026-01-01T00:00:00Zx",
                                      "2026-01-01 00:00:00Z",
                                      "3000-01-01T00:00:00Z",
                                      "0001-01-01T00:00:00Z",
                                      "2026-01-01T00:00:00+24:00"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(gvm_time_parse(gvm_str(bad[i]), &ns), -EINVAL);
    for (int64_t t = -9000000000000000000; t < 9000000000000000000; t += 97777777777777777) {
        int64_t back;
        gvm_time_text(text, t);
        assert_int_equal(gvm_time_parse(gvm_str(text), &back), 0);
        assert_true(back == t);
    }
}

static void errors_are_one_printable_line(void **state)
{
    struct gvm_err err = {0};
    assert_int_equal(gvm_err_set(&err, EINVAL, "bad %s", "line\nwith \x1b[31m"), -EINVAL);
    assert_int_equal(err.code, EINVAL);
    assert_string_equal(err.text, "bad line?with ?[31m");
    assert_int_equal(gvm_err_wrap(&err, -EINVAL, "step %d", 3), -EINVAL);
    assert_string_equal(err.text, "step 3: bad line?with ?[31m");
    gvm_err_sys(&err, ENOENT, "file");
    assert_string_equal(err.text, "file: No such file or directory");
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    gvm_err_set(&err, EIO, "%s", big);
    assert_int_equal(strlen(err.text), GVM_ERR_TEXT - 1);
    gvm_err_wrap(&err, -EIO, "outer");
    assert_int_equal(strlen(err.text), GVM_ERR_TEXT - 1);
    assert_int_equal(gvm_err_set(NULL, EIO, "nobody listens"), -EIO);
    assert_int_equal(gvm_err_wrap(NULL, -EIO, "nobody listens"), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_strict),
        cmocka_unit_test(durations_and_sizes),
        cmocka_unit_test(cutting_and_trimming),
        cmocka_unit_test(globs),
        cmocka_unit_test(utf8_as_rfc3629),
        cmocka_unit_test(hex_both_ways),
        cmocka_unit_test(base64_of_rfc4648),
        cmocka_unit_test(times),
        cmocka_unit_test(errors_are_one_printable_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
