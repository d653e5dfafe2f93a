/* cli/approve_int.h - between approve.c (the verb) and approve_ask.c (the person at the terminal).
 */
#ifndef GVM_CLI_APPROVE_INT_H
#define GVM_CLI_APPROVE_INT_H

#include "cli/cli.h"

struct approve_answer {
    const char *id;
    bool allow;
    bool for_run;       /* the same kind of request for the rest of the run */
    uint64_t for_ms;    /* or for so long; both unset: this request only */
    const char *reason; /* may be NULL */
};
/* Sends one answer. -ENOENT: unknown, answered already, or gone. Other frames that arrive meanwhile
 * go to `other` (may be NULL). */
int approve_send(struct gvm_chan *chan, const struct approve_answer *a,
                 void (*other)(void *arg, const struct gvm_msg *m), void *arg,
                 struct gvm_err *err) GVM_MUST_CHECK;
/* Shows a waiting request to a person, every byte of it made visible. */
void approve_show(FILE *f, const struct gvm_json *ask, bool color);
/* Waits for requests and answers them with keys until the person quits. An exit code. */
int approve_interactive(struct gvm_chan *chan);

#endif
