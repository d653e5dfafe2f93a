/* The real process, confined, on real channels: what each peer gets and what none may have. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <openssl/x509.h>
#include "ipc/ipc.h"
#include "keys/keys_int.h"

#define RUN     "20260101T000000-abcdef"
#define WAIT_MS 10000

struct child {
    pid_t pid;
    struct gvm_chan *parent, *proxy, *ledger, *control;
};

static struct gvm_chan *peer(struct child *c, enum gvm_role role)
{
    int fds[2];
    struct gvm_m_peer m = {.role = role};
    assert_int_equal(gvm_ipc_pair(fds), 0);
    assert_int_equal(gvm_chan_send(c->parent, GVM_MSG_PEER, 0, &m, sizeof m, &fds[1], 1), 0);
    close(fds[1]);
    struct gvm_chan *chan = gvm_chan_new(fds[0], role, GVM_ROLE_KEYS, 1 << 20);
    assert_non_null(chan);
    return chan;
}

static int secret(const char *name, uint8_t first)
{
    uint8_t key[KEYS_SEED] = {first};
    int fd = gvm_memfd(name, key, sizeof key);
    assert_true(fd >= 0);
    return fd;
}

static void begin(struct child *c, uint8_t seal)
{
    int fds[2];
    *c = (struct child){0};
    assert_int_equal(gvm_ipc_pair(fds), 0);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        close(fds[0]);
        _exit(gvm_keys_main(fds[1]));
    }
    close(fds[1]);
    c->parent = gvm_chan_new(fds[0], GVM_ROLE_PARENT, GVM_ROLE_KEYS, 1 << 20);
    assert_non_null(c->parent);
    int keys[2] = {secret("seed", 9), secret("seal", seal)};
    static const char start[] = "{\"origin\":\"gvm.example/test\"}";
    struct gvm_msg m;
    assert_int_equal(gvm_chan_send(c->parent, GVM_MSG_START, 0, start, sizeof start - 1, keys, 2),
                     0);
    close(keys[0]);
    close(keys[1]);
    int r = 0;
    for (int i = 0; i < 1000 && (r = gvm_chan_recv(c->parent, &m)) == 0; i++)
        (void)usleep(10000);
    assert_int_equal(r, 1);
    assert_int_equal(m.type, GVM_MSG_READY);
    gvm_msg_done(&m);
    c->proxy = peer(c, GVM_ROLE_PROXY);
    c->ledger = peer(c, GVM_ROLE_LEDGER);
    c->control = peer(c, GVM_ROLE_CONTROL);
}

/* Closing the parent's channel is the end of the process. */
static void end(struct child *c)
{
    int status = -1;
    gvm_chan_free(c->proxy);
    gvm_chan_free(c->ledger);
    gvm_chan_free(c->control);
    gvm_chan_free(c->parent);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    assert_true(WIFEXITED(status)); /* not killed by its own filter */
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int call(struct gvm_chan *chan, enum gvm_msg_type type, const void *p, size_t n,
                struct gvm_msg *ret, struct gvm_err *err)
{
    return gvm_chan_call(chan, type, p, n, NULL, 0, WAIT_MS, NULL, NULL, ret, err);
}

/* Makes or restores the CA of RUN; `sealed` gets the kept copy (base64). */
static int get_ca(struct child *c, const char *from, char *pem, char *sealed, size_t cap)
{
    char ask[24000];
    struct gvm_msg m;
    struct gvm_json *v = NULL;
    int n = snprintf(ask, sizeof ask,
                     from ? "{\"run\":\"" RUN "\",\"agent\":\"a\",\"sealed\":\"%s\"}"
                          : "{\"run\":\"" RUN "\",\"agent\":\"a\",\"sealed\":null%s}",
                     from ? from : "");
    int r = call(c->control, GVM_MSG_CA, ask, (size_t)n, &m, NULL);
    if (r < 0)
        return r;
    struct gvm_arena *a = gvm_arena_new(1 << 20);
    assert_int_equal(gvm_json_parse(a, gvm_msg_str(&m), &v, NULL), 0);
    assert_true(
        gvm_str_starts(gvm_str(gvm_json_text(v, "log_key", "")), GVM_STR("gvm.example/test+")));
    assert_int_equal(gvm_str_copy(pem, cap, gvm_str(gvm_json_text(v, "pem", ""))), 0);
    assert_int_equal(gvm_str_copy(sealed, cap, gvm_str(gvm_json_text(v, "sealed", ""))), 0);
    gvm_arena_free(a);
    gvm_msg_done(&m);
    return 0;
}

static int get_leaf(struct child *c, const char *run, const char *host, X509 **ret)
{
    struct gvm_m_leaf ask = {0};
    struct gvm_m_leaf_cert lengths;
    struct gvm_msg m;
    (void)snprintf(ask.run, sizeof ask.run, "%s", run);
    (void)snprintf(ask.host, sizeof ask.host, "%s", host);
    int r = call(c->proxy, GVM_MSG_LEAF, &ask, sizeof ask, &m, NULL);
    if (r < 0)
        return r;
    assert_int_equal(m.type, GVM_MSG_LEAF_CERT);
    memcpy(&lengths, m.data, sizeof lengths);
    assert_int_equal(m.len, sizeof lengths + lengths.cert_len + lengths.key_len + lengths.ca_len);
    const uint8_t *p = m.data + sizeof lengths;
    *ret = d2i_X509(NULL, &p, (long)lengths.cert_len);
    assert_non_null(*ret);
    gvm_msg_done(&m);
    return 0;
}

static void ca_outlives_the_process(void **state)
{
    (void)state;
    static char pem[24000], pem2[24000], sealed[24000], sealed2[24000];
    struct child c;
    X509 *leaf = NULL;
    begin(&c, 5);
    assert_int_equal(get_leaf(&c, RUN, "api.test", &leaf), -ENOENT); /* no CA yet */
    assert_int_equal(get_ca(&c, NULL, pem, sealed, sizeof pem), 0);
    assert_int_equal(get_leaf(&c, RUN, "api.test", &leaf), 0);
    assert_int_equal(get_leaf(&c, "another-run", "api.test", &leaf), -ENOENT);
    X509_free(leaf);
    end(&c);

    begin(&c, 5); /* restarted: the same trust comes back, and only whole */
    assert_int_equal(get_ca(&c, sealed, pem2, sealed2, sizeof pem), 0);
    assert_string_equal(pem, pem2);
    assert_int_equal(get_leaf(&c, RUN, "api.test", &leaf), 0);
    X509_free(leaf);
    sealed[40] = sealed[40] == 'A' ? 'B' : 'A';
    assert_int_equal(get_ca(&c, sealed, pem2, sealed2, sizeof pem), -EBADMSG);
    sealed[0] = '!';
    assert_int_equal(get_ca(&c, sealed, pem2, sealed2, sizeof pem), -EBADMSG);
    struct gvm_msg m;
    assert_int_equal(
        call(c.control, GVM_MSG_CA_DROP, "{\"run\":\"" RUN "\"}", sizeof RUN - 1 + 10, &m, NULL),
        0);
    gvm_msg_done(&m);
    assert_int_equal(get_leaf(&c, RUN, "api.test", &leaf), -ENOENT);
    end(&c);

    begin(&c, 6); /* another machine's sealing key */
    assert_int_equal(get_ca(&c, sealed2, pem2, sealed, sizeof pem), -EBADMSG);
    end(&c);
}

static int give(struct child *c, uint32_t policy, const char *json)
{
    struct gvm_m_policy p = {.policy = policy};
    struct gvm_msg m;
    int fd = gvm_memfd("credentials", json, strlen(json));
    assert_true(fd >= 0);
    int r = gvm_chan_call(c->parent, GVM_MSG_CREDENTIALS, &p, sizeof p, &fd, 1, WAIT_MS, NULL, NULL,
                          &m, NULL);
    close(fd);
    if (r == 0)
        gvm_msg_done(&m);
    return r;
}

static bool gets(struct child *c, uint32_t policy, bool tls, const char *host, const char *what)
{
    struct gvm_m_cred ask = {.policy = policy, .tls = tls};
    struct gvm_msg m;
    (void)snprintf(ask.host, sizeof ask.host, "%s", host);
    assert_int_equal(call(c->proxy, GVM_MSG_CRED, &ask, sizeof ask, &m, NULL), 0);
    bool found = memmem(m.data, m.len, what, strlen(what)) != NULL;
    gvm_msg_done(&m);
    return found;
}

static void credentials_by_reload(void **state)
{
    (void)state;
    static const char one[] =
        "{\"credentials\":[{\"host\":\"api.test\",\"type\":\"Bearer\",\"header\":"
        "\"authorization\",\"value\":\"first\",\"private\":false}]}";
    static const char two[] =
        "{\"credentials\":[{\"host\":\"api.test\",\"type\":\"Bearer\",\"header\":"
        "\"authorization\",\"value\":\"second\",\"private\":false}]}";
    struct child c;
    begin(&c, 5);
    assert_int_equal(give(&c, 1, one), 0);
    assert_true(gets(&c, 1, true, "api.test", "Bearer first"));
    assert_false(gets(&c, 1, false, "api.test", "first")); /* clear text */
    assert_false(gets(&c, 1, true, "evil.test", "first"));
    assert_false(gets(&c, 2, true, "api.test", "first"));
    assert_true(give(&c, 1, "{\"credentials\":[{}]}") < 0);
    assert_true(gets(&c, 1, true, "api.test", "Bearer first")); /* all or nothing */
    assert_int_equal(give(&c, 1, two), 0);
    assert_true(gets(&c, 1, true, "api.test", "Bearer second"));
    assert_false(gets(&c, 1, true, "api.test", "first"));
    end(&c);
}

static int sign(struct child *c, uint64_t size, uint8_t root)
{
    struct gvm_m_sign ask = {.size = size, .root = {root}};
    struct gvm_msg m;
    int r = call(c->ledger, GVM_MSG_SIGN, &ask, sizeof ask, &m, NULL);
    if (r == 0) {
        r = m.type == GVM_MSG_SIGNED ? 0 : -EAGAIN;
        gvm_msg_done(&m);
    }
    return r;
}

static void heads_go_forward(void **state)
{
    (void)state;
    struct child c;
    begin(&c, 5);
    assert_int_equal(sign(&c, 10, 1), 0);
    assert_int_equal(sign(&c, 10, 1), 0);
    assert_int_equal(sign(&c, 10, 2), -EPERM);
    assert_int_equal(sign(&c, 9, 1), -EPERM);
    assert_int_equal(sign(&c, 11, 3), -EAGAIN); /* to be shown from 10 on */
    struct {
        struct gvm_m_sign head;
        uint8_t nodes[3][32];
    } ask = {.head = {.size = 11, .root = {3}, .from = 10}};
    struct gvm_msg m;
    assert_int_equal(call(c.ledger, GVM_MSG_SIGN, &ask, sizeof ask, &m, NULL), -EPERM);
    end(&c);
}

/* A peer that breaks the catalogue is hung up on; the others are served on, and it may come back.
 */
static void wrong_sender(void **state)
{
    (void)state;
    struct child c;
    begin(&c, 5);
    struct gvm_chan *liar = peer(&c, GVM_ROLE_LEDGER);
    gvm_chan_free(c.ledger);
    c.ledger = liar;
    struct {
        struct gvm_frame f;
        struct gvm_m_cred m;
    } bad = {
        .f = {.type = GVM_MSG_CRED, .catalogue = gvm_catalogue(), .len = sizeof bad.m, .id = 1},
        .m = {.policy = 1, .tls = 1}};
    assert_int_equal(write(gvm_chan_fd(liar), &bad, sizeof bad), sizeof bad); /* as the ledger */
    assert_true(sign(&c, 1, 1) < 0);
    assert_false(gets(&c, 1, true, "api.test", "Bearer"));
    gvm_chan_free(c.ledger);
    c.ledger = peer(&c, GVM_ROLE_LEDGER);
    assert_int_equal(sign(&c, 1, 1), 0);
    end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ca_outlives_the_process),
        cmocka_unit_test(credentials_by_reload),
        cmocka_unit_test(heads_go_forward),
        cmocka_unit_test(wrong_sender),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
