/* Connections of gvm. Every request is answered, by its reply or by one clear sentence. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "control/control_int.h"

#define PARSE_MEMORY (2u << 20)

struct control_client *control_client(struct control *c, uint64_t serial)
{
    struct control_client *cl = c->clients;
    while (cl && cl->serial != serial)
        cl = cl->next;
    return cl && !cl->broken ? cl : NULL;
}

static void add_client(struct control *c, int fd)
{
    struct control_client *cl = c->nclients < CONTROL_CLIENTS ? gvm_calloc(1, sizeof *cl) : NULL;
    if (cl)
        cl->chan = gvm_chan_new(fd, GVM_ROLE_CONTROL, GVM_ROLE_CLIENT, CONTROL_CLIENT_QUEUE);
    if (!cl || !cl->chan) {
        gvm_log(GVM_LOG_WARN, "too many connections; one was closed");
        free(cl);
        close(fd);
        return;
    }
    cl->serial = ++c->next_serial;
    cl->next = c->clients;
    c->clients = cl;
    c->nclients++;
}

void control_accept(struct control *c)
{
    for (;;) {
        int fd = -1;
        int r = gvm_ipc_accept(c->listen_fd, &fd);
        if (r == 0)
            add_client(c, fd);
        else if (r == -EPERM)
            gvm_log(GVM_LOG_WARN, "a connection of another user was refused");
        else if (r != -EINTR && r != -ECONNABORTED)
            return;
    }
}

static void free_client(struct control *c, struct control_client *cl)
{
    uint64_t serial = cl->serial;
    gvm_chan_free(cl->chan);
    free(cl);
    c->nclients--;
    control_run_client_gone(c, serial);
}

void control_drop_clients(struct control *c)
{
    struct control_client **at = &c->clients;
    while (*at) {
        struct control_client *cl = *at;
        if (!cl->broken) {
            at = &cl->next;
            continue;
        }
        *at = cl->next;
        free_client(c, cl);
        at = &c->clients; /* its end may have changed the list */
    }
}

void control_reply(struct control *c, uint64_t client, uint64_t id, enum gvm_msg_type type,
                   const void *data, size_t len)
{
    struct control_client *cl = control_client(c, client);
    if (!cl)
        return;
    int r = gvm_chan_send(cl->chan, type, id, data, len, NULL, 0);
    if (r == -EMSGSIZE || r == -ENOMEM)
        control_refuse(c, client, id, E2BIG, "the answer does not fit one message");
    else if (r < 0)
        cl->broken = true;
}

void control_reply_json(struct control *c, uint64_t client, uint64_t id, enum gvm_msg_type type,
                        const struct gvm_buf *json)
{
    if (json->failed)
        control_refuse(c, client, id, E2BIG, "the answer does not fit one message");
    else
        control_reply(c, client, id, type, gvm_buf_data(json), json->len);
}

void control_refuse_err(struct control *c, uint64_t client, uint64_t id, const struct gvm_err *err)
{
    struct control_client *cl = control_client(c, client);
    if (cl && gvm_chan_fail(cl->chan, id, err) < 0)
        cl->broken = true;
}

void control_refuse(struct control *c, uint64_t client, uint64_t id, int code, const char *fmt, ...)
{
    char text[GVM_ERR_TEXT];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct gvm_err err = {0};
    gvm_err_set(&err, code, "%s", text);
    control_refuse_err(c, client, id, &err);
}

const struct gvm_json *control_parse(struct control *c, const struct control_client *cl,
                                     const struct gvm_msg *m, struct gvm_arena **ret_arena)
{
    struct gvm_err err = {0};
    struct gvm_json *v = NULL;
    struct gvm_arena *a = gvm_arena_new(PARSE_MEMORY);
    int r = a ? gvm_json_parse(a, gvm_msg_str(m), &v, &err)
              : gvm_err_set(&err, ENOMEM, "out of memory");
    if (r == 0 && v->type != GVM_JSON_OBJECT)
        r = gvm_err_set(&err, EINVAL, "the request is not a JSON object");
    if (r < 0) {
        control_refuse_err(c, cl->serial, m->id, &err);
        gvm_arena_free(a);
        return NULL;
    }
    *ret_arena = a;
    return v;
}

static void subscribe(struct control *c, struct control_client *cl, const struct gvm_msg *m)
{
    cl->subscribed = true;
    if (m->id)
        control_reply(c, cl->serial, m->id, GVM_MSG_OK, NULL, 0);
}

static void dispatch(struct control *c, struct control_client *cl, struct gvm_msg *m)
{
    static void (*const handlers[GVM_MSG_MAX])(struct control *, struct control_client *,
                                               const struct gvm_msg *) = {
        [GVM_MSG_RUN_FINISH] = control_run_finish, [GVM_MSG_NOTE] = control_note,
        [GVM_MSG_CLIENT_STATUS] = control_status,  [GVM_MSG_CLIENT_STOP] = control_stop,
        [GVM_MSG_CLIENT_RELOAD] = control_reload,  [GVM_MSG_APPROVALS] = control_approvals,
        [GVM_MSG_DECIDE] = control_decide,         [GVM_MSG_SUBSCRIBE] = subscribe,
    };
    if (m->type == GVM_MSG_RUN_REGISTER)
        control_run_register(c, cl, m);
    else if (handlers[m->type])
        handlers[m->type](c, cl, m);
    else
        cl->broken = true; /* an answer nobody asked for */
}

void control_serve_client(struct control *c, struct control_client *cl, short revents)
{
    int r = revents & POLLOUT ? gvm_chan_flush(cl->chan) : 0;
    while (r >= 0 && !cl->broken) {
        struct gvm_msg m;
        r = gvm_chan_recv(cl->chan, &m);
        if (r != 1)
            break;
        dispatch(c, cl, &m);
        gvm_msg_done(&m);
    }
    if (r == -EPROTONOSUPPORT) { /* our own frame tells it, whatever is in it */
        struct gvm_err err = {0};
        gvm_err_set(&err, EPROTONOSUPPORT, "another version");
        (void)gvm_chan_fail(cl->chan, 0, &err);
    }
    if (r == -EPROTO)
        gvm_log(GVM_LOG_WARN, "a client broke the protocol; its connection was closed");
    if (r < 0)
        cl->broken = true;
}
