/* Landing and dropping: what is chosen lands, nothing else moves, nothing is followed, and a crash
 * or a full disk at any step leaves each file as before or as after. */
#include "bench.h"

static void lands_what_is_chosen(void **state)
{
    (void)state;
    struct bench b;
    char path[4096];
    bench_init(&b);
    put(b.host, "a", "old", 0640);
    put(b.host, "b", "old", 0644);
    start_run(&b);
    put(b.upper, "a", "new", 0640);
    put(b.upper, "b", "new", 0644);
    put(b.upper, "n/e/w.txt", "new", 0644);
    assert_int_equal(commit(&b, "a", false), 1);
    assert_string_equal(get(b.host, "a"), "new");
    assert_int_equal(mode_of(b.host, "a") & 07777, 0640);
    assert_string_equal(get(b.host, "b"), "old");
    assert_false(there(b.host, "n"));
    assert_false(there(b.upper, "a"));
    assert_true(there(b.upper, "b"));
    assert_int_equal(commit(&b, "n/e/w.txt", false), 1);
    assert_string_equal(get(b.host, "n/e/w.txt"), "new");
    assert_false(there(b.upper, "n"));
    assert_int_equal(commit(&b, NULL, false), 1);
    assert_int_equal(count(&b), 0);
    assert_false(there(b.run, "commit"));
    assert_int_equal(access(at(path, b.run, "upper"), F_OK), 0);
    bench_done(&b);
}

static void conflicts_wait_for_force(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(b.host, "a", "old", 0644);
    put(b.host, "d/x", "old", 0644);
    start_run(&b);
    put(b.upper, "a", "agent", 0644);
    put_whiteout(&b, "d");
    put(b.host, "a", "owner", 0644);
    put(b.host, "d/y", "owner", 0644);
    assert_int_equal(commit(&b, NULL, false), 1); /* d/x goes; d stays because of d/y */
    assert_string_equal(get(b.host, "a"), "owner");
    assert_string_equal(get(b.host, "d/y"), "owner");
    assert_int_equal(commit(&b, NULL, true), 3);
    assert_string_equal(get(b.host, "a"), "agent");
    assert_false(there(b.host, "d"));
    assert_int_equal(count(&b), 0);
    bench_done(&b);
}

/* The host changes between the list and the landing. */
static void late_conflict(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(b.host, "a", "old", 0644);
    start_run(&b);
    put(b.upper, "a", "agent", 0644);
    put(b.upper, "new.txt", "agent", 0644);
    struct gvm_changes c = scan(&b);
    put(b.host, "a", "owner", 0644);
    put(b.host, "new.txt", "owner", 0644);
    size_t done = 9;
    struct gvm_err err = {0};
    assert_int_equal(commit_list(&b, &c, NULL, false, &done, &err), 0);
    assert_int_equal(done, 0);
    assert_string_equal(get(b.host, "a"), "owner");
    assert_string_equal(get(b.host, "new.txt"), "owner");
    gvm_changes_done(&c);
    assert_int_equal(count(&b), 2);
    bench_done(&b);
}

static void types_change(void **state)
{
    (void)state;
    struct bench b;
    char target[16] = "";
    char path[4096];
    bench_init(&b);
    put(b.host, "dir/in", "x", 0644);
    put(b.host, "file", "x", 0644);
    put(b.host, "link-target", "precious", 0644);
    put_link(b.host, "link", "link-target");
    put(b.host, "keep/in", "x", 0644);
    start_run(&b);
    put(b.upper, "dir", "now a file", 0644);
    put(b.upper, "file/in", "now a folder", 0644);
    put(b.upper, "link", "now a file", 0644);
    put_link(b.upper, "near", "file/in");
    put(b.upper, "keep", "in the way", 0644);
    /* Without the deletion of what is in it, the folder stays. */
    assert_int_equal(commit(&b, "keep", false), 0);
    assert_string_equal(get(b.host, "keep/in"), "x");
    assert_int_equal(commit(&b, NULL, false), 8);
    assert_string_equal(get(b.host, "dir"), "now a file");
    assert_string_equal(get(b.host, "file/in"), "now a folder");
    assert_string_equal(get(b.host, "link"), "now a file");
    assert_string_equal(get(b.host, "link-target"), "precious");
    assert_string_equal(get(b.host, "keep"), "in the way");
    assert_int_equal(readlink(at(path, b.host, "near"), target, sizeof(target)), 7);
    assert_int_equal(count(&b), 0);
    bench_done(&b);
}

static void modes_and_kinds(void **state)
{
    (void)state;
    struct bench b;
    char path[4096];
    bench_init(&b);
    put_dir(b.host, "d", 0755);
    put(b.host, "m", "x", 0644);
    start_run(&b);
    put(b.upper, "s", "x", 04755);
    put_dir(b.upper, "d", 0700);
    put_dir(b.upper, "sticky", 01777);
    put(b.upper, "m", "x", 0755);
    must(mkfifo(at(path, b.upper, "fifo"), 0644) == 0);
    must(mknod(at(path, b.upper, "sock"), S_IFSOCK | 0644, 0) == 0);
    assert_int_equal(commit(&b, NULL, false), 5);
    assert_int_equal(mode_of(b.host, "s"), S_IFREG | 0755);
    assert_int_equal(mode_of(b.host, "d"), S_IFDIR | 0700);
    assert_int_equal(mode_of(b.host, "sticky"), S_IFDIR | 0777);
    assert_int_equal(mode_of(b.host, "m"), S_IFREG | 0755);
    assert_true(S_ISFIFO(mode_of(b.host, "fifo")));
    assert_false(there(b.host, "sock"));
    assert_int_equal(count(&b), 1); /* the socket can only be dropped */
    assert_int_equal(discard(&b, NULL), 1);
    assert_int_equal(count(&b), 0);
    bench_done(&b);
}

static void force_keeps_setuid(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start_run(&b);
    put(b.upper, "s", "x", 04755);
    assert_int_equal(commit(&b, NULL, true), 1);
    assert_int_equal(mode_of(b.host, "s"), S_IFREG | 04755);
    bench_done(&b);
}

/* F2: a link on the way, planted on either side, at rest or while we work. */
static void planted_links(void **state)
{
    (void)state;
    struct bench b;
    char outside[96];
    bench_init(&b);
    snprintf(outside, sizeof(outside), "%s/outside", b.top);
    put(outside, "victim", "precious", 0644);
    put(b.host, "ok", "old", 0644);
    start_run(&b);
    put(b.upper, "ok", "new", 0644);
    put(b.upper, "way/victim", "evil", 0644);
    put(b.upper, "victim", "evil", 0644);
    put(b.upper, "gone/victim", "evil", 0644);
    struct gvm_changes c = scan(&b);
    /* After the list was made: the host's folder and file become links to the outside. */
    put_link(b.host, "way", outside);
    char path[4096];
    put_link(b.host, "victim", at(path, outside, "victim"));
    put_link(b.host, "gone", "../outside");
    size_t done = 0;
    struct gvm_err err = {0};
    assert_int_equal(commit_list(&b, &c, NULL, true, &done, &err), 0);
    gvm_changes_done(&c);
    assert_int_equal(done, 1);
    assert_string_equal(get(b.host, "ok"), "new");
    assert_string_equal(get(outside, "victim"), "precious");
    /* Found as they are now: the links are replaced themselves, or are in the way; the outside
     * never moves. */
    commit(&b, NULL, true);
    assert_string_equal(get(outside, "victim"), "precious");
    assert_string_equal(get(b.host, "victim"), "evil");
    assert_int_equal(mode_of(outside, "victim"), S_IFREG | 0644);
    bench_done(&b);
}

/* The layer's own folder was swapped for a link: nothing outside is read. */
static void links_in_the_layer(void **state)
{
    (void)state;
    struct bench b;
    char outside[96], path[4096], moved[4096];
    bench_init(&b);
    snprintf(outside, sizeof(outside), "%s/outside", b.top);
    put(outside, "x.txt", "private", 0600);
    start_run(&b);
    put(b.upper, "d/x.txt", "fine", 0644);
    struct gvm_changes c = scan(&b);
    must(rename(at(path, b.upper, "d"), at(moved, b.run, "elsewhere")) == 0);
    must(symlink(outside, path) == 0);
    size_t done = 0;
    struct gvm_err err = {0};
    assert_int_equal(commit_list(&b, &c, NULL, false, &done, &err), 0);
    assert_int_equal(done, 0);
    assert_false(there(b.host, "d/x.txt"));
    assert_int_equal(gvm_changes_discard(b.run, &c, pick_all, NULL, &done, &err), 0);
    assert_string_equal(get(outside, "x.txt"), "private");
    gvm_changes_done(&c);
    /* A name that climbs cannot be made by a scan; given anyway, it is refused. */
    struct gvm_change climb = {.path = GVM_STR("../outside/x.txt"), .mode = S_IFREG | 0644};
    struct gvm_changes one = {.list = &climb, .n = 1};
    put(b.upper, "x.txt", "evil", 0644);
    assert_true(commit_list(&b, &one, NULL, true, &done, &err) < 0 || done == 0);
    assert_string_equal(get(outside, "x.txt"), "private");
    bench_done(&b);
}

/* A hard link from the owner's file to the outside is broken, not written through. */
static void hard_links(void **state)
{
    (void)state;
    struct bench b;
    char from[4096], to[4096];
    bench_init(&b);
    put(b.top, "outside", "precious", 0644);
    must(link(at(from, b.top, "outside"), at(to, b.host, "a")) == 0);
    start_run(&b);
    put(b.upper, "a", "agent", 0644);
    must(link(at(from, b.upper, "a"), at(to, b.run, "kept-by-agent")) == 0);
    assert_int_equal(commit(&b, NULL, false), 1);
    assert_string_equal(get(b.top, "outside"), "precious");
    put(b.run, "kept-by-agent", "changed later", 0644);
    assert_string_equal(get(b.host, "a"), "agent");
    bench_done(&b);
}

static void discards(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(b.host, "a", "old", 0644);
    put_dir(b.host, "m", 0755);
    put(b.host, "gone/one", "1", 0644);
    put(b.host, "gone/sub/two", "2", 0644);
    put(b.host, "gone/sub/three", "3", 0644);
    put(b.host, "over/x", "x", 0644);
    put(b.host, "over/y", "y", 0644);
    start_run(&b);
    put(b.upper, "a", "new", 0644);
    put(b.upper, "t/n.txt", "new", 0644);
    put_dir(b.upper, "m", 0700);
    put_whiteout(&b, "gone");
    put_opaque(&b, "over", "y");
    assert_int_equal(count(&b), 10);
    assert_int_equal(discard(&b, "a"), 1);
    assert_int_equal(discard(&b, "t/n.txt"), 1);
    assert_false(there(b.upper, "t"));
    assert_int_equal(discard(&b, "m"), 1);
    assert_int_equal(discard(&b, "over/x"), 1);
    assert_int_equal(discard(&b, "gone/sub/two"), 1);
    struct gvm_changes c = scan(&b);
    /* The folders of what stays must stay too; all other deletions are still staged. */
    assert_int_equal(c.n, 3);
    want(&c, "gone/one", GVM_CHANGE_DELETED, GVM_CLASS_MANUAL);
    want(&c, "gone/sub/three", GVM_CHANGE_DELETED, GVM_CLASS_MANUAL);
    want(&c, "over/y", GVM_CHANGE_DELETED, GVM_CLASS_MANUAL);
    gvm_changes_done(&c);
    assert_int_equal(commit(&b, NULL, false), 3);
    assert_string_equal(get(b.host, "gone/sub/two"), "2");
    assert_string_equal(get(b.host, "over/x"), "x");
    assert_string_equal(get(b.host, "a"), "old");
    assert_false(there(b.host, "gone/one") || there(b.host, "gone/sub/three") ||
                 there(b.host, "over/y"));
    assert_int_equal(count(&b), 0);
    bench_done(&b);
}

static void discard_everything(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(b.host, "gone/one", "1", 0644);
    put(b.host, "gone/sub/two", "2", 0644);
    put(b.host, "dir/in", "1", 0644);
    start_run(&b);
    put(b.upper, "a/b/c", "x", 0644);
    put_dir(b.upper, "a/ro", 0555);
    put_whiteout(&b, "gone");
    put(b.upper, "dir", "file", 0644);
    put_link(b.upper, "l", "/");
    discard(&b, NULL);
    assert_int_equal(count(&b), 0);
    assert_string_equal(get(b.host, "gone/sub/two"), "2");
    assert_string_equal(get(b.host, "dir/in"), "1");
    bench_done(&b);
}

static void hashes(void **state)
{
    (void)state;
    struct bench b;
    char before[65], after[65];
    struct gvm_err err = {0};
    bench_init(&b);
    put(b.host, "a", "abc", 0644);
    put(b.host, "d", "abc", 0644);
    start_run(&b);
    put(b.upper, "a", "", 0644);
    put(b.upper, "n.txt", "abc", 0644);
    put_whiteout(&b, "d");
    static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    static const char nothing[] =
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    struct gvm_changes c = scan(&b);
    assert_int_equal(gvm_change_hashes(b.run, get_change(&c, "a"), before, after, &err), 0);
    assert_string_equal(before, abc);
    assert_string_equal(after, nothing);
    assert_int_equal(gvm_change_hashes(b.run, get_change(&c, "n.txt"), before, after, &err), 0);
    assert_string_equal(before, "");
    assert_string_equal(after, abc);
    assert_int_equal(gvm_change_hashes(b.run, get_change(&c, "d"), before, after, &err), 0);
    assert_string_equal(before, abc);
    assert_string_equal(after, "");
    gvm_changes_done(&c);
    bench_done(&b);
}

/* ---- the loop: the nth step kills the process, or fails ---- */

static int steps_left;
static int fail_with;

static int count_down(const char *what)
{
    (void)what;
    if (steps_left-- > 0)
        return 0;
    if (!fail_with)
        _exit(77);
    return -fail_with;
}

static void loop_init(struct bench *b)
{
    bench_init(b);
    put(b->host, "changed", "old", 0644);
    put(b->host, "gone", "old", 0644);
    put(b->host, "gonedir/x", "old", 0644);
    put(b->host, "mode", "old", 0644);
    put(b->host, "dir/in", "old", 0644);
    put(b->host, "file", "old", 0644);
    start_run(b);
    put(b->upper, "changed", "new", 0644);
    put(b->upper, "n/e/w", "new", 0644);
    put(b->upper, "mode", "old", 0755);
    put_whiteout(b, "gone");
    put_whiteout(b, "gonedir");
    put(b->upper, "dir", "new", 0644);
    put(b->upper, "file/in", "new", 0644);
    put_link(b->upper, "link", "changed");
}

static bool is(const struct bench *b, const char *name, const char *text)
{
    const char *got = get(b->host, name);
    return got ? text && strcmp(got, text) == 0 : !text;
}

/* All as before or all as after, and nothing of ours beside it. */
static void check_each(const struct bench *b, int step)
{
    bool before = is(b, "changed", "old") && is(b, "gone", "old") && is(b, "gonedir/x", "old") &&
                  (mode_of(b->host, "mode") & 0777) == 0644 && !there(b->host, "n") &&
                  is(b, "dir/in", "old") && is(b, "file", "old") && !there(b->host, "link");
    bool after = is(b, "changed", "new") && !there(b->host, "gone") && !there(b->host, "gonedir") &&
                 (mode_of(b->host, "mode") & 0777) == 0755 && is(b, "n/e/w", "new") &&
                 is(b, "dir", "new") && is(b, "file/in", "new") && there(b->host, "link");
    if (before == after)
        fail_msg("step %d: the workspace is neither as before nor as after", step);
    char command[256];
    snprintf(command, sizeof(command), "test -z \"$(find %s -name '.gvm-*')\"", b->host);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status;
    must(waitpid(child, &status, 0) == child);
    if (status != 0)
        fail_msg("step %d: a temporary file was left", step);
}

static void check_after(const struct bench *b)
{
    assert_true(is(b, "changed", "new") && is(b, "n/e/w", "new") && is(b, "dir", "new") &&
                is(b, "file/in", "new"));
    assert_false(there(b->host, "gone") || there(b->host, "gonedir"));
    assert_int_equal(mode_of(b->host, "mode") & 0777, 0755);
    assert_true(there(b->host, "link"));
    assert_int_equal(count(b), 0);
    assert_false(there(b->run, "commit"));
}

/* Runs a whole commit in a child that dies or fails at step n. True when it got through. */
static bool commit_until(const struct bench *b, int n)
{
    pid_t child = fork();
    if (child == 0) {
        struct gvm_changes c = {0};
        struct gvm_err err = {0};
        size_t done = 0;
        if (gvm_changes_scan(b->run, NULL, &c, &err) < 0)
            _exit(1);
        steps_left = n;
        review_step_hook = count_down;
        int r = commit_list(b, &c, NULL, false, &done, &err);
        gvm_changes_done(&c);
        _exit(r == 0 ? 0 : err.code == fail_with && err.text[0] ? 76 : 1);
    }
    int status;
    must(waitpid(child, &status, 0) == child);
    must(WIFEXITED(status));
    int code = WEXITSTATUS(status);
    if (code != 0 && code != (fail_with ? 76 : 77))
        fail_msg("step %d: exit %d", n, code);
    return code == 0;
}

static void loop(int error)
{
    fail_with = error;
    for (int n = 0;; n++) {
        struct bench b;
        loop_init(&b);
        bool through = commit_until(&b, n);
        size_t left = count(&b); /* the next look cleans up */
        check_each(&b, n);
        if (left)
            commit(&b, NULL, false);
        check_after(&b);
        bench_done(&b);
        if (through) {
            assert_true(n > 20);
            return;
        }
        assert_true(n < 500);
    }
}

static void killed_at_every_step(void **state)
{
    (void)state;
    loop(0);
}

static void disk_full_at_every_step(void **state)
{
    (void)state;
    loop(ENOSPC);
}

/* A full disk while new content is written takes everything back: no file has changed. */
static void full_disk_changes_nothing(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put(b.host, "a", "old", 0644);
    put(b.host, "gone", "old", 0644);
    start_run(&b);
    put(b.upper, "a", "new", 0644);
    put(b.upper, "b.txt", "new", 0644);
    put_whiteout(&b, "gone");
    struct gvm_changes c = scan(&b);
    struct gvm_err err = {0};
    size_t done = 7;
    steps_left = 6; /* begin, two kept, record, stage, copy; the second file's stage fails */
    fail_with = ENOSPC;
    review_step_hook = count_down;
    int r = commit_list(&b, &c, NULL, false, &done, &err);
    review_step_hook = NULL;
    gvm_changes_done(&c);
    assert_int_equal(r, -ENOSPC);
    assert_int_equal(done, 7);
    assert_non_null(strstr(err.text, "b.txt"));
    assert_string_equal(get(b.host, "a"), "old");
    assert_string_equal(get(b.host, "gone"), "old");
    assert_false(there(b.host, "b.txt"));
    assert_int_equal(count(&b), 3);
    bench_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lands_what_is_chosen),
        cmocka_unit_test(conflicts_wait_for_force),
        cmocka_unit_test(late_conflict),
        cmocka_unit_test(types_change),
        cmocka_unit_test(modes_and_kinds),
        cmocka_unit_test(force_keeps_setuid),
        cmocka_unit_test(planted_links),
        cmocka_unit_test(links_in_the_layer),
        cmocka_unit_test(hard_links),
        cmocka_unit_test(discards),
        cmocka_unit_test(discard_everything),
        cmocka_unit_test(hashes),
        cmocka_unit_test(killed_at_every_step),
        cmocka_unit_test(disk_full_at_every_step),
        cmocka_unit_test(full_disk_changes_nothing),
    };
    umask(022);
    bench_use_memory();
    return cmocka_run_group_tests_name("review/land", tests, NULL, NULL);
}
