/* body/content.c - the views of a body that share decoded bytes and a JSON tree. */
#include "body/body_int.h"

#include <errno.h>
#include <stdlib.h>

struct gvm_content *gvm_content_new(const struct gvm_content_in *in)
{
    struct gvm_content *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->in = *in;
    c->arena = gvm_arena_new(BODY_ARENA + 4 * in->max);
    gvm_buf_init(&c->plain, in->max);
    gvm_buf_init(&c->unwrapped, in->max);
    gvm_buf_init(&c->start, in->max);
    if (c->arena)
        return c;
    free(c);
    return NULL;
}

void gvm_content_free(struct gvm_content *c)
{
    if (!c)
        return;
    gvm_buf_wipe(&c->plain);
    gvm_buf_wipe(&c->unwrapped);
    gvm_buf_wipe(&c->start);
    gvm_arena_free(c->arena);
    free(c);
}

const char *gvm_content_why(const struct gvm_content *c)
{
    return c->why.text[0] ? c->why.text : "it could not be read";
}

int body_blind(struct gvm_content *c, int code, const char *what)
{
    c->why = (struct gvm_err){0};
    return gvm_err_set(&c->why, code, "%s", what);
}

/* ---- steps that are done once ---- */

int body_once(struct gvm_content *c, enum body_view which, int (*make)(struct gvm_content *c))
{
    struct body_memo *m = &c->memo[which];
    if (!m->done) {
        c->why = (struct gvm_err){0};
        m->done = true;
        m->result = make(c);
        m->why = c->why;
    }
    c->why = m->why;
    return m->result;
}

/* ---- decoded bytes ---- */

static int make_plain(struct gvm_content *c)
{
    if (!c->in.whole)
        return body_blind(c, EFBIG, "the body is larger than is looked at");
    if (c->in.raw.n > c->in.max)
        return body_blind(c, EFBIG, "the body is larger than max_body_bytes");
    return gvm_decode(c->in.coding, c->in.raw, c->in.max, &c->plain, &c->why);
}

/* The decoded body within the limit of one rule. */
int body_plain(struct gvm_content *c, size_t max, struct gvm_str *ret)
{
    if (!c->in.present)
        return -ENODATA;
    int r = body_once(c, BODY_PLAIN, make_plain);
    if (r < 0)
        return r;
    if (c->in.raw.n > max || c->plain.len > max)
        return body_blind(c, EFBIG, "the body is larger than max_body_bytes");
    *ret = gvm_buf_str(&c->plain);
    return 0;
}

int gvm_content_plain(struct gvm_content *c, size_t max, struct gvm_str *ret)
{
    return body_plain(c, max, ret);
}

/* ---- JSON ---- */

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const char *at = c ? strchr(digits, c) : NULL;
    if (at)
        return (int)(at - digits);
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

int gvm_base64_lax(struct gvm_str text, struct gvm_buf *out)
{
    uint32_t bits = 0;
    unsigned have = 0, pad = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            continue;
        int v = base64_value(c);
        if (c == '=' && ++pad <= 2)
            continue;
        if (v < 0 || pad)
            return -EINVAL;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            if (gvm_buf_addc(out, (char)(bits >> have)) < 0)
                return -EINVAL;
        }
    }
    return have == 6 ? -EINVAL : 0;
}

static int make_json(struct gvm_content *c)
{
    struct gvm_str text;
    int r = body_plain(c, c->in.max, &text);
    if (r < 0)
        return r;
    r = gvm_json_parse(c->arena, text, &c->json, &c->why);
    if (r != -EINVAL || gvm_base64_lax(text, &c->unwrapped) < 0 || c->unwrapped.len == 0)
        return r;
    struct gvm_err inner = {0};
    int x = gvm_json_parse(c->arena, gvm_buf_str(&c->unwrapped), &c->json, &inner);
    if (x < 0)
        return r;
    c->json_loose = true;
    c->why = (struct gvm_err){0};
    return 0;
}

int gvm_content_json(struct gvm_content *c, size_t max, const struct gvm_json **ret,
                     bool *ret_loose)
{
    struct gvm_str text;
    int r = body_plain(c, max, &text);
    if (r == 0)
        r = body_once(c, BODY_JSON, make_json);
    if (r < 0)
        return r;
    *ret = c->json;
    *ret_loose = c->json_loose;
    return 0;
}

int gvm_json_member(const struct gvm_json *object, const char *key, const struct gvm_json **ret)
{
    struct gvm_str want = gvm_str(key);
    const struct gvm_json *found = NULL;
    for (const struct gvm_json *m = object ? object->child : NULL; m; m = m->next) {
        if (gvm_str_eq(m->key, want))
            found = m;
        else if (gvm_str_ieq(m->key, want))
            return -EINVAL;
    }
    *ret = found;
    return 0;
}

/* ---- forms ---- */

static int make_query(struct gvm_content *c)
{
    if (c->in.query.n == 0)
        return -ENODATA;
    return gvm_form_urlencoded(c->arena, c->in.query, &c->query, &c->why);
}

int gvm_content_query(struct gvm_content *c, const struct gvm_form **ret)
{
    int r = body_once(c, BODY_QUERY, make_query);
    if (r == 0)
        *ret = &c->query;
    return r;
}

static int make_form(struct gvm_content *c)
{
    struct gvm_str text;
    char type[64];
    int r = body_plain(c, c->in.max, &text);
    if (r < 0)
        return r;
    gvm_media_type(c->in.type, type, sizeof type);
    if (strcmp(type, "multipart/form-data") == 0)
        return gvm_form_multipart(c->arena, c->in.type, text, &c->form, &c->why);
    if (strcmp(type, "application/x-www-form-urlencoded") == 0)
        return gvm_form_urlencoded(c->arena, text, &c->form, &c->why);
    return body_blind(c, EINVAL, "the body is not a form");
}

int gvm_content_form(struct gvm_content *c, size_t max, const struct gvm_form **ret)
{
    struct gvm_str text;
    int r = body_plain(c, max, &text);
    if (r == 0)
        r = body_once(c, BODY_FORM, make_form);
    if (r == 0)
        *ret = &c->form;
    return r;
}

/* ---- JSON-RPC ---- */

static int one_call(struct gvm_content *c, const struct gvm_json *v)
{
    const struct gvm_json *method = NULL, *params = NULL;
    if (v->type != GVM_JSON_OBJECT)
        return body_blind(c, EINVAL, "a JSON-RPC message is not an object");
    if (gvm_json_member(v, "method", &method) < 0 || gvm_json_member(v, "params", &params) < 0)
        return body_blind(c, EINVAL, "a JSON-RPC member is spelled in another case");
    if (method && method->type != GVM_JSON_STRING)
        return body_blind(c, EINVAL, "a JSON-RPC method is not a text");
    c->calls[c->ncalls++] =
        (struct gvm_rpc_call){.method = method ? method->text : GVM_STR(""), .params = params};
    return 0;
}

static int make_rpc(struct gvm_content *c)
{
    const struct gvm_json *root;
    bool loose = false;
    int r = gvm_content_json(c, c->in.max, &root, &loose);
    if (r < 0)
        return r;
    if (loose)
        return body_blind(c, EINVAL, "the body is wrapped in base64");
    bool batch = root->type == GVM_JSON_ARRAY;
    size_t n = 0;
    for (const struct gvm_json *e = root->child; batch && e; e = e->next)
        n++;
    c->calls = gvm_arena_alloc(c->arena, (n + 1) * sizeof *c->calls);
    if (!c->calls)
        return body_blind(c, ENOMEM, "there is no memory to read it");
    if (!batch)
        return one_call(c, root);
    for (const struct gvm_json *e = root->child; e && r == 0; e = e->next)
        r = one_call(c, e);
    return r;
}

int gvm_content_rpc(struct gvm_content *c, size_t max, const struct gvm_rpc_call **ret,
                    size_t *ret_n)
{
    struct gvm_str text;
    int r = body_plain(c, max, &text);
    if (r == 0)
        r = body_once(c, BODY_RPC, make_rpc);
    if (r < 0)
        return r;
    *ret = c->calls;
    *ret_n = c->ncalls;
    return 0;
}

/* ---- git ---- */

static int make_git(struct gvm_content *c)
{
    bool whole = c->in.whole && c->in.raw.n <= c->in.max;
    struct gvm_str raw = c->in.raw;
    if (raw.n > c->in.max)
        raw.n = c->in.max;
    int r = gvm_decode_prefix(c->in.coding, raw, c->in.max, &c->start, &c->why);
    if (r < 0)
        return r;
    whole = whole && c->start.len < c->in.max;
    return gvm_git_push_parse(c->arena, gvm_buf_str(&c->start), whole, &c->git, &c->why);
}

int gvm_content_git(struct gvm_content *c, size_t max, const struct gvm_git_push **ret)
{
    (void)max; /* the beginning is looked at, whatever its length */
    if (!c->in.present)
        return -ENODATA;
    int r = body_once(c, BODY_GIT, make_git);
    if (r == 0)
        *ret = &c->git;
    return r;
}
