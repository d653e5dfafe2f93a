/* Reading a registration: nothing of it is believed before it was looked at. */
#include <errno.h>

#include "control/control_int.h"

bool control_run_id_ok(const char *id)
{
    size_t n = strlen(id);
    static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-";
    return n > 0 && n <= GVM_MAX_RUN_ID && id[0] != '-' && strspn(id, chars) == n;
}

/* Printable, without what the record or a glob would trip over. */
bool control_agent_ok(const char *agent)
{
    size_t n = strlen(agent);
    if (n == 0 || n > GVM_MAX_AGENT)
        return false;
    for (size_t i = 0; i < n; i++) {
        char ch = agent[i];
        if (ch <= ' ' || ch > '~' || ch == '"' || ch == '\\' || ch == '*' || ch == '?')
            return false;
    }
    return true;
}

struct gvm_str control_compact(struct gvm_arena *a, const struct gvm_json *v)
{
    struct gvm_buf out;
    struct gvm_jw w;
    struct gvm_str s = {"", 0};
    gvm_buf_init(&out, GVM_MAX_FRAME);
    gvm_jw_init(&w, &out);
    control_put_value(&w, v);
    const char *copy = out.failed ? NULL : gvm_arena_dup(a, gvm_buf_data(&out), out.len);
    if (copy)
        s = (struct gvm_str){copy, out.len};
    gvm_buf_done(&out);
    return s;
}

static int copy_text(struct control_run *r, const struct gvm_json *msg, const char *key,
                     const char **ret, struct gvm_err *err)
{
    const struct gvm_json *v = gvm_json_get(msg, key);
    *ret = NULL;
    if (!v || v->type == GVM_JSON_NULL)
        return 0;
    const char *text = gvm_json_text(msg, key, NULL);
    if (!text)
        return gvm_err_set(err, EINVAL, "\"%s\" of the run must be text", key);
    *ret = gvm_arena_dup(r->arena, text, strlen(text));
    return *ret ? 0 : gvm_err_set(err, ENOMEM, "\"%s\" of the run is too long", key);
}

static int copy_list(struct control_run *r, const struct gvm_json *msg, const char *key,
                     struct gvm_str *ret, struct gvm_err *err)
{
    const struct gvm_json *v = gvm_json_get(msg, key);
    *ret = GVM_STR("[]");
    if (!v || v->type == GVM_JSON_NULL)
        return 0;
    bool ok = v->type == GVM_JSON_ARRAY;
    for (const struct gvm_json *e = v->child; ok && e; e = e->next)
        ok = e->type == GVM_JSON_STRING;
    if (!ok)
        return gvm_err_set(err, EINVAL, "\"%s\" of the run must be a list of texts", key);
    *ret = control_compact(r->arena, v);
    return ret->n ? 0 : gvm_err_set(err, E2BIG, "\"%s\" of the run is too long", key);
}

static int read_names(const struct gvm_json *msg, struct control_run *r, struct gvm_err *err)
{
    const char *id = gvm_json_text(msg, "run", ""), *agent = gvm_json_text(msg, "agent", "");
    if (!control_run_id_ok(id) || gvm_str_copy(r->id, sizeof r->id, gvm_str(id)) < 0)
        return gvm_err_set(err, EINVAL, "the run has no valid id");
    if (!*agent)
        agent = "agent";
    if (!control_agent_ok(agent) || gvm_str_copy(r->agent, sizeof r->agent, gvm_str(agent)) < 0)
        return gvm_err_set(err, EINVAL,
                           "an agent id is 1 to %u printable characters without space, "
                           "quote, backslash, * or ?",
                           GVM_MAX_AGENT);
    return 0;
}

int control_run_read(const struct gvm_json *msg, struct control_run *r, struct gvm_err *err)
{
    int x = read_names(msg, r, err);
    if (x == 0)
        x = copy_text(r, msg, "workspace", &r->workspace, err);
    if (x == 0)
        x = copy_text(r, msg, "mode", &r->mode, err);
    if (x == 0)
        x = copy_text(r, msg, "config", &r->config_asked, err);
    if (x == 0)
        x = copy_text(r, msg, "default", &r->dflt, err);
    if (x == 0)
        x = copy_text(r, msg, "sealed", &r->sealed, err);
    if (x == 0)
        x = copy_list(r, msg, "command", &r->command, err);
    if (x == 0)
        x = copy_list(r, msg, "no_intercept", &r->no_intercept, err);
    if (x == 0)
        x = copy_list(r, msg, "waived", &r->waived, err);
    if (x == 0)
        x = copy_list(r, msg, "publish", &r->publish, err);
    if (x == 0)
        x = copy_list(r, msg, "mounts", &r->mounts, err);
    if (x == 0)
        x = copy_list(r, msg, "devices", &r->devices, err);
    if (x == 0)
        x = copy_list(r, msg, "persist", &r->persist, err);
    if (x == 0)
        x = copy_text(r, msg, "seccomp", &r->seccomp, err);
    if (x < 0)
        return x;
    if (r->config_asked && r->config_asked[0] != '/')
        return gvm_err_set(err, EINVAL, "the configuration of a run needs an absolute path");
    r->watch = gvm_json_bool(msg, "watch", false);
    r->resumed = r->sealed != NULL;
    return 0;
}
