/* One run goes on from what another left: its layers change hands.
 *
 * The new run's record must be durable before: from the first rename on, what the agent wrote is
 * found there. A crash in between leaves some layers with the old run and some with the new, each
 * whole and listed.
 */
#include "review/review_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int move(int from, int to, const char *name)
{
    if (renameat2(from, name, to, name, RENAME_NOREPLACE) == 0 || errno == ENOENT)
        return 0;
    return -errno;
}

static int hand_over(const struct review_run *old, int to, struct gvm_err *err)
{
    static const char *const layers[] = {"upper", "base", "home-upper"};
    int r = review_recover(old, err);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < sizeof(layers) / sizeof(layers[0]); i++)
        r = move(old->dir, to, layers[i]);
    if (r == 0)
        r = review_sync_dir(to);
    if (r == 0)
        r = review_sync_dir(old->dir);
    return r < 0 ? gvm_err_sys(err, -r, "cannot go on from run %s", old->rec.run) : 0;
}

int gvm_run_hand_over(const char *old_dir, const char *new_dir, struct gvm_err *err)
{
    struct review_run old;
    GVM_AUTOCLOSE int lock = -1;
    int r = review_open(old_dir, &old, err);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int to = open(new_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = to < 0 ? gvm_err_sys(err, errno, "cannot open %s", new_dir)
               : review_lock(&old, true, &lock, err);
    if (r == 0)
        r = hand_over(&old, to, err);
    review_close(&old);
    return r;
}
