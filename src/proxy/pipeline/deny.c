/* Answers we give ourselves: refusals, denials and failures, as JSON that a model can act on. */
#include "proxy/pipeline/px.h"

struct answer {
    unsigned status;
    const char *error;    /* what happened, in two or three words */
    const char *decision; /* NULL: none was taken */
    const char *why;      /* class of a refusal, NULL: none */
    struct gvm_str rule, reason;
    const char *unseen; /* what could not be seen, NULL: nothing */
    const char *next;
    const char *record; /* error for the outcome, NULL: none */
    bool close;
};

static void write_object(const struct px_request *rq, const struct answer *a, struct gvm_jw *w)
{
    gvm_jw_object(w);
    gvm_jw_kstrz(w, "error", a->error);
    if (a->decision)
        gvm_jw_kstrz(w, "decision", a->decision);
    if (a->why)
        gvm_jw_kstrz(w, "why", a->why);
    if (a->rule.n)
        gvm_jw_kstr(w, "rule", a->rule);
    gvm_jw_kstr(w, "reason", a->reason);
    if (a->unseen)
        gvm_jw_kstrz(w, "unverifiable", a->unseen);
    if (rq->host[0])
        gvm_jw_kstrz(w, "host", rq->host);
    if (rq->method[0]) {
        gvm_jw_kstrz(w, "method", rq->method);
        gvm_jw_kstr(w, "path", gvm_buf_str(&rq->path));
    }
    if (rq->id[0])
        gvm_jw_kstrz(w, "request_id", rq->id);
    gvm_jw_kstrz(w, "next", a->next);
    gvm_jw_object_end(w);
}

/* A message of MCP's streamable HTTP says that it takes both kinds of answers; nothing else does.
 */
static bool is_mcp(const struct px_request *rq)
{
    struct gvm_str fields = px_fields(rq);
    struct gvm_header h;
    bool json = false, events = false;
    while (strcmp(rq->method, "POST") == 0 && gvm_fields_next(&fields, &h)) {
        if (!gvm_str_ieqz(h.name, "accept"))
            continue;
        json = json || memmem(h.value.p, h.value.n, "application/json", 16);
        events = events || memmem(h.value.p, h.value.n, "text/event-stream", 17);
    }
    return json && events;
}

/* Clients of MCP show a model the message of a JSON-RPC error, and of anything else only that it
 * failed. The message may have been a batch, or nobody read it: the id is null. */
static void write_rpc(const struct px_request *rq, const struct answer *a, struct gvm_jw *w)
{
    struct gvm_buf text GVM_CLEANUP(gvm_buf_done);
    gvm_buf_init(&text, 1024);
    gvm_buf_addf(&text, "%s: %.*s", a->error, GVM_STR_ARG(a->reason));
    gvm_jw_object(w);
    gvm_jw_kstrz(w, "jsonrpc", "2.0");
    gvm_jw_key(w, "id");
    gvm_jw_null(w);
    gvm_jw_key(w, "error");
    gvm_jw_object(w);
    gvm_jw_kint(w, "code", -32000);
    gvm_jw_kstr(w, "message", gvm_buf_str(&text));
    gvm_jw_key(w, "data");
    write_object(rq, a, w);
    gvm_jw_object_end(w);
    gvm_jw_object_end(w);
}

static void write_json(const struct px_request *rq, const struct answer *a, struct gvm_buf *out)
{
    struct gvm_jw w;
    gvm_jw_init(&w, out);
    if (is_mcp(rq))
        write_rpc(rq, a, &w);
    else
        write_object(rq, a, &w);
}

static void answer(struct px_request *rq, const struct answer *a)
{
    struct gvm_buf json GVM_CLEANUP(gvm_buf_done);
    if (px_closed(rq)) /* its record could not be written */
        return;
    gvm_buf_init(&json, GVM_MAX_HEAD * 4);
    write_json(rq, a, &json);
    if (json.failed)
        gvm_buf_reset(&json);
    struct px_answer say = {.status = a->status,
                            .decision = a->decision,
                            .json = gvm_buf_str(&json),
                            .reason = a->reason,
                            .close = a->close};
    px_request_quit(rq, 0, a->error);
    rq->status = a->status;
    rq->front->answer(rq, &say);
    px_outcome(rq, a->record);
    rq->front->done(rq);
}

void px_refuse(struct px_request *rq, unsigned status, const char *why, const char *reason)
{
    if (px_closed(rq))
        return;
    struct gvm_str raw = gvm_buf_str(&rq->conn->in);
    if (rq->state != PX_HEAD && rq->state != PX_SNIFF)
        raw.n = 0;
    if (rq->run->px->links[GVM_ROLE_LEDGER])
        px_record_refused(rq, status, why, reason, raw);
    if (!status || rq->kind != PX_HTTP) {
        rq->front->cut(rq, NULL);
        return;
    }
    answer(rq, &(struct answer){.status = status,
                                .error = "refused",
                                .why = why,
                                .reason = gvm_str(reason),
                                .close = true,
                                .next = status == 503
                                            ? "Try again in a moment."
                                            : "Send a well-formed request that names one host."});
}

void px_refuse_address(struct px_request *rq, const char *reason)
{
    px_record_refused(rq, 403, "address", reason, (struct gvm_str){0});
    if (rq->kind != PX_HTTP) {
        rq->front->cut(rq, reason);
        return;
    }
    answer(rq, &(struct answer){
                   .status = 403,
                   .error = "denied by policy",
                   .decision = "Deny",
                   .why = "address",
                   .rule = rq->verdict.name,
                   .reason = gvm_str(reason),
                   .record = reason,
                   .next = "This address is not reachable from here. Do not retry; use "
                           "another service or ask the owner for a rule with private = true."});
}

void px_deny(struct px_request *rq, const char *reason)
{
    const struct gvm_verdict *v = &rq->verdict;
    struct gvm_str why = reason ? gvm_str(reason) : v->reason;
    if (rq->kind != PX_HTTP) {
        rq->front->cut(rq, "denied");
        return;
    }
    if (!why.n)
        why = v->rule < 0 ? GVM_STR("no rule allows this request")
                          : GVM_STR("a rule denies this request");
    answer(rq, &(struct answer){
                   .status = 403,
                   .error = "denied by policy",
                   .decision = "Deny",
                   .rule = v->name,
                   .reason = why,
                   .unseen = v->unverifiable ? v->why : NULL,
                   .next = "Do not retry this request. Go on without it, or ask the owner to "
                           "allow it in gvm.toml."});
}

void px_fail(struct px_request *rq, unsigned status, const char *reason)
{
    if (rq->kind != PX_HTTP || rq->rhead_done) {
        rq->front->cut(rq, reason);
        return;
    }
    answer(rq, &(struct answer){.status = status,
                                .error = status == 503 ? "not available" : "upstream failed",
                                .reason = gvm_str(reason),
                                .record = reason,
                                .next = status == 503
                                            ? "Try again in a moment."
                                            : "The request was allowed but the server could not "
                                              "be used. Try again later."});
}
