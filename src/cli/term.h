/* cli/term.h - the whole screen of a terminal, for verbs that people move around in.
 *
 * Everything that is drawn passes cli_visible(): no byte of a name or file reaches the terminal as
 * a control.
 */
#ifndef GVM_CLI_TERM_H
#define GVM_CLI_TERM_H

#include "cli/cli.h"

struct cli_term {
    unsigned rows, cols; /* as of the last cli_term_begin() */
    bool color;
    struct gvm_buf frame;
    unsigned row, at; /* where the next text goes */
};
/* Keys that are no character. */
enum {
    CLI_KEY_NONE = 0, /* the size changed */
    CLI_KEY_END = -1, /* input ended, or a signal asked to end */
    CLI_KEY_UP = 0x110000,
    CLI_KEY_DOWN,
    CLI_KEY_LEFT,
    CLI_KEY_RIGHT,
    CLI_KEY_PAGE_UP,
    CLI_KEY_PAGE_DOWN,
    CLI_KEY_HOME,
    CLI_KEY_LAST,
    CLI_KEY_ESCAPE,
};
enum cli_style { CLI_PLAIN, CLI_BOLD, CLI_DIM, CLI_RED, CLI_GREEN, CLI_YELLOW, CLI_CYAN };

/* Raw mode and the second screen; SIGTERM and SIGHUP end cli_term_key(). */
int cli_term_open(struct cli_term *t, struct gvm_err *err) GVM_MUST_CHECK;
void cli_term_close(struct cli_term *t);
/* Gives the terminal back for another program and takes it again. */
void cli_term_pause(void);
void cli_term_resume(void);
/* A character or a CLI_KEY_. Waits. */
int cli_term_key(void);
/* Begins a frame; then lines are put one after the other, and cli_term_show() draws it. */
void cli_term_begin(struct cli_term *t);
void cli_term_show(struct cli_term *t);
/* `reverse` marks the line the person is on. */
void cli_term_style(struct cli_term *t, enum cli_style style, bool reverse);
/* Text made visible, without its first `skip` columns, at most `width` columns; what does not fit
 * is marked. Returns the columns used. */
unsigned cli_term_text(struct cli_term *t, struct gvm_str text, unsigned skip, unsigned width);
void cli_term_fill(struct cli_term *t, unsigned to_column);
void cli_term_newline(struct cli_term *t);

#endif
