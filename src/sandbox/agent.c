/* The agent's process between fork and exec.
 *
 * Everything a failed step has to say goes to the init as notes through a socket that closes by
 * itself when exec succeeds. After the seccomp filter only its listener, exec and that report
 * remain; the listener is gone from here before the agent's program begins, so that no agent can
 * answer for itself.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#define REPORT_FD 3

static _Noreturn void report(int fd, enum sandbox_note_type type, int code, const char *text)
{
    if (sandbox_send(fd, type, code, text, strlen(text), NULL, 0) < 0)
        _exit(125);
    if (type != SANDBOX_NOTE_EXEC_FAILED)
        _exit(125);
    _exit(code == ENOENT || code == ENOTDIR ? 127 : 126);
}

/* ---- standard descriptors ---- */

static int prepare_terminal(const struct gvm_sandbox_plan *plan, int tty)
{
    struct winsize w = plan->winsize;
    if (plan->termios && tcsetattr(tty, TCSANOW, plan->termios) < 0)
        return -errno;
    if (w.ws_row && ioctl(tty, TIOCSWINSZ, &w) < 0)
        return -errno;
    return 0;
}

static int set_standard_fds(struct sandbox_init *in, struct gvm_err *err)
{
    GVM_AUTOCLOSE int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    GVM_AUTOCLOSE int tty = -1;
    if (null_fd < 0)
        return gvm_err_sys(err, errno, "cannot open /dev/null");
    if (in->plan->pty) {
        tty = ioctl(in->pty, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (tty < 0 || ioctl(tty, TIOCSCTTY, 0) < 0 || prepare_terminal(in->plan, tty) < 0)
            return gvm_err_sys(err, errno, "cannot give the agent a terminal");
    }
    for (int fd = 0; fd < 3; fd++) {
        bool keep = fcntl(fd, F_GETFD) >= 0 && (fd != 0 || in->plan->pass_stdin);
        int from = tty >= 0 && isatty(fd) ? tty : keep ? -1 : null_fd;
        if (from >= 0 && dup2(from, fd) < 0)
            return gvm_err_sys(err, errno, "cannot set descriptor %d", fd);
    }
    return 0;
}

static void reset_signals(void)
{
    sigset_t none;
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    for (int s = 1; s < NSIG; s++)
        sigaction(s, &dfl, NULL);
    signal(SIGXFSZ, SIG_IGN); /* too much written is an error to the program (disk.c) */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- exec ---- */

static const char *path_of(const struct gvm_sandbox_plan *plan)
{
    for (const char *const *e = plan->env; *e; e++)
        if (strncmp(*e, "PATH=", 5) == 0)
            return *e + 5;
    return "/usr/local/bin:/usr/bin:/bin";
}

/* A text file without "#!" is for the shell, as execvp(3) has it. */
static void exec_shell(const struct gvm_sandbox_plan *plan, const char *file, char *const *argv)
{
    char *args[1024] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t)file};
    size_t n = 1;
    while (n < 1021 && argv[n]) {
        args[n + 1] = argv[n];
        n++;
    }
    if (!argv[n])
        execve("/bin/sh", args, (char *const *)(uintptr_t)plan->env);
}

static int try_exec(const struct gvm_sandbox_plan *plan, const char *file)
{
    char *const *argv = (char *const *)(uintptr_t)plan->argv;
    execve(file, argv, (char *const *)(uintptr_t)plan->env);
    int code = errno;
    if (code == ENOEXEC)
        exec_shell(plan, file, argv);
    return code;
}

/* Returns the errno that says most: EACCES from one place in PATH weighs more than ENOENT from the
 * others. */
static int exec_command(const struct gvm_sandbox_plan *plan)
{
    const char *cmd = plan->argv[0];
    if (strchr(cmd, '/'))
        return try_exec(plan, cmd);
    int code = ENOENT;
    struct gvm_str rest = gvm_str(path_of(plan)), dir;
    while (rest.n) {
        char file[GVM_PATH_MAX];
        gvm_str_cut(&rest, ':', &dir);
        if (snprintf(file, sizeof(file), "%.*s/%s", GVM_STR_ARG(dir.n ? dir : GVM_STR(".")), cmd) >=
            (int)sizeof(file))
            continue;
        int c = try_exec(plan, file);
        if (c != ENOENT && c != ENOTDIR)
            code = c;
    }
    return code;
}

static int confine(struct sandbox_init *in, struct gvm_err *err)
{
    static const struct {
        const char *name;
        sandbox_step_fn *fn;
    } steps[] = {{"limits", sandbox_limits}, {"landlock", sandbox_landlock}};
    for (size_t i = 0; i < 2; i++) {
        if (sandbox_test_fails(steps[i].name))
            return gvm_err_set(err, EIO, "%s: made to fail by a test", steps[i].name);
        int r = steps[i].fn(in, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Who listens is far away: the init, and then the launcher. */
static int load_filter(struct sandbox_init *in, int report_fd, struct gvm_err *err)
{
    GVM_AUTOCLOSE int listener = -1;
    if (sandbox_test_fails("seccomp"))
        return gvm_err_set(err, EIO, "seccomp: made to fail by a test");
    int r = sandbox_seccomp_agent(in, &listener, err);
    if (r < 0 || listener < 0)
        return r;
    r = sandbox_send(report_fd, SANDBOX_NOTE_DENIALS, 0, NULL, 0, &listener, 1);
    return r < 0 ? gvm_err_sys(err, -r, "cannot hand over the filter's listener") : 0;
}

static _Noreturn void agent_main(struct sandbox_init *in, int report_fd)
{
    struct gvm_err err = {0};
    const struct gvm_sandbox_plan *plan = in->plan;
    if (setsid() < 0)
        gvm_err_sys(&err, errno, "cannot start a session");
    if (!err.code && set_standard_fds(in, &err) == 0 && confine(in, &err) == 0 &&
        chdir(plan->cwd ? plan->cwd : plan->workspace) < 0)
        gvm_err_sys(&err, errno, "cannot enter %s", plan->cwd ? plan->cwd : plan->workspace);
    /* Nothing but 0, 1, 2 and the report, which closes on exec, reaches the agent's program. */
    if (!err.code && ((report_fd != REPORT_FD && dup3(report_fd, REPORT_FD, O_CLOEXEC) < 0) ||
                      syscall(SYS_close_range, REPORT_FD + 1, ~0u, 0) < 0))
        gvm_err_sys(&err, errno,
                    "cannot close the descriptors of the setup (Linux 5.9 or newer is needed)");
    else if (!err.code)
        report_fd = REPORT_FD;
    umask(in->umask);
    reset_signals();
    if (!err.code && load_filter(in, report_fd, &err) == 0) {
        int code = exec_command(plan);
        gvm_err_sys(&err, code, "cannot execute %s", plan->argv[0]);
        report(report_fd, SANDBOX_NOTE_EXEC_FAILED, code, err.text);
    }
    report(report_fd, SANDBOX_NOTE_FAILED, err.code, err.text);
}

/* Waits for the report: end of file is success. Returns 0, or -EIO with err set; an exec failure is
 * told to the launcher and counts as success here, because the agent then "ran" and ended with 126
 * or 127. */
static int await_exec(struct sandbox_init *in, int fd, struct gvm_err *err)
{
    struct sandbox_note note;
    char text[GVM_ERR_TEXT];
    for (;;) {
        int got = -1;
        unsigned nfds = 1;
        ssize_t n = sandbox_recv(fd, &note, text, sizeof(text) - 1, &got, &nfds);
        if (n == -EPIPE)
            return 0;
        if (n < 0)
            return gvm_err_set(err, EIO, "the agent's process ended before it ran");
        if (note.type == SANDBOX_NOTE_EXEC_FAILED)
            return sandbox_send(in->ctl, SANDBOX_NOTE_EXEC_FAILED, note.value, text, strlen(text),
                                NULL, 0);
        if (note.type != SANDBOX_NOTE_DENIALS || nfds != 1)
            return gvm_err_set(err, note.value ? note.value : EIO, "%s", text);
        in->denials = got;
    }
}

int sandbox_fork_agent(struct sandbox_init *in, struct gvm_err *err)
{
    int ends[2];
    in->pty = -1;
    if (in->plan->pty) {
        in->pty = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
        int unlock = 0;
        if (in->pty < 0 || ioctl(in->pty, TIOCSPTLCK, &unlock) < 0)
            return gvm_err_sys(err, errno, "cannot open a terminal");
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return gvm_err_sys(err, errno, "cannot make a channel to the agent's process");
    GVM_AUTOCLOSE int read_end = ends[0];
    GVM_AUTOCLOSE int write_end = ends[1];
    pid_t pid = fork();
    if (pid < 0)
        return gvm_err_sys(err, errno, "cannot fork");
    if (pid == 0)
        agent_main(in, write_end);
    gvm_close(&write_end);
    in->agent = pid;
    return await_exec(in, read_end, err);
}
