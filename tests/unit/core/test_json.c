#include "../unit.h"

#include <errno.h>
#include <stdio.h>

#include "core/core.h"

static int parse(struct gvm_str text, struct gvm_json **ret, struct gvm_arena **ret_arena)
{
    *ret_arena = gvm_arena_new(4 << 20);
    struct gvm_err err = {0};
    int r = gvm_json_parse(*ret_arena, text, ret, &err);
    assert_int_equal(err.code, r < 0 ? -r : 0);
    return r;
}

static int verdict(const char *text)
{
    struct gvm_arena *a;
    struct gvm_json *v;
    int r = parse(gvm_str(text), &v, &a);
    gvm_arena_free(a);
    return r;
}

static void accepts_all_of_rfc8259(void **state)
{
    static const char *const good[] = {
        "0",
        "-0",
        "-1.5e+10",
        "1E-2",
        "0.0",
        "123456789012345678901234567890",
        "true",
        "false",
        "null",
        "\"\"",
        "\"\\u0000\"",
        "\"\\ud83d\\ude00\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\x7f\"",
        "[]",
        "{}",
        " [ 1 , 2 ] ",
        "\t{\r\n\"a\" : [ { } ] }\n",
        "{\"\":\"\"}",
        "\"\xf4\x8f\xbf\xbf\"",
        "[[[[]]]]",
        "{\"a\":1,\"A\":2}",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(verdict(good[i]), 0);
}

static void refuses_everything_else(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "[",
        "]",
        "{",
        "}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" 1}",
        "{1:1}",
        "{\"a\":1 \"b\":2}",
        "[1]]",
        "[1] x",
        "1 2",
        "nul",
        "nulll",
        "True",
        "TRUE",
        "01",
        "-",
        "-01",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "1_0",
        "NaN",
        "Infinity",
        "'a'",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800x\"",
        "\"\x01\"",
        "\"\n\"",
        "\"\t\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "// c\n1",
        "/* c */ 1",
        "[1}",
        "{\"a\":1]",
        "\xef\xbb\xbf[]",
        "[\"a\":1]",
        "[1:2]",
        "\v1",
        "\f[]",
        "[1],",
        "{\"a\":1}{}",
        "truefalse",
        "[true false]",
        "\"a\"\"b\"",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (verdict(bad[i]) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
    }
    assert_int_equal(verdict("{\"a\":1,\"a\":2}"), -EEXIST);
    assert_int_equal(verdict("{\"a\":1,\"\\u0061\":2}"), -EEXIST); /* equal once unescaped */
    assert_int_equal(verdict("[{\"x\":{\"a\":1,\"b\":2,\"a\":3}}]"), -EEXIST);
    struct gvm_arena *a;
    struct gvm_json *v;
    assert_int_equal(parse((struct gvm_str){"[\0]", 3}, &v, &a), -EINVAL);
    gvm_arena_free(a);
}

static void duplicates_in_large_objects(void **state)
{
    struct gvm_buf b;
    gvm_buf_init(&b, 1 << 20);
    (void)gvm_buf_addz(&b, "{");
    for (int i = 0; i < 2000; i++)
        (void)gvm_buf_addf(&b, "\"k%d\":%d,", i, i);
    struct gvm_buf twice;
    gvm_buf_init(&twice, 1 << 20);
    (void)gvm_buf_adds(&twice, gvm_buf_str(&b));
    (void)gvm_buf_addz(&b, "\"last\":1}");
    (void)gvm_buf_addz(&twice, "\"k77\":1}");
    assert_int_equal(verdict(gvm_buf_cstr(&b)), 0);
    assert_int_equal(verdict(gvm_buf_cstr(&twice)), -EEXIST);
    gvm_buf_done(&b);
    gvm_buf_done(&twice);
}

static void depth_is_bounded(void **state)
{
    char text[2 * GVM_MAX_JSON_DEPTH + 3] = "";
    memset(text, '[', GVM_MAX_JSON_DEPTH);
    memset(text + GVM_MAX_JSON_DEPTH, ']', GVM_MAX_JSON_DEPTH);
    assert_int_equal(verdict(text), 0);
    memset(text, '[', GVM_MAX_JSON_DEPTH + 1);
    memset(text + GVM_MAX_JSON_DEPTH + 1, ']', GVM_MAX_JSON_DEPTH + 1);
    assert_int_equal(verdict(text), -E2BIG);
    static char deep[100001];
    memset(deep, '[', 100000);
    assert_int_equal(verdict(deep), -E2BIG);
}

static void errors_stick(void **state)
{
    struct gvm_json_reader r;
    struct gvm_json_token t;
    gvm_json_open(&r, GVM_STR("  x"));
    assert_int_equal(gvm_json_next(&r, &t), -EINVAL);
    assert_int_equal(r.pos, 2);
    assert_int_equal(gvm_json_next(&r, &t), -EINVAL);
    gvm_json_open(&r, GVM_STR("   "));
    assert_int_equal(gvm_json_next(&r, &t), -EINVAL);
    assert_int_equal(gvm_json_next(&r, &t), -EINVAL);
}

static void offsets_point_at_the_source(void **state)
{
    struct gvm_str text = GVM_STR(" {\"k\": [\"v\", 12]} ");
    static const struct {
        enum gvm_json_type type;
        size_t off;
        const char *raw;
    } want[] = {
        {GVM_JSON_OBJECT, 1, "{"},      {GVM_JSON_KEY, 2, "k"},      {GVM_JSON_ARRAY, 7, "["},
        {GVM_JSON_STRING, 8, "v"},      {GVM_JSON_NUMBER, 13, "12"}, {GVM_JSON_ARRAY_END, 15, "]"},
        {GVM_JSON_OBJECT_END, 16, "}"}, {GVM_JSON_END, 18, ""},
    };
    struct gvm_json_reader r;
    struct gvm_json_token t;
    gvm_json_open(&r, text);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_int_equal(gvm_json_next(&r, &t), 0);
        assert_int_equal(t.type, want[i].type);
        assert_int_equal(t.off, want[i].off);
        assert_str(t.raw, want[i].raw);
    }
}

static void values_by_key(void **state)
{
    struct gvm_arena *a;
    struct gvm_json *v;
    const char *text =
        "{\"s\":\"a\\n\\u00e9\",\"n\":-42,\"max\":9223372036854775807,\"min\":-9223372036854775808,"
        "\"over\":9223372036854775808,\"f\":1.5,\"t\":true,\"z\":\"a\\u0000b\",\"o\":{ \"x\" : "
        "[1,2] },"
        "\"u\\u0041\":null}";
    assert_int_equal(parse(gvm_str(text), &v, &a), 0);
    assert_string_equal(gvm_json_text(v, "s", "?"), "a\n\xc3\xa9");
    assert_string_equal(gvm_json_text(v, "n", "?"), "?");
    assert_string_equal(gvm_json_text(v, "none", "?"), "?");
    assert_string_equal(gvm_json_text(v, "z", "?"), "?"); /* would be cut short at the NUL */
    assert_int_equal(gvm_json_int(v, "n", 0), -42);
    assert_true(gvm_json_int(v, "max", 0) == INT64_MAX);
    assert_true(gvm_json_int(v, "min", 0) == INT64_MIN);
    assert_int_equal(gvm_json_int(v, "over", 5), 5);
    assert_int_equal(gvm_json_int(v, "f", 5), 5);
    assert_int_equal(gvm_json_int(v, "s", 5), 5);
    assert_true(gvm_json_bool(v, "t", false));
    assert_true(gvm_json_bool(v, "n", true));
    assert_str(gvm_json_get(v, "o")->raw, "{ \"x\" : [1,2] }");
    assert_str(gvm_json_get(gvm_json_get(v, "o"), "x")->raw, "[1,2]");
    assert_int_equal(gvm_json_get(v, "uA")->type, GVM_JSON_NULL);
    assert_null(gvm_json_get(NULL, "x"));
    assert_null(gvm_json_get(gvm_json_get(v, "s"), "x"));
    gvm_arena_free(a);
}

static void memory_limit_is_an_error(void **state)
{
    struct gvm_arena *a = gvm_arena_new(4096);
    struct gvm_json *v = NULL;
    struct gvm_err err = {0};
    char text[4001] = "[";
    for (int i = 0; i < 1999; i++)
        memcpy(text + 1 + 2 * i, i == 1998 ? "1]" : "1,", 2);
    assert_int_equal(gvm_json_parse(a, gvm_str(text), &v, &err), -ENOMEM);
    assert_null(v);
    gvm_arena_free(a);
}

static void writer_escapes(void **state)
{
    struct gvm_buf b;
    struct gvm_jw w;
    gvm_buf_init(&b, 4096);
    gvm_jw_init(&w, &b);
    gvm_jw_object(&w);
    gvm_jw_kstr(&w, "bytes", (struct gvm_str){"\0\x01\x1f\"\\\b\f\n\r\t\x7f/", 12});
    gvm_jw_kstrz(&w, "c1", "\xc2\x9b");
    gvm_jw_kstrz(&w, "lines", "\xe2\x80\xa8\xe2\x80\xa9");
    gvm_jw_kstrz(&w, "bad", "a\xff\xed\xa0\x80z\xe2\x82");
    gvm_jw_kstrz(&w, "ok", "\xc3\xa9\xf0\x9f\x98\x80");
    gvm_jw_kstrz(&w, "null", NULL);
    gvm_jw_kint(&w, "min", INT64_MIN);
    gvm_jw_kbool(&w, "b", false);
    gvm_jw_key(&w, "list");
    gvm_jw_array(&w);
    gvm_jw_uint(&w, UINT64_MAX);
    gvm_jw_raw(&w, GVM_STR("{}"));
    gvm_jw_array(&w);
    gvm_jw_array_end(&w);
    gvm_jw_array_end(&w);
    gvm_jw_kstr(&w, "empty", (struct gvm_str){NULL, 0});
    gvm_jw_object_end(&w);
    assert_string_equal(
        gvm_buf_cstr(&b),
        "{\"bytes\":\"\\u0000\\u0001\\u001f\\\"\\\\\\b\\f\\n\\r\\t\\u007f/\",\"c1\":\"\\u009b\","
        "\"lines\":\"\\u2028\\u2029\",\"bad\":\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz"
        "\xef\xbf\xbd\xef\xbf\xbd\",\"ok\":\"\xc3\xa9\xf0\x9f\x98\x80\",\"null\":null,"
        "\"min\":-9223372036854775808,\"b\":false,\"list\":[18446744073709551615,{},[]],\"empty\":"
        "\"\"}");
    assert_int_equal(verdict(gvm_buf_cstr(&b)), 0);
    gvm_buf_done(&b);
    gvm_buf_init(&b, 5);
    gvm_jw_init(&w, &b);
    gvm_jw_strz(&w, "longer than five");
    assert_true(b.failed);
    gvm_buf_done(&b);
}

/* Eight bytes are looked at together: none may hide behind its neighbours. */
static void writer_escapes_everywhere(void **state)
{
    for (unsigned c = 0; c < 256; c++) {
        for (unsigned at = 0; at < 19; at++) {
            char text[20];
            struct gvm_buf b;
            struct gvm_jw w;
            memset(text, at % 2 ? '~' : ' ', 19);
            text[at] = (char)c;
            bool special = c < 0x20 || c > 0x7e || c == '"' || c == '\\';
            gvm_buf_init(&b, 200);
            gvm_jw_init(&w, &b);
            gvm_jw_str(&w, (struct gvm_str){text, 19});
            assert_int_equal(b.len == 21 && memcmp(gvm_buf_data(&b) + 1, text, 19) == 0, !special);
            assert_int_equal(verdict(gvm_buf_cstr(&b)), 0);
            gvm_buf_done(&b);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_all_of_rfc8259),
        cmocka_unit_test(refuses_everything_else),
        cmocka_unit_test(duplicates_in_large_objects),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(errors_stick),
        cmocka_unit_test(offsets_point_at_the_source),
        cmocka_unit_test(values_by_key),
        cmocka_unit_test(memory_limit_is_an_error),
        cmocka_unit_test(writer_escapes),
        cmocka_unit_test(writer_escapes_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
