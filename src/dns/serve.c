/* serve.c - one query packet in, one answer out, nothing asked of anybody.
 *
 *     not a plain query                         FORMERR
 *     class other than IN                       REFUSED
 *     localhost, *.localhost (RFC 6761 6.3)     127.0.0.1, ::1
 *     invalid, *.invalid (RFC 6761 6.4), the DoH canary, names that no host has   NXDOMAIN
 *     other names, A or AAAA                    their synthetic address, one for the whole run
 *     other names, other types                  NOERROR without records: the name exists
 *
 * Whatever the type, the name is remembered, so that "first time asked" is told once per name.
 */
#include "dns/dns_int.h"

#include <errno.h>

enum { TTL_S = 60, CLASS_IN = 1 };

/* How a name is answered. */
enum kind { KIND_SYNTHETIC = 0, KIND_LOCALHOST, KIND_NONE };

static const struct {
    struct gvm_str name;
    bool below; /* names under it too */
    enum kind kind;
} special[] = {
    {{"localhost", 9}, true, KIND_LOCALHOST},
    {{"invalid", 7}, true, KIND_NONE},
    /* Browsers ask it to learn whether they may go round the system's resolver: no. */
    {{"use-application-dns.net", 23}, false, KIND_NONE},
};

static bool is_or_below(struct gvm_str name, struct gvm_str top, bool below)
{
    if (gvm_str_eq(name, top))
        return true;
    return below && name.n > top.n && gvm_str_ends(name, top) && name.p[name.n - top.n - 1] == '.';
}

/* The name as the data path will see it must be the one asked, or its verdict is another's. */
static bool is_host_name(struct gvm_str name)
{
    struct gvm_authority a;
    return gvm_authority_parse(name, &a, NULL) == 0 && !a.is_ip && a.port == 0 &&
           gvm_str_eqz(name, a.host);
}

static enum kind kind_of(struct gvm_str name)
{
    if (!is_host_name(name))
        return KIND_NONE;
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (is_or_below(name, special[i].name, special[i].below))
            return special[i].kind;
    return KIND_SYNTHETIC;
}

static void localhost(struct gvm_ip *ret_v4, struct gvm_ip *ret_v6)
{
    *ret_v4 = (struct gvm_ip){4, {127, 0, 0, 1}};
    *ret_v6 = (struct gvm_ip){6, {[15] = 1}};
}

/* Finds what to answer. Returns the response code; addresses are valid when it is NOERROR. */
static unsigned resolve(struct gvm_dns_names *t, const char *name, struct gvm_ip *ret_v4,
                        struct gvm_ip *ret_v6, bool *ret_fresh)
{
    enum kind kind = kind_of(gvm_str(name));
    if (kind == KIND_SYNTHETIC && gvm_dns_names_assign(t, name, ret_v4, ret_v6, ret_fresh) == 0)
        return GVM_DNS_NOERROR;
    *ret_fresh = dns_odd_is_new(t, name);
    if (kind == KIND_SYNTHETIC)
        return GVM_DNS_SERVFAIL;
    if (kind == KIND_NONE)
        return GVM_DNS_NXDOMAIN;
    localhost(ret_v4, ret_v6);
    return GVM_DNS_NOERROR;
}

int gvm_dns_serve(struct gvm_dns_names *t, struct gvm_str query, struct gvm_buf *out,
                  struct gvm_dns_reply *ret)
{
    struct gvm_dns_reply reply = {.rcode = GVM_DNS_REFUSED};
    struct gvm_dns_question *q = &reply.question;
    if (gvm_dns_parse(query, q, NULL) < 0) {
        int r = gvm_dns_formerr(query, out);
        reply.rcode = GVM_DNS_FORMERR;
        if (r == 0)
            *ret = reply;
        return r;
    }
    reply.parsed = true;
    struct gvm_ip v4, v6, *answer = NULL;
    if (q->qclass == CLASS_IN) {
        reply.rcode = resolve(t, q->name, &v4, &v6, &reply.fresh);
        answer = q->qtype == GVM_DNS_A ? &v4 : q->qtype == GVM_DNS_AAAA ? &v6 : NULL;
    } else {
        reply.fresh = dns_odd_is_new(t, q->name);
    }
    if (reply.rcode != GVM_DNS_NOERROR)
        answer = NULL;
    int r = gvm_dns_answer(query, q, reply.rcode, answer, answer ? 1 : 0, TTL_S, out);
    if (r == 0)
        *ret = reply;
    return r;
}
