/* Looking for secrets: everything is found, however it came there and whatever is remembered. */
#include "../unit.h"
#include "sandbox/sandbox_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char top[64], cache[96];
static struct gvm_sandbox_plan plan;
static struct sandbox_init in = {.plan = &plan, .ctl = -1};

static void make(const char *rel)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", top, rel);
    for (char *p = strchr(path + strlen(top) + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static int setup(void **state)
{
    (void)state;
    snprintf(top, sizeof(top), "/tmp/gvm-scan-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    snprintf(cache, sizeof(cache), "%s.cache", top);
    in.uid = geteuid();
    in.gid = getegid();
    plan = (struct gvm_sandbox_plan){.run = "r", .cache = cache};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    int dir = open("/tmp", O_RDONLY | O_DIRECTORY);
    (void)!gvm_remove_tree_at(dir, strrchr(top, '/') + 1, NULL);
    (void)!gvm_remove_tree_at(dir, strrchr(cache, '/') + 1, NULL);
    return close(dir);
}

struct found {
    char text[4096]; /* names with ; behind each, in order of discovery */
};

static int note(void *arg, const char *rel, enum sandbox_look look, struct gvm_err *err)
{
    struct found *f = arg;
    size_t n = strlen(f->text);
    (void)err;
    assert_int_not_equal(look, SANDBOX_LOOK_NO);
    snprintf(f->text + n, sizeof(f->text) - n, "%s;", rel);
    return 0;
}

static void expect(const char *rel, bool there)
{
    struct found f = {""};
    char wanted[128];
    assert_int_equal(sandbox_scan(&in, top, note, &f, NULL), 0);
    snprintf(wanted, sizeof(wanted), "%s;", rel);
    if ((strstr(f.text, wanted) != NULL) != there)
        fail_msg("%s should %sbe in %s", rel, there ? "" : "not ", f.text);
}

static void finds_what_names_say(void **state)
{
    static const char *const secret[] = {".env",         "deep/1/2/3/4/5/6/7/8/.env.local",
                                         "x/server.key", "gvm.toml",
                                         "a/id_ed25519", "b/prod.env"};
    static const char *const plain[] = {".env.example", "main.c", "node_modules/p/.env",
                                        "x/y.keys"};
    (void)state;
    for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
        make(secret[i]);
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        make(plain[i]);
    for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
        expect(secret[i], true);
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        expect(plain[i], false);
}

static void finds_sockets(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)state;
    mkdir(top, 0700);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/agent", top);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    expect("agent", true);
    close(fd);
}

static bool kept(void)
{
    char path[160];
    struct stat st;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (const char *p = top; *p; p++)
        h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    snprintf(path, sizeof(path), "%s/scan-%016llx", cache, (unsigned long long)h);
    return stat(path, &st) == 0;
}

/* A second start knows the tree without reading it; what changed since is found all the same. */
static void remembers_without_missing_anything(void **state)
{
    char rel[64];
    (void)state;
    for (int i = 0; i < 700; i++) {
        snprintf(rel, sizeof(rel), "d%d/s%d/f%d", i % 7, i % 3, i);
        make(rel);
    }
    make("d1/s1/.env");
    expect("d1/s1/.env", true);
    assert_true(kept());
    /* Read within two seconds of its making, nothing of it is trusted yet. */
    make("d1/s1/late.key");
    expect("d1/s1/late.key", true);
    nanosleep(&(struct timespec){2, 200000000}, NULL);
    expect("d1/s1/.env", true); /* from here on the walk is trusted */
    make("d1/s1/later.key");
    expect("d1/s1/later.key", true);
    expect("d1/s1/.env", true);
    make("d1/new/.env");
    expect("d1/new/.env", true);
    make("d5/s1/deeper/still/.env");
    expect("d5/s1/deeper/still/.env", true);
    char from[96], to[96];
    snprintf(from, sizeof(from), "%s/d1/s1/.env", top);
    assert_int_equal(unlink(from), 0);
    expect("d1/s1/.env", false);
    expect("d1/s1/later.key", true);
    /* A directory put in place of another of the same name. */
    make("other/.env.swapped");
    snprintf(from, sizeof(from), "%s/d2", top);
    snprintf(to, sizeof(to), "%s/gone", top);
    assert_int_equal(rename(from, to), 0);
    snprintf(to, sizeof(to), "%s/other", top);
    assert_int_equal(rename(to, from), 0);
    expect("d2/.env.swapped", true);
}

/* The directory's modification time can be set back by anybody; its change time cannot. */
static void is_not_fooled_by_times(void **state)
{
    char path[128], rel[64];
    struct stat st;
    (void)state;
    for (int i = 0; i < 600; i++) {
        snprintf(rel, sizeof(rel), "d/f%d", i);
        make(rel);
    }
    nanosleep(&(struct timespec){2, 200000000}, NULL);
    expect("d/f1", false);
    assert_true(kept());
    snprintf(path, sizeof(path), "%s/d", top);
    assert_int_equal(stat(path, &st), 0);
    make("d/.env");
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    expect("d/.env", true);
}

/* A memory that was damaged is no memory. */
static void survives_damage(void **state)
{
    char path[160], rel[64];
    (void)state;
    for (int i = 0; i < 600; i++) {
        snprintf(rel, sizeof(rel), "d/f%d", i);
        make(rel);
    }
    make("d/.env");
    expect("d/.env", true);
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (const char *p = top; *p; p++)
        h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    snprintf(path, sizeof(path), "%s/scan-%016llx", cache, (unsigned long long)h);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (off_t at = 0; at < st.st_size; at += 7) {
        uint8_t byte;
        int fd = open(path, O_RDWR);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x41;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        expect("d/.env", true);
    }
    assert_int_equal(truncate(path, st.st_size / 2), 0);
    expect("d/.env", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(finds_what_names_say, setup, teardown),
        cmocka_unit_test_setup_teardown(finds_sockets, setup, teardown),
        cmocka_unit_test_setup_teardown(remembers_without_missing_anything, setup, teardown),
        cmocka_unit_test_setup_teardown(is_not_fooled_by_times, setup, teardown),
        cmocka_unit_test_setup_teardown(survives_damage, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
