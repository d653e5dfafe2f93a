/* gvm version */
#include <getopt.h>
#include "cli/cli.h"
#include "cli/verbs.h"
#include "cli/version.h"

const char cli_version_usage[] = "usage: gvm version [--json]\n"
                                 "\n"
                                 "Prints the version of this program.\n"
                                 "\n"
                                 "      --json  as one JSON object\n"
                                 "  -h, --help  this text\n";

int cli_version(int argc, char **argv)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
    bool json = false;
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        switch (c) {
        case 'j':
            json = true;
            break;
        case 'h':
            return cli_help(cli_version_usage);
        default:
            return cli_bad_option("version", argv);
        }
    }
    if (optind < argc)
        return cli_usage("version", "takes no arguments");
    if (json)
        puts("{\"version\":\"" GVM_VERSION "\"}");
    else
        puts("gvm " GVM_VERSION);
    return cli_flush();
}
