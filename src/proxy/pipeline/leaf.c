/* Leaf certificates of a run: made by keys, kept decoded, least recently used out first.
 * Connections that want the same one at the same time ask once. */
#include <errno.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "proxy/pipeline/px.h"

struct px_leaf_ask {
    struct px_run *run;
    struct px_conn *first; /* who waits */
    uint64_t waiter;
    char host[GVM_MAX_HOST + 1];
};

static void free_leaf(struct px_leaf *l)
{
    if (!l)
        return;
    X509_free(l->cert);
    EVP_PKEY_free(l->key);
    free(l);
}

static void take_out(struct px_run *run, struct px_leaf *l)
{
    *(l->newer ? &l->newer->older : &run->newest) = l->older;
    *(l->older ? &l->older->newer : &run->oldest) = l->newer;
    l->newer = l->older = NULL;
}

static void put_first(struct px_run *run, struct px_leaf *l)
{
    l->older = run->newest;
    *(run->newest ? &run->newest->newer : &run->oldest) = l;
    run->newest = l;
}

struct px_leaf *px_leaf_find(struct px_run *run, const char *host)
{
    struct px_leaf *l = gvm_map_get(run->leaves, gvm_str(host));
    if (l && l != run->newest) {
        take_out(run, l);
        put_first(run, l);
    }
    return l;
}

void px_leaves_free(struct px_run *run)
{
    while (run->newest) {
        struct px_leaf *l = run->newest;
        take_out(run, l);
        free_leaf(l);
    }
    gvm_map_free(run->leaves);
    gvm_map_free(run->leaf_asks);
}

static EVP_PKEY *read_key(const uint8_t *der, uint32_t n)
{
    const uint8_t *at = der;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)n);
    EVP_PKEY *key = info ? EVP_PKCS82PKEY(info) : NULL;
    PKCS8_PRIV_KEY_INFO_free(info);
    return key;
}

static struct px_leaf *read_leaf(const char *host, const struct gvm_msg *m)
{
    struct gvm_m_leaf_cert h;
    if (m->type != GVM_MSG_LEAF_CERT)
        return NULL;
    memcpy(&h, m->data, sizeof h);
    uint64_t all = (uint64_t)sizeof h + h.cert_len + h.key_len + h.ca_len;
    struct px_leaf *l = all == m->len ? gvm_calloc(1, sizeof *l) : NULL;
    if (!l)
        return NULL;
    const uint8_t *at = m->data + sizeof h;
    l->cert = d2i_X509(NULL, &at, (long)h.cert_len);
    l->key = read_key(m->data + sizeof h + h.cert_len, h.key_len);
    if (!l->cert || !l->key || gvm_str_copy(l->host, sizeof l->host, gvm_str(host)) < 0) {
        free_leaf(l);
        return NULL;
    }
    return l;
}

static struct px_leaf *keep(struct px_run *run, struct px_leaf *l)
{
    while (gvm_map_size(run->leaves) >= PX_LEAVES && run->oldest) {
        struct px_leaf *old = run->oldest;
        take_out(run, old);
        gvm_map_take(run->leaves, gvm_str(old->host));
        free_leaf(old);
    }
    if (gvm_map_put(run->leaves, gvm_str(l->host), l) < 0) {
        free_leaf(l);
        return NULL;
    }
    put_first(run, l);
    return l;
}

static void on_leaf(void *arg, const struct gvm_msg *m)
{
    struct px_leaf_ask *ask = arg;
    struct px_run *run = ask->run;
    gvm_map_take(run->leaf_asks, gvm_str(ask->host));
    struct px_leaf *l = m ? read_leaf(ask->host, m) : NULL;
    if (l)
        l = keep(run, l);
    while (ask->first) {
        struct px_conn *c = ask->first;
        ask->first = c->leaf_next;
        c->leaf_ask = NULL;
        px_tls_leaf(c, l);
    }
    free(ask);
    px_run_unref(run);
}

/* NULL when it cannot be asked. */
static struct px_leaf_ask *new_ask(struct px_run *run, const char *host)
{
    struct px_leaf_ask *ask = gvm_calloc(1, sizeof *ask);
    struct gvm_m_leaf q = {0};
    if (!ask || gvm_str_copy(ask->host, sizeof ask->host, gvm_str(host)) < 0 ||
        gvm_str_copy(q.host, sizeof q.host, gvm_str(host)) < 0 ||
        gvm_str_copy(q.run, sizeof q.run, gvm_str(run->id)) < 0 ||
        gvm_map_put(run->leaf_asks, gvm_str(host), ask) < 0) {
        free(ask);
        return NULL;
    }
    ask->run = run;
    if (px_link_ask(run->px, GVM_ROLE_KEYS, GVM_MSG_LEAF, &q, sizeof q, NULL, 0, on_leaf, ask,
                    &ask->waiter) < 0) {
        gvm_map_take(run->leaf_asks, gvm_str(host));
        free(ask);
        return NULL;
    }
    run->refs++;
    return ask;
}

int px_leaf_ask(struct px_conn *c, const char *host)
{
    struct px_leaf_ask *ask = gvm_map_get(c->run->leaf_asks, gvm_str(host));
    if (!ask && !(ask = new_ask(c->run, host)))
        return -EIO;
    c->leaf_ask = ask;
    c->leaf_next = ask->first;
    ask->first = c;
    return 0;
}

void px_leaf_forget(struct px_conn *c)
{
    if (!c->leaf_ask)
        return;
    for (struct px_conn **at = &c->leaf_ask->first; *at; at = &(*at)->leaf_next) {
        if (*at == c) {
            *at = c->leaf_next;
            break;
        }
    }
    c->leaf_ask = NULL;
}
