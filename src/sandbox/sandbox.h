/* sandbox - a launch plan becomes namespaces, mounts, a sealed network, filters, and a running agent.
 *
 * Owns:       the sandbox's init process (pidfd), the pty, the six listeners until they are taken.
 * Threads:    one; uses clone3 without threads.
 * On failure: nothing is left behind; err says which step, why, and what to do. The agent never starts
 *             half-confined.
 */
#ifndef GVM_SANDBOX_H
#define GVM_SANDBOX_H

#include <sys/types.h>
#include <sys/ioctl.h>
#include <termios.h>
#include "core/core.h"

struct gvm_sandbox_plan {
    const char *run;              /* run id */
    const char *const *argv;      /* command, NULL-ended */
    const char *const *env;       /* complete environment of the agent, NULL-ended (see gvm_sandbox_env) */
    const char *workspace;        /* absolute, real path; shown at the same place inside */
    const char *home;             /* absolute home of the user */
    const char *run_dir;          /* state/runs/<id>: upper/, work/, home-upper/, home-work/ are made here */
    const char *const *hide;      /* extra places, NULL-ended, may be NULL */
    const char *const *reveal;
    bool pty;                     /* agent gets its own pty; otherwise stdin /dev/null, stdout/err passed */
    struct winsize winsize;
    uint64_t max_pids, max_files, max_disk; /* 0 = defaults 1024, 4096, 2 GiB */
};

/* The listeners opened inside, in the order of GVM_MSG_RUN_REGISTER. */
#define GVM_SANDBOX_LISTENERS 6

struct gvm_sandbox;
/* First half: clone3, uid map, network sealed and read back, listeners opened and fetched. The init waits. */
int gvm_sandbox_create(const struct gvm_sandbox_plan *plan, struct gvm_sandbox **ret, struct gvm_err *err)
    GVM_MUST_CHECK;
const int *gvm_sandbox_listeners(const struct gvm_sandbox *s);
/* Second half, once the daemon answered: mounts, trust stores with `ca_pem`, capabilities, Landlock, seccomp,
 * exec. Returns when the agent was exec'ed or setup failed (err). 126/127 exec failures are exit codes. */
int gvm_sandbox_start(struct gvm_sandbox *s, struct gvm_str ca_pem, struct gvm_err *err) GVM_MUST_CHECK;
int gvm_sandbox_pidfd(const struct gvm_sandbox *s);  /* polls readable when init ended */
int gvm_sandbox_pty(const struct gvm_sandbox *s);    /* master, -1 without */
int gvm_sandbox_signal(struct gvm_sandbox *s, int sig); /* to the agent's process group, through init */
void gvm_sandbox_kill(struct gvm_sandbox *s);        /* the whole namespace, now */
/* After pidfd is readable: exit code as a shell gives it (128+n for signals). */
int gvm_sandbox_wait(struct gvm_sandbox *s, int *ret_code, struct gvm_err *err) GVM_MUST_CHECK;
void gvm_sandbox_free(struct gvm_sandbox *s);        /* kills what still lives */

/* The agent's environment: allow-listed variables of `environ`, plus GVM_RUN_ID, HOME, PATH, TMPDIR and the
 * CA variables of every common stack. NULL-ended, from `a`. */
int gvm_sandbox_env(struct gvm_arena *a, const struct gvm_sandbox_plan *plan, const char *const *ret_env[],
                    struct gvm_err *err) GVM_MUST_CHECK;
/* What this kernel can do; one line per feature into `out` (gvm preflight). 0 = a full sandbox is possible. */
int gvm_sandbox_preflight(struct gvm_buf *out, struct gvm_err *err) GVM_MUST_CHECK;

#endif
