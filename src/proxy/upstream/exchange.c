/* One try of one DNS question at one resolver.
 *
 * A fresh UDP socket per try takes a random source port from the kernel and is connected, so only
 * the resolver's own address can answer; the 16-bit id is random as well, and the question must
 * come back as asked. What does not match is ignored and the wait goes on: an attacker's guess must
 * not end it. A truncated answer is asked for again over TCP inside the same time.
 */
#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/upstream/upstream_int.h"

#define TCP_ANSWER_MAX (2u + 65535u)

struct exchange {
    uv_udp_t udp;
    uv_timer_t timer;
    unsigned handles;
    struct exchange_want want;
    exchange_cb *done; /* NULL: over, the handles are closing */
    void *arg;
    uint16_t id;
    uint8_t query[2 + DNS_QUERY_MAX]; /* room for the length that TCP puts before it */
    size_t query_len;
    struct stream *tcp;
    struct gvm_buf answer; /* TCP */
    char packet[GVM_MAX_DNS];
};

static void closed(uv_handle_t *h)
{
    struct exchange *x = h->data;
    if (--x->handles)
        return;
    gvm_buf_done(&x->answer);
    free(x);
}

static void end(struct exchange *x)
{
    x->done = NULL;
    if (x->tcp)
        stream_close(x->tcp, 0);
    x->tcp = NULL;
    if (!uv_is_closing((uv_handle_t *)&x->udp))
        uv_close((uv_handle_t *)&x->udp, closed);
    uv_close((uv_handle_t *)&x->timer, closed);
}

void exchange_cancel(struct exchange *x)
{
    if (x && x->done)
        end(x);
}

static void finish(struct exchange *x, const struct dns_answer *a, const struct gvm_err *err)
{
    exchange_cb *done = x->done;
    if (!done)
        return;
    end(x); /* x lives on until its handles have closed, after this callback */
    done(x->arg, a, err);
}

static void fail(struct exchange *x, int code, const char *what)
{
    struct gvm_err err = {0};
    char server[INET6_ADDRSTRLEN];
    gvm_ip_text(&x->want.server.ip, server);
    gvm_err_set(&err, code, "resolver %s: %s", server, what);
    finish(x, NULL, &err);
}

static void on_timeout(uv_timer_t *t)
{
    fail(t->data, ETIMEDOUT, "no answer in time");
}

/* ---- TCP, for what UDP cannot carry (RFC 7766) ---- */

static void tcp_data(void *arg, const uint8_t *p, size_t n)
{
    struct exchange *x = arg;
    struct dns_answer a;
    if (gvm_buf_add(&x->answer, p, n) < 0) {
        fail(x, EPROTO, "sent more than one answer");
        return;
    }
    struct gvm_str s = gvm_buf_str(&x->answer);
    if (s.n < 2)
        return;
    size_t len = gvm_get16((const uint8_t *)s.p);
    if (s.n < 2 + len)
        return;
    int r =
        dns_answer_parse((struct gvm_str){s.p + 2, len}, x->want.name, x->want.qtype, x->id, &a);
    if (r < 0 || a.truncated)
        fail(x, EPROTO, "malformed answer");
    else
        finish(x, &a, NULL);
}

static void tcp_eof(void *arg)
{
    fail(arg, EPROTO, "ended without an answer");
}

static void tcp_close(void *arg, const struct gvm_err *err)
{
    struct exchange *x = arg;
    x->tcp = NULL;
    fail(x, err ? err->code : EPROTO, err ? err->text : "closed");
}

static const struct stream_events tcp_events = {
    .on_data = tcp_data, .on_eof = tcp_eof, .on_close = tcp_close};

static void tcp_connected(void *arg, struct stream *s, const struct gvm_err *err)
{
    struct exchange *x = arg;
    if (err) {
        x->tcp = NULL;
        fail(x, err->code, err->text);
        return;
    }
    gvm_put16(x->query, (uint16_t)x->query_len);
    if (stream_write(s, x->query, 2 + x->query_len) < 0) {
        fail(x, EPIPE, "closed");
        return;
    }
    stream_set_events(s, &tcp_events, x);
    stream_resume(s);
}

static void ask_over_tcp(struct exchange *x)
{
    struct sockaddr_storage sa;
    struct gvm_err err = {0};
    (void)gvm_ip_to_sockaddr(&x->want.server.ip, x->want.server.port, &sa);
    uv_close((uv_handle_t *)&x->udp, closed);
    int r = stream_connect(x->want.loop, (struct sockaddr *)&sa, x->want.timeout_ms, NULL, x,
                           tcp_connected, &x->tcp, &err);
    if (r < 0)
        fail(x, -r, err.text);
}

/* ---- UDP ---- */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    (void)hint;
    struct exchange *x = h->data;
    *buf = uv_buf_init(x->packet, sizeof x->packet);
}

static bool from_server(const struct exchange *x, const struct sockaddr *from)
{
    struct gvm_ip ip = {0};
    uint16_t port = 0;
    gvm_ip_from_sockaddr(from, &ip, &port);
    return port == x->want.server.port && gvm_ip_eq(&ip, &x->want.server.ip);
}

static void on_packet(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
                      unsigned flags)
{
    struct exchange *x = udp->data;
    struct dns_answer a;
    if (!x->done || (n == 0 && !from))
        return;
    if (n < 0) {
        fail(x, (int)-n, strerrordesc_np((int)-n)); /* an ICMP error: nobody listens there */
        return;
    }
    if ((flags & UV_UDP_PARTIAL) || !from || !from_server(x, from))
        return;
    int r = dns_answer_parse((struct gvm_str){buf->base, (size_t)n}, x->want.name, x->want.qtype,
                             x->id, &a);
    if (r == -ENOMSG)
        return;
    if (r < 0)
        fail(x, EPROTO, "malformed answer");
    else if (a.truncated)
        ask_over_tcp(x);
    else
        finish(x, &a, NULL);
}

static int send_query(struct exchange *x)
{
    struct sockaddr_storage sa;
    (void)gvm_ip_to_sockaddr(&x->want.server.ip, x->want.server.port, &sa);
    uv_buf_t b = uv_buf_init((char *)x->query + 2, (unsigned)x->query_len);
    int r = uv_udp_connect(&x->udp, (struct sockaddr *)&sa);
    if (r >= 0)
        r = uv_udp_recv_start(&x->udp, on_alloc, on_packet);
    if (r >= 0)
        r = uv_udp_try_send(&x->udp, &b, 1, NULL);
    return r < 0 ? r : 0;
}

static int init(struct exchange *x)
{
    int r = uv_udp_init(x->want.loop, &x->udp);
    if (r < 0)
        return r;
    (void)uv_timer_init(x->want.loop, &x->timer);
    x->udp.data = x->timer.data = x;
    x->handles = 2;
    gvm_buf_init(&x->answer, TCP_ANSWER_MAX);
    return 0;
}

int exchange_begin(const struct exchange_want *want, exchange_cb *done, void *arg,
                   struct exchange **ret, struct gvm_err *err)
{
    GVM_AUTOFREE struct exchange *x = gvm_calloc(1, sizeof *x);
    if (!x || RAND_bytes((uint8_t *)&x->id, sizeof x->id) != 1)
        return gvm_err_set(err, ENOMEM, "DNS: out of memory");
    x->want = *want;
    int r = dns_query_build(want->name, want->qtype, x->id, want->edns, x->query + 2);
    if (r < 0)
        return gvm_err_set(err, ENOENT, "%s is not a name that DNS can carry", want->name);
    x->query_len = (size_t)r;
    r = init(x);
    if (r < 0)
        return gvm_err_sys(err, -r, "DNS socket");
    r = send_query(x);
    if (r < 0) {
        end(x);
        x = NULL; /* freed by its handles */
        return gvm_err_sys(err, -r, "DNS query");
    }
    (void)uv_timer_start(&x->timer, on_timeout, want->timeout_ms, 0);
    x->done = done;
    x->arg = arg;
    *ret = gvm_steal_ptr(&x);
    return 0;
}
