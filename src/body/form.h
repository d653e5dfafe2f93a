/* body/form.h - name and value pairs: queries, urlencoded forms (WHATWG URL 5.1), multipart forms
 * (RFC 7578).
 */
#ifndef GVM_BODY_FORM_H
#define GVM_BODY_FORM_H

#include <stdbool.h>
#include "core/core.h"

struct gvm_pair {
    struct gvm_str name, value; /* decoded */
    bool loose;                 /* only a laxer reader sees this pair (";" as a separator) */
};

struct gvm_form {
    struct gvm_pair *pairs;
    size_t n;
};

/* "a=1&b=two+words": '+' is a space, broken escapes stay as they are. Memory from `a`, text may go.
 * -E2BIG past GVM_MAX_FORM pairs, -ENOMEM. */
int gvm_form_urlencoded(struct gvm_arena *a, struct gvm_str text, struct gvm_form *ret,
                        struct gvm_err *err) GVM_MUST_CHECK;

/* A whole multipart/form-data body. `type` is the Content-Type with its boundary. Parts that are
 * files count with their content as the value. Views into `body` where possible. -EINVAL: not
 * well-formed (a missing or doubled name, bytes around the parts, a transfer encoding, a name that
 * readers decode differently); -E2BIG, -ENOMEM. */
int gvm_form_multipart(struct gvm_arena *a, struct gvm_str type, struct gvm_str body,
                       struct gvm_form *ret, struct gvm_err *err) GVM_MUST_CHECK;

/* The media type of a Content-Type in lower case without parameters, cut to `cap`; "" when none. */
void gvm_media_type(struct gvm_str content_type, char *dst, size_t cap);

#endif
