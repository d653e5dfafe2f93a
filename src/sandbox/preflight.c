/* What this host can do, tried for real: a sandbox is made and thrown away, and each feature named.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
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
    char text[128];
    if (uname(&u) == 0)
        line(out, "info", "kernel", u.release);
    int abi = sandbox_landlock_abi();
    if (abi >= 2)
        snprintf(text, sizeof(text), "ABI %d%s", abi,
                 abi < 6 ? "; from 6 on (Linux 6.12) it covers signals and abstract sockets too"
                         : "");
    line(out, abi >= 2 ? "ok" : "MISS", "Landlock, the second wall",
         abi >= 2 ? text
                  : "needs Linux 5.19 with CONFIG_SECURITY_LANDLOCK, and \"landlock\" in the boot "
                    "option lsm=; gvm run --without landlock does without it");
}

/* Switches that forbid namespaces to ordinary users, before anything is tried. */
static void tell_switches(struct gvm_buf *out)
{
    const char *hint = sandbox_userns_hint();
    if (geteuid() != 0 && *hint)
        line(out, "MISS", "user namespaces", hint);
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) > 0)
        line(out, "note", "this shell is itself under a seccomp filter",
             "in a container that may forbid what a sandbox needs (docker: --security-opt "
             "seccomp=unconfined --security-opt systempaths=unconfined)");
}

/* What --memory, --cpus and --pids will rest on. */
static void tell_limits(struct gvm_buf *out)
{
    struct gvm_sandbox_plan plan = {
        .run = "preflight", .max_memory = UINT64_C(1) << 30, .max_cpus = 1000, .max_pids = 1024};
    struct sandbox_cgroup *group = NULL;
    int r = sandbox_cgroup_new(&plan, &group);
    if (r == 0)
        line(out, "ok", "limits by control groups", "--memory, --cpus");
    else
        line(out, "note", "no control group can be had here",
             "--memory is watched every 100 ms, --cpus takes whole processors (for more: "
             "systemd-run --user --scope -p Delegate=yes gvm run ...)");
    if (geteuid() == 0 && !sandbox_pids_bound_root() && r < 0)
        line(out, "MISS", "a limit for root's processes",
             "needs Linux 6.14 or a pids control group; gvm run --without pids does without");
    sandbox_cgroup_free(group);
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
                                    .run_dir = run,
                                    .record = true,
                                    /* Told above by name; here everything else is tried. */
                                    .waived =
                                        GVM_SANDBOX_WITHOUT_LANDLOCK | GVM_SANDBOX_WITHOUT_PIDS};
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
    tell_switches(out);
    tell_limits(out);
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
