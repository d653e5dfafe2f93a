/* Every answer with the index is the answer without it: while the log grows, is pruned or replaced,
 * and whatever happened to the index. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <signal.h>
#include <sys/resource.h>
#define UNIT_FAIL_ALLOC
#include "../unit.h"
#include "index/index_int.h"

#define T0 INT64_C(1790000000000000000)

static char top[64], ledger[80], own[80];
static uint64_t random_state = 88172645463325252u;

static unsigned any(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % n;
}

static int setup(void **state)
{
    (void)snprintf(top, sizeof top, "%s/gvm-index-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(top))
        return -1;
    (void)snprintf(ledger, sizeof ledger, "%s/ledger", top);
    (void)snprintf(own, sizeof own, "%s/index", top);
    char events[96];
    (void)snprintf(events, sizeof events, "%s/events", ledger);
    return gvm_mkdirs(events, 0700, NULL);
}

static int teardown(void **state)
{
    return gvm_remove_tree_at(AT_FDCWD, top, NULL);
}

/* ---- a log ---- */

static int put_random(char *dst, size_t cap, uint64_t i, unsigned salt)
{
    static const char *const decisions[] = {"Allow", "Deny", "Delay", "RequireApproval",
                                            "AuditOnly"};
    char t[GVM_TIME_TEXT];
    unsigned run = any(5), n = any(40);
    /* The clock goes on in jumps, and back at times. */
    gvm_time_text(t, T0 + (int64_t)i * 30000000000 + any(9) * INT64_C(700000000000));
    switch (any(8)) {
    case 0:
        return snprintf(dst, cap,
                        "{\"v\":1,\"t\":\"%s\",\"kind\":\"dns.query\",\"run\":\"r%u\",\"agent\":"
                        "\"a%u\",\"name\":\"h%u.test\"}\n",
                        t, run, run % 2, n);
    case 1:
        return snprintf(dst, cap, "{\"v\":1,\"t\":\"%s\",\"kind\":\"config.load\",\"salt\":%u}\n",
                        t, salt);
    case 2:
        return snprintf(dst, cap,
                        "{\"v\":1,\"t\":\"%s\",\"kind\":\"http.refused\",\"run\":\"r%u\",\"agent\":"
                        "\"a%u\",\"why\":\"x\",\"host\":\"h%u.test\"}\n",
                        t, run, run % 2, n);
    case 3:
    case 4:
        return snprintf(dst, cap,
                        "{\"v\":1,\"t\":\"%s\",\"kind\":\"http.outcome\",\"run\":\"r%u\",\"agent\":"
                        "\"a%u\",\"id\":\"r%u.%u\",\"bytes_out\":%u,\"bytes_in\":%u,\"ms\":3%s}\n",
                        t, run, run % 2, run, n, any(500), any(500),
                        any(3) ? "" : ",\"llm\":{\"tokens_in\":3,\"tokens_out\":4,\"cost\":0.25}");
    case 5:
        return snprintf(dst, cap, "not an entry %u\n", salt);
    default:
        return snprintf(
            dst, cap,
            "{\"v\":1,\"t\":\"%s\",\"kind\":\"http.decision\",\"run\":\"r%u\",\"agent\":\"a%u\","
            "\"id\":\"r%u.%u\",\"host\":\"h%u.test\",\"decision\":\"%s\",\"path\":\"/%0*u\"}\n",
            t, run, run % 2, run, n, n % 7, decisions[any(5)], (int)any(200), salt);
    }
}

/* Entries [from, to) as one segment, or behind the entries of the segment that begins at `segment`.
 */
static void put_entries(uint64_t segment, uint64_t from, uint64_t to, unsigned salt)
{
    char path[160], line[1024];
    (void)snprintf(path, sizeof path, "%s/events/%020" PRIu64 ".jsonl", ledger, segment);
    FILE *f = fopen(path, "ae");
    assert_non_null(f);
    for (uint64_t i = from; i < to; i++)
        (void)fwrite(line, 1, (size_t)put_random(line, sizeof line, i, salt), f);
    assert_int_equal(fclose(f), 0);
}

static void sign(uint64_t size)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/checkpoint", ledger);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    (void)fprintf(
        f, "test\n%" PRIu64 "\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\xe2\x80\x94 test ",
        size);
    for (int i = 0; i < 22; i++)
        (void)fputs("AAAA", f);
    (void)fputs("AAA=\n", f);
    assert_int_equal(fclose(f), 0);
}

/* ---- the same question, twice ---- */

struct answer {
    uint64_t n, sum, first, last, end;
};

static struct answer search(const char *index_dir, const struct gvm_index_filter *f, uint64_t last,
                            char note[256])
{
    struct gvm_err err = {0};
    struct gvm_index *ix = NULL;
    struct gvm_index_search *s = NULL;
    struct gvm_str line;
    uint64_t index = 0;
    struct answer a = {0};
    assert_int_equal(gvm_index_open(ledger, index_dir, &ix, &err), 0);
    int r = gvm_index_search(ix, f, last, &s, &err);
    while (r == 0 && (r = gvm_index_next(s, &index, &line, &err)) > 0) {
        a.first = a.n++ ? a.first : index;
        assert_true(a.n == 1 || index > a.last);
        a.last = index;
        for (size_t i = 0; i < line.n; i++)
            a.sum = a.sum * 31 + (unsigned char)line.p[i];
        r = 0;
    }
    if (r < 0)
        fail_msg("search: %s", err.text);
    a.end = gvm_index_end(s);
    if (note)
        (void)snprintf(note, 256, "%s", gvm_index_note(ix));
    gvm_index_search_free(s);
    gvm_index_free(ix);
    return a;
}

struct totals {
    int64_t v[8];
    uint64_t names; /* of every sum, weighted; does not depend on how they are split */
};

static void add(void *arg, const struct gvm_index_sum *s)
{
    struct totals *t = arg;
    if (!s) {
        *t = (struct totals){.names = 0};
        return;
    }
    const int64_t v[8] = {s->n,   s->bytes_out, s->bytes_in,   s->ms,
                          s->llm, s->tokens_in, s->tokens_out, s->cost_micro};
    const struct gvm_str names[] = {s->run, s->agent, s->host, s->decision, s->kind};
    uint64_t h = 7;
    for (int i = 0; i < 5; i++, h = h * 257 + 1)
        for (size_t k = 0; k < names[i].n; k++)
            h = h * 31 + (unsigned char)names[i].p[k];
    for (int i = 0; i < 8; i++) {
        t->v[i] += v[i];
        t->names += h * (uint64_t)v[i] * (uint64_t)(i + 1);
    }
}

static struct totals sums(const char *index_dir, const struct gvm_index_filter *f)
{
    struct gvm_err err = {0};
    struct gvm_index *ix = NULL;
    struct totals t = {0};
    assert_int_equal(gvm_index_open(ledger, index_dir, &ix, &err), 0);
    if (gvm_index_sums(ix, f, add, &t, &err) < 0)
        fail_msg("sums: %s", err.text);
    gvm_index_free(ix);
    return t;
}

static const struct gvm_index_filter questions[] = {
    {0},
    {.kind = "http.*"},
    {.kind = "nothing"},
    {.run = "r"},
    {.run = "r3", .kind = "http.decision"},
    {.host = "h1.test"},
    {.host = "h*.test", .decision = "deny"},
    {.host = "h?.test", .agent = "a1", .kind = "http.*"},
    {.agent = "*"},
    {.request = "r2.7"},
    {.request = "r2.7", .kind = "http.outcome"},
    {.since_ns = T0 + INT64_C(9000000000000)},
    {.since_ns = T0 + INT64_C(900000000000), .until_ns = T0 + INT64_C(1900000000000)},
    {.until_ns = T0 + INT64_C(5000000000000), .host = "h2.test"},
    {.since_ns = T0 + INT64_C(9000000000000), .run = "r1", .decision = "ALLOW"},
};
#define NQUESTIONS (sizeof questions / sizeof *questions)

static void same_answers(const char *when)
{
    for (size_t i = 0; i < NQUESTIONS; i++) {
        for (uint64_t last = 0; last < 200; last = last * 7 + 3) {
            struct answer a = search(own, &questions[i], last, NULL),
                          b = search(NULL, &questions[i], last, NULL);
            if (memcmp(&a, &b, sizeof a) != 0)
                fail_msg("%s: question %zu, last %" PRIu64 ": %" PRIu64 " entries to %" PRIu64
                         " with the index, %" PRIu64 " to %" PRIu64 " without",
                         when, i, last, a.n, a.end, b.n, b.end);
        }
        struct totals x = sums(own, &questions[i]), y = sums(NULL, &questions[i]);
        if (memcmp(&x, &y, sizeof x) != 0)
            fail_msg("%s: sums of question %zu: %" PRId64 " entries with the index, %" PRId64
                     " without",
                     when, i, x.v[0], y.v[0]);
    }
}

static unsigned generation(void)
{
    char path[128];
    for (unsigned i = 1; i < 100; i++) {
        (void)snprintf(path, sizeof path, "%s/%u.db", own, i);
        if (access(path, F_OK) == 0)
            return i;
    }
    return 0;
}

static void db_path(char dst[128])
{
    (void)snprintf(dst, 128, "%s/%u.db", own, generation());
}

/* ---- tests ---- */

static void test_grows(void **state)
{
    put_entries(0, 0, 400, 1);
    same_answers("never signed");
    assert_int_equal(generation(), 0);
    sign(300);
    same_answers("signed in part");
    assert_int_equal(generation(), 1);
    put_entries(0, 400, 700, 1);
    sign(700);
    same_answers("grown");
    put_entries(700, 700, 1500, 2);
    sign(1200);
    same_answers("a second segment");
    sign(1500);
    same_answers("all signed");
    assert_int_equal(generation(), 1);
    struct stat st;
    char path[128];
    db_path(path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(own, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

/* Entries beyond the head may be cut off and others written in their place. */
static void test_unsigned_tail_changes(void **state)
{
    char path[160];
    put_entries(0, 0, 300, 1);
    sign(300);
    put_entries(300, 300, 400, 2);
    same_answers("with a tail");
    (void)snprintf(path, sizeof path, "%s/events/%020d.jsonl", ledger, 300);
    assert_int_equal(unlink(path), 0);
    put_entries(300, 300, 390, 3);
    same_answers("with another tail");
    sign(390);
    same_answers("which was signed");
    assert_int_equal(generation(), 1);
}

static void test_another_log(void **state)
{
    char note[256], path[160];
    put_entries(0, 0, 300, 1);
    sign(300);
    same_answers("the first");
    (void)snprintf(path, sizeof path, "%s/events/%020d.jsonl", ledger, 0);
    assert_int_equal(unlink(path), 0);
    put_entries(0, 0, 300, 2);
    (void)search(own, &questions[1], 0, note);
    assert_non_null(strstr(note, "another log"));
    same_answers("another of the same length");
    assert_int_equal(generation(), 2);
    assert_int_equal(unlink(path), 0);
    put_entries(0, 0, 100, 2);
    sign(100);
    same_answers("a shorter one");
    assert_int_equal(generation(), 3);
}

static void test_pruned(void **state)
{
    char path[160];
    put_entries(0, 0, 500, 1);
    put_entries(500, 500, 900, 1);
    put_entries(900, 900, 1000, 1);
    sign(1000);
    same_answers("whole");
    (void)snprintf(path, sizeof path, "%s/events/%020d.jsonl", ledger, 0);
    assert_int_equal(unlink(path), 0);
    same_answers("pruned");
    assert_int_equal(generation(), 1); /* taken out, not made anew */
    (void)snprintf(path, sizeof path, "%s/events/%020d.jsonl", ledger, 500);
    assert_int_equal(unlink(path), 0);
    put_entries(1000, 1000, 1100, 1);
    sign(1100);
    same_answers("pruned again, and grown");
    assert_int_equal(generation(), 1);
}

/* A page of any kind, overwritten: noticed, or not needed. Never another answer. */
static void test_damaged(void **state)
{
    char path[128], note[256], page[4096];
    struct stat st;
    put_entries(0, 0, 1500, 1);
    sign(1500);
    same_answers("whole");
    db_path(path);
    assert_int_equal(stat(path, &st), 0);
    for (off_t at = 0; at < st.st_size; at += 4096 * (1 + (off_t)any(6))) {
        (void)search(own, &questions[1], 1, NULL);
        db_path(path);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        memset(page, any(2) ? 0xff : 0, sizeof page);
        assert_true(fd >= 0 && pwrite(fd, page, sizeof page, at) > 0);
        close(fd);
        struct gvm_index_filter f = questions[any(NQUESTIONS)];
        struct answer a = search(own, &f, 0, note), b = search(NULL, &f, 0, NULL);
        if (memcmp(&a, &b, sizeof a) != 0)
            fail_msg("page %lld: %" PRIu64 " entries instead of %" PRIu64 " (%s)",
                     (long long)at / 4096, a.n, b.n, note);
        struct totals x = sums(own, &f), y = sums(NULL, &f);
        assert_memory_equal(&x, &y, sizeof x);
    }
    assert_true(generation() > 1);
    db_path(path);
    assert_int_equal(truncate(path, 5000), 0);
    (void)search(own, &questions[1], 0, note);
    assert_non_null(strstr(note, "made anew"));
    same_answers("cut short");
    db_path(path);
    assert_int_equal(truncate(path, 0), 0);
    same_answers("empty");
}

/* Rows that lie about where an entry is, or what it is about. */
static void test_lying(void **state)
{
    static const char *const lies[] = {"UPDATE entries SET offset = offset + 1 WHERE idx = 700",
                                       "UPDATE entries SET segment = 77",
                                       "UPDATE meta SET value = 999999 WHERE name = 'next'",
                                       "UPDATE meta SET value = 5 WHERE name = 'offset'",
                                       "DELETE FROM meta",
                                       "DROP TABLE sums",
                                       "DROP INDEX by_kind",
                                       "PRAGMA user_version = 99"};
    char path[128], note[256];
    sqlite3 *db = NULL;
    put_entries(0, 0, 1000, 1);
    sign(1000);
    struct gvm_index_filter f = {.kind = "http.*"};
    struct answer b = search(NULL, &f, 0, NULL);
    struct totals y = sums(NULL, &f);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        (void)search(own, &f, 0, NULL);
        db_path(path);
        assert_int_equal(sq.open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
        assert_int_equal(sq.exec(db, lies[i], NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sq.close(db), SQLITE_OK);
        struct answer a = search(own, &f, 0, note);
        if (memcmp(&a, &b, sizeof a) != 0)
            fail_msg("%s: %" PRIu64 " entries instead of %" PRIu64 " (%s)", lies[i], a.n, b.n,
                     note);
        struct totals x = sums(own, &f);
        if (memcmp(&x, &y, sizeof x) != 0)
            fail_msg("%s: other sums", lies[i]);
        (void)search(own, &f, 10, NULL);
    }
    same_answers("after all of it");
}

static void test_somebody_fills(void **state)
{
    char note[256], path[128];
    put_entries(0, 0, 300, 1);
    sign(300);
    (void)search(own, &questions[1], 0, NULL);
    put_entries(0, 300, 500, 1);
    sign(500);
    (void)snprintf(path, sizeof path, "%s/lock", own);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    struct answer a = search(own, &questions[1], 0, note), b = search(NULL, &questions[1], 0, NULL);
    assert_memory_equal(&a, &b, sizeof a); /* as far as the index goes, then the log */
    struct totals x = sums(own, &questions[1]), y = sums(NULL, &questions[1]);
    assert_memory_equal(&x, &y, sizeof x);
    close(fd);
}

static void test_no_place(void **state)
{
    char note[256];
    put_entries(0, 0, 300, 1);
    sign(300);
    int fd =
        open(own, O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* a file where the directory should be */
    assert_true(fd >= 0);
    close(fd);
    struct answer a = search(own, &questions[1], 0, note), b = search(NULL, &questions[1], 0, NULL);
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(note[0] != '\0');
}

/* One question that may fail: the answer, or a negative errno. */
static int try_search(const struct gvm_index_filter *f, struct answer *ret)
{
    struct gvm_err err = {0};
    struct gvm_index *ix = NULL;
    struct gvm_index_search *s = NULL;
    struct gvm_str line;
    uint64_t index = 0;
    struct answer a = {0};
    int r = gvm_index_open(ledger, own, &ix, &err);
    if (r == 0)
        r = gvm_index_search(ix, f, 0, &s, &err);
    while (r == 0 && (r = gvm_index_next(s, &index, &line, &err)) > 0) {
        a.first = a.n++ ? a.first : index;
        a.last = index;
        for (size_t i = 0; i < line.n; i++)
            a.sum = a.sum * 31 + (unsigned char)line.p[i];
        r = 0;
    }
    a.end = s ? gvm_index_end(s) : 0;
    gvm_index_search_free(s);
    gvm_index_free(ix);
    *ret = a;
    return r;
}

static void remove_index(void)
{
    assert_int_equal(gvm_remove_tree_at(AT_FDCWD, own, NULL), 0);
}

/* Every allocation fails once, ours and SQLite's: the answer is right, or there is none. */
static void test_no_memory(void **state)
{
    struct gvm_index_filter f = {.kind = "http.*", .host = "h*.test"};
    if (!unit_can_fail)
        skip();
    put_entries(0, 0, 60, 1);
    sign(50);
    struct answer want = search(NULL, &f, 0, NULL), a;
    unsigned failed = 0, right = 0;
    bool reached = true;
    for (long n = 1; reached; n += 1 + n / 40) {
        remove_index();
        unit_fail_at = n;
        int r = try_search(&f, &a);
        reached = unit_fail_at == 0;
        unit_fail_at = 0;
        if (r == 0 && memcmp(&a, &want, sizeof a) != 0)
            fail_msg("allocation %ld: %" PRIu64 " entries instead of %" PRIu64, n, a.n, want.n);
        assert_true(r == 0 || r == -ENOMEM);
        failed += r < 0;
        right += r == 0;
    }
    assert_true(failed > 0 && right > 10);
    same_answers("with memory again");
}

/* A disk that is full after so many bytes: the log answers, and the index is whole when there is
 * room. */
static void test_no_room(void **state)
{
    struct gvm_index_filter f = {.kind = "http.*"};
    struct rlimit full, found;
    put_entries(0, 0, 1200, 1);
    sign(1200);
    struct answer want = search(NULL, &f, 0, NULL);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &found), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    for (rlim_t bytes = 0; bytes < 4 << 20; bytes = bytes * 3 / 2 + 1500) {
        remove_index();
        full = (struct rlimit){bytes, found.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
        struct answer a = search(own, &f, 0, NULL);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &found), 0);
        assert_memory_equal(&a, &want, sizeof a);
        a = search(own, &f, 0, NULL); /* goes on with what there is */
        assert_memory_equal(&a, &want, sizeof a);
    }
    same_answers("with room again");
}

static void test_no_ledger(void **state)
{
    struct gvm_err err = {0};
    struct gvm_index *ix = NULL;
    assert_int_equal(gvm_index_open("/nonexistent/ledger", own, &ix, &err), -ENOENT);
    assert_null(ix);
    same_answers("of nothing");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_grows),          T(test_unsigned_tail_changes),
        T(test_another_log),    T(test_pruned),
        T(test_damaged),        T(test_lying),
        T(test_somebody_fills), T(test_no_place),
        T(test_no_ledger),      T(test_no_memory),
        T(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
