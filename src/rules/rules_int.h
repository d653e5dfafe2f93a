/* rules/rules_int.h - the compiled form.
 *
 *   rules[]      one struct rule per rule of the file, in file order: what matching touches, 48
 * bytes infos[]      the rest of each rule: what is copied into a verdict, and what compiling needs
 *   buckets[]    one per distinct host pattern (exact name, suffix, any)
 *   lists[]      runs of rule numbers, ascending: a bucket's `wild` list holds rules that no first
 * path segment excludes; a bucket with many rules also has one list per literal first segment
 *
 * A decision looks at: any.wild, any[first]; for each suffix of the host s.wild, s[first];
 * host.wild, host[first]. Each list is scanned up to the best number found so far, so the smallest
 * matching number, the first match in file order, is found without merging.
 */
#ifndef GVM_RULES_INT_H
#define GVM_RULES_INT_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdatomic.h>
#include "rules/rules.h"

#define RULES_NONE       UINT32_MAX
#define RULES_ANY_METHOD (1u << 31)
/* Backtracking steps of one regex on one path, and kilobytes of heap for the interpreter. */
#define RULES_MATCH_LIMIT 100000u
#define RULES_HEAP_LIMIT  4096u

enum rules_host { RULES_HOST_EXACT, RULES_HOST_SUFFIX, RULES_HOST_ANY };

enum rules_path {
    RULES_PATH_ANY,
    RULES_PATH_EXACT,    /* path == text */
    RULES_PATH_PREFIX,   /* path starts with text */
    RULES_PATH_REST,     /* path == text, or starts with text + "/" */
    RULES_PATH_SEGMENTS, /* segment by segment, some are wildcards */
    RULES_PATH_REGEX,
};

enum rules_tail {
    RULES_TAIL_END,    /* the last segment ends the path */
    RULES_TAIL_PREFIX, /* what remains starts with the last segment's text */
    RULES_TAIL_REST,   /* after the last segment: the end, or "/" and anything */
};

struct rules_segment {
    struct gvm_str text;
    bool any; /* exactly one non-empty segment, whatever it says */
};

enum {
    RULES_HAS_AGENT = 1,
    RULES_HAS_OTHERS = 2,
    RULES_TOTAL_DENY = 4,
    RULES_OPAQUE = 8,
    RULES_NARROW = 16, /* looks further than head and connection: info->narrow */
    RULES_WINDOW = 32, /* holds at some times of the day only */
};

struct rule {
    uint32_t methods; /* bits of rules_method_bit(), or RULES_ANY_METHOD */
    uint16_t port;    /* 0 = every port */
    uint8_t proto, path_kind;
    uint8_t flags, tail;
    uint16_t nsegs;
    uint32_t path_len;
    const char *path;
    union {
        pcre2_code *re;
        const struct rules_segment *segs;
    };
    int64_t expires_ns;
    const struct rule_info *info;
};

struct rules_narrow;

struct rule_info {
    enum rules_host host_kind;
    struct gvm_str host;  /* exact name, or the suffix without its dot */
    struct gvm_str first; /* literal first path segment, p == NULL when there is none */
    struct gvm_str agent, regex;
    const struct gvm_str *others; /* methods without a bit */
    uint32_t nothers;
    enum gvm_decision decision;
    uint32_t delay_ms, line;
    bool private_ok, intercept;
    struct gvm_str name, reason;
    struct rules_narrow *narrow;   /* NULL: none */
    const struct gvm_limit *limit; /* NULL: none */
};

struct rules_list {
    uint32_t off, n; /* run in ruleset.numbers */
};

struct rules_bucket {
    struct gvm_str host;
    enum rules_host kind;
    uint32_t nfirst; /* rules with a literal first segment */
    bool split;      /* those are in lists of their own */
    struct rules_list wild;
};

/* A bucket's rules with one first segment. */
struct rules_branch {
    uint32_t bucket;
    struct gvm_str first;
    struct rules_list list;
};

struct rules_slot {
    uint32_t hash, id; /* id + 1, 0 = free */
};

/* Open addressing, a power of two of slots, at most half full. */
struct rules_table {
    struct rules_slot *slots;
    uint32_t mask;
};

/* What one regex match needs. JIT code gets its own stack, so a deep pattern cannot overflow ours.
 */
struct rules_scratch {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

struct gvm_ruleset {
    struct gvm_arena *arena;
    struct rule *rules;
    struct rule_info *infos;
    uint32_t nrules;
    struct rules_bucket *buckets;
    uint32_t nbuckets, any; /* `any`: its bucket, RULES_NONE when no rule is for any host */
    struct rules_branch *branches;
    uint32_t nbranches;
    struct rules_table hosts, firsts;
    uint64_t suffix_lens[4]; /* bit n: some suffix is n bytes long */
    uint32_t *numbers;
    bool any_opaque, any_ws;
    uint32_t bad_line, bad_col; /* while compiling: where a test is that was refused */
    struct gvm_conf_decision dflt;
    /* One scratch for all; who finds it taken makes one for the moment. */
    struct rules_scratch *scratch;
    atomic_flag scratch_taken;
};

/* doh.c: does an HTTP request ask a resolver for a name? */
bool rules_is_doh(const struct gvm_facts *f);

/* pattern.c: fills host and path of `info` and `rule`. `err` gets the bare reason. */
int rules_pattern_compile(struct gvm_arena *a, struct gvm_str pattern, bool with_path,
                          struct rule *rule, struct rule_info *info,
                          struct gvm_err *err) GVM_MUST_CHECK;

/* index.c */
int rules_index_build(struct gvm_ruleset *rs) GVM_MUST_CHECK;
/* Calls `see` for every list that can hold rules for host and first segment (first.p == NULL: only
 * wild lists). Stops when it returns false. */
struct rules_walk {
    bool (*see)(void *ctx, const uint32_t *numbers, uint32_t n);
    void *ctx;
};
void rules_index_walk(const struct gvm_ruleset *rs, struct gvm_str host, struct gvm_str first,
                      const struct rules_walk *w);

/* match.c */
uint32_t rules_method_bit(struct gvm_str method); /* 0 when it has none */
struct gvm_str rules_first_segment(struct gvm_str path);
/* Everything but the host and what narrows the rule further: 1 matches, 0 does not, -1 a regex
 * failed (which counts as a match that denies). `bit` is rules_method_bit(f->method). */
struct rules_query {
    struct gvm_ruleset *rs;
    const struct gvm_facts *f;
    uint32_t bit;
    struct rules_scratch *scratch; /* taken at the first regex, given back by rules_query_done() */
    bool own_scratch;
};
int rules_match(struct rules_query *q, const struct rule *r);
/* 1 found, 0 not, -1 stopped. */
int rules_regex_match(struct rules_query *q, const pcre2_code *re, struct gvm_str s);
bool rules_match_host(const struct rule_info *info, struct gvm_str host);
/* Port, agent and expiry only: may this rule concern such a connection at all? */
bool rules_match_connection(const struct rule *r, const struct gvm_facts *f);
bool rules_match_segments(const struct rule *r, struct gvm_str path);
void rules_query_done(struct rules_query *q);
struct rules_scratch *rules_scratch_new(void);
void rules_scratch_free(struct rules_scratch *s);

#endif
