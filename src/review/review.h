/* review - the overlay's upper layer becomes a list of changes; changes land only when told to.
 *
 * Owns:       nothing between calls; the run's directory holds all state, so a killed process loses
 * nothing. Threads:    one. On failure: the workspace is as before or as after the whole commit;
 * its record says which (txn.c).
 *
 * The upper layer was written by an agent that may be hostile: no name, link, mode or depth in it
 * is trusted, and nothing in it is ever followed. How changes are found is told in scan.c, how they
 * land in txn.c, how the record looks in journal.c.
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
    GVM_CHANGE_TYPE,
    GVM_CHANGE_ATTRIBUTES, /* only extended attributes (user.*) */
    GVM_CHANGE_RENAMED     /* created, with the content of a file that is deleted: see `from` */
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

/* "created", "modified", "deleted", "mode", "type", "attributes", "renamed". */
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
    uint64_t links;      /* names the staged file has in the layer; 0 when deleted */
    struct gvm_str from; /* renamed: where the file was; deleted and renamed: where it went */
    bool copied;         /* made by copying a file of the workspace up, not from nothing */
    bool conflict;       /* the owner's file is not what the agent began with */
    const char *refusal; /* why it can only be discarded, static text; NULL when it can land */
};
struct gvm_changes {
    struct gvm_change *list;
    size_t n;
    struct gvm_arena *arena;
};

/* The owner's own rules for classes ([filesystem] of the configuration). A pattern with a slash is
 * for the whole path or a folder above it, one without for any name in it; '*' is any run of bytes.
 * discard goes before manual, manual before auto; auto is for new files only, and nothing makes
 * what runs on the host, or looks like a secret, land by itself. */
struct gvm_review_patterns {
    const struct gvm_str *discard, *manual, *autos;
    size_t ndiscard, nmanual, nautos;
};
/* `run_dir` = state/runs/<id>; reads run.json there for the workspace. `patterns` may be NULL.
 * Sorted by path. First cleans up after a commit that was killed. *ret is given to
 * gvm_changes_done(). -E2BIG: more changes than can be listed. */
int gvm_changes_scan(const char *run_dir, const struct gvm_review_patterns *patterns,
                     struct gvm_changes *ret, struct gvm_err *err) GVM_MUST_CHECK;
void gvm_changes_done(struct gvm_changes *c);
/* What the owner decided about one change. */
struct gvm_choice {
    bool land;
    bool has_text;       /* lands with `text` as its content (regular files only) */
    bool keep;           /* lands, and what then still differs stays staged */
    bool has_seen;       /* only if the owner's file still is `seen` */
    struct gvm_str text; /* borrowed, as `seen` is */
    struct gvm_str seen;
};
/* One name that is about to land, with hashes (SHA-256 in hex; "" when there is no content). */
struct gvm_landing {
    struct gvm_str path;
    size_t index; /* of the change; SIZE_MAX: a folder on the way, or an undo */
    const char *before, *after;
    bool merged; /* both sides had changed it, and the lines of both are in it */
};
struct gvm_commit_how {
    bool force; /* over the owner's own changes, without merging; keeps setuid bits */
    /* Called once, when everything is prepared and nothing has landed. A failure of it takes
     * everything back. May be NULL. */
    int (*record)(void *arg, const struct gvm_landing *list, size_t n, struct gvm_err *err);
    void *arg;
};
/* Lands chosen changes (`choices`, one per change of `c`) into the workspace and removes them from
 * the upper layer; the rest stays. All land or none: a failure or a crash before the decision takes
 * everything back, one after it is finished by whoever looks at the run next. What was there before
 * is kept for gvm_undo(). Only what turns out to be in the way of a single change (its place taken
 * meanwhile, a conflict that does not merge) is skipped and stays staged; changes with a `refusal`
 * always are. *ret_done counts what landed. */
int gvm_changes_commit(const char *run_dir, const struct gvm_changes *c,
                       const struct gvm_choice *choices, const struct gvm_commit_how *how,
                       size_t *ret_done, struct gvm_err *err) GVM_MUST_CHECK;
/* Drops the chosen changes from the upper layer. *ret_done counts. A single file below a folder
 * that became something else cannot be dropped alone and is skipped. */
int gvm_changes_discard(const char *run_dir, const struct gvm_changes *c,
                        bool (*pick)(void *arg, const struct gvm_change *ch), void *arg,
                        size_t *ret_done, struct gvm_err *err) GVM_MUST_CHECK;
/* What the owner's files hold now is what the agent began with: kept, so that a later change on
 * both sides can be merged. For the run's end; only texts of reasonable size that did not change
 * since the run began. */
int gvm_changes_remember(const char *run_dir, const struct gvm_changes *c,
                         struct gvm_err *err) GVM_MUST_CHECK;
/* Two texts line by line. `hunks` are the places where they differ, in order: lines [a, a+na) of
 * the first became lines [b, b+nb) of the second. */
struct gvm_hunk {
    size_t a, na, b, nb;
};
struct gvm_diff;
/* 1 when the texts are too long to be compared (*ret is untouched). The texts are borrowed. */
int gvm_diff_new(struct gvm_str before, struct gvm_str after, struct gvm_diff **ret,
                 struct gvm_err *err) GVM_MUST_CHECK;
void gvm_diff_free(struct gvm_diff *d);
const struct gvm_hunk *gvm_diff_hunks(const struct gvm_diff *d, size_t *ret_n);
/* Line `i` of the first or second text with its newline, if it has one; past the end p is NULL. */
struct gvm_str gvm_diff_line(const struct gvm_diff *d, bool second, size_t i);
/* The first text with those hunks of the second that `take` names. */
int gvm_diff_apply(const struct gvm_diff *d, const bool *take, struct gvm_buf *out) GVM_MUST_CHECK;
/* The two texts of a change of a regular file; 1 when one of them is binary or too large. *merged
 * (may be NULL) is set when the owner's file changed meanwhile and `after` is both sides merged. */
int gvm_change_texts(const char *run_dir, const struct gvm_change *ch, struct gvm_buf *before,
                     struct gvm_buf *after, bool *merged, struct gvm_err *err) GVM_MUST_CHECK;
/* Unified diff of one change (text, as git writes it), or one line saying what it is (binary,
 * large, link, device). The bytes of the files stand in it as they are. */
int gvm_change_diff(const char *run_dir, const struct gvm_change *ch, struct gvm_buf *out,
                    struct gvm_err *err) GVM_MUST_CHECK;
/* One change as an entry that `git apply` takes, binary files too; nothing for what git does not
 * store (folders, FIFOs). A conflict that merges is in it merged. */
int gvm_change_patch(const char *run_dir, const struct gvm_change *ch, struct gvm_buf *out,
                     struct gvm_err *err) GVM_MUST_CHECK;
/* What git would store for it: content or link target, and the mode "100644", "100755" or "120000";
 * NULL when nothing is left there that git stores. */
int gvm_change_blob(const char *run_dir, const struct gvm_change *ch, struct gvm_buf *out,
                    const char **ret_mode, struct gvm_err *err) GVM_MUST_CHECK;
/* SHA-256 (hex) of the owner's file and of the staged one; of a link its target; "" when there is
 * none. */
int gvm_change_hashes(const char *run_dir, const struct gvm_change *ch, char ret_before[65],
                      char ret_after[65], struct gvm_err *err) GVM_MUST_CHECK;

/* ---- undo ---- */

/* One commit of a run that can be taken back. Holds the run's lock. */
struct gvm_undo;
struct gvm_undo_item {
    struct gvm_str path;
    enum gvm_change_kind what; /* what the undo would do: CREATED, MODIFIED, DELETED or MODE */
    bool is_dir;
    const char *touched; /* why it is not any more what the commit made of it; NULL when it is */
};
/* The newest commit of the run that is not wholly taken back; with `below` > 0 the newest of those
 * with a smaller number. -ENOENT: there is none. */
int gvm_undo_open(const char *run_dir, int below, struct gvm_undo **ret,
                  struct gvm_err *err) GVM_MUST_CHECK;
void gvm_undo_free(struct gvm_undo *u);
int gvm_undo_number(const struct gvm_undo *u);
int64_t gvm_undo_when(const struct gvm_undo *u); /* of the commit, ns since 1970 */
/* What is left to take back; as long as `u`. */
const struct gvm_undo_item *gvm_undo_items(const struct gvm_undo *u, size_t *ret_n);
/* Takes the items back that `choose` names: all or none, as a commit does. What is `touched` needs
 * how->force. To be called once. */
int gvm_undo_run(struct gvm_undo *u, const bool *choose, const struct gvm_commit_how *how,
                 size_t *ret_done, struct gvm_err *err) GVM_MUST_CHECK;
/* Forgets what was kept by commits before that time, of every run in `runs_dir`. */
int gvm_undo_prune(const char *runs_dir, int64_t before_ns, struct gvm_err *err) GVM_MUST_CHECK;

/* The run's record: run.json, written by the launcher before the sandbox starts and after it ends.
 */
struct gvm_run_record {
    char run[GVM_MAX_RUN_ID + 1];
    char agent[GVM_MAX_AGENT + 1];
    char workspace[4096];
    char command[512];            /* for people: arguments joined, cut */
    int64_t started_ns, ended_ns; /* ended 0 = still running or killed */
    int64_t layer_ns; /* since when its changes grow: the first run's start when it continues one */
    char continues[GVM_MAX_RUN_ID + 1]; /* the run it goes on from, "" = none */
    int exit_code;
    char why[12];   /* who ended it: "stop", "timeout", "disk", "memory", "grace"; "" = the agent */
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
/* What the run of `old_dir` left staged becomes the run's of `new_dir`, which has its record on
 * disk and no layers yet. */
int gvm_run_hand_over(const char *old_dir, const char *new_dir, struct gvm_err *err) GVM_MUST_CHECK;
/* True while the launcher named in the record lives: not ended, and its pid is not somebody else's.
 */
bool gvm_run_is_live(const struct gvm_run_record *r);

#endif
