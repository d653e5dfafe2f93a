/* body/content_graphql.c - where GraphQL documents are found (GraphQL over HTTP, and what servers
 * take besides: batches, forms, multipart uploads, ?query=, automatic persisted queries). */
#include "body/body_int.h"

#include <errno.h>
#include <openssl/evp.h>

enum { BATCH = 100 };

static int add_text(struct gvm_content *c, struct gvm_str text, struct gvm_str operation)
{
    if (c->ndocs == c->cap_docs)
        return body_blind(c, E2BIG, "there are too many GraphQL documents in it");
    struct gvm_graphql_request *to = &c->docs[c->ndocs];
    int r = gvm_graphql_parse(c->arena, text, &to->doc, &c->why);
    if (r < 0)
        return r;
    to->operation = operation;
    c->ndocs++;
    return 0;
}

/* ---- persisted queries ---- */

static bool hash_fits(struct gvm_str hash, struct gvm_str text)
{
    uint8_t md[32];
    char hex[65];
    if (EVP_Digest(text.p, text.n, md, NULL, EVP_sha256(), NULL) != 1)
        return false;
    gvm_hex(hex, md, sizeof md);
    return gvm_str_ieqz(hash, hex);
}

/* Is there, beside the text, something that may make the server run another document? */
static int check_persisted(struct gvm_content *c, const struct gvm_json *request,
                           struct gvm_str text)
{
    static const char *const ids[] = {"id",      "documentId",   "doc_id",
                                      "queryId", "documentHash", "sha256Hash"};
    const struct gvm_json *ext = NULL, *apq = NULL, *hash = NULL, *other;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (gvm_json_member(request, ids[i], &other) < 0 || other)
            return body_blind(c, EINVAL, "a persisted GraphQL query is named beside a text");
    if (gvm_json_member(request, "extensions", &ext) < 0 ||
        gvm_json_member(ext, "persistedQuery", &apq) < 0 ||
        gvm_json_member(apq, "sha256Hash", &hash) < 0)
        return body_blind(c, EINVAL, "a GraphQL member is spelled in another case");
    if (!apq)
        return 0;
    if (!hash || hash->type != GVM_JSON_STRING || !hash_fits(hash->text, text))
        return body_blind(c, EINVAL, "a persisted GraphQL query has another hash than its text");
    return 0;
}

/* ---- JSON ---- */

static int one_request(struct gvm_content *c, const struct gvm_json *v)
{
    const struct gvm_json *query = NULL, *name = NULL;
    if (v->type != GVM_JSON_OBJECT)
        return body_blind(c, EINVAL, "a GraphQL request is not an object");
    if (gvm_json_member(v, "query", &query) < 0 || gvm_json_member(v, "operationName", &name) < 0)
        return body_blind(c, EINVAL, "a GraphQL member is spelled in another case");
    if (!query || query->type == GVM_JSON_NULL)
        return body_blind(c, EINVAL, "a GraphQL request without its text (a persisted query?)");
    if (query->type != GVM_JSON_STRING ||
        (name && name->type != GVM_JSON_STRING && name->type != GVM_JSON_NULL))
        return body_blind(c, EINVAL, "a GraphQL member is not a text");
    int r = check_persisted(c, v, query->text);
    bool named = name && name->type == GVM_JSON_STRING;
    return r < 0 ? r : add_text(c, query->text, named ? name->text : GVM_STR(""));
}

bool gvm_graphql_is_request(const struct gvm_json *object)
{
    static const char *const names[] = {"query",      "extensions", "id",
                                        "documentId", "doc_id",     "queryId"};
    for (const struct gvm_json *m = object->child; m; m = m->next)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (gvm_str_ieqz(m->key, names[i]))
                return true;
    return false;
}

static int from_json(struct gvm_content *c, const struct gvm_json *root)
{
    int r = 0;
    if (root->type != GVM_JSON_ARRAY)
        return one_request(c, root);
    if (!root->child)
        return body_blind(c, EINVAL, "an empty GraphQL batch");
    for (const struct gvm_json *e = root->child; e && r == 0; e = e->next)
        r = one_request(c, e);
    return r;
}

/* JSON inside a form field. */
static int from_text(struct gvm_content *c, struct gvm_str json)
{
    struct gvm_json *root;
    int r = gvm_json_parse(c->arena, json, &root, &c->why);
    return r < 0 ? r : from_json(c, root);
}

/* ---- forms and queries ---- */

static const struct gvm_pair *field(const struct gvm_form *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (gvm_str_eqz(f->pairs[i].name, name))
            return &f->pairs[i];
    return NULL;
}

static bool names_persisted(const struct gvm_form *f)
{
    static const char *const ids[] = {"id", "documentId", "doc_id", "queryId", "extensions"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (field(f, ids[i]))
            return true;
    return false;
}

/* `query` fields, and `operations` of a multipart upload. */
static int from_form(struct gvm_content *c, const struct gvm_form *f)
{
    const struct gvm_pair *name = field(f, "operationName");
    size_t before = c->ndocs;
    int r = 0;
    for (size_t i = 0; i < f->n && r == 0; i++) {
        const struct gvm_pair *p = &f->pairs[i];
        if (gvm_str_eqz(p->name, "query"))
            r = add_text(c, p->value, name ? name->value : GVM_STR(""));
        else if (gvm_str_eqz(p->name, "operations"))
            r = from_text(c, p->value);
        else if (gvm_str_ieqz(p->name, "query") || gvm_str_ieqz(p->name, "operations"))
            r = body_blind(c, EINVAL, "a GraphQL field is spelled in another case");
    }
    const struct gvm_pair *extensions = field(f, "extensions");
    if (r == 0 && names_persisted(f) && (c->ndocs == before || !extensions))
        r = body_blind(c, EINVAL, "a persisted GraphQL query without its text");
    if (r == 0 && extensions &&
        memmem(extensions->value.p, extensions->value.n, "persistedQuery", 14))
        r = body_blind(c, EINVAL, "a persisted GraphQL query in a form");
    return r;
}

static int from_query(struct gvm_content *c)
{
    const struct gvm_form *f;
    int r = gvm_content_query(c, &f);
    if (r < 0)
        return r == -ENODATA ? 0 : r;
    /* Other endpoints have an "id" in their query, too: only what goes with GraphQL counts. */
    if (!field(f, "query") && !field(f, "operations") && !field(f, "extensions") &&
        !field(f, "documentId") && !field(f, "operationName"))
        return 0;
    return from_form(c, f);
}

static int from_body(struct gvm_content *c)
{
    struct gvm_str text;
    const struct gvm_json *root;
    const struct gvm_form *form;
    bool loose = false;
    char type[64];
    int r = body_plain(c, c->in.max, &text);
    if (r < 0)
        return r == -ENODATA ? 0 : r;
    gvm_media_type(c->in.type, type, sizeof type);
    if (strcmp(type, "application/graphql") == 0)
        return add_text(c, text, GVM_STR(""));
    if (strcmp(type, "multipart/form-data") == 0 ||
        strcmp(type, "application/x-www-form-urlencoded") == 0) {
        r = gvm_content_form(c, c->in.max, &form);
        return r < 0 ? r : from_form(c, form);
    }
    /* Whatever it is called: servers read JSON under any name. */
    r = gvm_content_json(c, c->in.max, &root, &loose);
    if (r == 0 && loose)
        r = body_blind(c, EINVAL, "the body is wrapped in base64");
    return r < 0 ? r : from_json(c, root);
}

static int make_graphql(struct gvm_content *c)
{
    c->cap_docs = BATCH;
    c->docs = gvm_arena_alloc(c->arena, c->cap_docs * sizeof *c->docs);
    if (!c->docs)
        return body_blind(c, ENOMEM, "there is no memory to read it");
    int r = from_query(c);
    if (r == 0)
        r = from_body(c);
    return r < 0 || c->ndocs ? r : -ENODATA;
}

int gvm_content_graphql(struct gvm_content *c, size_t max, const struct gvm_graphql_request **ret,
                        size_t *ret_n)
{
    struct gvm_str text;
    int r = body_plain(c, max, &text);
    if (r == 0 || r == -ENODATA)
        r = body_once(c, BODY_GRAPHQL, make_graphql);
    if (r < 0)
        return r;
    *ret = c->docs;
    *ret_n = c->ndocs;
    return 0;
}
