/* conf/rule.c - [[rules]] and decisions. */
#include "conf/conf_int.h"

#include <errno.h>
#include <stdio.h>

/* ---- decisions ---- */

static const char *const decision_names[] = {
    [GVM_DENY] = "Deny",   [GVM_REQUIRE_APPROVAL] = "RequireApproval",
    [GVM_DELAY] = "Delay", [GVM_AUDIT_ONLY] = "AuditOnly",
    [GVM_ALLOW] = "Allow",
};

const char *gvm_decision_name(enum gvm_decision d)
{
    unsigned i = (unsigned)d;
    return i < sizeof decision_names / sizeof *decision_names ? decision_names[i] : "Deny";
}

bool conf_decision_parse(struct gvm_str name, enum gvm_decision *ret)
{
    for (unsigned i = 0; i < sizeof decision_names / sizeof *decision_names; i++) {
        if (gvm_str_eqz(name, decision_names[i])) {
            *ret = (enum gvm_decision)i;
            return true;
        }
    }
    return false;
}

struct decision_in {
    struct gvm_conf_decision d;
    bool have_type;
    const struct conf_node *ms;
};

static int set_type(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct decision_in *in = obj;
    in->have_type = true;
    if (conf_decision_parse(conf_node_str(v), &in->d.type))
        return 0;
    return conf_bad_at(
        x, v,
        "unknown decision \"%.*s\"; write Allow, AuditOnly, Delay, RequireApproval or "
        "Deny",
        (int)(v->len > 40 ? 40 : v->len), v->text);
}

static int set_milliseconds(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct decision_in *in = obj;
    in->ms = v;
    if (v->num < 1 || v->num > (int64_t)CONF_MAX_DELAY)
        return conf_bad_at(x, v, "milliseconds is %lld; write 1 to %u", (long long)v->num,
                           CONF_MAX_DELAY);
    in->d.delay_ms = (uint32_t)v->num;
    return 0;
}

static int set_decision_reason(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct decision_in *in = obj;
    return v->len ? conf_text(x, v, "reason", GVM_MAX_REASON, &in->d.reason) : 0;
}

static const struct conf_field decision_fields[] = {
    {"type", CONF_STRING, set_type, false},
    {"milliseconds", CONF_INT, set_milliseconds, false},
    {"reason", CONF_STRING, set_decision_reason, false},
};

int conf_read_decision(struct conf_ctx *x, const struct conf_node *v, const char *what,
                       struct gvm_conf_decision *ret)
{
    struct decision_in in = {0};
    int r;
    if (v->type == CONF_STRING)
        r = set_type(x, v, &in);
    else
        r = conf_read_table(x, v, what, decision_fields,
                            sizeof decision_fields / sizeof *decision_fields, &in);
    if (r < 0)
        return r;
    if (!in.have_type)
        return conf_bad_at(x, v, "%s has no type; add type = \"Deny\" or another decision", what);
    if (in.ms && in.d.type != GVM_DELAY)
        return conf_bad_at(x, in.ms, "milliseconds belongs to Delay, not to %s; take it out",
                           gvm_decision_name(in.d.type));
    if (in.d.type == GVM_DELAY && !in.ms)
        in.d.delay_ms = 300;
    *ret = in.d;
    return 0;
}

/* ---- one rule ---- */

static int set_name(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    return conf_text(x, v, "name", GVM_MAX_NAME, &in->name);
}

/* The prior program's descriptions may be long or empty: a name is made of them later. */
static int set_description(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    return v->len ? conf_text(x, v, "description", CONF_MAX_PATTERN, &in->description) : 0;
}

static int set_label(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    return v->len ? conf_text(x, v, "label", CONF_MAX_PATTERN, &in->label) : 0;
}

static int set_reason(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    return v->len ? conf_text(x, v, "reason", GVM_MAX_REASON, &in->reason) : 0;
}

static bool is_token(struct gvm_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (gvm_lower(c) >= 'a' && gvm_lower(c) <= 'z');
        if (!alnum && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.n > 0 && s.n <= GVM_MAX_METHOD;
}

/* RFC 9110 methods are case-sensitive; every one in use is upper case, and so are ours. */
static int one_method(struct conf_ctx *x, const struct conf_node *v, struct gvm_str *ret)
{
    struct gvm_str s = conf_node_str(v);
    if (!is_token(s) || (s.n > 1 && gvm_str_find(s, '*') >= 0))
        return conf_bad_at(
            x, v,
            "method \"%.*s\" is not a method; write a name such as GET, a list of names, "
            "or \"*\" for every method",
            (int)(s.n > 40 ? 40 : s.n), s.p ? s.p : "");
    char up[GVM_MAX_METHOD + 1];
    for (size_t i = 0; i < s.n; i++)
        up[i] = s.p[i] >= 'a' && s.p[i] <= 'z' ? (char)(s.p[i] - 32) : s.p[i];
    struct gvm_str u = {up, s.n};
    if (gvm_str_eqz(u, "CONNECT"))
        return conf_bad_at(x, v,
                           "CONNECT is never matched, each request inside a tunnel is; name the "
                           "requests' methods, or write protocol = \"tcp\" for opaque connections");
    *ret = conf_dup(x, u);
    return ret->p ? 0 : gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
}

static int set_method(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    const struct conf_node *first = v->type == CONF_ARRAY ? v->child : v;
    unsigned n = v->type == CONF_ARRAY ? conf_children(v) : 1, i = 0;
    if (n == 0 || n > 64)
        return conf_bad_at(x, v, "method is a list of %u; write 1 to 64 methods or \"*\"", n);
    struct gvm_str *list = gvm_arena_alloc(x->c->arena, n * sizeof *list);
    if (!list)
        return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    bool any = false;
    for (const struct conf_node *m = first; m && i < n; m = m->next, i++) {
        int r = conf_need(x, m, "a method", CONF_STRING);
        if (r >= 0)
            r = one_method(x, m, &list[i]);
        if (r < 0)
            return r;
        any = any || gvm_str_eqz(list[i], "*");
    }
    in->have_method = true;
    in->r->methods = any ? NULL : list;
    in->r->nmethods = any ? 0 : n;
    return 0;
}

static int set_pattern(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    in->r->pattern_line = v->line;
    in->r->pattern_col = v->col;
    return conf_text(x, v, "pattern", CONF_MAX_PATTERN, &in->r->pattern);
}

static int set_path_regex(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    in->r->regex_line = v->line;
    in->r->regex_col = v->col;
    return conf_text(x, v, "path_regex", GVM_MAX_REGEX, &in->r->path_regex);
}

static int set_agent(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    in->agent = v;
    return conf_text(x, v, "agent", GVM_MAX_AGENT, &in->r->agent);
}

static int set_principal(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    struct gvm_str s = conf_node_str(v);
    in->principal = v;
    if (gvm_str_find(s, '*') >= 0 || gvm_str_find(s, '?') >= 0)
        return conf_bad_at(x, v,
                           "principal_filter is one exact name; write agent = \"...\" for a "
                           "pattern with * or ?");
    return conf_text(x, v, "principal_filter", GVM_MAX_AGENT, &in->r->agent);
}

/* RFC 3339 goes to the year 9999, our clock to 2262: a later year is as good as never, if it is a
 * date at all. 2240 is a leap year, so that every date of such a year can be tried in it. */
static int parse_far_time(struct gvm_str s, int64_t *ret_ns)
{
    char text[64];
    if (s.n < 20 || memcmp(s.p, "2262", 4) < 0 || gvm_str_copy(text, sizeof text, s) < 0)
        return -EINVAL;
    memcpy(text, "2240", 4);
    int64_t ns;
    int r = gvm_time_parse((struct gvm_str){text, s.n}, &ns);
    if (r >= 0)
        *ret_ns = INT64_MAX;
    return r;
}

static int set_expires(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    struct gvm_str s = conf_node_str(v);
    int64_t ns;
    bool bad =
        v->type == CONF_LOCAL_TIME || (gvm_time_parse(s, &ns) < 0 && parse_far_time(s, &ns) < 0);
    if (bad)
        return conf_bad_at(x, v,
                           "expires_at is not a date and time with an offset; write it like "
                           "\"2030-01-31T18:00:00Z\"");
    /* 0 means never in the struct; the first instant of 1970 is as dead as the one after it. */
    in->r->expires_ns = ns == 0 ? 1 : ns;
    return 0;
}

static int set_private(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    (void)x;
    in->r->private_ok = v->num != 0;
    return 0;
}

static int set_intercept(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    if (v->type == CONF_STRING && !gvm_str_eqz(conf_node_str(v), "none"))
        return conf_bad_at(x, v, "intercept is \"none\" or true; \"none\" lets TLS through unread");
    in->r->intercept = v->type == CONF_BOOL && v->num;
    return 0;
}

static int set_protocol(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    bool tcp = gvm_str_eqz(conf_node_str(v), "tcp");
    if (!tcp && !gvm_str_eqz(conf_node_str(v), "http"))
        return conf_bad_at(x, v,
                           "protocol is \"tcp\" for opaque connections; leave it out for HTTP");
    in->r->protocol = tcp ? GVM_PROTO_TCP : GVM_PROTO_HTTP;
    in->protocol = v;
    return 0;
}

static int set_decision(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct conf_rule_in *in = obj;
    in->have_decision = true;
    return conf_read_decision(x, v, "decision", &in->r->decision);
}

static const struct conf_field head_fields[] = {
    {"name", CONF_STRING, set_name, false},
    {"method", CONF_STRING | CONF_ARRAY, set_method, false},
    {"pattern", CONF_STRING, set_pattern, false},
    {"path_regex", CONF_STRING, set_path_regex, false},
    {"agent", CONF_STRING, set_agent, false},
    {"principal_filter", CONF_STRING, set_principal, false},
    {"expires_at", CONF_STRING | CONF_TIME | CONF_LOCAL_TIME, set_expires, false},
    {"private", CONF_BOOL, set_private, false},
    {"intercept", CONF_STRING | CONF_BOOL, set_intercept, false},
    {"protocol", CONF_STRING, set_protocol, false},
    {"decision", CONF_TABLE | CONF_STRING, set_decision, false},
    {"reason", CONF_STRING, set_reason, false},
    {"description", CONF_STRING, set_description, false},
    {"label", CONF_STRING, set_label, false},
};

/* Cuts at a character boundary. */
static struct gvm_str cut_name(struct gvm_str s)
{
    if (s.n <= GVM_MAX_NAME)
        return s;
    s.n = GVM_MAX_NAME;
    while (s.n && ((unsigned char)s.p[s.n] & 0xc0) == 0x80)
        s.n--;
    return s;
}

static int finish_name(struct conf_ctx *x, struct conf_rule_in *in, uint32_t number)
{
    const struct gvm_str candidates[] = {in->name, in->description, in->label, in->reason,
                                         in->r->decision.reason};
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        if (candidates[i].n) {
            in->r->name = cut_name(candidates[i]);
            return 0;
        }
    }
    char *made = gvm_arena_printf(x->c->arena, "rule-%u", number);
    if (!made)
        return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    in->r->name = gvm_str(made);
    return 0;
}

/* Everything up to the first slash is the host; a bracketed address has no slash in it. */
static bool has_path(struct gvm_str pattern)
{
    return gvm_str_find(pattern, '/') >= 0;
}

/* An opaque connection shows its host and port and nothing else. */
static int check_opaque(struct conf_ctx *x, const struct conf_node *v,
                        const struct gvm_conf_rule *r, const char *what)
{
    if (r->nmethods)
        return conf_bad_at(x, v, "a rule with %s cannot see a method; write method = \"*\"", what);
    if (r->path_regex.n)
        return conf_bad(x, r->regex_line, r->regex_col,
                        "a rule with %s cannot see a path; take path_regex out", what);
    if (has_path(r->pattern))
        return conf_bad(x, r->pattern_line, r->pattern_col,
                        "a rule with %s cannot see a path; write the host only", what);
    return 0;
}

static int finish_rule(struct conf_ctx *x, const struct conf_node *v, struct conf_rule_in *in,
                       uint32_t number)
{
    struct gvm_conf_rule *r = in->r;
    bool tcp = r->protocol == GVM_PROTO_TCP;
    if (!in->have_method && !tcp)
        return conf_bad_at(x, v, "the rule has no method; add method = \"GET\" or \"*\"");
    if (!r->pattern.n)
        return conf_bad_at(x, v, "the rule has no pattern; add pattern = \"host/path\"");
    if (!in->have_decision)
        return conf_bad_at(x, v,
                           "the rule has no decision; add decision = { type = \"Deny\" } or "
                           "another");
    if (in->agent && in->principal)
        return conf_bad_at(x, in->principal,
                           "agent and principal_filter name the same thing; keep one");
    if (tcp && !r->intercept)
        return conf_bad_at(x, in->protocol,
                           "protocol = \"tcp\" is never intercepted; take intercept out");
    int err = 0;
    if (tcp)
        err = check_opaque(x, v, r, "protocol = \"tcp\"");
    else if (!r->intercept)
        err = check_opaque(x, v, r, "intercept = \"none\"");
    if (err >= 0)
        err = conf_check_narrow(x, v, in);
    if (err >= 0)
        err = finish_name(x, in, number);
    if (err >= 0 && !r->decision.reason.n)
        r->decision.reason = in->reason;
    return err;
}

/* Both tables as one, so that a misspelt key is compared with every key there is. */
static int read_fields(struct conf_ctx *x, const struct conf_node *v, struct conf_rule_in *in)
{
    enum { HEAD = sizeof head_fields / sizeof *head_fields };
    struct conf_field all[64];
    size_t n = 0;
    for (; n < HEAD; n++)
        all[n] = head_fields[n];
    for (size_t i = 0; i < conf_nnarrow_fields && n < sizeof all / sizeof *all; i++)
        all[n++] = conf_narrow_fields[i];
    return conf_read_table(x, v, "[[rules]]", all, n, in);
}

static int read_rule(struct conf_ctx *x, const struct conf_node *v, uint32_t number)
{
    struct gvm_conf_rule *r = &x->c->rules[number - 1];
    struct conf_rule_in in = {.r = r};
    r->line = v->line;
    r->intercept = true;
    int err = conf_need(x, v, "an element of rules", CONF_TABLE);
    if (err >= 0)
        err = read_fields(x, v, &in);
    if (err >= 0)
        err = finish_rule(x, v, &in, number);
    return err;
}

int conf_read_rules(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    unsigned n = conf_children(v);
    (void)obj;
    if (n > GVM_MAX_RULES)
        return conf_bad_at(x, v, "there are %u rules; at most %u are allowed", n, GVM_MAX_RULES);
    x->c->rules = gvm_arena_alloc(x->c->arena, (n ? n : 1) * sizeof *x->c->rules);
    if (!x->c->rules)
        return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    uint32_t number = 0;
    for (const struct conf_node *m = v->child; m; m = m->next) {
        int r = read_rule(x, m, ++number);
        if (r < 0)
            return r;
    }
    x->c->nrules = n;
    return 0;
}
