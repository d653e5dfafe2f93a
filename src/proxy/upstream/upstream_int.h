/* proxy/upstream/upstream_int.h - what the files of this folder share. */
#ifndef GVM_PROXY_UPSTREAM_INT_H
#define GVM_PROXY_UPSTREAM_INT_H

#include "proxy/stream/defer.h"
#include "proxy/upstream/dns_answer.h"
#include "proxy/upstream/upstream.h"

#define POOL_PER_KEY 128u
#define POOL_TOTAL   512u
#define DIAL_MAX     4u /* addresses tried for one request */

struct endpoint {
    struct gvm_ip ip;
    uint16_t port;
};

/* address.c - "ip", "ip:port", "[ip6]:port"; port `dflt` when none. */
int endpoint_parse(const char *text, uint16_t dflt, struct endpoint *ret,
                   struct gvm_err *err) GVM_MUST_CHECK;
/* May this address be dialled for `host`? -EACCES with the class in the text. */
int address_check(const char *host, const struct endpoint *to, bool private_ok, bool pinned,
                  const struct endpoint *refuse, unsigned nrefuse,
                  struct gvm_err *err) GVM_MUST_CHECK;

/* resolve.c */
struct resolver;
struct lookup;
typedef void lookup_cb(void *arg, const struct gvm_ip *addrs, unsigned n,
                       const struct gvm_err *err);
int resolver_new(const struct upstream_setup *setup, struct resolver **ret,
                 struct gvm_err *err) GVM_MUST_CHECK;
void resolver_free(struct resolver *r); /* no lookup may be under way */
/* Replaces servers and hosts and forgets what was learned. On failure nothing changes. */
int resolver_set(struct resolver *r, const char *const *servers, unsigned n, struct gvm_str hosts,
                 struct gvm_err *err) GVM_MUST_CHECK;
/* cb once, never inside this call: addresses (at least one), or err: ENOENT no such name or no
 * address, ETIMEDOUT no answer, EAGAIN the resolvers cannot tell. */
int resolver_lookup(struct resolver *r, const char *host, lookup_cb *cb, void *arg,
                    struct lookup **ret, struct gvm_err *err) GVM_MUST_CHECK;
void lookup_cancel(struct lookup *l); /* no callback afterwards */

/* exchange.c - one try of one question at one resolver. done(arg, answer, err) once, never inside
 * the call that begins it; answer NULL on error. */
struct exchange;
typedef void exchange_cb(void *arg, const struct dns_answer *a, const struct gvm_err *err);
struct exchange_want {
    uv_loop_t *loop;
    struct endpoint server;
    const char *name; /* must outlive the exchange */
    uint16_t qtype;
    bool edns;
    uint64_t timeout_ms;
};
int exchange_begin(const struct exchange_want *want, exchange_cb *done, void *arg,
                   struct exchange **ret, struct gvm_err *err) GVM_MUST_CHECK;
void exchange_cancel(struct exchange *x);

/* dial.c - races checked addresses. done(arg, s, to, err) once, never inside the call that begins
 * it: a paused stream without events and the address it leads to; or s NULL, err, and the address
 * that failed last. `n` of `to` (at most DIAL_MAX) are copied; `ms` is for all of them together. */
struct dial;
typedef void dial_cb(void *arg, struct stream *s, const struct endpoint *to,
                     const struct gvm_err *err);
int dial_begin(uv_loop_t *loop, const struct endpoint *to, unsigned n, uint64_t ms, dial_cb *done,
               void *arg, struct dial **ret, struct gvm_err *err) GVM_MUST_CHECK;
void dial_cancel(struct dial *d); /* no callback afterwards */

/* tunnel.c - CONNECT over a connected, paused stream to a proxy (RFC 9110, section 9.3.6).
 * done(arg, err) once, never inside the call that begins it; err NULL: the stream, paused again and
 * without events, leads to host:port. On error the stream is gone. */
struct tunnel;
int tunnel_begin(struct stream *s, const char *host, uint16_t port, uint64_t ms,
                 void (*done)(void *arg, const struct gvm_err *err), void *arg, struct tunnel **ret,
                 struct gvm_err *err) GVM_MUST_CHECK;
void tunnel_cancel(struct tunnel *t); /* no callback afterwards; closes the stream */

/* trust.c */
struct trust;
int trust_new(struct gvm_str system_pem, struct trust **ret, struct gvm_err *err) GVM_MUST_CHECK;
void trust_free(struct trust *t);
/* The client context for system trust plus `extra_pem`; one reference for the caller. */
int trust_ctx(struct trust *t, struct gvm_str extra_pem, SSL_CTX **ret,
              struct gvm_err *err) GVM_MUST_CHECK;
/* A client SSL that accepts only a certificate for `host` (name or IP text) and offers `alpn`; with
 * an identity it shows that when asked, and resumes no session. */
int trust_ssl(SSL_CTX *ctx, const char *host, uint16_t port, struct gvm_str alpn,
              const struct upstream_identity *id, SSL **ret, struct gvm_err *err) GVM_MUST_CHECK;

/* identity.c */
int identity_use(const struct upstream_identity *id, SSL *ssl, struct gvm_err *err) GVM_MUST_CHECK;

/* pool.c */
struct pool;
struct pool *pool_new(void) GVM_MUST_CHECK;
void pool_free(struct pool *p); /* closes what is in it */
void pool_put(struct pool *p, const struct upstream_want *want, struct stream *s);
bool pool_take(struct pool *p, const struct upstream_want *want, struct upstream_got *ret);
void pool_forget_run(struct pool *p, const char *run);

#endif
