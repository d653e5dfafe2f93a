/* gvm commit: chosen changes of a run land in the workspace.
 *
 * The order: choose, show and ask, put on record (durably), land. What runs on the host is asked
 * for one by one unless it was named itself or --all --yes says that everything is meant.
 */
#include "cli/changes.h"
#include "cli/verbs.h"

#include <errno.h>
#include <getopt.h>
#include <unistd.h>

const char cli_commit_usage[] =
    "usage: gvm commit [RUN] [PATHS...] [--all] [--yes] [--force] [--json]\n"
    "\n"
    "Lands changes of a run (the newest, or the one named) in your workspace. Say\n"
    "which: PATHS (files or folders), or --all for everything but caches.\n"
    "\n"
    "A file that something on your machine would execute or obey (hooks, build files,\n"
    "executables, agent configuration) needs its own yes: name it, answer the\n"
    "question on the terminal, or say --all --yes. A file of yours that changed since\n"
    "the run began is merged line by line; where both changed the same lines it is\n"
    "left alone without --force. All land or none, also when killed in the middle.\n"
    "gvm undo takes it back.\n"
    "\n"
    "      --all    everything but what is classed as discard\n"
    "  -y, --yes    do not ask\n"
    "      --force  over your own changes, without merging; keep setuid bits\n"
    "      --json   print each landed change as a JSON object, one a line\n"
    "  -h, --help   this text\n";

struct options {
    bool all, yes, force, json;
};

/* Leaves only what may land at all; says what stays. */
static size_t drop_impossible(struct cli_changes *c, const struct options *o)
{
    size_t left = 0;
    for (size_t i = 0; i < c->all.n; i++) {
        const struct gvm_change *ch = &c->all.list[i];
        if (!c->chosen[i])
            continue;
        const char *why = NULL;
        if (ch->refusal)
            why = ch->refusal;
        else if (ch->class_ == GVM_CLASS_DISCARD && !c->exact[i])
            c->chosen[i] = false; /* a cache nobody named: not worth a word */
        if (why) {
            fputs("gvm: not landed: ", stderr);
            cli_print_safe(stderr, ch->path);
            fprintf(stderr, ": %s\n", why);
            c->chosen[i] = false;
        }
        left += c->chosen[i];
    }
    return left;
}

static bool needs_own_yes(const struct cli_changes *c, size_t i, const struct options *o)
{
    return c->chosen[i] && c->all.list[i].class_ == GVM_CLASS_RUNS_ON_HOST && !c->exact[i] &&
           !(o->all && o->yes);
}

static bool ask_change(const struct gvm_change *ch)
{
    cli_print_change(stderr, ch, cli_color(STDERR_FILENO));
    return cli_confirm("     land this one?");
}

/* What runs on the host: asked for on a terminal, refused without one. */
static int ask_dangerous(struct cli_changes *c, const struct options *o, struct gvm_err *err)
{
    bool terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
    size_t refused = 0;
    for (size_t i = 0; i < c->all.n; i++) {
        if (!needs_own_yes(c, i, o))
            continue;
        if (terminal && !o->yes) {
            c->chosen[i] = ask_change(&c->all.list[i]);
            continue;
        }
        if (!refused++)
            fputs(
                "gvm: these run on your machine or are obeyed there, and each needs its own yes:\n",
                stderr);
        cli_print_change(stderr, &c->all.list[i], false);
    }
    if (!refused)
        return 0;
    return gvm_err_set(err, EPERM,
                       "nothing landed; name these files one by one, or say --all --yes");
}

/* What was listed but not named file by file is landed only after a look at the list. */
static bool ask_all(const struct cli_changes *c, const struct options *o, size_t n,
                    struct gvm_err *err)
{
    char count[64], question[160];
    if (o->yes || !o->all)
        return true;
    for (size_t i = 0; i < c->all.n; i++)
        if (c->chosen[i])
            cli_print_change(stderr, &c->all.list[i], cli_color(STDERR_FILENO));
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        gvm_err_set(
            err, EPERM,
            "nothing landed: there is no terminal to ask on; say --all --yes, or name files");
        return false;
    }
    snprintf(question, sizeof(question), "land %s?", cli_count(n, "change", count));
    if (cli_confirm(question))
        return true;
    gvm_err_set(err, ECANCELED, "nothing landed");
    return false;
}

/* What is still staged after all: something came between the list and the landing. */
static size_t report_left(const struct cli_changes *c, const struct options *o)
{
    struct gvm_changes now = {0};
    size_t left = 0, j = 0;
    if (gvm_changes_scan(c->dir, NULL, &now, NULL) < 0)
        return 0;
    for (size_t i = 0; i < c->all.n; i++) {
        if (!c->chosen[i])
            continue;
        struct gvm_str p = c->all.list[i].path;
        for (j = 0; j < now.n && !gvm_str_eq(now.list[j].path, p); j++)
            ;
        if (j == now.n)
            continue;
        left++;
        c->chosen[i] = false;
        fputs("gvm: not landed: ", stderr);
        cli_print_safe(stderr, p);
        fprintf(stderr, ": %s\n",
                now.list[j].conflict && !o->force
                    ? "your file changed since the run began, and the changes do not merge (gvm "
                      "review shows them, --force lands the agent's)"
                    : "its place is taken by something else, or not empty");
    }
    gvm_changes_done(&now);
    return left;
}

static int print_landed(const struct cli_changes *c, struct gvm_err *err)
{
    for (size_t i = 0; i < c->all.n; i++) {
        if (!c->chosen[i])
            continue;
        GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
        gvm_buf_init(&out, 1u << 20);
        struct gvm_jw w;
        gvm_jw_init(&w, &out);
        gvm_jw_object(&w);
        gvm_jw_kstrz(&w, "run", c->id);
        cli_change_json(&w, &c->all.list[i]);
        gvm_jw_object_end(&w);
        if (out.failed)
            return gvm_err_set(err, ENOMEM, "out of memory");
        printf("%s\n", gvm_buf_cstr(&out));
    }
    return 0;
}

static int land(struct cli_changes *c, const struct options *o, size_t n, struct gvm_err *err)
{
    char count[64];
    size_t done = 0;
    int r = cli_changes_land(c, o->force, &done, err);
    if (r < 0)
        return r;
    size_t left = done < n ? report_left(c, o) : 0;
    r = cli_prune_undo(&c->rules, err);
    if (r < 0)
        return r;
    if (o->json)
        r = print_landed(c, err);
    else
        printf("%s landed in %s\n", cli_count(done, "change", count), c->rec.workspace);
    if (r == 0 && left)
        r = gvm_err_set(err, ESTALE, "%s did not land and are still staged",
                        cli_count(left, "change", count));
    return r;
}

static size_t count_chosen(const struct cli_changes *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->all.n; i++)
        n += c->chosen[i];
    return n;
}

static int commit(int argc, char **argv, const struct options *o, struct gvm_err *err)
{
    GVM_CLEANUP(cli_changes_done) struct cli_changes c;
    int r = cli_changes_open(argc, argv, &c, err);
    if (r < 0)
        return r;
    if (cli_changes_live(&c))
        return gvm_err_set(err, EBUSY,
                           "the agent of run %s still runs; its files can land when it has ended",
                           c.id);
    if (!c.named && !o->all)
        return gvm_err_set(err, EINVAL,
                           "say which changes land: paths, or --all (gvm diff --stat lists them)");
    size_t wanted = count_chosen(&c), possible = drop_impossible(&c, o);
    r = ask_dangerous(&c, o, err);
    if (r < 0)
        return r;
    size_t n = count_chosen(&c);
    if (n == 0 && possible < wanted && c.named)
        return gvm_err_set(err, ENOENT, "nothing landed");
    if (n == 0) {
        cli_say("nothing to land in run %s", c.id);
        return 0;
    }
    return ask_all(&c, o, n, err) ? land(&c, o, n, err) : -err->code;
}

int cli_commit(int argc, char **argv)
{
    static const struct option longs[] = {
        {"all", no_argument, NULL, 'a'},   {"yes", no_argument, NULL, 'y'},
        {"force", no_argument, NULL, 'f'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},  {0}};
    struct options o = {0};
    for (int c; (c = getopt_long(argc, argv, "yh", longs, NULL)) != -1;) {
        switch (c) {
        case 'a':
            o.all = true;
            break;
        case 'y':
            o.yes = true;
            break;
        case 'f':
            o.force = true;
            break;
        case 'j':
            o.json = true;
            break;
        case 'h':
            return cli_help(cli_commit_usage);
        default:
            return cli_bad_option("commit", argv);
        }
    }
    struct gvm_err err = {0};
    int r = commit(argc, argv, &o, &err);
    if (r == -EINVAL)
        return cli_usage("commit", "%s", err.text);
    return r < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
}
