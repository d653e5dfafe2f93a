/* How much a run has written: the sizes of the files in its upper layers, and of what its agent
 * keeps. And what is done about it.
 *
 * An ordinary user has no quota to give and no size-limited file system on disk to mount, so the
 * kernel cannot be told to answer ENOSPC. What it can be told is how large a file may be
 * (RLIMIT_FSIZE), for each process, at any moment, from outside: with the limit at nothing, a write
 * that would make a file grow gives EFBIG, in all of the sandbox, until something was deleted.
 * SIGXFSZ is ignored inside, so that programs see an error and no signal. It is the soft limit,
 * which a process can raise again (lowering the other one could not be taken back); who does, and
 * goes on writing, is ended by the launcher.
 */
#include "sandbox/sandbox_int.h"

#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MAX_TREES (3 + SANDBOX_MAX_MOUNTS)

static bool add_tree(struct gvm_arena *a, char **list, unsigned *n, const char *dir,
                     const char *name)
{
    char *path = gvm_arena_printf(a, "%s/%s", dir, name);
    if (!path || *n == MAX_TREES)
        return false;
    list[(*n)++] = path;
    return true;
}

uint64_t sandbox_written(const struct gvm_sandbox_plan *plan)
{
    char *paths[MAX_TREES + 1] = {NULL};
    unsigned n = 0, number = 0;
    uint64_t sum = 0;
    struct gvm_arena *a = gvm_arena_new(1u << 20);
    bool good = a && add_tree(a, paths, &n, plan->run_dir, "upper") &&
                add_tree(a, paths, &n, plan->run_dir, "home-upper");
    if (good && plan->persist && plan->persist[0])
        good = add_tree(a, paths, &n, plan->kept, ".");
    for (const char *const *m = plan->mounts; good && m && *m; m++) {
        char name[32];
        if (!gvm_str_ends(gvm_str(*m), GVM_STR(SANDBOX_OVERLAID)))
            continue;
        snprintf(name, sizeof(name), "mount-%u-upper", number++);
        good = add_tree(a, paths, &n, plan->run_dir, name);
    }
    FTS *walk = good ? fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL) : NULL;
    for (const FTSENT *e; walk && (e = fts_read(walk));)
        if (e->fts_info == FTS_F || e->fts_info == FTS_D)
            sum += (uint64_t)e->fts_statp->st_blocks * 512;
    if (walk)
        fts_close(walk);
    gvm_arena_free(a);
    return walk ? sum : UINT64_MAX; /* what cannot be counted counts as too much */
}

/* What is forked between two looks at the family is caught by the next one. */
void sandbox_hold_writes(pid_t init, bool hold, uint64_t max)
{
    GVM_AUTOFREE struct sandbox_family *f = gvm_calloc(1, sizeof(*f));
    const struct rlimit want = {hold ? 0 : max, max};
    for (unsigned changed = 1, rounds = 0; f && changed && rounds < 4; rounds++) {
        sandbox_find_family(init, f);
        changed = 0;
        for (unsigned i = 1; i < f->n; i++) {
            struct rlimit was;
            pid_t pid = (pid_t)f->pid[i];
            if (prlimit(pid, RLIMIT_FSIZE, NULL, &was) == 0 && was.rlim_cur != want.rlim_cur &&
                was.rlim_max == want.rlim_max && prlimit(pid, RLIMIT_FSIZE, &want, NULL) == 0)
                changed++;
        }
    }
}
