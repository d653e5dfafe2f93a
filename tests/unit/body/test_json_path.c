/* Paths: what they select, what a lax reader would, and what they refuse. */
#include "../unit.h"
#include <errno.h>
#include <stdio.h>
#include "body/body.h"

struct seen {
    char text[256];
};

static void see(void *ctx, const struct gvm_json *v, bool loose)
{
    struct seen *s = ctx;
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%s%s%.*s", n ? " " : "", loose ? "~" : "",
             GVM_STR_ARG(v->raw));
}

static void test_select(void **state)
{
    static const struct {
        const char *path, *json, *want;
        bool gap;
    } rows[] = {
        {"$", "7", "7", false},
        {"$.a", "{\"a\":1}", "1", false},
        {"$.a", "{\"b\":1}", "", true},
        {"$.a", "{\"A\":1}", "~1", true},
        {"$.a", "{\"A\":1,\"a\":2}", "~1 2", false},
        {"$['a']", "{\"a\":1}", "1", false},
        {"$[\"a.b\"].c", "{\"a.b\":{\"c\":3}}", "3", false},
        {"$.a.b", "{\"a\":{\"b\":2}}", "2", false},
        {"$.a.b", "{\"a\":[{\"b\":2}]}", "", true},
        {"$.a[*].b", "{\"a\":[{\"b\":1},{\"b\":2}]}", "1 2", false},
        {"$.a[*].b", "{\"a\":[{\"b\":1},{\"c\":2}]}", "1", true},
        {"$.a[1]", "{\"a\":[5,6,7]}", "6", false},
        {"$.*", "{\"a\":5,\"b\":6}", "5 6", false},
        {"$[*]", "[5,6]", "5 6", false},
        {"$..x", "{\"x\":1,\"y\":{\"x\":2,\"z\":[{\"x\":3}]}}", "1 2 3", false},
        {"$..x.y", "{\"x\":{\"y\":1},\"z\":{\"x\":{\"y\":2}}}", "1 2", false},
        {"$..*", "[1,[2]]", "1 [2] 2", false},
        {"$..x", "{\"X\":1}", "~1", false},
        {"$.a", "[{\"a\":1},{\"a\":2}]", "~1 ~2", true}, /* a batch */
        {"$.a", "[[{\"a\":1}]]", "", true},
        {"$.k\xc3\xa9", "{\"k\\u00e9\":1}", "1", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gvm_arena *a = gvm_arena_new(1u << 20);
        struct gvm_json_path path;
        struct gvm_json *root;
        struct gvm_json_found found;
        struct seen s = {""};
        struct gvm_err err = {0};
        if (gvm_json_path_compile(a, gvm_str(rows[i].path), &path, &err) < 0 ||
            gvm_json_parse(a, gvm_str(rows[i].json), &root, &err) < 0)
            fail_msg("%s: %s", rows[i].path, err.text);
        gvm_json_path_walk(&path, root, see, &s, &found);
        /* depth first, but the order of siblings at two depths is not promised */
        if (strlen(s.text) != strlen(rows[i].want) ||
            (i != 13 && i != 14 && i != 15 && i != 16 && strcmp(s.text, rows[i].want)))
            fail_msg("%s of %s: \"%s\", not \"%s\"", rows[i].path, rows[i].json, s.text,
                     rows[i].want);
        if (found.gap != rows[i].gap)
            fail_msg("%s of %s: gap %d", rows[i].path, rows[i].json, found.gap);
        gvm_arena_free(a);
    }
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "",      "a",    "$.",    "$a",    "$..",        "$.a.",
        "$[",    "$[]",  "$[-1]", "$[a]",  "$['a]",      "$['']",
        "$.a b", "$.a*", "$[1",   "$.[1]", "$[9999999]", "$.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct gvm_arena *a = gvm_arena_new(1u << 20);
        struct gvm_json_path path;
        struct gvm_err err = {0};
        if (gvm_json_path_compile(a, gvm_str(bad[i]), &path, &err) != -EINVAL || !err.text[0])
            fail_msg("%s was taken", bad[i]);
        gvm_arena_free(a);
    }
}

static void count(void *ctx, const struct gvm_json *v, bool loose)
{
    (void)v;
    (void)loose;
    ++*(unsigned *)ctx;
}

/* Wide and deep texts stay within the work that is allowed, and say so when they do not. */
static void test_bounds(void **state)
{
    struct gvm_arena *a = gvm_arena_new(512u << 20);
    struct gvm_buf text;
    struct gvm_json *root;
    struct gvm_json_path path;
    struct gvm_json_found found;
    unsigned n = 0;
    (void)state;
    gvm_buf_init(&text, 8u << 20);
    gvm_buf_addc(&text, '[');
    for (int i = 0; i < 100000; i++)
        gvm_buf_addz(&text, i ? ",1" : "1");
    gvm_buf_addc(&text, ']');
    assert_int_equal(gvm_json_parse(a, gvm_buf_str(&text), &root, NULL), 0);
    assert_int_equal(gvm_json_path_compile(a, GVM_STR("$[*]"), &path, NULL), 0);
    gvm_json_path_walk(&path, root, count, &n, &found);
    assert_int_equal(n, 100000);
    assert_false(found.gave_up);
    gvm_buf_reset(&text);
    for (int i = 0; i < 60; i++)
        gvm_buf_addz(&text, "{\"a\":");
    gvm_buf_addc(&text, '1');
    for (int i = 0; i < 60; i++)
        gvm_buf_addc(&text, '}');
    assert_int_equal(gvm_json_parse(a, gvm_buf_str(&text), &root, NULL), 0);
    assert_int_equal(gvm_json_path_compile(a, GVM_STR("$..a..a..a..a..a..a"), &path, NULL), 0);
    n = 0;
    gvm_json_path_walk(&path, root, count, &n, &found);
    assert_true(found.gave_up);
    gvm_buf_done(&text);
    gvm_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_select),
                                       cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
