/* The way to gvmd: connect to its control socket, and start it when nobody has yet.
 *
 * Starting: a lock file in the runtime directory lets one gvm at a time try. The daemon is executed
 * by a grandchild in a session of its own, with /dev/null for stdin and stdout, gvmd.log in the
 * state directory for stderr, and the write end of a pipe named by --ready-fd. It writes one byte
 * or more when it serves; the pipe closing without that means it gave up, and its own last words in
 * the log say why.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_TIMEOUT_MS 10000
#define LOG_CAP          (4 << 20) /* gvmd.log is put aside when it has grown past this */
#define LAST_WORDS       2048      /* bytes of the log looked at for the reason of a failed start */
#define CLIENT_QUEUE     (1u << 20)
#define READY_FD         3 /* number of the ready pipe in the daemon */

static int try_connect(struct gvm_chan **ret, struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    int r = gvm_place_path(GVM_PLACE_RUNTIME, "gvmd.sock", path, err);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd = -1;
    r = gvm_ipc_connect(path, &fd, err);
    if (r < 0)
        return r;
    struct gvm_chan *chan = gvm_chan_new(fd, GVM_ROLE_CLIENT, GVM_ROLE_CONTROL, CLIENT_QUEUE);
    if (!chan)
        return gvm_err_set(err, ENOMEM, "out of memory");
    gvm_steal_fd(&fd);
    *ret = chan;
    return 0;
}

static bool nobody_there(int r)
{
    return r == -ENOENT || r == -ECONNREFUSED;
}

int cli_connect(bool start, struct gvm_chan **ret, struct gvm_err *err)
{
    struct gvm_err first = {0};
    int r = try_connect(ret, &first);
    if (r < 0 && start && nobody_there(r)) {
        r = cli_daemon_start(err);
        return r < 0 ? r : try_connect(ret, err);
    }
    if (r < 0 && err)
        *err = first;
    return r;
}

/* ---- starting ---- */

/* Waits for the lock: whoever holds it is starting the daemon, at most START_TIMEOUT_MS long. */
static int take_start_lock(int *ret_fd, struct gvm_err *err)
{
    char dir[GVM_PATH_MAX], path[GVM_PATH_MAX];
    int r = gvm_place(GVM_PLACE_RUNTIME, dir, err);
    if (r == 0)
        r = gvm_mkdirs(dir, 0700, err);
    if (r == 0)
        r = gvm_place_path(GVM_PLACE_RUNTIME, "start.lock", path, err);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot open %s", path);
    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += 20) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return gvm_err_sys(err, errno, "cannot lock %s", path);
        if (waited > START_TIMEOUT_MS + 2000)
            return gvm_err_set(err, ETIMEDOUT, "another gvm holds %s and does not finish", path);
        poll(NULL, 0, 20);
    }
    *ret_fd = gvm_steal_fd(&fd);
    return 0;
}

/* gvmd.log, appended to; an overgrown one becomes gvmd.log.1. */
static int open_log(char path[GVM_PATH_MAX], int *ret_fd, off_t *ret_size, struct gvm_err *err)
{
    char dir[GVM_PATH_MAX], old[GVM_PATH_MAX];
    int r = gvm_place(GVM_PLACE_STATE, dir, err);
    if (r == 0)
        r = gvm_mkdirs(dir, 0700, err);
    if (r == 0)
        r = gvm_place_path(GVM_PLACE_STATE, "gvmd.log", path, err);
    if (r == 0)
        r = gvm_place_path(GVM_PLACE_STATE, "gvmd.log.1", old, err);
    if (r < 0)
        return r;
    struct stat st;
    if (lstat(path, &st) == 0 && st.st_size > LOG_CAP && rename(path, old) < 0)
        return gvm_err_sys(err, errno, "cannot put %s aside", path);
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot open %s", path);
    *ret_size = fstat(fd, &st) == 0 ? st.st_size : 0;
    *ret_fd = fd;
    return 0;
}

/* The gvmd beside this program, when there is one; else the name, for PATH. */
static void find_program(char path[GVM_PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", path, GVM_PATH_MAX - 8);
    while (n > 0 && path[n - 1] != '/')
        n--;
    if (n > 0) {
        memcpy(path + n, "gvmd", 5);
        if (access(path, X_OK) == 0)
            return;
    }
    memcpy(path, "gvmd", 5);
}

/* In the grandchild: becomes gvmd, or writes to the log why not. */
static void become_daemon(const char *program, int log_fd, int ready_fd)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int s = 1; s < 32; s++)
        if (s != SIGKILL && s != SIGSTOP)
            signal(s, SIG_DFL);
    /* Numbers 0-3 may be taken by the very descriptors that go there: move those out of the way
     * first. */
    log_fd = fcntl(log_fd, F_DUPFD_CLOEXEC, 10);
    ready_fd = fcntl(ready_fd, F_DUPFD_CLOEXEC, 10);
    if (null_fd < 0 || log_fd < 0 || ready_fd < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 ||
        dup2(log_fd, 2) < 0 || dup2(ready_fd, READY_FD) < 0)
        _exit(127);
    /* What the caller's caller left open is none of the daemon's business. */
    syscall(SYS_close_range, READY_FD + 1, ~0u, 0);
    if (chdir("/") < 0)
        _exit(127);
    execlp(program, "gvmd", "--ready-fd", "3", (char *)NULL);
    dprintf(2, "gvmd: cannot execute %s: %s\n", program, strerror(errno));
    _exit(127);
}

/* Forks twice: the daemon must be nobody's child, least of all of a gvm that lives as long as a
 * run. */
static int spawn(const char *program, int log_fd, int ready_fd, struct gvm_err *err)
{
    pid_t child = fork();
    if (child < 0)
        return gvm_err_sys(err, errno, "cannot start gvmd");
    if (child == 0) {
        setsid();
        pid_t grandchild = fork();
        if (grandchild == 0)
            become_daemon(program, log_fd, ready_fd);
        _exit(grandchild < 0 ? 1 : 0);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return status == 0 ? 0 : gvm_err_set(err, EAGAIN, "cannot start gvmd: no process to spare");
}

/* 0 = it said it serves, -EPIPE = it closed without, -ETIMEDOUT. */
static int wait_ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t end = gvm_mono_ns() + START_TIMEOUT_MS * INT64_C(1000000);
    for (;;) {
        int64_t left = (end - gvm_mono_ns()) / 1000000;
        int n = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -ETIMEDOUT;
        char text[64];
        ssize_t got = read(fd, text, sizeof(text));
        if (got < 0 && errno == EINTR)
            continue;
        return got > 0 ? 0 : -EPIPE;
    }
}

/* The last line gvmd wrote since it was started. */
static struct gvm_str last_words(int log_fd, off_t from, char *mem, size_t cap)
{
    struct stat st;
    if (fstat(log_fd, &st) < 0)
        return GVM_STR("");
    off_t at = st.st_size - from > (off_t)cap ? st.st_size - (off_t)cap : from;
    ssize_t n = pread(log_fd, mem, cap, at);
    struct gvm_str text = {mem, n > 0 ? (size_t)n : 0};
    while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == ' '))
        text.n--;
    const char *line = text.n ? memrchr(text.p, '\n', text.n) : NULL;
    if (line) {
        text.n -= (size_t)(line + 1 - text.p);
        text.p = line + 1;
    }
    /* "gvmd[keys]: error: ..." says its level for the log, not for the person. */
    const char *level = text.n ? memmem(text.p, text.n, ": error: ", 9) : NULL;
    if (level) {
        text.n -= (size_t)(level + 9 - text.p);
        text.p = level + 9;
    }
    if (gvm_str_starts(text, GVM_STR("gvmd: ")))
        text = (struct gvm_str){text.p + 6, text.n - 6};
    return text;
}

static int explain_failure(int r, int log_fd, off_t from, const char *log_path, struct gvm_err *err)
{
    char mem[LAST_WORDS];
    struct gvm_str words = last_words(log_fd, from, mem, sizeof(mem));
    if (words.n)
        return gvm_err_set(err, -r, "gvmd did not start: %.*s", GVM_STR_ARG(words));
    if (r == -ETIMEDOUT)
        return gvm_err_set(err, ETIMEDOUT, "gvmd did not serve within %d s (see %s)",
                           START_TIMEOUT_MS / 1000, log_path);
    return gvm_err_set(err, EPIPE, "gvmd ended before it served, without a word (see %s)",
                       log_path);
}

static int start_locked(struct gvm_err *err)
{
    char log_path[GVM_PATH_MAX], program[GVM_PATH_MAX];
    GVM_AUTOCLOSE int log_fd = -1;
    off_t log_size = 0;
    int r = open_log(log_path, &log_fd, &log_size, err);
    if (r < 0)
        return r;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return gvm_err_sys(err, errno, "cannot make a pipe");
    GVM_AUTOCLOSE int read_end = ends[0];
    GVM_AUTOCLOSE int write_end = ends[1];
    find_program(program);
    r = spawn(program, log_fd, write_end, err);
    if (r < 0)
        return r;
    gvm_close(&write_end);
    r = wait_ready(read_end);
    return r < 0 ? explain_failure(r, log_fd, log_size, log_path, err) : 0;
}

int cli_daemon_start(struct gvm_err *err)
{
    GVM_AUTOCLOSE int lock = -1;
    int r = take_start_lock(&lock, err);
    if (r < 0)
        return r;
    /* Somebody may have started it while we waited for the lock. */
    struct gvm_chan *chan = NULL;
    r = try_connect(&chan, NULL);
    if (r == 0) {
        gvm_chan_free(chan);
        return 0;
    }
    return start_locked(err);
}
