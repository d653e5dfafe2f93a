/* The second wall: should a mount ever be writable that must not be, Landlock (landlock(7)) still
 * refuses the write. Writing is allowed beneath the workspace, the home, /tmp, /run and /dev only;
 * signals and abstract sockets do not leave the agent's domain where the kernel can say so.
 *
 * Constants are our own: Debian 12's headers stop at ABI 3. ABI 1 is not used, as it would refuse
 * every rename and link between directories.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LL_CREATE_RULESET 444
#define LL_ADD_RULE       445
#define LL_RESTRICT_SELF  446
#define LL_VERSION        1u
#define LL_PATH_BENEATH   1

enum {
    LL_WRITE_FILE = 1u << 1,
    LL_REMOVE_DIR = 1u << 4,
    LL_REMOVE_FILE = 1u << 5,
    LL_MAKE = 0x7fu << 6,    /* char, dir, reg, sock, fifo, block, sym */
    LL_REFER = 1u << 13,     /* ABI 2 */
    LL_TRUNCATE = 1u << 14,  /* ABI 3 */
    LL_IOCTL_DEV = 1u << 15, /* ABI 5 */
};
enum { LL_SCOPE_ABSTRACT = 1u << 0, LL_SCOPE_SIGNAL = 1u << 1 }; /* ABI 6 */

struct ll_ruleset {
    uint64_t fs, net, scoped;
};
struct ll_beneath {
    uint64_t access;
    int32_t fd;
} __attribute__((packed));

int sandbox_landlock_abi(void)
{
    long abi = syscall(LL_CREATE_RULESET, NULL, 0, LL_VERSION);
    return abi < 0 ? 0 : (int)abi;
}

static uint64_t rights(int abi)
{
    uint64_t all = LL_WRITE_FILE | LL_REMOVE_DIR | LL_REMOVE_FILE | LL_MAKE | LL_REFER;
    if (abi >= 3)
        all |= LL_TRUNCATE;
    if (abi >= 5)
        all |= LL_IOCTL_DEV;
    return all;
}

static int allow_beneath(int ruleset, const char *path, uint64_t access, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : gvm_err_sys(err, errno, "Landlock: cannot open %s", path);
    struct ll_beneath rule = {access, fd};
    if (syscall(LL_ADD_RULE, ruleset, LL_PATH_BENEATH, &rule, 0) < 0)
        return gvm_err_sys(err, errno, "Landlock: cannot add %s", path);
    return 0;
}

/* The kernel's, or in builds with tests an older one. */
static int tested_abi(void)
{
    static const char *const older[] = {"landlock-0", "landlock-1", "landlock-2",
                                        "landlock-3", "landlock-4", "landlock-5"};
    for (int i = 0; i < 6; i++)
        if (sandbox_test_fails(older[i]))
            return i;
    return sandbox_landlock_abi();
}

int sandbox_landlock(struct sandbox_init *in, struct gvm_err *err)
{
    const struct gvm_sandbox_plan *plan = in->plan;
    int abi = tested_abi();
    if (abi < 2 && (plan->waived & GVM_SANDBOX_WITHOUT_LANDLOCK))
        return 0;
    if (abi < 2)
        return gvm_err_set(err, ENOTSUP,
                           "this kernel has no Landlock of ABI 2, the second wall around files "
                           "(Linux 5.19, CONFIG_SECURITY_LANDLOCK, and \"landlock\" in the boot "
                           "option lsm=); --without landlock does without it");
    struct ll_ruleset set = {.fs = rights(abi),
                             .scoped = abi >= 6 ? LL_SCOPE_ABSTRACT | LL_SCOPE_SIGNAL : 0};
    size_t size = abi >= 6 ? sizeof(set) : abi >= 4 ? 16 : 8;
    GVM_AUTOCLOSE int fd = (int)syscall(LL_CREATE_RULESET, &set, size, 0);
    if (fd < 0)
        return gvm_err_sys(err, errno, "Landlock: cannot make a rule set");
    const char *places[] = {plan->workspace, plan->home, "/tmp", "/run", "/dev"};
    int r = 0;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && r == 0; i++)
        r = allow_beneath(fd, places[i], set.fs, err);
    for (unsigned i = 0; i < in->noverlaid && r == 0; i++)
        r = allow_beneath(fd, in->overlaid[i], set.fs, err);
    if (r == 0 && syscall(LL_RESTRICT_SELF, fd, 0) < 0)
        r = gvm_err_sys(err, errno, "Landlock: the kernel refused the rule set");
    return r;
}
