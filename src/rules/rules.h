/* rules - compile and decide. A pure function of (rule set, facts): no I/O, clock or global.
 *
 * Owns:       a compiled rule set, immutable, shareable.
 * Threads:    gvm_rules_decide() may be called from several threads on one set with own scratch.
 * On failure: the verdict is DENY. A regex that errs at match time denies.
 */
#ifndef GVM_RULES_H
#define GVM_RULES_H

#include "body/body.h"
#include "conf/conf.h"
#include "core/core.h"
#include "wire/wire.h"

struct gvm_ruleset;

/* Keeps no reference to `conf`. Errors name "file:line: ..." of the rule. */
int gvm_rules_compile(const struct gvm_conf *conf, struct gvm_ruleset **ret,
                      struct gvm_err *err) GVM_MUST_CHECK;
void gvm_rules_free(struct gvm_ruleset *rs);
size_t gvm_rules_count(const struct gvm_ruleset *rs);

/* What is judged. All text is canonical (wire/url.h); for TCP method and path are empty. */
struct gvm_facts {
    enum gvm_protocol protocol;
    struct gvm_str method; /* upper case */
    struct gvm_str host;   /* canonical name or IP text without brackets */
    uint16_t port;
    bool tls;
    struct gvm_str path;  /* canonical, without query */
    struct gvm_str query; /* as forwarded, without '?' */
    struct gvm_str agent;
    int64_t now_ns;
    unsigned ws_direction; /* GVM_PROTO_WS: GVM_WS_SEND or GVM_WS_RECEIVE */
    /* Query and fields are not known, as in the record: rules that look at them wait for more, as
     * those that look at a body do. */
    bool head_unknown;
    struct gvm_str fields; /* header fields as forwarded: whole lines, "Name: value\r\n" */
    /* HTTP: what the request carries, NULL while it was not read. Decoded views are kept in it,
     * which changes no verdict. */
    struct gvm_content *content;
};

/* `limit` of a rule: at most `amount` requests or bytes in `ms`, then another decision. Who acts on
 * verdicts counts; nothing here does. */
struct gvm_limit {
    uint64_t amount;
    bool bytes;
    uint32_t ms;
    struct gvm_conf_decision then;
};

/* One counter of one rule: the window that runs and the one before it. Zero to begin with. */
struct gvm_limit_count {
    int64_t began_ns;
    uint64_t now, before;
};
/* Is there room for `more` (1 request, or 0 to ask whether bytes are left)? `mono_ns` never goes
 * back. Counts of the window before fade out evenly, so that no moment sees twice the amount. */
bool gvm_limit_room(struct gvm_limit_count *c, const struct gvm_limit *l, uint64_t more,
                    int64_t mono_ns);
void gvm_limit_add(struct gvm_limit_count *c, const struct gvm_limit *l, uint64_t n,
                   int64_t mono_ns);

/* Takes the next field off *fields. False at the end. */
bool gvm_fields_next(struct gvm_str *fields, struct gvm_header *ret);
/* All values of a field, joined with ", ", in `out`; "" when there is none. */
void gvm_fields_join(struct gvm_str fields, const char *name, struct gvm_buf *out);

struct gvm_verdict {
    enum gvm_decision decision; /* zero = DENY */
    uint32_t delay_ms;
    int32_t rule;  /* index into the file's rules, -1 = default */
    uint32_t line; /* of the rule, 0 = default */
    bool private_ok, intercept;
    bool lenient;      /* it is the lenient reading of the path that gave this verdict */
    bool partial;      /* the rule holds for a part of the request only, and was the strictest */
    bool unverifiable; /* the rule could not see what it looks at; `why` */
    /* A rule before the one that would decide looks at the body, and the facts had none: read up to
     * max_body + 1 bytes and ask again. The decision is Deny until then. */
    bool needs_body;
    size_t max_body;
    char why[96];                  /* unverifiable: what was in the way; else "" */
    const struct gvm_limit *limit; /* of the rule, NULL when it has none */
    bool fixed;                    /* the default denies this whatever it says: rule is -1 */
    bool over_limit;               /* set by who counts: the limit took the decision */
    struct gvm_str name;           /* rule name, "default" when none; lives as long as the set */
    struct gvm_str reason;
};

/* First match in file order wins (a match of a part of a request is a floor, rules/narrow.h); no
 * match gives the set's default, or Deny for DNS over HTTPS. *ret is always filled. HTTP: a path
 * with escapes or parameters is also judged as the most lenient server would read it
 * (gvm_path_loose()), and the stricter of both verdicts counts. TCP: only rules with protocol =
 * "tcp" and Deny rules over every method and path of a host match; no match is Deny, whatever the
 * default for HTTP is. */
void gvm_rules_decide(const struct gvm_ruleset *rs, const struct gvm_facts *f,
                      struct gvm_verdict *ret);
/* May anything on this host:port be opaque TLS for this agent (a matching rule with intercept =
 * false whose decision allows)? Fills *ret with that rule's verdict. False too when any earlier
 * rule could match a request there: it must see the request. Method and path of `f` are not looked
 * at. */
bool gvm_rules_opaque(const struct gvm_ruleset *rs, const struct gvm_facts *f,
                      struct gvm_verdict *ret);
/* Which messages of a WebSocket may some rule want to see: bits of GVM_WS_*, and in *ret_max the
 * most that one of them looks at. Only the host is looked at. */
unsigned gvm_rules_ws(const struct gvm_ruleset *rs, const struct gvm_facts *f, size_t *ret_max);
/* Indexes of all rules that match, in order, up to cap; for explain. */
size_t gvm_rules_matches(const struct gvm_ruleset *rs, const struct gvm_facts *f, int32_t *out,
                         size_t cap);

/* A rule no request can reach because an earlier one takes everything it would. Only sure cases are
 * reported, and the search gives up (returns what it has) after a bounded amount of work. */
struct gvm_hidden_rule {
    int32_t rule, by;
};
size_t gvm_rules_hidden(const struct gvm_ruleset *rs, struct gvm_hidden_rule *out, size_t cap);

#endif
