/* proxy/h2/session.h - what both sides of HTTP/2 share: header blocks, sending, and what a peer may
 * cost. */
#ifndef GVM_PROXY_H2_SESSION_H
#define GVM_PROXY_H2_SESSION_H

#include <nghttp2/nghttp2.h>

#include "proxy/h2/h2.h"
#include "proxy/pipeline/px.h"

/* Bytes kept of an answer, or of an agent's body, that the peer has no window for yet. */
#define H2_HIGH (64u * 1024u)
#define H2_LOW  (16u * 1024u)
#define H2_DRAIN                                                                                   \
    (32u << 20) /* bytes of a request that are taken and dropped once it is answered               \
                 */

/* The header block being read; a connection has one at a time (RFC 9113 6.10). Fields follow each
 * other in `mem` as {uint32 name, uint32 value} and their bytes. */
struct h2_block {
    struct gvm_buf mem;
    unsigned n;     /* fields */
    size_t size;    /* RFC 9113 6.5.2: names, values, 32 for each */
    bool too_large; /* fields were dropped */
};

struct h2_session {
    struct px *px;
    nghttp2_session *ng;
    struct stream *stream; /* not ours; NULL when it is gone */
    struct h2_session *next_marked;
    bool marked;
    struct h2_block block;
    int64_t credit, credit_ns;          /* what the peer may still cost us; when that was */
    const char *broken;                 /* why the peer is not served any more, NULL: it is */
    void (*over)(struct h2_session *s); /* it said all and nothing more is to come, or it broke */
};

/* Callbacks that gather header blocks in s->block and charge the peer for its frames; a side adds
 * its own. They all get the session, which is the first member of a side's own struct. NULL: out of
 * memory. */
nghttp2_session_callbacks *h2_callbacks(void) GVM_MUST_CHECK;
int h2_session_init(struct h2_session *s, struct px *px, struct stream *stream, bool server,
                    const nghttp2_session_callbacks *callbacks) GVM_MUST_CHECK;
void h2_session_done(struct h2_session *s);

/* Feeds what was read. The peer's errors are answered with GOAWAY and set s->broken. */
void h2_read(struct h2_session *s, const uint8_t *p, size_t n);
/* It has something to say. */
void h2_mark(struct h2_session *s);
/* Says what the stream has room for. */
void h2_send(struct h2_session *s);

/* Charges the peer for a frame that makes us work and moves nothing. */
void h2_charge(struct h2_session *s, const nghttp2_frame_hd *hd);
void h2_charge_reset(struct h2_session *s);

/* Field by field; *at is 0 at first. */
bool h2_block_next(const struct h2_block *b, size_t *at, struct gvm_header *ret);
/* Appends its fields as lines: trailers. Pseudo-fields are not there (nghttp2 refused them). */
void h2_block_lines(const struct h2_block *b, struct gvm_buf *out);

/* A list of fields to send. Its texts must live until it is submitted. */
struct h2_fields {
    nghttp2_nv nv[GVM_MAX_HEADERS + 16];
    size_t n;
};
void h2_field(struct h2_fields *f, struct gvm_str name, struct gvm_str value);
void h2_field_secret(struct h2_fields *f, struct gvm_str name, struct gvm_str value);

/* Copies up to `cap` bytes from the front of `from` to a frame; *ret_n of them. */
ssize_t h2_take(struct gvm_buf *from, uint8_t *frame, size_t cap);

#endif
