/* cli/audit_int.h - what the audit verbs share. */
#ifndef GVM_CLI_AUDIT_INT_H
#define GVM_CLI_AUDIT_INT_H

#include "cli/cli.h"
#include "ledger/ledger.h"

/* The options of all of them; which ones a verb takes is in its row (audit.c). */
#define AUDIT_WHERE 16u
struct audit_opts {
    const char *key, *since, *resume, *out, *entry, *origin, *run, *redact;
    const char *where[AUDIT_WHERE];
    unsigned nwhere;
    bool json, bundle;
    char dir[GVM_PATH_MAX];
    const char *arg; /* the one word that is no option, or NULL */
};

int audit_verify(const struct audit_opts *o);
int audit_prove(const struct audit_opts *o);
int audit_verify_proof(const struct audit_opts *o);

/* A verifier key from its text, from a file that holds it, or (NULL) from the ledger's directory.
 */
int audit_key_load(const struct audit_opts *o, struct gvm_vkey *ret,
                   struct gvm_err *err) GVM_MUST_CHECK;
/* Writes a file whole; its name is `path` and `suffix`. */
int audit_write(const char *path, const char *suffix, const struct gvm_buf *b,
                struct gvm_err *err) GVM_MUST_CHECK;
/* A whole file below `max`. Free with gvm_buf_done() whatever the result. */
int audit_read(const char *path, size_t max, struct gvm_buf *out,
               struct gvm_err *err) GVM_MUST_CHECK;

#endif
