/* Credentials: asked of keys for each request after it was allowed, set in place of the agent's
 * own, and wiped with the request. Only a connection whose certificate is verified for the host
 * gets them, or, in clear text, a host that keys knows as private.
 *
 * That keys has nothing for a host is remembered for some seconds, so that ordinary requests do not
 * wait for another process. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "proxy/http1/head.h"
#include "proxy/pipeline/px.h"

#define NOTHING_NS 5000000000LL

/* "s" or "p", then the host. */
struct cred_key {
    char text[GVM_MAX_HOST + 2];
};

static struct gvm_str key_of(const struct px_request *rq, struct cred_key *k)
{
    size_t n = strlen(rq->host);
    k->text[0] = rq->tls ? 's' : 'p';
    memcpy(k->text + 1, rq->host, n);
    return (struct gvm_str){k->text, 1 + n};
}

static bool known_to_have_none(const struct px_request *rq)
{
    struct cred_key k;
    const int64_t *since = gvm_map_get(rq->policy->no_cred, key_of(rq, &k));
    return since && gvm_mono_ns() - *since < NOTHING_NS;
}

static void remember_none(const struct px_request *rq)
{
    struct cred_key k;
    struct gvm_str key = key_of(rq, &k);
    int64_t *since = gvm_map_get(rq->policy->no_cred, key);
    if (!since) {
        since = malloc(sizeof *since);
        if (!since || gvm_map_put(rq->policy->no_cred, key, since) < 0) {
            free(since);
            return;
        }
    }
    *since = gvm_mono_ns();
}

/* ---- reading CRED_HEADERS without a copy of the secret ---- */

enum section { NONE, REMOVE, SET, IDENTITY };

struct reading {
    struct px_request *rq;
    enum section section;
    unsigned depth; /* open arrays */
    bool value;     /* the next string of a pair is the value */
};

static bool clean(const struct gvm_buf *b, size_t from)
{
    const uint8_t *p = gvm_buf_data(b);
    for (size_t i = from; i < b->len; i++)
        if (p[i] == '\r' || p[i] == '\n' || p[i] == '\0')
            return false;
    return true;
}

static int take_name(struct reading *r, struct gvm_str raw)
{
    struct gvm_buf name GVM_CLEANUP(gvm_buf_done);
    gvm_buf_init(&name, 256);
    int e = gvm_json_unescape(raw, &name);
    if (e == 0)
        px_http1_remove(&r->rq->head, gvm_buf_str(&name));
    return e;
}

static int take_pair(struct reading *r, struct gvm_str raw)
{
    struct gvm_buf *out = &r->rq->cred;
    size_t from = out->len;
    int e = gvm_json_unescape(raw, out);
    if (e < 0 || !clean(out, from))
        return -EPROTO;
    if (!r->value &&
        gvm_str_ieqz((struct gvm_str){(char *)gvm_buf_data(out) + from, out->len - from},
                     "authorization"))
        gvm_buf_data(out)[from] = 'A'; /* as everybody writes it; some servers compare bytes */
    e = r->value ? gvm_buf_add(out, "\r\n", 2) : gvm_buf_add(out, ": ", 2);
    r->value = !r->value;
    return e;
}

static enum section section_of(struct gvm_str key)
{
    return gvm_str_eqz(key, "remove")     ? REMOVE
           : gvm_str_eqz(key, "set")      ? SET
           : gvm_str_eqz(key, "identity") ? IDENTITY
                                          : NONE;
}

/* Mixes what a connection is made with into its name: the pool keeps those of different credentials
 * apart by it. */
static int name_with(struct px_request *rq, struct gvm_str secret)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) &&
              EVP_DigestUpdate(c, rq->cred_id, strlen(rq->cred_id)) &&
              EVP_DigestUpdate(c, secret.p, secret.n) && EVP_DigestFinal_ex(c, sum, &n) && n == 32;
    EVP_MD_CTX_free(c);
    if (!ok)
        return -ENOMEM;
    gvm_hex(rq->cred_id, sum, n);
    return 0;
}

static int take_identity(struct px_request *rq, struct gvm_str raw)
{
    struct gvm_buf pem;
    gvm_buf_init(&pem, GVM_MAX_FRAME);
    int e = rq->identity ? -EPROTO : gvm_json_unescape(raw, &pem);
    if (e == 0)
        e = upstream_identity_new(gvm_buf_str(&pem), &rq->identity, NULL);
    if (e == 0)
        e = name_with(rq, gvm_buf_str(&pem));
    gvm_buf_wipe(&pem);
    return e;
}

static int take_string(struct reading *r, struct gvm_str raw)
{
    if (r->section == REMOVE && r->depth == 1)
        return take_name(r, raw);
    if (r->section == SET && r->depth == 2)
        return take_pair(r, raw);
    if (r->section == IDENTITY && r->depth == 0)
        return take_identity(r->rq, raw);
    return 0;
}

static int take_token(struct reading *r, const struct gvm_json_token *t)
{
    switch ((int)t->type) {
    case GVM_JSON_KEY:
        r->section = section_of(t->raw);
        return 0;
    case GVM_JSON_ARRAY:
        r->depth++;
        return 0;
    case GVM_JSON_ARRAY_END:
        r->depth--;
        return r->value ? -EPROTO : 0;
    case GVM_JSON_STRING:
        return take_string(r, t->raw);
    default:
        return 0;
    }
}

static int read_headers(struct reading *r, struct gvm_str text)
{
    struct gvm_json_reader j;
    struct gvm_json_token t;
    gvm_json_open(&j, text);
    for (;;) {
        int e = gvm_json_next(&j, &t);
        if (e < 0)
            return e;
        if (t.type == GVM_JSON_END)
            return 0;
        e = take_token(r, &t);
        if (e < 0)
            return e;
    }
}

static const char *type_of(const struct px_request *rq)
{
    static const struct gvm_str bearer = {"authorization: bearer ", 22};
    struct gvm_str head = gvm_buf_str(&rq->cred);
    if (!head.n)
        return "ClientCertificate";
    head.n = head.n < bearer.n ? head.n : bearer.n;
    return gvm_str_ieq(head, bearer) ? "Bearer" : "ApiKey";
}

static void on_headers(void *arg, const struct gvm_msg *m)
{
    struct px_request *rq = arg;
    struct reading r = {.rq = rq};
    rq->waiter = 0;
    if (!m || m->type != GVM_MSG_CRED_HEADERS || read_headers(&r, gvm_msg_str(m)) < 0 ||
        rq->cred.failed) {
        px_fail(rq, 503, "the credential for this host is not available");
        return;
    }
    if (!rq->cred.len && !rq->identity) {
        remember_none(rq);
        px_connect(rq);
        return;
    }
    if (rq->cred.len && name_with(rq, gvm_buf_str(&rq->cred)) < 0) {
        px_fail(rq, 503, "out of memory");
        return;
    }
    px_record_credential(rq, type_of(rq));
    if (px_append_decision(rq) < 0)
        px_fail(rq, 503, "the record could not be written");
    else
        px_connect(rq);
}

void px_credential(struct px_request *rq)
{
    if (known_to_have_none(rq)) {
        px_connect(rq);
        return;
    }
    struct gvm_m_cred q = {.policy = rq->run->policy_id, .tls = rq->tls};
    memcpy(q.host, rq->host, sizeof q.host);
    if (px_link_ask(rq->px, GVM_ROLE_KEYS, GVM_MSG_CRED, &q, sizeof q, NULL, 0, on_headers, rq,
                    &rq->waiter) < 0)
        px_fail(rq, 503, "the keys process is not available");
}
