/* gvm run --publish HOSTPORT:PORT: a server inside, reached from this machine's loopback.
 *
 * The launcher listens on 127.0.0.1:HOSTPORT. For each connection the init hands out a socket that
 * was made in the sandbox's network, and the launcher connects that one to PORT on the loopback in
 * there: first over IPv4, and when nobody listens over IPv6. Bytes are carried both ways, an end is
 * passed on as an end. Nothing is let in by this but connections to that one port; a connection
 * made from inside still meets the proxy.
 */
#include "cli/run.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNECTIONS 256
#define BACKLOG         64
#define BLOCK           16384

struct half { /* one direction */
    char mem[BLOCK];
    size_t at, n;
    bool ended; /* nothing more will come */
    bool told;  /* and the other end knows */
};

struct conn {
    struct conn *next;
    uint16_t port;
    int family;
    enum { WAITING, CONNECTING, OPEN, CLOSED } state;
    int outer, inner;
    struct half in, out; /* towards the server, towards the client */
};

struct port {
    int listener;
    uint16_t inner;
};

struct run_publish {
    int epoll;
    unsigned nports, nconns;
    struct port port[RUN_MAX_LIST];
    struct conn *conns;
};

/* ---- opening ---- */

static int parse(const char *text, uint16_t *ret_outer, uint16_t *ret_inner)
{
    struct gvm_str rest = gvm_str(text), outer;
    uint64_t a = 0, b = 0;
    bool two = gvm_str_cut(&rest, ':', &outer);
    if (!two || gvm_parse_u64(outer, 65535, &a) < 0 || gvm_parse_u64(rest, 65535, &b) < 0 ||
        b == 0 || b == 53)
        return -EINVAL;
    *ret_outer = (uint16_t)a;
    *ret_inner = (uint16_t)b;
    return 0;
}

bool run_publish_ok(const char *text)
{
    uint16_t a, b;
    return parse(text, &a, &b) == 0;
}

static int watch(struct run_publish *p, int fd, uint32_t events, void *what)
{
    struct epoll_event e = {.events = events, .data.ptr = what};
    return epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static int open_port(struct run_publish *p, const char *text, struct gvm_err *err)
{
    struct port *at = &p->port[p->nports];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    uint16_t outer;
    int on = 1;
    if (parse(text, &outer, &at->inner) < 0)
        return gvm_err_set(err, EINVAL, "--publish %s is not HOSTPORT:PORT", text);
    a.sin_port = htons(outer);
    at->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (at->listener < 0 ||
        setsockopt(at->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(at->listener, (struct sockaddr *)&a, sizeof(a)) < 0 ||
        listen(at->listener, BACKLOG) < 0 ||
        getsockname(at->listener, (struct sockaddr *)&a, &n) < 0 ||
        watch(p, at->listener, EPOLLIN, at) < 0)
        return gvm_err_sys(err, errno, "cannot publish on 127.0.0.1:%u", outer);
    p->nports++;
    cli_say("port %u inside is 127.0.0.1:%u here", at->inner, ntohs(a.sin_port));
    return 0;
}

int run_publish_open(struct run *r, struct gvm_err *err)
{
    const struct run_list *l = &r->opt.publish;
    if (l->n == 0)
        return 0;
    struct run_publish *p = gvm_calloc(1, sizeof(*p));
    if (!p)
        return gvm_err_set(err, ENOMEM, "out of memory");
    r->publish = p;
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    int x = p->epoll < 0 ? gvm_err_sys(err, errno, "cannot watch published ports") : 0;
    for (unsigned i = 0; i < l->n && x == 0; i++)
        x = open_port(p, l->v[i], err);
    return x;
}

int run_publish_fd(const struct run *r)
{
    return r->publish ? r->publish->epoll : -1;
}

/* ---- connections ---- */

/* Taken out of the epoll first: the init may not have closed its own copy yet, and as long as it
 * has one the kernel goes on telling about it. */
static void let_go(struct run_publish *p, int *fd)
{
    if (*fd >= 0 && epoll_ctl(p->epoll, EPOLL_CTL_DEL, *fd, NULL) < 0 && errno != ENOENT)
        cli_say("a published connection could not be let go of: %s", strerror(errno));
    gvm_close(fd);
}

static void end_conn(struct run_publish *p, struct conn *c)
{
    if (c->state == CLOSED)
        return;
    c->state = CLOSED;
    let_go(p, &c->outer);
    let_go(p, &c->inner);
    p->nconns--;
}

static void sweep(struct run_publish *p)
{
    for (struct conn **at = &p->conns; *at;) {
        struct conn *c = *at;
        if (c->state != CLOSED) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        free(c);
    }
}

/* Takes what is there into an empty half; false when the connection broke. */
static bool fill(struct half *h, int from)
{
    if (h->n || h->ended)
        return true;
    ssize_t n = recv(from, h->mem, sizeof(h->mem), 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    h->at = 0;
    h->n = (size_t)n;
    h->ended = n == 0;
    return true;
}

static bool drain(struct half *h, int to)
{
    while (h->n) {
        ssize_t n = send(to, h->mem + h->at, h->n, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        h->at += (size_t)n;
        h->n -= (size_t)n;
    }
    if (h->ended && !h->told) {
        h->told = true;
        return shutdown(to, SHUT_WR) == 0 || errno == ENOTCONN;
    }
    return true;
}

static void rearm(struct run_publish *p, struct conn *c)
{
    struct epoll_event outer = {.data.ptr = c}, inner = {.data.ptr = c};
    outer.events = (c->in.n || c->in.ended ? 0u : EPOLLIN) | (c->out.n ? EPOLLOUT : 0u);
    inner.events = (c->out.n || c->out.ended ? 0u : EPOLLIN) | (c->in.n ? EPOLLOUT : 0u);
    if (c->state == CONNECTING)
        inner.events = EPOLLOUT;
    if (epoll_ctl(p->epoll, EPOLL_CTL_MOD, c->outer, &outer) < 0 ||
        (c->inner >= 0 && epoll_ctl(p->epoll, EPOLL_CTL_MOD, c->inner, &inner) < 0))
        end_conn(p, c);
}

static void carry(struct run_publish *p, struct conn *c)
{
    bool good = fill(&c->in, c->outer) && drain(&c->in, c->inner) && fill(&c->out, c->inner) &&
                drain(&c->out, c->outer);
    if (!good || (c->in.told && c->out.told))
        end_conn(p, c);
    else
        rearm(p, c);
}

static void ask(struct run *r, struct conn *c, int family)
{
    c->family = family;
    c->state = WAITING;
    if (gvm_sandbox_ask_socket(r->sandbox, family) < 0)
        end_conn(r->publish, c);
}

/* How the connection inside went: nobody there over IPv4 may be there over IPv6. */
static void connected(struct run *r, struct conn *c)
{
    int code = 0;
    socklen_t n = sizeof(code);
    if (getsockopt(c->inner, SOL_SOCKET, SO_ERROR, &code, &n) < 0)
        code = errno;
    if (code == 0) {
        c->state = OPEN;
        carry(r->publish, c);
        return;
    }
    let_go(r->publish, &c->inner);
    if (code == ECONNREFUSED && c->family == AF_INET)
        ask(r, c, AF_INET6);
    else
        end_conn(r->publish, c);
}

static void connect_inner(struct run *r, struct conn *c, int fd)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET,
                             .sin_port = htons(c->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(c->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool four = c->family == AF_INET;
    c->inner = fd;
    c->state = CONNECTING;
    int x = four ? connect(fd, (struct sockaddr *)&v4, sizeof(v4))
                 : connect(fd, (struct sockaddr *)&v6, sizeof(v6));
    if (x < 0 && errno == ECONNREFUSED && four) {
        gvm_close(&c->inner); /* not watched yet */
        ask(r, c, AF_INET6);
        return;
    }
    if ((x < 0 && errno != EINPROGRESS) || watch(r->publish, fd, EPOLLOUT, c) < 0)
        end_conn(r->publish, c);
}

static void accept_all(struct run *r, const struct port *at)
{
    struct run_publish *p = r->publish;
    for (;;) {
        int fd = accept4(at->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return;
        struct conn *c = p->nconns < MAX_CONNECTIONS ? gvm_calloc(1, sizeof(*c)) : NULL;
        if (!c || watch(p, fd, 0, c) < 0) {
            free(c);
            gvm_close(&fd);
            continue;
        }
        *c = (struct conn){.next = p->conns, .port = at->inner, .outer = fd, .inner = -1};
        p->conns = c;
        p->nconns++;
        ask(r, c, AF_INET);
    }
}

static void give_sockets(struct run *r)
{
    int family, fd;
    while ((fd = gvm_sandbox_take_socket(r->sandbox, &family)) != -1) {
        struct conn *c = r->publish->conns;
        while (c && !(c->state == WAITING && c->family == family))
            c = c->next;
        if (c && fd >= 0)
            connect_inner(r, c, fd);
        else if (c)
            end_conn(r->publish, c);
        else
            gvm_close(&fd);
    }
}

void run_publish_tick(struct run *r)
{
    struct run_publish *p = r->publish;
    struct epoll_event e[32];
    if (!p)
        return;
    give_sockets(r);
    int n = epoll_wait(p->epoll, e, 32, 0);
    for (int i = 0; i < n; i++) {
        const struct port *at = e[i].data.ptr;
        struct conn *c = e[i].data.ptr;
        if (at >= p->port && at < p->port + p->nports)
            accept_all(r, at);
        else if (c->state == CONNECTING)
            connected(r, c);
        else if (c->state == OPEN && (e[i].events & EPOLLERR))
            end_conn(p, c);
        else if (c->state == OPEN)
            carry(p, c);
        else if (c->state == WAITING && (e[i].events & (EPOLLHUP | EPOLLERR)))
            end_conn(p, c);
    }
    sweep(p);
}

void run_publish_close(struct run *r)
{
    struct run_publish *p = r->publish;
    if (!p)
        return;
    for (struct conn *c = p->conns; c; c = c->next)
        end_conn(p, c);
    sweep(p);
    for (unsigned i = 0; i < p->nports; i++)
        gvm_close(&p->port[i].listener);
    gvm_close(&p->epoll);
    free(p);
    r->publish = NULL;
}
