/* process_heads.c - heads: asked of the keys process, published, made durable (process.c). */
#include <inttypes.h>
#include "ipc/ipc.h"
#include "ledger/process_int.h"

static const int64_t SIGN_RETRY_NS = 500 * MS;
static const int64_t HEAD_SYNC_NS = 250 * MS; /* at least between two synced checkpoints */

void process_ask(struct process *p, int64_t now)
{
    if (!p->sign_due || p->sign_out || now < p->sign_due || !p->chan[GVM_ROLE_KEYS])
        return;
    uint8_t ask[sizeof p->asked + GVM_SIGN_NODES * HASH], nodes[GVM_SIGN_NODES][HASH];
    p->sign_due = 0;
    if (!ledger_writer_head(p->w, &p->asked))
        return;
    size_t n = ledger_tree_since(p->w->tree, MARK_SIGNED, nodes);
    p->asked.from = p->w->tree->mark[MARK_SIGNED].size;
    ledger_tree_mark(p->w->tree, MARK_ASKED);
    memcpy(ask, &p->asked, sizeof p->asked);
    memcpy(ask + sizeof p->asked, nodes, n * HASH);
    p->sign_out = true;
    p->sign_sent = now;
    process_send(p, GVM_ROLE_KEYS, GVM_MSG_SIGN, ++p->sign_id, ask, sizeof p->asked + n * HASH);
}

/* Now and then the head is made durable, after it was published: nobody waits for that. */
static void sync_head(struct process *p, int64_t now)
{
    if (now - p->head_synced < HEAD_SYNC_NS)
        return;
    p->head_synced = now;
    int r = ledger_checkpoint_sync(p->w);
    if (r < 0)
        gvm_log(GVM_LOG_WARN, "cannot sync the head (errno %d)", -r);
}

void process_signed(struct process *p, const struct gvm_msg *m, int64_t now)
{
    struct gvm_m_signed sig;
    struct gvm_err err = {0};
    if (m->id != p->sign_id || !p->sign_out || m->len != sizeof sig)
        return;
    memcpy(&sig, m->data, sizeof sig);
    p->sign_out = false;
    p->w->tree->mark[MARK_SIGNED] = p->w->tree->mark[MARK_ASKED];
    int r = ledger_writer_tiles(p->w); /* these must be written however many heads there are */
    int64_t began = gvm_mono_ns();
    if (!r)
        r = ledger_writer_publish(p->w, &p->asked, &sig, p->stop, &err);
    else
        gvm_err_sys(&err, -r, "ledger: cannot write tiles");
    int64_t done = gvm_mono_ns();
    if (r < 0) {
        gvm_log(GVM_LOG_ERROR, "%s", err.text);
        p->sign_due = now + SIGN_RETRY_NS;
        return;
    }
    p->head_cost += (done - began - p->head_cost) / 8;
    p->pause = ledger_head_pause(p->head_cost);
    p->head_done = done;
    sync_head(p, done);
    p->work = true; /* what was to be pruned may be told of by this head */
    if (!p->sign_due && p->w->head.size < p->w->tree->size)
        p->sign_due = done + p->pause;
}

void process_sign_failed(struct process *p, const struct gvm_msg *m, int64_t now)
{
    if (m->id != p->sign_id)
        return;
    size_t skip = m->len < sizeof(struct gvm_m_failed) ? m->len : sizeof(struct gvm_m_failed);
    gvm_log(GVM_LOG_ERROR, "the head was not signed: %.*s", (int)(m->len - skip),
            (const char *)m->data + skip);
    p->sign_out = false;
    p->sign_due = now + SIGN_RETRY_NS;
}

/* The keys process signed another head last than we know of: an answer was lost with one of us, or
 * the head that was published. The tree is built again past that size, which is where the proof
 * must begin. */
void process_sign_from(struct process *p, const struct gvm_msg *m)
{
    struct gvm_m_sign_from from;
    struct gvm_err err = {0};
    if (m->id != p->sign_id || !p->sign_out)
        return;
    memcpy(&from, m->data, sizeof from);
    p->sign_out = false;
    p->w->signed_from = from.size;
    if (p->w->count)
        process_commit(p);
    if (p->closed_since)
        return; /* healing builds it again */
    if (ledger_writer_heal(p->w, &err) < 0) {
        process_close_gate(p, &err);
        return;
    }
    bool there = p->w->tree->mark[MARK_SIGNED].size == from.size;
    if (!there)
        gvm_log(GVM_LOG_ERROR,
                "the head signed last has %" PRIu64 " entries; how to go on from there is not "
                "to be found in this log",
                from.size);
    p->sign_due = gvm_mono_ns() + (there ? 0 : SIGN_RETRY_NS);
}
