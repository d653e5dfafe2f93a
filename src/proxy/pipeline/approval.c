/* RequireApproval: the live request waits, its connection open, until a person answers.
 *
 * What is asked about is bound to the answer by a digest over the request as it will be forwarded
 * and as much of its body as was read; the answer is for this ask alone. It becomes a grant for the
 * same rule, method and URL only when the person said so. Timeout, a lost control process and a
 * client that leaves all deny.
 *
 * Control records what people answered, durably, before it tells us, and what nobody answered when
 * we tell it that a request is gone. What it cannot know is recorded here: the use of a grant, and
 * requests that nobody could be asked about. */
#include <errno.h>
#include <openssl/evp.h>

#include "proxy/pipeline/px.h"

static struct gvm_str key_of(const uint64_t *ask)
{
    return (struct gvm_str){(const char *)ask, sizeof *ask};
}

/* Rule, method and exact URL: what a grant holds for. */
static void write_grant_key(struct px_request *rq)
{
    struct gvm_buf *k = &rq->grant_key;
    gvm_buf_reset(k);
    gvm_buf_adds(k, rq->verdict.name);
    gvm_buf_addf(k, "\n%d %d %s %s:%u ", (int)rq->kind, rq->tls, rq->method, rq->host, rq->port);
    gvm_buf_adds(k, gvm_buf_str(&rq->path));
    if (rq->has_query) {
        gvm_buf_addc(k, '?');
        gvm_buf_adds(k, gvm_buf_str(&rq->query));
    }
}

/* ---- after the answer ---- */

static void on_yes_recorded(void *arg, const struct gvm_msg *m)
{
    struct px_request *rq = arg;
    rq->waiter = 0;
    if (px_appended(m))
        px_go(rq);
    else
        px_fail(rq, 503, "the record could not be written");
}

static void on_no_recorded(void *arg, const struct gvm_msg *m)
{
    struct px_request *rq = arg;
    rq->waiter = 0;
    rq->run->denied++;
    px_deny(rq, px_appended(m) ? rq->no : "the record could not be written");
}

static void forget(struct px_request *rq)
{
    px_no_timer(rq);
    if (rq->ask)
        gvm_map_take(rq->px->asks, key_of(&rq->ask));
    rq->ask = 0;
}

/* Records the answer, then acts on it. The ask is over. */
static void settle(struct px_request *rq, bool allow, const char *who, const char *how,
                   const char *scope, const char *why)
{
    px_answer_fn *then = allow ? on_yes_recorded : on_no_recorded;
    px_record_approval(rq, allow, who, how, scope, why);
    forget(rq);
    if (px_append(rq->px, then, rq, &rq->waiter) < 0)
        px_fail(rq, 503, "the record could not be written");
}

/* No person answered: that is a no. */
static void refuse(struct px_request *rq, const char *how, const char *why)
{
    rq->no = why;
    settle(rq, false, "nobody", how, "once", why);
}

static void record_gone(struct px_request *rq, const char *why)
{
    px_record_approval(rq, false, "nobody", "gone", "once", why);
    px_append_quiet(rq->px);
}

/* Control records it; when it is away, we do. */
static void tell_gone(struct px_request *rq, const char *why)
{
    struct gvm_jw w;
    struct gvm_buf *out = &rq->px->scratch;
    gvm_buf_reset(out);
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    gvm_jw_kint(&w, "ask", (int64_t)rq->ask);
    gvm_jw_kstrz(&w, "why", why);
    gvm_jw_object_end(&w);
    if (px_link_send(rq->px, GVM_ROLE_CONTROL, GVM_MSG_ASK_GONE, 0, gvm_buf_data(out), out->len,
                     NULL, 0) < 0)
        record_gone(rq, why);
}

void px_ask_gone(struct px_request *rq, const char *why)
{
    if (!rq->ask)
        return;
    tell_gone(rq, why);
    forget(rq);
}

static void on_timeout(uv_timer_t *t)
{
    struct px_request *rq = t->data;
    tell_gone(rq, "timeout");
    forget(rq);
    rq->run->denied++;
    px_deny(rq, "nobody approved this request in time");
}

void px_asks_lost(struct px *px)
{
    size_t pos = 0;
    struct gvm_str key;
    void *v;
    /* Each pass takes one out, so the iteration begins anew. */
    while (pos = 0, gvm_map_next(px->asks, &pos, &key, &v))
        refuse(v, "lost", "nobody can be asked now: the control process is away");
}

/* ---- the question ---- */

static void write_digest(struct px_request *rq, char hex[65])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    hex[0] = '\0';
    bool ok =
        md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
        EVP_DigestUpdate(md, rq->grant_key.mem ? gvm_buf_data(&rq->grant_key) : (const uint8_t *)"",
                         rq->grant_key.len) == 1 &&
        (!rq->head.len || EVP_DigestUpdate(md, gvm_buf_data(&rq->head), rq->head.len) == 1) &&
        (!rq->held.len || EVP_DigestUpdate(md, gvm_buf_data(&rq->held), rq->held.len) == 1) &&
        EVP_DigestFinal_ex(md, sum, &n) == 1;
    EVP_MD_CTX_free(md);
    if (ok && n == 32)
        gvm_hex(hex, sum, n);
}

static void write_url(struct gvm_jw *w, const struct px_request *rq)
{
    struct gvm_buf url GVM_CLEANUP(gvm_buf_done);
    gvm_buf_init(&url, GVM_MAX_HEAD);
    gvm_buf_addz(&url, rq->kind != PX_HTTP ? "tcp://" : rq->tls ? "https://" : "http://");
    int r = gvm_authority_format(rq->host, rq->port, rq->tls, &url);
    gvm_buf_adds(&url, gvm_buf_str(&rq->path));
    if (rq->has_query) {
        gvm_buf_addc(&url, '?');
        gvm_buf_adds(&url, gvm_buf_str(&rq->query));
    }
    gvm_jw_kstr(w, "url", r < 0 ? GVM_STR("") : gvm_buf_str(&url));
}

static int send_ask(struct px_request *rq)
{
    struct gvm_buf *out = &rq->px->scratch;
    struct gvm_jw w;
    char digest[65];
    write_digest(rq, digest);
    gvm_buf_reset(out);
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    gvm_jw_kint(&w, "ask", (int64_t)rq->ask);
    gvm_jw_kstrz(&w, "run", rq->run->id);
    gvm_jw_kstrz(&w, "agent", rq->run->agent);
    gvm_jw_kstr(&w, "rule", rq->verdict.name);
    gvm_jw_kstrz(&w, "method", rq->kind == PX_HTTP ? rq->method : "TCP");
    write_url(&w, rq);
    gvm_jw_kstrz(&w, "host", rq->host);
    gvm_jw_kstrz(&w, "digest", digest);
    size_t shown = rq->held.len < PX_EXCERPT ? rq->held.len : PX_EXCERPT;
    gvm_jw_kstr(&w, "excerpt", (struct gvm_str){(const char *)gvm_buf_data(&rq->held), shown});
    gvm_jw_kstr(&w, "reason", rq->verdict.reason);
    gvm_jw_kint(&w, "expires_ms", rq->policy->conf->timeouts.approval);
    gvm_jw_kstrz(&w, "request", rq->id);
    gvm_jw_object_end(&w);
    if (out->failed || !digest[0])
        return -ENOMEM;
    return px_link_send(rq->px, GVM_ROLE_CONTROL, GVM_MSG_ASK, 0, gvm_buf_data(out), out->len, NULL,
                        0);
}

static void ask_now(struct px_request *rq)
{
    rq->ask = ++rq->px->next_ask;
    rq->asked_ns = gvm_mono_ns();
    if (gvm_map_put(rq->px->asks, key_of(&rq->ask), rq) < 0) {
        refuse(rq, "full", "too many requests wait for approval");
        return;
    }
    if (send_ask(rq) < 0) {
        refuse(rq, "lost", "nobody can be asked now: the control process is away");
        return;
    }
    px_timer(rq, rq->policy->conf->timeouts.approval, on_timeout);
}

static void on_excerpt(uv_timer_t *t)
{
    ask_now(t->data);
}

void px_ask(struct px_request *rq)
{
    write_grant_key(rq);
    if (rq->grant_key.failed) {
        px_deny(rq, "the request is too large to be asked about");
        return;
    }
    if (px_grant_find(rq->run, gvm_buf_str(&rq->grant_key), gvm_now_ns())) {
        rq->asked_ns = 0;
        settle(rq, true, "grant", "grant", "run", NULL);
        return;
    }
    /* A body mostly follows its head at once; a moment lets the person see it. */
    if (rq->kind == PX_HTTP && rq->body != GVM_BODY_NONE && !rq->held.len && !rq->expect_continue)
        px_timer(rq, PX_EXCERPT_WAIT_MS, on_excerpt);
    else
        ask_now(rq);
}

/* ---- the answer ---- */

static void answered(struct px_request *rq, const struct gvm_json *j)
{
    const char *scope = gvm_json_text(j, "scope", "once");
    const struct gvm_json *yes = gvm_json_get(j, "allow");
    forget(rq);
    if (!yes || yes->type != GVM_JSON_TRUE) {
        rq->run->denied++;
        px_deny(rq, "the owner did not approve this request");
        return;
    }
    int64_t until = gvm_json_int(j, "until_ns", 0);
    if (strcmp(scope, "run") == 0)
        px_grant_add(rq->run, gvm_buf_str(&rq->grant_key), 0);
    else if (strcmp(scope, "for") == 0 && until > gvm_now_ns())
        px_grant_add(rq->run, gvm_buf_str(&rq->grant_key), until);
    px_go(rq);
}

int px_on_answer(struct px *px, const struct gvm_msg *m)
{
    struct gvm_json *j;
    struct gvm_arena *a = gvm_arena_new(64 * 1024);
    if (!a)
        return 0; /* the timeout denies */
    int r = gvm_json_parse(a, gvm_msg_str(m), &j, NULL);
    if (r == 0) {
        uint64_t ask = (uint64_t)gvm_json_int(j, "ask", 0);
        struct px_request *rq = gvm_map_get(px->asks, key_of(&ask));
        if (rq) /* else: gone meanwhile */
            answered(rq, j);
    }
    gvm_arena_free(a);
    return r < 0 ? -EPROTO : 0;
}
