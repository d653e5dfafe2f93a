/* gvm stop: ends the daemon, and waits until it is gone. */
#include "cli/cli.h"
#include "cli/verbs.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STOP_TIMEOUT_MS 15000

const char cli_stop_usage[] =
    "usage: gvm stop [--force]\n"
    "\n"
    "Ends the daemon and waits until it is gone. Refused while agents run, because\n"
    "they would lose their way out. Nothing to do when no daemon runs.\n"
    "\n"
    "      --force  also while agents run\n"
    "  -h, --help   this text\n";

/* The daemon's pid as it says itself, 0 when it does not. */
static pid_t daemon_pid(struct gvm_chan *chan)
{
    struct gvm_msg m = {0};
    if (gvm_chan_call(chan, GVM_MSG_CLIENT_STATUS, NULL, 0, NULL, 0, 5000, NULL, NULL, &m, NULL) <
        0)
        return 0;
    struct gvm_arena *a = gvm_arena_new(2u << 20);
    struct gvm_json *info = NULL;
    pid_t pid = 0;
    if (a && gvm_json_parse(a, gvm_msg_str(&m), &info, NULL) == 0)
        pid = (pid_t)gvm_json_int(info, "pid", 0);
    gvm_arena_free(a);
    gvm_msg_done(&m);
    return pid > 1 ? pid : 0;
}

/* Waits for the process behind a pidfd (pidfd_open(2)) to end; a zombie has ended. */
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
    int r = cli_connect(false, &chan, err);
    if (r == -ENOENT || r == -ECONNREFUSED) {
        cli_say("gvmd is not running");
        return 0;
    }
    if (r < 0)
        return r;
    pid_t pid = daemon_pid(chan);
    GVM_AUTOCLOSE int pidfd = pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    struct gvm_str body = force ? GVM_STR("{\"force\":true}") : GVM_STR("");
    struct gvm_msg m = {0};
    r = gvm_chan_call(chan, GVM_MSG_CLIENT_STOP, body.p, body.n, NULL, 0, 10000, NULL, NULL, &m,
                      err);
    gvm_msg_done(&m);
    gvm_chan_free(chan);
    if (r == -EBUSY)
        return gvm_err_wrap(err, r, "not stopped (gvm stop --force stops it anyway)");
    /* A daemon that is gone before its answer arrived has done what was asked. */
    if (r < 0 && r != -EPIPE)
        return r;
    return pidfd < 0 ? 0 : wait_gone(pidfd, pid, err);
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
    if (optind < argc)
        return cli_usage("stop", "takes no arguments");
    struct gvm_err err = {0};
    return stop(force, &err) < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : GVM_EXIT_OK;
}
