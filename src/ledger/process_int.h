/* ledger/process_int.h - what the files of the ledger process share (process.c). */
#ifndef GVM_LEDGER_PROCESS_INT_H
#define GVM_LEDGER_PROCESS_INT_H

#include "ipc/ipc.h"
#include "ledger/ledger_int.h"

#define MS 1000000ll
enum { QUEUE_BYTES = 1 << 20 };

/* Whom to answer when the batch is done. */
struct ask {
    enum gvm_role role;
    unsigned generation; /* of the channel: an answer must not go to its successor */
    uint64_t id;
};

struct process {
    struct gvm_chan *chan[GVM_ROLE_MAX];
    unsigned generation[GVM_ROLE_MAX];
    unsigned ready; /* 1 << role: poll() saw something on the channel */
    struct ledger_writer *w;
    struct ask *asks;
    unsigned nasks;
    int64_t held_since; /* 0: the batch is empty */
    int64_t sync_cost;  /* how long a commit takes, on the average of the last ones */
    bool stop;
    /* signing */
    bool sign_out;
    struct gvm_m_sign asked;
    uint64_t sign_id;
    int64_t sign_due, sign_sent; /* due 0: nothing to sign */
    int64_t head_done, pause;    /* the next head comes no sooner */
    int64_t head_cost; /* how long publishing one takes, on the average of the last ones */
    int64_t head_synced;
    /* failure */
    int64_t closed_since, heal_at;
    uint64_t refused, malformed;
    char why[256];
    /* rest */
    int64_t last_commit;
    bool rested;
    int64_t looked, worked;
    bool work; /* there may be put-off work */
};

/* ---- process.c ---- */

/* The channel's end; of the parent's, also ours. */
void process_hang_up(struct process *p, enum gvm_role role);
/* To a peer that is there; one that does not take it is hung up on. */
void process_send(struct process *p, enum gvm_role role, enum gvm_msg_type type, uint64_t id,
                  const void *data, size_t n);
/* Makes the batch durable, answers who waits, files it; closes the gate when that fails. */
void process_commit(struct process *p);
/* Nothing is taken until the writer is healed. */
void process_close_gate(struct process *p, const struct gvm_err *err);
/* Until it is told to stop. */
void process_serve(struct process *p);
/* What was sent before the end is still taken, and the last head gets its signature. */
void process_finish(struct process *p);

/* ---- process_heads.c ---- */

/* Asks for a signature when one is due. */
void process_ask(struct process *p, int64_t now);
/* The answers. */
void process_signed(struct process *p, const struct gvm_msg *m, int64_t now);
void process_sign_failed(struct process *p, const struct gvm_msg *m, int64_t now);
void process_sign_from(struct process *p, const struct gvm_msg *m);

#endif
