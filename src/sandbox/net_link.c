/* The only link of a sandbox: lo, with one address of each family that is not loopback, and a local
 * route for everything, so that every address there is ends here.
 *
 * rtnetlink (rtnetlink(7)), all requests in one packet, each acknowledged. Without an address
 * outside 127.0.0.0/8 and ::1, getaddrinfo(3) with AI_ADDRCONFIG would find the machine to have no
 * network.
 */
#include "sandbox/sandbox_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#define LO 1 /* index of lo in every network namespace */

struct batch {
    char mem[4096];
    size_t len;
    uint32_t seq;
};

static struct nlmsghdr *begin(struct batch *b, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(b->mem + b->len);
    h->nlmsg_type = type;
    h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    h->nlmsg_seq = ++b->seq;
    return h;
}

static void end(struct batch *b, const struct nlmsghdr *h)
{
    b->len += MNL_ALIGN(h->nlmsg_len);
}

static void add_link_up(struct batch *b)
{
    struct nlmsghdr *h = begin(b, RTM_NEWLINK, 0);
    struct ifinfomsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->ifi_family = AF_UNSPEC;
    m->ifi_index = LO;
    m->ifi_change = IFF_UP;
    m->ifi_flags = IFF_UP;
    end(b, h);
}

static void add_address(struct batch *b, int family, const void *addr, size_t n)
{
    struct nlmsghdr *h = begin(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->ifa_family = (uint8_t)family;
    m->ifa_prefixlen = (uint8_t)(n * 8);
    m->ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0;
    m->ifa_scope = RT_SCOPE_UNIVERSE;
    m->ifa_index = LO;
    mnl_attr_put(h, IFA_LOCAL, n, addr);
    mnl_attr_put(h, IFA_ADDRESS, n, addr);
    end(b, h);
}

static void add_route(struct batch *b, int family, const void *source, size_t n)
{
    struct nlmsghdr *h = begin(b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    m->rtm_family = (uint8_t)family;
    m->rtm_table = RT_TABLE_LOCAL;
    m->rtm_protocol = RTPROT_BOOT;
    m->rtm_scope = family == AF_INET ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
    m->rtm_type = RTN_LOCAL;
    mnl_attr_put_u32(h, RTA_OIF, LO);
    mnl_attr_put(h, RTA_PREFSRC, n, source);
    end(b, h);
}

/* Reads acknowledgements until all `count` came or one refused. */
static int await_acks(struct mnl_socket *nl, uint32_t count)
{
    char mem[8192];
    for (uint32_t got = 0; got < count;) {
        ssize_t n = mnl_socket_recvfrom(nl, mem, sizeof(mem));
        if (n < 0)
            return -errno;
        int left = (int)n;
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

static int send_batch(const struct batch *b, struct gvm_err *err)
{
    struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!nl)
        return gvm_err_sys(err, errno, "cannot open a route netlink socket");
    int r = mnl_socket_sendto(nl, b->mem, b->len) < 0 ? -errno : await_acks(nl, b->seq);
    mnl_socket_close(nl);
    return r < 0 ? gvm_err_sys(err, -r, "the kernel refused lo, its addresses or its routes") : 0;
}

static bool have_ipv6(void)
{
    GVM_AUTOCLOSE int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd >= 0;
}

int sandbox_net_link(struct sandbox_init *in, struct gvm_err *err)
{
    struct batch b = {.len = 0};
    struct in_addr v4;
    struct in6_addr v6;
    (void)in;
    if (inet_pton(AF_INET, SANDBOX_ADDR4, &v4) != 1 || inet_pton(AF_INET6, SANDBOX_ADDR6, &v6) != 1)
        return gvm_err_set(err, EINVAL, "own addresses do not parse");
    add_link_up(&b);
    add_address(&b, AF_INET, &v4, sizeof(v4));
    add_route(&b, AF_INET, &v4, sizeof(v4));
    if (have_ipv6()) {
        add_address(&b, AF_INET6, &v6, sizeof(v6));
        add_route(&b, AF_INET6, &v6, sizeof(v6));
    }
    return send_batch(&b, err);
}
