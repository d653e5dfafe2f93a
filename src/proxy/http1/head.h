/* proxy/http1/head.h - heads as they leave us: what was judged, and nothing that belongs to one
 * hop.
 *
 * Pure; everything is appended to `out`, whose `failed` tells when it did not fit. */
#ifndef GVM_PROXY_HTTP1_HEAD_H
#define GVM_PROXY_HTTP1_HEAD_H

#include "core/core.h"
#include "wire/wire.h"

/* The canonical request line and Host, then the agent's fields without those of its hop (RFC
 * 9110 7.6.1) and without X-GVM-*, Proxy-*, Expect. No empty line at the end. */
struct px_http1_line {
    const char *method, *host;
    uint16_t port;
    bool tls, has_query, websocket;
    struct gvm_str path, query;
};
void px_http1_request_head(const struct gvm_http1_head *h, const struct px_http1_line *l,
                           struct gvm_buf *out);

/* A whole response head, with its empty line. */
struct px_http1_status {
    unsigned minor; /* HTTP/1.x of the agent */
    bool chunked;   /* the body follows in chunks */
    bool close;     /* the connection ends after it */
    bool to_head;   /* it answers a HEAD request */
};
void px_http1_response_head(const struct gvm_http1_head *h, const struct px_http1_status *l,
                            struct gvm_buf *out);

/* Does the head name fields of its hop in Connection? */
bool px_http1_nominates(const struct gvm_http1_head *h);
/* Does this field of a response head go on to the agent? `nominates`: px_http1_nominates(). */
bool px_http1_stays(const struct gvm_http1_head *h, const struct gvm_header *f, bool nominates);

/* Takes every field of that name out of a head made by px_http1_request_head(). */
void px_http1_remove(struct gvm_buf *head, struct gvm_str name);

/* Is `Upgrade: websocket` asked for? */
bool px_http1_websocket(const struct gvm_http1_head *h);

/* One chunk; nothing for an empty span, which would end the body. */
void px_http1_chunk(struct gvm_buf *out, struct gvm_str span);
/* The end of a chunked body, with those of the trailers that may follow one. */
void px_http1_last_chunk(struct gvm_buf *out, struct gvm_str trailers);

/* Takes the next "Name: value" line off *lines. False at the end. */
bool px_field_next(struct gvm_str *lines, struct gvm_header *ret);
/* May a field of this name be passed on behind a body? Not those of one hop, of framing, of routing
 * or of authority (RFC 9110 6.5.1), nor ours. */
bool px_trailer_ok(struct gvm_str name);
/* Does a head's field of this name end here? Fields of one hop, and ours. */
bool px_field_is_hop(struct gvm_str name);

#endif
