/* ledger/verify.h - checking a ledger and its proofs: for anybody who holds a verifier key.
 *
 * Owns:       nothing. Reads files, writes none.
 * Threads:    no shared state.
 * On failure: a function that judges returns 0 only when everything held. -EKEYREJECTED: the
 *             signature is missing, wrong or of another key; -EBADMSG: the text or the hashes do
 *             not hold; other errors: could not look.
 * Formats:    C2SP signed-note, tlog-checkpoint, tlog-tiles, tlog-proof; RFC 6962 section 2.1.
 *             Nothing of the writer is used: hashes and trees are computed here a second time.
 */
#ifndef GVM_LEDGER_VERIFY_H
#define GVM_LEDGER_VERIFY_H

#include <stdbool.h>
#include <stdint.h>
#include "core/core.h"

#define GVM_MAX_ORIGIN  255u       /* name of a log and of its key, bytes without NUL */
#define GVM_MAX_NOTE    (1u << 20) /* one signed note, bytes */
#define GVM_MAX_PROOF   (2u << 20) /* one proof text, bytes */
#define GVM_LEDGER_HASH 32u        /* SHA-256 */

/* ---- keys ---- */

/* An Ed25519 verifier key: what `name+hex8+base64` says (C2SP signed-note). */
struct gvm_vkey {
    char name[GVM_MAX_ORIGIN + 1];
    uint8_t id[4];
    uint8_t key[32];
    bool witness; /* cosigns (type 0x04) instead of signing (0x01) */
};
/* True for a name a key may have: UTF-8, not empty, no '+', no white space, no control bytes. */
bool gvm_vkey_name_ok(struct gvm_str name);
/* Reads the text form; white space at the end is ignored. -EINVAL when it is no such key or its id
 * does not belong to it. */
int gvm_vkey_parse(struct gvm_str text, struct gvm_vkey *ret, struct gvm_err *err) GVM_MUST_CHECK;
/* The same for a witness's key (C2SP tlog-cosignature, type 0x04). */
int gvm_witness_parse(struct gvm_str text, struct gvm_vkey *ret,
                      struct gvm_err *err) GVM_MUST_CHECK;
/* The key of a 32-byte Ed25519 seed (RFC 8032) under `name`. */
int gvm_vkey_from_seed(const uint8_t seed[32], const char *name, struct gvm_vkey *ret,
                       struct gvm_err *err) GVM_MUST_CHECK;
/* Appends the text form, no newline. */
int gvm_vkey_text(const struct gvm_vkey *key, struct gvm_buf *out) GVM_MUST_CHECK;

/* ---- checkpoints ---- */

struct gvm_checkpoint {
    char origin[GVM_MAX_ORIGIN + 1];
    uint64_t size;
    uint8_t root[GVM_LEDGER_HASH];
};
/* Reads a signed checkpoint without looking at its signatures. -EBADMSG. */
int gvm_checkpoint_parse(struct gvm_str note, struct gvm_checkpoint *ret,
                         struct gvm_err *err) GVM_MUST_CHECK;
/* The same, and demands a good signature of `key` under an origin that is the key's name.
 * Signatures of other keys are skipped. */
int gvm_checkpoint_open(struct gvm_str note, const struct gvm_vkey *key, struct gvm_checkpoint *ret,
                        struct gvm_err *err) GVM_MUST_CHECK;

/* Any signed note: the text that `key` signed. */
int gvm_note_open(struct gvm_str note, const struct gvm_vkey *key, struct gvm_str *ret_text,
                  struct gvm_err *err) GVM_MUST_CHECK;
/* Whether `n` witnesses cosigned a checkpoint: ret_times[i] is when the i-th did (seconds since
 * 1970), 0 if it did not. A wrong cosignature of a known key is -EKEYREJECTED. The log's own
 * signature is not looked at. */
int gvm_checkpoint_witnessed(struct gvm_str note, const struct gvm_vkey *witnesses, size_t n,
                             uint64_t *ret_times, struct gvm_err *err) GVM_MUST_CHECK;

/* ---- the whole log ---- */

/* A head that was verified, and what it takes to go on behind it. */
struct gvm_verified {
    struct gvm_checkpoint head;
    unsigned n; /* complete subtrees of the tree, tallest first: one for each bit of head.size */
    uint8_t subtree[64][GVM_LEDGER_HASH];
    uint64_t pruned_to; /* entries before this one were pruned by signed word */
};
/* Its text form: `gvm verified head v1`, origin, size, root, pruned_to, then the subtrees, each on
 * a line of its own. Reading demands that the subtrees give the root. -EBADMSG. */
int gvm_verified_write(const struct gvm_verified *v, struct gvm_buf *out) GVM_MUST_CHECK;
int gvm_verified_parse(struct gvm_str text, struct gvm_verified *ret,
                       struct gvm_err *err) GVM_MUST_CHECK;

struct gvm_verify_opts {
    const struct gvm_vkey *key;      /* needed */
    const struct gvm_verified *from; /* verified before: only what is behind it is read; or NULL */
    unsigned threads;                /* to use at most; 0 and 1: only the caller's */
    const struct gvm_checkpoint *since; /* a head kept elsewhere, already opened; or NULL */
    bool still; /* no writer is at work: give a half line no time to become whole */
};

struct gvm_verify_report {
    bool ok;       /* false (the zero value) means tampering was found */
    bool since_ok; /* the log extends opts->since */
    bool have_bad_index;
    uint64_t bad_index;        /* first entry that is not what was signed */
    char bad_file[160];        /* file below the ledger's directory, "" when none is to blame */
    char reason[256];          /* one sentence */
    uint64_t entries;          /* whole entries read */
    uint64_t unsigned_entries; /* of these, beyond the signed head */
    bool torn_tail; /* behind them, and behind the head, lie bytes that are no entry: what
                     * a crash leaves; the next start of the writer moves them aside */
    uint64_t bytes, segments, tiles; /* what was read */
    uint64_t from;   /* entries before this one were taken as verified: opts->from */
    uint64_t pruned; /* entries before this one were pruned: only their tiles are here */
    struct gvm_verified verified; /* when ok and a head is there: to be kept for the next time */
    struct gvm_checkpoint head;   /* the signed head; size 0 and no origin when none yet */
};

/* Reads everything below `dir` once (or what is behind opts->from, when the log still has its
 * place), in constant memory. 0 = *ret is filled and ret->ok is the verdict; negative = could not
 * be judged (-ENOENT: no ledger). */
int gvm_ledger_verify(const char *dir, const struct gvm_verify_opts *opts,
                      struct gvm_verify_report *ret, struct gvm_err *err) GVM_MUST_CHECK;

#endif
