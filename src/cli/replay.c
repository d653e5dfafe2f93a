/* gvm replay: the requests of the record once more, under other rules. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include "cli/cli.h"
#include "cli/judge.h"
#include "cli/verbs.h"
#include "ledger/ledger.h"

const char cli_replay_usage[] =
    "usage: gvm replay --rules FILE [OPTIONS]\n"
    "\n"
    "Judges what is in the record under other rules and shows what would change. The\n"
    "record holds no bodies, header fields or queries: where a rule looks at them, it\n"
    "is said that it cannot be told. Exit code 0 when nothing changes, 3 when\n"
    "something does.\n"
    "\n"
    "      --rules FILE    the rules to try\n"
    "      --run R         only this run (prefix allowed)\n"
    "      --since T       only since then: 10m, 2d, or a date and time\n"
    "      --json          one JSON object per kind of change, then the sum\n"
    "  -h, --help          this text\n";

enum { CHANGES = 10000 };

/* Requests that change in the same way. */
struct change {
    struct change *next;
    uint64_t count, first;
    enum gvm_decision was, now;
    bool unknown; /* cannot be told */
    struct gvm_str what, was_rule, now_rule;
};

struct replay {
    const char *rules, *run;
    int64_t since_ns;
    bool json;
    char run_id[GVM_MAX_RUN_ID + 1], dir[GVM_PATH_MAX];
    struct gvm_conf *conf;
    struct gvm_ruleset *rs;
    struct gvm_arena *arena;
    struct gvm_map *seen;
    struct change *list, **tail;
    uint64_t judged, changed, unknown, skipped;
};

static struct gvm_str keep(struct replay *r, struct gvm_str s)
{
    char *p = gvm_arena_dup(r->arena, s.n ? s.p : "", s.n);
    return (struct gvm_str){p ? p : "", p ? s.n : 0};
}

static int note(struct replay *r, uint64_t index, const struct change *like)
{
    struct gvm_buf key;
    gvm_buf_init(&key, GVM_MAX_TARGET * 4);
    gvm_buf_addf(&key, "%d %d %d ", like->was, like->now, like->unknown);
    gvm_buf_adds(&key, like->was_rule);
    gvm_buf_addc(&key, '\n');
    gvm_buf_adds(&key, like->now_rule);
    gvm_buf_addc(&key, '\n');
    gvm_buf_adds(&key, like->what);
    struct change *c = gvm_map_get(r->seen, gvm_buf_str(&key));
    int e = 0;
    if (!c && gvm_map_size(r->seen) < CHANGES) {
        c = gvm_arena_alloc(r->arena, sizeof *c);
        e = c ? gvm_map_put(r->seen, gvm_buf_str(&key), c) : -ENOMEM;
        if (e == 0) {
            *c = *like;
            c->first = index;
            c->what = keep(r, like->what);
            c->was_rule = keep(r, like->was_rule);
            c->now_rule = keep(r, like->now_rule);
            *r->tail = c;
            r->tail = &c->next;
        }
    }
    if (c && e == 0)
        c->count++;
    gvm_buf_done(&key);
    return e;
}

static bool decision_of(const char *name, enum gvm_decision *ret)
{
    for (int d = GVM_DENY; d <= GVM_ALLOW; d++) {
        if (strcmp(name, gvm_decision_name((enum gvm_decision)d)) == 0) {
            *ret = (enum gvm_decision)d;
            return true;
        }
    }
    return false;
}

/* "METHOD scheme://host:port/path" of an http.decision, "host:port" of a tcp.open. */
static void write_url(const struct gvm_json *e, bool tcp, struct gvm_buf *url)
{
    const char *host = gvm_json_text(e, "host", "");
    uint16_t port = (uint16_t)gvm_json_int(e, "port", 0);
    bool tls = strcmp(gvm_json_text(e, "scheme", ""), "https") == 0;
    if (!tcp)
        gvm_buf_addf(url, "%s://", tls ? "https" : "http");
    if (tcp)
        gvm_buf_addf(url, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
    else if (gvm_authority_format(host, port, tls, url) < 0)
        url->failed = true;
    if (!tcp)
        gvm_buf_addz(url, gvm_json_text(e, "path", "/"));
}

static int compare(struct replay *r, uint64_t index, const struct gvm_json *e,
                   enum gvm_decision was, const struct cli_question *q, struct gvm_str what)
{
    struct cli_judged j;
    struct change c = {.was = was, .was_rule = gvm_str(gvm_json_text(e, "rule", "")), .what = what};
    int x = cli_judge(r->conf, r->rs, q, &j, NULL);
    r->judged += x == 0;
    r->skipped += x < 0;
    if (x == 0) {
        c.unknown = j.looks_at_body;
        c.now = j.refused ? GVM_DENY : j.verdict.decision;
        c.now_rule = j.refused ? GVM_STR("refused") : j.verdict.name;
        r->unknown += c.unknown;
        r->changed += !c.unknown && c.now != was;
        x = c.unknown || c.now != was ? note(r, index, &c) : 0;
    }
    cli_judged_done(&j);
    return x == -ENOMEM ? x : 0;
}

static int replay_entry(struct replay *r, uint64_t index, const struct gvm_json *e)
{
    bool tcp = strcmp(gvm_json_text(e, "kind", ""), "tcp.open") == 0;
    enum gvm_decision was;
    int64_t at;
    struct gvm_buf url, what;
    if (!tcp && strcmp(gvm_json_text(e, "kind", ""), "http.decision") != 0)
        return 0;
    if (r->run && strcmp(gvm_json_text(e, "run", ""), r->run_id) != 0)
        return 0;
    if (gvm_time_parse(gvm_str(gvm_json_text(e, "t", "")), &at) < 0 || at < r->since_ns)
        return 0;
    bool opaque = tcp && strcmp(gvm_json_text(e, "protocol", ""), "tcp") != 0;
    if (opaque || !decision_of(gvm_json_text(e, "decision", ""), &was)) {
        r->skipped++;
        return 0;
    }
    gvm_buf_init(&url, GVM_MAX_TARGET * 2);
    gvm_buf_init(&what, GVM_MAX_TARGET * 2 + 64);
    write_url(e, tcp, &url);
    gvm_buf_addf(&what, "%s ", tcp ? "TCP" : gvm_json_text(e, "method", ""));
    gvm_buf_adds(&what, gvm_buf_str(&url));
    struct cli_question q = {.method = gvm_str(gvm_json_text(e, "method", "GET")),
                             .url = gvm_buf_str(&url),
                             .agent = gvm_str(gvm_json_text(e, "agent", "")),
                             .tcp = tcp,
                             .head_only = true,
                             .now_ns = at};
    int x = url.failed ? 0 : compare(r, index, e, was, &q, gvm_buf_str(&what));
    gvm_buf_done(&url);
    gvm_buf_done(&what);
    return x;
}

static int replay_all(struct replay *r, struct gvm_err *err)
{
    struct gvm_ledger_reader *reader;
    uint64_t index;
    struct gvm_str line;
    int x = gvm_ledger_reader_open(r->dir, 0, &reader, err), more = 0;
    if (x < 0)
        return x;
    while (x == 0 && (more = gvm_ledger_reader_next(reader, &index, &line, err)) == 1) {
        struct gvm_arena *a = gvm_arena_new(4u << 20);
        struct gvm_json *e;
        if (!a)
            x = gvm_err_set(err, ENOMEM, "out of memory");
        else if (gvm_json_parse(a, line, &e, NULL) == 0)
            x = replay_entry(r, index, e);
        gvm_arena_free(a);
    }
    gvm_ledger_reader_free(reader);
    if (x == -ENOMEM)
        return gvm_err_set(err, ENOMEM, "out of memory");
    return x < 0 ? x : more;
}

/* ---- showing it ---- */

static void print_change(const struct change *c)
{
    printf("%6llu x ", (unsigned long long)c->count);
    cli_print_safe(stdout, c->what);
    printf("\n         %s by ", gvm_decision_name(c->was));
    cli_print_safe(stdout, c->was_rule);
    if (c->unknown) {
        puts(" -> cannot be told from the record");
        return;
    }
    printf(" -> %s by ", gvm_decision_name(c->now));
    cli_print_safe(stdout, c->now_rule);
    putchar('\n');
}

static void print_json(const struct change *c)
{
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 1u << 20);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kint(&w, "count", (int64_t)c->count);
    gvm_jw_kint(&w, "index", (int64_t)c->first);
    gvm_jw_kstr(&w, "request", c->what);
    gvm_jw_kstrz(&w, "was", gvm_decision_name(c->was));
    gvm_jw_kstr(&w, "was_rule", c->was_rule);
    gvm_jw_kstrz(&w, "now", c->unknown ? NULL : gvm_decision_name(c->now));
    gvm_jw_kstr(&w, "now_rule", c->unknown ? GVM_STR("") : c->now_rule);
    gvm_jw_object_end(&w);
    puts(gvm_buf_cstr(&out));
    gvm_buf_done(&out);
}

static void show(const struct replay *r)
{
    for (const struct change *c = r->list; c; c = c->next) {
        if (r->json)
            print_json(c);
        else
            print_change(c);
    }
    printf(r->json ? "{\"judged\":%llu,\"changed\":%llu,\"unknown\":%llu,\"skipped\":%llu}\n"
                   : "%llu judged, %llu would change, %llu cannot be told, %llu skipped\n",
           (unsigned long long)r->judged, (unsigned long long)r->changed,
           (unsigned long long)r->unknown, (unsigned long long)r->skipped);
}

static int prepare(struct replay *r, struct gvm_err *err)
{
    char run_dir[GVM_PATH_MAX];
    int x = gvm_conf_load(r->rules, &r->conf, err);
    if (x == 0)
        x = gvm_rules_compile(r->conf, &r->rs, err);
    if (x == 0)
        x = gvm_place_path(GVM_PLACE_STATE, "ledger", r->dir, err);
    if (x == 0 && r->run)
        x = cli_find_run(r->run, r->run_id, run_dir, err);
    if (x < 0)
        return x;
    r->arena = gvm_arena_new(256u << 20);
    r->seen = gvm_map_new(CHANGES, NULL);
    r->tail = &r->list;
    return r->arena && r->seen ? 0 : gvm_err_set(err, ENOMEM, "out of memory");
}

static int replay(struct replay *r)
{
    struct gvm_err err = {0};
    int code = GVM_EXIT_OK;
    if (prepare(r, &err) < 0 || replay_all(r, &err) < 0)
        code = cli_fail(GVM_EXIT_ERROR, &err);
    else
        show(r);
    if (code == GVM_EXIT_OK && r->changed)
        code = GVM_EXIT_DENIED;
    gvm_map_free(r->seen);
    gvm_arena_free(r->arena);
    gvm_rules_free(r->rs);
    gvm_conf_free(r->conf);
    return cli_flush() == GVM_EXIT_OK ? code : GVM_EXIT_ERROR;
}

static int take_since(struct replay *r, const char *text)
{
    uint64_t ms;
    if (gvm_time_parse(gvm_str(text), &r->since_ns) == 0)
        return 0;
    if (gvm_parse_duration_ms(gvm_str(text), &ms) < 0 || ms > INT64_MAX / 1000000)
        return cli_usage("replay", "--since takes 10m, 2d, or a date and time with an offset");
    r->since_ns = gvm_now_ns() - (int64_t)ms * 1000000;
    return 0;
}

int cli_replay(int argc, char **argv)
{
    static const struct option options[] = {
        {"rules", required_argument, NULL, 'r'}, {"run", required_argument, NULL, 'R'},
        {"since", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};
    struct replay r = {.since_ns = INT64_MIN};
    int code = 0;
    for (int c; code == 0 && (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (c) {
        case 'r':
            r.rules = optarg;
            break;
        case 'R':
            r.run = optarg;
            break;
        case 's':
            code = take_since(&r, optarg);
            break;
        case 'j':
            r.json = true;
            break;
        case 'h':
            return cli_help(cli_replay_usage);
        default:
            return cli_bad_option("replay", argv);
        }
    }
    if (code == 0 && (!r.rules || optind != argc))
        code = cli_usage("replay", "give the rules to try: gvm replay --rules FILE");
    return code ? code : replay(&r);
}
