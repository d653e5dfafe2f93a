/* gvm events trace ID: the entries of one request in order, each with the time since the first. */
#include "cli/trace.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>
#include "cli/reading.h"
#include "cli/verbs.h"

struct trace {
    struct cli_reading read;
    char id[128];   /* of the request */
    uint64_t index; /* of the entry being looked at */
    uint64_t count;
    int64_t first_ns;
    unsigned style;
};

static void keep_id(void *arg, const struct gvm_json *e)
{
    struct trace *t = arg;
    const char *id = gvm_json_text(e, "id", "");
    if (gvm_str_copy(t->id, sizeof t->id, gvm_str(id)) < 0)
        t->id[0] = '\0';
}

/* A number is an entry: of which request? */
static int find_id(struct trace *t, uint64_t want, struct gvm_err *err)
{
    struct gvm_ledger_reader *r = NULL;
    struct gvm_str line = {0};
    uint64_t index = 0;
    int x = gvm_ledger_reader_open(t->read.dir, want, &r, err);
    if (x == 0)
        x = gvm_ledger_reader_next(r, &index, &line, err);
    if (x == 0 || (x > 0 && index != want))
        x = gvm_err_set(err, ENOENT, "the record has no entry %" PRIu64, want);
    else if (x > 0)
        x = cli_reading_parse(index, line, keep_id, t, err);
    if (x == 0 && !t->id[0])
        x = gvm_err_set(err, ENOENT, "entry %" PRIu64 " belongs to no request", want);
    gvm_ledger_reader_free(r);
    return x;
}

static void print_text(void *arg, const struct gvm_json *e)
{
    struct trace *t = arg;
    int64_t now = t->first_ns;
    (void)!gvm_time_parse(gvm_str(gvm_json_text(e, "t", "")), &now);
    if (t->count == 0) {
        t->first_ns = now;
        fputs("request ", stdout);
        cli_print_safe(stdout, gvm_str(t->id));
        fputs(" of agent ", stdout);
        cli_print_safe(stdout, gvm_str(gvm_json_text(e, "agent", "?")));
        fputs(", ", stdout);
        cli_print_safe(stdout, gvm_str(gvm_json_text(e, "t", "?")));
        fputc('\n', stdout);
    }
    printf("%+10.3f s  ", (double)(now - t->first_ns) / 1e9);
    cli_print_event(stdout, t->index, e, t->style);
}

static int show(struct trace *t, struct gvm_err *err)
{
    struct gvm_index_search *s = NULL;
    struct gvm_str line;
    t->read.filter.request = t->id;
    int r = gvm_index_search(t->read.index, &t->read.filter, 0, &s, err);
    while (r == 0 && (r = gvm_index_next(s, &t->index, &line, err)) > 0) {
        r = 0;
        if (t->read.json)
            cli_reading_json(t->index, line);
        else
            r = cli_reading_parse(t->index, line, print_text, t, err);
        t->count++;
    }
    gvm_index_search_free(s);
    if (r == 0 && !t->count)
        r = gvm_err_set(err, ENOENT, "no entry belongs to a request '%s'", t->id);
    return r;
}

static int trace(struct trace *t, const char *name, struct gvm_err *err)
{
    uint64_t number;
    int r = cli_reading_open(&t->read, err);
    if (r < 0)
        return r;
    if (gvm_parse_u64(gvm_str(name), INT64_MAX, &number) == 0)
        r = find_id(t, number, err);
    else if (gvm_str_copy(t->id, sizeof t->id, gvm_str(name)) < 0)
        r = gvm_err_set(err, ENOENT, "no request has so long an id");
    return r < 0 ? r : show(t, err);
}

int cli_trace(int argc, char **argv)
{
    static const struct option options[] = {
        CLI_READING_WHERE, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    struct gvm_err err = {0};
    struct trace *t = gvm_calloc(1, sizeof *t);
    if (!t)
        return cli_fail(GVM_EXIT_ERROR, &err);
    t->read.verb = "events";
    int c, r = -1;
    while (r < 0 && (c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (c == 'h')
            r = cli_help(cli_events_usage);
        else if (c == '?')
            r = cli_bad_option("events", argv);
        else if ((c = cli_reading_option(&t->read, c, optarg)) != 0)
            r = c;
    }
    if (r < 0 && argc - optind != 1)
        r = cli_usage("events", "trace takes the id of one request");
    if (r < 0) {
        t->style = CLI_EVENT_BARE | (cli_color(STDOUT_FILENO) ? CLI_EVENT_COLOR : 0);
        r = trace(t, argv[optind], &err) < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
        cli_reading_close(&t->read);
    }
    free(t);
    return r;
}
