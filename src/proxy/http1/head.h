/* proxy/http1/head.h - heads as they leave us: what was judged, and nothing that belongs to one hop.
 *
 * Pure; everything is appended to `out`, whose `failed` tells when it did not fit. */
#ifndef GVM_PROXY_HTTP1_HEAD_H
#define GVM_PROXY_HTTP1_HEAD_H

#include "core/core.h"
#include "wire/wire.h"

/* The canonical request line and Host, then the agent's fields without those of its hop (RFC 9110 7.6.1)
 * and without X-GVM-*, Proxy-*, Expect. No empty line at the end. */
struct px_http1_line {
    const char *method, *host;
    uint16_t port;
    bool tls, has_query, websocket;
    struct gvm_str path, query;
};
void px_http1_request_head(const struct gvm_http1_head *h, const struct px_http1_line *l,
                           struct gvm_buf *out);

/* A whole response head, with its empty line. `chunked`: the body follows in chunks; `close`: the
 * connection ends after it; `minor`: HTTP/1.x of the agent. */
void px_http1_response_head(const struct gvm_http1_head *h, unsigned minor, bool chunked, bool close,
                            struct gvm_buf *out);

/* Takes every field of that name out of a head made by px_http1_request_head(). */
void px_http1_remove(struct gvm_buf *head, struct gvm_str name);

/* Is `Upgrade: websocket` asked for? */
bool px_http1_websocket(const struct gvm_http1_head *h);

/* One chunk; nothing for an empty span, which would end the body. */
void px_http1_chunk(struct gvm_buf *out, struct gvm_str span);
#define PX_HTTP1_LAST_CHUNK "0\r\n\r\n"

#endif
