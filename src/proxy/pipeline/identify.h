/* proxy/pipeline/identify.h - what a connection is for, and what its first bytes are. Pure. */
#ifndef GVM_PROXY_IDENTIFY_H
#define GVM_PROXY_IDENTIFY_H

#include "core/core.h"
#include "dns/dns.h"
#include "wire/wire.h"

/* ---- who a connection is for (identify.c) ---- */

enum px_dest_kind {
    PX_DEST_ANY = 0, /* made to our own address: the request names its host */
    PX_DEST_NAME,    /* a synthetic address, or CONNECT with a name */
    PX_DEST_IP,      /* an address the agent knew by itself */
    PX_DEST_UNKNOWN, /* a synthetic address that stands for no name */
};

struct px_dest {
    enum px_dest_kind kind;
    char host[GVM_MAX_HOST + 1]; /* canonical name or address text */
    struct gvm_ip ip;            /* PX_DEST_IP */
    uint16_t port;
};

/* What a request is for, once everything that names a host agrees. */
struct px_target {
    char host[GVM_MAX_HOST + 1];
    bool is_ip;
    struct gvm_ip ip;
    uint16_t port;
    bool tls;
    struct gvm_str origin; /* origin-form target, view into the head */
};

struct px_refusal {
    unsigned status;
    const char *why; /* short, for the record: "malformed", "host mismatch"... */
};

/* Brings together the address, the server name, Host and an absolute target. `sni` is canonical, ""
 * when there was none. 0, or -EINVAL with *ret_refusal and err set. Pure. */
int px_identify(const struct px_dest *dest, bool tls, const char *sni,
                const struct gvm_http1_head *h, struct px_target *ret,
                struct px_refusal *ret_refusal, struct gvm_err *err) GVM_MUST_CHECK;
/* The same for HTTP/2, where ":authority" stands for the absolute target. Absent ones are empty. */
struct px_names {
    struct gvm_str scheme, authority, host, path;
};
int px_identify_names(const struct px_dest *dest, bool tls, const char *sni,
                      const struct px_names *n, struct px_target *ret,
                      struct px_refusal *ret_refusal, struct gvm_err *err) GVM_MUST_CHECK;
/* CONNECT's authority: host and port, nothing else. -EXDEV when Host names another. */
int px_identify_connect(const struct gvm_http1_head *h, struct px_dest *ret,
                        struct gvm_err *err) GVM_MUST_CHECK;
/* The address of a connection to what it stands for in this run. */
void px_dest_of(const struct gvm_dns_names *names, const struct gvm_ip *ip, uint16_t port,
                struct px_dest *ret);

/* ---- first bytes (sniff.c) ---- */

enum px_proto { PX_PROTO_MORE = 0, PX_PROTO_TLS, PX_PROTO_HTTP1, PX_PROTO_H2, PX_PROTO_OPAQUE };
/* What the first bytes are; MORE when they may still become HTTP. Pure. */
enum px_proto px_classify(struct gvm_str in);

#endif
