/* Answers we give ourselves: refusals, denials and failures, as JSON that a model can act on. */
#include "proxy/pipeline/px.h"

struct answer {
    unsigned status;
    const char *error;    /* what happened, in two or three words */
    const char *decision; /* NULL: none was taken */
    const char *why;      /* class of a refusal, NULL: none */
    struct gvm_str rule, reason;
    const char *next;
    const char *record;   /* error for the outcome, NULL: none */
    bool close;
};

static const struct {
    unsigned status;
    const char *text;
} reasons[] = {
    {400, "Bad Request"},       {403, "Forbidden"},
    {405, "Method Not Allowed"}, {408, "Request Timeout"},
    {421, "Misdirected Request"}, {431, "Request Header Fields Too Large"},
    {502, "Bad Gateway"},       {503, "Service Unavailable"},
    {504, "Gateway Timeout"},   {505, "HTTP Version Not Supported"},
};

static const char *reason_phrase(unsigned status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Refused";
}

static void write_json(const struct px_conn *c, const struct answer *a, struct gvm_buf *out)
{
    const struct px_request *rq = &c->rq;
    struct gvm_jw w;
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "error", a->error);
    if (a->decision)
        gvm_jw_kstrz(&w, "decision", a->decision);
    if (a->why)
        gvm_jw_kstrz(&w, "why", a->why);
    if (a->rule.n)
        gvm_jw_kstr(&w, "rule", a->rule);
    gvm_jw_kstr(&w, "reason", a->reason);
    if (rq->host[0])
        gvm_jw_kstrz(&w, "host", rq->host);
    if (rq->method[0]) {
        gvm_jw_kstrz(&w, "method", rq->method);
        gvm_jw_kstr(&w, "path", gvm_buf_str(&rq->path));
    }
    if (rq->id[0])
        gvm_jw_kstrz(&w, "request_id", rq->id);
    gvm_jw_kstrz(&w, "next", a->next);
    gvm_jw_object_end(&w);
}

/* Is nothing of the request's body left to come? Takes what is there. */
static bool body_is_over(struct px_conn *c)
{
    struct px_request *rq = &c->rq;
    struct gvm_str in = gvm_buf_str(&c->in), span;
    size_t had = in.n;
    int r = rq->in_done ? 1 : 0;
    while (r == 0) {
        size_t before = in.n;
        r = gvm_http1_body_feed(&rq->in_body, &in, &span, NULL);
        if (r == 0 && in.n == before)
            break;
    }
    gvm_buf_consume(&c->in, had - in.n);
    rq->in_done = r == 1;
    return rq->in_done;
}

static void write_answer(struct px_conn *c, const struct answer *a, bool close)
{
    struct gvm_buf json GVM_CLEANUP(gvm_buf_done);
    struct gvm_buf *out = &c->px->scratch;
    gvm_buf_init(&json, GVM_MAX_HEAD * 4);
    write_json(c, a, &json);
    if (json.failed)
        gvm_buf_reset(&json);
    gvm_buf_reset(out);
    gvm_buf_addf(out, "HTTP/1.1 %u %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                      "Cache-Control: no-store\r\n", a->status, reason_phrase(a->status), json.len);
    if (a->decision)
        gvm_buf_addf(out, "X-GVM-Decision: %s\r\n", a->decision);
    if (a->status == 503)
        gvm_buf_addz(out, "Retry-After: 1\r\n");
    gvm_buf_addz(out, close ? "Connection: close\r\n\r\n" : c->rq.minor ? "\r\n" : "Connection: keep-alive\r\n\r\n");
    if (strcmp(c->rq.method, "HEAD") != 0)
        gvm_buf_adds(out, gvm_buf_str(&json));
    if (c->agent && !out->failed && stream_write(c->agent, gvm_buf_data(out), out->len) < 0)
        gvm_log(GVM_LOG_DEBUG, "an answer could not be sent");
}

static void answer(struct px_conn *c, const struct answer *a)
{
    struct px_request *rq = &c->rq;
    if (px_conn_closed(c)) /* its record could not be written */
        return;
    bool close = a->close || rq->close || c->agent_eof || !body_is_over(c);
    rq->status = a->status;
    write_answer(c, a, close);
    px_outcome(c, a->record);
    if (close)
        px_conn_close(c, PX_LINGER_MS, NULL);
    else
        px_conn_next(c);
}

/* Without a status there is nobody to tell: a plain peer sees a reset. */
static void cut(struct px_conn *c, const char *error)
{
    struct stream *s = c->agent;
    c->agent = NULL;
    px_conn_close(c, 0, error);
    if (s)
        stream_abort(s);
}

void px_refuse(struct px_conn *c, unsigned status, const char *why, const char *reason)
{
    if (px_conn_closed(c))
        return;
    px_conn_no_timer(c);
    struct gvm_str raw = gvm_buf_str(&c->in);
    if (c->state != PX_HEAD && c->state != PX_SNIFF)
        raw.n = 0;
    if (c->run->px->links[GVM_ROLE_LEDGER])
        px_record_refused(c, status, why, reason, raw);
    if (!status || c->rq.kind != PX_HTTP) {
        cut(c, NULL);
        return;
    }
    answer(c, &(struct answer){.status = status, .error = "refused", .why = why,
                               .reason = gvm_str(reason), .close = true,
                               .next = status == 503 ? "Try again in a moment."
                                                     : "Send a well-formed request that names one host."});
}

void px_refuse_address(struct px_conn *c, const char *reason)
{
    px_record_refused(c, 403, "address", reason, (struct gvm_str){0});
    if (c->rq.kind != PX_HTTP) {
        cut(c, reason);
        return;
    }
    answer(c, &(struct answer){.status = 403, .error = "denied by policy", .decision = "Deny",
                               .why = "address", .rule = c->rq.verdict.name, .reason = gvm_str(reason),
                               .record = reason,
                               .next = "This address is not reachable from here. Do not retry; use "
                                       "another service or ask the owner for a rule with private = true."});
}

void px_deny(struct px_conn *c, const char *reason)
{
    const struct gvm_verdict *v = &c->rq.verdict;
    struct gvm_str why = reason ? gvm_str(reason) : v->reason;
    if (c->rq.kind != PX_HTTP) {
        cut(c, "denied");
        return;
    }
    if (!why.n)
        why = v->rule < 0 ? GVM_STR("no rule allows this request") : GVM_STR("a rule denies this request");
    answer(c, &(struct answer){.status = 403, .error = "denied by policy", .decision = "Deny",
                               .rule = v->name, .reason = why,
                               .next = "Do not retry this request. Go on without it, or ask the owner to "
                                       "allow it in gvm.toml."});
}

void px_fail(struct px_conn *c, unsigned status, const char *reason)
{
    if (c->rq.kind != PX_HTTP || c->rq.rhead_done) {
        cut(c, reason);
        return;
    }
    answer(c, &(struct answer){.status = status, .error = status == 503 ? "not available" : "upstream failed",
                               .reason = gvm_str(reason), .record = reason,
                               .next = status == 503 ? "Try again in a moment."
                                                     : "The request was allowed but the server could not "
                                                       "be used. Try again later."});
}
