/* dns_msg.c - one DNS message (RFC 1035 4, EDNS RFC 6891).
 *
 *     header   = id16 flags16 qdcount16 ancount16 nscount16 arcount16
 *     question = *( length8 label ) 0 | type16 | class16
 *     opt      = 0 | 41 | udp-size16 | ext-rcode8 version8 flags16 | rdlen16 { code16 len16 data }*
 *
 * A query is a header, one question, at most one OPT, and not a byte more: every byte that could
 * carry something else, or be read in two ways, is refused.
 */
#include "wire/dns_msg.h"

#include "wire/wire_int.h"

enum { HEAD = 12, OPT = 41, CLASS_IN = 1, OPT_FIXED = 11, LABEL_MAX = 63 };
enum {
    FLAG_QR = 0x8000,
    OPCODE = 0x7800,
    FLAG_AA = 0x0400,
    FLAG_TC = 0x0200,
    FLAG_RD = 0x0100,
    FLAG_RA = 0x0080,
    FLAG_CD = 0x0010,
    RCODE = 0x000f
};
enum { OUR_UDP_SIZE = 1232 }; /* what fits everywhere; dnsflagday.net/2020 */

static int bad(struct gvm_err *err, const char *why)
{
    return gvm_err_set(err, EINVAL, "%s", why);
}

static int check_header(const uint8_t *p, struct gvm_err *err)
{
    unsigned flags = gvm_get16(p + 2);
    if (flags & FLAG_QR)
        return bad(err, "a DNS answer where a query belongs");
    if (flags & (OPCODE | FLAG_AA | FLAG_TC | FLAG_RA | RCODE))
        return bad(err, "the DNS query is no plain query");
    if (gvm_get16(p + 4) != 1)
        return bad(err, "the DNS query does not have one question");
    if (gvm_get16(p + 6) || gvm_get16(p + 8) || gvm_get16(p + 10) > 1)
        return bad(err, "the DNS query carries records");
    return 0;
}

/* Reads the name at *at into dst (lower case, dots) and moves *at behind it. */
static int read_name(const uint8_t *p, size_t n, size_t *at, char dst[GVM_MAX_HOST + 1],
                     struct gvm_err *err)
{
    size_t len = 0;
    for (;;) {
        if (*at >= n)
            return bad(err, "the DNS name runs over the end");
        size_t label = p[(*at)++];
        if (label == 0)
            break;
        if (label > LABEL_MAX)
            return bad(err, "the DNS name has a pointer or a label over 63 bytes");
        if (label > n - *at)
            return bad(err, "the DNS name runs over the end");
        if (len + (len > 0) + label > GVM_MAX_HOST)
            return bad(err, "the DNS name is longer than 253 bytes");
        if (len > 0)
            dst[len++] = '.';
        for (size_t i = 0; i < label; i++) {
            char c = (char)p[(*at)++];
            /* A dot inside a label would be two labels in our text. */
            if (c <= ' ' || c > '~' || c == '.')
                return bad(err, "the DNS name has a byte that is no plain character");
            dst[len++] = gvm_lower(c);
        }
    }
    dst[len] = '\0';
    return 0;
}

/* The OPT record fills the rest of the message. */
static int check_opt(const uint8_t *p, size_t n, struct gvm_err *err)
{
    if (n < OPT_FIXED || p[0] != 0 || gvm_get16(p + 1) != OPT)
        return bad(err, "the DNS query carries a record other than OPT");
    if (p[5] != 0 || p[6] != 0)
        return bad(err, "an EDNS version other than 0");
    if (gvm_get16(p + 9) != n - OPT_FIXED)
        return bad(err, "the OPT record does not fill the DNS query");
    for (size_t at = OPT_FIXED; at < n;) {
        if (n - at < 4 || gvm_get16(p + at + 2) > n - at - 4)
            return bad(err, "an EDNS option runs over the end");
        at += 4 + (size_t)gvm_get16(p + at + 2);
    }
    return 0;
}

int gvm_dns_parse(struct gvm_str in, struct gvm_dns_question *ret, struct gvm_err *err)
{
    const uint8_t *p = (const uint8_t *)in.p;
    struct gvm_dns_question q = {0};
    if (in.n < HEAD || in.n > GVM_MAX_DNS)
        return bad(err, "the DNS query is too short or too long");
    size_t at = HEAD;
    int r = check_header(p, err);
    if (r == 0)
        r = read_name(p, in.n, &at, q.name, err);
    if (r < 0)
        return r;
    if (in.n - at < 4)
        return bad(err, "the DNS question is cut off");
    q.id = gvm_get16(p);
    q.rd = (gvm_get16(p + 2) & FLAG_RD) != 0;
    q.qtype = gvm_get16(p + at);
    q.qclass = gvm_get16(p + at + 2);
    q.question_end = at + 4;
    q.edns = gvm_get16(p + 10) == 1;
    if (q.edns)
        r = check_opt(p + q.question_end, in.n - q.question_end, err);
    else if (in.n != q.question_end)
        r = bad(err, "bytes follow the DNS question");
    if (r < 0)
        return r;
    *ret = q;
    return 0;
}

static void add16(struct gvm_buf *out, unsigned v)
{
    uint8_t b[2];
    gvm_put16(b, (uint16_t)v);
    (void)gvm_buf_add(out, b, sizeof b);
}

static void add_header(struct gvm_buf *out, const uint8_t *query, unsigned flags, unsigned rcode,
                       const unsigned counts[4])
{
    (void)gvm_buf_add(out, query, 2);
    add16(out, FLAG_QR | (gvm_get16(query + 2) & (OPCODE | FLAG_RD | FLAG_CD)) | flags | rcode);
    for (int i = 0; i < 4; i++)
        add16(out, counts[i]);
}

/* The owner is always the name of the question, which stands at offset 12 (RFC 1035 4.1.4). */
static void add_address(struct gvm_buf *out, const struct gvm_ip *ip, uint32_t ttl)
{
    bool v6 = ip->family == 6;
    add16(out, 0xc000 | HEAD);
    add16(out, v6 ? GVM_DNS_AAAA : GVM_DNS_A);
    add16(out, CLASS_IN);
    add16(out, ttl >> 16);
    add16(out, ttl & 0xffff);
    add16(out, v6 ? 16 : 4);
    (void)gvm_buf_add(out, ip->bytes, v6 ? 16 : 4);
}

static void add_opt(struct gvm_buf *out)
{
    uint8_t opt[OPT_FIXED] = {0, 0, OPT};
    gvm_put16(opt + 3, OUR_UDP_SIZE);
    (void)gvm_buf_add(out, opt, sizeof opt);
}

/* All or nothing: an append that failed takes the others with it. */
static int settle(struct gvm_buf *out, size_t before)
{
    if (!out->failed)
        return 0;
    out->len = before;
    return -ENOBUFS;
}

int gvm_dns_answer(struct gvm_str query, const struct gvm_dns_question *q, unsigned rcode,
                   const struct gvm_ip *addrs, unsigned n, uint32_t ttl, struct gvm_buf *out)
{
    if (q->question_end > query.n || q->question_end < HEAD || rcode > RCODE || out->failed)
        return -EINVAL;
    for (unsigned i = 0; i < n; i++)
        if (addrs[i].family != 4 && addrs[i].family != 6)
            return -EINVAL;
    size_t before = out->len;
    add_header(out, (const uint8_t *)query.p, FLAG_AA | FLAG_RA, rcode,
               (unsigned[]){1, n, 0, q->edns});
    (void)gvm_buf_add(out, query.p + HEAD, q->question_end - HEAD);
    for (unsigned i = 0; i < n; i++)
        add_address(out, &addrs[i], ttl);
    if (q->edns)
        add_opt(out);
    return settle(out, before);
}

int gvm_dns_formerr(struct gvm_str query, struct gvm_buf *out)
{
    if (query.n < HEAD || out->failed)
        return -EINVAL;
    const uint8_t *p = (const uint8_t *)query.p;
    /* An answer is never answered: two servers would talk for ever. */
    if (gvm_get16(p + 2) & FLAG_QR)
        return -EINVAL;
    size_t before = out->len;
    add_header(out, p, FLAG_RA, GVM_DNS_FORMERR, (unsigned[]){0, 0, 0, 0});
    return settle(out, before);
}
