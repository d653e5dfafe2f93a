/* Heads as they leave us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/http1/head.h"

static struct gvm_http1_head head;

static void request(const char *fields, bool websocket, struct gvm_buf *out)
{
    char text[2048];
    (void)snprintf(text, sizeof text, "POST /ignored HTTP/1.1\r\nHost: ignored.test\r\n%s\r\n",
                   fields);
    assert_int_equal(gvm_http1_request(gvm_str(text), &head, NULL), 1);
    struct px_http1_line line = {.method = "POST",
                                 .host = "a.test",
                                 .port = 8443,
                                 .tls = true,
                                 .has_query = true,
                                 .websocket = websocket,
                                 .path = GVM_STR("/p"),
                                 .query = GVM_STR("q=1")};
    gvm_buf_init(out, 65536);
    px_http1_request_head(&head, &line, out);
    assert_false(out->failed);
}

static void check_request(const char *fields, bool websocket, const char *want)
{
    struct gvm_buf out;
    char all[2048];
    request(fields, websocket, &out);
    (void)snprintf(all, sizeof all, "POST /p?q=1 HTTP/1.1\r\nHost: a.test:8443\r\n%s", want);
    assert_string_equal(gvm_buf_cstr(&out), all);
    gvm_buf_done(&out);
}

static void only_canonical_parts_leave(void **state)
{
    (void)state;
    check_request("", false, "");
    check_request("Accept: */*\r\nX-A:  b \r\n", false, "Accept: */*\r\nX-A: b\r\n");
    check_request("Connection: close\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: x\r\n", false,
                  "");
    check_request("Connection: X-Hop , keep-alive\r\nX-Hop: 1\r\nX-Stay: 2\r\n", false,
                  "X-Stay: 2\r\n");
    check_request("Connection: a\r\nConnection: x-hop\r\nX-HOP: 1\r\n", false, "");
    check_request("X-GVM-Decision: Allow\r\nx-gvm-run: 1\r\nX-GVMX: 2\r\n", false, "X-GVMX: 2\r\n");
    check_request("Proxy-Authorization: x\r\nProxy-Connection: keep-alive\r\nProxyless: y\r\n",
                  false, "Proxyless: y\r\n");
    check_request("Expect: 100-continue\r\nContent-Length: 3\r\n", false, "Content-Length: 3\r\n");
    check_request("Content-Length: 0\r\n", false, "Content-Length: 0\r\n");
    check_request("Transfer-Encoding: chunked\r\n", false, "Transfer-Encoding: chunked\r\n");
    check_request("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
                  false, "");
    check_request("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n", true,
                  "Sec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
}

static void websocket_is_recognised(void **state)
{
    (void)state;
    struct gvm_buf out;
    request("Connection: Upgrade\r\nUpgrade: WebSocket\r\n", false, &out);
    assert_true(px_http1_websocket(&head));
    gvm_buf_done(&out);
    request("Connection: Upgrade\r\nUpgrade: h2c\r\n", false, &out);
    assert_false(px_http1_websocket(&head));
    gvm_buf_done(&out);
    request("Upgrade: websocket\r\n", false, &out);
    assert_false(px_http1_websocket(&head));
    gvm_buf_done(&out);
}

static void fields_are_removed_whole(void **state)
{
    (void)state;
    struct gvm_buf out;
    request("Authorization: a\r\nX-Authorization: b\r\nAUTHORIZATION: c\r\nAuthorizationx: d\r\n",
            false, &out);
    px_http1_remove(&out, GVM_STR("authorization"));
    assert_string_equal(gvm_buf_cstr(&out),
                        "POST /p?q=1 HTTP/1.1\r\nHost: a.test:8443\r\nX-Authorization: b\r\n"
                        "Authorizationx: d\r\n");
    px_http1_remove(&out, GVM_STR("POST /p?q=1 HTTP/1.1"));
    px_http1_remove(&out, GVM_STR("absent"));
    assert_string_equal(gvm_buf_cstr(&out),
                        "POST /p?q=1 HTTP/1.1\r\nHost: a.test:8443\r\nX-Authorization: b\r\n"
                        "Authorizationx: d\r\n");
    gvm_buf_done(&out);
}

static void check_response(const char *said, const char *method, unsigned minor, bool chunked,
                           bool close, const char *want)
{
    struct gvm_buf out;
    assert_int_equal(gvm_http1_response(gvm_str(said), gvm_str(method), &head, NULL), 1);
    gvm_buf_init(&out, 65536);
    struct px_http1_status line = {.minor = minor, .chunked = chunked, .close = close};
    px_http1_response_head(&head, &line, &out);
    assert_string_equal(gvm_buf_cstr(&out), want);
    gvm_buf_done(&out);
}

static void answers_keep_their_framing(void **state)
{
    (void)state;
    check_response("HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nConnection: close\r\n\r\n", "GET", 1,
                   false, false, "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n\r\n");
    check_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n", "GET", 1,
                   true, false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    check_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", 0, false, true,
                   "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    check_response("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", "GET", 0, false, false,
                   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n");
    check_response("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "HEAD", 1, false, false,
                   "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
    check_response("HTTP/1.1 204 None\r\nX-GVM-Decision: Deny\r\nProxy-Authenticate: x\r\n\r\n",
                   "GET", 1, false, false, "HTTP/1.1 204 None\r\n\r\n");
    check_response("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", "GET", 1, false, false,
                   "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
}

static void an_empty_span_is_no_chunk(void **state)
{
    (void)state;
    struct gvm_buf out;
    gvm_buf_init(&out, 100);
    px_http1_chunk(&out, GVM_STR(""));
    assert_int_equal(out.len, 0);
    px_http1_chunk(&out, GVM_STR("0123456789abcdef"));
    assert_string_equal(gvm_buf_cstr(&out), "10\r\n0123456789abcdef\r\n");
    gvm_buf_done(&out);
}

static void only_harmless_trailers_follow(void **state)
{
    (void)state;
    struct gvm_buf out;
    gvm_buf_init(&out, 500);
    px_http1_last_chunk(&out,
                        GVM_STR("X-Sum: 1\r\nHost: evil\r\nX-GVM-Run: x\r\nContent-Length: 3\r\n"
                                "Connection: close\r\nAuthorization: a\r\nCookie: c\r\n"
                                "Grpc-Status:0\r\n"));
    assert_string_equal(gvm_buf_cstr(&out), "0\r\nX-Sum: 1\r\nGrpc-Status: 0\r\n\r\n");
    gvm_buf_reset(&out);
    px_http1_last_chunk(&out, (struct gvm_str){0});
    assert_string_equal(gvm_buf_cstr(&out), "0\r\n\r\n");
    gvm_buf_done(&out);
}

static void no_body_is_said(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        bool to_head;
        const char *want;
    } table[] = {
        {200, false, "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"},
        {200, true, "HTTP/1.1 200 \r\n\r\n"},
        {204, false, "HTTP/1.1 204 \r\n\r\n"},
        {304, false, "HTTP/1.1 304 \r\n\r\n"},
        {103, false, "HTTP/1.1 103 \r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct gvm_buf out;
        struct px_http1_status line = {.minor = 1, .to_head = table[i].to_head};
        head = (struct gvm_http1_head){.response = true, .status = (uint16_t)table[i].status};
        gvm_buf_init(&out, 500);
        px_http1_response_head(&head, &line, &out);
        assert_string_equal(gvm_buf_cstr(&out), table[i].want);
        gvm_buf_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_harmless_trailers_follow),
        cmocka_unit_test(no_body_is_said),
        cmocka_unit_test(only_canonical_parts_leave),
        cmocka_unit_test(websocket_is_recognised),
        cmocka_unit_test(fields_are_removed_whole),
        cmocka_unit_test(answers_keep_their_framing),
        cmocka_unit_test(an_empty_span_is_no_chunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
