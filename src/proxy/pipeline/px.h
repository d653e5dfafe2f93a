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
#include "proxy/pipeline/request.h"
#include "proxy/stream/stream.h"
#include "proxy/upstream/upstream.h"
#include "rules/rules.h"
#include "wire/wire.h"

#define PX_LEAVES          10000u          /* certificates kept per run */
#define PX_PIPELINED       (64u * 1024u)   /* bytes read ahead of the request being served */
#define PX_IN_MAX          (1024u * 1024u) /* hard bound of what one connection may have unread */
#define PX_SILENCE_MS      300u /* no first byte for so long: the server is to speak first */
#define PX_LINGER_MS       3000u /* for the last bytes of an answer to leave; what comes is dropped */
#define PX_EXCERPT_WAIT_MS 300u /* for body bytes to show to a person */
#define PX_EXCERPT         1024u
#define PX_INSPECT_TOTAL                                                                           \
    (256u << 20)         /* bytes of bodies that are read before they are judged, in all */
#define PX_LIMITS 10000u /* rules of one run whose use is counted */
#define PX_GRANTS 1000u  /* live grants of one run */

struct px_leaf_ask;

/* ---- links to our siblings (link.c) ---- */

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

/* dns_server.c */
int px_dns_udp_start(struct px_listener *l, struct gvm_err *err) GVM_MUST_CHECK;
void px_dns_tcp_accept(struct px_listener *l);
void px_dns_conns_close(struct px_run *run);

/* confine_proxy.c */
int px_confine(struct gvm_err *err) GVM_MUST_CHECK;

#endif
