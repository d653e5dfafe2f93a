/* What a process of the sandbox may still be: no capability in any set, no way to get one, and
 * bounded. */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define LOCKED_BITS                                                                                \
    (SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |                               \
     SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |       \
     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

int sandbox_drop_privileges(struct sandbox_init *in, struct gvm_err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    (void)in;
    if (prctl(PR_SET_SECUREBITS, LOCKED_BITS) < 0)
        return gvm_err_sys(err, errno, "cannot lock the secure bits");
    for (int cap = 0; cap <= 63; cap++)
        if (prctl(PR_CAPBSET_DROP, cap) < 0) {
            if (errno == EINVAL && cap > CAP_AUDIT_READ)
                break; /* past the last one this kernel has */
            return gvm_err_sys(err, errno, "cannot drop capability %d", cap);
        }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
        syscall(SYS_capset, &head, none) < 0)
        return gvm_err_sys(err, errno, "cannot drop the capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return gvm_err_sys(err, errno, "cannot set no_new_privs");
    return 0;
}

static int limit(int what, const char *name, rlim_t value, struct gvm_err *err)
{
    struct rlimit old, l = {value, value};
    if (getrlimit((__rlimit_resource_t)what, &old) == 0 && old.rlim_max < value)
        l = (struct rlimit){old.rlim_max, old.rlim_max};
    if (setrlimit((__rlimit_resource_t)what, &l) < 0)
        return gvm_err_sys(err, errno, "cannot limit %s to %llu", name, (unsigned long long)value);
    return 0;
}

/* As many processors as the agent may use, of those it would have had. */
static int limit_cpus(unsigned milli, struct gvm_err *err)
{
    cpu_set_t have, use;
    unsigned left = milli / 1000;
    if (sched_getaffinity(0, sizeof(have), &have) < 0)
        return gvm_err_sys(err, errno, "cannot tell the processors");
    CPU_ZERO(&use);
    for (int i = CPU_SETSIZE - 1; i >= 0 && left; i--)
        if (CPU_ISSET(i, &have)) {
            CPU_SET(i, &use);
            left--;
        }
    if (sched_setaffinity(0, sizeof(use), &use) < 0)
        return gvm_err_sys(err, errno, "cannot limit the processors");
    return 0;
}

int sandbox_limits(struct sandbox_init *in, struct gvm_err *err)
{
    const struct gvm_sandbox_plan *plan = in->plan;
    int r = in->own_limits && plan->max_cpus ? limit_cpus(plan->max_cpus, err) : 0;
    if (r == 0 && in->own_limits && plan->max_memory)
        r = limit(RLIMIT_DATA, "memory", plan->max_memory, err);
    if (r == 0)
        r = limit(RLIMIT_CORE, "core files", 0, err);
    if (r == 0)
        r = limit(RLIMIT_NOFILE, "open files", plan->max_files, err);
    if (r == 0) /* counted per user namespace (Linux 5.14), so other programs of the user do not
                   matter */
        r = limit(RLIMIT_NPROC, "processes", plan->max_pids, err);
    return r == 0 ? limit(RLIMIT_FSIZE, "file size", plan->max_disk, err) : r;
}

static bool kernel_at_least(unsigned major, unsigned minor)
{
    struct utsname u;
    struct gvm_str rest, part;
    uint64_t a = 0, b = 0;
    if (uname(&u) < 0)
        return false;
    rest = gvm_str(u.release);
    gvm_str_cut(&rest, '.', &part);
    size_t digits = 0;
    while (digits < rest.n && rest.p[digits] >= '0' && rest.p[digits] <= '9')
        digits++;
    if (gvm_parse_u64(part, 1000, &a) < 0 ||
        gvm_parse_u64((struct gvm_str){rest.p, digits}, 10000, &b) < 0)
        return false;
    return a > major || (a == major && b >= minor);
}

bool sandbox_pids_bound_root(void)
{
    return kernel_at_least(6, 14) && !sandbox_test_fails("old-pids");
}

/* RLIMIT_NPROC does not bind the host's root, whose uid a sandbox started by root keeps. From
 * Linux 6.14 on pid_max belongs to the pid namespace; before that, writing it would change the
 * host, so never there: a control group does it (sandbox.c), or the owner does without. */
int sandbox_pid_limit(struct sandbox_init *in, struct gvm_err *err)
{
    uint64_t pids =
        in->plan->max_pids < 301 ? 301 : in->plan->max_pids; /* the least the kernel takes */
    char text[32];
    if (!sandbox_pids_bound_root())
        return 0;
    GVM_AUTOCLOSE int fd = open("proc/sys/kernel/pid_max", O_WRONLY | O_CLOEXEC);
    int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)pids);
    if (fd < 0 || write(fd, text, (size_t)n) != n)
        return gvm_err_sys(err, errno, "cannot limit the number of processes");
    return 0;
}
