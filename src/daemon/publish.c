/* Heads leave the machine: `gvm audit publish`, a program of its own, run now and then and at the
 * end. The parent only starts it: nobody here needs the network or other people's files for this,
 * and the helper gets nothing but the environment and the terminal's stderr. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/daemon_int.h"

#define MS      1000000ll
#define GIVE_UP (300000 * MS) /* a helper that takes longer is stuck */

/* How often the default configuration in force wants it; 0: never. */
static uint32_t every_ms(const struct daemon *d)
{
    const struct daemon_policy *best = NULL;
    for (unsigned i = 0; i < DAEMON_POLICIES; i++) {
        const struct daemon_policy *p = &d->policies[i];
        if (p->id && p->is_default && (!best || p->used_ns > best->used_ns))
            best = p;
    }
    return best ? best->publish_ms : 0;
}

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
static void become(const struct daemon *d, const char *gvm)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(2, 1) < 0 || setsid() < 0 ||
        setenv("GVM_STATE_DIR", d->state, 1) < 0 || setenv("GVM_RUNTIME_DIR", d->runtime, 1) < 0 ||
        setenv("GVM_CONFIG", d->config, 1) < 0)
        _exit(1);
    (void)syscall(SYS_close_range, 3, ~0u, 0);
    execl(gvm, "gvm", "audit", "publish", (char *)NULL);
    _exit(127);
}

static void start(struct daemon *d)
{
    char gvm[GVM_PATH_MAX];
    if (!find_gvm(gvm))
        return;
    pid_t pid = fork();
    if (pid == 0)
        become(d, gvm);
    if (pid < 0)
        gvm_log(GVM_LOG_WARN, "cannot start gvm audit publish: %s", strerrordesc_np(errno));
    d->publisher = pid < 0 ? 0 : pid;
    d->publisher_since = gvm_mono_ns();
}

static void reap(struct daemon *d)
{
    int status;
    if (!d->publisher)
        return;
    pid_t pid = waitpid(d->publisher, &status, WNOHANG);
    if (pid == 0 && gvm_mono_ns() - d->publisher_since > GIVE_UP)
        (void)kill(d->publisher, SIGKILL);
    if (pid == 0)
        return;
    d->publisher = 0;
    if (pid > 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        gvm_log(GVM_LOG_WARN, "a head of the record did not get out (gvm audit publish)");
}

int daemon_publish_due(struct daemon *d)
{
    int64_t now = gvm_mono_ns(), every = every_ms(d) * MS;
    reap(d);
    if (!every || !d->serving)
        return -1;
    if (!d->publish_at || d->publish_at > now + every)
        d->publish_at = now + every;
    if (d->publisher)
        return 1000;
    if (now >= d->publish_at) {
        start(d);
        d->publish_at = now + every;
    }
    return (int)((d->publish_at - now) / MS) + 1;
}

void daemon_publish_last(struct daemon *d)
{
    if (d->serving && every_ms(d) && !d->publisher)
        start(d); /* it goes on by itself */
}
