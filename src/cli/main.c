/* gvm: finds the verb in the table and calls it. */
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include "cli/cli.h"
#include "cli/verbs.h"

static int help(int argc, char **argv);
static const char help_usage[] = "usage: gvm help [VERB]\n"
                                 "\n"
                                 "Shows what gvm can do, or the options of one verb.\n";

#define ROW(verb, text)                                                                            \
    {                                                                                              \
#verb, cli_##verb, text, cli_##verb##_usage                                                \
    }

/* In the order a person meets them. */
static const struct cli_verb verbs[] = {
    ROW(run, "run an agent in a sandbox, under rules"),
    ROW(watch, "run an agent and see what it calls"),
    ROW(suggest, "turn what a run did into rules"),
    ROW(check, "check a rule file"),
    ROW(explain, "which rule decides a request, and why"),
    ROW(test, "are these requests decided as they should be?"),
    ROW(replay, "what other rules would have decided"),
    ROW(trust, "use the rule file that came with a workspace"),
    ROW(reload, "make the daemon read its rules again"),
    ROW(approve, "answer requests that wait for a person"),
    ROW(diff, "show what a run would change in your files"),
    ROW(review, "decide what lands, file by file and hunk by hunk"),
    ROW(commit, "land changes of a run"),
    ROW(discard, "throw changes of a run away"),
    ROW(undo, "make files as they were before a run's changes landed"),
    ROW(runs, "list runs and what waits in them"),
    ROW(logs, "the story of one run"),
    ROW(attach, "what a detached run prints"),
    ROW(events, "what was recorded"),
    ROW(stats, "what was recorded, added up"),
    ROW(audit, "verify the record, prove an entry, keys"),
    ROW(status, "what the daemon is doing"),
    ROW(stop, "end a run, or the daemon"),
    ROW(preflight, "what this machine can do"),
    ROW(selftest, "attack a sandbox on this machine"),
    ROW(version, "print the version"),
    {"help", help, "this text, or the options of one verb", help_usage},
};

#define NVERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct cli_verb *find_verb(const char *name)
{
    for (size_t i = 0; i < NVERBS; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits between two short words (insert, delete, replace, swap of neighbours); 99 for long ones. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][20], na = strlen(a), nb = strlen(b);
    if (na >= 20 || nb >= 20)
        return 99;
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= nb; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= na; i++) {
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = last, last = now, now = spare;
    }
    return last[nb];
}

static int unknown_verb(const char *name)
{
    const struct cli_verb *best = NULL;
    size_t nearest = 3; /* more than two edits away is another word */
    for (size_t i = 0; i < NVERBS; i++) {
        size_t d = distance(name, verbs[i].name);
        bool closer =
            d < nearest || (best && d == nearest && strlen(name) == strlen(verbs[i].name));
        if (closer && d < strlen(verbs[i].name))
            nearest = d, best = &verbs[i];
    }
    fputs("gvm: there is no verb '", stderr);
    cli_print_safe(stderr, gvm_str(name));
    if (best)
        fprintf(stderr, "'; did you mean '%s'? (see gvm --help)\n", best->name);
    else
        fputs("' (see gvm --help)\n", stderr);
    return GVM_EXIT_USAGE;
}

static void overview(FILE *f)
{
    fputs("usage: gvm VERB [OPTIONS]\n"
          "\n"
          "GVM runs an AI agent under your rules, holds back what it writes, and keeps a\n"
          "signed record of what it did.\n"
          "\n",
          f);
    for (size_t i = 0; i < NVERBS; i++)
        fprintf(f, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
    fputs("\n"
          "gvm VERB --help shows the options of a verb.\n"
          "Exit: 0 ok, 1 error, 2 usage, 3 denied or tampering found, 125 could not set up;\n"
          "gvm run and gvm watch exit as the agent did.\n",
          f);
}

static int help(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return cli_help(help_usage);
    if (argc > 2)
        return cli_usage("help", "one verb at most");
    if (argc == 2 && argv[1][0] == '-')
        return cli_usage("help", "option '%s' is unknown", argv[1]);
    if (argc == 2) {
        const struct cli_verb *v = find_verb(argv[1]);
        return v ? cli_help(v->usage) : unknown_verb(argv[1]);
    }
    overview(stdout);
    return cli_flush();
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        overview(stderr);
        return GVM_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help", argc = 2;
    else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        name = "version", argc = 2;
    const struct cli_verb *v = find_verb(name);
    if (!v)
        return unknown_verb(name);
    gvm_log_open("gvm");
    opterr = 0;
    optind = 0;
    argv[1] = (char *)(uintptr_t)v->name;
    return v->run(argc - 1, argv + 1);
}
