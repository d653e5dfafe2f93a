/* Home and workspace: overlays whose upper layers are on disk in the run's directory, at their own
 * places, the outer one first. And the programs that PATH names outside the system's directories.
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

/* ---- home and workspace ---- */

static int make_upper(struct sandbox_init *in, const char *dir, const char *work,
                      struct sandbox_upper *ret, struct gvm_err *err)
{
    const char **names[2] = {&ret->dir, &ret->work};
    const char *rel[2] = {dir, work};
    for (int i = 0; i < 2; i++) {
        *names[i] = gvm_arena_printf(in->arena, "%s/%s", in->plan->run_dir, rel[i]);
        if (!*names[i])
            return gvm_err_set(err, ENOMEM, "out of memory");
        if (mkdir(*names[i], 0700) < 0 && errno != EEXIST)
            return gvm_err_sys(err, errno, "cannot make %s", *names[i]);
    }
    return 0;
}

/* The top directory of an overlay has the mode of its upper layer: the host's. */
static void same_mode(const char *upper, const char *host)
{
    struct stat st;
    if (stat(host, &st) == 0 && chmod(upper, st.st_mode & 0777) < 0)
        return; /* an odd mode at worst */
}

typedef int hide_fn(struct sandbox_init *, struct sandbox_layer *, struct gvm_err *);

static int show_tree(struct sandbox_init *in, const char *name, const char *host,
                     const struct sandbox_upper *upper, hide_fn *hide, struct gvm_err *err)
{
    struct sandbox_layer l;
    int r = sandbox_layer_open(in, name, host, &l, err);
    if (r < 0)
        return r;
    r = hide(in, &l, err);
    if (r == 0)
        r = sandbox_hide_own(in, &l, err);
    sandbox_layer_close(&l);
    if (r == 0)
        r = sandbox_mkdir(in, host, err);
    if (r < 0)
        return r;
    same_mode(upper->dir, host);
    return sandbox_overlay(in, host, name, host, upper, err);
}

/* A home with mounts in it (a kernel that lets go of nothing locked refuses the overlay) is not
 * shown at all: the agent gets an empty one, which is on disk like the other. */
static int empty_home(struct sandbox_init *in, const struct sandbox_upper *upper, const char *why,
                      struct gvm_err *err)
{
    int r = sandbox_mkdir(in, in->plan->home, err);
    if (r == 0)
        r = sandbox_bind(in, upper->dir, in->plan->home + 1, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
                         err);
    if (r == 0)
        sandbox_remark(in, "the home directory inside is empty: %s", why);
    return r;
}

static int show_home(struct sandbox_init *in, struct gvm_err *err)
{
    struct sandbox_upper upper = {0};
    struct gvm_err why = {0};
    int r = make_upper(in, "home-upper", "home-work", &upper, err);
    if (r < 0)
        return r;
    r = show_tree(in, "home", in->plan->home, &upper, sandbox_hide_home, &why);
    if (r == -EBUSY)
        return empty_home(in, &upper, why.text, err);
    if (r < 0 && err)
        *err = why;
    return r;
}

static int hide_both(struct sandbox_init *in, struct sandbox_layer *l, struct gvm_err *err)
{
    int r = sandbox_hide_home(in, l, err);
    return r < 0 ? r : sandbox_hide_work(in, l, err);
}

static int show_workspace(struct sandbox_init *in, struct gvm_err *err)
{
    struct sandbox_upper upper = {0};
    bool home_too = strcmp(in->plan->workspace, in->plan->home) == 0;
    int r = make_upper(in, "upper", "work", &upper, err);
    return r < 0 ? r
                 : show_tree(in, "work", in->plan->workspace, &upper,
                             home_too ? hide_both : sandbox_hide_work, err);
}

/* Some homes are no place of their own: "/" and "/nonexistent" of service accounts. */
static bool home_is_real(const char *home)
{
    struct stat st;
    return home && home[0] == '/' && home[1] && stat(home, &st) == 0 && S_ISDIR(st.st_mode);
}

int sandbox_mount_trees(struct sandbox_init *in, struct gvm_err *err)
{
    const struct gvm_sandbox_plan *p = in->plan;
    bool home = home_is_real(p->home) && strcmp(p->home, p->workspace) != 0;
    bool work_first = home && sandbox_beneath(p->home, p->workspace);
    int r = 0;
    if (work_first)
        r = show_workspace(in, err);
    if (r == 0 && home)
        r = show_home(in, err);
    if (r == 0 && !work_first)
        r = show_workspace(in, err);
    return r;
}

/* ---- programs elsewhere ---- */

/* Programs that lie outside the system's directories are shown read-only, through an overlay where
 * that is possible: a socket of the host cannot be connected through one. */
static int show_programs(struct sandbox_init *in, const char *dir, struct gvm_err *err)
{
    int r = sandbox_mkdir(in, dir, err);
    if (r < 0)
        return r;
    struct gvm_err why = {0};
    r = sandbox_overlay(in, dir, "none", dir, NULL, &why);
    return r == 0 ? 0 : sandbox_bind(in, dir, dir + 1, READ_ONLY, err);
}

static const char *const shown_already[] = {"/usr",   "/bin", "/sbin", "/lib", "/lib32",
                                            "/lib64", "/opt", "/nix",  "/gnu", "/etc",
                                            "/proc",  "/sys", "/dev",  "/run"};

static bool is_shown(const struct sandbox_init *in, const char *dir)
{
    for (size_t i = 0; i < sizeof(shown_already) / sizeof(shown_already[0]); i++)
        if (sandbox_beneath(dir, shown_already[i]))
            return true;
    return sandbox_beneath(dir, in->plan->home) || sandbox_beneath(dir, in->plan->workspace);
}

/* Directories in which a tool chain lies beside keys and settings: only their bin is shown. */
static bool is_mixed(const char *base)
{
    static const char *const mixed[] = {".local", ".config",   ".cargo", ".gem",
                                        ".m2",    ".composer", ".npm"};
    for (size_t i = 0; i < sizeof(mixed) / sizeof(mixed[0]); i++)
        if (strcmp(base, mixed[i]) == 0)
            return true;
    return false;
}

static bool holds_private_things(const struct sandbox_init *in, const char *dir)
{
    const struct gvm_sandbox_plan *p = in->plan;
    const char *slash = strchr(dir + 1, '/');
    bool is_home = strcmp(dir, "/root") == 0 ||
                   (strncmp(dir, "/home/", 6) == 0 && strchr(dir + 6, '/') == NULL);
    if (!slash || is_home || is_mixed(strrchr(dir, '/') + 1) || sandbox_beneath(p->home, dir) ||
        sandbox_beneath(p->workspace, dir))
        return true;
    for (const char *const *h = p->hide; h && *h; h++)
        if ((*h)[0] == '/' && (sandbox_beneath(*h, dir) || sandbox_beneath(dir, *h)))
            return true;
    return false;
}

/* For .../x/bin the directory x (a tool chain lies beside its bin), unless x holds more than a tool
 * chain. */
static const char *tool_root(struct sandbox_init *in, const char *dir)
{
    const char *base = strrchr(dir, '/');
    bool bin = base && (strcmp(base, "/bin") == 0 || strcmp(base, "/sbin") == 0 ||
                        strcmp(base, "/shims") == 0);
    if (bin && base > dir) {
        const char *parent = gvm_arena_dup(in->arena, dir, (size_t)(base - dir));
        if (parent && !holds_private_things(in, parent))
            return parent;
    }
    return holds_private_things(in, dir) ? NULL : dir;
}

#define MAX_TOOLS 64

struct tools {
    const char *dir[MAX_TOOLS];
    unsigned n;
};

static void add_tool(struct sandbox_init *in, struct tools *t, struct gvm_str entry)
{
    char path[GVM_PATH_MAX], real[PATH_MAX];
    if (entry.n == 0 || entry.p[0] != '/' || gvm_str_copy(path, sizeof(path), entry) < 0 ||
        !realpath(path, real) || is_shown(in, real) || t->n == MAX_TOOLS)
        return;
    const char *copy = gvm_arena_dup(in->arena, real, strlen(real));
    const char *root = copy ? tool_root(in, copy) : NULL;
    if (!root)
        return;
    for (unsigned i = 0; i < t->n; i++)
        if (sandbox_beneath(root, t->dir[i]))
            return;
    t->dir[t->n++] = root;
}

static const char *env_value(const struct gvm_sandbox_plan *plan, const char *name)
{
    size_t n = strlen(name);
    for (const char *const *e = plan->env; *e; e++)
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
            return *e + n + 1;
    return NULL;
}

/* A command named by a path outside everything shown: that one file. */
static int show_command(struct sandbox_init *in, struct gvm_err *err)
{
    char real[PATH_MAX];
    const char *cmd = in->plan->argv[0];
    struct stat st;
    if (cmd[0] != '/' || !realpath(cmd, real) || is_shown(in, real) || stat(real, &st) < 0 ||
        !S_ISREG(st.st_mode) || access(cmd + 1, F_OK) == 0)
        return 0;
    char *dir = gvm_arena_dup(in->arena, cmd, strlen(cmd));
    if (!dir)
        return gvm_err_set(err, ENOMEM, "out of memory");
    *strrchr(dir, '/') = '\0';
    int r = *dir ? sandbox_mkdir(in, dir, err) : 0;
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd = open(cmd + 1, O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
    return fd < 0 ? 0 : sandbox_bind(in, real, cmd + 1, READ_ONLY, err);
}

int sandbox_mount_tools(struct sandbox_init *in, struct gvm_err *err)
{
    struct tools t = {.n = 0};
    struct stat st;
    struct gvm_str rest = gvm_str(env_value(in->plan, "PATH")), entry;
    while (rest.n) {
        gvm_str_cut(&rest, ':', &entry);
        add_tool(in, &t, entry);
    }
    int r = lstat("/opt", &st) == 0 && S_ISDIR(st.st_mode) ? show_programs(in, "/opt", err) : 0;
    for (unsigned i = 0; i < t.n && r == 0; i++)
        r = show_programs(in, t.dir[i], err);
    return r == 0 ? show_command(in, err) : r;
}
