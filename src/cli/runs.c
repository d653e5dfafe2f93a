/* gvm runs: every run this machine remembers. */
#include "cli/changes.h"
#include "cli/verbs.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <inttypes.h>

const char cli_runs_usage[] =
    "usage: gvm runs [--json]\n"
    "\n"
    "Lists the runs, oldest first: running, ended, stopped (by gvm stop, a time or\n"
    "a limit), or killed (its launcher is gone without a word; what it wrote is\n"
    "kept), and how many changes wait for you.\n"
    "\n"
    "      --json  one JSON object a line\n"
    "  -h, --help  this text\n";

static const char *state_of(const struct gvm_run_record *rec)
{
    if (rec->ended_ns)
        return rec->why[0] ? "stopped" : "ended";
    return cli_run_killed(rec) ? "killed" : "running";
}

/* Changes waiting; -1 when they cannot be listed (said in the table, null in JSON). */
static int64_t count_pending(const char *dir)
{
    struct gvm_changes changes = {0};
    if (gvm_changes_scan(dir, NULL, &changes, NULL) < 0)
        return -1;
    int64_t n = (int64_t)changes.n;
    gvm_changes_done(&changes);
    return n;
}

static int print_json(const char *id, const struct gvm_run_record *rec, int64_t pending,
                      struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, 64u << 10);
    char text[GVM_TIME_TEXT];
    struct gvm_jw w;
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "id", id);
    gvm_jw_kstrz(&w, "agent", rec->agent);
    gvm_jw_kstrz(&w, "state", state_of(rec));
    gvm_jw_key(&w, "exit");
    if (rec->ended_ns)
        gvm_jw_int(&w, rec->exit_code);
    else
        gvm_jw_null(&w);
    gvm_jw_kstrz(&w, "why", rec->why[0] ? rec->why : NULL);
    gvm_time_text(text, rec->started_ns);
    gvm_jw_kstrz(&w, "started", text);
    gvm_time_text(text, rec->ended_ns);
    gvm_jw_kstrz(&w, "ended", rec->ended_ns ? text : NULL);
    gvm_jw_kstrz(&w, "workspace", rec->workspace);
    gvm_jw_kstrz(&w, "command", rec->command);
    gvm_jw_kbool(&w, "watch", rec->watch);
    gvm_jw_key(&w, "pending");
    if (pending >= 0)
        gvm_jw_int(&w, pending);
    else
        gvm_jw_null(&w);
    gvm_jw_object_end(&w);
    if (out.failed)
        return gvm_err_set(err, ENOMEM, "out of memory");
    printf("%s\n", gvm_buf_cstr(&out));
    return 0;
}

static void print_row(const char *id, const struct gvm_run_record *rec, int64_t pending)
{
    char exit_text[16] = "-", pending_text[24] = "?";
    if (rec->ended_ns)
        snprintf(exit_text, sizeof(exit_text), "%d", rec->exit_code);
    if (pending >= 0)
        snprintf(pending_text, sizeof(pending_text), "%" PRId64, pending);
    printf("%-24s %-8s %5s %8s  ", id, state_of(rec), exit_text, pending_text);
    cli_print_safe(stdout, gvm_str(rec->agent));
    fputs("  ", stdout);
    cli_print_safe(stdout, gvm_str(rec->command));
    putchar('\n');
}

static int list(bool json, struct gvm_err *err)
{
    struct gvm_arena *a = gvm_arena_new(16u << 20);
    char **ids = NULL;
    size_t n = 0;
    if (!a)
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = cli_list_runs(a, &ids, &n, err);
    if (r == 0 && !json && n)
        printf("%-24s %-8s %5s %8s  %s\n", "RUN", "STATE", "EXIT", "PENDING", "AGENT  COMMAND");
    for (size_t i = 0; r == 0 && i < n; i++) {
        char rest[64], dir[GVM_PATH_MAX];
        struct gvm_run_record rec;
        struct gvm_err bad = {0};
        snprintf(rest, sizeof(rest), "runs/%s", ids[i]);
        r = gvm_place_path(GVM_PLACE_STATE, rest, dir, err);
        if (r < 0)
            break;
        if (gvm_run_record_read(dir, &rec, &bad) < 0) {
            cli_say("run %s: %s", ids[i], bad.text);
            continue;
        }
        if (cli_run_killed(&rec))
            gvm_sandbox_sweep(dir); /* its launcher could not */
        int64_t pending = count_pending(dir);
        if (json)
            r = print_json(ids[i], &rec, pending, err);
        else
            print_row(ids[i], &rec, pending);
    }
    if (r == 0 && !json && !n)
        puts("no run yet (gvm run --help)");
    gvm_arena_free(a);
    return r;
}

int cli_runs(int argc, char **argv)
{
    bool json;
    int r = cli_only_json("runs", cli_runs_usage, argc, argv, &json);
    if (r >= 0)
        return r;
    struct gvm_err err = {0};
    return list(json, &err) < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
}
