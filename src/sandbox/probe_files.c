/* What a sandbox must not show its agent or let it change, tried from inside. */
#include "sandbox/probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char *const readable[] = {
    /* T-V01 T-V08 T-E2 T-N01 */ "/etc/shadow",
    "/etc/sudoers",
    "/etc/crontab",
    "/dev/mem",
    "/dev/kmsg",
    "/dev/port",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kallsyms",
    "/proc/1/environ",
    "/proc/1/mem",
    "/proc/1/maps",
};
static const char *const writable[] = {
    "/proc/sys/kernel/core_pattern",  "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger",
    "/proc/sys/vm/overcommit_memory", "/proc/self/uid_map",        "/sys/fs/cgroup/cgroup.procs",
};
static const char *const creatable[] = {"/usr/bin/probe", "/etc/probe", "/lib/probe", "/probe",
                                        "/proc/probe",    "/dev/probe", "/opt/probe"};
/* Relative to the home, then to the workspace; all hold the mark outside. */
static const char *const secrets[] = {
    ".ssh/id_ed25519",      ".aws/credentials", ".netrc",
    ".git-credentials",     ".kube/config",     ".docker/config.json",
    ".config/gh/hosts.yml", ".bash_history",    ".env"};
static const char *const work_secrets[] = {".env",   "deep/er/.env", "server.key",
                                           "id_rsa", "gvm.toml",     "credentials.json"};

/* The mark, when the file shows it; a file that cannot be opened is fine. */
static bool shows(const char *path, const char *mark)
{
    char text[4096];
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
    gvm_close(&fd);
    return n > 0 && memmem(text, (size_t)n, mark, strlen(mark)) != NULL;
}

/* a: index into readable */
static int try_read(const struct probe *p, const struct probe_places *at)
{
    char c;
    (void)at;
    int fd = open(readable[p->a], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int code = read(fd, &c, 1) < 0 ? errno : 0;
    gvm_close(&fd);
    return code;
}

static int try_write(const struct probe *p, const struct probe_places *at)
{
    (void)at;
    return open(writable[p->a], O_WRONLY | O_CLOEXEC) < 0 ? errno : 0;
}

static int try_create(const struct probe *p, const struct probe_places *at)
{
    (void)at;
    return open(creatable[p->a], O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0 ? errno : 0;
}

static int try_secret(const struct probe *p, const struct probe_places *at)
{
    char path[GVM_PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", p->b ? at->workspace : at->home,
             p->b ? work_secrets[p->a] : secrets[p->a]);
    return shows(path, at->mark) ? 0 : ENOENT;
}

/* a: 0 a link that leads out of the workspace, 1 a hidden directory made anew, 2 its parent under
 * another name */
static int try_around(const struct probe *p, const struct probe_places *at)
{
    char from[GVM_PATH_MAX], to[GVM_PATH_MAX];
    int r = 0;
    snprintf(from, sizeof(from), "%s/.ssh/id_ed25519", at->home);
    if (p->a == 0) {
        snprintf(to, sizeof(to), "%s/probe-link", at->workspace);
        r = symlink(from, to);
    } else if (p->a == 1) {
        snprintf(to, sizeof(to), "%s/.ssh", at->home);
        r = mkdir(to, 0700);
        snprintf(to, sizeof(to), "%s", from);
    } else {
        snprintf(from, sizeof(from), "%s/deep", at->workspace);
        snprintf(to, sizeof(to), "%s/probe-moved", at->workspace);
        r = rename(from, to);
        snprintf(to, sizeof(to), "%s/probe-moved/er/.env", at->workspace);
    }
    return shows(to, at->mark) ? 0 : r < 0 ? errno : ENOENT;
}

/* Variables that make later commands run something else. */
static int try_poison(const struct probe *p, const struct probe_places *at)
{
    static const char *const names[] = {"LD_PRELOAD",    "LD_LIBRARY_PATH", "NODE_OPTIONS",
                                        "PYTHONSTARTUP", "BASH_ENV",        "PERL5OPT"};
    (void)p;
    (void)at;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (getenv(names[i]))
            return 0;
    return ENOENT;
}

static int try_environment(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    for (char **e = environ; *e; e++)
        if (strstr(*e, at->mark))
            return 0;
    return ENOENT;
}

/* Files of every process that could tell about the caller outside. */
static int try_proc(const struct probe *p, const struct probe_places *at)
{
    static const char *const names[] = {"environ", "cmdline", "maps", "mountinfo", "stat"};
    int code = ENOENT;
    (void)p;
    DIR *d = opendir("/proc");
    for (const struct dirent *e; d && (e = readdir(d));) {
        char path[GVM_PATH_MAX];
        /* Its own command line is how this very program learnt the mark. */
        if (e->d_name[0] < '0' || e->d_name[0] > '9')
            continue;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            snprintf(path, sizeof(path), "/proc/%s/%s", e->d_name, names[i]);
            if (shows(path, at->mark))
                code = 0;
        }
    }
    if (d)
        closedir(d);
    return d ? code : 0;
}

static int try_init_root(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    DIR *d = opendir("/proc/1/root/");
    int code = d ? 0 : errno;
    if (d)
        closedir(d);
    return code;
}

static int connect_to(const char *name, bool abstract, int type)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    if (n + 1 >= sizeof(a.sun_path))
        return ENAMETOOLONG;
    memcpy(a.sun_path + abstract, name, n);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    int code = connect(fd, (struct sockaddr *)&a,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + n)) < 0
                   ? errno
                   : 0;
    gvm_close(&fd);
    return code;
}

/* a: socket type */
static int try_connect(const struct probe *p, const struct probe_places *at)
{
    return connect_to(at->socket, false, (int)p->a);
}

static int try_abstract(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    return connect_to(at->abstract, true, SOCK_STREAM);
}

static int try_victim(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    return kill(at->victim, SIGKILL) < 0 ? errno : 0;
}

/* Refused when there is nothing but lo. */
static int try_interfaces(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    struct if_nameindex *all = if_nameindex();
    int code = ENODEV;
    for (struct if_nameindex *i = all; i && i->if_index; i++)
        if (strcmp(i->if_name, "lo") != 0)
            code = 0;
    if_freenameindex(all);
    return code;
}

/* A datagram past every listener: the kernel refuses it at once. a: port */
static int try_datagram(const struct probe *p, const struct probe_places *at)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)p->a),
                             .sin_addr.s_addr = htonl(0x08080808)};
    char c;
    (void)at;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), code = 0;
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 || send(fd, "x", 1, 0) < 0 ||
        recv(fd, &c, 1, MSG_DONTWAIT) < 0)
        code = errno;
    gvm_close(&fd);
    return code;
}

static int try_terminal(const struct probe *p, const struct probe_places *at)
{
    (void)p;
    (void)at;
    return open("/dev/tty", O_RDWR | O_CLOEXEC) < 0 ? errno : 0;
}

/* a: 0 = this process, 1 = the init. Refused when every set is empty. */
static int try_capabilities(const struct probe *p, const struct probe_places *at)
{
    struct gvm_buf text;
    struct gvm_str rest, line;
    int code = EPERM;
    (void)at;
    gvm_buf_init(&text, 1u << 16);
    if (gvm_read_file(p->a ? "/proc/1/status" : "/proc/self/status", &text, NULL) < 0)
        code = 0;
    for (rest = gvm_buf_str(&text); rest.n;) {
        gvm_str_cut(&rest, '\n', &line);
        if (gvm_str_starts(line, GVM_STR("Cap")) &&
            !gvm_str_ends(line, GVM_STR("\t0000000000000000")))
            code = 0;
    }
    gvm_buf_done(&text);
    return code;
}

/* a: 0 = the workspace, 1 = the home, 2 = /tmp */
static int do_write(const struct probe *p, const struct probe_places *at)
{
    char path[GVM_PATH_MAX];
    const char *const dirs[] = {at->workspace, at->home, "/tmp"};
    snprintf(path, sizeof(path), "%s/probe-file", dirs[p->a]);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int code = fd < 0 || write(fd, "x", 1) != 1 ? errno : 0;
    gvm_close(&fd);
    return code;
}

static int do_read(const struct probe *p, const struct probe_places *at)
{
    char path[GVM_PATH_MAX];
    (void)p;
    snprintf(path, sizeof(path), "%s/plain.txt", at->workspace);
    return shows(path, "plain") ? 0 : ENOENT;
}

static const struct probe probes[] = {
    {"T-V01", "reading /etc/shadow", PROBE_DENIED, try_read, 0, 0, 0},
    {"T-V14", "reading /etc/sudoers", PROBE_DENIED, try_read, 1, 0, 0},
    {"T-V08", "reading /etc/crontab", PROBE_DENIED, try_read, 2, 0, 0},
    {"T-E2", "reading /dev/mem", PROBE_DENIED, try_read, 3, 0, 0},
    {"T-E2", "reading /dev/kmsg", PROBE_DENIED, try_read, 4, 0, 0},
    {"T-E2", "reading /dev/port", PROBE_DENIED, try_read, 5, 0, 0},
    {"T-N01", "reading /proc/kcore", PROBE_DENIED, try_read, 6, 0, 0},
    {"T-N01", "reading /proc/keys", PROBE_DENIED, try_read, 7, 0, 0},
    {"T-N01", "reading /proc/kmsg", PROBE_DENIED, try_read, 8, 0, 0},
    {"-", "reading /proc/kallsyms", PROBE_DENIED, try_read, 9, 0, 0},
    {"K8", "reading the init's environment", PROBE_DENIED, try_read, 10, 0, 0},
    {"K8", "reading the init's memory", PROBE_DENIED, try_read, 11, 0, 0},
    {"K8", "reading the init's map", PROBE_DENIED, try_read, 12, 0, 0},
    {"T-V14", "looking into /proc/1/root", PROBE_DENIED, try_init_root, 0, 0, 0},
    {"T-N01", "writing core_pattern", PROBE_DENIED, try_write, 0, 0, 0},
    {"T-N01", "writing modprobe", PROBE_DENIED, try_write, 1, 0, 0},
    {"T-N01", "writing sysrq-trigger", PROBE_DENIED, try_write, 2, 0, 0},
    {"T-N01", "writing overcommit_memory", PROBE_DENIED, try_write, 3, 0, 0},
    {"T-N03", "writing its own uid map", PROBE_DENIED, try_write, 4, 0, 0},
    {"T-E4", "leaving its control group", PROBE_DENIED, try_write, 5, 0, 0},
    {"T-V07", "a new file in /usr/bin", PROBE_DENIED, try_create, 0, 0, 0},
    {"T-V07", "a new file in /etc", PROBE_DENIED, try_create, 1, 0, 0},
    {"T-V07", "a new file in /lib", PROBE_DENIED, try_create, 2, 0, 0},
    {"T-V07", "a new file in /", PROBE_DENIED, try_create, 3, 0, 0},
    {"T-V07", "a new file in /proc", PROBE_DENIED, try_create, 4, 0, 0},
    {"T-V07", "a new file in /dev", PROBE_DENIED, try_create, 5, 0, 0},
    {"T-V07", "a new file in /opt", PROBE_DENIED, try_create, 6, 0, 0},
    {"T-V02", "~/.ssh", PROBE_DENIED, try_secret, 0, 0, 0},
    {"T-N11", "~/.aws", PROBE_DENIED, try_secret, 1, 0, 0},
    {"T-N11", "~/.netrc", PROBE_DENIED, try_secret, 2, 0, 0},
    {"T-N11", "~/.git-credentials", PROBE_DENIED, try_secret, 3, 0, 0},
    {"T-N11", "~/.kube", PROBE_DENIED, try_secret, 4, 0, 0},
    {"T-N11", "~/.docker", PROBE_DENIED, try_secret, 5, 0, 0},
    {"K1", "~/.config/gh", PROBE_DENIED, try_secret, 6, 0, 0},
    {"T-N11", "the shell's history", PROBE_DENIED, try_secret, 7, 0, 0},
    {"T-N11", "~/.env", PROBE_DENIED, try_secret, 8, 0, 0},
    {"T-N09", "values of the workspace's .env", PROBE_DENIED, try_secret, 0, 1, 0},
    {"T-N09", "values of a .env further down", PROBE_DENIED, try_secret, 1, 1, 0},
    {"T-N09", "a private key in the workspace", PROBE_DENIED, try_secret, 2, 1, 0},
    {"T-N09", "an ssh key in the workspace", PROBE_DENIED, try_secret, 3, 1, 0},
    {"T-N09", "gvm.toml in the workspace", PROBE_DENIED, try_secret, 4, 1, 0},
    {"T-N09", "credentials.json", PROBE_DENIED, try_secret, 5, 1, 0},
    {"F2", "a secret by a link out of the workspace", PROBE_DENIED, try_around, 0, 0, 0},
    {"F3", "a hidden place made anew, then read", PROBE_DENIED, try_around, 1, 0, 0},
    {"F4", "a secret whose folder was renamed", PROBE_DENIED, try_around, 2, 0, 0},
    {"F12", "variables that make programs run others", PROBE_DENIED, try_poison, 0, 0, 0},
    {"T-N10", "the caller's variables", PROBE_DENIED, try_environment, 0, 0, 0},
    {"K8", "the caller's variables in /proc", PROBE_DENIED, try_proc, 0, 0, 0},
    {"K1", "a socket file of the host", PROBE_DENIED, try_connect, SOCK_STREAM, 0, 0},
    {"K2", "the same, with datagrams", PROBE_DENIED, try_connect, SOCK_DGRAM, 0, 0},
    {"K3 T-N05", "an abstract socket of the host", PROBE_DENIED, try_abstract, 0, 0, 0},
    {"K3 T-N05", "killing a process of the host", PROBE_DENIED, try_victim, 0, 0, 0},
    {"T-E3", "a network interface beside lo", PROBE_DENIED, try_interfaces, 0, 0, 0},
    {"T-N07", "QUIC (UDP 443) past the proxy", PROBE_REFUSED, try_datagram, 443, 0, 0},
    {"T-N07", "UDP to any port", PROBE_REFUSED, try_datagram, 9999, 0, 0},
    {"T-N04", "the caller's terminal", PROBE_DENIED, try_terminal, 0, 0, 0},
    {"T-N03 T-E1", "a capability of its own", PROBE_DENIED, try_capabilities, 0, 0, 0},
    {"T-N03", "a capability of the init", PROBE_DENIED, try_capabilities, 1, 0, 0},
    {"-", "reading the workspace", PROBE_WORKS, do_read, 0, 0, 0},
    {"-", "writing to the workspace", PROBE_WORKS, do_write, 0, 0, 0},
    {"-", "writing to the home", PROBE_WORKS, do_write, 1, 0, 0},
    {"-", "writing to /tmp", PROBE_WORKS, do_write, 2, 0, 0},
};

const struct probe *probe_files(size_t *ret_n)
{
    *ret_n = sizeof(probes) / sizeof(probes[0]);
    return probes;
}
