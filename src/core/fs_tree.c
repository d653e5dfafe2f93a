/* Removing a tree that somebody else built: any depth, any modes, any links.
 *
 * No recursion and a bounded number of descriptors: a directory found at the deepest level we hold
 * is moved up beside the top of the tree under a new name and emptied in a later round. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/fs.h"
#include "core/mem.h"

#define DEEPEST 32u

struct walk {
    DIR *dirs[DEEPEST];
    char names[DEEPEST][256]; /* name of dirs[i] in dirs[i-1] */
    unsigned depth;
    unsigned moved;
};

/* Finds a directory however its modes were left; the owner may always repair them. Returns an
 * O_PATH descriptor. */
static int repair(int at, const char *name)
{
    GVM_AUTOCLOSE int path = openat(at, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (path < 0 || fstat(path, &st) < 0)
        return -errno;
    char proc[32];
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", path);
    if ((st.st_mode & 0700) != 0700 && chmod(proc, 0700) < 0)
        return -errno;
    return gvm_steal_fd(&path);
}

static int open_dir(int at, const char *name, DIR **ret)
{
    GVM_AUTOCLOSE int path = repair(at, name);
    if (path < 0)
        return path;
    GVM_AUTOCLOSE int fd = openat(path, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    DIR *d = fdopendir(fd);
    if (!d)
        return -errno;
    gvm_steal_fd(&fd);
    *ret = d;
    return 0;
}

static int push(struct walk *w, int at, const char *name)
{
    int r = open_dir(at, name, &w->dirs[w->depth]);
    if (r < 0)
        return r;
    snprintf(w->names[w->depth], sizeof w->names[0], "%s", name);
    w->depth++;
    return 0;
}

/* Too deep: the directory becomes a child of the top. Moving writes its "..", so it must be
 * writable. */
static int move_up(struct walk *w, int at, const char *name)
{
    GVM_AUTOCLOSE int path = repair(at, name);
    if (path < 0)
        return path;
    for (;;) {
        char to[32];
        snprintf(to, sizeof to, ".gvm-gone-%u", w->moved++);
        if (renameat2(at, name, dirfd(w->dirs[0]), to, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno != EEXIST)
            return -errno;
    }
}

static int remove_entry(struct walk *w, int at, const struct dirent *e)
{
    if (e->d_type != DT_DIR) {
        if (unlinkat(at, e->d_name, 0) == 0 || errno == ENOENT)
            return 0;
        if (errno != EISDIR && errno != EPERM)
            return -errno;
    }
    if (unlinkat(at, e->d_name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST && errno != EACCES)
        return -errno;
    return w->depth < DEEPEST ? push(w, at, e->d_name) : move_up(w, at, e->d_name);
}

static bool is_dot(const char *n)
{
    return strcmp(n, ".") == 0 || strcmp(n, "..") == 0;
}

/* One step: the next entry of the innermost directory, or the way back out of it. */
static int step(struct walk *w, int topfd)
{
    DIR *d = w->dirs[w->depth - 1];
    errno = 0;
    const struct dirent *e = readdir(d);
    if (e)
        return is_dot(e->d_name) ? 0 : remove_entry(w, dirfd(d), e);
    if (errno)
        return -errno;
    int parent = w->depth > 1 ? dirfd(w->dirs[w->depth - 2]) : topfd;
    if (unlinkat(parent, w->names[w->depth - 1], AT_REMOVEDIR) < 0 && errno != ENOENT) {
        if (errno != ENOTEMPTY && errno != EEXIST)
            return -errno;
        rewinddir(d); /* something was moved here or missed by readdir(): another round */
        return 0;
    }
    (void)closedir(d);
    w->depth--;
    return 0;
}

int gvm_remove_tree_at(int dirfd, const char *name, struct gvm_err *err)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    struct walk w = {.depth = 0};
    int r = push(&w, dirfd, name);
    if (r == -ENOENT)
        return 0;
    while (r == 0 && w.depth)
        r = step(&w, dirfd);
    while (w.depth)
        (void)closedir(w.dirs[--w.depth]);
    return r < 0 ? gvm_err_sys(err, -r, "cannot remove %s", name) : 0;
}
