/* body/decode.h - content codings (RFC 9110 8.4): gzip, deflate, br, zstd and chains of them.
 *
 * Two caps hold against bombs: a size for what comes out, and a ratio of out to in that no honest
 * text reaches.
 */
#ifndef GVM_BODY_DECODE_H
#define GVM_BODY_DECODE_H

#include <stdbool.h>
#include "core/core.h"

/* `codings` is the value of Content-Encoding, applied in the order written and so undone from the
 * last to the first; "" and "identity" leave the bytes as they are. Appends to `out`, at most `max`
 * bytes. -ENOTSUP: an unknown coding, or more than GVM_MAX_CODINGS; -EINVAL: broken, cut short, or
 * with bytes behind its end; -EFBIG: past `max` or the ratio; -ENOMEM. Then *out has no meaning. */
int gvm_decode(struct gvm_str codings, struct gvm_str in, size_t max, struct gvm_buf *out,
               struct gvm_err *err) GVM_MUST_CHECK;

/* The same for the beginning of a body: what `in` gives so far, up to `max`; the end of the input
 * or of the room is no error. */
int gvm_decode_prefix(struct gvm_str codings, struct gvm_str in, size_t max, struct gvm_buf *out,
                      struct gvm_err *err) GVM_MUST_CHECK;

#endif
