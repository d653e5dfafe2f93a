/* Landing chosen changes: a plan, and txn.c to carry it out. */
#include "review/review_int.h"

#include <errno.h>
#include <stdio.h>

static int commit_locked(struct review_txn *t, const struct gvm_changes *c,
                         const struct gvm_choice *choices, const struct gvm_commit_how *how,
                         size_t *ret_done, struct gvm_err *err)
{
    int r = review_recover(t->run, err);
    if (r < 0)
        return r;
    t->arena = gvm_arena_new(REVIEW_MAX_MEMORY);
    if (!t->arena)
        return gvm_err_set(err, ENOMEM, "out of memory");
    r = review_plan(t, c, choices, how->force);
    if (r < 0)
        return gvm_err_sys(err, -r, "nothing landed: cannot read the change of '%.300s'",
                           t->at < c->n ? c->list[t->at].path.p : "");
    r = review_plan_trees(t);
    if (r < 0)
        return gvm_err_sys(err, -r, "nothing landed: cannot look at the folders of %.300s",
                           t->run->rec.workspace);
    return review_txn_run(t, how, ret_done, err);
}

int gvm_changes_commit(const char *run_dir, const struct gvm_changes *c,
                       const struct gvm_choice *choices, const struct gvm_commit_how *how,
                       size_t *ret_done, struct gvm_err *err)
{
    struct review_run run;
    GVM_AUTOCLOSE int lock = -1;
    size_t done = 0;
    int r = review_open(run_dir, &run, err);
    if (r < 0)
        return r;
    struct review_txn t = {.run = &run, .dir = -1, .source = -1};
    if (run.upper >= 0)
        r = review_lock(&run, true, &lock, err);
    if (r == 0 && run.upper >= 0)
        r = commit_locked(&t, c, choices, how, &done, err);
    review_txn_done(&t);
    review_close(&run);
    if (r == 0)
        *ret_done = done;
    return r;
}
