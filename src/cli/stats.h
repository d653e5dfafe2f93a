/* cli/stats.h - what the files of `gvm stats` share: sums by agent, host and the like. */
#ifndef GVM_CLI_STATS_H
#define GVM_CLI_STATS_H

#include "cli/reading.h"

enum stats_group { STATS_AGENT, STATS_HOST, STATS_DECISION, STATS_RUN, STATS_KIND, STATS_GROUPS };

struct stats_row {
    struct gvm_str name;
    int64_t entries, requests, allowed, delayed, asked, denied, refused;
    int64_t bytes_out, bytes_in, ms, answers; /* ms: of all answers */
    int64_t llm, tokens_in, tokens_out, cost_micro;
};

struct stats {
    struct cli_reading read;
    struct gvm_arena *arena;
    struct gvm_map *groups[STATS_GROUPS]; /* name -> struct stats_row */
    struct stats_row total;
    bool failed; /* out of memory, or more names than STATS_MAX */
};

#define STATS_MAX 200000u /* names of one group */

/* stats_show.c */
void stats_print(const struct stats *s);
void stats_print_json(const struct stats *s);

#endif
