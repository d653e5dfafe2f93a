/* rules/decide.c - facts in, verdict out. Nothing here fails: what cannot be judged is denied. */
#include "rules/narrow.h"

#include <stdio.h>

/* What one rule says about one request. */
enum outcome {
    MISS,
    MATCH,
    FAILED,  /* a regex could not be run to its end: denies */
    PARTIAL, /* true of a part: a floor for what the search ends with */
    BLIND,   /* cannot be seen: the rule's `unverifiable`, or Deny */
    UNREAD,  /* the body is needed and not there yet */
};

/* A search over the index for the smallest matching number. */
struct search {
    struct rules_query q;
    uint32_t best;
    enum outcome how;           /* of the rule at `best` */
    const char *why, *last_why; /* of that rule, and of the one just judged, when BLIND */
    bool partial;               /* some rule on the way matched a part */
    uint32_t unread;            /* the smallest number that waits for the body */
    size_t max_body;            /* the most that such a rule looks at */
};

static enum outcome of_blind(const struct rule_info *info, const struct rules_seen *seen)
{
    const struct gvm_conf_narrow *c = &info->narrow->conf;
    enum outcome otherwise = seen->some ? PARTIAL : MISS;
    if (c->has_unverifiable) {
        bool weaker = seen->some && c->unverifiable.type > info->decision;
        return c->unverifiable_next || weaker ? otherwise : BLIND;
    }
    return info->decision == GVM_ALLOW ? otherwise : BLIND;
}

/* Does the rule look at fields or query, and were these not kept? */
static bool head_is_missing(const struct gvm_facts *f, const struct rules_narrow *n)
{
    return f->head_unknown &&
           (n->query.n || n->header.n || (n->conf.grpc.n && rules_grpc_fits(&n->conf.grpc, f)));
}

static enum outcome judge_narrow(struct search *s, const struct rule *r)
{
    const struct rule_info *info = r->info;
    struct rules_seen seen;
    if (head_is_missing(s->q.f, info->narrow))
        return UNREAD;
    rules_narrow_judge(&s->q, info->narrow, info->decision >= GVM_DELAY, &seen);
    if (seen.failed)
        return FAILED;
    if (info->narrow->needs_body && !s->q.f->content && rules_possible(&seen))
        return UNREAD;
    if (seen.all)
        return MATCH;
    if (seen.some && info->decision == GVM_DENY)
        return MATCH;
    if (seen.blind) {
        s->last_why = seen.why;
        return of_blind(info, &seen);
    }
    return seen.some ? PARTIAL : MISS;
}

static enum outcome judge(struct search *s, const struct rule *r)
{
    int m = rules_match(&s->q, r);
    if (m <= 0)
        return m < 0 ? FAILED : MISS;
    return r->flags & RULES_NARROW ? judge_narrow(s, r) : MATCH;
}

static void wait_for_body(struct search *s, uint32_t number)
{
    size_t max = s->q.rs->infos[number].narrow->max_body;
    if (number < s->unread)
        s->unread = number;
    if (max > s->max_body)
        s->max_body = max;
}

static bool see_list(void *ctx, const uint32_t *numbers, uint32_t n)
{
    struct search *s = ctx;
    const struct rule *rules = s->q.rs->rules;
    for (uint32_t i = 0; i < n && numbers[i] < s->best; i++) {
        enum outcome how = judge(s, &rules[numbers[i]]);
        if (how == MISS)
            continue;
        if (how == PARTIAL) {
            s->partial = true;
        } else if (how == UNREAD) {
            wait_for_body(s, numbers[i]);
        } else {
            s->best = numbers[i];
            s->how = how;
            s->why = s->last_why;
            break;
        }
    }
    return s->best != 0;
}

/* The strictest rule before the one found that matches a part; the first of equals. */
struct floor {
    struct search *s;
    uint32_t best;
};

static bool see_floor(void *ctx, const uint32_t *numbers, uint32_t n)
{
    struct floor *f = ctx;
    const struct gvm_ruleset *rs = f->s->q.rs;
    for (uint32_t i = 0; i < n && numbers[i] < f->s->best; i++) {
        if (!(rs->rules[numbers[i]].flags & RULES_NARROW) ||
            judge(f->s, &rs->rules[numbers[i]]) != PARTIAL)
            continue;
        enum gvm_decision mine = rs->infos[numbers[i]].decision;
        bool better = f->best == RULES_NONE || mine < rs->infos[f->best].decision ||
                      (mine == rs->infos[f->best].decision && numbers[i] < f->best);
        if (better)
            f->best = numbers[i];
    }
    return true;
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
                              .reason = info->reason,
                              .limit = info->limit};
}

static void fill_blind(const struct gvm_ruleset *rs, uint32_t i, const char *why,
                       struct gvm_verdict *v)
{
    const struct gvm_conf_narrow *c = &rs->infos[i].narrow->conf;
    static const struct gvm_conf_decision deny = {.type = GVM_DENY};
    const struct gvm_conf_decision *d = c->has_unverifiable ? &c->unverifiable : &deny;
    v->unverifiable = true;
    v->decision = d->type;
    v->delay_ms = d->type == GVM_DELAY ? d->delay_ms : 0;
    v->private_ok = v->private_ok && d->type != GVM_DENY;
    v->limit = NULL;
    v->reason =
        d->reason.n ? d->reason : GVM_STR("what this rule looks at cannot be seen in the request");
    (void)snprintf(v->why, sizeof v->why, "%s", why ? why : "it cannot be read");
}

static void fill_default(const struct gvm_ruleset *rs, const struct gvm_facts *f,
                         struct gvm_verdict *v)
{
    *v = (struct gvm_verdict){.rule = -1, .intercept = true, .name = GVM_STR("default")};
    if (f->protocol == GVM_PROTO_TCP) {
        v->reason = GVM_STR("no rule with protocol = \"tcp\" allows this connection");
        return;
    }
    if (f->protocol == GVM_PROTO_WS) { /* the handshake was let through */
        v->decision = GVM_ALLOW;
        v->reason = GVM_STR("no rule for messages matches");
        return;
    }
    if (rules_is_doh(f)) {
        v->fixed = true;
        v->reason = GVM_STR("DNS over HTTPS needs a rule that names its server; names are "
                            "resolved without it");
        return;
    }
    v->decision = rs->dflt.type;
    v->delay_ms = rs->dflt.type == GVM_DELAY ? rs->dflt.delay_ms : 0;
    v->reason = rs->dflt.reason.n ? rs->dflt.reason : GVM_STR("no rule matches");
}

static void apply_floor(struct search *s, struct gvm_str first, struct gvm_verdict *v)
{
    struct floor f = {.s = s, .best = RULES_NONE};
    struct rules_walk w = {.see = see_floor, .ctx = &f};
    struct gvm_verdict under;
    rules_index_walk(s->q.rs, s->q.f->host, first, &w);
    if (f.best == RULES_NONE)
        return;
    fill_rule(s->q.rs, f.best, &under);
    if (under.decision > v->decision)
        return;
    under.private_ok = under.private_ok && v->private_ok;
    under.partial = true;
    *v = under;
}

static void fill_found(const struct search *s, struct gvm_verdict *v)
{
    const struct gvm_ruleset *rs = s->q.rs;
    if (s->best == RULES_NONE) {
        fill_default(rs, s->q.f, v);
        return;
    }
    fill_rule(rs, s->best, v);
    if (s->how == BLIND)
        fill_blind(rs, s->best, s->why, v);
    if (s->how == FAILED) {
        v->decision = GVM_DENY;
        v->delay_ms = 0;
        v->private_ok = false;
        v->limit = NULL;
        v->reason = GVM_STR("an expression of this rule could not be run to its end");
    }
}

static void decide_one(const struct gvm_ruleset *rs, const struct gvm_facts *f,
                       struct gvm_verdict *v)
{
    struct search s = {
        .q = {.rs = mutable_set(rs), .f = f, .bit = rules_method_bit(f->method)},
        .best = RULES_NONE,
        .unread = RULES_NONE,
    };
    struct rules_walk w = {.see = see_list, .ctx = &s};
    struct gvm_str first = rules_first_segment(f->path);
    rules_index_walk(rs, f->host, first, &w);
    fill_found(&s, v);
    if (s.partial)
        apply_floor(&s, first, v);
    rules_query_done(&s.q);
    if (s.unread < s.best) {
        v->needs_body = true;
        v->max_body = s.max_body;
        v->decision = GVM_DENY;
        v->delay_ms = 0;
        v->private_ok = false;
        v->reason = GVM_STR("the body was not read");
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
        second.needs_body = second.needs_body || v->needs_body;
        second.max_body = second.max_body > v->max_body ? second.max_body : v->max_body;
        v->private_ok = second.private_ok;
        v->needs_body = second.needs_body;
        v->max_body = second.max_body;
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
    bool open = ret->decision != GVM_DENY || ret->needs_body;
    if (f->protocol != GVM_PROTO_TCP && open && is_ambiguous(f->path))
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

/* ---- WebSocket ---- */

unsigned gvm_rules_ws(const struct gvm_ruleset *rs, const struct gvm_facts *f, size_t *ret_max)
{
    unsigned bits = 0;
    *ret_max = 0;
    if (!rs->any_ws)
        return 0;
    for (uint32_t i = 0; i < rs->nrules; i++) {
        const struct rule *r = &rs->rules[i];
        if (r->proto != GVM_PROTO_WS || !rules_match_host(r->info, f->host))
            continue;
        bits |= r->info->narrow->conf.ws_direction;
        if (r->info->narrow->max_body > *ret_max)
            *ret_max = r->info->narrow->max_body;
    }
    return bits;
}

/* ---- explain ---- */

/* Every rule in turn, without the index: what explain shows does not depend on what it explains. */
size_t gvm_rules_matches(const struct gvm_ruleset *rs, const struct gvm_facts *f, int32_t *out,
                         size_t cap)
{
    struct search s = {.q = {.rs = mutable_set(rs), .f = f, .bit = rules_method_bit(f->method)}};
    size_t n = 0;
    for (uint32_t i = 0; i < rs->nrules && n < cap; i++)
        if (rules_match_host(&rs->infos[i], f->host) && judge(&s, &rs->rules[i]) != MISS)
            out[n++] = (int32_t)i;
    rules_query_done(&s.q);
    return n;
}
