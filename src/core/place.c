#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/fs.h"

/* "<a>/<b>" without trailing slashes on <a>; `b` may be empty. */
static int join(char dst[GVM_PATH_MAX], const char *a, const char *b, struct gvm_err *err)
{
    size_t n = strlen(a);
    while (n > 1 && a[n - 1] == '/')
        n--;
    int k = snprintf(dst, GVM_PATH_MAX, "%.*s%s%s", (int)n, a, *b ? "/" : "", b);
    if (n >= GVM_PATH_MAX || k < 0 || k >= GVM_PATH_MAX)
        return gvm_err_set(err, ENAMETOOLONG, "path too long: %.100s...", a);
    return 0;
}

/* An empty variable counts as unset. */
static const char *env(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* 1 = taken from the variable, 0 = not set. Ours must be absolute. */
static int own_variable(const char *name, char dst[GVM_PATH_MAX], struct gvm_err *err)
{
    const char *v = env(name);
    if (!v)
        return 0;
    if (v[0] != '/')
        return gvm_err_set(err, EINVAL, "$%s must be an absolute path, not \"%s\"", name, v);
    int r = join(dst, v, "", err);
    return r < 0 ? r : 1;
}

/* XDG Base Directory: a relative value is ignored. */
static int xdg(const char *name, const char *home_rest, const char *rest, char dst[GVM_PATH_MAX],
               struct gvm_err *err)
{
    const char *v = env(name);
    if (v && v[0] == '/')
        return join(dst, v, rest, err);
    const char *home = env("HOME");
    if (!home || home[0] != '/')
        return gvm_err_set(err, ENOENT,
                           "neither $%s nor $HOME is an absolute path; set one of them", name);
    char below[128];
    snprintf(below, sizeof below, "%s/%s", home_rest, rest);
    return join(dst, home, below, err);
}

/* A variable inherited across su or sudo names another user's directory: not ours to use. */
static bool own_dir(const char *path)
{
    struct stat st;
    return path && path[0] == '/' && stat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
           st.st_uid == geteuid();
}

static int runtime_place(char dst[GVM_PATH_MAX], struct gvm_err *err)
{
    const char *v = env("XDG_RUNTIME_DIR");
    if (own_dir(v))
        return join(dst, v, "gvm", err);
    char run_user[64];
    snprintf(run_user, sizeof run_user, "/run/user/%u", (unsigned)geteuid());
    if (own_dir(run_user))
        return join(dst, run_user, "gvm", err);
    char state[GVM_PATH_MAX];
    int r = gvm_place(GVM_PLACE_STATE, state, err);
    return r < 0 ? r : join(dst, state, "run", err);
}

int gvm_place(enum gvm_place which, char dst[GVM_PATH_MAX], struct gvm_err *err)
{
    static const char *const variables[] = {"GVM_RUNTIME_DIR", "GVM_STATE_DIR", "GVM_CONFIG"};
    char out[GVM_PATH_MAX];
    int r = own_variable(variables[which], out, err);
    if (r == 0) {
        if (which == GVM_PLACE_RUNTIME)
            r = runtime_place(out, err);
        else if (which == GVM_PLACE_STATE)
            r = xdg("XDG_STATE_HOME", ".local/state", "gvm", out, err);
        else
            r = xdg("XDG_CONFIG_HOME", ".config", "gvm/gvm.toml", out, err);
    }
    if (r < 0)
        return r;
    memcpy(dst, out, strlen(out) + 1);
    return 0;
}

int gvm_place_path(enum gvm_place which, const char *rest, char dst[GVM_PATH_MAX],
                   struct gvm_err *err)
{
    char base[GVM_PATH_MAX];
    int r = gvm_place(which, base, err);
    return r < 0 ? r : join(dst, base, rest, err);
}
