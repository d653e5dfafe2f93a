/* A WebSocket after its handshake: frames go on as they came. In a direction that some rule for
 * messages of this host speaks of, a message is held until it is whole, judged, and then let
 * through or the connection closed with 1008 (RFC 6455 7.4.1: policy) on both sides. Other
 * directions are only counted. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/random.h>

#include "proxy/http1/head.h"
#include "proxy/pipeline/px.h"

enum { SEND, RECEIVE, DIRECTIONS };

struct px_ws {
    struct gvm_ws *in[DIRECTIONS];
    bool blind; /* an extension was agreed on that we do not know */
    size_t max;
};

static const unsigned bit_of[DIRECTIONS] = {GVM_WS_SEND, GVM_WS_RECEIVE};

void px_ws_free(struct px_request *rq)
{
    struct px_ws *ws = rq->ws;
    if (!ws)
        return;
    for (int d = 0; d < DIRECTIONS; d++)
        gvm_ws_free(ws->in[d]);
    free(ws);
    rq->ws = NULL;
}

bool px_ws_start(struct px_request *rq, struct gvm_str extensions)
{
    bool deflate = false, contexts[DIRECTIONS] = {true, true};
    struct gvm_facts f = {.host = gvm_str(rq->host)};
    struct px_ws *ws = gvm_calloc(1, sizeof *ws);
    rq->ws = ws;
    if (!ws)
        return false;
    ws->blind = gvm_ws_extensions(extensions, &deflate, &contexts[SEND], &contexts[RECEIVE]) < 0;
    unsigned bits = gvm_rules_ws(rq->policy->rules, &f, &ws->max);
    if (ws->blind && !bits)
        return true; /* nobody asks; frames may mean anything, so they are not counted either */
    for (int d = 0; d < DIRECTIONS; d++) {
        struct gvm_ws_options o = {.masked = d == SEND,
                                   .look = (bits & bit_of[d]) != 0,
                                   .max = ws->max,
                                   .deflate = deflate,
                                   .keep_context = contexts[d]};
        ws->in[d] = gvm_ws_new(&o);
        if (!ws->in[d])
            return false;
    }
    return true;
}

/* ---- the handshake of a stream of HTTP/2 ---- */

int px_ws_key(struct px_request *rq)
{
    uint8_t random[16];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return -EIO;
    (void)EVP_EncodeBlock((unsigned char *)rq->ws_key, random, sizeof random);
    px_http1_remove(&rq->head, GVM_STR("sec-websocket-key"));
    gvm_buf_addf(&rq->head, "Sec-WebSocket-Key: %s\r\n", rq->ws_key);
    return rq->head.failed ? -E2BIG : 0;
}

bool px_ws_accepted(const struct px_request *rq, const struct gvm_http1_head *h)
{
    const struct gvm_header *said = gvm_http1_find(h, "sec-websocket-accept");
    unsigned char sum[EVP_MAX_MD_SIZE];
    char text[64], want[EVP_MAX_MD_SIZE * 2];
    unsigned n = 0;
    (void)snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", rq->ws_key);
    if (!said || EVP_Digest(text, strlen(text), sum, &n, EVP_sha1(), NULL) != 1)
        return false;
    (void)EVP_EncodeBlock((unsigned char *)want, sum, (int)n);
    return gvm_str_eqz(said->value, want);
}

/* ---- judging ---- */

static void judge(struct px_request *rq, int d, const struct gvm_ws_got *m, struct gvm_verdict *v)
{
    struct gvm_content_in in = {.present = true,
                                .whole = !m->unseen && !rq->ws->blind,
                                .raw = m->unseen ? GVM_STR("") : m->text,
                                .type = GVM_STR(""),
                                .coding = GVM_STR(""),
                                .query = GVM_STR(""),
                                .max = rq->ws->max};
    struct gvm_facts f = {.protocol = GVM_PROTO_WS,
                          .method = gvm_str(rq->method),
                          .host = gvm_str(rq->host),
                          .port = rq->port,
                          .tls = rq->tls,
                          .path = gvm_buf_str(&rq->path),
                          .query = gvm_buf_str(&rq->query),
                          .agent = gvm_str(rq->run->agent),
                          .now_ns = gvm_now_ns(),
                          .ws_direction = bit_of[d]};
    *v = (struct gvm_verdict){.rule = -1, .name = GVM_STR("default")};
    f.content = gvm_content_new(&in);
    if (!f.content)
        return; /* Deny */
    gvm_rules_decide(rq->policy->rules, &f, v);
    gvm_content_free(f.content);
    if (v->unverifiable && m->unseen)
        (void)snprintf(v->why, sizeof v->why, "%s", m->unseen);
}

/* ---- ending ---- */

static void pass_on(struct px_request *rq, int d, struct gvm_str bytes)
{
    if (d == SEND)
        px_relay_to_upstream(rq, bytes);
    else
        px_relay_to_agent(rq, bytes);
}

static void say_close(struct px_request *rq, int d, uint16_t code, struct gvm_str reason)
{
    const struct gvm_ws *passed = rq->ws->in[d];
    struct gvm_buf f;
    uint8_t mask[4] = {0};
    if (!passed || !gvm_ws_between_frames(passed))
        return;
    gvm_buf_init(&f, 256);
    if (d == SEND && getrandom(mask, sizeof mask, 0) != sizeof mask)
        memset(mask, 0, sizeof mask);
    if (gvm_ws_close(code, reason, d == SEND ? mask : NULL, &f) == 0)
        pass_on(rq, d, gvm_buf_str(&f));
    gvm_buf_done(&f);
}

static void end_both(struct px_request *rq, uint16_t code, struct gvm_str reason, const char *error)
{
    say_close(rq, RECEIVE, code, reason);
    say_close(rq, SEND, code, reason);
    px_relay_close(rq, error);
}

static bool deny(struct px_request *rq, int d, const struct gvm_verdict *v)
{
    px_record_ws(rq, d == SEND ? "send" : "receive", v);
    px_append_quiet(rq->px);
    rq->run->denied++;
    end_both(rq, 1008, v->reason, "a message was denied by policy");
    return false;
}

/* ---- bytes ---- */

static bool pass(struct px_request *rq, int d, struct gvm_str bytes)
{
    if (bytes.n)
        pass_on(rq, d, bytes);
    return true;
}

static bool message(struct px_request *rq, int d, const struct gvm_ws_got *m)
{
    struct gvm_verdict v;
    judge(rq, d, m, &v);
    bool let = v.decision != GVM_DENY || rq->run->watch;
    if (v.decision == GVM_AUDIT_ONLY || (v.decision == GVM_DENY && let)) {
        px_record_ws(rq, d == SEND ? "send" : "receive", &v);
        px_append_quiet(rq->px);
    }
    return let ? pass(rq, d, m->bytes) : deny(rq, d, &v);
}

void px_ws_data(struct px_request *rq, bool from_agent, const uint8_t *p, size_t n)
{
    int d = from_agent ? SEND : RECEIVE;
    struct gvm_str in = {(const char *)p, n};
    struct gvm_ws_got got;
    struct gvm_err err = {0};
    if (!rq->ws->in[d]) {
        (void)pass(rq, d, in);
        return;
    }
    for (;;) {
        int r = gvm_ws_feed(rq->ws->in[d], &in, &got, &err);
        if (r < 0) {
            end_both(rq, 1002, GVM_STR("protocol error"), err.text);
            return;
        }
        if (got.event == GVM_WS_MORE)
            return;
        bool go = got.event == GVM_WS_MESSAGE ? message(rq, d, &got) : pass(rq, d, got.bytes);
        if (!go)
            return;
    }
}

bool px_ws_counts(const struct px_request *rq, struct px_ws_counts *ret)
{
    if (!rq->ws || !rq->ws->in[SEND] || !rq->ws->in[RECEIVE])
        return false;
    gvm_ws_counts(rq->ws->in[SEND], &ret->sent, &ret->sent_bytes);
    gvm_ws_counts(rq->ws->in[RECEIVE], &ret->received, &ret->received_bytes);
    return true;
}
