/* What this host can do, tried for real: a sandbox is made and thrown away, and each feature named.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static void line(struct gvm_buf *out, const char *mark, const char *what, const char *more)
{
    gvm_buf_addf(out, "%-5s %s%s%s\n", mark, what, *more ? ": " : "", more);
}

static void tell_kernel(struct gvm_buf *out)
{
    struct utsname u;
    char text[64];
    if (uname(&u) == 0)
        line(out, "info", "kernel", u.release);
    int abi = sandbox_landlock_abi();
    snprintf(text, sizeof(text),
             abi ? "ABI %d" : "not in this kernel (CONFIG_SECURITY_LANDLOCK, lsm=landlock)", abi);
    line(out, abi >= 2 ? "ok" : "miss", "Landlock, the second wall", text);
}

/* Makes a sandbox in a directory of its own and starts `true` in it. */
static int try_sandbox(const char *dir, struct gvm_buf *out, struct gvm_err *err)
{
    static const char *const argv[] = {"/bin/true", NULL}, *const env[] = {"PATH=/usr/bin:/bin",
                                                                           NULL};
    char run[GVM_PATH_MAX + 16], work[GVM_PATH_MAX + 16];
    snprintf(run, sizeof(run), "%s/run", dir);
    snprintf(work, sizeof(work), "%s/workspace", dir);
    if (mkdir(run, 0700) < 0 || mkdir(work, 0700) < 0)
        return gvm_err_sys(err, errno, "cannot make %s", run);
    const char *home = getenv("HOME");
    struct gvm_sandbox_plan plan = {.run = "preflight",
                                    .argv = argv,
                                    .env = env,
                                    .workspace = work,
                                    .home = home ? home : "/",
                                    .run_dir = run};
    struct gvm_sandbox *s = NULL;
    int code = 0, r = gvm_sandbox_create(&plan, &s, err);
    if (r < 0)
        return r;
    line(out, "ok", "user, mount, pid, net, ipc, uts and cgroup namespaces", "");
    line(out, "ok", "sealed network: lo, nf_tables redirect, read back", "");
    static const char no_ca[] =
        "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n";
    r = gvm_sandbox_start(s, (struct gvm_str){no_ca, sizeof(no_ca) - 1}, err);
    if (r == 0)
        r = gvm_sandbox_wait(s, &code, err);
    if (r == 0 && code != 0)
        r = gvm_err_set(err, EIO, "/bin/true ended with %d inside", code);
    if (r == 0) {
        line(out, "ok", "overlays for workspace and home, read-only root, fresh /proc", "");
        line(out, "ok", "no capabilities, no_new_privs, seccomp", "");
    }
    for (const char *p = gvm_sandbox_notes(s); *p;) {
        int n = (int)strcspn(p, "\n");
        gvm_buf_addf(out, "%-5s %.*s\n", "note", n, p);
        p += n + (p[n] == '\n');
    }
    gvm_sandbox_free(s);
    return r;
}

int gvm_sandbox_preflight(struct gvm_buf *out, struct gvm_err *err)
{
    char state[GVM_PATH_MAX], dir[GVM_PATH_MAX];
    tell_kernel(out);
    int r = gvm_place(GVM_PLACE_STATE, state, err);
    if (r == 0)
        r = gvm_mkdirs(state, 0700, err);
    if (r < 0)
        return r;
    /* In the state directory, because its file system is the one the upper layers will lie on. */
    if (snprintf(dir, sizeof(dir), "%s/preflight-XXXXXX", state) >= (int)sizeof(dir) ||
        !mkdtemp(dir))
        return gvm_err_sys(err, errno, "cannot make a directory in %s", state);
    struct gvm_err why = {0};
    r = try_sandbox(dir, out, &why);
    if (r < 0) {
        line(out, "FAIL", why.text, "");
        if (err)
            *err = why;
    }
    GVM_AUTOCLOSE int fd = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && gvm_remove_tree_at(fd, strrchr(dir, '/') + 1, NULL) < 0)
        line(out, "note", "could not remove", dir);
    return r;
}
