/* core/str.h - counted text that is not owned, and checked number reading. */
#ifndef GVM_CORE_STR_H
#define GVM_CORE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "core/err.h"

/* A view: `n` bytes at `p`, no NUL promised, owned by somebody else. */
struct gvm_str {
    const char *p;
    size_t n;
};

#define GVM_STR(lit) ((struct gvm_str){(lit), sizeof(lit) - 1})
/* For printf: "%.*s". */
#define GVM_STR_ARG(s) (int)(s).n, (s).p

static inline struct gvm_str gvm_str(const char *z)
{
    return (struct gvm_str){z, z ? strlen(z) : 0};
}

bool gvm_str_eq(struct gvm_str a, struct gvm_str b);
bool gvm_str_eqz(struct gvm_str a, const char *z);
/* ASCII case-insensitive, no locale. */
bool gvm_str_ieq(struct gvm_str a, struct gvm_str b);
bool gvm_str_ieqz(struct gvm_str a, const char *z);
bool gvm_str_starts(struct gvm_str s, struct gvm_str prefix);
bool gvm_str_ends(struct gvm_str s, struct gvm_str suffix);
/* Strips space and tab at both ends (RFC 9110 OWS). */
struct gvm_str gvm_str_trim(struct gvm_str s);
/* Cuts at the first `sep`: *ret_head before it, *s after it. False (and *ret_head = *s, *s empty)
 * when there is none. */
bool gvm_str_cut(struct gvm_str *s, char sep, struct gvm_str *ret_head);
/* Byte offset of `c`, or -1. */
ptrdiff_t gvm_str_find(struct gvm_str s, char c);
/* Shell-like match: '*' any run of bytes, '?' one byte. No recursion; at most
 * pattern.n * text.n steps. */
bool gvm_glob(struct gvm_str pattern, struct gvm_str text);

/* Decimal digits only, no sign, no leading zero beyond "0", at most `max`. -EINVAL or -ERANGE. */
int gvm_parse_u64(struct gvm_str s, uint64_t max, uint64_t *ret) GVM_MUST_CHECK;
/* "250ms", "10s", "5m", "2h", "1d" to milliseconds; a bare "10" is seconds. */
int gvm_parse_duration_ms(struct gvm_str s, uint64_t *ret_ms) GVM_MUST_CHECK;
/* "512", "64k", "10M", "2GiB" (1024-based) to bytes. */
int gvm_parse_size(struct gvm_str s, uint64_t *ret_bytes) GVM_MUST_CHECK;

/* Copies into a fixed array with a NUL; -ENAMETOOLONG and dst untouched if it does not fit. */
int gvm_str_copy(char *dst, size_t cap, struct gvm_str s) GVM_MUST_CHECK;

/* ASCII lower case. */
static inline char gvm_lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char)(c + 32) : c;
}

/* True for well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, <= U+10FFFF). */
bool gvm_utf8_valid(struct gvm_str s);
/* Bytes of the well-formed UTF-8 sequence at the start of `s`; 0 when there is none. */
size_t gvm_utf8_next(struct gvm_str s);

#endif
