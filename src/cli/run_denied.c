/* Refused system calls for the record: entries "syscall.denied".
 *
 * What is the same (call, what it was about, program, thread's name) is counted together. An entry
 * is written for the 1st, the 10th, the 100th of a kind and so on, and at the run's end, each with
 * the number it stands for; kinds are bounded, and what comes after them is counted as "other". So
 * an agent that floods us with refused calls, under as many names as it likes, fills nothing.
 *
 * An entry counts as written when the daemon said so. One that was on its way when the daemon went
 * away is sent again to the next.
 */
#include "cli/run.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_KINDS 128
#define ANSWER_NS INT64_C(2000000000)
#define AT_ONCE   64 /* answered before anything else gets its turn */

struct kind {
    struct gvm_sandbox_denied what; /* pid: of the first */
    uint64_t seen, written, flying; /* flying: sent, not yet acknowledged */
    uint64_t next;                  /* write when so many were seen */
};

struct run_denied {
    struct kind kind[MAX_KINDS + 1]; /* the last one: all others */
    unsigned n;
    uint64_t refused; /* entries the daemon would not take */
};

static struct kind *find(struct run_denied *d, const struct gvm_sandbox_denied *what)
{
    for (unsigned i = 0; i < d->n; i++) {
        const struct gvm_sandbox_denied *k = &d->kind[i].what;
        if (k->arg == what->arg && strcmp(k->call, what->call) == 0 &&
            strcmp(k->comm, what->comm) == 0 && strcmp(k->exe, what->exe) == 0)
            return &d->kind[i];
    }
    struct kind *k = &d->kind[d->n];
    if (d->n < MAX_KINDS) {
        d->n++;
        *k = (struct kind){.what = *what, .next = 1};
    } else if (k->next == 0) {
        *k = (struct kind){.next = 1};
        snprintf(k->what.call, sizeof(k->what.call), "other");
    }
    return k;
}

static void put_text(struct gvm_jw *w, const char *key, const char *text)
{
    if (text[0])
        gvm_jw_kstrz(w, key, text);
}

static void send_kind(struct run *r, struct kind *k)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    struct gvm_jw w;
    uint64_t times = k->seen - k->written;
    unsigned number = (unsigned)(k - r->denied->kind);
    gvm_buf_init(&out, 4096);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "kind", "syscall.denied");
    gvm_jw_kstrz(&w, "call", k->what.call);
    if (k->what.has_arg)
        gvm_jw_kint(&w, "arg", k->what.arg);
    if (k->what.pid)
        gvm_jw_kint(&w, "pid", k->what.pid);
    put_text(&w, "comm", k->what.comm);
    put_text(&w, "exe", k->what.exe);
    gvm_jw_kint(&w, "times", (int64_t)times);
    gvm_jw_object_end(&w);
    if (out.failed || gvm_chan_send(r->chan, GVM_MSG_NOTE, RUN_DENIED_ID + number,
                                    gvm_buf_data(&out), out.len, NULL, 0) < 0)
        return; /* it stays to be written; a channel that broke is noticed elsewhere */
    k->flying = times;
    while (k->next <= k->seen && k->next < UINT64_MAX / 10)
        k->next *= 10;
}

static void send_due(struct run *r, bool all)
{
    struct run_denied *d = r->denied;
    for (unsigned i = 0; d && r->chan && i <= d->n; i++) {
        struct kind *k = &d->kind[i];
        bool due = all ? k->seen > k->written : k->seen >= k->next;
        if (k->next && due && !k->flying)
            send_kind(r, k);
    }
}

int run_denied_fd(const struct run *r)
{
    return r->denied_over ? -1 : gvm_sandbox_denials_fd(r->sandbox);
}

void run_denied_tick(struct run *r)
{
    struct gvm_sandbox_denied what;
    for (unsigned i = 0; i < AT_ONCE && !r->denied_over; i++) {
        int x = gvm_sandbox_denied(r->sandbox, &what);
        if (x < 0) /* from here on the kernel answers, with ENOSYS once we are gone */
            r->denied_over = true;
        if (x <= 0)
            break;
        if (!r->denied)
            r->denied = gvm_calloc(1, sizeof(*r->denied));
        if (r->denied)
            find(r->denied, &what)->seen++;
    }
    send_due(r, false);
}

bool run_denied_answer(struct run *r, const struct gvm_msg *m)
{
    if (!r->denied || m->id < RUN_DENIED_ID || m->id > RUN_DENIED_ID + MAX_KINDS)
        return false;
    struct kind *k = &r->denied->kind[m->id - RUN_DENIED_ID];
    struct gvm_m_appended done = {.error = 1};
    if (m->type == GVM_MSG_APPENDED && m->len >= sizeof(done))
        memcpy(&done, m->data, sizeof(done));
    r->denied->refused += done.error != 0;
    k->written += k->flying;
    k->flying = 0;
    return true;
}

void run_denied_lost(struct run *r)
{
    for (unsigned i = 0; r->denied && i <= r->denied->n; i++) {
        struct kind *k = &r->denied->kind[i];
        if (k->flying)
            k->next = k->written + 1;
        k->flying = 0;
    }
}

static bool any_flying(const struct run *r)
{
    for (unsigned i = 0; r->denied && i <= r->denied->n; i++)
        if (r->denied->kind[i].flying)
            return true;
    return false;
}

static void await_answers(struct run *r)
{
    int64_t end = gvm_mono_ns() + ANSWER_NS;
    while (r->chan && any_flying(r) && gvm_mono_ns() < end) {
        struct gvm_msg m = {0};
        struct pollfd p = {.fd = gvm_chan_fd(r->chan), .events = POLLIN};
        int x = gvm_chan_recv(r->chan, &m);
        if (x < 0 || (x == 0 && poll(&p, 1, 100) < 0))
            return; /* what is on its way may still arrive; the run's end will tell */
        if (x == 1) {
            run_denied_answer(r, &m);
            gvm_msg_done(&m);
        }
    }
}

void run_denied_end(struct run *r)
{
    await_answers(r); /* a kind has one entry on its way at most */
    send_due(r, true);
    await_answers(r);
}

void run_denied_close(struct run *r)
{
    if (r->denied && r->denied->refused)
        cli_say("%llu entries about refused system calls could not be recorded",
                (unsigned long long)r->denied->refused);
    free(r->denied);
    r->denied = NULL;
}
