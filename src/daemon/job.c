/* Putting configurations in force, one job at a time.
 *
 *   READ    every file of the job is read and checked; an error ends the job, nothing has changed
 *   RECORD  one config.load entry per file is appended; all must be durable
 *   APPLY   credentials go to keys, rules to the proxy; all must answer OK
 *   done    the table is changed, the asker gets POLICY_INFO
 *
 * A failure in APPLY (a child died, memory ran out) hands the old text back to who has the new one;
 * a child that died gets what the table says when it returns. */
#include <errno.h>
#include <stdlib.h>

#include "daemon/daemon_int.h"
#include "ledger/ledger.h"

#define MAX_JOBS 300u /* more than GVM_MAX_RUNS clients can cause */

enum stage { QUEUED, RECORD, APPLY };
enum what { LOAD, RELOAD };

struct item {
    struct daemon_policy *place; /* of the table: replaced (reload) or filled (load) */
    struct daemon_policy fresh;
    uint64_t append, rules, creds; /* requests not answered yet */
    bool gave_rules, gave_creds;
};

struct daemon_job {
    struct daemon_job *next;
    enum what what;
    enum stage stage;
    uint64_t reply; /* control's request, 0 = our own */
    bool first;
    char path[GVM_PATH_MAX];
    int64_t deadline;
    unsigned n;
    struct item items[DAEMON_POLICIES];
};

static void start_next(struct daemon *d);

static void free_job(struct daemon_job *j)
{
    for (unsigned i = 0; i < j->n; i++)
        daemon_policy_done(&j->items[i].fresh);
    free(j);
}

static void reply_failed(struct daemon *d, uint64_t reply, const struct gvm_err *err)
{
    struct daemon_child *control = daemon_child(d, GVM_ROLE_CONTROL);
    if (reply && control->chan)
        (void)gvm_chan_fail(control->chan, reply, err);
}

static void take_off(struct daemon *d)
{
    struct daemon_job *j = d->jobs;
    d->jobs = j->next;
    free_job(j);
    start_next(d);
}

static void give_back(struct daemon *d, struct daemon_job *j)
{
    for (unsigned i = 0; i < j->n; i++) {
        struct item *it = &j->items[i];
        if (!it->place || !it->place->id)
            continue;
        if (it->gave_creds)
            (void)daemon_policy_send(d, it->place, GVM_ROLE_KEYS, ++d->next_id);
        if (it->gave_rules)
            (void)daemon_policy_send(d, it->place, GVM_ROLE_PROXY, ++d->next_id);
    }
}

static void fail_job(struct daemon *d, const struct gvm_err *err)
{
    struct daemon_job *j = d->jobs;
    if (j->what == RELOAD)
        give_back(d, j);
    if (!j->reply)
        gvm_log(GVM_LOG_ERROR, "%s", err->text);
    reply_failed(d, j->reply, err);
    if (j->first)
        daemon_failed(d, err);
    take_off(d);
}

static void send_info(struct daemon *d, uint64_t reply, const struct daemon_policy *top, bool all)
{
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 65536);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    daemon_policy_json(&w, top);
    if (all) {
        gvm_jw_key(&w, "policies");
        gvm_jw_array(&w);
        for (unsigned i = 0; i < DAEMON_POLICIES; i++) {
            if (!d->policies[i].id)
                continue;
            gvm_jw_object(&w);
            daemon_policy_json(&w, &d->policies[i]);
            gvm_jw_object_end(&w);
        }
        gvm_jw_array_end(&w);
    }
    gvm_jw_object_end(&w);
    struct gvm_err err = {.code = ENOBUFS, .text = "too many configurations to list"};
    if (out.failed)
        reply_failed(d, reply, &err);
    else
        (void)daemon_child_send(daemon_child(d, GVM_ROLE_CONTROL), GVM_MSG_POLICY_INFO, reply,
                                gvm_buf_data(&out), out.len, NULL, 0);
    gvm_buf_done(&out);
}

/* The default's newest policy, which heads the answer to a reload. */
static const struct daemon_policy *default_policy(const struct daemon *d)
{
    const struct daemon_policy *best = &d->policies[0];
    for (unsigned i = 0; i < DAEMON_POLICIES; i++) {
        const struct daemon_policy *p = &d->policies[i];
        if (p->id && p->is_default && (!best->is_default || p->used_ns > best->used_ns))
            best = p;
    }
    return best;
}

static void finish(struct daemon *d)
{
    struct daemon_job *j = d->jobs;
    int64_t now = gvm_mono_ns();
    for (unsigned i = 0; i < j->n; i++) {
        struct item *it = &j->items[i];
        it->fresh.used_ns = j->what == LOAD ? now : it->place->used_ns;
        it->fresh.live = true;
        daemon_policy_done(it->place);
        *it->place = it->fresh;
        it->fresh = (struct daemon_policy){.policy_fd = -1, .cred_fd = -1};
    }
    if (j->what == RELOAD && default_policy(d)->is_default)
        daemon_log_changed(d, &default_policy(d)->log);
    if (j->reply)
        send_info(d, j->reply, j->what == LOAD ? j->items[0].place : default_policy(d),
                  j->what == RELOAD);
    if (j->first)
        daemon_serving(d);
    take_off(d);
}

/* ---- the stages ---- */

static const char *why(const struct daemon_job *j)
{
    return j->what == RELOAD ? "reload" : j->first ? "start" : "run";
}

/* What was in force from the same file before: of a load, the newest of the table. */
static const struct daemon_policy *before(const struct daemon *d, const struct daemon_job *j,
                                          const struct item *it)
{
    const struct daemon_policy *best = NULL;
    if (j->what == RELOAD)
        return it->place;
    for (unsigned i = 0; i < DAEMON_POLICIES; i++) {
        const struct daemon_policy *p = &d->policies[i];
        if (p->id && strcmp(p->path, it->fresh.path) == 0 && (!best || p->used_ns > best->used_ns))
            best = p;
    }
    return best;
}

static int record(struct daemon *d, struct daemon_job *j, struct item *it)
{
    struct gvm_buf out;
    struct gvm_jw w;
    struct gvm_m_append head = {0};
    gvm_buf_init(&out, sizeof head + GVM_MAX_ENTRY);
    (void)gvm_buf_add(&out, &head, sizeof head);
    gvm_entry_begin(&w, &out, "config.load", NULL, NULL);
    gvm_jw_kstrz(&w, "policy", it->fresh.hash);
    gvm_jw_kstrz(&w, "config", it->fresh.builtin ? "" : it->fresh.path);
    gvm_jw_kint(&w, "rules", it->fresh.rules);
    gvm_jw_kstrz(&w, "why", why(j));
    daemon_policy_diff(&w, before(d, j, it), &it->fresh);
    int r = gvm_entry_end(&w);
    it->append = ++d->next_id;
    if (r == 0)
        r = daemon_child_send(daemon_child(d, GVM_ROLE_LEDGER), GVM_MSG_APPEND, it->append,
                              gvm_buf_data(&out), out.len, NULL, 0);
    gvm_buf_done(&out);
    return r;
}

static int apply(struct daemon *d, struct item *it)
{
    it->creds = ++d->next_id;
    it->gave_creds = true;
    int r = daemon_policy_send(d, &it->fresh, GVM_ROLE_KEYS, it->creds);
    if (r < 0)
        return r;
    it->rules = ++d->next_id;
    it->gave_rules = true;
    return daemon_policy_send(d, &it->fresh, GVM_ROLE_PROXY, it->rules);
}

static void enter(struct daemon *d, enum stage stage)
{
    struct daemon_job *j = d->jobs;
    j->stage = stage;
    int r = 0;
    for (unsigned i = 0; i < j->n && r == 0; i++)
        r = stage == RECORD ? record(d, j, &j->items[i]) : apply(d, &j->items[i]);
    if (r < 0) {
        struct gvm_err err = {0};
        gvm_err_sys(&err, -r, "the configuration cannot be put in force");
        fail_job(d, &err);
    }
}

static void advance(struct daemon *d)
{
    struct daemon_job *j = d->jobs;
    for (unsigned i = 0; i < j->n; i++) {
        if (j->items[i].append || j->items[i].rules || j->items[i].creds)
            return;
    }
    if (j->stage == RECORD)
        enter(d, APPLY);
    else
        finish(d);
}

/* ---- READ ---- */

static int read_one(struct daemon *d, struct daemon_job *j, const char *path,
                    struct daemon_policy *place, struct gvm_err *err)
{
    struct item *it = &j->items[j->n];
    it->fresh = (struct daemon_policy){.policy_fd = -1, .cred_fd = -1};
    int r = daemon_policy_read(d, path, &it->fresh, err);
    if (r < 0)
        return r;
    it->place = place;
    j->n++;
    return 0;
}

/* The policy in the table that is this very text; NULL when it is new. */
static struct daemon_policy *known(struct daemon *d, const struct daemon_policy *fresh)
{
    for (unsigned i = 0; i < DAEMON_POLICIES; i++) {
        if (daemon_policy_same(&d->policies[i], fresh))
            return &d->policies[i];
    }
    return NULL;
}

static void start_load(struct daemon *d, struct daemon_job *j)
{
    struct gvm_err err = {0};
    if (read_one(d, j, j->path, NULL, &err) < 0) {
        fail_job(d, &err);
        return;
    }
    struct item *it = &j->items[0];
    struct daemon_policy *same = known(d, &it->fresh);
    if (same) {
        same->used_ns = gvm_mono_ns();
        same->live = true;
        send_info(d, j->reply, same, false);
        take_off(d);
        return;
    }
    it->place = daemon_policy_slot(d);
    if (!it->place) {
        gvm_err_set(&err, ENOBUFS, "more than %u different configurations are in use",
                    DAEMON_POLICIES);
        fail_job(d, &err);
        return;
    }
    it->fresh.id = it->place->id ? it->place->id : ++d->next_policy;
    enter(d, RECORD);
}

static void start_reload(struct daemon *d, struct daemon_job *j)
{
    struct gvm_err err = {0};
    for (unsigned i = 0; i < DAEMON_POLICIES; i++) {
        struct daemon_policy *p = &d->policies[i];
        if (!p->id || (!p->live && !p->is_default))
            continue; /* nobody uses it; its file may be long gone */
        if (read_one(d, j, p->path, p, &err) < 0) {
            fail_job(d, &err);
            return;
        }
        j->items[j->n - 1].fresh.id = p->id;
    }
    enter(d, RECORD);
}

static void start_next(struct daemon *d)
{
    struct daemon_job *j = d->jobs;
    if (!j || j->stage != QUEUED || d->stopping)
        return;
    j->deadline = gvm_mono_ns() + DAEMON_JOB_SECONDS * 1000000000ll;
    if (j->what == LOAD)
        start_load(d, j);
    else
        start_reload(d, j);
}

static int queue(struct daemon *d, struct daemon_job *j)
{
    unsigned n = 0;
    struct daemon_job **at = &d->jobs;
    for (; *at; at = &(*at)->next)
        n++;
    if (n >= MAX_JOBS) {
        free_job(j);
        return -ENOBUFS;
    }
    *at = j;
    if (n == 0)
        start_next(d);
    return 0;
}

int daemon_job_load(struct daemon *d, uint64_t reply, const char *path_or_null, bool first)
{
    struct daemon_job *j = gvm_calloc(1, sizeof *j);
    if (!j)
        return -ENOMEM;
    j->what = LOAD;
    j->reply = reply;
    j->first = first;
    int r = gvm_str_copy(j->path, sizeof j->path, gvm_str(path_or_null ? path_or_null : d->config));
    if (r < 0) {
        free_job(j);
        return r;
    }
    return queue(d, j);
}

int daemon_job_reload(struct daemon *d, uint64_t reply)
{
    struct daemon_job *j = gvm_calloc(1, sizeof *j);
    if (!j)
        return -ENOMEM;
    j->what = RELOAD;
    j->reply = reply;
    return queue(d, j);
}

/* ---- answers ---- */

static uint64_t *waiting_for(struct daemon_job *j, uint64_t id)
{
    for (unsigned i = 0; i < j->n; i++) {
        struct item *it = &j->items[i];
        uint64_t *all[] = {&it->append, &it->rules, &it->creds};
        for (unsigned k = 0; k < 3; k++) {
            if (*all[k] == id)
                return all[k];
        }
    }
    return NULL;
}

/* 0 = the answer is a yes. */
static int verdict(const struct gvm_msg *m, struct gvm_err *err)
{
    if (m->type == GVM_MSG_OK)
        return 0;
    if (m->type == GVM_MSG_FAILED) {
        struct gvm_m_failed f;
        memcpy(&f, m->data, sizeof f);
        return gvm_err_set(err, f.code > 0 ? f.code : EIO, "%.*s", (int)(m->len - sizeof f),
                           (const char *)m->data + sizeof f);
    }
    struct gvm_m_appended a;
    memcpy(&a, m->data, sizeof a);
    if (a.error)
        return gvm_err_sys(err, a.error > 0 ? a.error : EIO, "the new rules cannot be recorded");
    return 0;
}

void daemon_job_answer(struct daemon *d, const struct gvm_msg *m)
{
    struct gvm_err err = {0};
    int r = verdict(m, &err);
    uint64_t *slot = d->jobs && m->id ? waiting_for(d->jobs, m->id) : NULL;
    if (!slot) {
        if (r < 0)
            gvm_log(GVM_LOG_ERROR, "a process refused what it was given: %s", err.text);
        return;
    }
    *slot = 0;
    if (r < 0)
        fail_job(d, &err);
    else
        advance(d);
}

void daemon_job_child_lost(struct daemon *d, enum gvm_role role)
{
    if (role == GVM_ROLE_CONTROL) { /* nobody is left to be answered */
        for (struct daemon_job *j = d->jobs; j; j = j->next)
            j->reply = 0;
        return;
    }
    struct daemon_job *j = d->jobs;
    if (!j || j->stage == QUEUED)
        return;
    if ((role == GVM_ROLE_LEDGER) != (j->stage == RECORD))
        return; /* it asked nothing of that one */
    struct gvm_err err = {0};
    gvm_err_set(&err, EAGAIN, "the %s process died meanwhile; try again", gvm_role_name(role));
    fail_job(d, &err);
}

int daemon_job_due(struct daemon *d)
{
    struct daemon_job *j = d->jobs;
    if (!j)
        return -1;
    int64_t left = j->deadline - gvm_mono_ns();
    if (left > 0)
        return (int)(left / 1000000) + 1;
    struct gvm_err err = {0};
    gvm_err_set(&err, ETIMEDOUT, "the configuration was not in force after %d seconds",
                DAEMON_JOB_SECONDS);
    fail_job(d, &err);
    return 0;
}

void daemon_jobs_done(struct daemon *d)
{
    while (d->jobs) {
        struct daemon_job *next = d->jobs->next;
        free_job(d->jobs);
        d->jobs = next;
    }
}
