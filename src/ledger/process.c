/* process.c - the ledger process: `gvmd --child ledger`.
 *
 *   parent --START{origin}, directory--> [confine, lock, recover] --READY--> parent
 *   proxy, control, parent --APPEND--> batch --commit--> APPENDED
 *                                               '--> head --SIGN--> keys --SIGNED--> checkpoint
 *
 * Group commit: everything that waits on the channels goes into one batch, one write, one
 * fdatasync; while the disk works the next batch gathers in the sockets. A batch in which nobody
 * waits may be held for HOLD_NS, or as long as a sync takes, so that a stream of unwatched entries
 * does not keep the disk busy for each of them. A head is asked for after each commit, one at a
 * time, so it covers many batches when there are many, and less often while publishing takes long
 * (ledger_head_pause). When a batch fails the gate is closed: every APPEND is answered with the
 * error at once, and the writer is healed in the background of the same loop.
 *
 * The other end may do anything the catalogue lets it: an entry is checked for form, and for being
 * of a kind that its sender may write. A peer that does not take its answers is hung up on.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "ipc/ipc.h"
#include "ledger/process_int.h"
#include "ledger/private.h"

enum { ROUND_FRAMES = 64, HOLD_ENTRIES = BATCH_ENTRIES, HOLD_BYTES = 1 << 20 };
static const int64_t HOLD_NS = 2 * MS;
static const int64_t HOLD_MOST_NS = 20 * MS;
static const int64_t NAP_NS = 200000; /* what an entry that is waited for may lose by it */
static const int64_t SIGN_LOST_NS = 2000 * MS;
static const int64_t HEAL_NS = 200 * MS;
static const int64_t REST_NS = 1000 * MS; /* quiet for so long: partial tiles, synced checkpoint */
static const int64_t LAST_HEAD_NS = 1000 * MS;
static const int64_t LOOK_NS = 1000 * MS; /* between two looks for what is to be pruned */
static const int64_t QUIET_NS = 30 * MS;  /* nothing came for so long: put-off work */
static const int64_t WORK_NS = 50 * MS;   /* between two pieces of put-off work under load */

/* ---- channels ---- */

void process_hang_up(struct process *p, enum gvm_role role)
{
    gvm_chan_free(p->chan[role]);
    p->chan[role] = NULL;
    p->generation[role]++;
    if (role == GVM_ROLE_PARENT)
        p->stop = true;
    if (role == GVM_ROLE_KEYS)
        p->sign_out = false;
}

void process_send(struct process *p, enum gvm_role role, enum gvm_msg_type type, uint64_t id,
                  const void *data, size_t n)
{
    if (p->chan[role] && gvm_chan_send(p->chan[role], type, id, data, n, NULL, 0) < 0)
        process_hang_up(p, role);
}

static void answer(struct process *p, const struct ask *a, int error, uint64_t index)
{
    struct gvm_m_appended m = {.error = error, .index = index};
    if (p->generation[a->role] == a->generation)
        process_send(p, a->role, GVM_MSG_APPENDED, a->id, &m, sizeof m);
}

static void tell_gate(struct process *p, enum gvm_role role)
{
    struct gvm_m_gate m = {.open = p->closed_since == 0};
    process_send(p, role, GVM_MSG_GATE, 0, &m, sizeof m);
}

static void tell_gate_all(struct process *p)
{
    tell_gate(p, GVM_ROLE_PROXY);
    tell_gate(p, GVM_ROLE_CONTROL);
    tell_gate(p, GVM_ROLE_PARENT);
}

/* ---- batches ---- */

void process_close_gate(struct process *p, const struct gvm_err *err)
{
    int64_t now = gvm_mono_ns();
    gvm_log(GVM_LOG_ERROR, "%s; nothing is forwarded until this is healed", err->text);
    if (!p->closed_since) {
        p->closed_since = now;
        p->refused = 0;
        (void)snprintf(p->why, sizeof p->why, "%.250s", err->text);
    }
    p->heal_at = now + HEAL_NS;
    tell_gate_all(p);
}

/* What the ledger has to say itself joins the next batch; nobody waits for it. */
static void add_own(struct process *p)
{
    struct gvm_buf b;
    gvm_buf_init(&b, GVM_MAX_ENTRY);
    while (!p->closed_since && ledger_writer_own(p->w, gvm_now_ns(), &b) &&
           ledger_writer_add(p->w, gvm_buf_str(&b)) == 0) {
        ledger_writer_told(p->w, gvm_now_ns());
        p->asks[p->w->count - 1] = (struct ask){0};
        if (!p->held_since)
            p->held_since = gvm_mono_ns();
        gvm_buf_reset(&b);
    }
    gvm_buf_done(&b);
}

void process_commit(struct process *p)
{
    struct gvm_err err = {0};
    uint64_t first = p->w->durable;
    unsigned lines = p->w->count;
    int64_t began = gvm_mono_ns();
    int r = ledger_writer_commit(p->w, &err);
    p->sync_cost += (gvm_mono_ns() - began - p->sync_cost) / 8;
    /* asks[] has a row per line, in order; an id of 0 waits for nothing. */
    for (unsigned i = 0; i < lines; i++)
        if (p->asks[i].id)
            answer(p, &p->asks[i], r < 0 ? EIO : 0, r < 0 ? 0 : first + i);
    p->nasks = 0;
    p->held_since = 0;
    unsigned lost = r < 0 ? lines : 0;
    if (!r)
        r = ledger_writer_settle(p->w, &err);
    if (r < 0) {
        process_close_gate(p, &err);
        p->refused += lost;
        return;
    }
    p->last_commit = gvm_mono_ns();
    p->rested = false;
    p->work = true;
    if (!p->sign_due) {
        int64_t soonest = p->head_done + p->pause;
        p->sign_due = soonest > p->last_commit ? soonest : p->last_commit;
    }
    add_own(p);
}

/* Which roles may write an entry of a kind, by how the kind begins; what matches no row, everybody.
 */
static const struct {
    struct gvm_str prefix;
    unsigned roles;
} kinds[] = {
    {{"ledger.verified", 15}, 1u << GVM_ROLE_PARENT},
    {{"ledger.", 7}, 0},
    {{"gate.", 5}, 0},
    {{"daemon.", 7}, 1u << GVM_ROLE_PARENT},
    {{"config.", 7}, 1u << GVM_ROLE_PARENT | 1u << GVM_ROLE_CONTROL},
    {{"run.", 4}, 1u << GVM_ROLE_PARENT | 1u << GVM_ROLE_CONTROL},
    {{"fs.", 3}, 1u << GVM_ROLE_PARENT | 1u << GVM_ROLE_CONTROL},
};

/* An entry begins {"v":1,"t":"<30 characters>","kind":"..., as gvm_entry_begin() writes it; "v":2
 * when it has private members. */
static bool kind_allowed(struct gvm_str line, enum gvm_role role)
{
    static const char head[] = "{\"v\":1,\"t\":\"", middle[] = "\",\"kind\":\"";
    const size_t at = sizeof head - 1 + GVM_TIME_TEXT - 1, kind = at + sizeof middle - 1;
    if (line.n <= kind || (memcmp(line.p, head, 7) != 0 && !private_claims(line)) ||
        memcmp(line.p + 7, head + 7, sizeof head - 1 - 7) != 0 ||
        memcmp(line.p + at, middle, sizeof middle - 1) != 0)
        return false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (gvm_str_starts((struct gvm_str){line.p + kind, line.n - kind}, kinds[i].prefix))
            return kinds[i].roles >> role & 1;
    return true;
}

static void refuse(struct process *p, enum gvm_role role, uint64_t id, int error)
{
    struct ask a = {role, p->generation[role], id};
    if (id)
        answer(p, &a, error, 0);
}

static void take_line(struct process *p, enum gvm_role role, uint64_t id, struct gvm_str line)
{
    if (p->closed_since) {
        p->refused++;
        refuse(p, role, id, EIO);
        return;
    }
    int r = kind_allowed(line, role) ? ledger_writer_add(p->w, line) : -EINVAL;
    if (r < 0) {
        p->malformed++;
        if ((p->malformed & (p->malformed - 1)) ==
            0) /* 1, 2, 4, 8 ...: not a way to flood the log */
            gvm_log(GVM_LOG_WARN, "refused an entry of %s (%" PRIu64 " refused so far)",
                    gvm_role_name(role), p->malformed);
        refuse(p, role, id, -r);
        return;
    }
    p->asks[p->w->count - 1] = (struct ask){role, p->generation[role], id};
    p->nasks += id != 0;
    if (!p->held_since)
        p->held_since = gvm_mono_ns();
    if (ledger_writer_full(p->w))
        process_commit(p);
}

static void on_append(struct process *p, enum gvm_role role, const struct gvm_msg *m)
{
    struct gvm_m_append head;
    if (m->len < sizeof head)
        return;
    memcpy(&head, m->data, sizeof head);
    struct gvm_str rest = {(const char *)m->data + sizeof head, m->len - sizeof head}, line;
    if (!(head.flags & GVM_APPEND_NO_WAIT)) {
        take_line(p, role, m->id, rest);
        return;
    }
    bool more;
    do {
        more = gvm_str_cut(&rest, '\n', &line);
        take_line(p, role, 0, line);
    } while (more);
}

/* As long as the disk takes: a slow one gets fewer and larger batches. */
static int64_t hold(const struct process *p)
{
    return p->sync_cost < HOLD_NS        ? HOLD_NS
           : p->sync_cost > HOLD_MOST_NS ? HOLD_MOST_NS
                                         : p->sync_cost;
}

static bool batch_due(const struct process *p, int64_t now)
{
    return p->held_since && (p->nasks || p->w->count >= HOLD_ENTRIES ||
                             p->w->batch.len >= HOLD_BYTES || now - p->held_since >= hold(p));
}

/* ---- messages ---- */

static void on_peer(struct process *p, struct gvm_msg *m)
{
    struct gvm_m_peer peer;
    if (m->len != sizeof peer || m->nfds != 1)
        return;
    memcpy(&peer, m->data, sizeof peer);
    if (peer.role != GVM_ROLE_KEYS && peer.role != GVM_ROLE_PROXY && peer.role != GVM_ROLE_CONTROL)
        return;
    struct gvm_chan *c =
        gvm_chan_new(m->fds[0], GVM_ROLE_LEDGER, (enum gvm_role)peer.role, QUEUE_BYTES);
    if (!c)
        return;
    (void)gvm_steal_fd(&m->fds[0]);
    process_hang_up(p, (enum gvm_role)peer.role);
    p->chan[peer.role] = c;
    if (peer.role == GVM_ROLE_KEYS)
        p->sign_due = 1;
    else
        tell_gate(p, (enum gvm_role)peer.role);
}

/* The configuration was read again. */
static void on_keep(struct process *p, const struct gvm_msg *m)
{
    struct gvm_m_keep keep;
    memcpy(&keep, m->data, sizeof keep);
    const int64_t most_ms = INT64_MAX / MS;
    p->w->segment_max = keep.segment_bytes ? keep.segment_bytes : SEGMENT_MAX;
    p->w->keep.bytes = keep.keep_bytes;
    p->w->keep.age_ns = (keep.keep_ms < (uint64_t)most_ms ? (int64_t)keep.keep_ms : most_ms) * MS;
    p->looked = 0;
    p->work = true;
}

/* One frame. The catalogue has already checked who may send what. */
static void on_message(struct process *p, enum gvm_role role, struct gvm_msg *m)
{
    if (m->type == GVM_MSG_APPEND)
        on_append(p, role, m);
    else if (m->type == GVM_MSG_SIGNED)
        process_signed(p, m, gvm_mono_ns());
    else if (m->type == GVM_MSG_SIGN_FROM)
        process_sign_from(p, m);
    else if (m->type == GVM_MSG_FAILED && role == GVM_ROLE_KEYS)
        process_sign_failed(p, m, gvm_mono_ns());
    else if (m->type == GVM_MSG_PEER)
        on_peer(p, m);
    else if (m->type == GVM_MSG_KEEP)
        on_keep(p, m);
    else if (m->type == GVM_MSG_STOP)
        p->stop = true;
    gvm_msg_done(m);
}

/* Up to ROUND_FRAMES frames of one channel; true if there may be more. */
static bool drain_one(struct process *p, enum gvm_role role)
{
    struct gvm_msg m;
    for (unsigned i = 0; i < ROUND_FRAMES; i++) {
        int r = p->chan[role] ? gvm_chan_recv(p->chan[role], &m) : 0;
        if (r == 0)
            return false;
        if (r < 0) {
            if (r != -EPIPE)
                gvm_log(GVM_LOG_ERROR, "%s broke the protocol", gvm_role_name(role));
            process_hang_up(p, role);
            return false;
        }
        on_message(p, role, &m);
    }
    return true;
}

/* The channels that poll() named, turn by turn, so that none starves another, until all are empty
 * or a batch is worth it. */
static void drain(struct process *p)
{
    unsigned ready = p->ready;
    p->ready = 0;
    while (ready && p->w->count < HOLD_ENTRIES) {
        for (unsigned role = GVM_ROLE_PARENT; role < GVM_ROLE_MAX; role++)
            if (ready >> role & 1 && !drain_one(p, (enum gvm_role)role))
                ready &= ~(1u << role);
    }
}

/* ---- the loop ---- */

/* Waits for a frame, at most until `until` (0: for ever). True when there is something to read. */
static bool wait_frames(struct process *p, int64_t until)
{
    struct pollfd fds[GVM_ROLE_MAX];
    enum gvm_role who[GVM_ROLE_MAX];
    nfds_t n = 0;
    for (unsigned role = GVM_ROLE_PARENT; role < GVM_ROLE_MAX; role++) {
        if (!p->chan[role])
            continue;
        short events = POLLIN;
        if (gvm_chan_wants_write(p->chan[role]))
            events |= POLLOUT;
        who[n] = (enum gvm_role)role;
        fds[n++] = (struct pollfd){.fd = gvm_chan_fd(p->chan[role]), .events = events};
    }
    int64_t left = until - gvm_mono_ns();
    left = left < 0 ? 0 : left;
    struct timespec ts = {.tv_sec = left / (1000 * MS), .tv_nsec = left % (1000 * MS)};
    p->ready = 0;
    if (ppoll(fds, n, until ? &ts : NULL, NULL) <= 0)
        return false;
    for (nfds_t i = 0; i < n; i++) {
        if (fds[i].revents & POLLOUT && gvm_chan_flush(p->chan[who[i]]) < 0)
            process_hang_up(p, who[i]);
        if (fds[i].revents & ~POLLOUT)
            p->ready |= 1u << who[i];
    }
    return p->ready != 0;
}

static void earlier(int64_t *until, int64_t t)
{
    if (t && (!*until || t < *until))
        *until = t;
}

static int64_t next_deadline(const struct process *p)
{
    int64_t until = 0;
    if (p->held_since)
        earlier(&until, p->nasks ? 1 : p->held_since + hold(p));
    if (p->chan[GVM_ROLE_KEYS])
        earlier(&until, p->sign_out ? p->sign_sent + SIGN_LOST_NS : p->sign_due);
    if (p->closed_since)
        earlier(&until, p->heal_at);
    else if (!p->rested)
        earlier(&until, p->last_commit + (p->work ? QUIET_NS : REST_NS));
    if (p->w->keep.bytes || p->w->keep.age_ns)
        earlier(&until, p->looked + (p->rested ? 60 : 1) * LOOK_NS);
    return until;
}

static int write_opened(struct process *p, int64_t now, struct gvm_err *err)
{
    struct gvm_buf b;
    struct gvm_jw j;
    gvm_buf_init(&b, GVM_MAX_ENTRY);
    gvm_entry_begin(&j, &b, "gate.opened", NULL, NULL);
    gvm_jw_kint(&j, "closed_ms", (now - p->closed_since) / MS);
    gvm_jw_kint(&j, "refused", (int64_t)p->refused);
    gvm_jw_kstrz(&j, "why", p->why);
    int r = gvm_entry_end(&j);
    if (!r)
        r = ledger_writer_add(p->w, gvm_buf_str(&b));
    gvm_buf_done(&b);
    if (r < 0)
        return gvm_err_sys(err, -r, "ledger: cannot record the failure");
    r = ledger_writer_commit(p->w, err);
    return r < 0 ? r : ledger_writer_settle(p->w, err);
}

static void try_heal(struct process *p, int64_t now)
{
    struct gvm_err err = {0};
    if (!p->closed_since || now < p->heal_at)
        return;
    int r = ledger_writer_heal(p->w, &err);
    if (!r)
        r = write_opened(p, now, &err);
    if (r < 0) {
        gvm_log(GVM_LOG_WARN, "not healed yet: %s", err.text);
        p->heal_at = gvm_mono_ns() + HEAL_NS;
        return;
    }
    gvm_log(GVM_LOG_WARN, "healed after %lld ms", (now - p->closed_since) / MS);
    p->closed_since = 0;
    p->sign_out = false; /* a head asked for before may be of another tree object; ask anew */
    p->sign_due = p->last_commit = gvm_mono_ns();
    p->rested = false;
    tell_gate_all(p);
}

/* Nothing has come for a while: what may be put off until then. */
static void rest(struct process *p, int64_t now)
{
    if (p->rested || p->closed_since || p->held_since || now - p->last_commit < REST_NS)
        return;
    p->rested = true;
    p->looked = 0; /* tiles are durable and segments packed now: more may be ready to be pruned */
    int r = ledger_checkpoint_sync(p->w);
    if (!r)
        r = ledger_writer_partials(p->w);
    if (r < 0)
        gvm_log(GVM_LOG_WARN, "cannot write partial tiles (errno %d)", -r);
}

/* Put-off work: all of it while nothing comes; a piece now and then while much does, or a busy log
 * would never be packed or pruned. */
static void chores(struct process *p, int64_t now, bool ready)
{
    if (now - p->looked >= LOOK_NS) {
        p->looked = now;
        add_own(p);
    }
    if (ready) {
        if (now - p->worked >= WORK_NS && ledger_writer_idle(p->w))
            p->worked = gvm_mono_ns();
        return;
    }
    rest(p, now);
    while (p->work && !p->held_since && gvm_mono_ns() - p->last_commit >= QUIET_NS) {
        p->work = ledger_writer_idle(p->w);
        if (wait_frames(p, 1))
            break;
    }
}

/* Entries nobody waits for come in a stream: being woken for each of them would cost their sender
 * more than it takes to read them. They gather in the socket while we are asleep and cannot be
 * woken. */
static void nap(const struct process *p)
{
    struct timespec ts = {.tv_nsec = NAP_NS};
    if (p->held_since && !p->nasks && p->w->count < HOLD_ENTRIES)
        (void)nanosleep(&ts, NULL);
}

void process_serve(struct process *p)
{
    while (!p->stop) {
        nap(p);
        bool ready = wait_frames(p, next_deadline(p));
        drain(p);
        int64_t now = gvm_mono_ns();
        if (batch_due(p, now))
            process_commit(p);
        if (p->sign_out && now - p->sign_sent > SIGN_LOST_NS) {
            p->sign_out = false;
            p->sign_due = now;
        }
        process_ask(p, now);
        try_heal(p, now);
        chores(p, now, ready);
    }
}

/* What was sent before the end is still taken, and the last head gets its signature. */
void process_finish(struct process *p)
{
    int64_t until = gvm_mono_ns() + LAST_HEAD_NS;
    while (gvm_mono_ns() < until && wait_frames(p, 1)) {
        drain(p);
        if (batch_due(p, gvm_mono_ns()))
            process_commit(p);
    }
    if (p->w->count)
        process_commit(p);
    /* Twice: the signature under way may be of an older head. */
    for (unsigned i = 0; i < 2 && !p->closed_since; i++) {
        p->sign_due = 1;
        process_ask(p, gvm_mono_ns());
        while (p->sign_out && gvm_mono_ns() < until) {
            (void)wait_frames(p, until);
            (void)drain_one(p, GVM_ROLE_KEYS);
        }
    }
}
