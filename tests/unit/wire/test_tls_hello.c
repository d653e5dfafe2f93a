/* ClientHellos: names read, records put together, hostile lengths refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include "hello.h"
#include "wire/tls_hello.h"

/* The bytes of a buffer that has some. */
static uint8_t *bytes(struct gvm_buf *b)
{
    return (uint8_t *)(uintptr_t)gvm_buf_cstr(b);
}

struct fixture {
    struct gvm_buf exts, message, wire, scratch;
    struct gvm_tls_hello hello;
};

static void init(struct fixture *f)
{
    gvm_buf_init(&f->exts, 1 << 17);
    gvm_buf_init(&f->message, 1 << 17);
    gvm_buf_init(&f->wire, 1 << 20);
    gvm_buf_init(&f->scratch, GVM_MAX_TLS_HELLO + 4096);
}

static void done(struct fixture *f)
{
    gvm_buf_done(&f->exts);
    gvm_buf_done(&f->message);
    gvm_buf_done(&f->wire);
    gvm_buf_done(&f->scratch);
}

static int parse(struct fixture *f, size_t n)
{
    static char *copy; /* exact size; lives on because the result points into it */
    free(copy);
    copy = malloc(n + 1);
    assert_non_null(copy);
    memcpy(copy + 1, bytes(&f->wire), n);
    return gvm_tls_hello_parse((struct gvm_str){copy + 1, n}, &f->scratch, &f->hello, NULL);
}

/* Wraps f->exts and parses in one record. */
static int wrap_and_parse(struct fixture *f)
{
    gvm_buf_reset(&f->message);
    gvm_buf_reset(&f->wire);
    hello_message(&f->message, &f->exts);
    hello_records(&f->wire, gvm_buf_str(&f->message), 16384);
    return parse(f, f->wire.len);
}

static void test_ordinary(void **state)
{
    struct fixture f;
    init(&f);
    hello_ext(&f.exts, 10, GVM_STR("\0\2\0\x1d"));
    hello_sni(&f.exts, GVM_STR("Api.example.com"));
    hello_ext(&f.exts, 16, GVM_STR("\0\x0c\2h2\x08http/1.1"));
    hello_ext(&f.exts, 0xfe0d, GVM_STR("\0\0\0"));
    assert_int_equal(wrap_and_parse(&f), 1);
    assert_true(gvm_str_eqz(f.hello.sni, "Api.example.com"));
    assert_true(f.hello.alpn_h2 && f.hello.alpn_http1 && f.hello.ech);
    assert_true(gvm_tls_looks_like(bytes(&f.wire)[0]));
    assert_false(gvm_tls_looks_like('G'));
    for (size_t n = 0; n < f.wire.len; n++)
        assert_int_equal(parse(&f, n), 0);

    /* No name, and no extensions at all. */
    gvm_buf_reset(&f.exts);
    hello_ext(&f.exts, 16, GVM_STR("\0\x09\x08http/1.1"));
    assert_int_equal(wrap_and_parse(&f), 1);
    assert_int_equal(f.hello.sni.n, 0);
    assert_true(!f.hello.alpn_h2 && f.hello.alpn_http1 && !f.hello.ech);
    gvm_buf_reset(&f.message);
    gvm_buf_reset(&f.wire);
    hello_message(&f.message, NULL);
    hello_records(&f.wire, gvm_buf_str(&f.message), 16384);
    assert_int_equal(parse(&f, f.wire.len), 1);
    assert_int_equal(f.hello.sni.n, 0);
    done(&f);
}

static void test_records(void **state)
{
    struct fixture f;
    init(&f);
    hello_sni(&f.exts, GVM_STR("split.example.com"));
    hello_message(&f.message, &f.exts);
    for (size_t size = 1; size <= f.message.len; size++) {
        gvm_buf_reset(&f.wire);
        hello_records(&f.wire, gvm_buf_str(&f.message), size);
        for (size_t n = 0; n < f.wire.len; n++)
            assert_int_equal(parse(&f, n), 0);
        assert_int_equal(parse(&f, f.wire.len), 1);
        assert_true(gvm_str_eqz(f.hello.sni, "split.example.com"));
    }
    done(&f);
}

/* T-M4: names that no host has. */
static void test_names(void **state)
{
    static const struct {
        struct gvm_str name;
        int r;
    } rows[] = {
        {{"a.example", 9}, 1},
        {{"a.example.", 10}, 1},
        {{"A_b.example", 11}, 1},
        {{"127.0.0.1", 9}, 1},
        {{"xn--bcher-kva.example", 21}, 1},
        {{"", 0}, -EINVAL},
        {{".", 1}, -EINVAL},
        {{"..", 2}, -EINVAL},
        {{"a..b", 4}, -EINVAL},
        {{"evil\0.good.com", 14}, -EINVAL},
        {{"good.com\0", 9}, -EINVAL},
        {{"a\r\nb", 4}, -EINVAL},
        {{"::1", 3}, -EINVAL},
        {{"[::1]", 5}, -EINVAL},
        {{"a.example:443", 13}, -EINVAL},
        {{"x@a.example", 11}, -EINVAL},
        {{"b\xc3\xbc"
          "cher.example",
          15},
         -EINVAL},
        {{"a b", 3}, -EINVAL},
        {{"*.example", 9}, -EINVAL},
        {{"1.2.3.4.5", 9}, -EINVAL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        init(&f);
        hello_sni(&f.exts, rows[i].name);
        if (wrap_and_parse(&f) != rows[i].r)
            fail_msg("row %zu \"%s\"", i, rows[i].name.p);
        done(&f);
    }
    static char kilo[1024];
    memset(kilo, 'a', sizeof kilo);
    struct fixture f;
    init(&f);
    hello_sni(&f.exts, (struct gvm_str){kilo, sizeof kilo});
    assert_int_equal(wrap_and_parse(&f), -EINVAL);
    done(&f);
}

static void test_malformed_extensions(void **state)
{
    static const struct {
        const char *what;
        unsigned type;
        struct gvm_str body;
    } rows[] = {
        {"sni empty", 0, {"", 0}},
        {"sni list too long", 0, {"\0\x09\0\0\1a", 6}},
        {"sni list too short", 0, {"\0\3\0\0\1a", 6}},
        {"sni empty list", 0, {"\0\0", 2}},
        {"sni two names", 0, {"\0\x08\0\0\1a\0\0\1b", 10}},
        {"sni other type", 0, {"\0\4\1\0\1a", 6}},
        {"sni name over the end", 0, {"\0\4\0\0\2a", 6}},
        {"sni bytes behind", 0, {"\0\4\0\0\1ax", 7}},
        {"alpn empty", 16, {"", 0}},
        {"alpn empty list", 16, {"\0\0", 2}},
        {"alpn empty name", 16, {"\0\1\0", 3}},
        {"alpn name over the end", 16, {"\0\3\3h2", 5}},
        {"alpn bytes behind", 16, {"\0\3\2h2x", 6}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        init(&f);
        hello_ext(&f.exts, rows[i].type, rows[i].body);
        if (wrap_and_parse(&f) != -EINVAL)
            fail_msg("%s", rows[i].what);
        done(&f);
    }
    /* Twice the same extension; a header cut off; a length over the end. */
    static const struct gvm_str raw[] = {
        {"\0\0\0\6\0\4\0\0\1a\0\0\0\6\0\4\0\0\1a", 20},
        {"\0\x10\0\5\0\3\2h2\0\x10\0\5\0\3\2h2", 18},
        {"\0", 1},
        {"\0\x0a\0", 3},
        {"\0\x0a\0\5\0\0", 6},
        {"\0\x0a\xff\xff", 4},
    };
    for (size_t i = 0; i < sizeof raw / sizeof *raw; i++) {
        struct fixture f;
        init(&f);
        assert_int_equal(gvm_buf_adds(&f.exts, raw[i]), 0);
        assert_int_equal(wrap_and_parse(&f), -EINVAL);
        done(&f);
    }
}

/* Changes one byte of a good hello and says what must come out. */
static void test_hostile_bytes(void **state)
{
    static const struct {
        const char *what;
        size_t at;
        uint8_t v;
        int r;
    } rows[] = {
        {"alert", 0, 21, -EINVAL},
        {"application data", 0, 23, -EINVAL},
        {"SSLv2", 0, 0x80, -EINVAL},
        {"plain HTTP", 0, 'G', -EINVAL},
        {"version 2", 1, 2, -EINVAL},
        {"record of 64 KB", 3, 0xff, -EINVAL},
        {"ServerHello", 5, 2, -EINVAL},
        {"HelloRequest", 5, 0, -EINVAL},
        {"16 MB hello", 6, 0xff, -E2BIG},
        {"hello of 32 KB", 7, 0x80, -E2BIG},
        {"hello version", 9, 4, -EINVAL},
        {"session of 33", 43, 33, -EINVAL},
        {"session of 255", 43, 255, -EINVAL},
        {"suites odd", 45, 3, -EINVAL},
        {"suites none", 45, 0, -EINVAL},
        {"suites over the end", 44, 0xff, -EINVAL},
        {"no compression", 50, 0, -EINVAL},
        {"compression over the end", 50, 255, -EINVAL},
        {"extensions too long", 53, 0xff, -EINVAL},
        {"extensions too short", 53, 1, -EINVAL},
    };
    struct fixture f;
    init(&f);
    hello_sni(&f.exts, GVM_STR("a.example"));
    assert_int_equal(wrap_and_parse(&f), 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t *p = bytes(&f.wire) + rows[i].at, keep = *p;
        *p = rows[i].v;
        if (parse(&f, f.wire.len) != rows[i].r)
            fail_msg("%s", rows[i].what);
        *p = keep;
    }
    assert_int_equal(parse(&f, f.wire.len), 1);
    /* Each byte in turn, every value: no crash, and a name that is a host or none. */
    for (size_t at = 0; at < f.wire.len; at++)
        for (unsigned v = 0; v < 256; v += 5) {
            uint8_t *p = bytes(&f.wire) + at, keep = *p;
            *p = (uint8_t)v;
            if (parse(&f, f.wire.len) == 1)
                assert_null(memchr(f.hello.sni.p ? f.hello.sni.p : "", '\0', f.hello.sni.n));
            *p = keep;
        }
    done(&f);
}

static void test_around(void **state)
{
    struct fixture f;
    init(&f);
    hello_sni(&f.exts, GVM_STR("a.example"));
    hello_message(&f.message, &f.exts);
    /* Something behind the hello in its record. */
    assert_int_equal(gvm_buf_addc(&f.message, 'x'), 0);
    hello_records(&f.wire, gvm_buf_str(&f.message), 16384);
    assert_int_equal(parse(&f, f.wire.len), -EINVAL);
    /* An empty record. */
    gvm_buf_reset(&f.wire);
    assert_int_equal(gvm_buf_add(&f.wire, "\x16\3\1\0\0", 5), 0);
    assert_int_equal(parse(&f, 5), -EINVAL);
    /* A hello that grows past the maximum in small records. */
    gvm_buf_reset(&f.exts);
    static char big[GVM_MAX_TLS_HELLO - 100];
    hello_ext(&f.exts, 21, (struct gvm_str){big, sizeof big});
    assert_int_equal(wrap_and_parse(&f), 1);
    gvm_buf_reset(&f.wire);
    hello_records(&f.wire, gvm_buf_str(&f.message), 1);
    assert_int_equal(parse(&f, GVM_MAX_TLS_HELLO), -E2BIG);
    done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ordinary),      cmocka_unit_test(test_records),
        cmocka_unit_test(test_names),         cmocka_unit_test(test_malformed_extensions),
        cmocka_unit_test(test_hostile_bytes), cmocka_unit_test(test_around),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
