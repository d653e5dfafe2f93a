/* gvm logs: one run as a story, a line for each entry. What the agent printed itself went to its
 * own terminal and is not kept; this is what it did. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>
#include "cli/reading.h"
#include "cli/verbs.h"

const char cli_logs_usage[] =
    "usage: gvm logs [OPTIONS] [RUN]\n"
    "\n"
    "Prints what a run did, from its start to its end: each entry of the record with\n"
    "the seconds since the start. RUN is an id or its beginning; without it, the\n"
    "newest run. What the agent itself printed is not kept.\n"
    "\n"
    "  -f, --follow      go on until the run ends\n"
    "      --dir DIR     read the ledger in DIR\n"
    "      --json        one JSON object a line: the entry, with its \"index\"\n"
    "  -h, --help        this text\n";

struct logs {
    struct cli_reading read;
    bool follow, ended;
    unsigned style;
    char run[GVM_MAX_RUN_ID + 1];
    uint64_t index;
    int64_t start_ns; /* 0: not known yet */
};

/* ---- which run ---- */

static void keep_run(void *arg, const struct gvm_json *e)
{
    struct logs *v = arg;
    (void)!gvm_str_copy(v->run, sizeof v->run, gvm_str(gvm_json_text(e, "run", "")));
}

/* The one run that begins with `name`; of all, the newest. */
static int find_run(struct logs *v, const char *name, struct gvm_err *err)
{
    struct gvm_index_filter f = {.kind = "run.start", .run = name};
    struct gvm_index_search *s = NULL;
    struct gvm_str line;
    char before[sizeof v->run] = "";
    uint64_t index;
    int r = gvm_index_search(v->read.index, &f, name ? 0 : 1, &s, err);
    while (r == 0 && (r = gvm_index_next(s, &index, &line, err)) > 0) {
        memcpy(before, v->run, sizeof before);
        r = cli_reading_parse(index, line, keep_run, v, err);
        bool exact = name && strcmp(v->run, name) == 0;
        if (exact)
            break;
        if (r == 0 && before[0] && strcmp(before, v->run) != 0)
            r = gvm_err_set(err, ENOTUNIQ, "'%s' fits several runs, %s and %s among them", name,
                            before, v->run);
    }
    gvm_index_search_free(s);
    if (r == 0 && !v->run[0])
        r = name ? gvm_err_set(err, ENOENT, "there is no run '%s' (see gvm runs)", name)
                 : gvm_err_set(err, ENOENT, "there is no run yet");
    return r;
}

/* ---- its story ---- */

static void print_text(void *arg, const struct gvm_json *e)
{
    struct logs *v = arg;
    int64_t now = v->start_ns;
    const char *t = gvm_json_text(e, "t", "");
    (void)!gvm_time_parse(gvm_str(t), &now);
    if (!v->start_ns) {
        v->start_ns = now;
        printf("run %s, ", v->run);
        cli_print_safe(stdout, gvm_str(t));
        fputc('\n', stdout);
    }
    v->ended = v->ended || strcmp(gvm_json_text(e, "kind", ""), "run.end") == 0;
    printf("%+10.3f s  ", (double)(now - v->start_ns) / 1e9);
    cli_print_event(stdout, v->index, e, v->style);
}

static void look_for_end(void *arg, const struct gvm_json *e)
{
    struct logs *v = arg;
    v->ended = v->ended || strcmp(gvm_json_text(e, "kind", ""), "run.end") == 0;
}

static int print_entry(void *arg, uint64_t index, struct gvm_str line, struct gvm_err *err)
{
    struct logs *v = arg;
    v->index = index;
    if (v->read.json)
        cli_reading_json(index, line);
    int r = cli_reading_parse(index, line, v->read.json ? look_for_end : print_text, v, err);
    return r == 0 && v->follow && v->ended ? 1 : r;
}

static int show(struct logs *v, const char *name, struct gvm_err *err)
{
    struct gvm_index_search *s = NULL;
    struct gvm_str line;
    uint64_t index;
    int r = cli_reading_open(&v->read, err);
    if (r == 0)
        r = find_run(v, name, err);
    v->read.filter.run = v->run;
    if (r == 0)
        r = gvm_index_search(v->read.index, &v->read.filter, 0, &s, err);
    if (r < 0)
        return r;
    while (!ferror(stdout) && (r = gvm_index_next(s, &index, &line, err)) > 0) {
        r = print_entry(v, index, line, err);
        if (r < 0)
            break;
    }
    uint64_t end = gvm_index_end(s);
    gvm_index_search_free(s);
    return r == 0 && v->follow && !v->ended ? cli_reading_follow(&v->read, end, print_entry, v, err)
                                            : r;
}

/* -1: go on. */
static int parse(struct logs *v, int argc, char **argv)
{
    static const struct option options[] = {CLI_READING_WHERE,
                                            {"follow", no_argument, NULL, 'f'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "fh", options, NULL)) != -1) {
        if (c == 'h')
            return cli_help(cli_logs_usage);
        if (c == '?')
            return cli_bad_option("logs", argv);
        int r = c == 'f' ? 0 : cli_reading_option(&v->read, c, optarg);
        if (r)
            return r;
        v->follow |= c == 'f';
    }
    return argc - optind > 1 ? cli_usage("logs", "one run at a time") : -1;
}

int cli_logs(int argc, char **argv)
{
    struct gvm_err err = {0};
    struct logs *v = gvm_calloc(1, sizeof *v);
    if (!v)
        return cli_fail(GVM_EXIT_ERROR, &err);
    v->read.verb = "logs";
    v->style = CLI_EVENT_BARE | (cli_color(STDOUT_FILENO) ? CLI_EVENT_COLOR : 0);
    int code = parse(v, argc, argv);
    if (code < 0) {
        code = show(v, argv[optind], &err) < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
        cli_reading_close(&v->read);
    }
    free(v);
    return code;
}
