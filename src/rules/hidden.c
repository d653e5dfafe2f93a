/* rules/hidden.c - rules that can never fire: an earlier one takes every request they would.
 *
 * "Takes" is decided part by part (methods, host, port, agent, expiry, path, what narrows it) and
 * only where it is sure; two different regexes, or overlapping wildcards, are never called hidden.
 */
#include "rules/narrow.h"

/* Comparisons before giving up, so that a huge file is still checked in well under a second. */
enum { WORK = 20 * 1000 * 1000 };

static bool covers_methods(const struct rule *a, const struct rule *b)
{
    if (a->methods & RULES_ANY_METHOD)
        return true;
    if ((b->methods & RULES_ANY_METHOD) || (b->methods & ~a->methods))
        return false;
    for (uint32_t i = 0; i < b->info->nothers; i++) {
        bool found = false;
        for (uint32_t j = 0; j < a->info->nothers && !found; j++)
            found = gvm_str_eq(a->info->others[j], b->info->others[i]);
        if (!found)
            return false;
    }
    return true;
}

static bool covers_host(const struct rule_info *a, const struct rule_info *b)
{
    if (a->host_kind == RULES_HOST_ANY)
        return true;
    if (a->host_kind == b->host_kind && gvm_str_eq(a->host, b->host))
        return true;
    return a->host_kind == RULES_HOST_SUFFIX && b->host_kind != RULES_HOST_ANY &&
           rules_match_host(a, b->host);
}

static bool same_segments(const struct rule *a, const struct rule *b)
{
    if (a->nsegs != b->nsegs || a->tail != b->tail)
        return false;
    for (uint32_t i = 0; i < a->nsegs; i++) {
        bool same = a->segs[i].any == b->segs[i].any &&
                    (a->segs[i].any || gvm_str_eq(a->segs[i].text, b->segs[i].text));
        if (!same)
            return false;
    }
    return true;
}

/* The literal text every path of `b` starts with, as far as one memcmp goes. */
static struct gvm_str literal_head(const struct rule *b, char *mem, size_t cap)
{
    size_t n = 0;
    if (b->path_kind != RULES_PATH_SEGMENTS)
        return (struct gvm_str){b->path, b->path_len};
    for (uint32_t i = 0; i < b->nsegs && !b->segs[i].any; i++) {
        if (n + b->segs[i].text.n + 2 > cap)
            break;
        mem[n++] = '/';
        memcpy(mem + n, b->segs[i].text.p, b->segs[i].text.n);
        n += b->segs[i].text.n;
        if (i + 1u < b->nsegs && b->segs[i + 1].any)
            mem[n++] = '/';
    }
    /* Each wildcard is preceded by a slash that is there in every path. */
    if (n == 0)
        mem[n++] = '/';
    return (struct gvm_str){mem, n};
}

static bool covers_path(const struct rule *a, const struct rule *b)
{
    char mem[512];
    if (a->path_kind == RULES_PATH_ANY)
        return true;
    if (b->path_kind == RULES_PATH_ANY)
        return false;
    if (a->path_kind == RULES_PATH_REGEX || b->path_kind == RULES_PATH_REGEX)
        return a->path_kind == b->path_kind && gvm_str_eq(a->info->regex, b->info->regex);
    struct gvm_str text = {a->path, a->path_len}, head = literal_head(b, mem, sizeof mem);
    if (a->path_kind == RULES_PATH_PREFIX)
        return gvm_str_starts(head, text);
    if (a->path_kind == RULES_PATH_REST) {
        bool starts = gvm_str_starts(head, text);
        bool slash = starts && head.n > text.n && head.p[text.n] == '/';
        bool exact = starts && head.n == text.n &&
                     (b->path_kind == RULES_PATH_EXACT || b->path_kind == RULES_PATH_REST);
        return slash || exact;
    }
    if (b->path_kind == RULES_PATH_EXACT)
        return a->path_kind == RULES_PATH_EXACT ? gvm_str_eq(text, head)
                                                : rules_match_segments(a, head);
    return a->path_kind == RULES_PATH_SEGMENTS && b->path_kind == RULES_PATH_SEGMENTS &&
           same_segments(a, b);
}

static bool covers(const struct rule *a, const struct rule *b)
{
    bool agent = !(a->flags & RULES_HAS_AGENT) || gvm_str_eq(a->info->agent, b->info->agent);
    bool alive = a->expires_ns == 0 || (b->expires_ns && b->expires_ns <= a->expires_ns);
    bool port = a->port == 0 || a->port == b->port;
    bool proto =
        a->proto == b->proto || ((a->flags & RULES_TOTAL_DENY) && b->proto == GVM_PROTO_TCP);
    /* It takes some of them only: those that the other one would, when both look for the same and
     * what follows is the same. */
    if ((a->flags & (RULES_NARROW | RULES_WINDOW)) &&
        (a->info->decision != b->info->decision ||
         !rules_narrow_same(a->info->narrow, b->info->narrow)))
        return false;
    return proto && port && agent && alive && covers_methods(a, b) &&
           covers_host(a->info, b->info) && covers_path(a, b);
}

struct hide {
    const struct gvm_ruleset *rs;
    uint32_t rule, by;
    uint32_t work;
};

static bool see_list(void *ctx, const uint32_t *numbers, uint32_t n)
{
    struct hide *h = ctx;
    for (uint32_t i = 0; i < n && numbers[i] < h->rule && numbers[i] < h->by; i++) {
        if (h->work == 0)
            return false;
        h->work--;
        if (covers(&h->rs->rules[numbers[i]], &h->rs->rules[h->rule]))
            h->by = numbers[i];
    }
    return true;
}

/* A suffix's own bucket is found by a name directly below it. */
static struct gvm_str probe_host(const struct rule_info *info, char mem[GVM_MAX_HOST + 3])
{
    if (info->host_kind != RULES_HOST_SUFFIX)
        return info->host;
    mem[0] = 'x';
    mem[1] = '.';
    memcpy(mem + 2, info->host.p, info->host.n);
    return (struct gvm_str){mem, info->host.n + 2};
}

size_t gvm_rules_hidden(const struct gvm_ruleset *rs, struct gvm_hidden_rule *out, size_t cap)
{
    struct hide h = {.rs = rs, .work = WORK};
    size_t n = 0;
    for (uint32_t i = 0; i < rs->nrules && n < cap && h.work; i++) {
        char mem[GVM_MAX_HOST + 3];
        struct rules_walk w = {.see = see_list, .ctx = &h};
        h.rule = i;
        h.by = RULES_NONE;
        rules_index_walk(rs, probe_host(&rs->infos[i], mem), rs->infos[i].first, &w);
        if (h.by != RULES_NONE)
            out[n++] = (struct gvm_hidden_rule){(int32_t)i, (int32_t)h.by};
    }
    return n;
}
