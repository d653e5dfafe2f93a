/* Across the files of review. */
#ifndef GVM_REVIEW_INT_H
#define GVM_REVIEW_INT_H

#include <sys/stat.h>
#include "review/review.h"

#define REVIEW_MAX_PATH    (16u << 10)  /* bytes of one path; what is nested deeper is one change */
#define REVIEW_MAX_CHANGES 500000u      /* changes of one run */
#define REVIEW_MAX_MEMORY  (512u << 20) /* bytes of one list */
#define REVIEW_MAX_NAME    256u         /* one name with its NUL (NAME_MAX) */

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
/* chmod of exactly this inode: no link is followed. */
int review_chmod(int dirfd, const char *name, mode_t mode) GVM_MUST_CHECK;
/* A regular file for reading, even when the agent took its read bits away (they are put back). */
int review_open_file(int dirfd, const char *name, int *ret_fd, struct stat *ret_st) GVM_MUST_CHECK;

/* unlinkat(), also out of a folder that the agent made read-only. */
int review_unlink(int dirfd, const char *name, int flags) GVM_MUST_CHECK;
static inline bool review_changed_since(const struct stat *st, int64_t ns)
{
    return st->st_ctim.tv_sec * INT64_C(1000000000) + st->st_ctim.tv_nsec > ns;
}

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

/* ---- classify.c ---- */

struct review_facts {
    const struct stat *now;  /* the upper layer's, NULL when deleted */
    const struct stat *host; /* the owner's, NULL when absent */
    struct gvm_str head;     /* first bytes of a regular file */
    struct gvm_str target;   /* of a link */
    bool origin;
};
/* Sets class_, why and refusal from path, kind and the facts. */
void review_classify(struct gvm_change *ch, const struct review_facts *f);

/* ---- journal.c: what a killed commit may have left ---- */

struct review_journal {
    int fd;
    char token[17]; /* temporary names are ".gvm-<token>-<number of the change>" */
};
#define REVIEW_TEMP_NAME 48
int review_journal_begin(const struct review_run *r, const struct gvm_changes *c,
                         const bool *picked, struct review_journal *ret,
                         struct gvm_err *err) GVM_MUST_CHECK;
void review_temp_name(const struct review_journal *j, size_t number, char dst[REVIEW_TEMP_NAME]);
/* Everything landed or was rolled back: the journal goes. */
int review_journal_end(const struct review_run *r, struct review_journal *j) GVM_MUST_CHECK;
/* Removes what the journal names; 0 when there is no journal. Call with the lock held. */
int review_recover(const struct review_run *r, struct gvm_err *err) GVM_MUST_CHECK;
bool review_needs_recovery(const struct review_run *r);

/* ---- text.c ---- */

/* Unified hunks of two texts; 1 when given up as too different or too long (nothing added), 0,
 * -ENOBUFS. */
int review_hunks(struct gvm_str before, struct gvm_str after, struct gvm_buf *out) GVM_MUST_CHECK;

/* ---- fault injection: tests set it; called before each step that changes something ---- */

extern int (*review_step_hook)(const char *what);
static inline int review_step(const char *what)
{
    return review_step_hook ? review_step_hook(what) : 0;
}

#endif
