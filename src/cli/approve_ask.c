/* The person at the terminal.
 *
 * The daemon sends every waiting request and each new one, and says when one is gone. One is shown
 * at a time; keys are read unbuffered. What was typed before a request was shown is thrown away, so
 * that a key meant for the one before can never answer it. End of input, a lost daemon and every
 * unknown key leave it unanswered.
 */
#include "cli/approve_int.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

struct waiting {
    struct waiting *next;
    struct gvm_arena *arena;
    struct gvm_json *ask;
};
struct desk {
    struct gvm_chan *chan;
    struct waiting *first; /* the one shown, when `shown` */
    size_t n;
    bool shown;
    bool idle_said;
};

static struct termios saved;

static void restore_terminal(void)
{
    tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

static void on_signal(int sig)
{
    restore_terminal();
    signal(sig, SIG_DFL);
    raise(sig);
}

static int raw_terminal(void)
{
    if (tcgetattr(STDIN_FILENO, &saved) < 0)
        return -errno;
    struct termios t = saved;
    t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], on_signal);
    return tcsetattr(STDIN_FILENO, TCSANOW, &t) < 0 ? -errno : 0;
}

static void waiting_free(struct waiting *w)
{
    gvm_arena_free(w->arena);
    free(w);
}

static struct waiting **find(struct desk *d, const char *id)
{
    struct waiting **at = &d->first;
    while (*at && strcmp(gvm_json_text((*at)->ask, "id", ""), id) != 0)
        at = &(*at)->next;
    return at;
}

static void drop(struct desk *d, struct waiting **at)
{
    struct waiting *w = *at;
    if (w == d->first)
        d->shown = false;
    *at = w->next;
    d->n--;
    waiting_free(w);
}

/* One request, or word that it is gone. Text that does not parse, or more than the daemon ever
 * keeps, is ignored: a request that is not shown is one that nobody allows. */
static void take_ask(struct desk *d, struct gvm_str json)
{
    struct waiting *w = gvm_calloc(1, sizeof(*w));
    if (!w)
        return;
    w->arena = gvm_arena_new(2u << 20);
    if (!w->arena || gvm_json_parse(w->arena, json, &w->ask, NULL) < 0) {
        waiting_free(w);
        return;
    }
    struct waiting **at = find(d, gvm_json_text(w->ask, "id", ""));
    if (gvm_json_bool(w->ask, "gone", false)) {
        if (*at && *at == d->first && d->shown)
            puts("  (gone: answered elsewhere, timed out, or the agent left)");
        if (*at)
            drop(d, at);
        waiting_free(w);
    } else if (*at || d->n >= GVM_MAX_PENDING) {
        waiting_free(w);
    } else {
        *at = w;
        d->n++;
    }
}

static void on_news(void *arg, const struct gvm_msg *m)
{
    if (m->type == GVM_MSG_APPROVAL_NEWS)
        take_ask(arg, gvm_msg_str(m));
}

static void show_next(struct desk *d)
{
    if (d->shown)
        return;
    if (!d->first) {
        if (!d->idle_said)
            puts("waiting for requests (q quits)");
        d->idle_said = true;
        fflush(stdout);
        return;
    }
    d->idle_said = false;
    tcflush(STDIN_FILENO, TCIFLUSH);
    putchar('\n');
    approve_show(stdout, d->first->ask, cli_color(STDOUT_FILENO));
    if (d->n > 1)
        printf("  (%zu more wait)\n", d->n - 1);
    fputs("[a]llow once, allow for this [r]un, [d]eny, [s]kip, [q]uit? ", stdout);
    fflush(stdout);
    d->shown = true;
}

static void answer(struct desk *d, bool allow, bool for_run)
{
    char id[256];
    struct gvm_err err = {0};
    if (gvm_str_copy(id, sizeof(id), gvm_str(gvm_json_text(d->first->ask, "id", ""))) < 0)
        return;
    struct approve_answer a = {.id = id, .allow = allow, .for_run = for_run};
    printf(allow ? (for_run ? "allow for this run\n" : "allow once\n") : "deny\n");
    d->shown = false; /* news of our own answer needs no word */
    if (approve_send(d->chan, &a, on_news, d, &err) < 0) {
        fputs("  not done: ", stdout);
        cli_print_safe(stdout, gvm_str(err.text));
        putchar('\n');
    }
    struct waiting **at = find(d, id);
    if (*at)
        drop(d, at);
}

/* False: the person is done. */
static bool on_key(struct desk *d, char key)
{
    if (key == 'q' || key == 4) {
        putchar('\n');
        return false;
    }
    if (!d->shown)
        return true;
    switch (key) {
    case 'a':
    case 'r':
        answer(d, true, key == 'r');
        break;
    case 'd':
        answer(d, false, false);
        break;
    case 's':
        puts("skip");
        drop(d, &d->first);
        break;
    default:
        break;
    }
    return true;
}

/* What has arrived; -EPIPE when the daemon is gone. */
static int take_news(struct desk *d)
{
    for (;;) {
        struct gvm_msg m = {0};
        int r = gvm_chan_recv(d->chan, &m);
        if (r <= 0)
            return r;
        on_news(d, &m);
        gvm_msg_done(&m);
    }
}

/* Subscribes first and lists then, so that nothing falls between the two. */
static int open_desk(struct desk *d, struct gvm_err *err)
{
    struct gvm_msg m = {0};
    int r = gvm_chan_call(d->chan, GVM_MSG_SUBSCRIBE, NULL, 0, NULL, 0, 10000, on_news, d, &m, err);
    gvm_msg_done(&m);
    if (r == 0)
        r = gvm_chan_call(d->chan, GVM_MSG_APPROVALS, NULL, 0, NULL, 0, 10000, on_news, d, &m, err);
    if (r < 0)
        return r;
    struct gvm_arena *a = gvm_arena_new(16u << 20);
    struct gvm_json *v = NULL;
    r = a ? gvm_json_parse(a, gvm_msg_str(&m), &v, err) : gvm_err_set(err, ENOMEM, "out of memory");
    const struct gvm_json *pending = r == 0 ? gvm_json_get(v, "pending") : NULL;
    for (const struct gvm_json *ask = pending ? pending->child : NULL; ask; ask = ask->next)
        take_ask(d, ask->raw);
    gvm_arena_free(a);
    gvm_msg_done(&m);
    return r;
}

static int serve(struct desk *d, struct gvm_err *err)
{
    int r = open_desk(d, err);
    for (bool more = r == 0; more;) {
        r = take_news(d);
        if (r < 0)
            return gvm_err_set(err, -r, "gvmd is gone; what waited is denied");
        show_next(d);
        struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                              {.fd = gvm_chan_fd(d->chan), .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return gvm_err_sys(err, errno, "cannot wait for requests");
        char key = 0;
        if (p[0].revents)
            more = read(STDIN_FILENO, &key, 1) == 1 && on_key(d, key);
    }
    return r;
}

int approve_interactive(struct gvm_chan *chan)
{
    struct desk d = {.chan = chan};
    struct gvm_err err = {0};
    int r = raw_terminal();
    if (r < 0)
        gvm_err_sys(&err, -r, "cannot read keys from this terminal");
    else
        r = serve(&d, &err);
    restore_terminal();
    while (d.first)
        drop(&d, &d.first);
    return r < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : GVM_EXIT_OK;
}
