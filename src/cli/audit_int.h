/* cli/audit_int.h - what the audit verbs share. */
#ifndef GVM_CLI_AUDIT_INT_H
#define GVM_CLI_AUDIT_INT_H

#include "cli/cli.h"
#include "ledger/ledger.h"

/* The options of all of them; which ones a verb takes is in its row (audit.c). */
#define AUDIT_WHERE     16u
#define AUDIT_WITNESSES 16u
struct audit_opts {
    const char *key, *since, *resume, *out, *entry, *origin, *run, *redact, *format;
    const char *url, *ca, *timestamp, *listen;
    const char *where[AUDIT_WHERE];
    unsigned nwhere;
    const char *witness[AUDIT_WITNESSES];
    unsigned nwitness;
    bool json, bundle, tiles, chain;
    char dir[GVM_PATH_MAX];
    const char *arg; /* the one word that is no option, or NULL */
};

int audit_verify(const struct audit_opts *o);
int audit_prove(const struct audit_opts *o);
int audit_verify_proof(const struct audit_opts *o);
int audit_extends(const struct audit_opts *o);
int audit_checkpoint(const struct audit_opts *o);
int audit_export(const struct audit_opts *o);
int audit_timestamp(const struct audit_opts *o);
int audit_publish(const struct audit_opts *o);
int audit_serve(const struct audit_opts *o);
int audit_key(const struct audit_opts *o);
int audit_keygen(const struct audit_opts *o);
int audit_rotate_key(const struct audit_opts *o);
int audit_protect_key(const struct audit_opts *o);
int audit_unprotect_key(const struct audit_opts *o);
int audit_head(const struct audit_opts *o);

/* The keys a record may be signed with: one from its text, from a file that holds it, or (NULL)
 * from the ledger's directory; and those it came to vouch for, by what stands behind it in that
 * file, or in the directory's key-chain. */
int audit_keys_load(const struct audit_opts *o, struct gvm_keychain *ret,
                    struct gvm_err *err) GVM_MUST_CHECK;
/* Which of the keys signed the head in the directory; the last, when that cannot be told. */
unsigned audit_signer(const struct audit_opts *o, const struct gvm_keychain *keys);
/* Of a record that verified: its entries must say how key 0 led to the one that signed the head,
 * and that one must not have been replaced before. Else rep->ok becomes false. */
int audit_check_changes(const struct audit_opts *o, const struct gvm_keychain *keys, unsigned by,
                        struct gvm_verify_report *rep, struct gvm_err *err) GVM_MUST_CHECK;
/* Checks the timestamp in --timestamp for this head, by the authorities of --ca, and says its time.
 */
int audit_stamped(const struct audit_opts *o, struct gvm_str note,
                  struct gvm_err *err) GVM_MUST_CHECK;
/* The keys given with --witness, each as text or a file; `ret` has room for AUDIT_WITNESSES. */
int audit_witnesses(const struct audit_opts *o, struct gvm_vkey *ret,
                    struct gvm_err *err) GVM_MUST_CHECK;
/* Writes a file whole; its name is `path` and `suffix`. */
int audit_write(const char *path, const char *suffix, const struct gvm_buf *b,
                struct gvm_err *err) GVM_MUST_CHECK;
/* A whole file below `max`. Free with gvm_buf_done() whatever the result. */
int audit_read(const char *path, size_t max, struct gvm_buf *out,
               struct gvm_err *err) GVM_MUST_CHECK;

#endif
