/* A workspace that is a git worktree: its repository lies elsewhere.
 *
 * `.git` is then a file, "gitdir: PATH". What the agent writes to the workspace's files waits for
 * review as always, but commits go to that other place: where it is shown (in the home, or by
 * --mount) they stay inside, and where it is not, git does not work. A person should know before.
 */
#include "cli/run.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_FILE 8192

static bool beneath(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return n > 1 && strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool is_shown(const struct run *r, const char *path)
{
    bool shown = beneath(path, r->home);
    for (unsigned i = 0; i < r->opt.mounts.n; i++) {
        char real[PATH_MAX];
        struct gvm_str dir, rest = gvm_str(r->opt.mounts.v[i]);
        char text[GVM_PATH_MAX];
        gvm_str_cut(&rest, ':', &dir);
        if (gvm_str_copy(text, sizeof(text), dir) == 0 && realpath(text, real))
            shown |= beneath(path, real);
    }
    return shown;
}

/* The repository's own directory behind .git/worktrees/NAME, or what `.git` names. */
static bool find_repository(const struct run *r, char dst[PATH_MAX])
{
    char name[PATH_MAX + 8], text[MAX_FILE];
    snprintf(name, sizeof(name), "%s/.git", r->workspace);
    GVM_AUTOCLOSE int fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 8 || memcmp(text, "gitdir: ", 8) != 0)
        return false;
    text[n] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    char path[PATH_MAX + MAX_FILE];
    snprintf(path, sizeof(path), "%s%s%s", text[8] == '/' ? "" : r->workspace,
             text[8] == '/' ? "" : "/", text + 8);
    if (!realpath(path, dst))
        return false;
    char *worktrees = strstr(dst, "/worktrees/");
    if (worktrees)
        *worktrees = '\0';
    return !beneath(dst, r->workspace);
}

void run_tell_worktree(const struct run *r)
{
    char repository[PATH_MAX];
    if (!find_repository(r, repository))
        return;
    if (is_shown(r, repository))
        cli_say("this is a git worktree of %s: commits made inside stay inside, only files land",
                repository);
    else
        cli_say("this is a git worktree of %s, which is not shown inside, so git does not work "
                "there; --mount %s shows it",
                repository, repository);
}
