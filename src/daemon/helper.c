/* Helpers: gvm itself, started by the parent for what none of its processes is for. A helper gets
 * nothing but the places we use, and the terminal's stderr. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/daemon_int.h"

/* gvm stands beside gvmd. */
static bool find_gvm(char dst[GVM_PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", dst, GVM_PATH_MAX - 1);
    if (n <= 0)
        return false;
    dst[n] = '\0';
    char *slash = strrchr(dst, '/');
    return slash && snprintf(slash, (size_t)(dst + GVM_PATH_MAX - slash), "/gvm") == 4;
}

/* After fork, before exec. */
static void become(const struct daemon *d, const char *gvm, const char *const argv[], bool idle)
{
    static const int idle_io = 3 << 13; /* IOPRIO_CLASS_IDLE */
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(2, 1) < 0 || setsid() < 0 ||
        setenv("GVM_STATE_DIR", d->state, 1) < 0 || setenv("GVM_RUNTIME_DIR", d->runtime, 1) < 0 ||
        setenv("GVM_CONFIG", d->config, 1) < 0)
        _exit(1);
    if (idle) {
        (void)setpriority(PRIO_PROCESS, 0, 19);
        (void)syscall(SYS_ioprio_set, 1, 0, idle_io);
    }
    (void)syscall(SYS_close_range, 3, ~0u, 0);
    execv(gvm, (char *const *)(uintptr_t)argv);
    _exit(127);
}

pid_t daemon_helper_start(const struct daemon *d, const char *const argv[], bool idle)
{
    char gvm[GVM_PATH_MAX];
    if (!find_gvm(gvm))
        return 0;
    pid_t pid = fork();
    if (pid == 0)
        become(d, gvm, argv, idle);
    if (pid < 0)
        gvm_log(GVM_LOG_WARN, "cannot start gvm %s", argv[1]);
    return pid < 0 ? 0 : pid;
}
