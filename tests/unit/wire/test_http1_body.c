/* Where a body ends, whatever pieces it comes in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include "wire/http1.h"

/* Feeds `text` in pieces of `step` bytes. Returns the last code; payload is appended to `out`,
 * *ret_used says how many bytes were taken. */
static int feed(enum gvm_body_kind kind, uint64_t length, struct gvm_str text, size_t step,
                struct gvm_buf *out, size_t *ret_used)
{
    struct gvm_http1_body b;
    gvm_http1_body_init(&b, kind, length);
    size_t used = 0;
    int r = b.done;
    while (r == 0 && used < text.n) {
        size_t n = text.n - used < step ? text.n - used : step;
        char *copy = malloc(n); /* exact size, for the sanitizer */
        assert_non_null(copy);
        memcpy(copy, text.p + used, n);
        struct gvm_str in = {copy, n}, payload;
        while (r == 0 && in.n > 0) {
            r = gvm_http1_body_feed(&b, &in, &payload, NULL);
            if (r >= 0) {
                assert_true(payload.n == 0 ||
                            (payload.p >= copy && payload.p + payload.n <= copy + n));
                assert_int_equal(gvm_buf_adds(out, payload), 0);
            }
        }
        used += n - in.n;
        free(copy);
    }
    assert_int_equal(b.done, r == 1);
    if (r == 1) { /* done stays done and takes nothing */
        struct gvm_str in = GVM_STR("next"), payload;
        assert_int_equal(gvm_http1_body_feed(&b, &in, &payload, NULL), 1);
        assert_int_equal(in.n, 4);
        assert_int_equal(payload.n, 0);
    }
    if (r < 0) { /* broken stays broken */
        struct gvm_str in = GVM_STR("0\r\n\r\n"), payload;
        assert_int_equal(gvm_http1_body_feed(&b, &in, &payload, NULL), -EINVAL);
    }
    *ret_used = used;
    return r;
}

struct row {
    const char *text, *payload; /* payload NULL: refused */
    int r;
    const char *rest;
};

static const struct row chunked[] = {
    {"0\r\n\r\n", "", 1, ""},
    {"5\r\nhello\r\n0\r\n\r\n", "hello", 1, ""},
    {"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /", "hello world", 1, "GET /"},
    {"a\r\n0123456789\r\n0\r\n\r\n", "0123456789", 1, ""},
    {"A\r\n0123456789\r\n000\r\n\r\n", "0123456789", 1, ""},
    {"0005\r\nhello\r\n0\r\n\r\n", "hello", 1, ""},
    {"5;x=y\r\nhello\r\n0;z\r\n\r\n", "hello", 1, ""},
    {"5;x=\"a;b\"\r\nhello\r\n0\r\n\r\n", "hello", 1, ""},
    {"5;x=\"\\\"\t\";y;z=1\r\nhello\r\n0\r\n\r\n", "hello", 1, ""},
    {"0\r\nContent-Lengt: 3\r\nContent-Length-: 3\r\nX-Content-Length: 3\r\n\r\n", "", 1, ""},
    {"1\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n", "\r\n", 1, ""},
    {"0\r\nX: y\r\nZ:\r\n\r\nrest", "", 1, "rest"},
    {"5\r\nhel", "hel", 0, ""},
    {"5\r\nhello\r\n", "hello", 0, ""},
    {"0\r\n", "", 0, ""},
    {"0\r\nX: y\r\n", "", 0, ""},
    {"", "", 0, ""},
    /* framing that two parsers end at different places */
    {"5\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5\r\nhello\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5\rhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5\r\nhello\r0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5\r\nhello0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5\r\nhelloXY0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5 \r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {" 5\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5\t;x\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"+5\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"-5\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"0x5\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5_0\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"g\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {";x\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5;x\ny\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5;x\ry\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5;\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5;=y\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5;x=\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5;x=;y\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5;x=\"y\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5;x=\"y\"z\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5;x=\"\\\r\"\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5; x=y\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5;x\xff\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"5;\x01\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"8000000000000000\r\nx", NULL, -EINVAL, NULL},
    {"ffffffffffffffffff\r\nx", NULL, -EINVAL, NULL},
    {"10000000000000005\r\nhello\r\n0\r\n\r\n", NULL, -EINVAL, NULL},
    {"0\r\n\n", NULL, -EINVAL, NULL},
    {"0\r\n\rX", NULL, -EINVAL, NULL},
    {"0\r\nX: y\n\r\n", NULL, -EINVAL, NULL},
    {"0\r\nX: y\r\n z\r\n\r\n", NULL, -EINVAL, NULL},
    {"0\r\nX : y\r\n\r\n", NULL, -EINVAL, NULL},
    {"0\r\nX: y\r\ncontent-LENGTH: 3\r\n\r\n", NULL, -EINVAL, NULL},
    {"0\r\nTransfer-Encoding: chunked\r\n\r\n", NULL, -EINVAL, NULL},
    {"0\r\nX\r\n\r\n", NULL, -EINVAL, NULL},
    {"0\r\nX: \x01\r\n\r\n", NULL, -EINVAL, NULL},
    {"0\r\nGET / HTTP/1.1\r\n\r\n", NULL, -EINVAL, NULL},
};

static void test_chunked(void **state)
{
    for (size_t i = 0; i < sizeof chunked / sizeof *chunked; i++) {
        struct gvm_str text = gvm_str(chunked[i].text);
        for (size_t step = 1; step <= text.n + 1; step++) {
            struct gvm_buf out;
            size_t used;
            gvm_buf_init(&out, 1000);
            int r = feed(GVM_BODY_CHUNKED, 0, text, step, &out, &used);
            if (r != chunked[i].r)
                fail_msg("\"%s\" in steps of %zu: %d", chunked[i].text, step, r);
            if (chunked[i].payload) {
                assert_string_equal(gvm_buf_cstr(&out), chunked[i].payload);
                assert_string_equal(chunked[i].text + used, chunked[i].rest);
            }
            gvm_buf_done(&out);
        }
    }
    /* 2^63-1 is the largest size and only wants more. */
    struct gvm_buf out;
    size_t used;
    gvm_buf_init(&out, 10);
    assert_int_equal(feed(GVM_BODY_CHUNKED, 0, GVM_STR("7fffffffffffffff\r\nx"), 3, &out, &used),
                     0);
    gvm_buf_done(&out);
}

static void test_line_limits(void **state)
{
    static char text[20000];
    static const struct {
        const char *front;
        size_t fill;
        char with;
        const char *back;
        int r;
    } rows[] = {
        {"5;", 200, 'x', "\r\nhello\r\n0\r\n\r\n", 1},
        {"5;", 300, 'x', "\r\nhello\r\n0\r\n\r\n", -EINVAL},
        {"", 200, '0', "5\r\nhello\r\n0\r\n\r\n", 1},
        {"", 300, '0', "5\r\nhello\r\n0\r\n\r\n", -EINVAL},
        {"0\r\nX:", 8000, 'y', "\r\n\r\n", 1},
        {"0\r\nX:", 9000, 'y', "\r\n\r\n", -EINVAL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = strlen(rows[i].front);
        memcpy(text, rows[i].front, n);
        memset(text + n, rows[i].with, rows[i].fill);
        n += rows[i].fill;
        memcpy(text + n, rows[i].back, strlen(rows[i].back));
        n += strlen(rows[i].back);
        struct gvm_buf out;
        size_t used;
        gvm_buf_init(&out, 100);
        assert_int_equal(feed(GVM_BODY_CHUNKED, 0, (struct gvm_str){text, n}, 777, &out, &used),
                         rows[i].r);
        gvm_buf_done(&out);
    }
    /* Many trailers are bounded together. */
    size_t n = 3;
    memcpy(text, "0\r\n", 3);
    for (; n < 12000; n += 6)
        memcpy(text + n, "X: y\r\n", 6);
    struct gvm_buf out;
    size_t used;
    gvm_buf_init(&out, 100);
    assert_int_equal(feed(GVM_BODY_CHUNKED, 0, (struct gvm_str){text, n}, 777, &out, &used),
                     -EINVAL);
    gvm_buf_done(&out);
}

static void test_length_and_close(void **state)
{
    for (size_t step = 1; step < 20; step++) {
        struct gvm_buf out;
        size_t used;
        gvm_buf_init(&out, 100);
        assert_int_equal(feed(GVM_BODY_LENGTH, 5, GVM_STR("hello, next"), step, &out, &used), 1);
        assert_string_equal(gvm_buf_cstr(&out), "hello");
        assert_int_equal(used, 5);
        gvm_buf_reset(&out);
        assert_int_equal(feed(GVM_BODY_LENGTH, 50, GVM_STR("hello"), step, &out, &used), 0);
        assert_int_equal(feed(GVM_BODY_CLOSE, 0, GVM_STR(" and more"), step, &out, &used), 0);
        assert_string_equal(gvm_buf_cstr(&out), "hello and more");
        gvm_buf_done(&out);
    }
    struct gvm_http1_body b;
    gvm_http1_body_init(&b, GVM_BODY_LENGTH, 0);
    assert_true(b.done);
    gvm_http1_body_init(&b, GVM_BODY_NONE, 7);
    assert_true(b.done);
    gvm_http1_body_init(&b, GVM_BODY_CHUNKED, 0);
    assert_false(b.done);
}

static void test_trailers_are_kept(void **state)
{
    (void)state;
    static const char text[] = "3\r\nabc\r\n0\r\nX-A: 1\r\nX-B:\r\n\r\nnext";
    for (size_t step = 1; step < sizeof text; step++) {
        struct gvm_http1_body b;
        struct gvm_buf kept;
        gvm_buf_init(&kept, GVM_MAX_TRAILERS);
        gvm_http1_body_init(&b, GVM_BODY_CHUNKED, 0);
        b.trailers = &kept;
        size_t at = 0;
        int r = 0;
        while (r == 0 && at < sizeof text - 1) {
            size_t n = sizeof text - 1 - at < step ? sizeof text - 1 - at : step;
            struct gvm_str in = {text + at, n}, span;
            r = gvm_http1_body_feed(&b, &in, &span, NULL);
            at += n - in.n;
        }
        assert_int_equal(r, 1);
        assert_string_equal(gvm_buf_cstr(&kept), "X-A: 1\r\nX-B:\r\n");
        gvm_buf_done(&kept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trailers_are_kept),
        cmocka_unit_test(test_chunked),
        cmocka_unit_test(test_line_limits),
        cmocka_unit_test(test_length_and_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
