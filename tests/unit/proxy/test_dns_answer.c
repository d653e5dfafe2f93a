#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "proxy/upstream/dns_answer.h"

/* A message under construction. */
struct made {
    uint8_t p[8192];
    size_t n;
};

static void put16(struct made *m, unsigned v)
{
    gvm_put16(m->p + m->n, (uint16_t)v);
    m->n += 2;
}

static void name(struct made *m, const char *z)
{
    struct gvm_str rest = gvm_str(z), label;
    while (rest.n) {
        (void)gvm_str_cut(&rest, '.', &label);
        m->p[m->n++] = (uint8_t)label.n;
        memcpy(m->p + m->n, label.p, label.n);
        m->n += label.n;
    }
    m->p[m->n++] = 0;
}

static void begin(struct made *m, unsigned flags, unsigned answers, const char *q, unsigned type)
{
    m->n = 0;
    put16(m, 0x1234);
    put16(m, flags);
    put16(m, 1);
    put16(m, answers);
    put16(m, 0);
    put16(m, 0);
    name(m, q);
    put16(m, type);
    put16(m, 1);
}

static void record(struct made *m, unsigned type, uint32_t ttl, const void *data, size_t n)
{
    put16(m, type);
    put16(m, 1);
    gvm_put32(m->p + m->n, ttl);
    m->n += 4;
    put16(m, (unsigned)n);
    memcpy(m->p + m->n, data, n);
    m->n += n;
}

static int parse(const struct made *m, const char *q, uint16_t type, struct dns_answer *a)
{
    return dns_answer_parse((struct gvm_str){(const char *)m->p, m->n}, q, type, 0x1234, a);
}

static const uint8_t ip1[4] = {192, 0, 2, 1}, ip2[4] = {192, 0, 2, 2};

static void simple(void **state)
{
    (void)state;
    struct made m;
    struct dns_answer a;
    begin(&m, 0x8180, 2, "Api.Example.test", GVM_DNS_A);
    put16(&m, 0xc00c);
    record(&m, 1, 300, ip1, 4);
    put16(&m, 0xc00c);
    record(&m, 1, 60, ip2, 4);
    assert_int_equal(parse(&m, "api.example.test", GVM_DNS_A, &a), 0);
    assert_int_equal(a.n, 2);
    assert_int_equal(a.ttl, 60);
    assert_memory_equal(a.addrs[1].bytes, ip2, 4);
    /* Every cut of it is refused and no cut is an answer. */
    for (size_t full = m.n; m.n-- > 0;) {
        assert_true(m.n < full);
        assert_true(parse(&m, "api.example.test", GVM_DNS_A, &a) < 0);
    }
}

static void query_is_what_answers_repeat(void **state)
{
    (void)state;
    uint8_t q[DNS_QUERY_MAX];
    int n = dns_query_build("a.b.test", GVM_DNS_AAAA, 7, true, q);
    assert_int_equal(n, 12 + 10 + 4 + 11);
    struct gvm_dns_question parsed;
    assert_int_equal(gvm_dns_parse((struct gvm_str){(char *)q, (size_t)n}, &parsed, NULL), 0);
    assert_string_equal(parsed.name, "a.b.test");
    assert_int_equal(parsed.qtype, GVM_DNS_AAAA);
    assert_true(parsed.edns);
    static const char *const bad[] = {
        "",   ".",  "a..b",
        "a.", ".a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(dns_query_build(bad[i], 1, 7, false, q), -EINVAL);
}

static void not_our_answer(void **state)
{
    (void)state;
    struct made m;
    struct dns_answer a;
    begin(&m, 0x8180, 1, "api.test", GVM_DNS_A);
    put16(&m, 0xc00c);
    record(&m, 1, 1, ip1, 4);
    assert_int_equal(parse(&m, "api.test", GVM_DNS_A, &a), 0);
    assert_int_equal(parse(&m, "other.test", GVM_DNS_A, &a), -ENOMSG);
    assert_int_equal(parse(&m, "api.test", GVM_DNS_AAAA, &a), -ENOMSG);
    assert_int_equal(
        dns_answer_parse((struct gvm_str){(char *)m.p, m.n}, "api.test", 1, 0x1235, &a), -ENOMSG);
    m.p[2] &= 0x7f; /* a query */
    assert_int_equal(parse(&m, "api.test", GVM_DNS_A, &a), -ENOMSG);
}

static void alias_chain(void **state)
{
    (void)state;
    struct made m, target;
    struct dns_answer a;
    begin(&m, 0x8180, 3, "www.test", GVM_DNS_A);
    target.n = 0;
    name(&target, "cdn.test");
    /* The address stands before the alias that leads to it, beside one of a stranger. */
    name(&m, "cdn.test");
    record(&m, 1, 30, ip1, 4);
    name(&m, "stranger.test");
    record(&m, 1, 30, ip2, 4);
    put16(&m, 0xc00c);
    record(&m, 5, 10, target.p, target.n);
    assert_int_equal(parse(&m, "www.test", GVM_DNS_A, &a), 0);
    assert_int_equal(a.n, 1);
    assert_memory_equal(a.addrs[0].bytes, ip1, 4);
    assert_int_equal(a.ttl, 10);
}

static void alias_loop_ends(void **state)
{
    (void)state;
    struct made m;
    struct dns_answer a;
    const uint8_t self[2] = {0xc0, 0x0c};
    begin(&m, 0x8180, 1, "loop.test", GVM_DNS_A);
    put16(&m, 0xc00c);
    record(&m, 5, 10, self, 2);
    assert_int_equal(parse(&m, "loop.test", GVM_DNS_A, &a), 0);
    assert_int_equal(a.n, 0);
}

static void bad_pointers(void **state)
{
    (void)state;
    struct made m;
    struct dns_answer a;
    static const unsigned to[] = {0xc000, 0xc00b, 0xc0ff, 0xffff, 0xc01a, 0x8001, 0x4001};
    for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
        begin(&m, 0x8180, 1, "api.test", GVM_DNS_A); /* ends at 26: 0xc01a points at itself */
        put16(&m, to[i]);
        record(&m, 1, 1, ip1, 4);
        assert_int_equal(parse(&m, "api.test", GVM_DNS_A, &a), -EINVAL);
    }
}

static void wrong_lengths(void **state)
{
    (void)state;
    struct made m;
    struct dns_answer a;
    begin(&m, 0x8180, 1, "api.test", GVM_DNS_A);
    put16(&m, 0xc00c);
    record(&m, 1, 1, ip1, 3);
    assert_int_equal(parse(&m, "api.test", GVM_DNS_A, &a), -EINVAL);
    begin(&m, 0x8180, 65, "api.test", GVM_DNS_A);
    for (int i = 0; i < 65; i++) {
        put16(&m, 0xc00c);
        record(&m, 1, 1, ip1, 4);
    }
    assert_int_equal(parse(&m, "api.test", GVM_DNS_A, &a), -EINVAL);
    m.p[7] = 64; /* as many as are looked at; kept are fewer */
    assert_int_equal(parse(&m, "api.test", GVM_DNS_A, &a), 0);
    assert_int_equal(a.n, DNS_MAX_ADDRS);
}

static void errors_and_truncation(void **state)
{
    (void)state;
    struct made m;
    struct dns_answer a;
    begin(&m, 0x8183, 0, "api.test", GVM_DNS_A);
    assert_int_equal(parse(&m, "api.test", GVM_DNS_A, &a), 0);
    assert_int_equal(a.rcode, GVM_DNS_NXDOMAIN);
    begin(&m, 0x8380, 0, "api.test", GVM_DNS_A);
    assert_int_equal(parse(&m, "api.test", GVM_DNS_A, &a), 0);
    assert_true(a.truncated);
    m.n = 12; /* FORMERR of a server that did not read so far */
    m.p[2] = 0x81;
    m.p[3] = 0x81;
    m.p[5] = 0;
    assert_int_equal(parse(&m, "api.test", GVM_DNS_A, &a), 0);
    assert_int_equal(a.rcode, GVM_DNS_FORMERR);
    m.p[3] = 0x83; /* but nobody may deny a name without repeating it */
    assert_int_equal(parse(&m, "api.test", GVM_DNS_A, &a), -ENOMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(simple),          cmocka_unit_test(query_is_what_answers_repeat),
        cmocka_unit_test(not_our_answer),  cmocka_unit_test(alias_chain),
        cmocka_unit_test(alias_loop_ends), cmocka_unit_test(bad_pointers),
        cmocka_unit_test(wrong_lengths),   cmocka_unit_test(errors_and_truncation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
