/* /proc and /dev of a sandbox, and the few lines of /sys that runtimes read.
 *
 * /proc is a fresh instance for the new pid namespace, mounted read-only as a whole: no switch of
 * the kernel can be turned through it, whoever the agent's uid is outside. Files that tell about
 * the host or its kernel are covered by a file that nobody may open.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const covered_files[] = {
    "kcore",       "keys",     "key-users",    "kmsg",          "timer_list",
    "sched_debug", "kallsyms", "kpagecount",   "kpageflags",    "kpagecgroup",
    "vmallocinfo", "slabinfo", "pagetypeinfo", "sysrq-trigger", "latency_stats",
};
static const char *const covered_dirs[] = {"acpi", "asound", "scsi", "dynamic_debug"};

/* An empty file, or directory, that cannot be opened, on the base tmpfs. */
static int make_covers(struct sandbox_init *in, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd = openat(in->layers, "cover", O_CREAT | O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0 || mkdirat(in->layers, "cover.d", 0) < 0)
        return gvm_err_sys(err, errno, "cannot make the covers");
    return 0;
}

static int cover(struct sandbox_init *in, const char *name, const char *with, struct gvm_err *err)
{
    char at[64], src[GVM_PATH_MAX + 32];
    snprintf(at, sizeof(at), "proc/%s", name);
    /* What this user cannot read anyway needs no cover. */
    if (faccessat(AT_FDCWD, at, R_OK, AT_EACCESS) < 0)
        return 0;
    snprintf(src, sizeof(src), "%s/layers/%s", in->base, with);
    return sandbox_bind(in, src, at, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
}

int sandbox_mount_proc(struct sandbox_init *in, struct gvm_err *err)
{
    struct mount_attr ro = {.attr_set = MOUNT_ATTR_RDONLY};
    int r = make_covers(in, err);
    if (r < 0)
        return r;
    if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return gvm_err_sys(err, errno, "cannot mount a fresh /proc%s",
                           errno == EPERM
                               ? " (inside a container whose own /proc is masked this is "
                                 "refused; docker: --security-opt systempaths=unconfined)"
                               : "");
    r = sandbox_pid_limit(in, err);
    for (size_t i = 0; i < sizeof(covered_files) / sizeof(covered_files[0]) && r == 0; i++)
        r = cover(in, covered_files[i], "cover", err);
    for (size_t i = 0; i < sizeof(covered_dirs) / sizeof(covered_dirs[0]) && r == 0; i++)
        r = cover(in, covered_dirs[i], "cover.d", err);
    if (r == 0 && mount_setattr(AT_FDCWD, "proc", 0, &ro, sizeof(ro)) < 0)
        r = gvm_err_sys(err, errno, "cannot make /proc read-only");
    return r;
}

/* ---- /dev ---- */

static int show_device(struct sandbox_init *in, const char *name, struct gvm_err *err)
{
    char src[32], at[32];
    snprintf(src, sizeof(src), "/dev/%s", name);
    snprintf(at, sizeof(at), "dev/%s", name);
    GVM_AUTOCLOSE int fd = openat(AT_FDCWD, at, O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot make %s", src);
    return sandbox_bind(in, src, at, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
}

static int link_all(struct gvm_err *err)
{
    static const char *const links[][2] = {
        {"/proc/self/fd", "dev/fd"},       {"/proc/self/fd/0", "dev/stdin"},
        {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"},
        {"pts/ptmx", "dev/ptmx"},
    };
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
        if (symlink(links[i][0], links[i][1]) < 0)
            return gvm_err_sys(err, errno, "cannot make /%s", links[i][1]);
    return 0;
}

/* CPU lists for JVM, Node and glibc; nothing else of /sys. */
static int show_cpus(struct sandbox_init *in, struct gvm_err *err)
{
    const char *cpu = "/sys/devices/system/cpu";
    if (access(cpu, R_OK) < 0)
        return 0;
    int r = sandbox_mkdir(in, cpu, err);
    return r < 0 ? r
                 : sandbox_bind(in, cpu, cpu + 1,
                                MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                    MOUNT_ATTR_NOEXEC,
                                err);
}

int sandbox_mount_dev(struct sandbox_init *in, struct gvm_err *err)
{
    static const char *const devices[] = {"null", "zero", "full", "random", "urandom", "tty"};
    struct mount_attr ro = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC};
    int r = sandbox_tmpfs(in, "dev", "mode=0755,size=64k,nr_inodes=320", err);
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]) && r == 0; i++)
        r = show_device(in, devices[i], err);
    if (r == 0)
        r = sandbox_scratch(in, "dev/shm", 512, "mode=1777,nr_inodes=100000", err);
    if (r == 0)
        r = sandbox_mkdir(in, "dev/pts", err);
    if (r == 0 && mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                        "newinstance,ptmxmode=0666,mode=0620,max=256") < 0)
        r = gvm_err_sys(err, errno, "cannot mount terminals of the sandbox's own");
    if (r == 0)
        r = link_all(err);
    if (r == 0)
        r = sandbox_mount_devices(in, err);
    if (r == 0 && mount_setattr(AT_FDCWD, "dev", 0, &ro, sizeof(ro)) < 0)
        r = gvm_err_sys(err, errno, "cannot make /dev read-only");
    return r == 0 ? show_cpus(in, err) : r;
}
