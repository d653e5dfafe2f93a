/* gvm events: what was recorded. */
#include "cli/cli.h"
#include "cli/verbs.h"
#include "ledger/ledger.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

const char cli_events_usage[] =
    "usage: gvm events [OPTIONS]\n"
    "\n"
    "Prints the entries of the record, oldest first.\n"
    "\n"
    "      --run ID        only of this run (the beginning of the id is enough)\n"
    "      --kind K        only of this kind, such as http.decision or 'fs.*'\n"
    "      --host H        only about this host, such as 'api.example.com' or '*.com'\n"
    "      --decision D    only with this decision: Allow, AuditOnly, Delay,\n"
    "                      RequireApproval or Deny\n"
    "      --agent A       only of this agent ('*' stands for anything)\n"
    "      --since WHEN    only after: 90s, 10m, 1h, 2d ago, or 2026-11-23T10:00:00Z\n"
    "  -n, --last N        only the last N of these\n"
    "  -f, --follow        go on as new ones come\n"
    "      --dir DIR       read the ledger in DIR\n"
    "      --json          one JSON object a line: the entry, with its \"index\"\n"
    "  -h, --help          this text\n";

enum { MAX_LAST = 100000, ARENA = 8u << 20 };

struct filter {
    const char *run, *kind, *host, *decision, *agent;
    int64_t since_ns;
};

struct events {
    struct filter filter;
    bool json, follow, color;
    uint64_t last; /* 0: all */
    char dir[GVM_PATH_MAX];
    /* -n: the newest matches until the end is reached */
    struct held {
        uint64_t index;
        char *line;
        size_t n;
    } *ring;
    uint64_t matched;
};

static bool glob_member(const struct gvm_json *e, const char *key, const char *pattern)
{
    return gvm_glob(gvm_str(pattern), gvm_str(gvm_json_text(e, key, "")));
}

static bool about_host(const struct gvm_json *e, const char *pattern)
{
    return glob_member(e, gvm_json_get(e, "host") ? "host" : "name", pattern);
}

static bool recent(const struct gvm_json *e, int64_t since_ns)
{
    int64_t t = 0;
    return gvm_time_parse(gvm_str(gvm_json_text(e, "t", "")), &t) == 0 && t >= since_ns;
}

static bool matches(const struct filter *f, const struct gvm_json *e)
{
    if (f->run && !gvm_str_starts(gvm_str(gvm_json_text(e, "run", "")), gvm_str(f->run)))
        return false;
    if (f->kind && !glob_member(e, "kind", f->kind))
        return false;
    if (f->host && !about_host(e, f->host))
        return false;
    if (f->agent && !glob_member(e, "agent", f->agent))
        return false;
    if (f->decision && !gvm_str_ieqz(gvm_str(gvm_json_text(e, "decision", "")), f->decision))
        return false;
    return !f->since_ns || recent(e, f->since_ns);
}

static bool filtered(const struct filter *f)
{
    return f->run || f->kind || f->host || f->agent || f->decision || f->since_ns;
}

static void print_line(const struct events *v, uint64_t index, struct gvm_str line,
                       const struct gvm_json *e)
{
    if (!v->json) {
        cli_print_event(stdout, index, e, v->color);
        return;
    }
    /* An entry is an object without control bytes, so this is one line of JSON again. */
    printf("{\"index\":%" PRIu64 "%s", index, e->child ? "," : "");
    fwrite(line.p + 1, 1, line.n - 1, stdout);
    putchar('\n');
}

static int parse_and(const struct events *v, uint64_t index, struct gvm_str line, bool filter, bool print,
                     bool *ret_match, struct gvm_err *err)
{
    struct gvm_arena *a = gvm_arena_new(ARENA);
    struct gvm_json *e = NULL;
    int r = a ? gvm_json_parse(a, line, &e, NULL) : gvm_err_set(err, ENOMEM, "out of memory");
    if (a && (r < 0 || e->type != GVM_JSON_OBJECT)) {
        cli_say("entry %" PRIu64 " is not a JSON object", index);
        *ret_match = false;
        r = 0;
    } else if (!r) {
        *ret_match = !filter || matches(&v->filter, e);
        if (*ret_match && print)
            print_line(v, index, line, e);
    }
    gvm_arena_free(a);
    return r;
}

/* Keeps a copy among the last N. */
static int hold(struct events *v, uint64_t index, struct gvm_str line, struct gvm_err *err)
{
    struct held *h = &v->ring[v->matched++ % v->last];
    char *copy = malloc(line.n);
    if (!copy)
        return gvm_err_set(err, ENOMEM, "out of memory");
    memcpy(copy, line.p, line.n);
    free(h->line);
    *h = (struct held){index, copy, line.n};
    return 0;
}

static int take(struct events *v, uint64_t index, struct gvm_str line, struct gvm_err *err)
{
    bool match = true;
    if (!v->ring)
        return parse_and(v, index, line, true, true, &match, err);
    int r = filtered(&v->filter) ? parse_and(v, index, line, true, false, &match, err) : 0;
    return !r && match ? hold(v, index, line, err) : r;
}

static int print_held(struct events *v, struct gvm_err *err)
{
    bool match;
    uint64_t from = v->matched > v->last ? v->matched - v->last : 0;
    int r = 0;
    for (uint64_t i = from; !r && i < v->matched; i++) {
        struct held *h = &v->ring[i % v->last];
        r = parse_and(v, h->index, (struct gvm_str){h->line, h->n}, false, true, &match, err);
    }
    return r;
}

static void free_ring(struct events *v)
{
    for (uint64_t i = 0; v->ring && i < v->last; i++)
        free(v->ring[i].line);
    free(v->ring);
    v->ring = NULL;
}

static int to_end(struct events *v, struct gvm_ledger_reader *reader, struct gvm_err *err)
{
    uint64_t index = 0;
    struct gvm_str line;
    int r;
    while ((r = gvm_ledger_reader_next(reader, &index, &line, err)) > 0) {
        r = take(v, index, line, err);
        if (r < 0 || ferror(stdout))
            break;
    }
    return r < 0 ? r : 0;
}

static int follow(struct events *v, struct gvm_ledger_reader *reader, struct gvm_err *err)
{
    int r = 0;
    while (!r && !ferror(stdout)) {
        struct pollfd p[2] = {{.fd = gvm_ledger_reader_fd(reader), .events = POLLIN},
                              {.fd = STDOUT_FILENO}}; /* whoever reads us may go away */
        fflush(stdout);
        (void)poll(p, 2, 1000);
        if (p[1].revents & (POLLERR | POLLHUP))
            break;
        gvm_ledger_reader_drain(reader);
        r = to_end(v, reader, err);
    }
    return r;
}

static int first_wanted(const struct events *v, uint64_t *ret, struct gvm_err *err)
{
    uint64_t size = 0;
    if (!v->last || filtered(&v->filter))
        return 0;
    int r = gvm_ledger_size(v->dir, &size, err);
    if (!r)
        *ret = size > v->last ? size - v->last : 0;
    return r;
}

static int show(struct events *v, struct gvm_err *err)
{
    struct gvm_ledger_reader *reader = NULL;
    uint64_t from = 0;
    int r = first_wanted(v, &from, err);
    if (!r)
        r = gvm_ledger_reader_open(v->dir, from, &reader, err);
    if (r < 0)
        return r;
    /* Watch before looking, so that nothing comes between. */
    if (v->follow)
        (void)gvm_ledger_reader_fd(reader);
    r = to_end(v, reader, err);
    if (!r && v->ring)
        r = print_held(v, err);
    free_ring(v);
    if (!r && v->follow)
        r = follow(v, reader, err);
    gvm_ledger_reader_free(reader);
    return r;
}

static int parse_since(const char *text, int64_t *ret)
{
    uint64_t ms;
    if (gvm_parse_duration_ms(gvm_str(text), &ms) == 0 && ms < (uint64_t)INT64_MAX / 1000000) {
        *ret = gvm_now_ns() - (int64_t)ms * 1000000;
        return 0;
    }
    return gvm_time_parse(gvm_str(text), ret);
}

enum { OPT_RUN = 256, OPT_KIND, OPT_HOST, OPT_DECISION, OPT_AGENT, OPT_SINCE, OPT_DIR, OPT_JSON };

static int parse_option(struct events *v, int c, const char *arg)
{
    switch (c) {
    case OPT_RUN:
        v->filter.run = arg;
        return 0;
    case OPT_KIND:
        v->filter.kind = arg;
        return 0;
    case OPT_HOST:
        v->filter.host = arg;
        return 0;
    case OPT_DECISION:
        v->filter.decision = arg;
        return 0;
    case OPT_AGENT:
        v->filter.agent = arg;
        return 0;
    case OPT_SINCE:
        return parse_since(arg, &v->filter.since_ns) < 0
                   ? cli_usage("events", "'%s' is no time: 90s, 10m, 1h, 2d or an RFC 3339 date", arg)
                   : 0;
    case OPT_DIR:
        return gvm_str_copy(v->dir, sizeof v->dir, gvm_str(arg)) < 0
                   ? cli_usage("events", "the directory's name is too long")
                   : 0;
    case 'n':
        return gvm_parse_u64(gvm_str(arg), MAX_LAST, &v->last) < 0 || !v->last
                   ? cli_usage("events", "-n takes a number from 1 to %d", MAX_LAST)
                   : 0;
    case 'f':
        v->follow = true;
        return 0;
    default:
        v->json = true;
        return 0;
    }
}

static int parse(struct events *v, int argc, char **argv)
{
    static const struct option options[] = {
        {"run", required_argument, NULL, OPT_RUN},
        {"kind", required_argument, NULL, OPT_KIND},
        {"host", required_argument, NULL, OPT_HOST},
        {"decision", required_argument, NULL, OPT_DECISION},
        {"agent", required_argument, NULL, OPT_AGENT},
        {"since", required_argument, NULL, OPT_SINCE},
        {"last", required_argument, NULL, 'n'},
        {"follow", no_argument, NULL, 'f'},
        {"dir", required_argument, NULL, OPT_DIR},
        {"json", no_argument, NULL, OPT_JSON},
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
    struct events *v = gvm_calloc(1, sizeof *v);
    if (!v)
        return cli_fail(GVM_EXIT_ERROR, &err);
    int r = parse(v, argc, argv);
    if (r) {
        free(v);
        return r < 0 ? GVM_EXIT_OK : r;
    }
    v->color = cli_color(STDOUT_FILENO);
    if (!v->dir[0])
        r = gvm_place_path(GVM_PLACE_STATE, "ledger", v->dir, &err);
    if (!r && v->last && !(v->ring = gvm_calloc(v->last, sizeof *v->ring)))
        r = gvm_err_set(&err, ENOMEM, "out of memory");
    if (!r)
        r = show(v, &err);
    free_ring(v);
    free(v);
    return r < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
}
