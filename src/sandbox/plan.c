/* The plan of a sandbox: checked, and copied, because the init wipes the launcher's arguments and
 * environment. */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <sys/stat.h>

#define DEFAULT_PIDS  1024
#define DEFAULT_FILES 4096
#define DEFAULT_DISK  (UINT64_C(2) << 30)

static const char *copy_text(struct gvm_arena *a, const char *z)
{
    return z ? gvm_arena_dup(a, z, strlen(z)) : NULL;
}

static const char *const *copy_list(struct gvm_arena *a, const char *const *list, size_t extra)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    const char **out = gvm_arena_alloc(a, (n + extra + 1) * sizeof(*out));
    for (size_t i = 0; out && i < n; i++) {
        out[i] = copy_text(a, list[i]);
        if (!out[i])
            return NULL;
    }
    return out;
}

/* GVM's own places are hidden like those of the owner's list. */
static int add_own_places(struct gvm_arena *a, const char **list, struct gvm_err *err)
{
    static const enum gvm_place own[] = {GVM_PLACE_STATE, GVM_PLACE_RUNTIME, GVM_PLACE_CONFIG};
    char path[GVM_PATH_MAX];
    while (*list)
        list++;
    for (size_t i = 0; i < 3; i++) {
        int r = gvm_place(own[i], path, err);
        if (r < 0)
            return r;
        list[i] = copy_text(a, path);
        if (!list[i])
            return gvm_err_set(err, ENOMEM, "out of memory");
    }
    return 0;
}

int sandbox_plan_copy(struct gvm_arena *a, const struct gvm_sandbox_plan *p,
                      struct gvm_sandbox_plan *c, struct gvm_err *err)
{
    *c = *p;
    c->run = copy_text(a, p->run);
    c->workspace = copy_text(a, p->workspace);
    c->cwd = copy_text(a, p->cwd ? p->cwd : p->workspace);
    c->home = copy_text(a, p->home ? p->home : "/");
    c->run_dir = copy_text(a, p->run_dir);
    c->cache = copy_text(a, p->cache);
    c->argv = copy_list(a, p->argv, 0);
    c->env = copy_list(a, p->env, 0);
    c->hide = copy_list(a, p->hide, 3);
    c->reveal = copy_list(a, p->reveal, 0);
    c->mounts = copy_list(a, p->mounts, 0);
    c->devices = copy_list(a, p->devices, 0);
    c->persist = copy_list(a, p->persist, 0);
    c->kept = copy_text(a, p->kept);
    c->pass = NULL;
    c->max_pids = p->max_pids ? p->max_pids : DEFAULT_PIDS;
    c->max_files = p->max_files ? p->max_files : DEFAULT_FILES;
    c->max_disk = p->max_disk ? p->max_disk : DEFAULT_DISK;
    if (p->termios) {
        struct termios *t = gvm_arena_alloc(a, sizeof(*t));
        if (t)
            *t = *p->termios;
        c->termios = t;
    }
    if (!c->run || !c->workspace || !c->cwd || !c->home || !c->run_dir || !c->argv || !c->env ||
        !c->hide || !c->reveal || !c->mounts || !c->devices || !c->persist ||
        (p->kept && !c->kept) || (p->termios && !c->termios))
        return gvm_err_set(err, ENOMEM, "out of memory");
    return add_own_places(a, (const char **)(uintptr_t)c->hide, err);
}

/* ---- places that cannot be a workspace ---- */

int sandbox_plan_check(const struct gvm_sandbox_plan *p, struct gvm_err *err)
{
    static const char *const never[] = {"/proc", "/sys", "/dev", "/etc"};
    struct stat st;
    if (!p->argv[0] || !*p->argv[0])
        return gvm_err_set(err, EINVAL, "there is no command");
    if (stat(p->workspace, &st) < 0)
        return gvm_err_sys(err, errno, "cannot use the workspace %s", p->workspace);
    if (!S_ISDIR(st.st_mode))
        return gvm_err_set(err, ENOTDIR, "the workspace %s is not a directory", p->workspace);
    if (strcmp(p->workspace, "/") == 0)
        return gvm_err_set(err, EINVAL,
                           "the workspace is /: start in a project directory, or name one with "
                           "--workspace");
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        if (sandbox_beneath(p->workspace, never[i]))
            return gvm_err_set(err, EINVAL, "the workspace cannot be in %s", never[i]);
    return 0;
}
