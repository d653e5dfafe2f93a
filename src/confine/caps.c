#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "confine/confine_int.h"

#define SECURE_LOCKED                                                                              \
    (SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |                               \
     SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |       \
     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

static int write_proc(const char *path, const char *text)
{
    GVM_AUTOCLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : gvm_write_all(fd, text, strlen(text));
}

/* The same id inside as outside. */
static int map_id(const char *path, unsigned id)
{
    char line[64];
    snprintf(line, sizeof line, "%u %u 1", id, id);
    return write_proc(path, line);
}

int confine_user_namespace(struct gvm_err *err)
{
    unsigned uid = geteuid(), gid = getegid();
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    if (syscall(SYS_capget, &head, data) == 0 && (data[0].effective & 1u << CAP_SETPCAP))
        return 0;
    if (prctl(PR_CAPBSET_READ, 0, 0, 0, 0) == 0 || unshare(CLONE_NEWUSER) < 0)
        return 0; /* empty already, or not to be had on this host */
    int r = write_proc("/proc/self/setgroups", "deny");
    if (r == 0)
        r = map_id("/proc/self/uid_map", uid);
    if (r == 0)
        r = map_id("/proc/self/gid_map", gid);
    return r < 0 ? gvm_err_sys(err, -r, "cannot map the user in a namespace of its own") : 0;
}

/* The bounding set and the securebits need CAP_SETPCAP. An ordinary user has not got it, has
 * nothing to lose there either, and no_new_privs keeps an exec from gaining. */
static int drop_bounding(struct gvm_err *err)
{
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
            continue;
        return errno == EPERM ? 0 : gvm_err_sys(err, errno, "cannot drop capability %lu", cap);
    }
    if (prctl(PR_SET_SECUREBITS, SECURE_LOCKED, 0, 0, 0) < 0 && errno != EPERM)
        return gvm_err_sys(err, errno, "cannot lock the securebits");
    return 0;
}

static bool all_empty(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    if (syscall(SYS_capget, &head, data) < 0)
        return false;
    return !(data[0].effective | data[0].permitted | data[0].inheritable | data[1].effective |
             data[1].permitted | data[1].inheritable);
}

int gvm_caps_drop_all(struct gvm_err *err)
{
    int r = drop_bounding(err);
    if (r < 0)
        return r;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
        return gvm_err_sys(err, errno, "cannot clear the ambient capabilities");
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    if (syscall(SYS_capset, &head, none) < 0)
        return gvm_err_sys(err, errno, "cannot drop the capabilities");
    return all_empty() ? 0 : gvm_err_set(err, EPERM, "capabilities remain after dropping them");
}
