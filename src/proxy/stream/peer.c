/* Where a stream leads to, and where the other end wanted it to. */
#include <errno.h>
#include <netinet/in.h>
#include "proxy/stream/stream_int.h"

#define ORIGINAL_DST                                                                               \
    80 /* SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST; their headers clash with libc's */

int stream_peer(struct stream *s, struct gvm_ip *ret_ip, uint16_t *ret_port)
{
    if (!s->peer.family) {
        struct sockaddr_storage sa = {0};
        int n = sizeof sa;
        int r = uv_tcp_getpeername(&s->tcp, (struct sockaddr *)&sa, &n);
        if (r < 0)
            return r;
        gvm_ip_from_sockaddr((const struct sockaddr *)&sa, &s->peer, &s->peer_port);
    }
    *ret_ip = s->peer;
    *ret_port = s->peer_port;
    return 0;
}

int stream_original_dst(struct stream *s, struct gvm_ip *ret_ip, uint16_t *ret_port)
{
    struct sockaddr_storage here = {0}, dst = {0};
    int n = sizeof here;
    int r = uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&here, &n);
    if (r < 0)
        return r;
    socklen_t len =
        here.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    int level = here.ss_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    if (getsockopt(s->fd, level, ORIGINAL_DST, &dst, &len) < 0)
        return errno == ENOPROTOOPT ? -ENOENT : -errno;
    struct gvm_ip ip, local;
    uint16_t port = 0, local_port = 0;
    gvm_ip_from_sockaddr((const struct sockaddr *)&dst, &ip, &port);
    gvm_ip_from_sockaddr((const struct sockaddr *)&here, &local, &local_port);
    if (port == local_port && gvm_ip_eq(&ip, &local))
        return -ENOENT; /* came straight to the listener */
    *ret_ip = ip;
    *ret_port = port;
    return 0;
}
