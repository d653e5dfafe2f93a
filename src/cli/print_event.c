/* One ledger entry as one line for a person. Nothing of an entry reaches the terminal unescaped. */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define RED    "\033[31m"
#define GREEN  "\033[32m"
#define YELLOW "\033[33m"
#define DIM    "\033[2m"
#define PLAIN  "\033[0m"

struct printer {
    FILE *f;
    const struct gvm_json *e;
    bool color;
};

static struct gvm_str text(const struct gvm_json *e, const char *key)
{
    const struct gvm_json *v = gvm_json_get(e, key);
    if (!v || (v->type != GVM_JSON_STRING && v->type != GVM_JSON_NUMBER))
        return (struct gvm_str){"", 0};
    return v->text;
}

static void paint(const struct printer *p, const char *color)
{
    if (p->color)
        fputs(color, p->f);
}

/* before, the member's text, after; nothing at all when it is absent or empty. */
static void put(const struct printer *p, const char *before, const char *key, const char *after)
{
    struct gvm_str s = text(p->e, key);
    if (!s.n)
        return;
    fputs(before, p->f);
    cli_print_safe(p->f, s);
    fputs(after, p->f);
}

static void put_dim(const struct printer *p, const char *before, const char *key, const char *after)
{
    paint(p, DIM);
    put(p, before, key, after);
    paint(p, PLAIN);
}

static const char *verdict_color(struct gvm_str d)
{
    if (gvm_str_eqz(d, "Allow") || gvm_str_eqz(d, "AuditOnly"))
        return GREEN;
    return gvm_str_eqz(d, "Deny") ? RED : YELLOW;
}

/* The verdict, padded to the width of the longest. */
static void put_verdict(const struct printer *p)
{
    struct gvm_str d = text(p->e, "decision");
    paint(p, verdict_color(d));
    cli_print_safe(p->f, d);
    paint(p, PLAIN);
    for (size_t n = d.n; n < 15; n++)
        fputc(' ', p->f);
    fputc(' ', p->f);
}

static void put_why(const struct printer *p)
{
    put_dim(p, "  [", "rule", "]");
    put_dim(p, "  ", "reason", "");
    if (gvm_json_bool(p->e, "watch", false)) {
        paint(p, DIM);
        fputs(gvm_str_eqz(text(p->e, "enforced"), "Deny") ? "  (watching; stopped all the same)"
                                                          : "  (watching; let through)",
              p->f);
        paint(p, PLAIN);
    }
}

static void put_url(const struct printer *p)
{
    put(p, "", "method", " ");
    put(p, "", "scheme", "://");
    put(p, "", "host", "");
    int64_t port = gvm_json_int(p->e, "port", 0);
    bool https = gvm_str_eqz(text(p->e, "scheme"), "https");
    if (port && port != (https ? 443 : 80))
        fprintf(p->f, ":%" PRId64, port);
    put(p, "", "path", "");
    if (text(p->e, "query").n)
        fputs("?...", p->f);
}

static void print_decision(const struct printer *p)
{
    put_verdict(p);
    put_url(p);
    put_why(p);
}

static void print_outcome(const struct printer *p)
{
    put(p, "", "id", " ");
    put(p, "status ", "status", "");
    fprintf(p->f, "  out %" PRId64 " B, in %" PRId64 " B, %" PRId64 " ms",
            gvm_json_int(p->e, "bytes_out", 0), gvm_json_int(p->e, "bytes_in", 0),
            gvm_json_int(p->e, "ms", 0));
    put_dim(p, "  ", "upstream", "");
    put(p, "  error: ", "error", "");
}

static void print_refused(const struct printer *p)
{
    paint(p, RED);
    fputs("refused         ", p->f);
    paint(p, PLAIN);
    put(p, "", "name", " ");
    put(p, "", "host", " ");
    put(p, "", "why", "");
    put(p, " (", "class", ")");
    put(p, "  answered ", "status", "");
}

static void print_dns(const struct printer *p)
{
    put(p, "", "name", "");
    put(p, " ", "qtype", "");
    put(p, " -> ", "address", "");
    put(p, "  ", "rcode", "");
}

static void print_tcp_open(const struct printer *p)
{
    put_verdict(p);
    put(p, "", "name", "");
    if (!text(p->e, "name").n)
        put(p, "", "host", "");
    put(p, ":", "port", "");
    put(p, " ", "protocol", "");
    put_why(p);
}

static void print_approval(const struct printer *p)
{
    bool allow = gvm_json_bool(p->e, "allow", false);
    paint(p, allow ? GREEN : RED);
    fputs(allow ? "approved        " : "not approved    ", p->f);
    paint(p, PLAIN);
    put(p, "", "id", "");
    put(p, " by ", "who", "");
    put(p, " via ", "how", "");
    put(p, " at ", "terminal", "");
    put(p, " for ", "scope", "");
    put(p, "  ", "why", "");
}

static void put_command(const struct printer *p)
{
    const struct gvm_json *list = gvm_json_get(p->e, "command");
    for (const struct gvm_json *c = list ? list->child : NULL; c; c = c->next) {
        fputc(' ', p->f);
        cli_print_safe(p->f, c->text);
    }
}

static void print_run_start(const struct printer *p)
{
    put(p, "agent ", "agent", ":");
    put_command(p);
    put_dim(p, "  in ", "workspace", "");
}

static void print_run_end(const struct printer *p)
{
    put(p, "agent ", "agent", " ");
    fputs(gvm_json_bool(p->e, "lost", false) ? "lost" : "ended", p->f);
    put(p, " with ", "exit", "");
    put(p, "; ", "requests", " requests");
    put(p, ", ", "denied", " denied");
    put(p, ", out ", "bytes_out", " B");
    put(p, ", in ", "bytes_in", " B");
    paint(p, RED);
    put(p, "; ALERT: ", "unreconciled", "");
    paint(p, PLAIN);
}

static void print_alert(const struct printer *p)
{
    paint(p, RED);
    put(p, "ALERT ", "what", ": ");
    paint(p, PLAIN);
    put(p, "", "why", "");
}

static void print_tcp_close(const struct printer *p)
{
    put(p, "", "id", " ");
    fprintf(p->f, " out %" PRId64 " B, in %" PRId64 " B, %" PRId64 " ms",
            gvm_json_int(p->e, "bytes_out", 0), gvm_json_int(p->e, "bytes_in", 0),
            gvm_json_int(p->e, "ms", 0));
    put_dim(p, "  ", "upstream", "");
    put(p, "  error: ", "error", "");
}

static void put_names(const struct printer *p, const struct gvm_json *diff, const char *sign,
                      const char *key)
{
    const struct gvm_json *list = gvm_json_get(diff, key);
    for (const struct gvm_json *c = list ? list->child : NULL; c; c = c->next) {
        fprintf(p->f, "  %s", sign);
        cli_print_safe(p->f, c->text);
    }
}

static void print_config(const struct printer *p)
{
    const struct gvm_json *diff = gvm_json_get(p->e, "diff");
    put(p, "", "config", "");
    put(p, " (", "why", ")");
    put(p, ", ", "rules", " rules");
    put_names(p, diff, "+", "added");
    put_names(p, diff, "-", "removed");
    put_names(p, diff, "~", "changed");
    put_names(p, diff, "setting ", "settings");
    if (gvm_json_bool(diff, "reordered", false))
        fputs("  order", p->f);
    if (gvm_json_bool(diff, "credentials", false))
        fputs("  credentials", p->f);
}

static bool common(struct gvm_str key)
{
    static const char *const names[] = {"v",     "t",      "kind",    "run",
                                        "agent", "policy", "private", "salt"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (gvm_str_eqz(key, names[i]))
            return true;
    return false;
}

/* Any other kind: its own members as they stand. */
static void print_members(const struct printer *p)
{
    const char *gap = "";
    for (const struct gvm_json *m = p->e->child; m; m = m->next) {
        if (common(m->key) || m->type == GVM_JSON_NULL)
            continue;
        fputs(gap, p->f);
        cli_print_safe(p->f, m->key);
        fputc('=', p->f);
        cli_print_safe(p->f, m->raw);
        gap = " ";
    }
}

/* The entry's time where the person is. */
static void put_time(const struct printer *p, bool with_day)
{
    struct tm tm;
    int64_t ns;
    if (gvm_time_parse(text(p->e, "t"), &ns) < 0)
        return;
    time_t sec = (time_t)(ns / 1000000000);
    if (!localtime_r(&sec, &tm))
        return;
    if (with_day)
        fprintf(p->f, "%02d-%02d ", tm.tm_mon + 1, tm.tm_mday);
    fprintf(p->f, "%02d:%02d:%02d", tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* ---- as it happens ---- */

static void watch_decision(const struct printer *p)
{
    struct gvm_str d = text(p->e, "decision"), rule = text(p->e, "rule");
    bool stopped = gvm_str_eqz(text(p->e, "enforced"), "Deny");
    if (gvm_str_eqz(text(p->e, "kind"), "tcp.open")) {
        put(p, "connect ", text(p->e, "name").n ? "name" : "host", "");
        put(p, ":", "port", "");
    } else {
        put_url(p);
    }
    fputs("  ", p->f);
    paint(p, verdict_color(d));
    fputs(stopped ? "stopped: " : "would be ", p->f);
    cli_print_safe(p->f, d);
    paint(p, PLAIN);
    if (rule.n && !gvm_str_eqz(rule, "default"))
        put_dim(p, "  [", "rule", "]");
    if (stopped)
        put_dim(p, "  ", "reason", "");
}

/* Only what went wrong is shown. */
static void watch_outcome(const struct printer *p)
{
    fputs("  -> ", p->f);
    put(p, "", "status", " ");
    put(p, "", "error", "");
}

static void watch_refused(const struct printer *p)
{
    paint(p, RED);
    fputs("refused  ", p->f);
    paint(p, PLAIN);
    put(p, "", "name", " ");
    put(p, "", "host", " ");
    put(p, "", "why", "");
    put(p, " (", "class", ")");
}

struct kind {
    const char *kind;
    void (*print)(const struct printer *p);
};

static const struct kind watched[] = {
    {"http.decision", watch_decision}, {"tcp.open", watch_decision},
    {"http.outcome", watch_outcome},   {"http.refused", watch_refused},
    {"dns.refused", watch_refused},    {"approval", print_approval},
};

static const struct kind kinds[] = {
    {"http.decision", print_decision}, {"http.outcome", print_outcome},
    {"http.refused", print_refused},   {"dns.refused", print_refused},
    {"dns.query", print_dns},          {"tcp.open", print_tcp_open},
    {"approval", print_approval},      {"run.start", print_run_start},
    {"run.end", print_run_end},        {"tcp.close", print_tcp_close},
    {"run.alert", print_alert},        {"config.load", print_config},
};

/* Pads what was just written, `n` bytes, to a column; one space at least. */
static void pad(FILE *f, size_t n, size_t width)
{
    do
        fputc(' ', f);
    while (++n < width);
}

static void put_place(const struct printer *p, uint64_t index)
{
    paint(p, DIM);
    fprintf(p->f, "%6" PRIu64 "  ", index);
    put_time(p, true);
    paint(p, PLAIN);
    fputs("  ", p->f);
}

static void print_as(const struct printer *p, const struct kind *list, size_t n)
{
    struct gvm_str kind = text(p->e, "kind");
    void (*print)(const struct printer *) = print_members;
    for (size_t i = 0; i < n; i++)
        if (gvm_str_eqz(kind, list[i].kind))
            print = list[i].print;
    print(p);
}

static void print_watched(const struct printer *p)
{
    paint(p, DIM);
    put_time(p, false);
    paint(p, PLAIN);
    fputs("  ", p->f);
    print_as(p, watched, sizeof(watched) / sizeof(watched[0]));
    fputc('\n', p->f);
}

void cli_print_event(FILE *f, uint64_t index, const struct gvm_json *entry, unsigned style)
{
    struct printer p = {f, entry, style & CLI_EVENT_COLOR};
    struct gvm_str kind = text(entry, "kind"), agent = text(entry, "agent");
    if (style & CLI_EVENT_WATCH) {
        print_watched(&p);
        return;
    }
    if (!(style & CLI_EVENT_BARE))
        put_place(&p, index);
    if (style & CLI_EVENT_AGENT) {
        cli_print_safe(f, agent.n ? agent : GVM_STR("-"));
        pad(f, agent.n ? agent.n : 1, 11);
    }
    cli_print_safe(f, kind);
    pad(f, kind.n, 15);
    print_as(&p, kinds, sizeof(kinds) / sizeof(kinds[0]));
    fputc('\n', f);
}
