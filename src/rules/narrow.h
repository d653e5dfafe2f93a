/* rules/narrow.h - the compiled form of what narrows a rule beyond its head, and how it is judged.
 *
 * A body may hold many calls (a batch, several fields of one mutation, several refs of a push), and
 * a rule may be true of some and not of others. Judging therefore gives three bits:
 *
 *   all     true of everything in the request that it speaks of: the rule matches
 *   some    true of a part: a floor. The search goes on, and the verdict is at least as strict as
 *           this rule. (So a Deny for one call of a batch denies the batch, and an Allow for one
 *           call does not allow the others.)
 *   blind   it cannot be seen whether it is true: the rule's `unverifiable`
 *
 * `some` is what a lax reader might see (names in another case, a batch, a base64 wrapping), `all`
 * only what every reader sees.
 */
#ifndef GVM_RULES_NARROW_H
#define GVM_RULES_NARROW_H

#include "body/body.h"
#include "rules/rules_int.h"

struct rules_test {
    struct gvm_str name;
    struct gvm_json_path path;
    enum gvm_op op;
    const struct gvm_conf_value *values;
    uint32_t nvalues;
    pcre2_code **regex; /* one per value, for GVM_OP_REGEX */
};

struct rules_tests {
    struct rules_test *list;
    uint32_t n;
};

struct rules_narrow {
    struct gvm_conf_narrow conf; /* copied, texts too, but for the tests */
    struct rules_tests query, header, body, form, mcp_args, ws_json;
    struct gvm_json_path payload_deep, payload_top; /* "$..field" and "$.field" */
    size_t max_body;
    bool needs_body; /* something in it looks at the body */
};

struct rules_seen {
    bool all, some, blind; /* all goes with some */
    bool failed;           /* a regex could not be run to its end */
    const char *why;       /* blind: a static text */
};

/* narrow_compile.c: NULL in *ret when the rule has none. */
int rules_narrow_compile(struct gvm_ruleset *rs, const struct gvm_conf_rule *c,
                         struct rules_narrow **ret, struct gvm_err *err) GVM_MUST_CHECK;
void rules_narrow_free(struct rules_narrow *n);

/* narrow_same.c */
bool rules_narrow_same(const struct rules_narrow *a, const struct rules_narrow *b);

/* Compiles with the options every expression here has; `what` names it in errors. */
int rules_regex_compile(struct gvm_str text, const char *what, pcre2_code **ret,
                        struct gvm_err *err) GVM_MUST_CHECK;

/* zone.c: seconds east of UTC at an instant. */
int64_t rules_zone_offset(const struct gvm_conf_zone *z, int64_t secs);

/* narrow_match.c */
bool rules_in_window(const struct rules_narrow *n, int64_t now_ns);
/* Everything but the window. The body is looked at when the facts have one. */
void rules_narrow_judge(struct rules_query *q, const struct rules_narrow *n, bool permissive,
                        struct rules_seen *ret);

/* narrow_test.c: one value against one test. `type` is the value's own. */
enum rules_fit { RULES_MISS = 0, RULES_FITS, RULES_MAYBE, RULES_BLIND, RULES_FAILED };
enum rules_fit rules_test_text(struct rules_query *q, const struct rules_test *t, struct gvm_str s);
enum rules_fit rules_test_json(struct rules_query *q, const struct rules_test *t,
                               const struct gvm_json *v);
/* Does any pattern of the list match? An empty list matches everything. */
bool rules_any_glob(const struct gvm_conf_texts *globs, struct gvm_str s);

/* Several values, calls or refs, each with its own answer. */
struct rules_tally {
    unsigned exact, loose; /* how many were seen */
    bool any, every, blind, failed;
    const char *why;
};
void rules_tally_start(struct rules_tally *t);
void rules_tally_add(struct rules_tally *t, enum rules_fit fit, bool loose);
void rules_tally_end(const struct rules_tally *t, struct rules_seen *ret);
/* What is left of a tally for an op that counts values instead of comparing them. */
void rules_tally_op(const struct rules_tally *t, enum gvm_op op, struct rules_seen *ret);

/* All tests against one JSON value. */
void rules_judge_json(struct rules_query *q, const struct rules_tests *t,
                      const struct gvm_json *root, bool loose, struct rules_seen *ret);

/* All tests against the pairs of a form or query. */
void rules_judge_form(struct rules_query *q, const struct rules_tests *t, const struct gvm_form *f,
                      struct rules_seen *ret);
/* Is the request one of these gRPC calls? */
enum rules_fit rules_grpc_fits(const struct gvm_conf_texts *want, const struct gvm_facts *f);
/* Does a path belong to a repository of the list? */
enum rules_fit rules_repository_fits(const struct gvm_conf_texts *want, struct gvm_str path);

/* narrow_body.c: everything that looks at the body; the facts have one. `permissive`: the rule lets
 * requests pass without a person. */
void rules_judge_body(struct rules_query *q, const struct rules_narrow *n, bool permissive,
                      struct rules_seen *ret);

/* Can the rule be true at all? */
static inline bool rules_possible(const struct rules_seen *s)
{
    return s->some || s->blind;
}

/* Both must hold. */
static inline void rules_and(struct rules_seen *into, const struct rules_seen *one)
{
    bool possible = rules_possible(into) && rules_possible(one);
    if (one->blind && !into->blind)
        into->why = one->why;
    into->failed = into->failed || one->failed;
    into->blind = possible && (into->blind || one->blind);
    into->all = into->all && one->all;
    into->some = into->some && one->some;
}

#endif
