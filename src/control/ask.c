/* Approvals. The proxy holds a request and says so; a person decides it once; the decision is
 * durable before the proxy hears of it. Whatever goes wrong leaves the request held, and the
 * proxy's timeout denies it. Ids are ours, so that no agent can choose one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/control_int.h"
#include "ledger/ledger.h"

#define ASK_MEMORY (512u << 10)
#define LONGEST_MS (30ll * 86400 * 1000) /* "for" a duration */
#define LIST_BYTES (GVM_MAX_FRAME - 4096u)

static struct control_ask *find(struct control *c, uint64_t serial)
{
    struct control_ask *a = c->asks;
    while (a && a->serial != serial)
        a = a->next;
    return a;
}

static void take_out(struct control *c, struct control_ask *a)
{
    struct control_ask **at = &c->asks;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    if (c->asks_tail == &a->next)
        c->asks_tail = at;
    c->nasks--;
    free((void *)(uintptr_t)a->json.p);
    free(a);
}

static void broadcast(struct control *c, struct gvm_str json)
{
    for (struct control_client *cl = c->clients; cl; cl = cl->next) {
        if (cl->subscribed && !cl->broken)
            control_reply(c, cl->serial, 0, GVM_MSG_APPROVAL_NEWS, json.p, json.n);
    }
}

static void broadcast_gone(struct control *c, const struct control_ask *a)
{
    char text[64];
    int n = snprintf(text, sizeof text, "{\"id\":\"a%llu\",\"gone\":true}",
                     (unsigned long long)a->serial);
    broadcast(c, (struct gvm_str){text, (size_t)n});
}

/* ---- from the proxy ---- */

static void send_answer(struct control *c, uint64_t ask, bool allow, const char *who,
                        const char *how, const char *scope, int64_t until_ns)
{
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 2048);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_key(&w, "ask");
    gvm_jw_uint(&w, ask);
    gvm_jw_kbool(&w, "allow", allow);
    gvm_jw_kstrz(&w, "who", who);
    gvm_jw_kstrz(&w, "how", how);
    gvm_jw_kstrz(&w, "scope", scope);
    gvm_jw_kint(&w, "until_ns", until_ns);
    gvm_jw_object_end(&w);
    struct gvm_chan *proxy = c->peers[GVM_ROLE_PROXY];
    if (proxy && !out.failed &&
        gvm_chan_send(proxy, GVM_MSG_ANSWER, 0, gvm_buf_data(&out), out.len, NULL, 0) < 0)
        gvm_log(GVM_LOG_WARN,
                "an answer did not reach the proxy; the request is denied when its time is over");
    gvm_buf_done(&out);
}

/* One approval entry. `who` NULL: nobody answered. */
static int put_entry(const struct control *c, const struct control_ask *a, bool allow,
                     const char *who, const char *how, const char *why, struct gvm_buf *out)
{
    struct gvm_jw w;
    char id[32];
    snprintf(id, sizeof id, "a%llu", (unsigned long long)a->serial);
    gvm_entry_begin(&w, out, "approval", a->run, a->agent);
    gvm_jw_kstrz(&w, "id", a->request[0] ? a->request : NULL);
    gvm_jw_kstrz(&w, "ask", id);
    gvm_jw_kbool(&w, "allow", allow);
    gvm_jw_kstrz(&w, "who", who);
    if (who)
        gvm_jw_kint(&w, "uid", c->uid);
    gvm_jw_kstrz(&w, "how", how);
    if (who)
        gvm_jw_kstrz(&w, "terminal", a->terminal[0] ? a->terminal : NULL);
    gvm_jw_kstrz(&w, "scope", who ? a->scope : NULL);
    if (who && a->until_ns) {
        char until[GVM_TIME_TEXT];
        gvm_time_text(until, a->until_ns);
        gvm_jw_kstrz(&w, "until", until);
    }
    gvm_jw_kint(&w, "waited_ms", (gvm_now_ns() - a->asked_ns) / 1000000);
    gvm_entry_private(&w);
    gvm_jw_kstrz(&w, "why", why && *why ? why : NULL);
    return gvm_entry_end(&w);
}

static void record_unanswered(struct control *c, const struct control_ask *a, const char *how,
                              const char *why)
{
    struct gvm_buf out;
    gvm_buf_init(&out, GVM_MAX_ENTRY);
    if (put_entry(c, a, false, NULL, how, why, &out) == 0)
        control_append_quietly(c, &out);
    gvm_buf_done(&out);
}

/* What people see: our id first, then what the proxy said, then since when. */
static int put_shown(struct control_ask *a, const struct gvm_json *msg)
{
    static const char *const ours[] = {"id", "ask", "since", NULL};
    struct gvm_buf out;
    struct gvm_jw w;
    char id[32], since[GVM_TIME_TEXT];
    snprintf(id, sizeof id, "a%llu", (unsigned long long)a->serial);
    gvm_time_text(since, a->asked_ns);
    gvm_buf_init(&out, 65536);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "id", id);
    control_put_members(&w, msg, ours);
    gvm_jw_kstrz(&w, "since", since);
    gvm_jw_object_end(&w);
    char *copy = out.failed ? NULL : malloc(out.len);
    if (copy) {
        memcpy(copy, gvm_buf_data(&out), out.len);
        a->json = (struct gvm_str){copy, out.len};
    }
    gvm_buf_done(&out);
    return copy ? 0 : -ENOMEM;
}

static struct control_ask *read_ask(struct control *c, const struct gvm_json *msg)
{
    struct control_ask *a = gvm_calloc(1, sizeof *a);
    if (!a)
        return NULL;
    const char *request = gvm_json_text(msg, "request", gvm_json_text(msg, "id", ""));
    a->serial = ++c->next_ask;
    a->ask = (uint64_t)gvm_json_int(msg, "ask", 0);
    a->asked_ns = gvm_now_ns();
    if (gvm_str_copy(a->run, sizeof a->run, gvm_str(gvm_json_text(msg, "run", ""))) < 0 ||
        gvm_str_copy(a->agent, sizeof a->agent, gvm_str(gvm_json_text(msg, "agent", ""))) < 0 ||
        gvm_str_copy(a->request, sizeof a->request, gvm_str(request)) < 0 ||
        put_shown(a, msg) < 0) {
        free(a);
        return NULL;
    }
    return a;
}

void control_ask(struct control *c, const struct gvm_msg *m)
{
    struct gvm_arena *arena = gvm_arena_new(ASK_MEMORY);
    struct gvm_json *msg = NULL;
    if (!arena || gvm_json_parse(arena, gvm_msg_str(m), &msg, NULL) < 0) {
        gvm_log(GVM_LOG_ERROR, "the proxy asked in a form nobody can read; it will deny");
        gvm_arena_free(arena);
        return;
    }
    struct control_ask *a = read_ask(c, msg);
    int64_t number = gvm_json_int(msg, "ask", 0);
    gvm_arena_free(arena);
    if (!a) {
        send_answer(c, (uint64_t)number, false, "gvmd", "cannot be shown", "once", 0);
        return;
    }
    if (c->nasks >= GVM_MAX_PENDING) {
        record_unanswered(c, a, "queue full", "too many requests wait for an answer");
        send_answer(c, a->ask, false, "gvmd", "queue full", "once", 0);
        free((void *)(uintptr_t)a->json.p);
        free(a);
        return;
    }
    *c->asks_tail = a;
    c->asks_tail = &a->next;
    c->nasks++;
    broadcast(c, a->json);
}

void control_ask_gone(struct control *c, const struct gvm_msg *m)
{
    struct gvm_arena *arena = gvm_arena_new(ASK_MEMORY);
    struct gvm_json *msg = NULL;
    if (arena && gvm_json_parse(arena, gvm_msg_str(m), &msg, NULL) == 0) {
        int64_t number = gvm_json_int(msg, "ask", -1);
        struct control_ask *a = c->asks;
        while (a && (int64_t)a->ask != number)
            a = a->next;
        if (a) {
            if (!a->deciding)
                record_unanswered(c, a, "unanswered", gvm_json_text(msg, "why", NULL));
            broadcast_gone(c, a);
            take_out(c, a);
        }
    }
    gvm_arena_free(arena);
}

void control_asks_lost(struct control *c)
{
    while (c->asks) {
        record_unanswered(c, c->asks, "unanswered", "the proxy process died");
        broadcast_gone(c, c->asks);
        take_out(c, c->asks);
    }
}

void control_asks_free(struct control *c)
{
    while (c->asks)
        take_out(c, c->asks);
}

/* ---- from people ---- */

void control_approvals(struct control *c, struct control_client *cl, const struct gvm_msg *m)
{
    struct gvm_buf out;
    struct gvm_jw w;
    bool cut = false;
    gvm_buf_init(&out, GVM_MAX_FRAME);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_key(&w, "pending");
    gvm_jw_array(&w);
    for (const struct control_ask *a = c->asks; a; a = a->next) {
        if (a->deciding)
            continue;
        cut = out.len + a->json.n >
              LIST_BYTES; /* the oldest come first; the rest when they are gone */
        if (cut)
            break;
        gvm_jw_raw(&w, a->json);
    }
    gvm_jw_array_end(&w);
    gvm_jw_kint(&w, "total", c->nasks);
    gvm_jw_kbool(&w, "cut", cut);
    gvm_jw_object_end(&w);
    control_reply_json(c, cl->serial, m->id, GVM_MSG_INFO, &out);
    gvm_buf_done(&out);
}

/* "a7" to 7; 0 for anything else. */
static uint64_t parse_id(const char *id)
{
    uint64_t v = 0;
    if (!id || id[0] != 'a' || gvm_parse_u64(gvm_str(id + 1), UINT64_MAX, &v) < 0)
        return 0;
    return v;
}

static int read_scope(const struct gvm_json *msg, struct control_ask *a, struct gvm_err *err)
{
    const struct gvm_json *v = gvm_json_get(msg, "for");
    const char *text = gvm_json_text(msg, "for", NULL);
    int64_t ms = gvm_json_int(msg, "for", 0);
    const char *scope = "once";
    a->until_ns = 0;
    if (text && strcmp(text, "run") == 0) {
        scope = "run";
    } else if (v && v->type == GVM_JSON_NUMBER && ms > 0 && ms <= LONGEST_MS) {
        scope = "for";
        a->until_ns = gvm_now_ns() + ms * 1000000;
    } else if (v && v->type != GVM_JSON_NULL && (!text || strcmp(text, "once") != 0)) {
        return gvm_err_set(err, EINVAL, "an answer is for \"once\", \"run\" or up to 30 days");
    }
    return gvm_str_copy(a->scope, sizeof a->scope, gvm_str(scope));
}

static int read_terminal(const struct gvm_json *msg, struct control_ask *a, struct gvm_err *err)
{
    struct gvm_str t = gvm_str(gvm_json_text(msg, "terminal", ""));
    bool ok = t.n == 0 || gvm_str_starts(t, GVM_STR("/dev/"));
    for (size_t i = 0; ok && i < t.n; i++)
        ok = t.p[i] > ' ' && t.p[i] <= '~';
    if (!ok || gvm_str_copy(a->terminal, sizeof a->terminal, t) < 0)
        return gvm_err_set(err, EINVAL, "\"terminal\" must be the path of a terminal");
    return 0;
}

static int read_decision(const struct gvm_json *msg, struct control_ask *a, struct gvm_err *err)
{
    const struct gvm_json *allow = gvm_json_get(msg, "allow");
    if (!allow || (allow->type != GVM_JSON_TRUE && allow->type != GVM_JSON_FALSE))
        return gvm_err_set(err, EINVAL, "\"allow\" must be true or false");
    if (gvm_str_copy(a->reason, sizeof a->reason, gvm_str(gvm_json_text(msg, "reason", ""))) < 0)
        return gvm_err_set(err, EINVAL, "the reason is longer than %u bytes", GVM_MAX_REASON);
    int r = read_terminal(msg, a, err);
    if (r == 0)
        r = read_scope(msg, a, err);
    if (r == 0)
        a->allow = allow->type == GVM_JSON_TRUE;
    return r;
}

static void decide_done(struct control *c, struct control_call *call, const struct gvm_msg *m,
                        const struct gvm_err *err)
{
    struct control_ask *a = find(c, call->ask);
    if (!m) {
        if (a)
            a->deciding = false; /* it may be answered again */
        control_refuse_err(c, call->client, call->client_id, err);
        return;
    }
    if (!a) {
        control_refuse(c, call->client, call->client_id, ENOENT,
                       "the request ended before the answer");
        return;
    }
    char who[96];
    snprintf(who, sizeof who, "%s (uid %u)", c->who, (unsigned)c->uid);
    send_answer(c, a->ask, a->allow, who, "gvm approve", a->scope, a->until_ns);
    broadcast_gone(c, a);
    take_out(c, a);
    control_reply(c, call->client, call->client_id, GVM_MSG_OK, NULL, 0);
}

void control_decide(struct control *c, struct control_client *cl, const struct gvm_msg *m)
{
    struct gvm_arena *arena = NULL;
    const struct gvm_json *msg = control_parse(c, cl, m, &arena);
    if (!msg)
        return;
    struct gvm_err err = {0};
    uint64_t id = parse_id(gvm_json_text(msg, "id", NULL));
    struct control_ask *a = id ? find(c, id) : NULL;
    int r = a && !a->deciding
                ? read_decision(msg, a, &err)
                : gvm_err_set(&err, ENOENT,
                              "no request with that id waits; it was answered, ended or never was");
    struct gvm_buf out;
    gvm_buf_init(&out, GVM_MAX_ENTRY);
    if (r == 0 && a && put_entry(c, a, a->allow, c->who, "gvm approve", a->reason, &out) < 0)
        r = gvm_err_set(&err, E2BIG, "the answer does not fit the record");
    if (r < 0) {
        control_refuse_err(c, cl->serial, m->id, &err);
    } else if (a) {
        a->deciding = true;
        control_append(
            c, &out,
            (struct control_call){
                .done = decide_done, .client = cl->serial, .client_id = m->id, .ask = a->serial});
    }
    gvm_buf_done(&out);
    gvm_arena_free(arena);
}
