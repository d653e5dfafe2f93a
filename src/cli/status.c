/* gvm status: what the daemon is doing. */
#include "cli/cli.h"
#include "cli/verbs.h"

#include <errno.h>
#include <inttypes.h>

const char cli_status_usage[] =
    "usage: gvm status [--json]\n"
    "\n"
    "Shows whether the daemon runs, its processes, the runs that live and the\n"
    "requests that wait for an answer. Exit code 1 when no daemon runs.\n"
    "\n"
    "      --json  as one JSON object\n"
    "  -h, --help  this text\n";

static void show_children(const struct gvm_json *info)
{
    const struct gvm_json *list = gvm_json_get(info, "children");
    for (const struct gvm_json *c = list ? list->child : NULL; c; c = c->next) {
        printf("  %-8s pid %" PRId64, gvm_json_text(c, "role", "?"), gvm_json_int(c, "pid", 0));
        int64_t restarts = gvm_json_int(c, "restarts", 0);
        if (restarts)
            printf(", restarted %" PRId64 " times", restarts);
        putchar('\n');
    }
}

/* "runs" is an array of objects, or a number. */
static void show_runs(const struct gvm_json *info)
{
    const struct gvm_json *runs = gvm_json_get(info, "runs");
    if (!runs || runs->type != GVM_JSON_ARRAY) {
        printf("runs: %" PRId64 "\n", gvm_json_int(info, "runs", 0));
        return;
    }
    size_t n = 0;
    for (const struct gvm_json *c = runs->child; c; c = c->next)
        n++;
    printf("runs: %zu\n", n);
    for (const struct gvm_json *c = runs->child; c; c = c->next) {
        printf("  %s  ", gvm_json_text(c, "run", "?"));
        cli_print_safe(stdout, gvm_str(gvm_json_text(c, "agent", "")));
        putchar('\n');
    }
}

/* The last verification in the background. */
static void show_verified(const struct gvm_json *v)
{
    if (!v || v->type != GVM_JSON_OBJECT)
        return;
    bool ok = gvm_json_bool(v, "ok", false);
    const char *error = gvm_json_text(v, "error", NULL);
    printf("record verified %s: ", gvm_json_text(v, "t", "?"));
    if (ok)
        printf("good, %" PRId64 " entries\n", gvm_json_int(v, "entries", 0));
    if (ok)
        return;
    fputs(error ? "it could not be read: " : "TAMPERED: ", stdout);
    cli_print_safe(stdout, gvm_str(error ? error : gvm_json_text(v, "reason", "")));
    fputs(error ? "\n" : " (gvm audit verify)\n", stdout);
}

static void show(const struct gvm_json *info)
{
    printf("gvmd is running, pid %" PRId64, gvm_json_int(info, "pid", 0));
    const char *version = gvm_json_text(info, "version", NULL);
    printf(version ? ", version %s\n" : "\n", version);
    show_children(info);
    show_runs(info);
    if (gvm_json_get(info, "pending"))
        printf("requests waiting for an answer: %" PRId64 "%s\n", gvm_json_int(info, "pending", 0),
               gvm_json_int(info, "pending", 0) ? " (gvm approve)" : "");
    const struct gvm_json *gate = gvm_json_get(info, "gate");
    if (gate)
        printf("record: %s\n", gate->type == GVM_JSON_TRUE || gvm_str_eqz(gate->text, "open")
                                   ? "healthy"
                                   : "cannot be written; nothing is forwarded");
    show_verified(gvm_json_get(info, "verified"));
}

static int answer(struct gvm_chan *chan, bool json, struct gvm_err *err)
{
    struct gvm_msg m = {0};
    int r =
        gvm_chan_call(chan, GVM_MSG_CLIENT_STATUS, NULL, 0, NULL, 0, 10000, NULL, NULL, &m, err);
    if (r < 0)
        return r;
    struct gvm_arena *a = gvm_arena_new(2u << 20);
    struct gvm_json *info = NULL;
    r = a ? gvm_json_parse(a, gvm_msg_str(&m), &info, err)
          : gvm_err_set(err, ENOMEM, "out of memory");
    if (r == 0 && json)
        printf("%.*s\n", GVM_STR_ARG(gvm_msg_str(&m)));
    else if (r == 0)
        show(info);
    gvm_arena_free(a);
    gvm_msg_done(&m);
    return r;
}

static int status(bool json)
{
    struct gvm_err err = {0};
    struct gvm_chan *chan = NULL;
    int r = cli_connect(false, &chan, &err);
    if (r == -ENOENT || r == -ECONNREFUSED) {
        puts(json ? "{\"running\":false}" : "gvmd is not running (gvm run starts it)");
        cli_flush();
        return GVM_EXIT_ERROR;
    }
    if (r == 0)
        r = answer(chan, json, &err);
    gvm_chan_free(chan);
    return r < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
}

int cli_status(int argc, char **argv)
{
    bool json;
    int r = cli_only_json("status", cli_status_usage, argc, argv, &json);
    if (r >= 0)
        return r;
    return status(json);
}
