/* proxy/h2/front.h - what the two halves of the agent's side share: front.c reads the session,
 * answer.c writes to it. */
#ifndef GVM_PROXY_H2_FRONT_H
#define GVM_PROXY_H2_FRONT_H

#include "proxy/h2/session.h"

struct h2_stream;

struct h2_front {
    struct h2_session s;
    struct px_conn *conn;
    struct h2_stream *streams;
    unsigned nstreams, served; /* now; ever */
    int32_t last_id;           /* highest seen */
    bool ended;                /* the connection is closing */
    bool leaving;              /* the agent was told so */
};

struct h2_stream {
    struct px_request rq;
    struct h2_front *front;
    struct h2_stream *next, **link;
    int32_t id;
    /* the agent's body */
    size_t owed; /* bytes that its window does not have back */
    bool paused;
    /* the answer */
    struct gvm_buf out;      /* body that the agent has no window for yet */
    struct gvm_buf trailers; /* lines */
    bool ended;              /* nothing more comes behind `out` */
    bool waits;              /* nghttp2 asks no more for data until it is told to */
    bool above;              /* `out` had passed H2_HIGH */
    /* answered before its body was whole: the rest is dropped, for a while */
    bool stop, sent;
    size_t dropped;
    bool grpc;
};

extern const struct px_front h2_front;
/* on_frame_send: the end of an answer was sent. */
void h2_answer_sent(struct h2_stream *st);
/* `n` bytes came for a stream that is answered. */
void h2_answer_dropped(struct h2_stream *st, size_t n);

#endif
