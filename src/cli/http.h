/* cli/http.h - requests of our own: heads to where they are kept, requests for timestamps. */
#ifndef GVM_CLI_HTTP_H
#define GVM_CLI_HTTP_H

#include "core/core.h"

/* POSTs `body` and appends the answer's body to `out` (which has a maximum). Certificates are
 * verified; no redirect is followed; 30 s at most. -EPROTO for any status but 2xx. */
int http_post(const char *url, const char *content_type, struct gvm_str body, struct gvm_buf *out,
              struct gvm_err *err) GVM_MUST_CHECK;

#endif
