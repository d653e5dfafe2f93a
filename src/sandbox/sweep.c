/* What is left of a sandbox in its run's directory when it has ended. */
#include "sandbox/sandbox_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* The overlay leaves its work directory with mode 0, and in it the whiteout that it had ready;
 * nobody needs it after the unmount. */
static bool sweep_work(int dir, const char *name)
{
    char work[64];
    snprintf(work, sizeof(work), "%s/work", name);
    bool there = fchmodat(dir, work, 0700, 0) == 0;
    return gvm_remove_tree_at(dir, name, NULL) == 0 && there;
}

/* Those of the owner's further places, with what was written over them: it is kept nowhere. */
static void sweep_mounts(int dir)
{
    char name[64];
    bool there = true;
    for (unsigned i = 0; there && i < SANDBOX_MAX_MOUNTS; i++) {
        snprintf(name, sizeof(name), "mount-%u-work", i);
        there = sweep_work(dir, name);
        snprintf(name, sizeof(name), "mount-%u-upper", i);
        there &= gvm_remove_tree_at(dir, name, NULL) == 0;
    }
}

void gvm_sandbox_sweep(const char *run_dir)
{
    GVM_AUTOCLOSE int dir = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return;
    sweep_work(dir, "work");
    sweep_work(dir, "home-work");
    sweep_mounts(dir);
    unlinkat(dir, "root", AT_REMOVEDIR);
}
