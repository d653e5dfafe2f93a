/* Which root fields of which operations, whatever stands around them. */
#include "../unit.h"
#include <errno.h>
#include <stdio.h>
#include "body/body.h"

static char text[1024];

static void see(void *ctx, struct gvm_str field)
{
    size_t n = strlen(text);
    (void)ctx;
    snprintf(text + n, sizeof text - n, " %.*s", GVM_STR_ARG(field));
}

/* "mutation:name root root; query: root" */
static const char *show(const struct gvm_graphql *g)
{
    static const char *const types[] = {"query", "mutation", "subscription"};
    text[0] = '\0';
    for (uint32_t i = 0; i < g->ndefs; i++) {
        size_t n = strlen(text);
        if (g->defs[i].fragment)
            continue;
        snprintf(text + n, sizeof text - n, "%s%s:%.*s", n ? "; " : "", types[g->defs[i].type],
                 GVM_STR_ARG(g->defs[i].name));
        gvm_graphql_roots(g, i, see, NULL);
    }
    return text;
}

static void test_documents(void **state)
{
    static const struct {
        const char *in, *want; /* NULL: refused */
    } rows[] = {
        {"{ a }", "query: a"},
        {"{a b,c}", "query: a b c"},
        {"query { x: a }", "query: a"},
        {"mutation M($v: Int = 3, $w: [T!]! = [{a: \"}\"}]) @d(x: \"{\") { t(v: $v) { id } u }",
         "mutation:M t u"},
        {"{ a { b c { d } } e }", "query: a e"},
        {"query A { a } mutation B { b }", "query:A a; mutation:B b"},
        {"{ ...F } fragment F on Q { a ...G } fragment G on Q { b }", "query: a b"},
        {"{ ... on Q { a } ... @include(if: true) { b } ... { c { d } } }", "query: a b c"},
        {"{ a { ...F } } fragment F on T { hidden }", "query: a"},
        {"{ a(x: \"\"\" \\\"\"\" \"\"\") transferFunds }", "query: a transferFunds"},
        {"{ a(s: \"\\\"} {\") b }", "query: a b"},
        {"{ a # } b\n c }", "query: a c"},
        {"{ a # } b\r c }", "query: a c"},
        {"\xef\xbb\xbf{ a }", "query: a"},
        {"subscription S { s }", "subscription:S s"},
        {"{ query mutation fragment on }", "query: query mutation fragment on"},
        {"{ a(on: on, b: null, c: true, d: E, e: -1.5e3, f: {x: [1 2]}) }", "query: a"},
        {"{ ...F } fragment F on Q { ...F a }", "query: a"}, /* a circle */
        {"{ a @skip(if: $x) @b { c } d }", "query: a d"},
        {"query ($x: Int) { a }", "query: a"},
        {"", NULL},
        {"{", NULL},
        {"{ }", NULL},
        {"{ a { } }", NULL},
        {"{ a } }", NULL},
        {"{ a(x: ] }", NULL},
        {"{ a(x: \"y }", NULL},
        {"{ a(x: \"\"\"y\"\" }", NULL},
        {"a", NULL},
        {"query", NULL},
        {"type T { a: Int }", NULL},
        {"extend type T { a: Int }", NULL},
        {"{ ...F }", NULL},
        {"{ ...F } fragment F on Q { a } fragment F on Q { b }", NULL},
        {"fragment on on Q { a }", NULL},
        {"{ a: }", NULL},
        {"{ a ? }", NULL},
        {"{ a(x: 1b) }", NULL},
        {"{ ... on { a } }", NULL},
        {"{ a {b} {c} }", NULL},
        {"{ ...F {a} } fragment F on Q { b }", NULL},
        {"{ a \x01 }", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gvm_arena *a = gvm_arena_new(1u << 20);
        struct gvm_graphql g;
        struct gvm_err err = {0};
        int r = gvm_graphql_parse(a, gvm_str(rows[i].in), &g, &err);
        if ((r == 0) != (rows[i].want != NULL))
            fail_msg("%s: %d %s", rows[i].in, r, err.text);
        if (r == 0 && strcmp(show(&g), rows[i].want) != 0)
            fail_msg("%s: \"%s\", not \"%s\"", rows[i].in, text, rows[i].want);
        gvm_arena_free(a);
    }
}

static int repeat(const char *head, const char *unit, unsigned n, const char *tail)
{
    struct gvm_arena *a = gvm_arena_new(64u << 20);
    struct gvm_buf b;
    struct gvm_graphql g;
    gvm_buf_init(&b, 8u << 20);
    gvm_buf_addz(&b, head);
    for (unsigned i = 0; i < n; i++)
        gvm_buf_addz(&b, unit);
    gvm_buf_addz(&b, tail);
    int r = gvm_graphql_parse(a, gvm_buf_str(&b), &g, NULL);
    gvm_buf_done(&b);
    gvm_arena_free(a);
    return r;
}

static void test_bounds(void **state)
{
    (void)state;
    assert_int_equal(repeat("{", "a ", 9000, "}"), 0);
    assert_int_equal(repeat("{", "a ", 11000, "}"), -E2BIG);
    assert_int_equal(repeat("", "{a", 300, ""), -E2BIG);
    assert_int_equal(repeat("{a(x:", "[", 300, ""), -E2BIG);
    assert_int_equal(repeat("", "query Q {a} ", 600, ""), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_documents),
                                       cmocka_unit_test(test_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
