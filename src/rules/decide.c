/* rules/decide.c - facts in, verdict out. Nothing here fails: what cannot be judged is denied. */
#include "rules/rules_int.h"

/* A search over the index for the smallest matching number. */
struct search {
    struct rules_query q;
    uint32_t best;
    bool failed; /* the rule at `best` has a regex that could not be run to its end */
};

static bool see_list(void *ctx, const uint32_t *numbers, uint32_t n)
{
    struct search *s = ctx;
    const struct rule *rules = s->q.rs->rules;
    for (uint32_t i = 0; i < n && numbers[i] < s->best; i++) {
        int r = rules_match(&s->q, &rules[numbers[i]]);
        if (r != 0) {
            s->best = numbers[i];
            s->failed = r < 0;
            break;
        }
    }
    return s->best != 0;
}

/* Only the scratch of a set ever changes, under its flag. */
static struct gvm_ruleset *mutable_set(const struct gvm_ruleset *rs)
{
    return (struct gvm_ruleset *)(uintptr_t)rs;
}

static void fill_rule(const struct gvm_ruleset *rs, uint32_t i, struct gvm_verdict *v)
{
    const struct rule_info *info = &rs->infos[i];
    *v = (struct gvm_verdict){.decision = info->decision,
                              .delay_ms = info->delay_ms,
                              .rule = (int32_t)i,
                              .line = info->line,
                              .private_ok = info->private_ok,
                              .intercept = info->intercept,
                              .name = info->name,
                              .reason = info->reason};
}

static void fill_default(const struct gvm_ruleset *rs, const struct gvm_facts *f,
                         struct gvm_verdict *v)
{
    *v = (struct gvm_verdict){.rule = -1, .intercept = true, .name = GVM_STR("default")};
    if (f->protocol == GVM_PROTO_TCP) {
        v->reason = GVM_STR("no rule with protocol = \"tcp\" allows this connection");
        return;
    }
    v->decision = rs->dflt.type;
    v->delay_ms = rs->dflt.type == GVM_DELAY ? rs->dflt.delay_ms : 0;
    v->reason = rs->dflt.reason.n ? rs->dflt.reason : GVM_STR("no rule matches");
}

static void decide_one(const struct gvm_ruleset *rs, const struct gvm_facts *f,
                       struct gvm_verdict *v)
{
    struct search s = {
        .q = {.rs = mutable_set(rs), .f = f, .bit = rules_method_bit(f->method)},
        .best = RULES_NONE,
    };
    struct rules_walk w = {.see = see_list, .ctx = &s};
    rules_index_walk(rs, f->host, rules_first_segment(f->path), &w);
    rules_query_done(&s.q);
    if (s.best == RULES_NONE) {
        fill_default(rs, f, v);
        return;
    }
    fill_rule(rs, s.best, v);
    if (s.failed) {
        v->decision = GVM_DENY;
        v->delay_ms = 0;
        v->private_ok = false;
        v->reason = GVM_STR("the path_regex of this rule could not be run to its end on this path");
    }
}

static bool is_ambiguous(struct gvm_str path)
{
    return gvm_str_find(path, '%') >= 0 || gvm_str_find(path, ';') >= 0;
}

/* The path once more, as a server that decodes everything and drops parameters would read it. The
 * enum goes from strict to lenient, so the smaller decision is the stricter one. */
static void decide_lenient(const struct gvm_ruleset *rs, const struct gvm_facts *f,
                           struct gvm_verdict *v)
{
    struct gvm_buf path;
    struct gvm_facts other = *f;
    struct gvm_verdict second;
    gvm_buf_init(&path, 3 * GVM_MAX_TARGET + 16);
    if (gvm_path_loose(f->path, &path) < 0) {
        v->decision = GVM_DENY;
        v->reason = GVM_STR("the path is too long to be judged in every reading");
    } else if (!gvm_str_eq(gvm_buf_str(&path), f->path)) {
        other.path = gvm_buf_str(&path);
        decide_one(rs, &other, &second);
        second.private_ok = second.private_ok && v->private_ok;
        v->private_ok = second.private_ok;
        if (second.decision < v->decision) {
            *v = second;
            v->lenient = true;
        }
    }
    gvm_buf_done(&path);
}

void gvm_rules_decide(const struct gvm_ruleset *rs, const struct gvm_facts *f,
                      struct gvm_verdict *ret)
{
    decide_one(rs, f, ret);
    if (f->protocol == GVM_PROTO_HTTP && ret->decision != GVM_DENY && is_ambiguous(f->path))
        decide_lenient(rs, f, ret);
}

/* ---- opaque TLS ---- */

/* Would rule i have had a say about a request on this connection? */
static bool concerns(const struct gvm_ruleset *rs, uint32_t i, const struct gvm_facts *f)
{
    const struct rule *r = &rs->rules[i];
    if (r->proto == GVM_PROTO_TCP && r->info->decision != GVM_DENY)
        return false;
    return rules_match_host(r->info, f->host) && rules_match_connection(r, f);
}

bool gvm_rules_opaque(const struct gvm_ruleset *rs, const struct gvm_facts *f,
                      struct gvm_verdict *ret)
{
    if (!rs->any_opaque)
        return false;
    for (uint32_t i = 0; i < rs->nrules; i++) {
        if (!concerns(rs, i, f))
            continue;
        bool opaque = (rs->rules[i].flags & RULES_OPAQUE) && rs->infos[i].decision != GVM_DENY;
        if (opaque)
            fill_rule(rs, i, ret);
        return opaque;
    }
    return false;
}

/* ---- explain ---- */

/* Every rule in turn, without the index: what explain shows does not depend on what it explains. */
size_t gvm_rules_matches(const struct gvm_ruleset *rs, const struct gvm_facts *f, int32_t *out,
                         size_t cap)
{
    struct rules_query q = {.rs = mutable_set(rs), .f = f, .bit = rules_method_bit(f->method)};
    size_t n = 0;
    for (uint32_t i = 0; i < rs->nrules && n < cap; i++)
        if (rules_match_host(&rs->infos[i], f->host) && rules_match(&q, &rs->rules[i]) != 0)
            out[n++] = (int32_t)i;
    rules_query_done(&q);
    return n;
}
