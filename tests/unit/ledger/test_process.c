/* The real process, confined, over real channels: appends, signatures, the gate, kill -9 at any
 * moment. */
#include "ledger_test.h"
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "ipc/ipc.h"

struct daemon {
    pid_t pid;
    struct gvm_chan *parent, *proxy, *keys;
    uint64_t signatures;
    bool gate, gate_seen;
    bool refuse_sign, mute; /* mute: signs, and the answer is lost */
    uint64_t from;          /* of the last question */
    uint64_t signed_last;   /* a head was signed that nobody knows of */
};

/* Starts `gvmd --child ledger` as the parent does. `file_limit` bounds the size of any file it
 * writes. */
static void start_with(struct daemon *d, uint64_t file_limit, const char *json)
{
    int pair[2];
    struct gvm_err err = {0};
    *d = (struct daemon){.gate = true};
    assert_int_equal(gvm_ipc_pair(pair), 0);
    d->pid = fork();
    assert_true(d->pid >= 0);
    if (d->pid == 0) {
        close(pair[0]);
        if (file_limit) {
            struct rlimit lim = {file_limit, file_limit};
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &lim);
        }
        _exit(gvm_ledger_main(pair[1]));
    }
    close(pair[1]);
    d->parent = gvm_chan_new(pair[0], GVM_ROLE_PARENT, GVM_ROLE_LEDGER, 1 << 20);
    int dir = open(test_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(gvm_chan_send(d->parent, GVM_MSG_START, 1, json, strlen(json), &dir, 1), 0);
    close(dir);
    struct gvm_msg m;
    int r;
    while ((r = gvm_chan_recv(d->parent, &m)) == 0) {
        struct pollfd p = {.fd = gvm_chan_fd(d->parent), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 10000), 1);
    }
    assert_int_equal(r, 1);
    if (m.type != GVM_MSG_READY)
        fail_msg("no READY but %d: %s", m.type, err.text);
    gvm_msg_done(&m);
}

static void start(struct daemon *d, uint64_t file_limit)
{
    start_with(d, file_limit, "{\"origin\":\"" ORIGIN "\"}");
}

static struct gvm_chan *give_peer(struct daemon *d, enum gvm_role role)
{
    int pair[2];
    struct gvm_m_peer peer = {.role = role};
    assert_int_equal(gvm_ipc_pair(pair), 0);
    assert_int_equal(gvm_chan_send(d->parent, GVM_MSG_PEER, 0, &peer, sizeof peer, &pair[1], 1), 0);
    close(pair[1]);
    return gvm_chan_new(pair[0], role, GVM_ROLE_LEDGER, 1 << 20);
}

/* One turn of the keys process. */
static void serve_keys(struct daemon *d)
{
    struct gvm_msg m;
    while (d->keys && gvm_chan_recv(d->keys, &m) == 1) {
        struct gvm_m_sign head;
        assert_int_equal(m.type, GVM_MSG_SIGN);
        memcpy(&head, m.data, sizeof head);
        d->from = head.from;
        if (d->mute) {
            d->signed_last = head.size;
            gvm_msg_done(&m);
            continue;
        }
        if (d->signed_last && head.from != d->signed_last) {
            struct gvm_m_sign_from from = {d->signed_last};
            assert_int_equal(
                gvm_chan_send(d->keys, GVM_MSG_SIGN_FROM, m.id, &from, sizeof from, NULL, 0), 0);
            gvm_msg_done(&m);
            continue;
        }
        d->signed_last = 0;
        struct gvm_m_signed sig = sign_as(test_seed, ORIGIN, &head);
        struct gvm_err err = {.code = EACCES, .text = "not this time"};
        if (d->refuse_sign)
            gvm_chan_fail(d->keys, m.id, &err);
        else
            assert_int_equal(
                gvm_chan_send(d->keys, GVM_MSG_SIGNED, m.id, &sig, sizeof sig, NULL, 0), 0);
        d->signatures++;
        d->refuse_sign = false;
        gvm_msg_done(&m);
    }
}

/* Waits up to ms for a frame to the proxy, serving keys meanwhile. 1, 0 or a negative errno. */
static int proxy_recv(struct daemon *d, int ms, struct gvm_msg *ret)
{
    int64_t until = gvm_mono_ns() + ms * 1000000ll;
    for (;;) {
        serve_keys(d);
        int r = gvm_chan_recv(d->proxy, ret);
        if (r == 1 && ret->type == GVM_MSG_GATE) {
            struct gvm_m_gate g;
            memcpy(&g, ret->data, sizeof g);
            d->gate = g.open;
            d->gate_seen = true;
            gvm_msg_done(ret);
            continue;
        }
        int64_t left = (until - gvm_mono_ns()) / 1000000;
        if (r != 0 || left <= 0)
            return r;
        struct pollfd p[2] = {{.fd = gvm_chan_fd(d->proxy), .events = POLLIN},
                              {.fd = d->keys ? gvm_chan_fd(d->keys) : -1, .events = POLLIN}};
        (void)poll(p, 2, (int)left);
    }
}

static int send_append(struct daemon *d, uint64_t id, unsigned flags, struct gvm_str line)
{
    struct gvm_m_append head = {.flags = flags};
    return gvm_chan_send2(d->proxy, GVM_MSG_APPEND, id, &head, sizeof head, line.p, line.n, NULL,
                          0);
}

/* Appends and waits: the index, or a negative errno. */
static int64_t append_wait(struct daemon *d, struct gvm_str line)
{
    static uint64_t id = 1000;
    struct gvm_msg m;
    struct gvm_m_appended a;
    assert_int_equal(send_append(d, ++id, 0, line), 0);
    assert_int_equal(proxy_recv(d, 10000, &m), 1);
    assert_int_equal(m.type, GVM_MSG_APPENDED);
    assert_int_equal(m.id, id);
    memcpy(&a, m.data, sizeof a);
    gvm_msg_done(&m);
    return a.error ? -a.error : (int64_t)a.index;
}

static struct gvm_str entry(const char *kind, uint64_t i)
{
    static char buf[256];
    int n = snprintf(
        buf, sizeof buf,
        "{\"v\":1,\"t\":\"2026-11-23T23:13:00.123456789Z\",\"kind\":\"%s\",\"i\":%" PRIu64 "}",
        kind, i);
    return (struct gvm_str){buf, (size_t)n};
}

static void end(struct daemon *d, bool stop)
{
    int status;
    if (stop)
        assert_int_equal(gvm_chan_send(d->parent, GVM_MSG_STOP, 0, NULL, 0, NULL, 0), 0);
    for (int i = 0; i < 500 && waitpid(d->pid, &status, WNOHANG) == 0; i++) {
        serve_keys(d);
        if (!stop) {
            gvm_chan_free(d->parent); /* the parent is gone: the child must go too */
            d->parent = NULL;
            stop = true;
        }
        usleep(10000);
        if (i == 499)
            kill(d->pid, SIGKILL);
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    gvm_chan_free(d->parent);
    gvm_chan_free(d->proxy);
    gvm_chan_free(d->keys);
}

static void expect_kind(uint64_t i, const char *kind)
{
    struct gvm_ledger_reader *r = NULL;
    struct gvm_str line;
    uint64_t index;
    char want[64];
    assert_int_equal(gvm_ledger_reader_open(test_dir, i, &r, NULL), 0);
    assert_int_equal(gvm_ledger_reader_next(r, &index, &line, NULL), 1);
    (void)snprintf(want, sizeof want, "\"kind\":\"%s\"", kind);
    if (!memmem(line.p, line.n, want, strlen(want)))
        fail_msg("entry %" PRIu64 " is %.*s", i, GVM_STR_ARG(line));
    gvm_ledger_reader_free(r);
}

static void test_serves(void **state)
{
    struct daemon d;
    start(&d, 0);
    d.proxy = give_peer(&d, GVM_ROLE_PROXY);
    d.keys = give_peer(&d, GVM_ROLE_KEYS);
    for (uint64_t i = 0; i < 50; i++)
        assert_int_equal(append_wait(&d, entry("http.decision", i)), i);
    for (uint64_t i = 0; i < 200; i++) /* nobody waits for these */
        assert_int_equal(send_append(&d, 0, GVM_APPEND_NO_WAIT, entry("http.outcome", i)), 0);
    assert_int_equal(append_wait(&d, entry("http.decision", 50)), 250);
    assert_true(d.gate && d.gate_seen);
    end(&d, true);
    struct gvm_verify_report rep = verify_since(NULL);
    assert_true(rep.ok);
    assert_int_equal(rep.entries, 251);
    assert_int_equal(rep.unsigned_entries, 0); /* the last head was signed before the end */
    assert_true(d.signatures > 0 && d.signatures < 60);
}

/* The checkpoint follows by itself, soon, and when keys comes late or refuses once. */
static void test_checkpoint_follows(void **state)
{
    struct daemon d;
    struct gvm_checkpoint cp;
    struct gvm_msg m;
    start(&d, 0);
    d.proxy = give_peer(&d, GVM_ROLE_PROXY);
    assert_int_equal(append_wait(&d, entry("http.decision", 0)), 0);
    d.keys = give_peer(&d, GVM_ROLE_KEYS);
    d.refuse_sign = true;
    int64_t began = gvm_mono_ns();
    char path[256];
    path_in(path, "checkpoint");
    while (access(path, F_OK) < 0 && gvm_mono_ns() - began < 5000000000ll)
        (void)proxy_recv(&d, 1, &m);
    began = gvm_mono_ns();
    assert_int_equal(append_wait(&d, entry("http.decision", 1)), 1);
    do {
        (void)proxy_recv(&d, 1, &m);
        struct gvm_buf b = slurp("checkpoint");
        assert_int_equal(gvm_checkpoint_parse(gvm_buf_str(&b), &cp, NULL), 0);
        gvm_buf_done(&b);
    } while (cp.size < 2 && gvm_mono_ns() - began < 5000000000ll);
    assert_int_equal(cp.size, 2);
    end(&d, false);
    assert_verifies(2);
}

static bool head_reaches(struct daemon *d, uint64_t size)
{
    struct gvm_msg m;
    struct gvm_checkpoint cp = {0};
    int64_t began = gvm_mono_ns();
    do {
        (void)proxy_recv(d, 1, &m);
        char path[256];
        path_in(path, "checkpoint");
        if (access(path, F_OK) < 0)
            continue;
        struct gvm_buf b = slurp("checkpoint");
        assert_int_equal(gvm_checkpoint_parse(gvm_buf_str(&b), &cp, NULL), 0);
        gvm_buf_done(&b);
    } while (cp.size < size && gvm_mono_ns() - began < 5000000000ll);
    return cp.size == size;
}

/* An answer is lost with the keys process; its successor says which head was signed last, and the
 * next question begins there. */
static void test_signs_from_elsewhere(void **state)
{
    struct daemon d = {0};
    start(&d, 0);
    d.proxy = give_peer(&d, GVM_ROLE_PROXY);
    d.keys = give_peer(&d, GVM_ROLE_KEYS);
    for (int64_t i = 0; i < 10; i++)
        assert_int_equal(append_wait(&d, entry("http.decision", (unsigned)i)), i);
    assert_true(head_reaches(&d, 10));
    d.mute = true;
    for (int64_t i = 10; i < 13; i++)
        assert_int_equal(append_wait(&d, entry("http.decision", (unsigned)i)), i);
    struct gvm_msg m;
    for (unsigned i = 0; i < 5000 && !d.signed_last; i++)
        (void)proxy_recv(&d, 1, &m);
    uint64_t lost = d.signed_last, size = 13;
    assert_in_range(lost, 11, size);
    d.mute = false;
    gvm_chan_free(d.keys);
    d.keys = give_peer(&d, GVM_ROLE_KEYS);
    assert_int_equal(append_wait(&d, entry("http.decision", 13)), size++);
    assert_true(head_reaches(&d, size));
    assert_int_equal(d.signed_last, 0); /* it was asked from there */
    assert_true(d.from >= lost);
    end(&d, false);
    assert_verifies(size);
}

/* What a peer may not write is refused, and the channel lives on. */
static void test_refuses_entries(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "{\"kind\":\"x\"}",
        "{\"v\":1,\"t\":\"short\",\"kind\":\"http.decision\"}",
        "{\"v\":1,\"t\":\"2026-11-23T23:13:00.123456789Z\",\"kind\":\"http\n\"}",
    };
    struct daemon d;
    start(&d, 0);
    d.proxy = give_peer(&d, GVM_ROLE_PROXY);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(append_wait(&d, gvm_str(bad[i])), -EINVAL);
    static const char *const kinds[] = {"ledger.recovered", "gate.opened", "run.start",
                                        "daemon.stop",      "config.load", "fs.commit"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        assert_int_equal(append_wait(&d, entry(kinds[i], i)), -EINVAL);
    assert_int_equal(append_wait(&d, entry("http.decision", 1)), 0);
    end(&d, true);
    uint64_t size;
    assert_int_equal(gvm_ledger_size(test_dir, &size, NULL), 0);
    assert_int_equal(size, 1);
}

/* No room: the gate closes, every append is answered with an error; room again: it opens by itself.
 */
static void test_gate(void **state)
{
    struct daemon d;
    struct gvm_msg m;
    static char big[60000];
    start(&d, 256 * 1024);
    d.proxy = give_peer(&d, GVM_ROLE_PROXY);
    d.keys = give_peer(&d, GVM_ROLE_KEYS);
    memset(big, 'a', sizeof big);
    struct gvm_str head = entry("http.decision", 1);
    memcpy(big, head.p, head.n - 1);
    memcpy(big + head.n - 1, ",\"a\":\"", 6);
    memcpy(big + sizeof big - 2, "\"}", 2);
    int64_t r = 0, good = 0;
    while (good < 20 && (r = append_wait(&d, (struct gvm_str){big, sizeof big})) == good)
        good++;
    assert_int_equal(r, -EIO);
    assert_int_equal(good, 4);
    (void)proxy_recv(&d, 50, &m);
    assert_false(d.gate);
    assert_int_equal(append_wait(&d, entry("http.decision", 2)), -EIO);
    /* The file may not grow past its limit, but what was refused was cut off: small ones fit again.
     */
    int64_t began = gvm_mono_ns();
    while (!d.gate && gvm_mono_ns() - began < 10000000000ll)
        (void)proxy_recv(&d, 20, &m);
    assert_true(d.gate);
    assert_int_equal(append_wait(&d, entry("http.decision", 3)), good + 1);
    end(&d, true);
    expect_kind((uint64_t)good, "gate.opened");
    assert_verifies((uint64_t)good + 2);
}

static void test_second_daemon(void **state)
{
    struct daemon d;
    start(&d, 0);
    int pair[2], status;
    assert_int_equal(gvm_ipc_pair(pair), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        (void)dup2(null, 2);
        _exit(gvm_ledger_main(pair[1]));
    }
    close(pair[1]);
    struct gvm_chan *parent = gvm_chan_new(pair[0], GVM_ROLE_PARENT, GVM_ROLE_LEDGER, 1 << 20);
    int dir = open(test_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    static const char json[] = "{\"origin\":\"" ORIGIN "\"}";
    struct gvm_msg m;
    struct gvm_err err = {0};
    int r = gvm_chan_call(parent, GVM_MSG_START, json, sizeof json - 1, &dir, 1, 10000, NULL, NULL,
                          &m, &err);
    assert_int_equal(r, -EBUSY);
    assert_non_null(strstr(err.text, "another process"));
    close(dir);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    gvm_chan_free(parent);
    end(&d, true);
}

static unsigned count_kind(const char *kind)
{
    struct gvm_ledger_reader *r = NULL;
    struct gvm_str line;
    uint64_t index;
    char want[64];
    unsigned n = 0;
    (void)snprintf(want, sizeof want, "\"kind\":\"%s\"", kind);
    assert_int_equal(gvm_ledger_reader_open(test_dir, 0, &r, NULL), 0);
    while (gvm_ledger_reader_next(r, &index, &line, NULL) == 1)
        n += memmem(line.p, line.n, want, strlen(want)) != NULL;
    gvm_ledger_reader_free(r);
    return n;
}

static bool segment_there(uint64_t first)
{
    char path[256], rel[80], name[SEGMENT_NAME];
    for (unsigned form = LEDGER_PLAIN; form <= LEDGER_PACKED; form++) {
        ledger_segment_name(name, first, (enum ledger_form)form);
        (void)snprintf(rel, sizeof rel, "events/%s", name);
        path_in(path, rel);
        if (access(path, F_OK) == 0)
            return true;
    }
    return false;
}

/* A log that is to stay small closes, packs and prunes its segments by itself, and says so. */
static void test_rotates_and_prunes(void **state)
{
    struct daemon d;
    struct gvm_msg m;
    start_with(&d, 0, "{\"origin\":\"" ORIGIN "\",\"segment_bytes\":100000,\"keep_bytes\":15000}");
    d.proxy = give_peer(&d, GVM_ROLE_PROXY);
    d.keys = give_peer(&d, GVM_ROLE_KEYS);
    for (uint64_t i = 0; i < 20000; i++) {
        assert_int_equal(send_append(&d, 0, GVM_APPEND_NO_WAIT, entry("http.outcome", i)), 0);
        if (i % 100 == 99) /* what is queued goes out with it */
            assert_true(append_wait(&d, entry("http.decision", i)) >= 0);
    }
    int64_t began = gvm_mono_ns();
    while (segment_there(0) && gvm_mono_ns() - began < 20000000000ll)
        (void)proxy_recv(&d, 10, &m);
    assert_false(segment_there(0));
    assert_true(append_wait(&d, entry("http.decision", 1)) > 20000);
    end(&d, true);
    struct gvm_verify_report rep = verify_since(NULL);
    if (!rep.ok)
        fail_msg("%s (%s)", rep.reason, rep.bad_file);
    assert_true(rep.pruned > 0);
    assert_true(count_kind("ledger.rotated") > 0);
    assert_true(count_kind("ledger.pruned") > 0);
}

/* Killed at any moment, with many entries under way: what was acknowledged is there. */
static void test_kill_loop(void **state)
{
    uint64_t acknowledged = 0, sent = 0;
    unsigned seed = 12345;
    for (unsigned round = 0; round < 25; round++) {
        struct daemon d;
        struct gvm_msg m;
        start(&d, 0);
        d.proxy = give_peer(&d, GVM_ROLE_PROXY);
        d.keys = give_peer(&d, GVM_ROLE_KEYS);
        seed = seed * 1103515245u + 12345u;
        int64_t until = gvm_mono_ns() + (int64_t)(seed >> 8) % 20000000;
        unsigned out = 0;
        while (gvm_mono_ns() < until) {
            for (; out < 64; out++, sent++)
                if (send_append(&d, sent + 1, 0, entry("http.decision", sent)) < 0)
                    break;
            while (proxy_recv(&d, out >= 64, &m) == 1) {
                struct gvm_m_appended a;
                memcpy(&a, m.data, sizeof a);
                assert_int_equal(a.error, 0);
                if (a.index + 1 > acknowledged)
                    acknowledged = a.index + 1;
                gvm_msg_done(&m);
                out--;
            }
        }
        kill(d.pid, SIGKILL);
        assert_int_equal(waitpid(d.pid, NULL, 0), d.pid);
        gvm_chan_free(d.parent);
        gvm_chan_free(d.proxy);
        gvm_chan_free(d.keys);
        uint64_t size;
        assert_int_equal(gvm_ledger_size(test_dir, &size, NULL), 0);
        assert_true(size >= acknowledged);
        struct gvm_verify_report rep = verify_since(NULL);
        if (!rep.ok &&
            strcmp(rep.bad_file, "checkpoint") != 0) /* none yet, on a quick first kill */
            fail_msg("round %u: %s (%s)", round, rep.reason, rep.bad_file);
    }
    assert_true(acknowledged > 100);
    struct daemon d;
    start(&d, 0);
    d.proxy = give_peer(&d, GVM_ROLE_PROXY);
    d.keys = give_peer(&d, GVM_ROLE_KEYS);
    assert_true(append_wait(&d, entry("http.decision", 0)) >= (int64_t)acknowledged);
    end(&d, true);
    assert_true(verify_since(NULL).ok);
}

#define T(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_serves),
        T(test_signs_from_elsewhere),
        T(test_checkpoint_follows),
        T(test_refuses_entries),
        T(test_gate),
        T(test_second_daemon),
        T(test_rotates_and_prunes),
        T(test_kill_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
