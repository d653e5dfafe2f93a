/* rules/pattern.c - host[:port][/path] of a rule, brought to the form requests have.
 *
 *   host   "{any}" | "*"                any host
 *          "*." rest | "{name}." rest   names that end in "." rest; rest itself is not among them
 *          name | IPv4 | "[" IPv6 "]"   exact
 *   path   segments: literal, or "*" or "{name}" for exactly one; at the end "*", "{any}" or a text
 *          with "*" behind it for whatever follows, "**" for that and for the path without its
 * slash none at all: every path
 *
 * Literal parts go through the canonicaliser of wire/, so that a pattern and a request that mean
 * the same are the same bytes. What would never match is an error, not a dead rule.
 */
#include "rules/rules_int.h"

#include <errno.h>

static bool is_wild_name(struct gvm_str s)
{
    if (s.n < 3 || s.p[0] != '{' || s.p[s.n - 1] != '}')
        return false;
    for (size_t i = 1; i + 1 < s.n; i++) {
        char c = gvm_lower(s.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
            return false;
    }
    return true;
}

static struct gvm_str after(struct gvm_str s, size_t n)
{
    return (struct gvm_str){s.p + n, s.n - n};
}

/* ---- host ---- */

static int any_host(struct gvm_str port, struct rule *rule, struct rule_info *info,
                    struct gvm_err *err)
{
    uint64_t n = 0;
    if (port.n && (gvm_parse_u64(after(port, 1), 65535, &n) < 0 || n == 0))
        return gvm_err_set(err, EINVAL, "the port is not a number from 1 to 65535");
    info->host_kind = RULES_HOST_ANY;
    info->host = GVM_STR("");
    rule->port = (uint16_t)n;
    return 0;
}

static int named_host(struct gvm_arena *a, struct gvm_str text, struct rule *rule,
                      struct rule_info *info, struct gvm_err *err)
{
    struct gvm_authority auth;
    if (gvm_str_find(text, '*') >= 0 || gvm_str_find(text, '{') >= 0 ||
        gvm_str_find(text, '}') >= 0)
        return gvm_err_set(err, EINVAL,
                           "a wildcard in a host is its whole first label; write "
                           "*.example.com, or * for any host");
    int r = gvm_authority_parse(text, &auth, err);
    if (r < 0)
        return r;
    if (auth.is_ip && info->host_kind == RULES_HOST_SUFFIX)
        return gvm_err_set(err, EINVAL, "an address has no subdomains; write the address alone");
    size_t n = strlen(auth.host);
    char *host = gvm_arena_dup(a, auth.host, n);
    if (!host)
        return gvm_err_set(err, ENOMEM, "out of memory");
    info->host = (struct gvm_str){host, n};
    rule->port = auth.port;
    return 0;
}

static int compile_host(struct gvm_arena *a, struct gvm_str text, struct rule *rule,
                        struct rule_info *info, struct gvm_err *err)
{
    ptrdiff_t brace = text.n && text.p[0] == '{' ? gvm_str_find(text, '}') : -1;
    struct gvm_str wild = {text.p, brace > 0 ? (size_t)brace + 1 : 0};
    if (text.n == 0)
        return gvm_err_set(err, EINVAL, "the host is empty; write a name, or * for any host");
    if (text.p[0] == '*')
        wild.n = 1;
    struct gvm_str rest = after(text, wild.n);
    bool named = wild.n > 1;
    if (named && !is_wild_name(wild))
        return gvm_err_set(err, EINVAL, "\"%.*s\" is not a wildcard; write {any}",
                           GVM_STR_ARG(wild));
    if (wild.n && (rest.n == 0 || rest.p[0] == ':')) {
        if (named && !gvm_str_eqz(wild, "{any}"))
            return gvm_err_set(err, EINVAL, "write {any} or * for any host");
        return any_host(rest, rule, info, err);
    }
    info->host_kind = RULES_HOST_EXACT;
    if (wild.n && rest.p[0] == '.') {
        info->host_kind = RULES_HOST_SUFFIX;
        text = after(rest, 1);
    }
    return named_host(a, text, rule, info, err);
}

/* ---- path ---- */

/* A literal segment in canonical form. */
static int canon_segment(struct gvm_arena *a, struct gvm_str text, struct gvm_str *ret,
                         struct gvm_err *err)
{
    struct gvm_buf in, path, query;
    bool has_query = false;
    gvm_buf_init(&in, GVM_MAX_TARGET);
    gvm_buf_init(&path, GVM_MAX_TARGET * 4);
    gvm_buf_init(&query, GVM_MAX_TARGET);
    int r = gvm_buf_addc(&in, '/');
    if (r >= 0)
        r = gvm_buf_adds(&in, text);
    if (r >= 0)
        r = gvm_target_canon(gvm_buf_str(&in), &path, &query, &has_query, err);
    else
        gvm_err_set(err, -r, "the path is too long");
    struct gvm_str s = gvm_buf_str(&path);
    if (r >= 0 && (s.n < 2 || gvm_str_find(after(s, 1), '/') >= 0))
        r = gvm_err_set(err, EINVAL,
                        "the path has \"//\", a backslash or a dot segment, which no "
                        "request has after cleaning; write the path it means");
    if (r >= 0) {
        char *p = gvm_arena_dup(a, s.p + 1, s.n - 1);
        r = p ? 0 : gvm_err_set(err, ENOMEM, "out of memory");
        *ret = (struct gvm_str){p, s.n - 1};
    }
    gvm_buf_done(&in);
    gvm_buf_done(&path);
    gvm_buf_done(&query);
    return r;
}

/* One segment that is not the last, or the last when it ends the path. */
static int plain_segment(struct gvm_arena *a, struct gvm_str s, bool last,
                         struct rules_segment *seg, struct gvm_err *err)
{
    if (gvm_str_eqz(s, "*") || is_wild_name(s)) {
        seg->any = true;
        return 0;
    }
    if (gvm_str_eqz(s, "**"))
        return gvm_err_set(err, EINVAL,
                           "** stands only at the end of a path; write * for one segment");
    if (gvm_str_find(s, '*') >= 0 || gvm_str_find(s, '{') >= 0 || gvm_str_find(s, '}') >= 0)
        return gvm_err_set(err, EINVAL,
                           "a wildcard is a whole segment of the path; use path_regex for "
                           "parts of one");
    if (s.n == 0 && last) { /* "/a/" ends in an empty segment */
        seg->text = GVM_STR("");
        return 0;
    }
    return canon_segment(a, s, &seg->text, err);
}

/* The last segment decides how the pattern ends. *ret_keep: it is a segment to compare. */
static int last_segment(struct gvm_arena *a, struct gvm_str s, struct rules_segment *seg,
                        enum rules_tail *ret_tail, bool *ret_keep, struct gvm_err *err)
{
    *ret_keep = true;
    *ret_tail = RULES_TAIL_PREFIX;
    if (gvm_str_eqz(s, "**")) {
        *ret_tail = RULES_TAIL_REST;
        *ret_keep = false;
        return 0;
    }
    if (gvm_str_eqz(s, "*") || gvm_str_eqz(s, "{any}")) {
        seg->text = GVM_STR("");
        return 0;
    }
    bool star = s.n > 1 && s.p[s.n - 1] == '*';
    if (star && s.p[s.n - 2] != '*')
        return plain_segment(a, (struct gvm_str){s.p, s.n - 1}, false, seg, err);
    *ret_tail = RULES_TAIL_END;
    return plain_segment(a, s, true, seg, err);
}

static uint32_t count_segments(struct gvm_str path)
{
    uint32_t n = 0;
    for (size_t i = 0; i < path.n; i++)
        n += path.p[i] == '/';
    return n;
}

/* Without wildcards the pattern is one text: comparing it is one memcmp. */
static int join_literal(struct gvm_arena *a, const struct rules_segment *segs, uint32_t n,
                        enum rules_tail tail, struct rule *rule, struct gvm_err *err)
{
    static const uint8_t kinds[] = {[RULES_TAIL_END] = RULES_PATH_EXACT,
                                    [RULES_TAIL_PREFIX] = RULES_PATH_PREFIX,
                                    [RULES_TAIL_REST] = RULES_PATH_REST};
    size_t len = 0;
    for (uint32_t i = 0; i < n; i++)
        len += 1 + segs[i].text.n;
    char *p = gvm_arena_alloc(a, len + 1);
    if (!p)
        return gvm_err_set(err, ENOMEM, "out of memory");
    rule->path = p;
    rule->path_len = (uint32_t)len;
    rule->path_kind = kinds[tail];
    for (uint32_t i = 0; i < n; i++) {
        *p++ = '/';
        memcpy(p, segs[i].text.p, segs[i].text.n);
        p += segs[i].text.n;
    }
    return 0;
}

static int finish_path(struct gvm_arena *a, struct rules_segment *segs, uint32_t n,
                       enum rules_tail tail, struct rule *rule, struct rule_info *info,
                       struct gvm_err *err)
{
    bool wild = false;
    for (uint32_t i = 0; i < n; i++)
        wild = wild || segs[i].any;
    bool everything = (n == 0 && tail == RULES_TAIL_REST) ||
                      (n == 1 && tail == RULES_TAIL_PREFIX && !wild && segs[0].text.n == 0);
    if (everything) {
        rule->path_kind = RULES_PATH_ANY;
        return 0;
    }
    /* A first segment that is compared whole can be looked up. */
    if (!segs[0].any && !(n == 1 && tail == RULES_TAIL_PREFIX))
        info->first = segs[0].text;
    if (!wild)
        return join_literal(a, segs, n, tail, rule, err);
    rule->path_kind = RULES_PATH_SEGMENTS;
    rule->segs = segs;
    rule->nsegs = (uint16_t)n;
    rule->tail = (uint8_t)tail;
    return 0;
}

/* `path` starts with '/'. */
static int compile_path(struct gvm_arena *a, struct gvm_str path, struct rule *rule,
                        struct rule_info *info, struct gvm_err *err)
{
    if (gvm_str_find(path, '?') >= 0 || gvm_str_find(path, '#') >= 0)
        return gvm_err_set(err, EINVAL,
                           "the path has a query or fragment; take it out, it is not "
                           "matched");
    uint32_t n = count_segments(path), i = 0;
    struct rules_segment *segs = gvm_arena_alloc(a, n * sizeof *segs);
    if (!segs)
        return gvm_err_set(err, ENOMEM, "out of memory");
    struct gvm_str rest = after(path, 1), s;
    enum rules_tail tail = RULES_TAIL_END;
    bool more = true, keep = true;
    while (more) {
        more = gvm_str_cut(&rest, '/', &s);
        int r = more ? plain_segment(a, s, false, &segs[i], err)
                     : last_segment(a, s, &segs[i], &tail, &keep, err);
        if (r < 0)
            return r;
        i++;
    }
    return finish_path(a, segs, keep ? n : n - 1, tail, rule, info, err);
}

int rules_pattern_compile(struct gvm_arena *a, struct gvm_str pattern, bool with_path,
                          struct rule *rule, struct rule_info *info, struct gvm_err *err)
{
    ptrdiff_t slash = gvm_str_find(pattern, '/');
    struct gvm_str host = {pattern.p, slash < 0 ? pattern.n : (size_t)slash};
    if (slash > 0 && pattern.p[slash - 1] == ':')
        return gvm_err_set(err, EINVAL, "a pattern has no scheme; write it without \"%.*s//\"",
                           (int)slash, pattern.p);
    if (gvm_str_find(host, '@') >= 0)
        return gvm_err_set(err, EINVAL,
                           "a pattern has no user information; take out what is before @");
    int r = compile_host(a, host, rule, info, err);
    rule->path_kind = RULES_PATH_ANY;
    if (r < 0 || slash < 0 || !with_path)
        return r;
    return compile_path(a, after(pattern, (size_t)slash), rule, info, err);
}
