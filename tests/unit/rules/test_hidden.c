/* Which rules are reported as hidden, and, as important, which are not. */
#include "ruleset.h"

/* Two rules, one line each: the second is hidden by the first or not. */
static const struct {
    const char *first, *second;
    bool hidden;
} pairs[] = {
    {"method='*'\npattern='*'", "method='GET'\npattern='a.test/x'", true},
    {"method='*'\npattern='{any}/*'", "method='*'\npattern='*'", true},
    {"method='GET'\npattern='*'", "method='*'\npattern='*'", false},
    {"method='GET'\npattern='*'", "method=['GET','HEAD']\npattern='*'", false},
    {"method=['GET','HEAD','FOO']\npattern='*'", "method=['FOO','GET']\npattern='a.test'", true},
    {"method=['GET','BAR']\npattern='*'", "method=['FOO','GET']\npattern='a.test'", false},
    {"method='*'\npattern='*.a.test'", "method='*'\npattern='x.a.test'", true},
    {"method='*'\npattern='*.a.test'", "method='*'\npattern='a.test'", false},
    {"method='*'\npattern='*.a.test'", "method='*'\npattern='*.x.a.test'", true},
    {"method='*'\npattern='*.a.test'", "method='*'\npattern='{y}.a.test'", true},
    {"method='*'\npattern='*.x.a.test'", "method='*'\npattern='*.a.test'", false},
    {"method='*'\npattern='a.test'", "method='*'\npattern='*'", false},
    {"method='*'\npattern='a.test:8080'", "method='*'\npattern='a.test'", false},
    {"method='*'\npattern='a.test'", "method='*'\npattern='a.test:8080'", true},
    {"method='*'\npattern='*\'\nagent='x'", "method='*'\npattern='*'", false},
    {"method='*'\npattern='*'\nagent='x'", "method='*'\npattern='*'\nagent='x'", true},
    {"method='*'\npattern='*'\nagent='x'", "method='*'\npattern='*'\nagent='y'", false},
    {"method='*'\npattern='*'\nexpires_at=2030-01-01T00:00:00Z", "method='*'\npattern='*'", false},
    {"method='*'\npattern='*'\nexpires_at=2030-01-01T00:00:00Z",
     "method='*'\npattern='*'\nexpires_at=2029-01-01T00:00:00Z", true},
    {"method='*'\npattern='*'\nexpires_at=2028-01-01T00:00:00Z",
     "method='*'\npattern='*'\nexpires_at=2029-01-01T00:00:00Z", false},
    /* paths */
    {"method='*'\npattern='a.test/x/*'", "method='*'\npattern='a.test/x/y'", true},
    {"method='*'\npattern='a.test/x/*'", "method='*'\npattern='a.test/x'", false},
    {"method='*'\npattern='a.test/x/**'", "method='*'\npattern='a.test/x'", true},
    {"method='*'\npattern='a.test/x/**'", "method='*'\npattern='a.test/x/*'", true},
    {"method='*'\npattern='a.test/x/**'", "method='*'\npattern='a.test/x*'", false},
    {"method='*'\npattern='a.test/x*'", "method='*'\npattern='a.test/x/**'", true},
    {"method='*'\npattern='a.test/x/*'", "method='*'\npattern='a.test/x/**'", false},
    {"method='*'\npattern='a.test/x/*'", "method='*'\npattern='a.test/x/{id}/y'", true},
    {"method='*'\npattern='a.test/{id}/y'", "method='*'\npattern='a.test/x/y'", true},
    {"method='*'\npattern='a.test/{id}/y'", "method='*'\npattern='a.test/{other}/y'", true},
    {"method='*'\npattern='a.test/{id}/y'", "method='*'\npattern='a.test/{other}/z'", false},
    {"method='*'\npattern='a.test/x'", "method='*'\npattern='a.test/{id}'", false},
    {"method='*'\npattern='a.test/x'", "method='*'\npattern='a.test/x'", true},
    {"method='*'\npattern='a.test/x'", "method='*'\npattern='a.test'", false},
    {"method='*'\npattern='a.test'\npath_regex='x'", "method='*'\npattern='a.test'\npath_regex='x'",
     true},
    {"method='*'\npattern='a.test'\npath_regex='x'",
     "method='*'\npattern='a.test'\npath_regex='xy'", false},
    {"method='*'\npattern='a.test'\npath_regex='x'", "method='*'\npattern='a.test/x'", false},
    {"method='*'\npattern='a.test'", "method='*'\npattern='a.test'\npath_regex='xy'", true},
    /* protocols */
    {"method='*'\npattern='*'", "protocol='tcp'\npattern='a.test:22'", true}, /* it denies */
    {"method='*'\npattern='*/x'", "protocol='tcp'\npattern='a.test:22'", false},
    {"protocol='tcp'\npattern='*'", "method='*'\npattern='a.test'", false},
    {"protocol='tcp'\npattern='*'", "protocol='tcp'\npattern='a.test:22'", true},
    /* a rule that looks further behind one that does not, and the other way round */
    {"method='*'\npattern='a.test'", "method='POST'\npattern='a.test'\nbody={path='$.a',value=1}",
     true},
    {"method='*'\npattern='a.test'", "method='POST'\npattern='a.test'\ngrpc='p.S/M'", true},
    {"method='*'\npattern='a.test'",
     "method='*'\npattern='a.test'\ncondition={kind='time_window',window='01:00-02:00'}", true},
    {"method='*'\npattern='a.test'", "method='*'\npattern='a.test'\nws={text='x'}", false},
    {"method='*'\npattern='a.test'\nbody={path='$.a',value=1}", "method='*'\npattern='a.test'",
     false},
    {"method='*'\npattern='a.test'\ngrpc='p.S/M'", "method='*'\npattern='a.test'", false},
    {"method='*'\npattern='a.test'\ncondition={kind='time_window',window='01:00-02:00'}",
     "method='*'\npattern='a.test'", false},
    /* a limit takes every request; beyond it, it decides as well */
    {"method='*'\npattern='a.test'\nlimit='1/min'", "method='*'\npattern='a.test'", true},
    /* the same thing under another decision may still fire, for what cannot be seen */
    {"method='*'\npattern='a.test'\nbody={path='$.a',value=1}",
     "method='*'\npattern='a.test'\nbody={path='$.a',value=1}", false},
};

/* Two rules that look further and decide the same. */
static const struct {
    const char *first, *second;
    bool hidden;
} twins[] = {
    {"body={path='$.a',value=1}", "body={path='$.a',value=1}", true},
    {"body={path='$.a',value=1}", "body={path='$.a',value=1}\nlimit='1/min'", true},
    {"body={path='$.a',value=1}", "body={path='$.a',value=2}", false},
    {"body={path='$.a',value=1}", "body={path='$.a',value='1'}", false},
    {"body={path='$.a',value=1}", "body={path='$.a',op='>',value=1}", false},
    {"body={path='$.a',value=1}", "body=[{path='$.a',value=1},{path='$.b',value=1}]", false},
    {"body={path='$.a',value=1}", "query={name='$.a',value=1}", false},
    {"body={path='$.a',value=1}", "body={path='$.a',value=1}\nunverifiable='next'", false},
    {"body={path='$.a',value=1}", "body={path='$.a',value=1}\nmax_body_bytes=9", false},
    {"mcp={tool='a'}", "mcp={tool='a'}", true},
    {"mcp={tool=['a','b']}", "mcp={tool='a'}", false},
    {"git={repo='o/*'}", "git={repo='o/*'}", true},
    {"git={push='refs/*'}", "git={push='refs/*',force=true}", false},
    {"grpc='p.S/*'", "grpc='p.S/*'", true},
    {"grpc='p.S/*'", "grpc='p.S/M'", false},
    {"ws={text='x'}", "ws={text='x'}", true},
    {"ws={text='x'}", "ws={text='x',direction='send'}", false},
    {"condition={kind='time_window',window='01:00-02:00'}",
     "condition={kind='time_window',window='01:00-02:00'}", true},
    {"condition={kind='time_window',window='01:00-02:00'}",
     "condition={kind='time_window',window='01:00-02:00',outside=true}", false},
    {"condition={kind='time_window',window='01:00-02:00'}",
     "condition={kind='time_window',window='01:00-02:00',tz='Asia/Tokyo'}", false},
};

static void test_twins(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof twins / sizeof *twins; i++) {
        char text[800];
        struct gvm_hidden_rule h[4];
        (void)snprintf(text, sizeof text,
                       "[[rules]]\nmethod='*'\npattern='*.test'\n%s\ndecision='Deny'\n"
                       "[[rules]]\nmethod='POST'\npattern='a.test/x'\n%s\ndecision='Deny'\n",
                       twins[i].first, twins[i].second);
        struct gvm_ruleset *rs = good(text);
        if (gvm_rules_hidden(rs, h, 4) != (twins[i].hidden ? 1u : 0u))
            fail_msg("case %zu in\n%s", i, text);
        gvm_rules_free(rs);
    }
}

static void test_pairs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char text[600];
        struct gvm_hidden_rule h[4];
        (void)snprintf(text, sizeof text,
                       "[[rules]]\n%s\ndecision='Deny'\n[[rules]]\n%s\ndecision='Allow'\n",
                       pairs[i].first, pairs[i].second);
        struct gvm_ruleset *rs = good(text);
        size_t n = gvm_rules_hidden(rs, h, 4);
        if (n != (pairs[i].hidden ? 1u : 0u))
            fail_msg("case %zu: %zu hidden in\n%s", i, n, text);
        if (n)
            assert_true(h[0].rule == 1 && h[0].by == 0);
        gvm_rules_free(rs);
    }
}

/* The report names the first of several, and stops at cap. */
static void test_report(void **state)
{
    struct gvm_hidden_rule h[8];
    (void)state;
    struct gvm_ruleset *rs = good("[[rules]]\nmethod='*'\npattern='*.test'\ndecision='Deny'\n"
                                  "[[rules]]\nmethod='*'\npattern='*'\ndecision='Deny'\n"
                                  "[[rules]]\nmethod='*'\npattern='a.test'\ndecision='Allow'\n"
                                  "[[rules]]\nmethod='*'\npattern='a.other'\ndecision='Allow'\n");
    assert_int_equal(gvm_rules_hidden(rs, h, 8), 2);
    assert_true(h[0].rule == 2 && h[0].by == 0);
    assert_true(h[1].rule == 3 && h[1].by == 1);
    assert_int_equal(gvm_rules_hidden(rs, h, 1), 1);
    gvm_rules_free(rs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pairs), cmocka_unit_test(test_twins),
                                       cmocka_unit_test(test_report)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
