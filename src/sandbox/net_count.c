/* What the packet rules of a sandbox counted, read by the launcher when all of it has ended.
 *
 * The init opens the netlink socket before it drops its privileges and hands it over. The kernel
 * lets whoever reads through it do so if the opener could, and the reader may too: the launcher
 * owns the sandbox's user namespace. It keeps the network alive as the listeners do, so that the
 * counters can be read after the last process of the sandbox is gone; nobody inside has a way to
 * it.
 */
#include "sandbox/sandbox_int.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#define WAIT_MS 2000 /* the kernel answers at once, or something is very wrong */

struct counting {
    uint64_t redirect[SANDBOX_COUNTS], refused;
    unsigned rules, counters; /* of chain redirect: seen, and with a counter */
    bool done;
    int error;
};

/* Attribute of one type among those at p; the last one wins, there is only one. */
static const struct nlattr *find(const void *p, size_t n, uint16_t type)
{
    const struct nlattr *found = NULL;
    int left = (int)n;
    for (const struct nlattr *a = p; mnl_attr_ok(a, left);
         left -= MNL_ALIGN(a->nla_len), a = mnl_attr_next(a))
        if (mnl_attr_get_type(a) == type)
            found = a;
    return found;
}

static const struct nlattr *find_in(const struct nlattr *nest, uint16_t type)
{
    return nest ? find(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), type) : NULL;
}

static bool text_is(const struct nlattr *a, const char *want)
{
    size_t n = a ? mnl_attr_get_payload_len(a) : 0;
    return n && n == strlen(want) + 1 && memcmp(mnl_attr_get_payload(a), want, n) == 0;
}

/* Packets of the rule's counter; false when it has none. */
static bool packets_of(const struct nlattr *exprs, uint64_t *ret)
{
    const struct nlattr *elem;
    if (!exprs)
        return false;
    mnl_attr_for_each_nested(elem, exprs)
    {
        const struct nlattr *n = find_in(find_in(elem, NFTA_EXPR_DATA), NFTA_COUNTER_PACKETS);
        uint64_t be;
        if (!text_is(find_in(elem, NFTA_EXPR_NAME), "counter") || !n ||
            mnl_attr_get_payload_len(n) != sizeof(be))
            continue;
        memcpy(&be, mnl_attr_get_payload(n), sizeof(be));
        *ret = be64toh(be);
        return true;
    }
    return false;
}

static void take_rule(struct counting *c, const struct nlmsghdr *m)
{
    if (mnl_nlmsg_get_payload_len(m) < sizeof(struct nfgenmsg))
        return;
    const void *p = mnl_nlmsg_get_payload_offset(m, sizeof(struct nfgenmsg));
    size_t n = mnl_nlmsg_get_payload_len(m) - sizeof(struct nfgenmsg);
    const struct nlattr *chain = find(p, n, NFTA_RULE_CHAIN);
    uint64_t packets = 0;
    bool has = packets_of(find(p, n, NFTA_RULE_EXPRESSIONS), &packets);
    if (!text_is(find(p, n, NFTA_RULE_TABLE), SANDBOX_TABLE))
        return;
    if (text_is(chain, SANDBOX_FILTER_CHAIN) && has)
        c->refused = packets;
    if (!text_is(chain, SANDBOX_NAT_CHAIN))
        return;
    if (c->rules < SANDBOX_COUNTS)
        c->redirect[c->rules] = packets;
    c->rules++;
    c->counters += has;
}

static void take_messages(struct counting *c, const void *p, size_t n)
{
    int left = (int)n;
    for (const struct nlmsghdr *m = p; mnl_nlmsg_ok(m, left) && !c->done;
         m = mnl_nlmsg_next(m, &left)) {
        if (m->nlmsg_type == NLMSG_ERROR)
            c->error = ((const struct nlmsgerr *)mnl_nlmsg_get_payload(m))->error;
        c->done = m->nlmsg_type == NLMSG_DONE || m->nlmsg_type == NLMSG_ERROR;
        if (!c->done)
            take_rule(c, m);
    }
}

static int ask(int fd)
{
    char mem[256];
    struct nlmsghdr *h = mnl_nlmsg_put_header(mem);
    h->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    struct nfgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
    g->nfgen_family = NFPROTO_INET;
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    return sendto(fd, h, h->nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0 ? -errno
                                                                                          : 0;
}

static int read_all(int fd, struct counting *c)
{
    static char mem[32768];
    while (!c->done) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int r = poll(&p, 1, WAIT_MS);
        if (r < 0 && errno == EINTR)
            continue;
        ssize_t n = r > 0 ? recv(fd, mem, sizeof(mem), MSG_DONTWAIT) : -1;
        if (n <= 0)
            return r == 0 ? -ETIMEDOUT : n < 0 ? -errno : -EPIPE;
        take_messages(c, mem, (size_t)n);
    }
    return c->error;
}

int sandbox_net_count(int fd, struct gvm_sandbox_counts *ret, struct gvm_err *err)
{
    struct counting c = {.done = false};
    int r = fd < 0 ? -EBADF : ask(fd);
    if (r == 0)
        r = read_all(fd, &c);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read the packet counters of the sandbox");
    if (c.rules != SANDBOX_COUNTS || c.counters != SANDBOX_COUNTS - 2)
        return gvm_err_set(err, EBADMSG, "the packet rules of the sandbox are not what they were");
    const uint64_t *n = c.redirect;
    *ret = (struct gvm_sandbox_counts){
        .tcp = n[SANDBOX_COUNT_TCP] + n[SANDBOX_COUNT_OWN4] + n[SANDBOX_COUNT_OWN6],
        .dns_tcp = n[SANDBOX_COUNT_DNS_TCP] + n[SANDBOX_COUNT_OWN_DNS4] + n[SANDBOX_COUNT_OWN_DNS6],
        .dns_udp = n[SANDBOX_COUNT_DNS_UDP],
        .refused = c.refused};
    return 0;
}
