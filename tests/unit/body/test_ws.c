/* WebSocket frames: the same events and bytes however the input is cut; what is no frame is
 * refused. */
#include "../unit.h"
#include <errno.h>
#include <stdio.h>
#include <zlib.h>
#include "body/body.h"

static struct gvm_buf in, passed, seen;

static int setup(void **state)
{
    (void)state;
    gvm_buf_init(&in, 1u << 20);
    gvm_buf_init(&passed, 1u << 20);
    gvm_buf_init(&seen, 1u << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gvm_buf_done(&in);
    gvm_buf_done(&passed);
    gvm_buf_done(&seen);
    return 0;
}

static void frame(unsigned first, bool masked, const void *p, size_t n)
{
    static const uint8_t mask[4] = {1, 2, 3, 4};
    gvm_buf_addc(&in, (char)first);
    if (n < 126)
        gvm_buf_addc(&in, (char)((masked ? 0x80 : 0) | n));
    else {
        gvm_buf_addc(&in, (char)((masked ? 0x80 : 0) | 126));
        gvm_buf_addc(&in, (char)(n >> 8));
        gvm_buf_addc(&in, (char)n);
    }
    if (masked)
        gvm_buf_add(&in, mask, 4);
    for (size_t i = 0; i < n; i++)
        gvm_buf_addc(&in, (char)(((const char *)p)[i] ^ (masked ? mask[i & 3] : 0)));
}

static void text(unsigned first, bool masked, const char *z)
{
    frame(first, masked, z, strlen(z));
}

/* Feeds `in` in pieces of `step`; every byte goes on. */
static int run(const struct gvm_ws_options *o, size_t step)
{
    struct gvm_ws *w = gvm_ws_new(o);
    struct gvm_str all = gvm_buf_str(&in);
    int r = 0;
    assert_non_null(w);
    gvm_buf_reset(&passed);
    gvm_buf_reset(&seen);
    while (all.n && r == 0) {
        struct gvm_str part = {all.p, all.n < step ? all.n : step};
        struct gvm_ws_got got;
        all.p += part.n;
        all.n -= part.n;
        do {
            r = gvm_ws_feed(w, &part, &got, NULL);
            if (r < 0 || got.event == GVM_WS_MORE)
                break;
            gvm_buf_adds(&passed, got.bytes);
            if (got.event == GVM_WS_MESSAGE && got.unseen)
                gvm_buf_addz(&seen, "?;");
            else if (got.event == GVM_WS_MESSAGE)
                gvm_buf_addf(&seen, "%s%.*s;", got.binary ? "b:" : "", GVM_STR_ARG(got.text));
        } while (true);
    }
    gvm_ws_free(w);
    return r;
}

static void every_step(const struct gvm_ws_options *o, const char *want)
{
    for (size_t step = 1; step <= in.len; step++) {
        assert_int_equal(run(o, step), 0);
        if (!gvm_str_eqz(gvm_buf_str(&seen), want))
            fail_msg("step %zu: %.*s, not %s", step, GVM_STR_ARG(gvm_buf_str(&seen)), want);
        assert_int_equal(passed.len, in.len);
        /* control frames may overtake a message that is held: compare as a multiset of bytes */
        size_t sums[2] = {0, 0};
        for (size_t i = 0; i < in.len; i++) {
            sums[0] += gvm_buf_data(&in)[i];
            sums[1] += gvm_buf_data(&passed)[i];
        }
        assert_int_equal(sums[0], sums[1]);
    }
}

static void test_messages(void **state)
{
    (void)state;
    for (int masked = 0; masked < 2; masked++) {
        struct gvm_ws_options o = {.masked = masked, .look = true, .max = 1000};
        char big[300];
        memset(big, 'x', sizeof big);
        gvm_buf_reset(&in);
        text(0x81, masked, "hello");
        text(0x01, masked, "a");
        text(0x89, masked, "ping");
        text(0x00, masked, "b");
        text(0x80, masked, "");
        text(0x82, masked, "bin");
        text(0x81, masked, "");
        frame(0x81, masked, big, sizeof big);
        text(0x88, masked, "\x03\xe8");
        char want[400];
        snprintf(want, sizeof want, "hello;ab;b:bin;;%.300s;", big);
        every_step(&o, want);
        o.look = false;
        for (size_t step = 1; step < 9; step++) {
            assert_int_equal(run(&o, step), 0);
            assert_true(gvm_str_eq(gvm_buf_str(&in), gvm_buf_str(&passed)));
        }
    }
}

/* Larger than is looked at: given unseen, and what is behind it comes through. */
static void test_large(void **state)
{
    struct gvm_ws_options o = {.masked = false, .look = true, .max = 10};
    (void)state;
    gvm_buf_reset(&in);
    text(0x01, false, "12345678");
    text(0x00, false, "12345678");
    text(0x80, false, "x");
    text(0x81, false, "after");
    every_step(&o, "?;after;");
    /* heads alone fill what is held */
    gvm_buf_reset(&in);
    text(0x01, false, "");
    for (int i = 0; i < 3000; i++)
        text(0x00, false, "");
    text(0x80, false, "");
    text(0x81, false, "after");
    assert_int_equal(run(&o, 7), 0);
    assert_true(gvm_str_eqz(gvm_buf_str(&seen), "?;after;"));
    assert_true(gvm_str_eq(gvm_buf_str(&in), gvm_buf_str(&passed)));
}

static void deflate_message(z_stream *z, const char *s)
{
    uint8_t out[512];
    z->next_in = (Bytef *)(uintptr_t)s;
    z->avail_in = (uInt)strlen(s);
    z->next_out = out;
    z->avail_out = sizeof out;
    assert_int_equal(deflate(z, Z_SYNC_FLUSH), Z_OK);
    frame(0xc1, true, out, sizeof out - z->avail_out - 4);
}

static void test_deflate(void **state)
{
    struct gvm_ws_options o = {.masked = true, .look = true, .max = 1000, .deflate = true};
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        z_stream z = {0};
        assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
        gvm_buf_reset(&in);
        deflate_message(&z, "hello hello hello");
        if (!keep)
            deflateReset(&z);
        deflate_message(&z, "hello hello again");
        text(0x81, true, "plain");
        deflateEnd(&z);
        o.keep_context = keep;
        every_step(&o, "hello hello hello;hello hello again;plain;");
    }
    gvm_buf_reset(&in);
    text(0xc1, true, "\xff\xff not deflate");
    text(0x81, true, "ok");
    assert_int_equal(run(&o, 100), 0);
    assert_true(gvm_str_eqz(gvm_buf_str(&seen), "?;ok;"));
}

static void test_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } rows[] = {
        {"\x83\x00", 2},
        {"\x8b\x00", 2},
        {"\x80\x00", 2},
        {"\x81\x80\0\0\0\0", 6},
        {"\x91\x00", 2},
        {"\xc1\x00", 2},
        {"\x09\x00", 2},
        {"\x89\x7e\x00\x80", 4},
        {"\x81\x7e\x00\x7d", 4},
        {"\x81\x7f\0\0\0\0\0\0\xff\xff", 10},
        {"\x81\x7f\xff\0\0\0\0\1\0\0", 10},
        {"\x01\x00\x81\x00", 4},
        {"\xc9\x00", 2},
    };
    struct gvm_ws_options o = {.look = true, .max = 1000};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gvm_buf_reset(&in);
        gvm_buf_add(&in, rows[i].bytes, rows[i].n);
        if (run(&o, 1) != -EINVAL)
            fail_msg("row %zu was taken", i);
    }
}

static void test_extensions(void **state)
{
    bool d, c, s;
    (void)state;
    assert_int_equal(gvm_ws_extensions(GVM_STR(""), &d, &c, &s), 0);
    assert_false(d);
    assert_int_equal(gvm_ws_extensions(GVM_STR("permessage-deflate"), &d, &c, &s), 0);
    assert_true(d && c && s);
    assert_int_equal(gvm_ws_extensions(GVM_STR("permessage-deflate; server_no_context_takeover; "
                                               "client_max_window_bits=12"),
                                       &d, &c, &s),
                     0);
    assert_true(d && c && !s);
    assert_int_equal(gvm_ws_extensions(GVM_STR("x-mux"), &d, &c, &s), -ENOTSUP);
    assert_int_equal(gvm_ws_extensions(GVM_STR("permessage-deflate, x"), &d, &c, &s), -ENOTSUP);
    assert_int_equal(gvm_ws_extensions(GVM_STR("permessage-deflate; odd"), &d, &c, &s), -ENOTSUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_messages),
                                       cmocka_unit_test(test_large), cmocka_unit_test(test_deflate),
                                       cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_extensions)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
