/* Paths: re-spellings of one path have one form or are refused; the form is a fixed point. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include "wire/url.h"

struct result {
    struct gvm_buf path, query;
    bool has_query;
    int r;
};

static void canon(struct gvm_str text, struct result *res)
{
    gvm_buf_init(&res->path, 4 * GVM_MAX_TARGET);
    gvm_buf_init(&res->query, GVM_MAX_TARGET);
    res->r = gvm_target_canon(text, &res->path, &res->query, &res->has_query, NULL);
}

static void done(struct result *res)
{
    gvm_buf_done(&res->path);
    gvm_buf_done(&res->query);
}

/* canon(canon(x)) == canon(x), and the loose reading of a path is one of itself. */
static void check_fixed_point(struct result *first)
{
    struct result again;
    struct gvm_buf loose, loose2;
    canon(gvm_buf_str(&first->path), &again);
    assert_int_equal(again.r, 0);
    assert_string_equal(gvm_buf_cstr(&again.path), gvm_buf_cstr(&first->path));
    done(&again);
    gvm_buf_init(&loose, 4 * GVM_MAX_TARGET);
    gvm_buf_init(&loose2, 4 * GVM_MAX_TARGET);
    assert_int_equal(gvm_path_loose(gvm_buf_str(&first->path), &loose), 0);
    assert_int_equal(gvm_path_loose(gvm_buf_str(&loose), &loose2), 0);
    assert_string_equal(gvm_buf_cstr(&loose), gvm_buf_cstr(&loose2));
    gvm_buf_done(&loose);
    gvm_buf_done(&loose2);
}

static const char *const rows[][2] = {
    /* as they are */
    {"/", "/"},
    {"/admin", "/admin"},
    {"/a/b/", "/a/b/"},
    {"", "/"},
    {"/~user/a-b_c.d!$&'()*+,;=:@", "/~user/a-b_c.d!$&'()*+,;=:@"},
    {"/.well-known/x", "/.well-known/x"},
    {"/...", "/..."},
    {"/a..b", "/a..b"},
    {"/.git", "/.git"},
    {"/a.", "/a."},
    {"/a/..x", "/a/..x"},
    /* re-spellings of /admin (attacks N21, P6, T-S1..S11) */
    {"///admin", "/admin"},
    {"////admin", "/admin"},
    {"/./admin", "/admin"},
    {"/foo/../admin", "/admin"},
    {"/public/../admin", "/admin"},
    {"/../admin", "/admin"},
    {"/../../../admin", "/admin"},
    {"/public/%2e%2e/admin", "/admin"},
    {"/public/%2E%2E/admin", "/admin"},
    {"/public/.%2e/admin", "/admin"},
    {"/public/%252e%252e/admin", "/admin"},
    {"/public/%25252e%25252E/admin", "/admin"},
    {"/public/%2525252525252e./admin", "/admin"},
    {"/public/%25%32%65%252%65/admin", "/admin"},
    {"/public/%25%32%35%32%65./admin", "/admin"},
    {"/public/..;/admin", "/admin"},
    {"/public/..;a=b;c/admin", "/admin"},
    {"/.;/admin", "/admin"},
    {"/public/%2e%2e;x/admin", "/admin"},
    {"/%61dmin", "/admin"},
    {"/%2561dmin", "/admin"},
    {"/%61%64%6D%69%6e", "/admin"},
    {"/%25%36%31dmin", "/admin"},
    {"/public\\..\\admin", "/admin"},
    {"\\admin", "/admin"},
    {"/\\admin", "/admin"},
    {"/x//..//admin", "/admin"},
    {"/%7Ex/../admin", "/admin"},
    {"/admin/.", "/admin/"},
    {"/admin/x/..", "/admin/"},
    {"/admin//", "/admin/"},
    {"/admin/./", "/admin/"},
    {"/%ff/%2e%2e/admin", "/admin"},
    {"/%FF/../admin", "/admin"},
    {"/a/..", "/"},
    {"/..", "/"},
    {"/.", "/"},
    {"/a/../..", "/"},
    {"//", "/"},
    /* what stays escaped, in upper case */
    {"/projects/group%2fname", "/projects/group%2Fname"},
    {"/@scope%2fname", "/@scope%2Fname"},
    {"/job/feature%252Fbar", "/job/feature%252Fbar"},
    {"/job/feature%252fbar", "/job/feature%252fbar"},
    {"/%ff%fe", "/%FF%FE"},
    {"/a%20b", "/a%20b"},
    {"/a%3ab%40c", "/a%3Ab%40c"},
    {"/100%25", "/100%25"},
    {"/%2525", "/%25"},
    {"/%25zz", "/%25zz"},
    {"/a%5Cb", "/a%5Cb"},
    {"/a%3Bb", "/a%3Bb"},
    {"/%c3%a9", "/%C3%A9"},
    {"/%e2%82%ac", "/%E2%82%AC"},
    {"/%C0la", "/%C0la"},
    /* what must be escaped and was not */
    {"/\xc3\xa9", "/%C3%A9"},
    {"/a\"b<c>d^e`f{g|h}", "/a%22b%3Cc%3Ed%5Ee%60f%7Bg%7Ch%7D"},
    {"/%7b%7D", "/%7B%7D"},
    {"/[x]", "/%5Bx%5D"},
};

static void test_rows(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct result res;
        canon(gvm_str(rows[i][0]), &res);
        if (res.r != 0)
            fail_msg("\"%s\" refused", rows[i][0]);
        if (strcmp(gvm_buf_cstr(&res.path), rows[i][1]) != 0)
            fail_msg("\"%s\" is \"%s\", should be \"%s\"", rows[i][0], gvm_buf_cstr(&res.path),
                     rows[i][1]);
        assert_false(res.has_query);
        check_fixed_point(&res);
        done(&res);
    }
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        /* dot segments that only a server behind us would see */
        "/public/..%2f..%2fadmin",
        "/public/..%2Fadmin",
        "/public/%2e%2e%2fadmin",
        "/public/..%5cadmin",
        "/public/..%252fadmin",
        "/public/..%25252fadmin",
        "/public/..%255cadmin",
        "/x%2f..",
        "/x%2f.%2fy",
        "/x%2f%2e%2e%2fy",
        "/..%3bx",
        "/..%3b%2fadmin",
        "/public/..%253b/admin",
        "/a%5c..%5cb",
        "/public/%25%32%66..%25%32%66admin",
        "/x%2f..;y",
        "/..%2f",
        "/%2f..",
        "/.%2fx",
        "/%2f.",
        /* overlong UTF-8 */
        "/public/%c0%ae%c0%ae/admin",
        "/%c0%af",
        "/%e0%80%ae",
        "/%f0%80%80%ae",
        "/%c1%9c",
        "/%25c0%25ae",
        "/\xc0\xae",
        /* NUL and controls */
        "/admin%00.txt",
        "/%0d%0aHost:x",
        "/%1f",
        "/%7f",
        "/%2500",
        "/%252500",
        "/%250a",
        "/a\x01",
        "/a\nb",
        "/a b",
        "/a\tb",
        "/a\x7f",
        /* broken escapes, fragments, other forms */
        "/%",
        "/%2",
        "/%zz",
        "/%u002e",
        "/%%32%65",
        "/%2",
        "/a%g0",
        "/#x",
        "/a#",
        "admin",
        "*",
        "http://a/",
        "/x?a b",
        "/x?a#b",
        "/x?\n",
        "/x?\x7f",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct result res;
        res.has_query = true;
        canon(gvm_str(bad[i]), &res);
        if (res.r != -EINVAL)
            fail_msg("\"%s\" should be refused, is \"%s\"", bad[i], gvm_buf_cstr(&res.path));
        assert_int_equal(res.path.len, 0);
        assert_int_equal(res.query.len, 0);
        assert_true(res.has_query);
        done(&res);
    }
    struct result res;
    canon((struct gvm_str){"/a\0b", 4}, &res);
    assert_int_equal(res.r, -EINVAL);
    done(&res);
}

static void test_query(void **state)
{
    static const struct {
        const char *target, *path, *query;
        bool has;
    } q[] = {
        {"/a?b=c", "/a", "b=c", true},
        {"/a?", "/a", "", true},
        {"/a?b?c", "/a", "b?c", true},
        {"/x?y=/../%2e%2e/%zz\\\"<", "/x", "y=/../%2e%2e/%zz\\\"<", true},
        {"?q", "/", "q", true},
        {"/%2e%2e?x=/public/", "/", "x=/public/", true},
        {"/a%3Fb", "/a%3Fb", "", false},
        {"/x?\xc3\xa9", "/x", "\xc3\xa9", true},
    };
    for (size_t i = 0; i < sizeof q / sizeof *q; i++) {
        struct result res;
        canon(gvm_str(q[i].target), &res);
        assert_int_equal(res.r, 0);
        assert_string_equal(gvm_buf_cstr(&res.path), q[i].path);
        assert_string_equal(gvm_buf_cstr(&res.query), q[i].query);
        assert_int_equal(res.has_query, q[i].has);
        done(&res);
    }
}

static void test_loose(void **state)
{
    static const char *const loose[][2] = {
        {"/admin", "/admin"},
        {"/admin%2Fusers", "/admin/users"},
        {"/admin%5Cusers", "/admin/users"},
        {"/admin%252Fusers", "/admin/users"},
        {"/admin;x/users;y=z", "/admin/users"},
        {"/;x/admin", "/admin"},
        {"/a%40b%3Ac", "/a@b:c"},
        {"/%2Fadmin", "/admin"},
        {"/a%20b", "/a%20b"},
        {"/%FF", "/%FF"},
        {"/admin%2F", "/admin/"},
        {"/100%25", "/100%25"},
        {"/admin%3Bx", "/admin"},
        {"/%2F", "/"},
    };
    for (size_t i = 0; i < sizeof loose / sizeof *loose; i++) {
        struct gvm_buf out;
        gvm_buf_init(&out, 200);
        assert_int_equal(gvm_path_loose(gvm_str(loose[i][0]), &out), 0);
        assert_string_equal(gvm_buf_cstr(&out), loose[i][1]);
        gvm_buf_done(&out);
    }
}

/* Every text made of the pieces attacks are made of: fixed point, starts with '/', no dot segment,
 * and never a way to /admin that is not /admin. */
static void test_pieces(void **state)
{
    static const char *const pieces[] = {"/",   "..", ".", "%2e", "%25", "2e",
                                         "%2f", "\\", ";", "a",   "%5c", "%32%65"};
    enum { N = sizeof pieces / sizeof *pieces, DEPTH = 5 };
    unsigned accepted = 0, total = 1;
    for (int i = 0; i < DEPTH; i++)
        total *= N;
    struct gvm_buf path, query;
    gvm_buf_init(&path, 4096);
    gvm_buf_init(&query, 4096);
    for (unsigned n = 0; n < total; n++) {
        char text[64] = "/", once[200];
        size_t len = 1;
        for (unsigned i = 0, v = n; i < DEPTH; i++, v /= N) {
            size_t k = strlen(pieces[v % N]);
            memcpy(text + len, pieces[v % N], k);
            len += k;
        }
        bool has;
        gvm_buf_reset(&path);
        if (gvm_target_canon((struct gvm_str){text, len}, &path, &query, &has, NULL) < 0)
            continue;
        accepted++;
        (void)snprintf(once, sizeof once, "%s", gvm_buf_cstr(&path));
        assert_true(once[0] == '/');
        assert_null(strstr(once, "//"));
        assert_null(strstr(once, "/../"));
        assert_null(strstr(once, "/./"));
        assert_null(strchr(once, '\\'));
        gvm_buf_reset(&path);
        assert_int_equal(gvm_target_canon(gvm_str(once), &path, &query, &has, NULL), 0);
        assert_string_equal(gvm_buf_cstr(&path), once);
    }
    assert_true(accepted > total / 4 && accepted < total);
    gvm_buf_done(&path);
    gvm_buf_done(&query);
}

/* Linear: the longest texts of the costly kinds pass quickly and stay in bounds. */
static void test_long(void **state)
{
    static const char *const unit[] = {"%25", "/..", "%2e%2e/", "/a", "\xff", "%252e", "a/../"};
    for (size_t u = 0; u < sizeof unit / sizeof *unit; u++) {
        char *text = malloc(GVM_MAX_TARGET);
        assert_non_null(text);
        size_t len = 1, k = strlen(unit[u]);
        text[0] = '/';
        for (; len + k <= GVM_MAX_TARGET; len += k)
            memcpy(text + len, unit[u], k);
        struct result res;
        canon((struct gvm_str){text, len}, &res);
        assert_true(res.r == 0 || res.r == -E2BIG);
        assert_true(res.path.len <= GVM_MAX_TARGET);
        done(&res);
        free(text);
    }
    static char over[GVM_MAX_TARGET + 1];
    memset(over, 'a', sizeof over);
    over[0] = '/';
    struct result res;
    canon((struct gvm_str){over, sizeof over}, &res);
    assert_int_equal(res.r, -E2BIG);
    done(&res);
    canon((struct gvm_str){over, sizeof over - 1}, &res);
    assert_int_equal(res.r, 0);
    done(&res);
}

static void test_no_room(void **state)
{
    struct gvm_buf path, query;
    bool has = false;
    gvm_buf_init(&path, 64);
    gvm_buf_init(&query, 2);
    assert_int_equal(gvm_target_canon(GVM_STR("/abc?12345"), &path, &query, &has, NULL), -ENOBUFS);
    assert_int_equal(path.len, 0);
    assert_int_equal(query.len, 0);
    gvm_buf_done(&path);
    gvm_buf_done(&query);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_query),   cmocka_unit_test(test_loose),
        cmocka_unit_test(test_pieces),  cmocka_unit_test(test_long),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
