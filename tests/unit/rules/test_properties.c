/* Properties that hold for whatever is asked, tried on generated requests:
 *
 *   the canonical form of a path is its own canonical form
 *   no re-spelling of a request that a rule denies is allowed: it is refused, or denied
 *   no re-spelling of a JSON body changes the verdict over it
 *   a verdict depends on its facts alone, not on what was asked before
 *
 * The seed is fixed: a failure can be looked at again. */
#include "ruleset.h"

static uint64_t seed = 88172645463325252ull;

static unsigned rnd(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 20) % n;
}

static const char *pick(const char *const *list, unsigned n)
{
    return list[rnd(n)];
}

/* ---- paths ---- */

static void plain_path(struct gvm_buf *out)
{
    static const char *const names[] = {"admin", "users", "v1", "x", "a.b", "~u", "2024-01"};
    gvm_buf_reset(out);
    for (unsigned n = 1 + rnd(3); n; n--)
        gvm_buf_addf(out, "/%s", pick(names, 7));
}

/* One byte as it is, escaped, or escaped escapes. */
static void spell_byte(struct gvm_buf *out, char c)
{
    if (rnd(3))
        gvm_buf_addc(out, c);
    else if (rnd(4))
        gvm_buf_addf(out, rnd(2) ? "%%%02x" : "%%%02X", (unsigned char)c);
    else
        gvm_buf_addf(out, rnd(2) ? "%%25%02x" : "%%2525%02X", (unsigned char)c);
}

/* The same path as some server would read it. */
static void respell(struct gvm_str path, struct gvm_buf *out)
{
    static const char *const slashes[] = {"/",   "//",    "/./",     "/x/../",
                                          "\\",  "/%2e/", "/;p/../", "/y;q=1/%2E%2e/",
                                          "%2f", "%5c",   "/.;a/",   "/%2e%2f"};
    gvm_buf_reset(out);
    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] == '/')
            gvm_buf_addz(out, i == 0 && rnd(2) ? "/" : pick(slashes, 12));
        else
            spell_byte(out, path.p[i]);
    }
    if (rnd(4) == 0)
        gvm_buf_addz(out, rnd(2) ? ";v=1" : "?q=/public");
    if (gvm_buf_data(out)[0] != '/') { /* a target begins with a slash */
        struct gvm_buf with;
        gvm_buf_init(&with, 4096);
        gvm_buf_addc(&with, '/');
        gvm_buf_adds(&with, gvm_buf_str(out));
        gvm_buf_reset(out);
        gvm_buf_adds(out, gvm_buf_str(&with));
        gvm_buf_done(&with);
    }
}

static void test_respelt_paths(void **state)
{
    struct gvm_buf path, again, rules;
    unsigned refused = 0, denied = 0;
    (void)state;
    gvm_buf_init(&path, 4096);
    gvm_buf_init(&again, 65536);
    gvm_buf_init(&rules, 8192);
    for (int i = 0; i < 300; i++) {
        plain_path(&path);
        gvm_buf_reset(&rules);
        gvm_buf_addf(&rules,
                     "[[rules]]\nmethod='*'\npattern='a.test%.*s'\ndecision='Deny'\n"
                     "[[rules]]\nmethod='*'\npattern='*'\ndecision='Allow'\n",
                     GVM_STR_ARG(gvm_buf_str(&path)));
        struct gvm_ruleset *rs = good(gvm_buf_cstr(&rules));
        for (int k = 0; k < 40; k++) {
            struct gvm_verdict v;
            respell(gvm_buf_str(&path), &again);
            if (!judge(rs, "GET", "A.test.", gvm_buf_cstr(&again), "", &v)) {
                refused++;
                continue;
            }
            denied++;
            if (v.decision != GVM_DENY)
                fail_msg("%.*s is denied, %s is not", GVM_STR_ARG(gvm_buf_str(&path)),
                         gvm_buf_cstr(&again));
        }
        gvm_rules_free(rs);
    }
    assert_true(denied > 5000 && refused + denied == 300 * 40);
    gvm_buf_done(&path);
    gvm_buf_done(&again);
    gvm_buf_done(&rules);
}

static void test_fixed_point(void **state)
{
    static const char bytes[] = "/.%;\\?#abAB25eEfF0 ~\x01\xc3\xa9";
    (void)state;
    for (int i = 0; i < 50000; i++) {
        char target[24] = "/";
        struct gvm_buf one, two, query;
        bool has;
        size_t n = 1 + rnd(20);
        for (size_t k = 1; k < n; k++)
            target[k] = bytes[rnd(sizeof bytes - 1)];
        gvm_buf_init(&one, 4096);
        gvm_buf_init(&two, 4096);
        gvm_buf_init(&query, 4096);
        if (gvm_target_canon((struct gvm_str){target, n}, &one, &query, &has, NULL) == 0) {
            gvm_buf_reset(&query);
            assert_int_equal(gvm_target_canon(gvm_buf_str(&one), &two, &query, &has, NULL), 0);
            if (!gvm_str_eq(gvm_buf_str(&one), gvm_buf_str(&two)) || has)
                fail_msg("%.*s", (int)n, target);
        }
        gvm_buf_done(&one);
        gvm_buf_done(&two);
        gvm_buf_done(&query);
    }
}

/* ---- bodies ---- */

struct member {
    const char *key, *value;
};

static void space(struct gvm_buf *out)
{
    static const char *const spaces[] = {"", "", " ", "\n", "\t \r\n"};
    gvm_buf_addz(out, pick(spaces, 5));
}

/* Letters as they are or as \u escapes of either case. */
static void spell_text(struct gvm_buf *out, const char *s)
{
    gvm_buf_addc(out, '"');
    for (; *s; s++) {
        if (rnd(4))
            gvm_buf_addc(out, *s);
        else
            gvm_buf_addf(out, rnd(2) ? "\\u%04x" : "\\u%04X", (unsigned char)*s);
    }
    gvm_buf_addc(out, '"');
}

static void spell_number(struct gvm_buf *out, const char *s)
{
    static const char *const tails[] = {"", ".0", ".000", "e0", "E+0", "0e-1"};
    gvm_buf_addf(out, "%s%s", s, pick(tails, 6));
}

/* The members in any order. */
static void spell_object(struct gvm_buf *out, const struct member *m, unsigned n)
{
    unsigned from = rnd(n);
    gvm_buf_reset(out);
    space(out);
    gvm_buf_addc(out, '{');
    for (unsigned i = 0; i < n; i++) {
        const struct member *one = &m[(from + i) % n];
        if (i)
            gvm_buf_addc(out, ',');
        space(out);
        spell_text(out, one->key);
        space(out);
        gvm_buf_addc(out, ':');
        space(out);
        if (one->value[0] >= '0' && one->value[0] <= '9')
            spell_number(out, one->value);
        else
            spell_text(out, one->value);
        space(out);
    }
    gvm_buf_addc(out, '}');
    space(out);
}

static enum gvm_decision decide_body(const struct gvm_ruleset *rs, struct gvm_str body)
{
    struct gvm_verdict v;
    struct gvm_content_in in = {.present = true,
                                .whole = true,
                                .raw = body,
                                .max = GVM_INSPECT,
                                .type = GVM_STR("application/json"),
                                .coding = GVM_STR(""),
                                .query = GVM_STR("")};
    struct gvm_facts f = {.method = GVM_STR("POST"),
                          .host = GVM_STR("a.test"),
                          .port = 443,
                          .path = GVM_STR("/"),
                          .now_ns = 1,
                          .content = gvm_content_new(&in)};
    assert_non_null(f.content);
    gvm_rules_decide(rs, &f, &v);
    gvm_content_free(f.content);
    return v.decision;
}

static void test_respelt_bodies(void **state)
{
    static const char *const names[] = {"bob", "alice", "admin", "x"}, *const amounts[] = {
                                                                           "1", "999", "1000",
                                                                           "1001", "5000"};
    struct gvm_ruleset *rs = good(
        "[[rules]]\nmethod='*'\npattern='*'\nbody=[{path='$.amount',op='>',value=1000}]\n"
        "decision='Deny'\n[[rules]]\nmethod='*'\npattern='*'\n"
        "body=[{path='$.to',value=['alice','bob']},{path='$.x',op='absent'}]\ndecision='Allow'\n"
        "[[rules]]\nmethod='*'\npattern='*'\ndecision='RequireApproval'\n");
    struct gvm_buf body;
    unsigned each[GVM_ALLOW + 1] = {0};
    (void)state;
    gvm_buf_init(&body, 65536);
    for (int i = 0; i < 400; i++) {
        struct member m[] = {{"to", pick(names, 4)}, {"amount", pick(amounts, 5)}, {"note", "n"}};
        spell_object(&body, m, 3);
        enum gvm_decision first = decide_body(rs, gvm_buf_str(&body));
        each[first]++;
        for (int k = 0; k < 20; k++) {
            spell_object(&body, m, 3);
            if (decide_body(rs, gvm_buf_str(&body)) != first)
                fail_msg("%s", gvm_buf_cstr(&body));
        }
    }
    assert_true(each[GVM_DENY] && each[GVM_ALLOW] && each[GVM_REQUIRE_APPROVAL]);
    gvm_buf_done(&body);
    gvm_rules_free(rs);
}

/* ---- purity ---- */

static void test_pure(void **state)
{
    static const char *const hosts[] = {"a.test", "b.a.test", "c.test"},
                             *const paths[] = {"/", "/v1/x", "/v1%2Fx", "/admin;p"},
                             *const methods[] = {"GET", "POST", "PURGE"};
    struct gvm_ruleset *rs =
        good("[[rules]]\nmethod='GET'\npattern='a.test/v1/**'\ndecision='Allow'\n"
             "[[rules]]\nmethod='*'\npattern='*.a.test'\npath_regex='^/v\\d'\ndecision='Delay'\n"
             "[[rules]]\nmethod='PURGE'\npattern='*/admin*'\ndecision='Deny'\n"
             "[[rules]]\nmethod='*'\npattern='*'\nlimit='1/s'\ndecision='RequireApproval'\n");
    struct gvm_verdict known[3][4][3];
    (void)state;
    for (int i = 0; i < 3000; i++) {
        unsigned h = rnd(3), p = rnd(4), m = rnd(3);
        struct gvm_verdict v;
        assert_true(judge(rs, methods[m], hosts[h], paths[p], "", &v));
        if (i < 300) {
            known[h][p][m] = v;
            continue;
        }
        assert_int_equal(v.decision, known[h][p][m].decision);
        assert_int_equal(v.rule, known[h][p][m].rule);
    }
    gvm_rules_free(rs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_respelt_paths), cmocka_unit_test(test_fixed_point),
        cmocka_unit_test(test_respelt_bodies), cmocka_unit_test(test_pure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
