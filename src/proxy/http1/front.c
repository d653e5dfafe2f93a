/* The agent's side of HTTP/1, outwards: interim heads, one final head, the body in the framing the
 * agent understands, and answers of our own. Bytes go out as they come. */
#include "proxy/http1/head.h"
#include "proxy/pipeline/px.h"

static void to_agent(struct px_conn *c, const void *p, size_t n)
{
    if (n && c->agent && stream_write(c->agent, p, n) < 0)
        gvm_log(GVM_LOG_DEBUG,
                "an answer could not be sent"); /* the stream tells why, from the loop */
}

static void go_on(struct px_request *rq)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    to_agent(rq->conn, text, sizeof text - 1);
}

static void hold(struct px_request *rq)
{
    px_conn_pause(rq->conn);
}

static void resume(struct px_request *rq)
{
    px_conn_resume(rq->conn);
}

static bool full(const struct px_request *rq)
{
    return rq->conn->agent && stream_queued(rq->conn->agent) > GVM_STREAM_HIGH;
}

/* ---- the upstream's answer ---- */

static void head(struct px_request *rq, const struct gvm_http1_head *h)
{
    struct gvm_buf *out = &rq->px->scratch;
    bool final = h->status >= 200 || h->status == 101;
    if (!final && !rq->minor)
        return;
    if (final) {
        rq->rchunked = h->body == GVM_BODY_CHUNKED && rq->minor;
        if (h->body == GVM_BODY_CLOSE || (h->body == GVM_BODY_CHUNKED && !rq->minor))
            rq->close = true;
    }
    struct px_http1_status line = {.minor = rq->minor,
                                   .chunked = final && rq->rchunked,
                                   .close = final && rq->close,
                                   .to_head = strcmp(rq->method, "HEAD") == 0};
    gvm_buf_reset(out);
    px_http1_response_head(h, &line, out);
    to_agent(rq->conn, gvm_buf_data(out), out->len);
}

static void data(struct px_request *rq, struct gvm_str span)
{
    if (!rq->rchunked) {
        to_agent(rq->conn, span.p, span.n);
        return;
    }
    struct gvm_buf *out = &rq->px->scratch;
    gvm_buf_reset(out);
    px_http1_chunk(out, span);
    to_agent(rq->conn, gvm_buf_data(out), out->len);
}

static void end(struct px_request *rq, struct gvm_str trailers)
{
    if (!rq->rchunked)
        return;
    struct gvm_buf *out = &rq->px->scratch;
    gvm_buf_reset(out);
    px_http1_last_chunk(out, trailers);
    to_agent(rq->conn, gvm_buf_data(out), out->len);
}

/* ---- answers of our own ---- */

static const struct {
    unsigned status;
    const char *text;
} reasons[] = {
    {400, "Bad Request"},         {403, "Forbidden"},
    {405, "Method Not Allowed"},  {408, "Request Timeout"},
    {421, "Misdirected Request"}, {431, "Request Header Fields Too Large"},
    {502, "Bad Gateway"},         {503, "Service Unavailable"},
    {504, "Gateway Timeout"},     {505, "HTTP Version Not Supported"},
};

static const char *reason_phrase(unsigned status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Refused";
}

static void answer(struct px_request *rq, const struct px_answer *a)
{
    struct gvm_buf *out = &rq->px->scratch;
    rq->close = a->close || rq->close || rq->conn->agent_eof || !rq->in_done;
    gvm_buf_reset(out);
    gvm_buf_addf(out,
                 "HTTP/1.1 %u %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                 "Cache-Control: no-store\r\n",
                 a->status, reason_phrase(a->status), a->json.n);
    if (a->decision)
        gvm_buf_addf(out, "X-GVM-Decision: %s\r\n", a->decision);
    if (a->status == 503)
        gvm_buf_addz(out, "Retry-After: 1\r\n");
    gvm_buf_addz(out, rq->close   ? "Connection: close\r\n\r\n"
                      : rq->minor ? "\r\n"
                                  : "Connection: keep-alive\r\n\r\n");
    if (strcmp(rq->method, "HEAD") != 0)
        gvm_buf_adds(out, a->json);
    if (!out->failed)
        to_agent(rq->conn, gvm_buf_data(out), out->len);
}

/* ---- the end ---- */

static void done(struct px_request *rq)
{
    if (rq->close)
        px_conn_close(rq->conn, PX_LINGER_MS, NULL);
    else
        px_http1_next(rq->conn);
}

static void give_up(struct px_request *rq, uint64_t linger_ms, const char *error)
{
    px_conn_close(rq->conn, linger_ms, error);
}

/* A plain peer sees a reset. */
static void cut(struct px_request *rq, const char *error)
{
    struct px_conn *c = rq->conn;
    struct stream *s = c->agent;
    c->agent = NULL;
    px_conn_close(c, 0, error);
    if (s)
        stream_abort(s);
}

const struct px_front px_http1_front = {
    .go_on = go_on,
    .pause = hold,
    .resume = resume,
    .full = full,
    .head = head,
    .data = data,
    .end = end,
    .answer = answer,
    .done = done,
    .close = give_up,
    .cut = cut,
};
