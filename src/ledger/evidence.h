/* ledger/evidence.h - proofs: what is handed to somebody who has neither the log nor GVM's state.
 *
 * Owns, threads, failure: as ledger/verify.h. Formats: docs/LEDGER.md; C2SP tlog-proof,
 * tlog-witness.
 */
#ifndef GVM_LEDGER_EVIDENCE_H
#define GVM_LEDGER_EVIDENCE_H

#include "ledger/verify.h"

/* ---- a log that changes its key (format: keychain.c) ---- */

#define GVM_MAX_KEYS     64u
#define GVM_MAX_VOUCHERS (64u * 1024u) /* bytes of all of them */
/* key[0] is the one that is trusted; each vouches for the next; the last signs now. */
struct gvm_keychain {
    struct gvm_vkey key[GVM_MAX_KEYS];
    unsigned n;
};
/* Appends the note by which the key of `old_seed` vouches for that of `new_seed` (32 bytes each).
 */
int gvm_voucher_make(const uint8_t old_seed[32], const uint8_t new_seed[32], const char *origin,
                     struct gvm_buf *out, struct gvm_err *err) GVM_MUST_CHECK;
/* The key that `key` vouches for. -EKEYREJECTED: not signed by it; -EBADMSG. */
int gvm_voucher_open(struct gvm_str note, const struct gvm_vkey *key, struct gvm_vkey *ret,
                     struct gvm_err *err) GVM_MUST_CHECK;
/* From a key that is trusted through vouchers that stand one behind the other. Those from before it
 * are passed over. -EBADMSG, -EKEYREJECTED: they do not hold, and *ret is of no use. */
int gvm_keychain_follow(const struct gvm_vkey *first, struct gvm_str vouchers,
                        struct gvm_keychain *ret, struct gvm_err *err) GVM_MUST_CHECK;
/* gvm_checkpoint_open() with any of the keys; *ret_by (may be NULL) is which. */
int gvm_keychain_open(struct gvm_str note, const struct gvm_keychain *keys,
                      struct gvm_checkpoint *ret, unsigned *ret_by,
                      struct gvm_err *err) GVM_MUST_CHECK;

/* ---- one entry ---- */

/* Makes the proof text (C2SP tlog-proof@v1) of entry `index` against the checkpoint in `dir`, and
 * the entry's line. The result was checked against that checkpoint's root (the signature is for the
 * receiver to check). -ERANGE: not signed yet; -EBADMSG: the log does not fit its checkpoint. */
int gvm_proof_make(const char *dir, uint64_t index, struct gvm_buf *out, struct gvm_buf *ret_line,
                   struct gvm_err *err) GVM_MUST_CHECK;
/* Checks a proof offline: signature by one of `keys`, and that `entry` stands at the index the
 * proof names.
 */
int gvm_proof_check(struct gvm_str proof, struct gvm_str entry, const struct gvm_keychain *keys,
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
/* Checks a bundle line by line; `keys` must stay valid. Changes of key that the bundle itself holds
 * are followed from the last of them. */
int gvm_bundle_new(const struct gvm_keychain *keys, struct gvm_bundle **ret,
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
                      const struct gvm_keychain *keys, struct gvm_checkpoint *ret_head,
                      struct gvm_err *err) GVM_MUST_CHECK;

/* ---- the log as static files (C2SP tlog-tiles) ---- */

struct gvm_export_report {
    struct gvm_checkpoint head;
    uint64_t entries, bundles; /* written this time */
    uint64_t tiles;            /* there now */
};
/* Writes checkpoint, tiles and entry bundles of the ledger in `dir` below `out`, without private
 * members. What an earlier export left there is kept; -EBADMSG when it is not of this log, or this
 * log is not what was signed. */
int gvm_export_tiles(const char *dir, const char *out, struct gvm_export_report *ret,
                     struct gvm_err *err) GVM_MUST_CHECK;
/* Verifies such a directory, of whatever log: every bundle and every tile of the signed size. As
 * gvm_ledger_verify(); `segments` counts bundles. */
int gvm_tiles_verify(const char *dir, const struct gvm_verify_opts *opts,
                     struct gvm_verify_report *ret, struct gvm_err *err) GVM_MUST_CHECK;

/* The same files one at a time, out of the ledger itself, as of its newest head. */
struct gvm_tiles;
/* `dir` is opened at each need, and need not hold a log yet. NULL: out of memory. */
struct gvm_tiles *gvm_tiles_new(const char *dir) GVM_MUST_CHECK;
void gvm_tiles_free(struct gvm_tiles *t);
/* `path`: "checkpoint", "tile/<L>/<N>[.p/<W>]" or "tile/entries/<N>[.p/<W>]", from anywhere. Sets
 * up *out, to be freed by the caller whatever the result. -ENOENT: there is no such file, or not
 * yet; -ENODATA: the entries were pruned; any other error is ours. */
int gvm_tiles_get(struct gvm_tiles *t, struct gvm_str path, struct gvm_buf *out,
                  struct gvm_err *err) GVM_MUST_CHECK;

/* ---- timestamps (RFC 3161) ---- */

#define GVM_MAX_TIMESTAMP (1u << 20) /* request or response, bytes */
/* Appends a request (DER) for a timestamp over `data`, with a nonce. */
int gvm_timestamp_request(struct gvm_str data, struct gvm_buf *out,
                          struct gvm_err *err) GVM_MUST_CHECK;
/* Checks a response (DER) for `data`. With `request` ("" when it is not at hand) also that it
 * answers this very one. With the PEM of authorities' certificates also the signature and its
 * chain; without ("") only that it is for this data. *ret_seconds: the time it states, since 1970.
 * -EBADMSG. */
int gvm_timestamp_check(struct gvm_str response, struct gvm_str request, struct gvm_str data,
                        struct gvm_str ca_pem, int64_t *ret_seconds,
                        struct gvm_err *err) GVM_MUST_CHECK;

#endif
