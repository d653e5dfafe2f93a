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
};

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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pairs), cmocka_unit_test(test_report)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
