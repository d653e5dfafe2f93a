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

int cli_only_json(const char *verb, const char *usage, int argc, char **argv, bool *ret_json)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
    *ret_json = false;
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        if (c == 'h')
            return cli_help(usage);
        if (c != 'j')
            return cli_bad_option(verb, argv);
        *ret_json = true;
    }
    return optind < argc ? cli_usage(verb, "takes no arguments") : -1;
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

/* Characters of two columns, roughly as terminals draw them (Unicode TR 11). */
static bool is_wide(unsigned v)
{
    static const struct {
        unsigned lo, hi;
    } table[] = {{0x1100, 0x115f},   {0x231a, 0x231b},   {0x2329, 0x232a},   {0x23e9, 0x23f3},
                 {0x25fd, 0x25fe},   {0x2614, 0x2615},   {0x2648, 0x2653},   {0x267f, 0x267f},
                 {0x2693, 0x2693},   {0x26a1, 0x26a1},   {0x26aa, 0x26ab},   {0x26bd, 0x26be},
                 {0x26c4, 0x26c5},   {0x26ce, 0x26ce},   {0x26d4, 0x26d4},   {0x26ea, 0x26ea},
                 {0x26f2, 0x26f3},   {0x26f5, 0x26f5},   {0x26fa, 0x26fa},   {0x26fd, 0x26fd},
                 {0x2705, 0x2705},   {0x270a, 0x270b},   {0x2728, 0x2728},   {0x274c, 0x274c},
                 {0x274e, 0x274e},   {0x2753, 0x2755},   {0x2757, 0x2757},   {0x2795, 0x2797},
                 {0x27b0, 0x27b0},   {0x27bf, 0x27bf},   {0x2b1b, 0x2b1c},   {0x2b50, 0x2b50},
                 {0x2b55, 0x2b55},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xa960, 0xa97c},
                 {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe10, 0xfe19},   {0xfe30, 0xfe6b},
                 {0xff01, 0xff60},   {0xffe0, 0xffe6},   {0x16fe0, 0x18cff}, {0x1b000, 0x1b2ff},
                 {0x1f004, 0x1f004}, {0x1f0cf, 0x1f0cf}, {0x1f18e, 0x1f18e}, {0x1f191, 0x1f19a},
                 {0x1f200, 0x1f320}, {0x1f32d, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f7e0, 0x1f7eb},
                 {0x1f90c, 0x1f9ff}, {0x1fa70, 0x1faff}, {0x20000, 0x3fffd}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (v >= table[i].lo && v <= table[i].hi)
            return true;
    return false;
}

static void make_visible(struct cli_glyph *g, unsigned v)
{
    static const char names[] = "\nn\rr\tt";
    const char *at = v ? memchr(names, (int)v, sizeof(names) - 1) : NULL;
    int n;
    if (at && (at - names) % 2 == 0)
        n = snprintf(g->bytes, sizeof(g->bytes), "\\%c", at[1]);
    else
        n = snprintf(g->bytes, sizeof(g->bytes), v < 0x80 ? "\\x%02x" : "\\u{%x}", v);
    g->n = g->cols = (unsigned)n;
}

size_t cli_visible(struct gvm_str s, struct cli_glyph *ret)
{
    unsigned v = 0;
    size_t len = decode((const unsigned char *)s.p, s.n, &v);
    if (!len) {
        ret->n = ret->cols =
            (unsigned)snprintf(ret->bytes, sizeof(ret->bytes), "\\x%02x", (unsigned char)s.p[0]);
        return 1;
    }
    if (deceives(v)) {
        make_visible(ret, v);
        return len;
    }
    memcpy(ret->bytes, s.p, len);
    ret->n = (unsigned)len;
    ret->cols = is_wide(v) ? 2 : 1;
    return len;
}

static void print_filtered(FILE *f, struct gvm_str s, bool tabs)
{
    while (s.n) {
        struct cli_glyph g;
        if (tabs && s.p[0] == '\t')
            g = (struct cli_glyph){.bytes = "\t", .n = 1};
        size_t n = tabs && s.p[0] == '\t' ? 1 : cli_visible(s, &g);
        fwrite(g.bytes, 1, g.n, f);
        s.p += n;
        s.n -= n;
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
