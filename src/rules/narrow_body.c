/* rules/narrow_body.c - the parts of a rule that look at the body. */
#include "rules/narrow.h"

#include <errno.h>

/* 0: go on. Otherwise *ret is filled: nothing of the kind there, or it cannot be seen. */
static int looked(struct rules_query *q, int r, struct rules_seen *ret)
{
    if (r == 0)
        return 0;
    *ret = (struct rules_seen){.blind = r != -ENODATA, .why = gvm_content_why(q->f->content)};
    return r;
}

static void judge_json(struct rules_query *q, const struct rules_narrow *n, struct rules_seen *ret)
{
    const struct gvm_json *root;
    bool loose = false;
    if (looked(q, gvm_content_json(q->f->content, n->max_body, &root, &loose), ret) == 0)
        rules_judge_json(q, &n->body, root, loose, ret);
}

/* ---- forms ---- */

static void judge_pairs(struct rules_query *q, const struct rules_test *t, const struct gvm_form *f,
                        struct rules_seen *ret)
{
    struct rules_tally tally;
    rules_tally_start(&tally);
    for (size_t i = 0; i < f->n; i++) {
        const struct gvm_pair *p = &f->pairs[i];
        bool same = gvm_str_eq(p->name, t->name);
        if (same || gvm_str_ieq(p->name, t->name))
            rules_tally_add(&tally, rules_test_text(q, t, p->value), p->loose || !same);
    }
    rules_tally_op(&tally, t->op, ret);
}

void rules_judge_form(struct rules_query *q, const struct rules_tests *t, const struct gvm_form *f,
                      struct rules_seen *ret)
{
    *ret = (struct rules_seen){.all = true, .some = true};
    for (uint32_t i = 0; i < t->n && rules_possible(ret); i++) {
        struct rules_seen one;
        judge_pairs(q, &t->list[i], f, &one);
        rules_and(ret, &one);
    }
}

static void judge_form(struct rules_query *q, const struct rules_narrow *n, struct rules_seen *ret)
{
    const struct gvm_form *f;
    if (looked(q, gvm_content_form(q->f->content, n->max_body, &f), ret) == 0)
        rules_judge_form(q, &n->form, f, ret);
}

/* ---- GraphQL ---- */

static bool has_text(const struct gvm_conf_texts *t, struct gvm_str s)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (gvm_str_eq(t->list[i], s))
            return true;
    return false;
}

struct roots {
    const struct gvm_conf_texts *want;
    bool exact; /* equality instead of patterns */
    bool all;
};

static void see_root(void *ctx, struct gvm_str field)
{
    struct roots *r = ctx;
    r->all = r->all && (r->exact ? has_text(r->want, field) : rules_any_glob(r->want, field));
}

/* Is any field of the document, at any depth, one of these? */
static bool any_field(const struct gvm_graphql *g, const struct gvm_conf_texts *want, bool exact)
{
    for (uint32_t i = 0; i < g->nfields; i++)
        if (exact ? has_text(want, g->fields[i].name) : rules_any_glob(want, g->fields[i].name))
            return true;
    return false;
}

static bool operation_fits(const struct gvm_conf_narrow *c, const struct gvm_graphql_def *d)
{
    static const char *const types[] = {[GVM_GRAPHQL_QUERY] = "query",
                                        [GVM_GRAPHQL_MUTATION] = "mutation",
                                        [GVM_GRAPHQL_SUBSCRIPTION] = "subscription"};
    bool type =
        c->graphql_operation.n == 0 || has_text(&c->graphql_operation, gvm_str(types[d->type]));
    return type && rules_any_glob(&c->graphql_name, d->name);
}

static void judge_document(const struct gvm_conf_narrow *c, const struct gvm_graphql *g,
                           struct rules_seen *ret)
{
    bool field = any_field(g, &c->graphql_field, false);
    for (uint32_t i = 0; i < g->ndefs; i++) {
        if (g->defs[i].fragment)
            continue;
        struct roots r = {.want = &c->graphql_field, .all = operation_fits(c, &g->defs[i])};
        ret->some = ret->some || (r.all && field);
        gvm_graphql_roots(g, i, see_root, &r);
        ret->all = ret->all && r.all;
    }
}

static void judge_graphql(struct rules_query *q, const struct rules_narrow *n,
                          struct rules_seen *ret)
{
    const struct gvm_graphql_request *docs;
    size_t count = 0;
    if (looked(q, gvm_content_graphql(q->f->content, n->max_body, &docs, &count), ret) < 0)
        return;
    *ret = (struct rules_seen){.all = true};
    for (size_t i = 0; i < count; i++)
        judge_document(&n->conf, &docs[i].doc, ret);
    ret->all = ret->all && ret->some;
}

/* ---- MCP ---- */

/* Name of the tool (or prompt) of a call. -EINVAL: not one text. */
static int tool_name(const struct gvm_rpc_call *call, struct gvm_str *ret)
{
    const struct gvm_json *name = NULL;
    if (!call->params || gvm_json_member(call->params, "name", &name) < 0 || !name ||
        name->type != GVM_JSON_STRING)
        return -EINVAL;
    *ret = name->text;
    return 0;
}

static void blind(struct rules_seen *ret, const char *why)
{
    *ret = (struct rules_seen){.blind = true, .why = why};
}

static void judge_args(struct rules_query *q, const struct rules_narrow *n,
                       const struct gvm_rpc_call *call, struct rules_seen *ret)
{
    static const struct gvm_json empty = {.type = GVM_JSON_OBJECT};
    const struct gvm_json *args = NULL;
    if (gvm_json_member(call->params, "arguments", &args) < 0)
        blind(ret, "the arguments of a call are spelled in another case");
    else
        rules_judge_json(q, &n->mcp_args, args ? args : &empty, false, ret);
}

static void judge_call(struct rules_query *q, const struct rules_narrow *n,
                       const struct gvm_rpc_call *call, struct rules_seen *ret)
{
    const struct gvm_conf_narrow *c = &n->conf;
    struct gvm_str tool;
    *ret = (struct rules_seen){0};
    bool method = c->mcp_method.n ? rules_any_glob(&c->mcp_method, call->method)
                                  : gvm_str_eqz(call->method, "tools/call");
    if (!method)
        return;
    if (c->mcp_tool.n) {
        if (tool_name(call, &tool) < 0) {
            blind(ret, "a call has no plain tool name");
            return;
        }
        if (!rules_any_glob(&c->mcp_tool, tool))
            return;
    }
    judge_args(q, n, call, ret);
}

/* Each call by itself. */
static void judge_mcp(struct rules_query *q, const struct rules_narrow *n, struct rules_seen *ret)
{
    const struct gvm_rpc_call *calls;
    size_t count = 0;
    if (looked(q, gvm_content_rpc(q->f->content, n->max_body, &calls, &count), ret) < 0)
        return;
    *ret = (struct rules_seen){.all = count > 0};
    for (size_t i = 0; i < count; i++) {
        struct rules_seen one;
        judge_call(q, n, &calls[i], &one);
        ret->all = ret->all && one.all;
        ret->some = ret->some || one.some;
        ret->failed = ret->failed || one.failed;
        if (one.blind && !ret->blind)
            ret->why = one.why;
        ret->blind = ret->blind || one.blind;
    }
}

/* ---- git ---- */

/* A repository by a pattern; hosts differ in whether case counts. */
enum rules_fit rules_repository_fits(const struct gvm_conf_texts *want, struct gvm_str path)
{
    struct gvm_str repo;
    char low[GVM_MAX_HOST * 4];
    if (!gvm_git_repository(path, &repo))
        return RULES_MISS;
    if (rules_any_glob(want, repo))
        return RULES_FITS;
    if (repo.n > sizeof low)
        return RULES_BLIND;
    for (size_t i = 0; i < repo.n; i++)
        low[i] = gvm_lower(repo.p[i]);
    for (uint32_t i = 0; i < want->n; i++) {
        char pattern[GVM_MAX_HOST * 4];
        size_t len = want->list[i].n < sizeof pattern ? want->list[i].n : sizeof pattern;
        for (size_t k = 0; k < len; k++)
            pattern[k] = gvm_lower(want->list[i].p[k]);
        if (gvm_glob((struct gvm_str){pattern, len}, (struct gvm_str){low, repo.n}))
            return RULES_MAYBE;
    }
    return RULES_MISS;
}

static enum rules_fit ref_fits(const struct gvm_conf_narrow *c, const struct gvm_git_ref *r)
{
    if (!rules_any_glob(&c->git_push, r->name) ||
        (c->git_delete && r->delete != (c->git_delete == GVM_YES)))
        return RULES_MISS;
    if (c->git_force && r->force == GVM_GIT_UNKNOWN)
        return RULES_BLIND;
    if (c->git_force && (r->force == GVM_GIT_FORCED) != (c->git_force == GVM_YES))
        return RULES_MISS;
    return RULES_FITS;
}

static void judge_git(struct rules_query *q, const struct rules_narrow *n, bool permissive,
                      struct rules_seen *ret)
{
    const struct gvm_git_push *push;
    struct rules_tally tally;
    *ret = (struct rules_seen){0};
    if (!gvm_str_ends(q->f->path, GVM_STR("/git-receive-pack")))
        return;
    if (looked(q, gvm_content_git(q->f->content, n->max_body, &push), ret) < 0)
        return;
    rules_tally_start(&tally);
    for (size_t i = 0; i < push->n; i++)
        rules_tally_add(&tally, ref_fits(&n->conf, &push->refs[i]), false);
    if (tally.blind)
        tally.why = "it cannot be shown that the push is a fast-forward";
    rules_tally_end(&tally, ret);
    /* git asks with an empty push whether a large one may come: it changes nothing. */
    if (push->n == 0 && permissive)
        ret->all = ret->some = true;
}

/* ---- the prior program's ---- */

struct payload {
    const struct rules_narrow *n;
    struct rules_tally tally;
    struct gvm_buf plain;
};

static bool one_of(const struct gvm_conf_texts *t, struct gvm_str s, bool inside)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (inside ? memmem(s.p, s.n, t->list[i].p, t->list[i].n) != NULL
                   : gvm_str_eq(t->list[i], s))
            return true;
    return false;
}

/* A text that is one of the values; or, for what is stricter than Allow, base64 of a text that
 * contains one. */
static void see_payload(void *ctx, const struct gvm_json *v, bool loose)
{
    struct payload *p = ctx;
    const struct gvm_conf_texts *want = &p->n->conf.payload_match;
    enum rules_fit fit = RULES_MISS;
    if (v->type == GVM_JSON_STRING) {
        gvm_buf_reset(&p->plain);
        if (one_of(want, v->text, false))
            fit = RULES_FITS;
        else if (gvm_base64_lax(v->text, &p->plain) == 0 && p->plain.len &&
                 one_of(want, gvm_buf_str(&p->plain), true))
            fit = RULES_MAYBE;
    } else if (v->type == GVM_JSON_OBJECT || v->type == GVM_JSON_ARRAY) {
        fit = RULES_BLIND;
    }
    rules_tally_add(&p->tally, fit, loose);
}

static void judge_field(struct rules_query *q, const struct rules_narrow *n, bool permissive,
                        struct rules_seen *ret)
{
    const struct gvm_json *root;
    struct gvm_json_found found;
    bool loose = false;
    struct payload p = {.n = n};
    if (looked(q, gvm_content_json(q->f->content, n->max_body, &root, &loose), ret) < 0)
        return;
    rules_tally_start(&p.tally);
    gvm_buf_init(&p.plain, n->max_body);
    gvm_json_path_walk(permissive ? &n->payload_top : &n->payload_deep, root, see_payload, &p,
                       &found);
    gvm_buf_done(&p.plain);
    rules_tally_end(&p.tally, ret);
    ret->all = ret->all && !loose && !found.gap;
    ret->blind = ret->blind || found.gave_up;
    if (found.gave_up)
        ret->why = "the body has too many values to look at";
}

static bool any_operation(const struct gvm_graphql *g, const struct gvm_conf_texts *want)
{
    for (uint32_t i = 0; i < g->ndefs; i++)
        if (has_text(want, g->defs[i].name))
            return true;
    return false;
}

static void judge_alias(struct rules_query *q, const struct rules_narrow *n, struct rules_seen *ret)
{
    const struct gvm_graphql_request *docs;
    const struct gvm_conf_texts *want = &n->conf.payload_alias;
    size_t count = 0;
    if (looked(q, gvm_content_graphql(q->f->content, n->max_body, &docs, &count), ret) < 0)
        return;
    *ret = (struct rules_seen){.all = true};
    for (size_t i = 0; i < count; i++) {
        const struct gvm_graphql *g = &docs[i].doc;
        ret->some = ret->some || any_field(g, want, true) || any_operation(g, want);
        for (uint32_t d = 0; d < g->ndefs; d++) {
            struct roots r = {.want = want, .exact = true, .all = true};
            if (g->defs[d].fragment)
                continue;
            gvm_graphql_roots(g, d, see_root, &r);
            ret->all = ret->all && r.all;
        }
    }
    ret->all = ret->all && ret->some;
}

/* Either the member or the GraphQL field; what one shows, the other need not. */
static void judge_payload(struct rules_query *q, const struct rules_narrow *n, bool permissive,
                          struct rules_seen *ret)
{
    struct rules_seen field = {0}, alias = {0};
    if (n->conf.payload_field.n)
        judge_field(q, n, permissive, &field);
    if (n->conf.payload_alias.n && !field.all)
        judge_alias(q, n, &alias);
    /* A body that is JSON and no GraphQL request was seen. */
    const struct gvm_json *root;
    bool loose;
    if (alias.blind && n->conf.payload_field.n &&
        gvm_content_json(q->f->content, n->max_body, &root, &loose) == 0 &&
        root->type == GVM_JSON_OBJECT && !gvm_graphql_is_request(root))
        alias.blind = false;
    *ret = (struct rules_seen){.all = field.all || alias.all,
                               .some = field.some || alias.some,
                               .blind = field.blind || alias.blind,
                               .why = field.blind ? field.why : alias.why};
}

/* ---- WebSocket messages ---- */

static void judge_text(struct rules_query *q, const struct rules_narrow *n, struct rules_seen *ret)
{
    struct gvm_str text;
    if (looked(q, gvm_content_plain(q->f->content, n->max_body, &text), ret) < 0)
        return;
    bool fits = rules_any_glob(&n->conf.ws_text, text);
    *ret = (struct rules_seen){.all = fits, .some = fits};
}

static void judge_message(struct rules_query *q, const struct rules_narrow *n,
                          struct rules_seen *ret)
{
    const struct gvm_json *root;
    struct rules_seen one;
    bool loose = false;
    *ret = (struct rules_seen){.all = true, .some = true};
    if (!(n->conf.ws_direction & q->f->ws_direction)) {
        *ret = (struct rules_seen){0};
        return;
    }
    if (n->conf.ws_text.n) {
        judge_text(q, n, &one);
        rules_and(ret, &one);
    }
    if (n->ws_json.n && rules_possible(ret)) {
        if (looked(q, gvm_content_json(q->f->content, n->max_body, &root, &loose), &one) == 0)
            rules_judge_json(q, &n->ws_json, root, loose, &one);
        rules_and(ret, &one);
    }
}

/* ---- all of it ---- */

void rules_judge_body(struct rules_query *q, const struct rules_narrow *n, bool permissive,
                      struct rules_seen *ret)
{
    const struct gvm_conf_narrow *c = &n->conf;
    struct rules_seen one;
    *ret = (struct rules_seen){.all = true, .some = true};
    if (c->ws) {
        judge_message(q, n, ret);
        return;
    }
    if (n->body.n) {
        judge_json(q, n, &one);
        rules_and(ret, &one);
    }
    if (n->form.n && rules_possible(ret)) {
        judge_form(q, n, &one);
        rules_and(ret, &one);
    }
    if (c->graphql && rules_possible(ret)) {
        judge_graphql(q, n, &one);
        rules_and(ret, &one);
    }
    if (c->mcp && rules_possible(ret)) {
        judge_mcp(q, n, &one);
        rules_and(ret, &one);
    }
    if (c->git && n->needs_body && (c->git_push.n || c->git_force || c->git_delete) &&
        rules_possible(ret)) {
        judge_git(q, n, permissive, &one);
        rules_and(ret, &one);
    }
    if ((c->payload_field.n || c->payload_alias.n) && rules_possible(ret)) {
        judge_payload(q, n, permissive, &one);
        rules_and(ret, &one);
    }
}
