/* Who is this for? Four things may name a host: the address that was dialled, the server name of
 * the ClientHello, the Host field and an absolute target. All that are there must name the same
 * host, or the request is answered 421 and goes nowhere.
 *
 *   address           SNI           Host / absolute      what it is for
 *   a name's own      the same      the same or absent   the name
 *   an IP, public     a name        the same             the name (dialled by our own resolver's
 * answer) an IP             -             the IP, or a name    the IP; in clear text and public:
 * the name an IP, not public anything that is not that IP       421 nobody's          a name the
 * same             the name our own           -             absolute target      the target's
 * authority; Host must be the same
 *
 * A port given by Host or the target must be the port dialled. */
#include <errno.h>

#include "proxy/pipeline/px.h"

struct claims {
    bool has_host, has_absolute;
    struct gvm_authority host, absolute;
    bool absolute_tls;
    struct gvm_str origin;
};

static int no(struct px_refusal *f, unsigned status, const char *why)
{
    f->status = status;
    f->why = why;
    return -EINVAL;
}

void px_dest_of(const struct gvm_dns_names *names, const struct gvm_ip *ip, uint16_t port,
                struct px_dest *ret)
{
    struct px_dest d = {.port = port, .ip = *ip};
    const char *name = gvm_dns_names_find(names, ip);
    if (name && gvm_str_copy(d.host, sizeof d.host, gvm_str(name)) == 0) {
        d.kind = PX_DEST_NAME;
    } else if (gvm_dns_is_synthetic(ip)) {
        d.kind = PX_DEST_UNKNOWN;
    } else {
        d.kind = PX_DEST_IP;
        gvm_ip_text(ip, d.host);
    }
    *ret = d;
}

int px_identify_connect(const struct gvm_http1_head *h, struct px_dest *ret, struct gvm_err *err)
{
    struct gvm_authority a;
    int r = gvm_authority_parse(h->target, &a, err);
    if (r < 0)
        return r;
    if (!a.port)
        return gvm_err_set(err, EINVAL, "CONNECT needs host:port");
    struct gvm_authority host;
    if (h->host.n) {
        r = gvm_authority_parse(h->host, &host, err);
        if (r < 0)
            return r;
        if (strcmp(host.host, a.host) != 0 || (host.port && host.port != a.port)) {
            gvm_err_set(err, EXDEV, "CONNECT to %s, Host says %s", a.host, host.host);
            return -EXDEV;
        }
    }
    *ret =
        (struct px_dest){.kind = a.is_ip ? PX_DEST_IP : PX_DEST_NAME, .ip = a.ip, .port = a.port};
    memcpy(ret->host, a.host, sizeof ret->host);
    return 0;
}

/* Reads what the head says. */
static int read_claims(const struct gvm_http1_head *h, struct claims *c, struct px_refusal *f,
                       struct gvm_err *err)
{
    int r;
    if (h->host.n) {
        c->has_host = true;
        r = gvm_authority_parse(h->host, &c->host, err);
        if (r < 0)
            return no(f, 400, "malformed");
    }
    if (h->target.n && h->target.p[0] == '/') {
        c->origin = h->target;
        return 0;
    }
    struct gvm_str authority;
    r = gvm_absolute_split(h->target, &c->absolute_tls, &authority, &c->origin, err);
    if (r == 0)
        r = gvm_authority_parse(authority, &c->absolute, err);
    if (r < 0)
        return no(f, 400, "malformed");
    c->has_absolute = true;
    if (!c->origin.n)
        c->origin = GVM_STR("/");
    return 0;
}

/* The host that address and server name stand for; "" when only the request can tell. */
static int name_of_connection(const struct px_dest *d, const char *sni, const char **ret,
                              struct px_refusal *f, struct gvm_err *err)
{
    *ret = sni;
    if (d->kind == PX_DEST_NAME) {
        *ret = d->host;
        if (sni[0] && strcmp(sni, d->host) != 0) {
            gvm_err_set(err, EINVAL, "the connection is to %s, its server name says %s", d->host,
                        sni);
            return no(f, 421, "server name mismatch");
        }
    }
    return 0;
}

static bool is_default_port(uint16_t port, bool tls)
{
    return port == (tls ? 443 : 80);
}

/* Does an authority of the request name `host`, on the port that was dialled? */
static int agrees(const struct gvm_authority *a, const char *what, const char *host, uint16_t port,
                  struct px_refusal *f, struct gvm_err *err)
{
    if (strcmp(a->host, host) != 0) {
        gvm_err_set(err, EINVAL, "the connection is to %s, %s says %s", host, what, a->host);
        return no(f, 421, "host mismatch");
    }
    if (a->port && a->port != port) {
        gvm_err_set(err, EINVAL, "the connection is to port %u, %s says %u", port, what, a->port);
        return no(f, 421, "port mismatch");
    }
    return 0;
}

/* The host of a connection that does not tell by itself. */
static int name_by_request(const struct px_dest *d, bool tls, const struct claims *c,
                           const char **ret, struct px_refusal *f, struct gvm_err *err)
{
    const struct gvm_authority *a = c->has_absolute ? &c->absolute : c->has_host ? &c->host : NULL;
    if (d->kind == PX_DEST_IP && (tls || !a || a->is_ip)) {
        *ret = d->host; /* agrees() compares */
        return 0;
    }
    if (!a || a->is_ip) {
        gvm_err_set(err, EINVAL, "nothing names a host");
        return no(f, 421, "no host");
    }
    *ret = a->host;
    return 0;
}

/* A connection to our own address: the target names everything. */
static int by_target(const struct claims *c, bool tls, struct px_target *t, struct px_refusal *f,
                     struct gvm_err *err)
{
    if (tls || !c->has_absolute) {
        gvm_err_set(err, EINVAL,
                    "this address takes proxy requests only: CONNECT or an absolute URL");
        return no(f, 421, "no host");
    }
    t->tls = c->absolute_tls;
    t->port = c->absolute.port ? c->absolute.port : t->tls ? 443 : 80;
    t->is_ip = c->absolute.is_ip;
    t->ip = c->absolute.ip;
    memcpy(t->host, c->absolute.host, sizeof t->host);
    if (!c->has_host)
        return 0;
    int r = agrees(&c->host, "Host", t->host, t->port, f, err);
    if (r == 0 && !c->host.port && c->absolute.port && !is_default_port(t->port, t->tls)) {
        gvm_err_set(err, EINVAL, "the target names port %u, Host does not", t->port);
        return no(f, 421, "port mismatch");
    }
    return r;
}

static int by_connection(const struct px_dest *d, bool tls, const char *sni, const struct claims *c,
                         struct px_target *t, struct px_refusal *f, struct gvm_err *err)
{
    const char *host = NULL;
    int r = name_of_connection(d, sni, &host, f, err);
    if (r == 0 && !host[0])
        r = name_by_request(d, tls, c, &host, f, err);
    if (r < 0)
        return r;
    t->is_ip = d->kind == PX_DEST_IP && strcmp(host, d->host) == 0;
    t->ip = d->ip;
    if (d->kind == PX_DEST_IP && !t->is_ip && gvm_ip_class(&d->ip) != GVM_IP_PUBLIC) {
        gvm_err_set(err, EINVAL, "the connection is to %s, the request is for %s", d->host, host);
        return no(f, 421, "host mismatch");
    }
    if (c->has_absolute && c->absolute_tls != tls) {
        gvm_err_set(err, EINVAL, "the target's scheme is not the connection's");
        return no(f, 421, "scheme mismatch");
    }
    if (c->has_absolute)
        r = agrees(&c->absolute, "the target", host, d->port, f, err);
    if (r == 0 && c->has_host)
        r = agrees(&c->host, "Host", host, d->port, f, err);
    if (r < 0)
        return r;
    t->tls = tls;
    t->port = d->port;
    memcpy(t->host, host, strnlen(host, GVM_MAX_HOST));
    return 0;
}

static int identify(const struct px_dest *dest, bool tls, const char *sni, const struct claims *c,
                    struct px_target *ret, struct px_refusal *ret_refusal, struct gvm_err *err)
{
    struct px_target t = {0};
    int r = dest->kind == PX_DEST_ANY ? by_target(c, tls, &t, ret_refusal, err)
                                      : by_connection(dest, tls, sni, c, &t, ret_refusal, err);
    if (r < 0)
        return r;
    t.origin = c->origin;
    *ret = t;
    return 0;
}

int px_identify(const struct px_dest *dest, bool tls, const char *sni,
                const struct gvm_http1_head *h, struct px_target *ret,
                struct px_refusal *ret_refusal, struct gvm_err *err)
{
    struct claims c = {0};
    int r = read_claims(h, &c, ret_refusal, err);
    return r < 0 ? r : identify(dest, tls, sni, &c, ret, ret_refusal, err);
}

/* RFC 9113 8.3.1. */
static int read_names(const struct px_names *n, struct claims *c, struct px_refusal *f,
                      struct gvm_err *err)
{
    c->absolute_tls = gvm_str_eqz(n->scheme, "https");
    if (!c->absolute_tls && !gvm_str_eqz(n->scheme, "http")) {
        gvm_err_set(err, EINVAL, "a :scheme other than http and https");
        return no(f, 400, "malformed");
    }
    int r = 0;
    c->has_absolute = n->authority.n > 0;
    c->has_host = n->host.n > 0;
    if (c->has_absolute)
        r = gvm_authority_parse(n->authority, &c->absolute, err);
    if (r == 0 && c->has_host)
        r = gvm_authority_parse(n->host, &c->host, err);
    if (r == 0 && (!n->path.n || n->path.p[0] != '/'))
        r = gvm_err_set(err, EINVAL, "a :path that does not begin with a slash");
    if (r < 0)
        return no(f, 400, "malformed");
    if (!c->has_absolute && c->has_host) {
        c->absolute = c->host;
        c->has_absolute = true;
    }
    c->origin = n->path;
    return 0;
}

int px_identify_names(const struct px_dest *dest, bool tls, const char *sni,
                      const struct px_names *n, struct px_target *ret,
                      struct px_refusal *ret_refusal, struct gvm_err *err)
{
    struct claims c = {0};
    int r = read_names(n, &c, ret_refusal, err);
    return r < 0 ? r : identify(dest, tls, sni, &c, ret, ret_refusal, err);
}
