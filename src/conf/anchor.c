/* conf/anchor.c - [audit] export, [audit.timestamp]: where heads of the record are kept besides
 * here. */
#include "conf/conf_int.h"

#include <errno.h>

enum { EVERY_MIN_MS = 1000, EVERY_MAX_MS = 86400000 };

static bool is_url(struct gvm_str s)
{
    return (gvm_str_starts(s, GVM_STR("https://")) && s.n > 8) ||
           (gvm_str_starts(s, GVM_STR("http://")) && s.n > 7);
}

/* "file:/...", "command:/... words", or a URL. */
static int read_target(struct conf_ctx *x, const struct conf_node *v, struct gvm_str *ret)
{
    struct gvm_str s;
    int r = conf_need(x, v, "export", CONF_STRING);
    if (r >= 0)
        r = conf_text(x, v, "export", GVM_PATH_MAX - 1, &s);
    if (r < 0)
        return r;
    if (!gvm_str_starts(s, GVM_STR("file:/")) && !gvm_str_starts(s, GVM_STR("command:/")) &&
        !is_url(s))
        return conf_bad_at(
            x, v,
            "export is \"file:/PATH\", \"command:/PROGRAM WORDS\" or a URL of http or "
            "https, with paths from the root");
    *ret = s;
    return 0;
}

int conf_set_export(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    const struct conf_node *first = v->type == CONF_ARRAY ? v->child : v;
    unsigned n = v->type == CONF_ARRAY ? conf_children(v) : 1, i = 0;
    (void)obj;
    if (n > GVM_MAX_EXPORTS)
        return conf_bad_at(x, v, "export has %u targets; at most %u are allowed", n,
                           GVM_MAX_EXPORTS);
    for (const struct conf_node *m = first; i < n; m = m->next, i++) {
        int r = read_target(x, m, &x->c->anchor.export[i]);
        if (r < 0)
            return r;
    }
    x->c->anchor.nexport = n;
    return 0;
}

static int read_every(struct conf_ctx *x, const struct conf_node *v, uint32_t *ret)
{
    uint64_t ms;
    struct gvm_str s = conf_node_str(v);
    bool unit = s.n > 1 && (s.p[s.n - 1] < '0' || s.p[s.n - 1] > '9');
    if (!unit || gvm_parse_duration_ms(s, &ms) < 0 || ms < EVERY_MIN_MS || ms > EVERY_MAX_MS)
        return conf_bad_at(x, v, "%.*s is not a time from 1s to 24h; write it like \"10m\"",
                           (int)v->key_len, v->key);
    *ret = (uint32_t)ms;
    return 0;
}

int conf_set_export_every(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return read_every(x, v, &x->c->anchor.export_ms);
}

/* ---- [audit.timestamp] ---- */

static int set_url(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    int r = conf_text(x, v, "url", GVM_PATH_MAX - 1, &x->c->anchor.ts_url);
    return r < 0 || is_url(x->c->anchor.ts_url)
               ? r
               : conf_bad_at(x, v, "url is not one of http or https");
}

static int set_ca(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return conf_read_ca_file(x, v, &x->c->anchor.ts_ca);
}

static int set_every(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return read_every(x, v, &x->c->anchor.ts_ms);
}

static const struct conf_field fields[] = {
    {"url", CONF_STRING, set_url, false},
    {"ca_file", CONF_STRING, set_ca, false},
    {"every", CONF_STRING, set_every, false},
};

int conf_read_timestamp(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    int r = conf_read_table(x, v, "[audit.timestamp]", fields, sizeof fields / sizeof *fields, obj);
    if (r >= 0 && !x->c->anchor.ts_url.n)
        return conf_bad_at(x, v, "[audit.timestamp] needs the url of an authority");
    return r;
}
