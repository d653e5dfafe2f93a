/* What each child gets with START: descriptors it could not open any more once confined. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "daemon/daemon_int.h"
#include "ledger/ledger.h"

static int send_json(struct daemon_child *c, const struct gvm_buf *json, const int *fds,
                     unsigned nfds, struct gvm_err *err)
{
    int r = json->failed
                ? -ENOMEM
                : daemon_child_send(c, GVM_MSG_START, 0, gvm_buf_data(json), json->len, fds, nfds);
    return r < 0 ? gvm_err_sys(err, -r, "cannot start the %s process", gvm_role_name(c->role)) : 0;
}

/* The system's trusted certificates; an empty file when there are none, so that nothing verifies.
 */
static int open_ca_bundle(void)
{
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int fd = open(places[i], O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
            return fd;
    }
    gvm_log(GVM_LOG_WARN,
            "no system certificates found; install ca-certificates or set [upstream] ca_file");
    return gvm_memfd("no-ca", "", 0);
}

static int start_proxy(struct daemon_child *c, struct gvm_err *err)
{
    GVM_AUTOCLOSE int bundle = open_ca_bundle();
    if (bundle < 0)
        return gvm_err_sys(err, -bundle, "cannot make a memory file");
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, GVM_MAX_FRAME);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    daemon_put_names(&w);
    gvm_jw_key(&w, "refuse"); /* all our own sockets are in the file system */
    gvm_jw_array(&w);
    gvm_jw_array_end(&w);
    gvm_jw_object_end(&w);
    int r = send_json(c, &out, &bundle, 1, err);
    gvm_buf_done(&out);
    return r;
}

static bool read_note(const struct daemon *d, struct gvm_buf *note)
{
    gvm_buf_init(note, 64 * 1024);
    GVM_AUTOCLOSE int fd =
        openat(d->ledger_fd, "checkpoint", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 && gvm_read_fd(fd, note) == 0;
}

bool daemon_read_head(const struct daemon *d, struct gvm_checkpoint *ret)
{
    struct gvm_buf note;
    bool ok = read_note(d, &note) && gvm_checkpoint_parse(gvm_buf_str(&note), ret, NULL) == 0;
    gvm_buf_done(&note);
    return ok;
}

/* The head in the record, for a keys process that has no memory of its own yet. It must bear the
 * present key's signature: the file is the ledger process's to write, and a head that was never
 * signed would be one to go on from. */
static void put_last_head(struct gvm_jw *w, const struct daemon *d)
{
    char root[GVM_B64_LEN(GVM_LEDGER_HASH) + 1];
    struct gvm_checkpoint cp;
    struct gvm_vkey key;
    struct gvm_buf note;
    if (read_note(d, &note) && gvm_vkey_parse(gvm_str(d->verifier), &key, NULL) == 0 &&
        gvm_checkpoint_open(gvm_buf_str(&note), &key, &cp, NULL) == 0) {
        gvm_b64(root, cp.root, sizeof cp.root);
        gvm_jw_kint(w, "last_size", (int64_t)cp.size);
        gvm_jw_kstrz(w, "last_root", root);
    }
    gvm_buf_done(&note);
}

int daemon_send_start(struct daemon *d, struct daemon_child *c, struct gvm_err *err)
{
    if (c->role == GVM_ROLE_PROXY)
        return start_proxy(c, err);
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 16384);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    const int *fds = NULL;
    unsigned nfds = 0;
    if (c->role == GVM_ROLE_CONTROL) {
        gvm_jw_kstrz(&w, "version", DAEMON_VERSION);
        fds = &d->listen_fd;
        nfds = 1;
    } else {
        gvm_jw_kstrz(&w, "origin", d->origin);
        if (c->role == GVM_ROLE_LEDGER)
            daemon_put_voucher(d, &w);
        bool keys = c->role == GVM_ROLE_KEYS;
        fds = keys ? d->keys_fds : &d->ledger_fd;
        nfds = keys ? 3 : 1;
        if (keys)
            put_last_head(&w, d);
        if (!keys) {
            gvm_jw_kint(&w, "segment_bytes", (int64_t)d->log.segment_bytes);
            gvm_jw_kint(&w, "keep_bytes", (int64_t)d->log.keep_bytes);
            gvm_jw_kint(&w, "keep_ms", (int64_t)d->log.keep_ms);
        }
    }
    for (unsigned i = 0; c->role == GVM_ROLE_KEYS && i < nfds; i++)
        (void)lseek(fds[i], 0, SEEK_SET); /* a predecessor read them */
    gvm_jw_object_end(&w);
    int r = send_json(c, &out, fds, nfds, err);
    gvm_buf_done(&out);
    return r;
}

void daemon_log_changed(struct daemon *d, const struct gvm_conf_log *log)
{
    struct gvm_m_keep keep = {log->segment_bytes, log->keep_bytes, log->keep_ms};
    bool verify = d->log.verify_ms != log->verify_ms || d->log.verify_off != log->verify_off;
    d->log = *log; /* also for a ledger process that is started anew */
    (void)daemon_child_send(daemon_child(d, GVM_ROLE_LEDGER), GVM_MSG_KEEP, 0, &keep, sizeof keep,
                            NULL, 0);
    if (verify)
        daemon_verify_changed(d);
}
