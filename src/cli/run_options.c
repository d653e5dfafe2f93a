/* The command line of `gvm run`. */
#include "cli/run.h"
#include "cli/verbs.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <unistd.h>

const char cli_run_usage[] =
    "usage: gvm run [OPTIONS] [--] COMMAND...\n"
    "\n"
    "Runs an agent in a sandbox under your rules. Every connection it makes is\n"
    "judged and recorded; what it writes stays aside until you take it (gvm diff,\n"
    "gvm commit). A script without -- is started with its interpreter (.py .js .mjs\n"
    ".sh).\n"
    "\n"
    "      --sandbox           demand the sandbox (always so in this version)\n"
    "  -w, --watch             let every call through that may ever be, show each\n"
    "                          as it happens, and a summary at the end\n"
    "  -i, --interactive       at the end ask about hosts no rule names\n"
    "  -d, --detach            go on without this terminal; prints the run's id (see\n"
    "                          gvm attach, gvm stop)\n"
    "      --agent-id ID       name in rules and record (default: the command's name)\n"
    "      --config FILE       use this rule file\n"
    "      --workspace DIR     what the agent works on (default: here)\n"
    "      --continue RUN      go on from what that run left staged\n"
    "      --timeout TIME      end the agent after 90, 90s, 10m, 2h; exit code 124\n"
    "      --grace TIME        from asking an agent to end until it is killed\n"
    "                          (default 10s)\n"
    "      --default WHAT      for calls no rule names: deny, approve or delay\n"
    "      --no-intercept HOST do not look into TLS to this host ('*' as in rules)\n"
    "  -e, --env NAME[=VALUE]  pass a variable; without =VALUE, yours\n"
    "      --hide PATH         hide a file or directory of home or workspace\n"
    "      --reveal PATH       show one that is hidden by default\n"
    "      --mount PATH[:overlay]  show another place too, read-only; with :overlay\n"
    "                          writable, and what is written is forgotten\n"
    "      --persist PATH      a place in home this agent keeps between its runs\n"
    "      --device NAME       gpu, dri, nvidia, kvm, sound, video, serial, or a path\n"
    "                          in /dev\n"
    "      --pids N            processes and threads at most (default 1024)\n"
    "      --disk SIZE         bytes the agent may write (default 2GiB); past them\n"
    "                          writes fail, until it deletes something\n"
    "      --publish H:P       reach port P inside as 127.0.0.1:H (0: any)\n"
    "      --without LAYER     run although this machine has no landlock, or cannot\n"
    "                          limit root's pids; the record says so\n"
    "      --memory SIZE       memory of all its processes together\n"
    "      --cpus N            processors at most, such as 2 or 0.5\n"
    "      --seccomp PROFILE   system calls: default, strict, or a file in the OCI\n"
    "                          format, which only takes away\n"
    "      --json[=FILE]       with --watch: events as JSON lines to FILE, or stderr\n"
    "  -h, --help              this text\n"
    "\n"
    "Exit code: the agent's; 124 timeout, 125 GVM could not set up, 126 and 127 the\n"
    "command could not be executed or found, 128+N ended by signal N.\n";

const char cli_watch_usage[] =
    "usage: gvm watch [OPTIONS] [--] COMMAND...\n"
    "\n"
    "The same as gvm run --watch: see what an agent calls. See gvm run --help.\n";

enum {
    OPT_SANDBOX = 256,
    OPT_COOPERATIVE,
    OPT_AGENT,
    OPT_CONFIG,
    OPT_WORKSPACE,
    OPT_TIMEOUT,
    OPT_DEFAULT,
    OPT_NO_INTERCEPT,
    OPT_JSON,
    OPT_HIDE,
    OPT_REVEAL,
    OPT_PIDS,
    OPT_DISK,
    OPT_CONTINUE,
    OPT_MEMORY,
    OPT_CPUS,
    OPT_WITHOUT,
    OPT_PUBLISH,
    OPT_SECCOMP,
    OPT_GRACE,
    OPT_MOUNT,
    OPT_DEVICE,
    OPT_PERSIST
};

static const struct option longs[] = {
    {"sandbox", no_argument, NULL, OPT_SANDBOX},
    {"cooperative", no_argument, NULL, OPT_COOPERATIVE},
    {"watch", no_argument, NULL, 'w'},
    {"interactive", no_argument, NULL, 'i'},
    {"detach", no_argument, NULL, 'd'},
    {"agent-id", required_argument, NULL, OPT_AGENT},
    {"config", required_argument, NULL, OPT_CONFIG},
    {"workspace", required_argument, NULL, OPT_WORKSPACE},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"grace", required_argument, NULL, OPT_GRACE},
    {"default", required_argument, NULL, OPT_DEFAULT},
    {"no-intercept", required_argument, NULL, OPT_NO_INTERCEPT},
    {"env", required_argument, NULL, 'e'},
    {"hide", required_argument, NULL, OPT_HIDE},
    {"reveal", required_argument, NULL, OPT_REVEAL},
    {"mount", required_argument, NULL, OPT_MOUNT},
    {"device", required_argument, NULL, OPT_DEVICE},
    {"persist", required_argument, NULL, OPT_PERSIST},
    {"pids", required_argument, NULL, OPT_PIDS},
    {"disk", required_argument, NULL, OPT_DISK},
    {"continue", required_argument, NULL, OPT_CONTINUE},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"cpus", required_argument, NULL, OPT_CPUS},
    {"without", required_argument, NULL, OPT_WITHOUT},
    {"publish", required_argument, NULL, OPT_PUBLISH},
    {"seccomp", required_argument, NULL, OPT_SECCOMP},
    {"json", optional_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static int add(struct run_list *l, const char *value, const char *option)
{
    if (l->n == RUN_MAX_LIST)
        return cli_usage("run", "--%s can be given %d times at most", option, RUN_MAX_LIST);
    l->v[l->n++] = value;
    return -1;
}

static int set_default(struct run_options *o)
{
    static const char *const known[] = {"deny", "approve", "delay"};
    for (int i = 0; i < 3; i++)
        if (strcmp(optarg, known[i]) == 0) {
            o->dflt = known[i];
            return -1;
        }
    return cli_usage("run", "--default is deny, approve or delay, not '%s'", optarg);
}

#define LEAST_MEMORY (16u << 20) /* no interpreter starts with less */

/* "2", "0.5", "1.25" to thousandths; 0 when it is nothing of the kind. */
static unsigned parse_cpus(struct gvm_str s)
{
    struct gvm_str whole;
    uint64_t n = 0, part = 0;
    bool dot = gvm_str_cut(&s, '.', &whole);
    if (gvm_parse_u64(whole, 4096, &n) < 0 || (dot && (s.n == 0 || s.n > 3)))
        return 0;
    for (size_t i = 0; dot && i < 3; i++) {
        char c = i < s.n ? s.p[i] : '0';
        if (c < '0' || c > '9')
            return 0;
        part = part * 10 + (uint64_t)(c - '0');
    }
    return (unsigned)(n * 1000 + part);
}

static int set_number(int c, struct run_options *o)
{
    struct gvm_str s = gvm_str(optarg);
    if (c == OPT_TIMEOUT && (gvm_parse_duration_ms(s, &o->timeout_ms) < 0 || !o->timeout_ms))
        return cli_usage("run", "--timeout is a time such as 90s or 10m, not '%s'", optarg);
    if (c == OPT_GRACE &&
        (gvm_parse_duration_ms(s, &o->grace_ms) < 0 || !o->grace_ms || o->grace_ms > 86400000))
        return cli_usage("run", "--grace is a time up to 24h such as 30s, not '%s'", optarg);
    if (c == OPT_PIDS && (gvm_parse_u64(s, 1000000, &o->max_pids) < 0 || o->max_pids < 2))
        return cli_usage("run", "--pids is a number from 2 on, not '%s'", optarg);
    if (c == OPT_DISK && (gvm_parse_size(s, &o->max_disk) < 0 || !o->max_disk))
        return cli_usage("run", "--disk is a size such as 500M or 2GiB, not '%s'", optarg);
    if (c == OPT_MEMORY && (gvm_parse_size(s, &o->max_memory) < 0 || o->max_memory < LEAST_MEMORY))
        return cli_usage("run", "--memory is a size from 16M on, such as 2GiB, not '%s'", optarg);
    if (c == OPT_CPUS) {
        o->max_cpus = parse_cpus(s);
        if (o->max_cpus < 10)
            return cli_usage("run", "--cpus is a number from 0.01 on, not '%s'", optarg);
    }
    return -1;
}

/* Options that are a text or one more of a list. */
static const struct {
    int c;
    bool list;
    size_t at; /* in struct run_options */
    const char *name;
} texts[] = {
    {OPT_AGENT, false, offsetof(struct run_options, agent), "agent-id"},
    {OPT_CONFIG, false, offsetof(struct run_options, config), "config"},
    {OPT_CONTINUE, false, offsetof(struct run_options, go_on), "continue"},
    {OPT_WORKSPACE, false, offsetof(struct run_options, workspace), "workspace"},
    {OPT_SECCOMP, false, offsetof(struct run_options, seccomp), "seccomp"},
    {OPT_NO_INTERCEPT, true, offsetof(struct run_options, no_intercept), "no-intercept"},
    {'e', true, offsetof(struct run_options, pass), "env"},
    {OPT_WITHOUT, true, offsetof(struct run_options, without), "without"},
    {OPT_PUBLISH, true, offsetof(struct run_options, publish), "publish"},
    {OPT_HIDE, true, offsetof(struct run_options, hide), "hide"},
    {OPT_MOUNT, true, offsetof(struct run_options, mounts), "mount"},
    {OPT_DEVICE, true, offsetof(struct run_options, devices), "device"},
    {OPT_PERSIST, true, offsetof(struct run_options, persist), "persist"},
    {OPT_REVEAL, true, offsetof(struct run_options, reveal), "reveal"},
};

/* -1 = go on; -2 = it is none of these. */
static int set_text(int c, struct run_options *o)
{
    if (c == OPT_WITHOUT && !gvm_sandbox_layer(optarg))
        return cli_usage("run", "--without is landlock or pids, not '%s'", optarg);
    if (c == OPT_PUBLISH && !run_publish_ok(optarg))
        return cli_usage("run", "--publish is HOSTPORT:PORT, such as 8080:3000, not '%s'", optarg);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        void *at = (char *)o + texts[i].at;
        if (texts[i].c == c && texts[i].list)
            return add(at, optarg, texts[i].name);
        if (texts[i].c == c) {
            *(const char **)at = optarg;
            return -1;
        }
    }
    return -2;
}

/* -1 = go on. */
static int take(int c, char **argv, struct run_options *o)
{
    int code = optarg ? set_text(c, o) : -2;
    if (code != -2)
        return code;
    switch (c) {
    case OPT_SANDBOX:
        return -1;
    case OPT_COOPERATIVE:
        return cli_usage("run", "--cooperative is not in this version; the sandbox is always used");
    case 'w':
        o->watch = true;
        return -1;
    case 'i':
        o->ask = true;
        return -1;
    case 'd':
        o->detach = true;
        return -1;
    case OPT_DEFAULT:
        return set_default(o);
    case OPT_TIMEOUT:
    case OPT_GRACE:
    case OPT_PIDS:
    case OPT_DISK:
    case OPT_MEMORY:
    case OPT_CPUS:
        return set_number(c, o);
    case OPT_JSON:
        o->json = true;
        o->json_file = optarg;
        return -1;
    case 'h':
        return cli_help(strcmp(argv[0], "watch") == 0 ? cli_watch_usage : cli_run_usage);
    default:
        return cli_bad_option(argv[0], argv);
    }
}

int run_parse(int argc, char **argv, struct run_options *ret)
{
    int code = -1;
    for (int c; code < 0 && (c = getopt_long(argc, argv, "+wide:h", longs, NULL)) != -1;)
        code = take(c, argv, ret);
    if (code >= 0)
        return code;
    ret->literal = optind > 1 && strcmp(argv[optind - 1], "--") == 0;
    if (ret->json && !ret->watch)
        return cli_usage("run", "--json needs --watch");
    if (ret->detach && ret->ask)
        return cli_usage("run", "--interactive needs a terminal, --detach lets go of it");
    if (optind >= argc)
        return cli_usage("run", "there is no command to run");
    ret->command = argv + optind;
    return -1;
}

/* ---- which program ---- */

static const char *interpreter_of(const char *script)
{
    static const struct {
        const char *ending, *program;
    } known[] = {
        {".py", "python3"}, {".js", "node"}, {".mjs", "node"}, {".cjs", "node"}, {".sh", "sh"}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (gvm_str_ends(gvm_str(script), gvm_str(known[i].ending)) && access(script, F_OK) == 0)
            return known[i].program;
    return NULL;
}

/* The command's last path component, with what a name in rules may not hold replaced. */
static void name_agent(struct run *r, const char *command)
{
    const char *slash = strrchr(command, '/');
    const char *base = slash && slash[1] ? slash + 1 : command;
    size_t n = 0;
    for (; n < GVM_MAX_AGENT && base[n]; n++) {
        char c = base[n];
        bool bad = c <= ' ' || c > '~' || c == '"' || c == '\\' || c == '*' || c == '?';
        r->agent[n] = bad ? '_' : c;
    }
    r->agent[n] = '\0';
}

int run_choose_command(struct run *r, struct gvm_err *err)
{
    char **words = r->opt.command;
    size_t n = 0;
    while (words[n])
        n++;
    const char *program = r->opt.literal || !n ? NULL : interpreter_of(words[0]);
    const char **argv = gvm_arena_alloc(r->arena, (n + 2) * sizeof(*argv));
    if (!argv || !n)
        return gvm_err_set(err, E2BIG, n ? "the command is too long" : "there is no command");
    size_t at = 0;
    if (program)
        argv[at++] = program;
    for (size_t i = 0; i < n; i++)
        argv[at++] = words[i];
    r->argv = argv;
    if (r->opt.agent) {
        if (gvm_str_copy(r->agent, sizeof(r->agent), gvm_str(r->opt.agent)) < 0)
            return gvm_err_set(err, EINVAL, "an agent id has at most %u characters", GVM_MAX_AGENT);
        return 0;
    }
    name_agent(r, words[0]);
    return 0;
}
