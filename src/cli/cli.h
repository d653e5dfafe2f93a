/* cli - gvm: one table of verbs, one file per verb. Prints; nothing else does.
 *
 * Owns:       the terminal while a verb runs.
 * Threads:    one.
 * On failure: one sentence on stderr and the exit code; data on stdout is never half a record.
 *             Exit: 0 ok, 1 error, 2 usage, 3 denied or tampering found, 125 could not set up.
 */
#ifndef GVM_CLI_H
#define GVM_CLI_H

#include <stdio.h>
#include "core/core.h"
#include "ipc/ipc.h"

enum {
    GVM_EXIT_OK = 0,
    GVM_EXIT_ERROR = 1,
    GVM_EXIT_USAGE = 2,
    GVM_EXIT_DENIED = 3,
    GVM_EXIT_TIMEOUT = 124,
    GVM_EXIT_SETUP = 125
};

struct cli_verb {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the verb; uses getopt_long */
    const char *summary;               /* one line of `gvm --help` */
    const char *usage;                 /* whole text of `gvm VERB --help`, <= 80 columns */
};
/* Verb functions, one per file src/cli/<verb>.c, are declared in cli/verbs.h. */

/* Prints "gvm: <text>" on stderr and returns `code`. */
int cli_fail(int code, const struct gvm_err *err);
/* Usage error: "gvm VERB: ... (see gvm VERB --help)" on stderr; returns GVM_EXIT_USAGE. */
int cli_usage(const char *verb, const char *fmt, ...) GVM_PRINTF(2, 3);
/* Prints a help text on stdout; returns GVM_EXIT_OK. */
int cli_help(const char *usage);
/* The usage error for what getopt_long() just refused ('?' or ':'). */
int cli_bad_option(const char *verb, char **argv);
/* The whole command line of a verb that takes --json and --help and nothing else. -1: go on, with
 * *ret_json; else the exit code, and what was to be said is said. */
int cli_only_json(const char *verb, const char *usage, int argc, char **argv, bool *ret_json);
/* A line for the person on stderr: "gvm: ...". */
void cli_say(const char *fmt, ...) GVM_PRINTF(1, 2);
/* How the agent's output leaves the terminal on stderr: raw, so that a line must return to its
 * start by itself, and in the middle of a line or not. Until said again. */
void cli_terminal(bool raw, bool mid_line);
/* Ends the line the agent left open, if it did; cli_say() does so by itself. */
void cli_fresh_line(void);
/* True when stdout/stderr is a terminal and NO_COLOR is unset. */
bool cli_color(int fd);
/* Writes text with control bytes, terminal escapes, invisible and direction-changing characters
 * made visible (\n, \x1b, \u{202e}): for anything an agent can name. */
void cli_print_safe(FILE *f, struct gvm_str s);
/* The same for a line of file content: tabs stay. */
void cli_print_text(FILE *f, struct gvm_str s);
/* The first character of `s` (which is not empty) in a form that cannot control a terminal: itself,
 * or visible in its place (\\x1b, \\u{202e}). */
struct cli_glyph {
    char bytes[16];
    unsigned n, cols; /* bytes, and columns they take on a terminal */
};
/* Bytes of `s` it stands for. */
size_t cli_visible(struct gvm_str s, struct cli_glyph *ret);
/* Flushes stdout; an exit code: GVM_EXIT_OK, or GVM_EXIT_ERROR (said on stderr) when data was lost.
 */
int cli_flush(void);
/* Asks on the terminal and waits for y or n (return means n). False without a terminal, at end of
 * input and on anything but y. */
bool cli_confirm(const char *question);

/* A channel to gvmd's control process. With `start` the daemon is started when absent; without it
 * -ENOENT or -ECONNREFUSED says that none runs. Free with gvm_chan_free(). */
int cli_connect(bool start, struct gvm_chan **ret, struct gvm_err *err) GVM_MUST_CHECK;
/* Starts gvmd (beside this program, else in PATH) and waits until it serves, 10 s at most. Fine
 * when another gvm was faster. On failure err has gvmd's own words. */
int cli_daemon_start(struct gvm_err *err) GVM_MUST_CHECK;
/* The newest run, or the one named (prefix allowed when unique): id and its directory. -ENOENT: no
 * such run; -ENOTUNIQ: the prefix fits several. */
int cli_find_run(const char *name_or_null, char ret_id[GVM_MAX_RUN_ID + 1],
                 char ret_dir[GVM_PATH_MAX], struct gvm_err *err) GVM_MUST_CHECK;
/* Every run's id in state/runs, oldest first, from `a`. */
int cli_list_runs(struct gvm_arena *a, char ***ret_ids, size_t *ret_n,
                  struct gvm_err *err) GVM_MUST_CHECK;
/* Prints one ledger entry for people (one line). Used by everything that shows the record. */
enum {
    CLI_EVENT_COLOR = 1, /* colours */
    CLI_EVENT_AGENT = 2, /* with whose it is */
    CLI_EVENT_BARE = 4,  /* without its number and time */
    CLI_EVENT_WATCH = 8, /* as it happens: time of day, what is called, what the rules would say */
};
void cli_print_event(FILE *f, uint64_t index, const struct gvm_json *entry, unsigned style);

/* Which configuration holds: `explicit_path`, else the workspace's gvm.toml if it is there and
 * trusted, else the user's own if it exists, else none (*ret_any false: the built-in default).
 * ret_path is absolute and resolved. A workspace file that is not trusted is not used; one line on
 * `warn` (may be NULL) says so. */
int cli_config_choose(const char *explicit_path, const char *workspace, char ret_path[GVM_PATH_MAX],
                      bool *ret_any, FILE *warn, struct gvm_err *err) GVM_MUST_CHECK;

#endif
