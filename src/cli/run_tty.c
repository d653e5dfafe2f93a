/* The person's terminal and the agent's own: bytes are carried between them, nothing is shared.
 *
 * In raw mode every key goes to the agent's terminal, whose line discipline makes signals of Ctrl-C
 * and Ctrl-Z for whatever runs there in the foreground, exactly as it would at the person's own.
 */
#include "cli/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct run_tty {
    int master;
    int out; /* where the agent's output goes */
    bool raw, input_ended;
    bool mid_line; /* the agent's last output ended no line */
    struct termios found;
    char pending[4096]; /* typed, not yet taken by the agent's terminal */
    size_t n;
};

static int output_fd(void)
{
    for (int fd = 1; fd < 3; fd++)
        if (isatty(fd))
            return fd;
    return isatty(0) ? 0 : 1;
}

/* Only the foreground may read and change the terminal. */
static bool in_foreground(void)
{
    return tcgetpgrp(0) == getpgrp();
}

struct run_tty *run_tty_open(struct run *r)
{
    int master = gvm_sandbox_pty(r->sandbox);
    if (master < 0)
        return NULL;
    struct run_tty *t = gvm_calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    int flags = fcntl(master, F_GETFL);
    if (flags < 0 || fcntl(master, F_SETFL, flags | O_NONBLOCK) < 0) {
        free(t);
        return NULL;
    }
    t->master = master;
    t->out = output_fd();
    t->input_ended = true;
    if (r->termios && in_foreground()) {
        struct termios raw = *r->termios;
        t->found = *r->termios;
        cfmakeraw(&raw);
        t->raw = tcsetattr(0, TCSADRAIN, &raw) == 0;
        t->input_ended = !t->raw;
    }
    cli_terminal(t->raw, false);
    return t;
}

int run_tty_in(const struct run_tty *t)
{
    return t->input_ended || t->n == sizeof(t->pending) ? -1 : 0;
}

bool run_tty_wants_write(const struct run_tty *t)
{
    return t->n > 0;
}

void run_tty_flush(struct run_tty *t)
{
    if (t->n == 0)
        return;
    ssize_t n = write(t->master, t->pending, t->n);
    if (n < 0)
        return;
    t->n -= (size_t)n;
    memmove(t->pending, t->pending + n, t->n);
}

void run_tty_input(struct run_tty *t)
{
    ssize_t n = read(0, t->pending + t->n, sizeof(t->pending) - t->n);
    if (n <= 0) {
        if (n == 0 || (errno != EINTR && errno != EAGAIN))
            t->input_ended = true;
        return;
    }
    t->n += (size_t)n;
    run_tty_flush(t);
}

void run_tty_output(struct run_tty *t)
{
    char text[16384];
    for (int i = 0; i < 16; i++) { /* then the others get their turn */
        ssize_t n = read(t->master, text, sizeof(text));
        if (n <= 0 || gvm_write_all(t->out, text, (size_t)n) < 0)
            return;
        t->mid_line = text[n - 1] != '\n' && text[n - 1] != '\r';
        cli_terminal(t->raw, t->mid_line);
    }
}

void run_tty_resize(struct run_tty *t)
{
    struct winsize w;
    if (ioctl(t->out, TIOCGWINSZ, &w) == 0 && ioctl(t->master, TIOCSWINSZ, &w) < 0)
        return; /* the agent keeps its old size */
}

void run_tty_close(struct run_tty *t)
{
    if (!t)
        return;
    /* What the agent wrote last is still in the terminal's buffer. */
    struct pollfd p = {.fd = t->master, .events = POLLIN};
    while (poll(&p, 1, 0) > 0 && (p.revents & POLLIN))
        run_tty_output(t);
    bool raw = t->raw && tcsetattr(0, TCSADRAIN, &t->found) < 0;
    cli_terminal(raw, t->mid_line);
    if (raw)
        cli_say("cannot restore the terminal (try: stty sane)");
    free(t);
}
