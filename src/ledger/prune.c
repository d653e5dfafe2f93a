/* prune.c - old segments go, and the log says so.
 *
 *   too much, or too old --> entry ledger.pruned {"from","to",...} --> signed head over it, durable
 *                                                                        --> segments before `to`
 * are removed
 *
 * In this order, so that at no moment entries are missing without a signed word of it: that is what
 * tells pruning from cutting. A crash on the way leaves segments that are pruned the next time.
 * Tiles stay: the tree over everything, and every proof given out, goes on to verify. Only whole
 * closed segments go, and only those whose tiles are on disk for certain.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include "ledger/ledger_int.h"

static uint64_t end_of(const struct ledger_writer *w, size_t i)
{
    return i + 1 < w->nclosed ? w->closed[i + 1].first : w->seg.first;
}

/* How many of the closed segments are to go, and why. */
static size_t plan(const struct ledger_writer *w, int64_t now_ns, uint64_t *ret_bytes,
                   const char **ret_why)
{
    uint64_t total = w->closed_bytes + w->seg.off, bytes = 0;
    size_t n = 0;
    for (; n < w->nclosed; n++) {
        const struct ledger_closed *c = &w->closed[n];
        bool size = w->keep.bytes && total - bytes > w->keep.bytes;
        bool age = w->keep.age_ns && now_ns - c->closed_ns > w->keep.age_ns;
        if ((!size && !age) || end_of(w, n) > w->tiles_synced)
            break;
        *ret_why = size ? "size" : "age";
        bytes += c->bytes;
    }
    *ret_bytes = bytes;
    return n;
}

static void write_rotated(const struct ledger_writer *w, struct gvm_buf *out)
{
    struct gvm_jw j;
    char name[SEGMENT_NAME];
    size_t i = w->nclosed - w->untold;
    ledger_segment_name(name, w->closed[i].first, LEDGER_PLAIN);
    gvm_entry_begin(&j, out, "ledger.rotated", NULL, NULL);
    gvm_jw_kstrz(&j, "segment", name);
    gvm_jw_kint(&j, "from", (int64_t)w->closed[i].first);
    gvm_jw_kint(&j, "to", (int64_t)end_of(w, i));
    gvm_jw_kint(&j, "bytes", (int64_t)w->closed[i].bytes);
    (void)!gvm_entry_end(&j);
}

static void write_pruned(const struct ledger_writer *w, size_t n, uint64_t bytes, const char *why,
                         struct gvm_buf *out)
{
    struct gvm_jw j;
    gvm_entry_begin(&j, out, "ledger.pruned", NULL, NULL);
    gvm_jw_kint(&j, "from", (int64_t)w->closed[0].first);
    gvm_jw_kint(&j, "to", (int64_t)end_of(w, n - 1));
    gvm_jw_kint(&j, "segments", (int64_t)n);
    gvm_jw_kint(&j, "bytes", (int64_t)bytes);
    gvm_jw_kstrz(&j, "why", why);
    (void)!gvm_entry_end(&j);
}

bool ledger_writer_own(const struct ledger_writer *w, int64_t now_ns, struct gvm_buf *out)
{
    uint64_t bytes;
    const char *why = "";
    if (w->failed || w->unhashed)
        return false;
    if (w->untold) {
        write_rotated(w, out);
        return true;
    }
    size_t n = w->prune.to ? 0 : plan(w, now_ns, &bytes, &why);
    if (n)
        write_pruned(w, n, bytes, why, out);
    return n > 0;
}

void ledger_writer_told(struct ledger_writer *w, int64_t now_ns)
{
    uint64_t bytes;
    const char *why;
    if (w->untold) {
        w->untold--;
        return;
    }
    size_t n = plan(w, now_ns, &bytes, &why);
    w->prune.to = end_of(w, n - 1);
    w->prune.entry = w->durable + w->count - 1;
}

static void forget_first(struct ledger_writer *w)
{
    w->closed_bytes -= w->closed[0].bytes;
    memmove(w->closed, w->closed + 1, --w->nclosed * sizeof *w->closed);
}

int ledger_prune_step(struct ledger_writer *w)
{
    char name[SEGMENT_NAME];
    if (!w->prune.to || w->head.size <= w->prune.entry)
        return 0;
    int r = w->head_durable <= w->prune.entry ? ledger_checkpoint_sync(w) : 0;
    if (r < 0)
        return r;
    if (!w->nclosed || w->closed[0].first >= w->prune.to) {
        w->prune.to = 0;
        return 0;
    }
    /* Both forms: a crash while packing leaves two. */
    for (unsigned form = LEDGER_PLAIN; form <= LEDGER_PACKING; form++) {
        ledger_segment_name(name, w->closed[0].first, (enum ledger_form)form);
        r = w->ops->unlink(w->ops->arg, w->eventsfd, name, 0);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    r = ledger_sync_dir(w->ops, w->dirfd,
                        "events"); /* the older ones first, also after a power cut */
    if (r < 0)
        return r;
    forget_first(w);
    return 1;
}
