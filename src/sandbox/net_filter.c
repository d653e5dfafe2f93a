/* The sealed network: one nf_tables transaction, then the rules are read back and compared.
 *
 * table inet gvm
 *   chain redirect { type nat hook output priority -100; policy accept; }
 *     udp dport 53                     counter, redirect to :61053
 *     tcp dport 53                     counter, redirect to :61053   on loopback too: rewriting
 *                                                                    resolv.conf gains nothing
 *     ip daddr 127.0.0.1 tcp dport 61080     counter   who comes to our listeners by their own
 *     ip6 daddr ::1      tcp dport 61080     counter   address is served, and counted, like the
 *     ip daddr 127.0.0.1 tcp dport 61053     counter   others
 *     ip6 daddr ::1      tcp dport 61053     counter
 *     ip daddr 127.0.0.0/8             accept                        the agent's own servers
 *     ip6 daddr ::1                    accept
 *     meta l4proto tcp                 counter, redirect to :61080
 *   chain guard { type filter hook output priority 0; policy drop; }
 *     ct state established             accept     answers of our listeners and of the agent's
 * servers icmp type 3 / icmpv6 type 1      accept     the refusals of the last rule on their way
 * back ip daddr 127.0.0.0/8             accept     what was redirected above has this address by
 * now ip6 daddr ::1                    accept counter, reject with icmpx admin-prohibited   at
 * once, so that QUIC falls back to TCP
 *
 * A nat chain sees the first packet of each connection and no other: its counters count
 * connections, whatever became of them. net_count.c reads them at the end of the run, from outside.
 *
 * The messages are kept; the dump of each rule must contain every attribute we sent, with our
 * value, in our order, and nothing may stand beside our rules. netlink formats:
 * linux/netfilter/nf_tables.h.
 */
#include "sandbox/sandbox_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <sys/socket.h>

#define TABLE        SANDBOX_TABLE
#define NAT_CHAIN    SANDBOX_NAT_CHAIN
#define FILTER_CHAIN SANDBOX_FILTER_CHAIN
#define BATCH_SIZE   16384
#define MAX_RULES    16

struct nft {
    char mem[BATCH_SIZE];
    size_t len;
    uint32_t seq;
    unsigned acks;
    struct nlmsghdr *msg; /* being built */
    struct nlattr *exprs; /* its expression list */
    const struct nlmsghdr *rules[MAX_RULES];
    unsigned nrules;
};

static struct nlmsghdr *begin(struct nft *n, uint16_t type, uint16_t flags, uint8_t family,
                              uint16_t res)
{
    n->msg = mnl_nlmsg_put_header(n->mem + n->len);
    n->msg->nlmsg_type = type;
    n->msg->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    n->msg->nlmsg_seq = ++n->seq;
    struct nfgenmsg *g = mnl_nlmsg_put_extra_header(n->msg, sizeof(*g));
    g->nfgen_family = family;
    g->version = NFNETLINK_V0;
    g->res_id = htons(res);
    if (flags & NLM_F_ACK)
        n->acks++;
    return n->msg;
}

static void end(struct nft *n)
{
    n->len += MNL_ALIGN(n->msg->nlmsg_len);
}

static uint16_t nft_type(unsigned msg)
{
    return (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | msg);
}

static void put_u32(struct nft *n, uint16_t type, uint32_t v)
{
    mnl_attr_put_u32(n->msg, type, htonl(v));
}

static void add_table(struct nft *n)
{
    begin(n, nft_type(NFT_MSG_NEWTABLE), NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, NFPROTO_INET, 0);
    mnl_attr_put_strz(n->msg, NFTA_TABLE_NAME, TABLE);
    end(n);
}

static void add_chain(struct nft *n, const char *name, const char *type, int priority,
                      uint32_t policy)
{
    begin(n, nft_type(NFT_MSG_NEWCHAIN), NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, NFPROTO_INET, 0);
    mnl_attr_put_strz(n->msg, NFTA_CHAIN_TABLE, TABLE);
    mnl_attr_put_strz(n->msg, NFTA_CHAIN_NAME, name);
    struct nlattr *hook = mnl_attr_nest_start(n->msg, NFTA_CHAIN_HOOK);
    put_u32(n, NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
    put_u32(n, NFTA_HOOK_PRIORITY, (uint32_t)priority);
    mnl_attr_nest_end(n->msg, hook);
    put_u32(n, NFTA_CHAIN_POLICY, policy);
    mnl_attr_put_strz(n->msg, NFTA_CHAIN_TYPE, type);
    end(n);
}

/* ---- expressions of one rule ---- */

static struct nlattr *open_expr(struct nft *n, const char *name, struct nlattr **elem)
{
    *elem = mnl_attr_nest_start(n->msg, NFTA_LIST_ELEM);
    mnl_attr_put_strz(n->msg, NFTA_EXPR_NAME, name);
    return mnl_attr_nest_start(n->msg, NFTA_EXPR_DATA);
}

static void close_expr(struct nft *n, struct nlattr *data, struct nlattr *elem)
{
    mnl_attr_nest_end(n->msg, data);
    mnl_attr_nest_end(n->msg, elem);
}

static void put_data(struct nft *n, uint16_t type, const void *p, size_t len)
{
    struct nlattr *nest = mnl_attr_nest_start(n->msg, type);
    mnl_attr_put(n->msg, NFTA_DATA_VALUE, len, p);
    mnl_attr_nest_end(n->msg, nest);
}

static void cmp(struct nft *n, uint32_t op, const void *p, size_t len)
{
    struct nlattr *elem, *data = open_expr(n, "cmp", &elem);
    put_u32(n, NFTA_CMP_SREG, NFT_REG_1);
    put_u32(n, NFTA_CMP_OP, op);
    put_data(n, NFTA_CMP_DATA, p, len);
    close_expr(n, data, elem);
}

static void meta_is(struct nft *n, uint32_t key, uint8_t value)
{
    struct nlattr *elem, *data = open_expr(n, "meta", &elem);
    put_u32(n, NFTA_META_KEY, key);
    put_u32(n, NFTA_META_DREG, NFT_REG_1);
    close_expr(n, data, elem);
    cmp(n, NFT_CMP_EQ, &value, 1);
}

static void payload_is(struct nft *n, uint32_t base, uint32_t offset, const void *p, size_t len)
{
    struct nlattr *elem, *data = open_expr(n, "payload", &elem);
    put_u32(n, NFTA_PAYLOAD_DREG, NFT_REG_1);
    put_u32(n, NFTA_PAYLOAD_BASE, base);
    put_u32(n, NFTA_PAYLOAD_OFFSET, offset);
    put_u32(n, NFTA_PAYLOAD_LEN, (uint32_t)len);
    close_expr(n, data, elem);
    cmp(n, NFT_CMP_EQ, p, len);
}

static void established(struct nft *n)
{
    uint32_t mask = NF_CT_STATE_BIT(IP_CT_ESTABLISHED), none = 0;
    struct nlattr *elem, *data = open_expr(n, "ct", &elem);
    put_u32(n, NFTA_CT_DREG, NFT_REG_1);
    put_u32(n, NFTA_CT_KEY, NFT_CT_STATE);
    close_expr(n, data, elem);
    data = open_expr(n, "bitwise", &elem);
    put_u32(n, NFTA_BITWISE_SREG, NFT_REG_1);
    put_u32(n, NFTA_BITWISE_DREG, NFT_REG_1);
    put_u32(n, NFTA_BITWISE_LEN, sizeof(mask));
    put_data(n, NFTA_BITWISE_MASK, &mask, sizeof(mask));
    put_data(n, NFTA_BITWISE_XOR, &none, sizeof(none));
    close_expr(n, data, elem);
    cmp(n, NFT_CMP_NEQ, &none, sizeof(none));
}

static void verdict(struct nft *n, uint32_t code)
{
    struct nlattr *elem, *data = open_expr(n, "immediate", &elem);
    put_u32(n, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    struct nlattr *d = mnl_attr_nest_start(n->msg, NFTA_IMMEDIATE_DATA);
    struct nlattr *v = mnl_attr_nest_start(n->msg, NFTA_DATA_VERDICT);
    put_u32(n, NFTA_VERDICT_CODE, code);
    mnl_attr_nest_end(n->msg, v);
    mnl_attr_nest_end(n->msg, d);
    close_expr(n, data, elem);
}

static void redirect(struct nft *n, uint16_t port)
{
    uint16_t be = htons(port);
    struct nlattr *elem, *data = open_expr(n, "immediate", &elem);
    put_u32(n, NFTA_IMMEDIATE_DREG, NFT_REG_1);
    put_data(n, NFTA_IMMEDIATE_DATA, &be, sizeof(be));
    close_expr(n, data, elem);
    data = open_expr(n, "redir", &elem);
    put_u32(n, NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1);
    close_expr(n, data, elem);
}

static void counter(struct nft *n)
{
    struct nlattr *elem, *data = open_expr(n, "counter", &elem);
    close_expr(n, data, elem);
}

static void reject(struct nft *n)
{
    struct nlattr *elem, *data = open_expr(n, "reject", &elem);
    put_u32(n, NFTA_REJECT_TYPE, NFT_REJECT_ICMPX_UNREACH);
    mnl_attr_put_u8(n->msg, NFTA_REJECT_ICMP_CODE, NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
    close_expr(n, data, elem);
}

/* ---- rules ---- */

static void rule_begin(struct nft *n, const char *chain)
{
    begin(n, nft_type(NFT_MSG_NEWRULE), NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, NFPROTO_INET, 0);
    mnl_attr_put_strz(n->msg, NFTA_RULE_TABLE, TABLE);
    mnl_attr_put_strz(n->msg, NFTA_RULE_CHAIN, chain);
    n->exprs = mnl_attr_nest_start(n->msg, NFTA_RULE_EXPRESSIONS);
}

static void rule_end(struct nft *n)
{
    mnl_attr_nest_end(n->msg, n->exprs);
    n->rules[n->nrules++] = n->msg;
    end(n);
}

static void rule_port_53(struct nft *n, uint8_t protocol)
{
    uint16_t port = htons(53);
    rule_begin(n, NAT_CHAIN);
    meta_is(n, NFT_META_L4PROTO, protocol);
    payload_is(n, NFT_PAYLOAD_TRANSPORT_HEADER, 2, &port, sizeof(port));
    counter(n);
    redirect(n, SANDBOX_DNS_PORT);
    rule_end(n);
}

/* To the first bytes of the loopback address: all of it, or those that every such address has. */
static void to_loopback(struct nft *n, uint8_t family, size_t v4_bytes)
{
    const uint8_t v4[4] = {127, 0, 0, 1};
    const struct in6_addr v6 = IN6ADDR_LOOPBACK_INIT;
    meta_is(n, NFT_META_NFPROTO, family);
    if (family == NFPROTO_IPV4)
        payload_is(n, NFT_PAYLOAD_NETWORK_HEADER, 16, v4, v4_bytes);
    else
        payload_is(n, NFT_PAYLOAD_NETWORK_HEADER, 24, &v6, sizeof(v6));
}

static void rule_loopback(struct nft *n, const char *chain, uint8_t family)
{
    rule_begin(n, chain);
    to_loopback(n, family, 1);
    verdict(n, NF_ACCEPT);
    rule_end(n);
}

static void rule_count_own(struct nft *n, uint8_t family, uint16_t port)
{
    uint16_t be = htons(port);
    rule_begin(n, NAT_CHAIN);
    to_loopback(n, family, 4);
    meta_is(n, NFT_META_L4PROTO, IPPROTO_TCP);
    payload_is(n, NFT_PAYLOAD_TRANSPORT_HEADER, 2, &be, sizeof(be));
    counter(n);
    rule_end(n);
}

static void rule_icmp(struct nft *n, uint8_t family, uint8_t protocol, uint8_t type)
{
    rule_begin(n, FILTER_CHAIN);
    meta_is(n, NFT_META_NFPROTO, family);
    meta_is(n, NFT_META_L4PROTO, protocol);
    payload_is(n, NFT_PAYLOAD_TRANSPORT_HEADER, 0, &type, 1);
    verdict(n, NF_ACCEPT);
    rule_end(n);
}

/* In the order of enum sandbox_count. */
static void rules_redirect(struct nft *n)
{
    rule_port_53(n, IPPROTO_UDP);
    rule_port_53(n, IPPROTO_TCP);
    rule_count_own(n, NFPROTO_IPV4, SANDBOX_TCP_PORT);
    rule_count_own(n, NFPROTO_IPV6, SANDBOX_TCP_PORT);
    rule_count_own(n, NFPROTO_IPV4, SANDBOX_DNS_PORT);
    rule_count_own(n, NFPROTO_IPV6, SANDBOX_DNS_PORT);
    rule_loopback(n, NAT_CHAIN, NFPROTO_IPV4);
    rule_loopback(n, NAT_CHAIN, NFPROTO_IPV6);
    rule_begin(n, NAT_CHAIN);
    meta_is(n, NFT_META_L4PROTO, IPPROTO_TCP);
    counter(n);
    redirect(n, SANDBOX_TCP_PORT);
    rule_end(n);
}

static void rules_guard(struct nft *n)
{
    rule_begin(n, FILTER_CHAIN);
    established(n);
    verdict(n, NF_ACCEPT);
    rule_end(n);
    rule_icmp(n, NFPROTO_IPV4, IPPROTO_ICMP, 3);
    rule_icmp(n, NFPROTO_IPV6, IPPROTO_ICMPV6, 1);
    rule_loopback(n, FILTER_CHAIN, NFPROTO_IPV4);
    rule_loopback(n, FILTER_CHAIN, NFPROTO_IPV6);
    rule_begin(n, FILTER_CHAIN);
    counter(n);
    reject(n);
    rule_end(n);
}

static void build(struct nft *n)
{
    begin(n, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    end(n);
    add_table(n);
    add_chain(n, NAT_CHAIN, "nat", -100, NF_ACCEPT);
    add_chain(n, FILTER_CHAIN, "filter", 0, NF_DROP);
    rules_redirect(n);
    rules_guard(n);
    begin(n, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    end(n);
}

static int commit(struct mnl_socket *nl, const struct nft *n)
{
    char mem[8192];
    if (mnl_socket_sendto(nl, n->mem, n->len) < 0)
        return -errno;
    for (unsigned got = 0; got < n->acks;) {
        ssize_t len = mnl_socket_recvfrom(nl, mem, sizeof(mem));
        if (len < 0)
            return -errno;
        int left = (int)len;
        for (const struct nlmsghdr *h = (const void *)mem; mnl_nlmsg_ok(h, left);
             h = mnl_nlmsg_next(h, &left)) {
            if (h->nlmsg_type != NLMSG_ERROR)
                continue;
            const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
            if (e->error)
                return e->error;
            got++;
        }
    }
    return 0;
}

/* ---- reading back ---- */

/* Number `ordinal` (from 0) of the attributes of this type; NULL when there are not so many. */
static const struct nlattr *find_attr(const void *p, size_t n, uint16_t type, unsigned ordinal)
{
    int left = (int)n;
    for (const struct nlattr *a = p; mnl_attr_ok(a, left);
         left -= MNL_ALIGN(a->nla_len), a = mnl_attr_next(a))
        if (mnl_attr_get_type(a) == type && ordinal-- == 0)
            return a;
    return NULL;
}

#define MAX_NEST 8

/* True when `got` holds every attribute of `sent` with the same value. What the kernel adds of
 * itself (flags, the second register of redir) is fine, except in a list: there the number must
 * agree. */
static bool contains(const void *sent, size_t nsent, const void *got, size_t ngot, unsigned depth)
{
    unsigned elements = 0;
    int left = (int)nsent;
    for (const struct nlattr *a = sent; mnl_attr_ok(a, left);
         left -= MNL_ALIGN(a->nla_len), a = mnl_attr_next(a)) {
        bool in_list = depth == 0 && mnl_attr_get_type(a) == NFTA_LIST_ELEM;
        const struct nlattr *b = find_attr(got, ngot, mnl_attr_get_type(a), in_list ? elements : 0);
        elements += in_list;
        if (!b || depth > MAX_NEST)
            return false;
        size_t na = mnl_attr_get_payload_len(a), nb = mnl_attr_get_payload_len(b);
        const void *pa = mnl_attr_get_payload(a), *pb = mnl_attr_get_payload(b);
        bool same = (a->nla_type & NLA_F_NESTED) ? contains(pa, na, pb, nb, depth + 1)
                                                 : na == nb && memcmp(pa, pb, na) == 0;
        if (!same)
            return false;
    }
    return depth != 0 || !find_attr(got, ngot, NFTA_LIST_ELEM, elements);
}

static const struct nlattr *top_attr(const struct nlmsghdr *h, uint16_t type)
{
    return find_attr(mnl_nlmsg_get_payload_offset(h, sizeof(struct nfgenmsg)),
                     mnl_nlmsg_get_payload_len(h) - sizeof(struct nfgenmsg), type, 0);
}

static bool same_rule(const struct nlmsghdr *sent, const struct nlmsghdr *got)
{
    const struct nlattr *chain_a = top_attr(sent, NFTA_RULE_CHAIN);
    const struct nlattr *chain_b = top_attr(got, NFTA_RULE_CHAIN);
    const struct nlattr *table = top_attr(got, NFTA_RULE_TABLE);
    const struct nlattr *a = top_attr(sent, NFTA_RULE_EXPRESSIONS);
    const struct nlattr *b = top_attr(got, NFTA_RULE_EXPRESSIONS);
    if (!chain_a || !chain_b || !table || !a || !b)
        return false;
    return strcmp(mnl_attr_get_str(chain_a), mnl_attr_get_str(chain_b)) == 0 &&
           strcmp(mnl_attr_get_str(table), TABLE) == 0 &&
           contains(mnl_attr_get_payload(a), mnl_attr_get_payload_len(a), mnl_attr_get_payload(b),
                    mnl_attr_get_payload_len(b), 0);
}

struct check {
    const struct nft *n;
    unsigned seen[2]; /* rules met per chain: nat, filter */
    unsigned count;
    bool differs;
};

/* The next rule sent for the chain of `got`: the dump goes chain by chain, in order. */
static void check_rule(struct check *c, const struct nlmsghdr *got)
{
    const struct nlattr *chain = top_attr(got, NFTA_RULE_CHAIN);
    if (!chain) {
        c->differs = true;
        return;
    }
    unsigned which = strcmp(mnl_attr_get_str(chain), FILTER_CHAIN) == 0, skip = c->seen[which]++;
    for (unsigned i = 0; i < c->n->nrules; i++) {
        const char *mine = mnl_attr_get_str(top_attr(c->n->rules[i], NFTA_RULE_CHAIN));
        if (strcmp(mine, mnl_attr_get_str(chain)) != 0 || skip-- > 0)
            continue;
        c->differs |= !same_rule(c->n->rules[i], got);
        c->count++;
        return;
    }
    c->differs = true;
}

/* Both chains must be there with hook, priority and policy as sent. */
static void check_chain(struct check *c, const struct nlmsghdr *got)
{
    const struct nlattr *name = top_attr(got, NFTA_CHAIN_NAME),
                        *hook = top_attr(got, NFTA_CHAIN_HOOK);
    const struct nlattr *policy = top_attr(got, NFTA_CHAIN_POLICY);
    c->count++;
    if (!name || !hook || !policy) {
        c->differs = true;
        return;
    }
    bool nat = strcmp(mnl_attr_get_str(name), NAT_CHAIN) == 0;
    const void *p = mnl_attr_get_payload(hook);
    size_t n = mnl_attr_get_payload_len(hook);
    const struct nlattr *num = find_attr(p, n, NFTA_HOOK_HOOKNUM, 0);
    const struct nlattr *prio = find_attr(p, n, NFTA_HOOK_PRIORITY, 0);
    c->differs |= !num || !prio || ntohl(mnl_attr_get_u32(num)) != NF_INET_LOCAL_OUT ||
                  ntohl(mnl_attr_get_u32(prio)) != (nat ? (uint32_t)-100 : 0) ||
                  ntohl(mnl_attr_get_u32(policy)) != (nat ? NF_ACCEPT : NF_DROP);
}

static int dump(struct mnl_socket *nl, unsigned what, struct check *c,
                void (*each)(struct check *, const struct nlmsghdr *))
{
    char mem[16384];
    struct nlmsghdr *h = mnl_nlmsg_put_header(mem);
    h->nlmsg_type = nft_type(what);
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    h->nlmsg_seq = 1000 + what;
    struct nfgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
    g->nfgen_family = NFPROTO_UNSPEC; /* rules of any family would be seen */
    if (mnl_socket_sendto(nl, h, h->nlmsg_len) < 0)
        return -errno;
    for (;;) {
        ssize_t n = mnl_socket_recvfrom(nl, mem, sizeof(mem));
        if (n < 0)
            return -errno;
        int left = (int)n;
        for (const struct nlmsghdr *m = (const void *)mem; mnl_nlmsg_ok(m, left);
             m = mnl_nlmsg_next(m, &left)) {
            if (m->nlmsg_type == NLMSG_DONE)
                return 0;
            if (m->nlmsg_type == NLMSG_ERROR)
                return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(m))->error;
            each(c, m);
        }
    }
}

static int read_back(struct mnl_socket *nl, const struct nft *n, struct gvm_err *err)
{
    struct check rules = {.n = n}, chains = {.n = n};
    int r = dump(nl, NFT_MSG_GETRULE, &rules, check_rule);
    if (r == 0)
        r = dump(nl, NFT_MSG_GETCHAIN, &chains, check_chain);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read the packet rules back");
    if (rules.differs || rules.count != n->nrules || chains.differs || chains.count != 2)
        return gvm_err_set(err, EBADMSG,
                           "the packet rules in force are not the ones that were set "
                           "(%u of %u rules, %u chains)",
                           rules.count, n->nrules, chains.count);
    return 0;
}

int sandbox_net_filter(struct sandbox_init *in, struct gvm_err *err)
{
    static struct nft n;
    build(&n);
    struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
        int code = errno;
        if (nl)
            mnl_socket_close(nl);
        return gvm_err_sys(err, code,
                           "no nf_tables in this kernel (CONFIG_NF_TABLES, CONFIG_NFT_NAT, "
                           "CONFIG_NFT_REDIR, CONFIG_NFT_REJECT)");
    }
    int r = commit(nl, &n);
    if (r < 0)
        gvm_err_sys(err, -r,
                    "the kernel refused the packet rules (it needs nf_tables with nat, redir, "
                    "reject, counter and ct: modprobe nft_chain_nat nft_redir nft_reject_inet "
                    "nft_counter nft_ct)");
    else
        r = read_back(nl, &n, err);
    /* Goes to the launcher: who opened it could read the counters, and so can who has it. */
    in->counts = r == 0 ? fcntl(mnl_socket_get_fd(nl), F_DUPFD_CLOEXEC, 3) : -1;
    if (r == 0 && in->counts < 0)
        r = gvm_err_sys(err, errno, "cannot keep the packet counters");
    mnl_socket_close(nl);
    return r;
}
