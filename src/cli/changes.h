/* cli/changes.h - what diff, commit and discard share: which run, and which of its changes. */
#ifndef GVM_CLI_CHANGES_H
#define GVM_CLI_CHANGES_H

#include "cli/cli.h"
#include "conf/conf.h"
#include "review/review.h"

/* What [filesystem] says about changes. */
struct cli_file_rules {
    struct gvm_conf *conf; /* holds the patterns' memory; NULL without a configuration */
    struct gvm_review_patterns patterns;
    uint64_t undo_keep_ms;
};
/* From `config`, or when that is NULL from the configuration that holds for `workspace`. */
int cli_file_rules_load(const char *config, const char *workspace, struct cli_file_rules *ret,
                        struct gvm_err *err) GVM_MUST_CHECK;
void cli_file_rules_done(struct cli_file_rules *f);
/* Forgets kept copies whose time is over. */
int cli_prune_undo(const struct cli_file_rules *f, struct gvm_err *err) GVM_MUST_CHECK;

struct cli_changes {
    char id[GVM_MAX_RUN_ID + 1];
    char dir[GVM_PATH_MAX];
    struct gvm_run_record rec;
    struct cli_file_rules rules;
    struct gvm_changes all;
    bool named;                 /* paths were given; otherwise everything is chosen */
    bool *chosen;               /* per change */
    bool *exact;                /* per change: it was named itself, not only a folder above it */
    struct gvm_choice *choices; /* per change: what cli_changes_land() does with a chosen one */
    const char *how;            /* "commit", "review", "auto": for the record */
};

/* Its launcher is gone without a word. */
bool cli_run_killed(const struct gvm_run_record *rec);
/* Reads [RUN] [PATHS...] from argv[optind..]: the first is the run when it names one. Paths are
 * absolute, or relative to the current directory inside the workspace, or else to the workspace.
 * -ENOENT when a path has no change. *ret is given to cli_changes_done(), after a failure too. */
int cli_changes_open(int argc, char **argv, struct cli_changes *ret,
                     struct gvm_err *err) GVM_MUST_CHECK;
void cli_changes_done(struct cli_changes *c);
/* The run of argv[*at], which is stepped over when it names one, else the newest: id, dir, rec. */
int cli_changes_find(int argc, char **argv, int *at, struct cli_changes *c,
                     struct gvm_err *err) GVM_MUST_CHECK;
/* What the user typed as a path, relative to the workspace. -EINVAL when it is not in it. */
int cli_workspace_path(const struct gvm_run_record *rec, const char *word,
                       char dst[2 * GVM_PATH_MAX], struct gvm_err *err) GVM_MUST_CHECK;
bool cli_is_below(struct gvm_str path, struct gvm_str folder);
/* The member "path", and "path_base64" when it is not UTF-8. */
void cli_path_json(struct gvm_jw *w, struct gvm_str path);
/* The index of a change of c->all. */
size_t cli_change_index(const struct cli_changes *c, const struct gvm_change *ch);
/* True while the agent still runs and may go on writing. */
bool cli_changes_live(const struct cli_changes *c);

/* One line for people: letter, path, class and reason. */
void cli_print_change(FILE *f, const struct gvm_change *ch, bool color);
/* The members of a change's JSON object: path, change, class, why, ... */
void cli_change_json(struct gvm_jw *w, const struct gvm_change *ch);
/* Number and noun: "1 change", "2 changes". */
const char *cli_count(size_t n, const char *noun, char dst[64]);

/* Empty choices for every change; after c->all was filled. */
int cli_changes_alloc(struct cli_changes *c, struct gvm_err *err) GVM_MUST_CHECK;
/* Lands what is chosen, as fs.commit on record (durably, before anything lands). Starts the daemon
 * when none runs. */
int cli_changes_land(struct cli_changes *c, bool force, size_t *ret_done,
                     struct gvm_err *err) GVM_MUST_CHECK;
/* Puts fs.discard with the chosen changes and their hashes on record, in as many entries as it
 * takes. */
int cli_changes_note_discard(const struct cli_changes *c, struct gvm_err *err) GVM_MUST_CHECK;
/* A commit or an undo of `rec`'s run: kind is fs.commit or fs.undo. `all` may be NULL. */
int cli_note_landings(const struct gvm_run_record *rec, const char *kind, const char *how,
                      const struct gvm_changes *all, const struct gvm_landing *list, size_t n,
                      struct gvm_err *err) GVM_MUST_CHECK;

#endif
