/* What an entry says of itself, whatever a client made it say; and filters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "index/index.h"

static struct gvm_buf scratch;

static struct gvm_index_facts read_line(const char *line)
{
    struct gvm_index_facts f;
    gvm_index_facts(gvm_str(line), &scratch, &f);
    return f;
}

#define EQ(got, want) assert_true(gvm_str_eqz((got), (want)))

static void test_plain(void **state)
{
    struct gvm_index_facts f =
        read_line("{\"v\":1,\"t\":\"2026-11-24T10:00:00.000000001Z\",\"kind\":\"http.outcome\","
                  "\"run\":\"R\",\"agent\":\"a\","
                  "\"id\":\"R.1\",\"bytes_out\":12,\"bytes_in\":9007199254740992,\"ms\":3,"
                  "\"llm\":{\"model\":\"m\",\"tokens_in\":5,\"tokens_out\":7,\"cost\":0.0125}}");
    assert_true(f.whole);
    assert_int_equal(f.t % 1000000000, 1);
    EQ(f.kind, "http.outcome");
    EQ(f.run, "R");
    EQ(f.agent, "a");
    EQ(f.id, "R.1");
    EQ(f.host, "");
    assert_int_equal(f.bytes_out, 12);
    assert_int_equal(f.bytes_in, INT64_C(9007199254740992));
    assert_true(f.llm);
    assert_int_equal(f.tokens_in + f.tokens_out, 12);
    assert_int_equal(f.cost_micro, 12500);
}

/* Row L10: what a client said stands under "client" and is nobody's run, agent, kind or id. */
static void test_client_text_claims_nothing(void **state)
{
    struct gvm_index_facts f =
        read_line("{\"v\":1,\"t\":\"x\",\"kind\":\"http.refused\",\"client\":{\"kind\":\"run.end\","
                  "\"run\":\"other\",\"agent\":\"boss\","
                  "\"id\":\"other.1\",\"host\":\"good\",\"decision\":\"Allow\",\"a\":[{\"run\":"
                  "\"x\"}]},\"run\":\"R\"}");
    assert_true(f.whole);
    assert_int_equal(f.t, INT64_MIN);
    EQ(f.kind, "http.refused");
    EQ(f.run, "R");
    EQ(f.agent, "");
    EQ(f.id, "");
    EQ(f.host, "");
    EQ(f.decision, "");
}

static void test_host_or_name(void **state)
{
    EQ(read_line("{\"name\":\"n\"}").host, "n");
    EQ(read_line("{\"name\":\"n\",\"host\":\"h\"}").host, "h");
    EQ(read_line("{\"host\":\"h\",\"name\":\"n\"}").host, "h");
    EQ(read_line("{\"name\":\"n\",\"host\":null}").host, "");
    EQ(read_line("{\"host\":5}").host, "");
}

static void test_escapes(void **state)
{
    struct gvm_index_facts f =
        read_line("{\"agent\":\"\\u0061\\n\\\"\",\"ki\\u006ed\":\"k\\u0000x\",\"host\":"
                  "\"\\ud83d\\ude00\",\"run\":\"plain\"}");
    assert_true(f.whole);
    EQ(f.agent, "a\n\"");
    assert_int_equal(f.kind.n, 3);
    assert_memory_equal(f.kind.p, "k\0x", 3);
    EQ(f.host, "\xf0\x9f\x98\x80");
    EQ(f.run, "plain");
}

static void test_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "5",
                                      "[]",
                                      "{",
                                      "{}x",
                                      "{}{}",
                                      "{\"kind\":\"a\",\"kind\":\"b\"}",
                                      "{\"kind\":\"a\",\"k\\u0069nd\":\"b\"}",
                                      "{\"run\":\"\\ud800\"}",
                                      "{\"llm\":{\"cost\":1,\"cost\":2}}",
                                      "{\"kind\":\"a\",}",
                                      "{\"id\":[}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct gvm_index_facts f = read_line(bad[i]);
        if (f.whole || f.kind.n || f.run.n || f.t != INT64_MIN)
            fail_msg("taken: %s", bad[i]);
    }
    assert_true(read_line("{}").whole);
    assert_true(read_line("{\"llm\":5,\"x\":[[{}]]}").whole);
}

static void test_numbers(void **state)
{
    static const char *const none[] = {"-1",   "1.5", "1e3", "\"7\"", "9007199254740993",
                                       "null", "[1]", "{}"};
    char line[128];
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        (void)snprintf(line, sizeof line, "{\"bytes_in\":%s,\"kind\":\"k\"}", none[i]);
        struct gvm_index_facts f = read_line(line);
        assert_true(f.whole);
        assert_int_equal(f.bytes_in, 0);
        EQ(f.kind, "k");
    }
    assert_int_equal(read_line("{\"llm\":{\"cost\":3}}").cost_micro, 3000000);
    assert_int_equal(read_line("{\"llm\":{\"cost\":0.1234567}}").cost_micro, 123456);
    assert_int_equal(read_line("{\"llm\":{\"cost\":1e9}}").cost_micro, 0);
    assert_int_equal(read_line("{\"llm\":{\"cost\":-2}}").cost_micro, 0);
}

static bool lets(struct gvm_index_filter f)
{
    struct gvm_index_facts e =
        read_line("{\"t\":\"1970-01-01T00:00:10Z\",\"kind\":\"http.decision\",\"run\":\"20261124T1-"
                  "ab\",\"agent\":\"coder\","
                  "\"host\":\"api.example.com\",\"decision\":\"Deny\",\"id\":\"20261124T1-ab.7\"}");
    return gvm_index_matches(&f, &e);
}

static void test_filter(void **state)
{
    typedef struct gvm_index_filter F;
    assert_true(lets((F){0}));
    assert_true(lets((F){.run = "2026"}));
    assert_false(lets((F){.run = "2027"}));
    assert_true(lets((F){.kind = "http.*"}));
    assert_false(lets((F){.kind = "http"}));
    assert_true(lets((F){.host = "*.com"}));
    assert_false(lets((F){.host = "example.com"}));
    assert_true(lets((F){.decision = "deny"}));
    assert_true(lets((F){.agent = "c?der"}));
    assert_true(lets((F){.request = "20261124T1-ab.7"}));
    assert_false(lets((F){.request = "20261124T1-ab.70"}));
    assert_true(lets((F){.since_ns = INT64_C(10000000000)}));
    assert_false(lets((F){.since_ns = INT64_C(10000000001)}));
    assert_false(lets((F){.until_ns = INT64_C(10000000000)}));
    struct gvm_index_facts broken = read_line("nothing");
    assert_true(gvm_index_matches(&(F){0}, &broken)); /* shown, so that somebody sees it */
    assert_false(gvm_index_matches(&(F){.kind = "http.*"}, &broken));
}

int main(void)
{
    gvm_buf_init(&scratch, GVM_MAX_ENTRY + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),        cmocka_unit_test(test_client_text_claims_nothing),
        cmocka_unit_test(test_host_or_name), cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_filter),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    gvm_buf_done(&scratch);
    return r;
}
