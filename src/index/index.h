/* index - answers about the ledger without reading all of it.
 *
 * Owns:       one directory beside the ledger (state/index), never inside what is verified: a
 * SQLite file that says where each signed entry lies and what it is about, and sums over them. All
 * of it is derived. It is made anew when it is missing, damaged or of another log, and brought up
 * to the signed head before it is asked; what is newer is read from the log. Threads:    call from
 * one. On failure: whatever is wrong with the index, the log itself is read instead;
 * gvm_index_note() says so. Only a log that cannot be read fails a question. Trust:      a search
 * gives the log's own bytes, and only entries that match by themselves. The index is the user's own
 * file: who can write it can make it leave something out. Evidence is what `gvm audit` says, which
 * never looks here.
 */
#ifndef GVM_INDEX_H
#define GVM_INDEX_H

#include "core/core.h"
#include "ledger/ledger.h"

/* ---- what an entry says of itself ---- */

struct gvm_index_facts {
    bool whole; /* false: no JSON object, or a member below twice; the rest is then empty */
    int64_t t;  /* its clock, ns since 1970; INT64_MIN when it has none */
    struct gvm_str kind, run, agent, host, decision,
        id;                                    /* empty when absent; host: "host" or "name" */
    int64_t bytes_out, bytes_in, ms;           /* of an outcome, else 0 */
    int64_t tokens_in, tokens_out, cost_micro; /* of its member "llm"; cost in millionths */
    bool llm;                                  /* it has one */
};
/* Reads one entry. The texts are views into `line`, or into `scratch` where they had escapes; both
 * must outlive *ret. What cannot be read is not `whole`; nor is an entry for which `scratch` has no
 * room: who may not miss one reserves GVM_MAX_ENTRY bytes first. */
#define GVM_INDEX_SCRATCH (GVM_MAX_ENTRY + 1)
void gvm_index_facts(struct gvm_str line, struct gvm_buf *scratch, struct gvm_index_facts *ret);

/* Which entries are wanted. NULL and 0 mean any. */
struct gvm_index_filter {
    const char *run;                 /* the beginning of its id */
    const char *kind, *host, *agent; /* as gvm_glob() */
    const char *decision;            /* any case */
    const char *request;             /* its id, whole */
    int64_t since_ns, until_ns;      /* since <= t < until */
};
bool gvm_index_matches(const struct gvm_index_filter *f, const struct gvm_index_facts *e);
/* True when it lets every entry pass. */
bool gvm_index_any(const struct gvm_index_filter *f);

/* ---- questions ---- */

struct gvm_index;
/* `ledger_dir`: state/ledger or a copy. `index_dir`: made when absent; NULL: no index, the log is
 * read for every question. -ENOENT: no ledger. */
int gvm_index_open(const char *ledger_dir, const char *index_dir, struct gvm_index **ret,
                   struct gvm_err *err) GVM_MUST_CHECK;
void gvm_index_free(struct gvm_index *ix);
/* What a person should know (the index was damaged and is new), one sentence; "" when nothing. */
const char *gvm_index_note(const struct gvm_index *ix);
/* Told while many entries are taken into the index: of `total` so far `done`. */
void gvm_index_on_progress(struct gvm_index *ix, void (*fn)(uint64_t done, uint64_t total));

/* Brings the index up to the signed head, as the first question does: before anybody asks. 0 also
 * when there is no index to be had; gvm_index_note() says why. */
int gvm_index_fill(struct gvm_index *ix, struct gvm_err *err) GVM_MUST_CHECK;

struct gvm_index_search;
/* Entries that match, oldest first; with `last` only the newest so many of them (<=
 * GVM_INDEX_LAST). One search at a time; free it before the index. */
#define GVM_INDEX_LAST 100000u
int gvm_index_search(struct gvm_index *ix, const struct gvm_index_filter *f, uint64_t last,
                     struct gvm_index_search **ret, struct gvm_err *err) GVM_MUST_CHECK;
void gvm_index_search_free(struct gvm_index_search *s);
/* 1 = the next entry (line valid until the next call), 0 = that was all, negative = the log is
 * damaged. */
int gvm_index_next(struct gvm_index_search *s, uint64_t *ret_index, struct gvm_str *ret_line,
                   struct gvm_err *err) GVM_MUST_CHECK;
/* After gvm_index_next() said 0: the first entry that was not looked at, to follow the log from. */
uint64_t gvm_index_end(const struct gvm_index_search *s);

/* ---- sums ---- */

struct gvm_index_sum {
    struct gvm_str run, agent, host, decision, kind; /* empty: that member was not there */
    int64_t n, bytes_out, bytes_in, ms;
    int64_t llm, tokens_in, tokens_out, cost_micro; /* llm: entries that had any of these */
};
/* Calls `each` with sums whose union is every matching entry: entries of one run, agent, host,
 * decision and kind, where an outcome counts for the host and decision of its request, and a
 * refusal
 * ("http.refused", "dns.refused") has the decision "refused". There may be several with the same
 * names. `sum` NULL: forget those before, the count begins again (the index was damaged).
 * f->request is not used. */
int gvm_index_sums(struct gvm_index *ix, const struct gvm_index_filter *f,
                   void (*each)(void *arg, const struct gvm_index_sum *sum), void *arg,
                   struct gvm_err *err) GVM_MUST_CHECK;

#endif
