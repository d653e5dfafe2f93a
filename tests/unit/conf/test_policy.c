/* The policy text: what comes back is what went in, and nothing half-understood comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include "conf/conf.h"

static const char text[] =
    "[policy]\ndefault = { type = \"RequireApproval\", reason = \"ask \\\"me\\\" \xc3\xa4\" }\n"
    "[audit]\nmode = \"strict\"\n[timeouts]\nfirst_byte = \"7s\"\npool_idle = \"8s\"\npool_life = "
    "\"9m\"\n"
    "[upstream.resolve]\n\"a.test\" = \"127.0.0.1:9443\"\n[filesystem]\nhide = [\"x\"]\n"
    "[[rules]]\nname = \"one\"\nmethod = [\"GET\", \"QUERY\"]\npattern = \"a.test/x/*\"\nprivate = "
    "true\n"
    "agent = \"b*\"\nexpires_at = 1969-01-01T00:00:00Z\npath_regex = \"^/x\\\\d\"\n"
    "decision = { type = \"Delay\", milliseconds = 600000 }\n"
    "[[rules]]\nmethod = \"*\"\npattern = \"b\"\nintercept = \"none\"\ndecision = \"Allow\"\n"
    "[[rules]]\npattern = \"c:22\"\nprotocol = \"tcp\"\ndecision = \"Deny\"\n"
    "[[rules]]\nmethod = \"POST\"\npattern = \"d\"\ndecision = \"Deny\"\nlimit = \"10MB/h\"\n"
    "on_limit = { type = \"Delay\", milliseconds = 5 }\nunverifiable = \"RequireApproval\"\n"
    "query = { name = \"q\", op = \"regex\", value = [\"a\", \"b\"] }\n"
    "header = [{ name = \"h\", op = \"exists\" }, { name = \"i\", value = \"\" }]\n"
    "body = [{ path = \"$.a\", op = \">=\", value = 0.1 }, { path = \"$.b\", value = [1, true, "
    "\"x\"] }]\n"
    "form = { name = \"f\", op = \"glob\", value = \"*\" }\nmax_body_bytes = 77\n"
    "graphql = { operation = \"mutation\", name = \"N\", field = [\"x\", \"y*\"] }\n"
    "mcp = { method = \"m\", tool = \"t\", args = { path = \"$..z\", op = \"absent\" } }\n"
    "git = { push = \"refs/*\", repo = [\"o/*\"], force = true, delete = false }\n"
    "grpc = [\"a.B/C\", \"a.D/*\"]\n"
    "payload_field = \"p\"\npayload_match = [\"v\"]\npayload_query_alias_match = [\"w\"]\n"
    "condition = { kind = \"time_window\", window = \"23:00-01:30\", tz = \"Europe/Berlin\", "
    "outside = true }\n";

static struct gvm_conf *parse(const char *t)
{
    struct gvm_conf *c = NULL;
    struct gvm_err err = {0};
    if (gvm_conf_parse(gvm_str(t), "gvm.toml", NULL, &c, &err) < 0)
        fail_msg("%s", err.text);
    return c;
}

static void encode(const struct gvm_conf *c, struct gvm_buf *b)
{
    gvm_buf_init(b, GVM_MAX_POLICY);
    assert_int_equal(gvm_policy_encode(c, b), 0);
}

static void test_round_trip(void **state)
{
    struct gvm_buf one, two;
    struct gvm_conf *back = NULL;
    struct gvm_err err = {0};
    (void)state;
    struct gvm_conf *c = parse(text);
    encode(c, &one);
    if (gvm_policy_decode(gvm_buf_str(&one), &back, &err) < 0)
        fail_msg("%s", err.text);
    encode(back, &two);
    assert_true(gvm_str_eq(gvm_buf_str(&one), gvm_buf_str(&two)));
    assert_string_equal(c->hash, back->hash);
    assert_int_equal(back->nrules, 4);
    const struct gvm_conf_narrow *n = back->rules[3].narrow;
    assert_true(gvm_str_eqz(n->body.list[0].values[0].text, "0.1"));
    assert_int_equal(n->body.list[1].nvalues, 3);
    assert_int_equal(n->limit, 10 << 20);
    assert_true(n->grpc.n == 2 && gvm_str_eqz(n->grpc.list[1], "a.D/*"));
    assert_true(n->git_force == GVM_YES && n->git_delete == GVM_NO && n->zone.n > 0 &&
                n->zone.rule.n);
    const struct gvm_conf_rule *a = &c->rules[0], *b = &back->rules[0];
    assert_true(gvm_str_eq(a->name, b->name) && gvm_str_eq(a->path_regex, b->path_regex));
    assert_true(a->expires_ns == b->expires_ns && a->expires_ns < 0);
    assert_int_equal(b->nmethods, 2);
    assert_true(b->private_ok && b->intercept && !back->rules[1].intercept);
    assert_int_equal(back->rules[2].protocol, GVM_PROTO_TCP);
    assert_int_equal(back->dflt.type, GVM_REQUIRE_APPROVAL);
    assert_true(gvm_str_eq(c->dflt.reason, back->dflt.reason));
    assert_int_equal(back->timeouts.first_byte, 7000);
    assert_int_equal(back->timeouts.pool_idle, 8000);
    assert_int_equal(back->timeouts.pool_life, 540000);
    assert_int_equal(back->pins[0].port, 9443);
    gvm_buf_done(&one);
    gvm_buf_done(&two);
    gvm_conf_free(c);
    gvm_conf_free(back);
}

static void test_default(void **state)
{
    struct gvm_conf *c = NULL, *back = NULL;
    struct gvm_buf b;
    (void)state;
    assert_int_equal(gvm_conf_default(&c, NULL), 0);
    encode(c, &b);
    assert_int_equal(gvm_policy_decode(gvm_buf_str(&b), &back, NULL), 0);
    assert_int_equal(back->dflt.type, GVM_DELAY);
    assert_int_equal(back->dflt.delay_ms, 300);
    assert_string_equal(c->hash, back->hash);
    gvm_buf_done(&b);
    gvm_conf_free(c);
    gvm_conf_free(back);
}

/* Each takes the good text and breaks one thing. */
static const struct {
    const char *from, *to;
} breaks[] = {
    {"\"v\":1", "\"v\":2"},
    {"\"v\":1,", ""},
    {"\"type\":\"Deny\"", "\"type\":\"deny\""},
    {"\"type\":\"Deny\"", "\"kind\":\"Deny\""},
    {"\"protocol\":\"tcp\"", "\"protocol\":\"udp\""},
    {"\"protocol\":\"tcp\"", "\"protocol\":6"},
    {"\"intercept\":false", "\"intercept\":0"},
    {"\"private\":true", "\"private\":\"yes\""},
    {"\"expires_ns\":-", "\"expires_ns\":1.5e"},
    {"\"ms\":600000", "\"ms\":600001"},
    {"\"ms\":600000", "\"ms\":0"},
    {"\"ms\":600000", "\"mss\":1"},
    {"\"methods\":[\"GET\",\"QUERY\"]", "\"methods\":[]"},
    {"\"methods\":[\"GET\",\"QUERY\"]", "\"methods\":\"GET\""},
    {"\"name\":\"one\"", "\"name\":\"\""},
    {"\"name\":\"one\"", "\"name\":\"one\",\"payload_field\":\"x\""},
    {"\"pattern\":\"b\"", "\"pattern\":null"},
    {"\"audit\":\"strict\"", "\"audit\":\"loose\""},
    {"\"port\":9443", "\"port\":70000"},
    {"\"rules\":[", "\"rulez\":["},
    {"]}", "]"},
};

static void test_broken(void **state)
{
    struct gvm_conf *c = parse(text), *back = NULL;
    struct gvm_buf good;
    (void)state;
    encode(c, &good);
    for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
        struct gvm_buf bad;
        struct gvm_err err = {0};
        const char *z = gvm_buf_cstr(&good), *at = strstr(z, breaks[i].from);
        if (strcmp(breaks[i].from, "]}") == 0)
            at = z + good.len - 2;
        if (!at)
            fail_msg("%s is not in %s", breaks[i].from, z);
        gvm_buf_init(&bad, GVM_MAX_POLICY);
        gvm_buf_add(&bad, z, (size_t)(at - z));
        gvm_buf_addz(&bad, breaks[i].to);
        gvm_buf_addz(&bad, at + strlen(breaks[i].from));
        if (gvm_policy_decode(gvm_buf_str(&bad), &back, &err) >= 0)
            fail_msg("%s -> %s was accepted", breaks[i].from, breaks[i].to);
        assert_int_not_equal(err.code, 0);
        assert_null(back);
        gvm_buf_done(&bad);
    }
    gvm_buf_done(&good);
    gvm_conf_free(c);
}

static void test_no_secrets(void **state)
{
    struct gvm_buf b;
    (void)state;
    struct gvm_conf *c = parse("[credentials.\"a.test\"]\ntype = \"Bearer\"\ntoken = \"s3cr3t\"\n");
    encode(c, &b);
    assert_null(strstr(gvm_buf_cstr(&b), "s3cr3t"));
    assert_null(strstr(gvm_buf_cstr(&b), "a.test"));
    gvm_buf_done(&b);
    gvm_conf_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_default),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_no_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
