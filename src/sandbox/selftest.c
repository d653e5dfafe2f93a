/* The self-test: a real sandbox around a tree planted for it, and this very program inside, trying
 * every probe. Nothing outside the state directory is touched, no daemon is needed.
 *
 * The program inside writes "<number> <errno>" or "<number> signal <n>" a line to its standard
 * output, a pipe of ours. A probe that says nothing did not hold.
 */
#include "sandbox/probe.h"
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define INSIDE_ARGS                                                                                \
    7 /* behind --inside: home, workspace, two halves of the mark, socket, abstract name, pid */
#define MAX_PROBES 256

/* ---- inside ---- */

static void run_probe(const struct probe *p, const struct probe_places *at, size_t number)
{
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(p->fn(p, at) & 0xff);
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        printf("%zu none\n", number);
    else if (WIFSIGNALED(status))
        printf("%zu signal %d\n", number, WTERMSIG(status));
    else
        printf("%zu %d\n", number, WEXITSTATUS(status));
}

/* The probes do what must be refused: mount, unmount, kill, write. Outside of a sandbox, and as
 * root, they would succeed. So this comes before the first: no privilege and a filter, by the
 * kernel's own word. */
static bool proved_inside(void)
{
    static const char *const lines[] = {"\nNoNewPrivs:\t1\n", "\nSeccomp:\t2\n",
                                        "\nCapEff:\t0000000000000000\n",
                                        "\nCapBnd:\t0000000000000000\n"};
    struct gvm_buf text;
    gvm_buf_init(&text, 64 * 1024);
    bool good = getenv("GVM_RUN_ID") && gvm_read_file("/proc/self/status", &text, NULL) == 0;
    for (size_t i = 0; good && i < sizeof(lines) / sizeof(lines[0]); i++)
        good = strstr(gvm_buf_cstr(&text), lines[i]) != NULL;
    gvm_buf_done(&text);
    return good;
}

int gvm_sandbox_probe_inside(int argc, char **argv)
{
    if (!proved_inside()) {
        fputs("gvm: this is no sandbox of ours; nothing was tried\n", stderr);
        return 2;
    }
    static char mark[64];
    size_t nk, nf;
    uint64_t victim = 0;
    const struct probe *kernel = probe_kernel(&nk), *files = probe_files(&nf);
    if (argc != INSIDE_ARGS || gvm_parse_u64(gvm_str(argv[6]), INT32_MAX, &victim) < 0)
        return 2;
    /* In two halves, so that the mark does not stand in this process's own command line. */
    snprintf(mark, sizeof(mark), "%s%s", argv[2], argv[3]);
    const struct probe_places at = {.home = argv[0],
                                    .workspace = argv[1],
                                    .mark = mark,
                                    .socket = argv[4],
                                    .abstract = argv[5],
                                    .victim = (int)victim};
    for (size_t i = 0; i < nk; i++)
        run_probe(&kernel[i], &at, i);
    for (size_t i = 0; i < nf; i++)
        run_probe(&files[i], &at, nk + i);
    /* Not by way of exit(): a sanitizer would look for leaks with ptrace, and fail. */
    _exit(fflush(stdout) == 0 ? 0 : 1);
}

/* ---- outside: what is planted ---- */

struct stage {
    char dir[GVM_PATH_MAX], home[GVM_PATH_MAX + 8], work[GVM_PATH_MAX + 16];
    char mark[40], abstract[48];
    int sockets[2]; /* a file in the workspace, an abstract name */
    pid_t victim;
    unsigned heard; /* refused calls that were told of */
    int out[2], kept_stdout;
};

static int plant(const char *top, const char *rel, const char *text, struct gvm_err *err)
{
    char path[2 * GVM_PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", top, rel);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    int r = gvm_mkdirs(path, 0700, err);
    if (r < 0)
        return r;
    *slash = '/';
    GVM_AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    r = fd < 0 ? -errno : gvm_write_all(fd, text, strlen(text));
    return r < 0 ? gvm_err_sys(err, -r, "cannot make %s", path) : 0;
}

static int plant_all(struct stage *s, struct gvm_err *err)
{
    static const char *const in_home[] = {
        ".ssh/id_ed25519",      ".aws/credentials", ".netrc",
        ".git-credentials",     ".kube/config",     ".docker/config.json",
        ".config/gh/hosts.yml", ".bash_history",    ".env"};
    static const char *const in_work[] = {".env",   "deep/er/.env", "server.key",
                                          "id_rsa", "gvm.toml",     "credentials.json"};
    char text[128];
    snprintf(text, sizeof(text), "SECRET=%s\n", s->mark);
    int r = 0;
    for (size_t i = 0; i < sizeof(in_home) / sizeof(in_home[0]) && r == 0; i++)
        r = plant(s->home, in_home[i], text, err);
    for (size_t i = 0; i < sizeof(in_work) / sizeof(in_work[0]) && r == 0; i++)
        r = plant(s->work, in_work[i], text, err);
    return r == 0 ? plant(s->work, "plain.txt", "plain\n", err) : r;
}

static int listen_at(const struct sockaddr_un *a, socklen_t n)
{
    GVM_AUTOCLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)a, n) < 0 || listen(fd, 4) < 0)
        return -errno;
    return gvm_steal_fd(&fd);
}

/* One socket file in the workspace, named through its directory so that no path is too long, and
 * one abstract name. */
static int plant_sockets(struct stage *s, struct gvm_err *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX}, b = {.sun_family = AF_UNIX};
    GVM_AUTOCLOSE int dir = open(s->work, O_PATH | O_DIRECTORY | O_CLOEXEC);
    snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/host.sock", dir);
    snprintf(b.sun_path + 1, sizeof(b.sun_path) - 1, "%s", s->abstract);
    s->sockets[0] = listen_at(&a, sizeof(a));
    s->sockets[1] = listen_at(
        &b, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(s->abstract)));
    if (s->sockets[0] < 0 || s->sockets[1] < 0)
        return gvm_err_sys(err, EIO, "cannot make the sockets that must not be reached");
    return 0;
}

static int set_stage(struct stage *s, struct gvm_err *err)
{
    char state[GVM_PATH_MAX];
    uint8_t chance[8];
    char hex[17];
    int r = gvm_place(GVM_PLACE_STATE, state, err);
    if (r == 0)
        r = gvm_mkdirs(state, 0700, err);
    if (r < 0)
        return r;
    if (snprintf(s->dir, sizeof(s->dir), "%s/selftest-XXXXXX", state) >= (int)sizeof(s->dir) ||
        !mkdtemp(s->dir))
        return gvm_err_sys(err, errno, "cannot make a directory in %s", state);
    snprintf(s->home, sizeof(s->home), "%s/home", s->dir);
    snprintf(s->work, sizeof(s->work), "%s/work", s->home);
    if (getrandom(chance, sizeof(chance), 0) != sizeof(chance))
        return gvm_err_sys(err, errno, "no random bytes");
    gvm_hex(hex, chance, sizeof(chance));
    snprintf(s->mark, sizeof(s->mark), "planted-secret-%s", hex);
    snprintf(s->abstract, sizeof(s->abstract), "gvm-selftest-%s", hex);
    r = plant_all(s, err);
    if (r == 0)
        r = plant_sockets(s, err);
    if (r < 0)
        return r;
    s->victim = fork();
    if (s->victim == 0) {
        pause();
        _exit(0);
    }
    /* Set where it does no harm to this process, which is loaded already. */
    if (s->victim < 0 || setenv("GVM_SELFTEST_SECRET", s->mark, 1) < 0 ||
        setenv("LD_PRELOAD", "/nonexistent/poison.so", 1) < 0)
        return gvm_err_sys(err, errno, "cannot start a process that must not be reached");
    return 0;
}

static void strike_stage(struct stage *s)
{
    unsetenv("GVM_SELFTEST_SECRET");
    unsetenv("LD_PRELOAD");
    for (int i = 0; i < 2; i++)
        gvm_close(&s->sockets[i]);
    if (s->victim > 0) {
        kill(s->victim, SIGKILL);
        waitpid(s->victim, NULL, 0);
    }
    char *slash = s->dir[0] ? strrchr(s->dir, '/') : NULL;
    if (!slash)
        return;
    *slash = '\0';
    GVM_AUTOCLOSE int state = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state >= 0 && gvm_remove_tree_at(state, slash + 1, NULL) < 0)
        *slash = '/'; /* what is left has nothing in it that is worth anything */
}

/* ---- outside: the sandbox ---- */

/* What the probes say, and what is refused them meanwhile. */
static int listen_to(struct stage *s, struct gvm_sandbox *box, struct gvm_buf *out,
                     struct gvm_err *err)
{
    struct gvm_sandbox_denied denied;
    char mem[4096];
    for (;;) {
        struct pollfd p[2] = {{.fd = s->out[0], .events = POLLIN},
                              {.fd = gvm_sandbox_denials_fd(box), .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return gvm_err_sys(err, errno, "cannot wait for the probes");
        while (p[1].revents && gvm_sandbox_denied(box, &denied) == 1)
            s->heard++;
        ssize_t n = p[0].revents ? read(s->out[0], mem, sizeof(mem)) : -1;
        if (n == 0)
            return 0;
        if (n > 0 && gvm_buf_add(out, mem, (size_t)n) < 0)
            return gvm_err_set(err, EIO, "cannot read what the probes say");
    }
}

static int run_inside(struct stage *s, const char *self, struct gvm_buf *out, struct gvm_err *err)
{
    static const char no_ca[] =
        "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n";
    char run_dir[GVM_PATH_MAX + 16], half[2][40], victim[16];
    snprintf(run_dir, sizeof(run_dir), "%s/run", s->dir);
    size_t middle = strlen(s->mark) / 2;
    snprintf(half[0], sizeof(half[0]), "%.*s", (int)middle, s->mark);
    snprintf(half[1], sizeof(half[1]), "%s", s->mark + middle);
    snprintf(victim, sizeof(victim), "%d", (int)s->victim);
    const char *const argv[] = {self,    "selftest",  "--inside",  s->home, s->work, half[0],
                                half[1], "host.sock", s->abstract, victim,  NULL};
    struct gvm_arena *a = gvm_arena_new(4u << 20);
    struct gvm_sandbox_plan plan = {.run = "selftest",
                                    .argv = argv,
                                    .workspace = s->work,
                                    .home = s->home,
                                    .run_dir = run_dir,
                                    .record = true};
    struct gvm_sandbox *box = NULL;
    int code = 0, r = gvm_mkdirs(run_dir, 0700, err);
    if (r == 0)
        r = a ? gvm_sandbox_env(a, &plan, &plan.env, err)
              : gvm_err_set(err, ENOMEM, "out of memory");
    if (r == 0)
        r = gvm_sandbox_create(&plan, &box, err);
    if (r == 0)
        r = gvm_sandbox_start(box, (struct gvm_str){no_ca, sizeof(no_ca) - 1}, err);
    gvm_close(&s->out[1]);
    if (dup2(s->kept_stdout, 1) < 0 && r == 0)
        r = gvm_err_sys(err, errno, "cannot restore stdout");
    if (r == 0)
        r = listen_to(s, box, out, err);
    if (r == 0)
        r = gvm_sandbox_wait(box, &code, err);
    if (r == 0 && gvm_sandbox_exec_error(box))
        r = gvm_err_set(err, ENOEXEC, "%s", gvm_sandbox_exec_error(box));
    gvm_sandbox_free(box);
    gvm_arena_free(a);
    return r;
}

static int collect(struct stage *s, const char *self, struct gvm_buf *out, struct gvm_err *err)
{
    fflush(stdout);
    s->kept_stdout = fcntl(1, F_DUPFD_CLOEXEC, 3);
    int r = s->kept_stdout < 0 || pipe2(s->out, O_CLOEXEC) < 0 || dup2(s->out[1], 1) < 0
                ? gvm_err_sys(err, errno, "cannot make a pipe")
                : run_inside(s, self, out, err);
    gvm_close(&s->out[0]);
    gvm_close(&s->out[1]);
    gvm_close(&s->kept_stdout);
    return r;
}

/* ---- results ---- */

struct told {
    int code; /* errno; -1 = nothing was said */
    int signal;
};

static void read_line(struct gvm_str line, struct told told[MAX_PROBES])
{
    struct gvm_str number, word;
    uint64_t n, v;
    gvm_str_cut(&line, ' ', &number);
    if (gvm_parse_u64(number, MAX_PROBES - 1, &n) < 0)
        return;
    bool signalled = gvm_str_starts(line, GVM_STR("signal "));
    if (signalled)
        gvm_str_cut(&line, ' ', &word);
    if (gvm_parse_u64(line, 255, &v) < 0)
        return;
    told[n] = signalled ? (struct told){0, (int)v} : (struct told){(int)v, 0};
}

static bool holds(enum probe_want want, const struct told *t)
{
    if (t->code < 0)
        return false;
    switch (want) {
    case PROBE_WORKS:
        return !t->signal && t->code == 0;
    case PROBE_KILLED:
        return t->signal == SIGSYS;
    case PROBE_DENIED:
        return !t->signal && t->code != 0;
    case PROBE_REFUSED:
        return !t->signal && (t->code == EPERM || t->code == EACCES || t->code == ENOSYS);
    }
    return false;
}

static void report_list(const struct probe *list, size_t n, const struct told *told,
                        gvm_sandbox_probed_fn *each, void *arg)
{
    for (size_t i = 0; i < n; i++) {
        struct gvm_sandbox_probed p = {.rows = list[i].rows,
                                       .what = list[i].what,
                                       .must_work = list[i].want == PROBE_WORKS,
                                       .held = holds(list[i].want, &told[i])};
        const char *name = told[i].code > 0 ? strerrorname_np(told[i].code) : NULL;
        if (told[i].signal)
            snprintf(p.got, sizeof(p.got), "SIG%s", sigabbrev_np(told[i].signal));
        else
            snprintf(p.got, sizeof(p.got), "%s",
                     told[i].code < 0    ? "no answer"
                     : told[i].code == 0 ? "it worked"
                     : name              ? name
                                         : "an error");
        each(arg, &p);
    }
}

static void report_one(const char *rows, const char *what, bool held, const char *good,
                       gvm_sandbox_probed_fn *each, void *arg)
{
    struct gvm_sandbox_probed p = {.rows = rows, .what = what, .held = held};
    snprintf(p.got, sizeof(p.got), "%s", held ? good : "not so");
    each(arg, &p);
}

/* What the host looks like afterwards. */
static void report_outside(const struct stage *s, gvm_sandbox_probed_fn *each, void *arg)
{
    char path[GVM_PATH_MAX + 64];
    struct stat st;
    struct pollfd p[2] = {{.fd = s->sockets[0], .events = POLLIN},
                          {.fd = s->sockets[1], .events = POLLIN}};
    snprintf(path, sizeof(path), "%s/probe-file", s->work);
    report_one("-", "outside: the workspace is as it was", lstat(path, &st) < 0, "unharmed", each,
               arg);
    report_one("K1 K3", "outside: nobody came to the sockets", poll(p, 2, 0) == 0, "unharmed", each,
               arg);
    report_one("K9", "outside: refused calls were told of", s->heard > 100, "told", each, arg);
    report_one("K3", "outside: the process lives", kill(s->victim, 0) == 0, "unharmed", each, arg);
}

int gvm_sandbox_selftest(const char *self, gvm_sandbox_probed_fn *each, void *arg,
                         struct gvm_err *err)
{
    struct stage s = {.sockets = {-1, -1}, .victim = -1, .out = {-1, -1}, .kept_stdout = -1};
    static struct told told[MAX_PROBES];
    size_t nk, nf;
    const struct probe *kernel = probe_kernel(&nk), *files = probe_files(&nf);
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, 64u << 10);
    for (size_t i = 0; i < MAX_PROBES; i++)
        told[i].code = -1;
    int r = nk + nf > MAX_PROBES ? gvm_err_set(err, E2BIG, "too many probes") : set_stage(&s, err);
    if (r == 0)
        r = collect(&s, self, &out, err);
    if (r == 0) {
        struct gvm_str rest = gvm_buf_str(&out), line;
        while (rest.n) {
            gvm_str_cut(&rest, '\n', &line);
            read_line(line, told);
        }
        report_list(kernel, nk, told, each, arg);
        report_list(files, nf, told + nk, each, arg);
        report_outside(&s, each, arg);
    }
    strike_stage(&s);
    return r;
}
