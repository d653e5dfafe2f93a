#include "../unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/core.h"

static char top[64];
static int topfd;

static int make_top(void **state)
{
    snprintf(top, sizeof top, "/tmp/gvm-fs-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    topfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return topfd < 0 ? -1 : 0;
}

static int drop_top(void **state)
{
    close(topfd);
    int r = gvm_remove_tree_at(AT_FDCWD, top, NULL);
    struct stat st;
    return r == 0 && stat(top, &st) < 0 ? 0 : -1;
}

static unsigned entries(void)
{
    DIR *d = opendir(top);
    unsigned n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void files_are_replaced_whole(void **state)
{
    struct gvm_buf b;
    struct gvm_err err = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/f", top);
    assert_int_equal(gvm_write_file_at(topfd, "f", "one", 3, 0640, &err), 0);
    assert_int_equal(gvm_write_file_at(topfd, "f", "second", 6, 0600, &err), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(entries(), 1); /* no temporary left */
    gvm_buf_init(&b, 6);
    assert_int_equal(gvm_read_file(path, &b, &err), 0);
    assert_str(gvm_buf_str(&b), "second");
    gvm_buf_done(&b);
    gvm_buf_init(&b, 5);
    assert_int_equal(gvm_read_file(path, &b, &err), -EFBIG);
    gvm_buf_done(&b);
    gvm_buf_init(&b, 100);
    assert_int_equal(gvm_read_file("/nonexistent/file", &b, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/file"));
    assert_int_equal(gvm_write_file_at(topfd, "a/b", "x", 1, 0600, &err), -EINVAL);
    assert_int_equal(gvm_write_file_at(topfd, "", "x", 1, 0600, &err), -EINVAL);
}

static void a_failed_write_leaves_the_old_file(void **state)
{
    struct gvm_err err = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/f", top);
    assert_int_equal(gvm_write_file_at(topfd, "f", "old", 3, 0600, &err), 0);
    struct rlimit was, small = {4096, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &was);
    small.rlim_max = was.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    static char big[20000];
    int r = gvm_write_file_at(topfd, "f", big, sizeof big, 0600, &err);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(r, -EFBIG);
    assert_int_equal(entries(), 1);
    struct gvm_buf b;
    gvm_buf_init(&b, 100);
    assert_int_equal(gvm_read_file(path, &b, &err), 0);
    assert_str(gvm_buf_str(&b), "old");
    gvm_buf_done(&b);
}

static void beneath_means_beneath(void **state)
{
    assert_int_equal(mkdirat(topfd, "d", 0700), 0);
    assert_int_equal(symlinkat("/etc", topfd, "out"), 0);
    assert_int_equal(symlinkat("d", topfd, "in"), 0);
    assert_int_equal(symlinkat("../..", topfd, "d/up"), 0);
    int fd = gvm_open_beneath(topfd, "d/new", O_WRONLY | O_CREAT | O_EXCL, 0600, true);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(fd);
    fd = gvm_open_beneath(topfd, "in/new", O_RDONLY, 0, false);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(gvm_open_beneath(topfd, "in/new", O_RDONLY, 0, true), -ELOOP);
    assert_int_equal(gvm_open_beneath(topfd, "out/passwd", O_RDONLY, 0, false), -EXDEV);
    assert_int_equal(gvm_open_beneath(topfd, "/etc/passwd", O_RDONLY, 0, false), -EXDEV);
    assert_int_equal(gvm_open_beneath(topfd, "../x", O_RDONLY, 0, false), -EXDEV);
    assert_int_equal(gvm_open_beneath(topfd, "d/up/x", O_RDONLY, 0, false), -EXDEV);
    assert_int_equal(gvm_open_beneath(topfd, "none", O_RDONLY, 0, false), -ENOENT);
}

/* Deeper than any path name, with modes that shut the owner out and links that lead away. */
static void removes_hostile_trees(void **state)
{
    assert_int_equal(mkdirat(topfd, "t", 0700), 0);
    assert_int_equal(mkdirat(topfd, "keep", 0700), 0);
    int fd = openat(topfd, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(mkdirat(fd, "deep", 0700), 0);
        if (i % 7 == 0) {
            assert_int_equal(mkdirat(fd, "wide", 0700), 0);
            assert_int_equal(symlinkat("../../keep", fd, "wide/link"), 0);
            assert_int_equal(symlinkat(top, fd, "abs"), 0);
            assert_int_equal(mkdirat(fd, "shut", 0700), 0);
            assert_int_equal(mkdirat(fd, "shut/in", 0700), 0);
            assert_int_equal(fchmodat(fd, "shut", 0, 0), 0);
        }
        int next = openat(fd, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        if (i % 11 == 0)
            assert_int_equal(fchmod(fd, 0500), 0); /* nothing may be removed from it as it is */
        close(fd);
        fd = next;
    }
    close(fd);
    struct gvm_err err = {0};
    struct rlimit was, few;
    getrlimit(RLIMIT_NOFILE, &was);
    few = (struct rlimit){80, was.rlim_max};
    setrlimit(RLIMIT_NOFILE, &few); /* its depth must not cost descriptors */
    int r = gvm_remove_tree_at(topfd, "t", &err);
    setrlimit(RLIMIT_NOFILE, &was);
    if (r < 0)
        fail_msg("%s", err.text);
    struct stat st;
    assert_int_equal(fstatat(topfd, "t", &st, 0), -1);
    assert_int_equal(fstatat(topfd, "keep", &st, 0), 0);
    assert_int_equal(gvm_remove_tree_at(topfd, "t", &err), 0); /* missing is fine */
    assert_int_equal(symlinkat("keep", topfd, "l"), 0);
    assert_int_equal(gvm_remove_tree_at(topfd, "l", &err), 0);
    assert_int_equal(fstatat(topfd, "keep", &st, 0), 0);
}

static void directories_on_the_way(void **state)
{
    char path[128];
    struct gvm_err err = {0};
    snprintf(path, sizeof path, "%s/a/b/c", top);
    assert_int_equal(gvm_mkdirs(path, 0700, &err), 0);
    assert_int_equal(gvm_mkdirs(path, 0700, &err), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(gvm_write_file_at(topfd, "file", "", 0, 0600, &err), 0);
    snprintf(path, sizeof path, "%s/file/x", top);
    assert_int_equal(gvm_mkdirs(path, 0700, &err), -ENOTDIR);
    snprintf(path, sizeof path, "%s/file", top);
    assert_int_equal(gvm_mkdirs(path, 0700, &err), -ENOTDIR);
    assert_int_equal(gvm_mkdirs("", 0700, &err), -ENAMETOOLONG);
}

static void memory_files_are_sealed(void **state)
{
    int fd = gvm_memfd("test", "hello", 5);
    char text[8] = "";
    assert_true(fd >= 0);
    assert_int_equal(read(fd, text, sizeof text), 5);
    assert_string_equal(text, "hello");
    assert_int_equal(write(fd, "x", 1), -1);
    assert_int_equal(ftruncate(fd, 0), -1);
    close(fd);
}

static void places(void **state)
{
    char p[GVM_PATH_MAX];
    struct gvm_err err = {0};
    setenv("GVM_STATE_DIR", "/x/state//", 1);
    assert_int_equal(gvm_place_path(GVM_PLACE_STATE, "runs/1", p, &err), 0);
    assert_string_equal(p, "/x/state/runs/1");
    setenv("GVM_STATE_DIR", "relative", 1);
    assert_int_equal(gvm_place(GVM_PLACE_STATE, p, &err), -EINVAL);
    assert_non_null(strstr(err.text, "GVM_STATE_DIR"));
    unsetenv("GVM_STATE_DIR");
    setenv("XDG_STATE_HOME", "relative", 1); /* the XDG rule: ignored */
    setenv("HOME", "/home/someone", 1);
    assert_int_equal(gvm_place(GVM_PLACE_STATE, p, &err), 0);
    assert_string_equal(p, "/home/someone/.local/state/gvm");
    setenv("XDG_STATE_HOME", "/s", 1);
    assert_int_equal(gvm_place(GVM_PLACE_STATE, p, &err), 0);
    assert_string_equal(p, "/s/gvm");
    unsetenv("GVM_CONFIG");
    unsetenv("XDG_CONFIG_HOME");
    assert_int_equal(gvm_place(GVM_PLACE_CONFIG, p, &err), 0);
    assert_string_equal(p, "/home/someone/.config/gvm/gvm.toml");
    unsetenv("GVM_RUNTIME_DIR");
    setenv("XDG_RUNTIME_DIR", top, 1);
    assert_int_equal(gvm_place_path(GVM_PLACE_RUNTIME, "gvmd.sock", p, &err), 0);
    assert_true(strncmp(p, top, strlen(top)) == 0 && strstr(p, "/gvm/gvmd.sock"));
    setenv("XDG_RUNTIME_DIR", "/nonexistent", 1); /* not a directory of ours: the next place */
    assert_int_equal(gvm_place(GVM_PLACE_RUNTIME, p, &err), 0);
    assert_null(strstr(p, "/nonexistent"));
    unsetenv("HOME");
    unsetenv("XDG_STATE_HOME");
    assert_int_equal(gvm_place(GVM_PLACE_STATE, p, &err), -ENOENT);
    char big[GVM_PATH_MAX + 10];
    memset(big, 'a', sizeof big - 1);
    big[0] = '/';
    big[sizeof big - 1] = '\0';
    setenv("GVM_STATE_DIR", big, 1);
    assert_int_equal(gvm_place(GVM_PLACE_STATE, p, &err), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_are_replaced_whole, make_top, drop_top),
        cmocka_unit_test_setup_teardown(a_failed_write_leaves_the_old_file, make_top, drop_top),
        cmocka_unit_test_setup_teardown(beneath_means_beneath, make_top, drop_top),
        cmocka_unit_test_setup_teardown(removes_hostile_trees, make_top, drop_top),
        cmocka_unit_test_setup_teardown(directories_on_the_way, make_top, drop_top),
        cmocka_unit_test_setup_teardown(memory_files_are_sealed, make_top, drop_top),
        cmocka_unit_test_setup_teardown(places, make_top, drop_top),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
