/* The index over the log (room index) is filled in the background, so that no question has to do it
 * first: a helper of the lowest priority, started when the signed log has grown by ENTRIES since
 * the last one. Nobody depends on it: a question brings the rest in by itself. */
#include <signal.h>
#include <sys/wait.h>

#include "daemon/daemon_int.h"
#include "ledger/ledger.h"

#define MS      1000000ll
#define LOOK    (10000 * MS)
#define ENTRIES 5000u /* a twentieth of a second's work */

static void reap(struct daemon *d)
{
    int status;
    pid_t pid = d->index.pid ? waitpid(d->index.pid, &status, WNOHANG) : 0;
    if (pid == 0)
        return;
    d->index.pid = 0;
    if (pid > 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0) && !d->index.warned) {
        gvm_log(GVM_LOG_WARN, "the index over the record was not filled (gvm events --index)");
        d->index.warned = true;
    }
}

int daemon_index_due(struct daemon *d)
{
    static const char *const argv[] = {"gvm", "events", "--index", NULL};
    struct gvm_checkpoint head;
    int64_t now = gvm_mono_ns();
    reap(d);
    if (!d->serving)
        return -1;
    if (now < d->index.look_at)
        return (int)((d->index.look_at - now) / MS) + 1;
    d->index.look_at = now + LOOK;
    if (!d->index.pid && daemon_read_head(d, &head) && head.size >= d->index.size + ENTRIES) {
        d->index.pid = daemon_helper_start(d, argv, true);
        d->index.size = head.size;
    }
    return (int)(LOOK / MS);
}

void daemon_index_stop(struct daemon *d)
{
    if (!d->index.pid)
        return;
    (void)kill(d->index.pid, SIGKILL); /* what was not committed is filled again */
    (void)waitpid(d->index.pid, NULL, 0);
    d->index.pid = 0;
}
