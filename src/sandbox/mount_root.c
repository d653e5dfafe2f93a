/* The root a sandbox sees: a tmpfs with the host's programs in it, read-only; the last step swaps
 * it in.
 *
 *   run_dir/root           tmpfs "base"; nothing of it is reachable afterwards
 *     layers/              what is laid over /etc, home and workspace (layer.c)
 *     root/                tmpfs; becomes /
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define READ_ONLY (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

int sandbox_mount_base(struct sandbox_init *in, struct gvm_err *err)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return gvm_err_sys(err, errno, "cannot part from the host's mounts");
    in->base = gvm_arena_printf(in->arena, "%s/root", in->plan->run_dir);
    if (!in->base)
        return gvm_err_set(err, ENOMEM, "out of memory");
    if (mount("tmpfs", in->base, "tmpfs", MS_NOSUID | MS_NODEV,
              "mode=0755,size=64m,nr_inodes=65536") < 0)
        return gvm_err_sys(err, errno, "cannot mount a tmpfs at %s", in->base);
    if (chdir(in->base) < 0 || mkdir("layers", 0755) < 0 || mkdir("root", 0755) < 0 ||
        mount("tmpfs", "root", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m,nr_inodes=4096") <
            0)
        return gvm_err_sys(err, errno, "cannot make the new root");
    in->layers = open("layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (in->layers < 0 || mkdirat(in->layers, "none", 0755) < 0 || chdir("root") < 0)
        return gvm_err_sys(err, errno, "cannot enter the new root");
    return 0;
}

/* Directories of programs; a link (merged /usr) stays a link. */
static int show_system_dir(struct sandbox_init *in, const char *path, struct gvm_err *err)
{
    struct stat st;
    char target[256];
    if (lstat(path, &st) < 0)
        return 0;
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
            return gvm_err_sys(err, errno, "cannot read the link %s", path);
        target[n] = '\0';
        if (symlink(target, path + 1) < 0 && errno != EEXIST)
            return gvm_err_sys(err, errno, "cannot make the link %s", path);
        return 0;
    }
    int r = sandbox_mkdir(in, path, err);
    return r < 0 ? r : sandbox_bind(in, path, path + 1, READ_ONLY, err);
}

int sandbox_mount_system(struct sandbox_init *in, struct gvm_err *err)
{
    static const char *const dirs[] = {"/usr",   "/bin",    "/sbin",      "/lib",      "/lib32",
                                       "/lib64", "/libx32", "/nix/store", "/gnu/store"};
    static const char *const plain[] = {"etc",   "proc",    "home",      "mnt",     "srv",
                                        "media", "var/lib", "var/cache", "var/log", "var/spool"};
    int r = 0;
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]) && r == 0; i++)
        r = show_system_dir(in, dirs[i], err);
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]) && r == 0; i++)
        r = sandbox_mkdir(in, plain[i], err);
    if (r == 0)
        r = sandbox_scratch(in, "tmp", 1024, "mode=1777,nr_inodes=1000000", err);
    if (r == 0)
        r = sandbox_scratch(in, "run", 64, "mode=0755,nr_inodes=10000", err);
    if (r == 0 && (symlink("../tmp", "var/tmp") < 0 || symlink("../run", "var/run") < 0 ||
                   symlink("../run/lock", "var/lock") < 0 || mkdir("run/lock", 01777) < 0))
        r = gvm_err_sys(err, errno, "cannot make /var");
    return r;
}

/* With the last mount in place: this root becomes /, the host's goes away, and / is read-only. */
int sandbox_mount_seal(struct sandbox_init *in, struct gvm_err *err)
{
    struct mount_attr quiet = {.attr_set = MOUNT_ATTR_NOSUID}, ro = {.attr_set = READ_ONLY};
    gvm_close(&in->layers);
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        return gvm_err_sys(err, errno, "cannot change the root");
    /* The old root lies over the new one at "." now. */
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return gvm_err_sys(err, errno, "cannot let go of the host's root");
    if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &quiet, sizeof(quiet)) < 0 ||
        mount_setattr(AT_FDCWD, "/", 0, &ro, sizeof(ro)) < 0)
        return gvm_err_sys(err, errno, "cannot make the root read-only");
    return 0;
}
