/* conf - gvm.toml becomes structs. Every error names file:line:column.
 *
 * Owns:       the parsed file, in one arena.
 * Threads:    none of its own; a loaded configuration is read-only.
 * On failure: the whole file is refused; nothing half-loaded is ever returned.
 *
 * The TOML grammar is toml++ behind toml_shim.cc; meaning is given by the field tables in fields.c.
 * Unknown keys are errors. The text form a proxy gets (no secrets) is in policy.h.
 */
#ifndef GVM_CONF_H
#define GVM_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include "core/core.h"

#define GVM_MAX_POLICY (64u << 20) /* policy text, bytes */

enum gvm_decision { /* the zero value denies */
                    GVM_DENY = 0,
                    GVM_REQUIRE_APPROVAL,
                    GVM_DELAY,
                    GVM_AUDIT_ONLY,
                    GVM_ALLOW,
};
/* "Deny", "RequireApproval", "Delay", "AuditOnly", "Allow". */
const char *gvm_decision_name(enum gvm_decision d);

struct gvm_conf_decision {
    enum gvm_decision type;
    uint32_t delay_ms; /* for GVM_DELAY, 1..600000; default 300 */
    struct gvm_str reason;
};

/* GVM_PROTO_WS: a message on a WebSocket; rules get it by their `ws`. */
enum gvm_protocol { GVM_PROTO_HTTP = 0, GVM_PROTO_TCP, GVM_PROTO_WS };

/* ---- what narrows a rule beyond method, host and path ---- */

enum gvm_op {
    GVM_OP_EQ = 0,
    GVM_OP_NE,
    GVM_OP_LT,
    GVM_OP_LE,
    GVM_OP_GT,
    GVM_OP_GE,
    GVM_OP_GLOB,
    GVM_OP_REGEX,
    GVM_OP_EXISTS,
    GVM_OP_ABSENT,
    GVM_OPS,
};
/* "=", "!=", "<", "<=", ">", ">=", "glob", "regex", "exists", "absent". */
const char *gvm_op_name(enum gvm_op op);

enum gvm_value_type { GVM_VALUE_STRING = 0, GVM_VALUE_NUMBER, GVM_VALUE_BOOL, GVM_VALUE_TYPES };
struct gvm_conf_value {
    enum gvm_value_type type;
    struct gvm_str text; /* a string itself; a number as JSON writes it; "true", "false" */
};

struct gvm_conf_texts {
    struct gvm_str *list;
    uint32_t n;
};

/* One comparison; it holds when it holds for any of the values (for "!=": for none). */
struct gvm_conf_test {
    struct gvm_str name; /* a JSON path, or the name of a field */
    enum gvm_op op;
    struct gvm_conf_value *values;
    uint32_t nvalues;
    uint32_t line, col; /* for errors; 0 after gvm_policy_decode() */
};
struct gvm_conf_tests {
    struct gvm_conf_test *list;
    uint32_t n;
};

enum gvm_tri { GVM_EITHER = 0, GVM_YES, GVM_NO };

/* A time zone without files: changes from 2000 on, then a POSIX rule (RFC 9636 3.3). */
struct gvm_conf_zone {
    struct gvm_str name; /* "Europe/Berlin" */
    int64_t *from;       /* seconds since 1970, ascending */
    int32_t *offset;     /* seconds east of UTC from then on */
    uint32_t n;
    int32_t first;       /* before from[0] */
    struct gvm_str rule; /* "CET-1CEST,M3.5.0,M10.5.0/3"; "" when the last offset stays */
};

enum { GVM_WS_SEND = 1, GVM_WS_RECEIVE = 2 };

/* NULL in a rule that has none of it. Empty lists ask for nothing. */
struct gvm_conf_narrow {
    struct gvm_conf_tests query, header, body, form;
    bool graphql, mcp, git, ws;
    struct gvm_conf_texts graphql_operation;           /* "query", "mutation", "subscription" */
    struct gvm_conf_texts graphql_name, graphql_field; /* globs */
    struct gvm_conf_texts mcp_method, mcp_tool;
    struct gvm_conf_tests mcp_args;
    struct gvm_conf_texts git_push, git_repo;
    struct gvm_conf_texts grpc; /* globs over "package.Service/Method" */
    enum gvm_tri git_force, git_delete;
    unsigned ws_direction; /* bits of GVM_WS_* */
    struct gvm_conf_texts ws_text;
    struct gvm_conf_tests ws_json;
    /* the prior program's */
    struct gvm_str payload_field;
    struct gvm_conf_texts payload_match, payload_alias;
    /* a window of the day, in minutes */
    bool has_window, outside;
    uint16_t from, to; /* from > to: over midnight */
    struct gvm_conf_zone zone;
    /* how much, and what then */
    uint64_t limit; /* requests, or bytes; 0 = no limit */
    bool limit_bytes;
    uint32_t limit_ms;
    struct gvm_conf_decision on_limit;
    /* a body that cannot be seen */
    bool has_unverifiable, unverifiable_next; /* next: the rule does not match */
    struct gvm_conf_decision unverifiable;
    uint32_t max_body; /* bytes; 0 = GVM_INSPECT */
};

struct gvm_conf_rule {
    struct gvm_str name;     /* never empty: description, label, reason or "rule-<n>" stand in */
    struct gvm_str *methods; /* upper case; nmethods 0 = every method */
    unsigned nmethods;
    struct gvm_str pattern;    /* as written: host[:port][/path] */
    struct gvm_str path_regex; /* empty = none */
    struct gvm_str agent;      /* glob, empty = any */
    int64_t expires_ns;        /* 0 = never; rule is dead when now >= expires */
    bool private_ok;           /* may reach private addresses */
    bool intercept;            /* false: opaque TLS tunnel by name */
    enum gvm_protocol protocol;
    struct gvm_conf_decision decision;
    struct gvm_conf_narrow *narrow; /* NULL = head only */
    uint32_t line;                  /* of [[rules]] in the file, from 1 */
    /* Where pattern and path_regex stand, for errors; 0 after gvm_policy_decode(). */
    uint32_t pattern_line, pattern_col, regex_line, regex_col;
};

enum gvm_cred_type { GVM_CRED_BEARER, GVM_CRED_API_KEY, GVM_CRED_CERTIFICATE };
struct gvm_conf_credential {
    struct gvm_str host; /* canonical */
    enum gvm_cred_type type;
    struct gvm_str header; /* ApiKey: header name, default "x-api-key"; Bearer: "authorization" */
    struct gvm_str value;  /* resolved from plain text, env:NAME, file:PATH; "" for a certificate */
    struct gvm_str identity; /* PEM of a client certificate and its key, "" = none */
};

struct gvm_conf_pin { /* [upstream.resolve] */
    struct gvm_str host;
    struct gvm_str address; /* numeric IP */
    uint16_t port;          /* 0 = as asked */
};

struct gvm_conf_log {       /* [audit] of the daemon's own file; 0 = not said */
    uint64_t segment_bytes; /* a segment of the log is closed at this size */
    uint64_t keep_bytes;    /* closed segments go, oldest first, beyond this size */
    uint64_t keep_ms;       /* ... and when they are older */
    uint64_t verify_ms;     /* between two verifications in the background */
    bool verify_off;
};

struct gvm_conf_timeouts { /* milliseconds */
    uint32_t head, connect, tls, first_byte, idle, approval;
    uint32_t pool_idle, pool_life; /* of a connection to a server: unused; in all */
};

#define GVM_MAX_EXPORTS 8u
/* Where heads of the record are kept besides here. Not part of the policy text. */
struct gvm_conf_anchor {
    struct gvm_str export[GVM_MAX_EXPORTS]; /* file:/PATH, command:/PROGRAM WORDS, http[s]://... */
    uint32_t nexport;
    uint32_t export_ms;    /* default 10 minutes */
    struct gvm_str ts_url; /* RFC 3161 authority, "" = none */
    struct gvm_str ts_ca;  /* PEM of its certificates, "" = not checked */
    uint32_t ts_ms;        /* default 24 hours */
};

struct gvm_conf {
    struct gvm_str path; /* where it came from, "" for the built-in default */
    char hash[65];       /* SHA-256 of the policy text, hex */
    struct gvm_conf_rule *rules;
    uint32_t nrules;
    struct gvm_conf_decision dflt; /* [policy] default; Delay 300 when absent */
    bool audit_strict;             /* [audit] mode = "strict" */
    struct gvm_conf_log log;       /* not in the policy text: the daemon's alone */
    struct gvm_conf_credential *creds;
    uint32_t ncreds;
    struct gvm_conf_pin *pins;
    uint32_t npins;
    struct gvm_str ca_pem;     /* content of [upstream] ca_file, "" = none */
    struct gvm_str proxy_host; /* [upstream] proxy: canonical name or address */
    uint16_t proxy_port;       /* 0 = none */
    struct gvm_conf_timeouts timeouts;
    struct gvm_conf_anchor anchor;
    struct gvm_str *hide, *reveal; /* [filesystem] extra places, relative to home or workspace */
    uint32_t nhide, nreveal;
    /* [filesystem] which changes land by themselves, wait, or stay behind; and how long what they
     * replaced is kept. Not part of the policy text: the proxy has no use for them. */
    struct gvm_str *review_auto, *review_manual, *review_discard;
    uint32_t nauto, nmanual, ndiscard;
    uint64_t undo_keep_ms; /* 90 days when absent */
    /* What a run's sandbox has besides; the launcher's alone, as written in the file. */
    struct gvm_str *persist, *mounts; /* [filesystem] */
    struct gvm_str *devices;          /* [sandbox] */
    uint32_t npersist, nmounts, ndevices;
    uint64_t grace_ms;      /* [sandbox]; 0 when absent */
    struct gvm_str seccomp; /* [seccomp] profile: "default", "strict" or an absolute path; "" when
                             * absent */
    struct gvm_arena *arena;
};

/* Reads and checks a file. A credential value in the file needs the file's mode to be 0600 (no
 * group, no other). *ret is freed with gvm_conf_free(). Error text: "gvm.toml:12:3: ...". */
int gvm_conf_load(const char *path, struct gvm_conf **ret, struct gvm_err *err) GVM_MUST_CHECK;
/* Same from memory; `label` stands for the file name in errors. `base` (may be NULL) is the
 * directory that relative ca_file and file: paths start from. */
int gvm_conf_parse(struct gvm_str text, const char *label, const char *base, struct gvm_conf **ret,
                   struct gvm_err *err) GVM_MUST_CHECK;
/* What holds when there is no file: no rules, default Delay 300. */
int gvm_conf_default(struct gvm_conf **ret, struct gvm_err *err) GVM_MUST_CHECK;
void gvm_conf_free(struct gvm_conf *c); /* wipes credential values */

/* ---- cases for `gvm test` ---- */

struct gvm_case {
    struct gvm_str name, method, url; /* with tcp: HOST:PORT */
    struct gvm_str agent, fields, body;
    struct gvm_str rule;      /* the rule that should decide; "" = any */
    enum gvm_decision expect; /* when has_expect */
    bool tcp, has_body, has_expect;
    int64_t now_ns; /* 0 = the time of the test */
    uint32_t line;
};

struct gvm_cases {
    struct gvm_case *list;
    uint32_t n;
    struct gvm_str rules; /* the file they are for, as a path; "" = the one in force */
    struct gvm_conf *owner;
};

/* Reads a file of cases; all or nothing. Free with gvm_cases_free(). */
int gvm_cases_load(const char *path, struct gvm_cases **ret, struct gvm_err *err) GVM_MUST_CHECK;
void gvm_cases_free(struct gvm_cases *cs);

/* The policy text: JSON of everything but credentials; what the proxy gets and what `hash` is over.
 */
int gvm_policy_encode(const struct gvm_conf *c, struct gvm_buf *out) GVM_MUST_CHECK;
int gvm_policy_decode(struct gvm_str text, struct gvm_conf **ret,
                      struct gvm_err *err) GVM_MUST_CHECK;
/* The credentials as JSON for `keys`: {"credentials":[{"host","type","header","value","private"}]}.
 */
int gvm_credentials_encode(const struct gvm_conf *c, struct gvm_buf *out) GVM_MUST_CHECK;

#endif
