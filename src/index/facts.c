/* facts.c - one entry's own words, read without trusting that it is well made; and whether it is
 * wanted.
 *
 * Only members of the entry itself count: what a client said stands below "client" and cannot pass
 * for the entry's kind, run, agent, host or id.
 */
#include <errno.h>
#include "index/index_int.h"

enum field {
    F_T,
    F_KIND,
    F_RUN,
    F_AGENT,
    F_HOST,
    F_NAME,
    F_DECISION,
    F_ID,
    F_OUT,
    F_IN,
    F_MS,
    F_LLM
};
enum llm_field { L_IN, L_OUT, L_COST };

static const char *const fields[] = {"t",        "kind", "run",       "agent",    "host", "name",
                                     "decision", "id",   "bytes_out", "bytes_in", "ms",   "llm"};
static const char *const llm_fields[] = {"tokens_in", "tokens_out", "cost"};

struct reading {
    struct gvm_json_reader json;
    struct gvm_buf *scratch;
    struct gvm_index_facts *f;
    struct gvm_str name;
    unsigned seen, llm_seen;
};

static int lookup(const char *const *names, size_t n, struct gvm_str key)
{
    for (size_t i = 0; i < n; i++)
        if (gvm_str_eqz(key, names[i]))
            return (int)i;
    return -1;
}
#define LOOKUP(list, key) lookup(list, sizeof(list) / sizeof((list)[0]), key)

/* The text of a token; where in scratch it will be is known only when nothing more is added, so it
 * is kept whole there by reserving the room first. */
static int text_of(struct reading *r, const struct gvm_json_token *t, struct gvm_str *ret)
{
    if (!t->escaped) {
        *ret = t->raw;
        return 0;
    }
    size_t from = r->scratch->len;
    int e = gvm_json_unescape(t->raw, r->scratch);
    if (e == 0)
        *ret =
            (struct gvm_str){(const char *)gvm_buf_data(r->scratch) + from, r->scratch->len - from};
    return e;
}

/* A whole number of at most 2^53, which every reader of JSON agrees on; else 0. */
static int64_t number_of(const struct gvm_json_token *t)
{
    uint64_t v = 0;
    bool ok = t->type == GVM_JSON_NUMBER && gvm_parse_u64(t->raw, UINT64_C(1) << 53, &v) == 0;
    return ok ? (int64_t)v : 0;
}

/* "12.345678" to millionths; more digits are cut; anything else, exponents too, is 0. */
static int64_t micro_of(const struct gvm_json_token *t)
{
    struct gvm_str rest = t->raw, whole;
    uint64_t v = 0, frac = 0;
    (void)gvm_str_cut(&rest, '.', &whole);
    if (t->type != GVM_JSON_NUMBER || gvm_parse_u64(whole, UINT64_C(1) << 40, &v) < 0)
        return 0;
    for (size_t i = 0; i < 6; i++) {
        char c = i < rest.n ? rest.p[i] : '0';
        if (c < '0' || c > '9')
            return 0;
        frac = frac * 10 + (uint64_t)(c - '0');
    }
    return (int64_t)(v * 1000000 + frac);
}

/* To the end of the object or array just begun. */
static int skip(struct reading *r)
{
    struct gvm_json_token t;
    unsigned depth = 1;
    while (depth) {
        int e = gvm_json_next(&r->json, &t);
        if (e < 0)
            return e;
        if (t.type == GVM_JSON_OBJECT || t.type == GVM_JSON_ARRAY)
            depth++;
        else if (t.type == GVM_JSON_OBJECT_END || t.type == GVM_JSON_ARRAY_END)
            depth--;
    }
    return 0;
}

static int skip_value(struct reading *r, const struct gvm_json_token *t)
{
    return t->type == GVM_JSON_OBJECT || t->type == GVM_JSON_ARRAY ? skip(r) : 0;
}

static int read_llm(struct reading *r)
{
    struct gvm_json_token key, value;
    struct gvm_index_facts *f = r->f;
    for (;;) {
        int e = gvm_json_next(&r->json, &key);
        if (e < 0 || key.type == GVM_JSON_OBJECT_END)
            return e;
        int which = key.escaped ? -1 : LOOKUP(llm_fields, key.raw);
        e = gvm_json_next(&r->json, &value);
        if (e == 0)
            e = skip_value(r, &value);
        if (e < 0)
            return e;
        if (which < 0)
            continue;
        if (r->llm_seen >> which & 1)
            return -EEXIST;
        r->llm_seen |= 1u << which;
        f->llm = true;
        if (which == L_COST)
            f->cost_micro = micro_of(&value);
        else
            *(which == L_IN ? &f->tokens_in : &f->tokens_out) = number_of(&value);
    }
}

static int take_text(struct reading *r, enum field which, const struct gvm_json_token *t)
{
    struct gvm_index_facts *f = r->f;
    struct gvm_str *const to[] = {
        [F_KIND] = &f->kind, [F_RUN] = &f->run,   [F_AGENT] = &f->agent,
        [F_HOST] = &f->host, [F_NAME] = &r->name, [F_DECISION] = &f->decision,
        [F_ID] = &f->id};
    struct gvm_str text;
    if (t->type != GVM_JSON_STRING)
        return 0;
    int e = text_of(r, t, &text);
    if (e < 0)
        return e;
    if (which == F_T)
        (void)!gvm_time_parse(text, &f->t);
    else
        *to[which] = text;
    return 0;
}

static int take_member(struct reading *r, const struct gvm_json_token *key)
{
    struct gvm_json_token t;
    struct gvm_index_facts *f = r->f;
    struct gvm_str name;
    int e = text_of(r, key, &name);
    int which = e < 0 ? -1 : LOOKUP(fields, name);
    if (e == 0)
        e = gvm_json_next(&r->json, &t);
    if (e < 0)
        return e;
    if (which < 0)
        return skip_value(r, &t);
    if (r->seen >> which & 1)
        return -EEXIST;
    r->seen |= 1u << which;
    if (which == F_LLM && t.type == GVM_JSON_OBJECT)
        return read_llm(r);
    if (which == F_OUT)
        f->bytes_out = number_of(&t);
    else if (which == F_IN)
        f->bytes_in = number_of(&t);
    else if (which == F_MS)
        f->ms = number_of(&t);
    else if (which != F_LLM && (e = take_text(r, (enum field)which, &t)) < 0)
        return e;
    return skip_value(r, &t);
}

static int read_entry(struct reading *r)
{
    struct gvm_json_token t;
    int e = gvm_json_next(&r->json, &t);
    if (e < 0 || t.type != GVM_JSON_OBJECT)
        return e < 0 ? e : -EINVAL;
    while ((e = gvm_json_next(&r->json, &t)) == 0 && t.type == GVM_JSON_KEY) {
        e = take_member(r, &t);
        if (e < 0)
            return e;
    }
    return e < 0 ? e : gvm_json_next(&r->json, &t); /* the end; anything behind it is refused */
}

void gvm_index_facts(struct gvm_str line, struct gvm_buf *scratch, struct gvm_index_facts *ret)
{
    struct reading r = {.scratch = scratch, .f = ret};
    *ret = (struct gvm_index_facts){.t = INT64_MIN};
    gvm_buf_reset(scratch);
    gvm_json_open(&r.json, line);
    /* Views into it must not move: what was escaped never grows when it is resolved. */
    if (!gvm_buf_space(scratch, line.n) || read_entry(&r) < 0) {
        *ret = (struct gvm_index_facts){.t = INT64_MIN};
        return;
    }
    ret->whole = true;
    if (!(r.seen >> F_HOST & 1))
        ret->host = r.name;
}

static bool anything(const char *pattern)
{
    return !pattern || strcmp(pattern, "*") == 0;
}

bool gvm_index_any(const struct gvm_index_filter *f)
{
    return !f->run && anything(f->kind) && anything(f->host) && anything(f->agent) &&
           !f->decision && !f->request && !f->since_ns && !f->until_ns;
}

static bool fits(const char *pattern, struct gvm_str text)
{
    return !pattern || gvm_glob(gvm_str(pattern), text);
}

bool gvm_index_matches(const struct gvm_index_filter *f, const struct gvm_index_facts *e)
{
    if (!e->whole)
        return gvm_index_any(f);
    if (f->run && !gvm_str_starts(e->run, gvm_str(f->run)))
        return false;
    if (f->request && !gvm_str_eqz(e->id, f->request))
        return false;
    if (f->decision && !gvm_str_ieqz(e->decision, f->decision))
        return false;
    if ((f->since_ns || f->until_ns) && e->t == INT64_MIN)
        return false;
    if ((f->since_ns && e->t < f->since_ns) || (f->until_ns && e->t >= f->until_ns))
        return false;
    return fits(f->kind, e->kind) && fits(f->host, e->host) && fits(f->agent, e->agent);
}
