/* The launcher and gvmd: register, stay registered, finish.
 *
 * A run outlives its daemon. When the channel breaks, the launcher connects again and registers
 * once more with the listeners it kept and the sealed CA, so that the agent's TLS clients notice
 * nothing but a pause. A daemon that crashed is started again; one that was stopped (its socket is
 * gone) is waited for.
 */
#include "cli/run.h"

#include <errno.h>
#include <poll.h>

#define REGISTER_TIMEOUT_MS 20000
#define FINISH_TIMEOUT_MS   20000
#define REGISTER_ID         1
#define FINISH_ID           2

static void put_strings(struct gvm_jw *w, const char *key, const char *const *list)
{
    gvm_jw_key(w, key);
    gvm_jw_array(w);
    for (; list && *list; list++)
        gvm_jw_strz(w, *list);
    gvm_jw_array_end(w);
}

static void put_registration(struct run *r, struct gvm_buf *out)
{
    struct gvm_jw w;
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "run", r->id);
    gvm_jw_kstrz(&w, "agent", r->agent);
    put_strings(&w, "command", r->argv);
    gvm_jw_kstrz(&w, "workspace", r->workspace);
    gvm_jw_kstrz(&w, "config", r->has_config ? r->config : NULL);
    gvm_jw_kbool(&w, "watch", r->opt.watch);
    gvm_jw_kstrz(&w, "mode", "sandbox");
    gvm_jw_kstrz(&w, "default", r->opt.dflt);
    put_strings(&w, "no_intercept", r->opt.no_intercept.v);
    if (r->opt.publish.n)
        put_strings(&w, "publish", r->opt.publish.v);
    if (r->opt.mounts.n)
        put_strings(&w, "mounts", r->opt.mounts.v);
    if (r->opt.devices.n)
        put_strings(&w, "devices", r->opt.devices.v);
    if (r->opt.persist.n)
        put_strings(&w, "persist", r->opt.persist.v);
    if (r->opt.without.n)
        put_strings(&w, "waived", r->opt.without.v);
    if (r->seccomp[0])
        gvm_jw_kstrz(&w, "seccomp", r->seccomp);
    gvm_jw_kstrz(&w, "sealed", r->sealed);
    gvm_jw_object_end(&w);
}

int run_register(struct run *r, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, GVM_MAX_FRAME);
    put_registration(r, &out);
    if (out.failed)
        return gvm_err_set(err, E2BIG, "the command line is too long to be recorded");
    int x = gvm_chan_send(r->chan, GVM_MSG_RUN_REGISTER, REGISTER_ID, gvm_buf_data(&out), out.len,
                          gvm_sandbox_listeners(r->sandbox), GVM_SANDBOX_LISTENERS);
    return x < 0 ? gvm_err_sys(err, -x, "cannot register the run") : 0;
}

/* Waits for the answer `id`. What belongs to nothing we asked is dropped. */
static int await_answer(struct run *r, uint64_t id, int timeout_ms, struct gvm_msg *ret,
                        struct gvm_err *err)
{
    int64_t end = gvm_mono_ns() + timeout_ms * INT64_C(1000000);
    for (;;) {
        int x = gvm_chan_recv(r->chan, ret);
        if (x == -EPROTONOSUPPORT)
            return gvm_err_set(err, EPROTONOSUPPORT,
                               "the gvmd that runs is of another version; end it with gvm stop "
                               "--force (agents that run now lose their way out)");
        if (x < 0)
            return gvm_err_sys(err, -x, "gvmd went away");
        if (x == 1 && ret->id == id)
            return 0;
        if (x == 1) {
            run_denied_answer(r, ret);
            gvm_msg_done(ret);
            continue;
        }
        struct pollfd p = {.fd = gvm_chan_fd(r->chan),
                           .events =
                               (short)(POLLIN | (gvm_chan_wants_write(r->chan) ? POLLOUT : 0))};
        int64_t left = (end - gvm_mono_ns()) / 1000000;
        if (left <= 0)
            return gvm_err_set(err, ETIMEDOUT, "gvmd does not answer");
        if (poll(&p, 1, (int)left) < 0 && errno != EINTR)
            return gvm_err_sys(err, errno, "cannot wait for gvmd");
        if ((p.revents & POLLOUT) && gvm_chan_flush(r->chan) < 0)
            return gvm_err_set(err, EPIPE, "gvmd went away");
    }
}

/* FAILED {code, text} as err. */
static int take_failure(const struct gvm_msg *m, struct gvm_err *err)
{
    struct gvm_m_failed f = {EIO};
    if (m->len < sizeof(f))
        return gvm_err_set(err, EIO, "gvmd refused without a reason");
    memcpy(&f, m->data, sizeof(f));
    return gvm_err_set(err, f.code > 0 ? f.code : EIO, "%.*s", (int)(m->len - sizeof(f)),
                       (const char *)m->data + sizeof(f));
}

static int take_ready(struct run *r, const struct gvm_msg *m, struct gvm_str *ret_pem,
                      struct gvm_err *err)
{
    struct gvm_json *v = NULL;
    if (m->type == GVM_MSG_FAILED)
        return take_failure(m, err);
    if (m->type != GVM_MSG_RUN_READY)
        return gvm_err_set(err, EPROTO, "gvmd gave an answer this gvm does not understand");
    int x = gvm_json_parse(r->arena, gvm_msg_str(m), &v, err);
    if (x < 0)
        return gvm_err_wrap(err, x, "the answer of gvmd");
    const char *pem = gvm_json_text(v, "pem", NULL), *sealed = gvm_json_text(v, "sealed", NULL);
    if (!pem || !sealed)
        return gvm_err_set(err, EPROTO, "the answer of gvmd has no certificate");
    r->sealed = gvm_arena_dup(r->arena, sealed, strlen(sealed));
    char *copy = gvm_arena_dup(r->arena, pem, strlen(pem));
    if (!r->sealed || !copy)
        return gvm_err_set(err, ENOMEM, "out of memory");
    *ret_pem = gvm_str(copy);
    r->registered = true;
    return 0;
}

int run_await_ready(struct run *r, struct gvm_str *ret_pem, struct gvm_err *err)
{
    struct gvm_msg m = {0};
    int x = await_answer(r, REGISTER_ID, REGISTER_TIMEOUT_MS, &m, err);
    if (x < 0)
        return x;
    x = take_ready(r, &m, ret_pem, err);
    gvm_msg_done(&m);
    return x;
}

/* ---- a daemon that went away ---- */

static void lose(struct run *r)
{
    run_denied_lost(r);
    gvm_chan_free(r->chan);
    r->chan = NULL;
    r->tries = 0;
    r->tried_ns = gvm_mono_ns();
}

/* 50 ms, doubled with each failure, 2 s at most. */
static bool time_to_try(const struct run *r)
{
    unsigned shift = r->tries < 6 ? r->tries : 6;
    int64_t wait = INT64_C(50000000) << shift;
    return gvm_mono_ns() - r->tried_ns >= (wait < INT64_C(2000000000) ? wait : INT64_C(2000000000));
}

static void find_again(struct run *r)
{
    struct gvm_err err = {0};
    struct gvm_str pem;
    r->tries++;
    r->tried_ns = gvm_mono_ns();
    int x = cli_connect(false, &r->chan, &err);
    if (x == -ECONNREFUSED && r->tries >= 3) /* not between two lives of its child: it crashed */
        x = cli_connect(true, &r->chan, &err);
    if (x == 0)
        x = run_register(r, &err);
    if (x == 0)
        x = run_await_ready(r, &pem, &err);
    if (x == 0 || !r->chan)
        return;
    gvm_chan_free(r->chan);
    r->chan = NULL;
    if (r->tries == 8)
        cli_say("the run has no daemon, so nothing it calls is forwarded: %s", err.text);
}

void run_daemon_tick(struct run *r, bool readable)
{
    if (!r->chan) {
        if (time_to_try(r))
            find_again(r);
        return;
    }
    if (gvm_chan_wants_write(r->chan) && gvm_chan_flush(r->chan) < 0) {
        lose(r);
        return;
    }
    for (int x = readable; x > 0;) {
        struct gvm_msg m = {0};
        x = gvm_chan_recv(r->chan, &m);
        if (x > 0) {
            run_denied_answer(r, &m);
            gvm_msg_done(&m);
        } else if (x < 0)
            lose(r);
    }
}

/* ---- the end ---- */

int run_note(struct run *r, const struct gvm_buf *json, struct gvm_err *err)
{
    struct gvm_msg m = {0};
    if (json->failed)
        return gvm_err_set(err, ENOMEM, "out of memory");
    if (!r->chan)
        return gvm_err_set(err, EPIPE, "gvmd is away");
    int x = gvm_chan_call(r->chan, GVM_MSG_NOTE, gvm_buf_data(json), json->len, NULL, 0,
                          FINISH_TIMEOUT_MS, NULL, NULL, &m, err);
    if (x == 0)
        gvm_msg_done(&m);
    return x;
}

/* What the kernel counted; null, and a word, when that cannot be read. */
static void put_kernel(const struct run *r, struct gvm_jw *w)
{
    struct gvm_sandbox_counts n;
    struct gvm_err err = {0};
    gvm_jw_key(w, "kernel");
    if (!r->sandbox || gvm_sandbox_count(r->sandbox, &n, &err) < 0) {
        if (err.code)
            cli_say("%s", err.text);
        gvm_jw_null(w);
        return;
    }
    gvm_jw_object(w);
    gvm_jw_kint(w, "tcp", (int64_t)n.tcp);
    gvm_jw_kint(w, "dns_tcp", (int64_t)n.dns_tcp);
    gvm_jw_kint(w, "dns_udp", (int64_t)n.dns_udp);
    gvm_jw_kint(w, "refused", (int64_t)n.refused);
    gvm_jw_object_end(w);
}

/* Whether everything was recorded: a person must hear of it when not. */
static void tell_alert(const struct gvm_msg *m)
{
    struct gvm_arena *a = gvm_arena_new(1u << 18);
    struct gvm_json *v = NULL;
    if (a && m->type == GVM_MSG_RUN_DONE && gvm_json_parse(a, gvm_msg_str(m), &v, NULL) == 0) {
        const char *alert = gvm_json_text(v, "alert", NULL);
        if (alert)
            cli_say("ALERT: %s", alert);
    }
    gvm_arena_free(a);
}

int run_finish(struct run *r, const char *changes, void (*meanwhile)(struct run *),
               struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, GVM_MAX_FRAME);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kint(&w, "exit", r->exit_code);
    gvm_jw_kint(&w, "signal", r->exit_code > 128 ? r->exit_code - 128 : 0);
    if (r->record.why[0])
        gvm_jw_kstrz(&w, "why", r->record.why);
    gvm_jw_key(&w, "changes");
    gvm_jw_raw(&w, gvm_str(changes));
    put_kernel(r, &w);
    gvm_jw_object_end(&w);
    int x = r->chan ? gvm_chan_send(r->chan, GVM_MSG_RUN_FINISH, FINISH_ID, gvm_buf_data(&out),
                                    out.len, NULL, 0)
                    : -EPIPE;
    meanwhile(r);
    if (x < 0)
        return gvm_err_sys(err, -x, "the end of the run could not be recorded");
    struct gvm_msg m = {0};
    x = await_answer(r, FINISH_ID, FINISH_TIMEOUT_MS, &m, err);
    if (x < 0)
        return gvm_err_wrap(err, x, "the end of the run could not be recorded");
    if (m.type == GVM_MSG_FAILED)
        x = take_failure(&m, err);
    tell_alert(&m);
    gvm_msg_done(&m);
    r->registered = false;
    return x;
}
