/* process_start.c - the ledger process from its first message to its confinement, and its end
 * (process.c). */
#include <errno.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include "confine/confine.h"
#include "ipc/ipc.h"
#include "ledger/process_int.h"

/* The parent's first message: the log's name, the directory, and perhaps the voucher for a new key.
 */
static int take_start(struct gvm_chan *parent, char origin[GVM_MAX_ORIGIN + 1],
                      struct ledger_writer_opts *opts, struct gvm_buf *voucher, int *ret_dirfd,
                      uint64_t *ret_id, struct gvm_err *err)
{
    struct gvm_msg m;
    int r;
    while ((r = gvm_chan_recv(parent, &m)) == 0) {
        struct pollfd pfd = {.fd = gvm_chan_fd(parent), .events = POLLIN};
        (void)poll(&pfd, 1, -1);
    }
    if (r < 0)
        return gvm_err_sys(err, -r, "ledger: no START from the parent");
    struct gvm_arena *a = gvm_arena_new(64 * 1024);
    struct gvm_json *v = NULL;
    r = 0;
    if (m.type != GVM_MSG_START || m.nfds != 1)
        r = gvm_err_set(err, EPROTO, "ledger: the first message must be START with one directory");
    if (!r && !a)
        r = gvm_err_set(err, ENOMEM, "ledger: out of memory");
    if (!r)
        r = gvm_json_parse(a, gvm_msg_str(&m), &v, err);
    if (!r && gvm_str_copy(origin, GVM_MAX_ORIGIN + 1, gvm_str(gvm_json_text(v, "origin", ""))) < 0)
        r = gvm_err_set(err, EINVAL, "ledger: the origin is too long");
    if (!r && gvm_buf_addz(voucher, gvm_json_text(v, "voucher", "")) < 0)
        r = gvm_err_set(err, ENOMEM, "ledger: out of memory");
    if (!r) {
        opts->segment_max = (uint64_t)gvm_json_int(v, "segment_bytes", 0);
        opts->keep.bytes = (uint64_t)gvm_json_int(v, "keep_bytes", 0);
        opts->keep.age_ns = gvm_json_int(v, "keep_ms", 0) * MS;
        *ret_dirfd = gvm_steal_fd(&m.fds[0]);
        *ret_id = m.id;
    }
    gvm_arena_free(a);
    gvm_msg_done(&m);
    return r;
}

/* Each 256 entries are a new file. ext4 without a journal, usual in small virtual machines, takes
 * no inode again for minutes after its removal and goes through all of those to find one: where
 * other programs remove many files, half of our time went there. Marked so, what is made below the
 * directory gets a part of the disk of its own (chattr +T). Other file systems need no help. */
static void spread(int dirfd)
{
    int flags;
    if (ioctl(dirfd, FS_IOC_GETFLAGS, &flags) < 0 || flags & FS_TOPDIR_FL)
        return;
    flags |= FS_TOPDIR_FL;
    (void)ioctl(dirfd, FS_IOC_SETFLAGS, &flags);
}

static int confine_self(int dirfd, struct gvm_err *err)
{
    spread(dirfd);
    /* OpenSSL reads its configuration at its first use: before the doors close. */
    struct ledger_hasher warm = {0};
    if (ledger_hasher_init(&warm) < 0)
        return gvm_err_set(err, ENOMEM, "ledger: no SHA-256");
    ledger_hasher_done(&warm);
    struct gvm_confine_spec spec = {
        .name = "gvmd-ledger",
        .lists = GVM_CONFINE_BASE | GVM_CONFINE_LOOP | GVM_CONFINE_UNIX | GVM_CONFINE_FILES,
        .dirs_rw = &dirfd,
        .ndirs_rw = 1,
    };
    return gvm_confine(&spec, err);
}

/* Before anything is signed with a new key, the log says that the old one vouches for it. */
static int write_voucher(struct ledger_writer *w, struct gvm_buf *voucher, struct gvm_err *err)
{
    struct gvm_buf b;
    struct gvm_jw j;
    if (!voucher->len)
        return 0;
    gvm_buf_init(&b, GVM_MAX_ENTRY);
    gvm_entry_begin(&j, &b, "ledger.key", NULL, NULL);
    gvm_jw_kstr(&j, "voucher", gvm_buf_str(voucher));
    int r = gvm_entry_end(&j);
    if (!r)
        r = ledger_writer_add(w, gvm_buf_str(&b));
    gvm_buf_done(&b);
    if (r < 0)
        return gvm_err_sys(err, -r, "ledger: cannot record the change of key");
    r = ledger_writer_commit(w, err);
    return r < 0 ? r : ledger_writer_settle(w, err);
}

static int start(struct process *p, int fd, struct gvm_err *err)
{
    char origin[GVM_MAX_ORIGIN + 1];
    struct gvm_buf voucher;
    int dirfd = -1;
    uint64_t id = 0;
    p->asks = gvm_calloc(BATCH_ENTRIES, sizeof *p->asks);
    p->chan[GVM_ROLE_PARENT] = gvm_chan_new(fd, GVM_ROLE_LEDGER, GVM_ROLE_PARENT, QUEUE_BYTES);
    if (!p->asks || !p->chan[GVM_ROLE_PARENT])
        return gvm_err_set(err, ENOMEM, "ledger: out of memory");
    gvm_buf_init(&voucher, GVM_MAX_ENTRY / 2);
    struct ledger_writer_opts opts = {.origin = origin};
    int r = take_start(p->chan[GVM_ROLE_PARENT], origin, &opts, &voucher, &dirfd, &id, err);
    if (!r)
        r = confine_self(dirfd, err);
    if (!r)
        r = ledger_writer_open(dirfd, &opts, &p->w, err);
    bool open = !r;
    if (!r)
        r = write_voucher(p->w, &voucher, err);
    gvm_buf_done(&voucher);
    if (r < 0) {
        if (!open) /* else it is the writer's */
            gvm_close(&dirfd);
        if (id) /* best effort: the log line says the same */
            gvm_chan_fail(p->chan[GVM_ROLE_PARENT], id, err);
        return r;
    }
    p->last_commit = gvm_mono_ns();
    p->sign_due = 1;
    return gvm_chan_send(p->chan[GVM_ROLE_PARENT], GVM_MSG_READY, id, NULL, 0, NULL, 0);
}

int gvm_ledger_main(int fd)
{
    struct gvm_err err = {0};
    struct process *p = gvm_calloc(1, sizeof *p);
    if (!p)
        return 1;
    gvm_log_open("gvmd[ledger]");
    int r = start(p, fd, &err);
    if (r < 0) {
        gvm_log(GVM_LOG_ERROR, "%s", err.text);
    } else {
        process_serve(p);
        process_finish(p);
    }
    for (unsigned role = 0; role < GVM_ROLE_MAX; role++)
        gvm_chan_free(p->chan[role]);
    ledger_writer_close(p->w);
    free(p->asks);
    free(p);
    return r < 0;
}
