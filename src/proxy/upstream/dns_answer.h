/* proxy/upstream/dns_answer.h - one question out, one answer in (RFC 1035 4). Pure; has a fuzzer.
 */
#ifndef GVM_PROXY_DNS_ANSWER_H
#define GVM_PROXY_DNS_ANSWER_H

#include "wire/wire.h"

#define DNS_MAX_ADDRS   16u /* addresses kept of one answer */
#define DNS_MAX_RECORDS 64u /* answer records looked at */
#define DNS_QUERY_MAX   512u
#define DNS_UDP_SIZE    1232u /* what EDNS announces: fits every path without fragments */

struct dns_answer {
    unsigned rcode;
    bool truncated; /* ask again over TCP; nothing else is filled */
    uint32_t ttl;   /* the smallest on the way to the addresses */
    unsigned n;
    struct gvm_ip addrs[DNS_MAX_ADDRS];
};

/* Writes the query for a canonical name; the bytes written, or -EINVAL for a name DNS cannot carry.
 */
int dns_query_build(const char *name, uint16_t qtype, uint16_t id, bool edns,
                    uint8_t dst[DNS_QUERY_MAX]) GVM_MUST_CHECK;
/* Follows CNAMEs of the answer section from `name` to addresses of the asked type.
 * -ENOMSG: not an answer to this question (id, name, type or class differ): ignore it.
 * -EINVAL: an answer to it, but malformed. */
int dns_answer_parse(struct gvm_str in, const char *name, uint16_t qtype, uint16_t id,
                     struct dns_answer *ret) GVM_MUST_CHECK;

#endif
