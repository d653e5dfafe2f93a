/* `limit` of rules: counted per run and rule name, so that counts survive a reload. */
#include "proxy/pipeline/px.h"

#include <stdlib.h>

/* NULL when there is no room for another counter. */
static struct gvm_limit_count *counter(struct px_run *run, struct gvm_str rule)
{
    if (!run->limits)
        run->limits = gvm_map_new(PX_LIMITS, free);
    if (!run->limits)
        return NULL;
    struct gvm_limit_count *c = gvm_map_get(run->limits, rule);
    if (c)
        return c;
    c = gvm_calloc(1, sizeof *c);
    if (c && gvm_map_put(run->limits, rule, c) < 0) {
        free(c);
        c = NULL;
    }
    return c;
}

void px_limit(struct px_request *rq)
{
    struct gvm_verdict *v = &rq->verdict;
    const struct gvm_limit *l = v->limit;
    if (!l || v->decision == GVM_DENY)
        return;
    struct gvm_limit_count *c = counter(rq->run, v->name);
    int64_t now = gvm_mono_ns();
    if (c && gvm_limit_room(c, l, l->bytes ? 0 : 1, now)) {
        if (!l->bytes)
            gvm_limit_add(c, l, 1, now);
        return;
    }
    v->decision = l->then.type;
    v->delay_ms = l->then.type == GVM_DELAY ? l->then.delay_ms : 0;
    v->reason = l->then.reason.n ? l->then.reason : GVM_STR("the limit of this rule is used up");
    v->over_limit = true;
}

void px_limit_bytes(struct px_request *rq)
{
    const struct gvm_limit *l = rq->verdict.limit;
    if (!l || !l->bytes || !rq->bytes_out)
        return;
    struct gvm_limit_count *c = counter(rq->run, rq->verdict.name);
    if (c)
        gvm_limit_add(c, l, rq->bytes_out, gvm_mono_ns());
}
