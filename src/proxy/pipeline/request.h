/* proxy/pipeline/request.h - one request of any HTTP version, or one opaque stream, and what
 * happens to it on its way (px.h). */
#ifndef GVM_PROXY_REQUEST_H
#define GVM_PROXY_REQUEST_H

#include <uv.h>
#include "ipc/ipc.h"
#include "proxy/pipeline/identify.h"
#include "proxy/stream/stream.h"
#include "proxy/upstream/upstream.h"
#include "rules/rules.h"

#define PX_ID_MAX (GVM_MAX_RUN_ID + 22) /* "<run>.<n>" and NUL */

struct px;
struct px_run;
struct px_conn;
struct px_policy;

/* m NULL: the link broke or the question could not be asked. Called at most once. */
typedef void px_answer_fn(void *arg, const struct gvm_msg *m);

/* ---- one request, or one opaque stream ---- */

enum px_kind { PX_HTTP = 0, PX_TCP, PX_TLS_OPAQUE };

enum px_state {
    PX_CLOSED = 0,
    PX_SNIFF, /* first bytes of a connection or a tunnel */
    PX_HELLO, /* a ClientHello that is not whole yet */
    PX_SHAKE, /* certificate asked for, handshake */
    PX_HEAD,  /* a request head wanted */
    PX_HELD,  /* judged: waits for the record, a delay, an answer, a connection */
    PX_BODY,  /* request and response flow */
    PX_RELAY, /* bytes both ways */
    PX_H2,    /* HTTP/2: its requests have states of their own */
};

struct px_request;

/* An answer of our own. */
struct px_answer {
    unsigned status;
    const char *decision; /* NULL: none was taken */
    struct gvm_str json;
    struct gvm_str reason; /* the same in words */
    bool close;            /* what the agent sends after this cannot be trusted to be a request */
};

/* How a request talks to its agent. Nothing in here calls back. */
struct px_front {
    void (*go_on)(
        struct px_request *rq); /* the body is wanted: tell an agent that expects to be told */
    void (*pause)(struct px_request *rq); /* no more of the body until resume */
    void (*resume)(struct px_request *rq);
    bool (*full)(
        const struct px_request *rq); /* the agent is behind; px_front_drained() will follow */
    /* An interim (1xx) or the final head; h->body tells what follows a final one. */
    void (*head)(struct px_request *rq, const struct gvm_http1_head *h);
    void (*data)(struct px_request *rq, struct gvm_str span);
    void (*end)(struct px_request *rq, struct gvm_str trailers); /* the answer is whole */
    void (*answer)(struct px_request *rq,
                   const struct px_answer *a); /* instead of head, data and end */
    /* The outcome is recorded: the connection goes on, or ends with what it has to send
     * (rq->close). */
    void (*done)(struct px_request *rq);
    /* Gives the request up, with what its connection cannot do without it. */
    void (*close)(struct px_request *rq, uint64_t linger_ms, const char *error);
    /* Same, so that the agent cannot take what it has for a whole answer. */
    void (*cut)(struct px_request *rq, const char *error);
};

/* How a request talks to its upstream. Nothing in here calls back. */
struct px_back {
    void (*head)(struct px_request *rq); /* rq->head and rq->cred */
    void (*data)(struct px_request *rq, struct gvm_str span);
    void (*end)(struct px_request *rq, struct gvm_str trailers);
    bool (*full)(
        const struct px_request *rq); /* the upstream is behind; px_back_drained() will follow */
    void (*pause)(struct px_request *rq); /* no more of the answer until resume */
    void (*resume)(struct px_request *rq);
    /* The request is over. `whole`: both bodies came to their ends, so the connection may serve
     * again. */
    void (*release)(struct px_request *rq, bool whole, uint64_t linger_ms);
};

struct px_request {
    struct px *px;
    struct px_run *run;
    struct px_conn *conn; /* where it came from; HTTP/1: the one it is part of */
    const struct px_front *front;
    enum px_state state;
    uv_timer_t timer;
    uv_timer_cb due_cb;     /* what the clock is set for, NULL: nothing */
    uint64_t due, fires_at; /* loop time: when that is, and when the timer looks */
    struct px_request *park_next, *unsent_next;
    bool parked, unsent;
    /* what is judged and forwarded */
    struct gvm_buf path, query;
    struct gvm_buf head; /* upstream request head, as HTTP/1 without its empty line */
    struct gvm_buf cred; /* "Name: value\r\n"...: secret, wiped */
    struct gvm_buf
        held; /* the agent's body as far as it came before there was anybody to pass it to */
    struct gvm_buf rin; /* HTTP/1: response head that is not whole yet */
    struct gvm_buf grant_key;
    struct gvm_buf trailers;     /* of the agent, whole lines */
    struct gvm_buf out_trailers; /* HTTP/1: of the upstream */

    /* From here on zeroed by px_request_reset(). */
    bool live; /* decided and recorded; its outcome is owed */
    enum px_kind kind;
    char id[PX_ID_MAX];
    int64_t began_ns;
    struct px_policy *policy;
    struct gvm_verdict verdict;
    enum gvm_decision enforced; /* verdict.decision, or what watch makes of it */
    char method[GVM_MAX_METHOD + 1];
    char host[GVM_MAX_HOST + 1];
    bool is_ip, tls, has_query;
    struct gvm_ip ip;
    uint16_t port;
    unsigned minor; /* of the agent's HTTP/1 */
    bool close, expect_continue, websocket;
    bool te_trailers; /* the agent reads trailers */
    enum gvm_body_kind body;
    struct gvm_http1_body in_body; /* HTTP/1: framing of the agent's body */
    bool in_done;                  /* the agent's body was read to its end */
    bool sent_end;                 /* and its end was passed on */
    bool inspecting;               /* judged again when `held` has more than inspect_max, or all */
    size_t inspect_max;            /* bytes set aside for it */
    struct px_ws *ws;              /* a WebSocket that was opened, NULL: none */
    char ws_key[25];               /* on HTTP/2: the key we gave its server */
    bool ws_eof;                   /* on HTTP/2: the agent will send nothing more */
    char cred_id[65];
    struct upstream_identity *identity; /* of the credential, for servers that ask for one */
    /* upstream */
    struct upstream_ask *ask_up;
    struct px_dial *dial; /* waits for a connection that others wait for too */
    struct px_request *dial_next;
    bool alone; /* the server does not share its connections */
    const struct px_back *back;
    struct stream *up;    /* HTTP/1 and opaque */
    struct h2_call *call; /* HTTP/2 */
    bool up_eof;          /* it will send nothing more */
    bool reused, retried, upgraded;
    struct gvm_ip up_ip;
    uint16_t up_port;
    /* response */
    bool rhead_done;
    bool rchunked; /* HTTP/1: the agent gets chunks */
    bool rclean;   /* HTTP/1: the upstream connection may be used again after this answer */
    unsigned status;
    struct gvm_http1_body out_body; /* HTTP/1: framing of the upstream's body */
    uint64_t bytes_out, bytes_in;
    /* waiting */
    uint64_t waiter; /* px_link_ask id, 0 = none */
    uint64_t ask;    /* approval, 0 = none */
    int64_t asked_ns;
    bool approved;
    const char *no; /* why it was not approved */
};

/* request.c: what every request has, whatever its version. */
/* A zeroed request gets its owners, its buffers and its timer. */
void px_request_init(struct px_request *rq, struct px_conn *c, const struct px_front *front);
/* Empties a buffer, and gives its memory back when it held more than a piece of a body. */
void px_empty(struct gvm_buf *b);
/* Ready for the next request of the same connection. */
void px_request_reset(struct px_request *rq);
/* Stops and cancels all that the request waits for and lets its upstream go; `why` for who is
 * asked. */
void px_request_quit(struct px_request *rq, uint64_t linger_ms, const char *why);
/* Quits and records the outcome owed with `error` (NULL: none). The state is PX_CLOSED afterwards.
 */
void px_request_end(struct px_request *rq, uint64_t linger_ms, const char *error);
/* Frees what it holds, once its timer is closed. */
void px_request_done(struct px_request *rq);
static inline bool px_closed(const struct px_request *rq)
{
    return rq->state == PX_CLOSED;
}
/* One clock per request (and for HTTP/1 its connection); data of the timer: the request. Cheap to
 * set and unset for every step of a request. */
void px_timer(struct px_request *rq, uint64_t ms, uv_timer_cb cb);
void px_no_timer(struct px_request *rq);
static inline bool px_timer_set(const struct px_request *rq)
{
    return rq->due_cb != NULL;
}
/* Takes what is judged and forwarded from the head, once its target is known. 0, or -EINVAL with
 * err set: 400, or 431 with -E2BIG. Views into `h` are not used afterwards. */
int px_request_take(struct px_request *rq, const struct gvm_http1_head *h,
                    const struct px_target *t, struct gvm_err *err) GVM_MUST_CHECK;
/* Upper case into rq->method: what the rules see is what is forwarded. False: too long. */
bool px_request_method(struct px_request *rq, struct gvm_str method);

/* Shows the agent what was added to its request. */
static inline bool px_is_trace(const char *method)
{
    return strcmp(method, "TRACE") == 0 || strcmp(method, "TRACK") == 0;
}
#define PX_NO_TRACE "TRACE shows what was added to a request; it is refused"

/* decide.c */
/* Judges the request, records, acts. Every way of a request or an opaque stream outwards begins
 * here. */
void px_judge(struct px_request *rq);
/* The first tcp rule for a host and port; false when only the default is left. */
bool px_tcp_rule(struct px_conn *c, const char *host, uint16_t port, struct gvm_verdict *ret);
void px_go(struct px_request *rq); /* allowed and recorded: forward */
void px_unpark(struct px *px);
/* It is closing: it is not judged any more. */
void px_unpark_one(struct px_request *rq);

/* inspect.c: rules that look at bodies. */
/* The request's header fields as they will be forwarded. */
struct gvm_str px_fields(const struct px_request *rq);
/* Judges once more with the body, when it is here as far as it is looked at; else leaves *v, which
 * still needs it. */
void px_inspect(struct px_request *rq, const struct gvm_facts *f, struct gvm_verdict *v);
/* Reads on until there is enough of it, then px_judge(). */
void px_inspect_wait(struct px_request *rq);
/* More of the body is in rq->held, or it came to its end. */
void px_inspect_more(struct px_request *rq);
void px_inspect_done(struct px_request *rq); /* gives the room back */

/* ws.c: a WebSocket after its handshake; rq->ws is there from px_ws_start() on. */
struct px_ws_counts {
    uint64_t sent, sent_bytes, received, received_bytes;
};
/* False: out of memory. `extensions`: what the server agreed to. */
bool px_ws_start(struct px_request *rq, struct gvm_str extensions) GVM_MUST_CHECK;
/* A handshake that came by extended CONNECT (RFC 8441) goes on as one of HTTP/1.1, with a key of
 * ours; did the server's 101 answer that key (RFC 6455 4.1)? */
int px_ws_key(struct px_request *rq) GVM_MUST_CHECK;
bool px_ws_accepted(const struct px_request *rq, const struct gvm_http1_head *h);
void px_ws_data(struct px_request *rq, bool from_agent, const uint8_t *p, size_t n);
void px_ws_free(struct px_request *rq);
bool px_ws_counts(const struct px_request *rq, struct px_ws_counts *ret);

/* limit.c */
/* Counts a request against the limit of its rule, and replaces a verdict that is over it. */
void px_limit(struct px_request *rq);
/* The bytes that the request sent. */
void px_limit_bytes(struct px_request *rq);

/* approval.c */
void px_ask(struct px_request *rq);
int px_on_answer(struct px *px, const struct gvm_msg *m);
void px_asks_lost(struct px *px);
/* The request is going away while it waits for a person. */
void px_ask_gone(struct px_request *rq, const char *why);

/* cred.c */
/* Fills rq->cred and rq->cred_id, then px_connect(); or refuses. */
void px_credential(struct px_request *rq);

/* flow.c: an allowed request on its way, and its answer on the way back. */
void px_connect(struct px_request *rq);
void px_connect_failed(struct px_request *rq, const struct gvm_err *err);
void px_upstream_want(const struct px_request *rq, struct upstream_want *ret);
/* From the front, in any state: more of the agent's body; its end. */
void px_body(struct px_request *rq, struct gvm_str span);
void px_body_end(struct px_request *rq); /* rq->trailers are there */
/* The agent's body is not what it was said to be. */
void px_body_bad(struct px_request *rq, const char *why);
void px_front_drained(struct px_request *rq);
/* From the back. Interim heads may come before the final one; 101 never does. */
void px_reply_head(struct px_request *rq, const struct gvm_http1_head *h);
void px_reply_data(struct px_request *rq, struct gvm_str span);
void px_reply_end(struct px_request *rq, struct gvm_str trailers);
/* The upstream ended before its answer was whole. `untouched`: it said that it did nothing. */
void px_reply_cut(struct px_request *rq, bool untouched, const char *why);
void px_back_drained(struct px_request *rq);

/* dial.c */
/* True: another request makes a connection for `key`, and px_connect() is called again when it is
 * known what it is; else this one makes it, and tells. */
bool px_dial_wait(struct px_request *rq, struct gvm_str key);
/* The connection of `rq` is decided: who waits for it is the caller's, to be told with
 * px_dial_over(). NULL: `rq` made it for itself. */
struct px_dial *px_dial_take(struct px_request *rq) GVM_MUST_CHECK;
/* `shared`: others may join the connection; err: there is none. Frees. */
void px_dial_over(struct px_dial *d, bool shared, const struct gvm_err *err);
void px_dial_forget(struct px_request *rq);

/* relay.c: HTTP/1 connections only. */
void px_relay_open(struct px_request *rq);
/* Both streams are open and their heads exchanged: bytes from now on. */
void px_relay_start(struct px_request *rq, struct gvm_str from_upstream);
void px_relay_data(struct px_conn *c, const uint8_t *p, size_t n);
void px_relay_agent_eof(struct px_conn *c);
/* The same for a stream of HTTP/2. */
void px_relay_span(struct px_request *rq, struct gvm_str span);
void px_relay_stream_eof(struct px_request *rq);
/* Either side, whatever carries the agent's: writes and holds the other side back when it is slow;
 * ends both. */
void px_relay_to_agent(struct px_request *rq, struct gvm_str span);
void px_relay_to_upstream(struct px_request *rq, struct gvm_str span);
void px_relay_close(struct px_request *rq, const char *error);

/* deny.c */
/* A refusal before anything was decided: http.refused, an answer, the connection closes. */
void px_refuse(struct px_request *rq, unsigned status, const char *why, const char *reason);
/* Same for an address that may not be reached: why "address" and its class. */
void px_refuse_address(struct px_request *rq, const char *reason);
/* The decision was Deny (or became it): 403, or the opaque stream is cut. */
void px_deny(struct px_request *rq, const char *reason);
/* Something on our side or upstream failed: status and reason as JSON, outcome recorded. */
void px_fail(struct px_request *rq, unsigned status, const char *reason);

/* record.c: the entry is built in px->line. */
void px_record_decision(struct px_request *rq);
/* A message that was denied, or let through for the record. */
void px_record_ws(struct px_request *rq, const char *direction, const struct gvm_verdict *v);
void px_record_outcome(struct px_request *rq, const char *error);
void px_record_refused(struct px_request *rq, unsigned status, const char *why, const char *reason,
                       struct gvm_str raw);
void px_record_approval(struct px_request *rq, bool allow, const char *who, const char *how,
                        const char *scope, const char *why);
void px_record_credential(struct px_request *rq, const char *type);
/* Sends px->line and asks to be told when it is durable. */
int px_append(struct px *px, px_answer_fn *cb, void *arg, uint64_t *ret_waiter) GVM_MUST_CHECK;
/* Sends px->line, a decision that is acted on without waiting: it leaves before anything that was
 * written to a stream since. */
int px_append_decision(struct px_request *rq) GVM_MUST_CHECK;
/* Sends px->line where a loss changes nothing that is still to be decided. */
void px_append_quiet(struct px *px);
/* batch.c: entries that are not waited for travel together. */
int px_batch_start(struct px *px) GVM_MUST_CHECK;
int px_batch_add(struct px *px, struct gvm_str line) GVM_MUST_CHECK;
void px_batch_hold(struct px_request *rq); /* its decision is in the batch */
void px_batch_forget(struct px_request *rq);
int px_batch_flush(struct px *px) GVM_MUST_CHECK;
/* Was this APPENDED a yes? */
bool px_appended(const struct gvm_msg *m);
/* Records the outcome owed, once. */
void px_outcome(struct px_request *rq, const char *error);

#endif
