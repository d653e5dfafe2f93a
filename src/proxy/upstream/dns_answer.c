/* Byte table of a message (RFC 1035 4.1): header of 12 bytes (id, flags, QDCOUNT, ANCOUNT, NSCOUNT,
 * ARCOUNT), the question as asked, then records NAME TYPE(2) CLASS(2) TTL(4) RDLENGTH(2) RDATA.
 * Only the answer section is read; what follows it is somebody else's opinion.
 *
 * Names may be compressed. A pointer must go back, to before the name it stands in, so following
 * them ends; the text is bounded by GVM_MAX_HOST as well.
 */
#include "proxy/upstream/dns_answer.h"

#include <errno.h>
#include <string.h>

#define CNAME       5
#define CLASS_IN    1
#define MAX_CHAIN   8
#define FLAG_QR     0x8000u
#define FLAG_TC     0x0200u
#define OPCODE_MASK 0x7800u

struct msg {
    const uint8_t *p;
    size_t n;
};

struct record {
    char owner[GVM_MAX_HOST + 1];
    uint16_t type, class;
    uint32_t ttl;
    size_t rdata, rdlen;
};

static int put_name(const char *name, uint8_t *dst, size_t *at)
{
    struct gvm_str rest = gvm_str(name);
    if (!rest.n || rest.n > GVM_MAX_HOST)
        return -EINVAL;
    bool more = true;
    while (more) {
        struct gvm_str label;
        more = gvm_str_cut(&rest, '.', &label);
        if (!label.n || label.n > 63)
            return -EINVAL;
        dst[(*at)++] = (uint8_t)label.n;
        memcpy(dst + *at, label.p, label.n);
        *at += label.n;
    }
    dst[(*at)++] = 0;
    return 0;
}

int dns_query_build(const char *name, uint16_t qtype, uint16_t id, bool edns,
                    uint8_t dst[DNS_QUERY_MAX])
{
    memset(dst, 0, 12);
    gvm_put16(dst, id);
    dst[2] = 0x01; /* RD */
    dst[5] = 1;    /* QDCOUNT */
    dst[11] = edns;
    size_t at = 12;
    int r = put_name(name, dst, &at);
    if (r < 0)
        return r;
    gvm_put16(dst + at, qtype);
    gvm_put16(dst + at + 2, CLASS_IN);
    at += 4;
    if (edns) { /* root name, OPT, our UDP size, no flags, no options (RFC 6891 6.1.2) */
        const uint8_t opt[11] = {0, 0, 41, DNS_UDP_SIZE >> 8, DNS_UDP_SIZE & 0xff};
        memcpy(dst + at, opt, sizeof opt);
        at += sizeof opt;
    }
    return (int)at;
}

/* Appends one label, lower case; bytes that no host name has are refused. */
static int take_label(const uint8_t *p, size_t n, char *dst, size_t *len)
{
    if (*len + n + 1 > GVM_MAX_HOST)
        return -EINVAL;
    if (*len)
        dst[(*len)++] = '.';
    for (size_t i = 0; i < n; i++) {
        if (p[i] <= 0x20 || p[i] >= 0x7f || p[i] == '.')
            return -EINVAL;
        dst[(*len)++] = gvm_lower((char)p[i]);
    }
    return 0;
}

/* Reads the name at *at and moves *at behind it. */
static int read_name(struct msg m, size_t *at, char dst[GVM_MAX_HOST + 1])
{
    size_t pos = *at, floor = *at, len = 0;
    bool jumped = false;
    for (;;) {
        if (pos >= m.n)
            return -EINVAL;
        uint8_t c = m.p[pos];
        if (c >= 0xc0) {
            if (m.n - pos < 2)
                return -EINVAL;
            size_t to = gvm_get16(m.p + pos) & 0x3fffu;
            if (!jumped)
                *at = pos + 2;
            if (to >= floor || to < 12)
                return -EINVAL;
            jumped = true;
            pos = floor = to;
        } else if (c == 0) {
            if (!jumped)
                *at = pos + 1;
            dst[len] = '\0';
            return 0;
        } else {
            if (c > 63 || m.n - pos - 1 < c || take_label(m.p + pos + 1, c, dst, &len) < 0)
                return -EINVAL;
            pos += 1u + c;
        }
    }
}

static int read_record(struct msg m, size_t *at, struct record *ret)
{
    int r = read_name(m, at, ret->owner);
    if (r < 0 || m.n - *at < 10)
        return -EINVAL;
    const uint8_t *p = m.p + *at;
    ret->type = gvm_get16(p);
    ret->class = gvm_get16(p + 2);
    ret->ttl = gvm_get32(p + 4);
    ret->rdlen = gvm_get16(p + 8);
    ret->rdata = *at + 10;
    if (m.n - ret->rdata < ret->rdlen)
        return -EINVAL;
    *at = ret->rdata + ret->rdlen;
    return 0;
}

static int take_address(struct msg m, const struct record *r, uint16_t qtype,
                        struct dns_answer *ret)
{
    size_t want = qtype == GVM_DNS_A ? 4 : 16;
    if (r->rdlen != want)
        return -EINVAL;
    if (ret->n == DNS_MAX_ADDRS)
        return 0;
    struct gvm_ip *ip = &ret->addrs[ret->n++];
    *ip = (struct gvm_ip){.family = qtype == GVM_DNS_A ? 4 : 6};
    memcpy(ip->bytes, m.p + r->rdata, want);
    return 0;
}

/* One pass over the answers for `owner`. 1 = it is an alias, the target is in `owner` now. */
static int scan(struct msg m, size_t at, unsigned count, uint16_t qtype,
                char owner[GVM_MAX_HOST + 1], struct dns_answer *ret)
{
    struct record rec = {.rdlen = 0};
    char target[GVM_MAX_HOST + 1];
    bool alias = false;
    for (unsigned i = 0; i < count; i++) {
        if (read_record(m, &at, &rec) < 0)
            return -EINVAL;
        if (rec.class != CLASS_IN || strcmp(rec.owner, owner) != 0)
            continue;
        size_t rdata = rec.rdata;
        if (rec.type == CNAME && !alias) {
            if (read_name(m, &rdata, target) < 0 || rdata != rec.rdata + rec.rdlen)
                return -EINVAL;
            alias = true;
        } else if (rec.type != qtype) {
            continue;
        } else if (take_address(m, &rec, qtype, ret) < 0) {
            return -EINVAL;
        }
        ret->ttl = rec.ttl < ret->ttl ? rec.ttl : ret->ttl;
    }
    if (ret->n || !alias)
        return 0;
    memcpy(owner, target, sizeof target);
    return 1;
}

/* The question must be the one we asked. */
static int check_question(struct msg m, const char *name, uint16_t qtype, size_t *ret_at)
{
    char asked[GVM_MAX_HOST + 1];
    size_t at = 12;
    if (read_name(m, &at, asked) < 0 || m.n - at < 4)
        return -ENOMSG;
    if (strcmp(asked, name) != 0 || gvm_get16(m.p + at) != qtype ||
        gvm_get16(m.p + at + 2) != CLASS_IN)
        return -ENOMSG;
    *ret_at = at + 4;
    return 0;
}

int dns_answer_parse(struct gvm_str in, const char *name, uint16_t qtype, uint16_t id,
                     struct dns_answer *ret)
{
    struct msg m = {(const uint8_t *)in.p, in.n};
    if (m.n < 12 || m.n > 65535 || gvm_get16(m.p) != id)
        return -ENOMSG;
    uint16_t flags = gvm_get16(m.p + 2);
    if (!(flags & FLAG_QR) || (flags & OPCODE_MASK))
        return -ENOMSG;
    struct dns_answer a = {.rcode = flags & 15u, .truncated = flags & FLAG_TC, .ttl = UINT32_MAX};
    unsigned questions = gvm_get16(m.p + 4), count = gvm_get16(m.p + 6);
    bool bare_error = questions == 0 && a.rcode != GVM_DNS_NOERROR && a.rcode != GVM_DNS_NXDOMAIN;
    size_t at = 12;
    if (!bare_error && (questions != 1 || check_question(m, name, qtype, &at) < 0))
        return -ENOMSG;
    if (a.rcode == GVM_DNS_NOERROR && !a.truncated) {
        char owner[GVM_MAX_HOST + 1];
        if (gvm_str_copy(owner, sizeof owner, gvm_str(name)) < 0 || count > DNS_MAX_RECORDS)
            return -EINVAL;
        int r = 1;
        for (unsigned hop = 0; r == 1 && hop <= MAX_CHAIN; hop++)
            r = scan(m, at, count, qtype, owner, &a);
        if (r < 0)
            return r;
    }
    if (!a.n)
        a.ttl = 0;
    *ret = a;
    return 0;
}
