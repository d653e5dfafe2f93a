/* cli/reading.h - what the verbs that read the record share: which entries are meant, and from
 * where. */
#ifndef GVM_CLI_READING_H
#define GVM_CLI_READING_H

#include <getopt.h>
#include "cli/cli.h"
#include "index/index.h"

struct cli_reading {
    const char *verb; /* for usage errors */
    struct gvm_index_filter filter;
    char dir[GVM_PATH_MAX]; /* of the ledger; "" = this user's own, which has an index */
    bool json;
    struct gvm_index *index;
};

/* Options of all of them, to stand in a verb's own table; values beyond those of letters. */
enum {
    READ_RUN = 256,
    READ_KIND,
    READ_HOST,
    READ_DECISION,
    READ_AGENT,
    READ_SINCE,
    READ_UNTIL,
    READ_DIR,
    READ_JSON
};
#define CLI_READING_WHERE                                                                          \
    {"dir", required_argument, NULL, READ_DIR},                                                    \
    {                                                                                              \
        "json", no_argument, NULL, READ_JSON                                                       \
    }
#define CLI_READING_TIME                                                                           \
    {"since", required_argument, NULL, READ_SINCE},                                                \
    {                                                                                              \
        "until", required_argument, NULL, READ_UNTIL                                               \
    }
#define CLI_READING_WHICH                                                                          \
    {"run", required_argument, NULL, READ_RUN}, {"host", required_argument, NULL, READ_HOST},      \
        {"decision", required_argument, NULL, READ_DECISION},                                      \
    {                                                                                              \
        "agent", required_argument, NULL, READ_AGENT                                               \
    }

/* Takes one of them; 0, or the exit code of a usage error. `arg` must live as long as `v`. */
int cli_reading_option(struct cli_reading *v, int c, const char *arg);
/* Opens the ledger and, of this user's own, the index; free with cli_reading_close(). */
int cli_reading_open(struct cli_reading *v, struct gvm_err *err) GVM_MUST_CHECK;
/* Says what the index wants known, once; frees. */
void cli_reading_close(struct cli_reading *v);

/* An entry parsed, for as long as `fn` runs. A line that is none is told to the person, and 0. */
int cli_reading_parse(uint64_t index, struct gvm_str line,
                      void (*fn)(void *arg, const struct gvm_json *e), void *arg,
                      struct gvm_err *err) GVM_MUST_CHECK;
/* {"index":N, and the entry's own members, and a newline. */
void cli_reading_json(uint64_t index, struct gvm_str line);

/* Called for each entry from `from` on that matches, as it is written, until it returns other than
 * 0 (negative: an error, set; positive: enough) or nobody reads our output any more. */
typedef int cli_reading_fn(void *arg, uint64_t index, struct gvm_str line, struct gvm_err *err);
int cli_reading_follow(const struct cli_reading *v, uint64_t from, cli_reading_fn *fn, void *arg,
                       struct gvm_err *err) GVM_MUST_CHECK;

#endif
