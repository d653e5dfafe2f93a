/* The life of a run, as a chain of answers:
 *
 *   REGISTER -> [parent: POLICY_LOAD | keys: CA] -> proxy: RUN_ADD -> ledger: run.start -> READY
 *   FINISH, or the connection closed -> proxy: RUN_END -> ledger: run.end -> keys: CA_DROP -> DONE
 *
 * A peer that dies in between is no failure: the step is asked again when its successor's channel
 * arrives, and a live run is given to it with our copies of the listeners. What a peer refuses ends
 * the registration and undoes the steps before. */
#include <errno.h>
#include <stdlib.h>

#include "control/control_int.h"
#include "ledger/ledger.h"

#define RUN_MEMORY  (1u << 20)
#define COMMAND_MAX 32768u /* bytes of a command in the record; the rest of an entry is ours */

static void add_to_proxy(struct control *c, struct control_run *r);
static void append_start(struct control *c, struct control_run *r);
static void append_end(struct control *c, struct control_run *r);
static void end_run(struct control *c, struct control_run *r);

static struct control_run *by_serial(struct control *c, uint64_t serial)
{
    struct control_run *r = c->runs;
    while (r && r->serial != serial)
        r = r->next;
    return r;
}

struct control_run *control_run_of(struct control *c, uint64_t client)
{
    struct control_run *r = c->runs;
    while (r && r->client != client)
        r = r->next;
    return r;
}

unsigned control_runs_live(const struct control *c)
{
    unsigned n = 0;
    for (const struct control_run *r = c->runs; r; r = r->next)
        n++;
    return n;
}

void control_run_free(struct control_run *r)
{
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++)
        gvm_close(&r->fds[i]);
    gvm_arena_free(r->arena);
    free(r);
}

static void take_out(struct control *c, struct control_run *r)
{
    struct control_run **at = &c->runs;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    control_run_free(r);
}

static struct control_call call_for(const struct control_run *r, control_done *done)
{
    return (struct control_call){.done = done, .run = r->serial};
}

static void ignore(struct control *c, struct control_call *call, const struct gvm_msg *m,
                   const struct gvm_err *err)
{
    if (!m && err->code != EPIPE)
        gvm_log(GVM_LOG_WARN, "%s", err->text);
}

/* {"run":id}, for the messages that carry no more. */
static void tell(struct control *c, const struct control_run *r, enum gvm_role to,
                 enum gvm_msg_type type, control_done *done)
{
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 256);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "run", r->id);
    gvm_jw_object_end(&w);
    control_call_json(c, to, type, &out, call_for(r, done));
    gvm_buf_done(&out);
}

/* A registration that cannot be completed. */
static void fail(struct control *c, struct control_run *r, const struct gvm_err *err)
{
    control_refuse_err(c, r->client, r->client_id, err);
    if (r->stage >= RUN_ADDING)
        tell(c, r, GVM_ROLE_PROXY, GVM_MSG_RUN_END, ignore);
    tell(c, r, GVM_ROLE_KEYS, GVM_MSG_CA_DROP,
         ignore); /* asked for it was, even if not yet answered */
    take_out(c, r);
}

/* True when the step's peer is away: it will be asked again by control_run_peer_back(). */
static bool later(const struct gvm_msg *m, const struct gvm_err *err)
{
    return !m && err->code == EPIPE;
}

/* Parses an answer of one of ours. */
static const struct gvm_json *parse_answer(const struct gvm_msg *m, struct gvm_arena *a,
                                           struct gvm_err *err)
{
    struct gvm_json *v = NULL;
    if (gvm_json_parse(a, gvm_msg_str(m), &v, err) < 0) {
        gvm_err_wrap(err, -1, "answer %s", gvm_msg_row(m->type)->name);
        return NULL;
    }
    return v;
}

static const char *keep(struct control_run *r, const struct gvm_json *v, const char *key)
{
    const char *text = gvm_json_text(v, key, NULL);
    return text ? gvm_arena_dup(r->arena, text, strlen(text)) : NULL;
}

/* ---- policy and CA, side by side ---- */

static void prepared(struct control *c, struct control_run *r)
{
    if (r->stage != RUN_PREPARING || !r->have_policy || !r->have_ca)
        return;
    if (!r->client) {
        struct gvm_err err = {.code = ECONNRESET, .text = "the launcher went away"};
        fail(c, r, &err);
        return;
    }
    r->stage = RUN_ADDING;
    add_to_proxy(c, r);
}

static void policy_done(struct control *c, struct control_call *call, const struct gvm_msg *m,
                        const struct gvm_err *why)
{
    struct control_run *r = by_serial(c, call->run);
    if (!r)
        return;
    struct gvm_err err = *why;
    const struct gvm_json *v = m ? parse_answer(m, r->arena, &err) : NULL;
    const char *hash = gvm_json_text(v, "hash", NULL);
    int64_t id = gvm_json_int(v, "policy", 0);
    if (v && (!hash || strlen(hash) >= sizeof r->hash || id <= 0 || id > UINT32_MAX))
        gvm_err_set(&err, EIO, "the answer about the rules is incomplete");
    if (err.code) {
        fail(c, r, &err);
        return;
    }
    r->policy = (uint32_t)id;
    (void)!gvm_str_copy(r->hash, sizeof r->hash, gvm_str(hash));
    r->config = keep(r, v, "config");
    r->have_policy = true;
    prepared(c, r);
}

static void load_policy(struct control *c, struct control_run *r)
{
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 65536);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "config", r->config_asked);
    control_put_in_use(c, &w);
    gvm_jw_object_end(&w);
    control_call_json(c, GVM_ROLE_PARENT, GVM_MSG_POLICY_LOAD, &out, call_for(r, policy_done));
    gvm_buf_done(&out);
}

static void ca_done(struct control *c, struct control_call *call, const struct gvm_msg *m,
                    const struct gvm_err *why)
{
    struct control_run *r = by_serial(c, call->run);
    if (!r || later(m, why))
        return;
    struct gvm_err err = *why;
    if (r->have_ca) { /* a new keys process got its copy back */
        if (!m)
            gvm_log(GVM_LOG_ERROR, "run %s: its certificate authority is lost: %s", r->id,
                    err.text);
        return;
    }
    const struct gvm_json *v = m ? parse_answer(m, r->arena, &err) : NULL;
    const char *pem = keep(r, v, "pem"), *sealed = keep(r, v, "sealed");
    if (v && (!pem || !sealed))
        gvm_err_set(&err, EIO, "the answer about the certificate authority is incomplete");
    if (err.code) {
        fail(c, r, &err);
        return;
    }
    r->pem = pem;
    r->sealed = sealed;
    r->log_key = keep(r, v, "log_key");
    r->have_ca = true;
    prepared(c, r);
}

static void ask_ca(struct control *c, struct control_run *r)
{
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 65536);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "run", r->id);
    gvm_jw_kstrz(&w, "agent", r->agent);
    gvm_jw_kstrz(&w, "sealed", r->sealed);
    gvm_jw_object_end(&w);
    control_call_json(c, GVM_ROLE_KEYS, GVM_MSG_CA, &out, call_for(r, ca_done));
    gvm_buf_done(&out);
}

/* ---- proxy ---- */

static void add_done(struct control *c, struct control_call *call, const struct gvm_msg *m,
                     const struct gvm_err *err)
{
    struct control_run *r = by_serial(c, call->run);
    if (!r || later(m, err))
        return;
    if (r->stage == RUN_ADDING && m) {
        append_start(c, r);
    } else if (r->stage == RUN_ADDING) {
        fail(c, r, err);
    } else if (!m) {
        gvm_log(GVM_LOG_ERROR, "run %s: the new proxy refuses it: %s", r->id, err->text);
    }
}

static void add_to_proxy(struct control *c, struct control_run *r)
{
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 65536);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "run", r->id);
    gvm_jw_kstrz(&w, "agent", r->agent);
    gvm_jw_kint(&w, "policy", r->policy);
    gvm_jw_kbool(&w, "watch", r->watch);
    gvm_jw_kstrz(&w, "hash", r->hash);
    gvm_jw_kstrz(&w, "default", r->dflt);
    gvm_jw_key(&w, "no_intercept");
    gvm_jw_raw(&w, r->no_intercept);
    gvm_jw_object_end(&w);
    if (out.failed) {
        struct gvm_err err = {.code = E2BIG, .text = "the registration of the run is too large"};
        gvm_buf_done(&out);
        if (r->stage == RUN_ADDING)
            fail(c, r, &err);
        return;
    }
    control_call(c, GVM_ROLE_PROXY, GVM_MSG_RUN_ADD, gvm_buf_data(&out), out.len, r->fds,
                 CONTROL_LISTENERS, call_for(r, add_done));
    gvm_buf_done(&out);
}

/* ---- the record of the start ---- */

static void put_command(struct gvm_jw *w, const struct control_run *r)
{
    gvm_jw_key(w, "command");
    if (r->command.n <= COMMAND_MAX) {
        gvm_jw_raw(w, r->command);
        return;
    }
    struct gvm_json_reader reader;
    struct gvm_json_token t;
    struct gvm_buf text;
    gvm_buf_init(&text, r->command.n);
    gvm_json_open(&reader, r->command);
    gvm_jw_array(w);
    for (size_t used = 0; gvm_json_next(&reader, &t) == 0 && t.type != GVM_JSON_END;) {
        used += t.raw.n;
        if (t.type != GVM_JSON_STRING || used > COMMAND_MAX)
            continue;
        gvm_buf_reset(&text);
        (void)!gvm_json_unescape(t.raw, &text);
        gvm_jw_str(w, gvm_buf_str(&text));
    }
    gvm_jw_array_end(w);
    gvm_jw_kbool(w, "command_cut", true);
    gvm_buf_done(&text);
}

static void send_ready(struct control *c, struct control_run *r)
{
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, GVM_MAX_FRAME);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "run", r->id);
    gvm_jw_kstrz(&w, "pem", r->pem);
    gvm_jw_kstrz(&w, "sealed", r->sealed);
    gvm_jw_kstrz(&w, "policy_hash", r->hash);
    gvm_jw_kstrz(&w, "config", r->config);
    gvm_jw_kstrz(&w, "log_key", r->log_key);
    gvm_jw_object_end(&w);
    control_reply_json(c, r->client, r->client_id, GVM_MSG_RUN_READY, &out);
    gvm_buf_done(&out);
}

static void start_done(struct control *c, struct control_call *call, const struct gvm_msg *m,
                       const struct gvm_err *err)
{
    struct control_run *r = by_serial(c, call->run);
    if (!r || later(m, err))
        return;
    if (!m) {
        fail(c, r, err);
        return;
    }
    r->stage = RUN_LIVE;
    if (r->client)
        send_ready(c, r);
    else
        end_run(c, r);
}

static void put_list(struct gvm_jw *w, const char *key, struct gvm_str list)
{
    if (list.n == 0 || gvm_str_eqz(list, "[]"))
        return;
    gvm_jw_key(w, key);
    gvm_jw_raw(w, list);
}

static void append_start(struct control *c, struct control_run *r)
{
    struct gvm_buf out;
    struct gvm_jw w;
    r->stage = RUN_STARTING;
    gvm_buf_init(&out, GVM_MAX_ENTRY);
    /* A run that registers again, because control or the daemon died, is no new run. */
    gvm_entry_begin(&w, &out, r->resumed ? "run.resume" : "run.start", r->id, r->agent);
    gvm_jw_kstrz(&w, "mode", r->mode);
    gvm_jw_kbool(&w, "watch", r->watch);
    gvm_jw_kstrz(&w, "policy", r->hash);
    gvm_entry_private(&w);
    put_command(&w, r);
    gvm_jw_kstrz(&w, "workspace", r->workspace);
    gvm_jw_kstrz(&w, "config", r->config);
    put_list(&w, "publish", r->publish); /* ports inside that the host reaches */
    put_list(&w, "mounts", r->mounts);   /* what the sandbox shows besides */
    put_list(&w, "devices", r->devices);
    put_list(&w, "persist", r->persist);
    put_list(&w, "waived", r->waived); /* protections the owner did without */
    if (r->seccomp)
        gvm_jw_kstrz(&w, "seccomp", r->seccomp);
    if (gvm_entry_end(&w) < 0)
        out.failed = true;
    control_append(c, &out, call_for(r, start_done));
    gvm_buf_done(&out);
}

/* ---- the end ---- */

static void end_done(struct control *c, struct control_call *call, const struct gvm_msg *m,
                     const struct gvm_err *err)
{
    struct control_run *r = by_serial(c, call->run);
    if (!r || later(m, err))
        return;
    if (m)
        control_end_reply(c, r);
    else
        control_refuse_err(c, r->client, r->client_id, err);
    tell(c, r, GVM_ROLE_KEYS, GVM_MSG_CA_DROP, ignore);
    take_out(c, r);
}

static void append_end(struct control *c, struct control_run *r)
{
    struct gvm_buf out;
    r->stage = RUN_RECORDING;
    control_end_reconcile(r);
    if (r->alert)
        control_end_alert(c, r);
    gvm_buf_init(&out, GVM_MAX_ENTRY);
    control_end_entry(r, &out);
    control_append(c, &out, call_for(r, end_done));
    gvm_buf_done(&out);
}

static void stats_done(struct control *c, struct control_call *call, const struct gvm_msg *m,
                       const struct gvm_err *err)
{
    struct control_run *r = by_serial(c, call->run);
    if (!r || r->stage != RUN_ENDING)
        return;
    struct gvm_err bad = {0};
    const struct gvm_json *v = m ? parse_answer(m, r->arena, &bad) : NULL;
    if (v)
        r->stats = control_compact(r->arena, v);
    else if (!m && err->code != EPIPE)
        gvm_log(GVM_LOG_WARN, "run %s: the proxy has no counts: %s", r->id, err->text);
    append_end(c, r);
}

static void end_run(struct control *c, struct control_run *r)
{
    r->lost = !r->client;
    r->stage = RUN_ENDING;
    tell(c, r, GVM_ROLE_PROXY, GVM_MSG_RUN_END, stats_done);
}

/* ---- what clients ask ---- */

static struct control_run *new_run(struct control *c, const struct control_client *cl,
                                   struct gvm_msg *m)
{
    struct control_run *r = gvm_calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->arena = gvm_arena_new(RUN_MEMORY);
    if (!r->arena) {
        free(r);
        return NULL;
    }
    r->serial = ++c->next_serial;
    r->client = cl->serial;
    r->client_id = m->id;
    gvm_time_text(r->since, gvm_now_ns());
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++)
        r->fds[i] = i < m->nfds ? gvm_steal_fd(&m->fds[i]) : -1;
    return r;
}

static int admit(struct control *c, const struct control_client *cl, const struct control_run *r,
                 struct gvm_err *err)
{
    if (control_runs_live(c) >= GVM_MAX_RUNS)
        return gvm_err_set(err, EBUSY, "%u runs live already, more are not allowed", GVM_MAX_RUNS);
    if (control_run_of(c, cl->serial))
        return gvm_err_set(err, EEXIST, "this connection has a run already");
    for (const struct control_run *o = c->runs; o; o = o->next) {
        if (strcmp(o->id, r->id) == 0)
            return gvm_err_set(err, EEXIST, "run %s is registered already", r->id);
    }
    return 0;
}

void control_run_register(struct control *c, struct control_client *cl, struct gvm_msg *m)
{
    struct gvm_arena *a = NULL;
    if (m->nfds != CONTROL_LISTENERS) {
        control_refuse(c, cl->serial, m->id, EINVAL, "a run comes with %d listeners, not %u",
                       CONTROL_LISTENERS, m->nfds);
        return;
    }
    const struct gvm_json *msg = control_parse(c, cl, m, &a);
    if (!msg)
        return;
    struct gvm_err err = {0};
    struct control_run *r = new_run(c, cl, m);
    int x = r ? control_run_read(msg, r, &err) : gvm_err_set(&err, ENOMEM, "out of memory");
    if (x == 0)
        x = admit(c, cl, r, &err);
    gvm_arena_free(a);
    if (x < 0) {
        control_refuse_err(c, cl->serial, m->id, &err);
        if (r)
            control_run_free(r);
        return;
    }
    r->next = c->runs;
    c->runs = r;
    uint64_t serial = r->serial;
    ask_ca(c, r);
    r = by_serial(c, serial); /* a refusal may have ended it */
    if (r)
        load_policy(c, r);
}

void control_run_finish(struct control *c, struct control_client *cl, const struct gvm_msg *m)
{
    struct control_run *r = control_run_of(c, cl->serial);
    if (!r || r->stage != RUN_LIVE) {
        control_refuse(c, cl->serial, m->id, ENOENT, "this connection has no live run");
        return;
    }
    struct gvm_arena *a = NULL;
    const struct gvm_json *msg = control_parse(c, cl, m, &a);
    if (!msg)
        return;
    r->exit_code = gvm_json_int(msg, "exit", -1);
    r->signal = gvm_json_int(msg, "signal", 0);
    if (gvm_str_copy(r->why, sizeof(r->why), gvm_str(gvm_json_text(msg, "why", ""))) < 0)
        r->why[0] = '\0';
    const struct gvm_json *changes = gvm_json_get(msg, "changes");
    if (changes && changes->type == GVM_JSON_OBJECT)
        r->changes = control_compact(r->arena, changes);
    const struct gvm_json *kernel = gvm_json_get(msg, "kernel");
    if (kernel && kernel->type == GVM_JSON_OBJECT)
        r->kernel = control_compact(r->arena, kernel);
    r->client_id = m->id;
    gvm_arena_free(a);
    end_run(c, r);
}

void control_run_client_gone(struct control *c, uint64_t client)
{
    struct control_run *r = control_run_of(c, client);
    if (!r)
        return;
    r->client = 0;
    if (r->stage == RUN_LIVE)
        end_run(c, r);
    /* Earlier: the step under way ends it. Later: it is ending already. */
}

/* ---- peers ---- */

static void back(struct control *c, struct control_run *r, enum gvm_role role)
{
    bool lives = r->stage >= RUN_ADDING && r->stage <= RUN_LIVE;
    if (role == GVM_ROLE_KEYS && (r->stage == RUN_PREPARING || lives)) {
        ask_ca(c, r);
    } else if (role == GVM_ROLE_PROXY && lives) {
        r->recounted |= r->stage == RUN_LIVE;
        add_to_proxy(c, r);
    } else if (role == GVM_ROLE_LEDGER && r->stage == RUN_STARTING) {
        append_start(c, r);
    } else if (role == GVM_ROLE_LEDGER && r->stage == RUN_RECORDING) {
        append_end(c, r);
    }
}

void control_run_peer_back(struct control *c, enum gvm_role role)
{
    for (struct control_run *r = c->runs, *next; r; r = next) {
        next = r->next;
        back(c, r, role);
    }
}

void control_put_in_use(const struct control *c, struct gvm_jw *w)
{
    gvm_jw_key(w, "in_use");
    gvm_jw_array(w);
    for (const struct control_run *r = c->runs; r; r = r->next) {
        if (r->have_policy)
            gvm_jw_int(w, r->policy);
    }
    gvm_jw_array_end(w);
}

void control_run_policies(struct control *c, const struct gvm_json *list)
{
    if (!list || list->type != GVM_JSON_ARRAY)
        return;
    for (const struct gvm_json *p = list->child; p; p = p->next) {
        const char *hash = gvm_json_text(p, "hash", "");
        for (struct control_run *r = c->runs; r; r = r->next) {
            if (r->have_policy && gvm_json_int(p, "policy", 0) == r->policy)
                (void)!gvm_str_copy(r->hash, sizeof r->hash, gvm_str(hash));
        }
    }
}
