/* Rules that look at a body: it is read ahead up to what they look at, judged, and then the very
 * bytes that were judged are forwarded, with the rest behind them. Nothing is read ahead when no
 * rule that could decide needs it. What is read ahead by all requests together has a bound. */
#include "proxy/pipeline/px.h"

struct gvm_str px_fields(const struct px_request *rq)
{
    struct gvm_str line, head = gvm_buf_str(&rq->head);
    (void)gvm_str_cut(&head, '\n', &line); /* the request line */
    return head;
}

static bool is_enough(const struct px_request *rq, size_t max)
{
    return rq->in_done || rq->held.len > max;
}

static void judge_with(struct px_request *rq, const struct gvm_facts *f, struct gvm_verdict *v,
                       struct gvm_str type, struct gvm_str coding)
{
    struct gvm_content_in in = {.present = rq->body != GVM_BODY_NONE,
                                .whole = rq->in_done,
                                .raw = gvm_buf_str(&rq->held),
                                .type = type,
                                .coding = coding,
                                .query = f->query,
                                .max = v->max_body};
    struct gvm_facts with = *f;
    with.content = gvm_content_new(&in);
    if (!with.content) {
        v->needs_body = false; /* stays Deny */
        v->reason = GVM_STR("there is no memory to look at the body");
        return;
    }
    gvm_rules_decide(rq->policy->rules, &with, v);
    gvm_content_free(with.content);
}

void px_inspect(struct px_request *rq, const struct gvm_facts *f, struct gvm_verdict *v)
{
    struct gvm_buf type, coding;
    if (!is_enough(rq, v->max_body))
        return;
    gvm_buf_init(&type, GVM_MAX_HEAD);
    gvm_buf_init(&coding, GVM_MAX_HEAD);
    gvm_fields_join(f->fields, "content-type", &type);
    gvm_fields_join(f->fields, "content-encoding", &coding);
    judge_with(rq, f, v, gvm_buf_str(&type), gvm_buf_str(&coding));
    gvm_buf_done(&type);
    gvm_buf_done(&coding);
}

/* ---- reading ahead ---- */

static void on_slow(uv_timer_t *t)
{
    px_refuse(t->data, 408, "timeout", "the request body did not come in time to be judged");
}

void px_inspect_done(struct px_request *rq)
{
    rq->px->inspected -= rq->inspect_max;
    rq->inspect_max = 0;
    rq->inspecting = false;
    rq->held.max = PX_IN_MAX;
}

static bool set_aside(struct px_request *rq, size_t max)
{
    px_inspect_done(rq);
    if (rq->px->inspected + max > PX_INSPECT_TOTAL)
        return false;
    rq->inspect_max = max;
    rq->px->inspected += max;
    rq->held.max = max + PX_IN_MAX; /* the piece that goes past it is kept, too */
    return true;
}

void px_inspect_wait(struct px_request *rq)
{
    if (!set_aside(rq, rq->verdict.max_body)) {
        px_refuse(rq, 503, "busy", "too many bodies are read at once; this one has to wait");
        return;
    }
    rq->inspecting = true;
    if (rq->expect_continue && !rq->held.len)
        rq->front->go_on(rq);
    rq->expect_continue = false;
    px_timer(rq, px_timeouts(rq->run)->head, on_slow);
    rq->front->resume(rq);
}

void px_inspect_more(struct px_request *rq)
{
    if (!is_enough(rq, rq->inspect_max)) {
        px_timer(rq, px_timeouts(rq->run)->head, on_slow);
        return;
    }
    rq->inspecting = false;
    px_no_timer(rq);
    if (!rq->in_done)
        rq->front->pause(rq);
    px_judge(rq);
}
