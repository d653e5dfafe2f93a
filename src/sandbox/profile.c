/* A seccomp filter of the owner's, in the JSON of the OCI runtime specification ("linux.seccomp").
 *
 *   {"defaultAction": ACTION, "defaultErrnoRet": N, "architectures": [...],
 *    "syscalls": [{"names": [NAME...], "action": ACTION, "errnoRet": N,
 *                  "args": [{"index": 0-5, "value": N, "valueTwo": N, "op": OP}...],
 *                  "includes": {...}, "excludes": {...}}...]}
 *
 * "includes" and "excludes" (caps, arches, minKernel) and "archMap" are what container engines
 * write; a sandbox has no capabilities. When several rules fit a call the strictest counts,
 * whatever their order. SCMP_ACT_NOTIFY is "refused, and recorded". A name that no architecture has
 * is let go in a rule that allows, where it opens nothing, and an error in one that refuses, where
 * somebody believes to be protected by it.
 */
#include "sandbox/seccomp_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#define PROFILE_ARENA     (8u << 20)
#define PROFILE_MAX_RULES 4096u /* rules with conditions */

struct reading {
    struct gvm_str text;
    const char *label;
    struct gvm_sandbox_profile *profile;
    struct gvm_err *err;
    unsigned rules;
};

/* ---- errors ---- */

GVM_PRINTF(3, 4)
static int bad(struct reading *x, const char *at, const char *fmt, ...)
{
    char why[GVM_ERR_TEXT / 2];
    unsigned line = 1, col = 1;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt,
              ap); // NOLINT(clang-analyzer-valist.Uninitialized): started above
    va_end(ap);
    for (const char *p = x->text.p; p < at; p++) {
        col = *p == '\n' ? 1 : col + 1;
        line += *p == '\n';
    }
    return gvm_err_set(x->err, EINVAL, "%s:%u:%u: %s", x->label, line, col, why);
}

static int need(struct reading *x, const struct gvm_json *v, enum gvm_json_type type,
                const char *what, const char *form)
{
    return v->type == type ? 0 : bad(x, v->raw.p, "%s must be %s", what, form);
}

static bool is_null(const struct gvm_json *v)
{
    return !v || v->type == GVM_JSON_NULL;
}

/* ---- words ---- */

static int read_errno(struct reading *x, const struct gvm_json *object, const char *key,
                      uint32_t *ret)
{
    const struct gvm_json *v = gvm_json_get(object, key);
    uint64_t n = 0;
    if (is_null(v))
        return 0;
    if (v->type != GVM_JSON_NUMBER || gvm_parse_u64(v->text, 4095, &n) < 0 || n == 0)
        return bad(x, v->raw.p, "%s must be an errno from 1 to 4095", key);
    *ret = (uint32_t)n;
    return 0;
}

/* `key` and `errno_key` of an object to a SECCOMP_RET_* value. */
static int read_action(struct reading *x, const struct gvm_json *object, const char *key,
                       const char *errno_key, uint32_t *ret)
{
    static const struct {
        const char *name;
        uint32_t ret;
    } known[] = {
        {"SCMP_ACT_ALLOW", SECCOMP_RET_ALLOW},
        {"SCMP_ACT_LOG", SECCOMP_RET_ALLOW}, /* the kernel's log is not ours to write to */
        {"SCMP_ACT_NOTIFY", SECCOMP_RET_USER_NOTIF},
        {"SCMP_ACT_ERRNO", SECCOMP_RET_ERRNO},
        {"SCMP_ACT_TRAP", SECCOMP_RET_TRAP},
        {"SCMP_ACT_KILL", SECCOMP_RET_KILL_THREAD},
        {"SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD},
        {"SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS},
    };
    const struct gvm_json *v = gvm_json_get(object, key);
    uint32_t code = EPERM;
    if (!v)
        return bad(x, object->raw.p, "\"%s\" is missing", key);
    int r = need(x, v, GVM_JSON_STRING, key, "an action such as \"SCMP_ACT_ERRNO\"");
    if (r == 0)
        r = read_errno(x, object, errno_key, &code);
    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (gvm_str_eqz(v->text, known[i].name)) {
            *ret = known[i].ret | (known[i].ret == SECCOMP_RET_ERRNO ? code : 0);
            return 0;
        }
    return bad(x, v->raw.p,
               "%s \"%.40s\" is not one a sandbox knows (SCMP_ACT_ALLOW, _ERRNO, "
               "_NOTIFY, _LOG, _TRAP, _KILL, _KILL_PROCESS)",
               key, v->text.p);
}

/* ---- conditions ---- */

static int read_u64(struct reading *x, const struct gvm_json *object, const char *key, bool must,
                    uint64_t max, uint64_t *ret)
{
    const struct gvm_json *v = gvm_json_get(object, key);
    if (is_null(v) && !must)
        return 0;
    if (!v)
        return bad(x, object->raw.p, "\"%s\" is missing", key);
    if (v->type != GVM_JSON_NUMBER || gvm_parse_u64(v->text, max, ret) < 0)
        return bad(x, v->raw.p, "%s must be a whole number from 0 to %llu", key,
                   (unsigned long long)max);
    return 0;
}

static int read_op(struct reading *x, const struct gvm_json *object, uint8_t *ret)
{
    static const char *const known[] = {[OP_NE] = "SCMP_CMP_NE",
                                        [OP_LT] = "SCMP_CMP_LT",
                                        [OP_LE] = "SCMP_CMP_LE",
                                        [OP_EQ] = "SCMP_CMP_EQ",
                                        [OP_GE] = "SCMP_CMP_GE",
                                        [OP_GT] = "SCMP_CMP_GT",
                                        [OP_MASKED_EQ] = "SCMP_CMP_MASKED_EQ"};
    const struct gvm_json *v = gvm_json_get(object, "op");
    for (uint8_t i = 0; v && v->type == GVM_JSON_STRING && i <= OP_MASKED_EQ; i++)
        if (gvm_str_eqz(v->text, known[i])) {
            *ret = i;
            return 0;
        }
    return bad(x, v ? v->raw.p : object->raw.p,
               "op must be SCMP_CMP_ and one of NE, LT, LE, EQ, GE, GT, MASKED_EQ");
}

static int read_condition(struct reading *x, const struct gvm_json *v, struct seccomp_rule *rule)
{
    struct seccomp_condition *c = &rule->when[rule->n];
    uint64_t arg = 0;
    int r = need(x, v, GVM_JSON_OBJECT, "a condition", "an object");
    if (r == 0)
        r = read_u64(x, v, "index", true, SECCOMP_MAX_ARGS - 1, &arg);
    if (r == 0)
        r = read_u64(x, v, "value", true, UINT64_MAX, &c->value);
    if (r == 0)
        r = read_u64(x, v, "valueTwo", false, UINT64_MAX, &c->second);
    if (r == 0)
        r = read_op(x, v, &c->op);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < rule->n; i++)
        if (rule->when[i].arg == arg)
            return bad(x, v->raw.p,
                       "argument %u is named twice in one rule: engines differ in what that "
                       "means, so write two rules",
                       (unsigned)arg);
    c->arg = (uint8_t)arg;
    rule->n++;
    return 0;
}

static int read_conditions(struct reading *x, const struct gvm_json *object,
                           struct seccomp_rule *rule)
{
    const struct gvm_json *v = gvm_json_get(object, "args");
    if (is_null(v))
        return 0;
    int r = need(x, v, GVM_JSON_ARRAY, "args", "a list");
    for (const struct gvm_json *e = r == 0 ? v->child : NULL; e && r == 0; e = e->next)
        r = rule->n < SECCOMP_MAX_ARGS
                ? read_condition(x, e, rule)
                : bad(x, e->raw.p, "a system call has no more than %d arguments", SECCOMP_MAX_ARGS);
    return r;
}

/* ---- "includes", "excludes" ---- */

#if defined(__x86_64__)
static const char *const own_arch[] = {"amd64", "x86_64", NULL};
#else
static const char *const own_arch[] = {"arm64", "aarch64", NULL};
#endif

/* "4.8" against the kernel that runs. */
static bool kernel_is(struct gvm_str version)
{
    struct utsname u;
    struct gvm_str mine, part[2];
    uint64_t want[2] = {0, 0}, have[2] = {0, 0};
    if (uname(&u) < 0)
        return false;
    mine = gvm_str(u.release);
    for (int i = 0; i < 2; i++) {
        gvm_str_cut(&version, '.', &part[0]);
        gvm_str_cut(&mine, '.', &part[1]);
        size_t digits = 0;
        while (digits < part[1].n && part[1].p[digits] >= '0' && part[1].p[digits] <= '9')
            digits++;
        part[1].n = digits;
        if (gvm_parse_u64(part[0], 100000, &want[i]) < 0 ||
            gvm_parse_u64(part[1], 100000, &have[i]) < 0)
            return false;
    }
    return have[0] > want[0] || (have[0] == want[0] && have[1] >= want[1]);
}

static bool names_arch(const struct gvm_json *list)
{
    for (const struct gvm_json *e = list->child; e; e = e->next)
        for (unsigned i = 0; own_arch[i]; i++)
            if (e->type == GVM_JSON_STRING && gvm_str_eqz(e->text, own_arch[i]))
                return true;
    return false;
}

/* What a filter member says of this sandbox: *all, every condition holds; *any, one does. */
static int weigh(struct reading *x, const struct gvm_json *v, bool *all, bool *any)
{
    *all = true;
    *any = false;
    if (is_null(v))
        return 0;
    int r = need(x, v, GVM_JSON_OBJECT, "includes or excludes", "an object");
    for (const struct gvm_json *m = r == 0 ? v->child : NULL; m; m = m->next) {
        bool holds;
        if (is_null(m) || (m->type == GVM_JSON_ARRAY && !m->child))
            continue;
        if (gvm_str_eqz(m->key, "minKernel") && m->type == GVM_JSON_STRING)
            holds = kernel_is(m->text);
        else if (gvm_str_eqz(m->key, "arches") && m->type == GVM_JSON_ARRAY)
            holds = names_arch(m);
        else if (gvm_str_eqz(m->key, "caps") && m->type == GVM_JSON_ARRAY)
            holds = false; /* a sandbox has none */
        else
            return bad(x, m->raw.p, "\"%.40s\" is not known here (caps, arches, minKernel)",
                       m->key.p);
        *all &= holds;
        *any |= holds;
    }
    return r;
}

static int applies(struct reading *x, const struct gvm_json *object, bool *ret)
{
    bool all, any, out_all, out_any;
    int r = weigh(x, gvm_json_get(object, "includes"), &all, &any);
    if (r == 0)
        r = weigh(x, gvm_json_get(object, "excludes"), &out_all, &out_any);
    if (r == 0)
        *ret = all && !out_any;
    return r;
}

/* ---- rules ---- */

bool seccomp_stricter(uint32_t a, uint32_t b)
{
    return (int32_t)(a & SECCOMP_RET_ACTION_FULL) < (int32_t)(b & SECCOMP_RET_ACTION_FULL);
}

static int keep_rule(struct reading *x, int number, const struct seccomp_rule *rule)
{
    struct gvm_sandbox_profile *f = x->profile;
    if (rule->n == 0) {
        if (!f->call[number].plain || seccomp_stricter(rule->ret, f->call[number].ret))
            f->call[number].ret = rule->ret;
        f->call[number].plain = true;
        return 0;
    }
    struct seccomp_rule *copy = gvm_arena_alloc(f->arena, sizeof(*copy));
    if (copy)
        *copy = *rule;
    if (!copy || ++x->rules > PROFILE_MAX_RULES)
        return gvm_err_set(x->err, E2BIG, "%s: more than %u rules with conditions", x->label,
                           PROFILE_MAX_RULES);
    struct seccomp_rule **at = &f->call[number].rules;
    while (*at && !seccomp_stricter(copy->ret, (*at)->ret))
        at = &(*at)->next;
    copy->next = *at;
    *at = copy;
    return 0;
}

static int read_name(struct reading *x, const struct gvm_json *v, const struct seccomp_rule *rule)
{
    int r = need(x, v, GVM_JSON_STRING, "a name", "the text of a system call's name");
    if (r < 0)
        return r;
    int number = seccomp_number(v->text);
    if (number == -2 && rule->ret != SECCOMP_RET_ALLOW)
        return bad(x, v->raw.p, "no system call is called \"%.40s\", so it cannot be refused",
                   v->text.p);
    return number < 0 || number > SECCOMP_LAST ? 0 : keep_rule(x, number, rule);
}

static int check_keys(struct reading *x, const struct gvm_json *object, const char *const *known)
{
    for (const struct gvm_json *m = object->child; m; m = m->next) {
        const char *const *k = known;
        while (*k && !gvm_str_eqz(m->key, *k))
            k++;
        if (!*k)
            return bad(x, m->raw.p, "\"%.40s\" is not known here", m->key.p);
    }
    return 0;
}

static int read_rule(struct reading *x, const struct gvm_json *v)
{
    static const char *const known[] = {"names", "name",    "action",   "errnoRet", "errno",
                                        "args",  "comment", "includes", "excludes", NULL};
    struct seccomp_rule rule = {.n = 0};
    bool here = false;
    int r = need(x, v, GVM_JSON_OBJECT, "a rule of syscalls", "an object");
    if (r == 0)
        r = check_keys(x, v, known);
    if (r == 0)
        r = read_action(x, v, "action", "errnoRet", &rule.ret);
    if (r == 0)
        r = read_conditions(x, v, &rule);
    if (r == 0)
        r = applies(x, v, &here);
    if (r < 0)
        return r;
    const struct gvm_json *names = gvm_json_get(v, "names"), *one = gvm_json_get(v, "name");
    if (is_null(names) && !is_null(one))
        return here ? read_name(x, one, &rule) : 0;
    if (!names)
        return bad(x, v->raw.p, "\"names\" is missing");
    r = need(x, names, GVM_JSON_ARRAY, "names", "a list");
    if (r == 0 && !names->child)
        return bad(x, names->raw.p, "names is empty");
    for (const struct gvm_json *e = names->child; here && e && r == 0; e = e->next)
        r = read_name(x, e, &rule);
    return r;
}

static int read_members(struct reading *x, const struct gvm_json *top)
{
    static const char *const known[] = {
        "defaultAction", "defaultErrnoRet", "defaultErrno", "architectures",
        "archMap",       "syscalls",        "flags",        NULL};
    const struct gvm_json *calls = gvm_json_get(top, "syscalls");
    int r = check_keys(x, top, known);
    if (r == 0)
        r = read_action(x, top, "defaultAction", "defaultErrnoRet", &x->profile->otherwise);
    if (r == 0 && !is_null(calls))
        r = need(x, calls, GVM_JSON_ARRAY, "syscalls", "a list");
    for (const struct gvm_json *e = is_null(calls) ? NULL : calls->child; e && r == 0; e = e->next)
        r = read_rule(x, e);
    return r;
}

/* Without these no agent could be started, nor say why. */
static int check_needed(struct reading *x)
{
    static const struct {
        const char *name;
        int number;
    } needed[] = {{"execve", SYS_execve}, {"exit_group", SYS_exit_group}, {"sendmsg", SYS_sendmsg}};
    const struct gvm_sandbox_profile *f = x->profile;
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        int n = needed[i].number;
        uint32_t ret = f->call[n].plain ? f->call[n].ret : f->otherwise;
        if (ret != SECCOMP_RET_ALLOW || f->call[n].rules)
            return gvm_err_set(x->err, EINVAL,
                               "%s: %s must be allowed without conditions, or no agent could start",
                               x->label, needed[i].name);
    }
    return 0;
}

/* ---- the text ---- */

static int parse(struct reading *x, struct gvm_json **ret)
{
    struct gvm_json_reader r;
    struct gvm_json_token t;
    int v = 0;
    gvm_json_open(&r, x->text);
    do
        v = gvm_json_next(&r, &t);
    while (v == 0 && t.type != GVM_JSON_END);
    if (v < 0)
        return bad(x, x->text.p + r.pos, v == -E2BIG ? "nested too deep" : "not valid JSON");
    v = gvm_json_parse(x->profile->arena, x->text, ret, x->err);
    return v < 0 ? gvm_err_wrap(x->err, v, "%s", x->label) : 0;
}

int gvm_sandbox_profile_parse(struct gvm_str text, const char *label,
                              struct gvm_sandbox_profile **ret, struct gvm_err *err)
{
    struct gvm_json *top = NULL;
    struct gvm_sandbox_profile *f = gvm_calloc(1, sizeof(*f));
    struct reading x = {.text = text, .label = label, .profile = f, .err = err};
    if (f)
        f->arena = gvm_arena_new(PROFILE_ARENA);
    int r = f && f->arena ? parse(&x, &top) : gvm_err_set(err, ENOMEM, "out of memory");
    if (r == 0)
        r = need(&x, top, GVM_JSON_OBJECT, "a profile", "an object");
    if (r == 0)
        r = read_members(&x, top);
    if (r == 0)
        r = check_needed(&x);
    if (r < 0) {
        gvm_sandbox_profile_free(f);
        return r;
    }
    *ret = f;
    return 0;
}

void gvm_sandbox_profile_free(struct gvm_sandbox_profile *f)
{
    if (!f)
        return;
    gvm_arena_free(f->arena);
    free(f);
}
