/* status, stop, reload: what the parent knows, passed on. */
#include <errno.h>

#include "control/control_int.h"

static void put_runs(const struct control *c, struct gvm_jw *w)
{
    gvm_jw_key(w, "runs");
    gvm_jw_array(w);
    for (const struct control_run *r = c->runs; r; r = r->next) {
        gvm_jw_object(w);
        gvm_jw_kstrz(w, "run", r->id);
        gvm_jw_kstrz(w, "agent", r->agent);
        gvm_jw_kstrz(w, "since", r->since);
        gvm_jw_kstrz(w, "mode", r->mode);
        gvm_jw_kbool(w, "watch", r->watch);
        gvm_jw_kstrz(w, "policy", r->hash);
        gvm_jw_object_end(w);
    }
    gvm_jw_array_end(w);
}

static void status_done(struct control *c, struct control_call *call, const struct gvm_msg *m,
                        const struct gvm_err *why)
{
    static const char *const none[] = {NULL};
    struct gvm_err err = *why;
    struct gvm_arena *a = gvm_arena_new(1u << 20);
    struct gvm_json *parent = NULL;
    if (m && (!a || gvm_json_parse(a, gvm_msg_str(m), &parent, &err) < 0 ||
              parent->type != GVM_JSON_OBJECT))
        gvm_err_set(&err, EIO, "the parent's answer cannot be read");
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, GVM_MAX_FRAME);
    gvm_jw_init(&w, &out);
    if (parent && !err.code) {
        gvm_jw_object(&w);
        control_put_members(&w, parent, none);
        put_runs(c, &w);
        gvm_jw_kint(&w, "pending", c->nasks);
        gvm_jw_kstrz(&w, "gate", c->gate_open && c->peers[GVM_ROLE_LEDGER] ? "open" : "closed");
        gvm_jw_object_end(&w);
        control_reply_json(c, call->client, call->client_id, GVM_MSG_INFO, &out);
    } else {
        control_refuse_err(c, call->client, call->client_id, &err);
    }
    gvm_buf_done(&out);
    gvm_arena_free(a);
}

void control_status(struct control *c, struct control_client *cl, const struct gvm_msg *m)
{
    control_call(
        c, GVM_ROLE_PARENT, GVM_MSG_STATUS, NULL, 0, NULL, 0,
        (struct control_call){.done = status_done, .client = cl->serial, .client_id = m->id});
}

void control_stop(struct control *c, struct control_client *cl, const struct gvm_msg *m)
{
    bool force = false;
    if (m->len) {
        struct gvm_arena *a = NULL;
        const struct gvm_json *msg = control_parse(c, cl, m, &a);
        if (!msg)
            return;
        force = gvm_json_bool(msg, "force", false);
        gvm_arena_free(a);
    }
    unsigned n = control_runs_live(c);
    if (n && !force) {
        control_refuse(c, cl->serial, m->id, EBUSY,
                       n == 1 ? "1 agent is running" : "%u agents are running", n);
        return;
    }
    control_reply(c, cl->serial, m->id, GVM_MSG_OK, NULL, 0);
    if (gvm_chan_send(c->peers[GVM_ROLE_PARENT], GVM_MSG_SHUTDOWN, 0, NULL, 0, NULL, 0) < 0)
        c->stopping = true;
}

static void reload_done(struct control *c, struct control_call *call, const struct gvm_msg *m,
                        const struct gvm_err *err)
{
    if (!m) {
        control_refuse_err(c, call->client, call->client_id, err);
        return;
    }
    struct gvm_arena *a = gvm_arena_new(1u << 20);
    struct gvm_json *v = NULL;
    if (a && gvm_json_parse(a, gvm_msg_str(m), &v, NULL) == 0)
        control_run_policies(c, gvm_json_get(v, "policies"));
    gvm_arena_free(a);
    control_reply(c, call->client, call->client_id, GVM_MSG_INFO, m->data, m->len);
}

void control_reload(struct control *c, struct control_client *cl, const struct gvm_msg *m)
{
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 65536);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    control_put_in_use(c, &w);
    gvm_jw_object_end(&w);
    control_call_json(
        c, GVM_ROLE_PARENT, GVM_MSG_POLICY_RELOAD, &out,
        (struct control_call){.done = reload_done, .client = cl->serial, .client_id = m->id});
    gvm_buf_done(&out);
}
