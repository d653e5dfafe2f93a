/* gvm audit serve: the record for tlog-tiles clients, over HTTP, read only.
 *
 * One thread, one poll loop. The process confines itself before it listens to anybody: it can read
 * the ledger's directory and answer the connections it accepts, and nothing else. A request is a
 * strict head of at most HEAD_MAX bytes (wire/http1.h), GET or HEAD; one answer, then the
 * connection ends. Private members are not in what is served (ledger/serve.c).
 *
 * Entries say what agents did, so a web page must not read them through the browser of whoever runs
 * this: no answer allows another origin, and on a loopback address a Host that is a name, as one
 * has after DNS rebinding, is refused.
 */
#include "cli/audit_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "confine/confine.h"
#include "wire/http1.h"

enum { CLIENTS = 16, HEAD_MAX = 8192, HEAD_MS = 10000, ANSWER_MS = 60000 };

struct client {
    int fd; /* -1: free */
    size_t got;
    char in[HEAD_MAX];
    bool answering;
    char head[512];
    size_t head_len, sent; /* of head and body together */
    struct gvm_buf body;
    int64_t until;
};

struct server {
    int fd;
    bool loopback;
    struct gvm_tiles *tiles;
    struct client client[CLIENTS];
};

/* ---- answers ---- */

static void drop(struct client *c)
{
    gvm_close(&c->fd);
    gvm_buf_done(&c->body);
}

/* `kind`: of the content, or NULL for a refusal, whose text is `why`. */
static void answer(struct client *c, const char *status, const char *kind, const char *cache,
                   const char *why, bool body)
{
    if (!kind) {
        gvm_buf_done(&c->body);
        gvm_buf_init(&c->body, 1024);
        (void)gvm_buf_addf(&c->body, "%s\n", why);
    }
    int n = snprintf(c->head, sizeof c->head,
                     "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: %s"
                     "\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
                     status, kind ? kind : "text/plain; charset=utf-8", c->body.len, cache);
    c->head_len = (size_t)n;
    c->answering = true;
    c->until = gvm_mono_ns() + ANSWER_MS * 1000000ll;
    if (!body)
        gvm_buf_reset(&c->body);
}

/* An address, or localhost: what no foreign name can be made to say. */
static bool is_local_name(struct gvm_str host)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t addr[16];
    bool v6 = host.n && host.p[0] == '[';
    const char *end = v6 ? memchr(host.p, ']', host.n) : memchr(host.p, ':', host.n);
    struct gvm_str name = {host.p + v6, end ? (size_t)(end - host.p) - v6 : host.n - v6};
    return gvm_str_eq(name, GVM_STR("localhost")) ||
           (gvm_str_copy(text, sizeof text, name) == 0 &&
            inet_pton(v6 ? AF_INET6 : AF_INET, text, addr) == 1);
}

static void answer_file(struct server *s, struct client *c, struct gvm_str path, bool body)
{
    struct gvm_err err = {0};
    gvm_buf_done(&c->body);
    int r = gvm_tiles_get(s->tiles, path, &c->body, &err);
    bool head = gvm_str_eq(path, GVM_STR("checkpoint"));
    if (r == 0)
        answer(c, "200 OK", head ? "text/plain; charset=utf-8" : "application/octet-stream",
               head ? "no-cache" : "max-age=31536000, immutable", "", body);
    else if (r == -ENOENT || r == -ENODATA)
        answer(c, r == -ENOENT ? "404 Not Found" : "410 Gone", NULL, "no-cache", err.text, body);
    else
        answer(c, "500 Internal Server Error", NULL, "no-cache", err.text, body);
}

static void on_head(struct server *s, struct client *c, const struct gvm_http1_head *h)
{
    bool head = gvm_str_eq(h->method, GVM_STR("HEAD"));
    struct gvm_str path = h->target;
    if (!head && !gvm_str_eq(h->method, GVM_STR("GET"))) {
        answer(c, "405 Method Not Allowed", NULL, "no-cache", "only GET and HEAD", true);
    } else if (h->body != GVM_BODY_NONE) {
        answer(c, "400 Bad Request", NULL, "no-cache", "a request here has no body", !head);
    } else if (s->loopback && !is_local_name(h->host)) {
        answer(c, "403 Forbidden", NULL, "no-cache",
               "this server is asked by its address or as localhost only", !head);
    } else if (!path.n || path.p[0] != '/') {
        answer(c, "404 Not Found", NULL, "no-cache", "there is no such file", !head);
    } else {
        answer_file(s, c, (struct gvm_str){path.p + 1, path.n - 1}, !head);
    }
}

/* ---- connections ---- */

static void on_readable(struct server *s, struct client *c)
{
    struct gvm_http1_head head;
    struct gvm_err err = {0};
    ssize_t n = read(c->fd, c->in + c->got, sizeof c->in - c->got);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            drop(c);
        return;
    }
    c->got += (size_t)n;
    int r = gvm_http1_request((struct gvm_str){c->in, c->got}, &head, &err);
    if (r == 1)
        on_head(s, c, &head);
    else if (r < 0 || c->got == sizeof c->in)
        answer(c, "400 Bad Request", NULL, "no-cache", r < 0 ? err.text : "the head is too long",
               true);
}

static void on_writable(struct client *c)
{
    while (c->sent < c->head_len + c->body.len) {
        bool head = c->sent < c->head_len;
        const char *p = head ? c->head + c->sent
                             : (const char *)gvm_buf_data(&c->body) + (c->sent - c->head_len);
        size_t left = head ? c->head_len - c->sent : c->head_len + c->body.len - c->sent;
        ssize_t n = send(c->fd, p, left, MSG_NOSIGNAL | (head && c->body.len ? MSG_MORE : 0));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0)
            break;
        c->sent += (size_t)n;
    }
    (void)shutdown(c->fd, SHUT_WR);
    drop(c);
}

static void on_connection(struct server *s)
{
    struct client *c = s->client;
    while (c < s->client + CLIENTS && c->fd >= 0)
        c++;
    int fd =
        c < s->client + CLIENTS ? accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;
    if (fd < 0)
        return;
    *c = (struct client){.fd = fd, .until = gvm_mono_ns() + HEAD_MS * 1000000ll};
}

/* One turn: who is ready is served, who is late is dropped. */
static int turn(struct server *s)
{
    struct pollfd p[1 + CLIENTS];
    bool room = false;
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &s->client[i];
        if (c->fd >= 0 && gvm_mono_ns() > c->until)
            drop(c);
        room |= c->fd < 0;
        p[1 + i] = (struct pollfd){.fd = c->fd, .events = c->answering ? POLLOUT : POLLIN};
    }
    p[0] = (struct pollfd){.fd = room ? s->fd : -1, .events = POLLIN};
    if (poll(p, 1 + CLIENTS, 1000) < 0)
        return errno == EINTR ? 0 : -errno;
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &s->client[i];
        if (c->fd >= 0 && p[1 + i].revents && !c->answering)
            on_readable(s, c);
        if (c->fd >= 0 && p[1 + i].revents && c->answering)
            on_writable(c);
    }
    if (p[0].revents)
        on_connection(s);
    return 0;
}

/* ---- start ---- */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* "127.0.0.1:8080", "[::1]:8080"; no names. */
static bool parse_listen(const char *text, union address *ret, socklen_t *ret_len)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    char host[INET6_ADDRSTRLEN + 2];
    *ret = (union address){0};
    if (!colon || gvm_parse_u64(gvm_str(colon + 1), 65535, &port) < 0 ||
        gvm_str_copy(host, sizeof host, (struct gvm_str){text, (size_t)(colon - text)}) < 0)
        return false;
    size_t n = strlen(host);
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        ret->v6.sin6_family = AF_INET6;
        ret->v6.sin6_port = htons((uint16_t)port);
        *ret_len = sizeof ret->v6;
        return inet_pton(AF_INET6, host + 1, &ret->v6.sin6_addr) == 1;
    }
    ret->v4.sin_family = AF_INET;
    ret->v4.sin_port = htons((uint16_t)port);
    *ret_len = sizeof ret->v4;
    return inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1;
}

static bool is_loopback(const union address *a)
{
    return a->any.sa_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr)
                                        : ntohl(a->v4.sin_addr.s_addr) >> 24 == 127;
}

static int open_socket(struct server *s, const char *text, const union address *a, socklen_t len,
                       struct gvm_err *err)
{
    const int one = 1;
    s->fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    s->loopback = is_loopback(a);
    if (s->fd < 0 || setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(s->fd, &a->any, len) < 0 || listen(s->fd, 64) < 0)
        return gvm_err_sys(err, errno, "cannot listen on %s", text);
    return 0;
}

static void say(const struct server *s)
{
    union address a;
    socklen_t len = sizeof a;
    char host[INET6_ADDRSTRLEN] = "";
    if (getsockname(s->fd, &a.any, &len) < 0)
        return;
    bool v6 = a.any.sa_family == AF_INET6;
    (void)inet_ntop(a.any.sa_family, v6 ? (void *)&a.v6.sin6_addr : (void *)&a.v4.sin_addr, host,
                    sizeof host);
    fprintf(stderr, "serving http://%s%s%s:%u/checkpoint and /tile/...\n", v6 ? "[" : "", host,
            v6 ? "]" : "", ntohs(v6 ? a.v6.sin6_port : a.v4.sin_port));
}

static int confine_self(const char *dir, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot open the ledger %s", dir);
    struct gvm_confine_spec spec = {
        .name = "gvm-serve",
        .lists = GVM_CONFINE_BASE | GVM_CONFINE_LOOP | GVM_CONFINE_UNIX | GVM_CONFINE_FILES |
                 GVM_CONFINE_ACCEPT,
        .dirs_ro = &fd,
        .ndirs_ro = 1,
    };
    return gvm_confine(&spec, err);
}

int audit_serve(const struct audit_opts *o)
{
    static struct server s;
    struct gvm_err err = {0};
    union address a;
    socklen_t len;
    const char *text = o->listen ? o->listen : "127.0.0.1:0";
    if (!parse_listen(text, &a, &len))
        return cli_usage("audit", "--listen wants an address and a port: 127.0.0.1:8080");
    for (unsigned i = 0; i < CLIENTS; i++)
        s.client[i].fd = -1;
    s.tiles = gvm_tiles_new(o->dir);
    int r =
        s.tiles ? open_socket(&s, text, &a, len, &err) : gvm_err_set(&err, ENOMEM, "out of memory");
    if (!r)
        r = confine_self(o->dir, &err);
    if (!r)
        say(&s);
    while (!r)
        r = turn(&s) < 0 ? gvm_err_sys(&err, errno, "poll") : 0;
    gvm_tiles_free(s.tiles);
    gvm_close(&s.fd);
    return cli_fail(GVM_EXIT_ERROR, &err);
}
