/* Which configuration holds, and that a workspace's own does only while it is what was trusted. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "cli/cli.h"
#include "cli/trust.h"

static char top[64], work[128], own[128], file[160];

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(gvm_write_all(fd, text, strlen(text)), 0);
    close(fd);
}

static int set_up(void **state)
{
    char path[160];
    (void)state;
    (void)snprintf(top, sizeof top, "/tmp/gvm-trust-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    (void)snprintf(work, sizeof work, "%s/work", top);
    (void)snprintf(file, sizeof file, "%s/gvm.toml", work);
    (void)snprintf(own, sizeof own, "%s/config/gvm/gvm.toml", top);
    (void)snprintf(path, sizeof path, "%s/config", top);
    unsetenv("GVM_CONFIG");
    setenv("XDG_CONFIG_HOME", path, 1);
    (void)snprintf(path, sizeof path, "%s/state", top);
    setenv("GVM_STATE_DIR", path, 1);
    return mkdir(work, 0700);
}

static int tear_down(void **state)
{
    (void)state;
    return gvm_remove_tree_at(AT_FDCWD, top, NULL);
}

/* The file chosen ("" = none), and what was said. */
static void choose(const char *explicit_path, char ret[GVM_PATH_MAX], char said[1024])
{
    struct gvm_err err = {0};
    bool any = true;
    char *text = NULL;
    size_t n = 0;
    FILE *warn = open_memstream(&text, &n);
    assert_non_null(warn);
    if (cli_config_choose(explicit_path, work, ret, &any, warn, &err) < 0)
        fail_msg("%s", err.text);
    fclose(warn);
    (void)snprintf(said, 1024, "%s", text);
    free(text);
    assert_int_equal(any, ret[0] != '\0');
}

static void test_choice(void **state)
{
    char got[GVM_PATH_MAX], said[1024], dir[160], hex[65];
    struct gvm_err err = {0};
    (void)state;
    choose(NULL, got, said);
    assert_string_equal(got, "");
    assert_string_equal(said, "");

    put(file, "# theirs\n");
    choose(NULL, got, said);
    assert_string_equal(got, "");
    assert_non_null(strstr(said, "is not used: it is not trusted"));
    assert_non_null(strstr(said, "gvm trust "));
    assert_non_null(strstr(said, file));

    assert_int_equal(cli_trust_add(file, hex, &err), 0);
    assert_int_equal(strlen(hex), 64);
    choose(NULL, got, said);
    assert_string_equal(got, file);
    assert_string_equal(said, "");

    put(file, "# changed\n");
    choose(NULL, got, said);
    assert_string_equal(got, "");
    assert_non_null(strstr(said, "changed since it was trusted"));

    (void)snprintf(dir, sizeof dir, "%s/config/gvm", top);
    assert_int_equal(gvm_mkdirs(dir, 0700, &err), 0);
    put(own, "# mine\n");
    choose(NULL, got, said);
    assert_string_equal(got, own);
    assert_non_null(strstr(said, "gvm trust "));

    choose(file, got, said); /* named by hand: no question asked */
    assert_string_equal(got, file);
    assert_string_equal(said, "");
}

static void test_other_place(void **state)
{
    char got[GVM_PATH_MAX], said[1024], elsewhere[200];
    struct gvm_err err = {0};
    enum cli_trust t = CLI_TRUST_YES;
    (void)state;
    put(file, "# same bytes\n");
    assert_int_equal(cli_trust_add(file, NULL, &err), 0);
    (void)snprintf(elsewhere, sizeof elsewhere, "%s/gvm.toml", top);
    put(elsewhere, "# same bytes\n");
    assert_int_equal(cli_trust_look(elsewhere, &t, &err), 0);
    assert_int_equal(t, CLI_TRUST_NONE);
    choose(NULL, got, said);
    assert_string_equal(got, file);
}

static void count(void *ctx, struct gvm_str hex, struct gvm_str path)
{
    assert_int_equal(hex.n, 64);
    assert_true(path.p[0] == '/');
    ++*(int *)ctx;
}

static void test_list(void **state)
{
    struct gvm_err err = {0};
    struct stat st;
    char path[160];
    bool was = false;
    int n = 0;
    (void)state;
    put(file, "# 1\n");
    assert_int_equal(cli_trust_add(file, NULL, &err), 0);
    put(file, "# 2\n");
    assert_int_equal(cli_trust_add(file, NULL, &err), 0);
    assert_int_equal(cli_trust_list(count, &n, &err), 0);
    assert_int_equal(n, 1); /* the newer line replaced the older */
    (void)snprintf(path, sizeof path, "%s/state/trust", top);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(cli_trust_remove(file, &was, &err), 0);
    assert_true(was);
    assert_int_equal(cli_trust_remove(file, &was, &err), 0);
    assert_false(was);
    enum cli_trust t = CLI_TRUST_YES;
    assert_int_equal(cli_trust_look(file, &t, &err), 0);
    assert_int_equal(t, CLI_TRUST_NONE);
}

static void test_refused(void **state)
{
    char got[GVM_PATH_MAX];
    struct gvm_err err = {0};
    bool any = false;
    (void)state;
    assert_true(cli_trust_add("/nonexistent/gvm.toml", NULL, &err) < 0);
    assert_true(cli_trust_add("/tmp/a\nb", NULL, &err) < 0);
    assert_true(cli_config_choose("/nonexistent/gvm.toml", NULL, got, &any, NULL, &err) < 0);
    assert_non_null(strstr(err.text, "/nonexistent/gvm.toml"));
    /* a file named in the environment must be there */
    setenv("GVM_CONFIG", "/nonexistent/gvm.toml", 1);
    assert_true(cli_config_choose(NULL, NULL, got, &any, NULL, &err) < 0);
    unsetenv("GVM_CONFIG");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_choice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
