/* conf/creds.c - [credentials."host"]: what keys sets on requests to that host, never what the
 * agent has. Values are read here, in the parent, and leave this room only through
 * gvm_credentials_encode(). */
#include "conf/conf_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct cred_in {
    struct gvm_str type, header;
    const struct conf_node *type_at, *value, *header_at, *certificate, *certificate_key;
};

static int set_type(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct cred_in *in = obj;
    in->type_at = v;
    return conf_text(x, v, "type", 64, &in->type);
}

/* token, key and value are three names of one thing. */
static int set_value(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct cred_in *in = obj;
    if (in->value)
        return conf_bad(x, v->key_line, v->key_col,
                        "the value is given twice; keep one of token, key "
                        "and value");
    in->value = v;
    return 0;
}

static int set_header(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct cred_in *in = obj;
    in->header_at = v;
    return conf_text(x, v, "header", 64, &in->header);
}

static int set_certificate(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)x;
    ((struct cred_in *)obj)->certificate = v;
    return 0;
}

static int set_certificate_key(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)x;
    ((struct cred_in *)obj)->certificate_key = v;
    return 0;
}

static const struct conf_field cred_fields[] = {
    {"type", CONF_STRING, set_type, false},
    {"token", CONF_STRING, set_value, false},
    {"key", CONF_STRING, set_value, false},
    {"value", CONF_STRING, set_value, false},
    {"header", CONF_STRING, set_header, false},
    {"access_token", 0, NULL, true},
    {"refresh_token", 0, NULL, true},
    {"expires_at", 0, NULL, true},
    {"certificate", CONF_STRING, set_certificate, false},
    {"certificate_key", CONF_STRING, set_certificate_key, false},
};

/* ---- the value ---- */

static int take_value(struct conf_ctx *x, const struct conf_node *v, struct gvm_str s,
                      struct gvm_conf_credential *c)
{
    size_t off;
    if (s.n == 0)
        return conf_bad_at(x, v, "the credential is empty; give a value");
    if (s.n > CONF_MAX_VALUE)
        return conf_bad_at(x, v, "the credential is longer than %u bytes", CONF_MAX_VALUE);
    if (conf_has_control(s, &off))
        return conf_bad_at(x, v, "the credential holds a control byte or line break; take it out");
    c->value = conf_dup(x, s);
    return c->value.p ? 0 : gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
}

static int value_from_env(struct conf_ctx *x, const struct conf_node *v, struct gvm_str name,
                          struct gvm_conf_credential *c)
{
    char z[256];
    if (!name.n || gvm_str_copy(z, sizeof z, name) < 0)
        return conf_bad_at(x, v,
                           "env: needs the name of a variable; write it like \"env:API_TOKEN\"");
    const char *value = getenv(z);
    if (!value)
        return conf_bad_at(x, v,
                           "the environment variable %s is not set; set it where gvmd starts, or "
                           "use file:",
                           z);
    return take_value(x, v, gvm_str(value), c);
}

static int value_from_file(struct conf_ctx *x, const struct conf_node *v, struct gvm_str name,
                           struct gvm_conf_credential *c)
{
    char path[GVM_PATH_MAX];
    struct gvm_err why = {0};
    struct gvm_buf b;
    if (!name.n)
        return conf_bad_at(x, v, "file: needs a path; write it like \"file:/home/me/.token\"");
    int r = conf_resolve(x, v, name, path);
    if (r < 0)
        return r;
    gvm_buf_init(&b, CONF_MAX_VALUE + 2);
    r = gvm_read_file(path, &b, &why);
    if (r < 0) {
        r = conf_bad_at(x, v, "the credential cannot be read: %s", why.text);
    } else {
        struct gvm_str s = gvm_buf_str(&b);
        while (s.n && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r'))
            s.n--;
        r = take_value(x, v, s, c);
    }
    gvm_buf_wipe(&b);
    return r;
}

static int read_value(struct conf_ctx *x, const struct conf_node *v, struct gvm_conf_credential *c)
{
    static const char *const later[] = {"cmd:", "keyring:", "vault:"};
    struct gvm_str s = conf_node_str(v);
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (gvm_str_starts(s, gvm_str(later[i])))
            return conf_bad_at(
                x, v, "\"%s\" is not supported by this version yet; use env: or file:", later[i]);
    if (gvm_str_starts(s, GVM_STR("env:")))
        return value_from_env(x, v, (struct gvm_str){s.p + 4, s.n - 4}, c);
    if (gvm_str_starts(s, GVM_STR("file:")))
        return value_from_file(x, v, (struct gvm_str){s.p + 5, s.n - 5}, c);
    if (x->loose)
        return conf_bad_at(
            x, v,
            "a credential stands in a file that others can read (mode %04o); run chmod "
            "600 on it, or use env: or file:",
            (unsigned)(x->mode & 07777));
    return take_value(x, v, s, c);
}

/* ---- a client certificate ---- */

/* Appends a file in PEM; whether it holds what it should is seen by keys. */
static int add_pem(struct conf_ctx *x, const struct conf_node *v, struct gvm_buf *out)
{
    char path[GVM_PATH_MAX];
    struct gvm_err why = {0};
    struct gvm_str s = conf_node_str(v);
    if (!gvm_str_starts(s, GVM_STR("file:")) || s.n == 5)
        return conf_bad_at(x, v, "a certificate and its key are files; write \"file:client.pem\"");
    int r = conf_resolve(x, v, (struct gvm_str){s.p + 5, s.n - 5}, path);
    if (r < 0)
        return r;
    struct gvm_buf one;
    gvm_buf_init(&one, CONF_MAX_PEM);
    r = gvm_read_file(path, &one, &why);
    if (r < 0)
        r = conf_bad_at(x, v, "it cannot be read: %s", why.text);
    else if (!memmem(gvm_buf_data(&one), one.len, "-----BEGIN ", 11) ||
             memchr(gvm_buf_data(&one), 0, one.len))
        r = conf_bad_at(x, v, "the file is not in PEM; convert it with openssl");
    else if (gvm_buf_adds(out, gvm_buf_str(&one)) < 0 || gvm_buf_addc(out, '\n') < 0)
        r = gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    gvm_buf_wipe(&one);
    return r;
}

static int read_identity(struct conf_ctx *x, const struct cred_in *in,
                         struct gvm_conf_credential *c)
{
    struct gvm_buf pem;
    const struct conf_node *one = in->certificate ? in->certificate : in->certificate_key;
    c->identity = GVM_STR("");
    if (!one)
        return 0;
    if (!in->certificate || !in->certificate_key)
        return conf_bad_at(x, one,
                           "certificate and certificate_key belong together; add the other");
    gvm_buf_init(&pem, 2 * CONF_MAX_PEM + 2);
    int r = add_pem(x, in->certificate, &pem);
    if (r >= 0)
        r = add_pem(x, in->certificate_key, &pem);
    if (r >= 0) {
        c->identity = conf_dup(x, gvm_buf_str(&pem));
        if (!c->identity.p)
            r = gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    }
    gvm_buf_wipe(&pem);
    return r;
}

/* ---- one host ---- */

static bool is_header_name(struct gvm_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = gvm_lower(s.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            return false;
    }
    return s.n > 0;
}

/* Headers that frame or route a message would let a credential break what was judged. */
static bool is_forbidden_header(struct gvm_str s)
{
    static const char *const names[] = {
        "host",    "content-length", "transfer-encoding", "connection",      "te", "trailer",
        "upgrade", "expect",         "keep-alive",        "proxy-connection"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (gvm_str_ieqz(s, names[i]))
            return true;
    return false;
}

/* Nothing but the certificate. */
static int finish_certificate(struct conf_ctx *x, const struct cred_in *in,
                              struct gvm_conf_credential *c)
{
    if (!in->certificate)
        return conf_bad_at(x, in->type_at,
                           "add certificate = \"file:...\" and certificate_key = \"file:...\"");
    if (in->value || in->header_at)
        return conf_bad_at(x, in->value ? in->value : in->header_at,
                           "a ClientCertificate sets no header; write type = \"Bearer\" or "
                           "\"ApiKey\" for both together");
    c->type = GVM_CRED_CERTIFICATE;
    c->header = c->value = GVM_STR("");
    return 0;
}

static int finish_type(struct conf_ctx *x, const struct conf_node *m, struct cred_in *in,
                       struct gvm_conf_credential *c)
{
    static const char *const later[] = {"Basic", "OAuth2", "AwsSigV4"};
    if (!in->type_at)
        return conf_bad_at(x, m, "the credential has no type; add type = \"Bearer\" or \"ApiKey\"");
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (gvm_str_eqz(in->type, later[i]))
            return conf_bad_at(x, in->type_at,
                               "the credential type %s is not supported by this version "
                               "yet; use Bearer or ApiKey",
                               later[i]);
    if (gvm_str_eqz(in->type, "ClientCertificate"))
        return finish_certificate(x, in, c);
    bool bearer = gvm_str_eqz(in->type, "Bearer");
    if (!bearer && !gvm_str_eqz(in->type, "ApiKey"))
        return conf_bad_at(x, in->type_at,
                           "unknown credential type; write \"Bearer\", \"ApiKey\" or "
                           "\"ClientCertificate\"");
    if (bearer && in->header_at)
        return conf_bad_at(x, in->header_at,
                           "Bearer always uses the authorization header; take header "
                           "out, or write type = \"ApiKey\"");
    if (in->header_at && (!is_header_name(in->header) || is_forbidden_header(in->header)))
        return conf_bad_at(x, in->header_at,
                           "\"%.*s\" cannot be a credential's header; name one such as "
                           "x-api-key",
                           GVM_STR_ARG(in->header));
    c->type = bearer ? GVM_CRED_BEARER : GVM_CRED_API_KEY;
    c->header = bearer ? GVM_STR("authorization") : GVM_STR("x-api-key");
    if (in->header_at)
        c->header = in->header;
    return 0;
}

static int read_one(struct conf_ctx *x, const struct conf_node *m, struct gvm_conf_credential *c)
{
    struct cred_in in = {0};
    struct gvm_str host = conf_key_str(m);
    int r = conf_need(x, m, "a credential", CONF_TABLE);
    if (r < 0)
        return r;
    if (gvm_str_ends(host, GVM_STR(":443"))) /* the prior program's spelling */
        host.n -= 4;
    r = conf_host(x, m, host, "the host", &c->host);
    if (r >= 0)
        r = conf_read_table(x, m, "[credentials]", cred_fields,
                            sizeof cred_fields / sizeof *cred_fields, &in);
    if (r >= 0)
        r = finish_type(x, m, &in, c);
    if (r >= 0)
        r = read_identity(x, &in, c);
    if (r < 0 || c->type == GVM_CRED_CERTIFICATE)
        return r;
    if (!in.value)
        return conf_bad_at(x, m,
                           "the credential has no value; add token = \"env:NAME\" or another");
    return read_value(x, in.value, c);
}

int conf_read_credentials(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    unsigned n = conf_children(v);
    (void)obj;
    if (n > CONF_MAX_LIST)
        return conf_bad_at(x, v, "there are %u credentials; at most %u are allowed", n,
                           CONF_MAX_LIST);
    struct gvm_conf *c = x->c;
    c->creds = gvm_arena_alloc(c->arena, (n ? n : 1) * sizeof *c->creds);
    if (!c->creds)
        return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    for (const struct conf_node *m = v->child; m; m = m->next) {
        /* Counted first: what was read so far is wiped when this one fails. */
        struct gvm_conf_credential *cred = &c->creds[c->ncreds++];
        int r = read_one(x, m, cred);
        if (r < 0)
            return r;
        for (uint32_t j = 0; j + 1 < c->ncreds; j++)
            if (gvm_str_eq(c->creds[j].host, cred->host))
                return conf_bad(x, m->key_line, m->key_col,
                                "the host %.*s has two credentials; keep one",
                                GVM_STR_ARG(cred->host));
    }
    return 0;
}

/* ---- what keys gets ---- */

static struct gvm_str host_part(struct gvm_str pattern)
{
    struct gvm_str rest = pattern, host;
    if (pattern.n && pattern.p[0] == '[') { /* [v6]:port/path */
        ptrdiff_t end = gvm_str_find(pattern, ']');
        return end > 0 ? (struct gvm_str){pattern.p + 1, (size_t)end - 1} : pattern;
    }
    (void)gvm_str_cut(&rest, '/', &host);
    rest = host;
    (void)gvm_str_cut(&rest, ':', &host);
    return host;
}

/* Did the owner mark this host private by name (exactly, or by a suffix)? A rule for any host does
 * not count: it was not written for this one. */
static bool names_host(struct gvm_str pattern, struct gvm_str host)
{
    struct gvm_str p = host_part(pattern);
    struct gvm_str suffix = {0};
    if (gvm_str_starts(p, GVM_STR("*.")))
        suffix = (struct gvm_str){p.p + 1, p.n - 1};
    else if (p.n && p.p[0] == '{' && gvm_str_find(p, '}') >= 0)
        suffix = (struct gvm_str){p.p + gvm_str_find(p, '}') + 1,
                                  p.n - (size_t)gvm_str_find(p, '}') - 1};
    else
        return gvm_str_ieq(p, host);
    return suffix.n > 1 && suffix.n < host.n &&
           gvm_str_ieq(suffix, (struct gvm_str){host.p + host.n - suffix.n, suffix.n});
}

static bool is_private(const struct gvm_conf *c, struct gvm_str host)
{
    for (uint32_t i = 0; i < c->nrules; i++) {
        const struct gvm_conf_rule *r = &c->rules[i];
        if (r->private_ok && r->decision.type != GVM_DENY && names_host(r->pattern, host))
            return true;
    }
    return false;
}

static const char *const type_names[] = {[GVM_CRED_BEARER] = "Bearer",
                                         [GVM_CRED_API_KEY] = "ApiKey",
                                         [GVM_CRED_CERTIFICATE] = "ClientCertificate"};

int gvm_credentials_encode(const struct gvm_conf *c, struct gvm_buf *out)
{
    struct gvm_jw w;
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    gvm_jw_key(&w, "credentials");
    gvm_jw_array(&w);
    for (uint32_t i = 0; i < c->ncreds; i++) {
        const struct gvm_conf_credential *cred = &c->creds[i];
        gvm_jw_object(&w);
        gvm_jw_kstr(&w, "host", cred->host);
        gvm_jw_kstrz(&w, "type", type_names[cred->type]);
        gvm_jw_kstr(&w, "header", cred->header);
        gvm_jw_kstr(&w, "value", cred->value);
        if (cred->identity.n)
            gvm_jw_kstr(&w, "identity", cred->identity);
        gvm_jw_kbool(&w, "private", is_private(c, cred->host));
        gvm_jw_object_end(&w);
    }
    gvm_jw_array_end(&w);
    gvm_jw_object_end(&w);
    return out->failed ? -ENOBUFS : 0;
}
