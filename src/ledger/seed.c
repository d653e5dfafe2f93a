/* seed.c - reading and writing the signing seed (seed.h). */
#include "ledger/seed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PASSPHRASE = 1024 };

static int passphrase_path(char dst[GVM_PATH_MAX], struct gvm_err *err)
{
    const char *file = getenv("GVM_LOG_PASSPHRASE_FILE"), *dir = getenv("CREDENTIALS_DIRECTORY");
    int n = file && *file ? snprintf(dst, GVM_PATH_MAX, "%s", file)
            : dir && *dir ? snprintf(dst, GVM_PATH_MAX, "%s/gvm-log-passphrase", dir)
                          : -1;
    if (n < 0 || n >= GVM_PATH_MAX)
        return gvm_err_set(err, ENOKEY,
                           "the record's key lies under a passphrase; put that into a file and set "
                           "GVM_LOG_PASSPHRASE_FILE to its path");
    return 0;
}

/* The first line. */
static int read_passphrase(struct gvm_buf *out, struct gvm_str *ret, struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    struct stat st;
    int r = passphrase_path(path, err);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return gvm_err_sys(err, errno, "cannot open the passphrase in %s", path);
    if (!S_ISREG(st.st_mode) || st.st_mode & 077)
        return gvm_err_set(err, EPERM, "%s can be read by others; chmod 600 it", path);
    r = gvm_read_fd(fd, out);
    if (r < 0)
        return gvm_err_sys(err, -r, "cannot read the passphrase in %s", path);
    struct gvm_str rest = gvm_buf_str(out);
    (void)gvm_str_cut(&rest, '\n', ret);
    return ret->n ? 0 : gvm_err_set(err, ENOKEY, "the passphrase in %s is empty", path);
}

static int unlock(struct gvm_str text, struct gvm_buf *out, struct gvm_err *err)
{
    struct gvm_buf line;
    struct gvm_str passphrase = {0};
    gvm_buf_init(&line, MAX_PASSPHRASE);
    line.secret = true;
    int r = read_passphrase(&line, &passphrase, err);
    if (!r)
        r = gvm_vault_open(passphrase, text, out, err);
    gvm_buf_wipe(&line);
    return r;
}

static int open_file(int dirfd, const char *name, struct gvm_buf *out, struct gvm_err *err)
{
    struct stat st;
    GVM_AUTOCLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return gvm_err_sys(err, errno, "cannot open the key file %s", name);
    if (st.st_uid != geteuid() || st.st_mode & 077)
        return gvm_err_set(err, EPERM, "the key file %s can be read by others; chmod 600 it", name);
    int r = gvm_read_fd(fd, out);
    return r < 0 ? gvm_err_sys(err, -r, "cannot read the key file %s", name) : 0;
}

int gvm_seed_read(int dirfd, const char *name, uint8_t ret[GVM_SEED], bool *ret_protected,
                  struct gvm_err *err)
{
    struct gvm_buf file, plain;
    gvm_buf_init(&file, GVM_VAULT_TEXT);
    gvm_buf_init(&plain, GVM_VAULT_TEXT);
    file.secret = plain.secret = true;
    int r = open_file(dirfd, name, &file, err);
    bool protected = !r && gvm_vault_looks(gvm_buf_str(&file));
    const struct gvm_buf *seed = protected ? &plain : &file;
    if (protected)
        r = gvm_err_wrap(err, unlock(gvm_buf_str(&file), &plain, err), "the key file %s", name);
    if (!r && seed->len != GVM_SEED)
        r = gvm_err_set(err, EINVAL,
                        "the key file %s holds no seed of %u bytes; restore it from a backup", name,
                        GVM_SEED);
    if (!r)
        memcpy(ret, gvm_buf_data(seed), GVM_SEED);
    if (!r && ret_protected)
        *ret_protected = protected;
    gvm_buf_wipe(&file);
    gvm_buf_wipe(&plain);
    return r;
}

int gvm_seed_write(int dirfd, const char *name, const uint8_t seed[GVM_SEED], bool protect,
                   struct gvm_err *err)
{
    struct gvm_buf line, text;
    struct gvm_str passphrase = {0};
    if (!protect)
        return gvm_write_file_at(dirfd, name, seed, GVM_SEED, 0600, err);
    gvm_buf_init(&line, MAX_PASSPHRASE);
    gvm_buf_init(&text, GVM_VAULT_TEXT);
    line.secret = true;
    int r = read_passphrase(&line, &passphrase, err);
    if (!r)
        r = gvm_vault_seal(passphrase, (struct gvm_str){(const char *)seed, GVM_SEED}, &text, err);
    if (!r)
        r = gvm_write_file_at(dirfd, name, gvm_buf_data(&text), text.len, 0600, err);
    gvm_buf_wipe(&line);
    gvm_buf_done(&text);
    return r;
}
