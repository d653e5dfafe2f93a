/* dns - synthetic names: each name gets its own address, remembered for one run.
 *
 * Owns:       the two-way table name <-> address of one run.
 * Threads:    the loop's.
 * On failure: no address is handed out (SERVFAIL); nothing is asked of a real resolver here.
 */
#ifndef GVM_DNS_H
#define GVM_DNS_H

#include "core/core.h"
#include "wire/wire.h"

struct gvm_dns_names;
/* Addresses come out of 198.18.0.0/15 (from 198.18.1.0 on) and fd00:6776:6d00::/48, at most
 * GVM_MAX_DNS_NAMES names. */
struct gvm_dns_names *gvm_dns_names_new(void) GVM_MUST_CHECK;
void gvm_dns_names_free(struct gvm_dns_names *t);
/* The pair of addresses of a canonical name, made when new (*ret_new). -ENOBUFS when full. */
int gvm_dns_names_assign(struct gvm_dns_names *t, const char *name, struct gvm_ip *ret_v4,
                         struct gvm_ip *ret_v6, bool *ret_new) GVM_MUST_CHECK;
/* The name behind a synthetic address, NULL when it was never handed out. */
const char *gvm_dns_names_find(const struct gvm_dns_names *t, const struct gvm_ip *ip);
/* True for any address inside the synthetic ranges. */
bool gvm_dns_is_synthetic(const struct gvm_ip *ip);

struct gvm_dns_reply {
    unsigned rcode;
    bool parsed; /* question below is valid */
    bool fresh;  /* first time this name was asked in the run */
    struct gvm_dns_question question;
};
/* Answers one query packet: A/AAAA from the table, localhost to loopback, empty NOERROR for other
 * types, NXDOMAIN for names that are not canonical host names, FORMERR for what does not parse.
 * Appends the packet to `out`; -EINVAL when nothing can be answered (drop). */
int gvm_dns_serve(struct gvm_dns_names *t, struct gvm_str query, struct gvm_buf *out,
                  struct gvm_dns_reply *ret) GVM_MUST_CHECK;

#endif
