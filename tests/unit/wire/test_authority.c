/* Host names: every spelling of one host has one form, and what is no host is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "wire/url.h"

struct row {
    const char *text;
    const char *want; /* host:port, NULL when refused */
};

static void check(const struct row *row)
{
    struct gvm_authority a = {.port = 7};
    struct gvm_err err = {0};
    int r = gvm_authority_parse(gvm_str(row->text), &a, &err);
    if (!row->want) {
        if (r != -EINVAL)
            fail_msg("\"%s\" should be refused, is \"%s\"", row->text, a.host);
        assert_int_equal(a.port, 7);
        assert_true(err.text[0] != '\0');
        return;
    }
    if (r != 0)
        fail_msg("\"%s\" should be \"%s\", was refused: %s", row->text, row->want, err.text);
    char got[400];
    if (a.port)
        (void)snprintf(got, sizeof got, "%s:%u", a.host, (unsigned)a.port);
    else
        (void)snprintf(got, sizeof got, "%s", a.host);
    assert_string_equal(got, row->want);
    /* The canonical form is its own canonical form. */
    struct gvm_buf out;
    gvm_buf_init(&out, 1024);
    struct gvm_authority again;
    assert_int_equal(gvm_authority_format(a.host, a.port, false, &out), 0);
    assert_int_equal(gvm_authority_parse(gvm_buf_str(&out), &again, NULL), 0);
    assert_string_equal(again.host, a.host);
    assert_int_equal(again.is_ip, a.is_ip);
    gvm_buf_done(&out);
}

static const struct row names[] = {
    /* one host in many spellings (attack N2) */
    {"api.example.com", "api.example.com"},
    {"API.Example.COM", "api.example.com"},
    {"api.example.com.", "api.example.com"},
    {"api.example.com:443", "api.example.com:443"},
    {"API.EXAMPLE.COM.:8443", "api.example.com:8443"},
    {"api\xe3\x80\x82"
     "example.com",
     "api.example.com"}, /* U+3002 */
    {"api\xef\xbc\x8e"
     "example.com",
     "api.example.com"}, /* U+FF0E */
    {"api\xef\xbd\xa1"
     "example.com",
     "api.example.com"}, /* U+FF61 */
    {"api.example.com\xe3\x80\x82", "api.example.com"},
    {"\xef\xbd\x81pi.example.com", "api.example.com"}, /* fullwidth a */
    {"\xef\xbc\xa1PI.example.com", "api.example.com"}, /* fullwidth A */
    {"a\xc2\xadpi.example.com", "api.example.com"},    /* soft hyphen */
    {"ap\xe2\x85\xb0.example.com", "api.example.com"}, /* U+2170 small roman one */
    {"\xe2\x93\x90pi.example.com", "api.example.com"}, /* circled a */
    {"api.ex\xe2\x80\x8b"
     "ample.com",
     "api.example.com"},                               /* zero width space */
    {"api.example.\xe2\x84\x82om", "api.example.com"}, /* double-struck C */
    {"b\xc3\xbc"
     "cher.example",
     "xn--bcher-kva.example"},
    {"B\xc3\x9c"
     "CHER.example",
     "xn--bcher-kva.example"},
    {"bu\xcc\x88"
     "cher.example",
     "xn--bcher-kva.example"}, /* u + combining diaeresis */
    {"xn--bcher-kva.example", "xn--bcher-kva.example"},
    {"XN--BCHER-KVA.example", "xn--bcher-kva.example"},
    {"fa\xc3\x9f.de", "xn--fa-hia.de"},                   /* nontransitional */
    {"xn--i-7iq.ws", "xn--i-7iq.ws"},                     /* an emoji domain exists */
    {"\xd0\xb0pi.example.com", "xn--pi-6kc.example.com"}, /* Cyrillic a: another name */
    {"localhost", "localhost"},
    {"_dmarc.example.com", "_dmarc.example.com"},
    {"a--b.example.com", "a--b.example.com"},
    {"r3---sn-x.example.com", "r3---sn-x.example.com"},
    {"1.example", "1.example"},
    {"1e100.net", "1e100.net"},
    {"0x7f.com", "0x7f.com"},
    {"a.0x7g", "a.0x7g"},
    {"a:1", "a:1"},
    {"a:65535", "a:65535"},
    /* refused (attacks N1, P5) */
    {"", NULL},
    {".", NULL},
    {"..", NULL},
    {".example.com", NULL},
    {"api..example.com", NULL},
    {"api.example.com..", NULL},
    {"api.example.com.\xe3\x80\x82", NULL},
    {"evil.com/.good.com", NULL},
    {"evil.com\\.good.com", NULL},
    {"evil.com?.good.com", NULL},
    {"evil.com#.good.com", NULL},
    {"evil.com\xef\xbc\x8f.good.com", NULL}, /* fullwidth slash */
    {"\xe2\x84\x80.good.com", NULL},         /* a/c in one character */
    {"x@evil.com", NULL},
    {"x:y@evil.com", NULL},
    {"x\xef\xbc\xa0"
     "evil.com",
     NULL}, /* fullwidth @ */
    {"api.ex%61mple.com", NULL},
    {"api.example.com%00", NULL},
    {"api.ex\xef\xbc\x85"
     "61mple.com",
     NULL}, /* fullwidth % */
    {"api.example.com ", NULL},
    {" api.example.com", NULL},
    {"api.example.com\t", NULL},
    {"api\nexample.com", NULL},
    {"api\rexample.com", NULL},
    {"api\x01"
     "example.com",
     NULL},
    {"api\x7f"
     "example.com",
     NULL},
    {"a*b.com", NULL},
    {"*.example.com", NULL},
    {"{x}.example.com", NULL},
    {"a,b.com", NULL},
    {"a\xff.com", NULL},
    {"a\xc3.com", NULL},
    {"a\xc0\xae"
     "com",
     NULL},
    {"a\xed\xa0\x80.com", NULL},
    {"a\xe2\x80\x8d"
     "b.com",
     NULL}, /* zero width joiner out of place */
    {"xn--a.com", NULL},
    {"xn--.com", NULL},
    {"xn--google-.com", NULL},
    {"api.example.com:", NULL},
    {"api.example.com:0", NULL},
    {"api.example.com:65536", NULL},
    {"api.example.com:080", NULL},
    {"api.example.com:+80", NULL},
    {"api.example.com:80:80", NULL},
    {"api.example.com:8o", NULL},
    {":80", NULL},
    {"a.123", NULL},
    {"1.2.3.4.5", NULL},
    {"1.2.3.256", NULL},
    {"example.0x", NULL},
    {"example.0xff", NULL},
    {"256.256.256.256", NULL},
    {"08", NULL},
    {"4294967296", NULL},
    {"http://example.com", NULL},
    {"::1", NULL},
    {"fe80::1", NULL},
    {"[::1", NULL},
    {"::1]", NULL},
    {"[]", NULL},
    {"[::1]x", NULL},
    {"[::1]:", NULL},
    {"[::1]:0", NULL},
    {"[::1%lo]", NULL},
    {"[fe80::1%25eth0]", NULL},
    {"[127.0.0.1]", NULL},
    {"[example.com]", NULL},
    {"[[::1]]", NULL},
    {"[v1.x]", NULL},
};

static void test_names(void **state)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check(&names[i]);
    struct gvm_authority a;
    assert_int_equal(gvm_authority_parse((struct gvm_str){"evil\0.allowed.com", 17}, &a, NULL),
                     -EINVAL);
    assert_int_equal(gvm_authority_parse((struct gvm_str){"allowed.com\0", 12}, &a, NULL), -EINVAL);
    assert_int_equal(gvm_authority_parse((struct gvm_str){"\xc3\xbc\0.com", 7}, &a, NULL), -EINVAL);
}

static const struct row addresses[] = {
    {"2130706433", "127.0.0.1"},
    {"0x7f.1", "127.0.0.1"},
    {"127.1:80", "127.0.0.1:80"},
    {"127.0.0.1.", "127.0.0.1"},
    {"0177.0.0.1", "127.0.0.1"},
    {"\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1", "127.0.0.1"}, /* fullwidth digits */
    {"\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1", "127.0.0.1"}, /* circled digits */
    {"127\xe3\x80\x82"
     "0\xe3\x80\x82"
     "0\xe3\x80\x82"
     "1",
     "127.0.0.1"},
    {"[::ffff:7f00:1]", "127.0.0.1"},
    {"[::FFFF:127.0.0.1]:443", "127.0.0.1:443"},
    {"[::127.0.0.1]", "127.0.0.1"},
    {"[::1]", "::1"},
    {"[::]", "::"},
    {"[0:0:0:0:0:0:0:1]:80", "::1:80"},
    {"[2001:DB8:0::1]", "2001:db8::1"},
    {"[64:ff9b::127.0.0.1]", "64:ff9b::7f00:1"},
};

static void test_addresses(void **state)
{
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++)
        check(&addresses[i]);
}

/* Attack N14: through parser and class, as the data path does it. */
static void test_forms_of_forbidden_addresses(void **state)
{
    static const char *const loopback[] = {
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "2130706433",
        "0x7f000001",
        "0X7F000001",
        "0x7f.0.0.1",
        "0x7f.1",
        "0177.0.0.1",
        "0177.1",
        "017700000001",
        "00177.00.00.01",
        "127.0.0.2",
        "127.255.255.254",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[0000::0001]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:FFFF:7F00:0001]",
        "[::127.0.0.1]",
        "[::7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2002:7f00:0001::1]",
        "[::ffff:0:127.0.0.1]",
        "[2001:0:7f00:1::1]",
        "[2001:0:0:0:0:0:80ff:fffe]",
        "[2606:4700::5efe:7f00:1]",
        ("127\xef\xbc\x8e"
         "0.0.1"),
    };
    static const char *const metadata[] = {
        "169.254.169.254",
        "169.254.169.254.",
        "169.254.43518",
        "169.16689662",
        "2852039166",
        "0xa9fea9fe",
        "0xA9.0xFE.0xA9.0xFE",
        "0xa9.254.0251.254",
        "0251.0376.0251.0376",
        "025177524776",
        "0000251.0376.169.254",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[0:0:0:0:0:ffff:a9fe:a9fe]",
        "[::169.254.169.254]",
        "[::a9fe:a9fe]",
        "[64:ff9b::169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[2002:a9fe:a9fe::1]",
        "[::ffff:0:169.254.169.254]",
        "[2001:0:a9fe:a9fe::]",
        "[2001:0:0:0:0:0:5601:5601]",
        "[2a00::200:5efe:a9fe:a9fe]",
        "[fd00:ec2::254]",
        "[FD00:0EC2:0:0::0254]",
        "\xef\xbc\x91\xef\xbc\x96\xef\xbc\x99.254.169.254",
    };
    struct gvm_authority a;
    for (size_t i = 0; i < sizeof loopback / sizeof *loopback; i++) {
        assert_int_equal(gvm_authority_parse(gvm_str(loopback[i]), &a, NULL), 0);
        if (!a.is_ip || gvm_ip_class(&a.ip) != GVM_IP_LOOPBACK)
            fail_msg("%s is not seen as loopback", loopback[i]);
    }
    for (size_t i = 0; i < sizeof metadata / sizeof *metadata; i++) {
        assert_int_equal(gvm_authority_parse(gvm_str(metadata[i]), &a, NULL), 0);
        if (!a.is_ip || gvm_ip_class(&a.ip) != GVM_IP_METADATA)
            fail_msg("%s is not seen as metadata", metadata[i]);
    }
    /* The ordinary case beside it. */
    assert_int_equal(gvm_authority_parse(GVM_STR("93.184.215.14"), &a, NULL), 0);
    assert_true(a.is_ip && gvm_ip_class(&a.ip) == GVM_IP_PUBLIC);
    assert_int_equal(gvm_authority_parse(GVM_STR("127.0.0.1.nip.io"), &a, NULL), 0);
    assert_false(a.is_ip);
}

static void test_lengths(void **state)
{
    char text[600];
    struct gvm_authority a;
    memset(text, 'a', sizeof text);
    assert_int_equal(gvm_authority_parse((struct gvm_str){text, 63}, &a, NULL), 0);
    assert_int_equal(gvm_authority_parse((struct gvm_str){text, 64}, &a, NULL), -EINVAL);
    for (size_t i = 63; i < sizeof text; i += 64)
        text[i] = '.';
    assert_int_equal(gvm_authority_parse((struct gvm_str){text, 253}, &a, NULL), 0);
    assert_int_equal(strlen(a.host), 253);
    assert_int_equal(gvm_authority_parse((struct gvm_str){text, 254}, &a, NULL), -EINVAL);
    text[253] = '.';
    assert_int_equal(gvm_authority_parse((struct gvm_str){text, 254}, &a, NULL), 0);
    assert_int_equal(strlen(a.host), 253);
    assert_int_equal(gvm_authority_parse((struct gvm_str){text, sizeof text}, &a, NULL), -EINVAL);
    static char dots[100000];
    memset(dots, '.', sizeof dots);
    assert_int_equal(gvm_authority_parse((struct gvm_str){dots, sizeof dots}, &a, NULL), -EINVAL);
}

static void test_format(void **state)
{
    static const struct {
        const char *host;
        uint16_t port;
        bool tls;
        const char *want;
    } rows[] = {
        {"a.b", 0, false, "a.b"},          {"a.b", 80, false, "a.b"},
        {"a.b", 443, true, "a.b"},         {"a.b", 443, false, "a.b:443"},
        {"a.b", 80, true, "a.b:80"},       {"::1", 0, false, "[::1]"},
        {"::1", 8080, true, "[::1]:8080"}, {"1.2.3.4", 65535, true, "1.2.3.4:65535"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gvm_buf out;
        gvm_buf_init(&out, 300);
        assert_int_equal(gvm_authority_format(rows[i].host, rows[i].port, rows[i].tls, &out), 0);
        assert_string_equal(gvm_buf_cstr(&out), rows[i].want);
        gvm_buf_done(&out);
    }
    struct gvm_buf small;
    gvm_buf_init(&small, 2);
    assert_true(gvm_authority_format("a.b", 0, false, &small) < 0);
    gvm_buf_done(&small);
}

static void test_absolute(void **state)
{
    static const struct {
        const char *url, *authority, *target;
        bool tls;
    } rows[] = {
        {"http://a.b/c?d", "a.b", "/c?d", false},
        {"HTTPS://a.b:1", "a.b:1", "/", true},
        {"ws://a/", "a", "/", false},
        {"wss://a?x", "a", "?x", true},
        {"http://u@h/", "u@h", "/", false},
        {"http://good.com\\@evil.com/", "good.com\\@evil.com", "/", false},
        {"http://a#b", "a", "#b", false},
        {"http:///x", NULL, NULL, false},
        {"ftp://a/", NULL, NULL, false},
        {"http:/a/", NULL, NULL, false},
        {"//a/", NULL, NULL, false},
        {"", NULL, NULL, false},
        {"http://", NULL, NULL, false},
        {"http://?x", NULL, NULL, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool tls = !rows[i].tls;
        struct gvm_str authority, target;
        int r = gvm_absolute_split(gvm_str(rows[i].url), &tls, &authority, &target, NULL);
        assert_int_equal(r, rows[i].authority ? 0 : -EINVAL);
        if (r < 0)
            continue;
        assert_true(gvm_str_eqz(authority, rows[i].authority));
        assert_true(gvm_str_eqz(target, rows[i].target));
        assert_int_equal(tls, rows[i].tls);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_forms_of_forbidden_addresses),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_absolute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
