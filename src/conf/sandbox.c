/* conf/sandbox.c - [filesystem], [sandbox] and [seccomp]: what a run's sandbox looks like, and
 * which of its changes land. The launcher reads them; the proxy's policy text holds nothing of it.
 */
#include "conf/conf_int.h"

#include <errno.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- [filesystem] ---- */

static int read_places(struct conf_ctx *x, const struct conf_node *v, const char *what,
                       struct gvm_str **ret, uint32_t *ret_n)
{
    unsigned n = conf_children(v), i = 0;
    if (n > CONF_MAX_LIST)
        return conf_bad_at(x, v, "%s has %u places; at most %u are allowed", what, n,
                           CONF_MAX_LIST);
    struct gvm_str *list = gvm_arena_alloc(x->c->arena, (n ? n : 1) * sizeof *list);
    if (!list)
        return gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label);
    for (const struct conf_node *m = v->child; m; m = m->next) {
        int r = conf_need(x, m, "a place", CONF_STRING);
        if (r >= 0)
            r = conf_text(x, m, "a place", GVM_PATH_MAX - 1, &list[i++]);
        if (r < 0)
            return r;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

static int set_hide(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return read_places(x, v, "hide", &x->c->hide, &x->c->nhide);
}

static int set_reveal(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return read_places(x, v, "reveal", &x->c->reveal, &x->c->nreveal);
}

static int set_persist(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return read_places(x, v, "persist", &x->c->persist, &x->c->npersist);
}

static int set_mounts(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return read_places(x, v, "mounts", &x->c->mounts, &x->c->nmounts);
}

static int set_auto(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return read_places(x, v, "auto", &x->c->review_auto, &x->c->nauto);
}

static int set_manual(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return read_places(x, v, "manual", &x->c->review_manual, &x->c->nmanual);
}

static int set_discard(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return read_places(x, v, "discard", &x->c->review_discard, &x->c->ndiscard);
}

static int set_undo_keep(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_str s = conf_node_str(v);
    (void)obj;
    bool unit = s.n > 1 && (s.p[s.n - 1] < '0' || s.p[s.n - 1] > '9');
    if (!unit || gvm_parse_duration_ms(s, &x->c->undo_keep_ms) < 0 ||
        x->c->undo_keep_ms > UINT64_C(36500) * 86400000)
        return conf_bad_at(x, v, "undo_keep is not a time; write it like \"90d\" or \"12h\"");
    return 0;
}

static const struct conf_field filesystem_fields[] = {
    {"hide", CONF_ARRAY, set_hide, false},       {"reveal", CONF_ARRAY, set_reveal, false},
    {"auto", CONF_ARRAY, set_auto, false},       {"manual", CONF_ARRAY, set_manual, false},
    {"discard", CONF_ARRAY, set_discard, false}, {"undo_keep", CONF_STRING, set_undo_keep, false},
    {"persist", CONF_ARRAY, set_persist, false}, {"mounts", CONF_ARRAY, set_mounts, false},
};

int conf_read_filesystem(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    return conf_read_table(x, v, "[filesystem]", filesystem_fields, COUNT(filesystem_fields), obj);
}

/* ---- [sandbox] ---- */

static int set_devices(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    (void)obj;
    return read_places(x, v, "devices", &x->c->devices, &x->c->ndevices);
}

static int set_grace(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    struct gvm_str s = conf_node_str(v);
    (void)obj;
    bool unit = s.n > 1 && (s.p[s.n - 1] < '0' || s.p[s.n - 1] > '9');
    if (!unit || gvm_parse_duration_ms(s, &x->c->grace_ms) < 0 || x->c->grace_ms > 86400000 ||
        x->c->grace_ms == 0)
        return conf_bad_at(x, v, "grace is a time up to 24h; write it like \"10s\"");
    return 0;
}

static const struct conf_field sandbox_fields[] = {
    {"devices", CONF_ARRAY, set_devices, false},
    {"grace", CONF_STRING, set_grace, false},
};

int conf_read_sandbox(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    return conf_read_table(x, v, "[sandbox]", sandbox_fields, COUNT(sandbox_fields), obj);
}

/* ---- [seccomp] ---- */

static int set_profile(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    char path[GVM_PATH_MAX];
    (void)obj;
    int r = conf_text(x, v, "profile", GVM_PATH_MAX - 1, &x->c->seccomp);
    if (r < 0 || gvm_str_eqz(x->c->seccomp, "default") || gvm_str_eqz(x->c->seccomp, "strict"))
        return r;
    r = conf_resolve(x, v, x->c->seccomp, path);
    if (r == 0)
        x->c->seccomp = conf_dup(x, gvm_str(path));
    return r == 0 && !x->c->seccomp.p ? gvm_err_set(x->err, ENOMEM, "%s: out of memory", x->label)
                                      : r;
}

static const struct conf_field seccomp_fields[] = {
    {"profile", CONF_STRING, set_profile, false},
};

int conf_read_seccomp(struct conf_ctx *x, const struct conf_node *v, void *obj)
{
    return conf_read_table(x, v, "[seccomp]", seccomp_fields, COUNT(seccomp_fields), obj);
}
