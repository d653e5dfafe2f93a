/* cli/review.h - what the files of `gvm review` share: changes, and what was decided about them. */
#ifndef GVM_CLI_REVIEW_H
#define GVM_CLI_REVIEW_H

#include "cli/changes.h"
#include "cli/term.h"

enum verdict { UNDECIDED = 0, ACCEPT, REJECT, DROP };

/* One change as it is reviewed. */
struct review_file {
    size_t index; /* in the list of changes */
    bool loaded;
    bool is_text;  /* has hunks that can be decided one by one */
    bool merged;   /* both sides changed it, and `after` is both */
    bool clash;    /* both sides changed it, and it does not merge */
    bool sure;     /* the person was asked about what runs on the host */
    bool has_edit; /* `edit` is to land */
    enum verdict whole;
    struct gvm_buf before, after, edit, shown; /* shown: what a file without hunks says */
    struct gvm_diff *diff;
    const struct gvm_hunk *hunks;
    size_t n;
    enum verdict *hunk; /* per hunk */
};
struct review {
    struct cli_changes *c;
    struct review_file *files;
    size_t n;
    bool drop_rest; /* what was rejected of a file that lands in part is thrown away */
    /* the screen */
    struct cli_term term;
    bool in_file, side_by_side, help, done, quit;
    size_t at, top;              /* the list */
    size_t at_hunk, line, lines; /* the file: hunk, first line shown, how many there are */
    unsigned column;
    char search[80];
    char message[160];
};

/* review_model.c */
int review_init(struct review *r, struct cli_changes *c, struct gvm_err *err) GVM_MUST_CHECK;
void review_done(struct review *r);
const struct gvm_change *review_change(const struct review *r, const struct review_file *f);
/* Reads the texts of a change. */
int review_load(struct review *r, struct review_file *f, struct gvm_err *err) GVM_MUST_CHECK;
/* What is decided about the file as a whole; *ret_part is set when only some hunks are accepted. */
enum verdict review_verdict(const struct review_file *f, bool *ret_part);
void review_decide(struct review_file *f, enum verdict v);
/* Why it cannot be accepted; NULL when it can. */
const char *review_barred(const struct review *r, const struct review_file *f);
/* The text that a file decided in part would get. */
int review_text(const struct review_file *f, struct gvm_buf *out) GVM_MUST_CHECK;
/* Carries the decisions out: lands, drops, leaves. *ret_left: accepted but still staged. */
struct review_result {
    size_t landed, parts, dropped, waiting, failed;
};
int review_apply(struct review *r, struct review_result *ret, struct gvm_err *err) GVM_MUST_CHECK;
void review_count(const struct review *r, struct review_result *ret);

/* review_view.c */
void review_draw(struct review *r);
/* Finds the next place with r->search behind where the person is; false when there is none. */
bool review_search(struct review *r);

/* The row at which the hunk the person is on begins. */
size_t review_hunk_row(struct review *r);

/* review_keys.c */
int review_interactive(struct review *r, struct gvm_err *err) GVM_MUST_CHECK;
/* review_edit.c: the text in the person's editor; 1 = unchanged or given up. */
int review_edit(struct review_file *f, struct gvm_err *err) GVM_MUST_CHECK;

/* review_git.c */
int review_as_patch(struct cli_changes *c, const char *file, struct gvm_err *err) GVM_MUST_CHECK;
int review_as_branch(struct cli_changes *c, const char *name, struct gvm_err *err) GVM_MUST_CHECK;

#endif
