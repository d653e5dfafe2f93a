/* cli/judge.c - from words to facts to a verdict, with what the data path refuses by itself. */
#include "cli/judge.h"

#include <errno.h>

static int upper_method(struct cli_judged *j, struct gvm_str method, struct gvm_err *err)
{
    if (gvm_str_copy(j->method, sizeof(j->method), method) < 0)
        return gvm_err_set(err, EINVAL, "the method is too long");
    for (char *p = j->method; *p; p++)
        *p = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
    return 0;
}

/* Scheme, authority and target; a URL without scheme is https. */
static int split_url(struct gvm_str url, bool *ret_tls, struct gvm_str *ret_authority,
                     struct gvm_str *ret_target, struct gvm_err *err)
{
    if (memmem(url.p, url.n, "://", 3))
        return gvm_absolute_split(url, ret_tls, ret_authority, ret_target, err);
    *ret_tls = true;
    *ret_target = url;
    if (gvm_str_cut(ret_target, '/', ret_authority))
        *ret_target = (struct gvm_str){ret_target->p - 1, ret_target->n + 1};
    else
        *ret_target = GVM_STR("/");
    return 0;
}

/* What does not even name a place is a mistake of who asks. */
static int read_place(const struct cli_question *q, struct cli_judged *j, bool *ret_tls,
                      struct gvm_str *ret_target, struct gvm_err *err)
{
    struct gvm_str authority;
    int r = q->tcp ? 0 : upper_method(j, q->method, err);
    if (r == 0)
        r = split_url(q->url, ret_tls, &authority, ret_target, err);
    if (r == 0)
        r = gvm_authority_parse(authority, &j->auth, err);
    if (r == 0 && q->tcp && !j->auth.port)
        r = gvm_err_set(err, EINVAL, "a TCP connection has a port; write HOST:PORT");
    return r;
}

static int make_facts(const struct cli_question *q, struct cli_judged *j, bool tls,
                      struct gvm_str target)
{
    bool has_query = false;
    int r = q->tcp ? 0 : gvm_target_canon(target, &j->path, &j->query, &has_query, &j->why);
    if (r < 0)
        return r;
    uint16_t port = j->auth.port ? j->auth.port : tls ? 443 : 80;
    j->facts = (struct gvm_facts){.protocol = q->tcp ? GVM_PROTO_TCP : GVM_PROTO_HTTP,
                                  .method = gvm_str(q->tcp ? "" : j->method),
                                  .host = gvm_str(j->auth.host),
                                  .port = port,
                                  .tls = tls && !q->tcp,
                                  .path = gvm_buf_str(&j->path),
                                  .query = gvm_buf_str(&j->query),
                                  .agent = q->agent,
                                  .fields = q->fields,
                                  .head_unknown = q->head_only,
                                  .now_ns = q->now_ns};
    return 0;
}

static bool is_pinned(const struct gvm_conf *c, struct gvm_str host)
{
    for (uint32_t i = 0; i < c->npins; i++)
        if (gvm_str_eq(c->pins[i].host, host))
            return true;
    return false;
}

/* What the data path refuses whatever the rules say: an address in the URL that is not public,
 * unless it is pinned, or of a kind that private = true opens and the rule says so. */
static void close_address(const struct gvm_conf *conf, struct cli_judged *j)
{
    struct gvm_verdict *v = &j->verdict;
    if (!j->auth.is_ip || v->decision == GVM_DENY || is_pinned(conf, j->facts.host))
        return;
    enum gvm_ip_class class = gvm_ip_class(&j->auth.ip);
    bool may = class == GVM_IP_LOOPBACK || class == GVM_IP_PRIVATE || class == GVM_IP_LINK_LOCAL;
    if (class == GVM_IP_PUBLIC || (may && v->private_ok))
        return;
    v->decision = GVM_DENY;
    v->delay_ms = 0;
    v->reason = may ? GVM_STR("an address that is not public needs a rule with private = true")
                    : GVM_STR("this address is never reached");
}

/* The content keeps a view of it. */
static struct gvm_str field(struct gvm_str fields, const char *name, struct gvm_buf *out)
{
    gvm_fields_join(fields, name, out);
    return gvm_buf_str(out);
}

static void look_at_body(const struct gvm_ruleset *rs, const struct cli_question *q,
                         struct cli_judged *j)
{
    struct gvm_content_in in = {.present = q->has_body,
                                .whole = true,
                                .raw = q->body,
                                .type = field(q->fields, "content-type", &j->type),
                                .coding = field(q->fields, "content-encoding", &j->coding),
                                .query = gvm_buf_str(&j->query),
                                .max = j->verdict.max_body};
    j->looks_at_body = true;
    if (q->head_only)
        return;
    j->content = gvm_content_new(&in);
    j->facts.content = j->content;
    if (j->content) /* else the verdict stays Deny */
        gvm_rules_decide(rs, &j->facts, &j->verdict);
}

int cli_judge(const struct gvm_conf *conf, const struct gvm_ruleset *rs,
              const struct cli_question *q, struct cli_judged *ret, struct gvm_err *err)
{
    struct gvm_verdict opaque;
    struct gvm_str target;
    bool tls = true;
    *ret = (struct cli_judged){.refused = false};
    gvm_buf_init(&ret->path, 4 * GVM_MAX_TARGET);
    gvm_buf_init(&ret->query, GVM_MAX_TARGET);
    gvm_buf_init(&ret->type, GVM_MAX_HEAD);
    gvm_buf_init(&ret->coding, GVM_MAX_HEAD);
    int r = read_place(q, ret, &tls, &target, err);
    if (r < 0)
        return r;
    if (make_facts(q, ret, tls, target) < 0) {
        ret->refused = true;
        return 0;
    }
    gvm_rules_decide(rs, &ret->facts, &ret->verdict);
    if (ret->verdict.needs_body)
        look_at_body(rs, q, ret);
    ret->opaque = !q->tcp && ret->facts.tls && gvm_rules_opaque(rs, &ret->facts, &opaque);
    if (ret->opaque)
        ret->verdict = opaque;
    close_address(conf, ret);
    return 0;
}

void cli_judged_done(struct cli_judged *j)
{
    gvm_content_free(j->content);
    gvm_buf_done(&j->type);
    gvm_buf_done(&j->coding);
    gvm_buf_done(&j->path);
    gvm_buf_done(&j->query);
    *j = (struct cli_judged){.refused = false};
}
