/* rules/match.c - does one rule match the facts? Everything here is per candidate, so it is short.
 */
#include "rules/narrow.h"

#include <stdlib.h>

uint32_t rules_method_bit(struct gvm_str method)
{
    static const char *const names[] = {
        "GET",  "POST", "HEAD", "PUT",      "PATCH",     "DELETE", "OPTIONS", "TRACE",  "QUERY",
        "COPY", "MOVE", "LOCK", "PROPFIND", "PROPPATCH", "UNLOCK", "MKCOL",   "REPORT", "SEARCH"};
    for (uint32_t i = 0; i < sizeof names / sizeof *names; i++)
        if (gvm_str_eqz(method, names[i]))
            return 1u << i;
    return 0;
}

/* Without its slashes; p == NULL when the path is not one. */
struct gvm_str rules_first_segment(struct gvm_str path)
{
    if (path.n == 0 || path.p[0] != '/')
        return (struct gvm_str){NULL, 0};
    struct gvm_str rest = {path.p + 1, path.n - 1};
    const char *slash = memchr(rest.p, '/', rest.n);
    if (slash)
        rest.n = (size_t)(slash - rest.p);
    return rest;
}

/* ---- regex ---- */

void rules_scratch_free(struct rules_scratch *s)
{
    if (!s)
        return;
    pcre2_match_data_free(s->data);
    pcre2_match_context_free(s->context);
    pcre2_jit_stack_free(s->stack);
    free(s);
}

struct rules_scratch *rules_scratch_new(void)
{
    struct rules_scratch *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->data = pcre2_match_data_create(1, NULL);
    s->context = pcre2_match_context_create(NULL);
    s->stack = pcre2_jit_stack_create(16u << 10, 512u << 10, NULL);
    if (!s->data || !s->context) {
        rules_scratch_free(s);
        return NULL;
    }
    pcre2_set_match_limit(s->context, RULES_MATCH_LIMIT);
    pcre2_set_depth_limit(s->context, RULES_MATCH_LIMIT);
    pcre2_set_heap_limit(s->context, RULES_HEAP_LIMIT);
    /* No stack where no executable memory may be had: then there is no JIT code either. */
    if (s->stack)
        pcre2_jit_stack_assign(s->context, NULL, s->stack);
    return s;
}

static struct rules_scratch *take_scratch(struct rules_query *q)
{
    if (q->scratch)
        return q->scratch;
    q->own_scratch = atomic_flag_test_and_set_explicit(&q->rs->scratch_taken, memory_order_acquire);
    q->scratch = q->own_scratch ? rules_scratch_new() : q->rs->scratch;
    return q->scratch;
}

void rules_query_done(struct rules_query *q)
{
    if (q->own_scratch)
        rules_scratch_free(q->scratch);
    else if (q->scratch)
        atomic_flag_clear_explicit(&q->rs->scratch_taken, memory_order_release);
    q->scratch = NULL;
}

int rules_regex_match(struct rules_query *q, const pcre2_code *re, struct gvm_str path)
{
    struct rules_scratch *s = take_scratch(q);
    if (!s)
        return -1;
    int n = pcre2_match(re, (PCRE2_SPTR)(path.n ? path.p : ""), path.n, 0, 0, s->data, s->context);
    if (n == PCRE2_ERROR_NOMATCH)
        return 0;
    return n >= 0 ? 1 : -1;
}

/* ---- path ---- */

bool rules_match_segments(const struct rule *r, struct gvm_str path)
{
    const char *p = path.p + 1, *end = path.p + path.n;
    if (path.n == 0 || path.p[0] != '/')
        return false;
    for (uint32_t i = 0; i < r->nsegs; i++) {
        const struct rules_segment *seg = &r->segs[i];
        bool last = i + 1u == r->nsegs;
        size_t left = (size_t)(end - p);
        if (last && r->tail == RULES_TAIL_PREFIX)
            return left >= seg->text.n && memcmp(p, seg->text.p, seg->text.n) == 0;
        const char *slash = memchr(p, '/', left);
        size_t n = slash ? (size_t)(slash - p) : left;
        if (seg->any ? n == 0 : n != seg->text.n || memcmp(p, seg->text.p, n) != 0)
            return false;
        if (last)
            return !slash || r->tail == RULES_TAIL_REST;
        if (!slash)
            return false;
        p = slash + 1;
    }
    return false;
}

static int match_path(struct rules_query *q, const struct rule *r)
{
    struct gvm_str path = q->f->path;
    switch ((enum rules_path)r->path_kind) {
    case RULES_PATH_ANY:
        return 1;
    case RULES_PATH_EXACT:
        return path.n == r->path_len && memcmp(path.p, r->path, path.n) == 0;
    case RULES_PATH_PREFIX:
        return path.n >= r->path_len && memcmp(path.p, r->path, r->path_len) == 0;
    case RULES_PATH_REST:
        return path.n >= r->path_len && memcmp(path.p, r->path, r->path_len) == 0 &&
               (path.n == r->path_len || path.p[r->path_len] == '/');
    case RULES_PATH_SEGMENTS:
        return rules_match_segments(r, path);
    case RULES_PATH_REGEX:
        return rules_regex_match(q, r->re, path);
    }
    return -1;
}

/* ---- the rule ---- */

static bool match_method(const struct rules_query *q, const struct rule *r)
{
    if (r->methods & (q->bit | RULES_ANY_METHOD))
        return true;
    if (q->bit || !(r->flags & RULES_HAS_OTHERS))
        return false;
    for (uint32_t i = 0; i < r->info->nothers; i++)
        if (gvm_str_eq(r->info->others[i], q->f->method))
            return true;
    return false;
}

bool rules_match_connection(const struct rule *r, const struct gvm_facts *f)
{
    if (r->port && r->port != f->port)
        return false;
    if (r->expires_ns && f->now_ns >= r->expires_ns)
        return false;
    if ((r->flags & RULES_WINDOW) && !rules_in_window(r->info->narrow, f->now_ns))
        return false;
    return !(r->flags & RULES_HAS_AGENT) || gvm_glob(r->info->agent, f->agent);
}

int rules_match(struct rules_query *q, const struct rule *r)
{
    const struct gvm_facts *f = q->f;
    if (f->protocol != (enum gvm_protocol)r->proto) {
        /* An owner who denies everything on a host also denies what is not HTTP there. */
        bool denies = f->protocol == GVM_PROTO_TCP && (r->flags & RULES_TOTAL_DENY);
        return denies && rules_match_connection(r, f);
    }
    if (f->protocol == GVM_PROTO_TCP)
        return rules_match_connection(r, f);
    if (!match_method(q, r) || !rules_match_connection(r, f))
        return 0;
    return match_path(q, r);
}

bool rules_match_host(const struct rule_info *info, struct gvm_str host)
{
    switch (info->host_kind) {
    case RULES_HOST_ANY:
        return true;
    case RULES_HOST_EXACT:
        return gvm_str_eq(info->host, host);
    case RULES_HOST_SUFFIX:
        return host.n > info->host.n + 1 && host.p[host.n - info->host.n - 1] == '.' &&
               gvm_str_ends(host, info->host);
    }
    return false;
}
