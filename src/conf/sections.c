/* conf/sections.c - every table of the document other than rules and credentials. */
#include "conf/conf_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stddef.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define DAY_MS   86400000ull

/* ---- [policy] ---- */

static int set_default(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return conf_read_decision(x, v, "default", &x->c->dflt);
}

static const struct conf_field policy_fields[] = {
    {"default", CONF_TABLE | CONF_STRING, set_default, false},
};

static int read_policy(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    return conf_read_table(x, v, "[policy]", policy_fields, COUNT(policy_fields), obj);
}

/* ---- [audit] ---- */

static int set_audit_mode(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    x->c->audit_strict = gvm_str_eqz(conf_node_str(v), "strict");
    if (!x->c->audit_strict && !gvm_str_eqz(conf_node_str(v), "group"))
        return conf_bad_at(x, v,
                           "mode is \"strict\" (Allow waits for its record too) or \"group\"");
    return 0;
}

/* "64MiB" and the like: at least one MiB, so that a typing slip is not a log of one entry a file.
 */
static int read_size(struct conf_ctx *x, const struct conf_node *v, uint64_t max,
                     const char *example, uint64_t *ret)
{
    uint64_t n;
    if (gvm_parse_size(conf_node_str(v), &n) < 0 || n < 1u << 20 || n > max)
        return conf_bad_at(x, v,
                           "%.*s is not a size from 1MiB to %" PRIu64 "MiB; write it like \"%s\"",
                           (int)v->key_len, v->key, max >> 20, example);
    *ret = n;
    return 0;
}

static int read_age(struct conf_ctx *x, const struct conf_node *v, uint64_t min,
                    const char *example, uint64_t *ret)
{
    uint64_t ms;
    struct gvm_str s = conf_node_str(v);
    bool unit = s.n > 1 && (s.p[s.n - 1] < '0' || s.p[s.n - 1] > '9');
    if (!unit || gvm_parse_duration_ms(s, &ms) < 0 || ms < min || ms > 36500ull * DAY_MS)
        return conf_bad_at(x, v,
                           "%.*s is not a time from %" PRIu64 "m to 36500d; write it like \"%s\"",
                           (int)v->key_len, v->key, min / 60000, example);
    *ret = ms;
    return 0;
}

static int set_segment_size(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return read_size(x, v, 1u << 30, "64MiB", &x->c->log.segment_bytes);
}

static int set_keep_size(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return read_size(x, v, 1ull << 50, "10GiB", &x->c->log.keep_bytes);
}

static int set_keep_age(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return read_age(x, v, DAY_MS, "365d", &x->c->log.keep_ms);
}

static int set_verify_every(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    x->c->log.verify_off = gvm_str_eqz(conf_node_str(v), "off");
    return x->c->log.verify_off ? 0 : read_age(x, v, 60000, "24h", &x->c->log.verify_ms);
}

static const struct conf_field audit_fields[] = {
    {"mode", CONF_STRING, set_audit_mode, false},
    {"export", CONF_STRING | CONF_ARRAY, conf_set_export, false},
    {"export_every", CONF_STRING, conf_set_export_every, false},
    {"timestamp", CONF_TABLE, conf_read_timestamp, false},
    {"segment_size", CONF_STRING, set_segment_size, false},
    {"keep_size", CONF_STRING, set_keep_size, false},
    {"keep_age", CONF_STRING, set_keep_age, false},
    {"verify_every", CONF_STRING, set_verify_every, false},
};

static int read_audit(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    return conf_read_table(x, v, "[audit]", audit_fields, COUNT(audit_fields), obj);
}

/* ---- [upstream] ---- */

/* At least one certificate, and every one readable: half a trust store is found out now, not at
 * the first connection. */
static int check_pem(struct conf_ctx *x, const struct conf_node *v, struct gvm_str pem,
                     const char *path)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    if (!bio)
        return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    unsigned n = 0;
    for (X509 *cert; (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)); n++)
        X509_free(cert);
    bool end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    if (n && end)
        return 0;
    return conf_bad_at(x, v, "ca_file %s %s; give a PEM file of CA certificates", path,
                       n ? "has a broken certificate" : "has no certificate");
}

int conf_read_ca_file(struct conf_ctx *x, const struct conf_node *v, struct gvm_str *ret)
{
    struct gvm_str text;
    struct gvm_err why = {0};
    char path[GVM_PATH_MAX];
    struct gvm_buf pem;
    int r = conf_text(x, v, "ca_file", GVM_PATH_MAX - 1, &text);
    if (r >= 0)
        r = conf_resolve(x, v, text, path);
    if (r < 0)
        return r;
    gvm_buf_init(&pem, 1u << 20);
    r = gvm_read_file(path, &pem, &why);
    if (r < 0)
        r = conf_bad_at(x, v, "ca_file cannot be read: %s", why.text);
    else
        r = check_pem(x, v, gvm_buf_str(&pem), path);
    if (r >= 0) {
        *ret = conf_dup(x, gvm_buf_str(&pem));
        if (!ret->p)
            r = gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    }
    gvm_buf_done(&pem);
    return r;
}

static int set_ca_file(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return conf_read_ca_file(x, v, &x->c->ca_pem);
}

/* "1.2.3.4", "1.2.3.4:8443", "::1", "[::1]:8443" */
static bool split_address(struct gvm_str s, struct gvm_str *ret_ip, uint16_t *ret_port)
{
    struct gvm_str port = {0};
    uint64_t n = 0;
    if (s.n && s.p[0] == '[') {
        ptrdiff_t end = gvm_str_find(s, ']');
        if (end < 0)
            return false;
        port = (struct gvm_str){s.p + end + 1, s.n - (size_t)end - 1};
        s = (struct gvm_str){s.p + 1, (size_t)end - 1};
        if (port.n && port.p[0] != ':')
            return false;
    } else {
        ptrdiff_t colon = gvm_str_find(s, ':');
        bool v4 = colon >= 0 && !memchr(s.p + colon + 1, ':', s.n - (size_t)colon - 1);
        if (v4) {
            port = (struct gvm_str){s.p + colon, s.n - (size_t)colon};
            s.n = (size_t)colon;
        }
    }
    if (port.n &&
        (gvm_parse_u64((struct gvm_str){port.p + 1, port.n - 1}, 65535, &n) < 0 || n == 0))
        return false;
    *ret_ip = s;
    *ret_port = (uint16_t)n;
    return true;
}

static int read_pin(struct conf_ctx *x, const struct conf_node *m, struct gvm_conf_pin *pin)
{
    struct gvm_str ip;
    char z[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    int r = conf_need(x, m, "an address", CONF_STRING);
    if (r >= 0)
        r = conf_host(x, m, conf_key_str(m), "host", &pin->host);
    if (r < 0)
        return r;
    bool ok =
        split_address(conf_node_str(m), &ip, &pin->port) && gvm_str_copy(z, sizeof z, ip) >= 0;
    int family = ok && gvm_str_find(ip, ':') >= 0 ? AF_INET6 : AF_INET;
    if (!ok || inet_pton(family, z, bytes) != 1 || !inet_ntop(family, bytes, text, sizeof text))
        return conf_bad_at(x, m,
                           "the address is not numeric; write it like \"127.0.0.1:9443\" or "
                           "\"[::1]:9443\"");
    pin->address = conf_dup(x, gvm_str(text));
    return pin->address.p ? 0 : gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
}

static int set_resolve(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    unsigned n = conf_children(v), i = 0;
    (void)obj;
    if (n > CONF_MAX_LIST)
        return conf_bad_at(x, v, "there are %u pins; at most %u are allowed", n, CONF_MAX_LIST);
    x->c->pins = gvm_arena_alloc(x->c->arena, (n ? n : 1) * sizeof *x->c->pins);
    if (!x->c->pins)
        return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    for (const struct conf_node *m = v->child; m; m = m->next, i++) {
        int r = read_pin(x, m, &x->c->pins[i]);
        if (r < 0)
            return r;
        for (unsigned j = 0; j < i; j++)
            if (gvm_str_eq(x->c->pins[j].host, x->c->pins[i].host))
                return conf_bad(x, m->key_line, m->key_col,
                                "the host %.*s is pinned twice; keep one",
                                GVM_STR_ARG(x->c->pins[i].host));
    }
    x->c->npins = n;
    return 0;
}

/* "http://host:port", a "/" behind it allowed. A password would have to lie with the process that
 * parses what the agent sends, so none is taken. */
static int set_proxy(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    static const char how[] = "proxy is \"http://HOST:PORT\", without user, password or path";
    struct gvm_str s = conf_node_str(v);
    uint64_t port;
    (void)obj;
    if (!gvm_str_starts(s, GVM_STR("http://")))
        return conf_bad_at(x, v, "%s", how);
    s.p += 7;
    s.n -= 7;
    if (s.n && s.p[s.n - 1] == '/')
        s.n--;
    const char *colon = s.n ? memrchr(s.p, ':', s.n) : NULL;
    struct gvm_str host = {s.p, colon ? (size_t)(colon - s.p) : 0};
    struct gvm_str digits = {colon ? colon + 1 : s.p, colon ? s.n - host.n - 1 : 0};
    if (gvm_parse_u64(digits, 65535, &port) < 0 || port == 0 || gvm_str_find(s, '@') >= 0)
        return conf_bad_at(x, v, "%s", how);
    if (host.n > 1 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = (struct gvm_str){host.p + 1, host.n - 2};
    x->c->proxy_port = (uint16_t)port;
    return conf_host(x, v, host, "proxy", &x->c->proxy_host);
}

static const struct conf_field upstream_fields[] = {
    {"ca_file", CONF_STRING, set_ca_file, false},
    {"resolve", CONF_TABLE, set_resolve, false},
    {"proxy", CONF_STRING, set_proxy, false},
};

static int read_upstream(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    return conf_read_table(x, v, "[upstream]", upstream_fields, COUNT(upstream_fields), obj);
}

/* ---- [timeouts] ---- */

static const struct {
    const char *key;
    size_t offset;
} timeout_keys[] = {
    {"head", offsetof(struct gvm_conf_timeouts, head)},
    {"connect", offsetof(struct gvm_conf_timeouts, connect)},
    {"tls", offsetof(struct gvm_conf_timeouts, tls)},
    {"first_byte", offsetof(struct gvm_conf_timeouts, first_byte)},
    {"idle", offsetof(struct gvm_conf_timeouts, idle)},
    {"approval", offsetof(struct gvm_conf_timeouts, approval)},
    {"pool_idle", offsetof(struct gvm_conf_timeouts, pool_idle)},
    {"pool_life", offsetof(struct gvm_conf_timeouts, pool_life)},
};

static int set_timeout(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_str s = conf_node_str(v);
    uint64_t ms;
    (void)obj;
    bool unit = s.n > 1 && (s.p[s.n - 1] < '0' || s.p[s.n - 1] > '9');
    if (!unit || gvm_parse_duration_ms(s, &ms) < 0 || ms < 1000 || ms > 86400000)
        return conf_bad_at(x, v,
                           "%.*s is not a time from 1s to 24h; write it like \"30s\" or \"5m\"",
                           (int)v->key_len, v->key);
    for (size_t i = 0; i < COUNT(timeout_keys); i++) {
        if (gvm_str_eqz(conf_key_str(v), timeout_keys[i].key)) {
            char *at = (char *)&x->c->timeouts + timeout_keys[i].offset;
            *(uint32_t *)(void *)at = (uint32_t)ms;
        }
    }
    return 0;
}

static const struct conf_field timeout_fields[] = {
    {"head", CONF_STRING, set_timeout, false},      {"connect", CONF_STRING, set_timeout, false},
    {"tls", CONF_STRING, set_timeout, false},       {"first_byte", CONF_STRING, set_timeout, false},
    {"idle", CONF_STRING, set_timeout, false},      {"approval", CONF_STRING, set_timeout, false},
    {"pool_idle", CONF_STRING, set_timeout, false}, {"pool_life", CONF_STRING, set_timeout, false},
};

static int read_timeouts(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    return conf_read_table(x, v, "[timeouts]", timeout_fields, COUNT(timeout_fields), obj);
}

/* ---- the document ---- */

static const struct conf_field document_fields[] = {
    {"rules", CONF_ARRAY, conf_read_rules, false},
    {"policy", CONF_TABLE, read_policy, false},
    {"audit", CONF_TABLE, read_audit, false},
    {"upstream", CONF_TABLE, read_upstream, false},
    {"credentials", CONF_TABLE, conf_read_credentials, false},
    {"filesystem", CONF_TABLE, conf_read_filesystem, false},
    {"sandbox", CONF_TABLE, conf_read_sandbox, false},
    {"seccomp", CONF_TABLE, conf_read_seccomp, false},
    {"timeouts", CONF_TABLE, read_timeouts, false},
    {"budget", 0, NULL, true},
    {"dns", 0, NULL, true},
    {"credentials_policy", 0, NULL, true},
};

int conf_read_document(struct conf_ctx *x, const struct conf_node *root)
{
    return conf_read_table(x, root, "the file", document_fields, COUNT(document_fields), NULL);
}
