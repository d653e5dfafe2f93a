/* Runs: registered by control with the listeners of their sandbox, ended by it with what they did.
 *
 * A run that is registered again (the launcher came back, a setting changed) keeps its names, its
 * certificates and its connections; its listeners are replaced. The memory goes when the table,
 * every listener and every connection have let go of it. */
#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "proxy/pipeline/px.h"

#define BACKLOG          1024
#define NO_INTERCEPT_MAX 1000u
#define JSON_MAX         (1024u * 1024u)

/* ---- listeners ---- */

static void free_listener(uv_handle_t *h)
{
    struct px_listener *l = h->data;
    struct px_run *run = l->run;
    free(l);
    px_run_unref(run);
}

static void close_listeners(struct px_run *run)
{
    for (unsigned i = 0; i < PX_LISTENERS; i++) {
        struct px_listener *l = run->listeners[i];
        run->listeners[i] = NULL;
        if (l)
            uv_close(&l->uv.handle, free_listener);
    }
}

static void on_connection(uv_stream_t *s, int status)
{
    struct px_listener *l = s->data;
    if (status < 0)
        return;
    stream_batch_begin(s->loop);
    if (l->kind == PX_TCP4 || l->kind == PX_TCP6)
        px_conn_accept(l);
    else
        px_dns_tcp_accept(l);
    stream_batch_end(s->loop);
}

static bool is_udp(enum px_listener_kind kind)
{
    return kind == PX_DNS4 || kind == PX_DNS6;
}

static void read_name(struct px_listener *l)
{
    struct sockaddr_storage a;
    int n = sizeof a;
    if (uv_tcp_getsockname(&l->uv.tcp, (struct sockaddr *)&a, &n) == 0)
        gvm_ip_from_sockaddr((struct sockaddr *)&a, &l->ip, &l->port);
}

/* Takes *fd once the handle has it. */
static int open_listener(struct px_listener *l, int *fd, struct gvm_err *err)
{
    int r = is_udp(l->kind) ? uv_udp_open(&l->uv.udp, *fd) : uv_tcp_open(&l->uv.tcp, *fd);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot take a listener");
    (void)gvm_steal_fd(fd);
    if (is_udp(l->kind))
        return px_dns_udp_start(l, err);
    read_name(l);
    r = uv_listen(&l->uv.stream, BACKLOG, on_connection);
    return r < 0 ? gvm_err_sys(err, -r, "cannot listen") : 0;
}

static int add_listener(struct px_run *run, enum px_listener_kind kind, int *fd,
                        struct gvm_err *err)
{
    struct px_listener *l = gvm_calloc(1, sizeof *l);
    if (!l)
        return gvm_err_set(err, ENOMEM, "out of memory");
    l->run = run;
    l->kind = kind;
    int r = is_udp(kind) ? uv_udp_init(&run->px->loop, &l->uv.udp)
                         : uv_tcp_init(&run->px->loop, &l->uv.tcp);
    if (r < 0) {
        free(l);
        return gvm_err_sys(err, -r, "cannot make a listener");
    }
    l->uv.handle.data = l;
    run->listeners[kind] = l;
    run->refs++;
    return open_listener(l, fd, err);
}

/* ---- life ---- */

static void free_no_intercept(struct px_run *run)
{
    for (unsigned i = 0; i < run->n_no_intercept; i++)
        free(run->no_intercept[i]);
    free(run->no_intercept);
    run->no_intercept = NULL;
    run->n_no_intercept = 0;
}

void px_run_unref(struct px_run *run)
{
    if (--run->refs)
        return;
    px_leaves_free(run);
    px_grants_free(run);
    gvm_map_free(run->limits);
    free_no_intercept(run);
    gvm_dns_names_free(run->names);
    SSL_CTX_free(run->tls);
    gvm_bill_unref(run->bill);
    explicit_bzero(run->salt, sizeof run->salt);
    free(run);
}

/* Closes what is open; the memory follows when the handles are closed. */
static void shut(struct px_run *run, const char *why)
{
    run->ending = true;
    close_listeners(run);
    px_dns_conns_close(run);
    while (run->conns)
        px_conn_close(run->conns, 0, why);
    upstreams_forget_run(run->px->upstreams, run->id);
    px_h2_forget_run(run->px, run->id);
}

void px_run_drop(void *arg)
{
    struct px_run *run = arg;
    shut(run, "the run ended");
    px_run_unref(run);
}

static int fill_new(struct px_run *run, struct gvm_err *err)
{
    run->names = gvm_dns_names_new();
    run->leaves = gvm_map_new(PX_LEAVES + 1, NULL);
    run->leaf_asks = gvm_map_new(GVM_MAX_CONNS, NULL);
    run->bill = gvm_bill_new(GVM_RUN_MEMORY, run->px->bill);
    if (!run->names || !run->leaves || !run->leaf_asks || !run->bill)
        return gvm_err_set(err, ENOMEM, "out of memory");
    if (RAND_bytes(run->salt, sizeof run->salt) != 1)
        return gvm_err_set(err, EIO, "no randomness");
    return px_tls_ctx(run, err);
}

static int new_run(struct px *px, const char *id, struct px_run **ret, struct gvm_err *err)
{
    struct px_run *run = gvm_calloc(1, sizeof *run);
    if (!run)
        return gvm_err_set(err, ENOMEM, "out of memory");
    run->px = px;
    run->refs = 1;
    int r = gvm_str_copy(run->id, sizeof run->id, gvm_str(id));
    if (r < 0 || !id[0])
        r = gvm_err_set(err, EINVAL, "bad run id");
    if (r == 0)
        r = fill_new(run, err);
    if (r == 0 && (r = gvm_map_put(px->runs, gvm_str(id), run)) < 0)
        gvm_err_sys(err, -r, "too many runs");
    if (r < 0)
        px_run_unref(run);
    else
        *ret = run;
    return r;
}

/* ---- RUN_ADD ---- */

static int take_default(struct px_run *run, const char *text, struct gvm_err *err)
{
    static const struct {
        const char *name;
        enum gvm_decision type;
    } known[] = {{"deny", GVM_DENY}, {"approve", GVM_REQUIRE_APPROVAL}, {"delay", GVM_DELAY}};
    run->has_default = false;
    if (!text)
        return 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(text, known[i].name) == 0) {
            run->has_default = true;
            run->dflt = (struct gvm_conf_decision){.type = known[i].type, .delay_ms = 300};
            return 0;
        }
    }
    return gvm_err_set(err, EINVAL, "unknown default decision");
}

static int take_no_intercept(struct px_run *run, const struct gvm_json *list, struct gvm_err *err)
{
    free_no_intercept(run);
    if (!list || list->type != GVM_JSON_ARRAY)
        return 0;
    run->no_intercept = gvm_calloc(NO_INTERCEPT_MAX, sizeof *run->no_intercept);
    if (!run->no_intercept)
        return gvm_err_set(err, ENOMEM, "out of memory");
    for (const struct gvm_json *v = list->child; v; v = v->next) {
        if (v->type != GVM_JSON_STRING || run->n_no_intercept == NO_INTERCEPT_MAX)
            return gvm_err_set(err, EINVAL, "no_intercept must be a list of hosts");
        char *copy = strndup(v->text.p, v->text.n);
        if (!copy)
            return gvm_err_set(err, ENOMEM, "out of memory");
        for (char *at = copy; *at; at++)
            *at = gvm_lower(*at);
        run->no_intercept[run->n_no_intercept++] = copy;
    }
    return 0;
}

bool px_run_no_intercept(const struct px_run *run, const char *host)
{
    for (unsigned i = 0; i < run->n_no_intercept; i++)
        if (gvm_glob(gvm_str(run->no_intercept[i]), gvm_str(host)))
            return true;
    return false;
}

static int take_settings(struct px_run *run, const struct gvm_json *j, struct gvm_err *err)
{
    int64_t policy = gvm_json_int(j, "policy", -1);
    if (policy < 0 || policy > UINT32_MAX)
        return gvm_err_set(err, EINVAL, "bad policy id");
    if (gvm_str_copy(run->agent, sizeof run->agent, gvm_str(gvm_json_text(j, "agent", ""))) < 0)
        return gvm_err_set(err, EINVAL, "the agent's name is too long");
    run->policy_id = (uint32_t)policy;
    run->watch = gvm_json_bool(j, "watch", false);
    int r = take_default(run, gvm_json_text(j, "default", NULL), err);
    return r < 0 ? r : take_no_intercept(run, gvm_json_get(j, "no_intercept"), err);
}

static int take_listeners(struct px_run *run, struct gvm_msg *m, struct gvm_err *err)
{
    close_listeners(run);
    for (unsigned i = 0; i < PX_LISTENERS; i++) {
        int r = add_listener(run, (enum px_listener_kind)i, &m->fds[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add(struct px *px, struct gvm_msg *m, const struct gvm_json *j, struct gvm_err *err)
{
    const char *id = gvm_json_text(j, "run", "");
    struct px_run *run = gvm_map_get(px->runs, gvm_str(id));
    if (m->nfds != PX_LISTENERS)
        return gvm_err_set(err, EINVAL, "a run needs six listeners");
    int r = run ? 0 : new_run(px, id, &run, err);
    if (r < 0)
        return r;
    r = take_settings(run, j, err);
    if (r == 0)
        r = take_listeners(run, m, err);
    if (r < 0)
        gvm_map_del(px->runs, gvm_str(id));
    return r;
}

int px_run_add(struct px *px, struct gvm_msg *m, struct gvm_err *err)
{
    struct gvm_json *j;
    struct gvm_arena *a = gvm_arena_new(JSON_MAX);
    if (!a)
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = gvm_json_parse(a, gvm_msg_str(m), &j, err);
    if (r == 0)
        r = add(px, m, j, err);
    gvm_arena_free(a);
    return r;
}

/* ---- RUN_END ---- */

static void send_stats(struct px_run *run)
{
    struct gvm_buf *out = &run->px->scratch;
    struct gvm_jw w;
    gvm_buf_reset(out);
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    gvm_jw_kint(&w, "connections", (int64_t)run->connections);
    gvm_jw_kint(&w, "dns_connections", (int64_t)run->dns_connections);
    gvm_jw_kint(&w, "requests", (int64_t)run->requests);
    gvm_jw_kint(&w, "denied", (int64_t)run->denied);
    gvm_jw_kint(&w, "bytes_out", (int64_t)run->bytes_out);
    gvm_jw_kint(&w, "bytes_in", (int64_t)run->bytes_in);
    gvm_jw_object_end(&w);
    if (px_link_send(run->px, GVM_ROLE_CONTROL, GVM_MSG_RUN_STATS, run->end_id, gvm_buf_data(out),
                     out->len, NULL, 0) < 0)
        gvm_log(GVM_LOG_WARN, "control could not be told that run %s ended", run->id);
}

static void on_drained(void *arg, const struct gvm_msg *m)
{
    struct px_run *run = arg;
    send_stats(run);
    px_run_unref(run);
}

/* The last entry of a run is how often DNS was asked. Entries are made durable in the order they
 * are sent: when this one is, all are. */
static void finish(struct px_run *run)
{
    uint64_t waiter;
    struct gvm_jw w;
    gvm_buf_reset(&run->px->line);
    gvm_entry_begin(&w, &run->px->line, "dns.summary", run->id, run->agent);
    gvm_jw_kint(&w, "queries", (int64_t)run->queries);
    gvm_jw_kint(&w, "names", (int64_t)run->fresh_names);
    gvm_jw_kint(&w, "refused", (int64_t)run->queries_refused);
    run->refs++;
    if (gvm_entry_end(&w) < 0 || px_append(run->px, on_drained, run, &waiter) < 0)
        on_drained(run, NULL);
}

/* Connections that were made and never came to be served, because the agent ended: they are taken
 * off the listeners' queues so that they are counted here as the kernel has counted them. */
static void count_waiting(struct px_run *run)
{
    for (unsigned i = 0; i < PX_LISTENERS; i++) {
        const struct px_listener *l = run->listeners[i];
        int fd = -1;
        if (!l || is_udp(l->kind) || uv_fileno(&l->uv.handle, &fd) < 0)
            continue;
        bool dns = l->kind != PX_TCP4 && l->kind != PX_TCP6;
        for (int c; (c = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;) {
            gvm_close(&c);
            *(dns ? &run->dns_connections : &run->connections) += 1;
        }
    }
}

static int end(struct px *px, const char *id, uint64_t msg_id, struct gvm_err *err)
{
    struct px_run *run = gvm_map_take(px->runs, gvm_str(id));
    if (!run)
        return gvm_err_set(err, ENOENT, "no such run");
    run->end_id = msg_id;
    count_waiting(run);
    shut(run, "the run ended");
    finish(run);
    px_run_unref(run);
    return 0;
}

int px_run_end(struct px *px, const struct gvm_msg *m, struct gvm_err *err)
{
    struct gvm_json *j;
    struct gvm_arena *a = gvm_arena_new(JSON_MAX);
    if (!a)
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = gvm_json_parse(a, gvm_msg_str(m), &j, err);
    if (r == 0)
        r = end(px, gvm_json_text(j, "run", ""), m->id, err);
    gvm_arena_free(a);
    return r;
}

void px_runs_stop(struct px *px)
{
    size_t pos = 0;
    struct gvm_str key;
    void *v;
    while (gvm_map_next(px->runs, &pos, &key, &v))
        shut(v, "the daemon stopped");
}
