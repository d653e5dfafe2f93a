/* conf/narrow.c - the keys of a rule that look further than method, host and path. */
#include "conf/conf_int.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static int no_memory(struct conf_ctx *x)
{
    return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
}

static struct gvm_conf_narrow *narrow_of(struct conf_ctx *x, struct conf_rule_in *in)
{
    if (!in->r->narrow)
        in->r->narrow = gvm_arena_alloc(x->c->arena, sizeof *in->r->narrow);
    return in->r->narrow;
}

static void remember(const struct conf_node **slot, const struct conf_node *v)
{
    if (!*slot)
        *slot = v;
}

/* ---- keys of a rule ---- */

#define NARROW(slot)                                                                               \
    struct conf_rule_in *in = obj;                                                                 \
    struct gvm_conf_narrow *n = narrow_of(x, in);                                                  \
    if (!n)                                                                                        \
        return no_memory(x);                                                                       \
    remember(&in->slot, v)

static int set_query(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    NARROW(by_request);
    return conf_read_tests(x, v, false, &n->query);
}

static int set_header(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    NARROW(by_request);
    return conf_read_tests(x, v, false, &n->header);
}

static int set_body(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    NARROW(by_body);
    return conf_read_tests(x, v, true, &n->body);
}

static int set_form(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    NARROW(by_body);
    return conf_read_tests(x, v, false, &n->form);
}

static int set_operation(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_conf_narrow *n = obj;
    int r = conf_read_texts(x, v, "operation", 32, &n->graphql_operation);
    for (uint32_t i = 0; r >= 0 && i < n->graphql_operation.n; i++) {
        struct gvm_str s = n->graphql_operation.list[i];
        if (!gvm_str_eqz(s, "query") && !gvm_str_eqz(s, "mutation") &&
            !gvm_str_eqz(s, "subscription"))
            r = conf_bad_at(x, v,
                            "operation is query, mutation or subscription; the name of one goes "
                            "into name = \"...\"");
    }
    return r;
}

static int set_graphql_name(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_conf_narrow *n = obj;
    return conf_read_texts(x, v, "name", CONF_MAX_PATTERN, &n->graphql_name);
}

static int set_graphql_field(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_conf_narrow *n = obj;
    return conf_read_texts(x, v, "field", CONF_MAX_PATTERN, &n->graphql_field);
}

static int set_graphql(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    static const struct conf_field fields[] = {
        {"operation", CONF_STRING | CONF_ARRAY, set_operation, false},
        {"name", CONF_STRING | CONF_ARRAY, set_graphql_name, false},
        {"field", CONF_STRING | CONF_ARRAY, set_graphql_field, false}};
    NARROW(by_body);
    n->graphql = true;
    if (!v->child)
        return conf_bad_at(x, v, "graphql is empty; add operation, name or field");
    return conf_read_table(x, v, "graphql", fields, COUNT(fields), n);
}

static int set_mcp_method(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_conf_narrow *n = obj;
    return conf_read_texts(x, v, "method", CONF_MAX_PATTERN, &n->mcp_method);
}

static int set_mcp_tool(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_conf_narrow *n = obj;
    return conf_read_texts(x, v, "tool", CONF_MAX_PATTERN, &n->mcp_tool);
}

static int set_mcp_args(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_conf_narrow *n = obj;
    return conf_read_tests(x, v, true, &n->mcp_args);
}

static int set_mcp(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    static const struct conf_field fields[] = {
        {"method", CONF_STRING | CONF_ARRAY, set_mcp_method, false},
        {"tool", CONF_STRING | CONF_ARRAY, set_mcp_tool, false},
        {"args", CONF_TABLE | CONF_ARRAY, set_mcp_args, false}};
    NARROW(by_body);
    n->mcp = true;
    int r = conf_read_table(x, v, "mcp", fields, COUNT(fields), n);
    if (r >= 0 && !n->mcp_method.n && !n->mcp_tool.n)
        r = conf_bad_at(x, v, "mcp names no method and no tool; add one");
    return r;
}

static int set_git_push(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_conf_narrow *n = obj;
    return conf_read_texts(x, v, "push", CONF_MAX_PATTERN, &n->git_push);
}

static int set_git_repo(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_conf_narrow *n = obj;
    return conf_read_texts(x, v, "repo", CONF_MAX_PATTERN, &n->git_repo);
}

static int set_git_force(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_conf_narrow *n = obj;
    (void)x;
    n->git_force = v->num ? GVM_YES : GVM_NO;
    return 0;
}

static int set_git_delete(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_conf_narrow *n = obj;
    (void)x;
    n->git_delete = v->num ? GVM_YES : GVM_NO;
    return 0;
}

static int set_git(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    static const struct conf_field fields[] = {
        {"push", CONF_STRING | CONF_ARRAY, set_git_push, false},
        {"repo", CONF_STRING | CONF_ARRAY, set_git_repo, false},
        {"force", CONF_BOOL, set_git_force, false},
        {"delete", CONF_BOOL, set_git_delete, false}};
    struct conf_rule_in *in = obj;
    struct gvm_conf_narrow *n = narrow_of(x, in);
    if (!n)
        return no_memory(x);
    n->git = true;
    int r = conf_read_table(x, v, "git", fields, COUNT(fields), n);
    if (r >= 0 && !n->git_push.n && !n->git_repo.n && !n->git_force && !n->git_delete)
        r = conf_bad_at(x, v, "git is empty; add repo, push, force or delete");
    bool body = n->git_push.n || n->git_force || n->git_delete;
    remember(body ? &in->by_body : &in->by_request, v);
    return r;
}

/* One slash with something on both sides: anything else could never match a call. */
static bool names_call(struct gvm_str s)
{
    struct gvm_str service;
    return gvm_str_cut(&s, '/', &service) && service.n && s.n && gvm_str_find(s, '/') < 0;
}

static int set_grpc(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    NARROW(by_request);
    int r = conf_read_texts(x, v, "grpc", CONF_MAX_PATTERN, &n->grpc);
    for (uint32_t i = 0; r >= 0 && i < n->grpc.n; i++)
        if (!names_call(n->grpc.list[i]))
            r = conf_bad_at(x, v,
                            "grpc names calls like \"package.Service/Method\" or "
                            "\"package.Service/*\", without a slash in front");
    return r;
}

/* ---- WebSocket messages ---- */

static int set_ws_direction(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_conf_narrow *n = obj;
    struct gvm_str s = conf_node_str(v);
    n->ws_direction = gvm_str_eqz(s, "send")      ? GVM_WS_SEND
                      : gvm_str_eqz(s, "receive") ? GVM_WS_RECEIVE
                      : gvm_str_eqz(s, "both")    ? GVM_WS_SEND | GVM_WS_RECEIVE
                                                  : 0;
    if (!n->ws_direction)
        return conf_bad_at(x, v, "direction is send (by the agent), receive or both");
    return 0;
}

static int set_ws_text(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_conf_narrow *n = obj;
    return conf_read_texts(x, v, "text", CONF_MAX_PATTERN, &n->ws_text);
}

static int set_ws_json(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_conf_narrow *n = obj;
    return conf_read_tests(x, v, true, &n->ws_json);
}

static int set_ws(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    static const struct conf_field fields[] = {
        {"direction", CONF_STRING, set_ws_direction, false},
        {"text", CONF_STRING | CONF_ARRAY, set_ws_text, false},
        {"json", CONF_TABLE | CONF_ARRAY, set_ws_json, false}};
    NARROW(by_ws);
    n->ws = true;
    n->ws_direction = GVM_WS_SEND | GVM_WS_RECEIVE;
    return conf_read_table(x, v, "ws", fields, COUNT(fields), n);
}

/* ---- the prior program's ---- */

static int set_payload_field(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    NARROW(by_body);
    return conf_text(x, v, "payload_field", CONF_MAX_PATTERN, &n->payload_field);
}

static int set_payload_match(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    NARROW(by_body);
    return conf_read_texts(x, v, "payload_match", CONF_MAX_PATTERN, &n->payload_match);
}

static int set_payload_alias(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    NARROW(by_body);
    return conf_read_texts(x, v, "payload_query_alias_match", CONF_MAX_PATTERN, &n->payload_alias);
}

/* ---- time ---- */

/* "HH:MM" to minutes; -1. */
static int minutes(struct gvm_str s)
{
    struct gvm_str h;
    uint64_t hour, minute;
    s = gvm_str_trim(s);
    if (!gvm_str_cut(&s, ':', &h) || h.n != 2 || s.n != 2 || h.p[0] > '2' || s.p[0] > '5')
        return -1;
    struct gvm_str h1 = h.p[0] == '0' ? (struct gvm_str){h.p + 1, 1} : h;
    struct gvm_str m1 = s.p[0] == '0' ? (struct gvm_str){s.p + 1, 1} : s;
    if (gvm_parse_u64(h1, 23, &hour) < 0 || gvm_parse_u64(m1, 59, &minute) < 0)
        return -1;
    return (int)(hour * 60 + minute);
}

struct window_in {
    struct gvm_conf_narrow *n;
    bool kind, window;
    const struct conf_node *tz;
};

static int set_kind(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct window_in *in = obj;
    in->kind = true;
    if (!gvm_str_eqz(conf_node_str(v), "time_window"))
        return conf_bad_at(x, v, "kind is \"time_window\"");
    return 0;
}

static int set_window(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct window_in *in = obj;
    struct gvm_str to = conf_node_str(v), from;
    in->window = true;
    bool two = gvm_str_cut(&to, '-', &from);
    int a = two ? minutes(from) : -1, b = two ? minutes(to) : -1;
    if (a < 0 || b < 0 || a == b)
        return conf_bad_at(x, v, "window is two different times like \"09:00-17:30\"");
    in->n->from = (uint16_t)a;
    in->n->to = (uint16_t)b;
    return 0;
}

static int set_tz(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct window_in *in = obj;
    (void)x;
    in->tz = v;
    return 0;
}

static int set_outside(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct window_in *in = obj;
    (void)x;
    in->n->outside = v->num != 0;
    return 0;
}

static int set_condition(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    static const struct conf_field fields[] = {{"kind", CONF_STRING, set_kind, false},
                                               {"window", CONF_STRING, set_window, false},
                                               {"tz", CONF_STRING, set_tz, false},
                                               {"outside", CONF_BOOL, set_outside, false}};
    struct conf_rule_in *rule = obj;
    struct gvm_conf_narrow *n = narrow_of(x, rule);
    struct window_in in = {.n = n};
    if (!n)
        return no_memory(x);
    n->has_window = true;
    int r = conf_read_table(x, v, "condition", fields, COUNT(fields), &in);
    if (r >= 0 && (!in.kind || !in.window))
        r = conf_bad_at(x, v,
                        "condition lacks kind or window; write { kind = \"time_window\", window = "
                        "\"09:00-17:00\", tz = \"Europe/Berlin\" }");
    if (r >= 0)
        r = conf_read_zone(x, in.tz ? in.tz : v, in.tz ? conf_node_str(in.tz) : GVM_STR("UTC"),
                           &n->zone);
    return r;
}

/* ---- limits ---- */

int conf_parse_limit(struct gvm_str s, uint64_t *ret, bool *ret_bytes, uint32_t *ret_ms)
{
    static const struct {
        const char *name;
        uint32_t ms;
    } units[] = {{"s", 1000},     {"sec", 1000},     {"second", 1000}, {"m", 60000},
                 {"min", 60000},  {"minute", 60000}, {"h", 3600000},   {"hour", 3600000},
                 {"d", 86400000}, {"day", 86400000}};
    struct gvm_str amount;
    size_t i = 0;
    if (!gvm_str_cut(&s, '/', &amount))
        return -EINVAL;
    amount = gvm_str_trim(amount);
    s = gvm_str_trim(s);
    while (i < COUNT(units) && !gvm_str_eqz(s, units[i].name))
        i++;
    bool bytes = amount.n && (amount.p[amount.n - 1] < '0' || amount.p[amount.n - 1] > '9');
    int r = bytes ? gvm_parse_size(amount, ret) : gvm_parse_u64(amount, 1000000000, ret);
    if (i == COUNT(units) || r < 0 || *ret == 0)
        return -EINVAL;
    *ret_bytes = bytes;
    *ret_ms = units[i].ms;
    return 0;
}

static int set_limit(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    struct gvm_conf_narrow *n = narrow_of(x, in);
    if (!n)
        return no_memory(x);
    if (conf_parse_limit(conf_node_str(v), &n->limit, &n->limit_bytes, &n->limit_ms) < 0)
        return conf_bad_at(x, v,
                           "limit is a number of requests or bytes per time; write it like "
                           "\"60/min\" or \"10MB/h\"");
    return 0;
}

static int set_on_limit(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    NARROW(on_limit);
    return conf_read_decision(x, v, "on_limit", &n->on_limit);
}

/* ---- what cannot be seen ---- */

static int set_unverifiable(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    struct gvm_conf_narrow *n = narrow_of(x, in);
    if (!n)
        return no_memory(x);
    if (in->unverifiable)
        return conf_bad_at(x, v, "unverifiable and unsafe_body_action are the same; keep one");
    in->unverifiable = v;
    n->has_unverifiable = true;
    n->unverifiable_next = v->type == CONF_STRING && gvm_str_eqz(conf_node_str(v), "next");
    return n->unverifiable_next ? 0 : conf_read_decision(x, v, "unverifiable", &n->unverifiable);
}

static int set_max_body(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    NARROW(max_body);
    if (v->num < 1 || v->num > (int64_t)GVM_MAX_INSPECT)
        return conf_bad_at(x, v, "max_body_bytes is %lld; write 1 to %u", (long long)v->num,
                           GVM_MAX_INSPECT);
    n->max_body = (uint32_t)v->num;
    return 0;
}

const struct conf_field conf_narrow_fields[] = {
    {"query", CONF_TABLE | CONF_ARRAY, set_query, false},
    {"header", CONF_TABLE | CONF_ARRAY, set_header, false},
    {"body", CONF_TABLE | CONF_ARRAY, set_body, false},
    {"form", CONF_TABLE | CONF_ARRAY, set_form, false},
    {"graphql", CONF_TABLE, set_graphql, false},
    {"mcp", CONF_TABLE, set_mcp, false},
    {"git", CONF_TABLE, set_git, false},
    {"ws", CONF_TABLE, set_ws, false},
    {"grpc", CONF_STRING | CONF_ARRAY, set_grpc, false},
    {"condition", CONF_TABLE, set_condition, false},
    {"limit", CONF_STRING, set_limit, false},
    {"on_limit", CONF_TABLE | CONF_STRING, set_on_limit, false},
    {"unverifiable", CONF_TABLE | CONF_STRING, set_unverifiable, false},
    {"unsafe_body_action", CONF_TABLE | CONF_STRING, set_unverifiable, false},
    {"max_body_bytes", CONF_INT, set_max_body, false},
    {"payload_field", CONF_STRING, set_payload_field, false},
    {"payload_match", CONF_ARRAY, set_payload_match, false},
    {"payload_query_alias_match", CONF_ARRAY, set_payload_alias, false},
};
const size_t conf_nnarrow_fields = COUNT(conf_narrow_fields);

/* ---- what goes together ---- */

static int check_sight(struct conf_ctx *x, const struct conf_rule_in *in)
{
    const struct conf_node *sees = in->by_request ? in->by_request
                                   : in->by_body  ? in->by_body
                                                  : in->by_ws;
    bool blind = in->r->protocol == GVM_PROTO_TCP || !in->r->intercept;
    if (blind && sees)
        return conf_bad_at(
            x, sees,
            "a rule with protocol = \"tcp\" or intercept = \"none\" cannot see this; "
            "take it out");
    if (in->by_ws && (in->by_body || in->by_request))
        return conf_bad_at(x, in->by_ws,
                           "ws looks at messages, not at the request; make two rules of it");
    return 0;
}

/* A message cannot be held while others overtake it, so there is yes and no. */
static int check_ws(struct conf_ctx *x, const struct conf_rule_in *in)
{
    const struct gvm_conf_narrow *n = in->r->narrow;
    enum gvm_decision d = in->r->decision.type;
    bool late = n->has_unverifiable && !n->unverifiable_next &&
                (n->unverifiable.type == GVM_DELAY || n->unverifiable.type == GVM_REQUIRE_APPROVAL);
    if (d == GVM_DELAY || d == GVM_REQUIRE_APPROVAL || late)
        return conf_bad_at(
            x, in->by_ws,
            "a rule for messages decides Allow, AuditOnly or Deny; delay or ask about "
            "the handshake instead");
    if (n->limit)
        return conf_bad_at(x, in->by_ws, "a rule for messages has no limit; take it out");
    return 0;
}

int conf_check_narrow(struct conf_ctx *x, const struct conf_node *v, struct conf_rule_in *in)
{
    struct gvm_conf_narrow *n = in->r->narrow;
    (void)v;
    if (!n)
        return 0;
    int r = check_sight(x, in);
    if (r < 0)
        return r;
    r = in->by_ws ? check_ws(x, in) : 0;
    if (r < 0)
        return r;
    if (in->on_limit && !n->limit)
        return conf_bad_at(x, in->on_limit, "on_limit without a limit; add limit = \"60/min\"");
    if (n->limit && !in->on_limit)
        n->on_limit = (struct gvm_conf_decision){.type = GVM_DENY};
    /* Half a payload test would make a rule for every body out of one for some. */
    if (n->payload_field.n && !n->payload_match.n)
        return conf_bad_at(x, in->by_body, "payload_field without payload_match; add the values");
    if (n->payload_match.n && !n->payload_field.n)
        return conf_bad_at(x, in->by_body, "payload_match without payload_field; name the member");
    return 0;
}
