/* gvm preflight: can this machine do it, and if not, what stands in the way. */
#include "cli/cli.h"
#include "cli/verbs.h"
#include "sandbox/sandbox.h"

#include <getopt.h>

const char cli_preflight_usage[] =
    "usage: gvm preflight\n"
    "\n"
    "Makes a sandbox, throws it away, and says what worked. When something did not,\n"
    "the line says what stands in the way. Exit code 0: gvm run will work here; 125:\n"
    "not.\n"
    "\n"
    "  -h, --help  this text\n";

int cli_preflight(int argc, char **argv)
{
    static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {0}};
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        if (c == 'h')
            return cli_help(cli_preflight_usage);
        return cli_bad_option("preflight", argv);
    }
    if (optind < argc)
        return cli_usage("preflight", "takes no arguments");
    struct gvm_err err = {0};
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, 64u << 10);
    int r = gvm_sandbox_preflight(&out, &err);
    fputs(gvm_buf_cstr(&out), stdout);
    int code = cli_flush();
    if (r < 0)
        return cli_fail(GVM_EXIT_SETUP, &err);
    return code;
}
