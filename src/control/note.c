/* Entries a client reports: what happened to files. Kind and common fields are ours to set. */
#include <errno.h>
#include <stdio.h>

#include "control/control_int.h"
#include "ledger/ledger.h"

/* One value that is not a string, token by token. */
static void copy_tokens(struct gvm_jw *w, struct gvm_str raw)
{
    struct gvm_json_reader r;
    struct gvm_json_token t;
    struct gvm_buf text;
    gvm_buf_init(&text, raw.n + 1);
    gvm_json_open(&r, raw);
    while (gvm_json_next(&r, &t) == 0 && t.type != GVM_JSON_END) {
        gvm_buf_reset(&text);
        if (t.type == GVM_JSON_KEY || t.type == GVM_JSON_STRING)
            (void)!gvm_json_unescape(t.raw, &text); /* the reader has accepted it */
        if (t.type == GVM_JSON_OBJECT)
            gvm_jw_object(w);
        else if (t.type == GVM_JSON_OBJECT_END)
            gvm_jw_object_end(w);
        else if (t.type == GVM_JSON_ARRAY)
            gvm_jw_array(w);
        else if (t.type == GVM_JSON_ARRAY_END)
            gvm_jw_array_end(w);
        else if (t.type == GVM_JSON_KEY)
            gvm_jw_key(w, gvm_buf_cstr(&text));
        else if (t.type == GVM_JSON_STRING)
            gvm_jw_str(w, gvm_buf_str(&text));
        else
            gvm_jw_raw(w, t.raw);
    }
    gvm_buf_done(&text);
}

void control_put_value(struct gvm_jw *w, const struct gvm_json *v)
{
    if (!v)
        gvm_jw_null(w);
    else if (v->type == GVM_JSON_STRING)
        gvm_jw_str(w, v->text);
    else
        copy_tokens(w, v->raw);
}

void control_put_members(struct gvm_jw *w, const struct gvm_json *object, const char *const *skip)
{
    for (const struct gvm_json *m = object->child; m; m = m->next) {
        const char *const *s = skip;
        while (*s && !gvm_str_eqz(m->key, *s))
            s++;
        if (*s)
            continue;
        gvm_jw_key(w, m->key.p); /* NUL-ended by the parser */
        control_put_value(w, m);
    }
}

static bool kind_ok(const char *kind)
{
    if (!kind || strlen(kind) > 32)
        return false;
    if (strcmp(kind, "run.note") == 0 || strcmp(kind, "syscall.denied") == 0)
        return true;
    if (strncmp(kind, "fs.", 3) != 0 || !kind[3])
        return false;
    return kind[3 + strspn(kind + 3, "abcdefghijklmnopqrstuvwxyz_")] == '\0';
}

static void note_done(struct control *c, struct control_call *call, const struct gvm_msg *m,
                      const struct gvm_err *err)
{
    if (m)
        control_reply(c, call->client, call->client_id, GVM_MSG_APPENDED, m->data, m->len);
    else
        control_refuse_err(c, call->client, call->client_id, err);
}

/* The run of the connection; who has none (gvm commit, later) names it. */
static int identify(struct control *c, const struct control_client *cl, const struct gvm_json *msg,
                    const char **ret_run, const char **ret_agent, struct gvm_err *err)
{
    const struct control_run *own = control_run_of(c, cl->serial);
    if (!own && strcmp(gvm_json_text(msg, "kind", ""), "syscall.denied") == 0)
        return gvm_err_set(err, EPERM, "only the launcher of a live run knows of its system calls");
    const char *run = own ? own->id : gvm_json_text(msg, "run", NULL);
    const char *agent = own ? own->agent : gvm_json_text(msg, "agent", NULL);
    if (!run || !control_run_id_ok(run))
        return gvm_err_set(err, EINVAL, "the note names no valid run");
    if (agent && !control_agent_ok(agent))
        return gvm_err_set(err, EINVAL, "the note names no valid agent");
    *ret_run = run;
    *ret_agent = agent;
    return 0;
}

void control_note(struct control *c, struct control_client *cl, const struct gvm_msg *m)
{
    static const char *const ours[] = {"v",     "t",  "kind",    "run",  "agent",
                                       "index", "id", "private", "salt", NULL};
    struct gvm_arena *a = NULL;
    const struct gvm_json *msg = control_parse(c, cl, m, &a);
    if (!msg)
        return;
    struct gvm_err err = {0};
    const char *kind = gvm_json_text(msg, "kind", NULL), *run = NULL, *agent = NULL;
    int r = kind_ok(kind)
                ? identify(c, cl, msg, &run, &agent, &err)
                : gvm_err_set(&err, EPERM,
                              "only fs.*, syscall.denied and run.note entries may be noted");
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, GVM_MAX_ENTRY + 1);
    if (r == 0) {
        gvm_entry_begin(&w, &out, kind, run, agent);
        gvm_entry_private(&w);
        control_put_members(&w, msg, ours);
        if (gvm_entry_end(&w) < 0)
            r = gvm_err_set(&err, E2BIG, "the note is larger than an entry may be");
    }
    if (r < 0)
        control_refuse_err(c, cl->serial, m->id, &err);
    else
        control_append(
            c, &out,
            (struct control_call){.done = note_done, .client = cl->serial, .client_id = m->id});
    gvm_buf_done(&out);
    gvm_arena_free(a);
}
