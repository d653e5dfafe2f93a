/* gvm audit key, keygen, rotate-key: the keys that records are signed with. */
#include "cli/audit_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

static int print_text(const struct gvm_vkey *key)
{
    struct gvm_buf text;
    gvm_buf_init(&text, 1024);
    if (gvm_vkey_text(key, &text) == 0)
        printf("%s\n", gvm_buf_cstr(&text));
    gvm_buf_done(&text);
    return cli_flush();
}

/* The first key and every voucher: who trusts that key can follow the record to its present one. */
static int print_chain(const struct audit_opts *o, const struct gvm_keychain *keys,
                       struct gvm_err *err)
{
    char path[GVM_PATH_MAX + 32];
    struct gvm_buf text;
    int r = 0;
    (void)snprintf(path, sizeof path, "%s/key-chain", o->dir);
    gvm_buf_init(&text, GVM_MAX_VOUCHERS);
    if (keys->n > 1)
        r = gvm_read_file(path, &text, err);
    if (!r && print_text(&keys->key[0]) == 0)
        fwrite(gvm_buf_data(&text), 1, text.len, stdout);
    gvm_buf_done(&text);
    return r;
}

int audit_key(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct gvm_keychain keys;
    int r = audit_keys_load(o, &keys, &err);
    if (!r && !o->chain)
        return print_text(&keys.key[keys.n - 1]);
    if (!r)
        r = print_chain(o, &keys, &err);
    return r < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
}

static int write_seed(const char *path, const uint8_t seed[32], struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return gvm_err_sys(err, errno, errno == EEXIST ? "%s is left as it is" : "cannot make %s",
                           path);
    int r = gvm_write_all(fd, seed, 32);
    if (!r && fsync(fd) < 0)
        r = -errno;
    return r < 0 ? gvm_err_sys(err, -r, "cannot write %s", path) : 0;
}

int audit_keygen(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    uint8_t seed[32];
    struct gvm_vkey key;
    char host[128] = "localhost", name[GVM_MAX_ORIGIN + 1];
    if (!o->out)
        return cli_usage("audit", "keygen needs --out FILE");
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(name, sizeof name, "gvm.local/%s/%u", host, (unsigned)geteuid());
    if (getrandom(seed, sizeof seed, 0) != sizeof seed)
        return cli_fail(GVM_EXIT_ERROR, &err);
    int r = gvm_vkey_from_seed(seed, o->origin ? o->origin : name, &key, &err);
    int bad = r == -EINVAL ? GVM_EXIT_USAGE : GVM_EXIT_ERROR;
    if (!r)
        r = write_seed(o->out, seed, &err);
    explicit_bzero(seed, sizeof seed);
    if (r < 0)
        return cli_fail(bad, &err);
    return print_text(&key);
}

/* ---- another key for the same record ---- */

struct change {
    char origin[GVM_MAX_ORIGIN + 1];
    uint8_t old_seed[GVM_SEED], new_seed[GVM_SEED];
    bool protected;      /* they lie under a passphrase */
    struct gvm_vkey key; /* the new one */
    struct gvm_buf voucher;
};

static int read_old(int statefd, int keysfd, struct change *c, struct gvm_err *err)
{
    struct gvm_buf text;
    struct gvm_str name = {0}, rest;
    gvm_buf_init(&text, GVM_MAX_ORIGIN + 2);
    GVM_AUTOCLOSE int origin = openat(statefd, "origin", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (origin >= 0 && gvm_read_fd(origin, &text) == 0) {
        rest = gvm_buf_str(&text);
        (void)gvm_str_cut(&rest, '\n', &name);
    }
    int r =
        !name.n || gvm_str_copy(c->origin, sizeof c->origin, name) < 0
            ? gvm_err_set(err, ENOENT,
                          "the record has no name yet (origin); gvmd gives it one when it starts")
            : gvm_seed_read(keysfd, "log.seed", c->old_seed, &c->protected, err);
    gvm_buf_done(&text);
    return r;
}

/* The voucher last: with it both are whole (daemon/rotate.c). */
static int prepare(int keysfd, struct change *c, struct gvm_err *err)
{
    if (faccessat(keysfd, "log.voucher", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return gvm_err_set(
            err, EEXIST,
            "a change of key is prepared already; it takes effect when gvmd starts next");
    if (getrandom(c->new_seed, 32, 0) != 32)
        return gvm_err_set(err, EIO, "no random bytes");
    int r = gvm_vkey_from_seed(c->new_seed, c->origin, &c->key, err);
    if (!r)
        r = gvm_voucher_make(c->old_seed, c->new_seed, c->origin, &c->voucher, err);
    if (!r)
        r = gvm_seed_write(keysfd, "log.seed.next", c->new_seed, c->protected, err);
    if (!r)
        r = gvm_write_file_at(keysfd, "log.voucher", gvm_buf_data(&c->voucher), c->voucher.len,
                              0600, err);
    return r;
}

static int open_keys(int *ret_state, int *ret_keys, struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    int r = gvm_place(GVM_PLACE_STATE, path, err);
    if (r < 0)
        return r;
    *ret_state = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *ret_keys = *ret_state < 0
                    ? -1
                    : openat(*ret_state, "keys", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return *ret_keys < 0 ? gvm_err_sys(err, errno, "cannot open %s and the keys below it", path)
                         : 0;
}

int audit_rotate_key(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct change c = {0};
    GVM_AUTOCLOSE int statefd = -1;
    GVM_AUTOCLOSE int keysfd = -1;
    gvm_buf_init(&c.voucher, GVM_MAX_VOUCHERS);
    int r = open_keys(&statefd, &keysfd, &err);
    if (!r)
        r = read_old(statefd, keysfd, &c, &err);
    if (!r)
        r = prepare(keysfd, &c, &err);
    explicit_bzero(c.old_seed, sizeof c.old_seed);
    explicit_bzero(c.new_seed, sizeof c.new_seed);
    gvm_buf_done(&c.voucher);
    if (r < 0)
        return cli_fail(GVM_EXIT_ERROR, &err);
    cli_say("the old key vouches for this one; it takes effect when gvmd starts next (gvm stop)");
    return print_text(&c.key);
}

/* ---- under a passphrase, or not ---- */

static int protect(bool on)
{
    struct gvm_err err = {0};
    uint8_t seed[GVM_SEED];
    GVM_AUTOCLOSE int statefd = -1;
    GVM_AUTOCLOSE int keysfd = -1;
    bool was = false;
    int r = open_keys(&statefd, &keysfd, &err);
    if (!r && faccessat(keysfd, "log.voucher", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        r = gvm_err_set(&err, EBUSY, "a change of key is prepared; let gvmd start first");
    if (!r)
        r = gvm_seed_read(keysfd, "log.seed", seed, &was, &err);
    if (!r && was != on)
        r = gvm_seed_write(keysfd, "log.seed", seed, on, &err);
    explicit_bzero(seed, sizeof seed);
    if (r < 0)
        return cli_fail(GVM_EXIT_ERROR, &err);
    cli_say(on ? "the record's key lies under the passphrase; gvmd needs it at every start"
               : "the record's key lies without a passphrase");
    return GVM_EXIT_OK;
}

int audit_protect_key(const struct audit_opts *o)
{
    return protect(true);
}

int audit_unprotect_key(const struct audit_opts *o)
{
    return protect(false);
}
