/* The index against the plain way: for random rules and requests, the rule that decides is the
 * first that gvm_rules_matches() (which tries every rule in turn) finds. Small alphabets make
 * everything collide. */
#include "ruleset.h"

static uint64_t seed;

static uint32_t rnd(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 20) % n;
}

static const char *pick(const char *const *list, uint32_t n)
{
    return list[rnd(n)];
}

static const char *const hosts[] = {"a.test", "b.test",   "x.a.test", "y.x.a.test",
                                    "test",   "a.b.test", "10.0.0.1"};
static const char *const patterns[] = {"a.test",     "b.test",   "x.a.test",   "*.a.test",
                                       "*.test",     "*",        "{any}:8080", "a.test:8080",
                                       "*.x.a.test", "10.0.0.1", "a.b.test",   "*.test:8080"};
static const char *const segs[] = {"v1", "v2", "users", "{id}", "*", "a%2Fb", "u"};
static const char *const tails[] = {"", "/", "/*", "/**", "/{any}", "/u*", "/{x}"};
static const char *const paths[] = {"v1", "v2", "users", "7", "a%2Fb", "u", "ux"};

static void add_rule(struct gvm_buf *b)
{
    static const char *const methods[] = {"*", "GET", "POST", "FOO"};
    static const char *const decisions[] = {"Allow", "Deny", "Delay", "AuditOnly"};
    gvm_buf_addf(b, "[[rules]]\nmethod='%s'\npattern='%s", pick(methods, 4), pick(patterns, 12));
    uint32_t n = rnd(4);
    for (uint32_t i = 0; i < n; i++)
        gvm_buf_addf(b, "/%s", pick(segs, 7));
    gvm_buf_addf(b, "%s'\ndecision='%s'\n", n ? pick(tails, 7) : "", pick(decisions, 4));
    if (rnd(8) == 0)
        gvm_buf_addf(b, "agent='b*'\n");
    if (rnd(8) == 0)
        gvm_buf_addf(b, "expires_at=%s\n",
                     rnd(2) ? "1960-01-01T00:00:00Z" : "2960-01-01T00:00:00Z");
    if (rnd(6) == 0)
        gvm_buf_addf(b, "path_regex='%s'\n", rnd(2) ? "^/v1/" : "^/(v2|users)/?[0-9]*");
}

static void make_path(struct gvm_buf *b)
{
    gvm_buf_reset(b);
    uint32_t n = rnd(4);
    for (uint32_t i = 0; i < n; i++)
        gvm_buf_addf(b, "/%s", pick(paths, 7));
    if (n == 0 || rnd(4) == 0)
        gvm_buf_addc(b, '/');
}

static void check(const struct gvm_ruleset *rs, struct gvm_facts *f, const char *text)
{
    struct gvm_verdict v;
    int32_t first = -1;
    (void)gvm_rules_matches(rs, f, &first, 1);
    gvm_rules_decide(rs, f, &v);
    if (!v.lenient && v.rule != first)
        fail_msg("%.*s %.*s:%u%.*s: index says %d, the list %d\n%s", GVM_STR_ARG(f->method),
                 GVM_STR_ARG(f->host), f->port, GVM_STR_ARG(f->path), v.rule, first, text);
}

static void one_set(uint32_t nrules)
{
    struct gvm_buf text, path;
    gvm_buf_init(&text, GVM_MAX_CONFIG);
    gvm_buf_init(&path, 4096);
    for (uint32_t i = 0; i < nrules; i++)
        add_rule(&text);
    struct gvm_ruleset *rs = good(gvm_buf_cstr(&text));
    for (uint32_t i = 0; i < 400; i++) {
        static const char *const methods[] = {"GET", "POST", "FOO", "BAR"};
        make_path(&path);
        struct gvm_facts f = {.method = gvm_str(pick(methods, 4)),
                              .host = gvm_str(pick(hosts, 7)),
                              .port = rnd(2) ? 443 : 8080,
                              .path = gvm_buf_str(&path),
                              .agent = gvm_str(rnd(2) ? "bot" : "other"),
                              .now_ns = 1};
        check(rs, &f, gvm_buf_cstr(&text));
        f.protocol = GVM_PROTO_TCP;
        f.method = f.path = GVM_STR("");
        check(rs, &f, gvm_buf_cstr(&text));
    }
    gvm_rules_free(rs);
    gvm_buf_done(&text);
    gvm_buf_done(&path);
}

static void test_against_list(void **state)
{
    static const uint32_t sizes[] = {1, 2, 5, 12, 30, 80, 200};
    (void)state;
    for (seed = 1; seed < 40; seed++) {
        uint64_t keep = seed;
        seed = keep * 0x9e3779b97f4a7c15ull;
        one_set(sizes[keep % 7]);
        seed = keep;
    }
}

/* Long host names and very many labels walk every suffix. */
static void test_many_labels(void **state)
{
    char host[GVM_MAX_HOST + 1];
    struct gvm_verdict v;
    (void)state;
    for (size_t i = 0; i < GVM_MAX_HOST; i++)
        host[i] = i % 2 ? '.' : 'a';
    host[GVM_MAX_HOST] = '\0';
    struct gvm_ruleset *rs = good("[[rules]]\nmethod='*'\npattern='*.a.a.a'\ndecision='Deny'\n"
                                  "[[rules]]\nmethod='*'\npattern='*.a'\ndecision='Allow'\n");
    struct gvm_facts f = {
        .method = GVM_STR("GET"), .host = {host, GVM_MAX_HOST}, .port = 443, .path = GVM_STR("/")};
    gvm_rules_decide(rs, &f, &v);
    assert_int_equal(v.rule, 0);
    f.host = GVM_STR("a.a");
    gvm_rules_decide(rs, &f, &v);
    assert_int_equal(v.rule, 1);
    f.host = GVM_STR("a");
    gvm_rules_decide(rs, &f, &v);
    assert_int_equal(v.rule, -1);
    f.host = GVM_STR(".a.a.a");
    gvm_rules_decide(rs, &f, &v);
    f.host = GVM_STR("");
    f.path = GVM_STR("");
    gvm_rules_decide(rs, &f, &v);
    assert_int_equal(v.rule, -1);
    gvm_rules_free(rs);
}

/* 20,000 rules: loads, decides, and reports hidden rules in bounded time. */
static void test_large(void **state)
{
    struct gvm_buf text;
    (void)state;
    gvm_buf_init(&text, GVM_MAX_CONFIG);
    for (uint32_t i = 0; i < 20000; i++)
        gvm_buf_addf(&text, "[[rules]]\nmethod='*'\npattern='h%u.test/p%u/*'\ndecision='Allow'\n",
                     i / 100, i % 100);
    struct gvm_ruleset *rs = good(gvm_buf_cstr(&text));
    struct gvm_facts f = {.method = GVM_STR("GET"),
                          .host = GVM_STR("h199.test"),
                          .port = 443,
                          .path = GVM_STR("/p99/x")};
    struct gvm_verdict v;
    struct gvm_hidden_rule hidden[4];
    gvm_rules_decide(rs, &f, &v);
    assert_int_equal(v.rule, 19999);
    f.path = GVM_STR("/p9/x");
    gvm_rules_decide(rs, &f, &v);
    assert_int_equal(v.rule, 19909);
    assert_int_equal(gvm_rules_hidden(rs, hidden, 4), 0);
    gvm_rules_free(rs);
    gvm_buf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_list),
        cmocka_unit_test(test_many_labels),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
