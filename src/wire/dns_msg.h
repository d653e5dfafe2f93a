/* wire/dns_msg.h - one DNS question in, one synthetic answer out (RFC 1035, EDNS per RFC 6891). */
#ifndef GVM_WIRE_DNS_MSG_H
#define GVM_WIRE_DNS_MSG_H

#include "core/core.h"
#include "wire/ip.h"

enum { GVM_DNS_A = 1, GVM_DNS_AAAA = 28, GVM_DNS_HTTPS = 65, GVM_DNS_PTR = 12 };
enum {
    GVM_DNS_NOERROR = 0,
    GVM_DNS_FORMERR = 1,
    GVM_DNS_SERVFAIL = 2,
    GVM_DNS_NXDOMAIN = 3,
    GVM_DNS_NOTIMP = 4,
    GVM_DNS_REFUSED = 5
};

struct gvm_dns_question {
    uint16_t id;
    bool rd;
    char name[GVM_MAX_HOST + 1]; /* lower case, dots, no trailing dot; "" = root */
    uint16_t qtype, qclass;
    bool edns;
    size_t question_end; /* offset behind the question section */
};

/* Strict: QR 0, opcode 0, QDCOUNT 1, no compression in the name, labels <= 63 of printable ASCII,
 * total <= 253, only an OPT record may follow, no trailing bytes. -EINVAL: answer FORMERR when at
 * least the id could be read (in.n >= 12). */
int gvm_dns_parse(struct gvm_str in, struct gvm_dns_question *ret,
                  struct gvm_err *err) GVM_MUST_CHECK;
/* Appends an answer to `out`: the question of `query` repeated byte for byte (0x20 case), then `n`
 * A or AAAA records with `ttl` seconds, then an OPT when the query had one. `query` is the packet
 * that filled `q`. -ENOBUFS: nothing appended. */
int gvm_dns_answer(struct gvm_str query, const struct gvm_dns_question *q, unsigned rcode,
                   const struct gvm_ip *addrs, unsigned n, uint32_t ttl,
                   struct gvm_buf *out) GVM_MUST_CHECK;
/* FORMERR for a query that could not be parsed: header only. -EINVAL when shorter than 12 bytes or
 * itself an answer (QR set), which is never answered. */
int gvm_dns_formerr(struct gvm_str query, struct gvm_buf *out) GVM_MUST_CHECK;

#endif
