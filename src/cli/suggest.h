/* cli/suggest.h - from what a run did to rules that allow it.
 *
 *   suggest_learn.c  the ledger -> samples: distinct (method, host, port, path) that no rule
 * decides by name suggest_paths.c  samples of one method on one host -> path patterns
 *   suggest_rules.c  patterns -> rules, and their TOML
 *   suggest_apply.c  TOML -> into the configuration in force, or not at all
 *
 * Everything lies in the arena of struct sug and ends with it.
 */
#ifndef GVM_CLI_SUGGEST_H
#define GVM_CLI_SUGGEST_H

#include "rules/rules.h"

#define SUG_MAX_SAMPLES  100000u /* distinct requests of one run */
#define SUG_MAX_PATTERNS 20u     /* of one host and class; more are taken together */
#define SUG_MAX_METHODS  31u     /* of one host and class */
#define SUG_MAX_SEGMENTS 64u     /* of one path; longer ones are taken together */

/* In the order of the file: what destroys comes first, so that a pattern of ids cannot take it. */
enum sug_class { SUG_DESTROYS, SUG_READS, SUG_WRITES, SUG_OPAQUE };

struct sug_sample {
    struct gvm_str method, host, path;
    uint16_t port; /* 0 when it is the scheme's own */
    enum sug_class class;
    uint64_t seen;
    struct sug_sample *next;
};

struct sug_pattern {
    struct gvm_str path; /* as in a rule; empty = every path */
    uint64_t seen;
};

struct sug_rule {
    struct gvm_str name, pattern;
    struct gvm_str *methods;
    unsigned nmethods;
    enum sug_class class;
    enum gvm_decision decision;
    bool active; /* false: written as a comment, for the owner to take */
    bool private_ok;
    const char *private_note; /* address that was seen, NULL = public */
    uint64_t seen;
};

struct sug {
    struct gvm_arena *arena;
    /* in */
    const struct gvm_conf *conf;
    const struct gvm_ruleset *rs;
    const char *want_run; /* beginning of an id, NULL = the newest */
    enum gvm_decision writes;
    /* learned */
    char run[GVM_MAX_RUN_ID + 1], agent[GVM_MAX_AGENT + 1];
    struct sug_sample *samples;
    size_t nsamples;
    uint64_t requests, skipped, dropped;
    struct gvm_map *known;     /* key of a sample -> it */
    struct gvm_map *addresses; /* host -> private address it had (text) */
    struct gvm_map *ids;       /* request id -> host, until its outcome */
    /* made */
    struct sug_rule *rules;
    size_t nrules;
};

/* Reads the ledger in `dir`. -ENOENT: nothing recorded, or no such run. */
int sug_learn(struct sug *s, const char *dir, struct gvm_err *err) GVM_MUST_CHECK;
/* Puts one request in, as sug_learn() does for each. `agent` is whose it was. */
int sug_add(struct sug *s, const struct gvm_facts *f, struct gvm_err *err) GVM_MUST_CHECK;
void sug_done(struct sug *s);
/* Is it the rule at the end that takes whatever is left? Those do not decide by name. */
bool sug_is_catch_all(const struct gvm_conf_rule *r);

/* Paths of one host, class and method to patterns (array from `a`), most general form of ids first
 * merged. Each given path matches one of them. */
int sug_generalise(struct gvm_arena *a, const struct sug_sample *const *samples, size_t n,
                   struct sug_pattern **ret, size_t *ret_n, struct gvm_err *err) GVM_MUST_CHECK;
/* Looks like an id, a number, a hash, a date, a token? */
bool sug_is_id(struct gvm_str segment);

/* Fills s->rules from s->samples. */
int sug_make_rules(struct sug *s, struct gvm_err *err) GVM_MUST_CHECK;
/* Appends one rule as TOML, commented out when it is not active. */
void sug_write_rule(const struct sug_rule *r, struct gvm_buf *out);
/* Head comment and all rules. Those not active are left out when `known` has their name already. */
void sug_write(const struct sug *s, struct gvm_str known, struct gvm_buf *out);

/* How many sug_write() would write. */
size_t sug_count_new(const struct sug *s, struct gvm_str known);

/* Puts the rules into the file at `path` (created with its directories when it is missing): behind
 * the rules that are there, before the first that takes whatever is left. The result is loaded
 * before it replaces the file; on failure the file is as it was. *ret_n: rules that now hold more.
 */
int sug_apply(const struct sug *s, const char *path, size_t *ret_n,
              struct gvm_err *err) GVM_MUST_CHECK;

#endif
