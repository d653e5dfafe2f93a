/* pid 1 of a sandbox: builds it step by step, starts the agent, reaps, and passes signals on.
 *
 *   launcher                              init
 *      clone3  ------------------------->   identity, network, listeners
 *      <------------------- LISTENERS (6 descriptors, and one to read counters by)
 *      registers the run with gvmd          mounts, trust store of the host
 *      PRIVATE (what to hide in /etc) --->
 *      START (CA certificate) ---------->   /etc, root sealed, privileges dropped, agent forked
 *      <------------------------ STARTED    agent exec'ed
 *      SIGNAL -------------------------->   kill(-agent)
 *      <--------------------------- EXIT    and the end of everything in the pid namespace
 *
 * Either side may die at any time. The launcher's death is a SIGKILL (PDEATHSIG, set before the
 * first byte is exchanged, so that there is no moment without it) and the end of the channel;
 * init's death takes the namespace with it, and namespaces, mounts, network and listeners end with
 * their last user.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CTL_FD 3

struct step {
    const char *name; /* for GVM_TEST_FAIL */
    const char *what; /* "cannot <what>: ..." */
    sandbox_step_fn *fn;
};

static const struct step before_listeners[] = {
    {"ids", "set up the user namespace", sandbox_map_ids},
    {"origin", "set up the init", sandbox_forget_origin},
    {"link", "set up the network", sandbox_net_link},
    {"filter", "seal the network", sandbox_net_filter},
    {"listen", "open the listeners", sandbox_net_listen},
};
static const struct step before_ca[] = {
    {"base", "set up the file system", sandbox_mount_base},
    {"system", "show the system's programs", sandbox_mount_system},
    {"proc", "set up /proc", sandbox_mount_proc},
    {"dev", "set up /dev", sandbox_mount_dev},
    {"tools", "show the programs in PATH", sandbox_mount_tools},
    {"overlay", "set up home and workspace", sandbox_mount_trees},
    {"extra", "add the places that were asked for", sandbox_mount_extra},
    {"trust", "set up the trust stores", sandbox_trust_prepare},
    {"etc", "set up /etc", sandbox_prepare_etc},
};
static const struct step after_help[] = {
    {"private", "hide what is private in /etc", sandbox_hide_private},
};
static const struct step before_agent[] = {
    {"ca", "make the run's certificate trusted", sandbox_mount_etc},
    {"seal", "seal the file system", sandbox_mount_seal},
    {"privileges", "drop privileges", sandbox_drop_privileges},
    {"agent", "start the agent", sandbox_fork_agent},
};

void sandbox_remark(struct sandbox_init *in, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt,
                      ap); // NOLINT(clang-analyzer-valist.Uninitialized): started above
    va_end(ap);
    if (n > 0 && sandbox_send(in->ctl, SANDBOX_NOTE_REMARK, 0, text, strlen(text), NULL, 0) < 0)
        _exit(137); /* no launcher, no sandbox */
}

static _Noreturn void give_up(struct sandbox_init *in, const struct gvm_err *err)
{
    if (sandbox_send(in->ctl, SANDBOX_NOTE_FAILED, err->code, err->text, strlen(err->text), NULL,
                     0) < 0)
        _exit(137);
    _exit(125);
}

static void run_steps(struct sandbox_init *in, const struct step *steps, size_t n)
{
    struct gvm_err err = {0};
    for (size_t i = 0; i < n; i++) {
        int r = sandbox_test_fails(steps[i].name) ? gvm_err_set(&err, EIO, "made to fail by a test")
                                                  : steps[i].fn(in, &err);
        if (r == 0)
            continue;
        gvm_err_wrap(&err, r, "cannot %s", steps[i].what);
        give_up(in, &err);
    }
}

#define RUN_STEPS(in, list) run_steps(in, list, sizeof(list) / sizeof((list)[0]))

/* Waits for a note of this type and keeps its text. */
static struct gvm_str await_text(struct sandbox_init *in, enum sandbox_note_type want, size_t max)
{
    struct sandbox_note note;
    char *text = gvm_arena_alloc(in->arena, max + 1);
    if (!text)
        _exit(125);
    for (;;) {
        ssize_t n = sandbox_recv(in->ctl, &note, text, max, NULL, NULL);
        if (n < 0)
            _exit(137);
        if (note.type == SANDBOX_NOTE_SIGNAL)
            _exit(128 + note.value); /* no agent yet that could have it */
        if (note.type == (uint32_t)want)
            return (struct gvm_str){text, (size_t)n};
    }
}

/* ---- after the agent was started ---- */

static int exit_code(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The agent is gone: whatever it left running goes too, so that when the launcher hears of the end
 * nobody writes any more. What takes long afterwards is only the kernel's unmounting, which syncs
 * the file system of the upper layers; nobody waits for that. */
static _Noreturn void end_all(struct sandbox_init *in, int code)
{
    do
        kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR);
    if (sandbox_send(in->ctl, SANDBOX_NOTE_EXIT, code, NULL, 0, NULL, 0) < 0)
        code = 137;
    _exit(code);
}

/* Reaps whoever ended; the agent's end is the end of all. */
static void reap(struct sandbox_init *in, int signal_fd)
{
    struct signalfd_siginfo info;
    if (signal_fd >= 0 && read(signal_fd, &info, sizeof(info)) < 0 && errno != EAGAIN)
        _exit(137);
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0)
            return;
        if (pid == in->agent)
            end_all(in, exit_code(status));
    }
}

/* A socket of this network for the launcher, which does the rest with it. */
static void hand_out_socket(struct sandbox_init *in, int family)
{
    bool known = in->plan->publish && (family == AF_INET || family == AF_INET6);
    int fd = known ? socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    if (sandbox_send(in->ctl, SANDBOX_NOTE_SOCKET, family, NULL, 0, &fd, fd >= 0) < 0)
        _exit(137);
    gvm_close(&fd);
}

static void serve_launcher(struct sandbox_init *in)
{
    struct sandbox_note note;
    char text[16];
    if (sandbox_recv(in->ctl, &note, text, sizeof(text) - 1, NULL, NULL) < 0)
        _exit(137);
    if (note.type == SANDBOX_NOTE_SOCKET)
        hand_out_socket(in, note.value);
    if (note.type == SANDBOX_NOTE_SIGNAL && note.value > 0 && kill(-in->agent, note.value) < 0)
        kill(in->agent, note.value);
}

static _Noreturn void serve(struct sandbox_init *in, int signal_fd)
{
    struct pollfd p[2] = {{.fd = in->ctl, .events = POLLIN}, {.fd = signal_fd, .events = POLLIN}};
    reap(in, -1); /* it may be over already */
    for (;;) {
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            _exit(137);
        if (p[1].revents)
            reap(in, signal_fd);
        if (p[0].revents)
            serve_launcher(in);
    }
}

/* The agent's output ends with the agent, and the host's terminal is none of init's business. */
static void let_go_of_stdio(void)
{
    GVM_AUTOCLOSE int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++)
        if (null_fd < 0 || dup2(null_fd, fd) < 0)
            _exit(125);
}

static int open_signals(void)
{
    sigset_t all, chld;
    sigfillset(&all);
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_SETMASK, &all, NULL);
    return signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* From here on the network is the launcher's to hold. */
static void hand_over(struct sandbox_init *in)
{
    int fds[GVM_SANDBOX_LISTENERS + 1];
    memcpy(fds, in->listeners, sizeof(in->listeners));
    fds[GVM_SANDBOX_LISTENERS] = in->counts;
    if (sandbox_send(in->ctl, SANDBOX_NOTE_LISTENERS, 0, NULL, 0, fds, GVM_SANDBOX_LISTENERS + 1) <
        0)
        _exit(137);
    for (int i = 0; i < GVM_SANDBOX_LISTENERS; i++)
        gvm_close(&in->listeners[i]);
    gvm_close(&in->counts);
}

static void tell_started(struct sandbox_init *in)
{
    int fds[2];
    unsigned n = 0;
    if (in->pty >= 0)
        fds[n++] = in->pty;
    if (in->denials >= 0)
        fds[n++] = in->denials;
    if (sandbox_send(in->ctl, SANDBOX_NOTE_STARTED, 0, NULL, 0, fds, n) < 0)
        _exit(137);
    gvm_close(&in->pty);
    gvm_close(&in->denials);
}

_Noreturn void sandbox_init_main(const struct gvm_sandbox_plan *plan, struct gvm_arena *arena,
                                 int ctl, uid_t uid, gid_t gid, bool own_limits)
{
    struct sandbox_init in = {.plan = plan,
                              .own_limits = own_limits,
                              .arena = arena,
                              .ctl = CTL_FD,
                              .uid = uid,
                              .gid = gid,
                              .pty = -1,
                              .denials = -1,
                              .counts = -1,
                              .layers = -1,
                              .etc.fd = -1};
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
        (ctl != CTL_FD && dup3(ctl, CTL_FD, O_CLOEXEC) < 0) ||
        syscall(SYS_close_range, CTL_FD + 1, ~0u, 0) < 0)
        _exit(125);
    int signal_fd = open_signals();
    in.umask = umask(0); /* every mode below is meant as written */
    RUN_STEPS(&in, before_listeners);
    hand_over(&in);
    RUN_STEPS(&in, before_ca);
    in.private_etc = await_text(&in, SANDBOX_NOTE_PRIVATE, SANDBOX_MAX_PRIVATE);
    RUN_STEPS(&in, after_help);
    in.ca_pem = await_text(&in, SANDBOX_NOTE_START, SANDBOX_MAX_CA);
    RUN_STEPS(&in, before_agent);
    struct gvm_err err = {0};
    if (sandbox_test_fails("late-word")) /* the agent runs, and nobody knows */
        poll(NULL, 0, 3000);
    let_go_of_stdio();
    if (signal_fd < 0 || sandbox_seccomp_init(&in, &err) < 0) {
        if (!err.code)
            gvm_err_set(&err, EMFILE, "cannot watch the agent");
        give_up(&in, &err);
    }
    tell_started(&in);
    serve(&in, signal_fd);
}
