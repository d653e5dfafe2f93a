/* Who a request is for: every combination of address, server name, target and Host, with its
 * verdict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <errno.h>

#include "proxy/pipeline/px.h"

struct row {
    const char *dest; /* "" own address, "?" nobody's, else "host:port" */
    bool tls;
    const char *sni, *line, *host;
    const char *want; /* "host:port" with "s" for TLS, or a status */
};

static const struct row rows[] = {
    /* a name's own address */
    {"a.test:443", true, "a.test", "GET /x", "a.test", "s a.test:443"},
    {"a.test:443", true, "", "GET /x", "a.test", "s a.test:443"},
    {"a.test:443", true, "a.test", "GET /x", "a.test:443", "s a.test:443"},
    {"a.test:443", true, "a.test", "GET /x", "A.TEST.", "s a.test:443"},
    {"a.test:443", true, "b.test", "GET /x", "b.test", "421"},
    {"a.test:443", true, "b.test", "GET /x", "a.test", "421"},
    {"a.test:443", true, "a.test", "GET /x", "b.test", "421"},
    {"a.test:443", true, "a.test", "GET /x", "a.test:444", "421"},
    {"a.test:443", true, "a.test", "GET /x", "1.2.3.4", "421"},
    {"a.test:8443", true, "a.test", "GET /x", "a.test:8443", "s a.test:8443"},
    {"a.test:80", false, "", "GET /x", "a.test", "p a.test:80"},
    {"a.test:80", false, "", "GET /x", "b.test", "421"},
    {"a.test:80", false, "", "GET http://a.test/x", "a.test", "p a.test:80"},
    {"a.test:80", false, "", "GET http://b.test/x", "a.test", "421"},
    {"a.test:80", false, "", "GET http://a.test/x", "b.test", "421"},
    {"a.test:80", false, "", "GET http://a.test:81/x", "a.test", "421"},
    {"a.test:80", false, "", "GET https://a.test/x", "a.test", "421"},
    {"a.test:443", true, "a.test", "GET http://a.test/x", "a.test", "421"},
    {"a.test:443", true, "a.test", "GET https://a.test/x", "a.test", "s a.test:443"},
    /* an address the agent knew */
    {"93.184.216.34:443", true, "", "GET /x", "93.184.216.34", "s 93.184.216.34:443"},
    {"93.184.216.34:443", true, "", "GET /x", "a.test", "421"},
    {"93.184.216.34:443", true, "a.test", "GET /x", "a.test", "s a.test:443"},
    {"93.184.216.34:443", true, "a.test", "GET /x", "93.184.216.34", "421"},
    {"93.184.216.34:80", false, "", "GET /x", "a.test", "p a.test:80"},
    {"93.184.216.34:80", false, "", "GET /x", "93.184.216.34", "p 93.184.216.34:80"},
    {"93.184.216.34:80", false, "", "GET /x", "93.184.216.35", "421"},
    {"10.0.0.1:80", false, "", "GET /x", "a.test", "421"},
    {"10.0.0.1:443", true, "a.test", "GET /x", "a.test", "421"},
    {"10.0.0.1:80", false, "", "GET /x", "10.0.0.1", "p 10.0.0.1:80"},
    {"10.0.0.1:80", false, "", "GET /x", "0xa.1", "p 10.0.0.1:80"},
    {"169.254.169.254:80", false, "", "GET /x", "a.test", "421"},
    /* nobody's address */
    {"?", true, "a.test", "GET /x", "a.test", "s a.test:443"},
    {"?", true, "", "GET /x", "a.test", "s a.test:443"},
    {"?", true, "a.test", "GET /x", "b.test", "421"},
    {"?", true, "", "GET /x", "1.2.3.4", "421"},
    /* our own address */
    {"", false, "", "GET http://a.test/x", "a.test", "p a.test:80"},
    {"", false, "", "GET https://a.test/x", "a.test", "s a.test:443"},
    {"", false, "", "GET http://a.test:81/x", "a.test:81", "p a.test:81"},
    {"", false, "", "GET http://a.test:81/x", "a.test", "421"},
    {"", false, "", "GET http://2130706433/x", "127.0.0.1", "p 127.0.0.1:80"},
    {"", false, "", "GET http://a.test/x", "b.test", "421"},
    {"", false, "", "GET http://x@a.test/x", "a.test", "400"},
    {"", false, "", "GET ftp://a.test/x", "a.test", "400"},
    {"", false, "", "GET /x", "a.test", "421"},
    {"", true, "a.test", "GET https://a.test/x", "a.test", "421"},
};

static void fill_dest(const char *text, bool tls, struct px_dest *d)
{
    struct gvm_authority a;
    *d = (struct px_dest){.port = tls ? 443 : 80};
    if (!*text)
        return;
    if (*text == '?') {
        d->kind = PX_DEST_UNKNOWN;
        return;
    }
    assert_int_equal(gvm_authority_parse(gvm_str(text), &a, NULL), 0);
    d->kind = a.is_ip ? PX_DEST_IP : PX_DEST_NAME;
    d->ip = a.ip;
    d->port = a.port;
    memcpy(d->host, a.host, sizeof d->host);
}

static void write_result(int r, const struct px_target *t, const struct px_refusal *f,
                         char out[300])
{
    if (r < 0)
        (void)snprintf(out, 300, "%u", f->status);
    else
        (void)snprintf(out, 300, "%s %s:%u", t->tls ? "s" : "p", t->host, t->port);
}

static void all_claims_must_agree(void **state)
{
    (void)state;
    static struct gvm_http1_head h;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        char head[512], got[300];
        struct px_dest d;
        struct px_target t = {0};
        struct px_refusal f = {0};
        (void)snprintf(head, sizeof head, "%s HTTP/1.1\r\nHost: %s\r\n\r\n", row->line, row->host);
        assert_int_equal(gvm_http1_request(gvm_str(head), &h, NULL), 1);
        fill_dest(row->dest, row->tls, &d);
        int r = px_identify(&d, row->tls, row->sni, &h, &t, &f, NULL);
        write_result(r, &t, &f, got);
        if (strcmp(got, row->want) != 0)
            print_message("dest %s, sni %s, %s, Host %s\n", row->dest, row->sni, row->line,
                          row->host);
        assert_string_equal(got, row->want);
        if (r == 0)
            assert_true(gvm_str_eqz(t.origin, "/x"));
    }
}

static void connect_names_one_host(void **state)
{
    (void)state;
    static struct gvm_http1_head h;
    static const struct {
        const char *target, *host;
        int want;
    } table[] = {
        {"a.test:443", "a.test:443", 0},     {"a.test:443", "a.test", 0},
        {"A.test.:443", "a.TEST", 0},        {"[::1]:443", "[::1]:443", 0},
        {"a.test", "a.test", -EINVAL},       {"a.test:443", "b.test", -EXDEV},
        {"a.test:443", "a.test:80", -EXDEV}, {"u@a.test:443", "a.test", -EINVAL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char head[256];
        struct px_dest d;
        (void)snprintf(head, sizeof head, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n",
                       table[i].target, table[i].host);
        assert_int_equal(gvm_http1_request(gvm_str(head), &h, NULL), 1);
        assert_int_equal(px_identify_connect(&h, &d, NULL), table[i].want);
    }
}

static void synthetic_addresses_are_names(void **state)
{
    (void)state;
    struct gvm_dns_names *names = gvm_dns_names_new();
    struct gvm_ip v4, v6, other = {4, {198, 18, 200, 7}}, real = {4, {93, 184, 216, 34}};
    struct px_dest d;
    bool fresh;
    assert_non_null(names);
    assert_int_equal(gvm_dns_names_assign(names, "a.test", &v4, &v6, &fresh), 0);
    px_dest_of(names, &v4, 443, &d);
    assert_true(d.kind == PX_DEST_NAME && strcmp(d.host, "a.test") == 0 && d.port == 443);
    px_dest_of(names, &v6, 80, &d);
    assert_true(d.kind == PX_DEST_NAME && strcmp(d.host, "a.test") == 0);
    px_dest_of(names, &other, 443, &d);
    assert_true(d.kind == PX_DEST_UNKNOWN && !d.host[0]);
    px_dest_of(names, &real, 443, &d);
    assert_true(d.kind == PX_DEST_IP && strcmp(d.host, "93.184.216.34") == 0);
    gvm_dns_names_free(names);
}

static void first_bytes_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        enum px_proto want;
    } table[] = {
        {"", 0, PX_PROTO_MORE},
        {"\x16", 1, PX_PROTO_TLS},
        {"GE", 2, PX_PROTO_MORE},
        {"GET /", 5, PX_PROTO_HTTP1},
        {"PROPFIND ", 9, PX_PROTO_HTTP1},
        {"PRI * HTTP/2.0", 14, PX_PROTO_H2},
        {"PRI ", 4, PX_PROTO_H2},
        {"SSH-2.0-x y\r\n", 13, PX_PROTO_OPAQUE},
        {"SSH", 3, PX_PROTO_MORE},
        {"EHLO there", 10, PX_PROTO_OPAQUE},
        {"\0\0\0\x08", 4, PX_PROTO_OPAQUE},
        {"*1\r\n$4\r\nPING", 12, PX_PROTO_OPAQUE},
        {" GET / HTTP/1.1", 15, PX_PROTO_OPAQUE},
        {"\r\nGET /", 7, PX_PROTO_OPAQUE},
        {"GET\t/", 5, PX_PROTO_OPAQUE},
        {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 33, PX_PROTO_OPAQUE},
        {"\x80\x2e\x01", 3, PX_PROTO_OPAQUE},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_int_equal(px_classify((struct gvm_str){table[i].bytes, table[i].n}), table[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_claims_must_agree),
        cmocka_unit_test(connect_names_one_host),
        cmocka_unit_test(synthetic_addresses_are_names),
        cmocka_unit_test(first_bytes_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
