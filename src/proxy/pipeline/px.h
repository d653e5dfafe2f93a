/* proxy/pipeline/px.h - what the files of the data path share.
 *
 * One process (struct px) has links to its siblings, policies and runs. A run owns its listeners,
 * its synthetic names, its certificates and its agent connections. A request (struct px_request) is
 * one exchange of any HTTP version, or one opaque stream, and every one of them goes through
 *
 *   identify (identify.c) -> canonicalise (wire/url.h) -> decide, record, act (decide.c)
 *
 * and, once it is allowed, through flow.c, which knows no version either:
 *
 *   agent <-> struct px_front <-> flow.c <-> struct px_back <-> upstream
 *
 * A front speaks one version with the agent: it turns what the agent sends into a head, spans of
 * body and trailers, and writes answers. A back does the same towards the upstream. Heads travel as
 * struct gvm_http1_head, whatever the version on the wire; the request head that was judged is kept
 * as text (rq->head) and is what a back sends; trailers are text, whole field lines.
 *
 * Everything is single-threaded. A request or connection that was closed stays valid memory until
 * the loop has run its close callbacks, so that code on the stack may finish; it asks px_closed()
 * after a call that can end it.
 */
#ifndef GVM_PROXY_PX_H
#define GVM_PROXY_PX_H

#include <openssl/ssl.h>
#include <uv.h>
#include "conf/conf.h"
#include "core/core.h"
#include "dns/dns.h"
#include "ipc/ipc.h"
#include "ledger/ledger.h"
#include "proxy/h2/h2.h"
#include "proxy/stream/stream.h"
#include "proxy/upstream/upstream.h"
#include "rules/rules.h"
#include "wire/wire.h"

#define PX_ID_MAX          (GVM_MAX_RUN_ID + 22) /* "<run>.<n>" and NUL */
#define PX_LEAVES          10000u                /* certificates kept per run */
#define PX_PIPELINED       (64u * 1024u)         /* bytes read ahead of the request being served */
#define PX_IN_MAX          (1024u * 1024u) /* hard bound of what one connection may have unread */
#define PX_SILENCE_MS      300u /* no first byte for so long: the server is to speak first */
#define PX_LINGER_MS       3000u /* for the last bytes of an answer to leave; what comes is dropped */
#define PX_EXCERPT_WAIT_MS 300u /* for body bytes to show to a person */
#define PX_EXCERPT         1024u
#define PX_INSPECT_TOTAL                                                                           \
    (256u << 20)         /* bytes of bodies that are read before they are judged, in all */
#define PX_LIMITS 10000u /* rules of one run whose use is counted */
#define PX_GRANTS 1000u  /* live grants of one run */

struct px;
struct px_run;
struct px_conn;
struct px_leaf_ask;

/* ---- links to our siblings (link.c) ---- */

/* m NULL: the link broke or the question could not be asked. Called at most once. */
typedef void px_answer_fn(void *arg, const struct gvm_msg *m);

struct px_waiter {
    px_answer_fn *cb; /* NULL: free */
    void *arg;
    uint32_t gen, next_free;
    enum gvm_role role;
};

struct px_link {
    struct px *px;
    struct gvm_chan *chan;
    enum gvm_role role;
    int events; /* what is polled for */
    uv_poll_t poll;
};

/* ---- policies (policy.c) ---- */

struct px_policy {
    unsigned refs;
    uint32_t id;
    struct gvm_conf *conf;
    struct gvm_ruleset *rules;
    struct gvm_map *no_cred; /* host -> when it was learned that keys has nothing for it */
};

/* ---- certificates (leaf.c) ---- */

struct px_leaf {
    struct px_leaf *newer, *older;
    char host[GVM_MAX_HOST + 1];
    X509 *cert;
    EVP_PKEY *key;
};

/* ---- runs (run.c) ---- */

enum px_listener_kind { PX_TCP4, PX_TCP6, PX_DNS4, PX_DNS6, PX_DNSTCP4, PX_DNSTCP6, PX_LISTENERS };

struct px_listener {
    struct px_run *run;
    enum px_listener_kind kind;
    struct gvm_ip ip; /* bound to */
    uint16_t port;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_udp_t udp;
    } uv;
};

/* "Yes" that holds for more than one request. */
struct px_grant {
    struct px_grant *next;
    int64_t until_ns; /* 0: for the run */
    size_t n;
    char key[];
};

struct px_run {
    struct px *px;
    unsigned refs; /* the table, each listener, each connection */
    char id[GVM_MAX_RUN_ID + 1];
    char agent[GVM_MAX_AGENT + 1];
    uint32_t policy_id;
    bool watch, ending;
    bool has_default;
    struct gvm_conf_decision dflt; /* when has_default; reason empty */
    char **no_intercept;
    unsigned n_no_intercept;
    struct px_listener *listeners[PX_LISTENERS];
    struct gvm_dns_names *names;
    struct px_conn *conns;
    struct px_dns_conn *dns_conns;
    unsigned nconns, ndns, nstreams;
    SSL_CTX *tls;
    struct gvm_map *leaves, *leaf_asks;
    struct px_leaf *newest, *oldest;
    struct px_grant *grants;
    unsigned ngrants;
    struct gvm_map *limits; /* rule name -> struct gvm_limit_count */
    struct gvm_bill *bill;  /* what all its buffers hold */
    uint8_t salt[16];
    uint64_t next_id;
    int64_t crowded_ns; /* when too many connections were last recorded */
    uint64_t connections, dns_connections, requests, denied, bytes_out, bytes_in;
    uint64_t queries, fresh_names, queries_refused; /* DNS */
    uint64_t end_id;                                /* RUN_END waiting for its answer */
};

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
    char cred_id[65];
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

/* ---- agent connections (conn.c) ---- */

struct px_conn {
    struct px_conn *next, **link; /* of the run */
    struct px *px;
    struct px_run *run;
    struct stream *agent;
    struct px_dest dest;
    bool tunnel; /* inside CONNECT */
    bool tls;    /* intercepted */
    bool agent_eof, agent_paused, first_head;
    char sni[GVM_MAX_HOST + 1];
    struct gvm_buf in;            /* bytes read and not yet used */
    struct px_leaf_ask *leaf_ask; /* certificate waited for */
    struct px_conn *leaf_next;
    struct h2_front *h2; /* when it speaks HTTP/2 */
    struct px_request
        rq; /* of HTTP/1, or the opaque stream; its state and timer are the connection's */
};

struct px {
    uv_loop_t loop;
    struct px_link *links[GVM_ROLE_MAX];
    bool log_open; /* the ledger's own word */
    struct px_waiter *waiters;
    uint32_t nwaiters, free_waiter;
    struct upstreams *upstreams;
    struct gvm_map *policies, *runs;
    struct px_policy *recent; /* of policies, asked for last */
    struct gvm_map *asks;     /* ask number -> request */
    uint64_t next_ask;
    struct px_request *parked, **parked_tail;
    struct gvm_buf line, scratch;
    struct gvm_buf batch; /* entries nobody waits for, until the loop's turn ends */
    struct gvm_map *ups;  /* upstream key -> the HTTP/2 connection that takes more requests */
    struct h2_up *all_ups;
    unsigned nups;
    unsigned nstreams;         /* HTTP/2, of all runs */
    struct gvm_map *dials;     /* upstream key -> struct px_dial */
    struct h2_session *marked; /* have something to say when the turn ends */
    struct px_request *unsent; /* whose decision is among them */
    uv_prepare_t turn;
    uv_timer_t batch_timer;
    struct gvm_http1_head head;
    size_t inspected;      /* bytes set aside for bodies that are judged */
    struct gvm_bill *bill; /* what the buffers of all runs hold */
    bool stopping;
};

/* link.c */
/* Replaces the link to `role`; takes fd. Questions asked on the old one are answered with NULL. */
int px_link_open(struct px *px, enum gvm_role role, int fd) GVM_MUST_CHECK;
void px_link_close(struct px *px, enum gvm_role role);
/* Sends without waiting for an answer. -EPIPE when there is no link. */
int px_link_send(struct px *px, enum gvm_role role, enum gvm_msg_type type, uint64_t id,
                 const void *a, size_t an, const void *b, size_t bn) GVM_MUST_CHECK;
/* Sends a question; cb gets the answer, later. *ret_waiter for px_link_cancel(). */
int px_link_ask(struct px *px, enum gvm_role role, enum gvm_msg_type type, const void *a, size_t an,
                const void *b, size_t bn, px_answer_fn *cb, void *arg,
                uint64_t *ret_waiter) GVM_MUST_CHECK;
void px_link_cancel(struct px *px, uint64_t *waiter);
/* May anything new be forwarded? */
bool px_gate_open(const struct px *px);
/* Does the ledger owe us room? Then new requests wait (px_park). */
bool px_ledger_busy(const struct px *px);
/* proxy.c: a message that is no answer. 0, or -EPROTO to close the link. */
int px_on_message(struct px *px, enum gvm_role from, struct gvm_msg *m);
/* proxy.c: a link broke. */
void px_on_link_lost(struct px *px, enum gvm_role role);

/* policy.c */
int px_policy_set(struct px *px, uint32_t id, int fd, struct gvm_err *err) GVM_MUST_CHECK;
/* A new reference, NULL when there is none of that id. */
struct px_policy *px_policy_get(struct px *px, uint32_t id);
void px_policy_unref(struct px_policy *p);
void px_policy_drop(void *p); /* for the map */
const struct gvm_conf_timeouts *px_timeouts(const struct px_run *run);

/* run.c */
int px_run_add(struct px *px, struct gvm_msg *m, struct gvm_err *err) GVM_MUST_CHECK;
int px_run_end(struct px *px, const struct gvm_msg *m, struct gvm_err *err) GVM_MUST_CHECK;
/* Ends every connection of every run, with records. */
void px_runs_stop(struct px *px);
void px_run_unref(struct px_run *run);
void px_run_drop(void *run); /* for the map */
bool px_run_no_intercept(const struct px_run *run, const char *host);

/* grant.c */
bool px_grant_find(struct px_run *run, struct gvm_str key, int64_t now_ns);
/* until_ns 0: for the run. Silently not kept when there are too many: then it is asked again. */
void px_grant_add(struct px_run *run, struct gvm_str key, int64_t until_ns);
void px_grants_free(struct px_run *run);

/* conn.c */
void px_conn_accept(struct px_listener *l);
/* Ends a connection: everything it waits for is cancelled, an owed outcome is recorded with `error`
 * (NULL: none). */
void px_conn_close(struct px_conn *c, uint64_t linger_ms, const char *error);
static inline bool px_conn_closed(const struct px_conn *c)
{
    return c->rq.state == PX_CLOSED;
}
#define PX_NO_MEMORY "too many bytes wait to be passed on: out of memory"
/* Keeps bytes for later; closes the connection and returns false when there are too many. */
bool px_conn_keep(struct px_conn *c, const uint8_t *p, size_t n);
void px_conn_pause(struct px_conn *c);
void px_conn_resume(struct px_conn *c);

/* request.c: what every request has, whatever its version. */
/* A zeroed request gets its owners, its buffers and its timer. */
void px_request_init(struct px_request *rq, struct px_conn *c, const struct px_front *front);
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

/* sniff.c: goes on with what a connection or tunnel is. */
void px_sniff_start(struct px_conn *c);
void px_sniff(struct px_conn *c);

/* tlsfront.c */
int px_tls_ctx(struct px_run *run, struct gvm_err *err) GVM_MUST_CHECK;
void px_hello(struct px_conn *c);

/* leaf.c */
/* NULL when it has to be asked for. */
struct px_leaf *px_leaf_find(struct px_run *run, const char *host);
/* Asks keys, together with others who want the same; px_tls_leaf() is called for the connection. */
int px_leaf_ask(struct px_conn *c, const char *host) GVM_MUST_CHECK;
void px_leaf_forget(struct px_conn *c); /* stops waiting */
void px_leaves_free(struct px_run *run);
/* tlsfront.c: the certificate is there (or NULL). */
void px_tls_leaf(struct px_conn *c, struct px_leaf *leaf);

/* http1/ */
extern const struct px_front px_http1_front;
/* The next request of a connection that stays open. */
void px_http1_next(struct px_conn *c);
/* A head may be in c->in. */
void px_http1_read(struct px_conn *c);
/* More of a body, and what is behind it. */
void px_http1_body_in(struct px_conn *c, const uint8_t *p, size_t n);

/* http1/back.c: rq->up is a fresh or pooled connection. */
void px_http1_back(struct px_request *rq);

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

/* dns_server.c */
int px_dns_udp_start(struct px_listener *l, struct gvm_err *err) GVM_MUST_CHECK;
void px_dns_tcp_accept(struct px_listener *l);
void px_dns_conns_close(struct px_run *run);

/* confine_proxy.c */
int px_confine(struct gvm_err *err) GVM_MUST_CHECK;

#endif
