/* load - a small HTTPS load generator: N keep-alive connections, one request in flight on each.
 *
 *   load --host NAME --port P [--address IP] [--connect IP:PORT] [--ca FILE] [--path /p]
 *        --connections N --seconds S [--fresh | --hold]
 *
 * --address dials that address instead of resolving NAME; --connect asks that proxy with CONNECT
 * first;
 * --fresh makes a new TLS connection for every request; --hold makes one request on each
 * connection, prints "held" and keeps them open without another word. Prints one JSON line:
 * requests, errors, per_second, p50_us, p99_us. Every certificate is verified against the name.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum phase { CONNECTING, PROXY_ASKED, HANDSHAKE, SENDING, READING };

struct options {
    const char *host, *address, *connect, *ca, *path;
    int port, connections, seconds;
    bool fresh, hold;
};

struct connection {
    int fd;
    enum phase phase;
    SSL *ssl;
    int64_t began;
    size_t got;  /* bytes of the answer so far */
    size_t want; /* whole answer, 0 until the head is known */
    char head[4096];
};

struct load {
    struct options opt;
    struct sockaddr_storage to;
    socklen_t to_len;
    SSL_CTX *ctx;
    int epoll;
    char request[1024];
    size_t request_len;
    uint32_t *samples; /* microseconds x 10 */
    size_t nsamples, max_samples;
    uint64_t requests, errors;
    int64_t end;
};

static int64_t now_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void die(const char *what)
{
    (void)fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int number(const char *text)
{
    char *end = NULL;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || *end || v < 0 || v > 1000000)
        die(text);
    return (int)v;
}

static void resolve(struct load *l)
{
    char host[256], port[16];
    const char *name = l->opt.address ? l->opt.address : l->opt.host;
    (void)snprintf(port, sizeof port, "%d", l->opt.port);
    if (l->opt.connect) {
        (void)snprintf(host, sizeof host, "%s", l->opt.connect);
        char *colon = strrchr(host, ':');
        if (!colon)
            die("--connect wants IP:PORT");
        *colon = 0;
        (void)snprintf(port, sizeof port, "%s", colon + 1);
        name = host;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_INET}, *found = NULL;
    if (getaddrinfo(name, port, &hints, &found) != 0)
        die("getaddrinfo");
    memcpy(&l->to, found->ai_addr, found->ai_addrlen);
    l->to_len = found->ai_addrlen;
    freeaddrinfo(found);
}

static void watch(struct load *l, struct connection *c, uint32_t events, int op)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(l->epoll, op, c->fd, &ev) != 0)
        die("epoll_ctl");
}

static void open_connection(struct load *l, struct connection *c, bool timed)
{
    int one = 1;
    c->fd = socket(l->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->phase = CONNECTING;
    if (timed)
        c->began = now_ns();
    if (connect(c->fd, (struct sockaddr *)&l->to, l->to_len) != 0 && errno != EINPROGRESS)
        die("connect");
    watch(l, c, EPOLLOUT, EPOLL_CTL_ADD);
}

static void close_connection(struct connection *c)
{
    if (c->ssl) {
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(c->ssl);
    }
    c->ssl = NULL;
    (void)close(c->fd);
}

static void failed(struct load *l, struct connection *c)
{
    l->errors++;
    if (l->errors > 1000) {
        (void)fprintf(stderr, "load: more than 1000 errors\n");
        ERR_print_errors_fp(stderr);
        exit(1);
    }
    ERR_clear_error();
    close_connection(c);
    open_connection(l, c, true);
}

static void start_tls(struct load *l, struct connection *c)
{
    c->ssl = SSL_new(l->ctx);
    if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1 || SSL_set1_host(c->ssl, l->opt.host) != 1 ||
        SSL_set_tlsext_host_name(c->ssl, l->opt.host) != 1)
        die("SSL_new");
    SSL_set_connect_state(c->ssl);
    c->phase = HANDSHAKE;
}

/* After a WANT_READ or WANT_WRITE: waits for that. False: the connection failed. */
static bool again(struct load *l, struct connection *c, int r)
{
    int e = SSL_get_error(c->ssl, r);
    if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
        return false;
    watch(l, c, e == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT, EPOLL_CTL_MOD);
    return true;
}

static void send_request(struct load *l, struct connection *c)
{
    c->phase = SENDING;
    if (!l->opt.fresh)
        c->began = now_ns();
    c->got = c->want = 0;
    int r = SSL_write(c->ssl, l->request, (int)l->request_len);
    if (r <= 0) {
        if (!again(l, c, r))
            failed(l, c);
        return;
    }
    c->phase = READING;
    watch(l, c, EPOLLIN, EPOLL_CTL_MOD);
}

static void answered(struct load *l, struct connection *c)
{
    int64_t took = now_ns() - c->began;
    l->requests++;
    if (l->nsamples < l->max_samples)
        l->samples[l->nsamples++] = (uint32_t)(took / 100);
    if (l->opt.hold) {
        watch(l, c, 0, EPOLL_CTL_MOD);
        if (l->requests == (uint64_t)l->opt.connections) {
            (void)printf("held\n");
            (void)fflush(stdout);
        }
    } else if (l->opt.fresh) {
        close_connection(c);
        open_connection(l, c, true);
    } else {
        send_request(l, c);
    }
}

/* Once the head is whole: how long the answer will be. Only Content-Length answers are expected. */
static bool measure(struct connection *c)
{
    size_t n = c->got < sizeof c->head - 1 ? c->got : sizeof c->head - 1;
    c->head[n] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end)
        return n < sizeof c->head - 1;
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (strncmp(c->head, "HTTP/1.1 200", 12) != 0 || !length || length > end)
        return false;
    c->want = (size_t)(end + 4 - c->head) + strtoul(length + 17, NULL, 10);
    return true;
}

static void read_answer(struct load *l, struct connection *c)
{
    for (;;) {
        char spill[16384];
        bool head = c->got < sizeof c->head - 1;
        char *at = head ? c->head + c->got : spill;
        int r = SSL_read(c->ssl, at, head ? (int)(sizeof c->head - 1 - c->got) : (int)sizeof spill);
        if (r <= 0) {
            if (!again(l, c, r))
                failed(l, c);
            return;
        }
        c->got += (size_t)r;
        if (!c->want && !measure(c)) {
            (void)fprintf(stderr, "load: unexpected answer: %.200s\n", c->head);
            failed(l, c);
            return;
        }
        if (c->want && c->got >= c->want) {
            answered(l, c);
            return;
        }
    }
}

static void ask_proxy(struct load *l, struct connection *c)
{
    char text[512];
    int n = snprintf(text, sizeof text, "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n",
                     l->opt.host, l->opt.port, l->opt.host, l->opt.port);
    if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) != n) {
        failed(l, c);
        return;
    }
    c->phase = PROXY_ASKED;
    watch(l, c, EPOLLIN, EPOLL_CTL_MOD);
}

static void handshake(struct load *l, struct connection *c)
{
    int r = SSL_do_handshake(c->ssl);
    if (r == 1)
        send_request(l, c);
    else if (!again(l, c, r))
        failed(l, c);
}

static void proxy_answered(struct load *l, struct connection *c)
{
    char text[1024];
    ssize_t n = recv(c->fd, text, sizeof text - 1, 0);
    if (n < 12 || memcmp(text + 8, " 200", 4) != 0) {
        failed(l, c);
        return;
    }
    start_tls(l, c);
    handshake(l, c);
}

static void step(struct load *l, struct connection *c)
{
    switch (c->phase) {
    case CONNECTING:
        if (l->opt.connect) {
            ask_proxy(l, c);
            break;
        }
        start_tls(l, c);
        handshake(l, c);
        break;
    case PROXY_ASKED:
        proxy_answered(l, c);
        break;
    case HANDSHAKE:
        handshake(l, c);
        break;
    case SENDING:
        send_request(l, c);
        break;
    case READING:
        read_answer(l, c);
        break;
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(struct load *l, double seconds)
{
    double p50 = 0, p99 = 0;
    qsort(l->samples, l->nsamples, sizeof *l->samples, by_value);
    if (l->nsamples) {
        p50 = l->samples[l->nsamples / 2] / 10.0;
        p99 = l->samples[l->nsamples * 99 / 100] / 10.0;
    }
    (void)printf("{\"requests\":%llu,\"errors\":%llu,\"per_second\":%.0f,\"p50_us\":%.1f,"
                 "\"p99_us\":%.1f}\n",
                 (unsigned long long)l->requests, (unsigned long long)l->errors,
                 (double)l->requests / seconds, p50, p99);
}

static void parse(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"host", 1, NULL, 'h'},        {"port", 1, NULL, 'p'},    {"address", 1, NULL, 'a'},
        {"connect", 1, NULL, 'x'},     {"ca", 1, NULL, 'c'},      {"path", 1, NULL, 'u'},
        {"connections", 1, NULL, 'n'}, {"seconds", 1, NULL, 's'}, {"fresh", 0, NULL, 'f'},
        {"hold", 0, NULL, 'o'},        {NULL, 0, NULL, 0}};
    *o = (struct options){.path = "/", .port = 443, .connections = 1, .seconds = 3};
    for (int k; (k = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        const char **text = k == 'h'   ? &o->host
                            : k == 'a' ? &o->address
                            : k == 'x' ? &o->connect
                            : k == 'c' ? &o->ca
                            : k == 'u' ? &o->path
                                       : NULL;
        int *value = k == 'p'   ? &o->port
                     : k == 'n' ? &o->connections
                     : k == 's' ? &o->seconds
                                : NULL;
        if (text)
            *text = optarg;
        else if (value)
            *value = number(optarg);
        else if (k == 'f')
            o->fresh = true;
        else if (k == 'o')
            o->hold = true;
        else
            exit(2);
    }
    if (!o->host || o->connections < 1)
        exit(2);
}

static void prepare(struct load *l)
{
    l->ctx = SSL_CTX_new(TLS_client_method());
    l->max_samples = 8u << 20;
    l->samples = calloc(l->max_samples, sizeof *l->samples);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!l->ctx || !l->samples || l->epoll < 0)
        die("start");
    SSL_CTX_set_verify(l->ctx, SSL_VERIFY_PEER, NULL);
    int ok = l->opt.ca ? SSL_CTX_load_verify_locations(l->ctx, l->opt.ca, NULL)
                       : SSL_CTX_set_default_verify_paths(l->ctx);
    if (ok != 1)
        die("trust");
    char port[16] = "";
    if (l->opt.port != 443)
        (void)snprintf(port, sizeof port, ":%d", l->opt.port);
    l->request_len = (size_t)snprintf(l->request, sizeof l->request,
                                      "GET %s HTTP/1.1\r\nHost: %s%s\r\nUser-Agent: load\r\n\r\n",
                                      l->opt.path, l->opt.host, port);
    resolve(l);
}

int main(int argc, char **argv)
{
    static struct load l;
    parse(argc, argv, &l.opt);
    prepare(&l);
    struct connection *all = calloc((size_t)l.opt.connections, sizeof *all);
    if (!all)
        die("memory");
    for (int i = 0; i < l.opt.connections; i++)
        open_connection(&l, &all[i], true);
    int64_t began = now_ns();
    l.end = began + (int64_t)l.opt.seconds * 1000000000;
    while (now_ns() < l.end) {
        struct epoll_event events[64];
        int n = epoll_wait(l.epoll, events, 64, 200);
        for (int i = 0; i < n; i++)
            step(&l, events[i].data.ptr);
    }
    report(&l, (double)(now_ns() - began) / 1e9);
    for (int i = 0; i < l.opt.connections; i++)
        close_connection(&all[i]);
    free(all);
    free(l.samples);
    SSL_CTX_free(l.ctx);
    (void)close(l.epoll);
    return l.requests == 0;
}
