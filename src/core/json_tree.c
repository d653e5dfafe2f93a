#include <errno.h>

#include "core/json.h"
#include "core/map.h"

/* Objects up to this many members are checked for equal keys by comparing them pairwise. */
#define PAIRWISE 16u

struct level {
    struct gvm_json *node;
    struct gvm_json **tail;
    size_t members;
};

struct build {
    struct gvm_arena *arena;
    struct gvm_str text;
    struct level stack[GVM_MAX_JSON_DEPTH];
    unsigned depth;
    struct gvm_json *root;
    struct gvm_str key;
};

static int text_of(struct build *b, const struct gvm_json_token *t, struct gvm_str *ret)
{
    if (!t->escaped) {
        char *d = gvm_arena_dup(b->arena, t->raw.p, t->raw.n);
        if (!d)
            return -ENOMEM;
        *ret = (struct gvm_str){d, t->raw.n};
        return 0;
    }
    struct gvm_buf tmp;
    gvm_buf_init(&tmp, t->raw.n);
    int r = gvm_json_unescape(t->raw, &tmp);
    char *d = r < 0 ? NULL : gvm_arena_dup(b->arena, gvm_buf_data(&tmp), tmp.len);
    size_t n = tmp.len;
    gvm_buf_wipe(&tmp); /* it may have been a secret */
    if (!d)
        return r < 0 ? r : -ENOMEM;
    *ret = (struct gvm_str){d, n};
    return 0;
}

static int unique_pairwise(const struct gvm_json *first)
{
    for (const struct gvm_json *a = first; a; a = a->next) {
        for (const struct gvm_json *b = a->next; b; b = b->next) {
            if (gvm_str_eq(a->key, b->key))
                return -EEXIST;
        }
    }
    return 0;
}

static int unique_hashed(struct gvm_json *first, size_t members)
{
    struct gvm_map *seen = gvm_map_new(members, NULL);
    if (!seen)
        return -ENOMEM;
    int r = 0;
    for (struct gvm_json *a = first; a && r == 0; a = a->next)
        r = gvm_map_get(seen, a->key) ? -EEXIST : gvm_map_put(seen, a->key, a);
    gvm_map_free(seen);
    return r;
}

static int leave(struct build *b, const struct gvm_json_token *t)
{
    struct level *l = &b->stack[--b->depth];
    l->node->raw.n = (size_t)(b->text.p + t->off + 1 - l->node->raw.p);
    if (t->type == GVM_JSON_ARRAY_END)
        return 0;
    return l->members <= PAIRWISE ? unique_pairwise(l->node->child)
                                  : unique_hashed(l->node->child, l->members);
}

static int add(struct build *b, const struct gvm_json_token *t)
{
    struct gvm_json *v = gvm_arena_alloc(b->arena, sizeof *v);
    if (!v)
        return -ENOMEM;
    v->type = t->type;
    v->raw = v->text = t->raw;
    if (t->type == GVM_JSON_STRING) {
        int r = text_of(b, t, &v->text);
        if (r < 0)
            return r;
    }
    if (b->depth) {
        struct level *l = &b->stack[b->depth - 1];
        v->key = b->key;
        *l->tail = v;
        l->tail = &v->next;
        l->members++;
    } else {
        b->root = v;
    }
    b->key = (struct gvm_str){0};
    if (t->type == GVM_JSON_OBJECT || t->type == GVM_JSON_ARRAY)
        b->stack[b->depth++] = (struct level){.node = v, .tail = &v->child};
    return 0;
}

static int take(struct build *b, const struct gvm_json_token *t)
{
    if (t->type == GVM_JSON_KEY)
        return text_of(b, t, &b->key);
    if (t->type == GVM_JSON_OBJECT_END || t->type == GVM_JSON_ARRAY_END)
        return leave(b, t);
    return add(b, t);
}

static int explain(struct gvm_err *err, int r, size_t at)
{
    if (r == -EINVAL)
        return gvm_err_set(err, EINVAL, "not valid JSON at byte %zu", at);
    if (r == -E2BIG)
        return gvm_err_set(err, E2BIG, "JSON nested deeper than %u at byte %zu", GVM_MAX_JSON_DEPTH,
                           at);
    if (r == -EEXIST)
        return gvm_err_set(err, EEXIST, "JSON object with the same key twice, ends at byte %zu",
                           at);
    return gvm_err_sys(err, -r, "JSON text too large at byte %zu", at);
}

int gvm_json_parse(struct gvm_arena *a, struct gvm_str text, struct gvm_json **ret,
                   struct gvm_err *err)
{
    struct build b = {.arena = a, .text = text};
    struct gvm_json_reader r;
    gvm_json_open(&r, text);
    for (;;) {
        struct gvm_json_token t;
        int x = gvm_json_next(&r, &t);
        if (x == 0 && t.type == GVM_JSON_END)
            break;
        if (x == 0)
            x = take(&b, &t);
        if (x < 0)
            return explain(err, x, r.pos);
    }
    *ret = b.root;
    return 0;
}

const struct gvm_json *gvm_json_get(const struct gvm_json *v, const char *key)
{
    if (!v || v->type != GVM_JSON_OBJECT)
        return NULL;
    const struct gvm_json *m = v->child;
    while (m && !gvm_str_eqz(m->key, key))
        m = m->next;
    return m;
}

const char *gvm_json_text(const struct gvm_json *v, const char *key, const char *dflt)
{
    const struct gvm_json *m = gvm_json_get(v, key);
    if (!m || m->type != GVM_JSON_STRING || memchr(m->text.p, '\0', m->text.n))
        return dflt;
    return m->text.p;
}

int64_t gvm_json_int(const struct gvm_json *v, const char *key, int64_t dflt)
{
    const struct gvm_json *m = gvm_json_get(v, key);
    if (!m || m->type != GVM_JSON_NUMBER)
        return dflt;
    struct gvm_str s = m->text;
    bool neg = s.n && s.p[0] == '-';
    if (neg) {
        s.p++;
        s.n--;
    }
    uint64_t u;
    if (gvm_parse_u64(s, (uint64_t)INT64_MAX + neg, &u) < 0)
        return dflt;
    return neg ? (int64_t)(0 - u) : (int64_t)u;
}

bool gvm_json_bool(const struct gvm_json *v, const char *key, bool dflt)
{
    const struct gvm_json *m = gvm_json_get(v, key);
    if (!m || (m->type != GVM_JSON_TRUE && m->type != GVM_JSON_FALSE))
        return dflt;
    return m->type == GVM_JSON_TRUE;
}
