/* The real control process, confined, between a parent, a proxy, a keys and a ledger process that
 * the test plays itself. */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/control.h"
#include "ipc/ipc.h"

static struct gvm_chan *parent, *proxy, *keys, *ledger;
static struct gvm_msg m; /* the last one received */
static struct gvm_arena *arena;
static char dir[64], path[96];
static pid_t pid;

/* ---- playing the others ---- */

static bool receive(struct gvm_chan *c, int ms)
{
    gvm_msg_done(&m);
    for (;;) {
        int r = gvm_chan_recv(c, &m);
        if (r != 0)
            return r == 1;
        struct pollfd p = {.fd = gvm_chan_fd(c), .events = POLLIN};
        if (poll(&p, 1, ms) == 0)
            return false;
    }
}

/* Waits for that type; its JSON (if it is some). */
static const struct gvm_json *want(struct gvm_chan *c, enum gvm_msg_type type)
{
    if (!receive(c, 5000))
        fail_msg("no %s came", gvm_msg_row(type)->name);
    if (m.type != type)
        fail_msg("%s came, not %s: %.*s", gvm_msg_row(m.type)->name, gvm_msg_row(type)->name,
                 GVM_STR_ARG(gvm_msg_str(&m)));
    struct gvm_str text = gvm_msg_str(&m);
    if (type == GVM_MSG_APPEND) {
        text.p += sizeof(struct gvm_m_append);
        text.n -= sizeof(struct gvm_m_append);
        assert_true(gvm_str_find(text, '\n') < 0);
    }
    struct gvm_json *v = NULL;
    if (text.n && text.p[0] == '{')
        assert_int_equal(gvm_json_parse(arena, text, &v, NULL), 0);
    return v;
}

static void quiet(struct gvm_chan *c)
{
    if (receive(c, 60))
        fail_msg("%s came uncalled for: %.*s", gvm_msg_row(m.type)->name,
                 GVM_STR_ARG(gvm_msg_str(&m)));
}

static void say(struct gvm_chan *c, enum gvm_msg_type type, uint64_t id, const char *text)
{
    assert_int_equal(gvm_chan_send(c, type, id, text, strlen(text), NULL, 0), 0);
}

static void appended(int error)
{
    struct gvm_m_appended a = {.error = error};
    assert_int_equal(gvm_chan_send(ledger, GVM_MSG_APPENDED, m.id, &a, sizeof a, NULL, 0), 0);
}

/* The parent hands control a new channel to `role`; our end of it. */
static struct gvm_chan *peer(enum gvm_role role)
{
    int fds[2];
    assert_int_equal(gvm_ipc_pair(fds), 0);
    struct gvm_m_peer p = {.role = role};
    assert_int_equal(gvm_chan_send(parent, GVM_MSG_PEER, 0, &p, sizeof p, &fds[1], 1), 0);
    close(fds[1]);
    return gvm_chan_new(fds[0], role, GVM_ROLE_CONTROL, 1 << 20);
}

static struct gvm_chan *client(void)
{
    int fd = -1;
    struct gvm_err err = {0};
    assert_int_equal(gvm_ipc_connect(path, &fd, &err), 0);
    return gvm_chan_new(fd, GVM_ROLE_CLIENT, GVM_ROLE_CONTROL, 1 << 20);
}

static int start(void **state)
{
    int fds[2], l = -1;
    snprintf(dir, sizeof dir, "/tmp/gvm-control-XXXXXX");
    if (!mkdtemp(dir) || gvm_ipc_pair(fds) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/s", dir);
    if (gvm_ipc_listen(path, &l, NULL) < 0)
        return -1;
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        close(fds[0]);
        _exit(gvm_control_main(fds[1]));
    }
    close(fds[1]);
    arena = gvm_arena_new(16 << 20);
    parent = gvm_chan_new(fds[0], GVM_ROLE_PARENT, GVM_ROLE_CONTROL, 1 << 20);
    if (gvm_chan_send(parent, GVM_MSG_START, 0, "{\"version\":\"9\"}", 15, &l, 1) < 0)
        return -1;
    close(l);
    want(parent, GVM_MSG_READY);
    proxy = peer(GVM_ROLE_PROXY);
    keys = peer(GVM_ROLE_KEYS);
    ledger = peer(GVM_ROLE_LEDGER);
    struct gvm_m_gate g = {.open = 1};
    return gvm_chan_send(ledger, GVM_MSG_GATE, 0, &g, sizeof g, NULL, 0);
}

static int stop(void **state)
{
    int status = -1;
    gvm_msg_done(&m);
    (void)!gvm_chan_send(parent, GVM_MSG_STOP, 0, NULL, 0, NULL, 0);
    waitpid(pid, &status, 0);
    gvm_chan_free(parent);
    gvm_chan_free(proxy);
    gvm_chan_free(keys);
    gvm_chan_free(ledger);
    gvm_arena_free(arena);
    unlink(path);
    rmdir(dir);
    return status; /* it ended by itself with code 0, nothing killed it */
}

/* ---- runs ---- */

static void send_register(struct gvm_chan *c, uint64_t id, const char *json, unsigned nfds)
{
    int fds[6] = {0};
    for (unsigned i = 0; i < nfds; i++)
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(gvm_chan_send(c, GVM_MSG_RUN_REGISTER, id, json, strlen(json), fds, nfds), 0);
    for (unsigned i = 0; i < nfds; i++)
        close(fds[i]);
}

#define RUN "20261124T000000-abc123"
#define REGISTER                                                                                   \
    "{\"run\":\"" RUN                                                                              \
    "\",\"agent\":\"bot\",\"command\":[\"sh\",\"-c\",\"a\\nb\"],\"workspace\":\"/w\","             \
    "\"config\":null,\"watch\":true,\"mode\":\"sandbox\",\"default\":\"deny\",\"no_intercept\":["  \
    "\"x.test\"],"                                                                                 \
    "\"sealed\":null}"
#define POLICY "{\"policy\":3,\"hash\":\"aa\",\"config\":\"/c\",\"rules\":1}"
#define CA     "{\"pem\":\"PEM\",\"sealed\":\"SEAL\",\"log_key\":\"LK\"}"

static void go_live(struct gvm_chan *c)
{
    send_register(c, 5, REGISTER, 6);
    want(keys, GVM_MSG_CA);
    say(keys, GVM_MSG_CA_CERT, m.id, CA);
    want(parent, GVM_MSG_POLICY_LOAD);
    say(parent, GVM_MSG_POLICY_INFO, m.id, POLICY);
    want(proxy, GVM_MSG_RUN_ADD);
    say(proxy, GVM_MSG_OK, m.id, "");
    want(ledger, GVM_MSG_APPEND);
    appended(0);
    want(c, GVM_MSG_RUN_READY);
}

static void a_run_from_start_to_end(void **state)
{
    struct gvm_chan *c = client();
    send_register(c, 5, REGISTER, 6);
    const struct gvm_json *v = want(keys, GVM_MSG_CA);
    assert_string_equal(gvm_json_text(v, "run", ""), RUN);
    assert_int_equal(gvm_json_get(v, "sealed")->type, GVM_JSON_NULL);
    say(keys, GVM_MSG_CA_CERT, m.id, CA);
    v = want(parent, GVM_MSG_POLICY_LOAD);
    assert_int_equal(gvm_json_get(v, "config")->type, GVM_JSON_NULL);
    quiet(proxy); /* not before the policy is known */
    say(parent, GVM_MSG_POLICY_INFO, 2, POLICY);
    v = want(proxy, GVM_MSG_RUN_ADD);
    assert_int_equal(m.nfds, 6);
    assert_int_equal(gvm_json_int(v, "policy", 0), 3);
    assert_true(gvm_json_bool(v, "watch", false));
    assert_string_equal(gvm_json_text(v, "default", ""), "deny");
    assert_str(gvm_json_get(v, "no_intercept")->raw, "[\"x.test\"]");
    say(proxy, GVM_MSG_OK, m.id, "");
    v = want(ledger, GVM_MSG_APPEND);
    assert_string_equal(gvm_json_text(v, "kind", ""), "run.start");
    assert_string_equal(gvm_json_text(v, "policy", ""), "aa");
    assert_str(gvm_json_get(v, "command")->raw, "[\"sh\",\"-c\",\"a\\nb\"]");
    quiet(c); /* not before it is durable */
    struct gvm_m_appended ok = {0};
    assert_int_equal(gvm_chan_send(ledger, GVM_MSG_APPENDED, 4, &ok, sizeof ok, NULL, 0), 0);
    v = want(c, GVM_MSG_RUN_READY);
    assert_int_equal(m.id, 5);
    assert_string_equal(gvm_json_text(v, "pem", ""), "PEM");
    assert_string_equal(gvm_json_text(v, "sealed", ""), "SEAL");
    assert_string_equal(gvm_json_text(v, "policy_hash", ""), "aa");

    say(c, GVM_MSG_RUN_FINISH, 6,
        "{\"exit\":3,\"signal\":0,\"changes\":{\"created\":2},"
        "\"kernel\":{\"tcp\":1,\"dns_tcp\":0,\"dns_udp\":4,\"refused\":0}}");
    want(proxy, GVM_MSG_RUN_END);
    say(proxy, GVM_MSG_RUN_STATS, m.id,
        "{\"connections\":1,\"dns_connections\":0,\"requests\":2,\"denied\":0,\"bytes_out\":10,"
        "\"bytes_in\":20}");
    v = want(ledger, GVM_MSG_APPEND);
    assert_string_equal(gvm_json_text(v, "kind", ""), "run.end");
    assert_int_equal(gvm_json_int(v, "exit", 0), 3);
    assert_int_equal(gvm_json_int(v, "requests", 0), 2);
    assert_false(gvm_json_bool(v, "lost", true));
    assert_int_equal(gvm_json_int(gvm_json_get(v, "changes"), "created", 0), 2);
    assert_true(gvm_json_bool(v, "reconciled", false));
    assert_int_equal(gvm_json_int(gvm_json_get(v, "kernel"), "dns_udp", 0), 4);
    appended(0);
    v = want(c, GVM_MSG_RUN_DONE);
    assert_int_equal(m.id, 6);
    assert_int_equal(gvm_json_int(v, "bytes_in", 0), 20);
    want(keys, GVM_MSG_CA_DROP);
    say(c, GVM_MSG_RUN_FINISH, 7, "{\"exit\":0}");
    want(c, GVM_MSG_FAILED);
    gvm_chan_free(c);
}

/* Kernel and proxy have counted differently, or one of them not at all. */
static void counts_that_differ_are_an_alert(void **state)
{
    static const struct {
        const char *kernel, *proxy, *why;
    } cases[] = {
        {"{\"tcp\":2,\"dns_tcp\":0}", "{\"connections\":1,\"dns_connections\":0}", "counted 2"},
        {"{\"tcp\":1,\"dns_tcp\":0}", "{\"connections\":2,\"dns_connections\":0}", "has 2"},
        {"{\"tcp\":1,\"dns_tcp\":3}", "{\"connections\":1,\"dns_connections\":0}", "3 of DNS"},
        {"null", "{\"connections\":0,\"dns_connections\":0}", "could not be read"},
        {"{\"tcp\":\"1\"}", "{\"connections\":1,\"dns_connections\":0}", "could not be read"},
        {"{\"tcp\":1,\"dns_tcp\":0}", "{}", "proxy was restarted"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gvm_chan *c = client();
        char text[256];
        go_live(c);
        (void)snprintf(text, sizeof text, "{\"exit\":0,\"kernel\":%s}", cases[i].kernel);
        say(c, GVM_MSG_RUN_FINISH, 6, text);
        want(proxy, GVM_MSG_RUN_END);
        say(proxy, GVM_MSG_RUN_STATS, m.id, cases[i].proxy);
        const struct gvm_json *v = want(ledger, GVM_MSG_APPEND);
        assert_string_equal(gvm_json_text(v, "kind", ""), "run.alert");
        assert_non_null(strstr(gvm_json_text(v, "why", ""), cases[i].why));
        v = want(ledger, GVM_MSG_APPEND);
        assert_string_equal(gvm_json_text(v, "kind", ""), "run.end");
        assert_false(gvm_json_bool(v, "reconciled", true));
        appended(0);
        v = want(c, GVM_MSG_RUN_DONE);
        assert_non_null(strstr(gvm_json_text(v, "alert", ""), cases[i].why));
        want(keys, GVM_MSG_CA_DROP);
        gvm_chan_free(c);
    }
}

static void a_launcher_that_vanishes_loses_its_run(void **state)
{
    struct gvm_chan *c = client();
    go_live(c);
    gvm_chan_free(c);
    want(proxy, GVM_MSG_RUN_END);
    say(proxy, GVM_MSG_RUN_STATS, m.id, "{}");
    const struct gvm_json *v = want(ledger, GVM_MSG_APPEND);
    assert_string_equal(gvm_json_text(v, "kind", ""), "run.end");
    assert_true(gvm_json_bool(v, "lost", false));
    appended(0);
    want(keys, GVM_MSG_CA_DROP);
    /* Gone before it was ready: undone, nothing recorded. */
    c = client();
    send_register(c, 5, REGISTER, 6);
    want(keys, GVM_MSG_CA);
    uint64_t ca = m.id;
    want(parent, GVM_MSG_POLICY_LOAD);
    uint64_t load = m.id;
    gvm_chan_free(c);
    usleep(50000);
    say(keys, GVM_MSG_CA_CERT, ca, CA);
    say(parent, GVM_MSG_POLICY_INFO, load, POLICY);
    want(keys, GVM_MSG_CA_DROP);
    quiet(proxy);
    quiet(ledger);
}

static void registrations_that_are_refused(void **state)
{
    static const struct {
        const char *json;
        unsigned nfds;
    } bad[] = {
        {REGISTER, 5},
        {REGISTER, 0},
        {"[]", 6},
        {"{}", 6},
        {"{\"run\":1}", 6},
        {"{\"run\":\"../x\"}", 6},
        {"{\"run\":\"-a\"}", 6},
        {"{\"run\":\"a\",\"run\":\"b\"}", 6},
        {"{\"run\":\"123456789012345678901234567890123\"}", 6},
        {"{\"run\":\"a\",\"agent\":\"a b\"}", 6},
        {"{\"run\":\"a\",\"agent\":\"a\\u0000b\\n\"}", 6} /* not text: the default name stands */,
        {"{\"run\":\"a\",\"agent\":\"*\"}", 6},
        {"{\"run\":\"a\",\"config\":\"relative\"}", 6},
        {"{\"run\":\"a\",\"command\":\"sh\"}", 6},
        {"{\"run\":\"a\",\"command\":[1]}", 6},
        {"{\"run\":\"a\",\"no_intercept\":[\"a\",{}]}", 6},
        {"{\"run\":\"a\",\"workspace\":7}", 6},
        {"{\"run\":\"a\"", 6},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (i == 10)
            continue;
        struct gvm_chan *c = client();
        send_register(c, 9, bad[i].json, bad[i].nfds);
        want(c, GVM_MSG_FAILED);
        assert_int_equal(m.id, 9);
        assert_true(m.len > 8);
        gvm_chan_free(c);
    }
    quiet(keys);
    quiet(parent);
    struct gvm_chan *c = client(), *other = client();
    go_live(c);
    send_register(other, 1, REGISTER, 6); /* the same id twice */
    want(other, GVM_MSG_FAILED);
    send_register(c, 2, "{\"run\":\"second\"}", 6); /* two runs on one connection */
    want(c, GVM_MSG_FAILED);
    gvm_chan_free(c);
    gvm_chan_free(other);
}

static void a_step_that_fails_undoes_the_others(void **state)
{
    struct gvm_chan *c = client();
    struct {
        struct gvm_m_failed f;
        char text[32];
    } no = {{EINVAL}, "gvm.toml:3:1: no"};
    send_register(c, 5, REGISTER, 6);
    want(keys, GVM_MSG_CA);
    say(keys, GVM_MSG_CA_CERT, m.id, CA);
    want(parent, GVM_MSG_POLICY_LOAD);
    assert_int_equal(gvm_chan_send(parent, GVM_MSG_FAILED, m.id, &no, sizeof no.f + 16, NULL, 0),
                     0);
    want(c, GVM_MSG_FAILED);
    assert_true(memmem(m.data, m.len, "gvm.toml:3:1: no", 16));
    want(keys, GVM_MSG_CA_DROP);
    quiet(proxy);
    /* The record of the start cannot be made: no run. */
    send_register(c, 6, REGISTER, 6);
    want(keys, GVM_MSG_CA);
    say(keys, GVM_MSG_CA_CERT, m.id, CA);
    want(parent, GVM_MSG_POLICY_LOAD);
    say(parent, GVM_MSG_POLICY_INFO, m.id, POLICY);
    want(proxy, GVM_MSG_RUN_ADD);
    say(proxy, GVM_MSG_OK, m.id, "");
    want(ledger, GVM_MSG_APPEND);
    appended(ENOSPC);
    want(c, GVM_MSG_FAILED);
    want(proxy, GVM_MSG_RUN_END);
    want(keys, GVM_MSG_CA_DROP);
    gvm_chan_free(c);
}

static void peers_that_die_are_asked_again(void **state)
{
    struct gvm_chan *c = client();
    send_register(c, 5, REGISTER, 6);
    want(keys, GVM_MSG_CA);
    gvm_chan_free(keys); /* dies with the question */
    keys = peer(GVM_ROLE_KEYS);
    want(keys, GVM_MSG_CA);
    say(keys, GVM_MSG_CA_CERT, m.id, CA);
    want(parent, GVM_MSG_POLICY_LOAD);
    say(parent, GVM_MSG_POLICY_INFO, m.id, POLICY);
    want(proxy, GVM_MSG_RUN_ADD);
    struct gvm_chan *old = proxy;
    proxy = peer(GVM_ROLE_PROXY); /* replaced while the old one still lives */
    want(proxy, GVM_MSG_RUN_ADD);
    assert_int_equal(m.nfds, 6);
    gvm_chan_free(old);
    say(proxy, GVM_MSG_OK, m.id, "");
    want(ledger, GVM_MSG_APPEND);
    gvm_chan_free(ledger);
    ledger = peer(GVM_ROLE_LEDGER);
    want(ledger, GVM_MSG_APPEND);
    appended(0);
    want(c, GVM_MSG_RUN_READY);
    /* A live run is given to every new proxy and keys process. */
    gvm_chan_free(proxy);
    proxy = peer(GVM_ROLE_PROXY);
    const struct gvm_json *v = want(proxy, GVM_MSG_RUN_ADD);
    assert_int_equal(m.nfds, 6);
    assert_string_equal(gvm_json_text(v, "run", ""), RUN);
    say(proxy, GVM_MSG_OK, m.id, "");
    gvm_chan_free(keys);
    keys = peer(GVM_ROLE_KEYS);
    v = want(keys, GVM_MSG_CA);
    assert_string_equal(gvm_json_text(v, "sealed", ""), "SEAL");
    say(keys, GVM_MSG_CA_CERT, m.id, CA);
    quiet(c);
    /* The end, with a proxy that dies counting and a ledger that dies writing. */
    say(c, GVM_MSG_RUN_FINISH, 6, "{\"exit\":0}");
    want(proxy, GVM_MSG_RUN_END);
    gvm_chan_free(proxy);
    proxy = NULL;
    v = want(ledger, GVM_MSG_APPEND);
    assert_string_equal(gvm_json_text(v, "kind", ""), "run.alert");
    want(ledger, GVM_MSG_APPEND);
    gvm_chan_free(ledger);
    ledger = peer(GVM_ROLE_LEDGER);
    v = want(ledger, GVM_MSG_APPEND); /* once more: nobody knows whether the first was written */
    assert_string_equal(gvm_json_text(v, "kind", ""), "run.alert");
    v = want(ledger, GVM_MSG_APPEND);
    assert_string_equal(gvm_json_text(v, "kind", ""), "run.end");
    assert_int_equal(gvm_json_get(v, "requests")->type, GVM_JSON_NULL);
    appended(0);
    want(c, GVM_MSG_RUN_DONE);
    gvm_chan_free(c);
}

static void a_run_that_comes_back_keeps_its_ca(void **state)
{
    struct gvm_chan *c = client();
    send_register(c, 5, "{\"run\":\"r1\",\"agent\":\"bot\",\"command\":[],\"sealed\":\"OLD\"}", 6);
    const struct gvm_json *v = want(keys, GVM_MSG_CA);
    assert_string_equal(gvm_json_text(v, "sealed", ""), "OLD");
    say(keys, GVM_MSG_CA_CERT, m.id, CA);
    want(parent, GVM_MSG_POLICY_LOAD);
    say(parent, GVM_MSG_POLICY_INFO, m.id, POLICY);
    want(proxy, GVM_MSG_RUN_ADD);
    say(proxy, GVM_MSG_OK, m.id, "");
    v = want(ledger, GVM_MSG_APPEND);
    assert_string_equal(gvm_json_text(v, "kind", ""), "run.resume");
    appended(0);
    want(c, GVM_MSG_RUN_READY);
    gvm_chan_free(c);
}

/* ---- approvals ---- */

#define ASK(n)                                                                                     \
    "{\"ask\":" #n                                                                                 \
    ",\"run\":\"r1\",\"agent\":\"bot\",\"rule\":\"pay\",\"method\":\"POST\",\"id\":\"evil\","      \
    "\"url\":\"https://x/\\u001b[2J\",\"expires_ms\":1000}"

static void decide(struct gvm_chan *c, uint64_t id, const char *json)
{
    say(c, GVM_MSG_DECIDE, id, json);
}

static void refused(struct gvm_chan *c, int code)
{
    want(c, GVM_MSG_FAILED);
    struct gvm_m_failed f;
    memcpy(&f, m.data, sizeof f);
    assert_int_equal(f.code, code);
}

static void an_approval_is_recorded_before_it_counts(void **state)
{
    struct gvm_chan *c = client(), *watcher = client();
    say(watcher, GVM_MSG_SUBSCRIBE, 1, "");
    want(watcher, GVM_MSG_OK);
    say(proxy, GVM_MSG_ASK, 0, ASK(41));
    const struct gvm_json *v = want(watcher, GVM_MSG_APPROVAL_NEWS);
    assert_string_equal(gvm_json_text(v, "id", ""), "a1"); /* ours, whatever the request says */
    say(c, GVM_MSG_APPROVALS, 2, "");
    v = want(c, GVM_MSG_INFO);
    assert_string_equal(gvm_json_text(gvm_json_get(v, "pending")->child, "rule", ""), "pay");
    decide(c, 3,
           "{\"id\":\"a1\",\"allow\":true,\"for\":\"run\",\"reason\":\"fine\","
           "\"terminal\":\"/dev/pts/7\"}");
    v = want(ledger, GVM_MSG_APPEND);
    assert_string_equal(gvm_json_text(v, "kind", ""), "approval");
    assert_string_equal(gvm_json_text(v, "ask", ""), "a1");
    assert_string_equal(gvm_json_text(v, "how", ""), "gvm approve");
    assert_string_equal(gvm_json_text(v, "terminal", ""), "/dev/pts/7");
    assert_string_equal(gvm_json_text(v, "scope", ""), "run");
    assert_string_equal(gvm_json_text(v, "why", ""), "fine");
    assert_int_equal(gvm_json_int(v, "uid", -1), getuid());
    assert_true(gvm_json_bool(v, "allow", false));
    uint64_t append = m.id;
    quiet(proxy);
    decide(c, 4,
           "{\"id\":\"a1\",\"allow\":false}"); /* while the first is on its way: exactly one wins */
    refused(c, ENOENT);
    m.id = append;
    appended(0);
    v = want(proxy, GVM_MSG_ANSWER);
    assert_int_equal(gvm_json_int(v, "ask", 0), 41);
    assert_true(gvm_json_bool(v, "allow", false));
    want(c, GVM_MSG_OK);
    assert_int_equal(m.id, 3);
    v = want(watcher, GVM_MSG_APPROVAL_NEWS);
    assert_true(gvm_json_bool(v, "gone", false));
    decide(c, 5, "{\"id\":\"a1\",\"allow\":true}"); /* replay */
    refused(c, ENOENT);
    quiet(proxy);
    gvm_chan_free(c);
    gvm_chan_free(watcher);
}

static void no_record_no_approval(void **state)
{
    struct gvm_chan *c = client();
    say(proxy, GVM_MSG_ASK, 0, ASK(1));
    usleep(20000);
    decide(c, 1, "{\"id\":\"a1\",\"allow\":true}");
    want(ledger, GVM_MSG_APPEND);
    appended(ENOSPC);
    refused(c, ENOSPC);
    quiet(proxy);
    gvm_chan_free(ledger);
    ledger = NULL;
    usleep(20000);
    decide(c, 2, "{\"id\":\"a1\",\"allow\":true}");
    refused(c, EPIPE);
    quiet(proxy);
    ledger = peer(GVM_ROLE_LEDGER);
    usleep(20000);
    decide(c, 3, "{\"id\":\"a1\",\"allow\":false}"); /* still waiting, so it can be answered */
    want(ledger, GVM_MSG_APPEND);
    appended(0);
    const struct gvm_json *v = want(proxy, GVM_MSG_ANSWER);
    assert_false(gvm_json_bool(v, "allow", true));
    want(c, GVM_MSG_OK);
    gvm_chan_free(c);
}

static void answers_that_are_refused(void **state)
{
    static const struct {
        const char *json;
        int code;
    } bad[] = {
        {"{\"id\":\"a2\",\"allow\":true}", ENOENT},
        {"{\"id\":\"1\",\"allow\":true}", ENOENT},
        {"{\"id\":\"a01\",\"allow\":true}", ENOENT},
        {"{\"id\":\"a1 \",\"allow\":true}", ENOENT},
        {"{\"id\":\"a1\\u0000\",\"allow\":true}", ENOENT},
        {"{\"id\":\"\\n\",\"allow\":true}", ENOENT},
        {"{\"id\":1,\"allow\":true}", ENOENT},
        {"{\"allow\":true}", ENOENT},
        {"{\"id\":\"a18446744073709551617\",\"allow\":true}", ENOENT},
        {"{\"id\":\"a1\"}", EINVAL},
        {"{\"id\":\"a1\",\"allow\":\"true\"}", EINVAL},
        {"{\"id\":\"a1\",\"allow\":1}", EINVAL},
        {"{\"id\":\"a1\",\"allow\":null}", EINVAL},
        {"{\"id\":\"a1\",\"allow\":true,\"for\":\"ever\"}", EINVAL},
        {"{\"id\":\"a1\",\"allow\":true,\"for\":-5}", EINVAL},
        {"{\"id\":\"a1\",\"allow\":true,\"for\":99999999999999}", EINVAL},
        {"{\"id\":\"a1\",\"allow\":true,\"for\":1.5}", EINVAL},
        {"{\"id\":\"a1\",\"allow\":true,\"terminal\":\"pts/1\"}", EINVAL},
        {"{\"id\":\"a1\",\"allow\":true,\"terminal\":\"/dev/\\u001b[2J\"}", EINVAL},
        {"{\"id\":\"a1\",\"allow\":true,\"for\":[]}", EINVAL},
        {"{\"id\":\"a1\",\"allow\":true,\"allow\":false}", EEXIST},
        {"allow", EINVAL},
        {"[]", EINVAL},
    };
    struct gvm_chan *c = client();
    say(proxy, GVM_MSG_ASK, 0, ASK(1));
    usleep(20000);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        decide(c, 1, bad[i].json);
        refused(c, bad[i].code);
    }
    quiet(proxy);
    quiet(ledger);
    decide(c, 2, "{\"id\":\"a1\",\"allow\":true,\"for\":60000,\"unknown\":1}"); /* beside them, one
                                                                                   that counts */
    want(ledger, GVM_MSG_APPEND);
    appended(0);
    const struct gvm_json *v = want(proxy, GVM_MSG_ANSWER);
    assert_string_equal(gvm_json_text(v, "scope", ""), "for");
    assert_true(gvm_json_int(v, "until_ns", 0) > gvm_now_ns());
    want(c, GVM_MSG_OK);
    gvm_chan_free(c);
}

static void requests_that_end_unanswered(void **state)
{
    struct gvm_chan *c = client();
    say(proxy, GVM_MSG_ASK, 0, ASK(7));
    say(proxy, GVM_MSG_ASK, 0, ASK(8));
    say(proxy, GVM_MSG_ASK_GONE, 0, "{\"ask\":7,\"why\":\"timeout\"}");
    const struct gvm_json *v = want(ledger, GVM_MSG_APPEND);
    assert_false(gvm_json_bool(v, "allow", true));
    assert_string_equal(gvm_json_text(v, "why", ""), "timeout");
    decide(c, 1, "{\"id\":\"a1\",\"allow\":true}");
    refused(c, ENOENT);
    gvm_chan_free(proxy); /* what it held dies with it */
    proxy = peer(GVM_ROLE_PROXY);
    want(ledger, GVM_MSG_APPEND);
    decide(c, 2, "{\"id\":\"a2\",\"allow\":true}");
    refused(c, ENOENT);
    quiet(proxy);
    gvm_chan_free(c);
}

static void a_full_queue_denies(void **state)
{
    char ask[128];
    for (unsigned i = 1; i <= GVM_MAX_PENDING; i++) {
        snprintf(ask, sizeof ask, "{\"ask\":%u,\"run\":\"r\",\"agent\":\"b\"}", i);
        say(proxy, GVM_MSG_ASK, 0, ask);
    }
    while (gvm_chan_wants_write(proxy)) {
        usleep(1000);
        assert_int_equal(gvm_chan_flush(proxy), 0);
    }
    quiet(proxy);
    say(proxy, GVM_MSG_ASK, 0, ASK(5555));
    const struct gvm_json *v = want(proxy, GVM_MSG_ANSWER);
    assert_int_equal(gvm_json_int(v, "ask", 0), 5555);
    assert_false(gvm_json_bool(v, "allow", true));
    want(ledger, GVM_MSG_APPEND);
    struct gvm_chan *c = client();
    say(c, GVM_MSG_APPROVALS, 1, "");
    v = want(c, GVM_MSG_INFO);
    assert_int_equal(gvm_json_int(v, "total", 0), GVM_MAX_PENDING);
    gvm_chan_free(c);
}

/* ---- notes, status, stop, reload ---- */

static void notes_keep_to_their_kinds(void **state)
{
    struct gvm_chan *c = client();
    say(c, GVM_MSG_NOTE, 1,
        "{\"kind\":\"fs.commit\",\"run\":\"r1\",\"agent\":\"bot\",\"v\":9,\"t\":\"never\","
        "\n\"paths\":[{\"path\":\"a\\nb\"}]}");
    const struct gvm_json *v = want(ledger, GVM_MSG_APPEND);
    assert_int_equal(gvm_json_int(v, "v", 0), 2);
    assert_string_not_equal(gvm_json_text(v, "t", "never"), "never");
    assert_string_equal(gvm_json_text(v, "run", ""), "r1");
    assert_str(gvm_json_get(v, "paths")->raw, "[{\"path\":\"a\\nb\"}]");
    appended(0);
    want(c, GVM_MSG_APPENDED);
    static const char *const bad[] = {
        "{\"kind\":\"http.decision\",\"run\":\"r1\"}",
        "{\"kind\":\"approval\",\"run\":\"r1\"}",
        "{\"kind\":\"fs.\",\"run\":\"r1\"}",
        "{\"kind\":\"fs.A\",\"run\":\"r1\"}",
        "{\"kind\":1,\"run\":\"r1\"}",
        "{\"run\":\"r1\"}",
        "{\"kind\":\"fs.commit\"}",
        "{\"kind\":\"fs.commit\",\"run\":\"a b\"}",
        "{\"kind\":\"run.end\",\"run\":\"r1\"}",
        "{\"kind\":\"run.alert\",\"run\":\"r1\"}",
        "{\"kind\":\"syscall.denied\",\"run\":\"r1\"}", /* not of a run that is another's, or over
                                                         */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        say(c, GVM_MSG_NOTE, 2, bad[i]);
        want(c, GVM_MSG_FAILED);
    }
    quiet(ledger);
    gvm_chan_free(c);
    /* The launcher speaks for its own run only. */
    c = client();
    go_live(c);
    say(c, GVM_MSG_NOTE, 3,
        "{\"kind\":\"fs.change\",\"run\":\"other\",\"agent\":\"other\",\"created\":1}");
    v = want(ledger, GVM_MSG_APPEND);
    assert_string_equal(gvm_json_text(v, "run", ""), RUN);
    assert_string_equal(gvm_json_text(v, "agent", ""), "bot");
    appended(0);
    want(c, GVM_MSG_APPENDED);
    say(c, GVM_MSG_NOTE, 4,
        "{\"kind\":\"syscall.denied\",\"run\":\"other\",\"call\":\"mount\",\"times\":2}");
    v = want(ledger, GVM_MSG_APPEND);
    assert_string_equal(gvm_json_text(v, "kind", ""), "syscall.denied");
    assert_string_equal(gvm_json_text(v, "run", ""), RUN);
    assert_string_equal(gvm_json_text(v, "call", ""), "mount");
    gvm_chan_free(c);
}

static void status_stop_and_reload(void **state)
{
    struct gvm_chan *c = client(), *run = client();
    go_live(run);
    say(c, GVM_MSG_CLIENT_STATUS, 1, "");
    want(parent, GVM_MSG_STATUS);
    say(parent, GVM_MSG_STATUS_INFO, m.id,
        "{\"pid\":12,\"children\":[{\"role\":\"proxy\",\"pid\":13}]}");
    const struct gvm_json *v = want(c, GVM_MSG_INFO);
    assert_int_equal(gvm_json_int(v, "pid", 0), 12);
    assert_string_equal(gvm_json_text(gvm_json_get(v, "runs")->child, "run", ""), RUN);
    assert_string_equal(gvm_json_text(v, "gate", ""), "open");
    say(c, GVM_MSG_CLIENT_RELOAD, 2, "");
    v = want(parent, GVM_MSG_POLICY_RELOAD);
    assert_str(gvm_json_get(v, "in_use")->raw, "[3]");
    say(parent, GVM_MSG_POLICY_INFO, m.id,
        "{\"policy\":3,\"hash\":\"bb\",\"config\":\"/"
        "c\",\"rules\":1,\"policies\":[{\"policy\":3,\"hash\":\"bb\"}]}");
    want(c, GVM_MSG_INFO);
    gvm_chan_free(proxy); /* a new proxy hears the new hash */
    proxy = peer(GVM_ROLE_PROXY);
    v = want(proxy, GVM_MSG_RUN_ADD);
    assert_string_equal(gvm_json_text(v, "hash", ""), "bb");
    say(c, GVM_MSG_CLIENT_STOP, 3, "");
    refused(c, EBUSY);
    quiet(parent);
    say(c, GVM_MSG_CLIENT_STOP, 4, "{\"force\":true}");
    want(c, GVM_MSG_OK);
    want(parent, GVM_MSG_SHUTDOWN);
    gvm_chan_free(c);
    gvm_chan_free(run);
}

static void clients_that_break_the_protocol_are_dropped(void **state)
{
    struct gvm_chan *c = client();
    assert_int_equal(send(gvm_chan_fd(c), "garbage", 7, 0), 7);
    assert_false(receive(c, 1000));
    gvm_chan_free(c);
    c = client();
    struct gvm_frame f = {
        .catalogue = gvm_catalogue(),
        .type = GVM_MSG_SHUTDOWN}; /* control's to the parent, not a client's to control */
    assert_int_equal(send(gvm_chan_fd(c), &f, sizeof f, 0), sizeof f);
    assert_false(receive(c, 1000));
    gvm_chan_free(c);
    quiet(parent);
    c = client(); /* the others go on */
    say(c, GVM_MSG_APPROVALS, 1, "");
    want(c, GVM_MSG_INFO);
    gvm_chan_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_run_from_start_to_end),
        TEST(counts_that_differ_are_an_alert),
        TEST(a_launcher_that_vanishes_loses_its_run),
        TEST(registrations_that_are_refused),
        TEST(a_step_that_fails_undoes_the_others),
        TEST(peers_that_die_are_asked_again),
        TEST(a_run_that_comes_back_keeps_its_ca),
        TEST(an_approval_is_recorded_before_it_counts),
        TEST(no_record_no_approval),
        TEST(answers_that_are_refused),
        TEST(requests_that_end_unanswered),
        TEST(a_full_queue_denies),
        TEST(notes_keep_to_their_kinds),
        TEST(status_stop_and_reload),
        TEST(clients_that_break_the_protocol_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
