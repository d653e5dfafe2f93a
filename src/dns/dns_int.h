/* dns_int.h - what the files of this room share. */
#ifndef GVM_DNS_INT_H
#define GVM_DNS_INT_H

#include <assert.h>
#include "dns/dns.h"

/* Remembers a name that gets no address; true the first time. */
bool dns_odd_is_new(struct gvm_dns_names *t, const char *name);

#endif
