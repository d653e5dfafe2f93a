/* A DNS server on loopback that says what a test tells it to, in the test's own loop. */
#ifndef DNS_FIXTURE_H
#define DNS_FIXTURE_H

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include "wire/wire.h"

struct fake_dns {
    uv_udp_t udp;
    uv_tcp_t tcp;
    char at[32]; /* "127.0.0.1:port" */
    char packet[2048];
    unsigned queries, a_queries, tcp_queries;
    uint16_t last_port; /* source port of the last query */
    /* How it answers. */
    struct gvm_ip first[8], then[8]; /* A and AAAA of the first A query, and of later ones */
    unsigned nfirst, nthen;
    bool flips;
    unsigned rcode;
    unsigned fail_first; /* SERVFAIL for so many queries */
    bool truncate, lie_first, silent, no_edns;
    uint32_t ttl;
};

static inline struct gvm_ip fake_ip(const char *text)
{
    struct gvm_ip ip = {0};
    if (gvm_ip_parse(gvm_str(text), &ip) < 0)
        abort();
    return ip;
}

static inline void fake_set(struct fake_dns *d, const char *text)
{
    d->first[0] = fake_ip(text);
    d->nfirst = 1;
}

static inline uint8_t *fake_bytes(struct gvm_buf *b)
{
    uint8_t *p = gvm_buf_data(b);
    if (!p)
        abort();
    return p;
}

static inline void fake_reply(struct fake_dns *d, struct gvm_str in, bool tcp, struct gvm_buf *out)
{
    struct gvm_dns_question q;
    if (gvm_dns_parse(in, &q, NULL) < 0)
        abort(); /* our own client sends only well-formed queries */
    d->queries++;
    bool later = d->flips && d->a_queries > 0;
    struct gvm_ip list[8];
    unsigned n = 0, of = later ? d->nthen : d->nfirst;
    for (unsigned i = 0; i < of; i++) {
        const struct gvm_ip *ip = later ? &d->then[i] : &d->first[i];
        if ((ip->family == 4) == (q.qtype == GVM_DNS_A))
            list[n++] = *ip;
    }
    if (q.qtype == GVM_DNS_A)
        d->a_queries++;
    unsigned rcode = d->rcode;
    if (d->fail_first) {
        d->fail_first--;
        rcode = GVM_DNS_SERVFAIL;
    }
    if (d->no_edns && q.edns)
        rcode = GVM_DNS_FORMERR;
    bool tc = d->truncate && !tcp;
    if (gvm_dns_answer(in, &q, rcode, list, rcode || tc ? 0 : n, d->ttl, out) < 0)
        abort();
    if (tc)
        fake_bytes(out)[2] |= 2;
}

static inline void fake_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
    (void)hint;
    struct fake_dns *d = h->data;
    *b = uv_buf_init(d->packet, sizeof d->packet);
}

static inline void fake_udp(uv_udp_t *h, ssize_t n, const uv_buf_t *b, const struct sockaddr *from,
                            unsigned flags)
{
    (void)flags;
    struct fake_dns *d = h->data;
    struct gvm_buf out;
    if (n <= 0 || !from)
        return;
    d->last_port = ntohs(((const struct sockaddr_in *)(const void *)from)->sin_port);
    gvm_buf_init(&out, 4096);
    fake_reply(d, (struct gvm_str){b->base, (size_t)n}, false, &out);
    uv_buf_t w = uv_buf_init((char *)gvm_buf_data(&out), (unsigned)out.len);
    if (d->lie_first) { /* a guess with a wrong id, and one for another name */
        fake_bytes(&out)[0] ^= 1;
        (void)uv_udp_try_send(h, &w, 1, from);
        fake_bytes(&out)[0] ^= 1;
        fake_bytes(&out)[13] ^= 1;
        (void)uv_udp_try_send(h, &w, 1, from);
        fake_bytes(&out)[13] ^= 1;
    }
    if (!d->silent)
        (void)uv_udp_try_send(h, &w, 1, from);
    gvm_buf_done(&out);
}

static inline void fake_peer_closed(uv_handle_t *h)
{
    free(h);
}

static inline void fake_tcp(uv_stream_t *h, ssize_t n, const uv_buf_t *b)
{
    struct fake_dns *d = h->data;
    struct gvm_buf out;
    if (n <= 2) {
        if (n < 0 && !uv_is_closing((uv_handle_t *)h))
            uv_close((uv_handle_t *)h, fake_peer_closed);
        return;
    }
    d->tcp_queries++;
    gvm_buf_init(&out, 4096);
    (void)gvm_buf_add(&out, "\0\0", 2);
    fake_reply(d, (struct gvm_str){b->base + 2, (size_t)n - 2}, true, &out);
    /* gvm_dns_answer() repeats the query from the start of `out`; put the length before it. */
    gvm_put16(fake_bytes(&out), (uint16_t)(out.len - 2));
    uv_buf_t w = uv_buf_init((char *)gvm_buf_data(&out), (unsigned)out.len);
    (void)uv_try_write(h, &w, 1);
    gvm_buf_done(&out);
}

static inline void fake_accept(uv_stream_t *l, int status)
{
    uv_tcp_t *peer = status < 0 ? NULL : calloc(1, sizeof *peer);
    if (!peer)
        return;
    uv_tcp_init(l->loop, peer);
    peer->data = l->data;
    if (uv_accept(l, (uv_stream_t *)peer) == 0)
        uv_read_start((uv_stream_t *)peer, fake_alloc, fake_tcp);
}

static inline void fake_begin(struct fake_dns *d, uv_loop_t *loop)
{
    struct sockaddr_in sa;
    int n = sizeof sa;
    memset(d, 0, sizeof *d);
    /* The same port for both: take what TCP gives. */
    for (int tries = 0; tries < 20; tries++) {
        uv_tcp_init(loop, &d->tcp);
        uv_udp_init(loop, &d->udp);
        d->tcp.data = d->udp.data = d;
        uv_ip4_addr("127.0.0.1", 0, &sa);
        uv_tcp_bind(&d->tcp, (struct sockaddr *)&sa, 0);
        if (uv_listen((uv_stream_t *)&d->tcp, 8, fake_accept) < 0)
            abort();
        uv_tcp_getsockname(&d->tcp, (struct sockaddr *)&sa, &n);
        if (uv_udp_bind(&d->udp, (struct sockaddr *)&sa, 0) == 0)
            break;
        uv_close((uv_handle_t *)&d->tcp, NULL);
        uv_close((uv_handle_t *)&d->udp, NULL);
        uv_run(loop, UV_RUN_NOWAIT);
    }
    uv_udp_recv_start(&d->udp, fake_alloc, fake_udp);
    (void)snprintf(d->at, sizeof d->at, "127.0.0.1:%u", ntohs(sa.sin_port));
}

static inline void fake_end(struct fake_dns *d)
{
    uv_close((uv_handle_t *)&d->udp, NULL);
    uv_close((uv_handle_t *)&d->tcp, NULL);
}

#endif
