/* control - between the files of this room. */
#ifndef GVM_CONTROL_INT_H
#define GVM_CONTROL_INT_H

#include <sys/types.h>

#include "core/core.h"
#include "ipc/ipc.h"

#define CONTROL_CLIENTS      (2 * GVM_MAX_RUNS + 64) /* connections at once */
#define CONTROL_CLIENT_QUEUE (4u << 20)
#define CONTROL_PEER_QUEUE   (16u << 20)
#define CONTROL_LISTENERS    6

struct control;
struct control_call;

/* The end of a call: `m` is the answer, or NULL with `err` set. err->code EPIPE: the peer is away.
 */
typedef void control_done(struct control *c, struct control_call *call, const struct gvm_msg *m,
                          const struct gvm_err *err);

/* A request to another process that waits for its answer. Runs, clients and approvals are named by
 * serial, because they may be gone by then. */
struct control_call {
    struct control_call *next;
    uint64_t id;
    enum gvm_role to;
    control_done *done;
    uint64_t run, client, client_id, ask;
};

struct control_client {
    struct control_client *next;
    struct gvm_chan *chan;
    uint64_t serial;
    bool subscribed, broken; /* broken: dropped at the end of the turn */
};

enum control_stage {
    RUN_PREPARING, /* policy and CA are asked for */
    RUN_ADDING,    /* the proxy gets the listeners */
    RUN_STARTING,  /* run.start is being made durable */
    RUN_LIVE,
    RUN_ENDING,    /* the proxy closes and counts */
    RUN_RECORDING, /* run.end is being made durable */
};

struct control_run {
    struct control_run *next;
    uint64_t serial, client, client_id; /* client 0: gone. client_id: the request to be answered */
    enum control_stage stage;
    struct gvm_arena *arena; /* of the texts below */
    char id[GVM_MAX_RUN_ID + 1], agent[GVM_MAX_AGENT + 1];
    const char *workspace, *mode, *config_asked, *dflt, *sealed;
    struct gvm_str command, no_intercept, waived, publish, mounts, devices, persist; /* JSON arrays
                                                                              of strings, compact */
    const char *seccomp; /* the profile, when it is not the default; NULL = default */
    bool watch, resumed, have_policy, have_ca, lost;
    uint32_t policy;
    char hash[65];
    const char *config, *pem, *log_key;
    int64_t exit_code, signal;
    char why[12];                          /* who ended it; "" = the agent */
    struct gvm_str changes, stats, kernel; /* JSON objects, compact; empty = none */
    bool recounted;                        /* a proxy died: its successor's counts begin at 0 */
    const char *alert;                     /* what does not add up at the end; NULL: nothing */
    char since[GVM_TIME_TEXT];
    int fds[CONTROL_LISTENERS];
};

struct control_ask {
    struct control_ask *next;
    uint64_t serial; /* its id is "a<serial>" */
    uint64_t ask;    /* the proxy's number */
    char run[GVM_MAX_RUN_ID + 1], agent[GVM_MAX_AGENT + 1];
    char request[64];    /* request id, "" when the proxy gave none */
    struct gvm_str json; /* the object shown to people; owned, free() */
    int64_t asked_ns;
    bool deciding; /* an answer is being made durable */
    bool allow;
    char scope[8]; /* once, run, for */
    int64_t until_ns;
    char reason[GVM_MAX_REASON + 1];
    char terminal[64]; /* where the person sat, by the word of gvm approve; "" = at none */
};

struct control {
    struct gvm_chan *peers[GVM_ROLE_MAX]; /* PARENT, PROXY, KEYS, LEDGER */
    int listen_fd;
    struct control_client *clients;
    unsigned nclients;
    struct control_run *runs;
    struct control_ask *asks, **asks_tail;
    unsigned nasks;
    struct control_call *calls;
    uint64_t next_id, next_serial, next_ask;
    bool gate_open, stopping;
    uid_t uid;
    char who[64]; /* name of the only user there is */
    const char *version;
};

/* ---- call.c ---- */
/* Sends and remembers; `proto` is copied. When it cannot be sent, proto.done runs before this
 * returns. */
void control_call(struct control *c, enum gvm_role to, enum gvm_msg_type type, const void *data,
                  size_t len, const int *fds, unsigned nfds, struct control_call proto);
void control_call_json(struct control *c, enum gvm_role to, enum gvm_msg_type type,
                       const struct gvm_buf *json, struct control_call proto);
/* Appends a finished entry; APPENDED with an error counts as failed. */
void control_append(struct control *c, const struct gvm_buf *entry, struct control_call proto);
/* Appends without waiting. */
void control_append_quietly(struct control *c, const struct gvm_buf *entry);
/* An answer from a peer. False when nobody asked. */
bool control_answered(struct control *c, enum gvm_role from, const struct gvm_msg *m);
/* Everything asked of that peer fails with EPIPE. */
void control_calls_fail(struct control *c, enum gvm_role to);

/* ---- client.c ---- */
void control_accept(struct control *c);
void control_serve_client(struct control *c, struct control_client *cl, short revents);
struct control_client *control_client(struct control *c, uint64_t serial);
/* Frees those that broke; their runs end as lost. */
void control_drop_clients(struct control *c);
void control_reply(struct control *c, uint64_t client, uint64_t id, enum gvm_msg_type type,
                   const void *data, size_t len);
/* Takes the buffer's content as the payload; a buffer that failed becomes FAILED. */
void control_reply_json(struct control *c, uint64_t client, uint64_t id, enum gvm_msg_type type,
                        const struct gvm_buf *json);
void control_refuse(struct control *c, uint64_t client, uint64_t id, int code, const char *fmt, ...)
    GVM_PRINTF(5, 6);
void control_refuse_err(struct control *c, uint64_t client, uint64_t id, const struct gvm_err *err);
/* Parses a request's payload; NULL after having refused it. Free *ret_arena. */
const struct gvm_json *control_parse(struct control *c, const struct control_client *cl,
                                     const struct gvm_msg *m, struct gvm_arena **ret_arena);

/* ---- run.c ---- */
void control_run_register(struct control *c, struct control_client *cl, struct gvm_msg *m);
void control_run_finish(struct control *c, struct control_client *cl, const struct gvm_msg *m);
/* The connection of `client` closed. */
void control_run_client_gone(struct control *c, uint64_t client);
void control_run_peer_back(struct control *c, enum gvm_role role);
struct control_run *control_run_of(struct control *c, uint64_t client);
unsigned control_runs_live(const struct control *c);
void control_put_in_use(const struct control *c, struct gvm_jw *w);
/* After a reload: what the policies are now. */
void control_run_policies(struct control *c, const struct gvm_json *list);
void control_run_free(struct control_run *r);

/* ---- end.c: what is recorded of the end of a run, and said to its launcher ---- */
/* Compares who counted; sets r->alert. */
void control_end_reconcile(struct control_run *r);
void control_end_alert(struct control *c, const struct control_run *r);
void control_end_entry(const struct control_run *r, struct gvm_buf *out);
void control_end_reply(struct control *c, const struct control_run *r);

/* ---- register.c: reading a registration ---- */
int control_run_read(const struct gvm_json *msg, struct control_run *r,
                     struct gvm_err *err) GVM_MUST_CHECK;
bool control_run_id_ok(const char *id);
bool control_agent_ok(const char *agent);
/* The value as compact JSON, copied to the arena; empty when it does not fit. */
struct gvm_str control_compact(struct gvm_arena *a, const struct gvm_json *v);

/* ---- ask.c: approvals ---- */
void control_ask(struct control *c, const struct gvm_msg *m);
void control_ask_gone(struct control *c, const struct gvm_msg *m);
void control_asks_lost(struct control *c); /* the proxy died: what it held is gone */
void control_approvals(struct control *c, struct control_client *cl, const struct gvm_msg *m);
void control_decide(struct control *c, struct control_client *cl, const struct gvm_msg *m);
void control_asks_free(struct control *c);

/* ---- note.c ---- */
void control_note(struct control *c, struct control_client *cl, const struct gvm_msg *m);
/* Writes a value of any type, compact and on one line. */
void control_put_value(struct gvm_jw *w, const struct gvm_json *v);
/* Writes the members of an object, but for those named in `skip` (NULL-ended). */
void control_put_members(struct gvm_jw *w, const struct gvm_json *object, const char *const *skip);

/* ---- status.c ---- */
void control_status(struct control *c, struct control_client *cl, const struct gvm_msg *m);
void control_stop(struct control *c, struct control_client *cl, const struct gvm_msg *m);
void control_reload(struct control *c, struct control_client *cl, const struct gvm_msg *m);

#endif
