/* The person's terminal and the agent's own: bytes are carried between them, nothing is shared.
 *
 * Ctrl-Z needs help when the agent is no shell: its process group has no parent in its session, and
 * the kernel stops no such group. Then gvm stops the agent and itself, as the person meant, and
 * both go on with fg.
 *
 * In raw mode every key goes to the agent's terminal, whose line discipline makes signals of Ctrl-C
 * and Ctrl-Z for whatever runs there in the foreground, exactly as it would at the person's own.
 */
#include "cli/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct run_tty {
    int master;
    int out; /* where the agent's output goes */
    bool raw, input_ended;
    bool was_raw; /* at the start: it is ours to change */
    bool suspend; /* Ctrl-Z was typed, and it is meant for us */
    pid_t init;
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
    t->init = gvm_sandbox_pid(r->sandbox);
    t->out = output_fd();
    t->input_ended = true;
    if (r->termios && in_foreground()) {
        struct termios raw = *r->termios;
        t->found = *r->termios;
        cfmakeraw(&raw);
        t->raw = tcsetattr(0, TCSADRAIN, &raw) == 0;
        t->input_ended = !t->raw;
        t->was_raw = t->raw;
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

/* The number behind `name` in a status file, in this base; 0 without. */
static uint64_t status_number(struct gvm_str text, const char *name, bool hex)
{
    struct gvm_str line, key;
    uint64_t v = 0;
    while (text.n) {
        gvm_str_cut(&text, '\n', &line);
        if (!gvm_str_cut(&line, ':', &key) || !gvm_str_eqz(key, name))
            continue;
        line = gvm_str_trim(line);
        if (!hex)
            return gvm_parse_u64(line, INT32_MAX, &v) == 0 ? v : 0;
        for (size_t i = 0; i < line.n; i++) {
            char c = line.p[i];
            v = v << 4 | (uint64_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
        }
        return v;
    }
    return 0;
}

/* True when the group in the foreground of the agent's terminal is the agent's own (its leader is a
 * child of the init), and the leader leaves Ctrl-Z to the kernel. A shell at its prompt ignores it.
 */
static bool agent_would_stop(const struct run_tty *t)
{
    char path[64];
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf text;
    pid_t front = tcgetpgrp(t->master);
    gvm_buf_init(&text, 16384);
    snprintf(path, sizeof(path), "/proc/%d/status", (int)front);
    if (front <= 0 || gvm_read_file(path, &text, NULL) < 0)
        return false;
    struct gvm_str all = gvm_buf_str(&text);
    uint64_t handled = status_number(all, "SigIgn", true) | status_number(all, "SigCgt", true);
    return status_number(all, "PPid", false) == (uint64_t)t->init &&
           !(handled >> (SIGTSTP - 1) & 1);
}

/* Looks for Ctrl-Z in what was just typed, and takes it out when it is for us. */
static void look_for_suspend(struct run_tty *t, size_t from)
{
    struct termios inner;
    if (!t->raw || tcgetattr(t->master, &inner) < 0 || !(inner.c_lflag & ISIG) ||
        inner.c_cc[VSUSP] == _POSIX_VDISABLE)
        return;
    char *at = memchr(t->pending + from, inner.c_cc[VSUSP], t->n - from);
    if (!at || !agent_would_stop(t))
        return;
    size_t behind = (size_t)(t->pending + t->n - at) - 1;
    memmove(at, at + 1, behind);
    t->n--;
    t->suspend = true;
}

bool run_tty_wants_suspend(const struct run_tty *t)
{
    return t->suspend;
}

void run_tty_suspend(struct run_tty *t)
{
    t->suspend = false;
    if (tcsetattr(0, TCSADRAIN, &t->found) < 0)
        cli_say("cannot restore the terminal (try: stty sane)");
    t->raw = false;
    t->input_ended = true;
    kill(0, SIGTSTP); /* returns when somebody continues us, or at once when nobody could */
}

void run_tty_resume(struct run_tty *t)
{
    struct termios raw = t->found;
    if (!t->was_raw || t->raw || !in_foreground())
        return;
    cfmakeraw(&raw);
    t->raw = tcsetattr(0, TCSADRAIN, &raw) == 0;
    t->input_ended = !t->raw;
    run_tty_resize(t);
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
    look_for_suspend(t, t->n - (size_t)n);
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
