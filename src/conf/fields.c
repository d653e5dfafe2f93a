/* conf/fields.c - how tables are read: every key has a row, and a key without a row is an error. */
#include "conf/conf_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int conf_bad(struct conf_ctx *x, uint32_t line, uint32_t col, const char *fmt, ...)
{
    char text[GVM_ERR_TEXT];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return gvm_err_set(x->err, EINVAL, "%s:%u:%u: %s", x->label, line, col, text);
}

struct gvm_str conf_node_str(const struct conf_node *v)
{
    return (struct gvm_str){v->text, v->len};
}

struct gvm_str conf_key_str(const struct conf_node *v)
{
    return (struct gvm_str){v->key, v->key_len};
}

unsigned conf_children(const struct conf_node *v)
{
    unsigned n = 0;
    for (const struct conf_node *c = v->child; c; c = c->next)
        n++;
    return n;
}

struct gvm_str conf_dup(struct conf_ctx *x, struct gvm_str s)
{
    char *p = gvm_arena_dup(x->c->arena, s.n ? s.p : "", s.n);
    return (struct gvm_str){p, p ? s.n : 0};
}

bool conf_has_control(struct gvm_str s, size_t *ret_off)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool c1 = c == 0xc2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xa0;
        if (c < 0x20 || c == 0x7f || c1) {
            *ret_off = i;
            return true;
        }
    }
    return false;
}

/* ---- types ---- */

static const struct {
    uint32_t type;
    const char *name;
} type_names[] = {
    {CONF_STRING, "a string"},
    {CONF_ARRAY, "a list"},
    {CONF_TABLE, "a table"},
    {CONF_INT, "a whole number"},
    {CONF_FLOAT, "a number with a fraction"},
    {CONF_BOOL, "true or false"},
    {CONF_TIME, "a date and time"},
    {CONF_LOCAL_TIME, "a date or time without an offset"},
};

static void types_text(uint32_t types, char *dst, size_t cap)
{
    size_t n = 0;
    dst[0] = '\0';
    for (size_t i = 0; i < sizeof type_names / sizeof *type_names; i++) {
        if (!(types & type_names[i].type) || n >= cap)
            continue;
        int w = snprintf(dst + n, cap - n, "%s%s", n ? " or " : "", type_names[i].name);
        n += w > 0 ? (size_t)w : 0;
    }
}

int conf_need(struct conf_ctx *x, const struct conf_node *v, const char *what, uint32_t types)
{
    if (v->type & types)
        return 0;
    char want[160], is[64];
    types_text(types, want, sizeof want);
    types_text(v->type, is, sizeof is);
    return conf_bad_at(x, v, "%s is %s; write %s", what, is, want);
}

/* ---- unknown keys ---- */

/* Edits (insert, delete, replace) between two short words; a large number when one is long. */
static unsigned distance(struct gvm_str a, struct gvm_str b)
{
    enum { MAX = 40 };
    unsigned row[MAX + 1];
    if (a.n > MAX || b.n > MAX)
        return MAX;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a.n; i++) {
        unsigned diag = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.n; j++) {
            unsigned best = diag + (gvm_lower(a.p[i - 1]) != gvm_lower(b.p[j - 1]));
            diag = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            row[j] = best;
        }
    }
    return row[b.n];
}

static const char *nearest(struct gvm_str key, const struct conf_field *fields, size_t n)
{
    const char *best = NULL;
    unsigned least = key.n < 4 ? 2 : 4;
    for (size_t i = 0; i < n; i++) {
        unsigned d = distance(key, gvm_str(fields[i].key));
        if (!fields[i].later && d < least) {
            least = d;
            best = fields[i].key;
        }
    }
    return best;
}

static int unknown_key(struct conf_ctx *x, const struct conf_node *m, const char *what,
                       const struct conf_field *fields, size_t n)
{
    const char *best = nearest(conf_key_str(m), fields, n);
    int shown = m->key_len > 60 ? 60 : (int)m->key_len;
    if (best)
        return conf_bad(x, m->key_line, m->key_col,
                        "unknown key \"%.*s\" in %s; did you mean \"%s\"?", shown, m->key, what,
                        best);
    return conf_bad(x, m->key_line, m->key_col,
                    "unknown key \"%.*s\" in %s; remove it, docs/RULES.md lists the keys there are",
                    shown, m->key, what);
}

static const struct conf_field *find_field(struct gvm_str key, const struct conf_field *fields,
                                           size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (gvm_str_eqz(key, fields[i].key))
            return &fields[i];
    return NULL;
}

int conf_read_table(struct conf_ctx *x, const struct conf_node *table, const char *what,
                    const struct conf_field *fields, size_t n, void *obj)
{
    for (const struct conf_node *m = table->child; m; m = m->next) {
        const struct conf_field *f = find_field(conf_key_str(m), fields, n);
        if (!f)
            return unknown_key(x, m, what, fields, n);
        if (f->later)
            return conf_bad(x, m->key_line, m->key_col,
                            "\"%s\" in %s is not supported by this version yet and would not be "
                            "enforced; take it out, or keep the whole rule out",
                            f->key, what);
        int r = conf_need(x, m, f->key, f->types);
        if (r >= 0)
            r = f->set(x, m, obj);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- values ---- */

int conf_text(struct conf_ctx *x, const struct conf_node *v, const char *what, size_t max,
              struct gvm_str *ret)
{
    struct gvm_str s = conf_node_str(v);
    size_t off;
    if (s.n == 0)
        return conf_bad_at(x, v, "%s is empty; write a value or leave the key out", what);
    if (s.n > max)
        return conf_bad_at(x, v, "%s is %zu bytes long; at most %zu are allowed", what, s.n, max);
    if (conf_has_control(s, &off))
        return conf_bad_at(x, v, "%s holds the control byte 0x%02x; take it out", what,
                           (unsigned)(unsigned char)s.p[off]);
    struct gvm_str copy = conf_dup(x, s);
    if (!copy.p)
        return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    *ret = copy;
    return 0;
}

static bool host_is_name(struct gvm_str s)
{
    size_t label = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (c == '.' ? label == 0 : !ok)
            return false;
        label = c == '.' ? 0 : label + 1;
        if (label > 63)
            return false;
    }
    return label > 0;
}

/* Plain IPv4 or IPv6 text (with or without brackets) to the one form used everywhere. */
static bool host_ip(struct gvm_str s, char dst[INET6_ADDRSTRLEN])
{
    char z[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    if (s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
        s = (struct gvm_str){s.p + 1, s.n - 2};
    if (gvm_str_copy(z, sizeof z, s) < 0)
        return false;
    int family = gvm_str_find(s, ':') >= 0 ? AF_INET6 : AF_INET;
    return inet_pton(family, z, bytes) == 1 && inet_ntop(family, bytes, dst, INET6_ADDRSTRLEN);
}

int conf_host(struct conf_ctx *x, const struct conf_node *at, struct gvm_str text, const char *what,
              struct gvm_str *ret)
{
    char name[GVM_MAX_HOST + 2], ip[INET6_ADDRSTRLEN];
    struct gvm_str s = text;
    if (s.n > 1 && s.p[s.n - 1] == '.')
        s.n--;
    if (s.n > GVM_MAX_HOST || gvm_str_copy(name, sizeof name, s) < 0)
        return conf_bad_at(x, at, "%s is longer than %u bytes", what, GVM_MAX_HOST);
    for (char *p = name; *p; p++)
        *p = gvm_lower(*p);
    s.p = host_ip(s, ip) ? ip : name;
    s.n = strlen(s.p);
    /* A name whose last label is a number could only be an address in a spelling we did not read.
     */
    bool numeric = s.p == name && s.n && name[s.n - 1] >= '0' && name[s.n - 1] <= '9' &&
                   strspn(strrchr(name, '.') ? strrchr(name, '.') + 1 : name, "0123456789") ==
                       strlen(strrchr(name, '.') ? strrchr(name, '.') + 1 : name);
    if (s.p == name && (numeric || !host_is_name(s)))
        return conf_bad_at(
            x, at,
            "%s \"%.*s\" is not a plain host name or address; write it without scheme, "
            "port, path or wildcard, and other alphabets as xn--",
            what, (int)(text.n > 80 ? 80 : text.n), text.p);
    *ret = conf_dup(x, s);
    return ret->p ? 0 : gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
}

int conf_resolve(struct conf_ctx *x, const struct conf_node *at, struct gvm_str text,
                 char dst[GVM_PATH_MAX])
{
    const char *home = getenv("HOME");
    int n;
    if (gvm_str_starts(text, GVM_STR("~/"))) {
        if (!home || home[0] != '/')
            return conf_bad_at(x, at,
                               "\"~/\" cannot be resolved, HOME is not set; write the full path");
        n = snprintf(dst, GVM_PATH_MAX, "%s/%.*s", home, (int)text.n - 2, text.p + 2);
    } else if (text.p[0] == '/' || !x->base) {
        n = snprintf(dst, GVM_PATH_MAX, "%.*s", GVM_STR_ARG(text));
    } else {
        n = snprintf(dst, GVM_PATH_MAX, "%s/%.*s", x->base, GVM_STR_ARG(text));
    }
    if (n < 0 || n >= GVM_PATH_MAX)
        return conf_bad_at(x, at, "the path is too long");
    return 0;
}
