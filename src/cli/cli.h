/* cli - gvm: one table of verbs, one file per verb. Prints; nothing else does.
 *
 * Data on stdout, words on stderr. Exit: 0 ok, 1 error, 2 usage, 3 denied or tampering, 125 not set up.
 */
#ifndef GVM_CLI_H
#define GVM_CLI_H

#include <stdio.h>
#include "core/core.h"
#include "ipc/ipc.h"

enum { GVM_EXIT_OK = 0, GVM_EXIT_ERROR = 1, GVM_EXIT_USAGE = 2, GVM_EXIT_DENIED = 3, GVM_EXIT_TIMEOUT = 124,
       GVM_EXIT_SETUP = 125 };

struct cli_verb {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the verb; uses getopt_long */
    const char *summary;               /* one line of `gvm --help` */
    const char *usage;                 /* whole text of `gvm VERB --help`, <= 80 columns */
};
/* Verb functions, one per file src/cli/<verb>.c: int cli_<verb>(int argc, char **argv); */

/* Prints "gvm: <text>" and returns `code`. */
int cli_fail(int code, const struct gvm_err *err);
/* Usage error: "gvm VERB: ... (see gvm VERB --help)" and returns GVM_EXIT_USAGE. */
int cli_usage(const char *verb, const char *fmt, ...) GVM_PRINTF(2, 3);
/* True when stdout/stderr is a terminal and NO_COLOR is unset. */
bool cli_color(int fd);
/* Writes text with control bytes and terminal escapes made visible: for anything an agent can name. */
void cli_print_safe(FILE *f, struct gvm_str s);

/* A channel to gvmd's control process. With `start` the daemon is started when absent. */
int cli_connect(bool start, struct gvm_chan **ret, struct gvm_err *err) GVM_MUST_CHECK;
/* Starts gvmd (beside this program, else in PATH) and waits until it serves. */
int cli_daemon_start(struct gvm_err *err) GVM_MUST_CHECK;
/* The newest run, or the one named (prefix allowed when unique): id and its directory. */
int cli_find_run(const char *name_or_null, char ret_id[GVM_MAX_RUN_ID + 1], char ret_dir[GVM_PATH_MAX],
                 struct gvm_err *err) GVM_MUST_CHECK;
/* Prints one ledger entry for people (one line), colours when asked. Used by watch and events. */
void cli_print_event(FILE *f, uint64_t index, const struct gvm_json *entry, bool color);

#endif
