/* HTTP/1 heads: smuggling vectors beside the ordinary heads they resemble. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "wire/http1.h"

static struct gvm_http1_head head;

/* A copy of exactly that size, so that a sanitizer sees a byte read too far. */
static int request(const char *text, size_t n, struct gvm_err *err)
{
    static char *copy;
    free(copy);
    copy = malloc(n + 1);
    assert_non_null(copy);
    memcpy(copy + 1, text, n);
    return gvm_http1_request((struct gvm_str){copy + 1, n}, &head, err);
}

#define REQ(text)          request(text, sizeof(text) - 1, NULL)
#define RESP(method, text) gvm_http1_response(GVM_STR(text), gvm_str(method), &head, NULL)

struct vector {
    const char *what;
    const char *text;
    bool ok;
};

#define H "Host: a.example\r\n"
#define G "GET / HTTP/1.1\r\n"
#define P "POST / HTTP/1.1\r\n"

/* Attack N7. Each refusal stands beside the nearest form that is fine. */
static const struct vector vectors[] = {
    {"plain", G H "\r\n", true},
    {"one length", P H "Content-Length: 5\r\n\r\n", true},
    {"two lengths", P H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", false},
    {"two different lengths", P H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", false},
    {"length list", P H "Content-Length: 5, 5\r\n\r\n", false},
    {"length with plus", P H "Content-Length: +5\r\n\r\n", false},
    {"negative length", P H "Content-Length: -5\r\n\r\n", false},
    {"hex length", P H "Content-Length: 0x5\r\n\r\n", false},
    {"octal-looking length", P H "Content-Length: 05\r\n\r\n", false},
    {"length with inner space", P H "Content-Length: 1 0\r\n\r\n", false},
    {"empty length", P H "Content-Length:\r\n\r\n", false},
    {"length over 2^63", P H "Content-Length: 9223372036854775808\r\n\r\n", false},
    {"length over 2^64", P H "Content-Length: 18446744073709551621\r\n\r\n", false},
    {"length of 2^63-1", P H "Content-Length: 9223372036854775807\r\n\r\n", true},
    {"chunked", P H "Transfer-Encoding: chunked\r\n\r\n", true},
    {"Chunked", P H "transfer-encoding:CHUNKED \r\n\r\n", true},
    {"CL.TE", P H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", false},
    {"TE.CL", P H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", false},
    {"TE.TE", P H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", false},
    {"TE.TE identity", P H "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
     false},
    {"xchunked", P H "Transfer-Encoding: xchunked\r\n\r\n", false},
    {"gzip, chunked", P H "Transfer-Encoding: gzip, chunked\r\n\r\n", false},
    {"chunked, identity", P H "Transfer-Encoding: chunked, identity\r\n\r\n", false},
    {"chunked;q", P H "Transfer-Encoding: chunked;q=1\r\n\r\n", false},
    {"quoted chunked", P H "Transfer-Encoding: \"chunked\"\r\n\r\n", false},
    {"vertical tab chunked",
     P H "Transfer-Encoding: \x0b"
         "chunked\r\n\r\n",
     false},
    {"empty TE", P H "Transfer-Encoding:\r\n\r\n", false},
    {"space before colon", P H "Transfer-Encoding : chunked\r\n\r\n", false},
    {"tab before colon", P H "Content-Length\t: 5\r\n\r\n", false},
    {"folded TE", P H "Transfer-Encoding:\r\n chunked\r\n\r\n", false},
    {"folded value", G H "X: a\r\n b\r\n\r\n", false},
    {"folded first line", G " X: a\r\n" H "\r\n", false},
    {"fold by tab", G H "X: a\r\n\tb\r\n\r\n", false},
    {"bare LF after a field", G "Host: a.example\nX: y\r\n\r\n", false},
    {"bare LF after the request line", "GET / HTTP/1.1\n" H "\r\n", false},
    {"bare LF at the end", G H "\n", false},
    {"LF LF", "GET / HTTP/1.1\nHost: a\n\n", false},
    {"bare CR in a value", G H "X: a\rb\r\n\r\n", false},
    {"bare CR as line end", G "Host: a.example\rX: y\r\n\r\n", false},
    {"CR CR LF", G "Host: a.example\r\r\n\r\n", false},
    {"control in a value",
     G H "X: a\x01"
         "b\r\n\r\n",
     false},
    {"DEL in a value",
     G H "X: a\x7f"
         "b\r\n\r\n",
     false},
    {"tab in a value", G H "X: a\tb\r\n\r\n", true},
    {"obs-text in a value", G H "X: \xc3\xa9\r\n\r\n", true},
    {"empty value", G H "X:\r\n\r\n", true},
    {"space in a name", G H "X Y: a\r\n\r\n", false},
    {"empty name", G H ": a\r\n\r\n", false},
    {"no colon", G H "XY\r\n\r\n", false},
    {"obs-text in a name", G H "X\xc3\xa9: a\r\n\r\n", false},
    {"parenthesis in a name", G H "X(: a\r\n\r\n", false},
    {"TE in 1.0", "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", false},
    {"1.0", "GET / HTTP/1.0\r\n" H "\r\n", true},
    {"1.0 without host", "GET / HTTP/1.0\r\n\r\n", true},
    {"no host", G "X: y\r\n\r\n", false},
    {"two hosts", G H H "\r\n", false},
    {"two different hosts", G H "Host: b.example\r\n\r\n", false},
    {"empty host", G "Host:\r\n\r\n", false},
    {"host with path", G "Host: evil.com/.good.com\r\n\r\n", false},
    {"host with user", G "Host: x@evil.com\r\n\r\n", false},
    {"host list", G "Host: a.example, b.example\r\n\r\n", false},
    {"host with port", G "Host: a.example:8080\r\n\r\n", true},
    {"host IPv6", G "Host: [::1]:80\r\n\r\n", true},
    {"HTTP/2.0", "GET / HTTP/2.0\r\n" H "\r\n", false},
    {"h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false},
    {"HTTP/1.2", "GET / HTTP/1.2\r\n" H "\r\n", false},
    {"HTTP/1.10", "GET / HTTP/1.10\r\n" H "\r\n", false},
    {"HTTP/01.1", "GET / HTTP/01.1\r\n" H "\r\n", false},
    {"http/1.1", "GET / http/1.1\r\n" H "\r\n", false},
    {"HTTP/0.9", "GET /\r\n\r\n", false},
    {"space behind the version", "GET / HTTP/1.1 \r\n" H "\r\n", false},
    {"two spaces", "GET  / HTTP/1.1\r\n" H "\r\n", false},
    {"two spaces before version", "GET /  HTTP/1.1\r\n" H "\r\n", false},
    {"tab as space", "GET\t/ HTTP/1.1\r\n" H "\r\n", false},
    {"space in the target", "GET /a b HTTP/1.1\r\n" H "\r\n", false},
    {"control in the target", "GET /a\x01 HTTP/1.1\r\n" H "\r\n", false},
    {"leading space", " GET / HTTP/1.1\r\n" H "\r\n", false},
    {"one leading CRLF", "\r\n" G H "\r\n", true},
    {"two leading CRLF", "\r\n\r\n" G H "\r\n", false},
    {"leading LF", "\n" G H "\r\n", false},
    {"invented method", "QUERY-X! / HTTP/1.1\r\n" H "\r\n", true},
    {"method with a slash", "GE/T / HTTP/1.1\r\n" H "\r\n", false},
    {"method with a control", "GE\x01T / HTTP/1.1\r\n" H "\r\n", false},
    {"method of 32", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / HTTP/1.1\r\n" H "\r\n", true},
    {"method of 33", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\n" H "\r\n", false},
    {"asterisk", "OPTIONS * HTTP/1.1\r\n" H "\r\n", true},
    {"asterisk for GET", "GET * HTTP/1.1\r\n" H "\r\n", false},
    {"relative target", "GET a HTTP/1.1\r\n" H "\r\n", false},
    {"absolute target", "GET http://a.example/x HTTP/1.1\r\n" H "\r\n", true},
    {"no scheme", "GET ://a.example/x HTTP/1.1\r\n" H "\r\n", false},
    {"CONNECT", "CONNECT a.example:443 HTTP/1.1\r\n" H "\r\n", true},
    {"CONNECT to a path", "CONNECT / HTTP/1.1\r\n" H "\r\n", false},
    {"CONNECT with length 0", "CONNECT a.example:443 HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n",
     true},
    {"CONNECT with a body", "CONNECT a.example:443 HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\n",
     false},
    {"CONNECT chunked", "CONNECT a.example:443 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n",
     false},
    {"expect", P H "Expect: 100-Continue\r\n\r\n", true},
    {"odd expect", P H "Expect: y 100-continue\r\n\r\n", false},
    {"two expects", P H "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n", false},
    {"connection list", G H "Connection: keep-alive, X-Y\r\n\r\n", true},
    {"connection drops host", G H "Connection: host\r\n\r\n", false},
    {"connection drops length",
     P H "Content-Length: 5\r\nConnection: close, Content-Length\r\n\r\n", false},
    {"connection no token", G H "Connection: a b\r\n\r\n", false},
};

static void test_vectors(void **state)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct gvm_err err = {0};
        int r = request(vectors[i].text, strlen(vectors[i].text), &err);
        if (r != (vectors[i].ok ? 1 : -EINVAL))
            fail_msg("%s: %d %s", vectors[i].what, r, err.text);
        assert_int_equal(err.text[0] == '\0', vectors[i].ok);
        if (r == 1)
            assert_int_equal(head.length, strlen(vectors[i].text));
    }
    assert_int_equal(REQ(G H "X: a\0b\r\n\r\n"), -EINVAL);
    assert_int_equal(REQ(G "Host: a\0.example\r\n\r\n"), -EINVAL);
    assert_int_equal(REQ("GET /a\0 HTTP/1.1\r\n" H "\r\n"), -EINVAL);
    assert_int_equal(REQ("G\0T / HTTP/1.1\r\n" H "\r\n"), -EINVAL);
}

/* Every beginning of a good head wants more, whatever follows it is not touched, and a bad head is
 * never accepted half-way. */
static void test_prefixes(void **state)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        size_t n = strlen(vectors[i].text);
        bool refused = false;
        for (size_t k = 0; k < n; k++) {
            int r = request(vectors[i].text, k, NULL);
            assert_true(r == 0 || (r == -EINVAL && !vectors[i].ok));
            assert_false(refused && r == 0); /* once refused, always refused */
            refused |= r < 0;
        }
    }
    static const char two[] = G H "\r\nGET /2 HTTP/1.1\r\n";
    assert_int_equal(REQ(two), 1);
    assert_int_equal(head.length, sizeof G - 1 + sizeof H - 1 + 2);
}

/* Every byte at every place of a value and of a target, because those are read eight at a time. */
static void test_every_byte(void **state)
{
    for (unsigned c = 0; c < 256; c++)
        for (size_t at = 0; at < 24; at++) {
            char value[] = G H "X: aaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n";
            char target[] = "GET /aaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n" H "\r\n";
            value[sizeof G H "X: " - 1 + at] = (char)c;
            target[5 + at] = (char)c;
            bool plain = c > ' ' && c != 127;
            bool in_value = plain || c == ' ' || c == '\t';
            if (request(value, sizeof value - 1, NULL) != (in_value ? 1 : -EINVAL))
                fail_msg("byte %u at %zu of a value", c, at);
            if (request(target, sizeof target - 1, NULL) != (plain ? 1 : -EINVAL))
                fail_msg("byte %u at %zu of a target", c, at);
        }
}

static void test_request_parts(void **state)
{
    assert_int_equal(
        REQ("PUT /a?b HTTP/1.1\r\nHost:  A.example:81\t\r\nX-Y: \t v w \r\nx-y:2\r\n"
            "Connection: Upgrade , close\r\nUpgrade: websocket\r\nExpect: 100-continue\r\n"
            "Content-Length: 12\r\n\r\n"),
        1);
    assert_false(head.upgrade); /* it has a body */
    assert_false(head.response);
    assert_int_equal(head.minor, 1);
    assert_true(gvm_str_eqz(head.method, "PUT"));
    assert_true(gvm_str_eqz(head.target, "/a?b"));
    assert_true(gvm_str_eqz(head.host, "A.example:81"));
    assert_int_equal(head.nheaders, 7);
    assert_true(gvm_str_eqz(head.headers[1].name, "X-Y"));
    assert_true(gvm_str_eqz(head.headers[1].value, "v w"));
    assert_ptr_equal(gvm_http1_find(&head, "x-Y"), &head.headers[1]);
    assert_null(gvm_http1_find(&head, "x-z"));
    assert_int_equal(head.body, GVM_BODY_LENGTH);
    assert_int_equal(head.content_length, 12);
    assert_false(head.keep_alive);
    assert_true(head.expect_continue);

    assert_int_equal(REQ(G H "Connection: x, upgrade\r\nUpgrade: websocket\r\n\r\n"), 1);
    assert_true(head.upgrade);
    assert_int_equal(REQ(G H "Upgrade: websocket\r\n\r\n"), 1);
    assert_false(head.upgrade);

    assert_int_equal(REQ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nUpgrade: x\r\n\r\n"), 1);
    assert_true(head.keep_alive);
    assert_false(head.upgrade);
    assert_int_equal(head.host.n, 0);
    assert_int_equal(head.body, GVM_BODY_NONE);
    assert_int_equal(REQ("GET / HTTP/1.0\r\n\r\n"), 1);
    assert_false(head.keep_alive);
    assert_int_equal(REQ(G H "\r\n"), 1);
    assert_true(head.keep_alive);
    assert_int_equal(REQ(P H "Content-Length: 0\r\n\r\n"), 1);
    assert_int_equal(head.body, GVM_BODY_LENGTH);
    assert_int_equal(REQ(P H "Transfer-Encoding: chunked\r\n\r\n"), 1);
    assert_int_equal(head.body, GVM_BODY_CHUNKED);
}

static void test_responses(void **state)
{
    static const struct {
        const char *method, *text;
        int r;
        enum gvm_body_kind body;
        bool keep;
    } rows[] = {
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 1, GVM_BODY_LENGTH, true},
        {"GET", "HTTP/1.1 200 \r\nContent-Length: 3\r\n\r\n", 1, GVM_BODY_LENGTH, true},
        {"GET", "HTTP/1.1 200\r\nContent-Length: 3\r\n\r\n", 1, GVM_BODY_LENGTH, true},
        {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 1, GVM_BODY_CHUNKED, true},
        {"GET", "HTTP/1.1 200 OK\r\n\r\n", 1, GVM_BODY_CLOSE, false},
        {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", 1, GVM_BODY_LENGTH, false},
        {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n", 1,
         GVM_BODY_LENGTH, true},
        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 1, GVM_BODY_NONE, true},
        {"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 1, GVM_BODY_NONE, true},
        {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", 1, GVM_BODY_NONE, true},
        {"GET", "HTTP/1.1 204 No Content\r\n\r\n", 1, GVM_BODY_NONE, true},
        {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 1, GVM_BODY_NONE, true},
        {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", 1, GVM_BODY_NONE, false},
        {"GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 1, GVM_BODY_NONE,
         false},
        {"GET", "HTTP/1.1 100 Continue\r\n\r\n", 1, GVM_BODY_NONE, true},
        {"GET", "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 1,
         GVM_BODY_NONE, true},
        {"CONNECT", "HTTP/1.1 200 OK\r\n\r\n", 1, GVM_BODY_NONE, true},
        {"CONNECT", "HTTP/1.1 407 No\r\nContent-Length: 3\r\n\r\n", 1, GVM_BODY_LENGTH, true},
        {"GET", "HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n", 1, GVM_BODY_LENGTH, true},
        {"GET", "HTTP/1.1 200 OK\r\nHost: x y\r\nExpect: z\r\nContent-Length: 0\r\n\r\n", 1,
         GVM_BODY_LENGTH, true},
        {"GET", "HTTP/1.1 200 \xc3\xa9\r\nContent-Length: 0\r\n\r\n", 1, GVM_BODY_LENGTH, true},
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", -EINVAL, 0, 0},
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
         -EINVAL, 0, 0},
        {"GET", "HTTP/1.1 200 OK\nContent-Length: 3\n\n", -EINVAL, 0, 0},
        {"GET", "HTTP/1.1 20 OK\r\n\r\n", -EINVAL, 0, 0},
        {"GET", "HTTP/1.1 2000 OK\r\n\r\n", -EINVAL, 0, 0},
        {"GET", "HTTP/1.1 099 OK\r\n\r\n", -EINVAL, 0, 0},
        {"GET", "HTTP/1.1  200 OK\r\n\r\n", -EINVAL, 0, 0},
        {"GET", "HTTP/2 200 OK\r\n\r\n", -EINVAL, 0, 0},
        {"GET", "ICY 200 OK\r\n\r\n", -EINVAL, 0, 0},
        {"GET", "HTTP/1.1 200 O\x01K\r\n\r\n", -EINVAL, 0, 0},
        {"GET", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", -EINVAL, 0, 0},
        {"GET", "\r\nHTTP/1.1 200 OK\r\n\r\n", -EINVAL, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gvm_err err = {0};
        int r = gvm_http1_response(gvm_str(rows[i].text), gvm_str(rows[i].method), &head, &err);
        if (r != rows[i].r)
            fail_msg("%s -> %d %s", rows[i].text, r, err.text);
        if (r != 1)
            continue;
        assert_true(head.response);
        if (head.body != rows[i].body || head.keep_alive != rows[i].keep)
            fail_msg("%s: body %d keep %d", rows[i].text, (int)head.body, head.keep_alive);
        for (size_t k = 0; k < strlen(rows[i].text); k++)
            assert_int_equal(
                gvm_http1_response((struct gvm_str){rows[i].text, k}, GVM_STR("GET"), &head, NULL),
                0);
    }
    assert_int_equal(RESP("HEAD", "HTTP/1.1 404 Not  Found\r\nContent-Length: 3\r\n\r\nGET"), 1);
    assert_int_equal(head.status, 404);
    assert_true(gvm_str_eqz(head.reason, "Not  Found"));
    assert_int_equal(head.content_length, 3);
    assert_int_equal(head.length, 46);
}

static void test_limits(void **state)
{
    static char text[GVM_MAX_HEAD + 64];
    size_t n = (size_t)snprintf(text, sizeof text, "%s", G H);
    unsigned count = 1;
    for (; count < GVM_MAX_HEADERS; count++)
        n += (size_t)snprintf(text + n, sizeof text - n, "X%u: y\r\n", count);
    memcpy(text + n, "\r\n", 2);
    assert_int_equal(request(text, n + 2, NULL), 1);
    assert_int_equal(head.nheaders, GVM_MAX_HEADERS);
    memcpy(text + n, "Z: z\r\n\r\n", 8);
    assert_int_equal(request(text, n + 8, NULL), -EINVAL);

    /* A head of exactly the maximum is taken, one byte more is not, and one that never ends
     * neither. */
    n = (size_t)snprintf(text, sizeof text, "%sX: ", G H);
    memset(text + n, 'a', sizeof text - n);
    memcpy(text + GVM_MAX_HEAD - 4, "\r\n\r\n", 4);
    assert_int_equal(request(text, GVM_MAX_HEAD, NULL), 1);
    assert_int_equal(head.length, GVM_MAX_HEAD);
    assert_int_equal(request(text, GVM_MAX_HEAD + 9, NULL), 1);
    memcpy(text + GVM_MAX_HEAD - 4, "a\r\n\r\n", 5);
    assert_int_equal(request(text, GVM_MAX_HEAD + 1, NULL), -E2BIG);
    assert_int_equal(request(text, GVM_MAX_HEAD - 1, NULL), 0);
    assert_int_equal(request(text, GVM_MAX_HEAD, NULL), -E2BIG);

    n = (size_t)snprintf(text, sizeof text, "GET /");
    memset(text + n, 'a', GVM_MAX_TARGET);
    n += GVM_MAX_TARGET;
    assert_int_equal(request(text, n, NULL), -E2BIG);
    n = 4 + GVM_MAX_TARGET;
    n += (size_t)snprintf(text + n, sizeof text - n, " HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(request(text, n, NULL), 1);
    assert_int_equal(head.target.n, GVM_MAX_TARGET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),   cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_prefixes),  cmocka_unit_test(test_request_parts),
        cmocka_unit_test(test_responses), cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
