/* A new key for the log: what `gvm audit rotate-key` prepared takes effect when gvmd starts.
 *
 *   keys/log.seed.next, keys/log.voucher     prepared; the voucher last, so that with it both are
 * whole ledger/key-chain                         every voucher so far; the first key is
 * ledger/verifier-key
 *
 * In this order: voucher into key-chain, new seed over the old one, voucher away. Each step may be
 * the last before a crash; the next start goes on. The old seed is gone then: it cannot sign a
 * second history. The ledger process writes the voucher into the log before anything is signed with
 * the new key. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/daemon_int.h"
#include "keys/keys.h"
#include "ledger/ledger.h"

/* 0, -ENOENT, ... of a small file. */
static int slurp(int dirfd, const char *name, struct gvm_buf *out)
{
    GVM_AUTOCLOSE int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : gvm_read_fd(fd, out);
}

static int seed_key(int dirfd, const char *name, const char *origin, struct gvm_vkey *ret,
                    struct gvm_err *err)
{
    uint8_t seed[GVM_SEED];
    int r = gvm_seed_read(dirfd, name, seed, NULL, err);
    if (!r)
        r = gvm_vkey_from_seed(seed, origin, ret, err);
    explicit_bzero(seed, sizeof seed);
    return r;
}

/* The voucher must be the present key's for the prepared one. */
static int check(const struct daemon *d, int keysfd, struct gvm_str voucher, struct gvm_err *err)
{
    struct gvm_vkey from, to, named;
    int r = seed_key(keysfd, "log.seed", d->origin, &from, err);
    if (!r)
        r = seed_key(keysfd, "log.seed.next", d->origin, &to, err);
    if (!r)
        r = gvm_voucher_open(voucher, &from, &named, err);
    if (!r && memcmp(named.key, to.key, sizeof to.key) != 0)
        r = gvm_err_set(err, EKEYREJECTED, "it is for another key");
    return gvm_err_wrap(
        err, r,
        "the change of key that was prepared does not hold; remove keys/log.voucher and "
        "keys/log.seed.next");
}

static int add_voucher(const struct daemon *d, struct gvm_str voucher, struct gvm_err *err)
{
    struct gvm_buf chain;
    gvm_buf_init(&chain, GVM_MAX_VOUCHERS);
    int r = slurp(d->ledger_fd, "key-chain", &chain);
    if (r < 0 && r != -ENOENT) {
        gvm_err_sys(err, -r, "cannot read ledger/key-chain");
    } else if (gvm_str_ends(gvm_buf_str(&chain), voucher)) {
        r = 0;
    } else {
        r = gvm_buf_adds(&chain, voucher) < 0
                ? gvm_err_set(err, E2BIG, "the log's key was changed too often")
                : gvm_write_file_at(d->ledger_fd, "key-chain", gvm_buf_data(&chain), chain.len,
                                    0600, err);
    }
    gvm_buf_done(&chain);
    return r;
}

static int take_over(int keysfd, struct gvm_err *err)
{
    if (renameat(keysfd, "log.seed.next", keysfd, "log.seed") < 0 || fsync(keysfd) < 0)
        return gvm_err_sys(err, errno, "cannot put the new key in place");
    return 0;
}

int daemon_rotate(struct daemon *d, int keysfd, struct gvm_err *err)
{
    struct gvm_buf voucher;
    gvm_buf_init(&voucher, GVM_MAX_VOUCHERS);
    int r = slurp(keysfd, "log.voucher", &voucher);
    if (r == -ENOENT) { /* nothing prepared, or not to the end */
        (void)unlinkat(keysfd, "log.seed.next", 0);
        r = 0;
    } else if (r < 0) {
        gvm_err_sys(err, -r, "cannot read keys/log.voucher");
    } else {
        if (faccessat(keysfd, "log.seed.next", F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
            r = check(d, keysfd, gvm_buf_str(&voucher), err);
            if (!r)
                r = add_voucher(d, gvm_buf_str(&voucher), err);
            if (!r)
                r = take_over(keysfd, err);
        }
        if (!r)
            (void)unlinkat(keysfd, "log.voucher", 0);
    }
    gvm_buf_done(&voucher);
    return r;
}

int daemon_check_key(const struct daemon *d, const char *first, const char *now,
                     struct gvm_err *err)
{
    struct gvm_vkey key;
    struct gvm_buf chain, text;
    struct gvm_keychain *keys = gvm_calloc(1, sizeof *keys);
    gvm_buf_init(&chain, GVM_MAX_VOUCHERS);
    gvm_buf_init(&text, 1024);
    int r = keys ? gvm_vkey_parse(gvm_str(first), &key, err)
                 : gvm_err_set(err, ENOMEM, "out of memory");
    if (!r && (r = slurp(d->ledger_fd, "key-chain", &chain)) == -ENOENT)
        r = 0;
    if (!r)
        r = gvm_keychain_follow(&key, gvm_buf_str(&chain), keys, err);
    if (!r)
        r = gvm_vkey_text(&keys->key[keys->n - 1], &text);
    if (!r && !gvm_str_eqz(gvm_str_trim(gvm_buf_str(&text)), now))
        r = gvm_err_set(
            err, EKEYREJECTED,
            "%s/ledger was signed with another key than keys/log.seed; restore that file, or "
            "move the ledger aside to begin a new one",
            d->state);
    gvm_buf_done(&chain);
    gvm_buf_done(&text);
    free(keys);
    return r;
}

/* The last whole voucher of key-chain. */
static struct gvm_str last_voucher(struct gvm_str chain)
{
    struct gvm_str line, from = chain, last = {0};
    for (unsigned lines = 0; gvm_str_cut(&chain, '\n', &line);) {
        if (++lines % 6 != 0)
            continue;
        last = (struct gvm_str){from.p, from.n - chain.n};
        from = chain;
    }
    return last;
}

void daemon_put_voucher(const struct daemon *d, struct gvm_jw *w)
{
    struct gvm_buf chain, note;
    struct gvm_vkey key;
    struct gvm_checkpoint head;
    uint8_t raw[32];
    gvm_buf_init(&chain, GVM_MAX_VOUCHERS);
    gvm_buf_init(&note, GVM_MAX_VOUCHERS);
    bool know = slurp(d->ledger_fd, "key-chain", &chain) == 0 &&
                pread(d->keys_fds[0], raw, sizeof raw, 0) == (ssize_t)sizeof raw &&
                gvm_vkey_from_seed(raw, d->origin, &key, NULL) == 0;
    explicit_bzero(raw, sizeof raw);
    bool signed_by_it = know && slurp(d->ledger_fd, "checkpoint", &note) == 0 &&
                        gvm_checkpoint_open(gvm_buf_str(&note), &key, &head, NULL) == 0;
    if (know && !signed_by_it)
        gvm_jw_kstr(w, "voucher", last_voucher(gvm_buf_str(&chain)));
    gvm_buf_done(&chain);
    gvm_buf_done(&note);
}
