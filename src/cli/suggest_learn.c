/* What a run did, out of the ledger: the distinct requests that no rule decides by name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/suggest.h"
#include "ledger/ledger.h"

enum { LINE_ARENA = 8 << 20 };

bool sug_is_catch_all(const struct gvm_conf_rule *r)
{
    static const char *const tails[] = {"", "/*", "/**", "/{any}"};
    struct gvm_str p = r->pattern;
    if (r->nmethods || r->path_regex.n || r->agent.n || r->expires_ns ||
        r->protocol != GVM_PROTO_HTTP)
        return false;
    if (gvm_str_starts(p, GVM_STR("{any}")))
        p = (struct gvm_str){p.p + 5, p.n - 5};
    else if (gvm_str_starts(p, GVM_STR("*")))
        p = (struct gvm_str){p.p + 1, p.n - 1};
    else
        return false;
    for (size_t i = 0; i < sizeof(tails) / sizeof(*tails); i++)
        if (gvm_str_eqz(p, tails[i]))
            return true;
    return false;
}

/* ---- samples ---- */

static bool says_destroy(struct gvm_str path)
{
    static const char *const words[] = {"delete", "destroy",   "remove", "drop",    "purge",
                                        "wipe",   "terminate", "revoke", "truncate"};
    size_t start = 0;
    for (size_t i = 0; i <= path.n; i++) {
        if (i < path.n && !strchr("/-_.:", path.p[i]))
            continue;
        struct gvm_str word = {path.p + start, i - start};
        for (size_t w = 0; w < sizeof(words) / sizeof(*words); w++)
            if (gvm_str_ieqz(word, words[w]))
                return true;
        start = i + 1;
    }
    return false;
}

static enum sug_class class_of(const struct gvm_facts *f)
{
    static const char *const reads[] = {"GET", "HEAD", "OPTIONS"};
    static const char *const writes[] = {"POST", "PUT", "PATCH"};
    if (f->protocol == GVM_PROTO_TCP)
        return SUG_OPAQUE;
    for (size_t i = 0; i < sizeof(reads) / sizeof(*reads); i++)
        if (gvm_str_eqz(f->method, reads[i]))
            return SUG_READS;
    for (size_t i = 0; i < sizeof(writes) / sizeof(*writes); i++)
        if (gvm_str_eqz(f->method, writes[i]) && !says_destroy(f->path))
            return SUG_WRITES;
    return SUG_DESTROYS;
}

static bool by_name(const struct sug *s, const struct gvm_facts *f)
{
    struct gvm_verdict v;
    gvm_rules_decide(s->rs, f, &v);
    return v.rule >= 0 && !sug_is_catch_all(&s->conf->rules[v.rule]);
}

static int dup(struct sug *s, struct gvm_str t, struct gvm_str *ret)
{
    char *p = gvm_arena_dup(s->arena, t.n ? t.p : "", t.n);
    *ret = (struct gvm_str){p, t.n};
    return p ? 0 : -ENOMEM;
}

static int add_sample(struct sug *s, const struct gvm_facts *f, struct gvm_str path,
                      struct gvm_err *err)
{
    struct gvm_buf key;
    uint16_t port = f->protocol == GVM_PROTO_HTTP && f->port == (f->tls ? 443 : 80) ? 0 : f->port;
    gvm_buf_init(&key, 4 * GVM_MAX_TARGET);
    (void)gvm_buf_addf(&key, "%d %.*s %.*s %u ", f->protocol, GVM_STR_ARG(f->method),
                       GVM_STR_ARG(f->host), port);
    (void)gvm_buf_adds(&key, path);
    struct sug_sample *x = key.failed ? NULL : gvm_map_get(s->known, gvm_buf_str(&key));
    int r = 0;
    if (x) {
        x->seen++;
    } else if (key.failed || s->nsamples >= SUG_MAX_SAMPLES) {
        s->dropped++;
    } else {
        x = gvm_arena_alloc(s->arena, sizeof(*x));
        if (!x || dup(s, f->method, &x->method) < 0 || dup(s, f->host, &x->host) < 0 ||
            dup(s, path, &x->path) < 0 || gvm_map_put(s->known, gvm_buf_str(&key), x) < 0) {
            r = gvm_err_set(err, ENOMEM, "no memory for the samples");
        } else {
            x->port = port;
            x->class = class_of(f);
            x->seen = 1;
            x->next = s->samples;
            s->samples = x;
            s->nsamples++;
        }
    }
    gvm_buf_done(&key);
    return r;
}

int sug_add(struct sug *s, const struct gvm_facts *f, struct gvm_err *err)
{
    struct gvm_buf loose;
    s->requests++;
    if (by_name(s, f)) {
        s->skipped++;
        return 0;
    }
    int r = add_sample(s, f, f->path, err);
    bool odd = gvm_str_find(f->path, '%') >= 0 || gvm_str_find(f->path, ';') >= 0;
    if (r < 0 || f->protocol == GVM_PROTO_TCP || !odd)
        return r;
    /* The request passes only when its lenient reading does too: that path needs its rule as well.
     */
    gvm_buf_init(&loose, 3 * GVM_MAX_TARGET + 16);
    if (gvm_path_loose(f->path, &loose) == 0 && !gvm_str_eq(gvm_buf_str(&loose), f->path))
        r = add_sample(s, f, gvm_buf_str(&loose), err);
    gvm_buf_done(&loose);
    return r;
}

/* ---- entries ---- */

/* Remembered for the comment beside the rule. */
static int note_closed(struct sug *s, const char *host, const char *what, struct gvm_err *err)
{
    if (gvm_map_get(s->addresses, gvm_str(host)))
        return 0;
    struct gvm_ip ip;
    if (gvm_ip_parse(gvm_str(host), &ip) == 0)
        what = gvm_ip_class_name(gvm_ip_class(&ip));
    char *copy = gvm_arena_printf(s->arena, "%.100s", what);
    if (!copy || gvm_map_put(s->addresses, gvm_str(host), copy) < 0)
        return gvm_err_set(err, ENOMEM, "no memory for the samples");
    return 0;
}

static int take_decision(struct sug *s, const struct gvm_json *e, struct gvm_err *err)
{
    const char *host = gvm_json_text(e, "host", ""), *id = gvm_json_text(e, "id", "");
    int64_t port = gvm_json_int(e, "port", 0);
    struct gvm_facts f = {.method = gvm_str(gvm_json_text(e, "method", "")),
                          .host = gvm_str(host),
                          .port = (uint16_t)port,
                          .tls = strcmp(gvm_json_text(e, "scheme", "https"), "http") != 0,
                          .path = gvm_str(gvm_json_text(e, "path", "")),
                          .agent = gvm_str(gvm_json_text(e, "agent", "")),
                          .now_ns = gvm_now_ns()};
    if (!f.method.n || !f.host.n || !f.path.n || port <= 0 || port > 65535)
        return 0;
    char *copy = gvm_arena_dup(s->arena, host, strlen(host));
    if (!copy || (*id && gvm_map_put(s->ids, gvm_str(id), copy) == -ENOMEM))
        return gvm_err_set(err, ENOMEM, "no memory for the samples");
    /* The data path itself said no, to an address in the URL. */
    bool closed = strcmp(gvm_json_text(e, "rule", ""), "never-allowed") == 0;
    int r = closed ? note_closed(s, host, gvm_json_text(e, "reason", "private"), err) : 0;
    return r < 0 ? r : sug_add(s, &f, err); /* a full map of ids only loses a note */
}

static int take_tcp(struct sug *s, const struct gvm_json *e, struct gvm_err *err)
{
    int64_t port = gvm_json_int(e, "port", 0);
    const char *name = gvm_json_text(e, "name", "");
    struct gvm_facts f = {.protocol = GVM_PROTO_TCP,
                          .method = GVM_STR(""),
                          .host = gvm_str(*name ? name : gvm_json_text(e, "host", "")),
                          .port = (uint16_t)port,
                          .path = GVM_STR(""),
                          .agent = gvm_str(gvm_json_text(e, "agent", "")),
                          .now_ns = gvm_now_ns()};
    bool opaque_tls = strcmp(gvm_json_text(e, "protocol", "tcp"), "tls-opaque") == 0;
    if (!f.host.n || port <= 0 || port > 65535 || opaque_tls)
        return 0;
    return sug_add(s, &f, err);
}

static int note_address(struct sug *s, const char *host, const char *address)
{
    struct gvm_ip ip;
    struct gvm_str a = gvm_str(address);
    if (a.n && a.p[0] == '[') {
        ptrdiff_t end = gvm_str_find(a, ']');
        a = (struct gvm_str){a.p + 1, end > 0 ? (size_t)end - 1 : 0};
    } else if (gvm_str_find(a, ':') >= 0 && gvm_str_find(a, '.') >= 0) {
        struct gvm_str rest = a;
        (void)gvm_str_cut(&rest, ':', &a);
    }
    if (gvm_ip_parse(a, &ip) < 0 || gvm_ip_class(&ip) == GVM_IP_PUBLIC)
        return 0;
    char *copy = gvm_arena_dup(s->arena, a.p, a.n);
    return copy && gvm_map_put(s->addresses, gvm_str(host), copy) == 0 ? 0 : -ENOMEM;
}

static int take_outcome(struct sug *s, const struct gvm_json *e, struct gvm_err *err)
{
    const char *host = gvm_map_get(s->ids, gvm_str(gvm_json_text(e, "id", "")));
    if (host && note_address(s, host, gvm_json_text(e, "upstream", "")) < 0)
        return gvm_err_set(err, ENOMEM, "no memory for the samples");
    return 0;
}

/* Refused for its address: the rule alone would not let it through, and the owner should know. */
static int take_refused(struct sug *s, const struct gvm_json *e, struct gvm_err *err)
{
    const char *host = gvm_json_text(e, "host", "");
    if (strcmp(gvm_json_text(e, "why", ""), "address") != 0 || !*host)
        return 0;
    return note_closed(s, host, gvm_json_text(e, "class", gvm_json_text(e, "reason", "private")),
                       err);
}

static const struct {
    const char *kind;
    const char *mark; /* how it stands in a line: lines without any mark are not parsed */
    bool counts;      /* a run that has one has something to suggest from */
    int (*take)(struct sug *s, const struct gvm_json *e, struct gvm_err *err);
} kinds[] = {
    {"http.decision", "\"kind\":\"http.decision\"", true, take_decision},
    {"tcp.open", "\"kind\":\"tcp.open\"", true, take_tcp},
    {"http.outcome", "\"kind\":\"http.outcome\"", false, take_outcome},
    {"http.refused", "\"kind\":\"http.refused\"", false, take_refused},
};
enum { NKINDS = sizeof(kinds) / sizeof(*kinds) };

static bool may_matter(struct gvm_str line)
{
    for (size_t i = 0; i < NKINDS; i++)
        if (memmem(line.p, line.n, kinds[i].mark, strlen(kinds[i].mark)))
            return true;
    return false;
}

static int kind_of(const struct gvm_json *e)
{
    const char *kind = gvm_json_text(e, "kind", "");
    for (int i = 0; i < NKINDS; i++)
        if (strcmp(kind, kinds[i].kind) == 0)
            return i;
    return -1;
}

/* ---- two passes: which run, then what it did ---- */

static int choose_run(struct sug *s, const struct gvm_json *e, int kind, struct gvm_err *err)
{
    const char *run = gvm_json_text(e, "run", "");
    if (!kinds[kind].counts || !*run || strlen(run) > GVM_MAX_RUN_ID)
        return 0;
    if (s->want_run && !gvm_str_starts(gvm_str(run), gvm_str(s->want_run)))
        return 0;
    if (s->want_run && s->run[0] && strcmp(s->run, run) != 0)
        return gvm_err_set(err, ENOTUNIQ, "several runs begin with %s; give more of the id",
                           s->want_run);
    if (strcmp(run, s->run) <= 0) /* ids sort by time */
        return 0;
    const char *agent = gvm_json_text(e, "agent", "");
    (void)snprintf(s->run, sizeof(s->run), "%s", run);
    (void)snprintf(s->agent, sizeof(s->agent), "%s", agent);
    return 0;
}

static int take_entry(struct sug *s, const struct gvm_json *e, int kind, struct gvm_err *err)
{
    if (strcmp(gvm_json_text(e, "run", ""), s->run) != 0)
        return 0;
    return kinds[kind].take(s, e, err);
}

static int one_line(struct sug *s, struct gvm_str line,
                    int (*take)(struct sug *, const struct gvm_json *, int, struct gvm_err *),
                    struct gvm_err *err)
{
    struct gvm_json *e;
    if (!may_matter(line))
        return 0;
    struct gvm_arena *a = gvm_arena_new(LINE_ARENA);
    if (!a)
        return gvm_err_set(err, ENOMEM, "no memory for an entry");
    int r = 0;
    /* A line that is not JSON is for `gvm audit verify` to report; here it says nothing. */
    if (gvm_json_parse(a, line, &e, NULL) == 0) {
        int kind = kind_of(e);
        r = kind < 0 ? 0 : take(s, e, kind, err);
    }
    gvm_arena_free(a);
    return r;
}

static int pass(struct sug *s, const char *dir,
                int (*take)(struct sug *, const struct gvm_json *, int, struct gvm_err *),
                struct gvm_err *err)
{
    struct gvm_ledger_reader *reader;
    struct gvm_str line;
    uint64_t index;
    int r = gvm_ledger_reader_open(dir, 0, &reader, err);
    if (r < 0)
        return r;
    while ((r = gvm_ledger_reader_next(reader, &index, &line, err)) > 0) {
        r = one_line(s, line, take, err);
        if (r < 0)
            break;
    }
    gvm_ledger_reader_free(reader);
    return r;
}

static int start(struct sug *s, struct gvm_err *err)
{
    s->arena = gvm_arena_new(512u << 20);
    s->known = gvm_map_new(SUG_MAX_SAMPLES + 1, NULL);
    s->addresses = gvm_map_new(SUG_MAX_SAMPLES, NULL);
    s->ids = gvm_map_new(SUG_MAX_SAMPLES, NULL);
    if (s->arena && s->known && s->addresses && s->ids)
        return 0;
    return gvm_err_set(err, ENOMEM, "no memory for the samples");
}

int sug_learn(struct sug *s, const char *dir, struct gvm_err *err)
{
    int r = start(s, err);
    if (r == 0 && dir)
        r = pass(s, dir, choose_run, err);
    if (r == 0 && dir && !s->run[0])
        r = s->want_run ? gvm_err_set(err, ENOENT, "no run %s made a request", s->want_run)
                        : gvm_err_set(err, ENOENT,
                                      "no run made a request yet; try: gvm run --watch -- "
                                      "COMMAND");
    if (r == 0 && dir)
        r = pass(s, dir, take_entry, err);
    return r;
}

void sug_done(struct sug *s)
{
    gvm_map_free(s->known);
    gvm_map_free(s->addresses);
    gvm_map_free(s->ids);
    gvm_arena_free(s->arena);
}
