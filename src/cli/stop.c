/* gvm stop: ends a run, or the daemon, and waits until it is gone. */
#include "cli/run.h"
#include "cli/verbs.h"
#include "review/review.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STOP_TIMEOUT_MS  15000
#define FORCE_TIMEOUT_MS 4000 /* for the record to be written */

const char cli_stop_usage[] =
    "usage: gvm stop [--force] [RUN]\n"
    "\n"
    "With RUN, the id of a run or its beginning: asks its agent to end (SIGTERM), has\n"
    "it killed ten seconds later (gvm run --grace), and waits until it is gone; what\n"
    "it wrote is kept.\n"
    "Without: ends the daemon and waits until it is gone. Refused while agents run,\n"
    "because they would lose their way out. Nothing to do when no daemon runs.\n"
    "\n"
    "      --force  the daemon also while agents run; a run at once\n"
    "  -h, --help   this text\n";

/* A pidfd of who listens at the other end, by the kernel's word: it also names a daemon that does
 * not understand us. */
static int open_daemon(struct gvm_chan *chan, struct ucred *ret_who, struct gvm_err *err)
{
    socklen_t n = sizeof(*ret_who);
    if (getsockopt(gvm_chan_fd(chan), SOL_SOCKET, SO_PEERCRED, ret_who, &n) < 0)
        return gvm_err_sys(err, errno, "cannot tell who listens");
    int fd = (int)syscall(SYS_pidfd_open, ret_who->pid, 0);
    return fd < 0 ? gvm_err_sys(err, errno, "cannot watch gvmd (pid %d)", (int)ret_who->pid) : fd;
}

static int ask_to_stop(struct gvm_chan *chan, int pidfd, bool force, struct gvm_err *err)
{
    struct gvm_str body = force ? GVM_STR("{\"force\":true}") : GVM_STR("");
    struct gvm_msg m = {0};
    int r = gvm_chan_call(chan, GVM_MSG_CLIENT_STOP, body.p, body.n, NULL, 0, 10000, NULL, NULL, &m,
                          err);
    gvm_msg_done(&m);
    if (r == -EBUSY)
        return gvm_err_wrap(err, r, "not stopped (gvm stop --force stops it anyway)");
    if (r == -EPROTONOSUPPORT && !force)
        return gvm_err_set(
            err, EPROTONOSUPPORT,
            "the gvmd that runs is of another version, and agents that run now would "
            "lose their way out; gvm stop --force ends it");
    if (r == -EPROTONOSUPPORT || (r == -EPIPE && force))
        r = syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) < 0 && errno != ESRCH
                ? gvm_err_sys(err, errno, "cannot end gvmd")
                : 0;
    /* A daemon that is gone before its answer arrived has done what was asked. */
    return r == -EPIPE ? 0 : r;
}

/* A zombie has ended. */
static int wait_gone(int pidfd, pid_t pid, struct gvm_err *err)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int64_t until = gvm_mono_ns() + STOP_TIMEOUT_MS * INT64_C(1000000);
    int r;
    do {
        int64_t left = (until - gvm_mono_ns()) / 1000000;
        r = poll(&p, 1, left > 0 ? (int)left : 0);
    } while (r < 0 && errno == EINTR);
    return r == 1 ? 0 : gvm_err_set(err, ETIMEDOUT, "gvmd (pid %d) does not end", (int)pid);
}

static int stop(bool force, struct gvm_err *err)
{
    struct gvm_chan *chan = NULL;
    struct ucred who;
    int r = cli_connect(false, &chan, err);
    if (r == -ENOENT || r == -ECONNREFUSED) {
        cli_say("gvmd is not running");
        return 0;
    }
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int pidfd = open_daemon(chan, &who, err);
    r = pidfd < 0 ? pidfd : ask_to_stop(chan, pidfd, force, err);
    gvm_chan_free(chan);
    return r < 0 ? r : wait_gone(pidfd, who.pid, err);
}

/* ---- a run ---- */

static bool wait_run(const struct gvm_run_record *rec, int ms)
{
    for (int waited = 0; gvm_run_is_live(rec) && kill(rec->launcher, 0) == 0; waited += 20) {
        if (waited > ms)
            return false;
        poll(NULL, 0, 20);
    }
    return true;
}

/* The launcher does the rest: it asks the agent, has patience, then none, and records how it ended.
 * One that does not even do that is killed, and its sandbox ends with it. */
static int stop_run(const char *name, bool force, struct gvm_err *err)
{
    char id[GVM_MAX_RUN_ID + 1], dir[GVM_PATH_MAX];
    struct gvm_run_record rec;
    union sigval what = {.sival_int = force ? RUN_STOP_NOW : RUN_STOP_ASK};
    int r = cli_find_run(name, id, dir, err);
    if (r == 0)
        r = gvm_run_record_read(dir, &rec, err);
    if (r < 0)
        return r;
    if (!gvm_run_is_live(&rec)) {
        cli_say("run %s has ended already", id);
        return 0;
    }
    if (sigqueue(rec.launcher, SIGTERM, what) < 0 && errno != ESRCH)
        return gvm_err_sys(err, errno, "cannot end run %s", id);
    if (wait_run(&rec, force ? FORCE_TIMEOUT_MS : STOP_TIMEOUT_MS))
        return 0;
    if (!force)
        return gvm_err_set(
            err, ETIMEDOUT,
            "run %s (pid %d) was asked to end and has not yet (see gvm run --grace); "
            "gvm stop --force %s ends it at once",
            id, (int)rec.launcher, id);
    if (kill(rec.launcher, SIGKILL) < 0 && errno != ESRCH)
        return gvm_err_sys(err, errno, "cannot kill run %s", id);
    if (!wait_run(&rec, FORCE_TIMEOUT_MS))
        return gvm_err_set(err, ETIMEDOUT, "run %s (pid %d) does not end", id, (int)rec.launcher);
    gvm_sandbox_sweep(dir);
    return 0;
}

int cli_stop(int argc, char **argv)
{
    static const struct option longs[] = {
        {"force", no_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'}, {0}};
    bool force = false;
    for (int c; (c = getopt_long(argc, argv, "fh", longs, NULL)) != -1;) {
        switch (c) {
        case 'f':
            force = true;
            break;
        case 'h':
            return cli_help(cli_stop_usage);
        default:
            return cli_bad_option("stop", argv);
        }
    }
    if (argc - optind > 1)
        return cli_usage("stop", "takes one run");
    struct gvm_err err = {0};
    if (optind < argc)
        return stop_run(argv[optind], force, &err) < 0 ? cli_fail(GVM_EXIT_ERROR, &err)
                                                       : GVM_EXIT_OK;
    return stop(force, &err) < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : GVM_EXIT_OK;
}
