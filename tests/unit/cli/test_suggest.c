/* From requests to rules: what becomes an id, which patterns come of it, that what is written loads
 * and decides what was seen, and that a file is changed rightly or not at all. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "cli/suggest.h"

/* ---- ids ---- */

static void test_ids(void **state)
{
    static const char *const ids[] = {"1",
                                      "42",
                                      "0007",
                                      "123e4567-e89b-12d3-a456-426614174000",
                                      "deadbee0",
                                      "0123456789abcdef",
                                      "2026-11-23",
                                      "2026-11-23T10:00:00Z",
                                      "cus_NffrFeUfNV2Hib",
                                      "user-1234abcd",
                                      "AbCdEf0123456789ghIJ",
                                      "k3j4h5g6f7d8s9a0p1o2",
                                      "me@example.com",
                                      "a*b",
                                      "da39a3ee5e6b4b0d3255bfef95601890afd80709"};
    static const char *const words[] = {"",
                                        "v1",
                                        "users",
                                        "facade",
                                        "deadbeef",
                                        "messages",
                                        "chat",
                                        "latest",
                                        "requests-2.31.0",
                                        "index.html",
                                        "@types",
                                        "api-v2",
                                        "2026",
                                        "me",
                                        "gpt-4",
                                        "a-very-long-name-of-a-collection"};
    (void)state;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (!sug_is_id(gvm_str(ids[i])))
            fail_msg("%s is not seen as an id", ids[i]);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        bool year = strcmp(words[i], "2026") == 0; /* a number like any other */
        if (sug_is_id(gvm_str(words[i])) != year)
            fail_msg("%s", words[i]);
    }
}

/* ---- patterns ---- */

static const struct {
    const char *paths; /* separated by spaces */
    const char *patterns;
} generals[] = {
    {"/", "/"},
    {"/v1/models", "/v1/models"},
    {"/users/1 /users/2", "/users/{id}"},
    {"/users/1/posts/7 /users/2/posts/9", "/users/{id}/posts/{id}"},
    {"/a /b", "/a /b"},
    {"/a /b /c", "/{id}"},
    {"/x/a/y /x/b/y", "/x/a/y /x/b/y"},
    {"/x/a/y /x/b/y /x/c/y", "/x/{id}/y"},
    {"/x/a/y /x/b/y /x/c/z", "/x/a/y /x/b/y /x/c/z"},
    {"/x/1/y /x/me/y", "/x/{id}/y"},
    {"/simple/a/ /simple/b/ /simple/c/", "/simple/{id}/"},
    {"/s/ /s/a /s/b /s/c", "/s/ /s/{id}"},
    {"/r/a/b /r/a/c /r/a/d /r/e/b /r/e/c /r/e/d /r/f/b /r/f/c /r/f/d", "/r/{id}/{id}"},
    {"/a/1 /a/1/b", "/a/{id} /a/{id}/b"},
};

static void add_get(struct sug *s, const char *method, const char *host, struct gvm_str path)
{
    struct gvm_facts f = {.method = gvm_str(method),
                          .host = gvm_str(host),
                          .port = 443,
                          .tls = true,
                          .path = path,
                          .agent = GVM_STR("bot")};
    struct gvm_err err = {0};
    if (sug_add(s, &f, &err) < 0)
        fail_msg("%s", err.text);
}

struct fixture {
    struct gvm_conf *conf;
    struct gvm_ruleset *rs;
    struct sug s;
};

static void begin(struct fixture *x, const char *rules)
{
    struct gvm_err err = {0};
    *x = (struct fixture){0};
    if (gvm_conf_parse(gvm_str(rules), "old", NULL, &x->conf, &err) < 0 ||
        gvm_rules_compile(x->conf, &x->rs, &err) < 0)
        fail_msg("%s", err.text);
    x->s = (struct sug){.conf = x->conf,
                        .rs = x->rs,
                        .writes = GVM_DELAY,
                        .run = "20261123T231300-abcdef",
                        .agent = "bot\n[[rules]]"};
    assert_int_equal(sug_learn(&x->s, NULL, &err), 0);
}

static void end(struct fixture *x)
{
    sug_done(&x->s);
    gvm_rules_free(x->rs);
    gvm_conf_free(x->conf);
}

static void test_patterns(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof generals / sizeof *generals; i++) {
        struct fixture x;
        struct gvm_buf got;
        struct gvm_str rest = gvm_str(generals[i].paths), path;
        begin(&x, "");
        bool more = true;
        while (more) {
            more = gvm_str_cut(&rest, ' ', &path);
            add_get(&x.s, "GET", "h", path);
        }
        assert_int_equal(sug_make_rules(&x.s, NULL), 0);
        gvm_buf_init(&got, 65536);
        for (size_t k = 0; k < x.s.nrules; k++)
            gvm_buf_addf(&got, "%s%.*s", k ? " " : "", (int)x.s.rules[k].pattern.n - 1,
                         x.s.rules[k].pattern.p + 1);
        if (strcmp(gvm_buf_cstr(&got), generals[i].patterns) != 0)
            fail_msg("%s gave %s", generals[i].paths, gvm_buf_cstr(&got));
        gvm_buf_done(&got);
        end(&x);
    }
}

/* Many unlike paths are taken together, and still all taken. */
static void test_too_many(void **state)
{
    struct fixture x;
    (void)state;
    begin(&x, "");
    for (unsigned i = 0; i < 60; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/w%c/%c%c/%s%c", 'a' + i % 2, 'a' + i % 26, 'a' + i / 26,
                       i % 3 ? "p" : "q/r", 'a' + i % 7);
        add_get(&x.s, "GET", "h", gvm_str(path));
    }
    assert_int_equal(sug_make_rules(&x.s, NULL), 0);
    assert_true(x.s.nrules <= SUG_MAX_PATTERNS);
    end(&x);
}

/* ---- rules ---- */

static const struct sug_rule *find(const struct sug *s, const char *name)
{
    for (size_t i = 0; i < s->nrules; i++)
        if (gvm_str_eqz(s->rules[i].name, name))
            return &s->rules[i];
    fail_msg("no rule %s", name);
    return NULL;
}

static void test_classes(void **state)
{
    struct fixture x;
    (void)state;
    begin(&x, "");
    add_get(&x.s, "GET", "a.test", GVM_STR("/u/1"));
    add_get(&x.s, "HEAD", "a.test", GVM_STR("/u/2"));
    add_get(&x.s, "POST", "a.test", GVM_STR("/u"));
    add_get(&x.s, "DELETE", "a.test", GVM_STR("/u/1"));
    add_get(&x.s, "POST", "b.test", GVM_STR("/u/1/delete"));
    add_get(&x.s, "PURGE", "b.test", GVM_STR("/cache"));
    add_get(&x.s, "POST", "c.test", GVM_STR("/jobs/1"));
    add_get(&x.s, "POST", "c.test", GVM_STR("/jobs/delete"));
    char evil[] = "x\n[[rules]]";
    assert_int_equal(gvm_map_put(x.s.addresses, GVM_STR("a.test"), evil), 0);
    struct gvm_facts tcp = {.protocol = GVM_PROTO_TCP,
                            .method = GVM_STR(""),
                            .host = GVM_STR("git.test"),
                            .port = 22,
                            .path = GVM_STR("")};
    assert_int_equal(sug_add(&x.s, &tcp, NULL), 0);
    assert_int_equal(sug_make_rules(&x.s, NULL), 0);
    const struct sug_rule *r = find(&x.s, "a.test read");
    assert_int_equal(r->nmethods, 2);
    assert_true(r->active && r->decision == GVM_ALLOW && gvm_str_eqz(r->pattern, "a.test/u/{id}"));
    r = find(&x.s, "a.test write");
    assert_true(r->active && r->decision == GVM_DELAY);
    r = find(&x.s, "a.test delete");
    assert_true(!r->active && r->decision == GVM_REQUIRE_APPROVAL);
    assert_false(find(&x.s, "b.test delete /u/{id}/delete")->active);
    assert_false(find(&x.s, "b.test delete /cache")->active);
    /* "/jobs/{id}" would delay it, so it asks, and stands before */
    r = find(&x.s, "c.test delete");
    assert_true(r->active && r->decision == GVM_REQUIRE_APPROVAL && r < find(&x.s, "c.test write"));
    r = find(&x.s, "git.test:22 tcp");
    assert_true(!r->active && gvm_str_eqz(r->pattern, "git.test:22"));
    struct gvm_buf toml;
    gvm_buf_init(&toml, 65536);
    sug_write_rule(find(&x.s, "a.test read"), &toml);
    assert_non_null(
        strstr(gvm_buf_cstr(&toml), "# private = true # not a public address (x?[[rules]])"));
    gvm_buf_done(&toml);
    end(&x);
}

/* What a rule decides by name stays as it is; a catch-all is not by name. */
static void test_in_force(void **state)
{
    struct fixture x;
    (void)state;
    begin(&x, "[[rules]]\nmethod=\"*\"\npattern=\"a.test\"\ndecision=\"Deny\"\n"
              "[[rules]]\nmethod=\"*\"\npattern=\"{any}/*\"\ndecision=\"Deny\"\n");
    add_get(&x.s, "GET", "a.test", GVM_STR("/x"));
    add_get(&x.s, "GET", "b.test", GVM_STR("/x"));
    assert_int_equal(sug_make_rules(&x.s, NULL), 0);
    assert_int_equal(x.s.nrules, 1);
    assert_true(x.s.requests == 2 && x.s.skipped == 1);
    assert_true(gvm_str_eqz(x.s.rules[0].pattern, "b.test/x"));
    end(&x);
}

/* ---- by generation: it loads, and every request meets a rule of its own kind ---- */

static uint64_t seed = 7;

static uint32_t rnd(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 20) % n;
}

static void random_target(struct gvm_buf *b)
{
    static const char *const segs[] = {
        "v1",         "users",      "1",  "22",     "a b", "%2F", "x%2Fy",    "@types%2Fnode",
        "a;b",        "{any}",      "*",  "a*b",    "..",  ".",   "%2e",      "\"",
        "\\",         "'",          "**", "delete", "#",   "%25", "\xc3\xa4", "~u",
        "deadbeef00", "2026-01-01", "",   "a,b=c"};
    gvm_buf_reset(b);
    uint32_t n = rnd(6);
    for (uint32_t i = 0; i < n; i++)
        gvm_buf_addf(b, "/%s", segs[rnd(sizeof segs / sizeof *segs)]);
    if (n == 0 || rnd(3) == 0)
        gvm_buf_addc(b, '/');
}

static void random_run(unsigned nrequests)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "OPTIONS"};
    static const char *const hosts[] = {"a.test", "x.b.test", "::1", "10.0.0.1"};
    static char store[200][400];
    struct gvm_facts facts[200];
    struct gvm_buf target, path, query, toml;
    struct fixture x;
    struct gvm_err err = {0};
    unsigned n = 0;
    bool has_query;
    gvm_buf_init(&target, 4096);
    gvm_buf_init(&path, 65536);
    gvm_buf_init(&query, 4096);
    gvm_buf_init(&toml, GVM_MAX_CONFIG);
    begin(&x, "[policy]\ndefault=\"Deny\"\n");
    while (n < nrequests) {
        random_target(&target);
        gvm_buf_reset(&path);
        if (gvm_target_canon(gvm_buf_str(&target), &path, &query, &has_query, NULL) < 0 ||
            path.len > 390)
            continue;
        memcpy(store[n], gvm_buf_data(&path), path.len);
        facts[n] = (struct gvm_facts){.method = gvm_str(methods[rnd(5)]),
                                      .host = gvm_str(hosts[rnd(4)]),
                                      .port = rnd(2) ? 443 : 8443,
                                      .tls = true,
                                      .path = {store[n], path.len}};
        assert_int_equal(sug_add(&x.s, &facts[n], &err), 0);
        n++;
    }
    assert_int_equal(sug_make_rules(&x.s, &err), 0);
    gvm_buf_addz(&toml, "[policy]\ndefault=\"Deny\"\n");
    sug_write(&x.s, GVM_STR(""), &toml);
    struct gvm_conf *c = NULL;
    struct gvm_ruleset *rs = NULL;
    if (gvm_conf_parse(gvm_buf_str(&toml), "new", NULL, &c, &err) < 0 ||
        gvm_rules_compile(c, &rs, &err) < 0)
        fail_msg("%s\n%s", err.text, gvm_buf_cstr(&toml));
    for (unsigned i = 0; i < n; i++) {
        struct gvm_verdict v;
        gvm_rules_decide(rs, &facts[i], &v);
        bool read = gvm_str_eqz(facts[i].method, "GET") || gvm_str_eqz(facts[i].method, "HEAD") ||
                    gvm_str_eqz(facts[i].method, "OPTIONS");
        bool destroys = memmem(facts[i].path.p, facts[i].path.n, "delete", 6) != NULL;
        bool fine = read ? v.decision == GVM_ALLOW
                         : v.decision == GVM_DELAY || v.decision == GVM_REQUIRE_APPROVAL ||
                               (destroys && v.rule == -1);
        if (!fine)
            fail_msg("%.*s %.*s:%u%.*s: %s by %.*s lenient %d\n%s", GVM_STR_ARG(facts[i].method),
                     GVM_STR_ARG(facts[i].host), facts[i].port, GVM_STR_ARG(facts[i].path),
                     gvm_decision_name(v.decision), GVM_STR_ARG(v.name), v.lenient,
                     gvm_buf_cstr(&toml));
    }
    gvm_rules_free(rs);
    gvm_conf_free(c);
    end(&x);
    gvm_buf_done(&target);
    gvm_buf_done(&path);
    gvm_buf_done(&query);
    gvm_buf_done(&toml);
}

static void test_generation(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 150; i++)
        random_run(1 + i);
}

/* ---- apply ---- */

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/gvm-suggest-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return gvm_remove_tree_at(AT_FDCWD, dir, NULL);
}

static const char *in_dir(const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void put(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(gvm_write_all(fd, text, strlen(text)), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void get(const char *path, struct gvm_buf *b)
{
    struct gvm_err err = {0};
    gvm_buf_init(b, GVM_MAX_CONFIG);
    if (gvm_read_file(path, b, &err) < 0)
        fail_msg("%s", err.text);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void learn_two(struct fixture *x, const char *rules)
{
    begin(x, rules);
    add_get(&x->s, "GET", "new.test", GVM_STR("/v1"));
    add_get(&x->s, "DELETE", "new.test", GVM_STR("/v1"));
    assert_int_equal(sug_make_rules(&x->s, NULL), 0);
}

static void test_apply_merges(void **state)
{
    static const char old[] =
        "# my rules\n[[rules]]\nmethod = \"GET\" # keep\npattern = \"a.test\"\n"
        "decision = \"Allow\"\n\n# the rest\n# is closed\n[[rules]]\nmethod = \"*\"\n"
        "pattern = \"*\"\n[rules.decision]\ntype = \"Deny\"\n\n[audit]\nmode = \"strict\"\n";
    struct fixture x;
    struct gvm_buf b;
    struct gvm_err err = {0};
    size_t n = 0;
    (void)state;
    const char *path = in_dir("gvm.toml");
    put(path, old, 0640);
    learn_two(&x, old);
    if (sug_apply(&x.s, path, &n, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(n, 1);
    assert_int_equal(mode_of(path), 0640);
    get(path, &b);
    const char *text = gvm_buf_cstr(&b);
    const char *added = strstr(text, "new.test read"),
               *rest = strstr(text, "# the rest\n# is closed\n[[rules]]");
    assert_true(added && rest && added < rest);
    assert_true(strncmp(text, "# my rules\n[[rules]]\nmethod = \"GET\" # keep\n", 40) == 0);
    assert_non_null(strstr(text, "[audit]\nmode = \"strict\"\n"));
    assert_non_null(strstr(text, "# name = \"new.test delete\"\n"));
    /* again, now with the new file in force: nothing twice */
    struct fixture y;
    learn_two(&y, text);
    assert_int_equal(y.s.nrules, 1);
    if (sug_apply(&y.s, path, &n, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(n, 0);
    gvm_buf_done(&b);
    get(path, &b);
    const char *one = strstr(gvm_buf_cstr(&b), "new.test delete");
    assert_true(one && !strstr(one + 1, "new.test delete"));
    gvm_buf_done(&b);
    end(&x);
    end(&y);
}

static void test_apply_creates(void **state)
{
    struct fixture x;
    struct gvm_buf b;
    struct gvm_err err = {0};
    struct stat st;
    size_t n = 0;
    (void)state;
    const char *path = in_dir("new/deep/gvm.toml");
    learn_two(&x, "");
    if (sug_apply(&x.s, path, &n, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(mode_of(path), 0600);
    get(path, &b);
    assert_null(strstr(gvm_buf_cstr(&b), "[policy]"));
    assert_null(strstr(gvm_buf_cstr(&b), "bot\n[[rules]]")); /* an agent id cannot write rules */
    gvm_buf_done(&b);
    assert_int_equal(stat(in_dir("new/deep"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    end(&x);
}

/* What does not fit leaves the file as it was, and nothing beside it. */
static void test_apply_refuses(void **state)
{
    static const char inline_rules[] =
        "rules = [{method=\"GET\", pattern=\"a.test\", decision=\"Allow\"}]\n";
    static const char broken[] = "[[rules]]\nmethod = 1\n";
    static const char *const texts[] = {inline_rules, broken};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct fixture x;
        struct gvm_buf b;
        struct gvm_err err = {0};
        size_t n = 77;
        const char *path = in_dir("refuse.toml");
        put(path, texts[i], 0600);
        learn_two(&x, "");
        assert_true(sug_apply(&x.s, path, &n, &err) < 0);
        assert_int_equal(n, 77);
        get(path, &b);
        assert_string_equal(gvm_buf_cstr(&b), texts[i]);
        gvm_buf_done(&b);
        end(&x);
    }
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        assert_true(strncmp(e->d_name, ".gvm.toml", 9) != 0);
    closedir(d);
}

/* A file without a last newline, and one that ends inside a table. */
static void test_apply_ends(void **state)
{
    static const char *const texts[] = {"[policy]\ndefault = \"Deny\"", "# only a comment", "",
                                        "[[rules]]\nmethod='*'\npattern='b.test'\ndecision='Deny'"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct fixture x;
        struct gvm_err err = {0};
        size_t n = 0;
        const char *path = in_dir("ends.toml");
        put(path, texts[i], 0600);
        learn_two(&x, texts[i]);
        if (sug_apply(&x.s, path, &n, &err) < 0)
            fail_msg("%s", err.text);
        end(&x);
    }
}

static void test_apply_keeps_links(void **state)
{
    struct fixture x;
    struct stat st;
    struct gvm_err err = {0};
    size_t n = 0;
    char link[256];
    (void)state;
    put(in_dir("real.toml"), "", 0600);
    (void)snprintf(link, sizeof link, "%s/link.toml", dir);
    assert_int_equal(symlink("real.toml", link), 0);
    learn_two(&x, "");
    if (sug_apply(&x.s, link, &n, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(in_dir("real.toml"), &st), 0);
    assert_true(st.st_size > 0);
    end(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_in_force),
        cmocka_unit_test(test_generation),
        cmocka_unit_test(test_apply_merges),
        cmocka_unit_test(test_apply_creates),
        cmocka_unit_test(test_apply_refuses),
        cmocka_unit_test(test_apply_ends),
        cmocka_unit_test(test_apply_keeps_links),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
