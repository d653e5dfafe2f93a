/* conf/tests.c - lists of texts, and lists of tests: what a rule compares with what. */
#include "conf/conf_int.h"

#include <errno.h>
#include <stdio.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static int no_memory(struct conf_ctx *x)
{
    return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
}

/* ---- lists of texts ---- */

int conf_read_texts(struct conf_ctx *x, const struct conf_node *v, const char *what, size_t max,
                    struct gvm_conf_texts *ret)
{
    const struct conf_node *first = v->type == CONF_ARRAY ? v->child : v;
    unsigned n = v->type == CONF_ARRAY ? conf_children(v) : 1, i = 0;
    if (n == 0 || n > CONF_MAX_LIST)
        return conf_bad_at(x, v, "%s is a list of %u; write 1 to %u texts", what, n, CONF_MAX_LIST);
    struct gvm_str *list = gvm_arena_alloc(x->c->arena, n * sizeof *list);
    if (!list)
        return no_memory(x);
    for (const struct conf_node *m = first; m && i < n; m = m->next, i++) {
        int r = conf_need(x, m, what, CONF_STRING);
        if (r >= 0)
            r = conf_text(x, m, what, max, &list[i]);
        if (r < 0)
            return r;
    }
    *ret = (struct gvm_conf_texts){list, n};
    return 0;
}

/* ---- tests ---- */

static const char *const op_names[GVM_OPS] = {
    [GVM_OP_EQ] = "=",          [GVM_OP_NE] = "!=",       [GVM_OP_LT] = "<",
    [GVM_OP_LE] = "<=",         [GVM_OP_GT] = ">",        [GVM_OP_GE] = ">=",
    [GVM_OP_GLOB] = "glob",     [GVM_OP_REGEX] = "regex", [GVM_OP_EXISTS] = "exists",
    [GVM_OP_ABSENT] = "absent",
};

const char *gvm_op_name(enum gvm_op op)
{
    return (unsigned)op < GVM_OPS ? op_names[op] : "?";
}

struct test_in {
    struct gvm_conf_test *t;
    const struct conf_node *value, *op;
};

static int set_test_name(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct test_in *in = obj;
    return conf_text(x, v, "the name", CONF_MAX_PATTERN, &in->t->name);
}

static int set_test_op(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct test_in *in = obj;
    in->op = v;
    for (unsigned i = 0; i < GVM_OPS; i++) {
        if (gvm_str_eqz(conf_node_str(v), op_names[i])) {
            in->t->op = (enum gvm_op)i;
            return 0;
        }
    }
    return conf_bad_at(x, v,
                       "unknown op \"%.*s\"; write =, !=, <, <=, >, >=, glob, regex, exists or "
                       "absent",
                       (int)(v->len > 20 ? 20 : v->len), v->text);
}

static int one_value(struct conf_ctx *x, const struct conf_node *v, struct gvm_conf_value *to)
{
    char digits[32];
    int r = conf_need(x, v, "value", CONF_STRING | CONF_INT | CONF_FLOAT | CONF_BOOL);
    if (r < 0)
        return r;
    if (v->type == CONF_STRING) {
        to->type = GVM_VALUE_STRING;
        to->text = GVM_STR("");
        return v->len ? conf_text(x, v, "value", CONF_MAX_PATTERN, &to->text) : 0;
    }
    struct gvm_str text = conf_node_str(v);
    to->type = v->type == CONF_BOOL ? GVM_VALUE_BOOL : GVM_VALUE_NUMBER;
    if (v->type == CONF_BOOL)
        text = gvm_str(v->num ? "true" : "false");
    if (v->type == CONF_INT) {
        (void)snprintf(digits, sizeof digits, "%lld", (long long)v->num);
        text = gvm_str(digits);
    }
    if (v->type == CONF_FLOAT && (text.n == 0 || strpbrk(text.p, "in")))
        return conf_bad_at(x, v, "value is not a finite number");
    to->text = conf_dup(x, text);
    return to->text.p ? 0 : no_memory(x);
}

static int set_test_value(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct test_in *in = obj;
    const struct conf_node *first = v->type == CONF_ARRAY ? v->child : v;
    unsigned n = v->type == CONF_ARRAY ? conf_children(v) : 1, i = 0;
    in->value = v;
    if (n == 0 || n > CONF_MAX_LIST)
        return conf_bad_at(x, v, "value is a list of %u; write 1 to %u", n, CONF_MAX_LIST);
    in->t->values = gvm_arena_alloc(x->c->arena, n * sizeof *in->t->values);
    if (!in->t->values)
        return no_memory(x);
    for (const struct conf_node *m = first; m && i < n; m = m->next) {
        int r = one_value(x, m, &in->t->values[i++]);
        if (r < 0)
            return r;
    }
    in->t->nvalues = n;
    return 0;
}

#define VALUE_TYPES (CONF_STRING | CONF_INT | CONF_FLOAT | CONF_BOOL | CONF_ARRAY)
static const struct conf_field path_test[] = {{"path", CONF_STRING, set_test_name, false},
                                              {"op", CONF_STRING, set_test_op, false},
                                              {"value", VALUE_TYPES, set_test_value, false}};
static const struct conf_field name_test[] = {{"name", CONF_STRING, set_test_name, false},
                                              {"op", CONF_STRING, set_test_op, false},
                                              {"value", VALUE_TYPES, set_test_value, false}};

/* Do op and value go together? */
static int check_test(struct conf_ctx *x, const struct conf_node *v, const struct test_in *in,
                      const char *name_key)
{
    const struct gvm_conf_test *t = in->t;
    bool wants = t->op != GVM_OP_EXISTS && t->op != GVM_OP_ABSENT;
    if (!t->name.n)
        return conf_bad_at(x, v, "the test has no %s; add one", name_key);
    if (wants && !in->value)
        return conf_bad_at(x, v, "the test has no value; add value = ..., or op = \"exists\"");
    if (!wants && in->value)
        return conf_bad_at(x, in->value, "%s takes no value; take it out", gvm_op_name(t->op));
    bool order = t->op >= GVM_OP_LT && t->op <= GVM_OP_GE;
    bool text = t->op == GVM_OP_GLOB || t->op == GVM_OP_REGEX;
    for (unsigned i = 0; i < t->nvalues; i++) {
        if (order && (t->nvalues > 1 || t->values[i].type != GVM_VALUE_NUMBER))
            return conf_bad_at(x, in->value, "%s compares with one number", gvm_op_name(t->op));
        if (text && t->values[i].type != GVM_VALUE_STRING)
            return conf_bad_at(x, in->value, "%s compares with texts", gvm_op_name(t->op));
    }
    return 0;
}

int conf_read_tests(struct conf_ctx *x, const struct conf_node *v, bool path,
                    struct gvm_conf_tests *ret)
{
    const struct conf_node *first = v->type == CONF_ARRAY ? v->child : v;
    unsigned n = v->type == CONF_ARRAY ? conf_children(v) : 1, i = 0;
    int r = 0;
    if (n == 0 || n > GVM_MAX_TESTS)
        return conf_bad_at(x, v, "there are %u tests; write 1 to %u", n, GVM_MAX_TESTS);
    struct gvm_conf_test *list = gvm_arena_alloc(x->c->arena, n * sizeof *list);
    if (!list)
        return no_memory(x);
    for (const struct conf_node *m = first; m && i < n && r >= 0; m = m->next, i++) {
        struct test_in in = {.t = &list[i]};
        list[i].line = m->line;
        list[i].col = m->col;
        r = conf_need(x, m, "a test", CONF_TABLE);
        if (r >= 0)
            r = conf_read_table(x, m, "a test", path ? path_test : name_test, COUNT(path_test),
                                &in);
        if (r >= 0)
            r = check_test(x, m, &in, path ? "path" : "name");
    }
    if (r >= 0)
        *ret = (struct gvm_conf_tests){list, n};
    return r;
}
