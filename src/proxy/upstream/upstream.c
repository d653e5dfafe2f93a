/* The way of one request for a connection:
 *
 *   start -> pool, or
 *         -> pin | literal | lookup -> check every address -> dial the checked ones in turn -> TLS
 * -> caller
 *
 * Everything runs from the loop. An ask holds what it needs of the policy from the first moment
 * (pin, trust, timeouts), so a reload in between neither changes it nor pulls it away.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/upstream/upstream_int.h"

#define CONNECT_MS  10000u
#define TLS_MS      15000u
#define DIAL_MIN_MS 1000u

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
    SSL_CTX *ctx; /* NULL: plain */
    uint64_t connect_ms, tls_ms, deadline;
    struct endpoint to[DIAL_MAX];
    unsigned nto, turn;
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

/* ---- the end of an ask ---- */

static void ask_free(struct upstream_ask *a)
{
    *a->at = a->next;
    if (a->next)
        a->next->at = a->at;
    defer_cancel(&a->begin);
    lookup_cancel(a->lookup);
    if (a->stream)
        stream_close(a->stream, 0);
    SSL_CTX_free(a->ctx);
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

/* ---- dial ---- */

static void dial_next(struct upstream_ask *a, const struct gvm_err *last);

static void connected_through(struct upstream_ask *a)
{
    const struct endpoint *to = &a->to[a->turn - 1];
    struct upstream_got got = {.stream = a->stream, .ip = to->ip, .port = to->port};
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
    if (!strstr(mine.text, "does not verify"))
        (void)gvm_err_wrap(&mine, -mine.code, "%s:%u", a->host, a->port);
    ask_fail(a, &mine); /* another address of the same name would not be better */
}

static void begin_tls(struct upstream_ask *a)
{
    struct gvm_err err = {0};
    SSL *ssl = NULL;
    int r = trust_ssl(a->ctx, a->host, a->port, &ssl, &err);
    if (r == 0)
        r = stream_start_tls(a->stream, ssl, false, GVM_STR(""), a->tls_ms, on_tls, a, &err);
    if (r < 0)
        ask_fail(a, &err);
}

static void on_connected(void *arg, struct stream *s, const struct gvm_err *err)
{
    struct upstream_ask *a = arg;
    if (err) {
        a->stream = NULL;
        dial_next(a, err);
        return;
    }
    stream_set_events(s, NULL, NULL);
    if (a->ctx)
        begin_tls(a);
    else
        connected_through(a);
}

/* What is left of the connect time, shared between the addresses that are left. */
static uint64_t dial_time(const struct upstream_ask *a)
{
    uint64_t now = uv_now(a->u->loop);
    uint64_t left = a->deadline > now ? (a->deadline - now) / (a->nto - a->turn) : 1;
    return left > DIAL_MIN_MS || a->nto - a->turn == 1 ? left : DIAL_MIN_MS;
}

static void dial_failed(struct upstream_ask *a, const struct gvm_err *last)
{
    struct gvm_err err = *last;
    char ip[INET6_ADDRSTRLEN];
    const struct endpoint *to = &a->to[a->nto - 1];
    gvm_ip_text(&to->ip, ip);
    (void)gvm_err_wrap(&err, -err.code, "%s (%s port %u)", a->host, ip, to->port);
    ask_fail(a, &err);
}

static void dial_next(struct upstream_ask *a, const struct gvm_err *last)
{
    struct gvm_err err = last ? *last : (struct gvm_err){0};
    while (a->turn < a->nto) {
        const struct endpoint *to = &a->to[a->turn];
        struct sockaddr_storage sa;
        (void)gvm_ip_to_sockaddr(&to->ip, to->port, &sa);
        uint64_t ms = dial_time(a);
        a->turn++;
        if (stream_connect(a->u->loop, (struct sockaddr *)&sa, ms, NULL, a, on_connected,
                           &a->stream, &err) == 0)
            return;
    }
    dial_failed(a, &err);
}

/* Every address is judged; only those that passed are dialled, and nothing is resolved again. */
static void dial(struct upstream_ask *a, const struct gvm_ip *addrs, unsigned n)
{
    struct gvm_err refused = {0};
    struct upstreams *u = a->u;
    for (unsigned i = 0; i < n && a->nto < DIAL_MAX; i++) {
        struct endpoint to = {addrs[i], a->port};
        if (address_check(a->host, &to, a->private_ok, a->pinned, u->refuse, u->nrefuse,
                          refused.code ? NULL : &refused) == 0)
            a->to[a->nto++] = to;
    }
    if (!a->nto) {
        ask_fail(a, &refused);
        return;
    }
    a->deadline = uv_now(u->loop) + a->connect_ms;
    dial_next(a, NULL);
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
    a->deadline = uv_now(u->loop) + a->connect_ms;
    dial_next(a, NULL);
}

static void ask_begin(void *arg)
{
    struct upstream_ask *a = arg;
    struct gvm_err err = {0};
    if (a->ready) {
        struct upstream_got got = a->pooled;
        ask_done(a, &got);
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

static int ask_fill(struct upstream_ask *a, const struct upstream_want *w, struct gvm_err *err)
{
    if (gvm_str_copy(a->host, sizeof a->host, gvm_str(w->host)) < 0 || !a->host[0] || !w->port)
        return gvm_err_set(err, EINVAL, "upstream: not a host and port");
    a->port = w->port;
    a->private_ok = w->private_ok;
    a->connect_ms = w->conf && w->conf->timeouts.connect ? w->conf->timeouts.connect : CONNECT_MS;
    a->tls_ms = w->conf && w->conf->timeouts.tls ? w->conf->timeouts.tls : TLS_MS;
    int r = fixed_address(a, w->conf, err);
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
