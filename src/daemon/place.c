/* What the parent opens before anybody else exists. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "daemon/daemon_int.h"
#include "keys/keys.h"
#include "ledger/ledger.h"

/* A directory of ours that nobody else may enter. */
static int open_private(const char *path, int *ret_fd, struct gvm_err *err)
{
    int r = gvm_mkdirs(path, 0700, err);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return gvm_err_sys(err, errno, "cannot open %s", path);
    if (st.st_uid != geteuid())
        return gvm_err_set(err, EPERM, "%s belongs to uid %u, not to you", path,
                           (unsigned)st.st_uid);
    if (st.st_mode & 077)
        return gvm_err_set(err, EPERM, "%s is open to other users (mode %04o); run: chmod 700 %s",
                           path, (unsigned)(st.st_mode & 07777), path);
    *ret_fd = gvm_steal_fd(&fd);
    return 0;
}

static int open_below(const struct daemon *d, const char *name, int *ret_fd, struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", d->state, name) >= sizeof path)
        return gvm_err_set(err, ENAMETOOLONG, "%s is too long a path", d->state);
    return open_private(path, ret_fd, err);
}

static int take_lock(struct daemon *d, int runtime_fd, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd =
        openat(runtime_fd, "gvmd.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot open %s/gvmd.lock", d->runtime);
    char text[32] = "";
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return gvm_err_sys(err, errno, "cannot lock %s/gvmd.lock", d->runtime);
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        while (n > 0 && !isdigit((unsigned char)text[n - 1]))
            text[--n] = '\0';
        return gvm_err_set(err, EALREADY, "gvmd is already running (pid %s) for %s",
                           n > 0 ? text : "?", d->runtime);
    }
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return gvm_err_sys(err, errno, "cannot write %s/gvmd.lock", d->runtime);
    d->lock_fd = gvm_steal_fd(&fd);
    return 0;
}

/* The log's name is chosen once and kept, or an older checkpoint would be by somebody else. */
static int read_origin(struct daemon *d, int state_fd, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd = openat(state_fd, "origin", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = read(fd, d->origin, sizeof d->origin - 1);
        d->origin[n > 0 ? n : 0] = '\0';
        d->origin[strcspn(d->origin, "\n")] = '\0';
        if (d->origin[0])
            return 0;
    }
    struct utsname u;
    char host[65] = "host";
    if (uname(&u) == 0)
        snprintf(host, sizeof host, "%.64s", u.nodename);
    for (char *p = host; *p; p++) {
        if (!isalnum((unsigned char)*p) && *p != '.' && *p != '-')
            *p = '-';
    }
    snprintf(d->origin, sizeof d->origin, "gvm.local/%s/%u", host, (unsigned)geteuid());
    char line[sizeof d->origin + 1];
    int n = snprintf(line, sizeof line, "%s\n", d->origin);
    return gvm_write_file_at(state_fd, "origin", line, (size_t)n, 0600, err);
}

/* What others need to verify the log lies beside it: its first key. Another key there, with no way
 * from it to ours, means that the signing seed was replaced: going on would sign one log with two
 * keys. */
static int publish_verifier(struct daemon *d, struct gvm_err *err)
{
    uint8_t seed[32];
    struct gvm_buf text, there;
    gvm_buf_init(&text, 1024);
    gvm_buf_init(&there, 1024);
    int r = pread(d->keys_fds[0], seed, sizeof seed, 0) == (ssize_t)sizeof seed
                ? gvm_keys_verifier(seed, d->origin, &text, err)
                : gvm_err_set(err, EIO, "cannot read %s/keys/log.seed", d->state);
    explicit_bzero(seed, sizeof seed);
    if (r == 0 && gvm_str_copy(d->verifier, sizeof d->verifier, gvm_buf_str(&text)) < 0)
        r = gvm_err_set(err, ENAMETOOLONG, "the log's name is too long");
    GVM_AUTOCLOSE int fd = openat(d->ledger_fd, "verifier-key", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (r == 0 && fd >= 0) {
        int got = gvm_read_fd(fd, &there);
        r = got < 0 ? gvm_err_sys(err, -got, "cannot read %s/ledger/verifier-key", d->state)
                    : daemon_check_key(d, gvm_buf_cstr(&there), gvm_buf_cstr(&text), err);
    } else if (r == 0) {
        r = gvm_buf_addc(&text, '\n');
        if (r == 0)
            r = gvm_write_file_at(d->ledger_fd, "verifier-key", gvm_buf_data(&text), text.len, 0600,
                                  err);
    }
    gvm_buf_done(&text);
    gvm_buf_done(&there);
    return r;
}

/* A seed under a passphrase is opened once; the keys process gets it in a file that is only memory.
 */
static int unlock_seed(struct daemon *d, int keysfd, struct gvm_err *err)
{
    uint8_t seed[GVM_SEED];
    bool protected = false;
    int r = gvm_seed_read(keysfd, "log.seed", seed, &protected, err);
    int fd = !r && protected ? gvm_memfd("log-seed", seed, sizeof seed) : -1;
    explicit_bzero(seed, sizeof seed);
    if (r < 0 || !protected)
        return r;
    if (fd < 0)
        return gvm_err_sys(err, -fd, "cannot make a memory file");
    gvm_close(&d->keys_fds[0]);
    d->keys_fds[0] = fd;
    return 0;
}

static int open_state(struct daemon *d, struct gvm_err *err)
{
    GVM_AUTOCLOSE int state = -1;
    GVM_AUTOCLOSE int keys = -1;
    GVM_AUTOCLOSE int runs = -1;
    int r = open_private(d->state, &state, err);
    if (r == 0)
        r = open_below(d, "runs", &runs, err);
    if (r == 0)
        r = open_below(d, "keys", &keys, err);
    if (r == 0)
        r = open_below(d, "ledger", &d->ledger_fd, err);
    if (r == 0)
        r = read_origin(d, state, err);
    if (r == 0)
        r = daemon_rotate(d, keys, err);
    if (r == 0)
        r = gvm_keys_open_files(keys, d->keys_fds, err);
    if (r == 0)
        r = unlock_seed(d, keys, err);
    if (r == 0)
        r = publish_verifier(d, err);
    return r;
}

int daemon_open_places(struct daemon *d, struct gvm_err *err)
{
    d->lock_fd = d->listen_fd = d->ledger_fd = d->keys_fds[0] = d->keys_fds[1] = d->keys_fds[2] =
        -1;
    GVM_AUTOCLOSE int runtime = -1;
    int r = gvm_place(GVM_PLACE_RUNTIME, d->runtime, err);
    if (r == 0)
        r = gvm_place(GVM_PLACE_STATE, d->state, err);
    if (r == 0)
        r = gvm_place(GVM_PLACE_CONFIG, d->config, err);
    if (r == 0)
        r = gvm_place_path(GVM_PLACE_RUNTIME, "gvmd.sock", d->socket, err);
    if (r == 0)
        r = open_private(d->runtime, &runtime, err);
    if (r == 0)
        r = take_lock(d, runtime, err);
    if (r == 0)
        r = open_state(d, err);
    if (r == 0)
        r = gvm_ipc_listen(d->socket, &d->listen_fd, err);
    return r;
}

void daemon_close_places(struct daemon *d)
{
    if (d->listen_fd >= 0)
        (void)unlink(d->socket);
    gvm_close(&d->listen_fd);
    gvm_close(&d->ledger_fd);
    gvm_close(&d->keys_fds[0]);
    gvm_close(&d->keys_fds[1]);
    gvm_close(&d->keys_fds[2]);
    gvm_close(&d->lock_fd);
}
