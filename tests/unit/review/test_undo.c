/* Taking back: exactly what was there, only what is still ours, all or nothing; and merging what
 * both sides changed. */
#include "bench.h"

/* Takes the newest commit back; -1 when there is none, else how many names. */
static int undo(const struct bench *b, const char *path, bool force, int *ret_touched)
{
    struct gvm_undo *u = NULL;
    struct gvm_err err = {0};
    size_t n = 0, done = 0;
    int touched = 0, r = gvm_undo_open(b->run, 0, &u, &err);
    if (r == -ENOENT)
        return -1;
    if (r < 0)
        fail_msg("undo: %s", err.text);
    const struct gvm_undo_item *items = gvm_undo_items(u, &n);
    bool *choose = calloc(n + 1, sizeof(bool));
    must(choose != NULL);
    for (size_t i = 0; i < n; i++) {
        choose[i] = !path || gvm_str_eqz(items[i].path, path);
        touched += items[i].touched != NULL;
    }
    const struct gvm_commit_how how = {.force = force};
    if (gvm_undo_run(u, choose, &how, &done, &err) < 0)
        fail_msg("undo: %s", err.text);
    free(choose);
    gvm_undo_free(u);
    if (ret_touched)
        *ret_touched = touched;
    return (int)done;
}

static void set_times(const char *dir, const char *name)
{
    char path[4096];
    const struct timespec times[2] = {{1234567890, 123456789}, {1000000000, 987654321}};
    must(utimensat(AT_FDCWD, at(path, dir, name), times, AT_SYMLINK_NOFOLLOW) == 0);
}

static long long mtime_of(const char *dir, const char *name)
{
    char path[4096];
    struct stat st;
    must(lstat(at(path, dir, name), &st) == 0);
    return st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;
}

static void lay_out(struct bench *b)
{
    char path[4096];
    bench_init(b);
    put(b->host, "changed", "old\n", 0640);
    must(setxattr(at(path, b->host, "changed"), "user.mine", "1", 1, 0) == 0);
    set_times(b->host, "changed");
    put(b->host, "gone/sub/x", "x\n", 0600);
    set_times(b->host, "gone/sub/x");
    put_link(b->host, "gone/link", "../changed");
    put_dir(b->host, "gone/closed", 0500);
    set_times(b->host, "gone/closed");
    put(b->host, "mode", "m\n", 0644);
    put(b->host, "folder/in", "in\n", 0644);
    put(b->host, "file", "file\n", 0644);
    start_run(b);
    put(b->upper, "changed", "new\n", 0666);
    put(b->upper, "new/deep/er", "n\n", 0644);
    put_whiteout(b, "gone");
    put(b->upper, "mode", "m\n", 0755);
    put(b->upper, "folder", "now a file\n", 0644);
    put(b->upper, "file/in", "now a folder\n", 0644);
    put_link(b->upper, "link", "changed");
}

static void check_before(const struct bench *b)
{
    char path[4096], value[4] = "", target[16] = "";
    assert_string_equal(get(b->host, "changed"), "old\n");
    assert_int_equal(mode_of(b->host, "changed"), S_IFREG | 0640);
    assert_int_equal(getxattr(at(path, b->host, "changed"), "user.mine", value, sizeof(value)), 1);
    assert_true(mtime_of(b->host, "changed") == 1000000000987654321ll);
    assert_string_equal(get(b->host, "gone/sub/x"), "x\n");
    assert_int_equal(mode_of(b->host, "gone/sub/x"), S_IFREG | 0600);
    assert_true(mtime_of(b->host, "gone/sub/x") == 1000000000987654321ll);
    assert_true(readlink(at(path, b->host, "gone/link"), target, sizeof(target) - 1) == 10);
    assert_string_equal(target, "../changed");
    assert_int_equal(mode_of(b->host, "gone/closed"), S_IFDIR | 0500);
    assert_true(mtime_of(b->host, "gone/closed") == 1000000000987654321ll);
    assert_int_equal(mode_of(b->host, "mode"), S_IFREG | 0644);
    assert_string_equal(get(b->host, "folder/in"), "in\n");
    assert_string_equal(get(b->host, "file"), "file\n");
    assert_false(there(b->host, "new") || there(b->host, "link"));
}

static void exactly_as_before(void **state)
{
    (void)state;
    struct bench b;
    lay_out(&b);
    size_t n = count(&b);
    assert_int_equal(commit(&b, NULL, false), n);
    assert_false(there(b.host, "gone"));
    assert_true(undo(&b, NULL, false, NULL) >= (int)n);
    check_before(&b);
    assert_int_equal(undo(&b, NULL, false, NULL), -1); /* an undo is not undone */
    bench_done(&b);
}

static void commits_one_after_the_other(void **state)
{
    (void)state;
    struct bench b;
    lay_out(&b);
    assert_int_equal(commit(&b, "changed", false), 1);
    assert_int_equal(commit(&b, "mode", false), 1);
    commit(&b, NULL, false);
    assert_true(undo(&b, NULL, false, NULL) > 0);
    assert_string_equal(get(b.host, "changed"), "new\n");
    assert_int_equal(undo(&b, NULL, false, NULL), 1);
    assert_int_equal(mode_of(b.host, "mode"), S_IFREG | 0644);
    assert_int_equal(undo(&b, NULL, false, NULL), 1);
    check_before(&b);
    assert_int_equal(undo(&b, NULL, false, NULL), -1);
    bench_done(&b);
}

static void only_what_is_named(void **state)
{
    (void)state;
    struct bench b;
    lay_out(&b);
    commit(&b, NULL, false);
    assert_int_equal(undo(&b, "changed", false, NULL), 1);
    assert_string_equal(get(b.host, "changed"), "old\n");
    assert_false(there(b.host, "gone"));
    assert_true(undo(&b, NULL, false, NULL) > 1); /* the rest of the same commit */
    check_before(&b);
    assert_int_equal(undo(&b, NULL, false, NULL), -1);
    bench_done(&b);
}

static void what_changed_since_stays(void **state)
{
    (void)state;
    struct bench b;
    int touched = 0;
    lay_out(&b);
    commit(&b, NULL, false);
    put(b.host, "changed", "mine now\n", 0644);
    put(b.host, "new/deep/own", "mine\n", 0644);
    put(b.host, "gone", "a file now\n", 0644);
    undo(&b, NULL, false, &touched);
    assert_int_equal(touched, 2);
    assert_string_equal(get(b.host, "changed"), "mine now\n");
    assert_string_equal(get(b.host, "new/deep/own"), "mine\n");
    assert_false(there(b.host, "new/deep/er"));
    assert_string_equal(get(b.host, "gone"), "a file now\n");
    assert_string_equal(get(b.host, "file"), "file\n");
    undo(&b, "changed", true, NULL);
    assert_string_equal(get(b.host, "changed"), "old\n");
    bench_done(&b);
}

/* F9: a link planted where something is put back is not followed. */
static void planted_links(void **state)
{
    (void)state;
    struct bench b;
    char outside[96], path[4096];
    lay_out(&b);
    snprintf(outside, sizeof(outside), "%s/outside", b.top);
    put(outside, "sub/x", "precious", 0644);
    put(outside, "changed", "precious", 0644);
    commit(&b, NULL, false);
    put_link(b.host, "gone", outside);
    must(unlink(at(path, b.host, "changed")) == 0);
    put_link(b.host, "changed", at(path, outside, "changed"));
    undo(&b, NULL, false, NULL);
    undo(&b, NULL, true, NULL);
    assert_string_equal(get(outside, "changed"), "precious");
    assert_string_equal(get(outside, "sub/x"), "precious");
    assert_false(there(outside, "link") || there(outside, "closed"));
    bench_done(&b);
}

static void copies_have_their_time(void **state)
{
    (void)state;
    struct bench b;
    struct gvm_err err = {0};
    lay_out(&b);
    commit(&b, "changed", false);
    commit(&b, "mode", false);
    assert_int_equal(gvm_undo_prune(b.top, gvm_now_ns() - INT64_C(3600000000000), &err), 0);
    assert_true(there(b.run, "undo-1") && there(b.run, "undo-2"));
    assert_int_equal(gvm_undo_prune(b.top, gvm_now_ns() + 1, &err), 0);
    assert_false(there(b.run, "undo-1") || there(b.run, "undo-2"));
    assert_int_equal(undo(&b, NULL, false, NULL), -1);
    bench_done(&b);
}

/* ---- killed, or out of disk, at every step of an undo ---- */

static int steps_left, fail_with;

static int count_down(const char *what)
{
    (void)what;
    if (steps_left-- > 0)
        return 0;
    if (!fail_with)
        _exit(77);
    return -fail_with;
}

static bool undo_until(const struct bench *b, int n)
{
    pid_t child = fork();
    if (child == 0) {
        struct gvm_undo *u = NULL;
        struct gvm_err err = {0};
        size_t items = 0, done = 0;
        if (gvm_undo_open(b->run, 0, &u, &err) < 0)
            _exit(1);
        gvm_undo_items(u, &items);
        bool *choose = malloc(items + 1);
        must(choose != NULL);
        memset(choose, true, items);
        steps_left = n;
        review_step_hook = count_down;
        const struct gvm_commit_how how = {0};
        int r = gvm_undo_run(u, choose, &how, &done, &err);
        _exit(r == 0 ? 0 : err.text[0] ? 76 : 1);
    }
    int status;
    must(waitpid(child, &status, 0) == child);
    must(WIFEXITED(status));
    if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != (fail_with ? 76 : 77))
        fail_msg("step %d: exit %d", n, WEXITSTATUS(status));
    return WEXITSTATUS(status) == 0;
}

static void loop(int error)
{
    fail_with = error;
    for (int n = 0;; n++) {
        struct bench b;
        lay_out(&b);
        commit(&b, NULL, false);
        bool through = undo_until(&b, n);
        assert_int_equal(count(&b), 0);
        bool before = there(b.host, "gone/sub/x");
        if (before)
            check_before(&b);
        else if (!there(b.host, "new/deep/er") || !there(b.host, "link") ||
                 strcmp(get(b.host, "changed"), "new\n") != 0 || there(b.host, "gone") ||
                 strcmp(get(b.host, "folder"), "now a file\n") != 0 ||
                 (mode_of(b.host, "mode") & 0777) != 0755)
            fail_msg("step %d: the workspace is neither as before nor as after", n);
        assert_int_equal(undo(&b, NULL, false, NULL) >= 0, !before);
        check_before(&b);
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

/* ---- merging ---- */

static void merge_is(const char *base, const char *ours, const char *theirs, const char *want_text)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, 4096);
    int r = review_merge(gvm_str(base), gvm_str(ours), gvm_str(theirs), &out);
    assert_int_equal(r, want_text ? 0 : 1);
    if (want_text)
        assert_string_equal(gvm_buf_cstr(&out), want_text);
}

static void merges(void **state)
{
    (void)state;
    merge_is("a\nb\nc\nd\ne\n", "A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\n", "A\nb\nc\nd\nE\n");
    merge_is("a\nb\nc\n", "a\nb\nc\n", "a\nX\nc\n", "a\nX\nc\n");
    merge_is("a\nb\nc\n", "a\nX\nc\n", "a\nb\nc\n", "a\nX\nc\n");
    merge_is("a\nb\nc\n", "a\nX\nc\n", "a\nX\nc\n", "a\nX\nc\n");
    merge_is("a\nb\nc\n", "a\nX\nc\n", "a\nY\nc\n", NULL);
    merge_is("a\nb\n", "X\nb\n", "a\nY\n", NULL); /* lines that touch */
    merge_is("a\nb\nc\n", "b\nc\n", "a\nb\nc\nd\n", "b\nc\nd\n");
    merge_is("", "x\n", "", "x\n");
    merge_is("", "x\n", "y\n", NULL);
    merge_is("a\nb\nc\nd", "a\nb\nc\nd\n", "X\nb\nc\nd", "X\nb\nc\nd\n");
    merge_is("1\n2\n3\n4\n5\n6\n7\n8\n", "1\n2\n4\n5\n6\n7\n8\n9\n", "0\n1\n2\n3\n4\n6\n7\n8\n",
             "0\n1\n2\n4\n6\n7\n8\n9\n");
}

static void both_sides_changed(void **state)
{
    (void)state;
    struct bench b;
    struct gvm_err err = {0};
    bench_init(&b);
    put(b.host, "both", "1\n2\n3\n4\n5\n", 0644);
    put(b.host, "clash", "1\n2\n3\n", 0644);
    start_run(&b);
    put(b.upper, "both", "1\n2\n3\n4\nagent\n", 0644);
    put(b.upper, "clash", "1\nagent\n3\n", 0644);
    struct gvm_changes c = scan(&b);
    assert_int_equal(gvm_changes_remember(b.run, &c, &err), 0);
    gvm_changes_done(&c);
    put(b.host, "both", "owner\n2\n3\n4\n5\n", 0644);
    put(b.host, "clash", "1\nowner\n3\n", 0644);
    c = scan(&b);
    assert_true(get_change(&c, "both")->conflict && get_change(&c, "clash")->conflict);
    gvm_changes_done(&c);
    assert_int_equal(commit(&b, NULL, false), 1);
    assert_string_equal(get(b.host, "both"), "owner\n2\n3\n4\nagent\n");
    assert_string_equal(get(b.host, "clash"), "1\nowner\n3\n");
    assert_int_equal(count(&b), 1);
    assert_int_equal(undo(&b, NULL, false, NULL), 1);
    assert_string_equal(get(b.host, "both"), "owner\n2\n3\n4\n5\n");
    /* A touch is no change of content, so it is no conflict. */
    put(b.host, "clash", "1\n2\n3\n", 0644);
    c = scan(&b);
    assert_false(get_change(&c, "clash")->conflict);
    gvm_changes_done(&c);
    bench_done(&b);
}

/* A part of a change lands, the rest goes on waiting and is no conflict. */
static void parts(void **state)
{
    (void)state;
    struct bench b;
    struct gvm_err err = {0};
    size_t done = 0;
    bench_init(&b);
    put(b.host, "f", "1\n2\n3\n", 0644);
    start_run(&b);
    put(b.upper, "f", "one\n2\nthree\n", 0644);
    struct gvm_changes c = scan(&b);
    struct gvm_choice part = {
        .land = true, .has_text = true, .keep = true, .text = GVM_STR("one\n2\n3\n")};
    const struct gvm_commit_how how = {0};
    assert_int_equal(gvm_changes_commit(b.run, &c, &part, &how, &done, &err), 0);
    gvm_changes_done(&c);
    assert_int_equal(done, 1);
    assert_string_equal(get(b.host, "f"), "one\n2\n3\n");
    c = scan(&b);
    assert_int_equal(c.n, 1);
    assert_false(c.list[0].conflict);
    gvm_changes_done(&c);
    assert_int_equal(commit(&b, NULL, false), 1);
    assert_string_equal(get(b.host, "f"), "one\n2\nthree\n");
    assert_int_equal(count(&b), 0);
    bench_done(&b);
}

/* What was seen is not there any more: nothing is written over what came since. */
static void seen_and_gone(void **state)
{
    (void)state;
    struct bench b;
    struct gvm_err err = {0};
    size_t done = 9;
    bench_init(&b);
    put(b.host, "f", "1\n2\n3\n", 0644);
    start_run(&b);
    put(b.upper, "f", "one\n2\n3\n", 0644);
    struct gvm_changes c = scan(&b);
    struct gvm_choice part = {.land = true,
                              .has_text = true,
                              .text = GVM_STR("one\n2\n3\n"),
                              .has_seen = true,
                              .seen = GVM_STR("1\n2\n3\n")};
    put(b.host, "f", "1\n2\n3\nfour\n", 0644);
    const struct gvm_commit_how how = {0};
    assert_int_equal(gvm_changes_commit(b.run, &c, &part, &how, &done, &err), 0);
    assert_int_equal(done, 0);
    assert_string_equal(get(b.host, "f"), "1\n2\n3\nfour\n");
    gvm_changes_done(&c);
    bench_done(&b);
}

static int refuse_to_record(void *arg, const struct gvm_landing *list, size_t n,
                            struct gvm_err *err)
{
    assert_int_equal(n, 1);
    assert_true(gvm_str_eqz(list[0].path, "f"));
    assert_int_equal(strlen(list[0].before), 64);
    assert_int_equal(strlen(list[0].after), 64);
    *(bool *)arg = true;
    return gvm_err_set(err, EIO, "no record");
}

static void no_record_no_change(void **state)
{
    (void)state;
    struct bench b;
    struct gvm_err err = {0};
    size_t done = 9;
    bool asked = false;
    bench_init(&b);
    put(b.host, "f", "old\n", 0644);
    start_run(&b);
    put(b.upper, "f", "new\n", 0644);
    struct gvm_changes c = scan(&b);
    struct gvm_choice all = {.land = true};
    const struct gvm_commit_how how = {.record = refuse_to_record, .arg = &asked};
    assert_int_equal(gvm_changes_commit(b.run, &c, &all, &how, &done, &err), -EIO);
    assert_true(asked);
    assert_string_equal(err.text, "no record");
    assert_string_equal(get(b.host, "f"), "old\n");
    gvm_changes_done(&c);
    assert_int_equal(count(&b), 1);
    assert_false(there(b.run, "commit"));
    bench_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_as_before),
        cmocka_unit_test(commits_one_after_the_other),
        cmocka_unit_test(only_what_is_named),
        cmocka_unit_test(what_changed_since_stays),
        cmocka_unit_test(planted_links),
        cmocka_unit_test(copies_have_their_time),
        cmocka_unit_test(killed_at_every_step),
        cmocka_unit_test(disk_full_at_every_step),
        cmocka_unit_test(merges),
        cmocka_unit_test(both_sides_changed),
        cmocka_unit_test(parts),
        cmocka_unit_test(seen_and_gone),
        cmocka_unit_test(no_record_no_change),
    };
    umask(022);
    bench_use_memory();
    return cmocka_run_group_tests_name("review/undo", tests, NULL, NULL);
}
