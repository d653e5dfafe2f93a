/* gvm events: what was recorded. gvm events trace: one request, from the question to the answer. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>
#include "cli/reading.h"
#include "cli/trace.h"
#include "cli/verbs.h"

const char cli_events_usage[] =
    "usage: gvm events [OPTIONS]\n"
    "       gvm events trace ID [--dir DIR] [--json]\n"
    "\n"
    "Prints the entries of the record, oldest first. With trace: everything that\n"
    "belongs to one request, in order. ID is the \"id\" of its entries, or the number\n"
    "of one of them.\n"
    "\n"
    "      --run ID        only of this run (the beginning of the id is enough)\n"
    "      --kind K        only of this kind, such as http.decision or 'fs.*'\n"
    "      --host H        only about this host, such as 'api.example.com' or '*.com'\n"
    "      --decision D    only with this decision: Allow, AuditOnly, Delay,\n"
    "                      RequireApproval or Deny\n"
    "      --agent A       only of this agent ('*' stands for anything)\n"
    "      --since WHEN    only after: 90s, 10m, 1h, 2d ago, or 2026-11-23T10:00:00Z\n"
    "      --until WHEN    only before\n"
    "  -n, --last N        only the last N of these\n"
    "  -f, --follow        go on as new ones come\n"
    "      --index         print nothing, only bring the index over the record up to\n"
    "                      date; gvmd runs it\n"
    "      --dir DIR       read the ledger in DIR\n"
    "      --json          one JSON object a line: the entry, with its \"index\"\n"
    "  -h, --help          this text\n";

struct events {
    struct cli_reading read;
    bool follow, fill;
    unsigned style;
    uint64_t last;  /* 0: all */
    uint64_t index; /* of the entry being printed */
};

static void print_text(void *arg, const struct gvm_json *e)
{
    const struct events *v = arg;
    cli_print_event(stdout, v->index, e, v->style);
}

static int print_entry(void *arg, uint64_t index, struct gvm_str line, struct gvm_err *err)
{
    struct events *v = arg;
    v->index = index;
    if (!v->read.json)
        return cli_reading_parse(index, line, print_text, v, err);
    cli_reading_json(index, line);
    return 0;
}

static int show(struct events *v, struct gvm_err *err)
{
    struct gvm_index_search *s = NULL;
    struct gvm_str line;
    uint64_t index, end = 0;
    int r = cli_reading_open(&v->read, err);
    if (r == 0 && v->fill)
        return gvm_index_fill(v->read.index, err);
    if (r == 0)
        r = gvm_index_search(v->read.index, &v->read.filter, v->last, &s, err);
    if (r < 0)
        return r;
    while (!ferror(stdout) && (r = gvm_index_next(s, &index, &line, err)) > 0) {
        r = print_entry(v, index, line, err);
        if (r < 0)
            break;
    }
    end = gvm_index_end(s);
    gvm_index_search_free(s);
    return r == 0 && v->follow ? cli_reading_follow(&v->read, end, print_entry, v, err) : r;
}

static int parse_option(struct events *v, int c, const char *arg)
{
    if (c == 'n')
        return gvm_parse_u64(gvm_str(arg), GVM_INDEX_LAST, &v->last) < 0 || !v->last
                   ? cli_usage("events", "-n takes a number from 1 to %u", GVM_INDEX_LAST)
                   : 0;
    if (c != 'f' && c != 'i')
        return cli_reading_option(&v->read, c, arg);
    v->follow |= c == 'f';
    v->fill |= c == 'i';
    return 0;
}

/* -1: help was shown. */
static int parse(struct events *v, int argc, char **argv)
{
    static const struct option options[] = {
        CLI_READING_WHICH,
        CLI_READING_TIME,
        CLI_READING_WHERE,
        {"kind", required_argument, NULL, READ_KIND},
        {"last", required_argument, NULL, 'n'},
        {"follow", no_argument, NULL, 'f'},
        {"index", no_argument, NULL, 'i'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "fn:h", options, NULL)) != -1) {
        if (c == 'h')
            return cli_help(cli_events_usage), -1;
        if (c == '?')
            return cli_bad_option("events", argv);
        int r = parse_option(v, c, optarg);
        if (r)
            return r;
    }
    return optind < argc ? cli_usage("events", "what is '%s'?", argv[optind]) : 0;
}

int cli_events(int argc, char **argv)
{
    struct gvm_err err = {0};
    if (argc > 1 && strcmp(argv[1], "trace") == 0)
        return cli_trace(argc - 1, argv + 1);
    struct events *v = gvm_calloc(1, sizeof *v);
    if (!v)
        return cli_fail(GVM_EXIT_ERROR, &err);
    v->read.verb = "events";
    int r = parse(v, argc, argv);
    if (r == 0) {
        bool one_agent = v->read.filter.run || v->read.filter.agent;
        v->style =
            (cli_color(STDOUT_FILENO) ? CLI_EVENT_COLOR : 0) | (one_agent ? 0 : CLI_EVENT_AGENT);
        r = show(v, &err) < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
        cli_reading_close(&v->read);
    }
    free(v);
    return r < 0 ? GVM_EXIT_OK : r;
}
