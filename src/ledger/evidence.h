/* ledger/evidence.h - proofs: what is handed to somebody who has neither the log nor GVM's state.
 *
 * Owns, threads, failure: as ledger/verify.h. Formats: docs/LEDGER.md; C2SP tlog-proof,
 * tlog-witness.
 */
#ifndef GVM_LEDGER_EVIDENCE_H
#define GVM_LEDGER_EVIDENCE_H

#include "ledger/verify.h"

/* ---- one entry ---- */

/* Makes the proof text (C2SP tlog-proof@v1) of entry `index` against the checkpoint in `dir`, and
 * the entry's line. The result was checked against that checkpoint's root (the signature is for the
 * receiver to check). -ERANGE: not signed yet; -EBADMSG: the log does not fit its checkpoint. */
int gvm_proof_make(const char *dir, uint64_t index, struct gvm_buf *out, struct gvm_buf *ret_line,
                   struct gvm_err *err) GVM_MUST_CHECK;
/* Checks a proof offline: signature by `key`, and that `entry` stands at the index the proof names.
 */
int gvm_proof_check(struct gvm_str proof, struct gvm_str entry, const struct gvm_vkey *key,
                    uint64_t *ret_index, struct gvm_checkpoint *ret_head,
                    struct gvm_err *err) GVM_MUST_CHECK;
/* Appends the entry in a line of the log: the line, or what stands before its private members. */
int gvm_line_entry(struct gvm_str line, struct gvm_buf *out) GVM_MUST_CHECK;

/* ---- private members (docs/LEDGER.md) ---- */

#define GVM_MAX_REDACT 64u
/* Which private members are left out. */
struct gvm_redact {
    const char *const *names;
    unsigned n; /* at most GVM_MAX_REDACT */
    bool all;
    uint64_t used; /* bit i: names[i] was there to be left out */
};
/* Writes a line's private members as they travel with a proof: a JSON array, empty when it has
 * none. */
int gvm_disclose(struct gvm_str line, struct gvm_redact *redact, struct gvm_jw *w,
                 struct gvm_err *err) GVM_MUST_CHECK;
/* Holds such an array (JSON text) against the commitment of `entry`. Appends the event, which is
 * the entry with the members that are shown, and an array of the names that are not. An entry that
 * commits to nothing is the event; the array is not looked at. -EBADMSG. */
int gvm_disclosed(struct gvm_str entry, struct gvm_str array, struct gvm_buf *ret_event,
                  struct gvm_jw *ret_hidden, struct gvm_err *err) GVM_MUST_CHECK;

/* ---- bundles: many entries, one file (format: bundle.c) ---- */

#define GVM_MAX_BUNDLE_LINE (8u * GVM_MAX_ENTRY + 65536u) /* bytes */

struct gvm_bundle_opts {
    uint64_t from; /* first index to look at */
    /* 1 take, 0 leave, or an error that was set. */
    int (*want)(void *arg, uint64_t index, struct gvm_str line, struct gvm_err *err);
    struct gvm_redact *redact;
    /* Gets each line with its newline; negative errno stops. */
    int (*write)(void *arg, struct gvm_str line);
    void *arg;
};
/* A bundle of the entries wanted, against the checkpoint in `dir`. */
int gvm_bundle_make(const char *dir, const struct gvm_bundle_opts *opts, uint64_t *ret_rows,
                    struct gvm_err *err) GVM_MUST_CHECK;

struct gvm_bundle;
struct gvm_bundle_row {
    uint64_t index;
    struct gvm_str event;  /* JSON: the entry and its private members that are shown */
    struct gvm_str hidden; /* JSON: array of the names of those that are not */
};
/* Checks a bundle line by line; `key` must stay valid. */
int gvm_bundle_new(const struct gvm_vkey *key, struct gvm_bundle **ret,
                   struct gvm_err *err) GVM_MUST_CHECK;
void gvm_bundle_free(struct gvm_bundle *b);
/* True for a text that begins like a bundle. */
bool gvm_bundle_looks(struct gvm_str text);
/* The next line, without its newline. 1: *ret is a row that holds (valid until the next call), 0:
 * head or end; -EKEYREJECTED, -EBADMSG: does not hold. */
int gvm_bundle_line(struct gvm_bundle *b, struct gvm_str line, struct gvm_bundle_row *ret,
                    struct gvm_err *err) GVM_MUST_CHECK;
/* After the last line: 0 when the bundle is whole. */
int gvm_bundle_end(const struct gvm_bundle *b, struct gvm_checkpoint *ret_head, uint64_t *ret_rows,
                   struct gvm_err *err) GVM_MUST_CHECK;

/* ---- one head extends another ---- */

/* The proof (format: proof.c) that the checkpoint in `dir` extends `old`. -EBADMSG: it does not. */
int gvm_extends_make(const char *dir, const struct gvm_checkpoint *old, struct gvm_buf *out,
                     struct gvm_err *err) GVM_MUST_CHECK;
int gvm_extends_check(struct gvm_str proof, const struct gvm_checkpoint *old,
                      const struct gvm_vkey *key, struct gvm_checkpoint *ret_head,
                      struct gvm_err *err) GVM_MUST_CHECK;

#endif
