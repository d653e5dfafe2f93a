/* gvmd whole: this program is gvmd too, when called with arguments, so the parent's children are
 * real and confined. Each test has runtime, state and configuration of its own. */
#include "../unit.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/daemon.h"
#include "ipc/ipc.h"
#include "ledger/ledger.h"

static char top[64], config[96], words[96];
static struct gvm_arena *arena;
static struct gvm_msg m;
static struct gvm_err err;
static pid_t pid;

static void write_config(const char *text)
{
    int fd = open(config, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static int make_top(void **state)
{
    char path[128];
    snprintf(top, sizeof top, "/tmp/gvm-daemon-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    snprintf(path, sizeof path, "%s/run", top);
    setenv("GVM_RUNTIME_DIR", path, 1);
    snprintf(path, sizeof path, "%s/state", top);
    setenv("GVM_STATE_DIR", path, 1);
    snprintf(config, sizeof config, "%s/gvm.toml", top);
    setenv("GVM_CONFIG", config, 1);
    snprintf(words, sizeof words, "%s/words", top);
    arena = gvm_arena_new(64 << 20);
    pid = 0;
    return 0;
}

/* Starts gvmd; true when it says it serves. */
static bool start(void)
{
    int p[2];
    if (pipe(p) < 0)
        return false;
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        int log = open(words, O_WRONLY | O_CREAT | O_APPEND, 0600);
        char number[16];
        snprintf(number, sizeof number, "%d", p[1]);
        dup2(log, 2);
        close(p[0]);
        execl("/proc/self/exe", "gvmd", "--ready-fd", number, (char *)NULL);
        _exit(126);
    }
    close(p[1]);
    char c;
    struct pollfd f = {.fd = p[0], .events = POLLIN};
    bool ready = poll(&f, 1, 10000) == 1 && read(p[0], &c, 1) == 1;
    close(p[0]);
    return ready;
}

/* Its exit code; 1000 + signal. */
static int wait_end(void)
{
    int status;
    for (int i = 0; i < 1500; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            pid = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
        }
        usleep(10000);
    }
    return -1;
}

static int drop_top(void **state)
{
    int code = 0;
    if (pid) {
        kill(pid, SIGTERM);
        code = wait_end();
    }
    gvm_msg_done(&m);
    gvm_arena_free(arena);
    if (gvm_remove_tree_at(AT_FDCWD, top, &err) < 0)
        return -1;
    return code;
}

static const char *said(void)
{
    struct gvm_buf b;
    gvm_buf_init(&b, 1 << 20);
    (void)!gvm_read_file(words, &b, NULL);
    const char *text = gvm_arena_dup(arena, gvm_buf_data(&b), b.len);
    gvm_buf_done(&b);
    return text;
}

static struct gvm_chan *client(void)
{
    char path[GVM_PATH_MAX];
    int fd = -1;
    assert_int_equal(gvm_place_path(GVM_PLACE_RUNTIME, "gvmd.sock", path, &err), 0);
    for (int i = 0; i < 300 && gvm_ipc_connect(path, &fd, &err) < 0; i++)
        usleep(10000);
    struct gvm_chan *c = gvm_chan_new(fd, GVM_ROLE_CLIENT, GVM_ROLE_CONTROL, 1 << 20);
    assert_non_null(c);
    return c;
}

/* Asks and parses the answer; NULL when it failed (`err` says why). */
static const struct gvm_json *ask(struct gvm_chan *c, enum gvm_msg_type type, const char *json,
                                  const int *fds)
{
    gvm_msg_done(&m);
    err = (struct gvm_err){0};
    if (gvm_chan_call(c, type, json, strlen(json), fds, fds ? 6 : 0, 20000, NULL, NULL, &m, &err) <
        0)
        return NULL;
    struct gvm_json *v = NULL;
    if (m.len) { /* a copy: the answer must outlive its channel */
        const char *copy = gvm_arena_dup(arena, m.data, m.len);
        assert_int_equal(gvm_json_parse(arena, (struct gvm_str){copy, m.len}, &v, &err), 0);
    }
    static const struct gvm_json none = {.type = GVM_JSON_NULL};
    return v ? v : &none;
}

static const struct gvm_json *status(void)
{
    struct gvm_chan *c = client();
    const struct gvm_json *v = ask(c, GVM_MSG_CLIENT_STATUS, "", NULL);
    gvm_chan_free(c);
    return v;
}

static pid_t child(const char *role)
{
    const struct gvm_json *v = status();
    const struct gvm_json *list = v ? gvm_json_get(v, "children") : NULL;
    for (const struct gvm_json *e = list ? list->child : NULL; e; e = e->next) {
        if (strcmp(gvm_json_text(e, "role", ""), role) == 0)
            return (pid_t)gvm_json_int(e, "pid", 0);
    }
    return 0;
}

/* How many entries of that kind the log holds; the newest in *ret (may be NULL). */
static unsigned entries(const char *kind, const struct gvm_json **ret)
{
    char dir[GVM_PATH_MAX];
    struct gvm_ledger_reader *r = NULL;
    assert_int_equal(gvm_place_path(GVM_PLACE_STATE, "ledger", dir, &err), 0);
    assert_int_equal(gvm_ledger_reader_open(dir, 0, &r, &err), 0);
    unsigned n = 0;
    uint64_t index;
    struct gvm_str line;
    while (gvm_ledger_reader_next(r, &index, &line, &err) == 1) {
        struct gvm_json *v = NULL;
        const char *copy = gvm_arena_dup(arena, line.p, line.n);
        assert_int_equal(gvm_json_parse(arena, (struct gvm_str){copy, line.n}, &v, &err), 0);
        if (strcmp(gvm_json_text(v, "kind", ""), kind) != 0)
            continue;
        n++;
        if (ret)
            *ret = v;
    }
    gvm_ledger_reader_free(r);
    return n;
}

#define RULE(host)                                                                                 \
    "[[rules]]\nmethod = \"GET\"\npattern = \"" host "/**\"\ndecision = { type = \"Allow\" }\n"

/* ---- */

static void starts_serves_and_stops(void **state)
{
    assert_true(start());
    const struct gvm_json *v = status();
    assert_int_equal(gvm_json_int(v, "pid", 0), pid);
    assert_string_equal(gvm_json_text(v, "gate", ""), "open");
    static const char *const roles[] = {"proxy", "keys", "ledger", "control"};
    for (int i = 0; i < 4; i++)
        assert_true(child(roles[i]) > 1);
    assert_int_equal(entries("daemon.start", NULL), 1);
    assert_int_equal(entries("config.load", &v), 1);
    assert_string_equal(gvm_json_text(v, "why", ""), "start");
    pid_t keys = child("keys");
    struct gvm_chan *c = client();
    assert_non_null(ask(c, GVM_MSG_CLIENT_STOP, "", NULL));
    gvm_chan_free(c);
    assert_int_equal(wait_end(), 0);
    assert_int_equal(kill(keys, 0), -1);
    char path[GVM_PATH_MAX];
    assert_int_equal(gvm_place_path(GVM_PLACE_RUNTIME, "gvmd.sock", path, &err), 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(entries("daemon.stop", NULL), 1);
    assert_true(start()); /* and again, on the same log */
    assert_int_equal(entries("daemon.start", NULL), 2);
}

static void a_second_one_is_refused(void **state)
{
    assert_true(start());
    pid_t first = pid;
    assert_false(start());
    assert_int_equal(wait_end(), 3);
    assert_non_null(strstr(said(), "already running"));
    pid = first;
    assert_true(child("ledger") > 1); /* the first is unharmed */
}

static void what_it_does_not_start_with(void **state)
{
    char path[GVM_PATH_MAX];
    write_config("[[rules]]\nmethod = \"GET\"\npattern = \n");
    assert_false(start());
    assert_int_equal(wait_end(), 1);
    assert_non_null(strstr(said(), "gvm.toml:3:"));
    write_config(RULE("a.test"));
    assert_int_equal(gvm_place(GVM_PLACE_RUNTIME, path, &err), 0);
    assert_int_equal(chmod(path, 0755), 0);
    assert_false(start());
    assert_int_equal(wait_end(), 1);
    assert_non_null(strstr(said(), "chmod 700"));
    assert_int_equal(chmod(path, 0700), 0);
    assert_int_equal(gvm_place_path(GVM_PLACE_STATE, "ledger", path, &err), 0);
    assert_int_equal(chmod(path, 0750), 0);
    assert_false(start());
    assert_int_equal(wait_end(), 1);
    assert_int_equal(chmod(path, 0700), 0);
    assert_true(start()); /* all in order: it starts */
}

static void a_replaced_signing_key_is_noticed(void **state)
{
    assert_true(start());
    kill(pid, SIGTERM);
    assert_int_equal(wait_end(), 0);
    char path[GVM_PATH_MAX];
    assert_int_equal(gvm_place_path(GVM_PLACE_STATE, "keys/log.seed", path, &err), 0);
    assert_int_equal(unlink(path), 0);
    assert_false(start());
    assert_int_equal(wait_end(), 1);
    assert_non_null(strstr(said(), "another key"));
}

static void children_come_back(void **state)
{
    static const char *const roles[] = {"keys", "ledger", "proxy", "control"};
    assert_true(start());
    for (int i = 0; i < 4; i++) {
        pid_t old = child(roles[i]), now = 0;
        kill(old, SIGKILL);
        for (int k = 0; k < 200 && (now == 0 || now == old); k++) {
            usleep(20000);
            now = child(roles[i]);
        }
        assert_true(now > 1 && now != old);
    }
    /* All of them know each other again: a reload goes through keys, proxy and ledger. */
    write_config(RULE("b.test"));
    struct gvm_chan *c = client();
    const struct gvm_json *v = ask(c, GVM_MSG_CLIENT_RELOAD, "", NULL);
    assert_non_null(v);
    assert_int_equal(gvm_json_int(v, "rules", 0), 1);
    gvm_chan_free(c);
}

static void nobody_outlives_the_parent(void **state)
{
    assert_true(start());
    static const char *const roles[] = {"keys", "ledger", "proxy", "control"};
    pid_t pids[4];
    for (int i = 0; i < 4; i++)
        pids[i] = child(roles[i]);
    kill(pid, SIGKILL);
    assert_int_equal(wait_end(), 1000 + SIGKILL);
    for (int i = 0; i < 4; i++) {
        int k = 0;
        /* Without an init that reaps, an orphan may stay as a zombie: look at its state. */
        for (; k < 300; k++) {
            char path[64], text[512] = "";
            snprintf(path, sizeof path, "/proc/%d/stat", (int)pids[i]);
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
            close(fd);
            if (n <= 0 || strstr(text, ") Z ") || strstr(text, ") X "))
                break;
            usleep(10000);
        }
        assert_true(k < 300);
    }
    assert_true(start()); /* the lock and the old socket are no obstacle */
}

static void reload_is_all_or_nothing(void **state)
{
    write_config(RULE("a.test"));
    assert_true(start());
    struct gvm_chan *c = client();
    const struct gvm_json *v = NULL, *w;
    entries("config.load", &v);
    char first[65];
    snprintf(first, sizeof first, "%s", gvm_json_text(v, "policy", ""));
    write_config(RULE("a.test") "[[rules]]\nnonsense = 1\n");
    assert_null(ask(c, GVM_MSG_CLIENT_RELOAD, "", NULL));
    assert_non_null(strstr(err.text, "gvm.toml:6:"));
    w = gvm_json_get(status(), "policies")->child;
    assert_string_equal(gvm_json_text(w, "hash", ""), first);
    assert_int_equal(entries("config.load", NULL), 1);
    write_config(RULE("a.test") RULE("b.test"));
    v = ask(c, GVM_MSG_CLIENT_RELOAD, "", NULL);
    assert_non_null(v);
    assert_int_equal(gvm_json_int(v, "rules", 0), 2);
    assert_string_not_equal(gvm_json_text(v, "hash", ""), first);
    assert_int_equal(entries("config.load", &v), 2);
    assert_string_equal(gvm_json_text(v, "why", ""), "reload");
    v = gvm_json_get(v, "diff");
    assert_true(v && v->type == GVM_JSON_OBJECT);
    assert_non_null(gvm_json_get(v, "added")->child);
    assert_null(gvm_json_get(v, "added")->child->next);
    assert_null(gvm_json_get(v, "removed")->child);
    assert_null(gvm_json_get(v, "changed")->child);
    assert_false(gvm_json_bool(v, "reordered", true));
    write_config(RULE("a.test"));
    kill(pid, SIGHUP);
    for (int i = 0; i < 300; i++) { /* recorded first, in force right after */
        w = gvm_json_get(status(), "policies")->child;
        if (strcmp(gvm_json_text(w, "hash", ""), first) == 0)
            break;
        usleep(10000);
    }
    assert_string_equal(gvm_json_text(w, "hash", ""), first);
    assert_int_equal(entries("config.load", NULL), 3);
    gvm_chan_free(c);
}

/* ---- runs, with listeners that stand for a sandbox's ---- */

static void listeners(int fds[6])
{
    static const int kinds[6][2] = {{AF_INET, SOCK_STREAM}, {AF_INET6, SOCK_STREAM},
                                    {AF_INET, SOCK_DGRAM},  {AF_INET6, SOCK_DGRAM},
                                    {AF_INET, SOCK_STREAM}, {AF_INET6, SOCK_STREAM}};
    for (int i = 0; i < 6; i++) {
        fds[i] = socket(kinds[i][0], kinds[i][1] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        int r = kinds[i][0] == AF_INET ? bind(fds[i], (struct sockaddr *)&v4, sizeof v4)
                                       : bind(fds[i], (struct sockaddr *)&v6, sizeof v6);
        assert_int_equal(r, 0);
        if (kinds[i][1] == SOCK_STREAM)
            assert_int_equal(listen(fds[i], 16), 0);
    }
}

static const struct gvm_json *begin_run(struct gvm_chan *c, const char *id, const char *path)
{
    int fds[6];
    char json[512], quoted[128] = "null";
    if (path)
        snprintf(quoted, sizeof quoted, "\"%s\"", path);
    snprintf(json, sizeof json,
             "{\"run\":\"%s\",\"agent\":\"bot\",\"command\":[\"true\"],\"workspace\":\"/w\","
             "\"config\":%s,\"watch\":false,\"mode\":\"sandbox\",\"default\":null,\"no_intercept\":"
             "[],\"sealed\":null}",
             id, quoted);
    listeners(fds);
    const struct gvm_json *v = ask(c, GVM_MSG_RUN_REGISTER, json, fds);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    return v;
}

static void runs_have_the_rules_of_their_file(void **state)
{
    char own[128];
    const struct gvm_json *v, *w;
    write_config(RULE("a.test"));
    assert_true(start());
    struct gvm_chan *a = client(), *b = client(), *c = client();
    v = begin_run(a, "r1", NULL);
    if (!v)
        fail_msg("%s", err.text);
    assert_non_null(strstr(gvm_json_text(v, "pem", ""), "BEGIN CERTIFICATE"));
    assert_int_equal(entries("run.start", &w), 1);
    assert_string_equal(gvm_json_text(w, "policy", ""), gvm_json_text(v, "policy_hash", "?"));
    assert_int_equal(entries("config.load", NULL), 1); /* the same text: nothing was loaded anew */
    /* A new run takes what the file says now; the running one keeps its rules until a reload. */
    write_config(RULE("a.test") RULE("b.test"));
    w = begin_run(b, "r2", NULL);
    assert_non_null(w);
    assert_string_not_equal(gvm_json_text(v, "policy_hash", ""),
                            gvm_json_text(w, "policy_hash", ""));
    assert_int_equal(entries("config.load", NULL), 2);
    snprintf(own, sizeof own, "%s/none.toml", top);
    assert_null(begin_run(c, "r3", own));
    assert_non_null(strstr(err.text, "none.toml"));
    assert_null(begin_run(c, "r3", "gvm.toml"));
    write_config("[[rules]\n");
    assert_null(begin_run(c, "r3", NULL));
    assert_non_null(strstr(err.text, "gvm.toml:1:"));
    assert_int_equal(entries("run.start", NULL), 2);
    assert_null(ask(c, GVM_MSG_CLIENT_STOP, "", NULL)); /* agents run */
    v = ask(a, GVM_MSG_RUN_FINISH, "{\"exit\":0,\"signal\":0,\"changes\":{}}", NULL);
    if (!v)
        fail_msg("%s", err.text);
    assert_int_equal(entries("run.end", &w), 1);
    assert_false(gvm_json_bool(w, "lost", true));
    gvm_chan_free(b); /* this launcher just vanishes */
    for (int i = 0; i < 300 && entries("run.end", NULL) < 2; i++)
        usleep(10000);
    assert_int_equal(entries("run.end", &w), 2);
    assert_true(gvm_json_bool(w, "lost", false));
    gvm_chan_free(a);
    gvm_chan_free(c);
}

static void secrets_stay_out_of_sight(void **state)
{
    write_config(RULE(
        "a.test") "[credentials.\"a.test\"]\ntype = \"Bearer\"\ntoken = \"SECRET-VALUE-1234\"\n");
    bool up = start();
    if (!up)
        fail_msg("%s", said());
    assert_int_equal(entries("config.load", NULL), 1);
    struct gvm_buf b;
    char cmd[GVM_PATH_MAX];
    gvm_buf_init(&b, 1 << 20);
    assert_int_equal(gvm_place_path(GVM_PLACE_STATE, "ledger/events", cmd, &err), 0);
    DIR *d = opendir(cmd);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[GVM_PATH_MAX + 300];
        snprintf(path, sizeof path, "%s/%s", cmd, e->d_name);
        if (e->d_name[0] != '.')
            assert_int_equal(gvm_read_file(path, &b, &err), 0);
    }
    closedir(d);
    assert_true(b.len > 100);
    assert_null(memmem(gvm_buf_data(&b), b.len, "SECRET-VALUE", 12));
    assert_null(strstr(said(), "SECRET-VALUE"));
    gvm_buf_done(&b);
    /* Nor can another process of the user read a child's memory. */
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", (int)child("keys"));
    if (getuid() != 0)
        assert_int_equal(open(path, O_RDONLY | O_CLOEXEC), -1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_top, drop_top)

int main(int argc, char **argv)
{
    if (argc > 1)
        return gvm_daemon_main(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(starts_serves_and_stops),     TEST(a_second_one_is_refused),
        TEST(what_it_does_not_start_with), TEST(a_replaced_signing_key_is_noticed),
        TEST(children_come_back),          TEST(nobody_outlives_the_parent),
        TEST(reload_is_all_or_nothing),    TEST(runs_have_the_rules_of_their_file),
        TEST(secrets_stay_out_of_sight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
