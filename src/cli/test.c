/* gvm test: cases beside the rules, and whether the rules decide them as they should. */
#include <getopt.h>
#include "cli/cli.h"
#include "cli/judge.h"
#include "cli/verbs.h"

const char cli_test_usage[] =
    "usage: gvm test FILE [OPTIONS]\n"
    "\n"
    "Judges every [[case]] of the file and compares. Exit code 0 when all are decided\n"
    "as they should be, 3 when one is not.\n"
    "\n"
    "      --config F      under these rules, whatever FILE says\n"
    "  -q, --quiet         only the cases that fail, and the sum\n"
    "      --json          one JSON object per case\n"
    "  -h, --help          this text\n"
    "\n"
    "FILE is TOML:\n"
    "\n"
    "    rules = \"gvm.toml\"          # beside FILE; else the rules in force\n"
    "    [[case]]\n"
    "    name = \"no large payments\"\n"
    "    method = \"POST\"             # GET when left out\n"
    "    url = \"https://api.example.com/pay\"   # or tcp = \"host:port\"\n"
    "    header = [\"Content-Type: application/json\"]\n"
    "    body = '{\"amount\": 5000}'   # or body_file\n"
    "    agent = \"bot\"\n"
    "    at = 2030-01-31T18:00:00Z   # now when left out\n"
    "    expect = \"Deny\"\n"
    "    rule = \"large amounts\"      # expect, rule or both\n";

struct testing {
    const char *file, *config;
    bool quiet, json;
    char rules[GVM_PATH_MAX];
    struct gvm_cases *cases;
    struct gvm_conf *conf;
    struct gvm_ruleset *rs;
    uint32_t passed, failed;
};

static int load(struct testing *t, struct gvm_err *err)
{
    bool any = true;
    int r = gvm_cases_load(t->file, &t->cases, err);
    if (r < 0)
        return r;
    if (t->cases->rules.n && !t->config)
        r = gvm_str_copy(t->rules, sizeof(t->rules), t->cases->rules);
    else
        r = cli_config_choose(t->config, ".", t->rules, &any, stderr, err);
    if (r == 0)
        r = any ? gvm_conf_load(t->rules, &t->conf, err) : gvm_conf_default(&t->conf, err);
    return r == 0 ? gvm_rules_compile(t->conf, &t->rs, err) : r;
}

static void name_of(const struct testing *t, const struct gvm_case *c, struct gvm_buf *out)
{
    if (c->name.n)
        gvm_buf_adds(out, c->name);
    else
        gvm_buf_addf(out, "%s:%u", t->file, c->line);
}

static void print_json(const struct testing *t, const struct gvm_case *c, bool ok,
                       struct gvm_str rule, enum gvm_decision got)
{
    struct gvm_buf out, name;
    struct gvm_jw w;
    gvm_buf_init(&out, 1u << 20);
    gvm_buf_init(&name, GVM_PATH_MAX + 16);
    name_of(t, c, &name);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstr(&w, "case", gvm_buf_str(&name));
    gvm_jw_kint(&w, "line", c->line);
    gvm_jw_kbool(&w, "ok", ok);
    gvm_jw_kstrz(&w, "decision", gvm_decision_name(got));
    gvm_jw_kstr(&w, "rule", rule);
    gvm_jw_kstrz(&w, "expect", c->has_expect ? gvm_decision_name(c->expect) : NULL);
    gvm_jw_object_end(&w);
    puts(gvm_buf_cstr(&out));
    gvm_buf_done(&out);
    gvm_buf_done(&name);
}

static void print_text(const struct testing *t, const struct gvm_case *c, bool ok,
                       struct gvm_str rule, enum gvm_decision got)
{
    struct gvm_buf name;
    if (ok && t->quiet)
        return;
    gvm_buf_init(&name, GVM_PATH_MAX + 16);
    name_of(t, c, &name);
    printf("%s  ", ok ? "ok  " : "FAIL");
    cli_print_safe(stdout, gvm_buf_str(&name));
    printf(": %s by ", gvm_decision_name(got));
    cli_print_safe(stdout, rule);
    if (!ok && c->has_expect)
        printf(", not %s", gvm_decision_name(c->expect));
    if (!ok && c->rule.n) {
        printf(", not by ");
        cli_print_safe(stdout, c->rule);
    }
    putchar('\n');
    gvm_buf_done(&name);
}

/* 0, or the exit code for a case that makes no sense. */
static int run_case(struct testing *t, const struct gvm_case *c)
{
    struct cli_question q = {.method = c->method,
                             .url = c->url,
                             .agent = c->agent,
                             .fields = c->fields,
                             .body = c->body,
                             .has_body = c->has_body,
                             .tcp = c->tcp,
                             .now_ns = c->now_ns ? c->now_ns : gvm_now_ns()};
    struct cli_judged j;
    struct gvm_err err = {0};
    if (cli_judge(t->conf, t->rs, &q, &j, &err) < 0) {
        cli_judged_done(&j);
        (void)gvm_err_wrap(&err, 0, "%s:%u", t->file, c->line);
        return cli_fail(GVM_EXIT_ERROR, &err);
    }
    struct gvm_str rule = j.refused ? GVM_STR("refused") : j.verdict.name;
    enum gvm_decision got = j.refused ? GVM_DENY : j.verdict.decision;
    bool ok = (!c->has_expect || got == c->expect) && (!c->rule.n || gvm_str_eq(rule, c->rule));
    t->passed += ok;
    t->failed += !ok;
    if (t->json)
        print_json(t, c, ok, rule, got);
    else
        print_text(t, c, ok, rule, got);
    cli_judged_done(&j);
    return 0;
}

static int run_all(struct testing *t)
{
    struct gvm_err err = {0};
    int code = 0;
    if (load(t, &err) < 0)
        code = cli_fail(GVM_EXIT_ERROR, &err);
    for (uint32_t i = 0; code == 0 && i < t->cases->n; i++)
        code = run_case(t, &t->cases->list[i]);
    if (code == 0 && !t->json)
        printf("%u passed, %u failed\n", t->passed, t->failed);
    if (code == 0 && t->failed)
        code = GVM_EXIT_DENIED;
    gvm_rules_free(t->rs);
    gvm_conf_free(t->conf);
    gvm_cases_free(t->cases);
    return cli_flush() == GVM_EXIT_OK ? code : GVM_EXIT_ERROR;
}

int cli_test(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct testing t = {0};
    for (int c; (c = getopt_long(argc, argv, "hq", options, NULL)) != -1;) {
        switch (c) {
        case 'c':
            t.config = optarg;
            break;
        case 'q':
            t.quiet = true;
            break;
        case 'j':
            t.json = true;
            break;
        case 'h':
            return cli_help(cli_test_usage);
        default:
            return cli_bad_option("test", argv);
        }
    }
    if (argc - optind != 1)
        return cli_usage("test", "give one FILE of cases");
    t.file = argv[optind];
    return run_all(&t);
}
