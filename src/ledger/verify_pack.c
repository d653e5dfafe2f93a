/* verify_pack.c - reading a packed segment, events/<first>.jsonl.zst: a row of blocks.
 *
 *    0  4  0x184D2A5C: a skippable frame of zstd (RFC 8878, 3.1.2); all numbers little-endian
 *    4  4  56: its length behind these eight bytes
 *    8  4  "gvmb"
 *   12  4  entries of this block, 1 or more
 *   16  8  index of the first of them
 *   24  4  bytes they have with their newlines, 1 to 1,048,576
 *   28  4  bytes of the zstd frame that follows
 *   32 32  SHA-256 of that frame
 *   64  -  one zstd frame; inside whole lines only
 *
 * `zstd -dc` gives the lines back, skipping the heads. The heads are there so that a reader can
 * step to an entry without unpacking all before it, and so that no bit of the file can change
 * unseen. Sizes are checked before memory is spent: a block never takes more than its two fixed
 * buffers.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>
#include "ledger/verify_int.h"

enum { HEAD = 64, HEAD_REST = 56, BLOCK_MAX = 1 << 20, PACKED_MAX = BLOCK_MAX + (BLOCK_MAX >> 7) };
static const uint32_t SKIPPABLE = 0x184D2A5C;

struct vpack {
    ZSTD_DCtx *dctx;
    struct vhasher hasher;
    uint64_t at;    /* file offset of the next head */
    uint64_t first; /* entry of the segment */
    uint64_t index; /* of the first entry of the next block */
    uint8_t in[PACKED_MAX];
};

struct head {
    uint32_t entries, plain, packed;
    uint64_t first;
    uint8_t hash[VHASH];
};

static uint64_t little(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | p[n];
    return v;
}

static bool parse_head(const uint8_t p[HEAD], struct head *ret)
{
    struct head h = {.entries = (uint32_t)little(p + 12, 4),
                     .first = little(p + 16, 8),
                     .plain = (uint32_t)little(p + 24, 4),
                     .packed = (uint32_t)little(p + 28, 4)};
    memcpy(h.hash, p + 32, VHASH);
    *ret = h;
    return little(p, 4) == SKIPPABLE && little(p + 4, 4) == HEAD_REST &&
           memcmp(p + 8, "gvmb", 4) == 0 && h.plain && h.plain <= BLOCK_MAX && h.packed &&
           h.packed <= PACKED_MAX && h.entries && h.entries <= h.plain && h.first <= INT64_MAX;
}

/* n bytes at `off`, or -EBADMSG; 0 bytes are the end: -ENODATA. */
static int read_exact(int fd, uint8_t *p, size_t n, uint64_t off)
{
    size_t done = 0;
    while (done < n) {
        ssize_t r = pread(fd, p + done, n - done, (off_t)(off + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            return done ? -EBADMSG : -ENODATA;
        done += (size_t)r;
    }
    return 0;
}

/* The head of the next block; it must go on where the last one ended. */
static int next_head(const struct vpack *p, int fd, struct head *ret)
{
    uint8_t bytes[HEAD];
    int r = read_exact(fd, bytes, HEAD, p->at);
    if (r < 0)
        return r;
    return parse_head(bytes, ret) && ret->first == p->index ? 0 : -EBADMSG;
}

struct vpack *vpack_new(uint64_t first)
{
    struct vpack *p = gvm_calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->first = p->index = first;
    p->dctx = ZSTD_createDCtx();
    if (p->dctx && vhasher_init(&p->hasher, NULL) == 0)
        return p;
    vpack_free(p);
    return NULL;
}

void vpack_free(struct vpack *p)
{
    if (!p)
        return;
    ZSTD_freeDCtx(p->dctx);
    vhasher_done(&p->hasher);
    free(p);
}

static uint32_t count_lines(const uint8_t *p, size_t n)
{
    uint32_t lines = 0;
    for (const uint8_t *end = p + n, *nl; p < end && (nl = memchr(p, '\n', (size_t)(end - p)));
         p = nl + 1)
        lines++;
    return lines;
}

int vpack_next(struct vpack *p, int fd, uint8_t *dst, size_t cap, size_t *ret_n)
{
    struct head h;
    uint8_t hash[VHASH];
    int r = next_head(p, fd, &h);
    if (!r && h.plain > cap)
        r = -EBADMSG;
    if (!r && (r = read_exact(fd, p->in, h.packed, p->at + HEAD)) == -ENODATA)
        r = -EBADMSG; /* a head without its frame */
    if (r < 0)
        return r;
    vhash_bytes(&p->hasher, p->in, h.packed, hash);
    if (memcmp(hash, h.hash, VHASH) != 0 ||
        ZSTD_findFrameCompressedSize(p->in, h.packed) != h.packed)
        return -EBADMSG;
    size_t n = ZSTD_decompressDCtx(p->dctx, dst, h.plain, p->in, h.packed);
    if (ZSTD_isError(n) || n != h.plain || dst[n - 1] != '\n' || count_lines(dst, n) != h.entries)
        return -EBADMSG;
    p->at += HEAD + (uint64_t)h.packed;
    p->index += h.entries;
    *ret_n = n;
    return 0;
}

struct vpack_place vpack_seek(struct vpack *p, int fd, uint64_t index, uint64_t offset)
{
    struct head h;
    uint64_t before = 0;
    p->at = 0;
    p->index = p->first;
    while (next_head(p, fd, &h) == 0 && index >= h.first + h.entries &&
           offset >= before + h.plain) {
        p->at += HEAD + (uint64_t)h.packed;
        p->index += h.entries;
        before += h.plain;
    }
    return (struct vpack_place){p->index, before};
}
