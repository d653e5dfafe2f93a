/* bench_stream - what two streams cost: a bare TLS relay made of them beside a direct connection.
 *
 *   bench_stream [seconds per measurement, default 2]
 *
 * Three processes on loopback: a TLS server that answers each request with a fixed response, a
 * relay that ends TLS on both sides and passes bytes, a client with N keep-alive connections and
 * one request in flight on each. Direct and relayed runs alternate; the best of three rounds
 * counts. The pipeline can never cost less than this floor. Prints one JSON line per measurement.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "../tests/unit/proxy/tls_fixture.h"
#include "proxy/stream/stream.h"

#define MAX_SAMPLES 2000000u
#define MAX_CONNS   64

static const char request[] = "GET /v1/models HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\n"
                              "Accept: */*\r\nAuthorization: Bearer 0123456789abcdef\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                               "Content-Length: 13\r\n\r\n{\"ok\": true}\r\n";

static uv_loop_t loop;
static SSL_CTX *server_ctx, *client_ctx;
static struct sockaddr_in server_at, relay_at;

static void need(int r, const char *what)
{
    if (r >= 0)
        return;
    (void)fprintf(stderr, "bench_stream: %s: %s\n", what, uv_strerror(r));
    exit(1);
}

/* ---- server ---- */

struct served {
    struct stream *s;
    size_t got;
};

static void served_data(void *arg, const uint8_t *p, size_t n)
{
    (void)p;
    struct served *v = arg;
    for (v->got += n; v->got >= sizeof request - 1; v->got -= sizeof request - 1)
        need(stream_write(v->s, response, sizeof response - 1), "answer");
}

static void served_eof(void *arg)
{
    struct served *v = arg;
    stream_close(v->s, 0);
    free(v);
}

static void served_close(void *arg, const struct gvm_err *err)
{
    (void)err;
    free(arg);
}

static const struct stream_events served_events = {
    .on_data = served_data, .on_eof = served_eof, .on_close = served_close};

static void served_tls(void *arg, const struct gvm_err *err)
{
    struct served *v = arg;
    if (err)
        free(v);
    else
        stream_resume(v->s);
}

static void on_served(uv_stream_t *l, int status)
{
    struct served *v = calloc(1, sizeof *v);
    need(status, "accept");
    if (!v)
        exit(1);
    need(stream_accept(l, &served_events, v, &v->s, NULL), "accept");
    need(stream_start_tls(v->s, SSL_new(server_ctx), true, GVM_STR(""), 5000, served_tls, v, NULL),
         "TLS");
}

/* ---- relay ---- */

struct pair {
    struct half {
        struct stream *s;
        struct pair *pair;
        struct half *other;
    } agent, upstream;
};

static void pair_end(struct pair *p)
{
    if (p->agent.s)
        stream_close(p->agent.s, 0);
    if (p->upstream.s)
        stream_close(p->upstream.s, 0);
    free(p);
}

static void half_data(void *arg, const uint8_t *p, size_t n)
{
    struct half *h = arg;
    need(stream_write(h->other->s, p, n), "relay");
    if (stream_queued(h->other->s) > GVM_STREAM_HIGH)
        stream_pause(h->s);
}

static void half_drain(void *arg)
{
    struct half *h = arg;
    stream_resume(h->other->s);
}

static void half_eof(void *arg)
{
    pair_end(((struct half *)arg)->pair);
}

static void half_close(void *arg, const struct gvm_err *err)
{
    (void)err;
    struct half *h = arg;
    h->s = NULL;
    pair_end(h->pair);
}

static const struct stream_events half_events = {half_data, half_eof, half_drain, half_close};

static void upstream_tls(void *arg, const struct gvm_err *err)
{
    struct pair *p = arg;
    if (err) {
        p->upstream.s = NULL;
        pair_end(p);
        return;
    }
    stream_set_events(p->agent.s, &half_events, &p->agent);
    stream_set_events(p->upstream.s, &half_events, &p->upstream);
    stream_resume(p->agent.s);
    stream_resume(p->upstream.s);
}

static void upstream_open(void *arg, struct stream *s, const struct gvm_err *err)
{
    struct pair *p = arg;
    if (err) {
        p->upstream.s = NULL;
        pair_end(p);
        return;
    }
    SSL *ssl = SSL_new(client_ctx);
    (void)SSL_set1_host(ssl, "bench.test");
    need(stream_start_tls(s, ssl, false, GVM_STR(""), 5000, upstream_tls, p, NULL), "TLS");
}

static void agent_tls(void *arg, const struct gvm_err *err)
{
    struct pair *p = arg;
    if (err) {
        p->agent.s = NULL;
        pair_end(p);
        return;
    }
    need(stream_connect(&loop, (struct sockaddr *)&server_at, 5000, NULL, p, upstream_open,
                        &p->upstream.s, NULL),
         "connect");
}

static void on_agent(uv_stream_t *l, int status)
{
    struct pair *p = calloc(1, sizeof *p);
    need(status, "accept");
    if (!p)
        exit(1);
    p->agent.pair = p->upstream.pair = p;
    p->agent.other = &p->upstream;
    p->upstream.other = &p->agent;
    need(stream_accept(l, NULL, NULL, &p->agent.s, NULL), "accept");
    need(stream_start_tls(p->agent.s, SSL_new(server_ctx), true, GVM_STR(""), 5000, agent_tls, p,
                          NULL),
         "TLS");
}

/* ---- client ---- */

struct asker {
    struct stream *s;
    size_t got;
    uint64_t began;
};

static struct asker askers[MAX_CONNS];
static uint32_t *samples; /* nanoseconds */
static size_t nsamples;
static bool measuring;

static void ask(struct asker *a)
{
    a->began = uv_hrtime();
    need(stream_write(a->s, request, sizeof request - 1), "request");
}

static void asker_data(void *arg, const uint8_t *p, size_t n)
{
    (void)p;
    struct asker *a = arg;
    a->got += n;
    if (a->got < sizeof response - 1)
        return;
    a->got = 0;
    if (measuring && nsamples < MAX_SAMPLES)
        samples[nsamples++] = (uint32_t)(uv_hrtime() - a->began);
    ask(a);
}

static void asker_close(void *arg, const struct gvm_err *err)
{
    (void)arg;
    (void)fprintf(stderr, "bench_stream: client: %s\n", err ? err->text : "closed");
    exit(1);
}

static const struct stream_events asker_events = {.on_data = asker_data, .on_close = asker_close};

static void asker_tls(void *arg, const struct gvm_err *err)
{
    struct asker *a = arg;
    if (err)
        asker_close(a, err);
    stream_resume(a->s);
    ask(a);
}

static void asker_open(void *arg, struct stream *s, const struct gvm_err *err)
{
    struct asker *a = arg;
    if (err)
        asker_close(a, err);
    stream_set_events(s, &asker_events, a);
    SSL *ssl = SSL_new(client_ctx);
    (void)SSL_set1_host(ssl, "bench.test");
    need(stream_start_tls(s, ssl, false, GVM_STR(""), 5000, asker_tls, a, NULL), "TLS");
}

static void on_tick(uv_timer_t *t)
{
    bool *over = t->data;
    if (measuring)
        *over = true;
    measuring = true;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

struct result {
    double per_second, p50_us, p99_us;
};

/* Half a second to warm up, then `ms` that count. */
static struct result measure(const struct sockaddr_in *to, int conns, uint64_t ms)
{
    bool over = false;
    uv_timer_t t;
    nsamples = 0;
    measuring = false;
    for (int i = 0; i < conns; i++) {
        askers[i] = (struct asker){0};
        need(stream_connect(&loop, (const struct sockaddr *)to, 5000, NULL, &askers[i], asker_open,
                            &askers[i].s, NULL),
             "connect");
    }
    uv_timer_init(&loop, &t);
    t.data = &over;
    uv_timer_start(&t, on_tick, 500, ms);
    while (!over)
        uv_run(&loop, UV_RUN_ONCE);
    for (int i = 0; i < conns; i++)
        stream_close(askers[i].s, 0);
    uv_close((uv_handle_t *)&t, NULL);
    while (uv_run(&loop, UV_RUN_NOWAIT))
        ;
    if (!nsamples)
        exit(1);
    qsort(samples, nsamples, sizeof *samples, by_size);
    return (struct result){(double)nsamples * 1000.0 / (double)ms, samples[nsamples / 2] / 1000.0,
                           samples[nsamples * 99 / 100] / 1000.0};
}

/* ---- processes ---- */

static void serve(int ready, struct sockaddr_in *at, uv_connection_cb cb)
{
    uv_tcp_t l;
    int n = sizeof *at;
    streams_init();
    uv_loop_init(&loop);
    uv_tcp_init(&loop, &l);
    uv_ip4_addr("127.0.0.1", 0, at);
    need(uv_tcp_bind(&l, (struct sockaddr *)at, 0), "bind");
    need(uv_listen((uv_stream_t *)&l, 128, cb), "listen");
    uv_tcp_getsockname(&l, (struct sockaddr *)at, &n);
    if (gvm_write_all(ready, at, sizeof *at) < 0)
        exit(1);
    uv_run(&loop, UV_RUN_DEFAULT);
    exit(0);
}

static pid_t start(struct sockaddr_in *at, uv_connection_cb cb)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        exit(1);
    pid_t pid = fork();
    if (pid == 0)
        serve(p[1], at, cb);
    close(p[1]);
    if (pid < 0 || read(p[0], at, sizeof *at) != sizeof *at)
        exit(1);
    close(p[0]);
    return pid;
}

static double cpu_seconds(pid_t pid)
{
    clockid_t clock;
    struct timespec ts;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) < 0)
        return 0;
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void compare(pid_t relay, int conns, uint64_t ms)
{
    struct result direct = {0}, through = {0};
    double cpu = 1e9;
    for (int round = 0; round < 3; round++) {
        struct result d = measure(&server_at, conns, ms);
        double before = cpu_seconds(relay);
        struct result r = measure(&relay_at, conns, ms);
        /* The warm-up is in the processor time too, so count its requests at the same rate. */
        double used =
            (cpu_seconds(relay) - before) / (r.per_second * ((double)ms + 500) / 1000.0) * 1e6;
        if (!round || d.p50_us < direct.p50_us)
            direct = d;
        if (!round || r.p50_us < through.p50_us)
            through = r;
        cpu = used < cpu ? used : cpu;
    }
    printf("{\"connections\":%d,\"direct_per_second\":%.0f,\"direct_p50_us\":%.1f,"
           "\"relay_per_second\":%.0f,\"relay_p50_us\":%.1f,\"relay_p99_us\":%.1f,"
           "\"added_p50_us\":%.1f,\"relay_cpu_us_per_request\":%.1f}\n",
           conns, direct.per_second, direct.p50_us, through.per_second, through.p50_us,
           through.p99_us, through.p50_us - direct.p50_us, cpu);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    uint64_t seconds = 2;
    if (argc > 1 && gvm_parse_u64(gvm_str(argv[1]), 60, &seconds) < 0)
        return 2;
    struct fixture_cert ca = fixture_make("bench ca", NULL, NULL, -86400, 86400);
    struct fixture_cert leaf = fixture_make("bench.test", &ca, "DNS:bench.test", -86400, 86400);
    server_ctx = fixture_server_ctx(&leaf);
    client_ctx = fixture_client_ctx(&ca);
    samples = malloc(MAX_SAMPLES * sizeof *samples);
    if (!samples)
        return 1;
    pid_t server = start(&server_at, on_served);
    pid_t relay = start(&relay_at, on_agent);
    streams_init();
    uv_loop_init(&loop);
    compare(relay, 1, seconds * 1000);
    compare(relay, 64, seconds * 1000);
    (void)kill(relay, SIGTERM);
    (void)kill(server, SIGTERM);
    (void)waitpid(relay, NULL, 0);
    (void)waitpid(server, NULL, 0);
    free(samples);
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
    fixture_free(&leaf);
    fixture_free(&ca);
    return 0;
}
