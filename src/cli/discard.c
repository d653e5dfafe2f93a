/* gvm discard: chosen changes of a run are forgotten. */
#include "cli/changes.h"
#include "cli/verbs.h"

#include <errno.h>
#include <getopt.h>
#include <unistd.h>

const char cli_discard_usage[] =
    "usage: gvm discard [RUN] [PATHS...] [--all] [--yes]\n"
    "\n"
    "Throws away changes a run staged (the newest, or the one named). Your own files\n"
    "are not touched; what the agent wrote is gone for good. Say which: PATHS (files\n"
    "or folders), or --all.\n"
    "\n"
    "      --all   everything the run left\n"
    "  -y, --yes   do not ask\n"
    "  -h, --help  this text\n";

struct options {
    bool all, yes;
};

static bool is_chosen(void *arg, const struct gvm_change *ch)
{
    const struct cli_changes *c = arg;
    return c->chosen[cli_change_index(c, ch)];
}

static int confirm(const struct cli_changes *c, const struct options *o, size_t n,
                   struct gvm_err *err)
{
    char count[64], question[160];
    if (o->yes || !o->all)
        return 0;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return gvm_err_set(err, EPERM,
                           "nothing discarded: there is no terminal to ask on; say --all --yes, "
                           "or name files");
    for (size_t i = 0; i < c->all.n; i++)
        cli_print_change(stderr, &c->all.list[i], cli_color(STDERR_FILENO));
    snprintf(question, sizeof(question), "throw away %s for good?", cli_count(n, "change", count));
    return cli_confirm(question) ? 0 : gvm_err_set(err, ECANCELED, "nothing discarded");
}

static int discard(int argc, char **argv, const struct options *o, struct gvm_err *err)
{
    GVM_CLEANUP(cli_changes_done) struct cli_changes c;
    char count[64];
    int r = cli_changes_open(argc, argv, &c, err);
    if (r < 0)
        return r;
    if (cli_changes_live(&c))
        return gvm_err_set(err, EBUSY, "the agent of run %s still runs and uses these files", c.id);
    if (!c.named && !o->all)
        return gvm_err_set(err, EINVAL,
                           "say what goes: paths, or --all (gvm diff --stat lists them)");
    size_t n = 0, done = 0;
    for (size_t i = 0; i < c.all.n; i++)
        n += c.chosen[i];
    if (n == 0) {
        cli_say("run %s has nothing to discard", c.id);
        return 0;
    }
    r = confirm(&c, o, n, err);
    if (r == 0)
        r = cli_changes_note_discard(&c, err);
    if (r == 0)
        r = gvm_changes_discard(c.dir, &c.all, is_chosen, &c, &done, err);
    if (r < 0)
        return r;
    printf("%s discarded\n", cli_count(done, "change", count));
    return done == n ? 0
                     : gvm_err_set(err, EBUSY, "%s cannot go alone: name the folder above as well",
                                   cli_count(n - done, "change", count));
}

int cli_discard(int argc, char **argv)
{
    static const struct option longs[] = {{"all", no_argument, NULL, 'a'},
                                          {"yes", no_argument, NULL, 'y'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct options o = {0};
    for (int c; (c = getopt_long(argc, argv, "yh", longs, NULL)) != -1;) {
        switch (c) {
        case 'a':
            o.all = true;
            break;
        case 'y':
            o.yes = true;
            break;
        case 'h':
            return cli_help(cli_discard_usage);
        default:
            return cli_bad_option("discard", argv);
        }
    }
    struct gvm_err err = {0};
    int r = discard(argc, argv, &o, &err);
    if (r == -EINVAL)
        return cli_usage("discard", "%s", err.text);
    return r < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
}
