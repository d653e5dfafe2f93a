/* Devices of the host that the owner lets an agent use, by name or by path.
 *
 * Whatever a driver lets its users do, the agent can do then; that is the owner's choice and on
 * record. Those that would hand over the machine itself are refused whoever asks: memory, disks,
 * terminals, input devices (typing for the person), and the ways to make devices, networks or file
 * systems.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MAX_DEVICES 128

static const struct {
    const char *name;
    const char *globs[6];
} groups[] = {
    {"gpu",
     {"/dev/dri/card*", "/dev/dri/renderD*", "/dev/nvidia*", "/dev/nvidia-caps/*", "/dev/kfd",
      "/dev/dxg"}},
    {"dri", {"/dev/dri/card*", "/dev/dri/renderD*"}},
    {"nvidia", {"/dev/nvidia*", "/dev/nvidia-caps/*"}},
    {"kvm", {"/dev/kvm"}},
    {"sound", {"/dev/snd/*"}},
    {"video", {"/dev/video*", "/dev/media*"}},
    {"serial", {"/dev/ttyUSB*", "/dev/ttyACM*", "/dev/ttyS*"}},
};

static const char *const never[] = {
    "/dev/mem",      "/dev/kmem",        "/dev/port",      "/dev/kmsg",     "/dev/mapper/*",
    "/dev/input/*",  "/dev/uinput",      "/dev/uhid",      "/dev/tty",      "/dev/tty[0-9]*",
    "/dev/console",  "/dev/ptmx",        "/dev/pts/*",     "/dev/vcs*",     "/dev/loop*",
    "/dev/fuse",     "/dev/cuse",        "/dev/net/*",     "/dev/vhost*",   "/dev/cpu/*",
    "/dev/sg[0-9]*", "/dev/bsg/*",       "/dev/vfio/*",    "/dev/snapshot", "/dev/btrfs-control",
    "/dev/autofs",   "/dev/userfaultfd", "/dev/watchdog*", "/dev/nvram",    "/dev/mcelog",
    "/dev/binder*",  "/dev/bus/usb/*/*", "/dev/hidraw*",   "/dev/rfkill",
};

static bool is_refused(const char *path)
{
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        const char *bracket = strchr(never[i], '[');
        if (!bracket && gvm_glob(gvm_str(never[i]), gvm_str(path)))
            return true;
        size_t n = bracket ? (size_t)(bracket - never[i]) : 0;
        if (bracket && strncmp(path, never[i], n) == 0 && path[n] >= '0' && path[n] <= '9')
            return true;
    }
    return false;
}

/* ---- what programs read of it in /sys ---- */

static int copy_text(struct sandbox_init *in, const char *from, const char *at)
{
    char text[4096];
    (void)in;
    GVM_AUTOCLOSE int src = open(from, O_RDONLY | O_CLOEXEC);
    ssize_t n = src < 0 ? -1 : read(src, text, sizeof(text));
    if (n < 0)
        return 0; /* it has none */
    GVM_AUTOCLOSE int dst = open(at, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0444);
    return dst < 0 ? -errno : gvm_write_all(dst, text, (size_t)n);
}

/* Libraries for graphics tell cards apart by these files: copies, so that nothing of the device
 * itself can be reached through them. */
static int show_identity(struct sandbox_init *in, const struct stat *st, struct gvm_err *err)
{
    static const char *const files[] = {
        "vendor", "device", "subsystem_vendor", "subsystem_device", "revision", "class", "uevent"};
    char dir[64], from[128], at[128], target[PATH_MAX];
    struct stat found;
    snprintf(dir, sizeof(dir), "/sys/dev/char/%u:%u/device", major(st->st_rdev),
             minor(st->st_rdev));
    if (stat(dir, &found) < 0 || stat(dir + 1, &found) == 0)
        return 0;
    int r = sandbox_mkdir(in, dir, err);
    for (size_t i = 0; r == 0 && i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(from, sizeof(from), "%s/%s", dir, files[i]);
        snprintf(at, sizeof(at), "%s", from + 1);
        r = copy_text(in, from, at);
    }
    snprintf(from, sizeof(from), "%s/subsystem", dir);
    ssize_t n = r == 0 ? readlink(from, target, sizeof(target) - 1) : -1;
    if (n > 0) {
        target[n] = '\0';
        if (symlink(target, from + 1) < 0)
            r = -errno;
    }
    snprintf(from, sizeof(from), "%s/drm", dir);
    if (r == 0 && stat(from, &found) == 0)
        r = sandbox_mkdir(in, from, err);
    return r < 0 ? gvm_err_sys(err, -r, "cannot show what %s is", dir) : 0;
}

/* ---- one device ---- */

static int show_one(struct sandbox_init *in, const char *path, struct gvm_err *err)
{
    struct stat st;
    char dir[GVM_PATH_MAX];
    if (stat(path, &st) < 0)
        return gvm_err_sys(err, errno, "there is no device %s", path);
    if (!S_ISCHR(st.st_mode))
        return gvm_err_set(err, EINVAL, "%s is not a character device; no other is let in", path);
    if (access(path, R_OK) < 0 && access(path, W_OK) < 0)
        return gvm_err_sys(err, errno, "you may not use %s yourself", path);
    if (gvm_str_copy(dir, sizeof(dir), gvm_str(path)) < 0)
        return gvm_err_set(err, ENAMETOOLONG, "the path %.80s... is too long", path);
    *strrchr(dir, '/') = '\0';
    int r = sandbox_mkdir(in, dir, err);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd = open(path + 1, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0444);
    if (fd < 0) /* there already, by another name */
        return errno == EEXIST ? 0 : gvm_err_sys(err, errno, "cannot make %s", path);
    r = sandbox_bind(in, path, path + 1, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
    return r == 0 ? show_identity(in, &st, err) : r;
}

static int show_path(struct sandbox_init *in, const char *text, struct gvm_err *err)
{
    char real[PATH_MAX];
    if (!realpath(text, real))
        return gvm_err_sys(err, errno, "there is no device %s", text);
    if (strncmp(real, "/dev/", 5) != 0 || is_refused(real))
        return gvm_err_set(err, EINVAL,
                           "%s is not let into a sandbox: it would hand over the machine, or is no "
                           "device",
                           text);
    return show_one(in, real, err);
}

static int show_group(struct sandbox_init *in, const char *const *globs, size_t n, bool *ret_any,
                      struct gvm_err *err)
{
    int r = 0;
    for (size_t i = 0; i < n && globs[i] && r == 0; i++) {
        glob_t found = {0};
        struct stat st;
        if (glob(globs[i], GLOB_NOSORT, NULL, &found) == 0)
            for (size_t k = 0; k < found.gl_pathc && k < MAX_DEVICES && r == 0; k++) {
                if (stat(found.gl_pathv[k], &st) < 0 || !S_ISCHR(st.st_mode))
                    continue; /* /dev/nvidia-caps is a directory */
                r = show_one(in, found.gl_pathv[k], err);
                *ret_any = true;
            }
        globfree(&found);
    }
    return r;
}

static int show_named(struct sandbox_init *in, const char *name, struct gvm_err *err)
{
    bool any = false;
    if (name[0] == '/')
        return show_path(in, name, err);
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (strcmp(name, groups[i].name) != 0)
            continue;
        int r = show_group(in, groups[i].globs,
                           sizeof(groups[i].globs) / sizeof(groups[i].globs[0]), &any, err);
        if (r == 0 && !any)
            r = gvm_err_set(err, ENODEV, "this machine has no device for \"%s\" (%s)", name,
                            groups[i].globs[0]);
        return r;
    }
    return gvm_err_set(
        err, EINVAL,
        "no device is called \"%s\": gpu, dri, nvidia, kvm, sound, video, serial, or a "
        "path in /dev",
        name);
}

int sandbox_mount_devices(struct sandbox_init *in, struct gvm_err *err)
{
    int r = 0;
    for (const char *const *d = in->plan->devices; r == 0 && d && *d; d++)
        r = show_named(in, *d, err);
    return r;
}
