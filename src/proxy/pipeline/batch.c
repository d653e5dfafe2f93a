/* Entries nobody waits for travel to the ledger together: one message and one wake-up for a turn of
 * the loop instead of one for each.
 *
 * The promise that a decision is recorded before it is acted on is kept by order. From the
 * beginning to the end of a turn small writes to streams are held back; when the turn ends, first
 * the batch goes to the ledger, then the streams go out. When the ledger does not take the batch,
 * the requests whose decisions are in it are closed, and what was held for their upstreams is
 * dropped. What only tells an outcome may wait a little longer, for company. */
#include <errno.h>

#include "proxy/pipeline/px.h"

#define BATCH_BYTES   (32u * 1024u)
#define BATCH_WAIT_MS 1u

static int send_batch(struct px *px)
{
    struct gvm_m_append h = {.flags = GVM_APPEND_NO_WAIT};
    if (!px->batch.len)
        return 0;
    int r = px_link_send(px, GVM_ROLE_LEDGER, GVM_MSG_APPEND, 0, &h, sizeof h,
                         gvm_buf_data(&px->batch), px->batch.len);
    if (r < 0)
        gvm_log(GVM_LOG_WARN, "entries were not recorded: %s", strerrordesc_np(-r));
    gvm_buf_reset(&px->batch);
    return r;
}

int px_batch_flush(struct px *px)
{
    int r = send_batch(px);
    while (px->unsent) {
        struct px_request *rq = px->unsent;
        px->unsent = rq->unsent_next;
        rq->unsent = false;
        if (r < 0) {
            rq->live = false;
            rq->front->close(rq, 0, NULL);
        }
    }
    return r;
}

void px_batch_hold(struct px_request *rq)
{
    if (rq->unsent)
        return;
    rq->unsent = true;
    rq->unsent_next = rq->px->unsent;
    rq->px->unsent = rq;
}

void px_batch_forget(struct px_request *rq)
{
    if (!rq->unsent)
        return;
    for (struct px_request **at = &rq->px->unsent; *at; at = &(*at)->unsent_next) {
        if (*at == rq) {
            *at = rq->unsent_next;
            break;
        }
    }
    rq->unsent = false;
}

static void on_wait_over(uv_timer_t *t)
{
    struct px *px = t->data;
    if (px_batch_flush(px) < 0)
        return; /* said already */
}

int px_batch_add(struct px *px, struct gvm_str line)
{
    if (!px->links[GVM_ROLE_LEDGER])
        return -EPIPE;
    if (px->batch.len && px->batch.len + 1 + line.n > BATCH_BYTES) {
        int r = px_batch_flush(px);
        if (r < 0)
            return r;
    }
    if (!px->batch.len && !uv_is_active((uv_handle_t *)&px->batch_timer))
        uv_timer_start(&px->batch_timer, on_wait_over, BATCH_WAIT_MS, 0);
    if (px->batch.len)
        gvm_buf_addc(&px->batch, '\n');
    gvm_buf_adds(&px->batch, line);
    if (!px->batch.failed)
        return 0;
    gvm_buf_reset(&px->batch);
    return -ENOMEM;
}

/* Before the loop sleeps: first what is to be recorded, then what is to be sent. */
static void on_turn(uv_prepare_t *p)
{
    struct px *px = p->data;
    if (px->unsent && px_batch_flush(px) < 0)
        gvm_log(GVM_LOG_WARN, "requests were given up: their decisions could not be recorded");
    px_h2_speak(px);
    stream_batch_end(&px->loop);
    stream_batch_begin(&px->loop);
}

int px_batch_start(struct px *px)
{
    gvm_buf_init(&px->batch, GVM_MAX_ENTRY);
    px->turn.data = px;
    px->batch_timer.data = px;
    int r = uv_timer_init(&px->loop, &px->batch_timer);
    if (r == 0)
        r = uv_prepare_init(&px->loop, &px->turn);
    return r < 0 ? r : uv_prepare_start(&px->turn, on_turn);
}
