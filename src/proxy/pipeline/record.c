/* What goes into the ledger. Entries are built in px->line, one at a time, and sent at once. */
#include <errno.h>
#include <openssl/evp.h>

#include "proxy/pipeline/px.h"

#define RAW_MAX 256u /* bytes kept of what a client sent that could not be read */

static struct gvm_jw begin(struct px_request *rq, const char *kind)
{
    struct gvm_jw w;
    gvm_buf_reset(&rq->px->line);
    gvm_entry_begin(&w, &rq->px->line, kind, rq->run->id, rq->run->agent);
    if (rq->id[0])
        gvm_jw_kstrz(&w, "id", rq->id);
    return w;
}

/* What does not fit is not sent: px_append() looks. */
static void finish(struct gvm_jw *w)
{
    if (gvm_entry_end(w) < 0)
        w->out->failed = true;
}

/* ---- sending ---- */

static int line_ready(struct px *px)
{
    return px->line.failed || px->line.len > GVM_MAX_ENTRY ? -E2BIG : 0;
}

int px_append(struct px *px, px_answer_fn *cb, void *arg, uint64_t *ret_waiter)
{
    struct gvm_m_append h = {0};
    int r = line_ready(px);
    if (r == 0)
        r = px_batch_flush(px); /* what was before stays before */
    if (r < 0)
        return r;
    return px_link_ask(px, GVM_ROLE_LEDGER, GVM_MSG_APPEND, &h, sizeof h, gvm_buf_data(&px->line),
                       px->line.len, cb, arg, ret_waiter);
}

int px_append_decision(struct px_request *rq)
{
    struct px *px = rq->px;
    int r = line_ready(px);
    if (r == 0)
        r = px_batch_add(px, gvm_buf_str(&px->line));
    if (r == 0)
        px_batch_hold(rq);
    return r;
}

void px_append_quiet(struct px *px)
{
    int r = line_ready(px);
    if (r == 0)
        r = px_batch_add(px, gvm_buf_str(&px->line));
    if (r < 0)
        gvm_log(GVM_LOG_WARN, "an entry was not recorded: %s", strerrordesc_np(-r));
}

bool px_appended(const struct gvm_msg *m)
{
    struct gvm_m_appended a;
    if (!m || m->type != GVM_MSG_APPENDED)
        return false;
    memcpy(&a, m->data, sizeof a);
    return a.error == 0;
}

/* ---- entries ---- */

static void give_id(struct px_request *rq)
{
    if (!rq->id[0])
        (void)snprintf(rq->id, sizeof rq->id, "%s.%llu", rq->run->id,
                       (unsigned long long)++rq->run->next_id);
}

static void put_policy(struct gvm_jw *w, const struct px_policy *p)
{
    gvm_jw_kstrz(w, "policy", p->conf->hash);
}

/* A query may hold secrets: its digest with the run's salt tells equal from different, nothing
 * else. */
static void put_query(struct gvm_jw *w, const struct px_request *rq)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    char text[7 + 2 * 32 + 1] = "sha256:";
    unsigned n = 0;
    gvm_jw_key(w, "query");
    if (!rq->has_query) {
        gvm_jw_null(w);
        return;
    }
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(md, rq->run->salt, sizeof rq->run->salt) == 1 &&
              EVP_DigestUpdate(md, gvm_buf_data(&rq->query), rq->query.len) == 1 &&
              EVP_DigestFinal_ex(md, sum, &n) == 1;
    EVP_MD_CTX_free(md);
    if (ok && n == 32)
        gvm_hex(text + 7, sum, n);
    gvm_jw_strz(w, text);
}

static void put_verdict(struct gvm_jw *w, const struct px_request *rq)
{
    const struct gvm_verdict *v = &rq->verdict;
    gvm_jw_kstrz(w, "decision", gvm_decision_name(v->decision));
    gvm_jw_kstr(w, "rule", v->name);
    gvm_jw_kint(w, "line", v->line);
    if (v->decision == GVM_DELAY)
        gvm_jw_kint(w, "delay_ms", v->delay_ms);
    if (v->reason.n)
        gvm_jw_kstr(w, "reason", v->reason);
    if (v->unverifiable)
        gvm_jw_kstrz(w, "unverifiable", v->why);
    if (v->partial)
        gvm_jw_kbool(w, "partial", true);
    if (v->over_limit)
        gvm_jw_kbool(w, "over_limit", true);
    if (rq->run->watch) {
        gvm_jw_kbool(w, "watch", true);
        gvm_jw_kstrz(w, "enforced", gvm_decision_name(rq->enforced));
    }
}

static void record_http(struct px_request *rq)
{
    struct gvm_jw w = begin(rq, "http.decision");
    gvm_jw_kstrz(&w, "method", rq->method);
    gvm_jw_kstrz(&w, "scheme", rq->tls ? "https" : "http");
    gvm_jw_kint(&w, "port", rq->port);
    put_verdict(&w, rq);
    put_policy(&w, rq->policy);
    gvm_entry_private(&w);
    gvm_jw_kstrz(&w, "host", rq->host);
    gvm_jw_kstr(&w, "path", gvm_buf_str(&rq->path));
    put_query(&w, rq);
    finish(&w);
}

static void record_tcp(struct px_request *rq)
{
    struct gvm_jw w = begin(rq, "tcp.open");
    gvm_jw_kint(&w, "port", rq->port);
    gvm_jw_kstrz(&w, "protocol", rq->kind == PX_TCP ? "tcp" : "tls-opaque");
    put_verdict(&w, rq);
    put_policy(&w, rq->policy);
    gvm_entry_private(&w);
    gvm_jw_kstrz(&w, "name", rq->is_ip ? NULL : rq->host);
    gvm_jw_kstrz(&w, "host", rq->host);
    finish(&w);
}

void px_record_decision(struct px_request *rq)
{
    give_id(rq);
    if (rq->kind == PX_HTTP)
        record_http(rq);
    else
        record_tcp(rq);
}

static void put_ws(struct gvm_jw *w, const struct px_request *rq)
{
    struct px_ws_counts n;
    if (!px_ws_counts(rq, &n))
        return;
    gvm_jw_key(w, "ws");
    gvm_jw_object(w);
    gvm_jw_kint(w, "sent", (int64_t)n.sent);
    gvm_jw_kint(w, "sent_bytes", (int64_t)n.sent_bytes);
    gvm_jw_kint(w, "received", (int64_t)n.received);
    gvm_jw_kint(w, "received_bytes", (int64_t)n.received_bytes);
    gvm_jw_object_end(w);
}

void px_record_ws(struct px_request *rq, const char *direction, const struct gvm_verdict *v)
{
    struct gvm_jw w = begin(rq, "ws.message");
    gvm_jw_kstrz(&w, "direction", direction);
    gvm_jw_kstrz(&w, "decision", gvm_decision_name(v->decision));
    gvm_jw_kstr(&w, "rule", v->name);
    gvm_jw_kint(&w, "line", v->line);
    gvm_jw_kstr(&w, "reason", v->reason);
    if (v->unverifiable)
        gvm_jw_kstrz(&w, "unverifiable", v->why);
    gvm_entry_private(&w);
    gvm_jw_kstrz(&w, "host", rq->host);
    finish(&w);
}

static void put_upstream(struct gvm_jw *w, const struct px_request *rq)
{
    struct gvm_buf *at = &rq->px->scratch;
    char ip[INET6_ADDRSTRLEN];
    gvm_jw_key(w, "upstream");
    if (!rq->up_port) {
        gvm_jw_null(w);
        return;
    }
    gvm_ip_text(&rq->up_ip, ip);
    gvm_buf_reset(at);
    gvm_buf_addz(at, rq->up_ip.family == 6 ? "[" : "");
    gvm_buf_addz(at, ip);
    gvm_buf_addz(at, rq->up_ip.family == 6 ? "]:" : ":");
    gvm_buf_addu(at, rq->up_port);
    gvm_jw_str(w, gvm_buf_str(at));
}

void px_record_outcome(struct px_request *rq, const char *error)
{
    struct gvm_jw w = begin(rq, rq->kind == PX_HTTP ? "http.outcome" : "tcp.close");
    if (rq->kind == PX_HTTP)
        gvm_jw_kint(&w, "status", rq->status);
    gvm_jw_kint(&w, "bytes_out", (int64_t)rq->bytes_out);
    gvm_jw_kint(&w, "bytes_in", (int64_t)rq->bytes_in);
    gvm_jw_kint(&w, "ms", (gvm_mono_ns() - rq->began_ns) / 1000000);
    put_ws(&w, rq);
    gvm_entry_private(&w);
    put_upstream(&w, rq);
    if (error)
        gvm_jw_kstrz(&w, "error", error);
    finish(&w);
}

void px_outcome(struct px_request *rq, const char *error)
{
    if (!rq->live)
        return;
    rq->live = false;
    px_limit_bytes(rq);
    rq->run->bytes_out += rq->bytes_out;
    rq->run->bytes_in += rq->bytes_in;
    px_record_outcome(rq, error);
    px_append_quiet(rq->px);
}

/* The first line at most, and no query: fields and queries may hold secrets. */
static struct gvm_str first_words(struct gvm_str raw)
{
    size_t n = 0;
    while (n < raw.n && n < RAW_MAX && raw.p[n] != '\n' && raw.p[n] != '?')
        n++;
    return (struct gvm_str){raw.p, n};
}

void px_record_refused(struct px_request *rq, unsigned status, const char *why, const char *reason,
                       struct gvm_str raw)
{
    give_id(rq);
    struct gvm_jw w = begin(rq, "http.refused");
    gvm_jw_kstrz(&w, "why", why);
    gvm_jw_kint(&w, "status", status);
    if (reason)
        gvm_jw_kstrz(&w, "reason", reason);
    gvm_entry_private(&w);
    const char *host = rq->host[0]              ? rq->host
                       : rq->conn->dest.host[0] ? rq->conn->dest.host
                                                : rq->conn->sni;
    if (host[0])
        gvm_jw_kstrz(&w, "host", host);
    raw = first_words(raw);
    if (raw.n) {
        gvm_jw_key(&w, "client");
        gvm_jw_object(&w);
        gvm_jw_kstr(&w, "raw", raw);
        gvm_jw_object_end(&w);
    }
    finish(&w);
    px_append_quiet(rq->px);
}

void px_record_approval(struct px_request *rq, bool allow, const char *who, const char *how,
                        const char *scope, const char *why)
{
    struct gvm_jw w = begin(rq, "approval");
    gvm_jw_kint(&w, "ask", (int64_t)rq->ask);
    gvm_jw_kbool(&w, "allow", allow);
    gvm_jw_kstrz(&w, "who", who);
    gvm_jw_kstrz(&w, "how", how);
    gvm_jw_kstrz(&w, "scope", scope);
    gvm_jw_kint(&w, "waited_ms", rq->asked_ns ? (gvm_mono_ns() - rq->asked_ns) / 1000000 : 0);
    if (why && why[0])
        gvm_jw_kstrz(&w, "why", why);
    gvm_jw_kstr(&w, "rule", rq->verdict.name);
    finish(&w);
}

void px_record_credential(struct px_request *rq, const char *type)
{
    struct gvm_jw w = begin(rq, "credential.use");
    gvm_jw_kstrz(&w, "type", type);
    gvm_entry_private(&w);
    gvm_jw_kstrz(&w, "host", rq->host);
    finish(&w);
}
