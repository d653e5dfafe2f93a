/* gvm audit timestamp, publish: heads of the record, kept where who has this machine cannot reach.
 *
 * state/anchors/ holds what was given out, so that it can be shown later:
 *
 *   <size>.head                     a checkpoint that was timestamped, as it was
 *   <size>.tsr                      the authority's answer (RFC 3161, DER)
 *   published, stamped              the head that went out last; how long ago says the file's time
 *
 * gvmd runs `gvm audit publish` now and then as a program of its own: neither it nor its children
 * need the network or other people's files for this. Only heads leave: a name, a number, a hash,
 * signatures.
 */
#include "cli/audit_int.h"
#include "cli/http.h"
#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COMMAND_WORDS = 64, COMMAND_MS = 30000 };

/* ---- the head ---- */

struct head {
    struct gvm_buf note;
    struct gvm_checkpoint cp;
};

/* Our head, with our own signature: nothing else is given out. */
static int read_head(const struct audit_opts *o, struct head *ret, struct gvm_err *err)
{
    char path[GVM_PATH_MAX + 32];
    struct gvm_keychain keys;
    (void)snprintf(path, sizeof path, "%s/checkpoint", o->dir);
    int r = audit_read(path, GVM_MAX_NOTE, &ret->note, err);
    if (!r)
        r = audit_keys_load(o, &keys, err);
    if (!r)
        r = gvm_err_wrap(err,
                         gvm_keychain_open(gvm_buf_str(&ret->note), &keys, &ret->cp, NULL, err),
                         "%s", path);
    return r;
}

/* state/anchors, made if need be. */
static int open_anchors(int *ret, struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    int r = gvm_place_path(GVM_PLACE_STATE, "anchors", path, err);
    if (!r)
        r = gvm_mkdirs(path, 0700, err);
    if (r < 0)
        return r;
    *ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret < 0 ? gvm_err_sys(err, errno, "cannot open %s", path) : 0;
}

/* ---- timestamps ---- */

static int stamp(const struct gvm_conf_anchor *a, struct gvm_str note, struct gvm_buf *answer,
                 int64_t *ret_s, struct gvm_err *err)
{
    struct gvm_buf request;
    char url[GVM_PATH_MAX];
    gvm_buf_init(&request, GVM_MAX_TIMESTAMP);
    int r = gvm_str_copy(url, sizeof url, a->ts_url) < 0
                ? gvm_err_set(err, EINVAL, "the URL is too long")
                : gvm_timestamp_request(note, &request, err);
    if (!r)
        r = http_post(url, "application/timestamp-query", gvm_buf_str(&request), answer, err);
    if (!r)
        r = gvm_err_wrap(err,
                         gvm_timestamp_check(gvm_buf_str(answer), gvm_buf_str(&request), note,
                                             a->ts_ca, ret_s, err),
                         "%s", url);
    gvm_buf_done(&request);
    return r;
}

static int keep_stamp(int dirfd, const struct head *h, const struct gvm_buf *answer,
                      struct gvm_err *err)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%" PRIu64 ".head", h->cp.size);
    int r = gvm_write_file_at(dirfd, name, gvm_buf_data(&h->note), h->note.len, 0600, err);
    (void)snprintf(name, sizeof name, "%" PRIu64 ".tsr", h->cp.size);
    if (!r)
        r = gvm_write_file_at(dirfd, name, gvm_buf_data(answer), answer->len, 0600, err);
    if (!r)
        r = gvm_write_file_at(dirfd, "stamped", gvm_buf_data(&h->note), h->note.len, 0600, err);
    return r;
}

static int stamp_and_keep(const struct gvm_conf_anchor *a, int dirfd, const struct head *h,
                          int64_t *ret_s, struct gvm_err *err)
{
    struct gvm_buf answer;
    gvm_buf_init(&answer, GVM_MAX_TIMESTAMP);
    int r = stamp(a, gvm_buf_str(&h->note), &answer, ret_s, err);
    if (!r)
        r = keep_stamp(dirfd, h, &answer, err);
    gvm_buf_done(&answer);
    return r;
}

/* ---- what the configuration says ---- */

/* Options go before the file; the file may be missing when they say everything. */
static int load(const struct audit_opts *o, struct gvm_conf **ret, struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    int r = gvm_place(GVM_PLACE_CONFIG, path, err);
    if (!r && access(path, F_OK) == 0)
        return gvm_conf_load(path, ret, err);
    return r < 0 ? r : gvm_conf_default(ret, err);
}

static int read_ca(const struct audit_opts *o, struct gvm_buf *pem, struct gvm_conf_anchor *a,
                   struct gvm_err *err)
{
    if (!o->ca)
        return 0;
    int r = audit_read(o->ca, GVM_MAX_TIMESTAMP, pem, err);
    a->ts_ca = gvm_buf_str(pem);
    return r;
}

static int timestamp(const struct audit_opts *o, struct gvm_conf_anchor *a, struct gvm_err *err)
{
    struct head h = {0};
    struct gvm_buf pem = {0};
    GVM_AUTOCLOSE int dirfd = -1;
    char when[GVM_TIME_TEXT];
    int64_t s = 0;
    if (o->url)
        a->ts_url = gvm_str(o->url);
    if (!a->ts_url.n)
        return gvm_err_set(err, EINVAL,
                           "which authority? set [audit.timestamp] url, or give --url");
    int r = read_ca(o, &pem, a, err);
    if (!r)
        r = open_anchors(&dirfd, err);
    if (!r)
        r = read_head(o, &h, err);
    if (!r)
        r = stamp_and_keep(a, dirfd, &h, &s, err);
    if (!r) {
        gvm_time_text(when, s * 1000000000);
        printf("head of %" PRIu64 " entries stamped at %.19sZ%s\n", h.cp.size, when,
               a->ts_ca.n ? "" : "; whose signature that is was not checked (--ca, or ca_file)");
    }
    gvm_buf_done(&h.note);
    gvm_buf_done(&pem);
    return r;
}

int audit_timestamp(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct gvm_conf *conf = NULL;
    int r = load(o, &conf, &err);
    if (!r)
        r = timestamp(o, &conf->anchor, &err);
    gvm_conf_free(conf);
    if (r < 0)
        return cli_fail(r == -EINVAL                          ? GVM_EXIT_USAGE
                        : r == -EBADMSG || r == -EKEYREJECTED ? GVM_EXIT_DENIED
                                                              : GVM_EXIT_ERROR,
                        &err);
    return cli_flush();
}

int audit_stamped(const struct audit_opts *o, struct gvm_str note, struct gvm_err *err)
{
    struct gvm_buf answer, pem = {0};
    struct gvm_conf_anchor a = {.ts_ca = GVM_STR("")};
    char when[GVM_TIME_TEXT];
    int64_t s = 0;
    if (!o->ca)
        return gvm_err_set(err, EINVAL, "--timestamp needs --ca: whose signature would it trust?");
    int r = audit_read(o->timestamp, GVM_MAX_TIMESTAMP, &answer, err);
    if (!r)
        r = read_ca(o, &pem, &a, err);
    if (!r)
        r = gvm_timestamp_check(gvm_buf_str(&answer), GVM_STR(""), note, a.ts_ca, &s, err);
    if (!r && !o->json) {
        gvm_time_text(when, s * 1000000000);
        printf("existed at %.19sZ, says the authority\n", when);
    }
    gvm_buf_done(&answer);
    gvm_buf_done(&pem);
    return r;
}

/* ---- export ---- */

/* file:/PATH is replaced whole; of a directory, a file in it named by the size. */
static int to_file(const char *path, const struct head *h, struct gvm_err *err)
{
    char dir[GVM_PATH_MAX], name[64];
    struct stat st;
    const char *slash = strrchr(path, '/');
    bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    int n = snprintf(dir, sizeof dir, "%.*s", folder ? (int)strlen(path) : (int)(slash - path) + 1,
                     path);
    if (n < 0 || (size_t)n >= sizeof dir)
        return gvm_err_set(err, ENAMETOOLONG, "%s is too long a path", path);
    (void)snprintf(name, sizeof name, "%" PRIu64 ".head", h->cp.size);
    GVM_AUTOCLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot open %s", dir);
    return gvm_write_file_at(fd, folder ? name : slash + 1, gvm_buf_data(&h->note), h->note.len,
                             0644, err);
}

static int split_words(char *text, char **argv)
{
    int n = 0;
    for (char *p = text; *p;) {
        if (*p == ' ') {
            *p++ = '\0';
            continue;
        }
        if (n == COMMAND_WORDS)
            return -E2BIG;
        argv[n++] = p;
        p += strcspn(p, " ");
    }
    argv[n] = NULL;
    return n ? 0 : -EINVAL;
}

/* The child's exit, or -ETIMEDOUT after COMMAND_MS: then it is killed. */
static int await_child(pid_t pid)
{
    int status, left = COMMAND_MS;
    for (; waitpid(pid, &status, WNOHANG) == 0; left -= 20) {
        if (left <= 0) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
            return -ETIMEDOUT;
        }
        (void)poll(NULL, 0, 20);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPROTO;
}

/* The head on its standard input; words are split at spaces, there is no shell. */
static int to_command(const char *command, const struct head *h, struct gvm_err *err)
{
    char text[GVM_PATH_MAX], *argv[COMMAND_WORDS + 1];
    posix_spawn_file_actions_t io;
    pid_t pid;
    if (gvm_str_copy(text, sizeof text, gvm_str(command)) < 0 || split_words(text, argv) < 0)
        return gvm_err_set(err, E2BIG, "too many words");
    GVM_AUTOCLOSE int fd = gvm_memfd("head", gvm_buf_data(&h->note), h->note.len);
    if (fd < 0)
        return gvm_err_sys(err, -fd, "cannot make a memory file");
    int r = posix_spawn_file_actions_init(&io);
    if (!r)
        r = posix_spawn_file_actions_adddup2(&io, fd, STDIN_FILENO);
    if (!r)
        r = posix_spawn(&pid, argv[0], &io, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&io);
    if (r)
        return gvm_err_sys(err, r, "cannot run %s", argv[0]);
    r = await_child(pid);
    return r == -ETIMEDOUT
               ? gvm_err_set(err, ETIMEDOUT, "%s took more than %d s", argv[0], COMMAND_MS / 1000)
           : r < 0 ? gvm_err_set(err, EPROTO, "%s failed", argv[0])
                   : 0;
}

static int to_target(struct gvm_str target, const struct head *h, struct gvm_err *err)
{
    char text[GVM_PATH_MAX];
    struct gvm_buf answer;
    if (gvm_str_copy(text, sizeof text, target) < 0)
        return gvm_err_set(err, ENAMETOOLONG, "the target is too long");
    if (gvm_str_starts(target, GVM_STR("file:")))
        return to_file(text + 5, h, err);
    if (gvm_str_starts(target, GVM_STR("command:")))
        return to_command(text + 8, h, err);
    gvm_buf_init(&answer, 65536);
    int r = http_post(text, "text/plain; charset=utf-8", gvm_buf_str(&h->note), &answer, err);
    gvm_buf_done(&answer);
    return r;
}

/* True when `name` in the anchors is this head, or (for >= 0) was written less than so long ago. */
static bool done_lately(int dirfd, const char *name, const struct head *h, int64_t within_ms)
{
    struct stat st;
    struct gvm_buf last;
    GVM_AUTOCLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return false;
    if (within_ms > 0 && time(NULL) - st.st_mtime < within_ms / 1000)
        return true;
    gvm_buf_init(&last, GVM_MAX_NOTE);
    bool same =
        gvm_read_fd(fd, &last) == 0 && gvm_str_eq(gvm_buf_str(&last), gvm_buf_str(&h->note));
    gvm_buf_done(&last);
    return same;
}

/* One failing target does not keep the others from the head. Returns how many failed. */
static unsigned export_all(const struct gvm_conf_anchor *a, int dirfd, const struct head *h)
{
    unsigned failed = 0;
    if (!a->nexport || done_lately(dirfd, "published", h, 0))
        return 0;
    for (uint32_t i = 0; i < a->nexport; i++) {
        struct gvm_err err = {0};
        if (to_target(a->export[i], h, &err) < 0) {
            cli_say("the head of %" PRIu64 " entries did not reach %.*s: %s", h->cp.size,
                    (int)a->export[i].n, a->export[i].p, err.text);
            failed++;
        }
    }
    struct gvm_err err = {0};
    if (!failed &&
        gvm_write_file_at(dirfd, "published", gvm_buf_data(&h->note), h->note.len, 0600, &err) < 0)
        cli_say("%s", err.text);
    return failed;
}

static unsigned stamp_if_due(const struct gvm_conf_anchor *a, int dirfd, const struct head *h)
{
    struct gvm_err err = {0};
    int64_t s;
    if (!a->ts_url.n || done_lately(dirfd, "stamped", h, a->ts_ms) ||
        stamp_and_keep(a, dirfd, h, &s, &err) == 0)
        return 0;
    cli_say("the head of %" PRIu64 " entries was not timestamped: %s", h->cp.size, err.text);
    return 1;
}

static int publish(const struct audit_opts *o, const struct gvm_conf_anchor *a,
                   unsigned *ret_failed, struct gvm_err *err)
{
    struct head h = {0};
    GVM_AUTOCLOSE int dirfd = -1;
    int r = open_anchors(&dirfd, err);
    if (!r)
        r = read_head(o, &h, err);
    if (!r)
        *ret_failed = export_all(a, dirfd, &h) + stamp_if_due(a, dirfd, &h);
    gvm_buf_done(&h.note);
    return r;
}

int audit_publish(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct gvm_conf *conf = NULL;
    unsigned failed = 0;
    int r = load(o, &conf, &err);
    if (!r && !conf->anchor.nexport && !conf->anchor.ts_url.n)
        r = gvm_err_set(&err, EINVAL, "where to? set [audit] export or [audit.timestamp] url");
    if (!r)
        r = publish(o, &conf->anchor, &failed, &err);
    gvm_conf_free(conf);
    if (r < 0)
        return cli_fail(r == -EINVAL                          ? GVM_EXIT_USAGE
                        : r == -EKEYREJECTED || r == -EBADMSG ? GVM_EXIT_DENIED
                                                              : GVM_EXIT_ERROR,
                        &err);
    return failed ? GVM_EXIT_ERROR : cli_flush();
}
