/* Addresses: spellings that are one, texts that are none, and which are not the public net. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include "wire/ip.h"

static void parse(const char *text, struct gvm_ip *ip)
{
    if (gvm_ip_parse(gvm_str(text), ip) != 0)
        fail_msg("\"%s\" should be an address", text);
}

static void test_text(void **state)
{
    static const char *const rows[][2] = {
        {"127.0.0.1", "127.0.0.1"},
        {"2130706433", "127.0.0.1"},
        {"0x7f000001", "127.0.0.1"},
        {"0X7F.1", "127.0.0.1"},
        {"0177.0.0.1", "127.0.0.1"},
        {"127.1", "127.0.0.1"},
        {"127.0.1", "127.0.0.1"},
        {"017700000001", "127.0.0.1"},
        {"0x7f.0x0.0x0.0x1", "127.0.0.1"},
        {"00000000177.0.0.01", "127.0.0.1"},
        {"0", "0.0.0.0"},
        {"4294967295", "255.255.255.255"},
        {"1.16777215", "1.255.255.255"},
        {"::", "::"},
        {"::1", "::1"},
        {"1::", "1::"},
        {"0:0:0:0:0:0:0:1", "::1"},
        {"2001:DB8::00a", "2001:db8::a"},
        {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
        {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
        {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
        {"::ffff:1.2.3.4", "::ffff:1.2.3.4"},
        {"::ffff:7f00:1", "::ffff:127.0.0.1"},
        {"64:ff9b::1.2.3.4", "64:ff9b::102:304"},
        {"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"},
        {"0:0:1:0:0:0:1:0", "0:0:1::1:0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gvm_ip ip, again;
        char text[INET6_ADDRSTRLEN];
        parse(rows[i][0], &ip);
        gvm_ip_text(&ip, text);
        assert_string_equal(text, rows[i][1]);
        parse(text, &again);
        assert_true(gvm_ip_eq(&ip, &again));
    }
}

static void test_no_address(void **state)
{
    static const char *const rows[] = {
        "",
        ".",
        "1.",
        ".1",
        "1..2",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.256",
        "1.2.65536",
        "1.16777216",
        "4294967296",
        "99999999999999999999999999",
        "08",
        "1.2.3.08",
        "0x",
        "0x1.0xg",
        "1.2.3.4 ",
        " 1.2.3.4",
        "+1.2.3.4",
        "-1",
        "1e3",
        "127.0.0.1.",
        "1.2.3.4/8",
        "localhost",
        "0b1",
        ":",
        ":::",
        "::1::",
        "1::2::3",
        ":1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7:8::",
        "::1:2:3:4:5:6:7:8",
        "1:2:3:4::5:6:7:8",
        "12345::",
        "g::",
        "::1%lo",
        "[::1]",
        "::1.2.3",
        "::1.2.3.4.5",
        "::01.2.3.4",
        "::256.2.3.4",
        "1.2.3.4::",
        "::1.2.3.4:5",
        "::0x7f.0.0.1",
        "1:2:3:4:5:6:7:1.2.3.4",
        "fe80::1%25eth0",
        ":: ",
        "1:",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gvm_ip ip = {.family = 9};
        int r = gvm_ip_parse(gvm_str(rows[i]), &ip);
        if (r != -EINVAL)
            fail_msg("\"%s\" should be no address", rows[i]);
        assert_int_equal(ip.family, 9);
    }
    struct gvm_ip ip;
    assert_int_equal(gvm_ip_parse((struct gvm_str){"1.2.3.4\0", 8}, &ip), -EINVAL);
}

static void test_class(void **state)
{
    static const struct {
        const char *text;
        enum gvm_ip_class cls;
    } rows[] = {
        {"8.8.8.8", GVM_IP_PUBLIC},
        {"1.1.1.1", GVM_IP_PUBLIC},
        {"172.15.255.255", GVM_IP_PUBLIC},
        {"172.32.0.0", GVM_IP_PUBLIC},
        {"100.63.255.255", GVM_IP_PUBLIC},
        {"100.128.0.0", GVM_IP_PUBLIC},
        {"192.0.1.0", GVM_IP_PUBLIC},
        {"198.20.0.0", GVM_IP_PUBLIC},
        {"223.255.255.255", GVM_IP_PUBLIC},
        {"2606:4700::1111", GVM_IP_PUBLIC},
        {"2a00:1450::1", GVM_IP_PUBLIC},
        {"64:ff9b::8.8.8.8", GVM_IP_PUBLIC},
        {"::ffff:8.8.8.8", GVM_IP_PUBLIC},
        {"2002:0808:0808::1", GVM_IP_PUBLIC},
        {"2a00::5efe:8.8.8.8", GVM_IP_PUBLIC},
        {"0.0.0.0", GVM_IP_UNSPECIFIED},
        {"0.1.2.3", GVM_IP_UNSPECIFIED},
        {"::", GVM_IP_UNSPECIFIED},
        {"::ffff:0.0.0.0", GVM_IP_UNSPECIFIED},
        {"2002::", GVM_IP_UNSPECIFIED},
        {"64:ff9b::", GVM_IP_UNSPECIFIED},
        {"127.0.0.1", GVM_IP_LOOPBACK},
        {"127.255.255.255", GVM_IP_LOOPBACK},
        {"::1", GVM_IP_LOOPBACK},
        {"::ffff:127.0.0.1", GVM_IP_LOOPBACK},
        {"::127.0.0.1", GVM_IP_LOOPBACK},
        {"::ffff:0:127.0.0.1", GVM_IP_LOOPBACK},
        {"64:ff9b::127.0.0.1", GVM_IP_LOOPBACK},
        {"64:ff9b:1::127.0.0.1", GVM_IP_LOOPBACK},
        {"64:ff9b:1:7f00:0:100::", GVM_IP_LOOPBACK},
        {"2002:7f00:1::", GVM_IP_LOOPBACK},
        {"2002:7f00:1:2:3:4:5:6", GVM_IP_LOOPBACK},
        {"2001:0:7f00:1::", GVM_IP_LOOPBACK},
        {"2001:0:1:1:1:1:80ff:fffe", GVM_IP_LOOPBACK},
        {"2a00::5efe:127.0.0.1", GVM_IP_LOOPBACK},
        {"2a00::200:5efe:7f00:1", GVM_IP_LOOPBACK},
        {"fe80::5efe:127.0.0.1", GVM_IP_LOOPBACK},
        {"10.0.0.1", GVM_IP_PRIVATE},
        {"172.16.0.1", GVM_IP_PRIVATE},
        {"172.31.255.255", GVM_IP_PRIVATE},
        {"192.168.1.1", GVM_IP_PRIVATE},
        {"100.64.0.1", GVM_IP_PRIVATE},
        {"198.18.0.1", GVM_IP_PRIVATE},
        {"198.19.255.255", GVM_IP_PRIVATE},
        {"fc00::1", GVM_IP_PRIVATE},
        {"fd12::1", GVM_IP_PRIVATE},
        {"fec0::1", GVM_IP_PRIVATE},
        {"64:ff9b:1::8.8.8.8", GVM_IP_PRIVATE},
        {"2002:a00:1::", GVM_IP_PRIVATE},
        {"169.254.1.1", GVM_IP_LINK_LOCAL},
        {"fe80::1", GVM_IP_LINK_LOCAL},
        {"febf::1", GVM_IP_LINK_LOCAL},
        {"::ffff:169.254.1.1", GVM_IP_LINK_LOCAL},
        {"169.254.169.254", GVM_IP_METADATA},
        {"169.254.170.2", GVM_IP_METADATA},
        {"168.63.129.16", GVM_IP_METADATA},
        {"100.100.100.200", GVM_IP_METADATA},
        {"192.0.0.192", GVM_IP_METADATA},
        {"fd00:ec2::254", GVM_IP_METADATA},
        {"fd00:ec2::23", GVM_IP_METADATA},
        {"fd20:ce::254", GVM_IP_METADATA},
        {"::ffff:169.254.169.254", GVM_IP_METADATA},
        {"64:ff9b::a9fe:a9fe", GVM_IP_METADATA},
        {"2002:a9fe:a9fe::", GVM_IP_METADATA},
        {"224.0.0.1", GVM_IP_MULTICAST},
        {"239.255.255.255", GVM_IP_MULTICAST},
        {"ff02::1", GVM_IP_MULTICAST},
        {"240.0.0.1", GVM_IP_RESERVED},
        {"255.255.255.255", GVM_IP_RESERVED},
        {"192.0.2.1", GVM_IP_RESERVED},
        {"203.0.113.9", GVM_IP_RESERVED},
        {"198.51.100.1", GVM_IP_RESERVED},
        {"2001:db8::1", GVM_IP_RESERVED},
        {"100::1", GVM_IP_RESERVED},
        {"3fff::1", GVM_IP_RESERVED},
        {"::8.8.8.8", GVM_IP_RESERVED},
        {"4000::1", GVM_IP_RESERVED},
        {"2001:20::1", GVM_IP_RESERVED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gvm_ip ip;
        parse(rows[i].text, &ip);
        if (gvm_ip_class(&ip) != rows[i].cls)
            fail_msg("%s is %s, should be %s", rows[i].text, gvm_ip_class_name(gvm_ip_class(&ip)),
                     gvm_ip_class_name(rows[i].cls));
    }
    struct gvm_ip none = {0};
    assert_int_not_equal(gvm_ip_class(&none), GVM_IP_PUBLIC);
    assert_string_equal(gvm_ip_class_name(GVM_IP_METADATA), "metadata");
    assert_string_equal(gvm_ip_class_name((enum gvm_ip_class)77), "unknown");
}

static void test_sockaddr(void **state)
{
    static const char *const rows[] = {"192.0.2.7", "2001:db8::7"};
    for (size_t i = 0; i < 2; i++) {
        struct gvm_ip ip, back;
        struct sockaddr_storage sa;
        uint16_t port = 0;
        parse(rows[i], &ip);
        assert_int_equal(gvm_ip_to_sockaddr(&ip, 8443, &sa),
                         i ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
        gvm_ip_from_sockaddr((struct sockaddr *)&sa, &back, &port);
        assert_true(gvm_ip_eq(&ip, &back));
        assert_int_equal(port, 8443);
    }
    struct gvm_ip mapped, plain, back;
    struct sockaddr_storage sa;
    uint16_t port;
    parse("::ffff:192.0.2.7", &mapped);
    parse("192.0.2.7", &plain);
    assert_false(gvm_ip_eq(&mapped, &plain));
    assert_true(gvm_ip_to_sockaddr(&mapped, 1, &sa) > 0);
    gvm_ip_from_sockaddr((struct sockaddr *)&sa, &back, &port);
    assert_true(gvm_ip_eq(&back, &plain));
    struct gvm_ip none = {0};
    assert_int_equal(gvm_ip_to_sockaddr(&none, 1, &sa), 0);
    sa.ss_family = AF_UNIX;
    gvm_ip_from_sockaddr((struct sockaddr *)&sa, &back, &port);
    assert_int_equal(back.family, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_no_address),
        cmocka_unit_test(test_class),
        cmocka_unit_test(test_sockaddr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
