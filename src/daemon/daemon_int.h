/* daemon - between the files of this room. */
#ifndef GVM_DAEMON_INT_H
#define GVM_DAEMON_INT_H

#include <stdbool.h>
#include <sys/types.h>

#include "conf/conf.h"
#include "core/core.h"
#include "ipc/ipc.h"

#define DAEMON_VERSION        "0.1.0"
#define DAEMON_CHILDREN       4u
#define DAEMON_POLICIES       64u /* configurations in force at once */
#define DAEMON_RESTARTS       20u /* in DAEMON_RESTART_WINDOW: then something is wrong for good */
#define DAEMON_RESTART_WINDOW 60  /* seconds */
#define DAEMON_QUEUE          (8u << 20) /* bytes that may wait for one child */
#define DAEMON_JOB_SECONDS    20         /* until a configuration must be in force */
#define DAEMON_NAME_FILES     2u         /* resolv.conf, hosts */

struct daemon_child {
    enum gvm_role role;
    pid_t pid; /* 0: not running */
    struct gvm_chan *chan;
    bool ready;
    unsigned restarts, quick; /* in all; in a row, each within a second of its start */
    int64_t started_ns, again_ns;
};

/* A configuration as the children hold it. The text waits in sealed memory files, so that
 * credentials never lie about in the parent's own memory and a restarted child can have them again.
 */
struct daemon_policy {
    uint32_t id;           /* 0: free */
    bool is_default, live; /* live: a run uses it, by control's last word */
    char *path;            /* where it is read from again */
    bool builtin;          /* there is no such file: the built-in default */
    char hash[65];
    uint32_t rules;
    struct gvm_conf_log log; /* of the default configuration: how the log is kept */
    int policy_fd, cred_fd;
    uint32_t publish_ms; /* how often heads go out; 0: never */
    int64_t used_ns;     /* last handed out */
};

/* Verification in the background, and its last verdict. */
struct daemon_verify {
    pid_t pid; /* 0: none at work */
    int fd;    /* its report; -1 */
    struct gvm_buf text;
    int64_t due_ns, began_ns;                 /* due 0: never */
    bool whole;                               /* the next one reads everything */
    bool known, ok, error;                    /* error: it could not look */
    int64_t at_ns, took_ns;                   /* wall clock; how long it took */
    int64_t entries, from, pruned, first_bad; /* first_bad -1: none is named */
    char reason[256];
};

/* Filling the index in the background. */
struct daemon_index {
    pid_t pid; /* 0: no helper at work */
    int64_t look_at;
    uint64_t size; /* of the log when the last one began */
    bool warned;
};

struct daemon_job;

/* A file as it was when it was last looked at. */
struct daemon_name_file {
    dev_t dev;
    ino_t ino;
    off_t size;
    int64_t sec, nsec;
};

struct daemon {
    char runtime[GVM_PATH_MAX], state[GVM_PATH_MAX], config[GVM_PATH_MAX], socket[GVM_PATH_MAX];
    char origin[256], verifier[512]; /* of the log; the key it is signed with now */
    int ready_fd, lock_fd, listen_fd, ledger_fd, keys_fds[3], signal_fd;
    struct daemon_child children[DAEMON_CHILDREN]; /* in start order */
    int64_t restart_times[DAEMON_RESTARTS];
    unsigned restart_next;
    struct daemon_policy policies[DAEMON_POLICIES];
    struct daemon_job *jobs; /* the first one runs, the others wait */
    uint64_t next_id;
    uint32_t next_policy;
    struct daemon_name_file names[DAEMON_NAME_FILES];
    int64_t names_ns;        /* when they are looked at again */
    struct gvm_conf_log log; /* how the log is kept: of the default configuration in force */
    struct daemon_verify verify;
    struct daemon_index index;
    int64_t started_ns;
    bool serving, stopping;
    pid_t publisher; /* 0: none runs */
    int64_t publisher_since, publish_at;
    int exit_code;
};

/* ---- place.c: directories, lock, socket, files ---- */
int daemon_open_places(struct daemon *d, struct gvm_err *err) GVM_MUST_CHECK;
void daemon_close_places(struct daemon *d);

/* ---- child.c ---- */
void daemon_children_init(struct daemon *d);
struct daemon_child *daemon_child(struct daemon *d, enum gvm_role role);
/* Forks, sends START, the policies in force and the PEERs to and from everybody who runs. */
int daemon_child_start(struct daemon *d, struct daemon_child *c,
                       struct gvm_err *err) GVM_MUST_CHECK;
/* Sends; a channel that fails is closed, which ends the child, which SIGCHLD reports. */
int daemon_child_send(struct daemon_child *c, enum gvm_msg_type type, uint64_t id, const void *data,
                      size_t len, const int *fds, unsigned nfds);
/* Reaps; schedules the next start. -ENOTRECOVERABLE when a child keeps dying. */
int daemon_children_reap(struct daemon *d, struct gvm_err *err) GVM_MUST_CHECK;
/* Starts those whose time has come; milliseconds until the next one, -1 = none waits. */
int daemon_children_due(struct daemon *d);
/* Ends all, in the order that lets the record be finished. */
void daemon_children_stop(struct daemon *d);

/* ---- start.c: what each child gets with START ---- */
int daemon_send_start(struct daemon *d, struct daemon_child *c, struct gvm_err *err) GVM_MUST_CHECK;
/* A reload may say otherwise how the log is kept and verified. */
void daemon_log_changed(struct daemon *d, const struct gvm_conf_log *log);
/* The head as it lies there; nobody has checked its signature. False: none, or damaged. */
struct gvm_checkpoint;
bool daemon_read_head(const struct daemon *d, struct gvm_checkpoint *ret);

/* ---- names.c: resolv.conf and hosts ---- */
/* Writes the members "resolvers" and "hosts". */
void daemon_put_names(struct gvm_jw *w);
/* Tells the proxy when they have changed; milliseconds until they are looked at again. */
int daemon_names_due(struct daemon *d);

/* ---- policy.c: the table of configurations ---- */
/* Reads, checks and encodes `path`. *ret owns its members: daemon_policy_done(). */
int daemon_policy_read(const struct daemon *d, const char *path, struct daemon_policy *ret,
                       struct gvm_err *err) GVM_MUST_CHECK;
void daemon_policy_done(struct daemon_policy *p);
bool daemon_policy_same(const struct daemon_policy *a, const struct daemon_policy *b);
bool daemon_same_bytes(int a, int b); /* of two memory files */
/* The member "diff": names of rules and settings that `fresh` changes; null without `old`. */
void daemon_policy_diff(struct gvm_jw *w, const struct daemon_policy *old,
                        const struct daemon_policy *fresh);
/* A free place for one more, NULL when all are in use. */
struct daemon_policy *daemon_policy_slot(struct daemon *d);
/* Hands a policy to its child (proxy or keys) under request `id`. */
int daemon_policy_send(struct daemon *d, const struct daemon_policy *p, enum gvm_role to,
                       uint64_t id);
void daemon_policies_resend(struct daemon *d, enum gvm_role to);
void daemon_policy_json(struct gvm_jw *w, const struct daemon_policy *p);

/* ---- job.c: putting configurations in force ---- */
/* control's POLICY_LOAD and POLICY_RELOAD; the parent's own first load (reply 0). */
int daemon_job_load(struct daemon *d, uint64_t reply, const char *path_or_null, bool first);
int daemon_job_reload(struct daemon *d, uint64_t reply);
/* An answer of a child (OK, FAILED, APPENDED); ignored when nobody waits for it. */
void daemon_job_answer(struct daemon *d, const struct gvm_msg *m);
void daemon_job_child_lost(struct daemon *d, enum gvm_role role);
/* Milliseconds until the running job's time is over; ends it when it is. */
int daemon_job_due(struct daemon *d);
void daemon_jobs_done(struct daemon *d);

/* ---- rotate.c: changes of the log's key ---- */
/* Puts a prepared change into effect; to be called before the keys are opened. */
int daemon_rotate(struct daemon *d, int keysfd, struct gvm_err *err) GVM_MUST_CHECK;
/* The log's first key must lead to the present one (verifier key texts). */
int daemon_check_key(const struct daemon *d, const char *first, const char *now,
                     struct gvm_err *err) GVM_MUST_CHECK;
/* Adds "voucher" for the ledger process, when its head is not signed by the present key yet. */
void daemon_put_voucher(const struct daemon *d, struct gvm_jw *w);

/* ---- helper.c ---- */
/* Starts gvm with these arguments; idle: at the lowest priority. 0 when it cannot, which was
 * logged. The caller waits for it. */
pid_t daemon_helper_start(const struct daemon *d, const char *const argv[], bool idle);

/* ---- index.c ---- */
/* Starts `gvm events --index` when much is new; milliseconds until the next look. */
int daemon_index_due(struct daemon *d);
void daemon_index_stop(struct daemon *d);

/* ---- publish.c ---- */
/* Starts `gvm audit publish` when it is time; milliseconds until the next look, -1 = never. */
int daemon_publish_due(struct daemon *d);
/* Once more, with the last head. */
void daemon_publish_last(struct daemon *d);

/* ---- verify.c ---- */
void daemon_verify_init(struct daemon *d);
/* Begins one when it is due; milliseconds until then, -1 when nothing has to be waited for. */
int daemon_verify_due(struct daemon *d);
/* verify.fd is readable. */
void daemon_verify_read(struct daemon *d);
/* Adds "verified": the last verdict, or null. */
void daemon_verify_json(struct gvm_jw *w, const struct daemon *d);
/* d->log says another period, or none. */
void daemon_verify_changed(struct daemon *d);
void daemon_verify_stop(struct daemon *d);

/* ---- parent.c ---- */
int daemon_parent(int ready_fd);
/* Everything is in force: tells who waits. */
void daemon_serving(struct daemon *d);
void daemon_failed(struct daemon *d, const struct gvm_err *err);
/* Appends {"kind":kind, ...} without waiting. */
void daemon_note(struct daemon *d, const char *kind);

#endif
