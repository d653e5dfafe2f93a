/* Credentials: where values come from, who may read the file, and what keys is told. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "conf/conf.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/gvm-creds-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return gvm_remove_tree_at(AT_FDCWD, dir, NULL);
}

static const char *put(const char *name, const char *text, mode_t mode)
{
    static char path[128];
    struct gvm_err err = {0};
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(gvm_write_file_at(fd, name, text, strlen(text), mode, &err), 0);
    close(fd);
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

#define PLAIN "[credentials.\"API.Stripe.com\"]\ntype = \"Bearer\"\ntoken = \"sk-live-1\"\n"

static void test_mode(void **state)
{
    static const mode_t bad[] = {0640, 0604, 0660, 0644, 0610};
    struct gvm_conf *c = NULL;
    struct gvm_err err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_true(gvm_conf_load(put("gvm.toml", PLAIN, bad[i]), &c, &err) < 0);
        assert_non_null(strstr(err.text, "gvm.toml:3:9: "));
        assert_non_null(strstr(err.text, "chmod 600"));
        assert_null(strstr(err.text, "sk-live"));
    }
    assert_int_equal(gvm_conf_load(put("gvm.toml", PLAIN, 0600), &c, &err), 0);
    assert_int_equal(c->ncreds, 1);
    assert_true(gvm_str_eqz(c->creds[0].host, "api.stripe.com"));
    assert_true(gvm_str_eqz(c->creds[0].header, "authorization"));
    assert_true(gvm_str_eqz(c->creds[0].value, "sk-live-1"));
    gvm_conf_free(c);
}

static void test_world_writable(void **state)
{
    struct gvm_conf *c = NULL;
    struct gvm_err err = {0};
    (void)state;
    assert_true(gvm_conf_load(put("gvm.toml", "", 0666), &c, &err) < 0);
    assert_non_null(strstr(err.text, "chmod o-w"));
    assert_int_equal(gvm_conf_load(put("gvm.toml", "", 0644), &c, &err), 0);
    gvm_conf_free(c);
}

static void test_sources(void **state)
{
    struct gvm_conf *c = NULL;
    struct gvm_err err = {0};
    (void)state;
    put("token", "from-file\n", 0600);
    assert_int_equal(setenv("GVM_TEST_TOKEN", "from-env", 1), 0);
    /* No plain value: the file may be readable by others. */
    const char *path = put(
        "gvm.toml",
        "[credentials.\"a.test\"]\ntype = \"ApiKey\"\nvalue = \"env:GVM_TEST_TOKEN\"\n"
        "[credentials.\"b.test\"]\ntype = \"ApiKey\"\nheader = \"X-Auth\"\nkey = \"file:token\"\n",
        0644);
    if (gvm_conf_load(path, &c, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(gvm_str_eqz(c->creds[0].value, "from-env"));
    assert_true(gvm_str_eqz(c->creds[0].header, "x-api-key"));
    assert_true(gvm_str_eqz(c->creds[1].value, "from-file"));
    assert_true(gvm_str_eqz(c->creds[1].header, "X-Auth"));
    gvm_conf_free(c);
}

static const struct {
    const char *text, *contains;
} refused[] = {
    {"token = \"x\"\n", "no type"},
    {"type = \"Bearer\"\n", "no value"},
    {"type = \"OAuth2\"\naccess_token = \"x\"\n", "not supported by this version"},
    {"type = \"Basic\"\ntoken = \"x\"\n", "not supported by this version"},
    {"type = \"Digest\"\ntoken = \"x\"\n", "unknown credential type"},
    {"type = \"Bearer\"\ntoken = \"x\"\nkey = \"y\"\n", "given twice"},
    {"type = \"Bearer\"\ntoken = \"x\"\nheader = \"x-a\"\n", "always uses the authorization"},
    {"type = \"ApiKey\"\nkey = \"x\"\nheader = \"a b\"\n", "cannot be a credential's header"},
    {"type = \"ApiKey\"\nkey = \"x\"\nheader = \"Content-Length\"\n",
     "cannot be a credential's header"},
    {"type = \"ApiKey\"\nkey = \"a\\r\\nb\"\n", "control byte"},
    {"type = \"ApiKey\"\nkey = \"\"\n", "empty"},
    {"type = \"ApiKey\"\nkey = \"env:GVM_TEST_UNSET_VARIABLE\"\n", "is not set"},
    {"type = \"ApiKey\"\nkey = \"env:\"\n", "needs the name"},
    {"type = \"ApiKey\"\nkey = \"file:/nonexistent/x\"\n", "cannot be read"},
    {"type = \"ApiKey\"\nkey = \"cmd:pass show x\"\n", "not supported by this version"},
    {"type = \"ApiKey\"\nkey = \"x\"\nkind = \"y\"\n", "unknown key"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char text[512];
        struct gvm_conf *c = NULL;
        struct gvm_err err = {0};
        (void)snprintf(text, sizeof text, "[credentials.\"a.test\"]\n%s", refused[i].text);
        assert_true(gvm_conf_parse(gvm_str(text), "gvm.toml", NULL, &c, &err) < 0);
        if (!strstr(err.text, refused[i].contains))
            fail_msg("%s gave: %s", refused[i].text, err.text);
    }
    static const char *const hosts[] = {
        "http://a.test", "a.test:8443", "*.a.test",   "a b",   "",
        "a..b",          "x@a.test",    "2130706433", "127.1", "\xc3\xa4.test"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        char text[512];
        struct gvm_conf *c = NULL;
        struct gvm_err err = {0};
        (void)snprintf(text, sizeof text, "[credentials.\"%s\"]\ntype=\"Bearer\"\ntoken=\"x\"\n",
                       hosts[i]);
        if (gvm_conf_parse(gvm_str(text), "gvm.toml", NULL, &c, &err) >= 0)
            fail_msg("%s was accepted", hosts[i]);
    }
    struct gvm_conf *c = NULL;
    struct gvm_err err = {0};
    assert_true(gvm_conf_parse(GVM_STR("[credentials.\"a.test\"]\ntype=\"Bearer\"\ntoken=\"x\"\n"
                                       "[credentials.\"A.test.\"]\ntype=\"Bearer\"\ntoken=\"y\"\n"),
                               "gvm.toml", NULL, &c, &err) < 0);
    assert_non_null(strstr(err.text, "two credentials"));
}

static void test_encode(void **state)
{
    struct gvm_conf *c = NULL;
    struct gvm_err err = {0};
    struct gvm_buf b;
    (void)state;
    int r = gvm_conf_parse(
        GVM_STR(
            "[credentials.\"a.test:443\"]\ntype=\"Bearer\"\ntoken=\"x\\\"y\"\n"
            "[credentials.\"b.test\"]\ntype=\"ApiKey\"\nkey=\"k\"\n"
            "[credentials.\"c.in.test\"]\ntype=\"ApiKey\"\nkey=\"k\"\n"
            "[[rules]]\nmethod=\"*\"\npattern=\"*\"\nprivate=true\ndecision=\"Allow\"\n"
            "[[rules]]\nmethod=\"*\"\npattern=\"B.test:80/x\"\nprivate=true\ndecision=\"Allow\"\n"
            "[[rules]]\nmethod=\"*\"\npattern=\"{x}.in.test\"\nprivate=true\ndecision=\"Deny\"\n"),
        "gvm.toml", NULL, &c, &err);
    if (r < 0)
        fail_msg("%s", err.text);
    gvm_buf_init(&b, 65536);
    assert_int_equal(gvm_credentials_encode(c, &b), 0);
    assert_string_equal(gvm_buf_cstr(&b),
                        "{\"credentials\":["
                        "{\"host\":\"a.test\",\"type\":\"Bearer\",\"header\":\"authorization\","
                        "\"value\":\"x\\\"y\",\"private\":false},"
                        "{\"host\":\"b.test\",\"type\":\"ApiKey\",\"header\":\"x-api-key\","
                        "\"value\":\"k\",\"private\":true},"
                        "{\"host\":\"c.in.test\",\"type\":\"ApiKey\",\"header\":\"x-api-key\","
                        "\"value\":\"k\",\"private\":false}]}");
    gvm_buf_done(&b);
    gvm_conf_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mode),    cmocka_unit_test(test_world_writable),
        cmocka_unit_test(test_sources), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_encode),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
