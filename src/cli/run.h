/* cli/run.h - what the files of `gvm run` share: one run from its options to its summary. */
#ifndef GVM_CLI_RUN_H
#define GVM_CLI_RUN_H

#include <limits.h>
#include <signal.h>
#include <termios.h>
#include "cli/cli.h"
#include "ledger/ledger.h"
#include "review/review.h"
#include "sandbox/sandbox.h"

#define RUN_MAX_LIST 64 /* --no-intercept, --env, --hide, --reveal */
#define RUN_GRACE_MS                                                                               \
    10000 /* unless said otherwise: between asking the agent to end and killing it */

struct run_list {
    const char *v[RUN_MAX_LIST + 8];
    unsigned n;
};

struct run_options {
    bool detach;
    bool watch, ask, json, literal; /* literal: the command stood behind "--" */
    const char *json_file;          /* NULL: stderr */
    const char *agent, *config, *workspace, *dflt, *go_on; /* go_on: the run to continue */
    const char *seccomp; /* default, strict, or a file; NULL: as configured */
    uint64_t timeout_ms, grace_ms, max_pids, max_files, max_disk, max_memory;
    unsigned max_cpus; /* thousandths */
    struct run_list no_intercept, pass, hide, reveal, without, publish, mounts, devices, persist;
    char **command;
};

struct run_watch;
struct run_publish;
struct run_denied;
struct run_output;
struct run_detached { /* of the child of gvm run --detach; -1 otherwise */
    int ready;        /* pipe the run's id goes into once the agent runs */
    int stderr_fd;    /* the caller's, until then */
};
#define RUN_OUTPUT "output.log" /* what a detached run prints, in its directory */

struct run {
    struct run_options opt;
    struct gvm_arena *arena;
    char id[GVM_MAX_RUN_ID + 1];
    char agent[GVM_MAX_AGENT + 1];
    char dir[GVM_PATH_MAX]; /* state/runs/<id> */
    char workspace[PATH_MAX], cwd[PATH_MAX], home[PATH_MAX];
    char config[GVM_PATH_MAX];
    char kept[GVM_PATH_MAX];    /* what this agent keeps from run to run; "" without */
    char old_dir[GVM_PATH_MAX]; /* of the run that is continued */
    const char *old_workspace;  /* NULL without --continue */
    bool has_config, registered;
    bool took_over; /* what the continued run left staged lies in `dir` now */
    const char *const *argv;
    struct gvm_sandbox *sandbox;
    struct gvm_chan *chan; /* NULL while the daemon is away */
    char *sealed;          /* what a new daemon needs to go on; from `arena` */
    struct gvm_run_record record;
    struct termios *termios; /* of the terminal as found; NULL without one */
    struct run_watch *watch;
    struct run_publish *publish;         /* NULL without */
    struct run_output *output;           /* NULL when none of it goes to a file */
    struct run_denied *denied;           /* NULL as long as nothing was refused */
    bool denied_over;                    /* nothing more will be told */
    struct gvm_sandbox_profile *profile; /* --seccomp FILE; NULL without */
    char seccomp[96]; /* for the record: "strict", or "sha256:" and the file's; "" = default */
    struct run_detached detached;
    sigset_t caught, old_mask; /* signals passed on; the mask as found */
    int64_t tried_ns;          /* last attempt to reach a lost daemon */
    unsigned tries;
    int exit_code;
    bool timed_out, disk_full, memory_full, changed;
};

/* What comes with a SIGTERM from gvm stop (sigqueue): it is to end, or to end now. */
enum { RUN_STOP_ASK = 0x67766d01, RUN_STOP_NOW };
/* Who ended the run, for the record; the first counts. */
void run_ended_by(struct run *r, const char *why);

/* run_options.c */
int run_parse(int argc, char **argv, struct run_options *ret); /* -1 = go on, else an exit code */
/* Words of a script become its interpreter's command line; fills r->argv and r->agent. */
int run_choose_command(struct run *r, struct gvm_err *err) GVM_MUST_CHECK;

/* run_setup.c: paths, id, configuration; then the sandbox, registered and started. */
int run_prepare(struct run *r, struct gvm_err *err) GVM_MUST_CHECK;
int run_launch(struct run *r, struct gvm_err *err) GVM_MUST_CHECK;

/* run_daemon.c */
/* Sends the registration; what else there is to do may be done before run_await_ready(). */
int run_register(struct run *r, struct gvm_err *err) GVM_MUST_CHECK;
int run_await_ready(struct run *r, struct gvm_str *ret_pem, struct gvm_err *err) GVM_MUST_CHECK;
/* The channel became readable or time passed: notices a lost daemon and finds its successor. */
void run_daemon_tick(struct run *r, bool readable);
/* Reports the end with `changes` (JSON object) and waits until it is recorded; `meanwhile` is
 * called after the report was sent. */
int run_finish(struct run *r, const char *changes, void (*meanwhile)(struct run *),
               struct gvm_err *err) GVM_MUST_CHECK;
/* One entry fs.* for the record. */
int run_note(struct run *r, const struct gvm_buf *json, struct gvm_err *err) GVM_MUST_CHECK;

/* run_loop.c */
/* Blocks the signals that are for the agent; run_loop() reads and passes them on. */
int run_block_signals(struct run *r, struct gvm_err *err) GVM_MUST_CHECK;
/* Until the agent ended; fills r->exit_code. Signals are as before afterwards. */
int run_loop(struct run *r, struct gvm_err *err) GVM_MUST_CHECK;

/* run_tty.c: the person's terminal and the agent's. */
struct run_tty;
struct run_tty *run_tty_open(struct run *r); /* NULL without a pty */
void run_tty_close(struct run_tty *t);       /* last output, settings restored */
int run_tty_in(const struct run_tty *t);     /* descriptor to poll for input, -1 = none now */
bool run_tty_wants_write(const struct run_tty *t);
void run_tty_input(struct run_tty *t);
void run_tty_output(struct run_tty *t);
void run_tty_flush(struct run_tty *t);
void run_tty_resize(struct run_tty *t);
bool run_tty_wants_suspend(const struct run_tty *t); /* Ctrl-Z was typed for us */
void run_tty_suspend(struct run_tty *t); /* gives the terminal back and stops this process */
void run_tty_resume(struct run_tty *t);  /* takes the terminal again, if it is ours */

/* run_watch.c: calls as they are recorded, and their summary. */
int run_watch_open(struct run *r, struct gvm_err *err) GVM_MUST_CHECK;
int run_watch_fd(const struct run *r); /* -1 without */
void run_watch_tick(struct run *r);
void run_watch_summary(struct run *r);
void run_watch_close(struct run *r);
/* Hosts that no rule named, in order of appearance; NULL behind the last. */
const char *run_watch_unknown(const struct run *r, unsigned i);

/* run_publish.c */
bool run_publish_ok(const char *text);                                   /* "HOSTPORT:PORT" */
int run_publish_open(struct run *r, struct gvm_err *err) GVM_MUST_CHECK; /* listens */
int run_publish_fd(const struct run *r);                                 /* -1 without */
void run_publish_tick(struct run *r);
void run_publish_close(struct run *r);

/* run_denied.c: refused system calls, counted and recorded */
#define RUN_DENIED_ID 16                /* ids of these messages: from here on */
int run_denied_fd(const struct run *r); /* -1 without */
void run_denied_tick(struct run *r);
/* True when the message answers one of ours. */
bool run_denied_answer(struct run *r, const struct gvm_msg *m);
void run_denied_lost(struct run *r); /* the daemon went away */
/* What was not written yet, before the run's end is. */
void run_denied_end(struct run *r);
void run_denied_close(struct run *r); /* says what could not be recorded */

/* run_output.c: output that goes to files */
/* Before the sandbox is made, whose processes get what stands on 1 and 2 then; ... */
int run_output_open(struct run *r, struct gvm_err *err) GVM_MUST_CHECK;
void run_output_back(struct run *r);           /* ... and after it was, for ourselves. */
int run_output_fd(const struct run *r, int i); /* 0 and 1: to be polled; -1 = none */
void run_output_tick(struct run *r);           /* one was readable */
void run_output_close(struct run *r);          /* the rest, at the end */

/* run_config.c */
/* What the rule file says of the sandbox, where no option does. */
int run_read_config(struct run *r, struct gvm_err *err) GVM_MUST_CHECK;
/* One more place for a list. */
int run_add_place(struct run *r, struct run_list *l, const char *text, size_t n,
                  struct gvm_err *err) GVM_MUST_CHECK;
/* Where the agent keeps what is to persist. */
int run_choose_kept(struct run *r, struct gvm_err *err) GVM_MUST_CHECK;
/* Reads and checks --seccomp or [seccomp] profile. */
int run_read_profile(struct run *r, struct gvm_err *err) GVM_MUST_CHECK;

/* run_worktree.c: a word about a repository that lies elsewhere. */
void run_tell_worktree(const struct run *r);

/* run_detach.c */
/* Returns -1 in the process that is to go on, else the caller's exit code. */
int run_detach(struct run *r);
/* From here on output goes to the run's directory; before the sandbox is made. */
int run_detach_output(struct run *r, struct gvm_err *err) GVM_MUST_CHECK;
void run_detach_back(struct run *r);  /* it failed: the caller is told */
void run_detach_ready(struct run *r); /* it runs: the caller gets the id */

/* run_after.c: what was written; new safe files land. Prints, appends to the record, and finishes.
 */
int run_after(struct run *r, struct gvm_err *err) GVM_MUST_CHECK;
/* run_ask.c: gvm run -i, at the end. */
void run_ask(struct run *r);

#endif
