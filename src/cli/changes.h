/* cli/changes.h - what diff, commit and discard share: which run, and which of its changes. */
#ifndef GVM_CLI_CHANGES_H
#define GVM_CLI_CHANGES_H

#include "cli/cli.h"
#include "review/review.h"

struct cli_changes {
    char id[GVM_MAX_RUN_ID + 1];
    char dir[GVM_PATH_MAX];
    struct gvm_run_record rec;
    struct gvm_changes all;
    bool named;   /* paths were given; otherwise everything is chosen */
    bool *chosen; /* per change */
    bool *exact;  /* per change: it was named itself, not only a folder above it */
};

/* Reads [RUN] [PATHS...] from argv[optind..]: the first is the run when it names one. Paths are
 * absolute, or relative to the current directory inside the workspace, or else to the workspace.
 * -ENOENT when a path has no change. *ret is given to cli_changes_done(), after a failure too. */
int cli_changes_open(int argc, char **argv, struct cli_changes *ret,
                     struct gvm_err *err) GVM_MUST_CHECK;
void cli_changes_done(struct cli_changes *c);
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

/* Puts `kind` (fs.commit or fs.discard) with the chosen changes and their hashes on record,
 * durably, in as many entries as it takes. Starts the daemon when none runs. */
int cli_changes_note(const struct cli_changes *c, const char *kind,
                     struct gvm_err *err) GVM_MUST_CHECK;

#endif
