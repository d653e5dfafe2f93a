/* gvm version */
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
    bool json;
    int r = cli_only_json("version", cli_version_usage, argc, argv, &json);
    if (r >= 0)
        return r;
    if (json)
        puts("{\"version\":\"" GVM_VERSION "\"}");
    else
        puts("gvm " GVM_VERSION);
    return cli_flush();
}
