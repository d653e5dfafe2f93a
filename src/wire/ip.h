/* wire/ip.h - addresses: every spelling to one form, and which of them are not the public net. */
#ifndef GVM_WIRE_IP_H
#define GVM_WIRE_IP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "core/core.h"

/* An address in its plainest form: an IPv4 hidden in IPv6 (mapped, compatible, NAT64 64:ff9b::/96
 * and 64:ff9b:1::/48, 6to4, ISATAP-like) is reported by gvm_ip_class() as what it hides. */
struct gvm_ip {
    uint8_t family;    /* 4 or 6; 0 = none */
    uint8_t bytes[16]; /* 4 used for IPv4 */
};

enum gvm_ip_class {
    GVM_IP_PUBLIC = 0,
    GVM_IP_UNSPECIFIED,
    GVM_IP_LOOPBACK,
    GVM_IP_PRIVATE, /* RFC 1918, RFC 6598, ULA, site-local, 198.18/15 and other special-use */
    GVM_IP_LINK_LOCAL,
    GVM_IP_METADATA, /* 169.254.169.254, fd00:ec2::254, 168.63.129.16, 100.100.100.200 ... */
    GVM_IP_MULTICAST,
    GVM_IP_RESERVED, /* 240/4, documentation, discard, IPv6 outside 2000::/3 ... */
};
const char *gvm_ip_class_name(enum gvm_ip_class c);
/* Class after unwrapping every v4-in-v6 form; the strictest of outer and inner, in the order
 * metadata, loopback, link-local, unspecified, multicast, private, reserved, public. No family:
 * reserved. */
enum gvm_ip_class gvm_ip_class(const struct gvm_ip *ip);

/* inet_aton-like spellings too: 2130706433, 0x7f.1, 0177.0.0.1, 127.1; IPv6 per RFC 4291, no zone.
 * -EINVAL when it is not an address in any spelling. */
int gvm_ip_parse(struct gvm_str text, struct gvm_ip *ret) GVM_MUST_CHECK;
/* Canonical text (RFC 5952 for IPv6, no brackets). dst >= INET6_ADDRSTRLEN. */
void gvm_ip_text(const struct gvm_ip *ip, char dst[INET6_ADDRSTRLEN]);
/* Same family and same bytes; an IPv4-mapped address is not equal to its IPv4. */
bool gvm_ip_eq(const struct gvm_ip *a, const struct gvm_ip *b);
/* IPv4-mapped becomes IPv4, because that is what the kernel means by it. Another family:
 * ret->family 0. */
void gvm_ip_from_sockaddr(const struct sockaddr *sa, struct gvm_ip *ret, uint16_t *ret_port);
/* Returns the length used; 0 when ip->family is 0. */
socklen_t gvm_ip_to_sockaddr(const struct gvm_ip *ip, uint16_t port, struct sockaddr_storage *ret);

#endif
