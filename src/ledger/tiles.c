/* tiles.c - C2SP tlog-tiles on disk.
 *
 *   tile/<L>/<N>         256 hashes of subtrees of height 8L, 8,192 bytes: a full tile
 *   tile/<L>/<N>.p/<W>   the first W hashes of a tile that is not full yet
 *
 * <N> in groups of three digits, all but the last with an `x` before: 1234067 is x001/x234/067.
 * Full tiles are written before the next head is published and made durable later (writer.c,
 * tiles_synced): they can always be computed again from the entries. Partial tiles are written when
 * the log rests, under a temporary name, and go away when the tile is full.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include "ledger/ledger_int.h"

void ledger_tile_path(char dst[TILE_PATH], unsigned level, uint64_t index, unsigned width)
{
    unsigned group[8], n = 0;
    do {
        group[n++] = (unsigned)(index % 1000);
        index /= 1000;
    } while (index && n < 8);
    size_t len = (size_t)snprintf(dst, TILE_PATH, "tile/%u", level);
    while (n--)
        len += (size_t)snprintf(dst + len, TILE_PATH - len, n ? "/x%03u" : "/%03u", group[n]);
    if (width)
        (void)snprintf(dst + len, TILE_PATH - len, ".p/%u", width);
}

/* Makes the directories above `path`, durably: a tile must not vanish with its directory. */
static int make_parents(const struct ledger_file_ops *ops, int dirfd, const char *path)
{
    char part[TILE_PATH], above[TILE_PATH] = ".";
    for (const char *s = strchr(path, '/'); s; s = strchr(s + 1, '/')) {
        memcpy(part, path, (size_t)(s - path));
        part[s - path] = '\0';
        int r = ops->mkdir(ops->arg, dirfd, part);
        if (!r)
            r = ledger_sync_dir(ops, dirfd, above);
        if (r < 0 && r != -EEXIST)
            return r;
        memcpy(above, part, sizeof above);
    }
    return 0;
}

static int open_for_write(const struct ledger_file_ops *ops, int dirfd, const char *path)
{
    int flags = O_WRONLY | O_CREAT | O_TRUNC;
    int fd = ops->open(ops->arg, dirfd, path, flags, 0600);
    if (fd != -ENOENT)
        return fd;
    int r = make_parents(ops, dirfd, path);
    return r < 0 ? r : ops->open(ops->arg, dirfd, path, flags, 0600);
}

/* What cannot be removed does no harm. */
void ledger_tile_drop_partials(const struct ledger_file_ops *ops, int dirfd, unsigned level,
                               uint64_t index)
{
    char path[TILE_PATH];
    ledger_tile_path(path, level, index, 1);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    int r = ops->unlink(ops->arg, dirfd, path, AT_REMOVEDIR);
    if (r != -ENOTEMPTY && r != -EEXIST)
        return;
    for (unsigned w = 1; w < TILE_WIDTH; w++) {
        (void)snprintf(slash, sizeof path - (size_t)(slash - path), "/%u", w);
        (void)ops->unlink(ops->arg, dirfd, path, 0);
        (void)snprintf(slash, sizeof path - (size_t)(slash - path), "/%u.new", w);
        (void)ops->unlink(ops->arg, dirfd, path, 0);
    }
    *slash = '\0';
    (void)ops->unlink(ops->arg, dirfd, path, AT_REMOVEDIR);
}

int ledger_tile_write(const struct ledger_file_ops *ops, int dirfd, unsigned level, uint64_t index,
                      const uint8_t *hashes)
{
    char path[TILE_PATH];
    ledger_tile_path(path, level, index, 0);
    int fd = open_for_write(ops, dirfd, path);
    if (fd < 0)
        return fd;
    int r = ledger_write_at(ops, fd, hashes, TILE_BYTES, 0);
    ops->close(ops->arg, fd);
    return r;
}

int ledger_tile_write_partial(const struct ledger_file_ops *ops, int dirfd, unsigned level,
                              uint64_t index, unsigned width, const uint8_t *hashes)
{
    char path[TILE_PATH];
    ledger_tile_path(path, level, index, width);
    int r = make_parents(ops, dirfd, path);
    return r < 0 ? r : ledger_replace(ops, dirfd, path, hashes, (size_t)width * HASH, true);
}

int ledger_tile_read(const struct ledger_file_ops *ops, int dirfd, unsigned level, uint64_t index,
                     uint8_t *ret_hashes)
{
    char path[TILE_PATH];
    ledger_tile_path(path, level, index, 0);
    int fd = ops->open(ops->arg, dirfd, path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    ssize_t n = ledger_read_at(ops, fd, ret_hashes, TILE_BYTES, 0);
    ops->close(ops->arg, fd);
    return n < 0 ? (int)n : n == TILE_BYTES ? 0 : -EBADMSG;
}

int ledger_tile_sync(const struct ledger_file_ops *ops, int dirfd, unsigned level, uint64_t index,
                     bool last)
{
    char path[TILE_PATH];
    ledger_tile_path(path, level, index, 0);
    int fd = ops->open(ops->arg, dirfd, path, O_WRONLY, 0);
    if (fd < 0)
        return fd;
    int r = ops->datasync(ops->arg, fd);
    ops->close(ops->arg, fd);
    if (r < 0 || (!last && index % 1000 != 999))
        return r;
    *strrchr(path, '/') = '\0';
    return ledger_sync_dir(ops, dirfd, path);
}
