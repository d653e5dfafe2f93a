/* gvm trust: a workspace's gvm.toml may be used, as it stands now. */
#include "cli/trust.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include "cli/cli.h"
#include "cli/verbs.h"
#include "rules/rules.h"

const char cli_trust_usage[] =
    "usage: gvm trust FILE\n"
    "       gvm trust --list\n"
    "       gvm trust --remove FILE\n"
    "\n"
    "A gvm.toml found in a workspace is not used until you trust it, because a\n"
    "repository must not bring its own permission. Trust belongs to the path and to\n"
    "every byte of the file: a change takes it away.\n"
    "\n"
    "  -l, --list    shows the trusted files\n"
    "  -r, --remove  takes the trust away\n"
    "  -h, --help    this text\n";

static int full_path(const char *path, char ret[GVM_PATH_MAX], struct gvm_err *err)
{
    GVM_AUTOFREE char *full = realpath(path, NULL);
    if (!full)
        return gvm_err_sys(err, errno, "cannot find %s", path);
    if (gvm_str_copy(ret, GVM_PATH_MAX, gvm_str(full)) < 0)
        return gvm_err_set(err, ENAMETOOLONG, "the path is too long");
    return 0;
}

/* A file that would be refused later is not worth trusting now. */
static int check_loads(const char *path, size_t *ret_rules, struct gvm_err *err)
{
    struct gvm_conf *conf = NULL;
    struct gvm_ruleset *rs = NULL;
    int r = gvm_conf_load(path, &conf, err);
    if (r == 0)
        r = gvm_rules_compile(conf, &rs, err);
    if (r == 0)
        *ret_rules = gvm_rules_count(rs);
    gvm_rules_free(rs);
    gvm_conf_free(conf);
    return r;
}

static int add(const char *path)
{
    struct gvm_err err = {0};
    char full[GVM_PATH_MAX], hex[65];
    size_t rules = 0;
    int r = full_path(path, full, &err);
    if (r == 0)
        r = check_loads(full, &rules, &err);
    if (r == 0)
        r = cli_trust_add(full, hex, &err);
    if (r < 0)
        return cli_fail(GVM_EXIT_ERROR, &err);
    printf("trusted: ");
    cli_print_safe(stdout, gvm_str(full));
    printf(" (%zu rules, sha256 %s)\n", rules, hex);
    return cli_flush();
}

static int take_away(const char *path)
{
    struct gvm_err err = {0};
    char full[GVM_PATH_MAX];
    bool was = false;
    /* A file that is gone can still be on the list. */
    if (full_path(path, full, NULL) < 0 && gvm_str_copy(full, sizeof(full), gvm_str(path)) < 0)
        return cli_usage("trust", "the path is too long");
    if (cli_trust_remove(full, &was, &err) < 0)
        return cli_fail(GVM_EXIT_ERROR, &err);
    if (!was) {
        (void)gvm_err_set(&err, ENOENT, "%s was not trusted", full);
        return cli_fail(GVM_EXIT_ERROR, &err);
    }
    printf("no longer trusted: ");
    cli_print_safe(stdout, gvm_str(full));
    putchar('\n');
    return cli_flush();
}

static void show(void *ctx, struct gvm_str hex, struct gvm_str path)
{
    (void)ctx;
    printf("%.*s  ", GVM_STR_ARG(hex));
    cli_print_safe(stdout, path);
    putchar('\n');
}

static int list(void)
{
    struct gvm_err err = {0};
    if (cli_trust_list(show, NULL, &err) < 0)
        return cli_fail(GVM_EXIT_ERROR, &err);
    return cli_flush();
}

int cli_trust(int argc, char **argv)
{
    static const struct option options[] = {{"list", no_argument, NULL, 'l'},
                                            {"remove", no_argument, NULL, 'r'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    bool do_list = false, do_remove = false;
    for (int c; (c = getopt_long(argc, argv, "lrh", options, NULL)) != -1;) {
        switch (c) {
        case 'l':
            do_list = true;
            break;
        case 'r':
            do_remove = true;
            break;
        case 'h':
            return cli_help(cli_trust_usage);
        default:
            return cli_bad_option("trust", argv);
        }
    }
    if (do_list)
        return optind == argc ? list() : cli_usage("trust", "--list takes no file");
    if (optind + 1 != argc)
        return cli_usage("trust", "name one file");
    return do_remove ? take_away(argv[optind]) : add(argv[optind]);
}
