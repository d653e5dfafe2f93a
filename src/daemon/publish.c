/* Heads leave the machine: `gvm audit publish`, a program of its own, run now and then and at the
 * end. The parent only starts it: nobody here needs the network or other people's files for this.
 */
#include <signal.h>
#include <sys/wait.h>

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

static void start(struct daemon *d)
{
    static const char *const argv[] = {"gvm", "audit", "publish", NULL};
    d->publisher = daemon_helper_start(d, argv, false);
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
