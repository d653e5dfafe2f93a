/* gvm selftest: does the sandbox hold on this very kernel. */
#include "cli/cli.h"
#include "cli/verbs.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <unistd.h>

const char cli_selftest_usage[] =
    "usage: gvm selftest [--all] [--json]\n"
    "\n"
    "Makes a sandbox on this machine and attacks it from inside: system calls that\n"
    "must be refused, secrets that must not be seen, places that must not be\n"
    "written, and the ordinary things that must work. Prints what did not hold, or\n"
    "with --all every row. Exit code 0: everything held; 1: something did not; 125:\n"
    "no sandbox could be made (see gvm preflight).\n"
    "\n"
    "  -a, --all   every row, not only what failed\n"
    "      --json  one JSON object a row\n"
    "  -h, --help  this text\n";

struct table {
    bool all, json;
    unsigned held, failed;
};

static void print_json(const struct gvm_sandbox_probed *p)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 4096);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "rows", p->rows);
    gvm_jw_kstrz(&w, "what", p->what);
    gvm_jw_kstrz(&w, "must", p->must_work ? "work" : "be refused");
    gvm_jw_kstrz(&w, "got", p->got);
    gvm_jw_kbool(&w, "held", p->held);
    gvm_jw_object_end(&w);
    printf("%s\n", gvm_buf_cstr(&out));
}

static void take_row(void *arg, const struct gvm_sandbox_probed *p)
{
    struct table *t = arg;
    *(p->held ? &t->held : &t->failed) += 1;
    if (t->json)
        print_json(p);
    else if (t->all || !p->held)
        printf("%-6s %-12s %-40s %s\n", p->held ? "held" : "BROKEN", p->rows, p->what,
               p->must_work && p->held ? "works" : p->got);
}

int cli_selftest(int argc, char **argv)
{
    static const struct option longs[] = {{"all", no_argument, NULL, 'a'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct table t = {0};
    char self[PATH_MAX];
    if (argc > 1 && strcmp(argv[1], "--inside") == 0) /* the other end of this verb */
        return gvm_sandbox_probe_inside(argc - 2, argv + 2);
    for (int c; (c = getopt_long(argc, argv, "ah", longs, NULL)) != -1;) {
        if (c == 'h')
            return cli_help(cli_selftest_usage);
        if (c != 'a' && c != 'j')
            return cli_bad_option("selftest", argv);
        *(c == 'a' ? &t.all : &t.json) = true;
    }
    if (optind < argc)
        return cli_usage("selftest", "takes no arguments");
    struct gvm_err err = {0};
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    int r = n < 0 ? gvm_err_sys(&err, errno, "cannot find this program") : 0;
    self[n < 0 ? 0 : n] = '\0';
    if (r == 0)
        r = gvm_sandbox_selftest(self, take_row, &t, &err);
    if (r < 0)
        return cli_fail(GVM_EXIT_SETUP, &err);
    if (!t.json)
        printf("%u held, %u did not\n", t.held, t.failed);
    int code = cli_flush();
    return code ? code : t.failed ? GVM_EXIT_ERROR : 0;
}
