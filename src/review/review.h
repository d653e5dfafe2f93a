/* review - the overlay's upper layer becomes a list of changes; changes land only when told to.
 *
 * Owns:       nothing between calls; the run's directory holds all state, so a killed process loses
 * nothing. Threads:    one. On failure: the workspace is as before or as after each single file; a
 * journal says which.
 *
 * The upper layer was written by an agent that may be hostile: no name, link, mode or depth in it
 * is trusted, and nothing in it is ever followed. How changes are found is told in scan.c, how they
 * land in commit.c.
 */
#ifndef GVM_REVIEW_H
#define GVM_REVIEW_H

#include <sys/types.h>
#include "core/core.h"

/* What would happen to the owner's file. */
enum gvm_change_kind {
    GVM_CHANGE_CREATED,
    GVM_CHANGE_MODIFIED,
    GVM_CHANGE_DELETED,
    GVM_CHANGE_MODE,
    GVM_CHANGE_TYPE
};
/* How it may land. MANUAL: when the owner says so. RUNS_ON_HOST: only when the owner says so for
 * this very file, because something on the host would execute or obey it. AUTO: by itself. DISCARD:
 * a cache, left behind unless named. */
enum gvm_change_class {
    GVM_CLASS_MANUAL = 0,
    GVM_CLASS_RUNS_ON_HOST,
    GVM_CLASS_AUTO,
    GVM_CLASS_DISCARD
};

/* "created", "modified", "deleted", "mode", "type". */
const char *gvm_change_kind_name(enum gvm_change_kind kind);
/* "manual", "runs-on-host", "auto", "discard". */
const char *gvm_change_class_name(enum gvm_change_class class_);

struct gvm_change {
    struct gvm_str path; /* relative to the workspace; any bytes but NUL; a NUL stands behind it */
    enum gvm_change_kind kind;
    enum gvm_change_class class_;
    const char *why;  /* reason of the class, static text */
    mode_t mode;      /* new type and mode, 0 when deleted */
    mode_t host_mode; /* type and mode of the owner's file, 0 when there is none */
    uint64_t size;
    bool conflict;       /* the host's file changed after the run began */
    const char *refusal; /* why it can only be discarded, static text; NULL when it can land */
};
struct gvm_changes {
    struct gvm_change *list;
    size_t n;
    struct gvm_arena *arena;
};

/* `run_dir` = state/runs/<id>; reads run.json there for the workspace. Sorted by path. First cleans
 * up after a commit that was killed. *ret is given to gvm_changes_done(). -E2BIG: more changes than
 * can be listed. */
int gvm_changes_scan(const char *run_dir, struct gvm_changes *ret,
                     struct gvm_err *err) GVM_MUST_CHECK;
void gvm_changes_done(struct gvm_changes *c);
/* Lands the chosen changes (`pick` true) into the workspace, removes them from the upper layer; the
 * rest stays. Conflicts are skipped unless `force`, which also keeps setuid bits; changes with a
 * `refusal` are always skipped. *ret_done counts what landed: less than picked means that something
 * was skipped, and a new scan still shows it. On failure files not yet replaced are as before and
 * all staged changes that did not land are still staged. */
int gvm_changes_commit(const char *run_dir, const struct gvm_changes *c,
                       bool (*pick)(void *arg, const struct gvm_change *ch), void *arg, bool force,
                       size_t *ret_done, struct gvm_err *err) GVM_MUST_CHECK;
/* Drops the chosen changes from the upper layer. *ret_done counts. A single file below a folder
 * that became something else cannot be dropped alone and is skipped. */
int gvm_changes_discard(const char *run_dir, const struct gvm_changes *c,
                        bool (*pick)(void *arg, const struct gvm_change *ch), void *arg,
                        size_t *ret_done, struct gvm_err *err) GVM_MUST_CHECK;
/* Unified diff of one change (text, as git writes it), or one line saying what it is (binary,
 * large, link, device). The bytes of the files stand in it as they are. */
int gvm_change_diff(const char *run_dir, const struct gvm_change *ch, struct gvm_buf *out,
                    struct gvm_err *err) GVM_MUST_CHECK;
/* SHA-256 (hex) of the owner's file and of the staged one; of a link its target; "" when there is
 * none. */
int gvm_change_hashes(const char *run_dir, const struct gvm_change *ch, char ret_before[65],
                      char ret_after[65], struct gvm_err *err) GVM_MUST_CHECK;

/* The run's record: run.json, written by the launcher before the sandbox starts and after it ends.
 */
struct gvm_run_record {
    char run[GVM_MAX_RUN_ID + 1];
    char agent[GVM_MAX_AGENT + 1];
    char workspace[4096];
    char command[512];            /* for people: arguments joined, cut */
    int64_t started_ns, ended_ns; /* ended 0 = still running or killed */
    int exit_code;
    pid_t launcher; /* pid of gvm run, to tell running from killed */
    bool watch;
};
/* Durable replace of run.json. */
int gvm_run_record_write(const char *run_dir, const struct gvm_run_record *r,
                         struct gvm_err *err) GVM_MUST_CHECK;
/* The same without waiting for the disk: whole for every later reader, also after a SIGKILL, but
 * not yet after a power loss. */
int gvm_run_record_put(const char *run_dir, const struct gvm_run_record *r,
                       struct gvm_err *err) GVM_MUST_CHECK;
int gvm_run_record_read(const char *run_dir, struct gvm_run_record *ret,
                        struct gvm_err *err) GVM_MUST_CHECK;
/* True while the launcher named in the record lives: not ended, and its pid is not somebody else's.
 */
bool gvm_run_is_live(const struct gvm_run_record *r);

#endif
