/* DNS messages: one plain question or FORMERR, and answers that say the question again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include "wire/dns_msg.h"

/* The bytes of a buffer that has some. */
static uint8_t *bytes(struct gvm_buf *b)
{
    return (uint8_t *)(uintptr_t)gvm_buf_cstr(b);
}

#define HEADER(flags, qd, an, ns, ar) "\x12\x34" flags "\0" qd "\0" an "\0" ns "\0" ar
#define PLAIN                         HEADER("\1\0", "\1", "\0", "\0", "\0")
#define WITH_OPT                      HEADER("\1\0", "\1", "\0", "\0", "\1")
#define NAME                          "\3ApI\7eXample\3com\0"
#define A_IN                          "\0\1\0\1"
#define OPT                           "\0\0\x29\x04\xd0\0\0\0\0\0\0"

static struct gvm_dns_question q;

static int parse(struct gvm_str s)
{
    char *copy = malloc(s.n + 1);
    assert_non_null(copy);
    memcpy(copy + 1, s.p, s.n);
    int r = gvm_dns_parse((struct gvm_str){copy + 1, s.n}, &q, NULL);
    free(copy);
    return r;
}

static void test_questions(void **state)
{
    assert_int_equal(parse(GVM_STR(PLAIN NAME A_IN)), 0);
    assert_string_equal(q.name, "api.example.com");
    assert_int_equal(q.id, 0x1234);
    assert_true(q.rd);
    assert_false(q.edns);
    assert_int_equal(q.qtype, GVM_DNS_A);
    assert_int_equal(q.qclass, 1);
    assert_int_equal(q.question_end, 12 + 17 + 4);
    assert_int_equal(parse(GVM_STR(WITH_OPT NAME "\0\x1c\0\1" OPT)), 0);
    assert_true(q.edns);
    assert_int_equal(q.qtype, GVM_DNS_AAAA);
    /* EDNS with two options, DO bit. */
    assert_int_equal(parse(GVM_STR(WITH_OPT NAME A_IN
                                   "\0\0\x29\x10\0\0\0\x80\0\0\x0e\0\x0a\0\2xy\0\x0c\0\4\0\0\0\0")),
                     0);
    /* AD and CD bits are usual, the root is a name. */
    assert_int_equal(parse(GVM_STR(HEADER("\1\x30", "\1", "\0", "\0", "\0") "\0\0\2\0\1")), 0);
    assert_string_equal(q.name, "");
    assert_int_equal(parse(GVM_STR(PLAIN "\4_srv\4_tcp\1a\0\0\x21\0\1")), 0);
    assert_string_equal(q.name, "_srv._tcp.a");
}

static void test_refused(void **state)
{
    static const struct {
        const char *what;
        struct gvm_str s;
    } rows[] = {
        {"empty", GVM_STR("")},
        {"short header", GVM_STR("\x12\x34\1\0\0\1\0\0\0\0\0")},
        {"header only", GVM_STR(PLAIN)},
        {"an answer", GVM_STR(HEADER("\x81\0", "\1", "\0", "\0", "\0") NAME A_IN)},
        {"opcode", GVM_STR(HEADER("\x29\0", "\1", "\0", "\0", "\0") NAME A_IN)},
        {"truncated flag", GVM_STR(HEADER("\3\0", "\1", "\0", "\0", "\0") NAME A_IN)},
        {"rcode", GVM_STR(HEADER("\1\3", "\1", "\0", "\0", "\0") NAME A_IN)},
        {"no question", GVM_STR(HEADER("\1\0", "\0", "\0", "\0", "\0"))},
        {"two questions", GVM_STR(HEADER("\1\0", "\2", "\0", "\0", "\0") NAME A_IN NAME A_IN)},
        {"says two, has one", GVM_STR(HEADER("\1\0", "\2", "\0", "\0", "\0") NAME A_IN)},
        {"answer count", GVM_STR(HEADER("\1\0", "\1", "\1", "\0", "\0") NAME A_IN)},
        {"authority count", GVM_STR(HEADER("\1\0", "\1", "\0", "\1", "\0") NAME A_IN)},
        {"two additional", GVM_STR(HEADER("\1\0", "\1", "\0", "\0", "\2") NAME A_IN OPT OPT)},
        {"bytes behind", GVM_STR(PLAIN NAME A_IN "x")},
        {"bytes behind OPT", GVM_STR(WITH_OPT NAME A_IN OPT "x")},
        {"no OPT where counted", GVM_STR(WITH_OPT NAME A_IN)},
        {"TSIG for OPT", GVM_STR(WITH_OPT NAME A_IN "\0\0\xfa\x04\xd0\0\0\0\0\0\0")},
        {"OPT with a name", GVM_STR(WITH_OPT NAME A_IN "\1a\0\0\x29\x04\xd0\0\0\0\0\0\0")},
        {"EDNS version 1", GVM_STR(WITH_OPT NAME A_IN "\0\0\x29\x04\xd0\0\1\0\0\0\0")},
        {"OPT length", GVM_STR(WITH_OPT NAME A_IN "\0\0\x29\x04\xd0\0\0\0\0\0\4")},
        {"OPT option over the end",
         GVM_STR(WITH_OPT NAME A_IN "\0\0\x29\x04\xd0\0\0\0\0\0\5\0\x0a\0\2x")},
        {"OPT option cut", GVM_STR(WITH_OPT NAME A_IN "\0\0\x29\x04\xd0\0\0\0\0\0\3\0\x0a\0")},
        {"pointer", GVM_STR(PLAIN "\xc0\x0c" A_IN)},
        {"pointer behind a label", GVM_STR(PLAIN "\3api\xc0\x0c" A_IN)},
        {"reserved label type", GVM_STR(PLAIN "\x80x\0" A_IN)},
        {"EDNS label type", GVM_STR(PLAIN "\x41\1\0" A_IN)},
        {"label of 64",
         GVM_STR(PLAIN "\x40"
                       "0123456789012345678901234567890123456789012345678901234567890123\0" A_IN)},
        {"label over the end", GVM_STR(PLAIN "\x09short\0")},
        {"no root label", GVM_STR(PLAIN "\3api")},
        {"no type", GVM_STR(PLAIN NAME)},
        {"half a class", GVM_STR(PLAIN NAME "\0\1\0")},
        {"not UTF-8", GVM_STR(PLAIN "\3a\xff"
                                    "b\0" A_IN)},
        {"UTF-8", GVM_STR(PLAIN "\2\xc3\xbc\0" A_IN)},
        {"NUL in a label", GVM_STR(PLAIN "\3a\0b\0" A_IN)},
        {"dot in a label", GVM_STR(PLAIN "\3a.b\0" A_IN)},
        {"space in a label", GVM_STR(PLAIN "\3a b\0" A_IN)},
        {"newline in a label", GVM_STR(PLAIN "\3a\nb\0" A_IN)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        q.id = 7;
        if (parse(rows[i].s) != -EINVAL)
            fail_msg("%s should be refused", rows[i].what);
        assert_int_equal(q.id, 7);
    }
    /* Every beginning of a good query. */
    struct gvm_str good = GVM_STR(WITH_OPT NAME A_IN OPT);
    for (size_t n = 0; n < good.n; n++)
        assert_int_equal(parse((struct gvm_str){good.p, n}), -EINVAL);
    assert_int_equal(parse(good), 0);
}

static void test_long_names(void **state)
{
    char text[400];
    size_t n = sizeof PLAIN - 1;
    memcpy(text, PLAIN, n);
    memset(text + n, 'a', sizeof text - n);
    for (int i = 0; i < 3; i++)
        text[n + (size_t)i * 64] = 63;
    size_t last = n + 192;
    text[last] = 61; /* 63 + 1 + 63 + 1 + 63 + 1 + 61 = 253 */
    memcpy(text + last + 62, "\0\0\1\0\1", 5);
    assert_int_equal(parse((struct gvm_str){text, last + 67}), 0);
    assert_int_equal(strlen(q.name), 253);
    text[last] = 62;
    memcpy(text + last + 63, "\0\0\1\0\1", 5);
    text[last + 62] = 'a';
    assert_int_equal(parse((struct gvm_str){text, last + 68}), -EINVAL);
}

static void test_answer(void **state)
{
    struct gvm_str query = GVM_STR(WITH_OPT NAME A_IN OPT);
    struct gvm_ip v4, v6;
    assert_int_equal(gvm_ip_parse(GVM_STR("198.18.1.1"), &v4), 0);
    assert_int_equal(gvm_ip_parse(GVM_STR("fd00:6776:6d00:1::1"), &v6), 0);
    struct gvm_buf out;
    gvm_buf_init(&out, 512);
    assert_int_equal(parse(query), 0);
    assert_int_equal(gvm_dns_answer(query, &q, GVM_DNS_NOERROR, &v4, 1, 60, &out), 0);
    static const char want[] =
        "\x12\x34\x85\x80\0\1\0\1\0\0\0\1" NAME A_IN "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc6\x12\1\1"
        "\0\0\x29\x04\xd0\0\0\0\0\0\0";
    assert_int_equal(out.len, sizeof want - 1);
    assert_memory_equal(bytes(&out), want, out.len);
    gvm_buf_reset(&out);
    assert_int_equal(gvm_dns_answer(query, &q, GVM_DNS_NXDOMAIN, NULL, 0, 0, &out), 0);
    assert_int_equal(bytes(&out)[3], 0x83);
    assert_int_equal(out.len, q.question_end + 11);
    gvm_buf_reset(&out);
    assert_int_equal(
        gvm_dns_answer(query, &q, GVM_DNS_NOERROR, (struct gvm_ip[]){v6, v4}, 2, 1, &out), 0);
    assert_int_equal(out.len, q.question_end + 28 + 16 + 11);

    /* No room: all or nothing. */
    struct gvm_buf small;
    gvm_buf_init(&small, 40);
    assert_int_equal(gvm_dns_answer(query, &q, GVM_DNS_NOERROR, &v4, 1, 60, &small), -ENOBUFS);
    assert_int_equal(small.len, 0);
    /* Nonsense from our side is refused. */
    struct gvm_ip none = {0};
    gvm_buf_reset(&out);
    assert_int_equal(gvm_dns_answer(query, &q, GVM_DNS_NOERROR, &none, 1, 60, &out), -EINVAL);
    assert_int_equal(gvm_dns_answer((struct gvm_str){query.p, 13}, &q, 0, NULL, 0, 60, &out),
                     -EINVAL);
    assert_int_equal(out.len, 0);
    gvm_buf_done(&small);
    gvm_buf_done(&out);
}

static void test_formerr(void **state)
{
    struct gvm_buf out;
    gvm_buf_init(&out, 100);
    assert_int_equal(gvm_dns_formerr(GVM_STR(PLAIN "\xc0\x0c" A_IN), &out), 0);
    assert_int_equal(out.len, 12);
    assert_memory_equal(bytes(&out), "\x12\x34\x81\x81\0\0\0\0\0\0\0\0", 12);
    gvm_buf_reset(&out);
    assert_int_equal(gvm_dns_formerr(GVM_STR("\x12\x34\1\0\0\1\0\0\0\0\0"), &out), -EINVAL);
    assert_int_equal(gvm_dns_formerr(GVM_STR(HEADER("\x81\0", "\1", "\0", "\0", "\0")), &out),
                     -EINVAL);
    assert_int_equal(out.len, 0);
    gvm_buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_questions),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_long_names), cmocka_unit_test(test_answer),
        cmocka_unit_test(test_formerr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
