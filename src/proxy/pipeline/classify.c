/* What protocol do these first bytes begin? TLS by its record type, HTTP/1 by a method token and a
 * space, HTTP/2 by its preface; everything else is opaque. */
#include "proxy/pipeline/px.h"

/* RFC 9110 5.6.2 tchar */
static bool is_token(unsigned char c)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && memchr(others, c, sizeof others - 1));
}

/* Protocols whose greeting has a token and a space, too. */
static bool is_known_other(struct gvm_str in)
{
    static const struct gvm_str greetings[] = {{"SSH-", 4}, {"EHLO ", 5}, {"HELO ", 5}};
    for (size_t i = 0; i < sizeof greetings / sizeof *greetings; i++)
        if (gvm_str_starts(in, greetings[i]))
            return true;
    return false;
}

enum px_proto px_classify(struct gvm_str in)
{
    if (!in.n)
        return PX_PROTO_MORE;
    if (gvm_tls_looks_like((uint8_t)in.p[0]))
        return PX_PROTO_TLS;
    if (is_known_other(in))
        return PX_PROTO_OPAQUE;
    size_t i = 0;
    while (i < in.n && is_token((unsigned char)in.p[i]))
        i++;
    if (i > GVM_MAX_METHOD)
        return PX_PROTO_OPAQUE;
    if (i == in.n)
        return PX_PROTO_MORE;
    if (!i || in.p[i] != ' ')
        return PX_PROTO_OPAQUE;
    return gvm_str_starts(in, GVM_STR("PRI ")) ? PX_PROTO_H2 : PX_PROTO_HTTP1;
}
