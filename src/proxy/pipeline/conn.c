/* Agent connections: from accept to the last byte. What arrives is handled by the row of the state the
 * connection is in. */
#include <errno.h>
#include <stdlib.h>

#include "proxy/pipeline/px.h"

#define CROWDED_NS 1000000000 /* "too many connections" is recorded once a second */

static void append_and(struct px_conn *c, const uint8_t *p, size_t n, void (*then)(struct px_conn *))
{
    if (px_conn_keep(c, p, n) && then)
        then(c);
}

static void data_sniff(struct px_conn *c, const uint8_t *p, size_t n)
{
    append_and(c, p, n, px_sniff);
}

static void data_hello(struct px_conn *c, const uint8_t *p, size_t n)
{
    append_and(c, p, n, px_hello);
}

static void data_head(struct px_conn *c, const uint8_t *p, size_t n)
{
    append_and(c, p, n, px_request_read);
}

/* Bytes that come while nobody wants them yet wait, and then their sender does. */
static void data_keep(struct px_conn *c, const uint8_t *p, size_t n)
{
    if (px_conn_keep(c, p, n) && c->in.len > PX_PIPELINED)
        px_conn_pause(c);
}

static void data_body(struct px_conn *c, const uint8_t *p, size_t n)
{
    if (c->rq.in_done)
        data_keep(c, p, n);
    else
        px_forward_body(c, p, n);
}

static void eof_close(struct px_conn *c)
{
    px_conn_close(c, 0, NULL);
}

/* A person's or a timer's time is not spent on somebody who left. */
static void eof_held(struct px_conn *c)
{
    bool waits = c->rq.ask || uv_is_active((uv_handle_t *)&c->timer);
    if (waits || c->rq.kind != PX_HTTP)
        px_conn_close(c, 0, "the client left");
}

static void eof_body(struct px_conn *c)
{
    if (!c->rq.in_done)
        px_conn_close(c, 0, "the client left in the middle of its request");
}

static const struct {
    void (*data)(struct px_conn *c, const uint8_t *p, size_t n);
    void (*eof)(struct px_conn *c);
} states[] = {
    [PX_CLOSED] = {NULL, NULL},
    [PX_SNIFF] = {data_sniff, eof_close},
    [PX_HELLO] = {data_hello, eof_close},
    [PX_SHAKE] = {data_keep, eof_close},
    [PX_HEAD] = {data_head, eof_close},
    [PX_HELD] = {data_keep, eof_held},
    [PX_BODY] = {data_body, eof_body},
    [PX_RELAY] = {px_relay_data, px_relay_agent_eof},
};

static void on_data(void *arg, const uint8_t *p, size_t n)
{
    struct px_conn *c = arg;
    if (states[c->state].data)
        states[c->state].data(c, p, n);
}

static void on_eof(void *arg)
{
    struct px_conn *c = arg;
    c->agent_eof = true;
    if (states[c->state].eof)
        states[c->state].eof(c);
}

static void on_drain(void *arg)
{
    struct px_conn *c = arg;
    if (c->rq.up && (c->state == PX_BODY || c->state == PX_RELAY))
        stream_resume(c->rq.up);
}

static void on_close(void *arg, const struct gvm_err *err)
{
    struct px_conn *c = arg;
    c->agent = NULL;
    px_conn_close(c, 0, err ? "the client's connection broke" : "the client left");
}

static const struct stream_events agent_events = {on_data, on_eof, on_drain, on_close};

bool px_conn_keep(struct px_conn *c, const uint8_t *p, size_t n)
{
    if (gvm_buf_add(&c->in, p, n) == 0)
        return true;
    px_conn_close(c, 0, "out of memory");
    return false;
}

void px_conn_pause(struct px_conn *c)
{
    if (!c->agent || c->agent_paused)
        return;
    c->agent_paused = true;
    stream_pause(c->agent);
}

void px_conn_resume(struct px_conn *c)
{
    if (!c->agent || !c->agent_paused)
        return;
    c->agent_paused = false;
    stream_resume(c->agent);
}

void px_conn_timer(struct px_conn *c, uint64_t ms, uv_timer_cb cb)
{
    uv_timer_start(&c->timer, cb, ms, 0);
}

void px_conn_no_timer(struct px_conn *c)
{
    uv_timer_stop(&c->timer);
}

/* ---- the end ---- */

static void done_request(struct px_request *rq)
{
    gvm_buf_done(&rq->path);
    gvm_buf_done(&rq->query);
    gvm_buf_done(&rq->head);
    gvm_buf_wipe(&rq->cred);
    gvm_buf_done(&rq->rin);
    gvm_buf_done(&rq->grant_key);
    px_policy_unref(rq->policy);
}

static void free_conn(uv_handle_t *h)
{
    struct px_conn *c = h->data;
    struct px_run *run = c->run;
    done_request(&c->rq);
    gvm_buf_done(&c->in);
    free(c);
    px_run_unref(run);
}

static void unlink_conn(struct px_conn *c)
{
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    c->run->nconns--;
}

static void unpark_one(struct px_conn *c)
{
    struct px *px = c->px;
    for (struct px_conn **at = &px->parked; *at; at = &(*at)->park_next) {
        if (*at != c)
            continue;
        *at = c->park_next;
        if (!*at)
            px->parked_tail = at;
        break;
    }
    c->parked = false;
}

void px_conn_close(struct px_conn *c, uint64_t linger_ms, const char *error)
{
    if (px_conn_closed(c))
        return;
    struct px_request *rq = &c->rq;
    px_ask_gone(c, error ? error : "the connection ended");
    px_outcome(c, error);
    c->state = PX_CLOSED;
    if (c->parked)
        unpark_one(c);
    px_batch_forget(c);
    px_leaf_forget(c);
    px_link_cancel(c->px, &rq->waiter);
    if (rq->ask_up)
        upstream_cancel(rq->ask_up);
    rq->ask_up = NULL;
    if (rq->up)
        stream_close(rq->up, linger_ms);
    rq->up = NULL;
    if (c->agent)
        stream_close(c->agent, linger_ms);
    c->agent = NULL;
    unlink_conn(c);
    uv_close((uv_handle_t *)&c->timer, free_conn);
}

/* ---- the next request ---- */

static void on_idle(uv_timer_t *t)
{
    px_conn_close(t->data, 0, NULL);
}

void px_conn_next(struct px_conn *c)
{
    px_request_reset(c);
    if (c->agent_eof && !c->in.len) {
        px_conn_close(c, PX_LINGER_MS, NULL);
        return;
    }
    c->state = PX_HEAD;
    c->first_head = true;
    px_conn_timer(c, px_timeouts(c->run)->idle, on_idle);
    px_conn_resume(c);
    if (c->in.len)
        px_request_read(c);
}

/* ---- the beginning ---- */

static bool is_own(const struct px_listener *l, const struct gvm_ip *ip, uint16_t port)
{
    static const struct gvm_ip own4 = {4, {198, 18, 0, 1}};
    static const struct gvm_ip own6 = {6, {0xfd, 0, 0x67, 0x76, 0x6d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
    if (port != l->port)
        return false;
    return gvm_ip_eq(ip, &own4) || gvm_ip_eq(ip, &own6) || gvm_ip_eq(ip, &l->ip) ||
           gvm_ip_class(ip) == GVM_IP_LOOPBACK;
}

static void find_dest(struct px_conn *c, const struct px_listener *l)
{
    struct gvm_ip ip;
    uint16_t port;
    if (stream_original_dst(c->agent, &ip, &port) < 0 || is_own(l, &ip, port))
        c->dest = (struct px_dest){.kind = PX_DEST_ANY};
    else
        px_dest_of(c->run->names, &ip, port, &c->dest);
}

static void init_request(struct px_request *rq)
{
    gvm_buf_init(&rq->path, GVM_MAX_TARGET * 3);
    gvm_buf_init(&rq->query, GVM_MAX_TARGET);
    gvm_buf_init(&rq->head, GVM_MAX_HEAD * 2);
    gvm_buf_init(&rq->cred, GVM_MAX_HEAD);
    gvm_buf_init(&rq->rin, PX_IN_MAX);
    gvm_buf_init(&rq->grant_key, GVM_MAX_HEAD);
}

static struct px_conn *new_conn(struct px_run *run)
{
    struct px_conn *c = gvm_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->px = run->px;
    c->run = run;
    c->agent_paused = true; /* streams start so */
    gvm_buf_init(&c->in, PX_IN_MAX);
    init_request(&c->rq);
    uv_timer_init(&run->px->loop, &c->timer);
    c->timer.data = c;
    c->state = PX_SNIFF;
    c->link = &run->conns;
    c->next = run->conns;
    if (c->next)
        c->next->link = &c->next;
    run->conns = c;
    run->nconns++;
    run->refs++;
    return c;
}

/* Takes the connection off the queue and drops it. */
static void turn_away(struct px_listener *l)
{
    static const struct stream_events nothing = {0};
    struct px_run *run = l->run;
    struct stream *s;
    if (stream_accept(&l->uv.stream, &nothing, NULL, &s, NULL) == 0)
        stream_close(s, 0);
    int64_t now = gvm_mono_ns();
    if (now - run->crowded_ns < CROWDED_NS)
        return;
    run->crowded_ns = now;
    struct gvm_jw w;
    gvm_buf_reset(&run->px->line);
    gvm_entry_begin(&w, &run->px->line, "http.refused", run->id, run->agent);
    gvm_jw_kstrz(&w, "why", "too many connections");
    gvm_jw_kint(&w, "status", 0);
    if (gvm_entry_end(&w) == 0)
        px_append_quiet(run->px);
}

void px_conn_accept(struct px_listener *l)
{
    struct px_run *run = l->run;
    struct px_conn *c = run->nconns < GVM_MAX_CONNS && !run->ending ? new_conn(run) : NULL;
    if (!c) {
        turn_away(l);
        return;
    }
    if (stream_accept(&l->uv.stream, &agent_events, c, &c->agent, NULL) < 0) {
        px_conn_close(c, 0, NULL);
        return;
    }
    run->connections++;
    find_dest(c, l);
    px_sniff_start(c);
}
