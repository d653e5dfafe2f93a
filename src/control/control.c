/* The control process: start, confinement, and the loop over the listening socket, the peers and
 * the clients. Peers may be replaced at any time by the parent; what was asked of the old one
 * fails. */
#include "control/control.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "confine/confine.h"
#include "control/control_int.h"

#define START_MS 10000
#define FIXED    5 /* poll entries before the clients: listener and four peers */

static const enum gvm_role peer_order[] = {GVM_ROLE_PARENT, GVM_ROLE_PROXY, GVM_ROLE_KEYS,
                                           GVM_ROLE_LEDGER};

/* ---- messages of our own processes ---- */

static void replace_peer(struct control *c, struct gvm_msg *m)
{
    struct gvm_m_peer p;
    memcpy(&p, m->data, sizeof p);
    if (m->nfds != 1 ||
        (p.role != GVM_ROLE_PROXY && p.role != GVM_ROLE_KEYS && p.role != GVM_ROLE_LEDGER))
        return;
    enum gvm_role role = (enum gvm_role)p.role;
    gvm_chan_free(c->peers[role]);
    c->peers[role] = gvm_chan_new(m->fds[0], GVM_ROLE_CONTROL, role, CONTROL_PEER_QUEUE);
    if (!c->peers[role]) {
        c->stopping = true; /* a fresh process will have memory */
        return;
    }
    gvm_steal_fd(&m->fds[0]);
    control_calls_fail(c, role);
    if (role == GVM_ROLE_PROXY)
        control_asks_lost(c);
    control_run_peer_back(c, role);
}

static void peer_away(struct control *c, enum gvm_role role)
{
    gvm_chan_free(c->peers[role]);
    c->peers[role] = NULL;
    if (role == GVM_ROLE_PARENT) {
        c->stopping = true;
        return;
    }
    if (role == GVM_ROLE_LEDGER)
        c->gate_open = false;
    control_calls_fail(c, role);
    if (role == GVM_ROLE_PROXY)
        control_asks_lost(c);
}

static void gate(struct control *c, const struct gvm_msg *m)
{
    struct gvm_m_gate g;
    memcpy(&g, m->data, sizeof g);
    c->gate_open = g.open == 1;
}

static void from_peer(struct control *c, enum gvm_role role, struct gvm_msg *m)
{
    if (m->type == GVM_MSG_PEER)
        replace_peer(c, m);
    else if (m->type == GVM_MSG_STOP)
        c->stopping = true;
    else if (m->type == GVM_MSG_GATE)
        gate(c, m);
    else if (m->type == GVM_MSG_ASK)
        control_ask(c, m);
    else if (m->type == GVM_MSG_ASK_GONE)
        control_ask_gone(c, m);
    else if (!control_answered(c, role, m))
        gvm_log(GVM_LOG_DEBUG, "an answer came too late: %s from %s", gvm_msg_row(m->type)->name,
                gvm_role_name(role));
}

static void serve_peer(struct control *c, enum gvm_role role, short revents)
{
    struct gvm_chan *chan = c->peers[role];
    int r = revents & POLLOUT ? gvm_chan_flush(chan) : 0;
    while (r >= 0 && c->peers[role] == chan && !c->stopping) {
        struct gvm_msg m;
        r = gvm_chan_recv(chan, &m);
        if (r != 1)
            break;
        from_peer(c, role, &m);
        gvm_msg_done(&m);
    }
    if (r == -EPROTO)
        gvm_log(GVM_LOG_ERROR, "the %s process broke the protocol", gvm_role_name(role));
    if (r < 0 && c->peers[role] == chan)
        peer_away(c, role);
}

/* ---- the loop ---- */

static unsigned fill(const struct control *c, struct pollfd *p, uint64_t *serials)
{
    unsigned n = 0;
    p[n++] =
        (struct pollfd){.fd = c->nclients < CONTROL_CLIENTS ? c->listen_fd : -1, .events = POLLIN};
    for (unsigned i = 0; i < sizeof peer_order / sizeof *peer_order; i++) {
        const struct gvm_chan *chan = c->peers[peer_order[i]];
        p[n].fd = chan ? gvm_chan_fd(chan) : -1;
        p[n++].events = (short)(POLLIN | (chan && gvm_chan_wants_write(chan) ? POLLOUT : 0));
    }
    for (const struct control_client *cl = c->clients; cl; cl = cl->next) {
        serials[n] = cl->serial;
        p[n].fd = gvm_chan_fd(cl->chan);
        p[n++].events = (short)(POLLIN | (gvm_chan_wants_write(cl->chan) ? POLLOUT : 0));
    }
    return n;
}

static void loop(struct control *c)
{
    static struct pollfd p[FIXED + CONTROL_CLIENTS];
    static uint64_t serials[FIXED + CONTROL_CLIENTS];
    while (!c->stopping) {
        unsigned n = fill(c, p, serials);
        if (poll(p, n, -1) < 0) {
            if (errno == EINTR)
                continue;
            return;
        }
        for (unsigned i = 1; i < FIXED; i++) {
            struct gvm_chan *chan = c->peers[peer_order[i - 1]];
            if (p[i].revents && chan && gvm_chan_fd(chan) == p[i].fd)
                serve_peer(c, peer_order[i - 1], p[i].revents);
        }
        for (unsigned i = FIXED; i < n && !c->stopping; i++) {
            struct control_client *cl = p[i].revents ? control_client(c, serials[i]) : NULL;
            if (cl)
                control_serve_client(c, cl, p[i].revents);
        }
        if (p[0].revents && !c->stopping)
            control_accept(c);
        control_drop_clients(c);
    }
}

/* ---- start and end ---- */

/* Waits for START; takes the listening socket and the version. */
static int receive_start(struct control *c, struct gvm_arena *a, struct gvm_err *err)
{
    struct gvm_chan *parent = c->peers[GVM_ROLE_PARENT];
    struct pollfd p = {.fd = gvm_chan_fd(parent), .events = POLLIN};
    struct gvm_msg m;
    int r;
    while ((r = gvm_chan_recv(parent, &m)) == 0) {
        if (poll(&p, 1, START_MS) == 0)
            return gvm_err_set(err, ETIMEDOUT, "the parent says nothing");
    }
    if (r < 0)
        return gvm_err_sys(err, -r, "the parent channel failed");
    struct gvm_json *v = NULL;
    if (m.type != GVM_MSG_START || m.nfds != 1)
        r = gvm_err_set(err, EPROTO, "START with one socket was expected");
    else
        r = gvm_json_parse(a, gvm_msg_str(&m), &v, err);
    if (r == 0) {
        c->version = gvm_json_text(v, "version", "");
        c->listen_fd = gvm_steal_fd(&m.fds[0]);
    }
    gvm_msg_done(&m);
    return r;
}

/* Looked up while the user data base can be read. */
static void learn_user(struct control *c)
{
    c->uid = geteuid();
    const struct passwd *pw = getpwuid(c->uid);
    if (pw)
        snprintf(c->who, sizeof c->who, "%s", pw->pw_name);
    else
        snprintf(c->who, sizeof c->who, "%u", (unsigned)c->uid);
}

static int confine(struct gvm_err *err)
{
    struct gvm_confine_spec spec = {
        .name = "gvmd-control",
        .lists = GVM_CONFINE_BASE | GVM_CONFINE_LOOP | GVM_CONFINE_UNIX | GVM_CONFINE_ACCEPT,
    };
    return gvm_confine(&spec, err);
}

static int start(struct control *c, int fd, struct gvm_arena *a, struct gvm_err *err)
{
    c->peers[GVM_ROLE_PARENT] =
        gvm_chan_new(fd, GVM_ROLE_CONTROL, GVM_ROLE_PARENT, CONTROL_PEER_QUEUE);
    if (!c->peers[GVM_ROLE_PARENT])
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = receive_start(c, a, err);
    if (r < 0)
        return r;
    learn_user(c);
    r = confine(err);
    if (r < 0)
        return r;
    r = gvm_chan_send(c->peers[GVM_ROLE_PARENT], GVM_MSG_READY, 0, NULL, 0, NULL, 0);
    return r < 0 ? gvm_err_sys(err, -r, "the parent channel failed") : 0;
}

static void done(struct control *c)
{
    for (struct control_client *cl = c->clients; cl;) {
        struct control_client *next = cl->next;
        gvm_chan_free(cl->chan);
        free(cl);
        cl = next;
    }
    while (c->runs) {
        struct control_run *next = c->runs->next;
        control_run_free(c->runs);
        c->runs = next;
    }
    while (c->calls) {
        struct control_call *next = c->calls->next;
        free(c->calls);
        c->calls = next;
    }
    control_asks_free(c);
    for (unsigned i = 0; i < GVM_ROLE_MAX; i++)
        gvm_chan_free(c->peers[i]);
    gvm_close(&c->listen_fd);
}

int gvm_control_main(int fd)
{
    struct control c = {.listen_fd = -1};
    struct gvm_err err = {0};
    struct gvm_arena *a = gvm_arena_new(GVM_MAX_FRAME * 2);
    c.asks_tail = &c.asks;
    int r = a ? start(&c, fd, a, &err) : gvm_err_set(&err, ENOMEM, "out of memory");
    if (r == 0)
        loop(&c);
    else
        gvm_log(GVM_LOG_ERROR, "%s", err.text);
    done(&c);
    gvm_arena_free(a);
    return r < 0 ? 1 : 0;
}
