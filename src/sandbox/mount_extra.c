/* What the owner adds to a sandbox: places elsewhere on the host, read-only or under an overlay
 * that nobody keeps, and places in home that one agent keeps from run to run.
 *
 * An added place is looked through for secrets like a workspace. It may not be one that GVM hides,
 * nor lie above or in one that has a layer of its own: that would show what is hidden there.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_ONLY (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

/* ---- --mount ---- */

struct place {
    char path[PATH_MAX];
    bool overlay;
    bool is_dir;
};

static int bad_place(const char *text, const char *why, struct gvm_err *err)
{
    return gvm_err_set(err, EINVAL, "%s cannot be shown: %s", text, why);
}

/* Is it GVM's own, or above or in what is shown in another way? */
static int check_place(const struct sandbox_init *in, const char *text, const char *path,
                       struct gvm_err *err)
{
    static const char *const system[] = {"/proc", "/sys", "/dev", "/run", "/etc"};
    static const char *const own[] = {"/tmp", "/var/tmp"};
    const struct gvm_sandbox_plan *p = in->plan;
    if (strcmp(path, "/") == 0)
        return bad_place(text, "it is everything", err);
    bool ours = false;
    for (size_t i = 0; i < sizeof(system) / sizeof(system[0]); i++)
        ours |= sandbox_beneath(path, system[i]);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        ours |= sandbox_beneath(own[i], path);
    if (ours)
        return bad_place(text, "a sandbox has its own", err);
    for (const char *const *h = p->hide; h && *h; h++)
        if ((*h)[0] == '/' && sandbox_beneath(path, *h))
            return bad_place(text, "it is hidden", err);
    if (sandbox_beneath(p->workspace, path) || sandbox_beneath(path, p->workspace))
        return bad_place(text, "it lies above, or in, the workspace", err);
    if (p->home[1] && sandbox_beneath(p->home, path))
        return bad_place(text, "the home directory lies in it", err);
    return 0;
}

static int read_place(const struct sandbox_init *in, const char *text, struct place *ret,
                      struct gvm_err *err)
{
    struct gvm_str s = gvm_str(text), how = GVM_STR(SANDBOX_OVERLAID);
    char path[GVM_PATH_MAX];
    struct stat st;
    ret->overlay = gvm_str_ends(s, how);
    s.n -= ret->overlay ? how.n : 0;
    if (s.n > 2 && s.p[0] == '~' && s.p[1] == '/') {
        if (snprintf(path, sizeof(path), "%s/%.*s", in->plan->home, (int)(s.n - 2), s.p + 2) >=
            (int)sizeof(path))
            return bad_place(text, "the path is too long", err);
    } else if (s.n == 0 || s.p[0] != '/' || gvm_str_copy(path, sizeof(path), s) < 0) {
        return bad_place(text, "it is no absolute path", err);
    }
    if (!realpath(path, ret->path) || stat(ret->path, &st) < 0)
        return gvm_err_sys(err, errno, "%s cannot be shown", path);
    ret->is_dir = S_ISDIR(st.st_mode);
    if (!ret->is_dir && !S_ISREG(st.st_mode))
        return bad_place(text, "it is neither a directory nor a file", err);
    if (!ret->is_dir && ret->overlay)
        return bad_place(text, "only a directory can have an overlay", err);
    return check_place(in, text, ret->path, err);
}

/* What a home shows or hides is settled already: a place in it must be seen there. */
static int seen_in_home(const struct sandbox_init *in, const char *text, const char *path,
                        struct gvm_err *err)
{
    struct stat st;
    if (!in->plan->home[1] || !sandbox_beneath(path, in->plan->home))
        return 0;
    return lstat(path + 1, &st) < 0 ? bad_place(text, "it is hidden; see --reveal", err) : 0;
}

static int show_file(struct sandbox_init *in, const char *path, struct gvm_err *err)
{
    char dir[PATH_MAX];
    memcpy(dir, path, strlen(path) + 1);
    char *slash = strrchr(dir, '/');
    *slash = '\0';
    int r = dir[0] ? sandbox_mkdir(in, dir, err) : 0;
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd = open(path + 1, O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
    return fd < 0 && errno != EEXIST && errno != EACCES
               ? gvm_err_sys(err, errno, "cannot make a place for %s", path)
               : sandbox_bind(in, path, path + 1, READ_ONLY, err);
}

static int upper_of(struct sandbox_init *in, struct sandbox_upper *ret, struct gvm_err *err)
{
    static const char *const parts[] = {"upper", "work"};
    const char **names[] = {&ret->dir, &ret->work};
    for (int i = 0; i < 2; i++) {
        *names[i] = gvm_arena_printf(in->arena, "%s/mount-%u-%s", in->plan->run_dir, in->noverlaid,
                                     parts[i]);
        if (!*names[i])
            return gvm_err_set(err, ENOMEM, "out of memory");
        if (mkdir(*names[i], 0700) < 0 && errno != EEXIST)
            return gvm_err_sys(err, errno, "cannot make %s", *names[i]);
    }
    return 0;
}

static int show_dir(struct sandbox_init *in, const struct place *p, struct gvm_err *err)
{
    struct sandbox_upper upper = {0};
    struct sandbox_layer l;
    struct stat st;
    char name[32];
    snprintf(name, sizeof(name), "mount-%u", in->nshown++);
    if (in->nshown > SANDBOX_MAX_MOUNTS)
        return gvm_err_set(err, E2BIG, "more than %d places are to be shown", SANDBOX_MAX_MOUNTS);
    int r = p->overlay ? upper_of(in, &upper, err) : 0;
    if (r == 0)
        r = sandbox_layer_open(in, name, p->path, &l, err);
    if (r < 0)
        return r;
    r = sandbox_hide_work(in, &l, err);
    if (r == 0)
        r = sandbox_hide_own(in, &l, err);
    sandbox_layer_close(&l);
    if (r == 0)
        r = sandbox_mkdir(in, p->path, err);
    if (r < 0)
        return r;
    if (p->overlay)
        in->overlaid[in->noverlaid++] = gvm_arena_dup(in->arena, p->path, strlen(p->path));
    if (p->overlay && (stat(p->path, &st) < 0 || chmod(upper.dir, st.st_mode & 0777) < 0))
        return gvm_err_sys(err, errno, "cannot use %s", upper.dir);
    return sandbox_overlay(in, p->path, name, p->path, p->overlay ? &upper : NULL, err);
}

static int show_mounts(struct sandbox_init *in, struct gvm_err *err)
{
    struct place p;
    for (const char *const *m = in->plan->mounts; m && *m; m++) {
        int r = read_place(in, *m, &p, err);
        if (r == 0)
            r = seen_in_home(in, *m, p.path, err);
        if (r == 0)
            r = p.is_dir ? show_dir(in, &p, err) : show_file(in, p.path, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- persist ---- */

/* "~/.x" and ".x/y" to ".x/y"; NULL when it is no plain path beneath the home. */
static const char *plain_path(const char *text)
{
    if (text[0] == '~' && text[1] == '/')
        text += 2;
    if (!*text || *text == '/' || strlen(text) > PATH_MAX / 2)
        return NULL;
    struct gvm_str rest = gvm_str(text), part;
    while (rest.n) {
        gvm_str_cut(&rest, '/', &part);
        if (part.n == 0 || gvm_str_eqz(part, ".") || gvm_str_eqz(part, ".."))
            return NULL;
    }
    return text[strlen(text) - 1] == '/' ? NULL : text;
}

/* The agent's own directory of that name, empty at first, in the place of the home's. */
static int keep_place(struct sandbox_init *in, const char *text, struct gvm_err *err)
{
    const struct gvm_sandbox_plan *p = in->plan;
    const char *rel = plain_path(text);
    char at[GVM_PATH_MAX], kept[GVM_PATH_MAX];
    if (!rel || snprintf(at, sizeof(at), "%s/%s", p->home, rel) >= (int)sizeof(at) ||
        snprintf(kept, sizeof(kept), "%s/%s", p->kept, rel) >= (int)sizeof(kept))
        return gvm_err_set(err, EINVAL, "%s cannot be kept: it is no plain path in the home", text);
    if (!p->home[1] ||
        (sandbox_beneath(at, p->workspace) && !sandbox_beneath(p->home, p->workspace)) ||
        strcmp(p->home, p->workspace) == 0)
        return gvm_err_set(err, EINVAL,
                           "%s cannot be kept: it lies in the workspace, whose changes are for you "
                           "to review",
                           text);
    int r = gvm_mkdirs(kept, 0700, err);
    if (r == 0)
        r = sandbox_mkdir(in, at, err);
    return r == 0 ? sandbox_bind(in, kept, at + 1, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err) : r;
}

int sandbox_mount_extra(struct sandbox_init *in, struct gvm_err *err)
{
    int r = show_mounts(in, err);
    for (const char *const *k = in->plan->persist; r == 0 && k && *k; k++)
        r = keep_place(in, *k, err);
    return r;
}
