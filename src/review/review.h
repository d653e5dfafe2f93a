/* review - the overlay's upper layer becomes a list of changes; changes land only when told to.
 *
 * Owns:       nothing between calls; the run's directory holds all state, so a killed process loses nothing.
 * Threads:    one.
 * On failure: the workspace is as before or as after each single file; a journal says which.
 */
#ifndef GVM_REVIEW_H
#define GVM_REVIEW_H

#include <sys/types.h>
#include "core/core.h"

enum gvm_change_kind { GVM_CHANGE_CREATED, GVM_CHANGE_MODIFIED, GVM_CHANGE_DELETED, GVM_CHANGE_MODE,
                       GVM_CHANGE_TYPE };
enum gvm_change_class { GVM_CLASS_MANUAL = 0, GVM_CLASS_RUNS_ON_HOST, GVM_CLASS_AUTO, GVM_CLASS_DISCARD };

struct gvm_change {
    struct gvm_str path;        /* relative to the workspace; any bytes but NUL */
    enum gvm_change_kind kind;
    enum gvm_change_class class_;
    const char *why;            /* reason of the class, static text */
    mode_t mode;                /* new type and mode, 0 when deleted */
    uint64_t size;
    bool conflict;              /* the host's file changed after the run began */
};
struct gvm_changes {
    struct gvm_change *list;
    size_t n;
    struct gvm_arena *arena;
};

/* `run_dir` = state/runs/<id>; reads run.json there for the workspace. Sorted by path. */
int gvm_changes_scan(const char *run_dir, struct gvm_changes *ret, struct gvm_err *err) GVM_MUST_CHECK;
void gvm_changes_done(struct gvm_changes *c);
/* Lands the chosen changes (`pick` true) into the workspace, removes them from the upper layer; the rest
 * stays. Conflicts are skipped unless `force`. *ret_done counts. */
int gvm_changes_commit(const char *run_dir, const struct gvm_changes *c,
                       bool (*pick)(void *arg, const struct gvm_change *ch), void *arg, bool force,
                       size_t *ret_done, struct gvm_err *err) GVM_MUST_CHECK;
/* Drops the chosen changes from the upper layer. */
int gvm_changes_discard(const char *run_dir, const struct gvm_changes *c,
                        bool (*pick)(void *arg, const struct gvm_change *ch), void *arg, size_t *ret_done,
                        struct gvm_err *err) GVM_MUST_CHECK;
/* Unified diff of one change (text), or one line saying what it is (binary, link, device). */
int gvm_change_diff(const char *run_dir, const struct gvm_change *ch, struct gvm_buf *out, struct gvm_err *err)
    GVM_MUST_CHECK;

/* The run's record: run.json, written by the launcher before the sandbox starts and after it ends. */
struct gvm_run_record {
    char run[GVM_MAX_RUN_ID + 1];
    char agent[GVM_MAX_AGENT + 1];
    char workspace[4096];
    char command[512];     /* for people: arguments joined, cut */
    int64_t started_ns, ended_ns; /* ended 0 = still running or killed */
    int exit_code;
    pid_t launcher;        /* pid of gvm run, to tell running from killed */
    bool watch;
};
int gvm_run_record_write(const char *run_dir, const struct gvm_run_record *r, struct gvm_err *err) GVM_MUST_CHECK;
int gvm_run_record_read(const char *run_dir, struct gvm_run_record *ret, struct gvm_err *err) GVM_MUST_CHECK;

#endif
