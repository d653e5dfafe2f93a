/* cli/verbs.h - what each verb's file gives to the table in main.c.
 *
 * A verb is one file: `cli_<verb>()`, called with argv[0] = the verb, and `cli_<verb>_usage`, the
 * whole text of `gvm VERB --help` (lines of at most 80 columns, ending in a newline). Inside,
 * getopt_long() with:
 *
 *     case 'h': return cli_help(cli_<verb>_usage);
 *     default:  return cli_bad_option("<verb>", argv);
 *
 * main() has set opterr = 0 and optind = 0. A verb whose arguments are somebody else's command line
 * (run, watch) starts its option string with '+'.
 */
#ifndef GVM_CLI_VERBS_H
#define GVM_CLI_VERBS_H

#define CLI_VERB(name)                                                                             \
    int cli_##name(int argc, char **argv);                                                         \
    extern const char cli_##name##_usage[]

CLI_VERB(run);
CLI_VERB(watch);
CLI_VERB(suggest);
CLI_VERB(check);
CLI_VERB(explain);
CLI_VERB(test);
CLI_VERB(replay);
CLI_VERB(trust);
CLI_VERB(reload);
CLI_VERB(approve);
CLI_VERB(diff);
CLI_VERB(review);
CLI_VERB(commit);
CLI_VERB(discard);
CLI_VERB(undo);
CLI_VERB(runs);
CLI_VERB(logs);
CLI_VERB(attach);
CLI_VERB(events);
CLI_VERB(stats);
CLI_VERB(audit);
CLI_VERB(status);
CLI_VERB(stop);
CLI_VERB(preflight);
CLI_VERB(selftest);
CLI_VERB(version);

#endif
