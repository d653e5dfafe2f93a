/* The proxy process: started by gvmd with one channel, confined before it hears from anybody else.
 *
 * START brings the resolvers, /etc/hosts and the system's trusted certificates; everything that
 * needs a file, or code that opens one on first use, happens between START and READY. Afterwards
 * one loop runs until the parent says STOP or goes away. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/pipeline/px.h"
#include "proxy/proxy.h"

#define START_JSON_MAX (1024u * 1024u)
#define CA_BUNDLE_MAX  (16u << 20)
#define SCRATCH_MAX    (8u << 20)
#define LIST_MAX       64u
#define DIALS_MAX      4096u
#define FLUSH_TRIES    50
#define ASK_START_MASK 0xffffffffffull /* leaves it exact in any JSON reader */

/* ---- messages that are no answers ---- */

static void answer(struct px *px, enum gvm_role to, uint64_t id, int r, const struct gvm_err *err)
{
    struct px_link *l = px->links[to];
    if (!l)
        return;
    if (r < 0 && err->text[0])
        gvm_log(GVM_LOG_WARN, "%s", err->text);
    r = r < 0 ? gvm_chan_fail(l->chan, id, err)
              : px_link_send(px, to, GVM_MSG_OK, id, NULL, 0, NULL, 0);
    if (r < 0)
        gvm_log(GVM_LOG_WARN, "cannot answer the %s process", gvm_role_name(to));
}

static int on_peer(struct px *px, struct gvm_msg *m)
{
    struct gvm_m_peer p;
    memcpy(&p, m->data, sizeof p);
    bool known = p.role == GVM_ROLE_KEYS || p.role == GVM_ROLE_LEDGER || p.role == GVM_ROLE_CONTROL;
    if (!known || m->nfds != 1)
        return -EPROTO;
    int r = px_link_open(px, (enum gvm_role)p.role, gvm_steal_fd(&m->fds[0]));
    if (r < 0)
        gvm_log(GVM_LOG_ERROR, "cannot use the channel to %s",
                gvm_role_name((enum gvm_role)p.role));
    if (p.role == GVM_ROLE_LEDGER)
        px->log_open = r == 0; /* until it says otherwise */
    if (p.role == GVM_ROLE_CONTROL)
        px_asks_lost(px); /* a new control knows nothing of what the old one was asked */
    return 0;
}

static int on_policy(struct px *px, struct gvm_msg *m)
{
    struct gvm_m_policy p;
    struct gvm_err err = {0};
    memcpy(&p, m->data, sizeof p);
    if (m->nfds != 1)
        return -EPROTO;
    int r = px_policy_set(px, p.policy, m->fds[0], &err);
    answer(px, GVM_ROLE_PARENT, m->id, r, &err);
    return 0;
}

static unsigned take_list(const struct gvm_json *list, const char **out)
{
    unsigned n = 0;
    if (!list || list->type != GVM_JSON_ARRAY)
        return 0;
    for (const struct gvm_json *v = list->child; v && n < LIST_MAX; v = v->next)
        if (v->type == GVM_JSON_STRING)
            out[n++] = v->text.p;
    return n;
}

/* The host's resolv.conf or hosts has changed. What cannot be taken leaves the old ones in force.
 */
static int on_names(struct px *px, struct gvm_msg *m)
{
    const char *resolvers[LIST_MAX];
    struct gvm_err err = {0};
    struct gvm_json *j;
    struct gvm_arena *a = gvm_arena_new(START_JSON_MAX);
    int r = a ? gvm_json_parse(a, gvm_msg_str(m), &j, &err)
              : gvm_err_set(&err, ENOMEM, "out of memory");
    if (r == 0) {
        const struct gvm_json *hosts = gvm_json_get(j, "hosts");
        unsigned n = take_list(gvm_json_get(j, "resolvers"), resolvers);
        r = upstreams_names(px->upstreams, resolvers, n,
                            hosts && hosts->type == GVM_JSON_STRING ? hosts->text : GVM_STR(""),
                            &err);
    }
    gvm_arena_free(a);
    if (r < 0)
        gvm_log(GVM_LOG_WARN, "the new resolvers are not used: %s", err.text);
    return 0;
}

static int on_stop(struct px *px, struct gvm_msg *m)
{
    px->stopping = true;
    uv_stop(&px->loop);
    return 0;
}

static int on_gate(struct px *px, struct gvm_msg *m)
{
    struct gvm_m_gate g;
    memcpy(&g, m->data, sizeof g);
    px->log_open = g.open == 1;
    return 0;
}

static int on_run_add(struct px *px, struct gvm_msg *m)
{
    struct gvm_err err = {0};
    int r = px_run_add(px, m, &err);
    answer(px, GVM_ROLE_CONTROL, m->id, r, &err);
    return 0;
}

static int on_run_end(struct px *px, struct gvm_msg *m)
{
    struct gvm_err err = {0};
    int r = px_run_end(px, m, &err);
    if (r < 0)
        answer(px, GVM_ROLE_CONTROL, m->id, r, &err);
    return 0;
}

static int on_answer(struct px *px, struct gvm_msg *m)
{
    return px_on_answer(px, m);
}

static const struct {
    enum gvm_role from;
    enum gvm_msg_type type;
    int (*fn)(struct px *px, struct gvm_msg *m);
} handlers[] = {
    {GVM_ROLE_PARENT, GVM_MSG_PEER, on_peer},
    {GVM_ROLE_PARENT, GVM_MSG_POLICY, on_policy},
    {GVM_ROLE_PARENT, GVM_MSG_NAMES, on_names},
    {GVM_ROLE_PARENT, GVM_MSG_STOP, on_stop},
    {GVM_ROLE_LEDGER, GVM_MSG_GATE, on_gate},
    {GVM_ROLE_CONTROL, GVM_MSG_RUN_ADD, on_run_add},
    {GVM_ROLE_CONTROL, GVM_MSG_RUN_END, on_run_end},
    {GVM_ROLE_CONTROL, GVM_MSG_ANSWER, on_answer},
};

int px_on_message(struct px *px, enum gvm_role from, struct gvm_msg *m)
{
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++)
        if (handlers[i].from == from && handlers[i].type == m->type)
            return handlers[i].fn(px, m);
    return -EPROTO;
}

void px_on_link_lost(struct px *px, enum gvm_role role)
{
    if (role == GVM_ROLE_PARENT)
        uv_stop(&px->loop);
    else
        gvm_log(GVM_LOG_INFO, "the %s process is away", gvm_role_name(role));
    if (role == GVM_ROLE_PARENT)
        px->stopping = true;
    if (role == GVM_ROLE_CONTROL)
        px_asks_lost(px);
    if (role == GVM_ROLE_LEDGER)
        px_unpark(px); /* what waited for room is refused now */
}

/* ---- START ---- */

static int make_upstreams(struct px *px, const struct gvm_json *j, int bundle, struct gvm_err *err)
{
    const char *resolvers[LIST_MAX], *refuse[LIST_MAX];
    struct gvm_buf pem GVM_CLEANUP(gvm_buf_done);
    gvm_buf_init(&pem, CA_BUNDLE_MAX);
    int r = gvm_read_fd(bundle, &pem);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read the trusted certificates");
    const struct gvm_json *hosts = gvm_json_get(j, "hosts");
    struct upstream_setup setup = {
        .loop = &px->loop,
        .resolvers = resolvers,
        .nresolvers = take_list(gvm_json_get(j, "resolvers"), resolvers),
        .hosts = hosts && hosts->type == GVM_JSON_STRING ? hosts->text : GVM_STR(""),
        .ca_pem = gvm_buf_str(&pem),
        .refuse = refuse,
        .nrefuse = take_list(gvm_json_get(j, "refuse"), refuse),
    };
    return upstreams_new(&setup, &px->upstreams, err);
}

static int on_start(struct px *px, struct gvm_msg *m, struct gvm_err *err)
{
    struct gvm_json *j;
    struct gvm_arena *a = gvm_arena_new(START_JSON_MAX);
    if (!a || m->type != GVM_MSG_START || m->nfds != 1) {
        gvm_arena_free(a);
        return gvm_err_set(err, EPROTO, "the parent did not begin with START");
    }
    int r = gvm_json_parse(a, gvm_msg_str(m), &j, err);
    if (r == 0)
        r = make_upstreams(px, j, m->fds[0], err);
    gvm_arena_free(a);
    return r;
}

/* Waits for the first message of the parent. */
static int read_start(struct px *px, struct gvm_chan *parent, struct gvm_err *err)
{
    struct gvm_msg m;
    int r;
    while ((r = gvm_chan_recv(parent, &m)) == 0) {
        struct pollfd p = {.fd = gvm_chan_fd(parent), .events = POLLIN};
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            return gvm_err_sys(err, errno, "poll");
    }
    if (r < 0)
        return gvm_err_sys(err, -r, "no START from the parent");
    r = on_start(px, &m, err);
    gvm_msg_done(&m);
    return r;
}

/* ---- life ---- */

static int init(struct px *px, struct gvm_err *err)
{
    px->parked_tail = &px->parked;
    /* An answer to what our predecessor asked must not fit a question of ours. */
    if (RAND_bytes((uint8_t *)&px->next_ask, sizeof px->next_ask) != 1)
        return gvm_err_set(err, EIO, "no randomness");
    px->next_ask &= ASK_START_MASK;
    gvm_buf_init(&px->line, GVM_MAX_ENTRY + 4096);
    gvm_buf_init(&px->scratch, SCRATCH_MAX);
    px->policies = gvm_map_new(1024, px_policy_drop);
    px->runs = gvm_map_new(GVM_MAX_RUNS, px_run_drop);
    px->asks = gvm_map_new(GVM_MAX_PENDING, NULL);
    px->ups = gvm_map_new(DIALS_MAX, NULL);
    px->dials = gvm_map_new(DIALS_MAX, NULL);
    px->bill = gvm_bill_new(GVM_ALL_MEMORY, NULL);
    if (!px->policies || !px->runs || !px->asks || !px->ups || !px->dials || !px->bill)
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = uv_loop_init(&px->loop);
    if (r == 0)
        r = px_batch_start(px);
    return r < 0 ? gvm_err_sys(err, -r, "cannot make an event loop") : 0;
}

/* What a library sets up on first use must be there before the doors close. */
static int warm_up(struct gvm_err *err)
{
    uint8_t some[16];
    char now[GVM_TIME_TEXT];
    streams_init();
    gvm_time_text(now, gvm_now_ns());
    if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS, NULL) != 1 ||
        RAND_bytes(some, sizeof some) != 1)
        return gvm_err_set(err, EIO, "cannot set up TLS");
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_free(ctx);
    return ctx ? 0 : gvm_err_set(err, EIO, "cannot set up TLS");
}

/* Says what was still to be recorded, as far as the ledger takes it. */
static void last_words(struct px *px)
{
    px_runs_stop(px);
    if (px_batch_flush(px) < 0)
        return;
    for (int i = 0; i < FLUSH_TRIES && px_ledger_busy(px); i++) {
        struct pollfd p = {.fd = gvm_chan_fd(px->links[GVM_ROLE_LEDGER]->chan), .events = POLLOUT};
        if (poll(&p, 1, 100) < 0 || gvm_chan_flush(px->links[GVM_ROLE_LEDGER]->chan) < 0)
            return;
    }
}

static int serve(struct px *px, int fd, struct gvm_err *err)
{
    struct gvm_chan *parent = gvm_chan_new(fd, GVM_ROLE_PROXY, GVM_ROLE_PARENT, 1u << 20);
    if (!parent)
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = read_start(px, parent, err);
    if (r == 0)
        r = px_confine(err);
    int copy = r == 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (r == 0 && copy < 0)
        r = gvm_err_sys(err, errno, "dup");
    gvm_chan_free(parent); /* nothing of it is left unread: frames stay in the socket */
    if (r == 0)
        r = px_link_open(px, GVM_ROLE_PARENT, copy);
    if (r == 0)
        r = px_link_send(px, GVM_ROLE_PARENT, GVM_MSG_READY, 0, NULL, 0, NULL, 0);
    if (r < 0)
        return err->code ? r : gvm_err_sys(err, -r, "cannot use the parent's channel");
    uv_run(&px->loop, UV_RUN_DEFAULT);
    last_words(px);
    return 0;
}

int gvm_proxy_main(int fd)
{
    static struct px px;
    struct gvm_err err = {0};
    gvm_log_open("gvmd[proxy]");
    int r = warm_up(&err);
    if (r == 0)
        r = init(&px, &err);
    if (r == 0)
        r = serve(&px, fd, &err);
    if (r < 0)
        gvm_log(GVM_LOG_ERROR, "%s", err.text);
    return r < 0 ? 1 : 0;
}
