/* What every verb says and asks, in one voice. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

int cli_fail(int code, const struct gvm_err *err)
{
    fflush(stdout);
    fputs("gvm: ", stderr);
    cli_print_safe(stderr, gvm_str(err && err->code ? err->text : "unknown error"));
    fputc('\n', stderr);
    return code;
}

int cli_usage(const char *verb, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fflush(stdout);
    fprintf(stderr, "gvm %s: ", verb);
    cli_print_safe(stderr, gvm_str(text));
    fprintf(stderr, " (see gvm %s --help)\n", verb);
    return GVM_EXIT_USAGE;
}

int cli_help(const char *usage)
{
    fputs(usage, stdout);
    return cli_flush();
}

int cli_bad_option(const char *verb, char **argv)
{
    /* getopt leaves optind behind the word, or on it while letters of a bundle are left. */
    const char *word = optind > 0 ? argv[optind - 1] : NULL;
    if (optopt > 32 && optopt < 127 && (!word || word[0] != '-' || word[1] != '-'))
        return cli_usage(verb, "option -%c is unknown or needs a value", optopt);
    return cli_usage(verb, "option '%s' is unknown or needs a value", word ? word : "?");
}

/* The person's terminal, as the agent's output left it. */
static struct {
    bool raw, mid_line;
} terminal;

void cli_terminal(bool raw, bool mid_line)
{
    terminal.raw = raw;
    terminal.mid_line = mid_line;
}

void cli_fresh_line(void)
{
    if (terminal.mid_line)
        fputs(terminal.raw ? "\r\n" : "\n", stderr);
    terminal.mid_line = false;
}

void cli_say(const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fflush(stdout);
    cli_fresh_line();
    fputs("gvm: ", stderr);
    cli_print_safe(stderr, gvm_str(text));
    fputs(terminal.raw ? "\r\n" : "\n", stderr);
}

bool cli_color(int fd)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return (!no || !*no) && isatty(fd) && !(term && strcmp(term, "dumb") == 0);
}

/* Length of the well-formed UTF-8 character at p (RFC 3629), its value in *ret; 0 when malformed.
 */
static size_t decode(const unsigned char *p, size_t n, unsigned *ret)
{
    static const struct {
        unsigned char lo, hi;
        unsigned len, min;
    } leads[] = {{0x00, 0x7f, 1, 0},
                 {0xc2, 0xdf, 2, 0x80},
                 {0xe0, 0xef, 3, 0x800},
                 {0xf0, 0xf4, 4, 0x10000}};
    for (size_t k = 0; k < sizeof(leads) / sizeof(leads[0]); k++) {
        if (p[0] < leads[k].lo || p[0] > leads[k].hi || leads[k].len > n)
            continue;
        unsigned v = leads[k].len == 1 ? p[0] : p[0] & (0x7fu >> leads[k].len);
        for (unsigned i = 1; i < leads[k].len; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return 0;
            v = v << 6 | (p[i] & 0x3fu);
        }
        if (v < leads[k].min || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
            return 0;
        *ret = v;
        return leads[k].len;
    }
    return 0;
}

/* Characters that move the cursor, reorder text or cannot be seen: a name made of them can lie. */
static bool deceives(unsigned v)
{
    static const struct {
        unsigned lo, hi;
    } table[] = {{0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},
                 {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f},
                 {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}, {0xfff0, 0xfffb}, {0xe0000, 0xe0fff}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (v >= table[i].lo && v <= table[i].hi)
            return true;
    return false;
}

static void print_visible(FILE *f, unsigned v)
{
    static const char names[] = "\nn\rr\tt";
    for (size_t i = 0; i + 1 < sizeof(names); i += 2)
        if (v == (unsigned char)names[i]) {
            fputc('\\', f);
            fputc(names[i + 1], f);
            return;
        }
    fprintf(f, v < 0x80 ? "\\x%02x" : "\\u{%x}", v);
}

static void print_filtered(FILE *f, struct gvm_str s, bool tabs)
{
    const unsigned char *p = (const unsigned char *)s.p;
    for (size_t i = 0; i < s.n;) {
        unsigned v = 0;
        size_t len = decode(p + i, s.n - i, &v);
        if (!len) {
            fprintf(f, "\\x%02x", p[i++]);
            continue;
        }
        if (deceives(v) && !(tabs && v == '\t'))
            print_visible(f, v);
        else
            fwrite(p + i, 1, len, f);
        i += len;
    }
}

void cli_print_safe(FILE *f, struct gvm_str s)
{
    print_filtered(f, s, false);
}

void cli_print_text(FILE *f, struct gvm_str s)
{
    print_filtered(f, s, true);
}

int cli_flush(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return GVM_EXIT_OK;
    if (errno != EPIPE)
        fprintf(stderr, "gvm: writing the output failed: %s\n", strerror(errno));
    return GVM_EXIT_ERROR;
}

bool cli_confirm(const char *question)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return false;
    fflush(stdout);
    /* What was typed before the question was shown is no answer to it. */
    tcflush(STDIN_FILENO, TCIFLUSH);
    cli_print_safe(stderr, gvm_str(question));
    fputs(" [y/N] ", stderr);
    char line[16];
    ssize_t n = read(STDIN_FILENO, line, sizeof(line));
    if (n <= 0) {
        fputc('\n', stderr);
        return false;
    }
    struct gvm_str said = gvm_str_trim((struct gvm_str){line, (size_t)n - (line[n - 1] == '\n')});
    return gvm_str_ieqz(said, "y") || gvm_str_ieqz(said, "yes");
}
