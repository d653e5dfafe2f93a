/* bench_wire - what reading one request costs, part by part.
 *
 * Usage: bench_wire [SECONDS-PER-FIGURE]. Prints one line per part: name, ns per call, calls per
 * second. One core; the bytes are in cache, as they are when they were just received.
 */
#include <stdio.h>
#include <stdlib.h>
#include "wire/wire.h"

/* 513 bytes and 14 fields, the shape that dependencies were measured with. */
static const char browser[] =
    "GET /v1/chat/completions/chatcmpl-9f8e7d6c5b4a?stream=true&n=1 HTTP/1.1\r\n"
    "Host: api.openai.example\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AgentClient/4.20.1\r\n"
    "Accept: text/html,application/json;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Connection: keep-alive\r\n"
    "X-Request-Id: 0123456789abcdef0123\r\n"
    "Cache-Control: max-age=0\r\n"
    "Pragma: no-cache\r\n"
    "DNT: 1\r\n"
    "Sec-Fetch-Mode: cors\r\n"
    "Origin: https://app.example\r\n"
    "Cookie: a=b; c=d\r\n"
    "TE: trailers\r\n\r\n";
static const char reply[] =
    "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 23:00:00 GMT\r\n"
    "Content-Type: application/json\r\nContent-Length: 1024\r\n"
    "Connection: keep-alive\r\nX-Request-Id: 0123456789abcdef\r\n\r\n";

static struct gvm_http1_head head;
static struct gvm_authority authority;
static struct gvm_buf path, query;
static struct gvm_str chunks;

static bool do_request(struct gvm_str in)
{
    return gvm_http1_request(in, &head, NULL) == 1;
}

static bool do_response(struct gvm_str in)
{
    return gvm_http1_response(in, GVM_STR("GET"), &head, NULL) == 1;
}

static bool do_authority(struct gvm_str in)
{
    return gvm_authority_parse(in, &authority, NULL) == 0;
}

static bool do_target(struct gvm_str in)
{
    bool has;
    gvm_buf_reset(&path);
    gvm_buf_reset(&query);
    return gvm_target_canon(in, &path, &query, &has, NULL) == 0;
}

static bool do_class(struct gvm_str in)
{
    struct gvm_ip ip;
    return gvm_ip_parse(in, &ip) == 0 && gvm_ip_class(&ip) == GVM_IP_PUBLIC;
}

static bool do_chunks(struct gvm_str in)
{
    struct gvm_http1_body b;
    struct gvm_str payload;
    gvm_http1_body_init(&b, GVM_BODY_CHUNKED, 0);
    int r = 0;
    while (r == 0)
        r = gvm_http1_body_feed(&b, &in, &payload, NULL);
    return r == 1;
}

struct part {
    const char *name;
    bool (*fn)(struct gvm_str);
    struct gvm_str in;
};

static void measure(const struct part *p, double seconds)
{
    int64_t began = gvm_mono_ns(), took;
    uint64_t calls = 0;
    do {
        for (int i = 0; i < 1000; i++)
            if (!p->fn(p->in))
                abort();
        calls += 1000;
        took = gvm_mono_ns() - began;
    } while ((double)took < seconds * 1e9);
    printf("%-28s %8.1f ns %9.2f M/s\n", p->name, (double)took / (double)calls,
           (double)calls * 1e3 / (double)took);
}

/* 64 chunks of 1 KB, as a streaming server sends them. */
static void make_chunks(struct gvm_buf *b)
{
    static char kilo[1024];
    gvm_buf_init(b, 1 << 20);
    memset(kilo, 'x', sizeof kilo);
    for (int i = 0; i < 64; i++) {
        (void)gvm_buf_addz(b, "400\r\n");
        (void)gvm_buf_add(b, kilo, sizeof kilo);
        (void)gvm_buf_addz(b, "\r\n");
    }
    (void)gvm_buf_addz(b, "0\r\n\r\n");
    chunks = gvm_buf_str(b);
}

int main(int argc, char **argv)
{
    uint64_t ms = 500;
    if (argc > 1 && gvm_parse_duration_ms(gvm_str(argv[1]), &ms) < 0)
        return 2;
    struct gvm_buf body;
    make_chunks(&body);
    gvm_buf_init(&path, GVM_MAX_TARGET);
    gvm_buf_init(&query, GVM_MAX_TARGET);
    const struct part parts[] = {
        {"request head, 14 fields", do_request, GVM_STR(browser)},
        {"response head, 6 fields", do_response, GVM_STR(reply)},
        {"authority", do_authority, GVM_STR("Api.OpenAI.example:443")},
        {"authority, IDN", do_authority,
         GVM_STR("b\xc3\xbc"
                 "cher.example")},
        {"authority, IPv6", do_authority, GVM_STR("[2606:4700::1111]:443")},
        {"target, plain", do_target, GVM_STR("/v1/chat/completions/chatcmpl-9f8e7d6c?stream=true")},
        {"target, escapes and dots", do_target, GVM_STR("/a/%7Euser/../b%20c/%2fd/./e?x=y")},
        {"address and class", do_class, GVM_STR("93.184.215.14")},
        {"64 chunks of 1 KB", do_chunks, chunks},
    };
    printf("request head is %zu bytes\n", sizeof browser - 1);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        measure(&parts[i], (double)ms / 1000);
    gvm_buf_done(&body);
    gvm_buf_done(&path);
    gvm_buf_done(&query);
    return 0;
}
