/* conf/policy_narrow.c - the narrowing part of a rule in the policy text.
 *
 * One table names every member, its kind and its place; writing and reading both go through it, so
 * that neither can forget one. Members at their default (empty, false, 0) are left out.
 */
#include "conf/conf_int.h"

#include <errno.h>
#include <stddef.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum kind { TESTS, TEXTS, TEXT, FLAG, TRI, U16, U32, U64, DECISION, ZONE };

static const struct member {
    const char *key;
    enum kind kind;
    size_t at;
} members[] = {
#define M(key, kind, field)                                                                        \
    {                                                                                              \
        key, kind, offsetof(struct gvm_conf_narrow, field)                                         \
    }
    M("query", TESTS, query),
    M("header", TESTS, header),
    M("body", TESTS, body),
    M("form", TESTS, form),
    M("graphql", FLAG, graphql),
    M("graphql_operation", TEXTS, graphql_operation),
    M("graphql_name", TEXTS, graphql_name),
    M("graphql_field", TEXTS, graphql_field),
    M("mcp", FLAG, mcp),
    M("mcp_method", TEXTS, mcp_method),
    M("mcp_tool", TEXTS, mcp_tool),
    M("mcp_args", TESTS, mcp_args),
    M("grpc", TEXTS, grpc),
    M("git", FLAG, git),
    M("git_push", TEXTS, git_push),
    M("git_repo", TEXTS, git_repo),
    M("git_force", TRI, git_force),
    M("git_delete", TRI, git_delete),
    M("ws", FLAG, ws),
    M("ws_direction", U32, ws_direction),
    M("ws_text", TEXTS, ws_text),
    M("ws_json", TESTS, ws_json),
    M("payload_field", TEXT, payload_field),
    M("payload_match", TEXTS, payload_match),
    M("payload_alias", TEXTS, payload_alias),
    M("window", FLAG, has_window),
    M("outside", FLAG, outside),
    M("from", U16, from),
    M("to", U16, to),
    M("zone", ZONE, zone),
    M("limit", U64, limit),
    M("limit_bytes", FLAG, limit_bytes),
    M("limit_ms", U32, limit_ms),
    M("on_limit", DECISION, on_limit),
    M("unverifiable_set", FLAG, has_unverifiable),
    M("unverifiable_next", FLAG, unverifiable_next),
    M("unverifiable", DECISION, unverifiable),
    M("max_body", U32, max_body),
#undef M
};

static const char *const value_types[GVM_VALUE_TYPES] = {
    [GVM_VALUE_STRING] = "s", [GVM_VALUE_NUMBER] = "n", [GVM_VALUE_BOOL] = "b"};

/* ---- write ---- */

static void put_texts(struct gvm_jw *w, const struct gvm_conf_texts *t)
{
    gvm_jw_array(w);
    for (uint32_t i = 0; i < t->n; i++)
        gvm_jw_str(w, t->list[i]);
    gvm_jw_array_end(w);
}

/* {"name":N,"op":OP,"values":[TYPE,TEXT,TYPE,TEXT...]} */
static void put_tests(struct gvm_jw *w, const struct gvm_conf_tests *t)
{
    gvm_jw_array(w);
    for (uint32_t i = 0; i < t->n; i++) {
        const struct gvm_conf_test *one = &t->list[i];
        gvm_jw_object(w);
        gvm_jw_kstr(w, "name", one->name);
        gvm_jw_kstrz(w, "op", gvm_op_name(one->op));
        gvm_jw_key(w, "values");
        gvm_jw_array(w);
        for (uint32_t k = 0; k < one->nvalues; k++) {
            gvm_jw_strz(w, value_types[one->values[k].type]);
            gvm_jw_str(w, one->values[k].text);
        }
        gvm_jw_array_end(w);
        gvm_jw_object_end(w);
    }
    gvm_jw_array_end(w);
}

/* {"name":N,"first":S,"changes":[AT,OFFSET,...],"rule":R} */
static void put_zone(struct gvm_jw *w, const struct gvm_conf_zone *z)
{
    gvm_jw_object(w);
    gvm_jw_kstr(w, "name", z->name);
    gvm_jw_kint(w, "first", z->first);
    gvm_jw_key(w, "changes");
    gvm_jw_array(w);
    for (uint32_t i = 0; i < z->n; i++) {
        gvm_jw_int(w, z->from[i]);
        gvm_jw_int(w, z->offset[i]);
    }
    gvm_jw_array_end(w);
    gvm_jw_kstr(w, "rule", z->rule);
    gvm_jw_object_end(w);
}

static uint64_t number_at(const void *p, enum kind kind)
{
    switch (kind) {
    case FLAG:
        return *(const bool *)p;
    case TRI:
        return (uint64_t) * (const enum gvm_tri *)p;
    case U16:
        return *(const uint16_t *)p;
    case U32:
        return *(const uint32_t *)p;
    case U64:
        return *(const uint64_t *)p;
    case TESTS:
    case TEXTS:
    case TEXT:
    case DECISION:
    case ZONE:
        break;
    }
    return 0;
}

static bool is_default(const void *p, enum kind kind, const struct gvm_conf_narrow *n)
{
    switch (kind) {
    case TESTS:
        return ((const struct gvm_conf_tests *)p)->n == 0;
    case TEXTS:
        return ((const struct gvm_conf_texts *)p)->n == 0;
    case TEXT:
        return ((const struct gvm_str *)p)->n == 0;
    case DECISION:
        return p == &n->on_limit ? n->limit == 0 : !n->has_unverifiable || n->unverifiable_next;
    case ZONE:
        return !n->has_window;
    case FLAG:
    case TRI:
    case U16:
    case U32:
    case U64:
        break;
    }
    return number_at(p, kind) == 0;
}

void conf_put_narrow(struct gvm_jw *w, const struct gvm_conf_narrow *n)
{
    gvm_jw_key(w, "narrow");
    gvm_jw_object(w);
    for (size_t i = 0; i < COUNT(members); i++) {
        const struct member *m = &members[i];
        const void *p = (const char *)n + m->at;
        if (is_default(p, m->kind, n))
            continue;
        if (m->kind == DECISION) {
            conf_put_decision(w, m->key, p);
            continue;
        }
        gvm_jw_key(w, m->key);
        if (m->kind == TESTS)
            put_tests(w, p);
        else if (m->kind == TEXTS)
            put_texts(w, p);
        else if (m->kind == TEXT)
            gvm_jw_str(w, *(const struct gvm_str *)p);
        else if (m->kind == ZONE)
            put_zone(w, p);
        else
            gvm_jw_uint(w, number_at(p, m->kind));
    }
    gvm_jw_object_end(w);
}

/* ---- read ---- */

static int take_test(struct conf_dec *d, const struct gvm_json *o, struct gvm_conf_test *t)
{
    struct gvm_conf_texts flat = {0};
    struct gvm_str op = {0};
    unsigned i = 0;
    int r = conf_take_str(d, gvm_json_get(o, "name"), CONF_MAX_PATTERN, &t->name);
    if (r >= 0)
        r = conf_take_str(d, gvm_json_get(o, "op"), 16, &op);
    if (r >= 0)
        r = conf_take_list(d, gvm_json_get(o, "values"), 2 * CONF_MAX_LIST, CONF_MAX_PATTERN,
                           &flat.list, &flat.n);
    while (r >= 0 && i < GVM_OPS && !gvm_str_eqz(op, gvm_op_name((enum gvm_op)i)))
        i++;
    if (r >= 0 && (i == GVM_OPS || flat.n % 2))
        r = conf_dec_bad(d, "a broken test");
    if (r < 0)
        return r;
    t->op = (enum gvm_op)i;
    t->nvalues = flat.n / 2;
    t->values = gvm_arena_alloc(d->c->arena, (t->nvalues + 1) * sizeof *t->values);
    if (!t->values)
        return gvm_err_set(d->err, ENOMEM, "policy: out of memory");
    for (uint32_t k = 0; k < t->nvalues; k++) {
        unsigned type = 0;
        while (type < GVM_VALUE_TYPES && !gvm_str_eqz(flat.list[2 * k], value_types[type]))
            type++;
        if (type == GVM_VALUE_TYPES)
            return conf_dec_bad(d, "a value of an unknown type");
        t->values[k] = (struct gvm_conf_value){(enum gvm_value_type)type, flat.list[2 * k + 1]};
    }
    return 0;
}

static int take_tests(struct conf_dec *d, const struct gvm_json *v, struct gvm_conf_tests *ret)
{
    void *p;
    uint32_t n, i = 0;
    int r = conf_take_array(d, v, GVM_MAX_TESTS, sizeof *ret->list, &p, &n);
    if (r < 0)
        return r;
    *ret = (struct gvm_conf_tests){p, n};
    for (const struct gvm_json *e = v->child; e && r >= 0; e = e->next)
        r = take_test(d, e, &ret->list[i++]);
    return r;
}

static int take_zone(struct conf_dec *d, const struct gvm_json *v, struct gvm_conf_zone *z)
{
    const struct gvm_json *changes = gvm_json_get(v, "changes");
    void *pairs;
    uint32_t n, i = 0;
    int r = conf_take_str(d, gvm_json_get(v, "name"), 64, &z->name);
    if (r >= 0)
        r = conf_take_str(d, gvm_json_get(v, "rule"), 128, &z->rule);
    if (r >= 0)
        r = conf_take_array(d, changes, 8192, sizeof *z->from, &pairs, &n);
    if (r >= 0 && n % 2)
        r = conf_dec_bad(d, "a broken time zone");
    if (r < 0)
        return r;
    z->first = (int32_t)gvm_json_int(v, "first", 0);
    z->n = n / 2;
    z->from = pairs; /* room for twice as many */
    z->offset = gvm_arena_alloc(d->c->arena, (z->n + 1) * sizeof *z->offset);
    if (!z->offset)
        return gvm_err_set(d->err, ENOMEM, "policy: out of memory");
    for (const struct gvm_json *e = changes->child; e; e = e->next, i++) {
        bool minus = e->text.n && e->text.p[0] == '-';
        struct gvm_str digits = {e->text.p + minus, e->text.n - minus};
        uint64_t u = 0;
        if (e->type != GVM_JSON_NUMBER || gvm_parse_u64(digits, INT64_MAX, &u) < 0)
            return conf_dec_bad(d, "a broken time zone");
        int64_t value = minus ? -(int64_t)u : (int64_t)u;
        if (i % 2)
            z->offset[i / 2] = (int32_t)value;
        else
            z->from[i / 2] = value;
    }
    return 0;
}

static int take_number(struct conf_dec *d, const struct gvm_json *v, enum kind kind, void *to)
{
    static const uint64_t max[] = {
        [FLAG] = 1, [TRI] = GVM_NO, [U16] = UINT16_MAX, [U32] = UINT32_MAX, [U64] = INT64_MAX};
    uint64_t n;
    if (v->type != GVM_JSON_NUMBER || gvm_parse_u64(v->text, max[kind], &n) < 0)
        return conf_dec_bad(d, "a number is missing or out of range");
    if (kind == FLAG)
        *(bool *)to = n != 0;
    else if (kind == TRI)
        *(enum gvm_tri *)to = (enum gvm_tri)n;
    else if (kind == U16)
        *(uint16_t *)to = (uint16_t)n;
    else if (kind == U32)
        *(uint32_t *)to = (uint32_t)n;
    else
        *(uint64_t *)to = n;
    return 0;
}

static int take_member(struct conf_dec *d, const struct gvm_json *v, const struct member *m,
                       struct gvm_conf_narrow *n)
{
    void *to = (char *)n + m->at;
    struct gvm_conf_texts *texts = to;
    switch (m->kind) {
    case TESTS:
        return take_tests(d, v, to);
    case TEXTS:
        return conf_take_list(d, v, CONF_MAX_LIST, CONF_MAX_PATTERN, &texts->list, &texts->n);
    case TEXT:
        return conf_take_str(d, v, CONF_MAX_PATTERN, to);
    case DECISION:
        return conf_take_decision(d, v, to);
    case ZONE:
        return take_zone(d, v, to);
    case FLAG:
    case TRI:
    case U16:
    case U32:
    case U64:
        break;
    }
    return take_number(d, v, m->kind, to);
}

int conf_take_narrow(struct conf_dec *d, const struct gvm_json *o, struct gvm_conf_narrow **ret)
{
    struct gvm_conf_narrow *n = gvm_arena_alloc(d->c->arena, sizeof *n);
    if (!n)
        return gvm_err_set(d->err, ENOMEM, "policy: out of memory");
    if (o->type != GVM_JSON_OBJECT)
        return conf_dec_bad(d, "an object is missing");
    for (const struct gvm_json *v = o->child; v; v = v->next) {
        size_t i = 0;
        while (i < COUNT(members) && !gvm_str_eqz(v->key, members[i].key))
            i++;
        int r = i < COUNT(members) ? take_member(d, v, &members[i], n)
                                   : conf_dec_bad(d, "unknown member");
        if (r < 0)
            return r;
    }
    *ret = n;
    return 0;
}
