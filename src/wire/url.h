/* wire/url.h - one canonical form for authority and path; what is matched is what is forwarded.
 *
 * Authority (RFC 3986 host[:port], no userinfo): lower case, IDN to A-labels (UTS 46), one trailing
 * dot off, every IPv4/IPv6 spelling to its plain text, labels 1..63 of [a-z0-9_-], total <= 253.
 * Path (target.c has the exact rules): escapes of unreserved bytes are decoded to a fixed point,
 * also when "%" itself was escaped any number of times ("%2e", "%252e", "%25%32%65" are "."); other
 * escapes stay, with upper-case digits ("%2F", "%3A", "%FF"; reserved bytes keep their two
 * meanings, RFC 3986 2.2); raw bytes that a path must escape are escaped; "\" and "//" become "/";
 * dot segments, also with parameters ("..;x"), are resolved and never climb above the root. "%252F"
 * (the text "%2F") stays too. Refused: broken escapes, controls plain or escaped, and a path that
 * would show a dot segment, a control or an overlong UTF-8 form of an ASCII byte to a server that
 * decodes it further ("..%2fadmin", "%252e%5c").
 */
#ifndef GVM_WIRE_URL_H
#define GVM_WIRE_URL_H

#include "core/core.h"
#include "wire/ip.h"

struct gvm_authority {
    char host[GVM_MAX_HOST + 1]; /* canonical, NUL-ended; IPv6 without brackets */
    bool is_ip;
    struct gvm_ip ip; /* when is_ip */
    uint16_t port;    /* 0 = none given */
};

/* -EINVAL with a reason in `err` (userinfo, bad byte, empty label, bad port ...). */
int gvm_authority_parse(struct gvm_str text, struct gvm_authority *ret,
                        struct gvm_err *err) GVM_MUST_CHECK;
/* "host", "host:port", "[v6]:port"; port left out when 0 or the scheme's own. */
int gvm_authority_format(const char *host, uint16_t port, bool tls,
                         struct gvm_buf *out) GVM_MUST_CHECK;

/* `target` is origin-form ("/p?q"); an empty path, as after an authority, is "/". Appends the
 * canonical path to `path` and the query (without '?', bytes as given after checking for controls
 * and spaces) to `query`; *ret_has_query tells "?" was there. -EINVAL malformed, -E2BIG past
 * GVM_MAX_TARGET, -ENOBUFS, -ENOMEM; then nothing was appended. Property: canon(canon(x)) ==
 * canon(x). */
int gvm_target_canon(struct gvm_str target, struct gvm_buf *path, struct gvm_buf *query,
                     bool *ret_has_query, struct gvm_err *err) GVM_MUST_CHECK;

/* The canonical `path` as the most lenient server would read it: every escape decoded, "%2F", "%5C"
 * and
 * "\" as slashes, parameters (";...") and empty segments gone; bytes that a path must escape
 * escaped again. Never forwarded. A verdict that would be Allow for `path` must hold for this
 * reading too, or a Deny for
 * "/admin/users" is dodged by "/admin%2Fusers". Appends to `out`; -ENOMEM, -ENOBUFS. */
int gvm_path_loose(struct gvm_str path, struct gvm_buf *out) GVM_MUST_CHECK;

/* Absolute-form "http://authority/path?query" into its parts (views); the target is "/" when the
 * URL ends behind the authority, and may start with '?'. *ret_tls for https/wss. Neither part is
 * checked. */
int gvm_absolute_split(struct gvm_str url, bool *ret_tls, struct gvm_str *ret_authority,
                       struct gvm_str *ret_target, struct gvm_err *err) GVM_MUST_CHECK;

#endif
