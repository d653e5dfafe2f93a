/* body/graphql.c - a lexer that yields tokens, and a parser with a stack of open braces instead of
 * recursion.
 *
 * The parser runs over selection sets only. Variable definitions, arguments and directives are
 * values between brackets; they are skipped by counting brackets of each kind, which finds the same
 * end as a full parser in every document that a full parser accepts. */
#include "body/graphql.h"

#include <errno.h>

enum { DEPTH = 200, DEFS = 500 };

enum token {
    T_END,
    T_NAME,
    T_VALUE,  /* a number or string */
    T_SPREAD, /* ... */
    T_PUNCT,  /* one character, in `punct` */
};

struct parse {
    const char *p;
    size_t n, pos;
    enum token token;
    char punct;
    struct gvm_str text; /* of a name */
    struct gvm_arena *a;
    struct gvm_graphql g;
    uint32_t cap_defs, cap_fields, cap_spreads;
    struct gvm_err *err;
};

static int bad(struct parse *p, const char *what)
{
    return gvm_err_set(p->err, EINVAL, "not a GraphQL document: %s at byte %zu", what, p->pos);
}

static int too_big(struct parse *p)
{
    return gvm_err_set(p->err, E2BIG, "the GraphQL document is too large or too deep");
}

/* ---- lexer ---- */

static bool name_start(char c)
{
    char l = gvm_lower(c);
    return (l >= 'a' && l <= 'z') || c == '_';
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool at(const struct parse *p, size_t off, const char *z)
{
    size_t n = strlen(z);
    return p->n - p->pos >= off + n && memcmp(p->p + p->pos + off, z, n) == 0;
}

/* Spaces, line ends, commas, the byte order mark, comments (2.1). */
static void skip_ignored(struct parse *p)
{
    while (p->pos < p->n) {
        char c = p->p[p->pos];
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',') {
            p->pos++;
        } else if (at(p, 0, "\xef\xbb\xbf")) {
            p->pos += 3;
        } else if (c == '#') {
            while (p->pos < p->n && p->p[p->pos] != '\n' && p->p[p->pos] != '\r')
                p->pos++;
        } else {
            return;
        }
    }
}

/* """ ... """; \""" is the only escape (2.9.4). */
static int lex_block(struct parse *p)
{
    p->pos += 3;
    while (p->pos < p->n) {
        if (at(p, 0, "\\\"\"\""))
            p->pos += 4;
        else if (at(p, 0, "\"\"\"")) {
            p->pos += 3;
            return 0;
        } else
            p->pos++;
    }
    return bad(p, "a block string is not closed");
}

static int lex_string(struct parse *p)
{
    if (at(p, 0, "\"\"\""))
        return lex_block(p);
    for (p->pos++; p->pos < p->n; p->pos++) {
        char c = p->p[p->pos];
        if (c == '\n' || c == '\r')
            break;
        if (c == '\\')
            p->pos++;
        else if (c == '"') {
            p->pos++;
            return 0;
        }
    }
    return bad(p, "a string is not closed");
}

/* A number must not run into a name or a dot (2.9.1), or readers split it differently. */
static int lex_number(struct parse *p)
{
    while (p->pos < p->n) {
        char c = p->p[p->pos];
        bool sign = (c == '+' || c == '-') && gvm_lower(p->p[p->pos - 1]) == 'e';
        if (!digit(c) && c != '.' && gvm_lower(c) != 'e' && !sign)
            break;
        p->pos++;
    }
    if (p->pos < p->n && name_start(p->p[p->pos]))
        return bad(p, "a number runs into a name");
    return 0;
}

static int lex(struct parse *p)
{
    skip_ignored(p);
    if (p->pos >= p->n) {
        p->token = T_END;
        return 0;
    }
    char c = p->p[p->pos];
    if (name_start(c)) {
        size_t from = p->pos;
        while (p->pos < p->n && (name_start(p->p[p->pos]) || digit(p->p[p->pos])))
            p->pos++;
        p->text = (struct gvm_str){p->p + from, p->pos - from};
        p->token = T_NAME;
        return 0;
    }
    if (c == '"') {
        p->token = T_VALUE;
        return lex_string(p);
    }
    if (digit(c) || c == '-') {
        p->token = T_VALUE;
        p->pos++;
        return lex_number(p);
    }
    if (at(p, 0, "...")) {
        p->token = T_SPREAD;
        p->pos += 3;
        return 0;
    }
    if (!c || !strchr("!$&():=@[]{|}", c))
        return bad(p, "a character that has no meaning");
    p->token = T_PUNCT;
    p->punct = c;
    p->pos++;
    return 0;
}

static bool is(const struct parse *p, char c)
{
    return p->token == T_PUNCT && p->punct == c;
}

static bool is_word(const struct parse *p, const char *z)
{
    return p->token == T_NAME && gvm_str_eqz(p->text, z);
}

/* ---- growing tables ---- */

static int grow(struct parse *p, void **table, size_t size, uint32_t used, uint32_t *cap)
{
    if (used >= GVM_MAX_GRAPHQL)
        return too_big(p);
    if (used < *cap)
        return 0;
    uint32_t want = *cap ? *cap * 2 : 16;
    void *fresh = gvm_arena_alloc(p->a, want * size);
    if (!fresh)
        return gvm_err_set(p->err, ENOMEM, "no memory for a GraphQL document");
    if (used)
        memcpy(fresh, *table, used * size);
    *table = fresh;
    *cap = want;
    return 0;
}

static int add_def(struct parse *p, struct gvm_graphql_def d)
{
    void *t = p->g.defs;
    int r = grow(p, &t, sizeof d, p->g.ndefs, &p->cap_defs);
    p->g.defs = t;
    d.fields = p->g.nfields;
    d.spreads = p->g.nspreads;
    if (r == 0 && p->g.ndefs == DEFS)
        r = too_big(p);
    if (r == 0)
        p->g.defs[p->g.ndefs++] = d;
    return r;
}

static int add_field(struct parse *p, struct gvm_str name, bool root)
{
    void *t = p->g.fields;
    int r = grow(p, &t, sizeof *p->g.fields, p->g.nfields, &p->cap_fields);
    p->g.fields = t;
    if (r == 0)
        p->g.fields[p->g.nfields++] =
            (struct gvm_graphql_field){.name = name, .owner = p->g.ndefs - 1, .root = root};
    return r;
}

static int add_spread(struct parse *p, struct gvm_str name, bool root)
{
    void *t = p->g.spreads;
    int r = grow(p, &t, sizeof *p->g.spreads, p->g.nspreads, &p->cap_spreads);
    p->g.spreads = t;
    if (r == 0)
        p->g.spreads[p->g.nspreads++] =
            (struct gvm_graphql_spread){.name = name, .owner = p->g.ndefs - 1, .root = root};
    return r;
}

/* ---- parser ---- */

/* The current token opens a bracket: to behind its partner. */
static int skip_brackets(struct parse *p)
{
    char want[DEPTH];
    unsigned depth = 0;
    do {
        char c = p->token == T_PUNCT ? p->punct : '\0';
        if (p->token == T_END)
            return bad(p, "a bracket is not closed");
        if (c == '(' || c == '[' || c == '{') {
            if (depth == DEPTH)
                return too_big(p);
            want[depth++] = c == '(' ? ')' : c == '[' ? ']' : '}';
        } else if (c == ')' || c == ']' || c == '}') {
            if (want[--depth] != c)
                return bad(p, "brackets do not match");
        }
        int r = lex(p);
        if (r < 0)
            return r;
    } while (depth);
    return 0;
}

/* @name(arguments)... */
static int skip_directives(struct parse *p)
{
    while (is(p, '@')) {
        int r = lex(p);
        if (r == 0 && p->token != T_NAME)
            r = bad(p, "a directive without a name");
        if (r == 0)
            r = lex(p);
        if (r == 0 && is(p, '('))
            r = skip_brackets(p);
        if (r < 0)
            return r;
    }
    return 0;
}

/* name or alias: name, arguments, directives. */
static int field(struct parse *p, bool root)
{
    struct gvm_str name = p->text;
    int r = lex(p);
    if (r == 0 && is(p, ':')) {
        r = lex(p);
        if (r == 0 && p->token != T_NAME)
            r = bad(p, "an alias without a field");
        name = p->text;
        if (r == 0)
            r = lex(p);
    }
    if (r == 0)
        r = add_field(p, name, root);
    if (r == 0 && is(p, '('))
        r = skip_brackets(p);
    return r == 0 ? skip_directives(p) : r;
}

/* Behind "...": a spread, or an inline fragment up to its brace (*ret_inline). */
static int spread(struct parse *p, bool root, bool *ret_inline)
{
    int r = lex(p);
    *ret_inline = true;
    if (r == 0 && is_word(p, "on")) {
        r = lex(p);
        if (r == 0 && p->token != T_NAME)
            r = bad(p, "a fragment without a type");
        if (r == 0)
            r = lex(p);
    } else if (r == 0 && p->token == T_NAME) {
        *ret_inline = false;
        r = add_spread(p, p->text, root);
        if (r == 0)
            r = lex(p);
    }
    if (r == 0)
        r = skip_directives(p);
    if (r == 0 && *ret_inline && !is(p, '{'))
        r = bad(p, "an inline fragment without a selection");
    return r;
}

/* A selection set and everything in it; the current token is its brace. `root[d]`: does level d
 * select root fields? An inline fragment is no level of its own. */
static int selections(struct parse *p)
{
    bool root[DEPTH] = {false}, any[DEPTH], next_root = true;
    unsigned depth = 0;
    int r = 0;
    do {
        if (is(p, '{')) {
            if (depth == DEPTH)
                return too_big(p);
            any[depth] = false;
            root[depth++] = next_root;
            r = lex(p);
            if (r < 0)
                return r;
        }
        bool inner = false, here = root[depth - 1];
        if (is(p, '}')) {
            if (!any[--depth])
                return bad(p, "an empty selection");
            r = lex(p);
        } else if (p->token == T_NAME) {
            any[depth - 1] = true;
            r = field(p, here);
            next_root = false;
            inner = r == 0 && is(p, '{');
        } else if (p->token == T_SPREAD) {
            any[depth - 1] = true;
            r = spread(p, here, &inner);
            next_root = here;
        } else {
            return bad(p, "neither a field nor a fragment in a selection");
        }
        if (r == 0 && depth && is(p, '{') && !inner)
            r = bad(p, "a selection that belongs to no field");
    } while (r == 0 && depth);
    return r;
}

static int fragment(struct parse *p)
{
    struct gvm_graphql_def d = {.fragment = true};
    int r = lex(p);
    if (r == 0 && (p->token != T_NAME || is_word(p, "on")))
        r = bad(p, "a fragment without a name");
    d.name = p->text;
    if (r == 0)
        r = lex(p);
    if (r == 0 && is(p, '('))
        r = bad(p, "a fragment with variables");
    if (r == 0 && !is_word(p, "on"))
        r = bad(p, "a fragment without a type");
    if (r == 0)
        r = lex(p);
    if (r == 0 && p->token != T_NAME)
        r = bad(p, "a fragment without a type");
    if (r == 0)
        r = lex(p);
    return r == 0 ? add_def(p, d) : r;
}

static int operation(struct parse *p)
{
    static const char *const words[] = {[GVM_GRAPHQL_QUERY] = "query",
                                        [GVM_GRAPHQL_MUTATION] = "mutation",
                                        [GVM_GRAPHQL_SUBSCRIPTION] = "subscription"};
    struct gvm_graphql_def d = {0};
    unsigned i = 0;
    while (i < sizeof words / sizeof *words && !is_word(p, words[i]))
        i++;
    if (i == sizeof words / sizeof *words)
        return bad(p, "neither an operation nor a fragment");
    d.type = (enum gvm_graphql_type)i;
    int r = lex(p);
    if (r == 0 && p->token == T_NAME) {
        d.name = p->text;
        r = lex(p);
    }
    if (r == 0 && is(p, '('))
        r = skip_brackets(p);
    return r == 0 ? add_def(p, d) : r;
}

static int definition(struct parse *p)
{
    int r;
    if (is(p, '{'))
        r = add_def(p, (struct gvm_graphql_def){.type = GVM_GRAPHQL_QUERY});
    else if (is_word(p, "fragment"))
        r = fragment(p);
    else
        r = operation(p);
    if (r == 0)
        r = skip_directives(p);
    if (r == 0 && !is(p, '{'))
        r = bad(p, "a definition without a selection");
    return r == 0 ? selections(p) : r;
}

/* ---- fragments ---- */

static uint32_t find_fragment(const struct gvm_graphql *g, struct gvm_str name)
{
    uint32_t i = 0;
    while (i < g->ndefs && !(g->defs[i].fragment && gvm_str_eq(g->defs[i].name, name)))
        i++;
    return i;
}

/* A server may take the first or the last of two, so none is accepted. */
static int check_fragments(struct parse *p)
{
    const struct gvm_graphql *g = &p->g;
    for (uint32_t i = 0; i < g->ndefs; i++)
        if (g->defs[i].fragment && find_fragment(g, g->defs[i].name) != i)
            return bad(p, "two fragments of one name");
    for (uint32_t i = 0; i < g->nspreads; i++) {
        g->spreads[i].to = find_fragment(g, g->spreads[i].name);
        if (g->spreads[i].to == g->ndefs)
            return bad(p, "a fragment that is not there");
    }
    return 0;
}

int gvm_graphql_parse(struct gvm_arena *a, struct gvm_str text, struct gvm_graphql *ret,
                      struct gvm_err *err)
{
    struct parse p = {.p = text.p, .n = text.n, .a = a, .err = err};
    int r = lex(&p);
    if (r == 0 && p.token == T_END)
        r = bad(&p, "nothing in it");
    while (r == 0 && p.token != T_END)
        r = definition(&p);
    if (r == 0)
        r = check_fragments(&p);
    if (r == 0) {
        p.g.reached = gvm_arena_alloc(a, p.g.ndefs * sizeof *p.g.reached);
        p.g.queue = gvm_arena_alloc(a, p.g.ndefs * sizeof *p.g.queue);
        r = p.g.reached && p.g.queue ? 0
                                     : gvm_err_set(err, ENOMEM, "no memory for a GraphQL document");
    }
    if (r == 0)
        *ret = p.g;
    return r;
}

void gvm_graphql_roots(const struct gvm_graphql *g, uint32_t def,
                       void (*see)(void *ctx, struct gvm_str field), void *ctx)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->ndefs; i++)
        g->reached[i] = i == def;
    g->queue[n++] = def;
    while (n) {
        uint32_t d = g->queue[--n];
        bool last = d + 1 == g->ndefs;
        uint32_t fields = last ? g->nfields : g->defs[d + 1].fields;
        uint32_t spreads = last ? g->nspreads : g->defs[d + 1].spreads;
        for (uint32_t i = g->defs[d].fields; i < fields; i++)
            if (g->fields[i].root)
                see(ctx, g->fields[i].name);
        for (uint32_t i = g->defs[d].spreads; i < spreads; i++) {
            if (!g->spreads[i].root || g->reached[g->spreads[i].to])
                continue;
            g->reached[g->spreads[i].to] = true;
            g->queue[n++] = g->spreads[i].to;
        }
    }
}
