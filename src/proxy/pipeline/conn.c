/* Agent connections: from accept to the last byte. What arrives is handled by the row of the state
 * the connection is in. */
#include <errno.h>
#include <stdlib.h>

#include "proxy/pipeline/px.h"

#define CROWDED_NS 1000000000 /* "too many connections" is recorded once a second */

static void append_and(struct px_conn *c, const uint8_t *p, size_t n,
                       void (*then)(struct px_conn *))
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
    append_and(c, p, n, px_http1_read);
}

/* Bytes that come while nobody wants them yet wait, and then their sender does. */
static void data_keep(struct px_conn *c, const uint8_t *p, size_t n)
{
    if (px_conn_keep(c, p, n) && c->in.len > PX_PIPELINED)
        px_conn_pause(c);
}

/* The rest of a body, whether it is passed on yet or not. */
static void data_body(struct px_conn *c, const uint8_t *p, size_t n)
{
    if (c->rq.kind != PX_HTTP || c->rq.in_done)
        data_keep(c, p, n);
    else
        px_http1_body_in(c, p, n);
}

static void eof_close(struct px_conn *c)
{
    px_conn_close(c, 0, NULL);
}

static void eof_body(struct px_conn *c)
{
    if (!c->rq.in_done)
        px_conn_close(c, 0, "the client left in the middle of its request");
}

/* A person's or a timer's time is not spent on somebody who left. */
static void eof_held(struct px_conn *c)
{
    bool waits = c->rq.ask || px_timer_set(&c->rq);
    if (waits || c->rq.kind != PX_HTTP)
        px_conn_close(c, 0, "the client left");
    else
        eof_body(c);
}

static const struct {
    void (*data)(struct px_conn *c, const uint8_t *p, size_t n);
    void (*eof)(struct px_conn *c);
} states[] = {
    [PX_CLOSED] = {NULL, NULL},           [PX_SNIFF] = {data_sniff, eof_close},
    [PX_HELLO] = {data_hello, eof_close}, [PX_SHAKE] = {data_keep, eof_close},
    [PX_HEAD] = {data_head, eof_close},   [PX_HELD] = {data_body, eof_held},
    [PX_BODY] = {data_body, eof_body},    [PX_RELAY] = {px_relay_data, px_relay_agent_eof},
    [PX_H2] = {px_h2_data, px_h2_eof},
};

static void on_data(void *arg, const uint8_t *p, size_t n)
{
    struct px_conn *c = arg;
    if (states[c->rq.state].data)
        states[c->rq.state].data(c, p, n);
}

static void on_eof(void *arg)
{
    struct px_conn *c = arg;
    c->agent_eof = true;
    if (states[c->rq.state].eof)
        states[c->rq.state].eof(c);
}

static void on_drain(void *arg)
{
    struct px_conn *c = arg;
    if (c->rq.state == PX_H2)
        px_h2_drain(c);
    else if (c->rq.state == PX_RELAY)
        stream_resume(c->rq.up);
    else
        px_front_drained(&c->rq);
}

static void on_close(void *arg, const struct gvm_err *err)
{
    struct px_conn *c = arg;
    c->agent = NULL;
    bool memory = err && err->code == ENOMEM;
    px_conn_close(c, 0,
                  memory ? PX_NO_MEMORY
                  : err  ? "the client's connection broke"
                         : "the client left");
}

static const struct stream_events agent_events = {on_data, on_eof, on_drain, on_close};

bool px_conn_keep(struct px_conn *c, const uint8_t *p, size_t n)
{
    if (gvm_buf_add(&c->in, p, n) == 0)
        return true;
    px_conn_close(c, 0, PX_NO_MEMORY);
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

/* ---- the end ---- */

static void free_conn(uv_handle_t *h)
{
    struct px_conn *c = ((struct px_request *)h->data)->conn;
    struct px_run *run = c->run;
    px_h2_free(c);
    px_request_done(&c->rq);
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

void px_conn_close(struct px_conn *c, uint64_t linger_ms, const char *error)
{
    if (px_conn_closed(c))
        return;
    px_leaf_forget(c);
    px_h2_end(c, error);
    px_request_end(&c->rq, linger_ms, error);
    if (c->agent)
        stream_close(c->agent, linger_ms);
    c->agent = NULL;
    unlink_conn(c);
    uv_close((uv_handle_t *)&c->rq.timer, free_conn);
}

/* ---- the beginning ---- */

static bool is_own(const struct px_listener *l, const struct gvm_ip *ip, uint16_t port)
{
    static const struct gvm_ip own4 = {4, {198, 18, 0, 1}};
    static const struct gvm_ip own6 = {
        6, {0xfd, 0, 0x67, 0x76, 0x6d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
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

static struct px_conn *new_conn(struct px_run *run)
{
    struct px_conn *c = gvm_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->px = run->px;
    c->run = run;
    c->agent_paused = true; /* streams start so */
    gvm_buf_init(&c->in, PX_IN_MAX);
    gvm_buf_bill(&c->in, run->bill);
    px_request_init(&c->rq, c, &px_http1_front);
    c->rq.state = PX_SNIFF;
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
    run->connections++; /* whatever becomes of it: the kernel has counted it too */
    if (!c) {
        turn_away(l);
        return;
    }
    if (stream_accept(&l->uv.stream, &agent_events, c, &c->agent, NULL) < 0) {
        px_conn_close(c, 0, NULL);
        return;
    }
    stream_bill(c->agent, run->bill);
    find_dest(c, l);
    px_sniff_start(c);
}
