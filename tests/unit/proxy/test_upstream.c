#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "dns_fixture.h"
#include "loop_fixture.h"
#include "proxy/upstream/upstream_int.h"
#include "tls_fixture.h"

#define DAY   86400L
#define PEERS 256

static struct fixture_cert ca, other_ca, good, by_ip;

/* A server that accepts, keeps what it accepted, and echoes. */
struct server {
    uv_tcp_t listener;
    uint16_t port;
    SSL_CTX *ctx;
    struct side peers[PEERS];
    unsigned n;
};

struct world {
    uv_loop_t loop;
    struct fake_dns dns;
    struct server srv;
    struct upstreams *u;
    struct gvm_conf conf;
    struct gvm_conf_pin pin;
    char *ca_pem;
    char own[32];
    /* the last answer */
    bool over;
    struct upstream_got got;
    int code;
    char text[GVM_ERR_TEXT];
};

static void on_connection(uv_stream_t *l, int status)
{
    struct server *v = l->data;
    struct side *d = &v->peers[v->n++];
    assert_int_equal(status, 0);
    assert_true(v->n < PEERS);
    d->echo = true;
    gvm_buf_init(&d->got, 65536);
    assert_int_equal(stream_accept(l, &side_events, d, &d->s, NULL), 0);
    if (v->ctx)
        assert_int_equal(
            stream_start_tls(d->s, SSL_new(v->ctx), true, GVM_STR(""), 5000, side_tls, d, NULL), 0);
    else
        stream_resume(d->s);
}

static void server_begin(struct server *v, uv_loop_t *loop, const struct fixture_cert *leaf)
{
    struct sockaddr_in sa;
    int n = sizeof sa;
    memset(v, 0, sizeof *v);
    v->ctx = leaf ? fixture_server_ctx(leaf) : NULL;
    uv_tcp_init(loop, &v->listener);
    v->listener.data = v;
    uv_ip4_addr("127.0.0.1", 0, &sa);
    uv_tcp_bind(&v->listener, (struct sockaddr *)&sa, 0);
    assert_int_equal(uv_listen((uv_stream_t *)&v->listener, 64, on_connection), 0);
    uv_tcp_getsockname(&v->listener, (struct sockaddr *)&sa, &n);
    v->port = ntohs(sa.sin_port);
}

static void server_end(struct server *v)
{
    for (unsigned i = 0; i < v->n; i++) {
        if (v->peers[i].s)
            stream_close(v->peers[i].s, 0);
    }
    uv_close((uv_handle_t *)&v->listener, NULL);
    SSL_CTX_free(v->ctx);
}

static void begin(struct world *w, const struct fixture_cert *leaf, const char *hosts)
{
    memset(w, 0, sizeof *w);
    uv_loop_init(&w->loop);
    fake_begin(&w->dns, &w->loop);
    server_begin(&w->srv, &w->loop, leaf);
    w->ca_pem = fixture_pem(ca.cert);
    w->conf.ca_pem = gvm_str(w->ca_pem);
    const char *resolvers[] = {w->dns.at}, *refuse[] = {w->own};
    (void)snprintf(w->own, sizeof w->own, "127.0.0.1:%u", 9);
    struct upstream_setup setup = {.loop = &w->loop,
                                   .resolvers = resolvers,
                                   .nresolvers = 1,
                                   .hosts = gvm_str(hosts),
                                   .refuse = refuse,
                                   .nrefuse = 1};
    assert_int_equal(upstreams_new(&setup, &w->u, NULL), 0);
}

static void end(struct world *w)
{
    upstreams_free(w->u);
    server_end(&w->srv);
    fake_end(&w->dns);
    loop_end(&w->loop);
    free(w->ca_pem);
}

static void on_got(void *arg, const struct upstream_got *got, const struct gvm_err *err)
{
    struct world *w = arg;
    assert_false(w->over);
    assert_true(!got == !!err);
    w->over = true;
    if (got)
        w->got = *got;
    w->code = err ? err->code : 0;
    if (err)
        memcpy(w->text, err->text, sizeof w->text);
}

static struct upstream_want want(struct world *w, const char *host, bool tls, bool private_ok)
{
    return (struct upstream_want){.run = "r1",
                                  .host = host,
                                  .port = w->srv.port,
                                  .tls = tls,
                                  .private_ok = private_ok,
                                  .credential = "",
                                  .conf = &w->conf};
}

static int get(struct world *w, const struct upstream_want *what)
{
    struct upstream_ask *ask = NULL;
    struct gvm_err err = {0};
    w->over = false;
    w->got.stream = NULL;
    w->text[0] = '\0';
    int r = upstream_get(w->u, what, on_got, w, &ask, &err);
    if (r < 0)
        return -r;
    assert_false(w->over); /* never inside the call */
    assert_true(run_until(&w->loop, &w->over));
    return w->code;
}

static void give_up(struct world *w)
{
    if (w->got.stream)
        stream_close(w->got.stream, 0);
    w->got.stream = NULL;
}

/* N13: the name is resolved once per connection; the address that was checked is the one dialled.
 */
static void dials_what_was_checked(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "");
    w.dns.flips = true;
    fake_set(&w.dns, "127.0.0.1");
    w.dns.then[0] = fake_ip("169.254.169.254");
    w.dns.nthen = 1;
    struct upstream_want x = want(&w, "flip.test", false, true);
    assert_int_equal(get(&w, &x), 0);
    assert_int_equal(w.dns.a_queries, 1);
    assert_true(w.got.ip.family == 4 && w.got.ip.bytes[0] == 127);
    struct gvm_ip ip;
    uint16_t port;
    assert_int_equal(stream_peer(w.got.stream, &ip, &port), 0);
    assert_true(gvm_ip_eq(&ip, &w.got.ip));
    give_up(&w);
    assert_int_equal(get(&w, &x), EACCES);
    assert_int_equal(w.dns.a_queries, 2);
    assert_string_equal(w.text, "flip.test leads to 169.254.169.254, a metadata address");
    end(&w);
}

/* A rebinding answer to a public rule reaches nobody. */
static void private_answers_refused(void **state)
{
    (void)state;
    static const struct {
        const char *ip;
        bool lifted; /* by private_ok */
    } table[] = {
        {"127.0.0.1", true},
        {"::1", true},
        {"10.1.2.3", true},
        {"192.168.0.1", true},
        {"fd12::1", true},
        {"fe80::1", true},
        {"100.64.0.1", true},
        {"169.254.1.1", true},
        {"169.254.169.254", false},
        {"fd00:ec2::254", false},
        {"::ffff:169.254.169.254", false},
        {"64:ff9b::a9fe:a9fe", false},
        {"0.0.0.0", false},
        {"::", false},
        {"224.0.0.1", false},
        {"ff02::1", false},
        {"240.0.0.1", false},
        {"255.255.255.255", false},
    };
    struct world w;
    begin(&w, NULL, "");
    w.conf.timeouts.connect = 1; /* those lifted are dialled; nobody is there */
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        fake_set(&w.dns, table[i].ip);
        struct upstream_want x = want(&w, "rebind.test", false, false);
        assert_int_equal(get(&w, &x), EACCES);
        x.private_ok = true;
        x.port = 1;
        int r = get(&w, &x);
        give_up(&w);
        if ((r != EACCES) != table[i].lifted)
            fail_msg("%s: %d %s", table[i].ip, r, w.text);
    }
    assert_int_equal(w.srv.n, 0);
    end(&w);
}

/* One public and one private address: only the public one may be dialled. */
static void mixed_answer(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "");
    w.dns.first[0] = fake_ip("127.0.0.1");
    w.dns.first[1] = fake_ip("169.254.169.254");
    w.dns.nfirst = 2;
    struct upstream_want x = want(&w, "mixed.test", false, true);
    assert_int_equal(get(&w, &x), 0);
    assert_int_equal(w.got.ip.bytes[0], 127);
    give_up(&w);
    end(&w);
}

static void literals(void **state)
{
    (void)state;
    static const char *const spelled[] = {
        "127.0.0.1",       "::1",     "::ffff:127.0.0.1", "2130706433", "0x7f.1",
        "169.254.169.254", "0.0.0.0", "::ffff:a9fe:a9fe"};
    struct world w;
    begin(&w, NULL, "");
    for (size_t i = 0; i < sizeof spelled / sizeof *spelled; i++) {
        struct upstream_want x = want(&w, spelled[i], false, false);
        assert_int_equal(get(&w, &x), EACCES);
    }
    assert_int_equal(w.srv.n, 0);
    struct upstream_want x = want(&w, "127.0.0.1", false, true);
    assert_int_equal(get(&w, &x), 0);
    assert_int_equal(w.dns.queries, 0);
    give_up(&w);
    end(&w);
}

static void pin(struct world *w, const char *host, const char *to, uint16_t port)
{
    w->pin = (struct gvm_conf_pin){gvm_str(host), gvm_str(to), port};
    w->conf.pins = &w->pin;
    w->conf.npins = 1;
}

static void pins(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "");
    pin(&w, "api.test", "127.0.0.1", w.srv.port);
    struct upstream_want x = want(&w, "api.test", false, false);
    x.port = 443;
    assert_int_equal(get(&w, &x), 0);
    assert_int_equal(w.got.port, w.srv.port);
    assert_int_equal(w.dns.queries, 0);
    give_up(&w);
    x.host = "other.test"; /* a pin is for its own name only */
    fake_set(&w.dns, "127.0.0.1");
    assert_int_equal(get(&w, &x), EACCES);
    x.host = "api.test";
    pin(&w, "api.test", "169.254.169.254", 80);
    assert_int_equal(get(&w, &x), EACCES);
    end(&w);
}

static void own_sockets_refused(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "127.0.0.1 me.test\n");
    struct upstream_want x = want(&w, "127.0.0.1", false, true);
    x.port = 9; /* what `refuse` names */
    assert_int_equal(get(&w, &x), EACCES);
    assert_string_equal(w.text, "127.0.0.1 leads to 127.0.0.1 port 9, a socket of GVM itself");
    x.host = "::ffff:127.0.0.1";
    assert_int_equal(get(&w, &x), EACCES);
    x.host = "me.test";
    assert_int_equal(get(&w, &x), EACCES);
    pin(&w, "api.test", "127.0.0.1", 9);
    x = want(&w, "api.test", false, false);
    assert_int_equal(get(&w, &x), EACCES);
    end(&w);
}

static void hosts_file(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL,
          "# 10.9.9.9 one.test\n\n127.0.0.1\tone.test  Two.test # three.test\r\nbad line\n");
    struct upstream_want x = want(&w, "two.test", false, true);
    assert_int_equal(get(&w, &x), 0);
    give_up(&w);
    assert_int_equal(w.dns.queries, 0);
    x.host = "localhost";
    assert_int_equal(get(&w, &x), 0);
    give_up(&w);
    assert_int_equal(w.dns.queries, 0);
    x.private_ok = false;
    assert_int_equal(get(&w, &x), EACCES);
    x.host = "three.test"; /* in a comment: asked of DNS */
    assert_int_equal(get(&w, &x), ENOENT);
    assert_true(w.dns.queries > 0);
    end(&w);
}

static void no_such_name(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "");
    w.dns.rcode = GVM_DNS_NXDOMAIN;
    struct upstream_want x = want(&w, "gone.test", false, true);
    assert_int_equal(get(&w, &x), ENOENT);
    assert_string_equal(w.text, "gone.test: no such name");
    w.dns.rcode = 0;
    assert_int_equal(get(&w, &x), ENOENT);
    assert_string_equal(w.text, "gone.test has no address");
    end(&w);
}

static void resolver_troubles(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "");
    fake_set(&w.dns, "127.0.0.1");
    struct upstream_want x = want(&w, "api.test", false, true);
    w.dns.fail_first = 2; /* both questions fail once, then are asked again */
    assert_int_equal(get(&w, &x), 0);
    assert_int_equal(w.dns.queries, 4);
    give_up(&w);
    w.dns.no_edns = true;
    assert_int_equal(get(&w, &x), 0);
    give_up(&w);
    w.dns.no_edns = false;
    w.dns.lie_first = true; /* forged packets before the true one change nothing */
    assert_int_equal(get(&w, &x), 0);
    give_up(&w);
    w.dns.lie_first = false;
    w.dns.rcode = GVM_DNS_REFUSED;
    assert_int_equal(get(&w, &x), EAGAIN);
    w.dns.rcode = 0;
    w.dns.truncate = true;
    assert_int_equal(get(&w, &x), 0);
    assert_true(w.dns.tcp_queries >= 1);
    give_up(&w);
    end(&w);
}

static void resolver_silent(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "");
    w.dns.silent = w.dns.lie_first = true; /* forgeries only */
    struct upstream_want x = want(&w, "api.test", false, true);
    assert_int_equal(get(&w, &x), ETIMEDOUT);
    assert_int_equal(w.dns.queries, 4);
    end(&w);
}

static void answers_are_kept(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "");
    fake_set(&w.dns, "127.0.0.1");
    w.dns.ttl = 30;
    struct upstream_want x = want(&w, "api.test", false, true);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(get(&w, &x), 0);
        give_up(&w);
    }
    assert_int_equal(w.dns.a_queries, 1);
    x.private_ok = false; /* kept, but judged anew */
    assert_int_equal(get(&w, &x), EACCES);
    end(&w);
}

/* The network changed: other resolvers, another hosts file, and nothing remembered of the old. */
static void names_change(void **state)
{
    (void)state;
    struct world w;
    struct gvm_err err = {0};
    begin(&w, NULL, "127.0.0.2 moved.test\n");
    const char *now[] = {w.dns.at}, *bad[] = {"nonsense"};
    struct upstream_want x = want(&w, "moved.test", false, true);
    assert_int_equal(get(&w, &x), ECONNREFUSED);
    assert_true(upstreams_names(w.u, bad, 1, GVM_STR("127.0.0.1 moved.test\n"), &err) < 0);
    assert_int_equal(get(&w, &x), ECONNREFUSED); /* as before */
    assert_int_equal(upstreams_names(w.u, now, 1, GVM_STR("127.0.0.1 moved.test\n"), &err), 0);
    assert_int_equal(get(&w, &x), 0);
    give_up(&w);
    w.dns.first[0] = fake_ip("127.0.0.1");
    w.dns.nfirst = 1;
    x.host = "asked.test";
    assert_int_equal(get(&w, &x), 0);
    give_up(&w);
    unsigned before = w.dns.a_queries;
    assert_int_equal(upstreams_names(w.u, now, 1, GVM_STR(""), &err), 0);
    assert_int_equal(get(&w, &x), 0);
    give_up(&w);
    assert_int_equal(w.dns.a_queries, before + 1);
    assert_int_equal(upstreams_names(w.u, NULL, 0, GVM_STR(""), &err), 0);
    x.host = "nobody.test";
    assert_int_equal(get(&w, &x), ENOENT);
    end(&w);
}

/* Listens, and has no room for one more: what is sent to it is dropped. */
static int deaf_socket(const char *address, uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(inet_pton(AF_INET, address, &sa.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 0), 0);
    for (int i = 0; i < 4; i++) { /* fills its queue; they end with the test */
        int c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_true(c >= 0);
        (void)connect(c, (struct sockaddr *)&sa, sizeof sa);
    }
    return fd;
}

static void next_address(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "");
    w.dns.first[0] = fake_ip("127.0.0.2"); /* nobody listens there */
    w.dns.first[1] = fake_ip("127.0.0.1");
    w.dns.nfirst = 2;
    struct upstream_want x = want(&w, "two.test", false, true);
    assert_int_equal(get(&w, &x), 0);
    assert_int_equal(w.got.ip.bytes[3], 1);
    give_up(&w);
    w.dns.nfirst = 1;
    assert_int_equal(get(&w, &x), ECONNREFUSED);
    assert_non_null(strstr(w.text, "two.test (127.0.0.2 port"));
    end(&w);
}

/* RFC 8305: an address that swallows packets costs its head start, not the connect time. */
static void next_address_when_silent(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "");
    int deaf = deaf_socket("127.0.0.3", w.srv.port);
    w.conf.timeouts.connect = 600000; /* longer than run_until() waits */
    w.dns.first[0] = fake_ip("127.0.0.3");
    w.dns.first[1] = fake_ip("127.0.0.1");
    w.dns.nfirst = 2;
    struct upstream_want x = want(&w, "two.test", false, true);
    assert_int_equal(get(&w, &x), 0);
    assert_int_equal(w.got.ip.bytes[3], 1);
    give_up(&w);
    close(deaf);
    end(&w);
}

/* ---- through a company's proxy ---- */

/* A proxy that reads one CONNECT, gives a fixed answer, and then echoes. */
struct middle {
    uv_tcp_t listener;
    uint16_t port;
    const char *answer;
    struct side d;
    bool told;
};

static void middle_data(void *arg, const uint8_t *p, size_t n)
{
    struct middle *m = arg;
    if (m->told) {
        assert_int_equal(stream_write(m->d.s, p, n), 0);
        return;
    }
    assert_int_equal(gvm_buf_add(&m->d.got, p, n), 0);
    if (memmem(gvm_buf_data(&m->d.got), m->d.got.len, "\r\n\r\n", 4)) {
        m->told = true;
        assert_int_equal(stream_write(m->d.s, m->answer, strlen(m->answer)), 0);
    }
}

static void middle_eof(void *arg)
{
    struct middle *m = arg;
    stream_close(m->d.s, 0);
    m->d.s = NULL;
}

static void middle_close(void *arg, const struct gvm_err *err)
{
    (void)err;
    struct middle *m = arg;
    m->d.s = NULL;
}

static const struct stream_events middle_events = {
    .on_data = middle_data, .on_eof = middle_eof, .on_close = middle_close};

static void on_middle(uv_stream_t *l, int status)
{
    struct middle *m = l->data;
    assert_int_equal(status, 0);
    if (m->d.s)
        stream_close(m->d.s, 0);
    gvm_buf_reset(&m->d.got);
    m->told = false;
    assert_int_equal(stream_accept(l, &middle_events, m, &m->d.s, NULL), 0);
    stream_resume(m->d.s);
}

static void middle_begin(struct middle *m, uv_loop_t *loop)
{
    struct sockaddr_in sa;
    int n = sizeof sa;
    memset(m, 0, sizeof *m);
    gvm_buf_init(&m->d.got, 65536);
    uv_tcp_init(loop, &m->listener);
    m->listener.data = m;
    uv_ip4_addr("127.0.0.1", 0, &sa);
    uv_tcp_bind(&m->listener, (struct sockaddr *)&sa, 0);
    assert_int_equal(uv_listen((uv_stream_t *)&m->listener, 8, on_middle), 0);
    uv_tcp_getsockname(&m->listener, (struct sockaddr *)&sa, &n);
    m->port = ntohs(sa.sin_port);
}

static void middle_end(struct middle *m)
{
    if (m->d.s)
        stream_close(m->d.s, 0);
    uv_close((uv_handle_t *)&m->listener, NULL);
    gvm_buf_done(&m->d.got);
}

static void through_a_proxy(void **state)
{
    (void)state;
    struct world w;
    struct middle m;
    begin(&w, NULL, "127.0.0.1 proxy.corp.test\n");
    middle_begin(&m, &w.loop);
    w.conf.proxy_host = gvm_str("proxy.corp.test");
    w.conf.proxy_port = m.port;
    struct upstream_want x = want(&w, "shop.test", false, false);
    x.fresh = true;
    m.answer = "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n";
    assert_int_equal(get(&w, &x), 0);
    assert_int_equal(w.got.port, m.port);
    assert_int_equal(w.dns.a_queries, 0); /* the name is the proxy's to resolve */
    char head[128];
    (void)snprintf(head, sizeof head, "CONNECT shop.test:%u HTTP/1.1\r\nHost: shop.test:%u\r\n\r\n",
                   w.srv.port, w.srv.port);
    assert_string_equal(gvm_buf_cstr(&m.d.got), head);
    give_up(&w);

    static const struct {
        const char *answer, *text;
    } bad[] = {
        {"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "answered 407"},
        {"HTTP/1.1 200 OK\r\n\r\nSSH-2.0", "sent bytes behind its answer"},
        {"nonsense\r\n\r\n", "[upstream] proxy, CONNECT shop.test"},
        {"HTTP/1.1 100 Continue\r\n\r\n", "answered 100"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        m.answer = bad[i].answer;
        assert_int_equal(get(&w, &x), EPROTO);
        assert_non_null(strstr(w.text, bad[i].text));
    }
    middle_end(&m);
    end(&w);
}

/* What may not be reached directly may not be reached through the proxy either. */
static void proxy_reaches_nothing_private(void **state)
{
    (void)state;
    struct world w;
    struct middle m;
    begin(&w, NULL, "");
    middle_begin(&m, &w.loop);
    w.conf.proxy_host = gvm_str("127.0.0.1");
    w.conf.proxy_port = m.port;
    m.answer = "HTTP/1.1 200 OK\r\n\r\n";
    static const char *const hosts[] = {"localhost",
                                        "a.localhost",
                                        "metadata.google.internal",
                                        "printer.local",
                                        "127.0.0.1",
                                        "169.254.169.254",
                                        "::1",
                                        "10.0.0.1",
                                        "intranet",
                                        "router.home.arpa"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        struct upstream_want x = want(&w, hosts[i], false, false);
        assert_int_equal(get(&w, &x), EACCES);
    }
    struct upstream_want direct =
        want(&w, "127.0.0.1", false, true); /* private = true: not through it */
    assert_int_equal(get(&w, &direct), 0);
    assert_int_equal(w.got.port, w.srv.port);
    give_up(&w);
    middle_end(&m);
    end(&w);
}

static void proxy_is_gone(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "");
    w.conf.proxy_host = gvm_str("127.0.0.2");
    w.conf.proxy_port = w.srv.port;
    struct upstream_want x = want(&w, "shop.test", true, false);
    assert_int_equal(get(&w, &x), ECONNREFUSED);
    assert_non_null(strstr(w.text, "[upstream] proxy 127.0.0.2 (127.0.0.2 port"));
    end(&w);
}

/* ---- TLS ---- */

static void tls_verified(void **state)
{
    (void)state;
    struct world w;
    begin(&w, &good, "127.0.0.1 good.test evil.test a.wild.test\n");
    struct upstream_want x = want(&w, "good.test", true, true);
    assert_int_equal(get(&w, &x), 0);
    const unsigned char *alpn;
    unsigned n;
    SSL_get0_alpn_selected(stream_ssl(w.got.stream), &alpn, &n);
    assert_int_equal(SSL_get_verify_result(stream_ssl(w.got.stream)), X509_V_OK);
    give_up(&w);
    x.host = "evil.test";
    assert_int_equal(get(&w, &x), EPROTO);
    assert_string_equal(w.text, "certificate of evil.test does not verify: hostname mismatch");
    x.host = "127.0.0.1"; /* not in this certificate */
    assert_int_equal(get(&w, &x), EPROTO);
    assert_non_null(strstr(w.text, "IP address mismatch"));
    x.host = "good.test";
    char *other = fixture_pem(other_ca.cert);
    w.conf.ca_pem = gvm_str(other);
    assert_int_equal(get(&w, &x), EPROTO);
    assert_string_equal(w.text, "certificate of good.test does not verify: "
                                "unable to get local issuer certificate");
    w.conf.ca_pem = GVM_STR("");
    assert_int_equal(get(&w, &x), EPROTO);
    w.conf.ca_pem = GVM_STR("not a certificate");
    assert_int_equal(get(&w, &x), EINVAL);
    free(other);
    end(&w);
}

static void tls_by_address(void **state)
{
    (void)state;
    struct world w;
    begin(&w, &by_ip, "127.0.0.1 good.test\n");
    struct upstream_want x = want(&w, "127.0.0.1", true, true);
    assert_int_equal(get(&w, &x), 0);
    assert_null(SSL_get_servername(stream_ssl(w.got.stream), TLSEXT_NAMETYPE_host_name));
    give_up(&w);
    x.host = "good.test";
    assert_int_equal(get(&w, &x), EPROTO);
    end(&w);
}

static void tls_resumes(void **state)
{
    (void)state;
    struct world w;
    begin(&w, &good, "127.0.0.1 good.test\n");
    struct upstream_want x = want(&w, "good.test", true, true);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(get(&w, &x), 0);
        assert_int_equal(SSL_session_reused(stream_ssl(w.got.stream)), round > 0);
        /* Tickets come with the first bytes. */
        struct side d = {.s = w.got.stream};
        gvm_buf_init(&d.got, 100);
        stream_set_events(d.s, &side_events, &d);
        stream_resume(d.s);
        assert_int_equal(stream_write(d.s, "x", 1), 0);
        for (int i = 0; i < 200 && !d.count; i++)
            run_some(&w.loop, 2);
        assert_int_equal(d.count, 1);
        give_up(&w);
        run_some(&w.loop, 5);
    }
    char *both; /* another trust: no session of the old one */
    assert_true(asprintf(&both, "%s\n", w.ca_pem) > 0);
    w.conf.ca_pem = gvm_str(both);
    assert_int_equal(get(&w, &x), 0);
    assert_int_equal(SSL_session_reused(stream_ssl(w.got.stream)), 0);
    give_up(&w);
    free(both);
    end(&w);
}

static void plain_server_for_tls(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "127.0.0.1 good.test\n"); /* echoes the ClientHello */
    struct upstream_want x = want(&w, "good.test", true, true);
    assert_int_equal(get(&w, &x), EPROTO);
    assert_non_null(strstr(w.text, "good.test:"));
    end(&w);
}

/* ---- pool ---- */

static void pool_reuses(void **state)
{
    (void)state;
    struct world w;
    begin(&w, &good, "127.0.0.1 good.test\n");
    struct upstream_want x = want(&w, "good.test", true, true);
    assert_int_equal(get(&w, &x), 0);
    assert_false(w.got.reused);
    struct stream *s = w.got.stream;
    run_some(&w.loop, 10);
    upstream_put(w.u, &x, s);
    run_some(&w.loop, 10);
    assert_int_equal(get(&w, &x), 0);
    assert_true(w.got.reused);
    assert_ptr_equal(w.got.stream, s);
    assert_int_equal(w.got.port, w.srv.port);
    upstream_put(w.u, &x, s);
    /* Everything that may differ does not get it. */
    struct upstream_want other[5] = {x, x, x, x, x};
    struct gvm_conf conf2 = w.conf;
    (void)snprintf(conf2.hash, sizeof conf2.hash, "another policy");
    other[0].run = "r2";
    other[1].credential = "abc";
    other[2].conf = &conf2;
    other[3].fresh = true;
    other[4].tls = false;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(get(&w, &other[i]), 0);
        assert_false(w.got.reused);
        give_up(&w);
    }
    struct upstream_want strict = x;
    strict.private_ok = false; /* nor does a rule that may not reach private addresses */
    assert_int_equal(get(&w, &strict), EACCES);
    struct upstream_got got;
    assert_true(upstream_take(w.u, &x, &got));
    assert_ptr_equal(got.stream, s);
    assert_false(upstream_take(w.u, &x, &got));
    upstream_put(w.u, &x, s);
    upstreams_forget_run(w.u, "r2");
    assert_true(upstream_take(w.u, &x, &got));
    upstream_put(w.u, &x, s);
    upstreams_forget_run(w.u, "r1");
    assert_false(upstream_take(w.u, &x, &got));
    end(&w);
}

static void pool_drops_stale(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "127.0.0.1 good.test\n");
    struct upstream_want x = want(&w, "good.test", false, true);
    struct upstream_got got;
    /* 0: the server ends; 1: resets; 2: says something; 3: has said something nobody read. */
    for (int how = 0; how < 4; how++) {
        assert_int_equal(get(&w, &x), 0);
        assert_false(w.got.reused);
        for (int i = 0; i < 100 && w.srv.n < (unsigned)how + 1; i++)
            run_some(&w.loop, 2);
        struct side *peer = &w.srv.peers[w.srv.n - 1];
        if (how == 3) {
            assert_int_equal(stream_write(peer->s, "HTTP/1.1 200 for somebody else", 30), 0);
            run_some(&w.loop, 5);
        }
        upstream_put(w.u, &x, w.got.stream);
        if (how == 0)
            stream_shutdown(peer->s);
        else if (how == 1) {
            stream_abort(peer->s);
            peer->s = NULL;
        } else if (how == 2)
            assert_int_equal(stream_write(peer->s, "x", 1), 0);
        if (how == 3)
            assert_false(upstream_take(w.u, &x, &got)); /* at once, without a turn of the loop */
        run_some(&w.loop, 10);
    }
    end(&w);
}

static void pool_is_bounded(void **state)
{
    (void)state;
    enum { MORE = 4, ALL = POOL_PER_KEY + MORE };
    _Static_assert(ALL < PEERS, "the server keeps every connection");
    struct world w;
    begin(&w, NULL, "127.0.0.1 good.test\n");
    struct upstream_want x = want(&w, "good.test", false, true);
    x.fresh = true;
    struct stream *s[ALL];
    for (int i = 0; i < ALL; i++) {
        assert_int_equal(get(&w, &x), 0);
        s[i] = w.got.stream;
    }
    for (int i = 0; i < ALL; i++)
        upstream_put(w.u, &x, s[i]);
    struct upstream_got got;
    x.fresh = false;
    int n = 0;
    while (upstream_take(w.u, &x, &got)) {
        assert_ptr_equal(got.stream, s[ALL - 1 - n]); /* the newest first, the oldest went */
        stream_close(got.stream, 0);
        n++;
    }
    assert_int_equal(n, POOL_PER_KEY);
    end(&w);
}

/* A connection is used for as long as it may live, whatever it did. */
static void pool_lets_go(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, "127.0.0.1 good.test\n");
    struct upstream_want x = want(&w, "good.test", false, true);
    struct upstream_got got;
    w.conf.timeouts.pool_idle = 60000;
    w.conf.timeouts.pool_life = 300;
    assert_int_equal(get(&w, &x), 0);
    upstream_put(w.u, &x, w.got.stream);
    assert_true(upstream_take(w.u, &x, &got));
    upstream_put(w.u, &x, got.stream);
    run_some(&w.loop, 400);
    assert_false(upstream_take(w.u, &x, &got)); /* grew too old in the pool */
    assert_int_equal(get(&w, &x), 0);
    assert_false(w.got.reused);
    run_some(&w.loop, 400);
    upstream_put(w.u, &x, w.got.stream);
    assert_false(upstream_take(w.u, &x, &got)); /* was too old to go back */
    w.conf.timeouts.pool_idle = 50;
    w.conf.timeouts.pool_life = 60000;
    assert_int_equal(get(&w, &x), 0);
    upstream_put(w.u, &x, w.got.stream);
    run_some(&w.loop, 200);
    assert_false(upstream_take(w.u, &x, &got)); /* nobody wanted it */
    end(&w);
}

/* Cancelled at every stage: no callback, nothing left over (loop_end would see it). */
static void cancelled(void **state)
{
    (void)state;
    for (int stage = 0; stage < 12; stage++) {
        struct world w;
        begin(&w, &good, "");
        fake_set(&w.dns, "127.0.0.1");
        struct upstream_want x = want(&w, "good.test", true, true);
        struct upstream_ask *ask = NULL;
        assert_int_equal(upstream_get(w.u, &x, on_got, &w, &ask, NULL), 0);
        for (int i = 0; i < stage && !w.over; i++)
            uv_run(&w.loop, UV_RUN_ONCE);
        if (!w.over)
            upstream_cancel(ask);
        else
            give_up(&w);
        bool was = w.over;
        run_some(&w.loop, 10);
        assert_int_equal(w.over, was);
        end(&w);
    }
}

static void bad_setup(void **state)
{
    (void)state;
    uv_loop_t loop;
    uv_loop_init(&loop);
    static const char *const bad[] = {"",      "example.com", "1.2.3.4:0", "1.2.3.4:70000",
                                      "[::1]", "[::1",        "1.2.3.4:x"};
    struct upstreams *u = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct upstream_setup setup = {.loop = &loop, .resolvers = &bad[i], .nresolvers = 1};
        struct gvm_err err = {0};
        assert_int_equal(upstreams_new(&setup, &u, &err), -EINVAL);
        assert_non_null(strstr(err.text, "is not an address"));
    }
    static const char *const fine[] = {"1.2.3.4", "1.2.3.4:5353", "::1", "[::1]:5353"};
    struct upstream_setup setup = {.loop = &loop, .resolvers = fine, .nresolvers = 4};
    assert_int_equal(upstreams_new(&setup, &u, NULL), 0);
    upstreams_free(u);
    loop_end(&loop);
}

static int setup(void **state)
{
    (void)state;
    ca = fixture_make("test ca", NULL, NULL, -DAY, DAY);
    other_ca = fixture_make("other ca", NULL, NULL, -DAY, DAY);
    good = fixture_make("good.test", &ca, "DNS:good.test", -DAY, DAY);
    by_ip = fixture_make("127.0.0.1", &ca, "IP:127.0.0.1", -DAY, DAY);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_free(&ca);
    fixture_free(&other_ca);
    fixture_free(&good);
    fixture_free(&by_ip);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dials_what_was_checked),
        cmocka_unit_test(private_answers_refused),
        cmocka_unit_test(mixed_answer),
        cmocka_unit_test(literals),
        cmocka_unit_test(pins),
        cmocka_unit_test(own_sockets_refused),
        cmocka_unit_test(hosts_file),
        cmocka_unit_test(no_such_name),
        cmocka_unit_test(resolver_troubles),
        cmocka_unit_test(resolver_silent),
        cmocka_unit_test(answers_are_kept),
        cmocka_unit_test(next_address),
        cmocka_unit_test(next_address_when_silent),
        cmocka_unit_test(names_change),
        cmocka_unit_test(through_a_proxy),
        cmocka_unit_test(proxy_reaches_nothing_private),
        cmocka_unit_test(proxy_is_gone),
        cmocka_unit_test(tls_verified),
        cmocka_unit_test(tls_by_address),
        cmocka_unit_test(tls_resumes),
        cmocka_unit_test(plain_server_for_tls),
        cmocka_unit_test(pool_reuses),
        cmocka_unit_test(pool_drops_stale),
        cmocka_unit_test(pool_is_bounded),
        cmocka_unit_test(pool_lets_go),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(bad_setup),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
