/* A terminal's whole screen, drawn with the handful of sequences that every terminal since the
 * VT100 knows. A frame is made in memory and written at once. */
#include "cli/term.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define MAX_FRAME (4u << 20)
#define ESCAPE_MS 40 /* after this long without more, an escape byte is the key itself */

static struct termios before;
static bool is_open;
static volatile sig_atomic_t resized, ended;

static void on_signal(int sig)
{
    if (sig == SIGWINCH)
        resized = 1;
    else
        ended = 1;
}

static void put_raw(const char *z)
{
    (void)!gvm_write_all(STDOUT_FILENO, z, strlen(z));
}

void cli_term_resume(void)
{
    struct termios raw = before;
    raw.c_iflag &= ~(tcflag_t)(ICRNL | IXON | ISTRIP | INLCR | IGNCR);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN | ISIG);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
    put_raw("\033[?1049h\033[?25l\033[?7l");
    is_open = true;
}

void cli_term_pause(void)
{
    if (!is_open)
        return;
    put_raw("\033[0m\033[?7h\033[?25h\033[?1049l");
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    is_open = false;
}

int cli_term_open(struct cli_term *t, struct gvm_err *err)
{
    struct sigaction act = {.sa_handler = on_signal};
    *t = (struct cli_term){.color = cli_color(STDOUT_FILENO)};
    gvm_buf_init(&t->frame, MAX_FRAME);
    if (tcgetattr(STDIN_FILENO, &before) < 0)
        return gvm_err_sys(err, errno, "cannot use the terminal");
    fflush(stdout);
    (void)sigaction(SIGWINCH, &act, NULL);
    (void)sigaction(SIGTERM, &act, NULL);
    (void)sigaction(SIGHUP, &act, NULL);
    cli_term_resume();
    return 0;
}

void cli_term_close(struct cli_term *t)
{
    cli_term_pause();
    gvm_buf_done(&t->frame);
}

/* ---- keys ---- */

/* A byte; -1 at the end, -2 when nothing came in time or the size changed. */
static int read_byte(int timeout_ms)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    unsigned char c;
    if (ended)
        return -1;
    int n = poll(&p, 1, timeout_ms);
    if (n < 0)
        return errno == EINTR && !ended ? -2 : -1;
    if (n == 0)
        return -2;
    return read(STDIN_FILENO, &c, 1) == 1 ? c : -1;
}

static int sequence_key(int c)
{
    switch (c) {
    case 'A':
        return CLI_KEY_UP;
    case 'B':
        return CLI_KEY_DOWN;
    case 'C':
        return CLI_KEY_RIGHT;
    case 'D':
        return CLI_KEY_LEFT;
    case 'H':
        return CLI_KEY_HOME;
    case 'F':
        return CLI_KEY_LAST;
    default:
        return CLI_KEY_NONE;
    }
}

static int tilde_key(int number)
{
    static const int keys[] = {0,
                               CLI_KEY_HOME,
                               0,
                               0,
                               CLI_KEY_LAST,
                               CLI_KEY_PAGE_UP,
                               CLI_KEY_PAGE_DOWN,
                               CLI_KEY_HOME,
                               CLI_KEY_LAST};
    return number >= 0 && number < 9 ? keys[number] : CLI_KEY_NONE;
}

static int escape_key(void)
{
    int c = read_byte(ESCAPE_MS), number = 0;
    if (c != '[' && c != 'O')
        return CLI_KEY_ESCAPE;
    while ((c = read_byte(ESCAPE_MS)) >= '0' && c <= '?')
        number = c <= '9' && number < 1000 ? number * 10 + c - '0' : number;
    return c == '~' ? tilde_key(number) : c < 0 ? CLI_KEY_ESCAPE : sequence_key(c);
}

int cli_term_key(void)
{
    int c = read_byte(-1);
    if (c == -1)
        return CLI_KEY_END;
    if (c == -2)
        return CLI_KEY_NONE;
    if (c == '\033')
        return escape_key();
    char more[4] = {(char)c};
    size_t n = 1, want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
    while (n < want && (c = read_byte(ESCAPE_MS)) >= 0)
        more[n++] = (char)c;
    return n == 1 ? (unsigned char)more[0] : '?'; /* no key of ours is beyond ASCII */
}

/* ---- drawing ---- */

void cli_term_begin(struct cli_term *t)
{
    struct winsize w = {0};
    resized = 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_row < 4 || w.ws_col < 20)
        w = (struct winsize){.ws_row = 24, .ws_col = 80};
    t->rows = w.ws_row < 1000 ? w.ws_row : 1000;
    t->cols = w.ws_col < 1000 ? w.ws_col : 1000;
    t->row = t->at = 0;
    gvm_buf_reset(&t->frame);
    gvm_buf_addz(&t->frame, "\033[H\033[0m");
}

void cli_term_show(struct cli_term *t)
{
    gvm_buf_addz(&t->frame, "\033[0m\033[J");
    (void)!gvm_write_all(STDOUT_FILENO, gvm_buf_data(&t->frame), t->frame.len);
}

void cli_term_style(struct cli_term *t, enum cli_style style, bool reverse)
{
    static const char *const codes[] = {"", ";1", ";2", ";31", ";32", ";33", ";36"};
    bool is_color = style >= CLI_RED;
    gvm_buf_addf(&t->frame, "\033[0%s%s;%s", is_color && !t->color ? "" : codes[style], "",
                 reverse ? "7m" : "27m");
}

unsigned cli_term_text(struct cli_term *t, struct gvm_str text, unsigned skip, unsigned width)
{
    unsigned used = 0, column = 0;
    if (width > t->cols - t->at)
        width = t->cols - t->at;
    while (text.n) {
        struct cli_glyph g;
        size_t n = cli_visible(text, &g);
        /* A mark that joins the character before it takes no column of its own on most terminals,
         * and many of them paint over other lines: they are counted as one, so lines end early. */
        if (text.p[0] == '\t') { /* to the next stop of eight */
            g = (struct cli_glyph){.bytes = "        "};
            g.n = g.cols = 8 - column % 8;
        }
        text.p += n;
        text.n -= n;
        column += g.cols;
        if (column <= skip)
            continue;
        if (used + g.cols > width || (text.n && used + g.cols > width - 1)) {
            if (used < width)
                gvm_buf_addc(&t->frame, '>');
            used += used < width;
            break;
        }
        gvm_buf_add(&t->frame, g.bytes, g.n);
        used += g.cols;
    }
    t->at += used;
    return used;
}

void cli_term_fill(struct cli_term *t, unsigned to_column)
{
    while (t->at < to_column && t->at < t->cols) {
        gvm_buf_addc(&t->frame, ' ');
        t->at++;
    }
}

void cli_term_newline(struct cli_term *t)
{
    gvm_buf_addz(&t->frame, "\033[0m\033[K");
    if (++t->row < t->rows)
        gvm_buf_addz(&t->frame, "\r\n");
    t->at = 0;
}
