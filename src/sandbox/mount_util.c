/* What the mount steps share. The working directory of the init is the new root while it is being
 * built, so that every place inside is a relative path; sources are absolute paths of the host. */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

int sandbox_bind(struct sandbox_init *in, const char *src, const char *at, uint64_t attr,
                 struct gvm_err *err)
{
    struct mount_attr set = {.attr_set = attr};
    (void)in;
    GVM_AUTOCLOSE int fd =
        open_tree(AT_FDCWD, src, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot bind %s", src);
    if (mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &set, sizeof(set)) < 0)
        return gvm_err_sys(err, errno, "cannot make %s read-only (Linux 5.12 or newer is needed)",
                           src);
    if (move_mount(fd, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return gvm_err_sys(err, errno, "cannot show %s", src);
    return 0;
}

int sandbox_mkdir(struct sandbox_init *in, const char *at, struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    (void)in;
    while (*at == '/')
        at++;
    if (gvm_str_copy(path, sizeof(path), gvm_str(at)) < 0)
        return gvm_err_set(err, ENAMETOOLONG, "the path %.80s... is too long", at);
    if (mkdir(path, 0755) == 0 || errno == EEXIST)
        return 0;
    for (char *p = strchr(path, '/');; p = p ? strchr(p + 1, '/') : NULL) {
        if (p)
            *p = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return gvm_err_sys(err, errno, "cannot make the place /%s", path);
        if (!p)
            return 0;
        *p = '/';
    }
}

int sandbox_tmpfs(struct sandbox_init *in, const char *at, const char *options, struct gvm_err *err)
{
    int r = sandbox_mkdir(in, at, err);
    if (r < 0)
        return r;
    while (*at == '/')
        at++;
    if (mount("tmpfs", at, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
        return gvm_err_sys(err, errno, "cannot mount a tmpfs at /%s", at);
    return 0;
}

int sandbox_scratch(struct sandbox_init *in, const char *at, unsigned mib, const char *options,
                    struct gvm_err *err)
{
    char text[128];
    uint64_t size = (uint64_t)mib << 20, max = in->plan->max_memory;
    snprintf(text, sizeof(text), "size=%llu,%s",
             (unsigned long long)(max && max < size ? max : size), options);
    return sandbox_tmpfs(in, at, text, err);
}

/* The option strings name directories through descriptors: no path of the host shows in
 * /proc/mounts, and colons or commas in paths mean nothing. fd: layer, lower, upper (-1 = none),
 * work. */
static int overlay_options(char *dst, size_t cap, const int fd[4])
{
    static const char self[] = "/proc/self/fd";
    int n = fd[2] < 0
                ? snprintf(dst, cap, "userxattr,lowerdir=%s/%d:%s/%d", self, fd[0], self, fd[1])
                : snprintf(dst, cap, "userxattr,lowerdir=%s/%d:%s/%d,upperdir=%s/%d,workdir=%s/%d",
                           self, fd[0], self, fd[1], self, fd[2], self, fd[3]);
    return n > 0 && (size_t)n < cap ? 0 : -ENAMETOOLONG;
}

int sandbox_overlay(struct sandbox_init *in, const char *at, const char *hide_layer,
                    const char *lower, const struct sandbox_upper *upper, struct gvm_err *err)
{
    const int how = O_PATH | O_DIRECTORY | O_CLOEXEC;
    GVM_AUTOCLOSE int hide_fd = openat(in->layers, hide_layer, how);
    GVM_AUTOCLOSE int lower_fd = open(lower, how);
    GVM_AUTOCLOSE int upper_fd = upper ? open(upper->dir, how) : -1;
    GVM_AUTOCLOSE int work_fd = upper ? open(upper->work, how) : -1;
    if (hide_fd < 0 || lower_fd < 0 || (upper && (upper_fd < 0 || work_fd < 0)))
        return gvm_err_sys(err, errno, "cannot open %s or its layers", lower);
    char options[256];
    int r =
        overlay_options(options, sizeof(options), (int[]){hide_fd, lower_fd, upper_fd, work_fd});
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot name the layers of %s", lower);
    while (*at == '/')
        at++;
    unsigned long flags = MS_NOSUID | MS_NODEV | (upper ? 0 : MS_RDONLY);
    if (mount("overlay", at, "overlay", flags, options) == 0)
        return 0;
    int code = errno;
    char sub[GVM_PATH_MAX];
    if (code == EINVAL && sandbox_submount(lower, sub))
        return gvm_err_set(err, EBUSY,
                           "%s cannot be shown because %s is mounted inside it (unmount that, or "
                           "choose another directory)",
                           lower, sub);
    return gvm_err_sys(err, code, "cannot lay an overlay over %s (its upper layer is in %s)", lower,
                       upper ? upper->dir : "memory");
}

bool sandbox_beneath(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (n == 1 && dir[0] == '/')
        return path[0] == '/';
    return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

/* Resolves the octal escapes of mountinfo in place. */
static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++) {
        if (s[0] == '\\' && s[1] && s[2] && s[3]) {
            *to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 3;
        } else {
            *to++ = *s;
        }
    }
    *to = '\0';
}

bool sandbox_submount(const char *dir, char dst[GVM_PATH_MAX])
{
    struct gvm_buf text;
    gvm_buf_init(&text, 4u << 20);
    bool found = false;
    if (gvm_read_file("/proc/self/mountinfo", &text, NULL) == 0) {
        struct gvm_str rest = gvm_buf_str(&text), line, word;
        while (!found && rest.n) {
            gvm_str_cut(&rest, '\n', &line);
            for (int field = 0; field < 5; field++)
                gvm_str_cut(&line, ' ', &word);
            if (gvm_str_copy(dst, GVM_PATH_MAX, word) < 0)
                continue;
            unescape(dst);
            found = sandbox_beneath(dst, dir) && strlen(dst) > strlen(dir);
        }
    }
    gvm_buf_done(&text);
    return found;
}
