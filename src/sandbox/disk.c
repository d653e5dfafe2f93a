/* How much a run has written: the sizes of the files in its upper layers, and of what its agent
 * keeps. */
#include "sandbox/sandbox_int.h"

#include <fts.h>
#include <stdio.h>
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

uint64_t sandbox_written(const struct gvm_sandbox_plan *plan, uint64_t limit)
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
    for (const FTSENT *e; walk && sum <= limit && (e = fts_read(walk));)
        if (e->fts_info == FTS_F || e->fts_info == FTS_D)
            sum += (uint64_t)e->fts_statp->st_blocks * 512;
    if (walk)
        fts_close(walk);
    gvm_arena_free(a);
    return walk ? sum : limit + 1; /* what cannot be counted counts as too much */
}
