/* files.c - the files below state/keys. Made by the parent; the two keys are read once by the keys
 * process. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "keys/keys_int.h"

static int make(int dirfd, const char *name, struct gvm_err *err)
{
    uint8_t seed[KEYS_SEED];
    if (RAND_bytes(seed, sizeof seed) != 1)
        return gvm_err_set(err, EIO, "no random bytes for %s", name);
    int r = gvm_write_file_at(dirfd, name, seed, sizeof seed, 0600, err);
    explicit_bzero(seed, sizeof seed);
    return r;
}

/* The log's seed may lie under a passphrase: the parent opens that (daemon/place.c). */
static const char LOG_SEED[] = "log.seed";

static int check(int fd, const char *name, struct gvm_err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return gvm_err_sys(err, errno, "cannot look at %s", name);
    bool vault =
        strcmp(name, LOG_SEED) == 0 && st.st_size > KEYS_SEED && st.st_size <= GVM_VAULT_TEXT;
    if (!S_ISREG(st.st_mode) || (st.st_size != KEYS_SEED && !vault))
        return gvm_err_set(err, EINVAL,
                           "the key file %s is not %u bytes long; restore it from a backup", name,
                           KEYS_SEED);
    if (st.st_uid != geteuid() || st.st_mode & 077)
        return gvm_err_set(err, EPERM, "the key file %s can be read by others; chmod 600 it", name);
    return 0;
}

static int open_one(int dirfd, const char *name, int *ret, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd = gvm_open_beneath(dirfd, name, O_RDONLY | O_NOFOLLOW, 0, true);
    if (fd == -ENOENT) {
        int r = make(dirfd, name, err);
        if (r < 0)
            return r;
        fd = gvm_open_beneath(dirfd, name, O_RDONLY | O_NOFOLLOW, 0, true);
    }
    if (fd < 0)
        return gvm_err_sys(err, -fd, "cannot open the key file %s", name);
    int r = check(fd, name, err);
    if (r == 0)
        *ret = gvm_steal_fd(&fd);
    return r;
}

/* What the signer remembers; empty until the first head is signed. */
static int open_head(int dirfd, int *ret, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd =
        gvm_open_beneath(dirfd, "signed-head", O_RDWR | O_CREAT | O_NOFOLLOW, 0600, true);
    struct stat st;
    if (fd < 0)
        return gvm_err_sys(err, -fd, "cannot open signed-head");
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid())
        return gvm_err_set(err, EPERM, "signed-head is not a file of yours");
    *ret = gvm_steal_fd(&fd);
    return 0;
}

int gvm_keys_open_files(int dirfd, int ret_fds[3], struct gvm_err *err)
{
    GVM_AUTOCLOSE int seed = -1;
    GVM_AUTOCLOSE int seal = -1;
    int r = open_one(dirfd, LOG_SEED, &seed, err);
    if (r == 0)
        r = open_one(dirfd, "seal.key", &seal, err);
    if (r == 0)
        r = open_head(dirfd, &ret_fds[2], err);
    if (r < 0)
        return r;
    ret_fds[0] = gvm_steal_fd(&seed);
    ret_fds[1] = gvm_steal_fd(&seal);
    return 0;
}
