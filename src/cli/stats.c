/* gvm stats: the record added up, per agent, host, decision and run. */
#include "cli/stats.h"
#include <errno.h>
#include <stdlib.h>
#include "cli/verbs.h"

const char cli_stats_usage[] =
    "usage: gvm stats [OPTIONS]\n"
    "\n"
    "Adds the record up: requests, decisions and bytes per agent, host, decision and\n"
    "run; tokens and cost where entries carry them. An answer counts for the host and\n"
    "decision of its request.\n"
    "\n"
    "      --run ID        only of this run (the beginning of the id is enough)\n"
    "      --host H        only about this host, such as 'api.example.com' or '*.com'\n"
    "      --decision D    only with this decision\n"
    "      --agent A       only of this agent ('*' stands for anything)\n"
    "      --since WHEN    only after: 90s, 10m, 1h, 2d ago, or 2026-11-23T10:00:00Z\n"
    "      --until WHEN    only before\n"
    "      --dir DIR       read the ledger in DIR\n"
    "      --json          one JSON object, with every name\n"
    "  -h, --help          this text\n";

enum { ARENA = 256u << 20 };

static struct stats_row *find_row(struct stats *s, enum stats_group g, struct gvm_str name)
{
    struct stats_row *row = gvm_map_get(s->groups[g], name);
    if (row)
        return row;
    row = gvm_arena_alloc(s->arena, sizeof *row);
    char *copy = gvm_arena_dup(s->arena, name.p, name.n);
    if (!row || !copy || gvm_map_put(s->groups[g], name, row) < 0)
        return NULL;
    row->name = (struct gvm_str){copy, name.n};
    return row;
}

static int64_t *counter_of(struct stats_row *row, struct gvm_str decision)
{
    static const struct {
        const char *name;
        size_t at;
    } known[] = {{"Allow", offsetof(struct stats_row, allowed)},
                 {"AuditOnly", offsetof(struct stats_row, allowed)},
                 {"Delay", offsetof(struct stats_row, delayed)},
                 {"RequireApproval", offsetof(struct stats_row, asked)},
                 {"Deny", offsetof(struct stats_row, denied)}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (gvm_str_eqz(decision, known[i].name))
            return (int64_t *)(void *)((char *)row + known[i].at);
    return NULL;
}

static void add(struct stats_row *row, const struct gvm_index_sum *sum)
{
    bool request = gvm_str_eqz(sum->kind, "http.decision") || gvm_str_eqz(sum->kind, "tcp.open");
    bool answer = gvm_str_eqz(sum->kind, "http.outcome") || gvm_str_eqz(sum->kind, "tcp.close");
    int64_t *decided = request ? counter_of(row, sum->decision) : NULL;
    row->entries += sum->n;
    row->requests += request ? sum->n : 0;
    row->refused += gvm_str_eqz(sum->decision, "refused") ? sum->n : 0;
    if (decided)
        *decided += sum->n;
    row->answers += answer ? sum->n : 0;
    row->bytes_out += sum->bytes_out;
    row->bytes_in += sum->bytes_in;
    row->ms += sum->ms;
    row->llm += sum->llm;
    row->tokens_in += sum->tokens_in;
    row->tokens_out += sum->tokens_out;
    row->cost_micro += sum->cost_micro;
}

/* Names stay; a row without entries is not shown. */
static void forget(struct stats *s)
{
    struct gvm_str key;
    void *v;
    s->total = (struct stats_row){.entries = 0};
    for (unsigned g = 0; g < STATS_GROUPS; g++) {
        for (size_t pos = 0; gvm_map_next(s->groups[g], &pos, &key, &v);) {
            struct stats_row *row = v;
            *row = (struct stats_row){.name = row->name};
        }
    }
}

static void take(void *arg, const struct gvm_index_sum *sum)
{
    struct stats *s = arg;
    if (!sum) {
        forget(s);
        return;
    }
    const struct gvm_str names[STATS_GROUPS] = {sum->agent, sum->host, sum->decision, sum->run,
                                                sum->kind};
    add(&s->total, sum);
    for (unsigned g = 0; g < STATS_GROUPS; g++) {
        if (!names[g].n)
            continue;
        struct stats_row *row = find_row(s, (enum stats_group)g, names[g]);
        if (row)
            add(row, sum);
        else
            s->failed = true;
    }
}

static int collect(struct stats *s, struct gvm_err *err)
{
    bool ok = (s->arena = gvm_arena_new(ARENA)) != NULL;
    for (unsigned g = 0; g < STATS_GROUPS; g++)
        ok = (s->groups[g] = gvm_map_new(STATS_MAX, NULL)) != NULL && ok;
    if (!ok)
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = cli_reading_open(&s->read, err);
    if (r == 0)
        r = gvm_index_sums(s->read.index, &s->read.filter, take, s, err);
    if (r == 0 && s->failed)
        r = gvm_err_set(err, ENOBUFS,
                        "more names than can be added up at once; narrow it with --since or --run");
    return r;
}

/* -1: go on. */
static int parse(struct stats *s, int argc, char **argv)
{
    static const struct option options[] = {CLI_READING_WHICH,
                                            CLI_READING_TIME,
                                            CLI_READING_WHERE,
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (c == 'h')
            return cli_help(cli_stats_usage);
        if (c == '?')
            return cli_bad_option("stats", argv);
        int r = cli_reading_option(&s->read, c, optarg);
        if (r)
            return r;
    }
    return optind < argc ? cli_usage("stats", "what is '%s'?", argv[optind]) : -1;
}

int cli_stats(int argc, char **argv)
{
    struct gvm_err err = {0};
    struct stats *s = gvm_calloc(1, sizeof *s);
    if (!s)
        return cli_fail(GVM_EXIT_ERROR, &err);
    s->read.verb = "stats";
    int code = parse(s, argc, argv);
    if (code < 0 && collect(s, &err) < 0) {
        code = cli_fail(GVM_EXIT_ERROR, &err);
    } else if (code < 0) {
        if (s->read.json)
            stats_print_json(s);
        else
            stats_print(s);
        code = cli_flush();
    }
    cli_reading_close(&s->read);
    for (unsigned g = 0; g < STATS_GROUPS; g++)
        gvm_map_free(s->groups[g]);
    gvm_arena_free(s->arena);
    free(s);
    return code;
}
