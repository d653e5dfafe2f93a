/* The one decision path. What is judged here was identified and is canonical; what comes out is
 * acted on only after the record of it is where it must be:
 *
 *   Allow                     recorded, not waited for (unless [audit] mode = "strict")
 *   AuditOnly, Delay, RequireApproval, Deny    recorded durably, then acted on
 *
 * When the ledger or keys is away, or the ledger said that it cannot write, nothing is judged: 503.
 * When the ledger has not taken what it was given yet, what is to be judged waits (parked). */
#include <errno.h>

#include "proxy/pipeline/px.h"

/* The rule that took a verdict, NULL for the default. */
static const struct gvm_conf_rule *rule_of(const struct px_policy *p, const struct gvm_verdict *v)
{
    return v->rule >= 0 && (uint32_t)v->rule < p->conf->nrules ? &p->conf->rules[v->rule] : NULL;
}

static void facts_of(const struct px_request *rq, struct gvm_facts *f)
{
    *f = (struct gvm_facts){
        .protocol = rq->kind == PX_TCP ? GVM_PROTO_TCP : GVM_PROTO_HTTP,
        .host = gvm_str(rq->host),
        .port = rq->port,
        .tls = rq->tls || rq->kind == PX_TLS_OPAQUE,
        .agent = gvm_str(rq->run->agent),
        .now_ns = gvm_now_ns(),
    };
    if (rq->kind == PX_HTTP) {
        f->method = gvm_str(rq->method);
        f->path = gvm_buf_str(&rq->path);
        f->query = gvm_buf_str(&rq->query);
        f->fields = px_fields(rq);
    }
}

static void deny(struct gvm_verdict *v, const char *name, const char *reason)
{
    v->decision = GVM_DENY;
    v->delay_ms = 0;
    if (name)
        v->name = gvm_str(name);
    if (reason)
        v->reason = gvm_str(reason);
}

bool px_tcp_rule(struct px_conn *c, const char *host, uint16_t port, struct gvm_verdict *ret)
{
    struct px_policy *p = px_policy_get(c->px, c->run->policy_id);
    if (!p)
        return false;
    struct gvm_facts f = {.protocol = GVM_PROTO_TCP,
                          .host = gvm_str(host),
                          .port = port,
                          .agent = gvm_str(c->run->agent),
                          .now_ns = gvm_now_ns()};
    gvm_rules_decide(p->rules, &f, ret);
    const struct gvm_conf_rule *r = rule_of(p, ret);
    px_policy_unref(p);
    return r && r->protocol == GVM_PROTO_TCP;
}

/* ---- one verdict per kind ---- */

/* Does the rule's pattern spell this address? A wildcard does not name it. */
static bool names_address(const struct gvm_conf_rule *r, const char *host)
{
    if (!r)
        return false;
    struct gvm_str p = r->pattern, h = gvm_str(host);
    if (p.n && p.p[0] == '[')
        p = (struct gvm_str){p.p + 1, p.n - 1};
    if (!gvm_str_starts(p, h))
        return false;
    return p.n == h.n || strchr("]:/", p.p[h.n]) != NULL;
}

static void verdict_http(struct px_request *rq, const struct gvm_facts *f, struct gvm_verdict *v)
{
    gvm_rules_decide(rq->policy->rules, f, v);
    if (v->needs_body) /* there is none, or it is here */
        px_inspect(rq, f, v);
    if (v->rule < 0 && !v->fixed && rq->run->has_default) {
        v->decision = rq->run->dflt.type;
        v->delay_ms = rq->run->dflt.delay_ms;
        v->reason = GVM_STR("the default of this run");
    }
    /* A TLS client that names no host gets to an address only when a rule spells that address. */
    if (rq->conn->tls && rq->is_ip && !rq->conn->sni[0] &&
        !names_address(rule_of(rq->policy, v), rq->host))
        deny(v, NULL,
             "TLS to an address without a server name needs a rule that names the address");
}

static void verdict_tcp(struct px_request *rq, const struct gvm_facts *f, struct gvm_verdict *v)
{
    gvm_rules_decide(rq->policy->rules, f, v);
    const struct gvm_conf_rule *r = rule_of(rq->policy, v);
    if (!r || r->protocol != GVM_PROTO_TCP)
        deny(v, "default", "an opaque connection needs a rule with protocol = \"tcp\"");
}

static void verdict_tls_opaque(struct px_request *rq, const struct gvm_facts *f,
                               struct gvm_verdict *v)
{
    if (gvm_rules_opaque(rq->policy->rules, f, v))
        return;
    /* --no-intercept on the command line: allowed, unless a rule denies that whole host. */
    struct gvm_facts all = *f;
    all.method = GVM_STR("CONNECT");
    all.path = GVM_STR("/");
    gvm_rules_decide(rq->policy->rules, &all, v);
    if (v->rule >= 0 && v->decision == GVM_DENY)
        return;
    *v = (struct gvm_verdict){.decision = GVM_ALLOW,
                              .rule = -1,
                              .name = GVM_STR("--no-intercept"),
                              .private_ok = v->private_ok};
}

static bool is_pinned(const struct px_policy *p, const char *host)
{
    for (uint32_t i = 0; i < p->conf->npins; i++)
        if (gvm_str_eqz(p->conf->pins[i].host, host))
            return true;
    return false;
}

/* An address in the request itself that may not be reached: metadata and our own never, others only
 * when the rule says private. (Addresses that names resolve to are checked when they are dialled.)
 */
static bool address_closed(const struct px_request *rq)
{
    if (!rq->is_ip)
        return false;
    enum gvm_ip_class class = gvm_ip_class(&rq->ip);
    if (class == GVM_IP_PUBLIC || is_pinned(rq->policy, rq->host))
        return false;
    if (gvm_dns_is_synthetic(&rq->ip))
        return true;
    bool may = class == GVM_IP_LOOPBACK || class == GVM_IP_PRIVATE || class == GVM_IP_LINK_LOCAL;
    return !may || !rq->verdict.private_ok;
}

/* A value that the owner keeps back stands in the agent's settings as "gvm-ph-..."
 * (sandbox/settings.c). Nobody puts the real one in its place yet, so a request that carries one
 * goes nowhere: the other end could do nothing with it but learn what the agent has not. The head
 * is the one that would be forwarded: target and all fields. */
static bool carries_placeholder(const struct px_request *rq)
{
    return rq->kind == PX_HTTP && rq->head.len &&
           memmem(gvm_buf_data(&rq->head), rq->head.len, "gvm-ph-", 7);
}

static void give_verdict(struct px_request *rq)
{
    static void (*const by_kind[])(struct px_request *, const struct gvm_facts *,
                                   struct gvm_verdict *) = {
        [PX_HTTP] = verdict_http,
        [PX_TCP] = verdict_tcp,
        [PX_TLS_OPAQUE] = verdict_tls_opaque,
    };
    struct gvm_facts f;
    rq->verdict = (struct gvm_verdict){.rule = -1};
    facts_of(rq, &f);
    by_kind[rq->kind](rq, &f, &rq->verdict);
    if (rq->verdict.needs_body)
        return; /* px_judge() comes again */
    px_limit(rq);
    rq->enforced = rq->run->watch ? GVM_ALLOW : rq->verdict.decision;
    if (carries_placeholder(rq)) {
        if (rq->verdict.decision != GVM_DENY)
            deny(&rq->verdict, "placeholder",
                 "it carries a placeholder (gvm-ph-...) where a secret of the owner belongs");
        rq->enforced = GVM_DENY;
    }
    if (address_closed(rq)) {
        if (rq->verdict.decision != GVM_DENY)
            deny(&rq->verdict, "never-allowed",
                 gvm_ip_class(&rq->ip) == GVM_IP_METADATA || gvm_dns_is_synthetic(&rq->ip)
                     ? "this address is never reached"
                     : "an address that is not public needs a rule with private = true");
        rq->enforced = GVM_DENY;
    }
}

/* ---- act ---- */

static void on_delay(uv_timer_t *t)
{
    px_go(t->data);
}

static void act(struct px_request *rq)
{
    switch (rq->enforced) {
    case GVM_DENY:
        rq->run->denied++;
        px_deny(rq, NULL);
        return;
    case GVM_REQUIRE_APPROVAL:
        px_ask(rq);
        return;
    case GVM_DELAY:
        px_timer(rq, rq->verdict.delay_ms, on_delay);
        return;
    case GVM_AUDIT_ONLY:
    case GVM_ALLOW:
        px_go(rq);
        return;
    }
    px_deny(rq, "unknown decision");
}

static void on_recorded(void *arg, const struct gvm_msg *m)
{
    struct px_request *rq = arg;
    rq->waiter = 0;
    if (px_appended(m))
        act(rq);
    else
        px_fail(rq, 503, "the record could not be written");
}

static void record_and_act(struct px_request *rq)
{
    bool waits = rq->enforced != GVM_ALLOW || rq->policy->conf->audit_strict;
    px_record_decision(rq);
    rq->live = true;
    rq->began_ns = gvm_mono_ns();
    int r = waits ? px_append(rq->px, on_recorded, rq, &rq->waiter) : px_append_decision(rq);
    if (r < 0) {
        rq->live = false; /* nothing of it is in the log */
        px_fail(rq, 503, "the record could not be written");
    } else if (!waits) {
        act(rq);
    }
}

static void park(struct px_request *rq)
{
    struct px *px = rq->px;
    rq->parked = true;
    rq->park_next = NULL;
    *px->parked_tail = rq;
    px->parked_tail = &rq->park_next;
}

void px_unpark(struct px *px)
{
    while (px->parked && !px_ledger_busy(px)) {
        struct px_request *rq = px->parked;
        px->parked = rq->park_next;
        if (!px->parked)
            px->parked_tail = &px->parked;
        rq->parked = false;
        px_judge(rq);
    }
}

void px_unpark_one(struct px_request *rq)
{
    struct px *px = rq->px;
    for (struct px_request **at = &px->parked; rq->parked && *at; at = &(*at)->park_next) {
        if (*at != rq)
            continue;
        *at = rq->park_next;
        if (!*at)
            px->parked_tail = at;
        break;
    }
    rq->parked = false;
}

void px_judge(struct px_request *rq)
{
    rq->state = PX_HELD;
    if (!px_gate_open(rq->px)) {
        px_refuse(rq, 503, "gate",
                  "the ledger or the keys process is not available; nothing is forwarded");
        return;
    }
    /* One whose body was read to be judged is let through: that frees what it holds. */
    if (!rq->policy && gvm_bill_high(rq->run->bill)) {
        px_refuse(rq, 503, "busy", PX_NO_MEMORY);
        return;
    }
    if (px_ledger_busy(rq->px)) {
        park(rq);
        return;
    }
    px_policy_unref(rq->policy); /* of a first look, before the body was read */
    rq->policy = px_policy_get(rq->px, rq->run->policy_id);
    if (!rq->policy) {
        px_refuse(rq, 503, "policy", "no rules are loaded for this run");
        return;
    }
    give_verdict(rq);
    if (rq->verdict.needs_body) {
        px_inspect_wait(rq);
        return;
    }
    rq->run->requests++;
    record_and_act(rq);
}

void px_go(struct px_request *rq)
{
    if (rq->kind == PX_HTTP)
        px_credential(rq);
    else
        px_connect(rq);
}
