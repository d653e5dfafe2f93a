/* The two key files: made once, read by their owner only, never replaced when they are wrong. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "keys/keys_int.h"

static int open_temp(char path[32])
{
    (void)memcpy(path, "/tmp/gvm-keys-XXXXXX", 21);
    assert_non_null(mkdtemp(path));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void remove_temp(int dir, const char *path)
{
    (void)unlinkat(dir, "log.seed", 0);
    (void)unlinkat(dir, "seal.key", 0);
    (void)unlinkat(dir, "signed-head", 0);
    close(dir);
    assert_int_equal(rmdir(path), 0);
}

static void read32(int fd, uint8_t out[KEYS_SEED])
{
    assert_int_equal(pread(fd, out, KEYS_SEED, 0), KEYS_SEED);
}

static void made_once(void **state)
{
    (void)state;
    char path[32];
    int dir = open_temp(path), a[3], b[3];
    uint8_t first[KEYS_SEED], again[KEYS_SEED], seal[KEYS_SEED];
    struct stat st;
    assert_int_equal(gvm_keys_open_files(dir, a, NULL), 0);
    assert_int_equal(gvm_keys_open_files(dir, b, NULL), 0);
    read32(a[0], first);
    read32(b[0], again);
    read32(a[1], seal);
    assert_memory_equal(first, again, KEYS_SEED);
    assert_memory_not_equal(first, seal, KEYS_SEED);
    assert_int_equal(fstat(a[0], &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(fcntl(a[0], F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_true(fcntl(a[0], F_GETFD) & FD_CLOEXEC);
    for (int i = 0; i < 3; i++) {
        close(a[i]);
        close(b[i]);
    }
    remove_temp(dir, path);
}

static void wrong_files_refused(void **state)
{
    (void)state;
    char path[32];
    int dir = open_temp(path), fds[3] = {-7, -7, -7};
    struct gvm_err err = {0};
    assert_int_equal(gvm_write_file_at(dir, "log.seed", "short", 5, 0600, NULL), 0);
    assert_int_equal(gvm_keys_open_files(dir, fds, &err), -EINVAL);
    assert_non_null(strstr(err.text, "log.seed"));
    uint8_t seed[KEYS_SEED] = {1};
    assert_int_equal(gvm_write_file_at(dir, "log.seed", seed, sizeof seed, 0600, NULL), 0);
    assert_int_equal(fchmodat(dir, "log.seed", 0644, 0), 0);
    assert_int_equal(gvm_keys_open_files(dir, fds, &err), -EPERM);
    assert_non_null(strstr(err.text, "chmod 600"));
    assert_int_equal(unlinkat(dir, "log.seed", 0), 0);
    assert_int_equal(symlinkat("/dev/zero", dir, "log.seed"), 0);
    assert_true(gvm_keys_open_files(dir, fds, NULL) < 0);
    assert_int_equal(fds[0], -7); /* untouched */
    assert_int_equal(unlinkat(dir, "log.seed", 0), 0);
    assert_int_equal(gvm_keys_open_files(dir, fds, NULL), 0); /* and the ordinary case beside it */
    close(fds[0]);
    close(fds[1]);
    close(fds[2]);
    remove_temp(dir, path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_once),
        cmocka_unit_test(wrong_files_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
