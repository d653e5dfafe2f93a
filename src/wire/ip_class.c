/* ip_class.c - which addresses are not the public net.
 *
 * Two prefix tables (IANA special-purpose registries, and where clouds keep their metadata), then a
 * table of the IPv6 forms that carry an IPv4 address. An address gets the strictest class of all
 * that apply: a NAT64 gateway, a 6to4 relay or a kernel may turn the outer form into the inner.
 */
#include "wire/ip.h"
#include "wire/wire_int.h"

static const char *const class_names[] = {
    [GVM_IP_PUBLIC] = "public",         [GVM_IP_UNSPECIFIED] = "unspecified",
    [GVM_IP_LOOPBACK] = "loopback",     [GVM_IP_PRIVATE] = "private",
    [GVM_IP_LINK_LOCAL] = "link-local", [GVM_IP_METADATA] = "metadata",
    [GVM_IP_MULTICAST] = "multicast",   [GVM_IP_RESERVED] = "reserved",
};

/* How bad it would be to reach it; the greater wins when two classes apply. */
static const uint8_t class_rank[] = {
    [GVM_IP_PUBLIC] = 0,    [GVM_IP_RESERVED] = 1,    [GVM_IP_PRIVATE] = 2,
    [GVM_IP_MULTICAST] = 3, [GVM_IP_UNSPECIFIED] = 4, [GVM_IP_LINK_LOCAL] = 5,
    [GVM_IP_LOOPBACK] = 6,  [GVM_IP_METADATA] = 7,
};

struct prefix {
    uint8_t bytes[16];
    uint8_t bits;
    uint8_t cls; /* enum gvm_ip_class */
};

static const struct prefix v4_table[] = {
    {{0}, 8, GVM_IP_UNSPECIFIED}, /* Linux connects 0.0.0.0 to itself */
    {{10}, 8, GVM_IP_PRIVATE},
    {{100, 64}, 10, GVM_IP_PRIVATE},             /* RFC 6598 shared space */
    {{100, 100, 100, 200}, 32, GVM_IP_METADATA}, /* Alibaba Cloud */
    {{127}, 8, GVM_IP_LOOPBACK},
    {{168, 63, 129, 16}, 32, GVM_IP_METADATA}, /* Azure wire server */
    {{169, 254}, 16, GVM_IP_LINK_LOCAL},
    {{169, 254, 169}, 24, GVM_IP_METADATA},   /* .254 nearly everywhere; .123, .253 AWS */
    {{169, 254, 170}, 24, GVM_IP_METADATA},   /* AWS ECS task and EKS pod credentials */
    {{169, 254, 0, 23}, 32, GVM_IP_METADATA}, /* Tencent Cloud */
    {{172, 16}, 12, GVM_IP_PRIVATE},
    {{192, 0, 0}, 24, GVM_IP_RESERVED},      /* RFC 6890 protocol assignments */
    {{192, 0, 0, 192}, 32, GVM_IP_METADATA}, /* Oracle Cloud classic */
    {{192, 0, 2}, 24, GVM_IP_RESERVED},      /* documentation */
    {{192, 88, 99}, 24, GVM_IP_RESERVED},    /* 6to4 relay, RFC 7526 */
    {{192, 168}, 16, GVM_IP_PRIVATE},
    {{198, 18}, 15, GVM_IP_PRIVATE}, /* RFC 2544; our own synthetic names too */
    {{198, 51, 100}, 24, GVM_IP_RESERVED},
    {{203, 0, 113}, 24, GVM_IP_RESERVED},
    {{224}, 4, GVM_IP_MULTICAST},
    {{240}, 4, GVM_IP_RESERVED},
};

static const struct prefix v6_table[] = {
    {{[15] = 0}, 128, GVM_IP_UNSPECIFIED},
    {{[15] = 1}, 128, GVM_IP_LOOPBACK},
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, GVM_IP_PRIVATE}, /* RFC 8215 local NAT64 */
    {{0x20, 0x01}, 23, GVM_IP_RESERVED}, /* IETF assignments, Teredo, ORCHID */
    {{0x20, 0x01, 0x0d, 0xb8}, 32, GVM_IP_RESERVED},
    {{0x3f, 0xff}, 20, GVM_IP_RESERVED}, /* RFC 9637 documentation */
    {{0xfc}, 7, GVM_IP_PRIVATE},
    {{0xfd, 0x00, 0x0e, 0xc2}, 32, GVM_IP_METADATA},                            /* AWS */
    {{0xfd, 0x20, 0x00, 0xce, [14] = 0x02, [15] = 0x54}, 128, GVM_IP_METADATA}, /* Google */
    {{0xfd, 0x00, 0x00, 0x42, [15] = 0x42}, 128, GVM_IP_METADATA},              /* Scaleway */
    {{0xfe, 0x80}, 10, GVM_IP_LINK_LOCAL},
    {{0xfe, 0xc0}, 10, GVM_IP_PRIVATE}, /* site-local, RFC 3879 */
    {{0xff}, 8, GVM_IP_MULTICAST},
};

/* Forms of IPv6 that carry an IPv4 address. `mask` says which leading bytes must be as given. */
struct carrier {
    uint8_t bytes[12];
    uint16_t mask;   /* bit i set: byte i must match */
    uint8_t at[4];   /* where the four bytes are */
    uint8_t flip;    /* xor with this (Teredo) */
    bool only_inner; /* the outer form has no life of its own */
};

#define FIRST(n) ((1u << (n)) - 1)
static const struct carrier carriers[] = {
    /* ::ffff:0:0/96 mapped */
    {{[10] = 0xff, [11] = 0xff}, FIRST(12), {12, 13, 14, 15}, 0, true},
    /* ::ffff:0:0:0/96 translated, RFC 2765 */
    {{[8] = 0xff, [9] = 0xff}, FIRST(12), {12, 13, 14, 15}, 0, false},
    /* ::/96 compatible */
    {{0}, FIRST(12), {12, 13, 14, 15}, 0, false},
    /* 64:ff9b::/96 NAT64 */
    {{0, 0x64, 0xff, 0x9b}, FIRST(12), {12, 13, 14, 15}, 0, true},
    /* 64:ff9b:1::/48 as RFC 6052 2.2 lays it out for /48 and for /96 */
    {{0, 0x64, 0xff, 0x9b, 0, 1}, FIRST(6), {6, 7, 9, 10}, 0, false},
    {{0, 0x64, 0xff, 0x9b, 0, 1}, FIRST(6), {12, 13, 14, 15}, 0, false},
    /* 2002::/16 6to4 */
    {{0x20, 0x02}, FIRST(2), {2, 3, 4, 5}, 0, false},
    /* 2001::/32 Teredo: server, and client with all bits flipped */
    {{0x20, 0x01}, FIRST(4), {4, 5, 6, 7}, 0, false},
    {{0x20, 0x01}, FIRST(4), {12, 13, 14, 15}, 0xff, false},
    /* ISATAP interface identifiers, RFC 5214 6.1, under any prefix */
    {{[8] = 0x00, [10] = 0x5e, [11] = 0xfe}, 0xf00, {12, 13, 14, 15}, 0, false},
    {{[8] = 0x02, [10] = 0x5e, [11] = 0xfe}, 0xf00, {12, 13, 14, 15}, 0, false},
};

const char *gvm_ip_class_name(enum gvm_ip_class c)
{
    return (unsigned)c < sizeof class_names / sizeof *class_names ? class_names[c] : "unknown";
}

static enum gvm_ip_class stricter(enum gvm_ip_class a, enum gvm_ip_class b)
{
    return class_rank[a] >= class_rank[b] ? a : b;
}

static bool has_prefix(const uint8_t *addr, const struct prefix *p)
{
    unsigned whole = p->bits / 8, rest = p->bits % 8;
    if (memcmp(addr, p->bytes, whole) != 0)
        return false;
    return rest == 0 || ((addr[whole] ^ p->bytes[whole]) >> (8 - rest)) == 0;
}

static enum gvm_ip_class look_up(const uint8_t *addr, const struct prefix *table, size_t n)
{
    enum gvm_ip_class c = GVM_IP_PUBLIC;
    for (size_t i = 0; i < n; i++)
        if (has_prefix(addr, &table[i]))
            c = stricter(c, (enum gvm_ip_class)table[i].cls);
    return c;
}

static enum gvm_ip_class class_v4(const uint8_t *addr)
{
    return look_up(addr, v4_table, sizeof v4_table / sizeof *v4_table);
}

static bool carries(const uint8_t *addr, const struct carrier *k)
{
    for (unsigned i = 0; i < 12; i++)
        if ((k->mask >> i & 1) && addr[i] != k->bytes[i])
            return false;
    return true;
}

static enum gvm_ip_class class_v6(const uint8_t *addr)
{
    enum gvm_ip_class c = look_up(addr, v6_table, sizeof v6_table / sizeof *v6_table);
    if (c == GVM_IP_UNSPECIFIED || c == GVM_IP_LOOPBACK)
        return c; /* :: and ::1 are no IPv4 in disguise */
    bool only_inner = false;
    for (size_t i = 0; i < sizeof carriers / sizeof *carriers; i++) {
        const struct carrier *k = &carriers[i];
        if (!carries(addr, k))
            continue;
        uint8_t inner[4];
        for (unsigned j = 0; j < 4; j++)
            inner[j] = addr[k->at[j]] ^ k->flip;
        if (c != GVM_IP_PUBLIC && gvm_get32(inner) == 0)
            continue; /* nothing is carried there, and the outer form is known */
        only_inner |= k->only_inner;
        c = stricter(c, class_v4(inner));
    }
    /* Global unicast is 2000::/3; all else is not for the public net, if no table knew better. */
    if (c == GVM_IP_PUBLIC && !only_inner && addr[0] >> 5 != 1)
        return GVM_IP_RESERVED;
    return c;
}

enum gvm_ip_class gvm_ip_class(const struct gvm_ip *ip)
{
    if (ip->family == 4)
        return class_v4(ip->bytes);
    if (ip->family == 6)
        return class_v6(ip->bytes);
    return GVM_IP_RESERVED; /* no address is no public address */
}
