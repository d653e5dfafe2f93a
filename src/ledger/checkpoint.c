/* checkpoint.c - the signed head on disk: a C2SP tlog-checkpoint in ledger/checkpoint.
 *
 * The signature comes from the keys process. Replacing the file is a rename; it is synced only now
 * and then, because after a power cut an older head is as good: the entries behind it are durable
 * and get signed again. A file system that does not order data before renames can leave the file
 * empty or zero; that is a lost head, anything else that does not parse is damage.
 *
 * There may be hundreds of heads a second, and a new file for each would cost more than all the
 * hashing: ext4 takes no inode again within seconds of its removal, and searches past them all. So
 * two files take turns: the head before the last lies in checkpoint.new, is written over, and
 * changes names with the checkpoint. That must not be torn by a power cut, so it is done only
 * within one sector and at the same length; and a power cut must not bring back a head older than
 * one that was made durable, so after a sync the other file is given up. Who had opened the file
 * that is written over may in theory read parts of both; a reader of ours reads until it sees the
 * same twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include "ledger/ledger_int.h"

enum { NOTE_MAX = 4096, SECTOR = 512 };
static const char SPARE[] = "checkpoint.new";

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

int ledger_checkpoint_load(struct ledger_writer *w, struct gvm_checkpoint *ret, bool *ret_lost,
                           struct gvm_err *err)
{
    uint8_t note[NOTE_MAX];
    struct gvm_checkpoint cp = {0};
    int fd = w->ops->open(w->ops->arg, w->dirfd, "checkpoint", O_RDONLY | O_NONBLOCK, 0);
    if (fd == -ENOENT) {
        *ret = cp;
        *ret_lost = false;
        return 0;
    }
    if (fd < 0)
        return gvm_err_sys(err, -fd, "ledger: cannot open checkpoint");
    ssize_t n = ledger_read_at(w->ops, fd, note, sizeof note, 0);
    w->ops->close(w->ops->arg, fd);
    if (n < 0)
        return gvm_err_sys(err, (int)-n, "ledger: cannot read checkpoint");
    bool lost = all_zero(note, (size_t)n);
    if (!lost) {
        int r = gvm_checkpoint_parse((struct gvm_str){(char *)note, (size_t)n}, &cp, err);
        if (r < 0)
            return gvm_err_wrap(err, r,
                                "ledger: checkpoint is damaged, and no head may be signed "
                                "without knowing the last one");
    }
    *ret = cp;
    *ret_lost = lost;
    return 0;
}

bool ledger_writer_head(const struct ledger_writer *w, struct gvm_m_sign *ret)
{
    if (w->tree->size == 0 || (w->head.origin[0] && w->head.size == w->tree->size))
        return false;
    ret->size = w->tree->size;
    ledger_tree_root(w->tree, ret->root);
    return true;
}

/* The spare, to be written over; or a fresh one. */
static int open_spare(struct ledger_writer *w, size_t n)
{
    int fd = -ENOENT;
    if (w->spare_len == n && n <= SECTOR)
        fd = w->ops->open(w->ops->arg, w->dirfd, SPARE, O_WRONLY, 0);
    w->spare_len = 0; /* until it has changed names, it is nothing */
    if (fd != -ENOENT)
        return fd;
    (void)w->ops->unlink(w->ops->arg, w->dirfd, SPARE, 0);
    return w->ops->open(w->ops->arg, w->dirfd, SPARE, O_WRONLY | O_CREAT | O_EXCL, 0600);
}

/* The spare becomes the checkpoint. */
static int change_names(struct ledger_writer *w)
{
    const struct ledger_file_ops *ops = w->ops;
    int r = w->note_len ? ops->exchange(ops->arg, w->dirfd, SPARE, "checkpoint") : -ENOENT;
    if (!r)
        w->spare_len = w->note_len;
    else if (r == -ENOENT || r == -EINVAL || r == -ENOSYS || r == -EOPNOTSUPP)
        r = ops->rename(ops->arg, w->dirfd, SPARE, "checkpoint"); /* not every file system can */
    return r;
}

static int put_note(struct ledger_writer *w, const char *note, size_t n, bool sync)
{
    int fd = open_spare(w, n);
    if (fd < 0)
        return fd;
    int r = ledger_write_at(w->ops, fd, note, n, 0);
    if (!r && sync)
        r = w->ops->datasync(w->ops->arg, fd);
    w->ops->close(w->ops->arg, fd);
    if (!r)
        r = change_names(w);
    if (r < 0)
        return r;
    w->note_len = n;
    return sync ? ledger_sync_dir(w->ops, w->dirfd, ".") : 0;
}

/* What the spare held on disk is older, and its next content might not get there before its name.
 */
static void head_is_durable(struct ledger_writer *w)
{
    w->head_durable = w->head.size;
    w->spare_len = 0;
}

int ledger_writer_publish(struct ledger_writer *w, const struct gvm_m_sign *asked,
                          const struct gvm_m_signed *sig, bool sync, struct gvm_err *err)
{
    if (sig->size != asked->size || asked->size > w->durable ||
        (w->head.origin[0] && asked->size < w->head.size))
        return gvm_err_set(err, EBADMSG, "ledger: a signature came for another head");
    uint8_t blob[4 + 64];
    char root[GVM_B64_LEN(HASH) + 1], b64[GVM_B64_LEN(sizeof blob) + 1], note[NOTE_MAX];
    memcpy(blob, sig->key_id, 4);
    memcpy(blob + 4, sig->signature, 64);
    gvm_b64(b64, blob, sizeof blob);
    gvm_b64(root, asked->root, HASH);
    int n = snprintf(note, sizeof note, "%s\n%" PRIu64 "\n%s\n\n\u2014 %s %s\n", w->origin,
                     asked->size, root, w->origin, b64);
    if (n < 0 || (size_t)n >= sizeof note)
        return gvm_err_set(err, ENAMETOOLONG, "ledger: the log's name is too long");
    int r = ledger_writer_tiles(w);
    if (!r)
        r = put_note(w, note, (size_t)n, sync);
    if (r < 0)
        return gvm_err_sys(err, -r, "ledger: cannot write checkpoint");
    memcpy(w->head.origin, w->origin, sizeof w->head.origin);
    w->head.size = asked->size;
    memcpy(w->head.root, asked->root, HASH);
    if (sync)
        head_is_durable(w);
    return 0;
}

int ledger_checkpoint_sync(struct ledger_writer *w)
{
    if (!w->head.origin[0] || w->head_durable == w->head.size)
        return 0;
    int fd = w->ops->open(w->ops->arg, w->dirfd, "checkpoint", O_WRONLY, 0);
    if (fd < 0)
        return fd;
    int r = w->ops->datasync(w->ops->arg, fd);
    w->ops->close(w->ops->arg, fd);
    if (!r)
        r = ledger_sync_dir(w->ops, w->dirfd, ".");
    if (!r)
        head_is_durable(w);
    return r;
}
