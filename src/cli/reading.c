/* What events, trace, logs and stats have in common: options, the index, following the log. */
#include "cli/reading.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <unistd.h>

enum { ARENA = 8u << 20, PROGRESS_NS = 1000000000, WAKE_MS = 1000 };

static int64_t began_ns; /* of the filling of the index */

/* A minute's wait wants a word; a moment's does not. */
static void progress(uint64_t done, uint64_t total)
{
    if (!isatty(STDERR_FILENO) || gvm_mono_ns() - began_ns < PROGRESS_NS)
        return;
    fprintf(stderr, "\rgvm: indexing the record, %" PRIu64 " of %" PRIu64 " entries\033[K", done,
            total);
    if (total - done < 20000)
        fputs("\r\033[K", stderr);
}

static int parse_time(const char *text, int64_t *ret)
{
    uint64_t ms;
    if (gvm_parse_duration_ms(gvm_str(text), &ms) == 0 && ms < (uint64_t)INT64_MAX / 1000000) {
        *ret = gvm_now_ns() - (int64_t)ms * 1000000;
        return 0;
    }
    return gvm_time_parse(gvm_str(text), ret);
}

static int take_time(const struct cli_reading *v, const char *arg, int64_t *ret)
{
    return parse_time(arg, ret) < 0
               ? cli_usage(v->verb, "'%s' is no time: 90s, 10m, 1h, 2d or an RFC 3339 date", arg)
               : 0;
}

int cli_reading_option(struct cli_reading *v, int c, const char *arg)
{
    switch (c) {
    case READ_RUN:
        v->filter.run = arg;
        return 0;
    case READ_KIND:
        v->filter.kind = arg;
        return 0;
    case READ_HOST:
        v->filter.host = arg;
        return 0;
    case READ_DECISION:
        v->filter.decision = arg;
        return 0;
    case READ_AGENT:
        v->filter.agent = arg;
        return 0;
    case READ_SINCE:
        return take_time(v, arg, &v->filter.since_ns);
    case READ_UNTIL:
        return take_time(v, arg, &v->filter.until_ns);
    case READ_DIR:
        return !*arg || gvm_str_copy(v->dir, sizeof v->dir, gvm_str(arg)) < 0
                   ? cli_usage(v->verb, "--dir takes the path of a ledger")
                   : 0;
    default:
        v->json = true;
        return 0;
    }
}

int cli_reading_open(struct cli_reading *v, struct gvm_err *err)
{
    char own[GVM_PATH_MAX] = "";
    int r = 0;
    if (!v->dir[0]) {
        r = gvm_place_path(GVM_PLACE_STATE, "ledger", v->dir, err);
        if (r == 0)
            r = gvm_place_path(GVM_PLACE_STATE, "index", own, err);
    }
    if (r == 0)
        r = gvm_index_open(v->dir, own[0] ? own : NULL, &v->index, err);
    if (r == -ENOENT)
        return gvm_err_set(err, ENOENT, "nothing is recorded yet in %s", v->dir);
    if (r == 0) {
        began_ns = gvm_mono_ns();
        gvm_index_on_progress(v->index, progress);
    }
    return r;
}

void cli_reading_close(struct cli_reading *v)
{
    if (v->index && *gvm_index_note(v->index))
        cli_say("%s", gvm_index_note(v->index));
    gvm_index_free(v->index);
    v->index = NULL;
}

int cli_reading_parse(uint64_t index, struct gvm_str line,
                      void (*fn)(void *arg, const struct gvm_json *e), void *arg,
                      struct gvm_err *err)
{
    struct gvm_arena *a = gvm_arena_new(ARENA);
    struct gvm_json *e = NULL;
    if (!a)
        return gvm_err_set(err, ENOMEM, "out of memory");
    if (gvm_json_parse(a, line, &e, NULL) == 0 && e->type == GVM_JSON_OBJECT)
        fn(arg, e);
    else
        cli_say("entry %" PRIu64 " is not a JSON object", index);
    gvm_arena_free(a);
    return 0;
}

void cli_reading_json(uint64_t index, struct gvm_str line)
{
    /* An entry is an object without control bytes, so this is one line of JSON again. */
    printf("{\"index\":%" PRIu64 "%s", index, line.n > 2 ? "," : "");
    fwrite(line.p + 1, 1, line.n - 1, stdout);
    putchar('\n');
}

static int follow_to_end(const struct cli_reading *v, struct gvm_ledger_reader *reader,
                         struct gvm_buf *scratch, cli_reading_fn *fn, void *arg,
                         struct gvm_err *err)
{
    struct gvm_index_facts facts;
    struct gvm_str line;
    uint64_t index;
    int r;
    while ((r = gvm_ledger_reader_next(reader, &index, &line, err)) > 0) {
        gvm_index_facts(line, scratch, &facts);
        r = gvm_index_matches(&v->filter, &facts) ? fn(arg, index, line, err) : 0;
        if (r != 0 || ferror(stdout))
            return r;
    }
    return r;
}

int cli_reading_follow(const struct cli_reading *v, uint64_t from, cli_reading_fn *fn, void *arg,
                       struct gvm_err *err)
{
    struct gvm_ledger_reader *reader = NULL;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf scratch;
    int r = gvm_ledger_reader_open(v->dir, from, &reader, err);
    if (r < 0)
        return r;
    gvm_buf_init(&scratch, GVM_INDEX_SCRATCH);
    if (!gvm_buf_space(&scratch, GVM_MAX_ENTRY)) {
        gvm_ledger_reader_free(reader);
        return gvm_err_set(err, ENOMEM, "out of memory");
    }
    /* Watched before it is looked at, so that nothing comes between. */
    struct pollfd p[2] = {{.fd = gvm_ledger_reader_fd(reader), .events = POLLIN},
                          {.fd = STDOUT_FILENO}}; /* whoever reads us may go away */
    while ((r = follow_to_end(v, reader, &scratch, fn, arg, err)) == 0 && !ferror(stdout)) {
        fflush(stdout);
        (void)poll(p, 2, WAKE_MS);
        if (p[1].revents & (POLLERR | POLLHUP))
            break;
        gvm_ledger_reader_drain(reader);
    }
    gvm_ledger_reader_free(reader);
    return r < 0 ? r : 0;
}
