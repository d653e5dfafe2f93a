/* The parent: one poll loop over a signalfd and four channels. It decides nothing about agents; it
 * hands out descriptors and configurations and keeps the children alive. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "confine/confine.h"
#include "daemon/daemon_int.h"
#include "ledger/ledger.h"

enum { EXIT_FAILED = 1, EXIT_RUNNING = 3 };

void daemon_note(struct daemon *d, const char *kind)
{
    struct gvm_buf out;
    struct gvm_jw w;
    struct gvm_m_append head = {.flags = GVM_APPEND_NO_WAIT};
    gvm_buf_init(&out, sizeof head + GVM_MAX_ENTRY);
    (void)gvm_buf_add(&out, &head, sizeof head);
    gvm_entry_begin(&w, &out, kind, NULL, NULL);
    gvm_jw_kstrz(&w, "version", DAEMON_VERSION);
    gvm_jw_kint(&w, "pid", getpid());
    if (gvm_entry_end(&w) == 0)
        (void)daemon_child_send(daemon_child(d, GVM_ROLE_LEDGER), GVM_MSG_APPEND, 0,
                                gvm_buf_data(&out), out.len, NULL, 0);
    gvm_buf_done(&out);
}

static bool all_ready(const struct daemon *d)
{
    for (unsigned i = 0; i < DAEMON_CHILDREN; i++) {
        if (!d->children[i].ready)
            return false;
    }
    return true;
}

/* Once every child serves and the default configuration is in force, whoever started us may go on.
 */
static void tell_ready(struct daemon *d)
{
    if (!d->serving || !all_ready(d) || d->ready_fd < 0)
        return;
    (void)!write(d->ready_fd, "1", 1);
    gvm_close(&d->ready_fd);
}

void daemon_serving(struct daemon *d)
{
    d->serving = true;
    tell_ready(d);
}

void daemon_failed(struct daemon *d, const struct gvm_err *err)
{
    fprintf(stderr, "gvmd: %s\n", err->text);
    d->stopping = true;
    d->exit_code = EXIT_FAILED;
}

/* ---- what children say ---- */

static void on_ready(struct daemon *d, struct daemon_child *c, const struct gvm_msg *m)
{
    c->ready = true;
    tell_ready(d);
}

static void on_answer(struct daemon *d, struct daemon_child *c, const struct gvm_msg *m)
{
    daemon_job_answer(d, m);
}

static void on_gate(struct daemon *d, struct daemon_child *c, const struct gvm_msg *m)
{
    struct gvm_m_gate g;
    memcpy(&g, m->data, sizeof g);
    gvm_log(g.open ? GVM_LOG_INFO : GVM_LOG_ERROR,
            g.open ? "the record is being written"
                   : "the record cannot be written; nothing is forwarded");
}

static void refuse(struct daemon_child *c, const struct gvm_msg *m, int code, const char *text)
{
    struct gvm_err err = {0};
    gvm_err_set(&err, code, "%s", text);
    (void)gvm_chan_fail(c->chan, m->id, &err);
}

/* control says which policies runs use; without the list they are kept as they are. */
static void note_live(struct daemon *d, const struct gvm_json *msg)
{
    const struct gvm_json *list = gvm_json_get(msg, "in_use");
    if (!list || list->type != GVM_JSON_ARRAY)
        return;
    for (unsigned i = 0; i < DAEMON_POLICIES; i++)
        d->policies[i].live = false;
    for (const struct gvm_json *v = list->child; v; v = v->next) {
        uint64_t id;
        if (v->type != GVM_JSON_NUMBER || gvm_parse_u64(v->text, UINT32_MAX, &id) < 0)
            continue;
        for (unsigned i = 0; i < DAEMON_POLICIES; i++) {
            if (d->policies[i].id == id)
                d->policies[i].live = true;
        }
    }
}

static void on_policy(struct daemon *d, struct daemon_child *c, const struct gvm_msg *m)
{
    struct gvm_arena *a = gvm_arena_new(1u << 20);
    struct gvm_json *msg = NULL;
    if (!a || (m->len && gvm_json_parse(a, gvm_msg_str(m), &msg, NULL) < 0)) {
        refuse(c, m, EINVAL, "not a JSON request");
        gvm_arena_free(a);
        return;
    }
    note_live(d, msg);
    int r;
    const char *path = gvm_json_text(msg, "config", NULL);
    if (m->type == GVM_MSG_POLICY_RELOAD)
        r = daemon_job_reload(d, m->id);
    else if (path && path[0] != '/')
        r = -EINVAL;
    else
        r = daemon_job_load(d, m->id, path, false);
    if (r < 0 && c->chan)
        refuse(c, m, -r,
               r == -EINVAL ? "the configuration needs an absolute path"
                            : "too busy to load rules");
    gvm_arena_free(a);
}

static void put_children(const struct daemon *d, struct gvm_jw *w)
{
    gvm_jw_key(w, "children");
    gvm_jw_array(w);
    for (unsigned i = 0; i < DAEMON_CHILDREN; i++) {
        const struct daemon_child *c = &d->children[i];
        gvm_jw_object(w);
        gvm_jw_kstrz(w, "role", gvm_role_name(c->role));
        gvm_jw_key(w, "pid");
        if (c->pid)
            gvm_jw_int(w, c->pid);
        else
            gvm_jw_null(w);
        gvm_jw_kint(w, "restarts", c->restarts);
        gvm_jw_kbool(w, "ready", c->ready);
        gvm_jw_object_end(w);
    }
    gvm_jw_array_end(w);
}

static void on_status(struct daemon *d, struct daemon_child *c, const struct gvm_msg *m)
{
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 65536);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "version", DAEMON_VERSION);
    gvm_jw_kint(&w, "pid", getpid());
    gvm_jw_kint(&w, "uptime", (gvm_mono_ns() - d->started_ns) / 1000000000);
    put_children(d, &w);
    daemon_verify_json(&w, d);
    gvm_jw_key(&w, "policies");
    gvm_jw_array(&w);
    for (unsigned i = 0; i < DAEMON_POLICIES && out.len < 40000; i++) {
        if (!d->policies[i].id)
            continue;
        gvm_jw_object(&w);
        daemon_policy_json(&w, &d->policies[i]);
        gvm_jw_object_end(&w);
    }
    gvm_jw_array_end(&w);
    gvm_jw_object_end(&w);
    if (!out.failed)
        (void)daemon_child_send(c, GVM_MSG_STATUS_INFO, m->id, gvm_buf_data(&out), out.len, NULL,
                                0);
    gvm_buf_done(&out);
}

static void on_shutdown(struct daemon *d, struct daemon_child *c, const struct gvm_msg *m)
{
    d->stopping = true;
}

typedef void (*handler)(struct daemon *d, struct daemon_child *c, const struct gvm_msg *m);

static const handler handlers[GVM_MSG_MAX] = {
    [GVM_MSG_READY] = on_ready,
    [GVM_MSG_OK] = on_answer,
    [GVM_MSG_FAILED] = on_answer,
    [GVM_MSG_APPENDED] = on_answer,
    [GVM_MSG_GATE] = on_gate,
    [GVM_MSG_POLICY_LOAD] = on_policy,
    [GVM_MSG_POLICY_RELOAD] = on_policy,
    [GVM_MSG_STATUS] = on_status,
    [GVM_MSG_SHUTDOWN] = on_shutdown,
};

/* Hangs up on a child; its death follows, and with it its successor. */
static void hang_up(struct daemon_child *c, int r)
{
    if (r == -EPROTO)
        gvm_log(GVM_LOG_ERROR, "the %s process broke the protocol", gvm_role_name(c->role));
    gvm_chan_free(c->chan);
    c->chan = NULL;
    if (c->pid)
        (void)kill(c->pid, r == -EPIPE ? SIGTERM : SIGKILL);
}

static void serve_child(struct daemon *d, struct daemon_child *c, short revents)
{
    int r = revents & POLLOUT ? gvm_chan_flush(c->chan) : 0;
    while (r >= 0 && c->chan) {
        struct gvm_msg m;
        r = gvm_chan_recv(c->chan, &m);
        if (r != 1)
            break;
        if (handlers[m.type])
            handlers[m.type](d, c, &m);
        gvm_msg_done(&m);
    }
    if (r < 0 && c->chan)
        hang_up(c, r);
}

/* ---- signals ---- */

static void on_signal(struct daemon *d, uint32_t sig)
{
    if (sig == SIGHUP) {
        if (daemon_job_reload(d, 0) < 0)
            gvm_log(GVM_LOG_ERROR, "too busy to reload");
    } else if (sig != SIGCHLD) {
        d->stopping = true;
    }
}

static void serve_signals(struct daemon *d)
{
    struct signalfd_siginfo si;
    while (read(d->signal_fd, &si, sizeof si) == (ssize_t)sizeof si)
        on_signal(d, si.ssi_signo);
    struct gvm_err err = {0};
    if (daemon_children_reap(d, &err) < 0 && !d->stopping)
        daemon_failed(d, &err);
}

static int open_signals(struct daemon *d, struct gvm_err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return gvm_err_sys(err, errno, "cannot block signals");
    d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return d->signal_fd < 0 ? gvm_err_sys(err, errno, "cannot watch signals") : 0;
}

/* ---- the loop ---- */

static int sooner(int a, int b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

static void loop(struct daemon *d)
{
    while (!d->stopping) {
        struct pollfd p[2 + DAEMON_CHILDREN] = {{.fd = d->signal_fd, .events = POLLIN}};
        int wait = sooner(daemon_children_due(d), daemon_job_due(d));
        wait = sooner(wait, daemon_publish_due(d));
        wait = sooner(wait, daemon_names_due(d));
        wait = sooner(wait, daemon_index_due(d));
        wait = sooner(wait, daemon_verify_due(d));
        p[1 + DAEMON_CHILDREN] = (struct pollfd){.fd = d->verify.fd, .events = POLLIN};
        for (unsigned i = 0; i < DAEMON_CHILDREN; i++) {
            struct gvm_chan *chan = d->children[i].chan;
            p[i + 1].fd = chan ? gvm_chan_fd(chan) : -1;
            p[i + 1].events = (short)(POLLIN | (chan && gvm_chan_wants_write(chan) ? POLLOUT : 0));
        }
        if (d->stopping)
            break;
        if (poll(p, 2 + DAEMON_CHILDREN, wait) < 0 && errno != EINTR)
            break;
        if (p[0].revents)
            serve_signals(d);
        for (unsigned i = 0; i < DAEMON_CHILDREN; i++) {
            struct daemon_child *c = &d->children[i];
            if (p[i + 1].revents && c->chan && gvm_chan_fd(c->chan) == p[i + 1].fd)
                serve_child(d, c, p[i + 1].revents);
        }
        if (p[1 + DAEMON_CHILDREN].revents)
            daemon_verify_read(d);
    }
}

static int start(struct daemon *d, struct gvm_err *err)
{
    int r = gvm_harden(err);
    if (r == 0)
        r = open_signals(d, err);
    if (r == 0)
        r = daemon_open_places(d, err);
    if (r < 0)
        return r;
    /* A broken file is refused before anything is started. */
    struct daemon_policy p;
    r = daemon_policy_read(d, d->config, &p, err);
    if (r < 0)
        return r;
    d->log = p.log;
    daemon_verify_init(d);
    daemon_policy_done(&p);
    for (unsigned i = 0; r == 0 && i < DAEMON_CHILDREN; i++)
        r = daemon_child_start(d, &d->children[i], err);
    if (r < 0)
        return r;
    daemon_note(d, "daemon.start");
    return daemon_job_load(d, 0, NULL, true);
}

int daemon_parent(int ready_fd)
{
    struct daemon *d = gvm_calloc(1, sizeof *d);
    if (!d)
        return EXIT_FAILED;
    d->ready_fd = ready_fd;
    d->signal_fd = d->lock_fd = d->listen_fd = d->ledger_fd = d->keys_fds[0] = d->keys_fds[1] =
        d->keys_fds[2] = -1;
    d->verify.fd = -1;
    d->started_ns = gvm_mono_ns();
    for (unsigned i = 0; i < DAEMON_POLICIES; i++)
        d->policies[i].policy_fd = d->policies[i].cred_fd = -1;
    daemon_children_init(d);
    struct gvm_err err = {0};
    int r = start(d, &err);
    if (r == 0)
        loop(d);
    daemon_verify_stop(d);
    daemon_index_stop(d);
    daemon_children_stop(d);
    daemon_publish_last(d);
    daemon_jobs_done(d);
    for (unsigned i = 0; i < DAEMON_POLICIES; i++)
        daemon_policy_done(&d->policies[i]);
    daemon_close_places(d);
    gvm_close(&d->signal_fd);
    if (r < 0)
        fprintf(stderr, "gvmd: %s\n", err.text);
    int code = r == -EALREADY ? EXIT_RUNNING : r < 0 ? EXIT_FAILED : d->exit_code;
    gvm_close(&d->ready_fd); /* last: who waits then reads what we said */
    free(d);
    return code;
}
