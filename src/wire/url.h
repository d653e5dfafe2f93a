/* wire/url.h - one canonical form for authority and path; what is matched is what is forwarded.
 *
 * Authority (RFC 3986 host[:port], no userinfo): lower case, IDN to A-labels (UTS 46), one trailing
 * dot off, every IPv4/IPv6 spelling to its plain text, labels 1..63 of [a-z0-9_-], total <= 253.
 * Path: percent-decode unreserved bytes to a fixed point, upper-case the remaining escapes, "\" and
 * "//" to "/", "..;" parameters before dot segments removed, dot segments resolved. NUL, controls and
 * an encoded slash or backslash that would change segments are refused.
 */
#ifndef GVM_WIRE_URL_H
#define GVM_WIRE_URL_H

#include "core/core.h"
#include "wire/ip.h"

struct gvm_authority {
    char host[GVM_MAX_HOST + 1]; /* canonical, NUL-ended; IPv6 without brackets */
    bool is_ip;
    struct gvm_ip ip;            /* when is_ip */
    uint16_t port;               /* 0 = none given */
};

/* -EINVAL with a reason in `err` (userinfo, bad byte, empty label, bad port ...). */
int gvm_authority_parse(struct gvm_str text, struct gvm_authority *ret, struct gvm_err *err)
    GVM_MUST_CHECK;
/* "host", "host:port", "[v6]:port"; port left out when 0 or the scheme's own. */
int gvm_authority_format(const char *host, uint16_t port, bool tls, struct gvm_buf *out) GVM_MUST_CHECK;

/* `target` is origin-form ("/p?q"). Appends the canonical path to `path` and the query (without '?',
 * bytes as given after checking for controls and spaces) to `query`; *ret_has_query tells "?" was there.
 * Property: canon(canon(x)) == canon(x). */
int gvm_target_canon(struct gvm_str target, struct gvm_buf *path, struct gvm_buf *query,
                     bool *ret_has_query, struct gvm_err *err) GVM_MUST_CHECK;

/* Absolute-form "http://authority/path?query" into its parts (views). *ret_tls for https/wss. */
int gvm_absolute_split(struct gvm_str url, bool *ret_tls, struct gvm_str *ret_authority,
                       struct gvm_str *ret_target, struct gvm_err *err) GVM_MUST_CHECK;

#endif
