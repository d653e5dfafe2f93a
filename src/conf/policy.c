/* conf/policy.c - the policy text: one JSON object, everything but credentials and the file's path.
 *
 *   {"v":1,"default":D,"audit":"strict"|"group","timeouts":{"head":MS,...},"ca_pem":TEXT,
 *    "proxy_host":H,"proxy_port":N (neither when there is none),
 *    "pins":[{"host":H,"address":IP,"port":N}],"hide":[...],"reveal":[...],
 *    "rules":[{"name":N,"line":L,"methods":[...],"pattern":P,"path_regex":R,"agent":G,
 *              "expires_ns":T,"private":true,"intercept":false,"protocol":"tcp","narrow":N,
 *              "decision":D}]}            N: policy_narrow.c
 *   D = {"type":NAME,"ms":N,"reason":TEXT}
 *
 * Members at their default are left out of rules. The same configuration always gives the same
 * bytes: the policy hash in the ledger is the SHA-256 of this text. The reader refuses what it does
 * not understand, as the other end could be a newer program.
 */
#include "conf/conf_int.h"

#include <errno.h>
#include <openssl/evp.h>

/* ---- encode ---- */

void conf_put_decision(struct gvm_jw *w, const char *key, const struct gvm_conf_decision *d)
{
    gvm_jw_key(w, key);
    gvm_jw_object(w);
    gvm_jw_kstrz(w, "type", gvm_decision_name(d->type));
    if (d->type == GVM_DELAY)
        gvm_jw_kint(w, "ms", d->delay_ms);
    if (d->reason.n)
        gvm_jw_kstr(w, "reason", d->reason);
    gvm_jw_object_end(w);
}

static void put_list(struct gvm_jw *w, const char *key, const struct gvm_str *list, uint32_t n)
{
    gvm_jw_key(w, key);
    gvm_jw_array(w);
    for (uint32_t i = 0; i < n; i++)
        gvm_jw_str(w, list[i]);
    gvm_jw_array_end(w);
}

static void put_timeouts(struct gvm_jw *w, const struct gvm_conf_timeouts *t)
{
    gvm_jw_key(w, "timeouts");
    gvm_jw_object(w);
    gvm_jw_kint(w, "head", t->head);
    gvm_jw_kint(w, "connect", t->connect);
    gvm_jw_kint(w, "tls", t->tls);
    gvm_jw_kint(w, "first_byte", t->first_byte);
    gvm_jw_kint(w, "idle", t->idle);
    gvm_jw_kint(w, "approval", t->approval);
    gvm_jw_kint(w, "pool_idle", t->pool_idle);
    gvm_jw_kint(w, "pool_life", t->pool_life);
    gvm_jw_object_end(w);
}

static void put_pins(struct gvm_jw *w, const struct gvm_conf *c)
{
    gvm_jw_key(w, "pins");
    gvm_jw_array(w);
    for (uint32_t i = 0; i < c->npins; i++) {
        gvm_jw_object(w);
        gvm_jw_kstr(w, "host", c->pins[i].host);
        gvm_jw_kstr(w, "address", c->pins[i].address);
        gvm_jw_kint(w, "port", c->pins[i].port);
        gvm_jw_object_end(w);
    }
    gvm_jw_array_end(w);
}

static void put_rule(struct gvm_jw *w, const struct gvm_conf_rule *r)
{
    gvm_jw_object(w);
    gvm_jw_kstr(w, "name", r->name);
    gvm_jw_kint(w, "line", r->line);
    if (r->nmethods)
        put_list(w, "methods", r->methods, r->nmethods);
    gvm_jw_kstr(w, "pattern", r->pattern);
    if (r->path_regex.n)
        gvm_jw_kstr(w, "path_regex", r->path_regex);
    if (r->agent.n)
        gvm_jw_kstr(w, "agent", r->agent);
    if (r->expires_ns)
        gvm_jw_kint(w, "expires_ns", r->expires_ns);
    if (r->private_ok)
        gvm_jw_kbool(w, "private", true);
    if (!r->intercept)
        gvm_jw_kbool(w, "intercept", false);
    if (r->protocol == GVM_PROTO_TCP)
        gvm_jw_kstrz(w, "protocol", "tcp");
    if (r->narrow)
        conf_put_narrow(w, r->narrow);
    conf_put_decision(w, "decision", &r->decision);
    gvm_jw_object_end(w);
}

int gvm_policy_encode(const struct gvm_conf *c, struct gvm_buf *out)
{
    struct gvm_jw w;
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    gvm_jw_kint(&w, "v", 1);
    conf_put_decision(&w, "default", &c->dflt);
    gvm_jw_kstrz(&w, "audit", c->audit_strict ? "strict" : "group");
    put_timeouts(&w, &c->timeouts);
    gvm_jw_kstr(&w, "ca_pem", c->ca_pem.p ? c->ca_pem : GVM_STR(""));
    if (c->proxy_port) {
        gvm_jw_kstr(&w, "proxy_host", c->proxy_host);
        gvm_jw_kint(&w, "proxy_port", c->proxy_port);
    }
    put_pins(&w, c);
    put_list(&w, "hide", c->hide, c->nhide);
    put_list(&w, "reveal", c->reveal, c->nreveal);
    gvm_jw_key(&w, "rules");
    gvm_jw_array(&w);
    for (uint32_t i = 0; i < c->nrules; i++)
        put_rule(&w, &c->rules[i]);
    gvm_jw_array_end(&w);
    gvm_jw_object_end(&w);
    return out->failed ? -ENOBUFS : 0;
}

/* ---- decode ---- */

int conf_dec_bad(struct conf_dec *d, const char *what)
{
    return gvm_err_set(d->err, EINVAL, "policy: %s", what);
}

int conf_take_str(struct conf_dec *d, const struct gvm_json *v, size_t max, struct gvm_str *ret)
{
    if (!v || v->type != GVM_JSON_STRING || v->text.n > max)
        return conf_dec_bad(d, "a text is missing, of another type or too long");
    char *p = gvm_arena_dup(d->c->arena, v->text.p ? v->text.p : "", v->text.n);
    if (!p)
        return gvm_err_set(d->err, ENOMEM, "policy: out of memory");
    *ret = (struct gvm_str){p, v->text.n};
    return 0;
}

/* Absent leaves *ret as it is. */
static int take_opt_str(struct conf_dec *d, const struct gvm_json *o, const char *key, size_t max,
                        struct gvm_str *ret)
{
    const struct gvm_json *v = gvm_json_get(o, key);
    return v ? conf_take_str(d, v, max, ret) : 0;
}

static int take_uint(struct conf_dec *d, const struct gvm_json *o, const char *key, uint64_t max,
                     uint32_t *ret)
{
    const struct gvm_json *v = gvm_json_get(o, key);
    uint64_t n;
    if (!v || v->type != GVM_JSON_NUMBER || gvm_parse_u64(v->text, max, &n) < 0)
        return conf_dec_bad(d, "a number is missing or out of range");
    *ret = (uint32_t)n;
    return 0;
}

static uint32_t count(const struct gvm_json *v)
{
    uint32_t n = 0;
    for (const struct gvm_json *e = v ? v->child : NULL; e; e = e->next)
        n++;
    return n;
}

int conf_take_array(struct conf_dec *d, const struct gvm_json *v, size_t max, size_t size,
                    void **ret, uint32_t *ret_n)
{
    if (!v || v->type != GVM_JSON_ARRAY)
        return conf_dec_bad(d, "a list is missing or of another type");
    uint32_t n = count(v);
    if (n > max)
        return conf_dec_bad(d, "a list is too long");
    void *p = gvm_arena_alloc(d->c->arena, (n ? n : 1) * size);
    if (!p)
        return gvm_err_set(d->err, ENOMEM, "policy: out of memory");
    *ret = p;
    *ret_n = n;
    return 0;
}

int conf_take_list(struct conf_dec *d, const struct gvm_json *v, size_t max, size_t max_text,
                   struct gvm_str **ret, uint32_t *ret_n)
{
    void *p;
    uint32_t n;
    int r = conf_take_array(d, v, max, sizeof(struct gvm_str), &p, &n);
    if (r < 0)
        return r;
    struct gvm_str *list = p;
    uint32_t i = 0;
    for (const struct gvm_json *e = v->child; e && r >= 0; e = e->next)
        r = conf_take_str(d, e, max_text, &list[i++]);
    if (r >= 0) {
        *ret = list;
        *ret_n = n;
    }
    return r;
}

int conf_take_decision(struct conf_dec *d, const struct gvm_json *o, struct gvm_conf_decision *ret)
{
    struct gvm_conf_decision in = {0};
    struct gvm_str type = {0};
    int r = conf_take_str(d, gvm_json_get(o, "type"), 32, &type);
    if (r >= 0 && !conf_decision_parse(type, &in.type))
        r = conf_dec_bad(d, "unknown decision");
    if (r >= 0 && in.type == GVM_DELAY)
        r = take_uint(d, o, "ms", CONF_MAX_DELAY, &in.delay_ms);
    if (r >= 0)
        r = take_opt_str(d, o, "reason", GVM_MAX_REASON, &in.reason);
    if (r >= 0 && in.type == GVM_DELAY && in.delay_ms == 0)
        r = conf_dec_bad(d, "a delay of nothing");
    if (r >= 0)
        *ret = in;
    return r;
}

/* A flag may be absent (then it has its default), but must not be of another type: a rule read with
 * less than was written could allow more. */
static int take_flag(struct conf_dec *d, const struct gvm_json *o, const char *key, bool *ret)
{
    const struct gvm_json *v = gvm_json_get(o, key);
    if (!v)
        return 0;
    if (v->type != GVM_JSON_TRUE && v->type != GVM_JSON_FALSE)
        return conf_dec_bad(d, "a flag is neither true nor false");
    *ret = v->type == GVM_JSON_TRUE;
    return 0;
}

static int take_expires(struct conf_dec *d, const struct gvm_json *o, int64_t *ret)
{
    const struct gvm_json *v = gvm_json_get(o, "expires_ns");
    if (!v)
        return 0;
    struct gvm_str digits = v->text;
    uint64_t n = 0;
    bool minus = v->type == GVM_JSON_NUMBER && digits.n && digits.p[0] == '-';
    if (minus)
        digits = (struct gvm_str){digits.p + 1, digits.n - 1};
    if (v->type != GVM_JSON_NUMBER || gvm_parse_u64(digits, INT64_MAX, &n) < 0 || n == 0)
        return conf_dec_bad(d, "expires_ns is not a whole number other than 0");
    *ret = minus ? -(int64_t)n : (int64_t)n;
    return 0;
}

static int check_keys(struct conf_dec *d, const struct gvm_json *o, const char *const *known,
                      size_t n)
{
    if (!o || o->type != GVM_JSON_OBJECT)
        return conf_dec_bad(d, "an object is missing");
    for (const struct gvm_json *m = o->child; m; m = m->next) {
        size_t i = 0;
        while (i < n && !gvm_str_eqz(m->key, known[i]))
            i++;
        if (i == n)
            return conf_dec_bad(d, "unknown member");
    }
    return 0;
}

static int take_rule(struct conf_dec *d, const struct gvm_json *o, struct gvm_conf_rule *rule)
{
    static const char *const known[] = {"name",       "line",     "methods",    "pattern",
                                        "path_regex", "agent",    "expires_ns", "private",
                                        "intercept",  "protocol", "narrow",     "decision"};
    const struct gvm_json *methods = gvm_json_get(o, "methods"),
                          *proto = gvm_json_get(o, "protocol");
    rule->intercept = true;
    int r = check_keys(d, o, known, sizeof known / sizeof *known);
    if (r >= 0)
        r = conf_take_str(d, gvm_json_get(o, "name"), GVM_MAX_NAME, &rule->name);
    if (r >= 0)
        r = take_uint(d, o, "line", UINT32_MAX, &rule->line);
    if (r >= 0 && methods)
        r = conf_take_list(d, methods, 64, GVM_MAX_METHOD, &rule->methods, &rule->nmethods);
    if (r >= 0 && methods && rule->nmethods == 0)
        r = conf_dec_bad(d, "a rule with an empty list of methods");
    if (r >= 0)
        r = conf_take_str(d, gvm_json_get(o, "pattern"), CONF_MAX_PATTERN, &rule->pattern);
    if (r >= 0)
        r = take_opt_str(d, o, "path_regex", GVM_MAX_REGEX, &rule->path_regex);
    if (r >= 0)
        r = take_opt_str(d, o, "agent", GVM_MAX_AGENT, &rule->agent);
    if (r >= 0)
        r = take_expires(d, o, &rule->expires_ns);
    if (r >= 0)
        r = take_flag(d, o, "private", &rule->private_ok);
    if (r >= 0)
        r = take_flag(d, o, "intercept", &rule->intercept);
    if (r >= 0 && proto && !(proto->type == GVM_JSON_STRING && gvm_str_eqz(proto->text, "tcp")))
        r = conf_dec_bad(d, "unknown protocol");
    if (r >= 0 && gvm_json_get(o, "narrow"))
        r = conf_take_narrow(d, gvm_json_get(o, "narrow"), &rule->narrow);
    if (r >= 0)
        r = conf_take_decision(d, gvm_json_get(o, "decision"), &rule->decision);
    rule->protocol = proto ? GVM_PROTO_TCP : GVM_PROTO_HTTP;
    if (r >= 0 && (!rule->name.n || !rule->pattern.n))
        r = conf_dec_bad(d, "a rule without name or pattern");
    return r;
}

static int take_rules(struct conf_dec *d, const struct gvm_json *v)
{
    void *p;
    uint32_t n;
    int r = conf_take_array(d, v, GVM_MAX_RULES, sizeof *d->c->rules, &p, &n);
    if (r < 0)
        return r;
    d->c->rules = p;
    uint32_t i = 0;
    for (const struct gvm_json *e = v->child; e && r >= 0; e = e->next)
        r = take_rule(d, e, &d->c->rules[i++]);
    d->c->nrules = r < 0 ? 0 : n;
    return r;
}

static int take_pins(struct conf_dec *d, const struct gvm_json *v)
{
    void *p;
    uint32_t n, port = 0;
    int r = conf_take_array(d, v, CONF_MAX_LIST, sizeof *d->c->pins, &p, &n);
    if (r < 0)
        return r;
    struct gvm_conf_pin *pin = d->c->pins = p;
    for (const struct gvm_json *e = v->child; e && r >= 0; e = e->next, pin++) {
        r = conf_take_str(d, gvm_json_get(e, "host"), GVM_MAX_HOST, &pin->host);
        if (r >= 0)
            r = conf_take_str(d, gvm_json_get(e, "address"), 64, &pin->address);
        if (r >= 0)
            r = take_uint(d, e, "port", 65535, &port);
        pin->port = (uint16_t)port;
    }
    d->c->npins = r < 0 ? 0 : n;
    return r;
}

static int take_timeouts(struct conf_dec *d, const struct gvm_json *o)
{
    struct gvm_conf_timeouts *t = &d->c->timeouts;
    const struct {
        const char *key;
        uint32_t *to;
    } rows[] = {
        {"head", &t->head},           {"connect", &t->connect},       {"tls", &t->tls},
        {"idle", &t->idle},           {"first_byte", &t->first_byte}, {"approval", &t->approval},
        {"pool_idle", &t->pool_idle}, {"pool_life", &t->pool_life}};
    int r = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && r >= 0; i++)
        r = take_uint(d, o, rows[i].key, UINT32_MAX, rows[i].to);
    return r;
}

static int take_audit(struct conf_dec *d, const struct gvm_json *v)
{
    bool text = v && v->type == GVM_JSON_STRING;
    d->c->audit_strict = text && gvm_str_eqz(v->text, "strict");
    return d->c->audit_strict || (text && gvm_str_eqz(v->text, "group"))
               ? 0
               : conf_dec_bad(d, "unknown audit mode");
}

static int take_proxy(struct conf_dec *d, const struct gvm_json *o)
{
    int64_t port = gvm_json_int(o, "proxy_port", 0);
    if (!gvm_json_get(o, "proxy_host") && !gvm_json_get(o, "proxy_port"))
        return 0;
    if (port < 1 || port > 65535)
        return conf_dec_bad(d, "the proxy's port is out of range");
    d->c->proxy_port = (uint16_t)port;
    return conf_take_str(d, gvm_json_get(o, "proxy_host"), GVM_MAX_HOST, &d->c->proxy_host);
}

static int take_all(struct conf_dec *d, const struct gvm_json *o)
{
    static const char *const known[] = {"v",      "default",    "audit",     "timeouts",
                                        "ca_pem", "pins",       "hide",      "reveal",
                                        "rules",  "proxy_host", "proxy_port"};
    struct gvm_conf *c = d->c;
    int r = check_keys(d, o, known, sizeof known / sizeof *known);
    if (r >= 0 && gvm_json_int(o, "v", 0) != 1)
        r = conf_dec_bad(d, "unknown version");
    if (r >= 0)
        r = conf_take_decision(d, gvm_json_get(o, "default"), &c->dflt);
    if (r >= 0)
        r = take_audit(d, gvm_json_get(o, "audit"));
    if (r >= 0)
        r = take_timeouts(d, gvm_json_get(o, "timeouts"));
    if (r >= 0)
        r = conf_take_str(d, gvm_json_get(o, "ca_pem"), 1u << 20, &c->ca_pem);
    if (r >= 0)
        r = take_proxy(d, o);
    if (r >= 0)
        r = take_pins(d, gvm_json_get(o, "pins"));
    if (r >= 0)
        r = conf_take_list(d, gvm_json_get(o, "hide"), CONF_MAX_LIST, GVM_PATH_MAX, &c->hide,
                           &c->nhide);
    if (r >= 0)
        r = conf_take_list(d, gvm_json_get(o, "reveal"), CONF_MAX_LIST, GVM_PATH_MAX, &c->reveal,
                           &c->nreveal);
    if (r >= 0)
        r = take_rules(d, gvm_json_get(o, "rules"));
    return r;
}

static int hash_text(struct gvm_str text, char dst[65])
{
    uint8_t md[32];
    if (EVP_Digest(text.p, text.n, md, NULL, EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    gvm_hex(dst, md, sizeof md);
    return 0;
}

int gvm_policy_decode(struct gvm_str text, struct gvm_conf **ret, struct gvm_err *err)
{
    struct conf_dec d = {.err = err};
    struct gvm_json *root;
    if (text.n > GVM_MAX_POLICY)
        return gvm_err_set(err, EFBIG, "policy: longer than %u bytes", GVM_MAX_POLICY);
    struct gvm_arena *tree = gvm_arena_new((size_t)GVM_MAX_POLICY * 16);
    if (!tree)
        return gvm_err_set(err, ENOMEM, "policy: out of memory");
    int r = gvm_json_parse(tree, text, &root, err);
    if (r < 0)
        r = gvm_err_wrap(err, r, "policy");
    else
        r = conf_new((size_t)GVM_MAX_CONFIG * 16, &d.c, err);
    if (r >= 0)
        r = take_all(&d, root);
    gvm_arena_free(tree);
    if (r >= 0 && hash_text(text, d.c->hash) < 0)
        r = gvm_err_set(err, ENOMEM, "policy: SHA-256 failed");
    if (r < 0) {
        gvm_conf_free(d.c);
        return r;
    }
    *ret = d.c;
    return 0;
}
