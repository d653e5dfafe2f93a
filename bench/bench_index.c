/* How long questions about a long log take with the index, beside reading the log for the same
 * answer.
 *
 *   bench_index [ENTRIES]      (1,000,000)
 *
 * Makes a log with the shape of real ones in a folder of its own, fills the index, and asks each
 * question several times in a fresh handle, as a new gvm would. Times are medians; `ratio` is index
 * : full read. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "index/index.h"

enum { RUNS = 40, HOSTS = 200, ROUNDS = 7, SEGMENT = 64 << 20 };

static char top[64], ledger[96], own[96];

static void die(const char *what, const struct gvm_err *err)
{
    (void)fprintf(stderr, "bench_index: %s: %s\n", what, err ? err->text : strerror(errno));
    exit(1);
}

/* ---- the log ---- */

static int put_entry(char *dst, size_t cap, uint64_t i)
{
    char t[GVM_TIME_TEXT];
    gvm_time_text(t, INT64_C(1790000000000000000) +
                         (int64_t)i * 40000000); /* 25 a second, for half a day */
    uint64_t request = i / 2, run = request % RUNS, host = request * 2654435761u % HOSTS;
    const char *agents[] = {"coder", "tester", "writer", "mailer"};
    const char *agent = agents[run % 4];
    if (i % 5000 == 4999)
        return snprintf(
            dst, cap,
            "{\"v\":1,\"t\":\"%s\",\"kind\":\"http.decision\",\"run\":\"20260921-%06u\",\"agent\":"
            "\"%s\","
            "\"id\":\"20260921-%06u.%" PRIu64 "\",\"method\":\"DELETE\",\"scheme\":\"https\","
            "\"host\":\"rare.example.com\",\"port\":443,\"path\":\"/v1/items/%" PRIu64
            "\",\"query\":null,\"decision\":\"Deny\",\"rule\":\"no deletes\",\"line\":12,"
            "\"policy\":\"5f1d3c0d9b7e46d2a6c1f0e4b8a7c2d95f1d3c0d9b7e46d2a6c1f0e4b8a7c2d9\"}\n",
            t, (unsigned)run, agent, (unsigned)run, i, i);
    if (i % 2 == 0)
        return snprintf(
            dst, cap,
            "{\"v\":1,\"t\":\"%s\",\"kind\":\"http.decision\",\"run\":\"20260921-%06u\",\"agent\":"
            "\"%s\","
            "\"id\":\"20260921-%06u.%" PRIu64 "\",\"method\":\"GET\",\"scheme\":\"https\","
            "\"host\":\"api%" PRIu64 ".example.com\",\"port\":443,\"path\":\"/v1/items/%" PRIu64
            "\",\"query\":null,\"decision\":\"%s\",\"rule\":\"read\",\"line\":4,"
            "\"policy\":\"5f1d3c0d9b7e46d2a6c1f0e4b8a7c2d95f1d3c0d9b7e46d2a6c1f0e4b8a7c2d9\"}\n",
            t, (unsigned)run, agent, (unsigned)run, request, host, request,
            request % 3 ? "Allow" : "Delay");
    return snprintf(dst, cap,
                    "{\"v\":1,\"t\":\"%s\",\"kind\":\"http.outcome\",\"run\":\"20260921-%06u\","
                    "\"agent\":\"%s\","
                    "\"id\":\"20260921-%06u.%" PRIu64 "\",\"status\":200,\"bytes_out\":%" PRIu64
                    ",\"bytes_in\":%" PRIu64 ",\"ms\":%" PRIu64
                    ",\"upstream\":\"93.184.216.34:443\"}\n",
                    t, (unsigned)run, agent, (unsigned)run, request, request % 900, request % 70000,
                    request % 300);
}

static FILE *open_segment(uint64_t first)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/events/%020" PRIu64 ".jsonl", ledger, first);
    FILE *f = fopen(path, "we");
    if (!f)
        die(path, NULL);
    return f;
}

static uint64_t make_log(uint64_t n)
{
    char line[1024], path[160];
    uint64_t bytes = 0, total = 0;
    FILE *f = NULL;
    for (uint64_t i = 0; i < n; i++) {
        if (!f || bytes > SEGMENT) {
            if (f && fclose(f) != 0)
                die("segment", NULL);
            f = open_segment(i);
            bytes = 0;
        }
        int len = put_entry(line, sizeof line, i);
        if (fwrite(line, 1, (size_t)len, f) != (size_t)len)
            die("segment", NULL);
        bytes += (uint64_t)len;
        total += (uint64_t)len;
    }
    if (f && fclose(f) != 0)
        die("segment", NULL);
    (void)snprintf(path, sizeof path, "%s/checkpoint", ledger);
    f = fopen(path, "we");
    /* Nobody checks this signature here: the index asks how far the log is final. */
    if (!f ||
        fprintf(f,
                "bench\n%" PRIu64
                "\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\xe2\x80\x94 bench %s\n",
                n,
                "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                "AAAAAA"
                "AAA=") < 0 ||
        fclose(f) != 0)
        die("checkpoint", NULL);
    return total;
}

/* ---- questions ---- */

static void add_up(void *arg, const struct gvm_index_sum *s)
{
    *(uint64_t *)arg = s ? *(uint64_t *)arg + (uint64_t)s->n : 0;
}

struct question {
    const char *name;
    struct gvm_index_filter f;
    uint64_t last;
    bool sums;
};

/* Nanoseconds; *ret: matches. */
static int64_t ask(const char *index_dir, const struct question *q, uint64_t *ret)
{
    struct gvm_err err = {0};
    struct gvm_index *ix = NULL;
    struct gvm_index_search *s = NULL;
    struct gvm_str line;
    uint64_t index, n = 0;
    int64_t began = gvm_mono_ns();
    int r = gvm_index_open(ledger, index_dir, &ix, &err);
    if (r == 0 && q->sums)
        r = gvm_index_sums(ix, &q->f, add_up, &n, &err);
    else if (r == 0)
        r = gvm_index_search(ix, &q->f, q->last, &s, &err);
    while (r == 0 && s && (r = gvm_index_next(s, &index, &line, &err)) > 0) {
        n++;
        r = 0;
    }
    if (r < 0)
        die(q->name, &err);
    if (ix && *gvm_index_note(ix))
        (void)printf("# %s\n", gvm_index_note(ix));
    gvm_index_search_free(s);
    gvm_index_free(ix);
    *ret = n;
    return gvm_mono_ns() - began;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static int64_t median(int64_t *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return v[n / 2];
}

static void measure(const struct question *q)
{
    int64_t with[ROUNDS], without[3];
    uint64_t a = 0, b = 0;
    for (int i = 0; i < ROUNDS; i++) {
        with[i] = ask(own, q, &a);
        if (i < 3)
            without[i] = ask(NULL, q, &b);
    }
    if (a != b) {
        (void)fprintf(stderr, "bench_index: %s: %" PRIu64 " with the index, %" PRIu64 " without\n",
                      q->name, a, b);
        exit(1);
    }
    double x = (double)median(with, ROUNDS) / 1e6, y = (double)median(without, 3) / 1e6;
    (void)printf("%-34s %9" PRIu64 " %10.2f ms %10.1f ms   %.4f\n", q->name, a, x, y, x / y);
}

int main(int argc, char **argv)
{
    uint64_t n = 1000000, none;
    struct gvm_err err = {0};
    char path[128];
    if (argc > 1 && gvm_parse_u64(gvm_str(argv[1]), 100000000, &n) < 0)
        die("usage: bench_index [ENTRIES]", NULL);
    const struct question questions[] = {
        {"last 50", {0}, 50, false},
        {"last 50 of a kind", {.kind = "http.outcome"}, 50, false},
        {"last 50 of a host", {.host = "api7.example.com"}, 50, false},
        {"last 50 refused of an agent", {.agent = "coder", .decision = "Deny"}, 50, false},
        {"every Deny", {.decision = "Deny"}, 0, false},
        {"one rare host", {.host = "rare.*"}, 0, false},
        {"one request", {.request = "20260921-000007.100007"}, 0, false},
        {"a kind there is none of", {.kind = "fs.*"}, 0, false},
        {"last minute",
         {.since_ns = INT64_C(1790000000000000000) + (int64_t)n * 40000000 - 60000000000},
         0,
         false},
        {"a run of 40, a host of 200",
         {.run = "20260921-000007", .host = "api9*.example.com"},
         0,
         false},
        {"stats of all", {0}, 0, true},
        {"stats of one run", {.run = "20260921-000003"}, 0, true},
        {"stats of the last 2 hours",
         {.since_ns =
              INT64_C(1790000000000000000) + (int64_t)n * 40000000 - INT64_C(7200000000000)},
         0,
         true},
    };
    (void)snprintf(top, sizeof top, "/tmp/gvm-bench-index-XXXXXX");
    if (!mkdtemp(top))
        die(top, NULL);
    (void)snprintf(ledger, sizeof ledger, "%s/ledger", top);
    (void)snprintf(own, sizeof own, "%s/index", top);
    (void)snprintf(path, sizeof path, "%s/events", ledger);
    if (gvm_mkdirs(path, 0700, &err) < 0)
        die(path, &err);
    uint64_t bytes = make_log(n);
    int64_t took = ask(own, &questions[0], &none);
    (void)printf("%" PRIu64 " entries, %.0f MB; index filled in %.1f s (%.0f entries/s)\n", n,
                 (double)bytes / 1e6, (double)took / 1e9, (double)n / ((double)took / 1e9));
    (void)fflush(stdout);
    (void)!system("du -shc /tmp/gvm-bench-index-*/index | tail -1"); // NOLINT
    (void)printf("%-34s %9s %13s %13s   ratio\n", "question", "matches", "index", "full read");
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        measure(&questions[i]);
        (void)fflush(stdout);
    }
    return gvm_remove_tree_at(AT_FDCWD, top, &err) < 0;
}
