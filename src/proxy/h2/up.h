/* proxy/h2/up.h - what the two halves of the upstream's side share: up.c keeps the connections,
 * back.c sends requests on them and reads the answers. */
#ifndef GVM_PROXY_H2_UP_H
#define GVM_PROXY_H2_UP_H

#include "proxy/h2/session.h"

struct h2_call;

struct h2_up {
    struct h2_session s;
    struct h2_up *next, **link; /* of the process, newest first */
    struct h2_call *calls;
    unsigned ncalls;
    struct gvm_ip ip;
    uint16_t port;
    uint32_t idle_ms, life_ms;
    bool closing; /* takes no more */
    size_t key_len;
    char key[];
};

/* One request on it, from submission until nghttp2 has closed its stream. */
struct h2_call {
    struct h2_up *up;
    struct px_request *rq; /* NULL: over, only what is left of the body still goes out */
    struct h2_call *next, **link;
    int32_t id;
    struct gvm_buf out; /* body that the server has no window for yet */
    struct gvm_buf trailers;
    bool ended, waits, above; /* as in struct h2_stream */
    bool paused;              /* the answer is not wanted now */
    size_t owed;              /* bytes of it that the window does not have back */
};

extern const struct px_back h2_back;
const nghttp2_session_callbacks *h2_up_callbacks(void); /* NULL: out of memory */

void h2_call_free(struct h2_call *call);
/* It takes no more requests. */
void h2_up_unlist(struct h2_up *up);
/* Without requests it is kept for a while only. */
void h2_up_rest(struct h2_up *up);

#endif
