/* The stages of our own isolation, in order.
 *
 *   privileges  Should:  no_new_privs; no core file, no ptrace by the same user; all capabilities
 * gone. Mustn't: close descriptors: the caller's channel and directories live on. landlock Should:
 * name the directories that stay reachable; end TCP, abstract sockets, signals. Mustn't: need /proc
 * (not dumpable any more) or a capability. seccomp     Should:  close every other door, for good.
 *               Mustn't: be followed by anything but serving.
 */
#include "confine/confine_int.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>

int gvm_harden(struct gvm_err *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return gvm_err_sys(err, errno, "cannot set no_new_privs");
    /* LeakSanitizer traces its own process. */
    if (!CONFINE_SANITIZED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return gvm_err_sys(err, errno, "cannot become undumpable");
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return gvm_err_sys(err, errno, "cannot turn core files off");
    return 0;
}

static int privileges(const char *name, struct gvm_err *err)
{
    (void)prctl(PR_SET_NAME, name, 0, 0, 0);
    int r = confine_user_namespace(err); /* writes /proc/self: while still dumpable */
    if (r == 0)
        r = gvm_harden(err);
    return r < 0 ? r : gvm_caps_drop_all(err);
}

int gvm_confine(const struct gvm_confine_spec *spec, struct gvm_err *err)
{
    int r = privileges(spec->name, err);
    if (r == 0)
        r = confine_landlock(spec, err);
    if (r == 0)
        r = confine_seccomp(spec, err);
    return r < 0 ? gvm_err_wrap(err, r, "%s cannot confine itself", spec->name) : 0;
}
