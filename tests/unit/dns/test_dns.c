/* Synthetic names: one name, one address, for the whole run; no packet goes anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "dns/dns.h"

static struct gvm_dns_names *table;
static struct gvm_buf out;
static struct gvm_dns_reply reply;

/* The bytes of a buffer that has some. */
static uint8_t *bytes(struct gvm_buf *b)
{
    return (uint8_t *)(uintptr_t)gvm_buf_cstr(b);
}

static int set_up(void **state)
{
    gvm_buf_init(&out, GVM_MAX_DNS);
    table = gvm_dns_names_new();
    return table ? 0 : -1;
}

static int tear_down(void **state)
{
    gvm_dns_names_free(table);
    gvm_buf_done(&out);
    return 0;
}

/* Asks for a dotted name; returns the response code. The answer is in `out`. */
static unsigned ask(const char *name, unsigned qtype, unsigned qclass)
{
    struct gvm_buf query;
    gvm_buf_init(&query, 600);
    assert_int_equal(gvm_buf_add(&query, "\xab\xcd\1\0\0\1\0\0\0\0\0\0", 12), 0);
    struct gvm_str rest = gvm_str(name), label;
    for (bool more = rest.n > 0; more;) {
        more = gvm_str_cut(&rest, '.', &label);
        assert_int_equal(gvm_buf_addc(&query, (char)label.n), 0);
        assert_int_equal(gvm_buf_adds(&query, label), 0);
    }
    char tail[5] = {0, 0, (char)qtype, 0, (char)qclass};
    assert_int_equal(gvm_buf_add(&query, tail, 5), 0);
    gvm_buf_reset(&out);
    assert_int_equal(gvm_dns_serve(table, gvm_buf_str(&query), &out, &reply), 0);
    /* id and question come back byte for byte */
    assert_memory_equal(bytes(&out), "\xab\xcd", 2);
    assert_memory_equal(bytes(&out) + 12, bytes(&query) + 12, query.len - 12);
    assert_int_equal(bytes(&out)[3] & 15, reply.rcode);
    assert_true(reply.parsed);
    gvm_buf_done(&query);
    return reply.rcode;
}

static unsigned answers(void)
{
    return gvm_get16(bytes(&out) + 6);
}

/* The address at the end of the answer. */
static void answered(struct gvm_ip *ip, unsigned family)
{
    size_t n = family == 4 ? 4 : 16;
    *ip = (struct gvm_ip){.family = (uint8_t)family};
    assert_int_equal(answers(), 1);
    memcpy(ip->bytes, bytes(&out) + out.len - n, n);
}

static void test_names(void **state)
{
    struct gvm_ip a, b, c, six;
    assert_int_equal(ask("api.example.com", GVM_DNS_A, 1), GVM_DNS_NOERROR);
    assert_true(reply.fresh);
    answered(&a, 4);
    assert_true(gvm_dns_is_synthetic(&a));
    assert_string_equal(gvm_dns_names_find(table, &a), "api.example.com");
    /* The other case of the letters is the same name and not new (T-D5). */
    assert_int_equal(ask("ApI.eXAMPLE.com", GVM_DNS_A, 1), GVM_DNS_NOERROR);
    assert_false(reply.fresh);
    answered(&b, 4);
    assert_true(gvm_ip_eq(&a, &b));
    assert_int_equal(ask("api.example.com", GVM_DNS_AAAA, 1), GVM_DNS_NOERROR);
    assert_false(reply.fresh);
    answered(&six, 6);
    assert_true(gvm_dns_is_synthetic(&six));
    assert_string_equal(gvm_dns_names_find(table, &six), "api.example.com");
    /* Another name, another address; a look-alike is another name (T-D6). */
    assert_int_equal(ask("xn--pi-6kc.example.com", GVM_DNS_A, 1), GVM_DNS_NOERROR);
    assert_true(reply.fresh);
    answered(&c, 4);
    assert_false(gvm_ip_eq(&a, &c));
    assert_string_equal(gvm_dns_names_find(table, &c), "xn--pi-6kc.example.com");
}

static void test_other_types(void **state)
{
    static const unsigned types[] = {GVM_DNS_HTTPS, GVM_DNS_PTR, 16, 33, 255, 2, 6};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        assert_int_equal(ask("txt.example.com", types[i], 1), GVM_DNS_NOERROR);
        assert_int_equal(answers(), 0);
        assert_int_equal(reply.fresh, i == 0);
    }
    assert_int_equal(ask("txt.example.com", GVM_DNS_A, 3), GVM_DNS_REFUSED);
    assert_int_equal(answers(), 0);
    assert_int_equal(ask("txt.example.com", GVM_DNS_A, 1), GVM_DNS_NOERROR);
    assert_int_equal(answers(), 1);
}

static void test_special(void **state)
{
    static const struct {
        const char *name;
        unsigned rcode;
    } rows[] = {
        {"invalid", GVM_DNS_NXDOMAIN},
        {"x.invalid", GVM_DNS_NXDOMAIN},
        {"xinvalid", GVM_DNS_NOERROR},
        {"use-application-dns.net", GVM_DNS_NXDOMAIN},
        {"a.use-application-dns.net", GVM_DNS_NOERROR},
        {"127.0.0.1", GVM_DNS_NXDOMAIN},
        {"0x7f.1", GVM_DNS_NXDOMAIN},
        {"2130706433", GVM_DNS_NXDOMAIN},
        {"a.123", GVM_DNS_NXDOMAIN},
        {"a*b.com", GVM_DNS_NXDOMAIN},
        {"x@evil.com", GVM_DNS_NXDOMAIN},
        {"a/b.com", GVM_DNS_NXDOMAIN},
        {"a.com:80", GVM_DNS_NXDOMAIN},
        {"[::1]", GVM_DNS_NXDOMAIN},
        {"xn--a.com", GVM_DNS_NXDOMAIN},
        {"", GVM_DNS_NXDOMAIN},
        {"_x.example.com", GVM_DNS_NOERROR},
        {"metadata", GVM_DNS_NOERROR},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (ask(rows[i].name, GVM_DNS_A, 1) != rows[i].rcode)
            fail_msg("%s: %u", rows[i].name, reply.rcode);
        assert_int_equal(answers(), rows[i].rcode == GVM_DNS_NOERROR);
        assert_true(reply.fresh);
        assert_int_equal(ask(rows[i].name, GVM_DNS_A, 1), rows[i].rcode);
        assert_false(reply.fresh);
    }
    struct gvm_ip ip;
    char text[INET6_ADDRSTRLEN];
    assert_int_equal(ask("localhost", GVM_DNS_A, 1), GVM_DNS_NOERROR);
    answered(&ip, 4);
    gvm_ip_text(&ip, text);
    assert_string_equal(text, "127.0.0.1");
    assert_int_equal(ask("a.localhost", GVM_DNS_AAAA, 1), GVM_DNS_NOERROR);
    answered(&ip, 6);
    gvm_ip_text(&ip, text);
    assert_string_equal(text, "::1");
    assert_int_equal(ask("localhost", 16, 1), GVM_DNS_NOERROR);
    assert_int_equal(answers(), 0);
    assert_null(gvm_dns_names_find(table, &ip));
}

/* T-N12, T-D3, T-D4: FORMERR, no address, nothing remembered; an answer is never answered. */
static void test_malformed(void **state)
{
    static const struct gvm_str bad[] = {
        {"\xab\xcd\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", 18},
        {"\xab\xcd\1\0\0\2\0\0\0\0\0\0\1a\0\0\1\0\1", 19},
        {"\xab\xcd\1\0\0\1\0\0\0\0\0\0\1\xff\0\0\1\0\1", 19},
        {"\xab\xcd\1\0\0\1\0\0\0\0\0\0", 12},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        gvm_buf_reset(&out);
        assert_int_equal(gvm_dns_serve(table, bad[i], &out, &reply), 0);
        assert_int_equal(reply.rcode, GVM_DNS_FORMERR);
        assert_false(reply.parsed);
        assert_int_equal(out.len, 12);
        assert_int_equal(bytes(&out)[3] & 15, GVM_DNS_FORMERR);
    }
    gvm_buf_reset(&out);
    assert_int_equal(gvm_dns_serve(table, GVM_STR("short"), &out, &reply), -EINVAL);
    assert_int_equal(
        gvm_dns_serve(table, (struct gvm_str){"\xab\xcd\x81\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1", 19},
                      &out, &reply),
        -EINVAL);
    assert_int_equal(out.len, 0);
    assert_int_equal(ask("good.example", GVM_DNS_A, 1), GVM_DNS_NOERROR);
}

static void test_ranges(void **state)
{
    static const struct {
        const char *text;
        bool synthetic;
    } rows[] = {
        {"198.18.0.1", true},
        {"198.19.255.255", true},
        {"198.17.255.255", false},
        {"198.20.0.0", false},
        {"8.8.8.8", false},
        {"fd00:6776:6d00::1", true},
        {"fd00:6776:6d00:ffff::1", true},
        {"fd00:6776:6d01::1", false},
        {"fd00::1", false},
        {"::1", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gvm_ip ip;
        assert_int_equal(gvm_ip_parse(gvm_str(rows[i].text), &ip), 0);
        assert_int_equal(gvm_dns_is_synthetic(&ip), rows[i].synthetic);
        assert_null(gvm_dns_names_find(table, &ip));
    }
    struct gvm_ip none = {0};
    assert_false(gvm_dns_is_synthetic(&none));
    assert_null(gvm_dns_names_find(table, &none));
}

/* Up to the last name each has its own pair of addresses that leads back; then SERVFAIL, and the
 * names that were there still answer. */
static void test_full(void **state)
{
    struct gvm_ip v4, v6, last4 = {0}, first4 = {0};
    bool fresh;
    char name[40];
    for (unsigned i = 0; i < GVM_MAX_DNS_NAMES; i++) {
        (void)snprintf(name, sizeof name, "n%u.example", i);
        assert_int_equal(gvm_dns_names_assign(table, name, &v4, &v6, &fresh), 0);
        assert_true(fresh);
        assert_true(gvm_dns_is_synthetic(&v4) && gvm_dns_is_synthetic(&v6));
        assert_true(v4.bytes[3] != 0 && v4.bytes[3] != 255 &&
                    !(v4.bytes[1] == 18 && v4.bytes[2] == 0));
        assert_string_equal(gvm_dns_names_find(table, &v4), name);
        assert_string_equal(gvm_dns_names_find(table, &v6), name);
        if (i == 0)
            first4 = v4;
        else
            assert_true(gvm_get32(v4.bytes) > gvm_get32(last4.bytes));
        last4 = v4;
    }
    assert_int_equal(gvm_dns_names_assign(table, "one.more", &v4, &v6, &fresh), -ENOBUFS);
    assert_int_equal(ask("one.more", GVM_DNS_A, 1), GVM_DNS_SERVFAIL);
    assert_true(reply.fresh);
    assert_int_equal(answers(), 0);
    assert_int_equal(ask("n0.example", GVM_DNS_A, 1), GVM_DNS_NOERROR);
    answered(&v4, 4);
    assert_true(gvm_ip_eq(&v4, &first4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_types, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_special, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_malformed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ranges, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
