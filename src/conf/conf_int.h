/* conf/conf_int.h - what the files of this room share: the context of one load and its field
 * tables. */
#ifndef GVM_CONF_INT_H
#define GVM_CONF_INT_H

#include <sys/types.h>
#include "conf/conf.h"
#include "conf/toml_shim.h"

#define CONF_MAX_PATTERN 4096u   /* bytes of one pattern */
#define CONF_MAX_VALUE   8192u   /* bytes of one credential value */
#define CONF_MAX_PEM     16384u  /* bytes of a client certificate with its chain, or of its key */
#define CONF_MAX_LIST    1024u   /* elements of a list other than rules */
#define CONF_MAX_DELAY   600000u /* milliseconds */

struct conf_ctx {
    const char *label; /* stands for the file name in errors */
    const char *base;  /* where relative paths start, NULL = current directory */
    bool loose;        /* the file may be read by others: a plain secret in it is refused */
    mode_t mode;
    struct gvm_conf *c;
    struct gvm_err *err;
};

/* One key of a table: which types it may have and what is done with it. `later` marks keys that
 * have a meaning which this version cannot enforce; they are refused with their own sentence. */
struct conf_field {
    const char *key;
    uint32_t types;
    int (*set)(struct conf_ctx *x, const struct conf_node *v, void *obj);
    bool later;
};

/* Sets the error "label:line:col: ..." and returns -EINVAL. */
int conf_bad(struct conf_ctx *x, uint32_t line, uint32_t col, const char *fmt, ...)
    GVM_PRINTF(4, 5);
/* The same at a value. */
#define conf_bad_at(x, v, ...) conf_bad((x), (v)->line, (v)->col, __VA_ARGS__)

/* Every member of `table` goes to its field; `what` names the table in errors ("[policy]"). */
int conf_read_table(struct conf_ctx *x, const struct conf_node *table, const char *what,
                    const struct conf_field *fields, size_t n, void *obj) GVM_MUST_CHECK;
/* The value must be one of `types`; `what` is the key or place. */
int conf_need(struct conf_ctx *x, const struct conf_node *v, const char *what,
              uint32_t types) GVM_MUST_CHECK;

/* Text of a STRING node as a view, copied into the arena. Control bytes, an empty text and more
 * than `max` bytes are refused. */
int conf_text(struct conf_ctx *x, const struct conf_node *v, const char *what, size_t max,
              struct gvm_str *ret) GVM_MUST_CHECK;
struct gvm_str conf_node_str(const struct conf_node *v);
struct gvm_str conf_key_str(const struct conf_node *v);
unsigned conf_children(const struct conf_node *v);
/* Copies into the arena; p == NULL when out of memory. */
struct gvm_str conf_dup(struct conf_ctx *x, struct gvm_str s);
/* Has the text a control character (C0, DEL, or C1 in UTF-8)? */
bool conf_has_control(struct gvm_str s, size_t *ret_off);
/* An exact host in its canonical form: lower-case name (trailing dot off) or plain IP text. */
int conf_host(struct conf_ctx *x, const struct conf_node *at, struct gvm_str text, const char *what,
              struct gvm_str *ret) GVM_MUST_CHECK;

/* "Deny" ... to the enum; false when the name is unknown. */
bool conf_decision_parse(struct gvm_str name, enum gvm_decision *ret);
/* A table {type, milliseconds, reason} or a plain name. */
int conf_read_decision(struct conf_ctx *x, const struct conf_node *v, const char *what,
                       struct gvm_conf_decision *ret) GVM_MUST_CHECK;
/* ---- the policy text ---- */

/* One text while it is read. */
struct conf_dec {
    struct gvm_conf *c;
    struct gvm_err *err;
};
int conf_dec_bad(struct conf_dec *d, const char *what);
int conf_take_str(struct conf_dec *d, const struct gvm_json *v, size_t max,
                  struct gvm_str *ret) GVM_MUST_CHECK;
int conf_take_array(struct conf_dec *d, const struct gvm_json *v, size_t max, size_t size,
                    void **ret, uint32_t *ret_n) GVM_MUST_CHECK;
int conf_take_list(struct conf_dec *d, const struct gvm_json *v, size_t max, size_t max_text,
                   struct gvm_str **ret, uint32_t *ret_n) GVM_MUST_CHECK;
int conf_take_decision(struct conf_dec *d, const struct gvm_json *o,
                       struct gvm_conf_decision *ret) GVM_MUST_CHECK;
void conf_put_decision(struct gvm_jw *w, const char *key, const struct gvm_conf_decision *d);
/* policy_narrow.c */
void conf_put_narrow(struct gvm_jw *w, const struct gvm_conf_narrow *n);
int conf_take_narrow(struct conf_dec *d, const struct gvm_json *o,
                     struct gvm_conf_narrow **ret) GVM_MUST_CHECK;

/* ---- rules ---- */

/* One rule while it is read. */
struct conf_rule_in {
    struct gvm_conf_rule *r;
    struct gvm_str name, description, label, reason;
    bool have_method, have_decision;
    const struct conf_node *agent, *principal, *protocol;
    /* the first key of each kind that narrows the rule, NULL when there is none */
    const struct conf_node *by_request, *by_body, *by_ws, *on_limit, *unverifiable, *max_body;
};

/* A list of texts, or one: at least one. */
int conf_read_texts(struct conf_ctx *x, const struct conf_node *v, const char *what, size_t max,
                    struct gvm_conf_texts *ret) GVM_MUST_CHECK;
/* One test or a list of them; `path`: each names a JSON path instead of a field. */
int conf_read_tests(struct conf_ctx *x, const struct conf_node *v, bool path,
                    struct gvm_conf_tests *ret) GVM_MUST_CHECK;
/* The fields of a rule that narrow it (narrow.c). */
extern const struct conf_field conf_narrow_fields[];
extern const size_t conf_nnarrow_fields;
/* After all keys of the rule were read: do they go together? */
int conf_check_narrow(struct conf_ctx *x, const struct conf_node *v,
                      struct conf_rule_in *in) GVM_MUST_CHECK;
/* "60/min", "10MB/h". */
int conf_parse_limit(struct gvm_str s, uint64_t *ret, bool *ret_bytes,
                     uint32_t *ret_ms) GVM_MUST_CHECK;
/* zone.c: a zone by its name out of the system's files. */
int conf_read_zone(struct conf_ctx *x, const struct conf_node *v, struct gvm_str name,
                   struct gvm_conf_zone *ret) GVM_MUST_CHECK;

/* The array [[rules]]. */
int conf_read_rules(struct conf_ctx *x, const struct conf_node *v, void *obj) GVM_MUST_CHECK;
/* The table [credentials]. */
int conf_read_credentials(struct conf_ctx *x, const struct conf_node *v, void *obj) GVM_MUST_CHECK;
/* [audit] export, export_every and [audit.timestamp]. */
int conf_set_export(struct conf_ctx *x, const struct conf_node *v, void *obj) GVM_MUST_CHECK;
int conf_set_export_every(struct conf_ctx *x, const struct conf_node *v, void *obj) GVM_MUST_CHECK;
int conf_read_timestamp(struct conf_ctx *x, const struct conf_node *v, void *obj) GVM_MUST_CHECK;
/* Content of a file of certificates that the configuration names, checked to be such. */
int conf_read_ca_file(struct conf_ctx *x, const struct conf_node *v,
                      struct gvm_str *ret) GVM_MUST_CHECK;
/* [filesystem], [sandbox], [seccomp] */
int conf_read_filesystem(struct conf_ctx *x, const struct conf_node *v, void *obj) GVM_MUST_CHECK;
int conf_read_sandbox(struct conf_ctx *x, const struct conf_node *v, void *obj) GVM_MUST_CHECK;
int conf_read_seccomp(struct conf_ctx *x, const struct conf_node *v, void *obj) GVM_MUST_CHECK;
/* The whole document. */
int conf_read_document(struct conf_ctx *x, const struct conf_node *root) GVM_MUST_CHECK;
/* Path of a file the configuration names: relative to base, "~/" to $HOME. */
int conf_resolve(struct conf_ctx *x, const struct conf_node *at, struct gvm_str text,
                 char dst[GVM_PATH_MAX]) GVM_MUST_CHECK;

/* The directory of `path`, for what it names relative to itself. */
int conf_base(const char *path, char dst[GVM_PATH_MAX], struct gvm_err *err) GVM_MUST_CHECK;
/* Checks and parses a TOML text. */
int conf_parse_text(struct conf_ctx *x, struct gvm_str text, struct conf_toml **ret,
                    const struct conf_node **ret_root) GVM_MUST_CHECK;
/* An empty configuration with every default. */
int conf_new(size_t max, struct gvm_conf **ret, struct gvm_err *err) GVM_MUST_CHECK;
/* Fills c->hash from its policy text. */
int conf_fill_hash(struct gvm_conf *c, struct gvm_err *err) GVM_MUST_CHECK;

#endif
