/* While the agent runs: its terminal, our signals, the daemon, the record, and the limits. */
#include "cli/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define TICK_MS      100 /* while the daemon is away, or the record must be asked again */
#define DISK_NS      INT64_C(1000000000)
#define DISK_SLACK   (UINT64_C(16) << 20)
#define DEFAULT_DISK (UINT64_C(2) << 30)

enum {
    P_SANDBOX,
    P_SIGNAL,
    P_DAEMON,
    P_WATCH,
    P_PUBLISH,
    P_DENIED,
    P_OUT,
    P_ERR,
    P_MASTER,
    P_STDIN,
    P_COUNT
};

struct loop {
    struct run *r;
    struct run_tty *tty;
    int signal_fd;
    int64_t timeout_ns, kill_ns, disk_ns, memory_ns; /* moments; 0 = never */
    int64_t disk_seen_ns;                            /* the last look ... */
    uint64_t disk_sum;                               /* ... and what it found */
    uint64_t held; /* bytes that were there when writing was stopped; 0 = it is not */
    bool told_disk;
    bool synced;
};

/* A signal the caller ignores (nohup, a background job of an old shell) stays ignored. */
int run_block_signals(struct run *r, struct gvm_err *err)
{
    static const int caught[] = {SIGINT,   SIGTERM, SIGHUP,  SIGQUIT,
                                 SIGWINCH, SIGUSR1, SIGUSR2, SIGCONT};
    struct sigaction found;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&r->caught);
    for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
        if (sigaction(caught[i], NULL, &found) == 0 && found.sa_handler != SIG_IGN)
            sigaddset(&r->caught, caught[i]);
    if (sigprocmask(SIG_BLOCK, &r->caught, &r->old_mask) < 0)
        return gvm_err_sys(err, errno, "cannot block signals");
    return 0;
}

void run_ended_by(struct run *r, const char *why)
{
    if (!r->record.why[0])
        snprintf(r->record.why, sizeof(r->record.why), "%s", why);
}

/* Asks the agent to end, and sees to it that it does. */
static void ask_to_end(struct loop *l, int sig)
{
    int64_t now = gvm_mono_ns();
    if (gvm_sandbox_signal(l->r->sandbox, sig) < 0)
        gvm_sandbox_kill(l->r->sandbox);
    if (!l->kill_ns)
        l->kill_ns = now + (int64_t)(l->r->opt.grace_ms ? l->r->opt.grace_ms : RUN_GRACE_MS) *
                               INT64_C(1000000);
}

/* Ctrl-Z and fg. */
static void resume(struct loop *l)
{
    if (l->tty)
        run_tty_resume(l->tty);
    if (gvm_sandbox_signal(l->r->sandbox, SIGCONT) < 0)
        gvm_sandbox_kill(l->r->sandbox);
}

static void suspend(struct loop *l)
{
    if (gvm_sandbox_signal(l->r->sandbox, SIGSTOP) < 0)
        gvm_sandbox_kill(l->r->sandbox);
    run_tty_suspend(l->tty);
    resume(l);
}

static void take_signals(struct loop *l)
{
    struct signalfd_siginfo info;
    while (read(l->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        int sig = (int)info.ssi_signo;
        bool stop = sig == SIGTERM && info.ssi_code == SI_QUEUE &&
                    (info.ssi_int == RUN_STOP_ASK || info.ssi_int == RUN_STOP_NOW);
        if (stop)
            run_ended_by(l->r, "stop");
        if (stop && info.ssi_int == RUN_STOP_NOW)
            gvm_sandbox_kill(l->r->sandbox);
        else if (sig == SIGWINCH && l->tty)
            run_tty_resize(l->tty);
        else if (sig == SIGINT || sig == SIGTERM || sig == SIGHUP || sig == SIGQUIT)
            ask_to_end(l, sig);
        else if (sig == SIGCONT)
            resume(l);
        else if ((sig == SIGUSR1 || sig == SIGUSR2) && gvm_sandbox_signal(l->r->sandbox, sig) < 0)
            gvm_sandbox_kill(l->r->sandbox);
    }
}

/* ---- limits ---- */

/* When to look again: as the limit comes near, more often; but a long walk is taken less often. */
static void plan_disk(struct loop *l, int64_t now, uint64_t sum, uint64_t max)
{
    int64_t cost = gvm_mono_ns() - now, next = DISK_NS;
    uint64_t grew = sum > l->disk_sum ? sum - l->disk_sum : 0;
    int64_t since = l->disk_seen_ns ? now - l->disk_seen_ns : DISK_NS;
    if (sum > max || l->held)
        next = DISK_NS / 4;
    else if (grew) /* half of the time that is left at this pace */
        next = (int64_t)((double)(max - sum) / (double)grew * (double)since / 2);
    next = next < DISK_NS / 20 ? DISK_NS / 20 : next > DISK_NS ? DISK_NS : next;
    l->disk_sum = sum;
    l->disk_seen_ns = now;
    l->disk_ns = gvm_mono_ns() + (cost * 20 > next ? cost * 20 : next);
}

/* Over the limit nothing can be written any more; what goes on growing all the same is ended. */
static void hold_disk(struct loop *l, uint64_t sum, uint64_t max)
{
    struct run *r = l->r;
    bool full = sum > max || (l->held && sum > max - max / 64);
    if (full && !l->held) {
        l->held = sum;
        if (!l->told_disk)
            cli_say("the agent has written %llu bytes (--disk): what would make a file grow fails "
                    "now, until it deletes something",
                    (unsigned long long)max);
        l->told_disk = true;
    }
    if (full || l->held)
        gvm_sandbox_hold_writes(r->sandbox, full);
    if (!full)
        l->held = 0;
    if (full && sum > l->held && sum - l->held > max / 8 + DISK_SLACK) {
        r->disk_full = true;
        run_ended_by(r, "disk");
        cli_say("the agent wrote more than %llu bytes and was ended (--disk)",
                (unsigned long long)max);
        gvm_sandbox_kill(r->sandbox);
    }
}

static void check_disk(struct loop *l, int64_t now)
{
    struct run *r = l->r;
    struct gvm_err err = {0};
    if (!l->synced && gvm_run_record_write(r->dir, &r->record, &err) < 0)
        cli_say("%s", err.text);
    l->synced = true; /* a run of less than a second is put on disk with its end */
    uint64_t max = r->opt.max_disk ? r->opt.max_disk : DEFAULT_DISK;
    uint64_t sum = gvm_sandbox_disk(r->sandbox);
    if (!r->disk_full)
        hold_disk(l, sum, max);
    plan_disk(l, now, sum, max);
}

static void check_memory(struct loop *l, int64_t now)
{
    if (gvm_sandbox_over_memory(l->r->sandbox) && !l->r->memory_full) {
        l->r->memory_full = true;
        run_ended_by(l->r, "memory");
        gvm_sandbox_kill(l->r->sandbox);
    }
    l->memory_ns = now + GVM_SANDBOX_MEMORY_MS * INT64_C(1000000);
}

static void check_times(struct loop *l)
{
    int64_t now = gvm_mono_ns();
    if (l->memory_ns && now >= l->memory_ns)
        check_memory(l, now);
    if (l->timeout_ns && now >= l->timeout_ns) {
        l->timeout_ns = 0;
        l->r->timed_out = true;
        run_ended_by(l->r, "timeout");
        cli_say("time is up (--timeout)");
        ask_to_end(l, SIGTERM);
    }
    if (l->kill_ns && now >= l->kill_ns) {
        l->kill_ns = 0;
        run_ended_by(l->r, "grace");
        gvm_sandbox_kill(l->r->sandbox);
    }
    if (now >= l->disk_ns)
        check_disk(l, now);
}

static int wait_ms(const struct loop *l)
{
    int64_t now = gvm_mono_ns(), next = l->disk_ns;
    if (l->timeout_ns && l->timeout_ns < next)
        next = l->timeout_ns;
    if (l->kill_ns && l->kill_ns < next)
        next = l->kill_ns;
    if (l->memory_ns && l->memory_ns < next)
        next = l->memory_ns;
    int64_t ms = next > now ? (next - now) / 1000000 + 1 : 0;
    bool soon = !l->r->chan || (l->r->watch && run_watch_fd(l->r) < 0);
    return (int)(soon && ms > TICK_MS ? TICK_MS : ms);
}

/* ---- the loop ---- */

static void set_polls(const struct loop *l, struct pollfd p[P_COUNT])
{
    const struct run *r = l->r;
    p[P_SANDBOX] = (struct pollfd){.fd = gvm_sandbox_fd(r->sandbox), .events = POLLIN};
    p[P_SIGNAL] = (struct pollfd){.fd = l->signal_fd, .events = POLLIN};
    short flush = r->chan && gvm_chan_wants_write(r->chan) ? POLLOUT : 0;
    p[P_DAEMON] = (struct pollfd){.fd = r->chan ? gvm_chan_fd(r->chan) : -1,
                                  .events = (short)(POLLIN | flush)};
    p[P_WATCH] = (struct pollfd){.fd = run_watch_fd(r), .events = POLLIN};
    p[P_PUBLISH] = (struct pollfd){.fd = run_publish_fd(r), .events = POLLIN};
    p[P_OUT] = (struct pollfd){.fd = run_output_fd(r, 0), .events = POLLIN};
    p[P_ERR] = (struct pollfd){.fd = run_output_fd(r, 1), .events = POLLIN};
    p[P_DENIED] = (struct pollfd){.fd = run_denied_fd(r), .events = POLLIN};
    p[P_MASTER] = (struct pollfd){.fd = -1};
    p[P_STDIN] = (struct pollfd){.fd = -1};
    if (l->tty) {
        short out = run_tty_wants_write(l->tty) ? POLLOUT : 0;
        p[P_MASTER] =
            (struct pollfd){.fd = gvm_sandbox_pty(r->sandbox), .events = (short)(POLLIN | out)};
        p[P_STDIN] = (struct pollfd){.fd = run_tty_in(l->tty), .events = POLLIN};
    }
}

static void serve(struct loop *l, const struct pollfd p[P_COUNT])
{
    if (p[P_SIGNAL].revents)
        take_signals(l);
    if (l->tty && (p[P_MASTER].revents & POLLIN))
        run_tty_output(l->tty);
    if (l->tty && (p[P_MASTER].revents & POLLOUT))
        run_tty_flush(l->tty);
    if (l->tty && p[P_STDIN].revents)
        run_tty_input(l->tty);
    if (l->tty && run_tty_wants_suspend(l->tty))
        suspend(l);
    if (p[P_OUT].revents || p[P_ERR].revents)
        run_output_tick(l->r);
    if (p[P_DENIED].revents)
        run_denied_tick(l->r);
    run_daemon_tick(l->r, p[P_DAEMON].revents != 0);
    if (l->r->watch)
        run_watch_tick(l->r);
    check_times(l);
}

static int until_ended(struct loop *l, struct gvm_err *err)
{
    struct pollfd p[P_COUNT];
    while (!gvm_sandbox_ended(l->r->sandbox)) {
        run_publish_tick(l->r); /* before each wait: a socket may have arrived just now */
        set_polls(l, p);
        if (poll(p, P_COUNT, wait_ms(l)) < 0 && errno != EINTR)
            return gvm_err_sys(err, errno, "cannot wait for the agent");
        serve(l, p);
        /* A hung-up master (nobody has the terminal open) would wake us for ever. */
        if (l->tty && (p[P_MASTER].revents & POLLHUP) && !(p[P_MASTER].revents & POLLIN))
            poll(NULL, 0, 5);
    }
    return gvm_sandbox_wait(l->r->sandbox, &l->r->exit_code, err);
}

int run_loop(struct run *r, struct gvm_err *err)
{
    int64_t now = gvm_mono_ns();
    struct loop l = {.r = r, .signal_fd = -1, .disk_ns = now + DISK_NS / 4};
    if (r->opt.timeout_ms)
        l.timeout_ns = now + (int64_t)r->opt.timeout_ms * 1000000;
    if (gvm_sandbox_watches_memory(r->sandbox))
        l.memory_ns = now + 1;
    l.signal_fd = signalfd(-1, &r->caught, SFD_CLOEXEC | SFD_NONBLOCK);
    int x = l.signal_fd < 0 ? gvm_err_sys(err, errno, "cannot watch signals") : 0;
    l.tty = run_tty_open(r);
    if (x == 0)
        x = until_ended(&l, err);
    run_tty_close(l.tty);
    run_output_close(r);
    take_signals(&l); /* a late one was for the agent, which is gone */
    sigprocmask(SIG_SETMASK, &r->old_mask, NULL);
    gvm_close(&l.signal_fd);
    if (r->memory_full || gvm_sandbox_starved(r->sandbox))
        cli_say("the agent needed more than %llu bytes of memory (--memory): %s",
                (unsigned long long)r->opt.max_memory,
                r->memory_full ? "it was ended" : "the kernel ended what took too much");
    if (x == 0 && r->timed_out)
        r->exit_code = GVM_EXIT_TIMEOUT;
    return x;
}
