/* gvm check: is this file valid, and does every rule of it mean something? */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cli/cli.h"
#include "cli/verbs.h"
#include "rules/rules.h"

const char cli_check_usage[] =
    "usage: gvm check [--strict] [--json] [FILE]\n"
    "\n"
    "Reads a gvm.toml as the daemon would and says whether it is valid. Warns of\n"
    "rules that can never fire. Without FILE: ./gvm.toml, else your own\n"
    "configuration.\n"
    "Exit code 0 when it is valid, 1 when it is not.\n"
    "\n"
    "      --strict  warnings count as errors\n"
    "      --json    one JSON object\n"
    "  -h, --help    this text\n";

enum { MAX_WARNINGS = 100 };

struct warning {
    int32_t rule, by; /* by = -1: expired */
};

struct report {
    const char *file;
    struct gvm_conf *conf;
    struct gvm_ruleset *rs;
    struct warning warnings[MAX_WARNINGS];
    size_t n;
};

static void find_expired(struct report *rep)
{
    int64_t now = gvm_now_ns();
    for (uint32_t i = 0; i < rep->conf->nrules && rep->n < MAX_WARNINGS; i++)
        if (rep->conf->rules[i].expires_ns && rep->conf->rules[i].expires_ns <= now)
            rep->warnings[rep->n++] = (struct warning){(int32_t)i, -1};
}

static void find_hidden(struct report *rep)
{
    struct gvm_hidden_rule hidden[MAX_WARNINGS];
    size_t n = gvm_rules_hidden(rep->rs, hidden, MAX_WARNINGS - rep->n);
    for (size_t i = 0; i < n; i++)
        rep->warnings[rep->n++] = (struct warning){hidden[i].rule, hidden[i].by};
}

static void say_rule(FILE *f, const struct report *rep, int32_t i)
{
    const struct gvm_conf_rule *r = &rep->conf->rules[i];
    fputs("rule \"", f);
    cli_print_safe(f, r->name);
    fprintf(f, "\" (line %u)", r->line);
}

static void say_warnings(const struct report *rep)
{
    for (size_t i = 0; i < rep->n; i++) {
        const struct warning *w = &rep->warnings[i];
        cli_print_safe(stderr, gvm_str(rep->file));
        fprintf(stderr, ":%u: warning: ", rep->conf->rules[w->rule].line);
        say_rule(stderr, rep, w->rule);
        if (w->by < 0) {
            fputs(" has expired; take it out\n", stderr);
            continue;
        }
        fputs(" can never fire: ", stderr);
        say_rule(stderr, rep, w->by);
        fputs(" takes everything it would; move it up or take it out\n", stderr);
    }
}

static void print_json(const struct report *rep, const struct gvm_err *err)
{
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 1u << 20);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "file", rep->file);
    gvm_jw_kbool(&w, "valid", rep->rs != NULL);
    if (!rep->rs)
        gvm_jw_kstrz(&w, "error", err->text);
    if (rep->rs) {
        gvm_jw_kint(&w, "rules", (int64_t)gvm_rules_count(rep->rs));
        gvm_jw_kstrz(&w, "default", gvm_decision_name(rep->conf->dflt.type));
        gvm_jw_kstrz(&w, "policy", rep->conf->hash);
        gvm_jw_key(&w, "warnings");
        gvm_jw_array(&w);
        for (size_t i = 0; i < rep->n; i++) {
            const struct warning *x = &rep->warnings[i];
            gvm_jw_object(&w);
            gvm_jw_kstrz(&w, "kind", x->by < 0 ? "expired" : "hidden");
            gvm_jw_kstr(&w, "rule", rep->conf->rules[x->rule].name);
            gvm_jw_kint(&w, "line", rep->conf->rules[x->rule].line);
            if (x->by >= 0) {
                gvm_jw_kstr(&w, "by", rep->conf->rules[x->by].name);
                gvm_jw_kint(&w, "by_line", rep->conf->rules[x->by].line);
            }
            gvm_jw_object_end(&w);
        }
        gvm_jw_array_end(&w);
    }
    gvm_jw_object_end(&w);
    puts(gvm_buf_cstr(&out));
    gvm_buf_done(&out);
}

static int check(const char *file, bool strict, bool json)
{
    struct report rep = {.file = file};
    struct gvm_err err = {0};
    int r = gvm_conf_load(file, &rep.conf, &err);
    if (r == 0)
        r = gvm_rules_compile(rep.conf, &rep.rs, &err);
    if (r == 0) {
        find_expired(&rep);
        find_hidden(&rep);
    }
    if (json)
        print_json(&rep, &err);
    int code = r < 0 || (strict && rep.n) ? GVM_EXIT_ERROR : GVM_EXIT_OK;
    if (r < 0 && !json)
        code = cli_fail(GVM_EXIT_ERROR, &err);
    if (r == 0 && !json) {
        say_warnings(&rep);
        cli_print_safe(stdout, gvm_str(file));
        printf(": valid, %u rule%s, default %s", rep.conf->nrules, rep.conf->nrules == 1 ? "" : "s",
               gvm_decision_name(rep.conf->dflt.type));
        printf(rep.n ? ", %zu warning%s\n" : "\n", rep.n, rep.n == 1 ? "" : "s");
    }
    gvm_rules_free(rep.rs);
    gvm_conf_free(rep.conf);
    return cli_flush() == GVM_EXIT_OK ? code : GVM_EXIT_ERROR;
}

/* Looking at a file is not using it: the one in this directory need not be trusted. */
static int check_default(bool strict, bool json)
{
    char path[GVM_PATH_MAX];
    struct gvm_err err = {0};
    bool any = false;
    if (access("gvm.toml", F_OK) == 0)
        return check("gvm.toml", strict, json);
    if (cli_config_choose(NULL, NULL, path, &any, NULL, &err) < 0)
        return cli_fail(GVM_EXIT_ERROR, &err);
    if (any)
        return check(path, strict, json);
    (void)gvm_err_set(&err, ENOENT,
                      "no gvm.toml here and no configuration of your own; name a file, or run: gvm "
                      "suggest --apply");
    return cli_fail(GVM_EXIT_ERROR, &err);
}

int cli_check(int argc, char **argv)
{
    static const struct option options[] = {{"strict", no_argument, NULL, 's'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    bool strict = false, json = false;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (c) {
        case 's':
            strict = true;
            break;
        case 'j':
            json = true;
            break;
        case 'h':
            return cli_help(cli_check_usage);
        default:
            return cli_bad_option("check", argv);
        }
    }
    if (optind + 1 < argc)
        return cli_usage("check", "name one file");
    return optind < argc ? check(argv[optind], strict, json) : check_default(strict, json);
}
