/* proxy/upstream - a verified, pooled connection to where a request may go.
 *
 * resolve once (pins, hosts, DNS over UDP/TCP to the system's resolvers) -> refuse address classes
 * -> dial the address that was checked -> TLS with the name verified -> pool by (run, host, port,
 * tls, credential, private_ok, policy hash).
 *
 * Anything but a public address is refused. A rule's private_ok lifts loopback, private and
 * link-local; an explicit pin lifts reserved ranges too. Metadata services, multicast, the
 * unspecified address and GVM's own sockets are never dialled.
 *
 * Owns:       the pool and everything in it; a stream handed out belongs to the caller until given
 * back. On failure: the callback gets an err with one of the codes below; nothing was sent. EACCES
 * the address class is refused, ENOENT no such name, ETIMEDOUT, ECONNREFUSED..., EPROTO TLS or
 *   certificate (text says which).
 */
#ifndef GVM_PROXY_UPSTREAM_H
#define GVM_PROXY_UPSTREAM_H

#include "conf/conf.h"
#include "proxy/stream/stream.h"

struct upstreams;    /* one per process */
struct upstream_ask; /* one request for a connection, cancellable */

struct upstream_setup {
    uv_loop_t *loop;
    const char *const *resolvers; /* "ip" (port 53), "ip:port" or "[ip6]:port" */
    unsigned nresolvers;
    struct gvm_str hosts;      /* text of /etc/hosts */
    struct gvm_str ca_pem;     /* system trust, PEM bundle; parsed once */
    const char *const *refuse; /* "ip:port": our own sockets, never dialled; 0.0.0.0 or [::] = every
                                  address of this machine */
    unsigned nrefuse;
};
int upstreams_new(const struct upstream_setup *setup, struct upstreams **ret,
                  struct gvm_err *err) GVM_MUST_CHECK;
void upstreams_free(struct upstreams *u);
/* Other resolvers and hosts from now on; lookups under way go on with them. On failure the old
 * stay. */
int upstreams_names(struct upstreams *u, const char *const *resolvers, unsigned n,
                    struct gvm_str hosts, struct gvm_err *err) GVM_MUST_CHECK;

/* What may be spoken on a connection. TLS: what is offered by ALPN (RFC 7301). */
enum upstream_http {
    UPSTREAM_HTTP1 = 0, /* HTTP/1.1; HTTP/2 only when the server has nothing else */
    UPSTREAM_HTTP2, /* HTTP/2 if it likes, else HTTP/1.1; without TLS: HTTP/2 by prior knowledge */
    UPSTREAM_ANY,   /* no HTTP, or an upgrade: HTTP/1.1 and nothing else */
};

/* A certificate, what stands behind it, and its private key, for servers that ask for one. Counted;
 * the key is wiped with the last reference. `pem` holds all of them in any order, the certificate
 * itself first; it is not kept. EINVAL: it cannot be read. */
struct upstream_identity;
int upstream_identity_new(struct gvm_str pem, struct upstream_identity **ret,
                          struct gvm_err *err) GVM_MUST_CHECK;
struct upstream_identity *upstream_identity_ref(struct upstream_identity *id);
void upstream_identity_unref(struct upstream_identity *id);

struct upstream_want {
    const char *run;  /* pool key part */
    const char *host; /* canonical name or IP text */
    uint16_t port;
    bool tls;
    bool private_ok;        /* the rule said so */
    const char *credential; /* digest text of the injected credential, "" = none; pool key part */
    struct upstream_identity *identity; /* of that credential, NULL: none */
    const struct gvm_conf *conf;        /* pins, ca_pem, timeouts of the run's policy */
    bool fresh;                         /* do not take from the pool */
    enum upstream_http http;
};
struct upstream_got {
    struct stream *stream; /* paused, no events set */
    bool reused;           /* came from the pool: may be stale */
    bool http2;            /* agreed with the server, or known before */
    struct gvm_ip ip;      /* the address that was dialled */
    uint16_t port;
};
/* cb(arg, got, err) exactly once, never inside this call; got NULL on error. Strings are copied. */
int upstream_get(struct upstreams *u, const struct upstream_want *want,
                 void (*cb)(void *arg, const struct upstream_got *got, const struct gvm_err *err),
                 void *arg, struct upstream_ask **ret, struct gvm_err *err) GVM_MUST_CHECK;
/* An idle connection at once, or false: then ask with upstream_get(). */
bool upstream_take(struct upstreams *u, const struct upstream_want *want, struct upstream_got *ret);
/* All that makes two connections different to a server or to a policy, as text: `dst` of
 * UPSTREAM_KEY_MAX bytes. Begins with the run's id and '\n'. Empty when it does not fit: not
 * shared. */
#define UPSTREAM_KEY_MAX 1024u
struct gvm_str upstream_key(const struct upstream_want *want, char *dst);
void upstream_cancel(struct upstream_ask *ask); /* no callback afterwards */
/* Puts an idle, clean connection back; it is closed when it says anything or is unused for too
 * long, and at once when it has lived for as long as it may ([timeouts] of want->conf). */
void upstream_put(struct upstreams *u, const struct upstream_want *want, struct stream *s);
/* Drops everything pooled for a run. */
void upstreams_forget_run(struct upstreams *u, const char *run);

#endif
