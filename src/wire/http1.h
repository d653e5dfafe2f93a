/* wire/http1.h - a strict HTTP/1.x head parser and body framing (RFC 9112).
 *
 * Refused, with a reason: bare CR or LF, NUL and controls, obs-fold, space before the colon, bad
 * tokens, two Content-Length, Content-Length with Transfer-Encoding, any Transfer-Encoding but a
 * single final "chunked", HTTP/1.0 with Transfer-Encoding, versions other than 1.0/1.1, missing or
 * doubled Host (requests), Host that is not a valid authority, more than GVM_MAX_HEADERS fields, an
 * Expect other than "100-continue", a Connection that names Host or a framing field (requests),
 * CONNECT with a body, a target of the wrong form for its method ("*" but for OPTIONS, a path for
 * CONNECT, neither path nor "scheme://...").
 * Taken: one empty line before a request, a status line without reason and the space before it.
 */
#ifndef GVM_WIRE_HTTP1_H
#define GVM_WIRE_HTTP1_H

#include "core/core.h"

struct gvm_header {
    struct gvm_str name;  /* as written */
    struct gvm_str value; /* OWS trimmed */
};

enum gvm_body_kind {
    GVM_BODY_NONE = 0, /* no body */
    GVM_BODY_LENGTH,   /* content_length bytes */
    GVM_BODY_CHUNKED,
    GVM_BODY_CLOSE, /* responses only: until the connection ends */
};

struct gvm_http1_head {
    bool response;
    uint8_t minor;         /* 0 or 1 */
    struct gvm_str method; /* requests */
    struct gvm_str target;
    uint16_t status; /* responses */
    struct gvm_str reason;
    struct gvm_header headers[GVM_MAX_HEADERS];
    unsigned nheaders;
    enum gvm_body_kind body; /* for responses: the method and status are taken into account */
    uint64_t content_length; /* as announced, else 0; also when there is no body (HEAD) */
    bool keep_alive;         /* version and Connection taken together */
    bool expect_continue;
    bool upgrade;        /* Connection: upgrade with an Upgrade field, HTTP/1.1, no body */
    struct gvm_str host; /* value of Host, requests; empty when absent (1.0) */
    size_t length;       /* bytes of the head, with the empty line */
};

/* Looks for a whole head at the start of `in`. 1 = *ret filled (views into `in`); 0 = more bytes
 * wanted; -EINVAL refused (reason in err), also as soon as the bytes so far cannot become a head;
 * -E2BIG longer than GVM_MAX_HEAD or the target longer than GVM_MAX_TARGET. *ret is scratch
 * unless 1. */
int gvm_http1_request(struct gvm_str in, struct gvm_http1_head *ret,
                      struct gvm_err *err) GVM_MUST_CHECK;
/* `method` of the request answered: HEAD has no body, CONNECT 2xx none, 1xx/204/304 none.
 * keep_alive is false when the body ends with the connection, and when a status without body
 * announced one. */
int gvm_http1_response(struct gvm_str in, struct gvm_str method, struct gvm_http1_head *ret,
                       struct gvm_err *err) GVM_MUST_CHECK;
/* First field of that name (case-insensitive) or NULL. */
const struct gvm_header *gvm_http1_find(const struct gvm_http1_head *h, const char *name);

/* Body framing. Feed bytes; get spans of payload back. */
struct gvm_http1_body {
    enum gvm_body_kind kind;
    uint64_t left; /* of the length, or of the current chunk; private in trailers */
    unsigned state;
    uint32_t line; /* bytes of the current chunk-size line, or of all trailers */
    bool done;
    /* Set after init by who wants them: the trailer fields, whole lines as they came, checked for
     * form only. What does not fit sets its `failed`. */
    struct gvm_buf *trailers;
};
void gvm_http1_body_init(struct gvm_http1_body *b, enum gvm_body_kind kind, uint64_t length);
/* Consumes from *in. On return *ret_payload is the next span of payload inside the consumed bytes
 * (may be empty). 1 = body complete (rest of *in belongs to the next message), 0 = call again with
 * the rest or more bytes, -EINVAL bad framing (then always). Chunk extensions are dropped, trailers
 * checked and skipped (bounded), or kept when b->trailers is set. GVM_BODY_CLOSE never returns 1:
 * the connection's end is its end.
 */
int gvm_http1_body_feed(struct gvm_http1_body *b, struct gvm_str *in, struct gvm_str *ret_payload,
                        struct gvm_err *err) GVM_MUST_CHECK;

#endif
