/* Diffs: exact for small ones, and always such that applying them gives the new text. */
#include "bench.h"

static void expect(const char *a, const char *b, const char *hunks)
{
    struct gvm_buf out;
    gvm_buf_init(&out, 1u << 20);
    assert_int_equal(review_hunks(gvm_str(a), gvm_str(b), &out), 0);
    assert_string_equal(gvm_buf_cstr(&out), hunks);
    gvm_buf_done(&out);
}

static void small(void **state)
{
    (void)state;
    expect("", "", "");
    expect("a\n", "a\n", "");
    expect("", "a\nb\n", "@@ -0,0 +1,2 @@\n+a\n+b\n");
    expect("a\n", "", "@@ -1 +0,0 @@\n-a\n");
    expect("a\nb\nc\n", "a\nx\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n");
    expect("a", "a\n", "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
    expect("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nx\n5\n6\n7\n8\n9\n",
           "@@ -2,6 +2,7 @@\n 2\n 3\n 4\n+x\n 5\n 6\n 7\n");
    expect("1\n2\n3\n4\n5\n6\n7\n8\n9\na\nb\n", "x\n2\n3\n4\n5\n6\n7\n8\n9\na\ny\n",
           "@@ -1,4 +1,4 @@\n-1\n+x\n 2\n 3\n 4\n@@ -8,4 +8,4 @@\n 8\n 9\n a\n-b\n+y\n");
}

/* Applies hunks to `a` and compares with `b`. */
static void apply(const char *a, const char *hunks, const char *b)
{
    static char got[1 << 20];
    size_t n = 0, line = 0;
    struct gvm_str left = gvm_str(a), diff = gvm_str(hunks), l, t;
    while (diff.n) {
        gvm_str_cut(&diff, '\n', &l);
        if (l.p[0] == '@') {
            size_t from = strtoul(l.p + 4, NULL, 10);
            bool none = strncmp(strchr(l.p, ' '), " -0,0", 5) == 0;
            while (!none && line + 1 < from) {
                gvm_str_cut(&left, '\n', &t);
                memcpy(got + n, t.p, t.n);
                n += t.n;
                got[n++] = '\n';
                line++;
            }
            continue;
        }
        if (l.p[0] != '+') {
            gvm_str_cut(&left, '\n', &t);
            line++;
            assert_true(gvm_str_eq(t, (struct gvm_str){l.p + 1, l.n - 1}));
        }
        if (l.p[0] != '-') {
            memcpy(got + n, l.p + 1, l.n - 1);
            n += l.n - 1;
            got[n++] = '\n';
        }
    }
    memcpy(got + n, left.p, left.n);
    n += left.n;
    got[n] = '\0';
    assert_string_equal(got, b);
}

static void random_text(char *dst, unsigned *seed, unsigned lines, unsigned words)
{
    size_t n = 0;
    for (unsigned i = 0; i < lines; i++) {
        *seed = *seed * 1103515245u + 12345u;
        n += (size_t)snprintf(dst + n, 16, "w%u\n", (*seed >> 16) % words);
    }
    dst[n] = '\0';
}

static void applied(void **state)
{
    (void)state;
    static char a[200000], b[200000];
    unsigned seed = 1;
    for (unsigned round = 0; round < 300; round++) {
        random_text(a, &seed, round % 40, 1 + round % 7);
        random_text(b, &seed, (round * 7) % 40, 1 + round % 7);
        struct gvm_buf out;
        gvm_buf_init(&out, 4u << 20);
        assert_int_equal(review_hunks(gvm_str(a), gvm_str(b), &out), 0);
        apply(a, gvm_buf_cstr(&out), b);
        gvm_buf_done(&out);
    }
    /* Past the bound of the search: not the shortest, but true. */
    random_text(a, &seed, 6000, 1000000);
    random_text(b, &seed, 6000, 1000000);
    struct gvm_buf out;
    gvm_buf_init(&out, 4u << 20);
    assert_int_equal(review_hunks(gvm_str(a), gvm_str(b), &out), 0);
    apply(a, gvm_buf_cstr(&out), b);
    gvm_buf_done(&out);
}

static void too_long(void **state)
{
    (void)state;
    char *text = malloc(400002);
    must(text != NULL);
    memset(text, '\n', 400001);
    struct gvm_buf out;
    gvm_buf_init(&out, 1u << 20);
    assert_int_equal(review_hunks(GVM_STR("a\n"), (struct gvm_str){text, 400001}, &out), 1);
    assert_int_equal(out.len, 0);
    gvm_buf_done(&out);
    free(text);
}

static void show(const struct bench *b, const char *path, const char *expected)
{
    struct gvm_changes c = scan(b);
    struct gvm_buf out;
    struct gvm_err err = {0};
    gvm_buf_init(&out, 1u << 20);
    assert_int_equal(gvm_change_diff(b->run, get_change(&c, path), &out, &err), 0);
    assert_string_equal(gvm_buf_cstr(&out), expected);
    gvm_buf_done(&out);
    gvm_changes_done(&c);
}

static void whole_changes(void **state)
{
    (void)state;
    struct bench b;
    char path[4096];
    bench_init(&b);
    put(b.host, "a", "1\n2\n", 0644);
    put(b.host, "gone", "1\n", 0600);
    put(b.host, "mode", "1\n", 0644);
    put_link(b.host, "l", "old");
    put(b.host, "t", "text\n", 0644);
    start_run(&b);
    put(b.upper, "a", "1\n3\n", 0755);
    put(b.upper, "n\n.txt", "new\n", 0644);
    put(b.upper, "bin", "PK", 0644);
    put(b.upper, "mode", "1\n", 0600);
    int fd = open(at(path, b.upper, "bin"), O_WRONLY | O_APPEND | O_CLOEXEC);
    must(write(fd, "\0\1", 2) == 2);
    close(fd);
    put_whiteout(&b, "gone");
    put_link(b.upper, "l", "/new");
    put_link(b.upper, "t", "x");
    show(&b, "a",
         "diff --git a/a b/a\nold mode 100644\nnew mode 100755\n--- a/a\n+++ b/a\n@@ -1,2 +1,2 "
         "@@\n 1\n-2\n+3\n");
    show(&b, "n\n.txt",
         "diff --git \"a/n\\012.txt\" \"b/n\\012.txt\"\nnew file mode 100644\n--- /dev/null\n"
         "+++ \"b/n\\012.txt\"\n@@ -0,0 +1 @@\n+new\n");
    show(&b, "bin", "diff --git a/bin b/bin\nnew file mode 100644\nbinary file, 4 bytes\n");
    show(&b, "mode", "diff --git a/mode b/mode\nold mode 100644\nnew mode 100600\n");
    show(&b, "gone",
         "diff --git a/gone b/gone\ndeleted file mode 100600\n--- a/gone\n+++ /dev/null\n@@ -1 "
         "+0,0 @@\n-1\n");
    show(&b, "l", "diff --git a/l b/l\n-link to old\n+link to /new\n");
    show(&b, "t",
         "diff --git a/t b/t\nold mode 100644\nnew mode 120777\n+link to x\na link in place of a "
         "file\n"
         "--- a/t\n+++ /dev/null\n@@ -1 +0,0 @@\n-text\n");
    bench_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small),
        cmocka_unit_test(applied),
        cmocka_unit_test(too_long),
        cmocka_unit_test(whole_changes),
    };
    umask(022);
    return cmocka_run_group_tests_name("review/text", tests, NULL, NULL);
}
