/* The launcher's side: clones the init, takes its listeners, hands it the CA, hears how it ended.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_SOCKETS 256

struct gvm_sandbox {
    struct gvm_sandbox_plan plan;
    struct gvm_arena *arena;
    pid_t pid;
    int pidfd, ctl, pty;
    int denials; /* listener of the agent's seccomp filter; -1 = none */
    int listeners[GVM_SANDBOX_LISTENERS];
    int counts;                   /* netlink socket of the sandbox's network */
    struct sandbox_cgroup *group; /* NULL without limits that need one, or where there is none */
    bool own_limits;              /* such limits are there, and no group */
    struct {
        int fd, family;
    } socket[MAX_SOCKETS]; /* handed out by the init, not yet taken */
    unsigned nsockets;
    bool reaped; /* the init is gone and waited for */
    bool told;   /* it told the agent's exit code */
    bool helped; /* the init knows the private files of /etc */
    bool tidy;   /* no work directories are left */
    int code;
    char exec_error[GVM_ERR_TEXT];
    char notes[SANDBOX_NOTES];
    size_t notes_len;
};

/* ---- clone ---- */

static int clone_failed(int code, struct gvm_err *err)
{
    const char *hint = sandbox_userns_hint();
    int seccomp = prctl(PR_GET_SECCOMP);
    if ((code == ENOSYS || code == EPERM) && seccomp > 0)
        return gvm_err_set(err, code,
                           "cannot make a sandbox: this is inside one already, or in a container "
                           "that refuses user namespaces");
    if (code == ENOSPC || code == EUSERS)
        return gvm_err_sys(err, code,
                           "cannot make a sandbox: too many namespaces (sysctl "
                           "user.max_user_namespaces, user.max_net_namespaces)");
    if (*hint)
        return gvm_err_set(err, code, "cannot make a sandbox: %s", hint);
    return gvm_err_sys(err, code, "cannot make a sandbox: clone3 with new namespaces");
}

/* Returns 0 in the child. */
static pid_t clone_init(int *ret_pidfd)
{
    struct clone_args args = {
        .flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
                 CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .exit_signal = SIGCHLD,
    };
    return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static int start_init(struct gvm_sandbox *s, struct gvm_err *err)
{
    int pair[2], pidfd = -1;
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (sandbox_test_fails("clone"))
        return clone_failed(EPERM, err);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return gvm_err_sys(err, errno, "cannot make a channel to the sandbox");
    fflush(NULL); /* the child shares our buffers */
    pid_t pid = clone_init(&pidfd);
    if (pid == 0)
        sandbox_init_main(&s->plan, s->arena, pair[1], uid, gid, s->own_limits);
    int code = errno;
    gvm_close(&pair[1]);
    if (pid < 0) {
        gvm_close(&pair[0]);
        return clone_failed(code, err);
    }
    s->pid = pid;
    s->pidfd = pidfd;
    s->ctl = pair[0];
    return 0;
}

unsigned gvm_sandbox_layer(const char *name)
{
    return strcmp(name, "landlock") == 0 ? GVM_SANDBOX_WITHOUT_LANDLOCK
           : strcmp(name, "pids") == 0   ? GVM_SANDBOX_WITHOUT_PIDS
                                         : 0;
}

/* ---- limits that need a control group, or something in its place ---- */

static int prepare_limits(struct gvm_sandbox *s, struct gvm_err *err)
{
    const struct gvm_sandbox_plan *p = &s->plan;
    bool pids = geteuid() == 0 && !sandbox_pids_bound_root();
    if (!p->max_memory && !p->max_cpus && !pids)
        return 0;
    int r = sandbox_test_fails("cgroup") ? -ENOTSUP : sandbox_cgroup_new(p, &s->group);
    if (r == 0)
        return 0;
    if (pids && !(p->waived & GVM_SANDBOX_WITHOUT_PIDS))
        return gvm_err_set(
            err, ENOTSUP,
            "the number of root's processes cannot be limited: that needs Linux 6.14 "
            "or a pids control group, and none can be had here (%s); --without pids "
            "does without",
            strerror(-r));
    if (!p->max_memory && !p->max_cpus)
        return 0;
    s->own_limits = true;
    /* Without a group the agent is held to whole processors. */
    if (p->max_cpus % 1000)
        return gvm_err_set(err, ENOTSUP,
                           "a part of a processor (--cpus) needs a control group, and none can be "
                           "had here (%s): use a whole number, or start as root or in a delegated "
                           "unit (systemd-run --user --scope -p Delegate=yes gvm run ...)",
                           strerror(-r));
    return 0;
}

static int enter_group(struct gvm_sandbox *s, struct gvm_err *err)
{
    int r = s->group ? sandbox_cgroup_enter(s->group, s->pid) : 0;
    return r < 0 ? gvm_err_sys(err, -r, "cannot put the sandbox under its limits") : 0;
}

bool gvm_sandbox_watches_memory(const struct gvm_sandbox *s)
{
    return s->own_limits && s->plan.max_memory;
}

bool gvm_sandbox_over_memory(const struct gvm_sandbox *s)
{
    return !s->reaped && sandbox_memory(s->pid, s->plan.max_memory) > s->plan.max_memory;
}

bool gvm_sandbox_starved(const struct gvm_sandbox *s)
{
    return s->group && sandbox_cgroup_starved(s->group);
}

/* ---- what the init says ---- */

static void keep_note(struct gvm_sandbox *s, const char *text, size_t n)
{
    if (s->notes_len + n + 2 > sizeof(s->notes))
        return;
    memcpy(s->notes + s->notes_len, text, n);
    s->notes_len += n;
    s->notes[s->notes_len++] = '\n';
    s->notes[s->notes_len] = '\0';
}

/* Waits for a note of this type; remarks on the way are kept, a failure becomes err. */
static int await_note(struct gvm_sandbox *s, enum sandbox_note_type want, int *fds, unsigned *nfds,
                      struct gvm_err *err)
{
    struct sandbox_note note;
    char text[GVM_ERR_TEXT];
    for (;;) {
        unsigned room = nfds ? *nfds : 0;
        ssize_t n = sandbox_recv(s->ctl, &note, text, sizeof(text) - 1, fds, nfds ? &room : NULL);
        if (n < 0)
            return gvm_err_set(err, ECHILD, "the sandbox ended while it was being set up");
        if (note.type == (uint32_t)want) {
            if (nfds)
                *nfds = room;
            return 0;
        }
        if (note.type == SANDBOX_NOTE_FAILED)
            return gvm_err_set(err, note.value > 0 ? note.value : EIO, "%s", text);
        if (note.type == SANDBOX_NOTE_REMARK)
            keep_note(s, text, (size_t)n);
        else if (note.type == SANDBOX_NOTE_EXEC_FAILED)
            snprintf(s->exec_error, sizeof(s->exec_error), "%s", text);
    }
}

static int take_listeners(struct gvm_sandbox *s, struct gvm_err *err)
{
    int fds[GVM_SANDBOX_LISTENERS + 1];
    unsigned n = GVM_SANDBOX_LISTENERS + 1;
    int r = await_note(s, SANDBOX_NOTE_LISTENERS, fds, &n, err);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < n; i++)
        *(i < GVM_SANDBOX_LISTENERS ? &s->listeners[i] : &s->counts) = fds[i];
    return n == GVM_SANDBOX_LISTENERS + 1
               ? 0
               : gvm_err_set(err, EPROTO, "the sandbox did not hand over its listeners");
}

int gvm_sandbox_create(const struct gvm_sandbox_plan *plan, struct gvm_sandbox **ret,
                       struct gvm_err *err)
{
    int r = sandbox_plan_check(plan, err);
    if (r < 0)
        return r;
    struct gvm_sandbox *s = gvm_calloc(1, sizeof(*s));
    if (!s)
        return gvm_err_set(err, ENOMEM, "out of memory");
    s->pid = s->pidfd = s->ctl = s->pty = s->counts = s->denials = -1;
    for (int i = 0; i < GVM_SANDBOX_LISTENERS; i++)
        s->listeners[i] = -1;
    s->arena = gvm_arena_new(SANDBOX_ARENA);
    r = s->arena ? sandbox_plan_copy(s->arena, plan, &s->plan, err)
                 : gvm_err_set(err, ENOMEM, "out of memory");
    char path[GVM_PATH_MAX];
    if (r == 0 && snprintf(path, sizeof(path), "%s/root", s->plan.run_dir) >= (int)sizeof(path))
        r = gvm_err_set(err, ENAMETOOLONG, "the path of the run is too long");
    if (r == 0)
        r = gvm_mkdirs(path, 0700, err);
    if (r == 0)
        r = prepare_limits(s, err);
    if (r == 0)
        r = start_init(s, err);
    if (r == 0)
        r = enter_group(s, err);
    if (r == 0)
        r = take_listeners(s, err);
    if (r < 0) {
        gvm_sandbox_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

int gvm_sandbox_count(const struct gvm_sandbox *s, struct gvm_sandbox_counts *ret,
                      struct gvm_err *err)
{
    return sandbox_net_count(s->counts, ret, err);
}

const int *gvm_sandbox_listeners(const struct gvm_sandbox *s)
{
    return s->listeners;
}

int gvm_sandbox_help(struct gvm_sandbox *s, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf list;
    gvm_buf_init(&list, SANDBOX_MAX_PRIVATE);
    int r = geteuid() == 0 ? sandbox_private_etc(&list, err) : 0;
    if (r < 0)
        return r;
    r = sandbox_send(s->ctl, SANDBOX_NOTE_PRIVATE, 0, gvm_buf_data(&list), list.len, NULL, 0);
    if (r < 0 && r != -EPIPE)
        return gvm_err_sys(err, -r, "cannot reach the sandbox");
    s->helped = true;
    return 0;
}

/* Learns how the init ended, unless it told the code before. With `block` waits for it. */
static int reap_init(struct gvm_sandbox *s, bool block, struct gvm_err *err)
{
    siginfo_t info = {0};
    if (s->reaped)
        return 0; /* its code is known */
    while (!s->reaped) {
        if (waitid((idtype_t)P_PIDFD, (id_t)s->pidfd, &info, WEXITED | (block ? 0 : WNOHANG)) < 0 &&
            errno != EINTR)
            return gvm_err_sys(err, errno, "cannot wait for the sandbox");
        s->reaped = info.si_pid != 0;
        if (!block)
            break;
    }
    if (s->reaped && !s->told)
        s->code = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    return 0;
}

/* The agent runs before the init has told so. Whoever kills the init in that moment has ended a
 * run, and what the agent wrote is there; only an end of the init's own making is a failed setup.
 */
static bool was_killed(struct gvm_sandbox *s)
{
    return reap_init(s, true, NULL) == 0 && s->reaped && s->code == 128 + SIGKILL;
}

int gvm_sandbox_start(struct gvm_sandbox *s, struct gvm_str ca_pem, struct gvm_err *err)
{
    static const char unheard[] = "refused system calls are not recorded: the kernel, or what this "
                                  "runs in, gives no listener for them";
    int fds[2] = {-1, -1};
    unsigned n = 2, pty = s->plan.pty;
    if (ca_pem.n == 0 || ca_pem.n > SANDBOX_MAX_CA)
        return gvm_err_set(err, EINVAL, "the run has no usable CA certificate");
    int r = s->helped ? 0 : gvm_sandbox_help(s, err);
    if (r < 0)
        return r;
    r = sandbox_send(s->ctl, SANDBOX_NOTE_START, 0, ca_pem.p, ca_pem.n, NULL, 0);
    if (r < 0 && r != -EPIPE) /* EPIPE: it gave up before; its reason is still to be read */
        return gvm_err_sys(err, -r, "cannot reach the sandbox");
    struct gvm_err why = {0};
    r = await_note(s, SANDBOX_NOTE_STARTED, fds, &n, &why);
    if (r == -ECHILD && was_killed(s))
        return 0;
    if (r < 0 && err)
        *err = why;
    if (r < 0)
        return r;
    s->pty = pty ? fds[0] : -1;
    s->denials = fds[pty];
    if (pty && n == 0)
        return gvm_err_set(err, EPROTO, "the sandbox did not hand over its terminal");
    if (s->plan.record && s->denials < 0)
        keep_note(s, unheard, sizeof(unheard) - 1);
    return 0;
}

/* ---- while it runs ---- */

const char *gvm_sandbox_exec_error(const struct gvm_sandbox *s)
{
    return s->exec_error[0] ? s->exec_error : NULL;
}

const char *gvm_sandbox_notes(const struct gvm_sandbox *s)
{
    return s->notes;
}

int gvm_sandbox_fd(const struct gvm_sandbox *s)
{
    return s->ctl;
}

pid_t gvm_sandbox_pid(const struct gvm_sandbox *s)
{
    return s->pid;
}

int gvm_sandbox_pidfd(const struct gvm_sandbox *s)
{
    return s->pidfd;
}

int gvm_sandbox_pty(const struct gvm_sandbox *s)
{
    return s->pty;
}

int gvm_sandbox_denials_fd(const struct gvm_sandbox *s)
{
    return s->denials;
}

int gvm_sandbox_denied(struct gvm_sandbox *s, struct gvm_sandbox_denied *ret)
{
    return s->denials < 0 ? 0 : sandbox_denied_take(s->denials, ret);
}

static void keep_socket(struct gvm_sandbox *s, int fd, int family)
{
    if (s->nsockets == MAX_SOCKETS) {
        gvm_close(&fd);
        return;
    }
    s->socket[s->nsockets].fd = fd;
    s->socket[s->nsockets++].family = family;
}

int gvm_sandbox_ask_socket(struct gvm_sandbox *s, int family)
{
    return sandbox_send(s->ctl, SANDBOX_NOTE_SOCKET, family, NULL, 0, NULL, 0);
}

int gvm_sandbox_take_socket(struct gvm_sandbox *s, int *ret_family)
{
    if (s->nsockets == 0)
        return -1;
    s->nsockets--;
    *ret_family = s->socket[s->nsockets].family;
    return s->socket[s->nsockets].fd;
}

bool gvm_sandbox_ended(struct gvm_sandbox *s)
{
    struct pollfd p = {.fd = s->ctl, .events = POLLIN};
    struct sandbox_note note;
    char text[GVM_ERR_TEXT];
    while (!s->told && !s->reaped && s->ctl >= 0 && poll(&p, 1, 0) > 0) {
        int fd = -1;
        unsigned nfds = 1;
        ssize_t n = sandbox_recv(s->ctl, &note, text, sizeof(text) - 1, &fd, &nfds);
        if (n < 0)
            return true;
        if (note.type == SANDBOX_NOTE_SOCKET)
            keep_socket(s, nfds ? fd : -EMFILE, note.value);
        else
            gvm_close(&fd);
        if (note.type == SANDBOX_NOTE_EXIT) {
            s->told = true;
            s->code = note.value;
        }
    }
    return s->told || s->reaped;
}

int gvm_sandbox_signal(struct gvm_sandbox *s, int sig)
{
    return sandbox_send(s->ctl, SANDBOX_NOTE_SIGNAL, sig, NULL, 0, NULL, 0);
}

void gvm_sandbox_kill(struct gvm_sandbox *s)
{
    if (s->pidfd >= 0 && !s->reaped)
        syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
}

int gvm_sandbox_wait(struct gvm_sandbox *s, int *ret_code, struct gvm_err *err)
{
    struct pollfd p = {.fd = s->ctl, .events = POLLIN};
    while (!gvm_sandbox_ended(s))
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            return gvm_err_sys(err, errno, "cannot wait for the sandbox");
    int r = s->told ? 0 : reap_init(s, true, err);
    if (r < 0)
        return r;
    s->told = true;
    *ret_code = s->code;
    return 0;
}

void gvm_sandbox_hold_writes(struct gvm_sandbox *s, bool hold)
{
    if (!s->reaped && !s->told)
        sandbox_hold_writes(s->pid, hold, s->plan.max_disk);
}

uint64_t gvm_sandbox_disk(const struct gvm_sandbox *s)
{
    return sandbox_written(&s->plan);
}

void gvm_sandbox_tidy(struct gvm_sandbox *s)
{
    if (s->told && !s->tidy) {
        gvm_sandbox_sweep(s->plan.run_dir);
        s->tidy = true;
    }
}

void gvm_sandbox_free(struct gvm_sandbox *s)
{
    if (!s)
        return;
    /* An init that told the end has nothing left but to let the kernel unmount: no need to wait for
     * that. */
    if (s->pidfd >= 0 && !s->reaped) {
        gvm_sandbox_kill(s);
        if (reap_init(s, !s->told || s->group, NULL) < 0)
            s->reaped = true;
    }
    sandbox_cgroup_free(s->group);
    if (s->plan.run_dir && !s->tidy)
        gvm_sandbox_sweep(s->plan.run_dir);
    for (int i = 0; i < GVM_SANDBOX_LISTENERS; i++)
        gvm_close(&s->listeners[i]);
    gvm_close(&s->counts);
    while (s->nsockets)
        gvm_close(&s->socket[--s->nsockets].fd);
    gvm_close(&s->denials);
    gvm_close(&s->pty);
    gvm_close(&s->ctl);
    gvm_close(&s->pidfd);
    gvm_arena_free(s->arena);
    free(s);
}
