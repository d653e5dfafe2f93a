/* ip.c - addresses as text and as socket addresses. */
#include "wire/ip.h"

#include <arpa/inet.h>
#include <stdio.h>
#include "wire/wire_int.h"

/* Longest text worth looking at: inet_aton takes any number of leading zeros, we do not. */
#define IP_TEXT_MAX 128

/* One number of an inet_aton text: decimal, 0octal, 0xhex. */
static int aton_number(struct gvm_str s, uint64_t *ret)
{
    unsigned base = 10;
    if (s.n > 1 && s.p[0] == '0') {
        bool hex = (s.p[1] | 0x20) == 'x';
        base = hex ? 16 : 8;
        s.p += hex ? 2 : 1;
        s.n -= hex ? 2 : 1;
    }
    if (s.n == 0)
        return -EINVAL;
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!wire_is(s.p[i], WIRE_HEX) || wire_hex(s.p[i]) >= base)
            return -EINVAL;
        v = v * base + wire_hex(s.p[i]);
        if (v > UINT32_MAX)
            return -EINVAL;
    }
    *ret = v;
    return 0;
}

/* One to four numbers; each but the last is one byte, the last fills what is left. */
static int parse_v4(struct gvm_str text, struct gvm_ip *ret)
{
    uint32_t addr = 0;
    for (unsigned part = 0; part < 4; part++) {
        struct gvm_str head;
        bool more = gvm_str_cut(&text, '.', &head);
        uint64_t v;
        if (aton_number(head, &v) < 0)
            return -EINVAL;
        if (!more) {
            if (v >> (8 * (4 - part)))
                return -EINVAL;
            *ret = (struct gvm_ip){.family = 4};
            gvm_put32(ret->bytes, addr | (uint32_t)v);
            return 0;
        }
        if (v > 255)
            return -EINVAL;
        addr |= (uint32_t)v << (24 - 8 * part);
    }
    return -EINVAL;
}

/* The dotted tail of an IPv6 text: four plain decimals, no leading zero (RFC 3986 dec-octet). */
static int parse_dotted_tail(struct gvm_str text, uint8_t dst[4])
{
    for (unsigned part = 0; part < 4; part++) {
        struct gvm_str head;
        bool more = gvm_str_cut(&text, '.', &head);
        uint64_t v;
        if (more != (part < 3) || head.n > 3 || gvm_parse_u64(head, 255, &v) < 0)
            return -EINVAL;
        dst[part] = (uint8_t)v;
    }
    return 0;
}

/* Up to four hex digits. */
static int parse_group(struct gvm_str s, uint8_t dst[2])
{
    if (s.n == 0 || s.n > 4 || !wire_all(s, WIRE_HEX))
        return -EINVAL;
    unsigned v = 0;
    for (size_t i = 0; i < s.n; i++)
        v = v << 4 | wire_hex(s.p[i]);
    gvm_put16(dst, (uint16_t)v);
    return 0;
}

/* Groups separated by ':' into dst, at most `cap` bytes; a dotted tail only where `tail`. Returns
 * the bytes written. */
static int parse_groups(struct gvm_str s, bool tail, uint8_t *dst, unsigned cap)
{
    unsigned n = 0;
    if (s.n == 0)
        return 0;
    for (bool more = true; more;) {
        struct gvm_str head;
        more = gvm_str_cut(&s, ':', &head);
        bool dotted = tail && !more && gvm_str_find(head, '.') >= 0;
        unsigned need = dotted ? 4 : 2;
        if (n + need > cap)
            return -EINVAL;
        if ((dotted ? parse_dotted_tail(head, dst + n) : parse_group(head, dst + n)) < 0)
            return -EINVAL;
        n += need;
    }
    return (int)n;
}

static int parse_v6(struct gvm_str text, struct gvm_ip *ret)
{
    struct gvm_ip ip = {.family = 6};
    const char *gap = NULL;
    for (size_t i = 0; i + 1 < text.n && !gap; i++)
        if (text.p[i] == ':' && text.p[i + 1] == ':')
            gap = text.p + i;
    if (!gap) {
        if (parse_groups(text, true, ip.bytes, 16) != 16)
            return -EINVAL;
        *ret = ip;
        return 0;
    }
    struct gvm_str front = {text.p, (size_t)(gap - text.p)};
    struct gvm_str back = {gap + 2, text.n - front.n - 2};
    uint8_t tail[16];
    int a = parse_groups(front, false, ip.bytes, 14); /* "::" stands for at least one group */
    int b = parse_groups(back, true, tail, 14);
    if (a < 0 || b < 0 || a + b > 14)
        return -EINVAL;
    memcpy(ip.bytes + 16 - b, tail, (size_t)b);
    *ret = ip;
    return 0;
}

int gvm_ip_parse(struct gvm_str text, struct gvm_ip *ret)
{
    if (text.n == 0 || text.n > IP_TEXT_MAX)
        return -EINVAL;
    return gvm_str_find(text, ':') >= 0 ? parse_v6(text, ret) : parse_v4(text, ret);
}

/* First of the longest run of at least two zero groups (RFC 5952 4.2); 8 when there is none. */
static unsigned longest_zeros(const uint8_t b[16], unsigned *ret_len)
{
    unsigned best = 8, best_len = 1;
    for (unsigned i = 0; i < 8;) {
        unsigned j = i;
        while (j < 8 && gvm_get16(b + 2 * j) == 0)
            j++;
        if (j - i > best_len) {
            best = i;
            best_len = j - i;
        }
        i = j + 1;
    }
    *ret_len = best_len;
    return best;
}

/* RFC 5952 5: mixed notation for the well-known IPv4-mapped prefix only. */
static bool is_mapped(const struct gvm_ip *ip)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return ip->family == 6 && memcmp(ip->bytes, prefix, sizeof prefix) == 0;
}

void gvm_ip_text(const struct gvm_ip *ip, char dst[INET6_ADDRSTRLEN])
{
    const uint8_t *b = ip->bytes;
    dst[0] = '\0';
    if (ip->family == 4) {
        char *at = dst;
        for (unsigned i = 0; i < 4; i++) {
            if (b[i] >= 100)
                *at++ = (char)('0' + b[i] / 100);
            if (b[i] >= 10)
                *at++ = (char)('0' + b[i] / 10 % 10);
            *at++ = (char)('0' + b[i] % 10);
            *at++ = i < 3 ? '.' : '\0';
        }
        return;
    }
    if (ip->family != 6)
        return;
    if (is_mapped(ip)) {
        (void)snprintf(dst, INET6_ADDRSTRLEN, "::ffff:%u.%u.%u.%u", b[12], b[13], b[14], b[15]);
        return;
    }
    unsigned gap_len, gap = longest_zeros(b, &gap_len);
    size_t n = 0;
    for (unsigned i = 0; i < 8; i++) {
        if (i == gap) {
            n += (size_t)snprintf(dst + n, INET6_ADDRSTRLEN - n, "::");
            i += gap_len - 1;
            continue;
        }
        const char *sep = i == 0 || i == gap + gap_len ? "" : ":";
        n += (size_t)snprintf(dst + n, INET6_ADDRSTRLEN - n, "%s%x", sep, gvm_get16(b + 2 * i));
    }
}

bool gvm_ip_eq(const struct gvm_ip *a, const struct gvm_ip *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, a->family == 4 ? 4 : 16) == 0;
}

void gvm_ip_from_sockaddr(const struct sockaddr *sa, struct gvm_ip *ret, uint16_t *ret_port)
{
    *ret = (struct gvm_ip){0};
    *ret_port = 0;
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof in);
        ret->family = 4;
        memcpy(ret->bytes, &in.sin_addr, 4);
        *ret_port = ntohs(in.sin_port);
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof in6);
        ret->family = 6;
        memcpy(ret->bytes, &in6.sin6_addr, 16);
        *ret_port = ntohs(in6.sin6_port);
        if (is_mapped(ret)) {
            struct gvm_ip v4 = {.family = 4};
            memcpy(v4.bytes, ret->bytes + 12, 4);
            *ret = v4;
        }
    }
}

socklen_t gvm_ip_to_sockaddr(const struct gvm_ip *ip, uint16_t port, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof *ret);
    if (ip->family == 4) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
        memcpy(&in.sin_addr, ip->bytes, 4);
        memcpy(ret, &in, sizeof in);
        return sizeof in;
    }
    if (ip->family == 6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
        memcpy(&in6.sin6_addr, ip->bytes, 16);
        memcpy(ret, &in6, sizeof in6);
        return sizeof in6;
    }
    return 0;
}
