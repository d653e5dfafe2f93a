/* rules/compile.c - a configuration becomes a rule set that decisions run on. */
#include "rules/narrow.h"

#include <errno.h>
#include <stdlib.h>

void gvm_rules_free(struct gvm_ruleset *rs)
{
    if (!rs)
        return;
    for (uint32_t i = 0; rs->rules && i < rs->nrules; i++) {
        if (rs->rules[i].path_kind == RULES_PATH_REGEX)
            pcre2_code_free(rs->rules[i].re);
        rules_narrow_free(rs->infos[i].narrow);
    }
    rules_scratch_free(rs->scratch);
    gvm_arena_free(rs->arena);
    free(rs);
}

size_t gvm_rules_count(const struct gvm_ruleset *rs)
{
    return rs->nrules;
}

/* ---- parts of one rule ---- */

static int dup_str(struct gvm_ruleset *rs, struct gvm_str s, struct gvm_str *ret)
{
    char *p = gvm_arena_dup(rs->arena, s.n ? s.p : "", s.n);
    if (!p)
        return -ENOMEM;
    *ret = (struct gvm_str){p, s.n};
    return 0;
}

static int compile_methods(struct gvm_ruleset *rs, const struct gvm_conf_rule *c, struct rule *r,
                           struct rule_info *info)
{
    if (c->nmethods == 0) {
        r->methods = RULES_ANY_METHOD;
        return 0;
    }
    struct gvm_str *others = gvm_arena_alloc(rs->arena, c->nmethods * sizeof *others);
    if (!others)
        return -ENOMEM;
    for (unsigned i = 0; i < c->nmethods; i++) {
        uint32_t bit = rules_method_bit(c->methods[i]);
        r->methods |= bit;
        if (!bit && dup_str(rs, c->methods[i], &others[info->nothers++]) < 0)
            return -ENOMEM;
    }
    info->others = others;
    if (info->nothers)
        r->flags |= RULES_HAS_OTHERS;
    return 0;
}

/* "^/literal/" at the head of a regex without alternatives names the first segment of every path it
 * can match. */
static struct gvm_str regex_first(struct gvm_str re)
{
    struct gvm_str none = {NULL, 0};
    size_t i = 2;
    if (re.n < 4 || memcmp(re.p, "^/", 2) != 0 || gvm_str_find(re, '|') >= 0)
        return none;
    while (i < re.n) {
        char c = gvm_lower(re.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
            break;
        i++;
    }
    bool whole = i > 2 && i < re.n && re.p[i] == '/';
    bool quantified = whole && i + 1 < re.n && re.p[i + 1] != '\0' && strchr("?*+{", re.p[i + 1]);
    return whole && !quantified ? (struct gvm_str){re.p + 2, i - 2} : none;
}

static int compile_regex(struct gvm_ruleset *rs, struct gvm_str text, struct rule *r,
                         struct rule_info *info, struct gvm_err *err)
{
    pcre2_code *re;
    int e = rules_regex_compile(text, "path_regex", &re, err);
    if (e < 0)
        return e;
    r->path_kind = RULES_PATH_REGEX;
    r->re = re;
    info->first = (struct gvm_str){NULL, 0};
    if (dup_str(rs, text, &info->regex) < 0)
        return gvm_err_set(err, ENOMEM, "out of memory");
    info->first = regex_first(info->regex);
    return 0;
}

static int compile_narrow(struct gvm_ruleset *rs, const struct gvm_conf_rule *c, struct rule *r,
                          struct rule_info *info, struct gvm_err *err)
{
    int e = rules_narrow_compile(rs, c, &info->narrow, err);
    const struct gvm_conf_narrow *n = c->narrow;
    if (e < 0 || !n)
        return e;
    if (n->has_window)
        r->flags |= RULES_WINDOW;
    if (n->query.n || n->header.n || n->grpc.n || n->git || n->ws || info->narrow->needs_body)
        r->flags |= RULES_NARROW;
    if (n->ws)
        r->proto = GVM_PROTO_WS;
    if (!n->limit)
        return 0;
    struct gvm_limit *limit = gvm_arena_alloc(rs->arena, sizeof *limit);
    if (!limit)
        return gvm_err_set(err, ENOMEM, "out of memory");
    *limit = (struct gvm_limit){.amount = n->limit,
                                .bytes = n->limit_bytes,
                                .ms = n->limit_ms,
                                .then = info->narrow->conf.on_limit};
    info->limit = limit;
    return 0;
}

static int compile_verdict(struct gvm_ruleset *rs, const struct gvm_conf_rule *c, struct rule *r,
                           struct rule_info *info)
{
    info->decision = c->decision.type;
    info->delay_ms = c->decision.type == GVM_DELAY ? c->decision.delay_ms : 0;
    info->private_ok = c->private_ok;
    info->intercept = c->intercept;
    info->line = c->line;
    if (c->agent.n)
        r->flags |= RULES_HAS_AGENT;
    if (!c->intercept)
        r->flags |= RULES_OPAQUE;
    if (c->decision.type == GVM_DENY && c->protocol == GVM_PROTO_HTTP && c->nmethods == 0 &&
        r->path_kind == RULES_PATH_ANY && !(r->flags & RULES_NARROW))
        r->flags |= RULES_TOTAL_DENY;
    if (dup_str(rs, c->agent, &info->agent) < 0 || dup_str(rs, c->name, &info->name) < 0)
        return -ENOMEM;
    if (c->decision.reason.n)
        return dup_str(rs, c->decision.reason, &info->reason);
    const char *verb = c->decision.type == GVM_DENY ? "denied by" : "matches";
    char *made = gvm_arena_printf(rs->arena, "%s rule \"%.*s\"", verb, GVM_STR_ARG(c->name));
    info->reason = gvm_str(made);
    return made ? 0 : -ENOMEM;
}

static int compile_rule(struct gvm_ruleset *rs, const struct gvm_conf_rule *c, uint32_t i,
                        struct gvm_err *err)
{
    struct rule *r = &rs->rules[i];
    struct rule_info *info = &rs->infos[i];
    bool regex = c->path_regex.n > 0;
    r->info = info;
    r->proto = (uint8_t)c->protocol;
    r->expires_ns = c->expires_ns;
    int e = rules_pattern_compile(rs->arena, c->pattern, !regex, r, info, err);
    if (e < 0)
        return gvm_err_wrap(err, e, "pattern \"%.*s\"",
                            (int)(c->pattern.n > 100 ? 100 : c->pattern.n), c->pattern.p);
    if (regex)
        e = compile_regex(rs, c->path_regex, r, info, err);
    if (e >= 0)
        e = compile_narrow(rs, c, r, info, err);
    if (e >= 0 && (compile_methods(rs, c, r, info) < 0 || compile_verdict(rs, c, r, info) < 0))
        e = gvm_err_set(err, ENOMEM, "out of memory");
    return e;
}

/* ---- the set ---- */

/* Where in the file the error is; a policy that came as text has lines only. */
static int place_error(const struct gvm_ruleset *rs, const struct gvm_conf *conf,
                       const struct gvm_conf_rule *c, bool regex, int r, struct gvm_err *err)
{
    const char *label = conf->path.n ? conf->path.p : "policy";
    uint32_t line = regex ? c->regex_line : c->pattern_line;
    uint32_t col = regex ? c->regex_col : c->pattern_col;
    if (rs->bad_line) {
        line = rs->bad_line;
        col = rs->bad_col;
    }
    if (!line)
        return gvm_err_wrap(err, r, "%s:%u", label, c->line);
    return gvm_err_wrap(err, r, "%s:%u:%u", label, line, col);
}

static int compile_rules(struct gvm_ruleset *rs, const struct gvm_conf *conf, struct gvm_err *err)
{
    uint32_t n = conf->nrules;
    rs->rules = gvm_arena_alloc(rs->arena, (n ? n : 1) * sizeof *rs->rules);
    rs->infos = gvm_arena_alloc(rs->arena, (n ? n : 1) * sizeof *rs->infos);
    if (!rs->rules || !rs->infos)
        return gvm_err_set(err, ENOMEM, "no memory for %u rules", n);
    rs->nrules = n;
    for (uint32_t i = 0; i < n; i++) {
        int r = compile_rule(rs, &conf->rules[i], i, err);
        if (r < 0) {
            bool regex = rs->rules[i].info->host.p && conf->rules[i].path_regex.n;
            return place_error(rs, conf, &conf->rules[i], regex, r, err);
        }
        rs->any_ws = rs->any_ws || rs->rules[i].proto == GVM_PROTO_WS;
        rs->any_opaque = rs->any_opaque || (rs->rules[i].flags & RULES_OPAQUE);
    }
    return rules_index_build(rs) < 0 ? gvm_err_set(err, ENOMEM, "no memory for the rule index") : 0;
}

int gvm_rules_compile(const struct gvm_conf *conf, struct gvm_ruleset **ret, struct gvm_err *err)
{
    struct gvm_ruleset *rs = calloc(1, sizeof *rs);
    if (!rs)
        return gvm_err_set(err, ENOMEM, "no memory for rules");
    atomic_flag_clear(&rs->scratch_taken);
    rs->arena = gvm_arena_new(1u << 30);
    rs->scratch = rules_scratch_new();
    rs->dflt = conf->dflt;
    int r = 0;
    if (!rs->arena || !rs->scratch)
        r = gvm_err_set(err, ENOMEM, "no memory for rules");
    if (r >= 0 && dup_str(rs, conf->dflt.reason, &rs->dflt.reason) < 0)
        r = gvm_err_set(err, ENOMEM, "no memory for rules");
    if (r >= 0)
        r = compile_rules(rs, conf, err);
    if (r < 0) {
        gvm_rules_free(rs);
        return r;
    }
    *ret = rs;
    return 0;
}
