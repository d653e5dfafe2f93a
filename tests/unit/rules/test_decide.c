/* Which rule decides. Tables: a rule, a request, the verdict; refusals stand beside what is
 * allowed. */
#include "ruleset.h"

#define R(name, method, pattern, type)                                                             \
    "[[rules]]\nname=\"" name "\"\nmethod=\"" method "\"\npattern=\"" pattern                      \
    "\"\ndecision=\"" type "\"\n"

/* ---- patterns ---- */

static const struct {
    const char *pattern, *authority, *target;
    bool match;
} patterns[] = {
    /* hosts */
    {"a.test", "a.test", "/", true},
    {"a.test", "a.test", "/x?y", true},
    {"A.Test.", "a.test", "/", true},
    {"a.test", "b.a.test", "/", false},
    {"a.test", "ba.test", "/", false},
    {"*.a.test", "x.a.test", "/", true},
    {"*.a.test", "x.y.a.test", "/", true},
    {"*.a.test", "a.test", "/", false},
    {"*.a.test", "xa.test", "/", false},
    {"{any}.a.test", "x.a.test", "/", true},
    {"{host}.a.test", "x.a.test", "/", true},
    {"{host}.a.test", "a.test", "/", false},
    {"*", "a.test", "/", true},
    {"{any}", "[::1]", "/", true},
    {"*/x", "a.test", "/x", true},
    {"*/x", "a.test", "/y", false},
    {"127.0.0.1", "127.1", "/", true},
    {"127.0.0.1", "2130706433", "/", true},
    {"2130706433", "127.0.0.1", "/", true},
    {"[::1]", "[0:0::1]", "/", true},
    {"[::1]:8080", "[::1]:8080", "/", true},
    {"[::1]:8080", "[::1]:8081", "/", false},
    {"b\xc3\xbc"
     "cher.test",
     "xn--bcher-kva.test", "/", true},
    {"xn--bcher-kva.test",
     "B\xc3\x9c"
     "CHER.test",
     "/", true},
    {"*.test", "[::1]", "/", false},
    {"*.a", "1.2.3.4", "/", false},
    /* ports: none means every port */
    {"a.test", "a.test:8080", "/", true},
    {"a.test:8080", "a.test:8080", "/", true},
    {"a.test:8080", "a.test", "/", false},
    {"a.test:443", "a.test", "/", true},
    {"a.test:443", "a.test:80", "/", false},
    {"{any}:8080", "b.test:8080", "/", true},
    {"{any}:8080", "b.test", "/", false},
    {"*.a.test:8080/x", "b.a.test:8080", "/x", true},
    {"*.a.test:8080/x", "b.a.test:8081", "/x", false},
    /* paths */
    {"a.test/", "a.test", "/", true},
    {"a.test/", "a.test", "/x", false},
    {"a.test/*", "a.test", "/", true},
    {"a.test/*", "a.test", "/x/y", true},
    {"a.test/**", "a.test", "/x/y", true},
    {"a.test/{any}", "a.test", "/x/y/z", true},
    {"a.test/{id}", "a.test", "/x", true},
    {"a.test/{id}", "a.test", "/x/y", false},
    {"a.test/{id}", "a.test", "/", false},
    {"a.test/x", "a.test", "/x", true},
    {"a.test/x", "a.test", "/x/", false},
    {"a.test/x", "a.test", "/X", false},
    {"a.test/x/", "a.test", "/x/", true},
    {"a.test/x/", "a.test", "/x", false},
    {"a.test/x*", "a.test", "/x", true},
    {"a.test/x*", "a.test", "/xyz/w", true},
    {"a.test/x*", "a.test", "/y", false},
    {"a.test/x/*", "a.test", "/x/", true},
    {"a.test/x/*", "a.test", "/x/y/z", true},
    {"a.test/x/*", "a.test", "/x", false},
    {"a.test/x/**", "a.test", "/x", true},
    {"a.test/x/**", "a.test", "/x/y/z", true},
    {"a.test/x/**", "a.test", "/xy", false},
    {"a.test/repos/{any}/{any}/pulls", "a.test", "/repos/o/r/pulls", true},
    {"a.test/repos/{any}/{any}/pulls", "a.test", "/repos/o/pulls", false},
    {"a.test/repos/{any}/{any}/pulls", "a.test", "/repos/o/r/s/pulls", false},
    {"a.test/repos/{any}/{any}/pulls", "a.test", "/repos/o/r/pulls/1", false},
    {"a.test/repos/*/x/**", "a.test", "/repos/o/x", true},
    {"a.test/repos/*/x/**", "a.test", "/repos/o/x/y/z", true},
    {"a.test/repos/*/x/**", "a.test", "/repos/o/xy", false},
    {"a.test/repos/*/x*", "a.test", "/repos/o/xy/z", true},
    {"a.test/repos/*/x*", "a.test", "/repos/o/y", false},
    {"a.test/{a}/{b}/*", "a.test", "/1/2/", true},
    {"a.test/{a}/{b}/*", "a.test", "/1/2", false},
    {"a.test/{a}/", "a.test", "/1/", true},
    {"a.test/{a}/", "a.test", "/1", false},
    {"a.test/%7euser", "a.test", "/~user", true},
    {"a.test/~user", "a.test", "/%7Euser", true},
    {"a.test/a%2fb", "a.test", "/a%2Fb", true},
};

static void test_patterns(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        char text[512];
        struct gvm_verdict v;
        (void)snprintf(text, sizeof text, R("r", "*", "%s", "Allow"), patterns[i].pattern);
        struct gvm_ruleset *rs = good(text);
        if (!judge(rs, "GET", patterns[i].authority, patterns[i].target, "", &v))
            fail_msg("%s %s was refused", patterns[i].authority, patterns[i].target);
        /* The verdict for "a%2Fb" may be the lenient one; which rule the path itself meets is asked
         * with a rule that denies. */
        (void)snprintf(text, sizeof text, R("r", "*", "%s", "Deny"), patterns[i].pattern);
        struct gvm_ruleset *deny = good(text);
        struct gvm_verdict d;
        assert_true(judge(deny, "GET", patterns[i].authority, patterns[i].target, "", &d));
        if ((d.rule == 0) != patterns[i].match)
            fail_msg("%s against %s%s: rule %d", patterns[i].pattern, patterns[i].authority,
                     patterns[i].target, d.rule);
        if (!patterns[i].match)
            assert_int_equal(v.rule, -1);
        gvm_rules_free(rs);
        gvm_rules_free(deny);
    }
}

static const struct {
    const char *pattern, *contains;
} bad_patterns[] = {
    {"https://a.test/x", "no scheme"},
    {"http://a.test", "no scheme"},
    {"x@a.test", "user information"},
    {"/x", "host is empty"},
    {"a.test:0", ""},
    {"a.test:99999", ""},
    {"a.test:http", ""},
    {"*:0", "port"},
    {"{any}:x", "port"},
    {"a*.test", "whole first label"},
    {"a.*.test", "whole first label"},
    {"*a.test", "whole first label"},
    {"{any", ""},
    {"{a b}.test", "not a wildcard"},
    {"{}.test", "not a wildcard"},
    {"{host}", "write {any}"},
    {"*.", ""},
    {"*..test", ""},
    {"*.1.2.3.4", "no subdomains"},
    {"*.[::1]", ""},
    {"a..test", ""},
    {"a b.test", ""},
    {"::1", ""},
    {"[::1", ""},
    {"[::1%25eth0]", ""},
    {"a.test/x/**/y", "only at the end"},
    {"a.test/x**", "whole segment"},
    {"a.test/a*b", "whole segment"},
    {"a.test/a*/b", "whole segment"},
    {"a.test/{a}b", "whole segment"},
    {"a.test/v{a}/b", "whole segment"},
    {"a.test/x?y=1", "query"},
    {"a.test/x#y", "query"},
    {"a.test//x", "which no request has"},
    {"a.test/x/../y", "which no request has"},
    {"a.test/./y", "which no request has"},
    {"a.test/%2e%2e/y", "which no request has"},
    {"a.test/x\\\\y", "which no request has"},
    {"a.test/%zz", "escape"},
    {"a.test/%00", ""},
    {"a.test/..%2fx", ""},
};

static void test_bad_patterns(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_patterns / sizeof *bad_patterns; i++) {
        char text[512];
        struct gvm_ruleset *rs = NULL;
        struct gvm_err err = {0};
        (void)snprintf(text, sizeof text, "# one\n" R("r", "*", "%s", "Allow"),
                       bad_patterns[i].pattern);
        if (load(text, &rs, &err) >= 0)
            fail_msg("%s was accepted", bad_patterns[i].pattern);
        if (!gvm_str_starts(gvm_str(err.text), GVM_STR("gvm.toml:5:9: pattern \"")) ||
            !strstr(err.text, bad_patterns[i].contains))
            fail_msg("%s gave: %s", bad_patterns[i].pattern, err.text);
    }
}

/* ---- attacks at the level of decisions ---- */

/* N2, N14, P5: a host in any spelling meets the same rule, or is refused. */
static void test_host_spellings(void **state)
{
    static const char *const same[] = {"evil.test",
                                       "EVIL.test",
                                       "evil.TEST.",
                                       "Evil.Test.:443",
                                       "evil.test:443",
                                       "evil.test:8443",
                                       "\xef\xbd\x85vil.test",
                                       "evil\xe3\x80\x82test",
                                       "evil\xef\xbc\x8etest",
                                       "evil\xef\xbd\xa1test"};
    static const char *const loopback[] = {"127.0.0.1",  "2130706433", "0x7f000001", "0x7f.1",
                                           "0177.0.0.1", "127.1",      "127.0.1",    "127.0.0.1."};
    static const char *const refused[] = {"evil.test/.good.test",
                                          "x@evil.test",
                                          "evil.test?.good.test",
                                          "evil.test#.good.test",
                                          "evil.test\\.good.test",
                                          "evil.test .good.test",
                                          "",
                                          ".",
                                          "evil..test",
                                          "evil.test..",
                                          "evil%2etest",
                                          "evil.test:",
                                          "evil.test:x",
                                          "a:1:2",
                                          "[::1"};
    struct gvm_verdict v;
    (void)state;
    struct gvm_ruleset *rs =
        good(R("evil", "*", "evil.test", "Deny") R("lo", "*", "127.0.0.1", "Deny")
                 R("good", "*", "*.good.test", "Allow") R("all", "*", "*", "AuditOnly"));
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        if (!judge(rs, "GET", same[i], "/", "", &v) || v.decision != GVM_DENY || v.rule != 0)
            fail_msg("%s was not denied as evil.test", same[i]);
    }
    for (size_t i = 0; i < sizeof loopback / sizeof *loopback; i++) {
        if (!judge(rs, "GET", loopback[i], "/", "", &v) || v.rule != 1)
            fail_msg("%s was not denied as 127.0.0.1", loopback[i]);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (judge(rs, "GET", refused[i], "/", "", &v) && v.decision != GVM_DENY)
            fail_msg("%s was let through by %.*s", refused[i], GVM_STR_ARG(v.name));
    }
    assert_true(judge(rs, "GET", "a.good.test", "/", "", &v) && v.decision == GVM_ALLOW);
    assert_true(judge(rs, "GET", "good.test", "/", "", &v) && v.decision == GVM_AUDIT_ONLY);
    gvm_rules_free(rs);
}

/* N21, P6, T-S1..S6, T-S11: no spelling of a path gets around a rule. */
static void test_path_spellings(void **state)
{
    static const char *const admin[] = {"/admin",
                                        "/admin/",
                                        "/public/%2e%2e/admin",
                                        "/public/%2E%2E/admin",
                                        "/public/..%2f..%2fadmin",
                                        "/public/%252e%252e/admin",
                                        "/admin%00.txt",
                                        "///admin",
                                        "////admin",
                                        "/admin/.",
                                        "/foo/../admin",
                                        "/public/../admin",
                                        "/public/..;/admin",
                                        "/public/..;x=1/admin",
                                        "/%ff/%2e%2e/admin",
                                        "/public/%25252e%25252e/admin",
                                        "/public/.%2e/admin",
                                        "/public\\..\\admin",
                                        "/%61dmin",
                                        "/%2561dmin",
                                        "/./admin",
                                        "/admin;x",
                                        "/admin;x/users",
                                        "/admin%2Fusers",
                                        "/admin%5Cusers",
                                        "/public/../public/../admin",
                                        "/admin/../admin/x",
                                        "/admin?x=/public/",
                                        "//admin//users",
                                        "/public/%2e%2e%2fadmin",
                                        "/public/x/..%5c..%5cadmin",
                                        "/%2fadmin",
                                        "/public/;/../../admin",
                                        "/admin%252Fusers",
                                        "/public/..%c0%afadmin",
                                        "/public/..%00/admin"};
    static const char *const fine[] = {"/public/a",    "/public/",     "/public/a%20b",
                                       "/public/a..b", "/public/...",  "/public/admin",
                                       "/public/x;y",  "/public/a%2Fb"};
    struct gvm_verdict v;
    (void)state;
    /* Both ways round: Deny before Allow, and Allow before a closed default. */
    struct gvm_ruleset *rs =
        good(R("admin", "*", "a.test/admin*", "Deny") R("all", "*", "a.test/**", "Allow"));
    struct gvm_ruleset *closed =
        good("[policy]\ndefault=\"Deny\"\n" R("pub", "*", "a.test/public/**", "Allow"));
    for (size_t i = 0; i < sizeof admin / sizeof *admin; i++) {
        if (judge(rs, "GET", "a.test", admin[i], "", &v) && v.decision != GVM_DENY)
            fail_msg("%s was let through by %.*s", admin[i], GVM_STR_ARG(v.name));
        if (judge(closed, "GET", "a.test", admin[i], "", &v) && v.decision != GVM_DENY)
            fail_msg("%s was let through by %.*s", admin[i], GVM_STR_ARG(v.name));
    }
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        if (!judge(rs, "GET", "a.test", fine[i], "", &v) || v.decision != GVM_ALLOW)
            fail_msg("%s was not allowed", fine[i]);
        if (!judge(closed, "GET", "a.test", fine[i], "", &v) || v.decision != GVM_ALLOW)
            fail_msg("%s was not allowed by the closed set", fine[i]);
    }
    gvm_rules_free(rs);
    gvm_rules_free(closed);
}

/* The lenient reading also binds patterns of one segment, and says so. */
static void test_lenient_reading(void **state)
{
    struct gvm_verdict v;
    (void)state;
    struct gvm_ruleset *rs =
        good("[policy]\ndefault=\"Deny\"\n" R("one", "GET", "a.test/users/{id}", "Allow")
                 R("pkg", "GET", "b.test/{name}", "Allow")
                     R("pkg2", "GET", "b.test/{scope}/{name}", "Allow"));
    assert_true(judge(rs, "GET", "a.test", "/users/1", "", &v) && v.decision == GVM_ALLOW &&
                !v.lenient);
    assert_true(judge(rs, "GET", "a.test", "/users/1%2Fdelete", "", &v));
    assert_true(v.decision == GVM_DENY && v.lenient);
    assert_true(judge(rs, "GET", "b.test", "/@types%2Fnode", "", &v) && v.decision == GVM_ALLOW);
    gvm_rules_free(rs);
}

/* P6: a regex sees the path, never the query. N9-like: each request is judged for itself. */
static void test_regex(void **state)
{
    struct gvm_verdict v;
    (void)state;
    struct gvm_ruleset *rs = good(
        "[policy]\ndefault=\"Deny\"\n"
        "[[rules]]\nname=\"merge\"\nmethod=\"PUT\"\npattern=\"api.github.com/{any}\"\n"
        "path_regex=\"^/repos/[^/]+/[^/]+/pulls/[0-9]+/merge$\"\ndecision=\"RequireApproval\"\n"
        "[[rules]]\nname=\"un\"\nmethod=\"*\"\npattern=\"b.test\"\npath_regex=\"public\"\ndecision="
        "\"Allow\"\n"
        "[[rules]]\nname=\"ci\"\nmethod=\"*\"\npattern=\"c.test\"\npath_regex=\"(?i)^/"
        "ABC$\"\ndecision=\"Allow\"\n");
    assert_true(judge(rs, "PUT", "api.github.com", "/repos/o/r/pulls/7/merge", "", &v));
    assert_int_equal(v.decision, GVM_REQUIRE_APPROVAL);
    assert_true(judge(rs, "PUT", "api.github.com", "/repos/o/r/pulls/x/merge", "", &v) &&
                v.rule == -1);
    assert_true(judge(rs, "PUT", "api.github.com", "/repos/o/r/pulls/7/merge/", "", &v) &&
                v.rule == -1);
    assert_true(judge(rs, "GET", "b.test", "/x/public/y", "", &v) && v.decision == GVM_ALLOW);
    assert_true(judge(rs, "GET", "b.test", "/private?public", "", &v) && v.decision == GVM_DENY);
    assert_true(judge(rs, "GET", "c.test", "/abc", "", &v) && v.decision == GVM_ALLOW);
    gvm_rules_free(rs);
}

/* A pattern that backtracks without end denies, whatever its rule says. */
static void test_regex_error_denies(void **state)
{
    char path[200] = "/";
    struct gvm_verdict v;
    (void)state;
    memset(path + 1, 'a', 60);
    path[61] = '!';
    struct gvm_ruleset *rs = good(
        "[[rules]]\nname=\"re\"\nmethod=\"*\"\npattern=\"a.test\"\n"
        "path_regex=\"^/(a+)+$\"\ndecision=\"Allow\"\nprivate=true\n" R("all", "*", "*", "Allow"));
    assert_true(judge(rs, "GET", "a.test", path, "", &v));
    assert_int_equal(v.decision, GVM_DENY);
    assert_int_equal(v.rule, 0);
    assert_false(v.private_ok);
    assert_non_null(strstr(v.reason.p, "could not be run"));
    path[61] = '\0';
    assert_true(judge(rs, "GET", "a.test", path, "", &v) && v.decision == GVM_ALLOW &&
                v.private_ok);
    gvm_rules_free(rs);
}

static void test_bad_regex(void **state)
{
    static const char *const bad[] = {"(", "[a", "a{2,1}", "(?<=a+)b(", "\\\\C", "(*UTF)x"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[300];
        struct gvm_ruleset *rs = NULL;
        struct gvm_err err = {0};
        (void)snprintf(text, sizeof text, R("a", "*", "a.test", "Allow") "path_regex = \"%s\"\n",
                       bad[i]);
        if (load(text, &rs, &err) >= 0)
            fail_msg("%s was accepted", bad[i]);
        if (!strstr(err.text, "gvm.toml:6:14: path_regex is not a regular expression"))
            fail_msg("%s gave: %s", bad[i], err.text);
    }
}

/* P8: "*" is every method there is or will be. */
static void test_methods(void **state)
{
    static const char *const names[] = {"GET",        "PROPFIND", "QUERY", "TRACE",
                                        "X-INVENTED", "M-SEARCH", "FOO"};
    struct gvm_verdict v;
    (void)state;
    struct gvm_ruleset *rs =
        good(R("all", "*", "a.test", "Deny") "[[rules]]\nname=\"some\"\nmethod=[\"GET\",\"FOO\"]"
                                             "\npattern=\"b.test\"\ndecision=\"Allow\"\n");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_true(judge(rs, names[i], "a.test", "/", "", &v));
        assert_int_equal(v.rule, 0);
        assert_true(judge(rs, names[i], "b.test", "/", "", &v));
        assert_int_equal(v.rule, i == 0 || i == 6 ? 1 : -1);
    }
    gvm_rules_free(rs);
}

/* ---- order, agent, expiry, default ---- */

static void test_first_match_wins(void **state)
{
    struct gvm_verdict v;
    (void)state;
    struct gvm_ruleset *rs =
        good(R("any-x", "*", "*/x/**", "Allow") R("suffix", "*", "*.a.test", "Delay")
                 R("exact", "*", "b.a.test", "Deny") R("all", "*", "*", "AuditOnly"));
    assert_true(judge(rs, "GET", "b.a.test", "/x/1", "", &v) && v.rule == 0);
    assert_true(judge(rs, "GET", "b.a.test", "/y", "", &v) && v.rule == 1);
    assert_int_equal(v.delay_ms, 300);
    assert_true(gvm_str_eqz(v.name, "suffix") && v.line == 6);
    assert_true(judge(rs, "GET", "a.test", "/y", "", &v) && v.rule == 3);
    gvm_rules_free(rs);
    rs = good(R("exact", "*", "b.a.test", "Deny") R("suffix", "*", "*.a.test", "Delay"));
    assert_true(judge(rs, "GET", "b.a.test", "/y", "", &v) && v.rule == 0);
    assert_true(gvm_str_eqz(v.reason, "denied by rule \"exact\""));
    gvm_rules_free(rs);
}

static void test_agent_and_expiry(void **state)
{
    struct gvm_verdict v;
    (void)state;
    struct gvm_ruleset *rs = good(R("bots", "*", "a.test", "Allow") "agent=\"bot-*\"\n" R(
        "one", "*", "a.test",
        "AuditOnly") "principal_filter=\"agent:x\"\n" R("old", "*", "a.test",
                                                        "Allow") "expires_at=1970-01-01T00:00:00."
                                                                 "000001Z\n" R("new", "*", "a.test",
                                                                               "Delay") "expires_"
                                                                                        "at=1970-"
                                                                                        "01-01T00:"
                                                                                        "00:00."
                                                                                        "000001001Z"
                                                                                        "\n");
    assert_true(judge(rs, "GET", "a.test", "/", "bot-1", &v) && v.rule == 0);
    assert_true(judge(rs, "GET", "a.test", "/", "agent:x", &v) && v.rule == 1);
    /* now is 1,000 ns: a rule that ends at 1,000 is dead, one that ends at 1,001 lives */
    assert_true(judge(rs, "GET", "a.test", "/", "Bot-1", &v) && v.rule == 3);
    gvm_rules_free(rs);
}

/* A resolver over HTTPS is not what a default lets through; a rule is. */
static void test_doh(void **state)
{
    static const struct {
        const char *path, *query, *fields;
        bool doh;
    } rows[] = {
        {"/dns-query", "", "", true},
        {"/x/dns-query", "", "", true},
        {"/x", "dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB", "", true},
        {"/x", "a=b&dns=q80BAAABAAAAAAAAAWEAAAEAAQ", "", true},
        {"/x", "", "Accept: application/dns-message\r\n", true},
        {"/x", "", "accept: text/html , Application/DNS-json;q=1\r\n", true},
        {"/x", "", "Host: a\r\nContent-Type: application/dns-message\r\n", true},
        {"/x", "", "content-type: application/oblivious-dns-message\r\n", true},
        {"/resolve", "name=a.test&type=A", "", true},
        {"/", "", "", false},
        {"/dns-queries", "", "", false},
        {"/resolve", "url=x", "", false},
        {"/zones/resolve", "name=x", "", false},
        {"/x", "dns=true", "", false},
        {"/x", "dns=this%20is%20a%20text%20of%20some%20length", "", false},
        {"/x", "", "Accept: application/json\r\nX: application/dns-message\r\n", false},
    };
    struct gvm_ruleset *open = good("[policy]\ndefault=\"Delay\"\n"),
                       *named =
                           good("[policy]\ndefault=\"Delay\"\n" R("r", "*", "*.test", "Allow"));
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gvm_verdict v;
        struct gvm_facts f = {.method = GVM_STR("GET"),
                              .host = GVM_STR("dns.test"),
                              .port = 443,
                              .path = gvm_str(rows[i].path),
                              .query = gvm_str(rows[i].query),
                              .fields = gvm_str(rows[i].fields)};
        gvm_rules_decide(open, &f, &v);
        if (v.decision != (rows[i].doh ? GVM_DENY : GVM_DELAY) || v.fixed != rows[i].doh ||
            v.rule != -1)
            fail_msg("row %zu: %s", i, gvm_decision_name(v.decision));
        gvm_rules_decide(named, &f, &v);
        assert_int_equal(v.decision, GVM_ALLOW);
    }
    gvm_rules_free(open);
    gvm_rules_free(named);
}

static void test_default(void **state)
{
    struct gvm_verdict v;
    (void)state;
    struct gvm_ruleset *rs = good("");
    assert_true(judge(rs, "GET", "a.test", "/", "", &v));
    assert_true(v.decision == GVM_DELAY && v.delay_ms == 300 && v.rule == -1 && v.line == 0);
    assert_true(v.intercept && !v.private_ok && gvm_str_eqz(v.name, "default"));
    gvm_rules_free(rs);
    rs = good("[policy]\ndefault={type=\"RequireApproval\", reason=\"ask\"}\n");
    assert_true(judge(rs, "GET", "a.test", "/", "", &v) && v.decision == GVM_REQUIRE_APPROVAL);
    assert_true(gvm_str_eqz(v.reason, "ask"));
    gvm_rules_free(rs);
}

/* ---- what is not HTTP ---- */

static enum gvm_decision tcp(const struct gvm_ruleset *rs, const char *host, uint16_t port,
                             int32_t *rule)
{
    struct gvm_facts f = {
        .protocol = GVM_PROTO_TCP, .host = gvm_str(host), .port = port, .now_ns = 1000};
    struct gvm_verdict v;
    gvm_rules_decide(rs, &f, &v);
    *rule = v.rule;
    return v.decision;
}

#define TCP(pattern, type)                                                                         \
    "[[rules]]\nprotocol=\"tcp\"\npattern=\"" pattern "\"\ndecision=\"" type "\"\n"

static void test_tcp(void **state)
{
    int32_t rule;
    struct gvm_verdict v;
    (void)state;
    struct gvm_ruleset *rs = good("[policy]\ndefault=\"Allow\"\n" R("http", "*", "a.test", "Allow")
                                      TCP("a.test:22", "Allow") R("no", "*", "c.test", "Deny")
                                          TCP("*.test:5432", "AuditOnly"));
    assert_int_equal(tcp(rs, "a.test", 22, &rule), GVM_ALLOW);
    assert_int_equal(rule, 1);
    /* no tcp rule: denied, also where HTTP and the default allow */
    assert_int_equal(tcp(rs, "a.test", 23, &rule), GVM_DENY);
    assert_int_equal(rule, -1);
    assert_int_equal(tcp(rs, "b.test", 5432, &rule), GVM_AUDIT_ONLY);
    assert_int_equal(tcp(rs, "c.test", 5432, &rule), GVM_DENY);
    assert_int_equal(rule, 2);
    /* tcp rules never match HTTP */
    assert_true(judge(rs, "GET", "b.test:5432", "/", "", &v) && v.rule == -1);
    gvm_rules_free(rs);
}

/* P2: a catch-all Deny holds for what is not HTTP too; a Deny of one path or method does not. */
static void test_catch_all_deny(void **state)
{
    int32_t rule;
    (void)state;
    struct gvm_ruleset *rs = good(R("all", "*", "{any}", "Deny") TCP("a.test:22", "Allow"));
    assert_int_equal(tcp(rs, "a.test", 22, &rule), GVM_DENY);
    assert_int_equal(rule, 0);
    gvm_rules_free(rs);
    rs = good(R("p", "*", "{any}/x", "Deny") R("m", "POST", "{any}", "Deny")
                  TCP("a.test:22", "Allow"));
    assert_int_equal(tcp(rs, "a.test", 22, &rule), GVM_ALLOW);
    gvm_rules_free(rs);
}

#define OPAQUE(pattern, type) R("o", "*", pattern, type) "intercept=\"none\"\n"

static bool opaque(const char *text, const char *host, const char *agent)
{
    struct gvm_ruleset *rs = good(text);
    struct gvm_facts f = {
        .host = gvm_str(host), .port = 443, .tls = true, .agent = gvm_str(agent), .now_ns = 1000};
    struct gvm_verdict v = {0};
    bool yes = gvm_rules_opaque(rs, &f, &v);
    if (yes)
        assert_true(!v.intercept && v.decision != GVM_DENY);
    gvm_rules_free(rs);
    return yes;
}

static void test_opaque(void **state)
{
    (void)state;
    assert_true(opaque(OPAQUE("a.test", "Allow"), "a.test", ""));
    assert_true(opaque(OPAQUE("*.test:443", "Delay"), "a.test", ""));
    assert_true(opaque(R("other", "*", "b.test", "Deny") OPAQUE("a.test", "Allow"), "a.test", ""));
    assert_true(opaque(OPAQUE("a.test", "Allow") R("all", "*", "*", "Deny"), "a.test", ""));
    assert_true(opaque(OPAQUE("a.test", "Allow") "agent=\"x\"\n", "a.test", "x"));
    assert_true(opaque(TCP("*", "Allow") OPAQUE("a.test", "Allow"), "a.test", ""));
    assert_false(opaque("", "a.test", ""));
    assert_false(opaque(OPAQUE("a.test", "Allow"), "b.test", ""));
    assert_false(opaque(OPAQUE("a.test:8443", "Allow"), "a.test", ""));
    assert_false(opaque(OPAQUE("a.test", "Deny"), "a.test", ""));
    assert_false(opaque(OPAQUE("a.test", "Allow") "agent=\"x\"\n", "a.test", "y"));
    assert_false(
        opaque(OPAQUE("a.test", "Allow") "expires_at=1970-01-01T00:00:00Z\n", "a.test", ""));
    /* P2, and any rule that must see a request */
    assert_false(opaque(R("all", "*", "*", "Deny") OPAQUE("a.test", "Allow"), "a.test", ""));
    assert_false(opaque(R("del", "DELETE", "*/x", "Deny") OPAQUE("a.test", "Allow"), "a.test", ""));
    assert_false(opaque(TCP("*", "Deny") OPAQUE("a.test", "Allow"), "a.test", ""));
}

/* ---- explain ---- */

static void test_matches(void **state)
{
    int32_t out[8];
    (void)state;
    struct gvm_ruleset *rs = good(R("a", "GET", "a.test/x", "Allow") R(
        "b", "POST", "a.test/x", "Allow") R("c", "*", "*.test", "Delay") R("d", "*", "*", "Deny"));
    struct gvm_facts f = {
        .method = GVM_STR("GET"), .host = GVM_STR("a.test"), .port = 443, .path = GVM_STR("/x")};
    assert_int_equal(gvm_rules_matches(rs, &f, out, 8), 3);
    assert_true(out[0] == 0 && out[1] == 2 && out[2] == 3);
    assert_int_equal(gvm_rules_matches(rs, &f, out, 2), 2);
    assert_int_equal(gvm_rules_count(rs), 4);
    gvm_rules_free(rs);
}

/* The text that the proxy gets decides as the file does. */
static void test_decoded_policy(void **state)
{
    struct gvm_conf *c = NULL, *back = NULL;
    struct gvm_ruleset *rs = NULL;
    struct gvm_err err = {0};
    struct gvm_buf b;
    struct gvm_verdict v;
    (void)state;
    assert_int_equal(gvm_conf_parse(GVM_STR("[policy]\ndefault=\"Deny\"\n" R(
                                        "a", "GET", "a.test/{id}/x", "Allow")),
                                    "gvm.toml", NULL, &c, &err),
                     0);
    gvm_buf_init(&b, GVM_MAX_POLICY);
    assert_int_equal(gvm_policy_encode(c, &b), 0);
    assert_int_equal(gvm_policy_decode(gvm_buf_str(&b), &back, &err), 0);
    assert_int_equal(gvm_rules_compile(back, &rs, &err), 0);
    gvm_conf_free(back); /* the set keeps nothing of it */
    assert_true(judge(rs, "GET", "a.test", "/7/x", "", &v) && v.decision == GVM_ALLOW &&
                v.line == 3);
    assert_true(judge(rs, "GET", "a.test", "/7/y", "", &v) && v.decision == GVM_DENY);
    gvm_rules_free(rs);
    gvm_buf_done(&b);
    gvm_conf_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_bad_patterns),
        cmocka_unit_test(test_host_spellings),
        cmocka_unit_test(test_path_spellings),
        cmocka_unit_test(test_lenient_reading),
        cmocka_unit_test(test_regex),
        cmocka_unit_test(test_regex_error_denies),
        cmocka_unit_test(test_bad_regex),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_first_match_wins),
        cmocka_unit_test(test_agent_and_expiry),
        cmocka_unit_test(test_default),
        cmocka_unit_test(test_doh),
        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_catch_all_deny),
        cmocka_unit_test(test_opaque),
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_decoded_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
