/* Pieces of a sandbox that take long to work out and are the same for the next run.
 *
 *   "GVMC1\n", u32 length of the key, u64 length of the piece, u64 sum over key and piece, key,
 * piece
 *
 * Integers are in the machine's own order: nobody else reads this. A piece is written beside and
 * renamed into place without a sync; what a power loss leaves torn fails its sum. The directory is
 * the owner's alone and no sandbox can see it.
 */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC     "GVMC1\n"
#define MAX_PIECE (32u << 20)

struct head {
    char magic[8];
    uint64_t key_len, piece_len, sum;
};

/* FNV-1a over eight bytes at a time: against accidents, not against people. */
static uint64_t sum_of(struct gvm_str s, uint64_t h)
{
    for (; s.n >= 8; s.p += 8, s.n -= 8) {
        uint64_t v;
        memcpy(&v, s.p, 8);
        h = (h ^ v) * UINT64_C(0x100000001b3);
        h ^= h >> 29;
    }
    for (; s.n; s.p++, s.n--)
        h = (h ^ (uint8_t)*s.p) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t sum_both(struct gvm_str key, struct gvm_str piece)
{
    return sum_of(piece, sum_of(key, UINT64_C(0xcbf29ce484222325)));
}

/* Reads exactly `n` bytes behind what `out` holds. */
static bool read_part(int fd, struct gvm_buf *out, size_t n)
{
    uint8_t *p = gvm_buf_space(out, n);
    for (size_t got = 0; p && got < n;) {
        ssize_t k = read(fd, p + got, n - got);
        if (k <= 0)
            return false;
        got += (size_t)k;
    }
    if (p)
        gvm_buf_grew(out, n);
    return p != NULL;
}

/* Reads head and key; true when they are the ones asked for. */
static bool is_the_one(int fd, struct gvm_str key, struct head *h)
{
    char text[SANDBOX_CACHE_KEY];
    return read(fd, h, sizeof(*h)) == sizeof(*h) && memcmp(h->magic, MAGIC, sizeof(MAGIC)) == 0 &&
           h->key_len == key.n && key.n <= sizeof(text) && h->piece_len <= MAX_PIECE &&
           read(fd, text, key.n) == (ssize_t)key.n && memcmp(text, key.p, key.n) == 0;
}

bool sandbox_cache_get(struct sandbox_init *in, const char *name, struct gvm_str key,
                       struct gvm_buf *out)
{
    char path[GVM_PATH_MAX];
    struct head h;
    if (!in->plan->cache ||
        snprintf(path, sizeof(path), "%s/%s", in->plan->cache, name) >= (int)sizeof(path))
        return false;
    GVM_AUTOCLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || !is_the_one(fd, key, &h))
        return false;
    size_t before = out->len;
    if (!read_part(fd, out, (size_t)h.piece_len))
        return false;
    struct gvm_str piece = {(const char *)gvm_buf_data(out) + before, (size_t)h.piece_len};
    return sum_both(key, piece) == h.sum;
}

static int write_beside(int dir, const char *temp, const struct head *h, struct gvm_str key,
                        struct gvm_str piece)
{
    GVM_AUTOCLOSE int fd =
        openat(dir, temp, O_CREAT | O_TRUNC | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : gvm_write_all(fd, h, sizeof(*h));
    if (r == 0)
        r = gvm_write_all(fd, key.p, key.n);
    return r == 0 ? gvm_write_all(fd, piece.p, piece.n) : r;
}

void sandbox_cache_put(struct sandbox_init *in, const char *name, struct gvm_str key,
                       struct gvm_str piece)
{
    char temp[128];
    struct head h = {.key_len = key.n, .piece_len = piece.n, .sum = sum_both(key, piece)};
    memcpy(h.magic, MAGIC, sizeof(MAGIC));
    if (!in->plan->cache || key.n > SANDBOX_CACHE_KEY || piece.n > MAX_PIECE)
        return;
    if (mkdir(in->plan->cache, 0700) < 0 && errno != EEXIST)
        return;
    GVM_AUTOCLOSE int dir = open(in->plan->cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Its own name for every run: several may start at once. */
    if (dir < 0 || snprintf(temp, sizeof(temp), ".%s", in->plan->run) >= (int)sizeof(temp))
        return;
    if (write_beside(dir, temp, &h, key, piece) < 0 || renameat(dir, temp, dir, name) < 0)
        unlinkat(dir, temp, 0);
}
