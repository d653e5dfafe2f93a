/* gvm run --detach: the run goes on without the terminal it was started from.
 *
 * A child in a session of its own does everything gvm run does; what the agent and it print goes to
 * output.log in the run's directory. It keeps the caller's stderr until the agent runs, so that
 * what prevents that is told where it was asked for, then writes the run's id into a pipe. The
 * caller prints it and ends; a pipe that closes without an id means the child's exit code is the
 * answer.
 */
#include "cli/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int await_child(pid_t pid, int pipe_fd)
{
    char id[GVM_MAX_RUN_ID + 1];
    ssize_t n;
    int status = 0;
    do
        n = read(pipe_fd, id, sizeof(id) - 1);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        printf("%.*s\n", (int)n, id);
        return cli_flush();
    }
    if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
        return GVM_EXIT_SETUP;
    return WEXITSTATUS(status);
}

int run_detach(struct run *r)
{
    int ends[2];
    r->detached = (struct run_detached){-1, -1};
    if (pipe2(ends, O_CLOEXEC) < 0) {
        cli_say("cannot make a pipe: %s", strerror(errno));
        return GVM_EXIT_SETUP;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0) {
        GVM_AUTOCLOSE int from = ends[0];
        gvm_close(&ends[1]);
        if (pid < 0)
            cli_say("cannot fork: %s", strerror(errno));
        return pid < 0 ? GVM_EXIT_SETUP : await_child(pid, from);
    }
    gvm_close(&ends[0]);
    r->detached.ready = ends[1];
    r->detached.stderr_fd = fcntl(2, F_DUPFD_CLOEXEC, 3);
    if (setsid() < 0 || r->detached.stderr_fd < 0)
        _exit(GVM_EXIT_SETUP);
    return -1;
}

int run_detach_output(struct run *r, struct gvm_err *err)
{
    char path[GVM_PATH_MAX + 16];
    snprintf(path, sizeof(path), "%s/" RUN_OUTPUT, r->dir);
    GVM_AUTOCLOSE int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    GVM_AUTOCLOSE int out =
        open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat st;
    if (null_fd < 0 || out < 0)
        return gvm_err_sys(err, errno, "cannot open %s", path);
    /* A pipe or file on stdin is still for the agent; a terminal stays with its owner. */
    bool keep = fstat(0, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode));
    if ((!keep && dup2(null_fd, 0) < 0) || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        return gvm_err_sys(err, errno, "cannot turn the output to %s", path);
    return 0;
}

void run_detach_back(struct run *r)
{
    if (r->detached.stderr_fd >= 0 && dup2(r->detached.stderr_fd, 2) < 0)
        _exit(GVM_EXIT_SETUP);
}

void run_detach_ready(struct run *r)
{
    if (r->detached.ready < 0)
        return;
    /* Nobody may be waiting any more; the run goes on all the same. */
    (void)!write(r->detached.ready, r->id, strlen(r->id));
    gvm_close(&r->detached.ready);
    gvm_close(&r->detached.stderr_fd);
}
