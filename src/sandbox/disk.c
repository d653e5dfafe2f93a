/* How much a run has written: the sizes of the files in its upper layers. */
#include "sandbox/sandbox_int.h"

#include <fts.h>
#include <stdio.h>
#include <sys/stat.h>

uint64_t gvm_sandbox_disk(const char *run_dir, uint64_t limit)
{
    char upper[GVM_PATH_MAX], home[GVM_PATH_MAX];
    char *paths[] = {upper, home, NULL};
    uint64_t sum = 0;
    if (snprintf(upper, sizeof(upper), "%s/upper", run_dir) >= (int)sizeof(upper) ||
        snprintf(home, sizeof(home), "%s/home-upper", run_dir) >= (int)sizeof(home))
        return 0;
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (const FTSENT *e; walk && sum <= limit && (e = fts_read(walk));)
        if (e->fts_info == FTS_F)
            sum += (uint64_t)e->fts_statp->st_blocks * 512;
    if (walk)
        fts_close(walk);
    return sum;
}
