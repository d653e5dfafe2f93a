/* Who the init is: its place in the user namespace, and nothing left of where it came from. */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

static int write_proc(const char *path, const char *text, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot open %s", path);
    ssize_t n = write(fd, text, strlen(text));
    if (n < 0 || (size_t)n != strlen(text))
        return gvm_err_sys(err, errno ? errno : EIO, "cannot write %s", path);
    return 0;
}

int sandbox_map_ids(struct sandbox_init *in, struct gvm_err *err)
{
    char text[64];
    int r = write_proc("/proc/self/setgroups", "deny", err);
    snprintf(text, sizeof(text), "%u %u 1\n", in->uid, in->uid);
    if (r == 0)
        r = write_proc("/proc/self/uid_map", text, err);
    snprintf(text, sizeof(text), "%u %u 1\n", in->gid, in->gid);
    if (r == 0)
        r = write_proc("/proc/self/gid_map", text, err);
    return r;
}

/* Fields 48..51 of /proc/self/stat (proc(5)): where arguments and environment lie on the stack. */
static int read_stack_places(unsigned long place[4])
{
    struct gvm_buf text;
    gvm_buf_init(&text, 4096);
    int r = gvm_read_file("/proc/self/stat", &text, NULL);
    struct gvm_str rest = gvm_buf_str(&text);
    const char *name_end = r == 0 && rest.p ? memrchr(rest.p, ')', rest.n) : NULL;
    if (!name_end) {
        gvm_buf_done(&text);
        return r < 0 ? r : -EINVAL;
    }
    rest.n -= (size_t)(name_end + 2 - rest.p);
    rest.p = name_end + 2;
    struct gvm_str word;
    for (unsigned field = 3; field <= 51 && r == 0; field++) {
        gvm_str_cut(&rest, ' ', &word);
        uint64_t v = 0;
        if (field >= 48)
            r = gvm_parse_u64(word, UINT64_MAX, &v);
        if (field >= 48)
            place[field - 48] = v;
    }
    gvm_buf_done(&text);
    return r;
}

int sandbox_forget_origin(struct sandbox_init *in, struct gvm_err *err)
{
    unsigned long place[4] = {0};
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NAME, "gvm-init") < 0)
        return gvm_err_sys(err, errno, "cannot hide the init");
    if (sethostname("sandbox", 7) < 0)
        return gvm_err_sys(err, errno, "cannot name the sandbox");
    /* The host's environment is this process's too: /proc/1/environ would show it to whoever gets
     * past "not dumpable". Plan and agent environment were copied before. */
    int r = read_stack_places(place);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot find the environment of the init");
    for (int i = 0; i < 4; i += 2)
        if (place[i] && place[i] < place[i + 1])
            memset((void *)place[i], 0,
                   place[i + 1] - place[i]); // NOLINT: own stack, from the kernel
    static char *nothing[1];
    environ = nothing;
    (void)in;
    return 0;
}

static bool file_says(const char *path, char value)
{
    char c = 0;
    GVM_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read(fd, &c, 1) == 1 && c == value;
}

const char *sandbox_userns_hint(void)
{
    if (file_says("/proc/sys/kernel/unprivileged_userns_clone", '0'))
        return "user namespaces are switched off: sysctl -w kernel.unprivileged_userns_clone=1";
    if (file_says("/proc/sys/user/max_user_namespaces", '0'))
        return "user namespaces are limited to none: sysctl -w user.max_user_namespaces=16384";
    if (file_says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", '1'))
        return "AppArmor lets only named programs make user namespaces: install the profile gvm "
               "comes with (packaging/apparmor/gvm, installed as share/gvm/apparmor/gvm) to "
               "/etc/apparmor.d/gvm and run apparmor_parser -r on it, or sysctl -w "
               "kernel.apparmor_restrict_unprivileged_userns=0";
    if (file_says("/proc/sys/user/max_net_namespaces", '0'))
        return "network namespaces are limited to none: sysctl -w user.max_net_namespaces=16384";
    if (file_says("/proc/sys/user/max_mnt_namespaces", '0'))
        return "mount namespaces are limited to none: sysctl -w user.max_mnt_namespaces=16384";
    return "";
}
