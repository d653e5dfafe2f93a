/* core/json.h - strict JSON (RFC 8259): a pull reader with offsets, a small tree, a compact writer.
 *
 * The reader accepts exactly RFC 8259 in UTF-8: no comments, no trailing commas or garbage, no lone
 * surrogates, no control bytes in strings, nesting up to GVM_MAX_JSON_DEPTH. It never recurses.
 */
#ifndef GVM_CORE_JSON_H
#define GVM_CORE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/buf.h"
#include "core/err.h"
#include "core/limits.h"
#include "core/mem.h"
#include "core/str.h"

enum gvm_json_type {
    GVM_JSON_END = 0, /* whole text read */
    GVM_JSON_OBJECT,
    GVM_JSON_OBJECT_END,
    GVM_JSON_ARRAY,
    GVM_JSON_ARRAY_END,
    GVM_JSON_KEY,
    GVM_JSON_STRING,
    GVM_JSON_NUMBER,
    GVM_JSON_TRUE,
    GVM_JSON_FALSE,
    GVM_JSON_NULL,
};

/* ---- pull reader ---- */

struct gvm_json_token {
    enum gvm_json_type type;
    struct gvm_str raw; /* the bytes as they stand; strings and keys without the quotes */
    size_t off;         /* offset of the first byte of the token (the quote for strings) */
    bool escaped;       /* raw holds backslash escapes */
};

struct gvm_json_reader {
    const char *p;
    size_t n, pos;
    unsigned depth;
    int failed;                        /* sticky: what every later call returns */
    bool started;                      /* the top value was begun */
    uint8_t stack[GVM_MAX_JSON_DEPTH]; /* state per open container */
};

void gvm_json_open(struct gvm_json_reader *r, struct gvm_str text);
/* Next token, GVM_JSON_END last. -EINVAL malformed, -E2BIG too deep; then r->pos is the place. */
int gvm_json_next(struct gvm_json_reader *r, struct gvm_json_token *ret) GVM_MUST_CHECK;
/* Resolves escapes of a STRING or KEY token and appends UTF-8 to `out`. */
int gvm_json_unescape(struct gvm_str raw, struct gvm_buf *out) GVM_MUST_CHECK;

/* ---- tree, for texts whose whole content is wanted ---- */

struct gvm_json {
    enum gvm_json_type type; /* OBJECT ARRAY STRING NUMBER TRUE FALSE NULL */
    struct gvm_str key;      /* unescaped, when a member of an object */
    struct gvm_str text;     /* STRING: unescaped, NUL behind it; NUMBER: as written */
    struct gvm_str raw;      /* the source bytes of the value (a string without its quotes) */
    struct gvm_json *child;  /* first member or element */
    struct gvm_json *next;   /* sibling */
};

/* Everything is allocated from `a`. Duplicate keys in one object are -EEXIST. */
int gvm_json_parse(struct gvm_arena *a, struct gvm_str text, struct gvm_json **ret,
                   struct gvm_err *err) GVM_MUST_CHECK;
/* Member by key, NULL when absent or `v` is NULL or not an object. */
const struct gvm_json *gvm_json_get(const struct gvm_json *v, const char *key);
/* Value of a string member as NUL-ended text; `dflt` when absent, of another type, or holding a NUL
 * itself (which would cut it short). */
const char *gvm_json_text(const struct gvm_json *v, const char *key, const char *dflt);
/* Value of a whole-number member; `dflt` when absent, fractional or past int64. */
int64_t gvm_json_int(const struct gvm_json *v, const char *key, int64_t dflt);
bool gvm_json_bool(const struct gvm_json *v, const char *key, bool dflt);

/* ---- writer: compact, one line, members in the order given ---- */

struct gvm_jw {
    struct gvm_buf *out; /* errors are sticky in out->failed */
    bool comma;
    size_t start; /* content of `out` before the first byte of this text */
};

void gvm_jw_init(struct gvm_jw *w, struct gvm_buf *out);
void gvm_jw_object(struct gvm_jw *w); /* { */
void gvm_jw_object_end(struct gvm_jw *w);
void gvm_jw_array(struct gvm_jw *w); /* [ */
void gvm_jw_array_end(struct gvm_jw *w);
void gvm_jw_key(struct gvm_jw *w, const char *key);
/* Escapes control characters (C0, DEL, C1), quotes, backslash and U+2028/9; a byte that is not
 * UTF-8 becomes U+FFFD. */
void gvm_jw_str(struct gvm_jw *w, struct gvm_str s);
void gvm_jw_strz(struct gvm_jw *w, const char *z);
void gvm_jw_int(struct gvm_jw *w, int64_t v);
void gvm_jw_uint(struct gvm_jw *w, uint64_t v);
void gvm_jw_bool(struct gvm_jw *w, bool v);
void gvm_jw_null(struct gvm_jw *w);
/* Bytes that are JSON already. */
void gvm_jw_raw(struct gvm_jw *w, struct gvm_str json);
/* key + value in one call. The string forms skip nothing: NULL writes null. */
void gvm_jw_kstr(struct gvm_jw *w, const char *key, struct gvm_str s);
void gvm_jw_kstrz(struct gvm_jw *w, const char *key, const char *z);
void gvm_jw_kint(struct gvm_jw *w, const char *key, int64_t v);
void gvm_jw_kbool(struct gvm_jw *w, const char *key, bool v);

#endif
