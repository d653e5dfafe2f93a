/* rules/narrow_match.c - query, header fields, repository, the time of day; then the body. */
#include "rules/narrow.h"

#include <errno.h>

/* ---- time ---- */

bool rules_in_window(const struct rules_narrow *n, int64_t now_ns)
{
    const struct gvm_conf_narrow *c = &n->conf;
    int64_t secs = now_ns >= 0 ? now_ns / 1000000000 : -((-now_ns + 999999999) / 1000000000);
    int64_t local = secs + rules_zone_offset(&c->zone, secs);
    int64_t minute = local % 86400;
    minute = (minute < 0 ? minute + 86400 : minute) / 60;
    bool inside = c->from <= c->to ? minute >= c->from && minute < c->to
                                   : minute >= c->from || minute < c->to;
    return inside != c->outside;
}

/* ---- header fields ---- */

bool gvm_fields_next(struct gvm_str *fields, struct gvm_header *ret)
{
    struct gvm_str line, name;
    while (gvm_str_cut(fields, '\n', &line)) {
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (!gvm_str_cut(&line, ':', &name))
            continue;
        *ret = (struct gvm_header){name, gvm_str_trim(line)};
        return true;
    }
    return false;
}

void gvm_fields_join(struct gvm_str fields, const char *name, struct gvm_buf *out)
{
    struct gvm_header h;
    bool first = true;
    while (gvm_fields_next(&fields, &h)) {
        if (!gvm_str_ieqz(h.name, name))
            continue;
        if (!first)
            gvm_buf_addz(out, ", ");
        gvm_buf_adds(out, h.value);
        first = false;
    }
}

static void judge_header(struct rules_query *q, const struct rules_test *t, struct rules_seen *ret)
{
    struct rules_tally tally;
    struct gvm_str fields = q->f->fields;
    struct gvm_header h;
    rules_tally_start(&tally);
    while (gvm_fields_next(&fields, &h))
        if (gvm_str_ieq(h.name, t->name))
            rules_tally_add(&tally, rules_test_text(q, t, h.value), false);
    rules_tally_op(&tally, t->op, ret);
}

static void judge_headers(struct rules_query *q, const struct rules_tests *t,
                          struct rules_seen *into)
{
    for (uint32_t i = 0; i < t->n && rules_possible(into); i++) {
        struct rules_seen one;
        judge_header(q, &t->list[i], &one);
        rules_and(into, &one);
    }
}

/* ---- query ---- */

static void judge_query(struct rules_query *q, const struct rules_tests *t, struct rules_seen *into)
{
    struct gvm_form form = {0};
    struct rules_seen one;
    struct gvm_arena *a = gvm_arena_new(1u << 20);
    int r = a ? gvm_form_urlencoded(a, q->f->query, &form, NULL) : -ENOMEM;
    if (r < 0)
        one = (struct rules_seen){.blind = true, .why = "the query has too many parts"};
    else
        rules_judge_form(q, t, &form, &one);
    gvm_arena_free(a);
    rules_and(into, &one);
}

/* ---- gRPC ---- */

/* Does every content-type say gRPC, and is there one? Case does not count in it (RFC 9110 8.3.1).
 */
static bool sent_as_grpc(const struct gvm_facts *f)
{
    static const struct gvm_str type = {"application/grpc", 16};
    struct gvm_str fields = f->fields;
    struct gvm_header h;
    bool found = false;
    while (gvm_fields_next(&fields, &h)) {
        if (!gvm_str_ieqz(h.name, "content-type"))
            continue;
        found = h.value.n >= type.n && gvm_str_ieq((struct gvm_str){h.value.p, type.n}, type) &&
                (h.value.n == type.n || strchr(";+- \t", h.value.p[type.n]));
        if (!found)
            return false;
    }
    return found && gvm_str_eqz(f->method, "POST");
}

/* The call is the path without its slash. Behind a prefix, as gateways have it, it is one for a lax
 * reader. Servers that also take calls in another dress (Connect, JSON transcoding) get the same
 * path without gRPC's content type: whether that is the call cannot be seen. */
enum rules_fit rules_grpc_fits(const struct gvm_conf_texts *want, const struct gvm_facts *f)
{
    size_t at = f->path.n;
    for (unsigned slashes = 0; at > 0 && slashes < 2; at--)
        slashes += f->path.p[at - 1] == '/';
    struct gvm_str call = {f->path.p + at + 1, f->path.n ? f->path.n - at - 1 : 0};
    if (gvm_str_find(call, '/') < 0 || !rules_any_glob(want, call))
        return RULES_MISS;
    if (f->head_unknown || !sent_as_grpc(f))
        return RULES_BLIND;
    return at == 0 ? RULES_FITS : RULES_MAYBE;
}

static void judge_grpc(struct rules_query *q, const struct rules_narrow *n, struct rules_seen *into)
{
    struct rules_tally tally;
    struct rules_seen one;
    rules_tally_start(&tally);
    rules_tally_add(&tally, rules_grpc_fits(&n->conf.grpc, q->f), false);
    if (tally.blind)
        tally.why = "the request is not sent as gRPC";
    rules_tally_end(&tally, &one);
    rules_and(into, &one);
}

/* ---- all of it ---- */

void rules_narrow_judge(struct rules_query *q, const struct rules_narrow *n, bool permissive,
                        struct rules_seen *ret)
{
    struct rules_seen one = {0};
    *ret = (struct rules_seen){.all = true, .some = true};
    if (n->header.n)
        judge_headers(q, &n->header, ret);
    if (n->query.n && rules_possible(ret))
        judge_query(q, &n->query, ret);
    if (n->conf.grpc.n && rules_possible(ret))
        judge_grpc(q, n, ret);
    if (n->conf.git && rules_possible(ret)) {
        struct rules_tally tally;
        rules_tally_start(&tally);
        rules_tally_add(&tally, rules_repository_fits(&n->conf.git_repo, q->f->path), false);
        rules_tally_end(&tally, &one);
        rules_and(ret, &one);
    }
    if (!n->needs_body || !rules_possible(ret) || !q->f->content)
        return;
    rules_judge_body(q, n, permissive, &one);
    rules_and(ret, &one);
}
