#include <errno.h>
#include <string.h>
#include "proxy/upstream/upstream_int.h"

static int parse_port(struct gvm_str text, uint16_t *ret)
{
    uint64_t v = 0;
    int r = gvm_parse_u64(text, 65535, &v);
    if (r < 0 || v == 0)
        return -EINVAL;
    *ret = (uint16_t)v;
    return 0;
}

int endpoint_parse(const char *text, uint16_t dflt, struct endpoint *ret, struct gvm_err *err)
{
    struct gvm_str host = gvm_str(text), port = {NULL, 0};
    struct endpoint e = {.port = dflt};
    if (gvm_ip_parse(host, &e.ip) == 0) {
        *ret = e;
        return 0;
    }
    /* The last colon parts the port off; an IPv6 address stands in brackets then. */
    const char *colon = strrchr(text, ':');
    if (colon) {
        host.n = (size_t)(colon - text);
        port = gvm_str(colon + 1);
    }
    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = (struct gvm_str){host.p + 1, host.n - 2};
    if (gvm_ip_parse(host, &e.ip) < 0 || !colon || parse_port(port, &e.port) < 0)
        return gvm_err_set(err, EINVAL, "\"%s\" is not an address", text);
    *ret = e;
    return 0;
}

/* ::ffff:a.b.c.d is dialled as a.b.c.d by the kernel. */
static struct gvm_ip unmapped(const struct gvm_ip *ip)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    if (ip->family != 6 || memcmp(ip->bytes, prefix, sizeof prefix) != 0)
        return *ip;
    struct gvm_ip v4 = {.family = 4};
    memcpy(v4.bytes, ip->bytes + 12, 4);
    return v4;
}

static bool is_own(const struct endpoint *to, const struct endpoint *own)
{
    if (to->port != own->port)
        return false;
    struct gvm_ip a = unmapped(&to->ip), b = unmapped(&own->ip);
    if (gvm_ip_class(&b) == GVM_IP_UNSPECIFIED) /* listens everywhere: any address could be ours */
        return gvm_ip_class(&a) != GVM_IP_PUBLIC;
    return gvm_ip_eq(&a, &b);
}

static bool class_allowed(enum gvm_ip_class c, bool private_ok, bool pinned)
{
    switch (c) {
    case GVM_IP_PUBLIC:
        return true;
    case GVM_IP_LOOPBACK:
    case GVM_IP_PRIVATE:
    case GVM_IP_LINK_LOCAL:
        return private_ok || pinned;
    case GVM_IP_RESERVED:
        return pinned;
    case GVM_IP_METADATA:
    case GVM_IP_MULTICAST:
    case GVM_IP_UNSPECIFIED:
        break;
    }
    return false;
}

int address_check(const char *host, const struct endpoint *to, bool private_ok, bool pinned,
                  const struct endpoint *refuse, unsigned nrefuse, struct gvm_err *err)
{
    char text[INET6_ADDRSTRLEN];
    gvm_ip_text(&to->ip, text);
    enum gvm_ip_class c = gvm_ip_class(&to->ip);
    if (!class_allowed(c, private_ok, pinned))
        return gvm_err_set(err, EACCES, "%s leads to %s, a %s address", host, text,
                           gvm_ip_class_name(c));
    for (unsigned i = 0; i < nrefuse; i++) {
        if (is_own(to, &refuse[i]))
            return gvm_err_set(err, EACCES, "%s leads to %s port %u, a socket of GVM itself", host,
                               text, to->port);
    }
    return 0;
}
