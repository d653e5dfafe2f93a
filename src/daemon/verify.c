/* Verification in the background: now and then a process of its own reads the whole record, at the
 * lowest priority and with nothing but the right to read it, and says what it found. The first one
 * after a start goes on behind the head that was verified last; the others read everything.
 *
 *   child -> pipe   one line of JSON: "ok", "entries", "from", "pruned", "first_bad", "file",
 * "reason", or "error"; then, when all is good, the verified head (ledger/verify.h)
 *
 * What it says is taken for its form only: it has read bytes that anybody may have changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "confine/confine.h"
#include "daemon/daemon_int.h"
#include "ledger/ledger.h"

#define NS        1000000000ll
#define FIRST_NS  (3 * NS)
#define EVERY_MS  86400000ull
#define REPORT    32768u /* bytes of it */
#define KEPT_FILE "verified-head"

/* ---- the child ---- */

static void put_report(struct gvm_buf *out, int r, const struct gvm_verify_report *rep,
                       const struct gvm_err *err)
{
    struct gvm_jw w;
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    gvm_jw_kbool(&w, "ok", r == 0 && rep->ok);
    gvm_jw_kint(&w, "entries", (int64_t)rep->entries);
    gvm_jw_kint(&w, "from", (int64_t)rep->from);
    gvm_jw_kint(&w, "pruned", (int64_t)rep->pruned);
    if (r < 0)
        gvm_jw_kstrz(&w, "error", err->text);
    if (r == 0 && !rep->ok) {
        if (rep->have_bad_index)
            gvm_jw_kint(&w, "first_bad", (int64_t)rep->bad_index);
        gvm_jw_kstrz(&w, "file", rep->bad_file[0] ? rep->bad_file : NULL);
        gvm_jw_kstrz(&w, "reason", rep->reason);
    }
    gvm_jw_object_end(&w);
    (void)gvm_buf_addc(out, '\n');
    if (r == 0 && rep->ok && rep->head.size)
        (void)!gvm_verified_write(&rep->verified, out);
}

static int confine_reader(int dirfd, struct gvm_err *err)
{
    struct gvm_confine_spec spec = {.name = "gvmd-verify",
                                    .lists = GVM_CONFINE_BASE | GVM_CONFINE_FILES,
                                    .dirs_ro = &dirfd,
                                    .ndirs_ro = 1};
    return gvm_confine(&spec, err);
}

static int read_file(const char *dir, const char *name, struct gvm_buf *out, struct gvm_err *err)
{
    char path[GVM_PATH_MAX + 32];
    gvm_buf_init(out, GVM_MAX_VOUCHERS);
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return gvm_read_file(path, out, err);
}

/* The key that signed the head: the first one, or one that it led to. */
static int read_key(const char *dir, struct gvm_vkey *ret, struct gvm_err *err)
{
    struct gvm_buf first, chain, note;
    struct gvm_keychain keys;
    struct gvm_vkey key;
    struct gvm_checkpoint cp;
    struct gvm_err absent = {0};
    unsigned by = 0;
    int r = read_file(dir, "verifier-key", &first, err);
    if (r == 0)
        r = gvm_vkey_parse(gvm_buf_str(&first), &key, err);
    bool none = read_file(dir, "key-chain", &chain, &absent) < 0 && absent.code == ENOENT;
    if (r == 0 && !none && absent.code)
        r = gvm_err_set(err, absent.code, "%s", absent.text);
    if (r == 0)
        r = gvm_keychain_follow(&key, gvm_buf_str(&chain), &keys, err);
    bool signed_by = r == 0 && read_file(dir, "checkpoint", &note, NULL) == 0 &&
                     gvm_keychain_open(gvm_buf_str(&note), &keys, &cp, &by, NULL) == 0;
    if (r == 0) {
        *ret = keys.key[signed_by ? by : keys.n - 1];
        gvm_buf_done(&note);
    }
    gvm_buf_done(&first);
    gvm_buf_done(&chain);
    return r;
}

/* A head that cannot be read, or does not hold together, is none: then everything is read. */
static bool read_kept(const struct daemon *d, struct gvm_verified *ret)
{
    char path[GVM_PATH_MAX + 32];
    struct gvm_buf text;
    gvm_buf_init(&text, REPORT);
    (void)snprintf(path, sizeof path, "%s/" KEPT_FILE, d->state);
    bool ok = gvm_read_file(path, &text, NULL) == 0 &&
              gvm_verified_parse(gvm_buf_str(&text), ret, NULL) == 0;
    gvm_buf_done(&text);
    return ok;
}

/* Should:  read the record's directory, write its report.
 * Mustn't: write a file, open a socket, execute, or keep anybody else waiting. */
static void verify(const struct daemon *d, int out)
{
    char dir[GVM_PATH_MAX + 16];
    struct gvm_err err = {0};
    struct gvm_vkey key;
    struct gvm_verified kept;
    struct gvm_verify_report rep = {0};
    struct gvm_buf text;
    struct gvm_verify_opts opts = {.key = &key};
    (void)snprintf(dir, sizeof dir, "%s/ledger", d->state);
    int r = read_key(dir, &key, &err);
    if (r == 0 && !d->verify.whole && read_kept(d, &kept))
        opts.from = &kept;
    if (r == 0)
        r = confine_reader(d->ledger_fd, &err);
    if (r == 0)
        r = gvm_ledger_verify(dir, &opts, &rep, &err);
    gvm_buf_init(&text, REPORT);
    put_report(&text, r, &rep, &err);
    r = gvm_write_all(out, gvm_buf_data(&text), text.len);
    _exit(r < 0);
}

/* After fork: nothing of the parent's but the record and the pipe. */
static void become(const struct daemon *d, int out, pid_t parent)
{
    static const int idle = 3 << 13; /* IOPRIO_CLASS_IDLE */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
        _exit(1);
    for (long fd = 3; fd < 1024; fd++)
        if (fd != out && fd != d->ledger_fd)
            (void)close((int)fd);
    (void)setpriority(PRIO_PROCESS, 0, 19);
    /* Or the files of /proc/self are not ours, and with them the namespace that confinement needs.
     */
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    (void)syscall(SYS_ioprio_set, 1, 0, idle);
    verify(d, out);
}

/* ---- the parent ---- */

static int64_t period(const struct daemon *d)
{
    return (int64_t)(d->log.verify_ms ? d->log.verify_ms : EVERY_MS) * 1000000;
}

static void begin(struct daemon *d)
{
    int fds[2];
    pid_t self = getpid();
    d->verify.due_ns = gvm_mono_ns() + period(d);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return;
    pid_t pid = fork();
    if (pid == 0)
        become(d, fds[1], self);
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return;
    }
    d->verify.pid = pid;
    d->verify.fd = fds[0];
    d->verify.began_ns = gvm_mono_ns();
    gvm_buf_init(&d->verify.text, REPORT);
}

void daemon_verify_init(struct daemon *d)
{
    d->verify.fd = -1;
    d->verify.due_ns = d->log.verify_off ? 0 : gvm_mono_ns() + FIRST_NS;
}

void daemon_verify_changed(struct daemon *d)
{
    d->verify.due_ns = d->log.verify_off ? 0 : gvm_mono_ns() + period(d);
}

int daemon_verify_due(struct daemon *d)
{
    if (!d->verify.due_ns || d->verify.pid || !d->serving)
        return -1;
    int64_t left = d->verify.due_ns - gvm_mono_ns();
    if (left > 0)
        return left / 1000000 > 3600000 ? 3600000 : (int)(left / 1000000) + 1;
    begin(d);
    return -1;
}

static void put_verdict(struct gvm_jw *w, const struct daemon_verify *v)
{
    gvm_jw_kbool(w, "ok", v->ok);
    gvm_jw_kint(w, "entries", v->entries);
    gvm_jw_kint(w, "from", v->from);
    gvm_jw_kint(w, "pruned", v->pruned);
    gvm_jw_kint(w, "seconds", v->took_ns / NS);
    if (v->first_bad >= 0)
        gvm_jw_kint(w, "first_bad", v->first_bad);
    if (v->reason[0])
        gvm_jw_kstrz(w, v->error ? "error" : "reason", v->reason);
}

void daemon_verify_json(struct gvm_jw *w, const struct daemon *d)
{
    const struct daemon_verify *v = &d->verify;
    char at[GVM_TIME_TEXT];
    gvm_jw_key(w, "verified");
    if (!v->known) {
        gvm_jw_null(w);
        return;
    }
    gvm_time_text(at, v->at_ns);
    gvm_jw_object(w);
    gvm_jw_kstrz(w, "t", at);
    put_verdict(w, v);
    gvm_jw_object_end(w);
}

static void tell(struct daemon *d)
{
    struct gvm_buf out;
    struct gvm_jw w;
    struct gvm_m_append head = {.flags = GVM_APPEND_NO_WAIT};
    gvm_buf_init(&out, sizeof head + GVM_MAX_ENTRY);
    (void)gvm_buf_add(&out, &head, sizeof head);
    gvm_entry_begin(&w, &out, "ledger.verified", NULL, NULL);
    put_verdict(&w, &d->verify);
    if (gvm_entry_end(&w) == 0)
        (void)daemon_child_send(daemon_child(d, GVM_ROLE_LEDGER), GVM_MSG_APPEND, 0,
                                gvm_buf_data(&out), out.len, NULL, 0);
    gvm_buf_done(&out);
    if (!d->verify.ok)
        gvm_log(GVM_LOG_ERROR,
                d->verify.error ? "the record could not be verified: %s"
                                : "the record was tampered with: %s",
                d->verify.reason);
}

/* The head to go on behind next time. */
static void keep(const struct daemon *d, struct gvm_str text)
{
    struct gvm_verified v;
    struct gvm_err err = {0};
    if (!text.n || gvm_verified_parse(text, &v, NULL) < 0)
        return;
    GVM_AUTOCLOSE int dir = open(d->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = dir < 0 ? gvm_err_sys(&err, errno, "cannot open %s", d->state)
                    : gvm_write_file_at(dir, KEPT_FILE, text.p, text.n, 0600, &err);
    if (r < 0)
        gvm_log(GVM_LOG_WARN, "%s", err.text);
}

static void take_report(struct daemon *d, struct gvm_str text)
{
    struct daemon_verify *v = &d->verify;
    struct gvm_json *rep = NULL;
    struct gvm_str line;
    struct gvm_arena *a = gvm_arena_new(256 * 1024);
    bool whole = gvm_str_cut(&text, '\n', &line) && a && gvm_json_parse(a, line, &rep, NULL) == 0;
    const char *error = whole ? gvm_json_text(rep, "error", NULL) : "it ended without a verdict";
    v->known = true;
    v->ok = whole && gvm_json_bool(rep, "ok", false);
    v->error = error != NULL;
    v->entries = gvm_json_int(rep, "entries", 0);
    v->from = gvm_json_int(rep, "from", 0);
    v->pruned = gvm_json_int(rep, "pruned", 0);
    v->first_bad = gvm_json_int(rep, "first_bad", -1);
    (void)snprintf(v->reason, sizeof v->reason, "%s",
                   error ? error : gvm_json_text(rep, "reason", ""));
    gvm_arena_free(a);
    if (v->ok)
        keep(d, text);
}

void daemon_verify_read(struct daemon *d)
{
    struct daemon_verify *v = &d->verify;
    uint8_t bytes[4096];
    ssize_t n = read(v->fd, bytes, sizeof bytes);
    if (n > 0 && gvm_buf_add(&v->text, bytes, (size_t)n) == 0)
        return;
    if (n < 0 && errno == EINTR)
        return;
    (void)kill(v->pid, SIGKILL); /* it is done, or says more than a verdict */
    (void)waitpid(v->pid, NULL, 0);
    gvm_close(&v->fd);
    v->pid = 0;
    v->at_ns = gvm_now_ns();
    v->took_ns = gvm_mono_ns() - v->began_ns;
    take_report(d, gvm_buf_str(&v->text));
    gvm_buf_done(&v->text);
    v->whole = true; /* from now on all of it */
    tell(d);
}

void daemon_verify_stop(struct daemon *d)
{
    if (!d->verify.pid)
        return;
    (void)kill(d->verify.pid, SIGKILL);
    (void)waitpid(d->verify.pid, NULL, 0);
    d->verify.pid = 0;
    gvm_close(&d->verify.fd);
    gvm_buf_done(&d->verify.text);
}
