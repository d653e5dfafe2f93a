/* gvm explain: what would happen to this request, by which rule, and what else would match. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include "cli/cli.h"
#include "cli/verbs.h"
#include "rules/rules.h"

const char cli_explain_usage[] =
    "usage: gvm explain METHOD URL [OPTIONS]\n"
    "       gvm explain --protocol tcp HOST:PORT [OPTIONS]\n"
    "\n"
    "Shows the decision for a request, the rule that takes it, where that rule\n"
    "stands, and which other rules would match. Exit code 0 when the request is let\n"
    "through (also late or after approval), 3 when it is denied.\n"
    "\n"
    "      --agent A       as this agent\n"
    "      --config F      under this file instead of the one in force\n"
    "      --protocol tcp  a connection that is not HTTP\n"
    "      --json          one JSON object\n"
    "  -h, --help          this text\n";

enum { MAX_ALSO = 20 };

struct question {
    const char *method, *target, *agent, *config;
    bool tcp, json;
    /* made of it */
    char verb[GVM_MAX_METHOD + 1], file[GVM_PATH_MAX];
    struct gvm_authority auth;
    struct gvm_buf path, query;
    struct gvm_facts facts;
};

struct answer {
    struct gvm_conf *conf;
    struct gvm_ruleset *rs;
    struct gvm_verdict verdict;
    bool opaque;
    int32_t also[MAX_ALSO];
    size_t nalso;
};

/* ---- the request ---- */

static int upper_method(struct question *q, struct gvm_err *err)
{
    if (gvm_str_copy(q->verb, sizeof(q->verb), gvm_str(q->method)) < 0)
        return gvm_err_set(err, EINVAL, "the method is too long");
    for (char *p = q->verb; *p; p++)
        *p = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
    return 0;
}

/* Scheme, authority and target; a URL without scheme is https. */
static int split_url(struct question *q, bool *ret_tls, struct gvm_str *ret_authority,
                     struct gvm_str *ret_target, struct gvm_err *err)
{
    struct gvm_str url = gvm_str(q->target);
    if (strstr(q->target, "://"))
        return gvm_absolute_split(url, ret_tls, ret_authority, ret_target, err);
    *ret_tls = true;
    *ret_target = url;
    if (gvm_str_cut(ret_target, '/', ret_authority))
        *ret_target = (struct gvm_str){ret_target->p - 1, ret_target->n + 1};
    else
        *ret_target = GVM_STR("/");
    return 0;
}

/* What does not even name a place is a mistake on the command line. */
static int read_place(struct question *q, bool *ret_tls, struct gvm_str *ret_target,
                      struct gvm_err *err)
{
    struct gvm_str authority;
    int r = q->tcp ? 0 : upper_method(q, err);
    if (r == 0)
        r = split_url(q, ret_tls, &authority, ret_target, err);
    if (r == 0)
        r = gvm_authority_parse(authority, &q->auth, err);
    if (r == 0 && q->tcp && !q->auth.port)
        r = gvm_err_set(err, EINVAL, "a TCP connection has a port; write HOST:PORT");
    return r;
}

static int make_facts(struct question *q, bool tls, struct gvm_str target, struct gvm_err *err)
{
    bool has_query = false;
    int r = q->tcp ? 0 : gvm_target_canon(target, &q->path, &q->query, &has_query, err);
    if (r < 0)
        return r;
    uint16_t port = q->auth.port ? q->auth.port : tls ? 443 : 80;
    q->facts = (struct gvm_facts){.protocol = q->tcp ? GVM_PROTO_TCP : GVM_PROTO_HTTP,
                                  .method = gvm_str(q->tcp ? "" : q->verb),
                                  .host = gvm_str(q->auth.host),
                                  .port = port,
                                  .tls = tls && !q->tcp,
                                  .path = gvm_buf_str(&q->path),
                                  .query = gvm_buf_str(&q->query),
                                  .agent = gvm_str(q->agent),
                                  .now_ns = gvm_now_ns()};
    return 0;
}

/* ---- the rules in force ---- */

static int load_rules(struct question *q, struct answer *a, struct gvm_err *err)
{
    bool any = false;
    int r = cli_config_choose(q->config, ".", q->file, &any, stderr, err);
    if (r == 0)
        r = any ? gvm_conf_load(q->file, &a->conf, err) : gvm_conf_default(&a->conf, err);
    return r == 0 ? gvm_rules_compile(a->conf, &a->rs, err) : r;
}

static bool is_pinned(const struct gvm_conf *c, struct gvm_str host)
{
    for (uint32_t i = 0; i < c->npins; i++)
        if (gvm_str_eq(c->pins[i].host, host))
            return true;
    return false;
}

/* What the data path refuses whatever the rules say: an address in the URL that is not public,
 * unless it is pinned, or of a kind that private = true opens and the rule says so. */
static void close_address(const struct question *q, struct answer *a)
{
    struct gvm_verdict *v = &a->verdict;
    if (!q->auth.is_ip || v->decision == GVM_DENY || is_pinned(a->conf, q->facts.host))
        return;
    enum gvm_ip_class class = gvm_ip_class(&q->auth.ip);
    bool may = class == GVM_IP_LOOPBACK || class == GVM_IP_PRIVATE || class == GVM_IP_LINK_LOCAL;
    if (class == GVM_IP_PUBLIC || (may && v->private_ok))
        return;
    v->decision = GVM_DENY;
    v->delay_ms = 0;
    v->reason = may ? GVM_STR("an address that is not public needs a rule with private = true")
                    : GVM_STR("this address is never reached");
}

static void decide(const struct question *q, struct answer *a)
{
    struct gvm_verdict opaque;
    int32_t found[MAX_ALSO + 1];
    gvm_rules_decide(a->rs, &q->facts, &a->verdict);
    a->opaque = !q->tcp && q->facts.tls && gvm_rules_opaque(a->rs, &q->facts, &opaque);
    if (a->opaque)
        a->verdict = opaque;
    close_address(q, a);
    size_t n = gvm_rules_matches(a->rs, &q->facts, found, MAX_ALSO + 1);
    for (size_t i = 0; i < n && a->nalso < MAX_ALSO; i++)
        if (found[i] != a->verdict.rule)
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
    const struct gvm_verdict *v = &a->verdict;
    printf("%s", gvm_decision_name(v->decision));
    if (v->decision == GVM_DELAY)
        printf(" %u ms", v->delay_ms);
    printf("  ");
    if (q->tcp && v->rule < 0)
        printf("no rule allows it");
    else
        show_rule(q, v->name, v->line);
    printf("\n  request: %.*s%s", GVM_STR_ARG(q->facts.method), q->tcp ? "tcp " : " ");
    printf("%s", q->tcp ? "" : q->facts.tls ? "https://" : "http://");
    struct gvm_buf text;
    gvm_buf_init(&text, 4096);
    if (gvm_authority_format(q->auth.host, q->facts.port, q->facts.tls, &text) == 0)
        cli_print_safe(stdout, gvm_buf_str(&text));
    gvm_buf_done(&text);
    cli_print_safe(stdout, q->facts.path);
    printf("\n  reason: ");
    cli_print_safe(stdout, v->reason);
    putchar('\n');
    if (v->lenient)
        puts("  note: judged as a server that decodes every escape would read the path");
    if (a->opaque)
        puts("  note: intercept = \"none\": the connection passes unread, requests are not seen");
    if (v->private_ok)
        puts("  note: private addresses may be reached");
    for (size_t i = 0; i < a->nalso; i++) {
        const struct gvm_conf_rule *r = &a->conf->rules[a->also[i]];
        printf("  also matches: %s  ", gvm_decision_name(r->decision.type));
        show_rule(q, r->name, r->line);
        putchar('\n');
    }
}

static void put_request(struct gvm_jw *w, const struct question *q)
{
    gvm_jw_key(w, "request");
    gvm_jw_object(w);
    gvm_jw_kstrz(w, "protocol", q->tcp ? "tcp" : "http");
    gvm_jw_kstr(w, "method", q->facts.method);
    gvm_jw_kstrz(w, "scheme", q->tcp ? "tcp" : q->facts.tls ? "https" : "http");
    gvm_jw_kstr(w, "host", q->facts.host);
    gvm_jw_kint(w, "port", q->facts.port);
    gvm_jw_kstr(w, "path", q->facts.path);
    gvm_jw_kstr(w, "agent", q->facts.agent);
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
    const struct gvm_verdict *v = &a->verdict;
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
    gvm_jw_kbool(&w, "opaque", a->opaque);
    gvm_jw_kbool(&w, "lenient", v->lenient);
    gvm_jw_kstrz(&w, "policy", a->conf->hash);
    put_request(&w, q);
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

static int explain(struct question *q)
{
    struct answer a = {0};
    struct gvm_err err = {0};
    struct gvm_str target;
    bool tls = true;
    int code;
    if (read_place(q, &tls, &target, &err) < 0)
        return cli_usage("explain", "%s", err.text);
    if (load_rules(q, &a, &err) < 0) {
        code = cli_fail(GVM_EXIT_ERROR, &err);
    } else if (make_facts(q, tls, target, &err) < 0) {
        code = refused(q, &err);
    } else {
        decide(q, &a);
        if (q->json)
            print_json(q, &a);
        else
            show(q, &a);
        code = a.verdict.decision == GVM_DENY ? GVM_EXIT_DENIED : GVM_EXIT_OK;
    }
    gvm_rules_free(a.rs);
    gvm_conf_free(a.conf);
    return cli_flush() == GVM_EXIT_OK ? code : GVM_EXIT_ERROR;
}

static int take_words(struct question *q, int argc, char **argv)
{
    int n = argc - optind;
    if (q->tcp) {
        if (n != 1 && n != 2)
            return cli_usage("explain", "give HOST:PORT");
        q->target = argv[argc - 1];
    } else {
        if (n != 2)
            return cli_usage("explain", "give METHOD and URL");
        q->method = argv[optind];
        q->target = argv[optind + 1];
    }
    return 0;
}

int cli_explain(int argc, char **argv)
{
    static const struct option options[] = {
        {"agent", required_argument, NULL, 'a'},    {"config", required_argument, NULL, 'c'},
        {"protocol", required_argument, NULL, 'p'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0}};
    struct question q = {.agent = ""};
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (c) {
        case 'a':
            q.agent = optarg;
            break;
        case 'c':
            q.config = optarg;
            break;
        case 'p':
            q.tcp = strcmp(optarg, "tcp") == 0;
            if (!q.tcp && strcmp(optarg, "http") != 0)
                return cli_usage("explain", "--protocol is tcp or http");
            break;
        case 'j':
            q.json = true;
            break;
        case 'h':
            return cli_help(cli_explain_usage);
        default:
            return cli_bad_option("explain", argv);
        }
    }
    int code = take_words(&q, argc, argv);
    if (code)
        return code;
    gvm_buf_init(&q.path, 4 * GVM_MAX_TARGET);
    gvm_buf_init(&q.query, GVM_MAX_TARGET);
    code = explain(&q);
    gvm_buf_done(&q.path);
    gvm_buf_done(&q.query);
    return code;
}
