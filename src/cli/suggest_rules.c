/* Patterns to rules, and rules to TOML. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "cli/suggest.h"

enum { MAX_PATTERN = 4000 }; /* the file allows a little more */

static const char *const class_words[] = {
    [SUG_DESTROYS] = "delete", [SUG_READS] = "read", [SUG_WRITES] = "write", [SUG_OPAQUE] = "tcp"};

/* ---- grouping ---- */

static int compare_str(struct gvm_str a, struct gvm_str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int r = n ? memcmp(a.p, b.p, n) : 0;
    return r ? r : (a.n > b.n) - (a.n < b.n);
}

static int compare_place(const struct sug_sample *a, const struct sug_sample *b)
{
    int r = compare_str(a->host, b->host);
    if (r == 0)
        r = (a->port > b->port) - (a->port < b->port);
    if (r == 0)
        r = (a->class > b->class) - (a->class < b->class);
    return r;
}

static int compare_samples(const void *x, const void *y)
{
    const struct sug_sample *a = *(const struct sug_sample *const *)x;
    const struct sug_sample *b = *(const struct sug_sample *const *)y;
    int r = compare_place(a, b);
    if (r == 0)
        r = compare_str(a->method, b->method);
    return r ? r : compare_str(a->path, b->path);
}

/* ---- rules of one host, port and class ---- */

struct place {
    struct sug *s;
    const struct sug_sample *at; /* any sample of it */
    struct sug_rule *rules;
    size_t n, cap;
};

static bool host_is_v6(struct gvm_str host)
{
    return gvm_str_find(host, ':') >= 0;
}

/* host[:port], as rules write it */
static char *authority(struct gvm_arena *a, const struct sug_sample *x)
{
    bool v6 = host_is_v6(x->host);
    char *bare =
        gvm_arena_printf(a, "%s%.*s%s", v6 ? "[" : "", GVM_STR_ARG(x->host), v6 ? "]" : "");
    return !bare || !x->port ? bare : gvm_arena_printf(a, "%s:%u", bare, x->port);
}

static enum gvm_decision decision_of(const struct sug *s, enum sug_class class)
{
    switch (class) {
    case SUG_READS:
        return GVM_ALLOW;
    case SUG_WRITES:
        return s->writes;
    case SUG_OPAQUE:
        return GVM_ALLOW;
    case SUG_DESTROYS:
        break;
    }
    return GVM_REQUIRE_APPROVAL;
}

static bool is_pinned(const struct gvm_conf *c, struct gvm_str host)
{
    for (uint32_t i = 0; i < c->npins; i++)
        if (gvm_str_eq(c->pins[i].host, host))
            return true;
    return false;
}

static int add_method(struct sug_rule *r, struct gvm_str method)
{
    for (unsigned i = 0; i < r->nmethods; i++)
        if (gvm_str_eq(r->methods[i], method))
            return 0;
    if (r->nmethods == SUG_MAX_METHODS)
        return -ENOBUFS;
    r->methods[r->nmethods++] = method;
    return 0;
}

static struct sug_rule *find_rule(struct place *p, const char *pattern)
{
    for (size_t i = 0; i < p->n; i++)
        if (gvm_str_eqz(p->rules[i].pattern, pattern))
            return &p->rules[i];
    return NULL;
}

static struct sug_rule *new_rule(struct place *p, const char *pattern)
{
    struct sug *s = p->s;
    struct gvm_str *methods = gvm_arena_alloc(s->arena, SUG_MAX_METHODS * sizeof(*methods));
    if (!methods || p->n == p->cap)
        return NULL;
    struct sug_rule *r = &p->rules[p->n++];
    const char *address = gvm_map_get(s->addresses, p->at->host);
    *r = (struct sug_rule){.pattern = gvm_str(pattern),
                           .methods = methods,
                           .class = p->at->class,
                           .decision = decision_of(s, p->at->class),
                           .active = p->at->class == SUG_READS || p->at->class == SUG_WRITES,
                           .private_ok = address && is_pinned(s->conf, p->at->host),
                           .private_note = address};
    return r;
}

/* One pattern of one method becomes a rule, or joins the rule that has the same pattern. */
static int put_pattern(struct place *p, struct gvm_str method, const struct sug_pattern *x,
                       struct gvm_err *err)
{
    char *host = authority(p->s->arena, p->at);
    char *pattern =
        host ? gvm_arena_printf(p->s->arena, "%s%.*s", host, GVM_STR_ARG(x->path)) : NULL;
    if (!pattern)
        return gvm_err_set(err, ENOMEM, "no memory for the rules");
    if (strlen(pattern) > MAX_PATTERN) {
        p->s->dropped += x->seen;
        return 0;
    }
    struct sug_rule *r = find_rule(p, pattern);
    if (!r)
        r = new_rule(p, pattern);
    if (!r)
        return gvm_err_set(err, ENOMEM, "no memory for the rules");
    r->seen += x->seen;
    if (p->at->class != SUG_OPAQUE && add_method(r, method) < 0)
        p->s->dropped += x->seen;
    return 0;
}

static int put_method(struct place *p, const struct sug_sample *const *v, size_t n,
                      struct gvm_err *err)
{
    struct sug_pattern *patterns;
    size_t count;
    if (p->at->class == SUG_OPAQUE) {
        struct sug_pattern whole = {GVM_STR(""), v[0]->seen};
        return put_pattern(p, v[0]->method, &whole, err);
    }
    int r = sug_generalise(p->s->arena, v, n, &patterns, &count, err);
    for (size_t i = 0; i < count && r == 0; i++)
        r = put_pattern(p, v[0]->method, &patterns[i], err);
    return r;
}

/* "api.example.com read", with the path behind it when there are several. */
static int name_rules(struct place *p, struct gvm_err *err)
{
    char *host = authority(p->s->arena, p->at);
    for (size_t i = 0; i < p->n && host; i++) {
        struct sug_rule *r = &p->rules[i];
        struct gvm_str path = {r->pattern.p + strlen(host), r->pattern.n - strlen(host)};
        const char *word = class_words[r->class];
        char *name =
            p->n == 1 ? gvm_arena_printf(p->s->arena, "%s %s", host, word)
                      : gvm_arena_printf(p->s->arena, "%s %s %.*s", host, word, GVM_STR_ARG(path));
        if (!name)
            return gvm_err_set(err, ENOMEM, "no memory for the rules");
        r->name = gvm_str(name);
        if (r->name.n > GVM_MAX_NAME)
            r->name.n = GVM_MAX_NAME; /* ASCII: paths and hosts are canonical */
    }
    return host ? 0 : gvm_err_set(err, ENOMEM, "no memory for the rules");
}

static int put_place(struct place *p, const struct sug_sample *const *v, size_t n,
                     struct gvm_err *err)
{
    int r = 0;
    for (size_t i = 0, j; i < n && r == 0; i = j) {
        for (j = i + 1; j < n && gvm_str_eq(v[i]->method, v[j]->method);)
            j++;
        r = put_method(p, v + i, j - i, err);
    }
    return r < 0 ? r : name_rules(p, err);
}

/* ---- what a pattern of ids would take along ---- */

/* "/x/{id}" of a write takes "/x/delete" too. What destroys must then not stay a comment, or it
 * would be decided by the write's rule. */
static bool takes(struct gvm_str pattern, struct gvm_str path)
{
    struct gvm_str a, b;
    bool more_a = true, more_b = true;
    while (more_a && more_b) {
        more_a = gvm_str_cut(&pattern, '/', &a);
        more_b = gvm_str_cut(&path, '/', &b);
        if (gvm_str_eqz(a, "**"))
            return true;
        if (!gvm_str_eqz(a, "{id}") && !gvm_str_eq(a, b))
            return false;
    }
    return !more_a && !more_b;
}

static bool shares_method(const struct sug_rule *a, const struct sug_rule *b)
{
    for (unsigned i = 0; i < a->nmethods; i++)
        for (unsigned j = 0; j < b->nmethods; j++)
            if (gvm_str_eq(a->methods[i], b->methods[j]))
                return true;
    return false;
}

static void wake_destroyers(struct sug *s)
{
    for (size_t i = 0; i < s->nrules; i++) {
        struct sug_rule *d = &s->rules[i];
        if (d->class != SUG_DESTROYS)
            continue;
        for (size_t j = i + 1; j < s->nrules && !d->active; j++)
            d->active = s->rules[j].class == SUG_WRITES && shares_method(d, &s->rules[j]) &&
                        takes(s->rules[j].pattern, d->pattern);
    }
}

int sug_make_rules(struct sug *s, struct gvm_err *err)
{
    size_t n = s->nsamples, k = 0;
    GVM_AUTOFREE const struct sug_sample **v = gvm_calloc(n ? n : 1, sizeof(*v));
    s->rules = gvm_arena_alloc(s->arena, (n ? n : 1) * sizeof(*s->rules));
    if (!v || !s->rules)
        return gvm_err_set(err, ENOMEM, "no memory for the rules");
    for (const struct sug_sample *x = s->samples; x; x = x->next)
        if (x->class == SUG_OPAQUE || (x->path.n && x->path.p[0] == '/'))
            v[k++] = x;
    qsort(v, k, sizeof(*v), compare_samples);
    int r = 0;
    for (size_t i = 0, j; i < k && r == 0; i = j) {
        for (j = i + 1; j < k && compare_place(v[i], v[j]) == 0;)
            j++;
        struct place p = {.s = s, .at = v[i], .rules = s->rules + s->nrules, .cap = n - s->nrules};
        r = put_place(&p, v + i, j - i, err);
        s->nrules += p.n;
    }
    wake_destroyers(s);
    return r;
}

/* ---- TOML ---- */

static void put_text(struct gvm_buf *out, struct gvm_str s)
{
    (void)gvm_buf_addc(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == 0x7f)
            (void)gvm_buf_addf(out, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            (void)gvm_buf_addf(out, "\\%c", c);
        else
            (void)gvm_buf_addc(out, (char)c);
    }
    (void)gvm_buf_addc(out, '"');
}

static void put_methods(struct gvm_buf *out, const struct sug_rule *r)
{
    (void)gvm_buf_addz(out, r->nmethods == 1 ? "" : "[");
    for (unsigned i = 0; i < r->nmethods; i++) {
        (void)gvm_buf_addz(out, i ? ", " : "");
        put_text(out, r->methods[i]);
    }
    (void)gvm_buf_addz(out, r->nmethods == 1 ? "" : "]");
}

/* Inside a comment: one line, whatever the text is. */
static void put_comment(struct gvm_buf *out, struct gvm_str s)
{
    for (size_t i = 0; i < s.n; i++)
        (void)gvm_buf_addc(out, s.p[i] >= 0x20 && s.p[i] < 0x7f ? s.p[i] : '?');
}

static bool stays_closed(const char *note)
{
    static const char *const words[] = {"metadata", "reserved", "multicast", "unspecified",
                                        "never"};
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (strstr(note, words[i]))
            return true;
    return false;
}

void sug_write_rule(const struct sug_rule *r, struct gvm_buf *out)
{
    const char *off = r->active ? "" : "# ";
    (void)gvm_buf_addf(out, "%s[[rules]]\n%sname = ", off, off);
    put_text(out, r->name);
    if (r->class == SUG_OPAQUE) {
        (void)gvm_buf_addf(out, "\n%sprotocol = \"tcp\"", off);
    } else {
        (void)gvm_buf_addf(out, "\n%smethod = ", off);
        put_methods(out, r);
    }
    (void)gvm_buf_addf(out, "\n%spattern = ", off);
    put_text(out, r->pattern);
    (void)gvm_buf_addf(out, "\n%sdecision = { type = \"%s\"%s }", off,
                       gvm_decision_name(r->decision),
                       r->decision == GVM_DELAY ? ", milliseconds = 300" : "");
    (void)gvm_buf_addf(out, " # seen %" PRIu64 " time%s\n", r->seen, r->seen == 1 ? "" : "s");
    if (r->private_ok)
        (void)gvm_buf_addf(out, "%sprivate = true # pinned to a private address\n", off);
    if (r->private_ok || !r->private_note)
        return;
    /* private = true does not open everything, and is not offered where it would not help. */
    bool never = stays_closed(r->private_note);
    (void)gvm_buf_addf(out, "# %snot a public address (", never ? "" : "private = true # ");
    put_comment(out, gvm_str(r->private_note));
    (void)gvm_buf_addz(out, never ? "); it stays refused\n" : "); only if you trust it\n");
}

static const char *comment_above(const struct sug_rule *r)
{
    if (r->class == SUG_OPAQUE)
        return "# GVM cannot read what goes through this connection. Take the # away to allow "
               "it.\n";
    if (!r->active)
        return "# This may destroy something, so it is left to you: take the # away, or let it "
               "be.\n";
    return r->class == SUG_DESTROYS ? "# Asks you, because it may destroy something.\n" : "";
}

/* Was this rule, as a comment, written by an earlier suggestion? */
static bool is_known(const struct sug_rule *r, struct gvm_str known)
{
    struct gvm_buf line;
    gvm_buf_init(&line, 1024);
    (void)gvm_buf_addz(&line, "# name = ");
    put_text(&line, r->name);
    (void)gvm_buf_addc(&line, '\n');
    bool yes = known.n && memmem(known.p, known.n, gvm_buf_data(&line), line.len);
    gvm_buf_done(&line);
    return yes;
}

static void put_head(const struct sug *s, struct gvm_buf *out)
{
    (void)gvm_buf_addf(out, "# Suggested from run %s (agent ", s->run);
    put_comment(out, gvm_str(s->agent));
    (void)gvm_buf_addf(out, "): %" PRIu64 " request%s", s->requests, s->requests == 1 ? "" : "s");
    if (s->skipped)
        (void)gvm_buf_addf(out, ", %" PRIu64 " of them already decided by a rule", s->skipped);
    (void)gvm_buf_addz(out, ".\n");
    if (s->dropped)
        (void)gvm_buf_addf(out, "# %" PRIu64 " requests are not covered: too many or too long.\n",
                           s->dropped);
}

size_t sug_count_new(const struct sug *s, struct gvm_str known)
{
    size_t n = 0;
    for (size_t i = 0; i < s->nrules; i++)
        n += s->rules[i].active || !is_known(&s->rules[i], known);
    return n;
}

void sug_write(const struct sug *s, struct gvm_str known, struct gvm_buf *out)
{
    put_head(s, out);
    for (size_t i = 0; i < s->nrules; i++) {
        const struct sug_rule *r = &s->rules[i];
        if (!r->active && is_known(r, known))
            continue;
        (void)gvm_buf_addf(out, "\n%s", comment_above(r));
        sug_write_rule(r, out);
    }
}
