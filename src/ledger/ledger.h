/* ledger - the append-only record of what was decided: a C2SP transparency log.
 *
 * Owns:       one directory (ledger/). One writer process; readers use their own handle.
 * Threads:    call from the loop's thread.
 * On failure: nothing later may be forwarded; the writer stays failed until a batch is durable
 * again. Format:     docs/LEDGER.md; byte table at the top of segment.c
 */
#ifndef GVM_LEDGER_H
#define GVM_LEDGER_H

#include "core/core.h"

/* ---- process ---- */

/* main() of `gvmd --child ledger`: parent channel on `fd`; START JSON {"origin":TEXT,
 * "segment_bytes":N,"keep_bytes":N,"keep_ms":N} (0 or absent: 64 MiB, everything, for ever) + 1 fd
 * (ledger directory). Confines itself, then serves APPEND, signs through keys. Returns the exit
 * code. */
int gvm_ledger_main(int fd);

/* ---- entries: what every producer writes (proxy, control, parent) ---- */

/* Begins {"v":1,"t":...,"kind":K,"run":R,"agent":A. run/agent may be NULL. Add members with
 * gvm_jw_k*(), end with gvm_entry_end(). Client-controlled text goes under a "client" member or
 * through gvm_jw_str, which keeps it one line of valid UTF-8. */
void gvm_entry_begin(struct gvm_jw *w, struct gvm_buf *out, const char *kind, const char *run,
                     const char *agent);
/* Members from here on are private: the log commits to their values with a salted hash, so that a
 * proof of the entry may leave any of them out (docs/LEDGER.md). At most once an entry; at most 64
 * members. */
void gvm_entry_private(struct gvm_jw *w);
/* Closes the object. -E2BIG when it did not fit (GVM_MAX_ENTRY); then the entry must not be sent.
 */
int gvm_entry_end(struct gvm_jw *w) GVM_MUST_CHECK;

/* ---- reading (gvm events, watch, suggest): opens the files itself, trusts nothing ---- */

struct gvm_ledger_reader;
/* `dir` = state/ledger. Starts at entry `from`, or at the first entry kept when that one was
 * pruned; packed segments are read like others. -ENOENT when there is no ledger. */
int gvm_ledger_reader_open(const char *dir, uint64_t from, struct gvm_ledger_reader **ret,
                           struct gvm_err *err) GVM_MUST_CHECK;
void gvm_ledger_reader_free(struct gvm_ledger_reader *r);
/* 1 = *ret_line is the next entry (no newline; valid until the next call), 0 = at the end for now
 * (call again later), negative = damaged (err says where). */
int gvm_ledger_reader_next(struct gvm_ledger_reader *r, uint64_t *ret_index,
                           struct gvm_str *ret_line, struct gvm_err *err) GVM_MUST_CHECK;
/* Descriptor that polls readable when the log may have grown (inotify); -1 if none. The caller
 * drains it with gvm_ledger_reader_drain(). */
int gvm_ledger_reader_fd(struct gvm_ledger_reader *r);
void gvm_ledger_reader_drain(struct gvm_ledger_reader *r);
/* Where an entry lies: the first index of its segment, and bytes of entries before it in there (of
 * a compressed segment: of what it holds). It stays true while the entry is in the log. */
struct gvm_ledger_place {
    uint64_t segment, offset;
};
/* The place of the entry given last; of the next one before the first and after a seek. */
struct gvm_ledger_place gvm_ledger_reader_place(const struct gvm_ledger_reader *r);
/* Goes on with entry `index`, which was at `place` when it was read. -ENOENT: that segment is not
 * there any more. A wrong place gives bytes that are no entry: the caller must look at what comes.
 * On failure the reader stays where it was. */
int gvm_ledger_reader_seek(struct gvm_ledger_reader *r, uint64_t index,
                           struct gvm_ledger_place place, struct gvm_err *err) GVM_MUST_CHECK;
/* Number of entries now (end of the log), without reading them all. */
int gvm_ledger_size(const char *dir, uint64_t *ret, struct gvm_err *err) GVM_MUST_CHECK;

/* Keys, checkpoints, verification and proofs. */
#include "ledger/verify.h"
#include "ledger/evidence.h"
#include "ledger/seed.h"

#endif
