/* The sandbox's DNS, on the sockets the launcher opened: every answer is made here, nothing is
 * asked of anybody. A name is recorded when it is first asked for, a broken query each time. While
 * the ledger does not take entries, queries stay without an answer and the client asks again. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/pipeline/px.h"

#define TCP_CONNS_MAX 64u
#define TCP_IDLE_MS   10000u

/* The sandbox's own loopback, not a name of the table. */
static bool is_localhost(const char *name)
{
    struct gvm_str s = gvm_str(name);
    return gvm_str_eqz(s, "localhost") || gvm_str_ends(s, GVM_STR(".localhost"));
}

static void record_query(struct px_run *run, const struct gvm_dns_reply *r, const char *how)
{
    struct gvm_jw w;
    struct gvm_ip v4, v6;
    char text[INET6_ADDRSTRLEN];
    bool fresh;
    gvm_buf_reset(&run->px->line);
    gvm_entry_begin(&w, &run->px->line, "dns.query", run->id, run->agent);
    gvm_jw_kint(&w, "qtype", r->question.qtype);
    gvm_jw_kint(&w, "rcode", r->rcode);
    gvm_jw_kstrz(&w, "transport", how);
    gvm_entry_private(&w);
    gvm_jw_kstrz(&w, "name", r->question.name);
    gvm_jw_key(&w, "address");
    if (r->rcode == GVM_DNS_NOERROR && !is_localhost(r->question.name) &&
        gvm_dns_names_assign(run->names, r->question.name, &v4, &v6, &fresh) == 0) {
        gvm_ip_text(&v4, text);
        gvm_jw_strz(&w, text);
    } else {
        gvm_jw_null(&w);
    }
    if (gvm_entry_end(&w) == 0)
        px_append_quiet(run->px);
}

static void record_refused(struct px_run *run, const char *how)
{
    struct gvm_jw w;
    gvm_buf_reset(&run->px->line);
    gvm_entry_begin(&w, &run->px->line, "dns.refused", run->id, run->agent);
    gvm_jw_kstrz(&w, "why", "malformed");
    gvm_jw_kstrz(&w, "transport", how);
    if (gvm_entry_end(&w) == 0)
        px_append_quiet(run->px);
}

/* Appends the answer to `out`; negative: none. */
static int serve(struct px_run *run, struct gvm_str query, const char *how, struct gvm_buf *out)
{
    struct gvm_dns_reply reply = {0};
    if (!px_gate_open(run->px) || px_ledger_busy(run->px))
        return -EAGAIN;
    int r = gvm_dns_serve(run->names, query, out, &reply);
    run->queries++;
    run->fresh_names += reply.fresh;
    run->queries_refused += !reply.parsed;
    if (!reply.parsed)
        record_refused(run, how);
    else if (reply.fresh)
        record_query(run, &reply, how);
    return r;
}

/* ---- UDP ---- */

static void give_buffer(uv_handle_t *h, size_t hint, uv_buf_t *ret)
{
    static char bytes[65536]; /* one datagram at a time, used before the next */
    *ret = uv_buf_init(bytes, sizeof bytes);
}

static void on_datagram(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
                        unsigned flags)
{
    struct px_listener *l = udp->data;
    struct gvm_buf out GVM_CLEANUP(gvm_buf_done);
    if (n <= 0 || !from || (flags & UV_UDP_PARTIAL))
        return;
    gvm_buf_init(&out, GVM_MAX_DNS);
    if (serve(l->run, (struct gvm_str){buf->base, (size_t)n}, "udp", &out) < 0)
        return;
    uv_buf_t answer = uv_buf_init((char *)gvm_buf_data(&out), (unsigned)out.len);
    (void)uv_udp_try_send(udp, &answer, 1, from); /* lost is lost: it is UDP */
}

int px_dns_udp_start(struct px_listener *l, struct gvm_err *err)
{
    int r = uv_udp_recv_start(&l->uv.udp, give_buffer, on_datagram);
    return r < 0 ? gvm_err_sys(err, -r, "cannot listen for DNS") : 0;
}

/* ---- TCP: two bytes of length before each message (RFC 1035 4.2.2) ---- */

struct px_dns_conn {
    struct px_dns_conn *next, **link;
    struct px_run *run;
    struct stream *s;
    struct gvm_buf in;
};

/* The stream is closed by the caller when it still lives. */
static void forget(struct px_dns_conn *d)
{
    *d->link = d->next;
    if (d->next)
        d->next->link = d->link;
    d->run->ndns--;
    px_run_unref(d->run);
    gvm_buf_done(&d->in);
    free(d);
}

static void end(struct px_dns_conn *d, uint64_t linger_ms)
{
    stream_close(d->s, linger_ms);
    forget(d);
}

/* One message at the front of d->in, n bytes behind the length. False: no more. */
static bool answer_one(struct px_dns_conn *d, size_t n)
{
    struct gvm_buf out GVM_CLEANUP(gvm_buf_done);
    const char *msg = (const char *)gvm_buf_data(&d->in) + 2;
    uint8_t len[2];
    gvm_buf_init(&out, GVM_MAX_DNS);
    if (serve(d->run, (struct gvm_str){msg, n}, "tcp", &out) < 0)
        return false;
    gvm_put16(len, (uint16_t)out.len);
    return stream_write(d->s, len, sizeof len) == 0 &&
           stream_write(d->s, gvm_buf_data(&out), out.len) == 0;
}

static void on_data(void *arg, const uint8_t *p, size_t n)
{
    struct px_dns_conn *d = arg;
    bool good = gvm_buf_add(&d->in, p, n) == 0;
    while (good && d->in.len >= 2) {
        const uint8_t *at = gvm_buf_data(&d->in);
        size_t want = at ? gvm_get16(at) : 0;
        if (want < 12 || want > GVM_MAX_DNS) {
            record_refused(d->run, "tcp");
            good = false;
        } else if (d->in.len < 2 + want) {
            break;
        } else {
            good = answer_one(d, want);
            gvm_buf_consume(&d->in, 2 + want);
        }
    }
    if (!good || stream_queued(d->s) > GVM_STREAM_LOW)
        end(d, TCP_IDLE_MS);
}

static void on_eof(void *arg)
{
    end(arg, TCP_IDLE_MS);
}

static void on_idle(void *arg)
{
    end(arg, 0);
}

static void on_close(void *arg, const struct gvm_err *err)
{
    forget(arg);
}

void px_dns_tcp_accept(struct px_listener *l)
{
    static const struct stream_events events = {on_data, on_eof, NULL, on_close};
    static const struct stream_events nothing = {0};
    struct px_run *run = l->run;
    struct stream *s;
    run->dns_connections++;
    struct px_dns_conn *d =
        run->ndns < TCP_CONNS_MAX && !run->ending ? gvm_calloc(1, sizeof *d) : NULL;
    if (stream_accept(&l->uv.stream, d ? &events : &nothing, d, &s, NULL) < 0 || !d) {
        if (!d)
            stream_close(s, 0);
        free(d);
        return;
    }
    gvm_buf_init(&d->in, 2 * (GVM_MAX_DNS + 2) + 65536);
    d->run = run;
    d->s = s;
    d->link = &run->dns_conns;
    d->next = run->dns_conns;
    if (d->next)
        d->next->link = &d->next;
    run->dns_conns = d;
    run->ndns++;
    run->refs++;
    stream_idle(s, TCP_IDLE_MS, on_idle);
    stream_resume(s);
}

void px_dns_conns_close(struct px_run *run)
{
    while (run->dns_conns)
        end(run->dns_conns, 0);
}
