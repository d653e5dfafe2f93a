/* Names to addresses: /etc/hosts, then the resolvers. A and AAAA are asked at once; when one has
 * addresses the other gets a short grace. Answers are kept for their TTL, at most a minute. No
 * search domains: the name is what was judged. The classes of the addresses are checked by the
 * caller on every use, so a cached answer is no way around that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/upstream/upstream_int.h"

#define TRY_MS        2000u
#define MIN_TRIES     2u
#define MAX_SERVERS   3u
#define GRACE_MS      50u
#define CACHE_MAX     1024u
#define CACHE_TTL_MAX 60u
#define HOSTS_MAX     (4u << 20)
#define LOOKUPS_MAX   1024u
#define ADDRS_MAX     (2u * DNS_MAX_ADDRS)

struct found {
    struct gvm_ip addrs[ADDRS_MAX];
    unsigned n;
};

struct cached {
    uint64_t until; /* loop time, ms */
    struct found found;
};

struct resolver {
    uv_loop_t *loop;
    struct stream_loop *sl;
    struct endpoint servers[MAX_SERVERS];
    unsigned nservers;
    char *hosts;
    size_t hosts_len;
    struct gvm_map *cache;
    unsigned lookups;
};

/* One of the two questions of a lookup. */
struct question {
    struct lookup *l;
    uint16_t type;
    unsigned tries;
    bool no_edns;
    bool over;
    struct exchange *x;
    struct dns_answer answer;
    struct gvm_err err; /* of the last try; code 0 when answered */
};

struct lookup {
    struct resolver *r;
    char host[GVM_MAX_HOST + 1];
    lookup_cb *cb; /* NULL: over */
    void *arg;
    struct question q[2];
    struct defer soon; /* for what is known without asking */
    struct found found;
    uv_timer_t grace;
};

int resolver_set(struct resolver *r, const char *const *servers, unsigned n, struct gvm_str hosts,
                 struct gvm_err *err)
{
    struct endpoint found[MAX_SERVERS];
    unsigned nfound = 0;
    for (unsigned i = 0; i < n && nfound < MAX_SERVERS; i++) {
        int rc = endpoint_parse(servers[i], 53, &found[nfound], err);
        if (rc < 0)
            return gvm_err_wrap(err, rc, "resolver");
        nfound++;
    }
    size_t len = hosts.n < HOSTS_MAX ? hosts.n : HOSTS_MAX;
    char *copy = malloc(len + 1);
    struct gvm_map *fresh = gvm_map_new(CACHE_MAX, free);
    if (!copy || !fresh) {
        free(copy);
        gvm_map_free(fresh);
        return gvm_err_set(err, ENOMEM, "resolver: out of memory");
    }
    if (len)
        memcpy(copy, hosts.p, len);
    free(r->hosts);
    gvm_map_free(r->cache);
    r->hosts = copy;
    r->hosts_len = len;
    r->cache = fresh;
    if (nfound)
        memcpy(r->servers, found, nfound * sizeof *found);
    r->nservers = nfound;
    return 0;
}

int resolver_new(const struct upstream_setup *setup, struct resolver **ret, struct gvm_err *err)
{
    struct resolver *r = gvm_calloc(1, sizeof *r);
    if (!r)
        return gvm_err_set(err, ENOMEM, "resolver: out of memory");
    r->loop = setup->loop;
    r->sl = stream_loop_ref(setup->loop);
    int rc = r->sl ? resolver_set(r, setup->resolvers, setup->nresolvers, setup->hosts, err)
                   : gvm_err_set(err, ENOMEM, "resolver: out of memory");
    if (rc < 0) {
        resolver_free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

void resolver_free(struct resolver *r)
{
    if (!r)
        return;
    stream_loop_unref(r->sl);
    gvm_map_free(r->cache);
    free(r->hosts);
    free(r);
}

/* ---- /etc/hosts (hosts(5)): address, then names, "#" to the end of the line ---- */

static struct gvm_str next_word(struct gvm_str *line)
{
    while (line->n && (*line->p == ' ' || *line->p == '\t' || *line->p == '\r')) {
        line->p++;
        line->n--;
    }
    struct gvm_str word = {line->p, 0};
    while (line->n && *line->p != ' ' && *line->p != '\t' && *line->p != '\r') {
        line->p++;
        line->n--;
        word.n++;
    }
    return word;
}

static bool line_names(struct gvm_str line, const char *host)
{
    for (struct gvm_str w = next_word(&line); w.n; w = next_word(&line)) {
        if (gvm_str_ieqz(w, host))
            return true;
    }
    return false;
}

static void hosts_find(const struct resolver *r, const char *host, struct found *ret)
{
    struct gvm_str rest = {r->hosts, r->hosts_len};
    while (rest.n && ret->n < DNS_MAX_ADDRS) {
        struct gvm_str line, text;
        (void)gvm_str_cut(&rest, '\n', &line);
        (void)gvm_str_cut(&line, '#', &text);
        struct gvm_str address = next_word(&text);
        if (line_names(text, host) && gvm_ip_parse(address, &ret->addrs[ret->n]) == 0)
            ret->n++;
    }
}

/* RFC 6761 6.3: never asked of anybody. */
static void localhost_find(const char *host, struct found *ret)
{
    struct gvm_str h = gvm_str(host);
    if (!gvm_str_eqz(h, "localhost") && !gvm_str_ends(h, GVM_STR(".localhost")))
        return;
    ret->addrs[0] = (struct gvm_ip){.family = 4, .bytes = {127, 0, 0, 1}};
    ret->addrs[1] = (struct gvm_ip){.family = 6, .bytes = {[15] = 1}};
    ret->n = 2;
}

static void cache_find(const struct resolver *r, const char *host, struct found *ret)
{
    const struct cached *c = gvm_map_get(r->cache, gvm_str(host));
    if (c && uv_now(r->loop) < c->until)
        *ret = c->found;
}

static void cache_put(struct resolver *r, const char *host, const struct found *f, uint32_t ttl)
{
    struct cached *c = ttl ? gvm_calloc(1, sizeof *c) : NULL;
    if (!c)
        return;
    c->until = uv_now(r->loop) + 1000u * (ttl < CACHE_TTL_MAX ? ttl : CACHE_TTL_MAX);
    c->found = *f;
    if (gvm_map_put(r->cache, gvm_str(host), c) == 0)
        return;
    /* Full: begin anew. */
    struct gvm_map *fresh = gvm_map_new(CACHE_MAX, free);
    if (!fresh || gvm_map_put(fresh, gvm_str(host), c) < 0) {
        gvm_map_free(fresh);
        free(c);
        return;
    }
    gvm_map_free(r->cache);
    r->cache = fresh;
}

/* ---- a lookup ---- */

static void grace_closed(uv_handle_t *h)
{
    free(h->data);
}

static void lookup_end(struct lookup *l)
{
    l->cb = NULL;
    l->r->lookups--;
    defer_cancel(&l->soon);
    exchange_cancel(l->q[0].x);
    exchange_cancel(l->q[1].x);
    uv_close((uv_handle_t *)&l->grace, grace_closed);
}

void lookup_cancel(struct lookup *l)
{
    if (l && l->cb)
        lookup_end(l);
}

static void lookup_done(struct lookup *l, const struct gvm_err *err)
{
    lookup_cb *cb = l->cb;
    struct found f = l->found;
    void *arg = l->arg;
    lookup_end(l);
    cb(arg, err ? NULL : f.addrs, err ? 0 : f.n, err);
}

static void known(void *arg)
{
    lookup_done(arg, NULL);
}

/* IPv4 first, then in turns: one family that leads nowhere costs one try. */
static void merge(struct lookup *l)
{
    const struct dns_answer *a[2] = {&l->q[0].answer, &l->q[1].answer};
    for (unsigned i = 0; i < DNS_MAX_ADDRS; i++) {
        for (unsigned k = 0; k < 2; k++) {
            if (i < a[k]->n)
                l->found.addrs[l->found.n++] = a[k]->addrs[i];
        }
    }
}

static void none_found(struct lookup *l)
{
    struct gvm_err err = {0};
    const struct question *failed = l->q[0].err.code ? &l->q[0] : &l->q[1];
    if (failed->err.code)
        gvm_err_set(&err, failed->err.code == ETIMEDOUT ? ETIMEDOUT : EAGAIN, "looking up %s: %s",
                    l->host, failed->err.text);
    else if (l->q[0].answer.rcode == GVM_DNS_NXDOMAIN || l->q[1].answer.rcode == GVM_DNS_NXDOMAIN)
        gvm_err_set(&err, ENOENT, "%s: no such name", l->host);
    else
        gvm_err_set(&err, ENOENT, "%s has no address", l->host);
    lookup_done(l, &err);
}

static void settle(struct lookup *l)
{
    uint32_t ttl = UINT32_MAX;
    for (unsigned k = 0; k < 2; k++) {
        if (l->q[k].answer.n && l->q[k].answer.ttl < ttl)
            ttl = l->q[k].answer.ttl;
    }
    merge(l);
    if (!l->found.n) {
        none_found(l);
        return;
    }
    cache_put(l->r, l->host, &l->found, ttl);
    lookup_done(l, NULL);
}

static void grace_over(uv_timer_t *t)
{
    struct lookup *l = t->data;
    if (l->cb)
        settle(l);
}

static void question_over(struct question *q)
{
    struct lookup *l = q->l;
    const struct question *other = &l->q[q == l->q];
    q->over = true;
    if (other->over)
        settle(l);
    else if (q->answer.n)
        (void)uv_timer_start(&l->grace, grace_over, GRACE_MS, 0);
}

static void question_try(struct question *q);

static void on_answer(void *arg, const struct dns_answer *a, const struct gvm_err *err)
{
    struct question *q = arg;
    q->x = NULL;
    if (err) {
        q->err = *err;
        question_try(q);
        return;
    }
    if (a->rcode == GVM_DNS_NOERROR || a->rcode == GVM_DNS_NXDOMAIN) {
        q->answer = *a;
        q->err.code = 0;
        question_over(q);
        return;
    }
    /* The server cannot tell; perhaps it does not know EDNS, perhaps the next one can. */
    q->no_edns = true;
    gvm_err_set(&q->err, EAGAIN, "the resolver answered with error %u", a->rcode);
    question_try(q);
}

static void question_try(struct question *q)
{
    struct resolver *r = q->l->r;
    unsigned most = r->nservers > MIN_TRIES ? r->nservers : MIN_TRIES;
    while (r->nservers && q->tries < most) { /* they may have gone since */
        struct exchange_want want = {
            .loop = r->loop,
            .server = r->servers[q->tries % r->nservers],
            .name = q->l->host,
            .qtype = q->type,
            .edns = !q->no_edns,
            .timeout_ms = TRY_MS,
        };
        q->tries++;
        if (exchange_begin(&want, on_answer, q, &q->x, &q->err) == 0)
            return;
    }
    question_over(q);
}

static void begin(void *arg)
{
    struct lookup *l = arg;
    /* Each may end at once and take the lookup with it, so its flag is looked at in between. */
    question_try(&l->q[0]);
    if (l->cb && !l->q[1].over)
        question_try(&l->q[1]);
}

int resolver_lookup(struct resolver *r, const char *host, lookup_cb *cb, void *arg,
                    struct lookup **ret, struct gvm_err *err)
{
    if (r->lookups >= LOOKUPS_MAX)
        return gvm_err_set(err, EAGAIN, "looking up %s: too many lookups at once", host);
    struct lookup *l = gvm_calloc(1, sizeof *l);
    if (!l || gvm_str_copy(l->host, sizeof l->host, gvm_str(host)) < 0) {
        free(l);
        return gvm_err_set(err, l ? ENOENT : ENOMEM, "looking up %.64s: not possible", host);
    }
    l->r = r;
    l->cb = cb;
    l->arg = arg;
    l->q[0] = (struct question){.l = l, .type = GVM_DNS_A};
    l->q[1] = (struct question){.l = l, .type = GVM_DNS_AAAA};
    (void)uv_timer_init(r->loop, &l->grace);
    l->grace.data = l;
    r->lookups++;
    hosts_find(r, host, &l->found);
    if (!l->found.n)
        localhost_find(host, &l->found);
    if (!l->found.n)
        cache_find(r, host, &l->found);
    if (!l->found.n && !r->nservers) {
        lookup_end(l);
        return gvm_err_set(err, ENOENT, "looking up %s: no resolver is known", host);
    }
    defer_set(&l->soon, r->sl, l->found.n ? known : begin, l);
    *ret = l;
    return 0;
}
