/* A control group for one sandbox: memory, CPU time and processes, counted by the kernel.
 *
 * Each controller is looked for where it is: in a version 1 hierarchy of its own, or in the unified
 * one. There a child of our own group is made, or of the nearest group above that may have one:
 * where systemd delegated a subtree that is the user's own service manager. The launcher makes the
 * group, puts the init in before it has any child, and removes it at the end; the sandbox sees
 * nothing of /sys/fs/cgroup. A launcher that was killed leaves empty groups, which the next one
 * with a limit removes.
 */
#include "sandbox/sandbox_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX    "gvm-"
#define PERIOD_US 100000
#define NPARTS    3
#define STALE_S   60

static const char *const controllers[NPARTS] = {"memory", "cpu", "pids"};
enum { MEMORY, CPU, PIDS };

struct part {
    char dir[GVM_PATH_MAX]; /* our group; "" = not needed */
    bool v2;
};

struct sandbox_cgroup {
    struct part part[NPARTS];
};

/* ---- small files ---- */

static int write_text(const char *dir, const char *file, const char *text)
{
    char path[GVM_PATH_MAX + 64];
    if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    GVM_AUTOCLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int write_number(const char *dir, const char *file, uint64_t v)
{
    char text[32];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
    return write_text(dir, file, text);
}

/* Reads dir/file into `out`; "" when it cannot be read. */
static struct gvm_str read_text(const char *dir, const char *file, struct gvm_buf *out)
{
    char path[GVM_PATH_MAX + 64];
    gvm_buf_reset(out);
    if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path) ||
        gvm_read_file(path, out, NULL) < 0)
        return (struct gvm_str){"", 0};
    return gvm_buf_str(out);
}

static bool has_word(struct gvm_str text, const char *word, char sep)
{
    struct gvm_str one;
    while (text.n) {
        gvm_str_cut(&text, sep, &one);
        while (one.n && one.p[one.n - 1] == '\n')
            one.n--;
        if (gvm_str_eqz(one, word))
            return true;
    }
    return false;
}

/* ---- where a controller is ---- */

/* Mount point of the hierarchy with this controller (NULL: the unified one). */
static int find_mount(struct gvm_str mounts, const char *controller, char dst[GVM_PATH_MAX])
{
    struct gvm_str line, word, point = {0};
    while (mounts.n) {
        gvm_str_cut(&mounts, '\n', &line);
        for (int i = 0; i < 5 && line.n; i++)
            gvm_str_cut(&line, ' ', &point);
        bool behind = false; /* the optional fields, which a "-" ends */
        while (line.n && !behind) {
            gvm_str_cut(&line, ' ', &word);
            behind = gvm_str_eqz(word, "-");
        }
        struct gvm_str type = {0}, source;
        gvm_str_cut(&line, ' ', &type);
        gvm_str_cut(&line, ' ', &source);
        bool fits = controller ? gvm_str_eqz(type, "cgroup") && has_word(line, controller, ',')
                               : gvm_str_eqz(type, "cgroup2");
        if (fits)
            return gvm_str_copy(dst, GVM_PATH_MAX, point);
    }
    return -ENOENT;
}

/* Our own group's path in that hierarchy: "N:cpu,cpuacct:/path" or "0::/path". */
static int find_own(struct gvm_str groups, const char *controller, struct gvm_str *ret)
{
    struct gvm_str line, number, names;
    while (groups.n) {
        gvm_str_cut(&groups, '\n', &line);
        gvm_str_cut(&line, ':', &number);
        gvm_str_cut(&line, ':', &names);
        if (controller ? has_word(names, controller, ',') : names.n == 0) {
            *ret = line;
            return 0;
        }
    }
    return -ENOENT;
}

/* Removes groups of ours whose processes are gone; one in use refuses. A young one may still wait
 * for its first process. */
static void remove_stale(const char *parent)
{
    char path[GVM_PATH_MAX + 256];
    struct stat st;
    DIR *d = opendir(parent);
    for (const struct dirent *e; d && (e = readdir(d));)
        if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) == 0 &&
            snprintf(path, sizeof(path), "%s/%s", parent, e->d_name) < (int)sizeof(path) &&
            stat(path, &st) == 0 && st.st_ctim.tv_sec + STALE_S < gvm_now_ns() / 1000000000)
            rmdir(path);
    if (d)
        closedir(d);
}

/* Makes the child `name` of `parent`; in the unified hierarchy it must have the controller. */
static int make_child(struct part *p, const char *parent, const char *name, const char *controller,
                      struct gvm_buf *mem)
{
    char enable[32];
    if (snprintf(p->dir, sizeof(p->dir), "%s/" PREFIX "%s", parent, name) >= (int)sizeof(p->dir))
        return -ENAMETOOLONG;
    if (p->v2) {
        snprintf(enable, sizeof(enable), "+%s", controller);
        if (!has_word(read_text(parent, "cgroup.subtree_control", mem), controller, ' ') &&
            write_text(parent, "cgroup.subtree_control", enable) < 0)
            return -ENOTSUP;
    }
    remove_stale(parent);
    return mkdir(p->dir, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* From our own group upwards, the first that may have a child. */
static int make_part(struct part *p, const char *mount, struct gvm_str own, const char *name,
                     const char *controller, struct gvm_buf *mem)
{
    char parent[GVM_PATH_MAX];
    if (snprintf(parent, sizeof(parent), "%s%.*s", mount, GVM_STR_ARG(own)) >= (int)sizeof(parent))
        return -ENAMETOOLONG;
    size_t least = strlen(mount);
    for (;;) {
        size_t n = strlen(parent);
        while (n > least && parent[n - 1] == '/')
            parent[--n] = '\0';
        int r = make_child(p, parent, name, controller, mem);
        if (r == 0)
            return 0;
        p->dir[0] = '\0';
        char *slash = strrchr(parent, '/');
        if (n <= least || !slash || !p->v2)
            return r;
        *slash = '\0';
    }
}

static int open_part(struct part *p, const char *name, const char *controller,
                     struct gvm_str mounts, struct gvm_str groups)
{
    char mount[GVM_PATH_MAX];
    struct gvm_str own;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf mem;
    gvm_buf_init(&mem, 64u << 10);
    p->v2 = find_mount(mounts, controller, mount) < 0;
    const char *which = p->v2 ? NULL : controller;
    if (find_mount(mounts, which, mount) < 0 || find_own(groups, which, &own) < 0)
        return -ENOTSUP;
    return make_part(p, mount, own, name, controller, &mem);
}

/* ---- limits ---- */

static int limit_memory(const struct part *p, uint64_t bytes)
{
    if (!p->v2) {
        int r = write_number(p->dir, "memory.limit_in_bytes", bytes);
        /* Memory and swap together, where swap is counted. */
        int both = r < 0 ? r : write_number(p->dir, "memory.memsw.limit_in_bytes", bytes);
        return both == -ENOENT ? r : both;
    }
    int r = write_number(p->dir, "memory.max", bytes);
    int swap = r < 0 ? r : write_text(p->dir, "memory.swap.max", "0");
    return swap == -ENOENT ? r : swap;
}

static int limit_cpu(const struct part *p, unsigned milli)
{
    char text[64];
    uint64_t quota = (uint64_t)milli * PERIOD_US / 1000;
    if (p->v2) {
        snprintf(text, sizeof(text), "%llu %d", (unsigned long long)quota, PERIOD_US);
        return write_text(p->dir, "cpu.max", text);
    }
    int r = write_number(p->dir, "cpu.cfs_period_us", PERIOD_US);
    return r < 0 ? r : write_number(p->dir, "cpu.cfs_quota_us", quota);
}

static int set_limits(const struct sandbox_cgroup *g, const struct gvm_sandbox_plan *plan)
{
    int r = 0;
    if (g->part[MEMORY].dir[0])
        r = limit_memory(&g->part[MEMORY], plan->max_memory);
    if (r == 0 && g->part[CPU].dir[0])
        r = limit_cpu(&g->part[CPU], plan->max_cpus);
    if (r == 0 && g->part[PIDS].dir[0])
        r = write_number(g->part[PIDS].dir, "pids.max", plan->max_pids + 1); /* the init */
    return r;
}

int sandbox_cgroup_new(const struct gvm_sandbox_plan *plan, struct sandbox_cgroup **ret)
{
    const bool wanted[NPARTS] = {plan->max_memory > 0, plan->max_cpus > 0,
                                 geteuid() == 0 && !sandbox_pids_bound_root()};
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf mounts;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf groups;
    gvm_buf_init(&mounts, 4u << 20);
    gvm_buf_init(&groups, 1u << 20);
    struct sandbox_cgroup *g = gvm_calloc(1, sizeof(*g));
    int r = !g ? -ENOMEM : gvm_read_file("/proc/self/mountinfo", &mounts, NULL);
    if (r == 0)
        r = gvm_read_file("/proc/self/cgroup", &groups, NULL);
    for (int i = 0; i < NPARTS && r == 0; i++) {
        if (!wanted[i])
            continue;
        r = open_part(&g->part[i], plan->run, controllers[i], gvm_buf_str(&mounts),
                      gvm_buf_str(&groups));
    }
    if (r == 0)
        r = set_limits(g, plan);
    if (r < 0) {
        sandbox_cgroup_free(g);
        return r;
    }
    *ret = g;
    return 0;
}

int sandbox_cgroup_enter(const struct sandbox_cgroup *g, pid_t pid)
{
    int r = 0;
    for (int i = 0; i < NPARTS && r == 0; i++)
        if (g->part[i].dir[0])
            r = write_number(g->part[i].dir, "cgroup.procs", (uint64_t)pid);
    return r;
}

bool sandbox_cgroup_starved(const struct sandbox_cgroup *g)
{
    const struct part *p = &g->part[MEMORY];
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf mem;
    struct gvm_str line, name;
    uint64_t killed = 0;
    if (!p->dir[0])
        return false;
    gvm_buf_init(&mem, 64u << 10);
    struct gvm_str text = read_text(p->dir, p->v2 ? "memory.events" : "memory.oom_control", &mem);
    while (text.n) {
        gvm_str_cut(&text, '\n', &line);
        gvm_str_cut(&line, ' ', &name);
        if (gvm_str_eqz(name, "oom_kill") && gvm_parse_u64(line, UINT64_MAX, &killed) < 0)
            killed = 0;
    }
    return killed > 0;
}

/* The kernel needs a moment to let go of a group whose last process just ended. */
static void remove_group(const char *dir)
{
    for (int i = 0; i < 50 && rmdir(dir) < 0 && errno == EBUSY; i++)
        usleep(2000);
}

void sandbox_cgroup_free(struct sandbox_cgroup *g)
{
    if (!g)
        return;
    for (int i = 0; i < NPARTS; i++)
        if (g->part[i].dir[0])
            remove_group(g->part[i].dir);
    free(g);
}
