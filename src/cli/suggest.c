/* gvm suggest: turn what a run did into rules. */
#include "cli/suggest.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>
#include "cli/cli.h"
#include "cli/trust.h"
#include "cli/verbs.h"

const char cli_suggest_usage[] =
    "usage: gvm suggest [OPTIONS]\n"
    "\n"
    "Reads what a run did and prints rules for it: reads allowed, writes delayed,\n"
    "deletions left to you as comments. Ids in paths become {id}. What a rule in\n"
    "force already decides by name is left out.\n"
    "\n"
    "      --run ID         this run (the beginning of the id is enough); else the\n"
    "                       newest that made a request\n"
    "      --writes WHAT    allow, delay (the default) or approve\n"
    "      --config F       compare with, and write to, this file instead of the one\n"
    "                       in force\n"
    "      --apply          write the rules into that file\n"
    "      --json           one JSON object\n"
    "  -h, --help           this text\n";

struct options {
    const char *run, *config;
    enum gvm_decision writes;
    bool apply, json;
};

struct work {
    struct options o;
    struct sug s;
    struct gvm_conf *conf;
    struct gvm_ruleset *rs;
    char file[GVM_PATH_MAX]; /* in force, or to be made */
    bool exists;
};

/* --apply may be told to make a file: its path, absolute, and the built-in default to compare with.
 */
static int load_new(struct work *w, struct gvm_err *err)
{
    char cwd[GVM_PATH_MAX] = "";
    bool relative = w->o.config[0] != '/';
    if (relative && !getcwd(cwd, sizeof(cwd)))
        return gvm_err_sys(err, errno, "cannot find the current directory");
    int n = snprintf(w->file, sizeof(w->file), "%s%s%s", cwd, relative ? "/" : "", w->o.config);
    if (n < 0 || n >= (int)sizeof(w->file))
        return gvm_err_set(err, ENAMETOOLONG, "the path is too long");
    return gvm_conf_default(&w->conf, err);
}

static int load_rules(struct work *w, struct gvm_err *err)
{
    if (w->o.config && w->o.apply && access(w->o.config, F_OK) < 0 && errno == ENOENT)
        return load_new(w, err);
    int r = cli_config_choose(w->o.config, ".", w->file, &w->exists, stderr, err);
    if (r == 0)
        r = w->exists ? gvm_conf_load(w->file, &w->conf, err) : gvm_conf_default(&w->conf, err);
    if (r == 0 && !w->exists)
        r = gvm_place(GVM_PLACE_CONFIG, w->file, err);
    return r;
}

static int learn(struct work *w, struct gvm_err *err)
{
    char dir[GVM_PATH_MAX];
    int r = load_rules(w, err);
    if (r == 0)
        r = gvm_rules_compile(w->conf, &w->rs, err);
    if (r == 0)
        r = gvm_place_path(GVM_PLACE_STATE, "ledger", dir, err);
    if (r < 0)
        return r;
    w->s = (struct sug){.conf = w->conf, .rs = w->rs, .want_run = w->o.run, .writes = w->o.writes};
    r = sug_learn(&w->s, dir, err);
    if (r == -ENOENT && !w->s.run[0] && !w->o.run)
        r = gvm_err_set(err, ENOENT, "nothing is recorded yet; try: gvm run --watch -- COMMAND");
    return r == 0 ? sug_make_rules(&w->s, err) : r;
}

/* ---- output ---- */

static void put_rule(struct gvm_jw *j, const struct sug_rule *r)
{
    gvm_jw_object(j);
    gvm_jw_kstr(j, "name", r->name);
    gvm_jw_kstrz(j, "protocol", r->class == SUG_OPAQUE ? "tcp" : "http");
    gvm_jw_key(j, "method");
    gvm_jw_array(j);
    for (unsigned i = 0; i < r->nmethods; i++)
        gvm_jw_str(j, r->methods[i]);
    gvm_jw_array_end(j);
    gvm_jw_kstr(j, "pattern", r->pattern);
    gvm_jw_kstrz(j, "decision", gvm_decision_name(r->decision));
    gvm_jw_kbool(j, "active", r->active);
    gvm_jw_kbool(j, "private", r->private_ok);
    if (r->private_note)
        gvm_jw_kstrz(j, "address", r->private_note);
    gvm_jw_kint(j, "seen", (int64_t)r->seen);
    gvm_jw_object_end(j);
}

static void print_json(const struct work *w, const char *applied)
{
    struct gvm_buf out;
    struct gvm_jw j;
    gvm_buf_init(&out, GVM_MAX_POLICY);
    gvm_jw_init(&j, &out);
    gvm_jw_object(&j);
    gvm_jw_kstrz(&j, "run", w->s.run);
    gvm_jw_kstrz(&j, "agent", w->s.agent);
    gvm_jw_kint(&j, "requests", (int64_t)w->s.requests);
    gvm_jw_kint(&j, "skipped", (int64_t)w->s.skipped);
    gvm_jw_kstrz(&j, "config", w->file);
    gvm_jw_kbool(&j, "applied", applied != NULL);
    gvm_jw_key(&j, "rules");
    gvm_jw_array(&j);
    for (size_t i = 0; i < w->s.nrules; i++)
        put_rule(&j, &w->s.rules[i]);
    gvm_jw_array_end(&j);
    gvm_jw_object_end(&j);
    puts(gvm_buf_cstr(&out));
    gvm_buf_done(&out);
}

static void print_toml(const struct work *w)
{
    struct gvm_buf out;
    gvm_buf_init(&out, GVM_MAX_POLICY);
    sug_write(&w->s, GVM_STR(""), &out);
    fwrite(gvm_buf_data(&out), 1, out.len, stdout);
    gvm_buf_done(&out);
    cli_say("look through these rules, then write them into %s with: gvm suggest --apply", w->file);
}

/* The owner changed the file through us: what was trusted stays trusted. */
static int apply(struct work *w, struct gvm_err *err)
{
    enum cli_trust trust = CLI_TRUST_NONE;
    size_t n = 0;
    int r = w->exists ? cli_trust_look(w->file, &trust, err) : 0;
    if (r == 0)
        r = sug_apply(&w->s, w->file, &n, err);
    if (r == 0 && trust == CLI_TRUST_YES)
        r = cli_trust_add(w->file, NULL, err);
    if (r < 0)
        return r;
    if (w->o.json)
        print_json(w, w->file);
    cli_say("%zu rule%s written into %s", n, n == 1 ? "" : "s", w->file);
    if (w->s.nrules > n)
        cli_say("%zu more stand there as comments, for you to decide", w->s.nrules - n);
    cli_say("the next gvm run uses them; for runs that are under way: gvm reload");
    return 0;
}

static int suggest(struct work *w)
{
    struct gvm_err err = {0};
    int r = learn(w, &err);
    if (r == 0 && w->s.nrules == 0) {
        if (w->o.json)
            print_json(w, NULL);
        cli_say("nothing to suggest: a rule decides each of the %" PRIu64 " requests of run %s",
                w->s.requests, w->s.run);
    } else if (r == 0 && w->o.apply) {
        r = apply(w, &err);
    } else if (r == 0) {
        if (w->o.json)
            print_json(w, NULL);
        else
            print_toml(w);
    }
    int code = r < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
    sug_done(&w->s);
    gvm_rules_free(w->rs);
    gvm_conf_free(w->conf);
    return code;
}

static bool parse_writes(const char *word, enum gvm_decision *ret)
{
    static const struct {
        const char *word;
        enum gvm_decision d;
    } words[] = {{"allow", GVM_ALLOW}, {"delay", GVM_DELAY}, {"approve", GVM_REQUIRE_APPROVAL}};
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (strcmp(word, words[i].word) == 0) {
            *ret = words[i].d;
            return true;
        }
    }
    return false;
}

int cli_suggest(int argc, char **argv)
{
    static const struct option options[] = {{"run", required_argument, NULL, 'r'},
                                            {"writes", required_argument, NULL, 'w'},
                                            {"config", required_argument, NULL, 'c'},
                                            {"apply", no_argument, NULL, 'a'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct work w = {.o.writes = GVM_DELAY};
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (c) {
        case 'r':
            w.o.run = optarg;
            break;
        case 'w':
            if (!parse_writes(optarg, &w.o.writes))
                return cli_usage("suggest", "--writes is allow, delay or approve");
            break;
        case 'c':
            w.o.config = optarg;
            break;
        case 'a':
            w.o.apply = true;
            break;
        case 'j':
            w.o.json = true;
            break;
        case 'h':
            return cli_help(cli_suggest_usage);
        default:
            return cli_bad_option("suggest", argv);
        }
    }
    if (optind < argc)
        return cli_usage("suggest", "no arguments are taken, '%s' is one", argv[optind]);
    return suggest(&w);
}
