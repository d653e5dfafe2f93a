/* rules/narrow_compile.c - the narrowing part of a configuration becomes its compiled form. */
#include "rules/narrow.h"

#include <errno.h>

static int no_memory(struct gvm_err *err)
{
    return gvm_err_set(err, ENOMEM, "out of memory");
}

static int dup_text(struct gvm_ruleset *rs, struct gvm_str *s)
{
    if (s->n == 0) {
        *s = GVM_STR("");
        return 0;
    }
    char *p = gvm_arena_dup(rs->arena, s->p, s->n);
    if (!p)
        return -ENOMEM;
    s->p = p;
    return 0;
}

static int dup_texts(struct gvm_ruleset *rs, struct gvm_conf_texts *t)
{
    if (t->n == 0)
        return 0;
    struct gvm_str *list = gvm_arena_alloc(rs->arena, t->n * sizeof *list);
    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->n; i++) {
        list[i] = t->list[i];
        if (dup_text(rs, &list[i]) < 0)
            return -ENOMEM;
    }
    t->list = list;
    return 0;
}

/* ---- tests ---- */

int rules_regex_compile(struct gvm_str text, const char *what, pcre2_code **ret,
                        struct gvm_err *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    if (text.n > GVM_MAX_REGEX)
        return gvm_err_set(err, EINVAL, "%s is longer than %u bytes", what, GVM_MAX_REGEX);
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)text.p, text.n,
                                   PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C |
                                       PCRE2_DOLLAR_ENDONLY,
                                   &code, &at, NULL);
    if (!re) {
        char why[160];
        if (pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why) < 0)
            why[0] = '\0';
        return gvm_err_set(err, EINVAL,
                           "%s is not a regular expression: %s at offset %zu; correct it", what,
                           why, at);
    }
    /* Refused where no memory may be executable; the interpreter does the same, slower. */
    (void)pcre2_jit_compile(re, PCRE2_JIT_COMPLETE);
    *ret = re;
    return 0;
}

static int copy_values(struct gvm_ruleset *rs, const struct gvm_conf_test *c, struct rules_test *t)
{
    struct gvm_conf_value *values = gvm_arena_alloc(rs->arena, (c->nvalues + 1) * sizeof *values);
    if (!values)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->nvalues; i++) {
        values[i] = c->values[i];
        if (dup_text(rs, &values[i].text) < 0)
            return -ENOMEM;
    }
    t->values = values;
    t->nvalues = c->nvalues;
    return 0;
}

static int compile_test(struct gvm_ruleset *rs, const struct gvm_conf_test *c, bool path,
                        struct rules_test *t, struct gvm_err *err)
{
    t->op = c->op;
    t->name = c->name;
    if (dup_text(rs, &t->name) < 0 || copy_values(rs, c, t) < 0)
        return no_memory(err);
    int r = path ? gvm_json_path_compile(rs->arena, c->name, &t->path, err) : 0;
    if (r < 0)
        return gvm_err_wrap(err, r, "path \"%.*s\"", (int)(c->name.n > 80 ? 80 : c->name.n),
                            c->name.p);
    if (c->op != GVM_OP_REGEX)
        return 0;
    t->regex = gvm_arena_alloc(rs->arena, c->nvalues * sizeof *t->regex);
    if (!t->regex)
        return no_memory(err);
    for (uint32_t i = 0; i < c->nvalues && r == 0; i++)
        r = rules_regex_compile(c->values[i].text, "value", &t->regex[i], err);
    return r;
}

static int compile_tests(struct gvm_ruleset *rs, const struct gvm_conf_tests *c, bool path,
                         struct rules_tests *ret, struct gvm_err *err)
{
    if (c->n == 0)
        return 0;
    ret->list = gvm_arena_alloc(rs->arena, c->n * sizeof *ret->list);
    if (!ret->list)
        return no_memory(err);
    ret->n = c->n; /* whole before its parts, so that freeing finds the expressions */
    for (uint32_t i = 0; i < c->n; i++) {
        int r = compile_test(rs, &c->list[i], path, &ret->list[i], err);
        if (r < 0) {
            rs->bad_line = c->list[i].line;
            rs->bad_col = c->list[i].col;
            return r;
        }
    }
    return 0;
}

static void free_tests(struct rules_tests *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        for (uint32_t k = 0; t->list[i].regex && k < t->list[i].nvalues; k++)
            pcre2_code_free(t->list[i].regex[k]);
}

void rules_narrow_free(struct rules_narrow *n)
{
    if (!n)
        return;
    free_tests(&n->query);
    free_tests(&n->header);
    free_tests(&n->body);
    free_tests(&n->form);
    free_tests(&n->mcp_args);
    free_tests(&n->ws_json);
}

/* ---- the whole ---- */

static int copy_texts(struct gvm_ruleset *rs, struct gvm_conf_narrow *n)
{
    struct gvm_conf_texts *const lists[] = {
        &n->graphql_operation, &n->graphql_name, &n->graphql_field,
        &n->mcp_method,        &n->mcp_tool,     &n->git_push,
        &n->git_repo,          &n->ws_text,      &n->grpc,
        &n->payload_match,     &n->payload_alias};
    struct gvm_str *const texts[] = {&n->payload_field, &n->zone.name, &n->zone.rule,
                                     &n->on_limit.reason, &n->unverifiable.reason};
    int r = 0;
    for (size_t i = 0; i < sizeof lists / sizeof *lists && r == 0; i++)
        r = dup_texts(rs, lists[i]);
    for (size_t i = 0; i < sizeof texts / sizeof *texts && r == 0; i++)
        r = dup_text(rs, texts[i]);
    if (r < 0 || n->zone.n == 0)
        return r;
    int64_t *from = gvm_arena_alloc(rs->arena, n->zone.n * sizeof *from);
    int32_t *offset = gvm_arena_alloc(rs->arena, n->zone.n * sizeof *offset);
    if (!from || !offset)
        return -ENOMEM;
    memcpy(from, n->zone.from, n->zone.n * sizeof *from);
    memcpy(offset, n->zone.offset, n->zone.n * sizeof *offset);
    n->zone.from = from;
    n->zone.offset = offset;
    return 0;
}

/* The member of the prior program: at the top for what allows, anywhere for what is stricter. */
static int compile_payload(struct gvm_ruleset *rs, struct rules_narrow *n, struct gvm_err *err)
{
    struct gvm_json_step *steps = gvm_arena_alloc(rs->arena, 2 * sizeof *steps);
    if (!n->conf.payload_field.n)
        return 0;
    if (!steps)
        return no_memory(err);
    for (unsigned i = 0; i < 2; i++)
        steps[i] = (struct gvm_json_step){
            .kind = GVM_STEP_MEMBER, .name = n->conf.payload_field, .deep = i == 1};
    n->payload_top = (struct gvm_json_path){&steps[0], 1};
    n->payload_deep = (struct gvm_json_path){&steps[1], 1};
    return 0;
}

/* A pattern for refs that could never match is an error, not a dead rule. */
static int check_refs(const struct gvm_conf_texts *t, struct gvm_err *err)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (t->list[i].p[0] != '*' && !gvm_str_starts(t->list[i], GVM_STR("refs/")))
            return gvm_err_set(err, EINVAL,
                               "push is a whole ref; write refs/heads/%.*s for a branch",
                               (int)(t->list[i].n > 80 ? 80 : t->list[i].n), t->list[i].p);
    return 0;
}

static bool looks_at_body(const struct gvm_conf_narrow *c)
{
    return c->ws || c->body.n || c->form.n || c->graphql || c->mcp || c->payload_field.n ||
           c->payload_alias.n || (c->git && (c->git_push.n || c->git_force || c->git_delete));
}

static int compile_all(struct gvm_ruleset *rs, const struct gvm_conf_narrow *c,
                       struct rules_narrow *n, struct gvm_err *err)
{
    int r = copy_texts(rs, &n->conf) < 0 ? no_memory(err) : 0;
    const struct {
        const struct gvm_conf_tests *from;
        struct rules_tests *to;
        bool path;
    } tests[] = {{&c->query, &n->query, false},      {&c->header, &n->header, false},
                 {&c->body, &n->body, true},         {&c->form, &n->form, false},
                 {&c->mcp_args, &n->mcp_args, true}, {&c->ws_json, &n->ws_json, true}};
    for (size_t i = 0; i < sizeof tests / sizeof *tests && r == 0; i++)
        r = compile_tests(rs, tests[i].from, tests[i].path, tests[i].to, err);
    if (r == 0)
        r = compile_payload(rs, n, err);
    return r == 0 ? check_refs(&c->git_push, err) : r;
}

int rules_narrow_compile(struct gvm_ruleset *rs, const struct gvm_conf_rule *c,
                         struct rules_narrow **ret, struct gvm_err *err)
{
    if (!c->narrow)
        return 0;
    struct rules_narrow *n = gvm_arena_alloc(rs->arena, sizeof *n);
    if (!n)
        return no_memory(err);
    n->conf = *c->narrow;
    n->max_body = n->conf.max_body ? n->conf.max_body : GVM_INSPECT;
    n->needs_body = looks_at_body(&n->conf);
    *ret = n; /* owned by the set from here on */
    return compile_all(rs, c->narrow, n, err);
}
