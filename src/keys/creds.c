/* creds.c - credentials, one set per policy. Values live in OpenSSL's secure heap: locked, between
 * guard pages, left out of core files, wiped when freed.
 *
 * What the agent may have sent of its own for such a host is removed when a field is set: the usual
 * credential fields and that one. A client certificate goes with its key, since the handshake is
 * made by the process that has the network; only for TLS, and only for the host it is bound to.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include "keys/keys_int.h"

enum { MAX_POLICIES = 1024, MAX_CREDS = 4096 };

static const char *const removed[] = {"authorization", "x-api-key", "api-key", "x-goog-api-key"};

struct credential {
    char host[GVM_MAX_HOST + 1];
    char header[GVM_MAX_NAME + 1];
    char *value; /* as the field wants it: "Bearer ..." or the key */
    size_t value_len;
    char *identity; /* PEM of a client certificate and its key, NULL: none */
    size_t identity_len;
    bool private_ok;
};

struct set {
    struct credential *list;
    size_t n;
};

struct keys_creds {
    struct gvm_map *sets; /* policy id as 4 bytes -> struct set */
};

static void free_set(void *p)
{
    struct set *s = p;
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++) {
        OPENSSL_secure_clear_free(s->list[i].value, s->list[i].value_len + 1);
        OPENSSL_secure_clear_free(s->list[i].identity, s->list[i].identity_len + 1);
    }
    free(s->list);
    free(s);
}

struct keys_creds *keys_creds_new(void)
{
    struct keys_creds *c = gvm_calloc(1, sizeof *c);
    if (c)
        c->sets = gvm_map_new(MAX_POLICIES, free_set);
    if (c && !c->sets) {
        free(c);
        return NULL;
    }
    return c;
}

void keys_creds_free(struct keys_creds *c)
{
    if (!c)
        return;
    gvm_map_free(c->sets);
    free(c);
}

static struct gvm_str policy_key(const uint32_t *policy)
{
    return (struct gvm_str){(const char *)policy, sizeof *policy};
}

/* A field value may hold visible ASCII, space and tab, nothing that ends the line. */
static bool clean(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 && *text != '\t')
            return false;
    return true;
}

/* Does the text hold a certificate and the key that belongs to it? A key with a password is none.
 */
static bool is_identity(const char *pem)
{
    char none[] = "";
    BIO *one = BIO_new_mem_buf(pem, -1), *two = BIO_new_mem_buf(pem, -1);
    X509 *x = one ? PEM_read_bio_X509(one, NULL, NULL, none) : NULL;
    EVP_PKEY *key = two ? PEM_read_bio_PrivateKey(two, NULL, NULL, none) : NULL;
    bool ok = x && key && X509_check_private_key(x, key) == 1;
    X509_free(x);
    EVP_PKEY_free(key);
    BIO_free(one);
    BIO_free(two);
    ERR_clear_error();
    return ok;
}

static int load_identity(const struct gvm_json *v, struct credential *c)
{
    const char *pem = gvm_json_text(v, "identity", "");
    if (!*pem)
        return 0;
    if (!is_identity(pem))
        return -EKEYREJECTED;
    c->identity_len = strlen(pem);
    c->identity = OPENSSL_secure_malloc(c->identity_len + 1);
    if (!c->identity)
        return -ENOMEM;
    memcpy(c->identity, pem, c->identity_len + 1);
    return 0;
}

static int load_header(const struct gvm_json *v, bool bearer, struct credential *c)
{
    const char *value = gvm_json_text(v, "value", "");
    const char *header = gvm_json_text(v, "header", bearer ? "authorization" : "x-api-key");
    if (!*value || !clean(value) || !clean(header) ||
        gvm_str_copy(c->header, sizeof c->header, gvm_str(header)) < 0)
        return -EINVAL;
    const char *prefix = bearer ? "Bearer " : "";
    size_t n = strlen(prefix) + strlen(value);
    c->value = OPENSSL_secure_zalloc(n + 1);
    if (!c->value)
        return -ENOMEM;
    c->value_len = n;
    (void)snprintf(c->value, n + 1, "%s%s", prefix, value);
    return 0;
}

/* What was filled is freed with the set, whatever this returns. */
static int load_one(const struct gvm_json *v, struct credential *c)
{
    const char *type = gvm_json_text(v, "type", "");
    bool bearer = strcmp(type, "Bearer") == 0, only = strcmp(type, "ClientCertificate") == 0;
    if (!bearer && !only && strcmp(type, "ApiKey") != 0)
        return -EINVAL;
    if (gvm_str_copy(c->host, sizeof c->host, gvm_str(gvm_json_text(v, "host", ""))) < 0 ||
        !c->host[0])
        return -EINVAL;
    c->private_ok = gvm_json_bool(v, "private", false);
    int r = only ? 0 : load_header(v, bearer, c);
    if (r == 0)
        r = load_identity(v, c);
    return r == 0 && only && !c->identity ? -EINVAL : r;
}

/* The parsed text leaves with the arena, which does not wipe. */
static void wipe_values(const struct gvm_json *list)
{
    for (const struct gvm_json *v = list ? list->child : NULL; v; v = v->next) {
        const struct gvm_json *secrets[] = {gvm_json_get(v, "value"), gvm_json_get(v, "identity")};
        for (size_t i = 0; i < 2; i++)
            if (secrets[i] && secrets[i]->type == GVM_JSON_STRING) /* its own copy in the arena */
                explicit_bzero((char *)(uintptr_t)secrets[i]->text.p, secrets[i]->text.n);
    }
}

static int load_set(struct gvm_str json, struct set **ret, struct gvm_err *err)
{
    struct gvm_json *root = NULL;
    struct gvm_arena *a = gvm_arena_new(4 * GVM_MAX_CONFIG);
    struct set *s = gvm_calloc(1, sizeof *s);
    int r = a && s ? gvm_json_parse(a, json, &root, err) : -ENOMEM;
    const struct gvm_json *list = r == 0 ? gvm_json_get(root, "credentials") : NULL;
    size_t n = 0;
    for (const struct gvm_json *v = list ? list->child : NULL; v; v = v->next)
        n++;
    if (r == 0 && (n > MAX_CREDS || !(s->list = gvm_calloc(n ? n : 1, sizeof *s->list))))
        r = -ENOMEM;
    for (const struct gvm_json *v = list ? list->child : NULL; r == 0 && v; v = v->next) {
        r = load_one(v, &s->list[s->n]);
        s->n++; /* also what failed half way */
    }
    wipe_values(list);
    gvm_arena_free(a);
    if (r < 0) {
        free_set(s);
        return gvm_err_set(err, -r,
                           r == -EKEYREJECTED
                               ? "a client certificate and its key do not belong together, or the "
                                 "key has a password; give the right pair, without one"
                               : "the credentials are not usable");
    }
    *ret = s;
    return 0;
}

int keys_creds_load(struct keys_creds *c, uint32_t policy, struct gvm_str json, struct gvm_err *err)
{
    struct set *s = NULL;
    int r = load_set(json, &s, err);
    if (r < 0)
        return r;
    r = gvm_map_put(c->sets, policy_key(&policy), s);
    if (r < 0) {
        free_set(s);
        return gvm_err_set(err, -r, "too many policies hold credentials");
    }
    return 0;
}

static const struct credential *find(const struct keys_creds *c, const struct gvm_m_cred *ask)
{
    const struct set *s = gvm_map_get(c->sets, policy_key(&ask->policy));
    struct gvm_str host = {ask->host, strnlen(ask->host, sizeof ask->host)};
    for (size_t i = 0; s && i < s->n; i++)
        if (gvm_str_ieq(gvm_str(s->list[i].host), host) && (ask->tls || s->list[i].private_ok))
            return &s->list[i];
    return NULL;
}

int keys_creds_answer(const struct keys_creds *c, const struct gvm_m_cred *ask, struct gvm_buf *out,
                      struct gvm_err *err)
{
    struct gvm_jw w;
    const struct credential *found = find(c, ask);
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    gvm_jw_key(&w, "remove");
    gvm_jw_array(&w);
    bool field = found && found->value;
    for (size_t i = 0; field && i < sizeof removed / sizeof *removed; i++)
        gvm_jw_strz(&w, removed[i]);
    if (field)
        gvm_jw_strz(&w, found->header);
    gvm_jw_array_end(&w);
    gvm_jw_key(&w, "set");
    gvm_jw_array(&w);
    if (field) {
        gvm_jw_array(&w);
        gvm_jw_strz(&w, found->header);
        gvm_jw_strz(&w, found->value);
        gvm_jw_array_end(&w);
    }
    gvm_jw_array_end(&w);
    if (found && found->identity && ask->tls)
        gvm_jw_kstrz(&w, "identity", found->identity);
    gvm_jw_object_end(&w);
    return out->failed ? gvm_err_set(err, ENOMEM, "the credential does not fit a message") : 0;
}
