/* The record of how a run ended, and whether everything it connected to is in the record.
 *
 * Two who do not know of each other have counted the run's connections: the kernel, by the packet
 * rules of the sandbox's network, which the launcher read when the last process was gone; and the
 * proxy, which took them. A connection that one of them has and the other has not is an alert. So
 * is a count that cannot be compared, because whoever wants to hide something might bring that
 * about.
 */
#include <inttypes.h>

#include "control/control_int.h"
#include "ledger/ledger.h"

struct counts {
    const struct gvm_json *kernel, *proxy;
    struct gvm_arena *arena;
};

static struct counts read_counts(const struct control_run *r)
{
    struct counts c = {.arena = gvm_arena_new(65536)};
    struct gvm_json *v;
    if (c.arena && r->kernel.n && gvm_json_parse(c.arena, r->kernel, &v, NULL) == 0)
        c.kernel = v;
    if (c.arena && r->stats.n && gvm_json_parse(c.arena, r->stats, &v, NULL) == 0)
        c.proxy = v;
    return c;
}

static int64_t count(const struct gvm_json *from, const char *key)
{
    return gvm_json_int(from, key, -1);
}

/* NULL: all is well. */
static const char *compare(struct control_run *r, const struct counts *c)
{
    int64_t tcp = count(c->kernel, "tcp"), dns = count(c->kernel, "dns_tcp");
    int64_t mine = count(c->proxy, "connections"), my_dns = count(c->proxy, "dns_connections");
    const char *text;
    if (tcp < 0 || dns < 0)
        return "the connections that the kernel counted could not be read";
    if (r->resumed)
        return "the daemon was restarted while the run lived, and what it had counted is lost";
    if (r->recounted || mine < 0 || my_dns < 0)
        return "the proxy was restarted while the run lived, and what it had counted is lost";
    if (tcp == mine && dns == my_dns)
        return NULL;
    text = gvm_arena_printf(r->arena,
                            "the kernel counted %" PRId64 " connections and %" PRId64
                            " of DNS, the record has %" PRId64 " and %" PRId64,
                            tcp, dns, mine, my_dns);
    return text ? text : "the kernel and the record have different numbers of connections";
}

void control_end_reconcile(struct control_run *r)
{
    struct counts c = read_counts(r);
    /* Without a launcher nobody has read the counters: the run is recorded as lost. */
    r->alert = r->lost ? NULL : compare(r, &c);
    gvm_arena_free(c.arena);
}

static void put_count(struct gvm_jw *w, const struct gvm_json *from, const char *key)
{
    int64_t n = count(from, key);
    gvm_jw_key(w, key);
    if (n >= 0)
        gvm_jw_int(w, n);
    else
        gvm_jw_null(w); /* who knew has died */
}

static void put_counts(struct gvm_jw *w, const struct counts *c)
{
    static const char *const proxy[] = {"connections", "dns_connections", "requests",
                                        "denied",      "bytes_out",       "bytes_in"};
    static const char *const kernel[] = {"tcp", "dns_tcp", "dns_udp", "refused"};
    for (size_t i = 0; i < sizeof proxy / sizeof *proxy; i++)
        put_count(w, c->proxy, proxy[i]);
    gvm_jw_key(w, "kernel");
    if (!c->kernel) {
        gvm_jw_null(w);
        return;
    }
    gvm_jw_object(w);
    for (size_t i = 0; i < sizeof kernel / sizeof *kernel; i++)
        put_count(w, c->kernel, kernel[i]);
    gvm_jw_object_end(w);
}

void control_end_alert(struct control *c, const struct control_run *r)
{
    struct counts n = read_counts(r);
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, GVM_MAX_ENTRY);
    gvm_entry_begin(&w, &out, "run.alert", r->id, r->agent);
    gvm_jw_kstrz(&w, "what", "connections");
    gvm_jw_kstrz(&w, "why", r->alert);
    put_counts(&w, &n);
    if (gvm_entry_end(&w) < 0)
        out.failed = true;
    control_append_quietly(c, &out);
    gvm_buf_done(&out);
    gvm_arena_free(n.arena);
}

void control_end_entry(const struct control_run *r, struct gvm_buf *out)
{
    struct counts n = read_counts(r);
    struct gvm_jw w;
    gvm_entry_begin(&w, out, "run.end", r->id, r->agent);
    if (r->lost)
        gvm_jw_kstrz(&w, "exit", NULL);
    else
        gvm_jw_kint(&w, "exit", r->exit_code);
    if (r->signal)
        gvm_jw_kint(&w, "signal", r->signal);
    if (r->why[0])
        gvm_jw_kstrz(&w, "why", r->why);
    gvm_jw_kbool(&w, "lost", r->lost);
    put_counts(&w, &n);
    gvm_jw_key(&w, "reconciled");
    if (r->lost)
        gvm_jw_null(&w);
    else
        gvm_jw_bool(&w, !r->alert);
    if (r->alert)
        gvm_jw_kstrz(&w, "unreconciled", r->alert);
    gvm_entry_private(&w);
    gvm_jw_key(&w, "changes");
    if (r->changes.n && r->changes.n < GVM_MAX_ENTRY / 2)
        gvm_jw_raw(&w, r->changes);
    else
        gvm_jw_null(&w);
    if (gvm_entry_end(&w) < 0)
        out->failed = true;
    gvm_arena_free(n.arena);
}

void control_end_reply(struct control *c, const struct control_run *r)
{
    struct counts n = read_counts(r);
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 65536);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    put_counts(&w, &n);
    gvm_jw_kstrz(&w, "alert", r->alert);
    gvm_jw_object_end(&w);
    control_reply_json(c, r->client, r->client_id, GVM_MSG_RUN_DONE, &out);
    gvm_buf_done(&out);
    gvm_arena_free(n.arena);
}
