/* Watching a run: what is shown is what is recorded, because it is read from the record.
 *
 * The ledger is tailed from where it ended when the run began. Calls are printed as they come; the
 * rest is counted for the summary: per host methods, statuses and decisions, and which names were
 * asked for.
 */
#include "cli/run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_HOSTS   256
#define MAX_TAGS    12 /* methods, statuses, decisions told apart per host */
#define EVENT_ARENA (1u << 20)

struct tag {
    char name[24];
    unsigned n;
};

struct host {
    char name[GVM_MAX_HOST + 1];
    unsigned calls, by_default;
    struct tag methods[MAX_TAGS], statuses[MAX_TAGS], decisions[MAX_TAGS];
};

/* A request waiting for its outcome, so that the status is counted for its host. */
struct open_call {
    char id[48];
    unsigned host;
};
#define MAX_OPEN 1024

struct run_watch {
    struct gvm_ledger_reader *reader;
    char dir[GVM_PATH_MAX];
    uint64_t from;
    FILE *out; /* of --json=FILE; NULL = stderr */
    struct host *hosts[MAX_HOSTS];
    unsigned nhosts, calls, refused, names, errors, more_hosts;
    struct open_call open[MAX_OPEN];
    unsigned next_open;
    bool failed;
};

static void count_tag(struct tag *list, const char *name)
{
    char text[sizeof(list->name)];
    snprintf(text, sizeof(text), "%s", name);
    for (unsigned i = 0; i < MAX_TAGS; i++) {
        if (list[i].n == 0)
            memcpy(list[i].name, text, sizeof(text));
        if (strcmp(list[i].name, text) == 0 || i == MAX_TAGS - 1) {
            list[i].n++;
            return;
        }
    }
}

static unsigned find_host(struct run *r, const char *name)
{
    struct run_watch *w = r->watch;
    for (unsigned i = 0; i < w->nhosts; i++)
        if (strcmp(w->hosts[i]->name, name) == 0)
            return i;
    if (w->nhosts == MAX_HOSTS) {
        w->more_hosts++;
        return MAX_HOSTS;
    }
    struct host *h = gvm_arena_alloc(r->arena, sizeof(*h));
    if (!h || gvm_str_copy(h->name, sizeof(h->name), gvm_str(name)) < 0)
        return MAX_HOSTS;
    w->hosts[w->nhosts] = h;
    return w->nhosts++;
}

static void count_decision(struct run *r, const struct gvm_json *e)
{
    struct run_watch *w = r->watch;
    unsigned at = find_host(r, gvm_json_text(e, "host", gvm_json_text(e, "name", "?")));
    w->calls++;
    if (at == MAX_HOSTS)
        return;
    struct host *h = w->hosts[at];
    h->calls++;
    h->by_default += strcmp(gvm_json_text(e, "rule", ""), "default") == 0;
    count_tag(h->methods, gvm_json_text(e, "method", "tcp"));
    count_tag(h->decisions, gvm_json_text(e, "decision", "?"));
    struct open_call *o = &w->open[w->next_open++ % MAX_OPEN];
    snprintf(o->id, sizeof(o->id), "%s", gvm_json_text(e, "id", ""));
    o->host = at;
}

static void count_outcome(struct run *r, const struct gvm_json *e)
{
    struct run_watch *w = r->watch;
    char status[24];
    const char *id = gvm_json_text(e, "id", "?");
    int64_t code = gvm_json_int(e, "status", 0);
    w->errors += gvm_json_get(e, "error") != NULL && code == 0;
    snprintf(status, sizeof(status), "%" PRId64, code);
    for (unsigned i = 0; i < MAX_OPEN && i < w->next_open; i++)
        if (strcmp(w->open[i].id, id) == 0) {
            count_tag(w->hosts[w->open[i].host]->statuses, code ? status : "failed");
            w->open[i].id[0] = '\0';
            return;
        }
}

/* True when the entry is one a watcher wants to see as it happens. */
static bool count(struct run *r, const struct gvm_json *e)
{
    const char *kind = gvm_json_text(e, "kind", "");
    bool decision = strcmp(kind, "http.decision") == 0 || strcmp(kind, "tcp.open") == 0;
    bool refused = strcmp(kind, "http.refused") == 0 || strcmp(kind, "dns.refused") == 0;
    if (decision)
        count_decision(r, e);
    r->watch->refused += refused;
    r->watch->names += strcmp(kind, "dns.query") == 0;
    if (strcmp(kind, "http.outcome") == 0) {
        count_outcome(r, e);
        return gvm_json_get(e, "error") != NULL;
    }
    return decision || refused || strcmp(kind, "approval") == 0;
}

/* ---- printing ---- */

/* One write, so that the agent's own output does not come in between. While the terminal is raw a
 * line must also return to its start. */
static void show(const struct run *r, uint64_t index, const struct gvm_json *e)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return;
    cli_print_event(f, index, e, CLI_EVENT_WATCH | (cli_color(2) ? CLI_EVENT_COLOR : 0));
    if (r->termios && isatty(2) && fseek(f, -1, SEEK_CUR) == 0)
        fputs("\r\n", f);
    if (fclose(f) == 0) {
        cli_fresh_line();
        fflush(stderr);
        (void)!gvm_write_all(2, text, n);
    }
    free(text);
}

static void show_json(struct run *r, uint64_t index, struct gvm_str line)
{
    FILE *f = r->watch->out ? r->watch->out : stderr;
    fprintf(f, "{\"index\":%" PRIu64 ",%.*s\n", index, (int)line.n - 1, line.p + 1);
    fflush(f);
}

static void take_line(struct run *r, uint64_t index, struct gvm_str line)
{
    struct gvm_json *e = NULL;
    struct gvm_arena *a = gvm_arena_new(EVENT_ARENA);
    if (a && gvm_json_parse(a, line, &e, NULL) == 0 &&
        strcmp(gvm_json_text(e, "run", ""), r->id) == 0) {
        bool wanted = count(r, e);
        if (r->opt.json)
            show_json(r, index, line);
        else if (wanted && r->opt.watch)
            show(r, index, e);
    }
    gvm_arena_free(a);
}

/* ---- tailing ---- */

int run_watch_open(struct run *r, struct gvm_err *err)
{
    struct run_watch *w = gvm_calloc(1, sizeof(*w));
    if (!w)
        return gvm_err_set(err, ENOMEM, "out of memory");
    r->watch = w;
    int x = gvm_place_path(GVM_PLACE_STATE, "ledger", w->dir, err);
    if (x < 0)
        return x;
    x = gvm_ledger_size(w->dir, &w->from, err);
    if (x < 0 && x != -ENOENT)
        return x;
    if (r->opt.json_file) {
        w->out = fopen(r->opt.json_file, "we");
        if (!w->out)
            return gvm_err_sys(err, errno, "cannot write %s", r->opt.json_file);
    }
    return 0;
}

int run_watch_fd(const struct run *r)
{
    return r->watch && r->watch->reader ? gvm_ledger_reader_fd(r->watch->reader) : -1;
}

void run_watch_tick(struct run *r)
{
    struct run_watch *w = r->watch;
    struct gvm_err err = {0};
    struct gvm_str line;
    uint64_t index;
    if (w->failed)
        return;
    int x = w->reader ? 0 : gvm_ledger_reader_open(w->dir, w->from, &w->reader, &err);
    if (x == -ENOENT)
        return;
    if (x == 0) {
        gvm_ledger_reader_drain(w->reader);
        while ((x = gvm_ledger_reader_next(w->reader, &index, &line, &err)) > 0)
            take_line(r, index, line);
    }
    if (x < 0) {
        w->failed = true;
        cli_say("the record cannot be shown any more: %s", err.text);
    }
}

void run_watch_close(struct run *r)
{
    struct run_watch *w = r->watch;
    if (!w)
        return;
    gvm_ledger_reader_free(w->reader);
    if (w->out && fclose(w->out) != 0)
        cli_say("%s is not complete", r->opt.json_file);
    free(w);
    r->watch = NULL;
}

/* ---- summary ---- */

static void put_tags(const struct tag *list, const char *before)
{
    const char *gap = before;
    for (unsigned i = 0; list && i < MAX_TAGS && list[i].n; i++) {
        fputs(gap, stderr);
        cli_print_safe(stderr, gvm_str(list[i].name));
        if (list[i].n > 1)
            fprintf(stderr, " x%u", list[i].n);
        gap = ", ";
    }
}

void run_watch_summary(struct run *r)
{
    const struct run_watch *w = r->watch;
    cli_fresh_line();
    fprintf(stderr, "\nrun %s: %u call%s to %u host%s, %u refused, %u name%s asked\n", r->id,
            w->calls, w->calls == 1 ? "" : "s", w->nhosts, w->nhosts == 1 ? "" : "s", w->refused,
            w->names, w->names == 1 ? "" : "s");
    for (unsigned i = 0; i < w->nhosts; i++) {
        const struct host *h = w->hosts[i];
        fputs("  ", stderr);
        cli_print_safe(stderr, gvm_str(h->name));
        put_tags(h->methods, "  ");
        put_tags(h->statuses, "  -> ");
        put_tags(h->decisions, "  would be ");
        fputc('\n', stderr);
    }
    if (w->more_hosts)
        fprintf(stderr, "  and %u calls to further hosts\n", w->more_hosts);
    fputs("next: gvm suggest --run ", stderr);
    fputs(r->id, stderr);
    fputs("   (rules for what was seen)\n", stderr);
}

const char *run_watch_unknown(const struct run *r, unsigned i)
{
    for (unsigned k = 0; r->watch && k < r->watch->nhosts; k++)
        if (r->watch->hosts[k]->by_default && i-- == 0)
            return r->watch->hosts[k]->name;
    return NULL;
}
