/* Output that goes to a file of the host.
 *
 * Whoever holds a file can also shorten it, or write over what stood there before; and how much the
 * agent may still write to disk (--disk) would hold for it as well. So an agent whose output is a
 * file gets a pipe, and the launcher appends what comes out of it. One pipe for both when both are
 * the same file, so that lines keep their order.
 */
#include "cli/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 65536

struct run_output {
    int real[2]; /* descriptors 1 and 2 as found, -1 = passed as they are */
    int pipe[2]; /* read ends; -1 = none, or shared with the other one */
    bool failed;
};

static bool is_file(int fd, struct stat *st)
{
    return fstat(fd, st) == 0 && S_ISREG(st->st_mode);
}

static int replace(struct run_output *o, int i, int with)
{
    o->real[i] = fcntl(i + 1, F_DUPFD_CLOEXEC, 3);
    return o->real[i] < 0 || dup2(with, i + 1) < 0 ? -errno : 0;
}

int run_output_open(struct run *r, struct gvm_err *err)
{
    struct stat st[2];
    bool file[2] = {is_file(1, &st[0]), is_file(2, &st[1])};
    bool same = file[0] && file[1] && st[0].st_dev == st[1].st_dev && st[0].st_ino == st[1].st_ino;
    if (!file[0] && !file[1])
        return 0;
    struct run_output *o = r->output = gvm_calloc(1, sizeof(*o));
    if (!o)
        return gvm_err_set(err, ENOMEM, "out of memory");
    o->real[0] = o->real[1] = o->pipe[0] = o->pipe[1] = -1;
    GVM_AUTOCLOSE int first = -1;
    int x = 0;
    for (int i = 0; i < 2 && x == 0; i++) {
        GVM_AUTOCLOSE int own = -1;
        int ends[2];
        if (!file[i])
            continue;
        if (i == 0 || !same) {
            x = pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
            if (x == 0) {
                o->pipe[i] = ends[0];
                own = ends[1];
                x = fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
            }
        }
        if (x == 0)
            x = replace(o, i, own >= 0 ? own : first);
        if (i == 0 && x == 0)
            first = gvm_steal_fd(&own);
    }
    return x < 0 ? gvm_err_sys(err, -x, "cannot make a pipe for the agent's output") : 0;
}

void run_output_back(struct run *r)
{
    for (int i = 0; r->output && i < 2; i++)
        if (r->output->real[i] >= 0 && dup2(r->output->real[i], i + 1) < 0)
            _exit(GVM_EXIT_SETUP); /* our own output would go to the agent's pipe for ever */
}

int run_output_fd(const struct run *r, int i)
{
    return r->output ? r->output->pipe[i] : -1;
}

/* A file that cannot be written to must not stop the agent; a person is told. */
static void append(struct run_output *o, int i, const char *p, size_t n)
{
    int x = gvm_write_all(i + 1, p, n);
    if (x < 0 && !o->failed)
        cli_say("the agent's output could not be written: %s", strerror(-x));
    o->failed |= x < 0;
}

void run_output_tick(struct run *r)
{
    static char mem[BLOCK];
    for (int i = 0; r->output && i < 2; i++) {
        ssize_t n = r->output->pipe[i] < 0 ? -1 : read(r->output->pipe[i], mem, sizeof(mem));
        if (n > 0)
            append(r->output, i, mem, (size_t)n);
        else if (n == 0)
            gvm_close(&r->output->pipe[i]);
    }
}

void run_output_close(struct run *r)
{
    if (!r->output)
        return;
    static char mem[BLOCK];
    for (int i = 0; i < 2; i++) {
        for (ssize_t n;
             r->output->pipe[i] >= 0 && (n = read(r->output->pipe[i], mem, sizeof(mem))) > 0;)
            append(r->output, i, mem, (size_t)n);
        gvm_close(&r->output->pipe[i]);
        gvm_close(&r->output->real[i]);
    }
    free(r->output);
    r->output = NULL;
}
