/* body/ws.h - one direction of a WebSocket (RFC 6455), with permessage-deflate (RFC 7692) undone
 * for who wants to look. Frames are never changed: what goes on are the bytes that came.
 */
#ifndef GVM_BODY_WS_H
#define GVM_BODY_WS_H

#include <stdbool.h>
#include "core/core.h"

struct gvm_ws_options {
    bool masked;       /* from the client: every frame is masked; from the server none is */
    bool look;         /* whole messages are held until they were looked at */
    size_t max;        /* of one message, as sent and as decoded */
    bool deflate;      /* permessage-deflate was agreed on */
    bool keep_context; /* and each message goes on with the window of the one before */
};

struct gvm_ws;

enum gvm_ws_event {
    GVM_WS_MORE = 0, /* everything was used up */
    GVM_WS_PASS,     /* `bytes` may go on */
    GVM_WS_MESSAGE,  /* a message: `bytes` are its frames, `text` its content */
};

struct gvm_ws_got {
    enum gvm_ws_event event;
    struct gvm_str bytes; /* valid until the next call */
    struct gvm_str text;
    bool binary;
    const char *unseen; /* the content cannot be seen: why; NULL when `text` is it */
};

/* NULL when out of memory. */
struct gvm_ws *gvm_ws_new(const struct gvm_ws_options *o) GVM_MUST_CHECK;
void gvm_ws_free(struct gvm_ws *w);
/* Takes from *in until there is something to do. Call again until MORE. -EINVAL: not a WebSocket
 * (reserved opcodes, a wrong mask, lengths in a longer form than needed, control frames that are
 * long or in parts, a part of nothing); then nothing further may be passed on. -ENOMEM. A message
 * larger than `max` is given as unseen as soon as that shows; if its bytes are passed on, the rest
 * of it comes as PASS. */
int gvm_ws_feed(struct gvm_ws *w, struct gvm_str *in, struct gvm_ws_got *ret,
                struct gvm_err *err) GVM_MUST_CHECK;

/* Data messages begun and bytes of payload so far. */
void gvm_ws_counts(const struct gvm_ws *w, uint64_t *ret_messages, uint64_t *ret_bytes);
/* Is what was passed on a whole number of frames? Only then may a frame be put behind it. */
bool gvm_ws_between_frames(const struct gvm_ws *w);

/* A close frame with a code and a reason of at most 123 bytes. mask NULL: from a server. */
int gvm_ws_close(uint16_t code, struct gvm_str reason, const uint8_t mask[4],
                 struct gvm_buf *out) GVM_MUST_CHECK;

/* Reads the value of a server's Sec-WebSocket-Extensions. 0: *ret_deflate and the two contexts are
 * set; -ENOTSUP: an extension that is not known, so that frames may mean anything. */
int gvm_ws_extensions(struct gvm_str value, bool *ret_deflate, bool *ret_client_context,
                      bool *ret_server_context) GVM_MUST_CHECK;

#endif
