/* Across the files of review. */
#ifndef GVM_REVIEW_INT_H
#define GVM_REVIEW_INT_H

#include <sys/stat.h>
#include "review/review.h"

#define REVIEW_MAX_PATH    (16u << 10)  /* bytes of one path; what is nested deeper is one change */
#define REVIEW_MAX_CHANGES 500000u      /* changes of one run */
#define REVIEW_MAX_MEMORY  (512u << 20) /* bytes of one list */
#define REVIEW_MAX_FILE    (UINT64_C(64) << 30) /* a larger file is hashed for too long to land */
#define REVIEW_MAX_NAME    256u                 /* one name with its NUL (NAME_MAX) */

/* An open run. */
struct review_run {
    struct gvm_run_record rec;
    int dir;   /* state/runs/<id> */
    int upper; /* its upper layer, -1 when there is none */
    int host;  /* the workspace */
};
int review_open(const char *run_dir, struct review_run *ret, struct gvm_err *err) GVM_MUST_CHECK;
void review_close(struct review_run *r);
/* One writer at a time: commit, discard and the cleaning up after a crash. -EWOULDBLOCK without
 * `wait`. */
int review_lock(const struct review_run *r, bool wait, int *ret_fd,
                struct gvm_err *err) GVM_MUST_CHECK;

/* ---- paths.c: reaching a path of any length below a root without following anything ---- */

/* A directory, O_PATH unless `readable`; "" is the root itself. Negative errno. */
int review_open_dir(int root, struct gvm_str path, bool readable) GVM_MUST_CHECK;
/* The directory that holds `path` (O_PATH), and the last name. */
int review_open_parent(int root, struct gvm_str path, char leaf[REVIEW_MAX_NAME]) GVM_MUST_CHECK;
/* lstat() below a root; -ENOENT also when a parent is missing or not a directory. */
int review_lstat(int root, struct gvm_str path, struct stat *ret) GVM_MUST_CHECK;
struct gvm_str review_dirname(struct gvm_str path); /* "" at the top */
struct gvm_str review_basename(struct gvm_str path);
/* fsync of a directory that may be open O_PATH. */
int review_sync_dir(int dirfd) GVM_MUST_CHECK;
/* The name in a form that attribute calls take; they do not accept O_PATH descriptors. NULL = the
 * directory itself. */
void review_proc_path(int dirfd, const char *name, char dst[REVIEW_MAX_NAME + 64]);
/* chmod of exactly this inode: no link is followed. */
int review_chmod(int dirfd, const char *name, mode_t mode) GVM_MUST_CHECK;
/* A regular file for reading, even when the agent took its read bits away (they are put back). */
int review_open_file(int dirfd, const char *name, int *ret_fd, struct stat *ret_st) GVM_MUST_CHECK;

/* unlinkat(), also out of a folder that the agent made read-only. */
int review_unlink(int dirfd, const char *name, int flags) GVM_MUST_CHECK;

/* ---- layer.c: what the overlay means by what is in its upper layer ---- */

/* `dirfd` may be O_PATH. `dir_opaque` is review_opaque() of the directory. */
bool review_is_whiteout(int dirfd, const char *name, const struct stat *st, char dir_opaque);
/* 'y' = hides everything below it, 'x' = holds whiteouts in extended attributes, 0 = neither. */
char review_opaque(int dirfd);
/* Made by copying a file of the workspace up, not from nothing. */
bool review_has_origin(int dirfd, const char *name);
/* Makes `path` of the upper layer stop hiding: a deletion that stands for a whole folder becomes
 * one deletion per name, without the one for `path` itself. */
int review_uncover(const struct review_run *r, struct gvm_str path) GVM_MUST_CHECK;
/* Removes folders of the upper layer, from `dir` upwards, that say nothing any more. */
void review_prune(const struct review_run *r, struct gvm_str dir);

/* ---- image.c ---- */

#define REVIEW_IMAGE 64
/* "PNG picture 640x480" from the first bytes of a file; false when it is none that is known. */
bool review_image(struct gvm_str head, char dst[REVIEW_IMAGE]);

/* ---- rename.c ---- */

/* A new file with the content of a deleted one becomes RENAMED; `from` of both names the other. */
int review_find_renames(const struct review_run *run, struct gvm_changes *c) GVM_MUST_CHECK;

/* ---- classify.c, content.c ---- */

struct review_facts {
    const struct stat *now;  /* the upper layer's, NULL when deleted */
    const struct stat *host; /* the owner's, NULL when absent */
    struct gvm_str head;     /* first bytes of a regular file */
    struct gvm_str target;   /* of a link */
    bool origin;
    bool placeholders; /* settings whose values are the sandbox's stand-ins */
};
#define REVIEW_HEAD 4096u /* bytes of a file that are looked at */
/* Sets class_, why and refusal from path, kind, the facts and the owner's patterns (may be NULL).
 */
void review_classify(struct gvm_change *ch, const struct review_facts *f,
                     const struct gvm_review_patterns *patterns);
/* Why a content is obeyed or executed somewhere, NULL when nothing is seen. */
const char *review_content_reason(struct gvm_str head);
/* The content is not of the type that the name promises. */
bool review_content_lies(struct gvm_str base_name, struct gvm_str head);

/* ---- state.c: all that is kept of one name ---- */

enum review_xattrs {
    REVIEW_XATTRS_USER, /* user.*, as an agent may have written them */
    REVIEW_XATTRS_ALL,  /* what this user can read of the owner's own */
};
struct review_state {
    mode_t mode; /* type and mode, 0 = nothing there */
    uid_t uid;
    gid_t gid;
    dev_t rdev;
    uint64_t size, ino;
    int64_t atime_ns, mtime_ns, ctime_ns;
    char hash[65];         /* SHA-256 of content or link target, "" = not known */
    struct gvm_str target; /* of a link */
    struct gvm_str xattrs; /* a blob, see state.c */
};
/* lstat() and what belongs to it; nothing there is mode 0. The content is not hashed. */
int review_capture(int root, struct gvm_str path, enum review_xattrs which, struct gvm_arena *a,
                   struct review_state *ret) GVM_MUST_CHECK;
/* Still the file that was captured. */
bool review_same_file(const struct review_state *s, const struct stat *st);
/* Owner, attributes, mode and times, as far as this user may. */
int review_dress(int dirfd, const char *name, const struct review_state *s) GVM_MUST_CHECK;
int review_xattrs_read(int dirfd, const char *name, enum review_xattrs which, struct gvm_arena *a,
                       struct gvm_str *ret) GVM_MUST_CHECK;
/* The next attribute; false at the end, or where the blob is broken. */
bool review_xattrs_next(struct gvm_str *blob, struct gvm_str *ret_name, struct gvm_str *ret_value);
/* `user` with the access lists of `host`. */
int review_xattrs_keep_acl(struct gvm_arena *a, struct gvm_str user, struct gvm_str host,
                           struct gvm_str *ret) GVM_MUST_CHECK;

/* ---- copy.c ---- */

int review_copy(int from, int to) GVM_MUST_CHECK; /* holes stay holes */
/* 1 = the same bytes, 0 = not. What cannot be read is not the same. */
int review_same_bytes(int a, int b) GVM_MUST_CHECK;
int review_hash_fd(int fd, char ret[65]) GVM_MUST_CHECK;
int review_hash_text(struct gvm_str text, char ret[65]) GVM_MUST_CHECK;
int review_hash_file(int dirfd, const char *name, char ret[65]) GVM_MUST_CHECK;

/* ---- journal.c: what a commit is about to do, and, once done, what it did ---- */

enum review_op_kind {
    REVIEW_PUT,    /* something comes to be, or takes the place of what was there */
    REVIEW_DELETE, /* something goes */
    REVIEW_DRESS,  /* mode and attributes */
};
#define REVIEW_ALONE SIZE_MAX
struct review_op {
    struct gvm_str path;
    enum review_op_kind kind;
    size_t tree;   /* index of the folder that is put as a whole and has this one inside, or
                    * REVIEW_ALONE */
    size_t change; /* index in the list of changes, SIZE_MAX = none */
    size_t source; /* number of the kept content it is put from (an undo) */
    bool keep;     /* what still differs stays in the layer */
    bool merged;
    bool has_text; /* `text` is the content */
    bool skipped;
    struct gvm_str text;
    struct review_state before, after;
};
/* One commit: its directory holds "record", "kept-<number>" (what was there before), later "go",
 * "back" and "skipped". */
struct review_txn {
    const struct review_run *run;
    struct gvm_arena *arena;
    struct review_op *ops; /* sorted by path */
    size_t n;
    char token[17]; /* temporary names are ".gvm-<token>-<number of the operation>" */
    int64_t when_ns;
    int64_t undoes; /* number of the commit that this one takes back, 0 = none */
    int dir;        /* of this commit, -1 = not made */
    int source;     /* of the commit whose kept content is put back, -1 = the layer is the source */
    size_t at;      /* the operation worked on, for an error's text */
    size_t saved_skips; /* how many "skipped" names */
    bool sync_each;
};
#define REVIEW_OPEN_COMMIT "commit"
#define REVIEW_TEMP_NAME   48
/* Writes "record" durably. */
int review_record_write(const struct review_txn *t) GVM_MUST_CHECK;
/* Reads the record of the commit directory t->dir into t->arena. -ENODATA: torn or not whole. */
int review_record_read(struct review_txn *t) GVM_MUST_CHECK;
/* Only what stands in its first line, t->n included; t->ops stays as it is. */
int review_record_head(struct review_txn *t) GVM_MUST_CHECK;
/* "skipped": which operations did not happen after all. */
int review_skipped_write(const struct review_txn *t) GVM_MUST_CHECK;
int review_skipped_read(struct review_txn *t) GVM_MUST_CHECK; /* none is fine */
void review_temp_name(const struct review_txn *t, size_t number, char dst[REVIEW_TEMP_NAME]);

/* ---- plan.c: from choices to operations ---- */

int review_plan(struct review_txn *t, const struct gvm_changes *c, const struct gvm_choice *choices,
                bool force) GVM_MUST_CHECK;
/* The owner's file is not what the agent began with. */
bool review_is_conflict(const struct review_run *run, struct gvm_str path,
                        const struct review_state *host);
/* The lines of both sides of a file that both changed; 1 when they contradict each other, or what
 * the agent began with is not known. */
int review_merge_change(const struct review_run *run, struct gvm_str path,
                        struct gvm_buf *out) GVM_MUST_CHECK;
/* Sorts, adds the folders that are missing on the way, and finds what is put as a whole. */
int review_plan_trees(struct review_txn *t) GVM_MUST_CHECK;

/* ---- stage.c: new content beside its place ---- */

/* Where an operation's new content is until it lands. */
int review_stage_place(const struct review_txn *t, const struct review_op *op,
                       char leaf[REVIEW_MAX_NAME]) GVM_MUST_CHECK;
int review_keep_all(struct review_txn *t) GVM_MUST_CHECK;
int review_stage_all(struct review_txn *t) GVM_MUST_CHECK;
int review_unstage(const struct review_txn *t, size_t i) GVM_MUST_CHECK;
int review_unstage_all(const struct review_txn *t) GVM_MUST_CHECK;
/* The state before one operation, made anew from what was kept. */
int review_bring_back(const struct review_txn *t, size_t i) GVM_MUST_CHECK;

/* ---- txn.c: all or nothing ---- */

int review_txn_run(struct review_txn *t, const struct gvm_commit_how *how, size_t *ret_done,
                   struct gvm_err *err) GVM_MUST_CHECK;
void review_txn_done(struct review_txn *t);
/* Finishes or takes back what a killed commit left; 0 when there is nothing. Call with the lock
 * held. */
int review_recover(const struct review_run *r, struct gvm_err *err) GVM_MUST_CHECK;
/* Number of the newest undo directory, 0 when there is none. */
int review_last_undo(const struct review_run *r) GVM_MUST_CHECK;
bool review_needs_recovery(const struct review_run *r);
/* What stands in the way of one change only: it is skipped and stays staged. */
bool review_is_skip(int r);
/* What landed leaves the layer. */
int review_drop(const struct review_run *run, struct gvm_str path) GVM_MUST_CHECK;

/* ---- base.c: what the agent began with ---- */

/* Content of the owner's file as the agent saw it; 1 = not known. */
int review_base_read(const struct review_run *run, struct gvm_str path,
                     struct gvm_buf *out) GVM_MUST_CHECK;
int review_base_write(const struct review_run *run, struct gvm_str path,
                      struct gvm_str text) GVM_MUST_CHECK;

/* A name as git writes it after `prefix`: plain, or quoted; NULL is /dev/null. */
void review_put_name(struct gvm_buf *out, const char *prefix, struct gvm_str path);

/* ---- text.c, merge.c ---- */

/* Unified hunks of two texts; 1 when given up as too different or too long (nothing added), 0,
 * -ENOBUFS. */
int review_hunks(struct gvm_str before, struct gvm_str after, struct gvm_buf *out) GVM_MUST_CHECK;
/* Three-way merge by lines: 0, 1 when the sides contradict each other or cannot be compared. */
int review_merge(struct gvm_str base, struct gvm_str ours, struct gvm_str theirs,
                 struct gvm_buf *out) GVM_MUST_CHECK;

/* ---- fault injection: tests set it; called before each step that changes something ---- */

extern int (*review_step_hook)(const char *what);
static inline int review_step(const char *what)
{
    return review_step_hook ? review_step_hook(what) : 0;
}

#endif
