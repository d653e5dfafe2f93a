/* sandbox_int.h - what the files of this room say to each other.
 *
 * Two processes run this code. The launcher (sandbox.c) clones the init and talks to it over one
 * SEQPACKET pair. The init (init.c) is pid 1 of the new namespaces: it builds everything as a list
 * of named steps, forks the agent (agent.c), reaps, and ends when the agent or the launcher does.
 */
#ifndef GVM_SANDBOX_INT_H
#define GVM_SANDBOX_INT_H

#include <net/if.h>
#include <sys/resource.h>
#include "sandbox/sandbox.h"

#define SANDBOX_ARENA       (16u << 20) /* plan copy and everything the init builds */
#define SANDBOX_MAX_CA      (64u << 10) /* the run's CA certificate, PEM */
#define SANDBOX_MAX_BUNDLE  (8u << 20)  /* the host's CA bundle */
#define SANDBOX_MAX_PRIVATE (64u << 10) /* names of private files in /etc */
#define SANDBOX_MAX_MOUNTS  64          /* places of the owner's */
#define SANDBOX_OVERLAID    ":overlay"  /* what a writable one of them ends in */
#define SANDBOX_NOTES       2048        /* text of gvm_sandbox_notes() */

/* Fixed numbers inside: the network namespace is the run's own. */
#define SANDBOX_TCP_PORT 61080
#define SANDBOX_DNS_PORT 61053
#define SANDBOX_ADDR4    "198.18.0.1"
#define SANDBOX_ADDR6    "fd00:6776:6d00::1"

#define SANDBOX_CA_BUNDLE "/etc/ssl/certs/ca-certificates.crt"
#define SANDBOX_CA_RUN    "/etc/ssl/certs/gvm-run-ca.pem"

/* ---- messages between launcher and init ---- */

enum sandbox_note_type {
    SANDBOX_NOTE_NONE = 0,
    SANDBOX_NOTE_PRIVATE,     /* launcher: paths in /etc to be hidden, each ended by NUL */
    SANDBOX_NOTE_START,       /* launcher: PEM of the run's CA follows */
    SANDBOX_NOTE_SOCKET,      /* launcher: value = family; init: the same, and the socket if it
                               * could be made */
    SANDBOX_NOTE_SIGNAL,      /* launcher: value = signal for the agent's process group */
    SANDBOX_NOTE_LISTENERS,   /* init: six listeners, and the socket to read counters by */
    SANDBOX_NOTE_REMARK,      /* init: text for the person */
    SANDBOX_NOTE_DENIALS,     /* agent to init: the listener of its filter */
    SANDBOX_NOTE_STARTED,     /* init: the agent was exec'ed; the pty's master when there is one,
                               * the filter's listener when there is one */
    SANDBOX_NOTE_FAILED,      /* init: value = errno, text; the init ends */
    SANDBOX_NOTE_EXEC_FAILED, /* init: value = errno, text; an EXIT follows */
    SANDBOX_NOTE_EXIT,        /* init: value = exit code of the agent; the init ends */
};
struct sandbox_note {
    uint32_t type;
    int32_t value;
};

/* Sends one note with up to 8 descriptors; 0 or negative errno. */
int sandbox_send(int fd, enum sandbox_note_type type, int value, const void *text, size_t n,
                 const int *fds, unsigned nfds);
/* Waits for one note. Returns the length of its text (0..cap, NUL added, so cap+1 bytes are
 * needed), -EPIPE when the other end is gone. *nfds: room in, count out; may be NULL. */
ssize_t sandbox_recv(int fd, struct sandbox_note *ret, char *text, size_t cap, int *fds,
                     unsigned *nfds);

/* ---- the init's state ---- */

#define SANDBOX_MAX_HIDE 4096 /* names hidden in one tree */

struct sandbox_layer {
    int fd;           /* the layer's top directory */
    const char *host; /* directory it lies over */
    unsigned hidden;  /* names hidden so far */
    int near_fd;      /* the directory used last, or -1; lists go by directory */
    char near[256];   /* its name, relative to the top */
    char gone[64];    /* a directory that the host does not have, hidden as a whole */
};

struct sandbox_init {
    const struct gvm_sandbox_plan *plan; /* deep copy, in `arena` */
    bool own_limits; /* no control group: memory and CPU are bounded by what a process can do itself
                      */
    struct gvm_arena *arena;
    int ctl;
    uid_t uid;
    gid_t gid;
    mode_t umask; /* the user's, for the agent */
    int listeners[GVM_SANDBOX_LISTENERS];
    int counts;               /* netlink socket of this network */
    const char *base;         /* absolute: run_dir/root, a tmpfs; layers/ and root/ lie in it */
    int layers;               /* directory descriptor of base/layers */
    struct sandbox_layer etc; /* over /etc, until it is mounted */
    struct sandbox_trust *trust;
    unsigned nshown, noverlaid; /* of the owner's places */
    const char *overlaid[SANDBOX_MAX_MOUNTS];
    int pty;     /* master */
    int denials; /* listener of the agent's filter; -1 = none */
    pid_t agent;
    struct gvm_str private_etc; /* what the launcher found there */
    struct gvm_str ca_pem;      /* text */
};

typedef int sandbox_step_fn(struct sandbox_init *in, struct gvm_err *err);

/* pid 1's whole life; never returns. */
_Noreturn void sandbox_init_main(const struct gvm_sandbox_plan *plan, struct gvm_arena *arena,
                                 int ctl, uid_t uid, gid_t gid, bool own_limits);
/* One sentence for the person, shown by the launcher. */
void sandbox_remark(struct sandbox_init *in, const char *fmt, ...) GVM_PRINTF(2, 3);
/* Test hook: true when $GVM_TEST_FAIL names this step (builds with tests only; hooks_*.c). */
bool sandbox_test_fails(const char *step);

/* plan.c: a deep copy, with defaults filled in; and whether it can be done at all. */
int sandbox_plan_copy(struct gvm_arena *a, const struct gvm_sandbox_plan *p,
                      struct gvm_sandbox_plan *ret, struct gvm_err *err) GVM_MUST_CHECK;
int sandbox_plan_check(const struct gvm_sandbox_plan *p, struct gvm_err *err) GVM_MUST_CHECK;

/* identity.c: own uid and gid map to themselves, setgroups denied. */
int sandbox_map_ids(struct sandbox_init *in, struct gvm_err *err);
/* identity.c: forgets the launcher's arguments and environment, becomes undumpable, gets its names.
 */
int sandbox_forget_origin(struct sandbox_init *in, struct gvm_err *err);
/* What stands in the way of user namespaces here, "" when nothing known does. */
const char *sandbox_userns_hint(void);

/* net_link.c, net_filter.c, net_listen.c */
int sandbox_net_link(struct sandbox_init *in, struct gvm_err *err);
int sandbox_net_filter(struct sandbox_init *in, struct gvm_err *err);
int sandbox_net_listen(struct sandbox_init *in, struct gvm_err *err);
/* Names of the packet rules, and the places of those that count in chain "redirect". */
#define SANDBOX_TABLE        "gvm"
#define SANDBOX_NAT_CHAIN    "redirect"
#define SANDBOX_FILTER_CHAIN "guard"
enum sandbox_count {
    SANDBOX_COUNT_DNS_UDP,
    SANDBOX_COUNT_DNS_TCP,
    SANDBOX_COUNT_OWN4,
    SANDBOX_COUNT_OWN6,
    SANDBOX_COUNT_OWN_DNS4,
    SANDBOX_COUNT_OWN_DNS6,
    SANDBOX_COUNT_TCP = 8, /* behind the two that let loopback through */
    SANDBOX_COUNTS
};
/* net_count.c: by the launcher, with the socket that the init opened. */
int sandbox_net_count(int fd, struct gvm_sandbox_counts *ret, struct gvm_err *err) GVM_MUST_CHECK;

/* mount_*.c, in the order they are called */
int sandbox_mount_base(struct sandbox_init *in, struct gvm_err *err);
int sandbox_mount_system(struct sandbox_init *in, struct gvm_err *err);
int sandbox_mount_proc(struct sandbox_init *in, struct gvm_err *err);
int sandbox_mount_dev(struct sandbox_init *in, struct gvm_err *err);
int sandbox_mount_tools(struct sandbox_init *in, struct gvm_err *err);
int sandbox_mount_trees(struct sandbox_init *in, struct gvm_err *err); /* home and workspace */
int sandbox_mount_devices(struct sandbox_init *in,
                          struct gvm_err *err);                        /* into /dev, the owner's */
int sandbox_mount_extra(struct sandbox_init *in, struct gvm_err *err); /* mounts, persist */
int sandbox_prepare_etc(struct sandbox_init *in, struct gvm_err *err);
/* The launcher's part of it, as root: what in /etc not everybody may read, relative and each ended
 * by NUL. */
int sandbox_private_etc(struct gvm_buf *list, struct gvm_err *err);
int sandbox_hide_private(struct sandbox_init *in, struct gvm_err *err); /* in->private_etc */
int sandbox_mount_etc(struct sandbox_init *in, struct gvm_err *err);    /* after the CA arrived */
int sandbox_mount_seal(struct sandbox_init *in,
                       struct gvm_err *err); /* pivot, old root gone, read-only */

/* mount_util.c: paths named `at` are relative to base/root. All 0 or negative errno, err set. */
int sandbox_bind(struct sandbox_init *in, const char *src, const char *at, uint64_t attr,
                 struct gvm_err *err);
int sandbox_tmpfs(struct sandbox_init *in, const char *at, const char *options,
                  struct gvm_err *err);
/* One the agent may write to: of `mib` MiB, or of the memory limit where that is less. */
int sandbox_scratch(struct sandbox_init *in, const char *at, unsigned mib, const char *options,
                    struct gvm_err *err);
/* Directory `at` with its parents. */
int sandbox_mkdir(struct sandbox_init *in, const char *at, struct gvm_err *err);
/* An overlay at `at` over `lower`, with what is hidden on top; `upper` NULL = read-only. */
struct sandbox_upper {
    const char *dir, *work;
};
int sandbox_overlay(struct sandbox_init *in, const char *at, const char *hide_layer,
                    const char *lower, const struct sandbox_upper *upper, struct gvm_err *err);
/* True when `path` is `dir` or lies beneath it. */
bool sandbox_beneath(const char *path, const char *dir);
/* First mount point strictly beneath `dir` on the host into dst; false when there is none. */
bool sandbox_submount(const char *dir, char dst[GVM_PATH_MAX]);

/* layer.c: a directory on the base tmpfs laid over a host directory. A whiteout in it hides a name,
 * be it there already or made later. */
int sandbox_layer_open(struct sandbox_init *in, const char *name, const char *host,
                       struct sandbox_layer *ret, struct gvm_err *err);
void sandbox_layer_close(struct sandbox_layer *l);
/* Hides host/`rel`. Fine when it is hidden already. */
int sandbox_layer_hide(struct sandbox_layer *l, const char *rel, struct gvm_err *err);
/* Replaces (or adds) a file. */
int sandbox_layer_file(struct sandbox_layer *l, const char *rel, const void *p, size_t n,
                       struct gvm_err *err);
/* One more name for a file of the layer. */
int sandbox_layer_link(struct sandbox_layer *l, const char *rel, const char *to,
                       struct gvm_err *err);

/* hide.c: what is hidden where. */
int sandbox_hide_home(struct sandbox_init *in, struct sandbox_layer *l, struct gvm_err *err);
int sandbox_hide_work(struct sandbox_init *in, struct sandbox_layer *l, struct gvm_err *err);
/* Those of plan->hide that lie beneath l->host; GVM's own places are among them. */
int sandbox_hide_own(struct sandbox_init *in, struct sandbox_layer *l, struct gvm_err *err);
/* What a name says. */
enum sandbox_look {
    SANDBOX_LOOK_NO,
    SANDBOX_LOOK_HIDE,     /* a secret whatever it holds */
    SANDBOX_LOOK_INSIDE,   /* a certificate may be shown, a key not */
    SANDBOX_LOOK_TOKEN,    /* a setting that may hold a token */
    SANDBOX_LOOK_SETTINGS, /* NAME=VALUE lines: shown with placeholders */
    SANDBOX_LOOKS
};
enum sandbox_look sandbox_look_at(const char *name);
/* Does about l->host/`rel` what its name and its content ask for. */
int sandbox_hide_found(struct sandbox_init *in, struct sandbox_layer *l, const char *rel,
                       enum sandbox_look look, struct gvm_err *err);
/* scan.c: every file beneath `top` whose name says something, and every socket. What was read
 * before and has not changed is not read again. */
typedef int sandbox_found_fn(void *arg, const char *rel, enum sandbox_look look,
                             struct gvm_err *err);
int sandbox_scan(struct sandbox_init *in, const char *top, sandbox_found_fn *found, void *arg,
                 struct gvm_err *err);
bool sandbox_scan_skips(const char *name); /* directories that are not looked into */
/* settings.c: NAME=VALUE lines with every value replaced; whatever else stood there is left out. A
 * placeholder is "gvm-ph-" and 24 hex digits, the same for a name of this file in every run.
 * -EINVAL when it is no such text. Pure. */
#define SANDBOX_MAX_SETTINGS (256u << 10)
#define SANDBOX_PLACEHOLDER  "gvm-ph-"
int sandbox_settings_mask(struct gvm_str text, const char *path, struct gvm_buf *out);
/* True when plan->reveal names host/`rel`. */
bool sandbox_revealed(const struct sandbox_init *in, const char *host, const char *rel);

/* cache.c: pieces worked out before, each in a file of its own under plan->cache. A piece is found
 * again only with the key it was kept under; a torn or foreign file counts as missing. */
#define SANDBOX_CACHE_KEY 256 /* bytes of a key at most */
/* Puts the piece into the empty `out`; false when there is none, whatever `out` holds then. */
bool sandbox_cache_get(struct sandbox_init *in, const char *name, struct gvm_str key,
                       struct gvm_buf *out);
/* Failing to keep a piece is no failure: it is worked out again. */
void sandbox_cache_put(struct sandbox_init *in, const char *name, struct gvm_str key,
                       struct gvm_str piece);

/* trust.c: CA bundles. Everything but the run's CA is written before that is known. */
int sandbox_trust_prepare(struct sandbox_init *in,
                          struct gvm_err *err);                        /* reads the host's bundle */
int sandbox_trust_write(struct sandbox_init *in, struct gvm_err *err); /* into the layer of /etc */
int sandbox_trust_finish(struct sandbox_init *in, struct gvm_err *err); /* adds the run's CA */
/* jks.c: a Java key store of trusted certificates. */
struct sandbox_jks;
struct sandbox_jks *sandbox_jks_new(struct gvm_str bundle_pem) GVM_MUST_CHECK;
/* The same from what sandbox_jks_text() gave before, which it takes out of `text`; NULL when that
 * is no such text. */
struct sandbox_jks *sandbox_jks_again(struct gvm_buf *text) GVM_MUST_CHECK;
struct gvm_str sandbox_jks_text(const struct sandbox_jks *j);
/* Adds the last certificate and closes the file; its bytes stay the store's. */
int sandbox_jks_finish(struct sandbox_jks *j, struct gvm_str ca_pem,
                       struct gvm_str *ret_file) GVM_MUST_CHECK;
void sandbox_jks_free(struct sandbox_jks *j);

/* cgroup.c */
struct sandbox_cgroup;
/* A group with the plan's limits; -ENOTSUP, -EACCES and the like where none can be had. */
int sandbox_cgroup_new(const struct gvm_sandbox_plan *plan,
                       struct sandbox_cgroup **ret) GVM_MUST_CHECK;
int sandbox_cgroup_enter(const struct sandbox_cgroup *g, pid_t pid) GVM_MUST_CHECK;
bool sandbox_cgroup_starved(const struct sandbox_cgroup *g); /* something was killed for memory */
void sandbox_cgroup_free(struct sandbox_cgroup *g);          /* after its processes; NULL is fine */
/* disk.c: bytes in the upper layers and in what is kept; see gvm_sandbox_disk(). */
uint64_t sandbox_written(const struct gvm_sandbox_plan *plan);
/* family.c: the init and its descendants, as many as fit. */
#define SANDBOX_MAX_FAMILY 4096
struct sandbox_family {
    uint32_t pid[SANDBOX_MAX_FAMILY];
    unsigned n;
};
void sandbox_find_family(pid_t init, struct sandbox_family *ret);
/* disk.c: from now on no process of the sandbox can make a file grow (EFBIG), or all can again, up
 * to `max` bytes each. */
void sandbox_hold_writes(pid_t init, bool hold, uint64_t max);
/* memory.c: bytes the init's descendants hold; exact only when more than `limit`. */
uint64_t sandbox_memory(pid_t init, uint64_t limit);

/* agent.c, privileges.c, landlock.c, seccomp.c */
int sandbox_fork_agent(struct sandbox_init *in, struct gvm_err *err);
int sandbox_drop_privileges(struct sandbox_init *in, struct gvm_err *err);
int sandbox_limits(struct sandbox_init *in, struct gvm_err *err);
int sandbox_pid_limit(struct sandbox_init *in, struct gvm_err *err);
bool sandbox_pids_bound_root(void); /* this kernel's pid_max is a namespace's own */
int sandbox_landlock(struct sandbox_init *in, struct gvm_err *err);
int sandbox_landlock_abi(void);
/* *ret_listener: for refused calls; -1 when none was asked for, or none is to be had. */
int sandbox_seccomp_agent(struct sandbox_init *in, int *ret_listener, struct gvm_err *err);
/* denied.c: see gvm_sandbox_denied(). */
int sandbox_denied_take(int listener, struct gvm_sandbox_denied *ret);
int sandbox_seccomp_init(struct sandbox_init *in, struct gvm_err *err);

#endif
