/* gvm explain: what would happen to this request, by which rule, and what else would match. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>
#include "cli/cli.h"
#include "cli/judge.h"
#include "cli/verbs.h"

const char cli_explain_usage[] =
    "usage: gvm explain METHOD URL [OPTIONS]\n"
    "       gvm explain --protocol tcp HOST:PORT [OPTIONS]\n"
    "\n"
    "Shows the decision for a request, the rule that takes it, where that rule\n"
    "stands, and which other rules would match. Exit code 0 when the request is let\n"
    "through (also late or after approval), 3 when it is denied.\n"
    "\n"
    "      --agent A       as this agent\n"
    "      --body F        with the content of this file as its body (- for stdin)\n"
    "      --header H      with this header field, \"Name: value\"; may be repeated\n"
    "      --config F      under this file instead of the one in force\n"
    "      --protocol tcp  a connection that is not HTTP\n"
    "      --json          one JSON object\n"
    "  -h, --help          this text\n";

enum { MAX_ALSO = 20 };

struct question {
    const char *config, *body_file;
    bool json;
    struct cli_question ask;
    struct gvm_buf fields, body;
    char file[GVM_PATH_MAX];
};

struct answer {
    struct gvm_conf *conf;
    struct gvm_ruleset *rs;
    struct cli_judged j;
    int32_t also[MAX_ALSO];
    size_t nalso;
};

static int load_rules(struct question *q, struct answer *a, struct gvm_err *err)
{
    bool any = false;
    int r = cli_config_choose(q->config, ".", q->file, &any, stderr, err);
    if (r == 0)
        r = any ? gvm_conf_load(q->file, &a->conf, err) : gvm_conf_default(&a->conf, err);
    return r == 0 ? gvm_rules_compile(a->conf, &a->rs, err) : r;
}

static int read_body(struct question *q, struct gvm_err *err)
{
    if (!q->body_file)
        return 0;
    bool std = strcmp(q->body_file, "-") == 0;
    int r = std ? gvm_read_fd(STDIN_FILENO, &q->body) : gvm_read_file(q->body_file, &q->body, err);
    if (r < 0 && std)
        return gvm_err_sys(err, -r, "cannot read the body");
    q->ask.body = gvm_buf_str(&q->body);
    q->ask.has_body = r >= 0;
    return r;
}

static void find_others(struct answer *a)
{
    int32_t found[MAX_ALSO + 1];
    size_t n = gvm_rules_matches(a->rs, &a->j.facts, found, MAX_ALSO + 1);
    for (size_t i = 0; i < n && a->nalso < MAX_ALSO; i++)
        if (found[i] != a->j.verdict.rule)
            a->also[a->nalso++] = found[i];
}

/* ---- showing it ---- */

static void show_rule(const struct question *q, struct gvm_str name, uint32_t line)
{
    if (!line) {
        printf("no rule: the default of ");
        cli_print_safe(stdout, gvm_str(q->file[0] ? q->file : "the program"));
        return;
    }
    printf("rule \"");
    cli_print_safe(stdout, name);
    printf("\" (");
    cli_print_safe(stdout, gvm_str(q->file));
    printf(":%u)", line);
}

static void show(const struct question *q, const struct answer *a)
{
    const struct gvm_verdict *v = &a->j.verdict;
    printf("%s", gvm_decision_name(v->decision));
    if (v->decision == GVM_DELAY)
        printf(" %u ms", v->delay_ms);
    printf("  ");
    if (q->ask.tcp && v->rule < 0)
        printf("no rule allows it");
    else
        show_rule(q, v->name, v->line);
    printf("\n  request: %.*s%s", GVM_STR_ARG(a->j.facts.method), q->ask.tcp ? "tcp " : " ");
    printf("%s", q->ask.tcp ? "" : a->j.facts.tls ? "https://" : "http://");
    struct gvm_buf text;
    gvm_buf_init(&text, 4096);
    if (gvm_authority_format(a->j.auth.host, a->j.facts.port, a->j.facts.tls, &text) == 0)
        cli_print_safe(stdout, gvm_buf_str(&text));
    gvm_buf_done(&text);
    cli_print_safe(stdout, a->j.facts.path);
    printf("\n  reason: ");
    cli_print_safe(stdout, v->reason);
    putchar('\n');
    if (v->lenient)
        puts("  note: judged as a server that decodes every escape would read the path");
    if (a->j.opaque)
        puts("  note: intercept = \"none\": the connection passes unread, requests are not seen");
    if (v->unverifiable) {
        printf("  note: cannot be seen: ");
        cli_print_safe(stdout, gvm_str(v->why));
        putchar('\n');
    }
    if (v->partial)
        puts("  note: the rule holds for a part of the request, and is the strictest that does");
    if (v->limit)
        printf("  note: limited; beyond the limit %s\n", gvm_decision_name(v->limit->then.type));
    if (a->j.looks_at_body && !q->ask.has_body)
        puts("  note: rules look at the body; give one with --body");
    if (v->private_ok)
        puts("  note: private addresses may be reached");
    for (size_t i = 0; i < a->nalso; i++) {
        const struct gvm_conf_rule *r = &a->conf->rules[a->also[i]];
        printf("  also matches: %s  ", gvm_decision_name(r->decision.type));
        show_rule(q, r->name, r->line);
        putchar('\n');
    }
}

static void put_request(struct gvm_jw *w, const struct question *q, const struct answer *a)
{
    gvm_jw_key(w, "request");
    gvm_jw_object(w);
    gvm_jw_kstrz(w, "protocol", q->ask.tcp ? "tcp" : "http");
    gvm_jw_kstr(w, "method", a->j.facts.method);
    gvm_jw_kstrz(w, "scheme", q->ask.tcp ? "tcp" : a->j.facts.tls ? "https" : "http");
    gvm_jw_kstr(w, "host", a->j.facts.host);
    gvm_jw_kint(w, "port", a->j.facts.port);
    gvm_jw_kstr(w, "path", a->j.facts.path);
    gvm_jw_kstr(w, "agent", a->j.facts.agent);
    gvm_jw_object_end(w);
}

static void put_also(struct gvm_jw *w, const struct answer *a)
{
    gvm_jw_key(w, "also");
    gvm_jw_array(w);
    for (size_t i = 0; i < a->nalso; i++) {
        const struct gvm_conf_rule *r = &a->conf->rules[a->also[i]];
        gvm_jw_object(w);
        gvm_jw_kstr(w, "rule", r->name);
        gvm_jw_kint(w, "line", r->line);
        gvm_jw_kstrz(w, "decision", gvm_decision_name(r->decision.type));
        gvm_jw_object_end(w);
    }
    gvm_jw_array_end(w);
}

static void print_json(const struct question *q, const struct answer *a)
{
    const struct gvm_verdict *v = &a->j.verdict;
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 1u << 20);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "decision", gvm_decision_name(v->decision));
    gvm_jw_kstr(&w, "rule", v->name);
    gvm_jw_kint(&w, "line", v->line);
    gvm_jw_kstrz(&w, "config", q->file[0] ? q->file : NULL);
    gvm_jw_kint(&w, "delay_ms", v->delay_ms);
    gvm_jw_kstr(&w, "reason", v->reason);
    gvm_jw_kbool(&w, "default", v->rule < 0);
    gvm_jw_kbool(&w, "private", v->private_ok);
    gvm_jw_kbool(&w, "opaque", a->j.opaque);
    gvm_jw_kbool(&w, "lenient", v->lenient);
    gvm_jw_kstrz(&w, "unverifiable", v->unverifiable ? v->why : NULL);
    gvm_jw_kbool(&w, "partial", v->partial);
    gvm_jw_kbool(&w, "looks_at_body", a->j.looks_at_body);
    gvm_jw_kbool(&w, "limited", v->limit != NULL);
    gvm_jw_kstrz(&w, "policy", a->conf->hash);
    put_request(&w, q, a);
    put_also(&w, a);
    gvm_jw_object_end(&w);
    puts(gvm_buf_cstr(&out));
    gvm_buf_done(&out);
}

/* What the proxy answers with 400 and records as http.refused never gets to a rule. */
static int refused(const struct question *q, const struct gvm_err *err)
{
    struct gvm_buf out;
    struct gvm_jw w;
    if (!q->json) {
        printf("Deny  refused before any rule: ");
        cli_print_safe(stdout, gvm_str(err->text));
        putchar('\n');
        return GVM_EXIT_DENIED;
    }
    gvm_buf_init(&out, 4096);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "decision", "Deny");
    gvm_jw_kstrz(&w, "rule", NULL);
    gvm_jw_kstrz(&w, "refused", err->text);
    gvm_jw_object_end(&w);
    puts(gvm_buf_cstr(&out));
    gvm_buf_done(&out);
    return GVM_EXIT_DENIED;
}

static int show_answer(const struct question *q, struct answer *a)
{
    if (a->j.refused)
        return refused(q, &a->j.why);
    find_others(a);
    if (q->json)
        print_json(q, a);
    else
        show(q, a);
    return a->j.verdict.decision == GVM_DENY ? GVM_EXIT_DENIED : GVM_EXIT_OK;
}

static int explain(struct question *q)
{
    struct answer a = {0};
    struct gvm_err err = {0};
    int code;
    if (load_rules(q, &a, &err) < 0 || read_body(q, &err) < 0)
        code = cli_fail(GVM_EXIT_ERROR, &err);
    else if (cli_judge(a.conf, a.rs, &q->ask, &a.j, &err) < 0)
        code = cli_usage("explain", "%s", err.text);
    else
        code = show_answer(q, &a);
    cli_judged_done(&a.j);
    gvm_rules_free(a.rs);
    gvm_conf_free(a.conf);
    return cli_flush() == GVM_EXIT_OK ? code : GVM_EXIT_ERROR;
}

static int take_words(struct question *q, int argc, char **argv)
{
    int n = argc - optind;
    if (q->ask.tcp) {
        if (n != 1 && n != 2)
            return cli_usage("explain", "give HOST:PORT");
        q->ask.url = gvm_str(argv[argc - 1]);
    } else {
        if (n != 2)
            return cli_usage("explain", "give METHOD and URL");
        q->ask.method = gvm_str(argv[optind]);
        q->ask.url = gvm_str(argv[optind + 1]);
    }
    q->ask.fields = gvm_buf_str(&q->fields);
    return 0;
}

/* -1: no exit code yet. */
static int take_options(struct question *q, int argc, char **argv)
{
    static const struct option options[] = {
        {"agent", required_argument, NULL, 'a'},    {"config", required_argument, NULL, 'c'},
        {"body", required_argument, NULL, 'b'},     {"header", required_argument, NULL, 'H'},
        {"protocol", required_argument, NULL, 'p'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (c) {
        case 'a':
            q->ask.agent = gvm_str(optarg);
            break;
        case 'b':
            q->body_file = optarg;
            break;
        case 'c':
            q->config = optarg;
            break;
        case 'H':
            if (!strchr(optarg, ':') || strpbrk(optarg, "\r\n"))
                return cli_usage("explain", "--header is \"Name: value\"");
            gvm_buf_addf(&q->fields, "%s\r\n", optarg);
            break;
        case 'p':
            q->ask.tcp = strcmp(optarg, "tcp") == 0;
            if (!q->ask.tcp && strcmp(optarg, "http") != 0)
                return cli_usage("explain", "--protocol is tcp or http");
            break;
        case 'j':
            q->json = true;
            break;
        case 'h':
            return cli_help(cli_explain_usage);
        default:
            return cli_bad_option("explain", argv);
        }
    }
    return -1;
}

int cli_explain(int argc, char **argv)
{
    struct question q = {.ask = {.agent = GVM_STR(""), .now_ns = gvm_now_ns()}};
    gvm_buf_init(&q.fields, GVM_MAX_HEAD);
    gvm_buf_init(&q.body, GVM_MAX_INSPECT + 1u);
    int code = take_options(&q, argc, argv);
    if (code < 0) {
        code = take_words(&q, argc, argv);
        if (code == 0)
            code = explain(&q);
    }
    gvm_buf_done(&q.fields);
    gvm_buf_done(&q.body);
    return code;
}
