#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>
#include "loop_fixture.h"
#include "tls_fixture.h"

#define MB  (1024u * 1024u)
#define DAY 86400L

static struct fixture_cert ca, other_ca, good, expired, future;

struct net {
    uv_loop_t loop;
    uv_tcp_t listener;
    struct sockaddr_in at;
    struct side server, client;
    bool accepted, connected, connect_over;
    SSL_CTX *server_ctx; /* TLS when set */
    const char *alpn_got;
};

static void on_connection(uv_stream_t *l, int status)
{
    struct net *n = l->data;
    struct gvm_err err = {0};
    assert_int_equal(status, 0);
    assert_int_equal(stream_accept(l, &side_events, &n->server, &n->server.s, &err), 0);
    n->accepted = true;
    if (n->server_ctx)
        assert_int_equal(stream_start_tls(n->server.s, SSL_new(n->server_ctx), true, GVM_STR(""),
                                          5000, side_tls, &n->server, &err),
                         0);
    else
        stream_resume(n->server.s);
}

static void net_begin(struct net *n)
{
    memset(n, 0, sizeof *n);
    streams_init();
    uv_loop_init(&n->loop);
    uv_tcp_init(&n->loop, &n->listener);
    n->listener.data = n;
    uv_ip4_addr("127.0.0.1", 0, &n->at);
    assert_int_equal(uv_tcp_bind(&n->listener, (struct sockaddr *)&n->at, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&n->listener, 64, on_connection), 0);
    int len = sizeof n->at;
    uv_tcp_getsockname(&n->listener, (struct sockaddr *)&n->at, &len);
    gvm_buf_init(&n->server.got, 64 * MB);
    gvm_buf_init(&n->client.got, 64 * MB);
}

static void net_end(struct net *n)
{
    if (n->server.s)
        stream_close(n->server.s, 0);
    if (n->client.s)
        stream_close(n->client.s, 0);
    uv_close((uv_handle_t *)&n->listener, NULL);
    loop_end(&n->loop);
    gvm_buf_done(&n->server.got);
    gvm_buf_done(&n->client.got);
    SSL_CTX_free(n->server_ctx);
}

static void on_connected(void *arg, struct stream *s, const struct gvm_err *err)
{
    struct net *n = arg;
    n->connect_over = true;
    n->connected = !err;
    side_note(&n->client, err);
    if (!err) {
        assert_ptr_equal(s, n->client.s);
        stream_set_events(s, &side_events, &n->client);
    } else {
        n->client.s = NULL;
    }
}

static void net_connect(struct net *n)
{
    struct gvm_err err = {0};
    assert_int_equal(stream_connect(&n->loop, (struct sockaddr *)&n->at, 5000, NULL, n,
                                    on_connected, &n->client.s, &err),
                     0);
    assert_false(n->connect_over); /* never inside the call */
    assert_true(run_until(&n->loop, &n->connect_over));
}

static void net_connect_tls(struct net *n, SSL_CTX *ctx, const char *host)
{
    struct gvm_err err = {0};
    net_connect(n);
    assert_true(n->connected);
    SSL *ssl = SSL_new(ctx);
    if (host) {
        SSL_set1_host(ssl, host);
        SSL_set_tlsext_host_name(ssl, host);
    }
    assert_int_equal(
        stream_start_tls(n->client.s, ssl, false, GVM_STR(""), 5000, side_tls, &n->client, &err),
        0);
    assert_false(n->client.tls_over);
    assert_true(run_until(&n->loop, &n->client.tls_over));
}

/* A blocking socket of our own: a peer that does what no stream would. */
static int raw_connect(const struct net *n)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&n->at, sizeof n->at), 0);
    return fd;
}

static void fill(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 + (i >> 8) * 13);
}

/* Sends `total` bytes through the client, never past the high mark; the echo must come back whole.
 */
static void send_and_compare(struct net *n, size_t total)
{
    static uint8_t block[60000];
    fill(block, sizeof block);
    uint32_t sum = 0;
    size_t sent = 0, peak = 0;
    bool late = false;
    uv_timer_t t;
    uv_timer_init(&n->loop, &t);
    t.data = &late;
    uv_timer_start(&t, never, 60000, 0);
    while (n->client.count < total && !late && !n->client.closed) {
        while (sent < total && stream_queued(n->client.s) < GVM_STREAM_HIGH) {
            size_t k = total - sent < sizeof block ? total - sent : sizeof block;
            assert_int_equal(stream_write(n->client.s, block, k), 0);
            for (size_t i = 0; i < k; i++)
                sum = sum * 31 + block[i];
            sent += k;
            if (stream_queued(n->client.s) > peak)
                peak = stream_queued(n->client.s);
        }
        uv_run(&n->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&t, NULL);
    uv_run(&n->loop, UV_RUN_NOWAIT);
    assert_int_equal(n->client.count, total);
    assert_int_equal(n->client.sum, sum);
    assert_true(peak <= GVM_STREAM_HIGH + 2 * sizeof block);
    assert_true(n->server.peak <= GVM_STREAM_HIGH + 128 * 1024);
}

/* ---- plain ---- */

static void plain_echo(void **state)
{
    (void)state;
    struct net n;
    net_begin(&n);
    n.server.echo = true;
    net_connect(&n);
    stream_resume(n.client.s);
    send_and_compare(&n, 300000);
    struct gvm_ip ip, dst;
    uint16_t port = 0;
    assert_int_equal(stream_peer(n.client.s, &ip, &port), 0);
    assert_int_equal(port, ntohs(n.at.sin_port));
    assert_int_equal(stream_original_dst(n.server.s, &dst, &port), -ENOENT);
    net_end(&n);
}

static void plain_half_close(void **state)
{
    (void)state;
    struct net n;
    net_begin(&n);
    n.server.echo = true;
    n.client.keep = true;
    net_connect(&n);
    stream_resume(n.client.s);
    assert_int_equal(stream_write(n.client.s, "last words", 10), 0);
    stream_shutdown(n.client.s);
    assert_int_equal(stream_write(n.client.s, "x", 1), -EPIPE);
    assert_true(run_until(&n.loop, &n.client.closed));
    assert_true(n.client.eof);
    assert_int_equal(n.client.code, 0); /* orderly */
    assert_true(gvm_str_eqz(gvm_buf_str(&n.client.got), "last words"));
    assert_true(run_until(&n.loop, &n.server.closed));
    assert_int_equal(n.server.code, 0);
    net_end(&n);
}

static void peer_resets(void **state)
{
    (void)state;
    struct net n;
    net_begin(&n);
    int fd = raw_connect(&n);
    assert_true(run_until(&n.loop, &n.accepted));
    struct linger now = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
    assert_true(run_until(&n.loop, &n.server.closed));
    assert_int_equal(n.server.code, ECONNRESET);
    net_end(&n);
}

/* Writing to a peer that is gone fails later, through on_close, and raises no signal. */
static void write_after_reset(void **state)
{
    (void)state;
    struct net n;
    net_begin(&n);
    int fd = raw_connect(&n);
    assert_true(run_until(&n.loop, &n.accepted));
    stream_pause(n.server.s);
    struct linger now = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
    run_some(&n.loop, 20);
    int r = 0;
    for (int i = 0; i < 3 && !n.server.closed && r == 0; i++)
        r = stream_write(n.server.s, "hello", 5);
    assert_int_equal(r, -EPIPE);
    assert_true(run_until(&n.loop, &n.server.closed));
    assert_true(n.server.code == EPIPE || n.server.code == ECONNRESET);
    net_end(&n);
}

static void connect_refused(void **state)
{
    (void)state;
    struct net n;
    net_begin(&n);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    bind(fd, (struct sockaddr *)&sa, sizeof sa); /* bound, not listening: refused for sure */
    getsockname(fd, (struct sockaddr *)&sa, &len);
    struct sockaddr_in keep = n.at;
    n.at = sa;
    net_connect(&n);
    assert_false(n.connected);
    assert_int_equal(n.client.code, ECONNREFUSED);
    n.at = keep;
    n.connect_over = false;
    net_connect(&n); /* and the ordinary case beside it */
    assert_true(run_until(&n.loop, &n.connected));
    close(fd);
    net_end(&n);
}

static void back_pressure(void **state)
{
    (void)state;
    struct net n;
    net_begin(&n);
    net_connect(&n);
    assert_true(run_until(&n.loop, &n.accepted));
    static uint8_t block[32768];
    /* The client does not read: the server's queue must fill, signal, and never pass the cap. */
    int r = 0;
    size_t taken = 0;
    for (int i = 0; i < 4000 && r == 0; i++) {
        r = stream_write(n.server.s, block, sizeof block);
        taken += r == 0 ? sizeof block : 0;
        uv_run(&n.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(r, -ENOBUFS);
    assert_true(stream_queued(n.server.s) <= 4 * GVM_STREAM_HIGH);
    assert_true(stream_queued(n.server.s) > GVM_STREAM_HIGH);
    assert_false(n.server.drained);
    stream_resume(n.client.s);
    assert_true(run_until(&n.loop, &n.server.drained));
    assert_true(stream_queued(n.server.s) < GVM_STREAM_LOW);
    for (int i = 0; i < 1000 && n.client.count < taken; i++)
        uv_run(&n.loop, UV_RUN_ONCE);
    assert_int_equal(n.client.count, taken);
    net_end(&n);
}

/* What is queued is delivered before a lingering close ends; nobody hears of the stream again. */
static void linger_delivers(void **state)
{
    (void)state;
    struct net n;
    net_begin(&n);
    n.client.keep = true;
    net_connect(&n);
    assert_true(run_until(&n.loop, &n.accepted));
    static uint8_t block[700000];
    fill(block, sizeof block);
    assert_int_equal(stream_write(n.server.s, block, sizeof block), 0);
    stream_close(n.server.s, 10000);
    n.server.s = NULL;
    stream_resume(n.client.s);
    assert_true(run_until(&n.loop, &n.client.eof));
    assert_int_equal(n.client.got.len, sizeof block);
    assert_memory_equal(gvm_buf_data(&n.client.got), block, sizeof block);
    assert_false(n.server.closed);
    net_end(&n);
}

static void abort_resets(void **state)
{
    (void)state;
    struct net n;
    net_begin(&n);
    net_connect(&n);
    assert_true(run_until(&n.loop, &n.accepted));
    stream_resume(n.client.s);
    stream_abort(n.server.s);
    n.server.s = NULL;
    assert_true(run_until(&n.loop, &n.client.closed));
    assert_int_equal(n.client.code, ECONNRESET);
    net_end(&n);
}

static void on_idle(void *arg)
{
    ((struct side *)arg)->idle = true;
}

static void idle_fires(void **state)
{
    (void)state;
    struct net n;
    net_begin(&n);
    net_connect(&n);
    assert_true(run_until(&n.loop, &n.accepted));
    stream_idle(n.server.s, 60, on_idle);
    for (int i = 0; i < 4; i++) { /* bytes keep it awake */
        run_some(&n.loop, 30);
        assert_int_equal(stream_write(n.client.s, "x", 1), 0);
    }
    assert_false(n.server.idle);
    assert_true(run_until(&n.loop, &n.server.idle));
    n.server.idle = false;
    stream_idle(n.server.s, 30, on_idle);
    stream_idle(n.server.s, 0, NULL);
    run_some(&n.loop, 80);
    assert_false(n.server.idle);
    net_end(&n);
}

/* Two small writes inside one callback arrive as one piece. */
static void batched(void **state)
{
    (void)state;
    struct net n;
    net_begin(&n);
    n.server.keep = true;
    net_connect(&n);
    assert_true(run_until(&n.loop, &n.accepted));
    stream_batch_begin(&n.loop);
    assert_int_equal(stream_write(n.client.s, "head", 4), 0);
    assert_int_equal(stream_write(n.client.s, "body", 4), 0);
    run_some(&n.loop, 10);
    assert_int_equal(n.server.count, 0); /* still held */
    stream_batch_end(&n.loop);
    run_some(&n.loop, 10);
    assert_int_equal(n.server.calls, 1);
    assert_true(gvm_str_eqz(gvm_buf_str(&n.server.got), "headbody"));
    net_end(&n);
}

/* ---- TLS ---- */

static void tls_pair(struct net *n, SSL_CTX **ret)
{
    net_begin(n);
    n->server_ctx = fixture_server_ctx(&good);
    *ret = fixture_client_ctx(&ca);
    net_connect_tls(n, *ret, "good.test");
    assert_true(n->client.tls_ok);
    assert_true(run_until(&n->loop, &n->server.tls_over));
    assert_true(n->server.tls_ok);
}

static void tls_echo(void **state)
{
    (void)state;
    struct net n;
    SSL_CTX *ctx;
    tls_pair(&n, &ctx);
    n.server.echo = true;
    assert_true(SSL_version(stream_ssl(n.client.s)) >= TLS1_2_VERSION);
    send_and_compare(&n, 300000);
    net_end(&n);
    SSL_CTX_free(ctx);
}

static void tls_ten_megabytes(void **state)
{
    (void)state;
    struct net n;
    SSL_CTX *ctx;
    tls_pair(&n, &ctx);
    n.server.echo = true;
    send_and_compare(&n, 10 * MB);
    net_end(&n);
    SSL_CTX_free(ctx);
}

/* A pause in the middle of decrypted bytes loses none and holds the end of stream back. */
static void tls_pause(void **state)
{
    (void)state;
    struct net n;
    SSL_CTX *ctx;
    tls_pair(&n, &ctx);
    static uint8_t block[200000];
    fill(block, sizeof block);
    n.server.keep = true;
    n.server.pause_once = true;
    assert_int_equal(stream_write(n.client.s, block, sizeof block), 0);
    stream_shutdown(n.client.s);
    run_some(&n.loop, 50);
    assert_int_equal(n.server.calls, 1);
    assert_false(n.server.eof);
    stream_resume(n.server.s);
    assert_int_equal(n.server.calls, 1); /* never inside the call */
    assert_true(run_until(&n.loop, &n.server.eof));
    assert_false(stream_truncated(n.server.s));
    assert_int_equal(n.server.got.len, sizeof block);
    assert_memory_equal(gvm_buf_data(&n.server.got), block, sizeof block);
    net_end(&n);
    SSL_CTX_free(ctx);
}

static void tls_half_close(void **state)
{
    (void)state;
    struct net n;
    SSL_CTX *ctx;
    tls_pair(&n, &ctx);
    n.server.echo = true;
    n.client.keep = true;
    assert_int_equal(stream_write(n.client.s, "bye", 3), 0);
    stream_shutdown(n.client.s);
    assert_true(run_until(&n.loop, &n.client.closed));
    assert_int_equal(n.client.code, 0);
    assert_true(gvm_str_eqz(gvm_buf_str(&n.client.got), "bye"));
    net_end(&n);
    SSL_CTX_free(ctx);
}

/* stream_close(0) must not look like an orderly end. */
static void tls_cut_is_seen(void **state)
{
    (void)state;
    struct net n;
    SSL_CTX *ctx;
    tls_pair(&n, &ctx);
    assert_int_equal(stream_write(n.server.s, "half of it", 10), 0);
    run_some(&n.loop, 20);
    stream_close(n.server.s, 0);
    n.server.s = NULL;
    assert_true(run_until(&n.loop, &n.client.eof));
    assert_true(stream_truncated(n.client.s));
    assert_int_equal(n.client.count, 10);
    net_end(&n);
    SSL_CTX_free(ctx);
}

/* Bytes read before TLS began (a peeked hello), and plain bytes written before it. */
static void head_on_data(void *arg, const uint8_t *p, size_t n)
{
    struct net *net = arg;
    struct gvm_err err = {0};
    SSL_CTX *ctx = fixture_server_ctx(&good);
    stream_set_events(net->server.s, &side_events, &net->server);
    assert_int_equal(stream_write(net->server.s, "PLAIN", 5), 0);
    assert_int_equal(stream_start_tls(net->server.s, SSL_new(ctx), true,
                                      (struct gvm_str){(const char *)p, n}, 5000, side_tls,
                                      &net->server, &err),
                     0);
    SSL_CTX_free(ctx);
}

static const struct stream_events head_events = {.on_data = head_on_data};

static void tls_after_plain(void **state)
{
    (void)state;
    struct net n;
    struct gvm_err err = {0};
    net_begin(&n);
    net_connect(&n);
    assert_true(run_until(&n.loop, &n.accepted));
    stream_set_events(n.server.s, &head_events, &n);
    /* The client starts TLS but must first skip the five plain bytes: read them raw. */
    SSL_CTX *ctx = fixture_client_ctx(&ca);
    SSL *probe = SSL_new(ctx);
    SSL_set1_host(probe, "good.test");
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(probe, in, out);
    SSL_set_connect_state(probe);
    assert_int_equal(SSL_do_handshake(probe), -1);
    char *hello;
    long len = BIO_get_mem_data(out, &hello);
    n.client.keep = true;
    stream_resume(n.client.s);
    assert_int_equal(stream_write(n.client.s, hello, (size_t)len), 0);
    (void)BIO_reset(out);
    for (int i = 0; i < 200 && n.client.got.len < 600; i++)
        run_some(&n.loop, 2);
    assert_memory_equal(gvm_buf_data(&n.client.got), "PLAIN", 5);
    BIO_write(in, gvm_buf_data(&n.client.got) + 5, (int)n.client.got.len - 5);
    assert_int_equal(SSL_do_handshake(probe), 1);
    len = BIO_get_mem_data(out, &hello);
    assert_int_equal(stream_write(n.client.s, hello, (size_t)len), 0);
    assert_true(run_until(&n.loop, &n.server.tls_over));
    assert_true(n.server.tls_ok);
    (void)err;
    SSL_free(probe);
    SSL_CTX_free(ctx);
    net_end(&n);
}

static void tls_refused(const struct fixture_cert *leaf, const struct fixture_cert *trust,
                        const char *host, const char *why)
{
    struct net n;
    net_begin(&n);
    n.server_ctx = fixture_server_ctx(leaf);
    SSL_CTX *ctx = fixture_client_ctx(trust);
    net_connect_tls(&n, ctx, host);
    assert_false(n.client.tls_ok);
    assert_int_equal(n.client.code, EPROTO);
    char want[256];
    (void)snprintf(want, sizeof want, "certificate of %s does not verify: %s", host, why);
    assert_string_equal(n.client.text, want);
    assert_false(n.client.closed); /* done(err) was the only word */
    assert_true(run_until(&n.loop, &n.server.tls_over) || n.server.tls_ok);
    net_end(&n);
    SSL_CTX_free(ctx);
}

static void certificates_refused(void **state)
{
    (void)state;
    tls_refused(&good, &other_ca, "good.test", "unable to get local issuer certificate");
    tls_refused(&good, &ca, "evil.test", "hostname mismatch");
    tls_refused(&expired, &ca, "good.test", "certificate has expired");
    tls_refused(&future, &ca, "good.test", "certificate is not yet valid");
}

static int choose_http1(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                        const unsigned char *in, unsigned inlen, void *arg)
{
    (void)ssl;
    (void)arg;
    static const unsigned char mine[] = "\x08http/1.1";
    unsigned char *sel;
    if (SSL_select_next_proto(&sel, outlen, mine, sizeof mine - 1, in, inlen) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = sel;
    return SSL_TLSEXT_ERR_OK;
}

static void alpn(void **state)
{
    (void)state;
    static const unsigned char both[] = "\x02h2\x08http/1.1";
    static const unsigned char none[] = "\x03xyz";
    for (int round = 0; round < 2; round++) {
        struct net n;
        net_begin(&n);
        n.server_ctx = fixture_server_ctx(&good);
        SSL_CTX_set_alpn_select_cb(n.server_ctx, choose_http1, NULL);
        SSL_CTX *ctx = fixture_client_ctx(&ca);
        if (round == 0)
            SSL_CTX_set_alpn_protos(ctx, both, sizeof both - 1);
        else
            SSL_CTX_set_alpn_protos(ctx, none, sizeof none - 1);
        net_connect_tls(&n, ctx, "good.test");
        assert_int_equal(n.client.tls_ok, round == 0);
        if (round == 0) {
            const unsigned char *p;
            unsigned len;
            SSL_get0_alpn_selected(stream_ssl(n.client.s), &p, &len);
            assert_int_equal(len, 8);
            assert_memory_equal(p, "http/1.1", 8);
        } else {
            assert_non_null(strstr(n.client.text, "no application protocol"));
        }
        net_end(&n);
        SSL_CTX_free(ctx);
    }
}

static void old_versions_refused(void **state)
{
    (void)state;
    struct net n;
    net_begin(&n);
    n.server_ctx = fixture_server_ctx(&good);
    int fd = raw_connect(&n);
    /* A TLS 1.0 ClientHello: record, handshake header, version 3.1, random, no session, one suite.
     */
    uint8_t hello[5 + 4 + 2 + 32 + 1 + 4 + 2] = {0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1};
    uint8_t tail[] = {0, 0, 2, 0xc0, 0x13, 1, 0};
    memcpy(hello + 43, tail, sizeof tail);
    assert_int_equal(write(fd, hello, sizeof hello), sizeof hello);
    assert_true(run_until(&n.loop, &n.server.tls_over));
    assert_false(n.server.tls_ok);
    assert_int_equal(n.server.code, EPROTO);
    assert_non_null(strstr(n.server.text, "unsupported protocol"));
    uint8_t alert[7] = {0};
    assert_int_equal(read(fd, alert, sizeof alert), 7); /* the peer is told, not just dropped */
    assert_int_equal(alert[0], 0x15);
    close(fd);
    net_end(&n);
}

static void hostile_bytes(void **state)
{
    (void)state;
    uint32_t seed = 12345;
    for (int round = 0; round < 60; round++) {
        struct net n;
        net_begin(&n);
        n.server_ctx = fixture_server_ctx(&good);
        int fd = raw_connect(&n);
        uint8_t junk[600];
        for (size_t i = 0; i < sizeof junk; i++) {
            seed = seed * 1103515245u + 12345u;
            junk[i] = (uint8_t)(seed >> 16);
        }
        if (round % 2) { /* a believable start */
            junk[0] = 0x16;
            junk[1] = 3;
            junk[2] = 1;
            junk[3] = 1;
            junk[5] = 1;
            junk[6] = junk[7] = 0;
        }
        assert_int_equal(write(fd, junk, sizeof junk), sizeof junk);
        shutdown(fd, SHUT_WR);
        assert_true(run_until(&n.loop, &n.server.tls_over));
        assert_false(n.server.tls_ok);
        assert_int_equal(n.server.count, 0);
        close(fd);
        net_end(&n);
    }
}

/* Junk after a good handshake is an error of the stream, not data. */
static void hostile_record(void **state)
{
    (void)state;
    struct net n;
    SSL_CTX *ctx;
    tls_pair(&n, &ctx);
    uv_os_fd_t fd = -1;
    /* Write below the client's TLS layer. */
    uint8_t bad[5 + 40] = {0x17, 3, 3, 0, 40};
    struct sockaddr_in peer;
    for (int i = 3; i < 256 && fd < 0; i++) {
        socklen_t len = sizeof peer;
        if (getpeername(i, (struct sockaddr *)&peer, &len) == 0 && peer.sin_port == n.at.sin_port)
            fd = i;
    }
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bad, sizeof bad), sizeof bad);
    assert_true(run_until(&n.loop, &n.server.closed));
    assert_int_equal(n.server.code, EPROTO);
    assert_int_equal(n.server.count, 0);
    net_end(&n);
    SSL_CTX_free(ctx);
}

static void handshake_times_out(void **state)
{
    (void)state;
    struct net n;
    struct gvm_err err = {0};
    net_begin(&n);
    net_connect(&n); /* the server stays plain and silent */
    SSL_CTX *ctx = fixture_client_ctx(&ca);
    assert_int_equal(stream_start_tls(n.client.s, SSL_new(ctx), false, GVM_STR(""), 50, side_tls,
                                      &n.client, &err),
                     0);
    assert_true(run_until(&n.loop, &n.client.tls_over));
    assert_int_equal(n.client.code, ETIMEDOUT);
    net_end(&n);
    SSL_CTX_free(ctx);
}

/* Given up in the middle of a handshake: no callback, nothing left behind. */
static void close_in_handshake(void **state)
{
    (void)state;
    struct net n;
    struct gvm_err err = {0};
    net_begin(&n);
    n.server_ctx = fixture_server_ctx(&good);
    net_connect(&n);
    SSL_CTX *ctx = fixture_client_ctx(&ca);
    assert_int_equal(stream_start_tls(n.client.s, SSL_new(ctx), false, GVM_STR(""), 5000, side_tls,
                                      &n.client, &err),
                     0);
    stream_close(n.client.s, 1000);
    n.client.s = NULL;
    assert_true(run_until(&n.loop, &n.server.tls_over));
    assert_false(n.server.tls_ok);
    assert_false(n.client.tls_over);
    net_end(&n);
    SSL_CTX_free(ctx);
}

static int setup(void **state)
{
    (void)state;
    ca = fixture_make("test ca", NULL, NULL, -DAY, DAY);
    other_ca = fixture_make("other ca", NULL, NULL, -DAY, DAY);
    good = fixture_make("good.test", &ca, "DNS:good.test", -DAY, DAY);
    expired = fixture_make("good.test", &ca, "DNS:good.test", -2 * DAY, -DAY);
    future = fixture_make("good.test", &ca, "DNS:good.test", DAY, 2 * DAY);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_free(&ca);
    fixture_free(&other_ca);
    fixture_free(&good);
    fixture_free(&expired);
    fixture_free(&future);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_echo),
        cmocka_unit_test(plain_half_close),
        cmocka_unit_test(peer_resets),
        cmocka_unit_test(write_after_reset),
        cmocka_unit_test(connect_refused),
        cmocka_unit_test(back_pressure),
        cmocka_unit_test(linger_delivers),
        cmocka_unit_test(abort_resets),
        cmocka_unit_test(idle_fires),
        cmocka_unit_test(batched),
        cmocka_unit_test(tls_echo),
        cmocka_unit_test(tls_ten_megabytes),
        cmocka_unit_test(tls_pause),
        cmocka_unit_test(tls_half_close),
        cmocka_unit_test(tls_cut_is_seen),
        cmocka_unit_test(tls_after_plain),
        cmocka_unit_test(certificates_refused),
        cmocka_unit_test(alpn),
        cmocka_unit_test(old_versions_refused),
        cmocka_unit_test(hostile_bytes),
        cmocka_unit_test(hostile_record),
        cmocka_unit_test(handshake_times_out),
        cmocka_unit_test(close_in_handshake),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
