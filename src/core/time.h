/* core/time.h - clocks and RFC 3339 text. */
#ifndef GVM_CORE_TIME_H
#define GVM_CORE_TIME_H

#include <stdint.h>
#include "core/err.h"
#include "core/str.h"

#define GVM_TIME_TEXT 31 /* "2026-11-23T23:13:00.123456789Z" and NUL */

/* Nanoseconds since 1970 UTC, and of a clock that never steps. */
int64_t gvm_now_ns(void);
int64_t gvm_mono_ns(void);
/* UTC with nine fractional digits. */
void gvm_time_text(char dst[GVM_TIME_TEXT], int64_t ns);
/* Any RFC 3339 date-time with offset; -EINVAL. */
int gvm_time_parse(struct gvm_str text, int64_t *ret_ns) GVM_MUST_CHECK;

#endif
