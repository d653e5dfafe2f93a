/* conf/cases.c - the file that `gvm test` reads: requests, and what should be decided about them.
 */
#include "conf/conf_int.h"

#include <errno.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static int no_memory(struct conf_ctx *x)
{
    return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
}

/* Texts that may hold line ends, unlike those of rules. */
static int free_text(struct conf_ctx *x, const struct conf_node *v, struct gvm_str *ret)
{
    *ret = conf_dup(x, conf_node_str(v));
    return ret->p ? 0 : no_memory(x);
}

struct case_in {
    struct gvm_case *c;
    bool body;
};

static int set_name(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    return conf_text(x, v, "name", GVM_MAX_NAME, &((struct case_in *)obj)->c->name);
}

static int set_method(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    return conf_text(x, v, "method", GVM_MAX_METHOD, &((struct case_in *)obj)->c->method);
}

static int set_url(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    return conf_text(x, v, "url", GVM_MAX_TARGET, &((struct case_in *)obj)->c->url);
}

static int set_tcp(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct case_in *in = obj;
    in->c->tcp = true;
    return conf_text(x, v, "tcp", GVM_MAX_TARGET, &in->c->url);
}

static int set_agent(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    return conf_text(x, v, "agent", GVM_MAX_AGENT, &((struct case_in *)obj)->c->agent);
}

static int set_at(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    if (gvm_time_parse(conf_node_str(v), &((struct case_in *)obj)->c->now_ns) < 0)
        return conf_bad_at(x, v,
                           "at is not a date and time with an offset; write it like "
                           "\"2030-01-31T18:00:00Z\"");
    return 0;
}

static int set_header(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct case_in *in = obj;
    struct gvm_conf_texts lines;
    struct gvm_buf text;
    int r = conf_read_texts(x, v, "header", GVM_MAX_TARGET, &lines);
    if (r < 0)
        return r;
    gvm_buf_init(&text, GVM_MAX_HEAD);
    for (uint32_t i = 0; i < lines.n; i++) {
        if (gvm_str_find(lines.list[i], ':') < 1)
            r = conf_bad_at(x, v, "header is a list of \"Name: value\"");
        gvm_buf_adds(&text, lines.list[i]);
        gvm_buf_addz(&text, "\r\n");
    }
    if (r >= 0) {
        in->c->fields = conf_dup(x, gvm_buf_str(&text));
        r = in->c->fields.p && !text.failed ? 0 : no_memory(x);
    }
    gvm_buf_done(&text);
    return r;
}

static int set_body(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct case_in *in = obj;
    if (in->c->has_body)
        return conf_bad_at(x, v, "body and body_file are the same thing; keep one");
    in->c->has_body = true;
    return free_text(x, v, &in->c->body);
}

static int set_body_file(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct case_in *in = obj;
    char path[GVM_PATH_MAX];
    struct gvm_str text;
    struct gvm_buf file;
    struct gvm_err why = {0};
    int r = conf_text(x, v, "body_file", GVM_PATH_MAX - 1, &text);
    if (r >= 0)
        r = conf_resolve(x, v, text, path);
    if (r >= 0 && in->c->has_body)
        r = conf_bad_at(x, v, "body and body_file are the same thing; keep one");
    if (r < 0)
        return r;
    gvm_buf_init(&file, GVM_MAX_INSPECT + 1u);
    if (gvm_read_file(path, &file, &why) < 0)
        r = conf_bad_at(x, v, "body_file cannot be read: %s", why.text);
    if (r >= 0) {
        in->c->has_body = true;
        in->c->body = conf_dup(x, gvm_buf_str(&file));
        r = in->c->body.p ? 0 : no_memory(x);
    }
    gvm_buf_done(&file);
    return r;
}

static int set_expect(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct case_in *in = obj;
    in->c->has_expect = true;
    if (conf_decision_parse(conf_node_str(v), &in->c->expect))
        return 0;
    return conf_bad_at(x, v,
                       "unknown decision; write Allow, AuditOnly, Delay, RequireApproval or Deny");
}

static int set_rule(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    return conf_text(x, v, "rule", GVM_MAX_NAME, &((struct case_in *)obj)->c->rule);
}

static const struct conf_field case_fields[] = {
    {"name", CONF_STRING, set_name, false},
    {"method", CONF_STRING, set_method, false},
    {"url", CONF_STRING, set_url, false},
    {"tcp", CONF_STRING, set_tcp, false},
    {"agent", CONF_STRING, set_agent, false},
    {"at", CONF_STRING | CONF_TIME, set_at, false},
    {"header", CONF_STRING | CONF_ARRAY, set_header, false},
    {"body", CONF_STRING, set_body, false},
    {"body_file", CONF_STRING, set_body_file, false},
    {"expect", CONF_STRING, set_expect, false},
    {"rule", CONF_STRING, set_rule, false},
};

static int read_case(struct conf_ctx *x, const struct conf_node *v, struct gvm_case *c)
{
    struct case_in in = {.c = c};
    c->line = v->line;
    c->agent = c->fields = c->body = c->rule = c->name = GVM_STR("");
    int r = conf_need(x, v, "an element of case", CONF_TABLE);
    if (r >= 0)
        r = conf_read_table(x, v, "[[case]]", case_fields, COUNT(case_fields), &in);
    if (r >= 0 && !c->url.n)
        r = conf_bad_at(x, v,
                        "the case has no url; add url = \"https://...\", or tcp = \"host:port\"");
    if (r >= 0 && !c->method.n)
        c->method = GVM_STR("GET");
    if (r >= 0 && !c->has_expect && !c->rule.n)
        r = conf_bad_at(x, v,
                        "the case expects nothing; add expect = \"Deny\", rule = \"...\" or both");
    return r;
}

static int set_cases(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_cases *cs = obj;
    uint32_t n = conf_children(v), i = 0;
    if (n > GVM_MAX_RULES)
        return conf_bad_at(x, v, "there are %u cases; at most %u are allowed", n, GVM_MAX_RULES);
    cs->list = gvm_arena_alloc(x->c->arena, (n + 1) * sizeof *cs->list);
    if (!cs->list)
        return no_memory(x);
    int r = 0;
    for (const struct conf_node *m = v->child; m && r >= 0; m = m->next)
        r = read_case(x, m, &cs->list[i++]);
    cs->n = r < 0 ? 0 : n;
    return r;
}

static int set_rules_file(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_cases *cs = obj;
    struct gvm_str text;
    char path[GVM_PATH_MAX];
    int r = conf_text(x, v, "rules", GVM_PATH_MAX - 1, &text);
    if (r >= 0)
        r = conf_resolve(x, v, text, path);
    if (r < 0)
        return r;
    cs->rules = conf_dup(x, gvm_str(path));
    return cs->rules.p ? 0 : no_memory(x);
}

static int read_cases(struct conf_ctx *x, const struct conf_node *root, struct gvm_cases *cs)
{
    static const struct conf_field fields[] = {{"rules", CONF_STRING, set_rules_file, false},
                                               {"case", CONF_ARRAY, set_cases, false}};
    int r = conf_read_table(x, root, "the file", fields, COUNT(fields), cs);
    if (r >= 0 && cs->n == 0)
        r = conf_bad(x, 1, 1, "there is no case in it; add [[case]] tables");
    return r;
}

int gvm_cases_load(const char *path, struct gvm_cases **ret, struct gvm_err *err)
{
    struct conf_ctx x = {.label = path, .err = err};
    struct conf_toml *toml = NULL;
    const struct conf_node *root = NULL;
    struct gvm_buf text;
    char base[GVM_PATH_MAX];
    gvm_buf_init(&text, GVM_MAX_CONFIG);
    int r = gvm_read_file(path, &text, err);
    if (r >= 0)
        r = conf_base(path, base, err);
    x.base = base;
    if (r >= 0)
        r = conf_new((size_t)GVM_MAX_CONFIG * 16, &x.c, err);
    if (r >= 0)
        r = conf_parse_text(&x, gvm_buf_str(&text), &toml, &root);
    struct gvm_cases *cs = NULL;
    if (r >= 0) {
        cs = gvm_arena_alloc(x.c->arena, sizeof *cs);
        r = cs ? 0 : no_memory(&x);
    }
    if (cs) {
        cs->owner = x.c;
        r = read_cases(&x, root, cs);
    }
    conf_toml_free(toml);
    gvm_buf_done(&text);
    if (r < 0)
        gvm_conf_free(x.c);
    else
        *ret = cs;
    return r;
}

void gvm_cases_free(struct gvm_cases *cs)
{
    if (cs)
        gvm_conf_free(cs->owner);
}
