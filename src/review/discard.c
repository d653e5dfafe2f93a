/* Dropping changes from the upper layer. The workspace is not touched. */
#include "review/review_int.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* What cannot be dropped by itself is skipped and stays staged. */
static bool is_skip(int r)
{
    return r == -ENOTDIR || r == -ELOOP || r == -EEXIST || r == -ENOTEMPTY;
}

/* A folder's own entry in the layer: its mode goes back to the host's, or it goes if nothing is in
 * it. */
static int discard_dir(const struct gvm_change *ch, int dir, const char *leaf)
{
    if (ch->refusal)
        return gvm_remove_tree_at(dir, leaf, NULL);
    if (ch->kind == GVM_CHANGE_MODE)
        return review_chmod(dir, leaf, ch->host_mode & 07777);
    return review_unlink(dir, leaf, AT_REMOVEDIR);
}

static int discard_at(const struct review_run *run, const struct gvm_change *ch)
{
    char leaf[REVIEW_MAX_NAME];
    struct stat st;
    GVM_AUTOCLOSE int dir = review_open_parent(run->upper, ch->path, leaf);
    if (dir < 0)
        return dir == -ENOENT ? 0 : dir;
    if (fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    int r = review_step("discard");
    if (r < 0)
        return r;
    return S_ISDIR(st.st_mode) ? discard_dir(ch, dir, leaf) : review_unlink(dir, leaf, 0);
}

static int discard_one(const struct review_run *run, const struct gvm_change *ch)
{
    int r = ch->kind == GVM_CHANGE_DELETED ? review_uncover(run, ch->path) : 0;
    if (r == 0)
        r = discard_at(run, ch);
    if (r == 0)
        review_prune(run, review_dirname(ch->path));
    return r;
}

static int discard_picked(const struct review_run *run, const struct gvm_changes *c,
                          const bool *picked, size_t *ret_done)
{
    size_t done = 0;
    for (size_t i = c->n; i-- > 0;) {
        if (!picked[i])
            continue;
        int r = discard_one(run, &c->list[i]);
        if (r < 0 && !is_skip(r))
            return r;
        done += r == 0;
    }
    *ret_done = done;
    return 0;
}

int gvm_changes_discard(const char *run_dir, const struct gvm_changes *c,
                        bool (*pick)(void *arg, const struct gvm_change *ch), void *arg,
                        size_t *ret_done, struct gvm_err *err)
{
    GVM_AUTOFREE bool *picked = gvm_calloc(c->n, sizeof(*picked));
    if (!picked)
        return gvm_err_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < c->n; i++)
        picked[i] = pick(arg, &c->list[i]);
    struct review_run run;
    int r = review_open(run_dir, &run, err);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int lock = -1;
    size_t done = 0;
    r = review_lock(&run, true, &lock, err);
    if (r == 0)
        r = review_recover(&run, err);
    if (r == 0 && run.upper >= 0) {
        r = discard_picked(&run, c, picked, &done);
        if (r < 0)
            gvm_err_sys(err, -r, "the discard for run %s stopped; the rest is still staged",
                        run.rec.run);
    }
    review_close(&run);
    if (r == 0)
        *ret_done = done;
    return r;
}
