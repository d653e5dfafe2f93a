/* What every request has, whatever its version: its life, its clock, and the way from a head that
 * is identified to what can be judged. The head that will be forwarded is written here, before the
 * decision, from canonical parts; nothing of the agent's own request line is used afterwards. */
#include <errno.h>
#include <stddef.h>

#include "proxy/http1/head.h"
#include "proxy/pipeline/px.h"

/* ---- life ---- */

void px_request_init(struct px_request *rq, struct px_conn *c, const struct px_front *front)
{
    rq->px = c->px;
    rq->run = c->run;
    rq->conn = c;
    rq->front = front;
    gvm_buf_init(&rq->path, GVM_MAX_TARGET * 3);
    gvm_buf_init(&rq->query, GVM_MAX_TARGET);
    gvm_buf_init(&rq->head, GVM_MAX_HEAD * 2);
    gvm_buf_init(&rq->cred, GVM_MAX_HEAD);
    gvm_buf_init(&rq->held, PX_IN_MAX);
    gvm_buf_init(&rq->rin, PX_IN_MAX);
    gvm_buf_init(&rq->grant_key, GVM_MAX_HEAD);
    gvm_buf_init(&rq->trailers, GVM_MAX_TRAILERS);
    gvm_buf_init(&rq->out_trailers, GVM_MAX_TRAILERS);
    struct gvm_buf *all[] = {&rq->path, &rq->query,     &rq->head,     &rq->cred,        &rq->held,
                             &rq->rin,  &rq->grant_key, &rq->trailers, &rq->out_trailers};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        gvm_buf_bill(all[i], c->run->bill);
    uv_timer_init(&c->px->loop, &rq->timer);
    rq->timer.data = rq;
}

void px_empty(struct gvm_buf *b)
{
    if (b->cap > PX_PIPELINED)
        gvm_buf_done(b);
    else
        gvm_buf_reset(b);
}

void px_request_reset(struct px_request *rq)
{
    px_inspect_done(rq);
    px_ws_free(rq);
    px_policy_unref(rq->policy);
    if (rq->cred.len)
        gvm_buf_wipe(&rq->cred);
    upstream_identity_unref(rq->identity); /* the pointer goes with the rest, below */
    gvm_buf_reset(&rq->path);
    gvm_buf_reset(&rq->query);
    gvm_buf_reset(&rq->head);
    px_empty(&rq->held);
    px_empty(&rq->rin);
    gvm_buf_reset(&rq->grant_key);
    gvm_buf_reset(&rq->trailers);
    gvm_buf_reset(&rq->out_trailers);
    memset((char *)rq + offsetof(struct px_request, live), 0,
           sizeof *rq - offsetof(struct px_request, live));
}

void px_request_quit(struct px_request *rq, uint64_t linger_ms, const char *why)
{
    px_ask_gone(rq, why ? why : "the connection ended");
    px_no_timer(rq);
    px_unpark_one(rq);
    px_link_cancel(rq->px, &rq->waiter);
    if (rq->ask_up)
        upstream_cancel(rq->ask_up);
    rq->ask_up = NULL;
    px_dial_forget(rq);
    if (rq->back)
        rq->back->release(rq, false, linger_ms);
    rq->back = NULL;
}

void px_request_end(struct px_request *rq, uint64_t linger_ms, const char *error)
{
    if (px_closed(rq))
        return;
    px_request_quit(rq, linger_ms, error);
    px_outcome(rq, error);
    px_batch_forget(rq);
    rq->state = PX_CLOSED;
}

void px_request_done(struct px_request *rq)
{
    px_inspect_done(rq);
    px_ws_free(rq);
    gvm_buf_done(&rq->path);
    gvm_buf_done(&rq->query);
    gvm_buf_done(&rq->head);
    gvm_buf_wipe(&rq->cred);
    upstream_identity_unref(rq->identity);
    gvm_buf_done(&rq->held);
    gvm_buf_done(&rq->rin);
    gvm_buf_done(&rq->grant_key);
    gvm_buf_done(&rq->trailers);
    gvm_buf_done(&rq->out_trailers);
    px_policy_unref(rq->policy);
}

/* A timer that fires too early only looks again, so that steps which follow each other closely do
 * not move it about. */
static void look(struct px_request *rq, uint64_t now);

static void on_timer(uv_timer_t *t)
{
    struct px_request *rq = t->data;
    uv_timer_cb cb = rq->due_cb;
    uint64_t now = uv_now(&rq->px->loop);
    if (cb && now < rq->due) {
        look(rq, now);
    } else if (cb) {
        rq->due_cb = NULL;
        cb(t);
    }
}

static void look(struct px_request *rq, uint64_t now)
{
    rq->fires_at = rq->due;
    uv_timer_start(&rq->timer, on_timer, rq->due - now, 0);
}

void px_timer(struct px_request *rq, uint64_t ms, uv_timer_cb cb)
{
    uint64_t now = uv_now(&rq->px->loop);
    rq->due_cb = cb;
    rq->due = now + ms;
    if (!uv_is_active((uv_handle_t *)&rq->timer) || rq->fires_at > rq->due)
        look(rq, now);
}

void px_no_timer(struct px_request *rq)
{
    rq->due_cb = NULL;
}

/* ---- from a head to what is judged ---- */

bool px_request_method(struct px_request *rq, struct gvm_str method)
{
    if (method.n > GVM_MAX_METHOD)
        return false;
    for (size_t i = 0; i < method.n; i++)
        rq->method[i] =
            method.p[i] >= 'a' && method.p[i] <= 'z' ? (char)(method.p[i] - 32) : method.p[i];
    rq->method[method.n] = '\0';
    return true;
}

static void take_body(struct px_request *rq, const struct gvm_http1_head *h)
{
    rq->body = h->body == GVM_BODY_LENGTH && !h->content_length ? GVM_BODY_NONE : h->body;
    rq->in_done = rq->body == GVM_BODY_NONE;
    rq->expect_continue = h->expect_continue && !rq->in_done;
}

static bool takes_trailers(const struct gvm_http1_head *h)
{
    const struct gvm_header *te = gvm_http1_find(h, "te");
    struct gvm_str rest = te ? te->value : (struct gvm_str){0}, token;
    while (rest.n) {
        gvm_str_cut(&rest, ',', &token);
        if (gvm_str_ieqz(gvm_str_trim(token), "trailers"))
            return true;
    }
    return false;
}

static void write_head(struct px_request *rq, const struct gvm_http1_head *h)
{
    struct px_http1_line line = {.method = rq->method,
                                 .host = rq->host,
                                 .port = rq->port,
                                 .tls = rq->tls,
                                 .has_query = rq->has_query,
                                 .websocket = rq->websocket,
                                 .path = gvm_buf_str(&rq->path),
                                 .query = gvm_buf_str(&rq->query)};
    px_http1_request_head(h, &line, &rq->head);
}

int px_request_take(struct px_request *rq, const struct gvm_http1_head *h,
                    const struct px_target *t, struct gvm_err *err)
{
    rq->kind = PX_HTTP;
    memcpy(rq->host, t->host, sizeof rq->host);
    rq->is_ip = t->is_ip;
    rq->ip = t->ip;
    rq->port = t->port;
    rq->tls = t->tls;
    int r = gvm_target_canon(t->origin, &rq->path, &rq->query, &rq->has_query, err);
    if (r < 0)
        return r;
    take_body(rq, h);
    rq->te_trailers = takes_trailers(h);
    write_head(rq, h);
    if (!rq->head.failed)
        return 0;
    gvm_err_set(err, E2BIG, "the request head is too large");
    return -E2BIG;
}
