/* body/decimal.h - numbers of JSON compared as what they say, not as what a double keeps of them.
 */
#ifndef GVM_BODY_DECIMAL_H
#define GVM_BODY_DECIMAL_H

#include <stdbool.h>
#include "core/core.h"

/* Is it a number by the grammar of JSON (RFC 8259 6)? */
bool gvm_decimal_valid(struct gvm_str s);

/* Compares two of them: *ret is < 0, 0, > 0. -ERANGE when programs read one of them differently in
 * a way that could matter: more than 17 significant digits, or a magnitude outside 1e-300..1e300
 * (an int64, a double and a decimal reader then disagree). -EINVAL: one is no number. */
int gvm_decimal_compare(struct gvm_str a, struct gvm_str b, int *ret) GVM_MUST_CHECK;

#endif
