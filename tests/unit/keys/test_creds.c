/* Credentials: by host only, by policy only, never for an unverified peer. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include "keys/keys_int.h"

static const char SET[] =
    "{\"credentials\":["
    "{\"host\":\"api.a.com\",\"type\":\"Bearer\",\"header\":\"authorization\",\"value\":\"secret-"
    "a\","
    "\"private\":false},"
    "{\"host\":\"api.b.com\",\"type\":\"ApiKey\",\"header\":\"x-b-key\",\"value\":\"secret-b\","
    "\"private\":true}]}";

static const char *ask(const struct keys_creds *c, uint32_t policy, bool tls, const char *host,
                       struct gvm_buf *out)
{
    struct gvm_m_cred m = {.policy = policy, .tls = tls};
    (void)snprintf(m.host, sizeof m.host, "%s", host);
    gvm_buf_reset(out);
    assert_int_equal(keys_creds_answer(c, &m, out, NULL), 0);
    return gvm_buf_cstr(out);
}

static const char NONE[] = "{\"remove\":[],\"set\":[]}";

static void given_by_host_and_policy(void **state)
{
    (void)state;
    struct gvm_buf out;
    struct keys_creds *c = keys_creds_new();
    gvm_buf_init(&out, 4096);
    assert_int_equal(keys_creds_load(c, 7, GVM_STR(SET), NULL), 0);
    assert_non_null(
        strstr(ask(c, 7, true, "api.a.com", &out), "[\"authorization\",\"Bearer secret-a\"]"));
    assert_non_null(strstr(ask(c, 7, true, "api.a.com", &out), "\"remove\":[\"authorization\""));
    assert_non_null(strstr(ask(c, 7, true, "api.b.com", &out), "[\"x-b-key\",\"secret-b\"]"));
    assert_string_equal(ask(c, 7, true, "api.c.com", &out), NONE);
    assert_string_equal(ask(c, 7, true, "api.a.com.evil.com", &out), NONE);
    assert_string_equal(ask(c, 8, true, "api.a.com", &out), NONE);
    gvm_buf_wipe(&out);
    keys_creds_free(c);
}

static void plain_peers_get_private_ones_only(void **state)
{
    (void)state;
    struct gvm_buf out;
    struct keys_creds *c = keys_creds_new();
    gvm_buf_init(&out, 4096);
    assert_int_equal(keys_creds_load(c, 1, GVM_STR(SET), NULL), 0);
    assert_string_equal(ask(c, 1, false, "api.a.com", &out), NONE);
    assert_non_null(strstr(ask(c, 1, false, "api.b.com", &out), "secret-b"));
    gvm_buf_wipe(&out);
    keys_creds_free(c);
}

static void a_broken_set_leaves_the_old_one(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{",
        "{\"credentials\":[{\"host\":\"\",\"type\":\"Bearer\",\"value\":\"x\"}]}",
        "{\"credentials\":[{\"host\":\"h\",\"type\":\"Basic\",\"value\":\"x\"}]}",
        "{\"credentials\":[{\"host\":\"h\",\"type\":\"Bearer\",\"value\":\"\"}]}",
        "{\"credentials\":[{\"host\":\"h\",\"type\":\"Bearer\",\"value\":\"a\\r\\nEvil: 1\"}]}",
    };
    struct gvm_buf out;
    struct keys_creds *c = keys_creds_new();
    gvm_buf_init(&out, 4096);
    assert_int_equal(keys_creds_load(c, 1, GVM_STR(SET), NULL), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_true(keys_creds_load(c, 1, gvm_str(bad[i]), NULL) < 0);
        assert_non_null(strstr(ask(c, 1, true, "api.a.com", &out), "secret-a"));
    }
    assert_int_equal(keys_creds_load(c, 1, GVM_STR("{\"credentials\":[]}"), NULL), 0);
    assert_string_equal(ask(c, 1, true, "api.a.com", &out), NONE);
    gvm_buf_wipe(&out);
    keys_creds_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_by_host_and_policy),
        cmocka_unit_test(plain_peers_get_private_ones_only),
        cmocka_unit_test(a_broken_set_leaves_the_old_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
