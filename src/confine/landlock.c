/* Landlock with our own constants: the headers we build against (6.1) know ABI 2, kernels know
 * more. The kernel is asked for its ABI at run time and gets only what it can handle. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "confine/confine_int.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

/* Access rights to files: bit i exists from ABI first_abi[...] on. */
#define FS_READ_FILE        (1ull << 2)
#define FS_READ_DIR         (1ull << 3)
#define FS_WRITE_FILE       (1ull << 1)
#define FS_REMOVE_DIR       (1ull << 4)
#define FS_REMOVE_FILE      (1ull << 5)
#define FS_MAKE_DIR         (1ull << 7)
#define FS_MAKE_REG         (1ull << 8)
#define FS_ABI1             ((1ull << 13) - 1)
#define FS_REFER            (1ull << 13) /* ABI 2 */
#define FS_TRUNCATE         (1ull << 14) /* ABI 3 */
#define FS_IOCTL_DEV        (1ull << 15) /* ABI 5 */
#define NET_BIND_TCP        (1ull << 0)  /* ABI 4 */
#define NET_CONNECT_TCP     (1ull << 1)
#define SCOPE_ABSTRACT_UNIX (1ull << 0) /* ABI 6 */
#define SCOPE_SIGNAL        (1ull << 1)

#define READ_ONLY (FS_READ_FILE | FS_READ_DIR)
#define READ_WRITE                                                                                 \
    (READ_ONLY | FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG |      \
     FS_REFER | FS_TRUNCATE)

#define CREATE_VERSION    1u
#define RULE_PATH_BENEATH 1

struct ruleset_attr {
    uint64_t fs, net, scoped;
};
struct path_attr {
    uint64_t allowed;
    int32_t fd;
} __attribute__((packed));

int gvm_landlock_abi(void)
{
    long v = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
    return v > 0 ? (int)v : 0;
}

static struct ruleset_attr handled(int abi, bool net_connect, size_t *ret_size)
{
    struct ruleset_attr a = {.fs = FS_ABI1};
    *ret_size = abi >= 6 ? sizeof a : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
    a.fs |= abi >= 2 ? FS_REFER : 0;
    a.fs |= abi >= 3 ? FS_TRUNCATE : 0;
    a.fs |= abi >= 5 ? FS_IOCTL_DEV : 0;
    if (abi >= 4)
        a.net = NET_BIND_TCP | (net_connect ? 0 : NET_CONNECT_TCP);
    if (abi >= 6)
        a.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
    return a;
}

static int allow(int ruleset, const int *dirs, unsigned n, uint64_t rights, struct gvm_err *err)
{
    for (unsigned i = 0; i < n; i++) {
        struct path_attr p = {.allowed = rights, .fd = dirs[i]};
        if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &p, 0) < 0)
            return gvm_err_sys(err, errno, "Landlock refuses a directory");
    }
    return 0;
}

/* LeakSanitizer lists its threads in /proc/self/task at exit. */
static int allow_sanitizer(int ruleset, struct gvm_err *err)
{
    if (!CONFINE_SANITIZED)
        return 0;
    GVM_AUTOCLOSE int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return proc < 0 ? 0 : allow(ruleset, &proc, 1, READ_ONLY, err);
}

int confine_landlock(const struct gvm_confine_spec *spec, struct gvm_err *err)
{
    int abi = gvm_landlock_abi();
    if (abi == 0)
        return 0; /* not in this kernel: seccomp and the empty capability sets remain */
    size_t size;
    struct ruleset_attr attr = handled(abi, spec->net_connect, &size);
    GVM_AUTOCLOSE int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot make a Landlock ruleset");
    int r = allow(fd, spec->dirs_rw, spec->ndirs_rw, READ_WRITE & attr.fs, err);
    if (r == 0)
        r = allow(fd, spec->dirs_ro, spec->ndirs_ro, READ_ONLY, err);
    if (r == 0)
        r = allow_sanitizer(fd, err);
    if (r < 0)
        return r;
    if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        return gvm_err_sys(err, errno, "cannot enter the Landlock ruleset");
    return 0;
}
