/* The four children: each is this program again, with its parent channel on one descriptor.
 *
 * Wiring: whoever starts gets one end of a fresh pair to everybody who runs, and they the other
 * end. START, then the policies in force, then the PEERs travel on the one ordered parent channel;
 * so a child that knows a peer already knows every policy that peer may speak of. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/daemon_int.h"

#define CHILD_FD 3
#define NS       1000000000ll
#define STOP_MS  4000 /* for one child to finish; then it is killed */

void daemon_children_init(struct daemon *d)
{
    static const enum gvm_role order[DAEMON_CHILDREN] = {GVM_ROLE_KEYS, GVM_ROLE_LEDGER,
                                                         GVM_ROLE_PROXY, GVM_ROLE_CONTROL};
    for (unsigned i = 0; i < DAEMON_CHILDREN; i++)
        d->children[i] = (struct daemon_child){.role = order[i]};
}

struct daemon_child *daemon_child(struct daemon *d, enum gvm_role role)
{
    unsigned i = 0;
    while (i + 1 < DAEMON_CHILDREN && d->children[i].role != role)
        i++;
    return &d->children[i];
}

/* ---- becoming a child ---- */

/* Only what a child may know of our environment. */
static char **clean_environment(char *env[8])
{
    static const char *const kept[] = {"GVM_LOG",       "GVM_CONFINE_LOG", "ASAN_OPTIONS",
                                       "UBSAN_OPTIONS", "LSAN_OPTIONS",    "PATH"};
    unsigned n = 0;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        size_t len = strlen(kept[i]);
        for (char **e = environ; *e; e++) {
            if (strncmp(*e, kept[i], len) == 0 && (*e)[len] == '=')
                env[n++] = *e;
        }
        if (n == 7)
            break;
    }
    env[n] = NULL;
    return env;
}

/* After fork, before exec: one channel, stderr, nothing else. */
static void become(const char *role, int fd, pid_t parent)
{
    char number[16], *env[8];
    snprintf(number, sizeof number, "%d", CHILD_FD);
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGINT, SIG_IGN); /* the terminal's; the parent decides */
    (void)signal(SIGHUP, SIG_IGN);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
        _exit(1);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 10); /* out of the way of 0 to 3 */
    if (null_fd < 0 || high < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 ||
        dup2(high, CHILD_FD) < 0)
        _exit(1);
    (void)syscall(SYS_close_range, CHILD_FD + 1, ~0u, 0);
    char *argv[] = {
        (char *)"gvmd", (char *)"--child", (char *)(uintptr_t)role, (char *)"--fd", number, NULL};
    execve("/proc/self/exe", argv, clean_environment(env));
    dprintf(2, "gvmd: cannot execute the %s process: %s\n", role, strerrordesc_np(errno));
    _exit(127);
}

static int spawn(struct daemon_child *c, struct gvm_err *err)
{
    int pair[2];
    int r = gvm_ipc_pair(pair);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot make a channel");
    GVM_AUTOCLOSE int ours = pair[0];
    GVM_AUTOCLOSE int theirs = pair[1];
    struct gvm_chan *chan = gvm_chan_new(ours, GVM_ROLE_PARENT, c->role, DAEMON_QUEUE);
    if (!chan)
        return gvm_err_set(err, ENOMEM, "out of memory");
    gvm_steal_fd(&ours);
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        become(gvm_role_name(c->role), theirs, self);
    if (pid < 0) {
        gvm_chan_free(chan);
        return gvm_err_sys(err, errno, "cannot start the %s process", gvm_role_name(c->role));
    }
    c->pid = pid;
    c->chan = chan;
    c->ready = false;
    c->again_ns = 0;
    c->started_ns = gvm_mono_ns();
    return 0;
}

int daemon_child_send(struct daemon_child *c, enum gvm_msg_type type, uint64_t id, const void *data,
                      size_t len, const int *fds, unsigned nfds)
{
    if (!c->chan)
        return -EPIPE;
    int r = gvm_chan_send(c->chan, type, id, data, len, fds, nfds);
    if (r == -EPIPE || r == -ENOBUFS) { /* gone, or it stopped reading */
        gvm_chan_free(c->chan);
        c->chan = NULL;
        if (c->pid)
            (void)kill(c->pid, SIGKILL);
    }
    return r;
}

static int send_peer(struct daemon_child *to, enum gvm_role who, int fd)
{
    struct gvm_m_peer p = {.role = who};
    return daemon_child_send(to, GVM_MSG_PEER, 0, &p, sizeof p, &fd, 1);
}

/* A fresh pair between two children. A failure shows as a closed channel, which restarts that side.
 */
static int wire(struct daemon_child *a, struct daemon_child *b)
{
    int pair[2];
    int r = gvm_ipc_pair(pair);
    if (r < 0)
        return r;
    r = send_peer(a, b->role, pair[0]);
    if (r == 0)
        (void)send_peer(b, a->role, pair[1]);
    close(pair[0]);
    close(pair[1]);
    return r;
}

int daemon_child_start(struct daemon *d, struct daemon_child *c, struct gvm_err *err)
{
    int r = spawn(c, err);
    if (r < 0)
        return r;
    r = daemon_send_start(d, c, err);
    if (r < 0)
        return r;
    daemon_policies_resend(d, c->role);
    for (unsigned i = 0; i < DAEMON_CHILDREN; i++) {
        struct daemon_child *other = &d->children[i];
        if (other == c || !other->chan)
            continue;
        r = wire(c, other);
        if (r < 0)
            return gvm_err_sys(err, -r, "cannot connect %s and %s", gvm_role_name(c->role),
                               gvm_role_name(other->role));
    }
    return 0;
}

/* ---- death and return ---- */

/* True when this is one restart too many. */
static bool too_many(struct daemon *d)
{
    int64_t now = gvm_mono_ns(), *oldest = &d->restart_times[d->restart_next];
    bool over = *oldest && now - *oldest < DAEMON_RESTART_WINDOW * NS;
    *oldest = now;
    d->restart_next = (d->restart_next + 1) % DAEMON_RESTARTS;
    return over;
}

static int lost(struct daemon *d, struct daemon_child *c, int status, struct gvm_err *err)
{
    const char *name = gvm_role_name(c->role);
    if (WIFSIGNALED(status))
        gvm_log(GVM_LOG_WARN, "the %s process (pid %d) died of signal %d", name, (int)c->pid,
                WTERMSIG(status));
    else
        gvm_log(GVM_LOG_WARN, "the %s process (pid %d) ended with code %d", name, (int)c->pid,
                WEXITSTATUS(status));
    int64_t now = gvm_mono_ns();
    c->quick = now - c->started_ns < NS ? c->quick + 1 : 0;
    c->pid = 0;
    c->ready = false;
    gvm_chan_free(c->chan);
    c->chan = NULL;
    if (!d->serving)
        return gvm_err_set(err, ECHILD, "the %s process ended while starting (its words are above)",
                           name);
    if (too_many(d))
        return gvm_err_set(err, ENOTRECOVERABLE,
                           "%u processes died within %d seconds, the last one %s: giving up",
                           DAEMON_RESTARTS, DAEMON_RESTART_WINDOW, name);
    /* At once the first time, then 20 ms, 40 ms ... 1.28 s. */
    unsigned shift = c->quick > 7 ? 7 : c->quick;
    c->again_ns = now + (c->quick ? (10000000ll << shift) : 0);
    c->restarts++;
    daemon_job_child_lost(d, c->role);
    return 0;
}

int daemon_children_reap(struct daemon *d, struct gvm_err *err)
{
    for (unsigned i = 0; i < DAEMON_CHILDREN; i++) {
        struct daemon_child *c = &d->children[i];
        int status;
        if (!c->pid || waitpid(c->pid, &status, WNOHANG) != c->pid)
            continue;
        int r = lost(d, c, status, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int daemon_children_due(struct daemon *d)
{
    int64_t now = gvm_mono_ns(), next = INT64_MAX;
    for (unsigned i = 0; i < DAEMON_CHILDREN; i++) {
        struct daemon_child *c = &d->children[i];
        if (c->pid || !c->again_ns)
            continue;
        struct gvm_err err = {0};
        if (c->again_ns <= now && daemon_child_start(d, c, &err) < 0) {
            gvm_log(GVM_LOG_ERROR, "%s", err.text);
            if (!c->pid)
                c->again_ns = now + NS;
        }
        if (!c->pid && c->again_ns < next)
            next = c->again_ns;
    }
    return next == INT64_MAX ? -1 : (int)((next - now) / 1000000) + 1;
}

/* ---- the end ---- */

/* Lets `c` finish; what it still says is of no interest. */
static void stop_child(struct daemon_child *c)
{
    if (!c->pid)
        return;
    (void)daemon_child_send(c, GVM_MSG_STOP, 0, NULL, 0, NULL, 0);
    int64_t deadline = gvm_mono_ns() + STOP_MS * 1000000ll;
    int status;
    while (waitpid(c->pid, &status, WNOHANG) == 0) {
        struct gvm_msg m;
        while (c->chan && gvm_chan_recv(c->chan, &m) == 1)
            gvm_msg_done(&m);
        if (c->chan)
            (void)!gvm_chan_flush(c->chan);
        if (gvm_mono_ns() > deadline) {
            gvm_log(GVM_LOG_WARN, "the %s process does not end; killed", gvm_role_name(c->role));
            (void)kill(c->pid, SIGKILL);
            deadline = INT64_MAX;
        }
        (void)poll(NULL, 0, 2);
    }
    c->pid = 0;
    gvm_chan_free(c->chan);
    c->chan = NULL;
}

void daemon_children_stop(struct daemon *d)
{
    /* No new work, no traffic; then the last words; the signer of the record goes last. */
    stop_child(daemon_child(d, GVM_ROLE_CONTROL));
    stop_child(daemon_child(d, GVM_ROLE_PROXY));
    if (d->serving)
        daemon_note(d, "daemon.stop");
    stop_child(daemon_child(d, GVM_ROLE_LEDGER));
    stop_child(daemon_child(d, GVM_ROLE_KEYS));
}
