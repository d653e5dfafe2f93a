/* What a new configuration changes, for the record: names of rules and of settings, no values.
 *
 * Both texts are our own (conf/policy.c): one JSON object, equal bytes for equal configurations. A
 * rule is known by its name, the second of a name as "name (2)"; the line it stands on is no part
 * of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "daemon/daemon_int.h"

#define DIFF_ARENA (1u << 30) /* two texts of the largest configuration, as trees */
#define LISTED     50u        /* names of each list; the numbers are always whole */

struct rule {
    struct gvm_str name;
    const struct gvm_json *v;
    size_t at;            /* place among the rules */
    struct rule *partner; /* of the same name in the other text */
};

struct side {
    const struct gvm_json *top;
    struct rule *rules;
    size_t n;
    struct gvm_map *by_name;
};

static int map_text(struct gvm_arena *a, int fd, struct gvm_json **ret)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size <= 0)
        return -EINVAL;
    size_t n = (size_t)st.st_size;
    void *p = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    /* The tree keeps views of the text. */
    char *copy = gvm_arena_dup(a, p, n);
    (void)munmap(p, n);
    return copy ? gvm_json_parse(a, (struct gvm_str){copy, n}, ret, NULL) : -ENOMEM;
}

static int name_rule(struct gvm_arena *a, struct side *s, struct rule *r)
{
    struct gvm_str name = gvm_str(gvm_json_text(r->v, "name", ""));
    r->name = name;
    for (unsigned again = 2; gvm_map_get(s->by_name, r->name); again++) {
        const char *text = gvm_arena_printf(a, "%.*s (%u)", GVM_STR_ARG(name), again);
        if (!text)
            return -ENOMEM;
        r->name = gvm_str(text);
    }
    return gvm_map_put(s->by_name, r->name, r);
}

static int open_side(struct gvm_arena *a, int fd, struct side *s)
{
    struct gvm_json *top = NULL;
    int r = map_text(a, fd, &top);
    const struct gvm_json *list = r == 0 ? gvm_json_get(top, "rules") : NULL;
    s->top = top;
    for (const struct gvm_json *v = list ? list->child : NULL; v; v = v->next)
        s->n++;
    s->rules = gvm_arena_alloc(a, (s->n + 1) * sizeof *s->rules);
    s->by_name = gvm_map_new(GVM_MAX_RULES + 1, NULL);
    if (r == 0 && (!s->rules || !s->by_name))
        r = -ENOMEM;
    size_t i = 0;
    for (const struct gvm_json *v = list ? list->child : NULL; r == 0 && v; v = v->next, i++) {
        s->rules[i] = (struct rule){.v = v, .at = i};
        r = name_rule(a, s, &s->rules[i]);
    }
    return r;
}

/* Equal but for the line. Members are always in the same order. */
static bool same_rule(const struct gvm_json *a, const struct gvm_json *b)
{
    const struct gvm_json *x = a->child, *y = b->child;
    for (; x && y; x = x->next, y = y->next) {
        if (!gvm_str_eq(x->key, y->key) || x->type != y->type)
            return false;
        if (!gvm_str_eqz(x->key, "line") && !gvm_str_eq(x->raw, y->raw))
            return false;
    }
    return !x && !y;
}

enum change { ADDED, REMOVED, CHANGED, CHANGES };

static const char *const change_names[CHANGES] = {"added", "removed", "changed"};

/* In which of the lists the rule belongs; CHANGES: in none. */
static enum change change_of(const struct rule *r, bool fresh)
{
    if (!r->partner)
        return fresh ? ADDED : REMOVED;
    return fresh && !same_rule(r->v, r->partner->v) ? CHANGED : CHANGES;
}

static void put_list(struct gvm_jw *w, const struct side *s, bool fresh, enum change want)
{
    size_t n = 0;
    gvm_jw_key(w, change_names[want]);
    gvm_jw_array(w);
    for (size_t i = 0; i < s->n; i++)
        if (change_of(&s->rules[i], fresh) == want && n++ < LISTED)
            gvm_jw_str(w, s->rules[i].name);
    gvm_jw_array_end(w);
    if (n > LISTED) {
        char key[32];
        (void)snprintf(key, sizeof key, "%s_in_all", change_names[want]);
        gvm_jw_kint(w, key, (int64_t)n);
    }
}

static bool reordered(const struct side *fresh)
{
    size_t last = 0;
    for (size_t i = 0; i < fresh->n; i++) {
        const struct rule *p = fresh->rules[i].partner;
        if (p && p->at < last)
            return true;
        last = p ? p->at : last;
    }
    return false;
}

/* How the log is kept is not in the policy text. */
static void put_log(struct gvm_jw *w, const struct gvm_conf_log *a, const struct gvm_conf_log *b)
{
    const struct {
        const char *name;
        bool changed;
    } rows[] = {
        {"audit.segment_size", a->segment_bytes != b->segment_bytes},
        {"audit.keep_size", a->keep_bytes != b->keep_bytes},
        {"audit.keep_age", a->keep_ms != b->keep_ms},
        {"audit.verify_every", a->verify_ms != b->verify_ms || a->verify_off != b->verify_off},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].changed)
            gvm_jw_strz(w, rows[i].name);
}

static void put_settings(struct gvm_jw *w, const struct gvm_json *old, const struct gvm_json *fresh,
                         const struct gvm_conf_log *old_log, const struct gvm_conf_log *log)
{
    gvm_jw_key(w, "settings");
    gvm_jw_array(w);
    for (const struct gvm_json *v = fresh->child; v; v = v->next) {
        const struct gvm_json *o = gvm_json_get(old, v->key.p);
        if (!gvm_str_eqz(v->key, "rules") && (!o || !gvm_str_eq(o->raw, v->raw)))
            gvm_jw_str(w, v->key);
    }
    put_log(w, old_log, log);
    gvm_jw_array_end(w);
}

static void put(struct gvm_jw *w, struct side *old, struct side *fresh,
                const struct daemon_policy *a, const struct daemon_policy *b)
{
    for (size_t i = 0; i < fresh->n; i++) {
        struct rule *r = &fresh->rules[i];
        r->partner = gvm_map_get(old->by_name, r->name);
        if (r->partner)
            r->partner->partner = r;
    }
    gvm_jw_object(w);
    put_list(w, fresh, true, ADDED);
    put_list(w, old, false, REMOVED);
    put_list(w, fresh, true, CHANGED);
    gvm_jw_kbool(w, "reordered", reordered(fresh));
    put_settings(w, old->top, fresh->top, &a->log, &b->log);
    gvm_jw_kbool(w, "credentials", !daemon_same_bytes(a->cred_fd, b->cred_fd));
    gvm_jw_object_end(w);
}

void daemon_policy_diff(struct gvm_jw *w, const struct daemon_policy *old,
                        const struct daemon_policy *fresh)
{
    struct gvm_arena *a = old ? gvm_arena_new(DIFF_ARENA) : NULL;
    struct side x = {.n = 0}, y = {.n = 0};
    gvm_jw_key(w, "diff");
    if (a && open_side(a, old->policy_fd, &x) == 0 && open_side(a, fresh->policy_fd, &y) == 0)
        put(w, &x, &y, old, fresh);
    else
        gvm_jw_null(w);
    gvm_map_free(x.by_name);
    gvm_map_free(y.by_name);
    gvm_arena_free(a);
}
