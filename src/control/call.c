/* Requests to other processes. A peer that is away, dies, or refuses ends the call the same way,
 * with an error; who wants to try again when the peer is back looks for EPIPE. */
#include <errno.h>
#include <stdlib.h>

#include "control/control_int.h"

static void end_unsent(struct control *c, struct control_call *call, int r)
{
    struct gvm_err err = {0};
    if (r == -EPIPE)
        gvm_err_set(&err, EPIPE, "the %s process is away for a moment; try again",
                    gvm_role_name(call->to));
    else
        gvm_err_sys(&err, -r, "cannot ask the %s process", gvm_role_name(call->to));
    call->done(c, call, NULL, &err);
}

static void send_call(struct control *c, enum gvm_role to, enum gvm_msg_type type, const void *a,
                      size_t alen, const void *b, size_t blen, const int *fds, unsigned nfds,
                      struct control_call *proto)
{
    proto->to = to;
    proto->id = ++c->next_id;
    struct control_call *call = gvm_calloc(1, sizeof *call);
    int r = !call ? -ENOMEM
            : c->peers[to]
                ? gvm_chan_send2(c->peers[to], type, proto->id, a, alen, b, blen, fds, nfds)
                : -EPIPE;
    if (r < 0) {
        free(call);
        end_unsent(c, proto, r);
        return;
    }
    *call = *proto;
    call->next = c->calls;
    c->calls = call;
}

void control_call(struct control *c, enum gvm_role to, enum gvm_msg_type type, const void *data,
                  size_t len, const int *fds, unsigned nfds, struct control_call proto)
{
    send_call(c, to, type, data, len, NULL, 0, fds, nfds, &proto);
}

void control_call_json(struct control *c, enum gvm_role to, enum gvm_msg_type type,
                       const struct gvm_buf *json, struct control_call proto)
{
    if (json->failed) {
        proto.to = to;
        end_unsent(c, &proto, -E2BIG);
    } else {
        send_call(c, to, type, gvm_buf_data(json), json->len, NULL, 0, NULL, 0, &proto);
    }
}

void control_append(struct control *c, const struct gvm_buf *entry, struct control_call proto)
{
    struct gvm_m_append head = {0};
    if (entry->failed || entry->len > GVM_MAX_ENTRY) {
        proto.to = GVM_ROLE_LEDGER;
        end_unsent(c, &proto, -E2BIG);
    } else {
        send_call(c, GVM_ROLE_LEDGER, GVM_MSG_APPEND, &head, sizeof head, gvm_buf_data(entry),
                  entry->len, NULL, 0, &proto);
    }
}

void control_append_quietly(struct control *c, const struct gvm_buf *entry)
{
    struct gvm_m_append head = {.flags = GVM_APPEND_NO_WAIT};
    struct gvm_chan *ledger = c->peers[GVM_ROLE_LEDGER];
    if (entry->failed || !ledger ||
        gvm_chan_send2(ledger, GVM_MSG_APPEND, 0, &head, sizeof head, gvm_buf_data(entry),
                       entry->len, NULL, 0) < 0)
        gvm_log(GVM_LOG_WARN, "an entry could not be recorded: %.200s",
                (const char *)gvm_buf_data(entry));
}

/* 0 = the answer is a good one. */
static int verdict(const struct gvm_msg *m, struct gvm_err *err)
{
    if (m->type == GVM_MSG_FAILED) {
        struct gvm_m_failed f;
        memcpy(&f, m->data, sizeof f);
        /* EPIPE is our own word for "ask again later"; nobody else's refusal may say it. */
        int code = f.code > 0 && f.code != EPIPE ? f.code : EIO;
        return gvm_err_set(err, code, "%.*s", (int)(m->len - sizeof f),
                           (const char *)m->data + sizeof f);
    }
    if (m->type == GVM_MSG_APPENDED) {
        struct gvm_m_appended a;
        memcpy(&a, m->data, sizeof a);
        if (a.error)
            return gvm_err_sys(err, a.error > 0 && a.error != EPIPE ? a.error : EIO,
                               "this cannot be recorded");
    }
    return 0;
}

bool control_answered(struct control *c, enum gvm_role from, const struct gvm_msg *m)
{
    struct control_call **at = &c->calls;
    while (*at && ((*at)->id != m->id || (*at)->to != from))
        at = &(*at)->next;
    struct control_call *call = *at;
    if (!call)
        return false;
    *at = call->next;
    struct gvm_err err = {0};
    int r = verdict(m, &err);
    call->done(c, call, r < 0 ? NULL : m, &err);
    free(call);
    return true;
}

void control_calls_fail(struct control *c, enum gvm_role to)
{
    /* What is asked anew meanwhile goes to a list of its own. */
    struct control_call *old = c->calls;
    c->calls = NULL;
    while (old) {
        struct control_call *next = old->next;
        if (old->to == to) {
            end_unsent(c, old, -EPIPE);
            free(old);
        } else {
            old->next = c->calls;
            c->calls = old;
        }
        old = next;
    }
}
