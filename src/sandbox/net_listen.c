/* The six listeners of a run. They are bound to loopback, because redirected packets arrive at
 * 127.0.0.1 and
 * ::1, and because a DNS reply must leave from the very address its question reached: connection
 * tracking would not recognise it otherwise. */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define BACKLOG 1024

struct place {
    int family, type;
    uint16_t port;
};

/* The order of GVM_MSG_RUN_REGISTER. */
static const struct place places[GVM_SANDBOX_LISTENERS] = {
    {AF_INET, SOCK_STREAM, SANDBOX_TCP_PORT}, {AF_INET6, SOCK_STREAM, SANDBOX_TCP_PORT},
    {AF_INET, SOCK_DGRAM, SANDBOX_DNS_PORT},  {AF_INET6, SOCK_DGRAM, SANDBOX_DNS_PORT},
    {AF_INET, SOCK_STREAM, SANDBOX_DNS_PORT}, {AF_INET6, SOCK_STREAM, SANDBOX_DNS_PORT},
};

static int bind_loopback(int fd, int family, uint16_t port)
{
    int on = 1;
    if (family == AF_INET) {
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        return bind(fd, (struct sockaddr *)&a, sizeof(a));
    }
    struct sockaddr_in6 a = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
        return -1;
    return bind(fd, (struct sockaddr *)&a, sizeof(a));
}

/* Descriptor or negative errno. */
static int open_one(int family, int type, uint16_t port)
{
    GVM_AUTOCLOSE int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind_loopback(fd, family, port) < 0)
        return -errno;
    if (type == SOCK_STREAM && listen(fd, BACKLOG) < 0)
        return -errno;
    return gvm_steal_fd(&fd);
}

int sandbox_net_listen(struct sandbox_init *in, struct gvm_err *err)
{
    for (unsigned i = 0; i < GVM_SANDBOX_LISTENERS; i++) {
        int fd = open_one(places[i].family, places[i].type, places[i].port);
        /* A kernel without IPv6: nobody inside can use it either. An IPv4 socket on a port that no
         * rule leads to keeps the place. */
        if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)
            fd = open_one(AF_INET, places[i].type, 0);
        if (fd < 0)
            return gvm_err_sys(err, -fd, "cannot open the listener on port %u", places[i].port);
        in->listeners[i] = fd;
    }
    return 0;
}
