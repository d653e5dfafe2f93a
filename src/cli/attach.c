/* gvm attach: what a detached run prints, as it prints it, until it ends. */
#include "cli/run.h"
#include "cli/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <unistd.h>

#define TICK_MS 50

const char cli_attach_usage[] =
    "usage: gvm attach [RUN]\n"
    "\n"
    "Prints what a run started with gvm run --detach has printed, and what it goes on\n"
    "printing until it ends. RUN is an id or its beginning; without it, the newest\n"
    "run. Ctrl-C leaves; the run goes on. Exit code: the agent's.\n"
    "\n"
    "  -h, --help  this text\n";

/* Copies what is there; the number of bytes, or a negative errno. */
static ssize_t copy(int from)
{
    char text[16384];
    ssize_t all = 0;
    for (;;) {
        ssize_t n = read(from, text, sizeof(text));
        if (n <= 0)
            return n < 0 ? -errno : all;
        int x = gvm_write_all(1, text, (size_t)n);
        if (x < 0)
            return x;
        all += n;
    }
}

static int follow(const char *dir, int from, struct gvm_run_record *rec, struct gvm_err *err)
{
    for (;;) {
        /* Asked before the copy: what an ended run printed last is then copied too. */
        int x = gvm_run_record_read(dir, rec, err);
        if (x < 0)
            return x;
        bool live = gvm_run_is_live(rec);
        ssize_t n = copy(from);
        if (n < 0)
            return gvm_err_sys(err, (int)-n, "cannot copy the output");
        if (!live)
            return 0;
        poll(NULL, 0, TICK_MS);
    }
}

static int attach(const char *name, int *ret_code, struct gvm_err *err)
{
    char id[GVM_MAX_RUN_ID + 1], dir[GVM_PATH_MAX], path[GVM_PATH_MAX + 16];
    struct gvm_run_record rec = {0};
    int x = cli_find_run(name, id, dir, err);
    if (x < 0)
        return x;
    snprintf(path, sizeof(path), "%s/" RUN_OUTPUT, dir);
    GVM_AUTOCLOSE int from = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0 && errno == ENOENT)
        return gvm_err_set(err, ENOENT,
                           "run %s was not started with --detach: its output went to "
                           "its own terminal (gvm logs %s tells what it did)",
                           id, id);
    if (from < 0)
        return gvm_err_sys(err, errno, "cannot open %s", path);
    x = follow(dir, from, &rec, err);
    if (x == 0 && !rec.ended_ns)
        return gvm_err_set(err, ESRCH, "run %s was killed", id);
    *ret_code = rec.exit_code;
    return x;
}

int cli_attach(int argc, char **argv)
{
    static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {0}};
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        if (c == 'h')
            return cli_help(cli_attach_usage);
        return cli_bad_option("attach", argv);
    }
    if (argc - optind > 1)
        return cli_usage("attach", "takes one run");
    struct gvm_err err = {0};
    int code = 0;
    return attach(argv[optind], &code, &err) < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : code;
}
