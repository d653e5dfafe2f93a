/* The way of one request for a connection:
 *
 *   start -> pool, or
 *         -> pin | literal | lookup -> check every address -> race the checked ones -> TLS ->
 * caller
 *         -> [upstream] proxy: lookup -> check -> race -> CONNECT -> TLS -> caller
 *
 * Through a company's proxy the name is the proxy's to resolve, so only addresses written as such
 * are checked. Pins, and hosts that a rule marks private, are reached directly.
 *
 * Everything runs from the loop. An ask holds what it needs of the policy from the first moment
 * (pin, trust, timeouts), so a reload in between neither changes it nor pulls it away.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/upstream/upstream_int.h"

#define CONNECT_MS 10000u
#define TLS_MS     15000u

struct upstreams {
    uv_loop_t *loop;
    struct stream_loop *sl;
    struct resolver *resolver;
    struct trust *trust;
    struct pool *pool;
    struct endpoint *refuse;
    unsigned nrefuse;
    struct upstream_ask *asks;
};

struct upstream_ask {
    struct upstreams *u;
    struct upstream_ask *next, **at;
    void (*cb)(void *arg, const struct upstream_got *got, const struct gvm_err *err);
    void *arg;
    struct defer begin;
    struct lookup *lookup;
    struct stream *stream;
    char host[GVM_MAX_HOST + 1];
    uint16_t port;
    bool private_ok, pinned, literal, ready;
    enum upstream_http http;
    bool only2;   /* the server has no HTTP/1.1 */
    SSL_CTX *ctx; /* NULL: plain */
    struct upstream_identity *identity;
    uint64_t connect_ms, tls_ms;
    struct endpoint to[DIAL_MAX];
    unsigned nto;
    struct dial *dial;
    char via_name[GVM_MAX_HOST + 1];
    const char *via; /* the proxy that leads there, NULL: none */
    uint16_t via_port;
    struct tunnel *tunnel;
    struct endpoint at_end;     /* the other end of the connection */
    struct upstream_got pooled; /* when ready */
};

/* ---- the process's set ---- */

static int parse_refuse(struct upstreams *u, const struct upstream_setup *setup,
                        struct gvm_err *err)
{
    u->refuse = gvm_calloc(setup->nrefuse, sizeof *u->refuse);
    if (!u->refuse)
        return gvm_err_set(err, ENOMEM, "out of memory");
    for (unsigned i = 0; i < setup->nrefuse; i++) {
        int r = endpoint_parse(setup->refuse[i], 0, &u->refuse[i], err);
        if (r < 0)
            return r;
        u->nrefuse++;
    }
    return 0;
}

int upstreams_new(const struct upstream_setup *setup, struct upstreams **ret, struct gvm_err *err)
{
    struct upstreams *u = gvm_calloc(1, sizeof *u);
    if (!u)
        return gvm_err_set(err, ENOMEM, "upstream: out of memory");
    streams_init();
    u->loop = setup->loop;
    u->sl = stream_loop_ref(setup->loop);
    u->pool = pool_new();
    int r = 0;
    if (!u->sl || !u->pool)
        r = gvm_err_set(err, ENOMEM, "out of memory");
    if (r == 0)
        r = parse_refuse(u, setup, err);
    if (r == 0)
        r = resolver_new(setup, &u->resolver, err);
    if (r == 0)
        r = trust_new(setup->ca_pem, &u->trust, err);
    if (r < 0) {
        upstreams_free(u);
        return gvm_err_wrap(err, r, "upstream");
    }
    *ret = u;
    return 0;
}

void upstreams_free(struct upstreams *u)
{
    if (!u)
        return;
    while (u->asks)
        upstream_cancel(u->asks);
    pool_free(u->pool);
    resolver_free(u->resolver);
    trust_free(u->trust);
    stream_loop_unref(u->sl);
    free(u->refuse);
    free(u);
}

int upstreams_names(struct upstreams *u, const char *const *resolvers, unsigned n,
                    struct gvm_str hosts, struct gvm_err *err)
{
    return resolver_set(u->resolver, resolvers, n, hosts, err);
}

/* ---- the end of an ask ---- */

static void ask_free(struct upstream_ask *a)
{
    *a->at = a->next;
    if (a->next)
        a->next->at = a->at;
    defer_cancel(&a->begin);
    lookup_cancel(a->lookup);
    dial_cancel(a->dial);
    if (a->tunnel)
        tunnel_cancel(a->tunnel);
    else if (a->stream)
        stream_close(a->stream, 0);
    SSL_CTX_free(a->ctx);
    upstream_identity_unref(a->identity);
    free(a);
}

void upstream_cancel(struct upstream_ask *ask)
{
    if (ask)
        ask_free(ask);
}

static void ask_fail(struct upstream_ask *a, const struct gvm_err *err)
{
    void (*cb)(void *, const struct upstream_got *, const struct gvm_err *) = a->cb;
    void *arg = a->arg;
    ask_free(a);
    cb(arg, NULL, err);
}

static void ask_done(struct upstream_ask *a, const struct upstream_got *got)
{
    void (*cb)(void *, const struct upstream_got *, const struct gvm_err *) = a->cb;
    void *arg = a->arg;
    a->stream = NULL;
    ask_free(a);
    cb(arg, got, NULL);
}

/* ---- connected ---- */

static void begin_dial(struct upstream_ask *a);

static bool agreed_http2(struct stream *s)
{
    const unsigned char *p;
    unsigned n;
    SSL_get0_alpn_selected(stream_ssl(s), &p, &n);
    return n == 2 && memcmp(p, "h2", 2) == 0;
}

static void connected_through(struct upstream_ask *a)
{
    struct upstream_got got = {.stream = a->stream, .ip = a->at_end.ip, .port = a->at_end.port};
    got.http2 = a->ctx ? agreed_http2(a->stream) : a->http == UPSTREAM_HTTP2;
    ask_done(a, &got);
}

static void on_tls(void *arg, const struct gvm_err *err)
{
    struct upstream_ask *a = arg;
    if (!err) {
        connected_through(a);
        return;
    }
    struct gvm_err mine = *err;
    a->stream = NULL;
    if (err->code == EPROTONOSUPPORT && a->http == UPSTREAM_HTTP1 && !a->only2) {
        a->only2 = true;
        a->to[0] = a->at_end;
        a->nto = 1;
        begin_dial(a); /* the same address, with what is left to offer */
        return;
    }
    if (!strstr(mine.text, "does not verify"))
        (void)gvm_err_wrap(&mine, -mine.code, "%s:%u", a->host, a->port);
    ask_fail(a, &mine); /* another address of the same name would not be better */
}

static struct gvm_str alpn_of(const struct upstream_ask *a)
{
    static const struct gvm_str one = {"\x08http/1.1", 9}, both = {"\x02h2\x08http/1.1", 12},
                                two = {"\x02h2", 3};
    return a->only2 ? two : a->http == UPSTREAM_HTTP2 ? both : one;
}

static void begin_tls(struct upstream_ask *a)
{
    struct gvm_err err = {0};
    SSL *ssl = NULL;
    int r = trust_ssl(a->ctx, a->host, a->port, alpn_of(a), a->identity, &ssl, &err);
    if (r == 0)
        r = stream_start_tls(a->stream, ssl, false, GVM_STR(""), a->tls_ms, on_tls, a, &err);
    if (r < 0)
        ask_fail(a, &err);
}

static void reached(struct upstream_ask *a)
{
    if (a->ctx)
        begin_tls(a);
    else
        connected_through(a);
}

static void on_tunnel(void *arg, const struct gvm_err *err)
{
    struct upstream_ask *a = arg;
    a->tunnel = NULL;
    if (!err) {
        reached(a);
        return;
    }
    a->stream = NULL;
    ask_fail(a, err);
}

static void on_dialled(void *arg, struct stream *s, const struct endpoint *to,
                       const struct gvm_err *last)
{
    struct upstream_ask *a = arg;
    struct gvm_err err = {0};
    char ip[INET6_ADDRSTRLEN];
    a->dial = NULL;
    if (last) {
        err = *last;
        gvm_ip_text(&to->ip, ip);
        (void)gvm_err_wrap(&err, -err.code, "%s%s (%s port %u)", a->via ? "[upstream] proxy " : "",
                           a->via ? a->via : a->host, ip, to->port);
        ask_fail(a, &err);
        return;
    }
    a->stream = s;
    a->at_end = *to;
    if (!a->via)
        reached(a);
    else if (tunnel_begin(s, a->host, a->port, a->connect_ms, on_tunnel, a, &a->tunnel, &err) < 0) {
        a->stream = NULL;
        ask_fail(a, &err);
    }
}

/* ---- dial ---- */

static void begin_dial(struct upstream_ask *a)
{
    struct gvm_err err = {0};
    if (dial_begin(a->u->loop, a->to, a->nto, a->connect_ms, on_dialled, a, &a->dial, &err) < 0)
        ask_fail(a, &err);
}

/* Every address is judged; only those that passed are dialled, and nothing is resolved again. */
static void dial(struct upstream_ask *a, const struct gvm_ip *addrs, unsigned n)
{
    struct gvm_err refused = {0};
    struct upstreams *u = a->u;
    for (unsigned i = 0; i < n && a->nto < DIAL_MAX; i++) {
        struct endpoint to = {addrs[i], a->via ? a->via_port : a->port};
        if (address_check(a->via ? a->via : a->host, &to, a->via || a->private_ok,
                          a->via || a->pinned, u->refuse, u->nrefuse,
                          refused.code ? NULL : &refused) == 0)
            a->to[a->nto++] = to;
    }
    if (!a->nto) {
        ask_fail(a, &refused);
        return;
    }
    begin_dial(a);
}

/* ---- where to ---- */

static void on_lookup(void *arg, const struct gvm_ip *addrs, unsigned n, const struct gvm_err *err)
{
    struct upstream_ask *a = arg;
    a->lookup = NULL;
    if (err)
        ask_fail(a, err);
    else
        dial(a, addrs, n);
}

static void dial_pin(struct upstream_ask *a)
{
    struct upstreams *u = a->u;
    struct gvm_err err = {0};
    if (address_check(a->host, &a->to[0], a->private_ok, a->pinned, u->refuse, u->nrefuse, &err) <
        0) {
        ask_fail(a, &err);
        return;
    }
    a->nto = 1;
    begin_dial(a);
}

/* Names that stand for the proxy's own machine or network (RFC 6761, RFC 6762, RFC 8375, and
 * .internal). */
static bool is_inner_name(const char *host)
{
    static const char *const suffixes[] = {".localhost", ".local", ".internal", ".home.arpa"};
    size_t n = strlen(host);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t m = strlen(suffixes[i]);
        if (n > m && strcmp(host + n - m, suffixes[i]) == 0)
            return true;
    }
    return strchr(host, '.') == NULL;
}

/* What the agent asked for is judged as if it were dialled from here, as far as that can be known;
 * the proxy's own address may be private, since the owner named it. */
static void begin_via(struct upstream_ask *a)
{
    struct upstreams *u = a->u;
    struct gvm_err err = {0};
    int r = 0;
    if (a->literal)
        r = address_check(a->host, &a->to[0], a->private_ok, false, u->refuse, u->nrefuse, &err);
    else if (is_inner_name(a->host))
        r = gvm_err_set(&err, EACCES, "%s is a name of a private network", a->host);
    if (r == 0 && gvm_ip_parse(gvm_str(a->via), &a->to[0].ip) == 0) {
        const struct gvm_ip ip = a->to[0].ip;
        dial(a, &ip, 1);
        return;
    }
    if (r == 0)
        r = resolver_lookup(u->resolver, a->via, on_lookup, a, &a->lookup, &err);
    if (r < 0)
        ask_fail(a, &err);
}

static void ask_begin(void *arg)
{
    struct upstream_ask *a = arg;
    struct gvm_err err = {0};
    if (a->ready) {
        struct upstream_got got = a->pooled;
        ask_done(a, &got);
    } else if (a->via) {
        begin_via(a);
    } else if (a->pinned || a->literal) {
        dial_pin(a);
    } else if (resolver_lookup(a->u->resolver, a->host, on_lookup, a, &a->lookup, &err) < 0) {
        ask_fail(a, &err);
    }
}

/* A pin, or an address in place of a name, is in to[0] afterwards. */
static int fixed_address(struct upstream_ask *a, const struct gvm_conf *conf, struct gvm_err *err)
{
    a->to[0].port = a->port;
    for (uint32_t i = 0; conf && i < conf->npins; i++) {
        const struct gvm_conf_pin *pin = &conf->pins[i];
        if (!gvm_str_ieqz(pin->host, a->host))
            continue;
        if (gvm_ip_parse(pin->address, &a->to[0].ip) < 0)
            return gvm_err_set(err, EINVAL, "[upstream.resolve] %s: not an address", a->host);
        if (pin->port)
            a->to[0].port = pin->port;
        a->pinned = true;
        return 0;
    }
    a->literal = gvm_ip_parse(gvm_str(a->host), &a->to[0].ip) == 0;
    return 0;
}

static int choose_via(struct upstream_ask *a, const struct gvm_conf *conf, struct gvm_err *err)
{
    if (!conf || !conf->proxy_port || a->pinned || a->private_ok)
        return 0;
    if (gvm_str_copy(a->via_name, sizeof a->via_name, conf->proxy_host) < 0)
        return gvm_err_set(err, EINVAL, "[upstream] proxy: not a host");
    a->via = a->via_name;
    a->via_port = conf->proxy_port;
    return 0;
}

static int ask_fill(struct upstream_ask *a, const struct upstream_want *w, struct gvm_err *err)
{
    if (gvm_str_copy(a->host, sizeof a->host, gvm_str(w->host)) < 0 || !a->host[0] || !w->port)
        return gvm_err_set(err, EINVAL, "upstream: not a host and port");
    a->port = w->port;
    a->private_ok = w->private_ok;
    a->http = w->http;
    a->identity = upstream_identity_ref(w->identity);
    a->connect_ms = w->conf && w->conf->timeouts.connect ? w->conf->timeouts.connect : CONNECT_MS;
    a->tls_ms = w->conf && w->conf->timeouts.tls ? w->conf->timeouts.tls : TLS_MS;
    int r = fixed_address(a, w->conf, err);
    if (r == 0)
        r = choose_via(a, w->conf, err);
    if (r == 0 && w->tls)
        r = trust_ctx(a->u->trust, w->conf ? w->conf->ca_pem : GVM_STR(""), &a->ctx, err);
    return r;
}

int upstream_get(struct upstreams *u, const struct upstream_want *want,
                 void (*cb)(void *arg, const struct upstream_got *got, const struct gvm_err *err),
                 void *arg, struct upstream_ask **ret, struct gvm_err *err)
{
    struct upstream_ask *a = gvm_calloc(1, sizeof *a);
    if (!a)
        return gvm_err_set(err, ENOMEM, "upstream: out of memory");
    a->u = u;
    a->cb = cb;
    a->arg = arg;
    a->next = u->asks;
    a->at = &u->asks;
    if (a->next)
        a->next->at = &a->next;
    u->asks = a;
    a->ready = !want->fresh && pool_take(u->pool, want, &a->pooled);
    a->stream = a->ready ? a->pooled.stream : NULL;
    int r = a->ready ? 0 : ask_fill(a, want, err);
    if (r < 0) {
        ask_free(a);
        return r;
    }
    defer_set(&a->begin, u->sl, ask_begin, a);
    *ret = a;
    return 0;
}

bool upstream_take(struct upstreams *u, const struct upstream_want *want, struct upstream_got *ret)
{
    return !want->fresh && pool_take(u->pool, want, ret);
}

void upstream_put(struct upstreams *u, const struct upstream_want *want, struct stream *s)
{
    pool_put(u->pool, want, s);
}

void upstreams_forget_run(struct upstreams *u, const char *run)
{
    pool_forget_run(u->pool, run);
}
