/* sandbox - a launch plan becomes namespaces, mounts, a sealed network, filters, and a running
 * agent.
 *
 * Owns:       the sandbox's init process (pidfd), the pty, the six listeners until they are taken.
 * Threads:    one; uses clone3 without threads.
 * On failure: nothing is left behind; err says which step, why, and what to do. The agent never
 * starts half-confined.
 */
#ifndef GVM_SANDBOX_H
#define GVM_SANDBOX_H

#include <sys/types.h>
#include <sys/ioctl.h>
#include <termios.h>
#include "core/core.h"

/* Everything is copied by gvm_sandbox_create(). */
struct gvm_sandbox_plan {
    const char *run;         /* run id */
    const char *const *argv; /* command, NULL-ended */
    const char *const
        *env;              /* complete environment of the agent, NULL-ended (see gvm_sandbox_env) */
    const char *workspace; /* absolute, real path; shown at the same place inside */
    const char *cwd;       /* where the agent starts; NULL = the workspace */
    const char *home;      /* absolute home of the user */
    const char *run_dir; /* state/runs/<id>: upper/, work/, home-upper/, home-work/ are made here */
    const char *cache;   /* state/cache: what takes long to work out and is the same next time; made
                          * when missing; NULL = nothing is kept */
    const char *const *hide; /* extra places, NULL-ended, may be NULL: absolute, or relative to home
                              * and to the workspace; globs in the last component */
    const char *const *reveal; /* places shown although they would be hidden; same form */
    /* Places of the host shown besides, each an absolute path or "~/..."; read-only, or with
     * ":overlay" at the end writable, but what is written is kept nowhere. NULL-ended, may be NULL.
     */
    const char *const *mounts;
    const char *const *devices; /* names (gpu, kvm ...) or paths in /dev; same form */
    /* Places relative to home that the agent keeps in `kept` from run to run; same form. */
    const char *const *persist;
    const char *kept;        /* directory of the agent's own; needed with `persist` */
    const char *const *pass; /* for gvm_sandbox_env(): "NAME" (from the host) or "NAME=VALUE" */
    bool pty;        /* those of fd 0-2 that are terminals become a pty of the sandbox's own;
                      * otherwise stdout and stderr are passed */
    bool pass_stdin; /* fd 0 is for the agent as it is; else it gets /dev/null. Must not be a file
                      * of the host: whoever holds it could open it anew for writing */
    struct winsize winsize;
    const struct termios *termios; /* settings the pty starts with; may be NULL */
    bool publish;                  /* gvm_sandbox_ask_socket() will be used */
    unsigned waived; /* GVM_SANDBOX_WITHOUT_*: layers the owner does without where this machine has
                      * none; where it has one it is used all the same */
    bool strict;     /* the strict seccomp profile on top of GVM's own filter */
    const struct gvm_sandbox_profile *profile; /* the owner's on top; NULL = none; must live as long
                                                * as the sandbox */
    bool record; /* refused system calls worth knowing about wait for gvm_sandbox_denied() */
    uint64_t max_pids, max_files, max_disk; /* 0 = defaults 1024, 4096, 2 GiB */
    uint64_t max_memory;                    /* bytes of all processes together; 0 = no limit */
    unsigned max_cpus;                      /* thousandths of a processor; 0 = no limit */
};

#define GVM_SANDBOX_WITHOUT_LANDLOCK 1u
#define GVM_SANDBOX_WITHOUT_PIDS     2u
/* The layer of that name ("landlock", "pids"); 0 when there is none. */
unsigned gvm_sandbox_layer(const char *name);

/* A seccomp filter of the owner's in the OCI runtime specification's JSON; it can only take away.
 * `label` stands for the file in errors ("FILE:12:9: ..."). */
#define GVM_SANDBOX_MAX_PROFILE (1u << 20) /* bytes of such a file */
struct gvm_sandbox_profile;
int gvm_sandbox_profile_parse(struct gvm_str text, const char *label,
                              struct gvm_sandbox_profile **ret, struct gvm_err *err) GVM_MUST_CHECK;
void gvm_sandbox_profile_free(struct gvm_sandbox_profile *f); /* NULL is fine */

/* The listeners opened inside, in the order of GVM_MSG_RUN_REGISTER. Where the kernel has no IPv6
 * its places hold IPv4 sockets that nobody can reach. */
#define GVM_SANDBOX_LISTENERS 6

struct gvm_sandbox;
/* First half: clone3, uid map, network sealed and read back, listeners opened and fetched. The init
 * goes on with the mounts by itself, so that registering the run costs no time. */
int gvm_sandbox_create(const struct gvm_sandbox_plan *plan, struct gvm_sandbox **ret,
                       struct gvm_err *err) GVM_MUST_CHECK;
/* Between the halves, while the daemon works: what the launcher can find out for the init.
 * Optional; gvm_sandbox_start() does it otherwise. */
int gvm_sandbox_help(struct gvm_sandbox *s, struct gvm_err *err) GVM_MUST_CHECK;
/* Owned by the sandbox, open until it is freed (a restarted daemon gets them again). */
const int *gvm_sandbox_listeners(const struct gvm_sandbox *s);
/* What the kernel counted in the sandbox's network since it was made. Connections are counted by
 * their first packet, whatever became of them. */
struct gvm_sandbox_counts {
    uint64_t tcp;     /* connections led to the TCP listeners, or made to them directly */
    uint64_t dns_tcp; /* the same for DNS over TCP */
    uint64_t dns_udp; /* flows of questions (a port that asks again is one) */
    uint64_t refused; /* packets that were refused: other UDP, ICMP, and so on */
};
/* Works until the sandbox is freed; exact when it has ended. On failure *ret is untouched. */
int gvm_sandbox_count(const struct gvm_sandbox *s, struct gvm_sandbox_counts *ret,
                      struct gvm_err *err) GVM_MUST_CHECK;
/* Second half, once the daemon answered: trust stores with `ca_pem`, root sealed, capabilities,
 * Landlock, seccomp, exec. Returns when the agent was exec'ed or setup failed (err). A command that
 * cannot be executed is not a failure here: gvm_sandbox_wait() gives 126 or 127,
 * gvm_sandbox_exec_error() the reason. */
int gvm_sandbox_start(struct gvm_sandbox *s, struct gvm_str ca_pem,
                      struct gvm_err *err) GVM_MUST_CHECK;
/* Why the command could not be executed; NULL when it was. */
const char *gvm_sandbox_exec_error(const struct gvm_sandbox *s);
/* What a person should know although it went well (one sentence a line), "" when nothing. */
const char *gvm_sandbox_notes(const struct gvm_sandbox *s);
/* Polls readable when the agent or the init ended; then call gvm_sandbox_ended(). */
int gvm_sandbox_fd(const struct gvm_sandbox *s);
bool gvm_sandbox_ended(struct gvm_sandbox *s);
/* One refused system call. Names are the agent's to choose: any bytes. */
struct gvm_sandbox_denied {
    char call[32]; /* name, or a number */
    bool has_arg;  /* `arg` says what it was about: flags, family, request */
    uint32_t arg;
    pid_t pid;     /* inside the sandbox; 0 when it is gone */
    char comm[64]; /* the thread's name as /proc spells it; "" when it is gone */
    char exe[256]; /* its program, a path inside, cut to this length */
};
/* Polls readable when such a call waits; -1 when none is told (plan->record, or the kernel). */
int gvm_sandbox_denials_fd(const struct gvm_sandbox *s);
/* Refuses the next that waits, without waiting itself: 1 and *ret, 0 when there is none, negative
 * errno when the listener is of no use any more. */
int gvm_sandbox_denied(struct gvm_sandbox *s, struct gvm_sandbox_denied *ret) GVM_MUST_CHECK;
pid_t gvm_sandbox_pid(const struct gvm_sandbox *s); /* of the init */
int gvm_sandbox_pidfd(const struct gvm_sandbox *s); /* polls readable when init ended */
int gvm_sandbox_pty(const struct gvm_sandbox *s);   /* master, -1 without */
/* Asks the init for a TCP socket (AF_INET or AF_INET6) made in the sandbox's network; it arrives
 * later, when gvm_sandbox_ended() has been called. 0 or negative errno. */
int gvm_sandbox_ask_socket(struct gvm_sandbox *s, int family) GVM_MUST_CHECK;
/* The next that arrived, non-blocking, now the caller's; a negative errno but -1 when it could not
 * be made; -1 when none arrived. *ret_family says what was asked for. */
int gvm_sandbox_take_socket(struct gvm_sandbox *s, int *ret_family) GVM_MUST_CHECK;
int gvm_sandbox_signal(struct gvm_sandbox *s,
                       int sig);              /* to the agent's process group, through init */
void gvm_sandbox_kill(struct gvm_sandbox *s); /* the whole namespace, now */
/* Waits until no process of the sandbox lives: exit code as a shell gives it (128+n for signals).
 * Its mounts may take the kernel a few milliseconds more. */
int gvm_sandbox_wait(struct gvm_sandbox *s, int *ret_code, struct gvm_err *err) GVM_MUST_CHECK;
/* After the end: removes the overlays' work directories, which nobody needs any more. Done by
 * gvm_sandbox_free() unless it was done before. */
void gvm_sandbox_tidy(struct gvm_sandbox *s);
/* The same for a run whose launcher was killed. */
void gvm_sandbox_sweep(const char *run_dir);
/* Kills what still lives, and tidies. Upper layers stay. NULL is fine. */
void gvm_sandbox_free(struct gvm_sandbox *s);

/* The agent's environment: allow-listed variables of `environ` and plan->pass, plus GVM_RUN_ID,
 * HOME, PATH, TMPDIR and the CA variables of every common stack. NULL-ended, from `a`. */
int gvm_sandbox_env(struct gvm_arena *a, const struct gvm_sandbox_plan *plan,
                    const char *const *ret_env[], struct gvm_err *err) GVM_MUST_CHECK;
/* Bytes of files the run has written so far: upper layers, and all that is in `kept`. UINT64_MAX
 * when they cannot be counted. */
uint64_t gvm_sandbox_disk(const struct gvm_sandbox *s);
/* Makes every write fail that would make a file grow (EFBIG), or lets go again; to be called again
 * while it is to hold, for processes that came since. */
void gvm_sandbox_hold_writes(struct gvm_sandbox *s, bool hold);
/* Memory. False with a control group: the kernel sees to it. True: the launcher is to call
 * gvm_sandbox_over_memory() every GVM_SANDBOX_MEMORY_MS and to kill the sandbox when it is. */
#define GVM_SANDBOX_MEMORY_MS 100
bool gvm_sandbox_watches_memory(const struct gvm_sandbox *s);
bool gvm_sandbox_over_memory(const struct gvm_sandbox *s);
/* True when the kernel killed something inside because the limit was reached. */
bool gvm_sandbox_starved(const struct gvm_sandbox *s);
/* One probe of the self-test. */
struct gvm_sandbox_probed {
    const char *rows; /* of the attack catalogue, "-" when in none; static text, like what */
    const char *what;
    bool must_work; /* an ordinary thing; otherwise one that must be refused */
    bool held;
    char got[24]; /* "EPERM", "SIGSYS", "it worked" */
};
typedef void gvm_sandbox_probed_fn(void *arg, const struct gvm_sandbox_probed *p);
/* Builds a sandbox around a planted tree and has `self` (absolute path of a program that calls
 * gvm_sandbox_probe_inside() for "selftest --inside ...") try everything in it. `each` gets every
 * result once all are known. Fails only when no sandbox could be made. */
int gvm_sandbox_selftest(const char *self, gvm_sandbox_probed_fn *each, void *arg,
                         struct gvm_err *err) GVM_MUST_CHECK;
/* Inside; the words behind --inside. Tries nothing and returns 2 unless the kernel says that this
 * is a sandbox; otherwise exits. */
int gvm_sandbox_probe_inside(int argc, char **argv);
/* What this kernel can do; one line per feature into `out` (gvm preflight). 0 = a full sandbox is
 * possible. */
int gvm_sandbox_preflight(struct gvm_buf *out, struct gvm_err *err) GVM_MUST_CHECK;

#endif
