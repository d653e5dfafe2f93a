/* The command line of gvmd: the parent, or one of its children. */
#include "daemon/daemon.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/resource.h>

#include "control/control.h"
#include "daemon/daemon_int.h"
#include "keys/keys.h"
#include "ledger/ledger.h"
#include "proxy/proxy.h"

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "usage: gvmd [--foreground] [--ready-fd N]\n"
    "\n"
    "The daemon of gvm: `gvm run` starts it when needed. It stays in the foreground;\n"
    "words go to stderr. SIGTERM ends it, SIGHUP reads the rules again.\n"
    "\n"
    "      --foreground  accepted for service files; it is what happens anyway\n"
    "      --ready-fd N  write one byte to descriptor N when serving\n"
    "      --version     print the version\n"
    "  -h, --help        this text\n"
    "\n"
    "Exit code: 0 stopped, 1 error, 2 usage, 3 already running.\n";

static const struct {
    const char *role, *log_name;
    int (*main)(int fd);
} roles[] = {
    {"proxy", "gvmd[proxy]", gvm_proxy_main},
    {"keys", "gvmd[keys]", gvm_keys_main},
    {"ledger", "gvmd[ledger]", gvm_ledger_main},
    {"control", "gvmd[control]", gvm_control_main},
};

struct options {
    const char *child;
    int fd, ready_fd;
};

static int usage_error(const char *text)
{
    fprintf(stderr, "gvmd: %s (see gvmd --help)\n", text);
    return EXIT_USAGE;
}

/* A descriptor number that is open; made close-on-exec. */
static int parse_fd(const char *text)
{
    uint64_t v;
    if (gvm_parse_u64(gvm_str(text), 1u << 20, &v) < 0 || fcntl((int)v, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    return (int)v;
}

static int run_child(const struct options *o)
{
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(o->child, roles[i].role) != 0)
            continue;
        if (o->fd < 0)
            return usage_error("--child is for gvmd itself and needs --fd");
        gvm_log_open(roles[i].log_name);
        return roles[i].main(o->fd);
    }
    return usage_error("no such child");
}

/* -1 = go on, else an exit code. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"foreground", no_argument, NULL, 'F'},
        {"ready-fd", required_argument, NULL, 'r'},
        {"child", required_argument, NULL, 'c'},
        {"fd", required_argument, NULL, 'f'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        switch (c) {
        case 'F':
            break;
        case 'r':
            o->ready_fd = parse_fd(optarg);
            if (o->ready_fd < 0)
                return usage_error("--ready-fd needs the number of an open descriptor");
            break;
        case 'c':
            o->child = optarg;
            break;
        case 'f':
            o->fd = parse_fd(optarg);
            break;
        case 'V':
            puts("gvmd " DAEMON_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            return EXIT_USAGE;
        }
    }
    return optind < argc ? usage_error("takes no arguments") : -1;
}

/* A run costs seven descriptors and a connection two: the usual 1024 are for programs that use
 * select(). The children inherit it. */
static void raise_files(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &r);
    }
}

int gvm_daemon_main(int argc, char **argv)
{
    struct options o = {.fd = -1, .ready_fd = -1};
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    if (o.child)
        return run_child(&o);
    gvm_log_open("gvmd");
    raise_files();
    return daemon_parent(o.ready_fd);
}
