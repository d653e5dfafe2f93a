/* pack.c - closed segments are compressed when there is nothing else to do; byte table in
 * verify_pack.c.
 *
 *   <first>.jsonl --blocks--> <first>.jsonl.zst.new --sync, rename, sync--> <first>.jsonl.zst
 *   and only then <first>.jsonl goes.
 *
 * One block is one small piece of work, so that entries that arrive meanwhile do not wait. Each
 * block is unpacked again and compared before it counts. Whatever fails leaves the plain segment as
 * it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <zstd.h>
#include "ledger/ledger_int.h"

enum {
    HEAD = 64,
    HEAD_REST = 56,
    BLOCK_MAX = 1 << 20, /* what the format allows */
    BLOCK = 256 * 1024,  /* what we make: about a millisecond of work */
    PACKED_MAX = BLOCK_MAX + (BLOCK_MAX >> 7),
    LEVEL = 3,
};
static const uint32_t SKIPPABLE = 0x184D2A5C;

struct ledger_pack {
    ZSTD_CCtx *cctx;
    ZSTD_DCtx *dctx;
    uint64_t first, index; /* of the segment; of the next entry to pack */
    int in, out;           /* -1: no segment is being packed */
    uint64_t in_off, out_off;
    uint8_t plain[BLOCK_MAX], again[BLOCK_MAX];
    uint8_t packed[HEAD + PACKED_MAX];
};

static void put_little(uint8_t *p, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get_little(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | p[n];
    return v;
}

static uint32_t count_lines(const uint8_t *p, size_t n)
{
    uint32_t lines = 0;
    for (const uint8_t *end = p + n, *nl; p < end && (nl = memchr(p, '\n', (size_t)(end - p)));
         p = nl + 1)
        lines++;
    return lines;
}

static void make_head(uint8_t *p, uint32_t entries, uint64_t first, size_t plain, size_t packed)
{
    put_little(p, SKIPPABLE, 4);
    put_little(p + 4, HEAD_REST, 4);
    memcpy(p + 8, "gvmb", 4);
    put_little(p + 12, entries, 4);
    put_little(p + 16, first, 8);
    put_little(p + 24, plain, 4);
    put_little(p + 28, packed, 4);
}

/* ---- packing ---- */

static void close_files(struct ledger_writer *w, struct ledger_pack *p)
{
    if (p->in >= 0)
        w->ops->close(w->ops->arg, p->in);
    if (p->out >= 0)
        w->ops->close(w->ops->arg, p->out);
    p->in = p->out = -1;
}

void ledger_pack_drop(struct ledger_writer *w)
{
    struct ledger_pack *p = w->pack;
    if (!p)
        return;
    close_files(w, p);
    ZSTD_freeCCtx(p->cctx);
    ZSTD_freeDCtx(p->dctx);
    free(p);
    w->pack = NULL;
}

static int begin(struct ledger_writer *w, uint64_t first)
{
    char name[SEGMENT_NAME], fresh[SEGMENT_NAME];
    struct ledger_pack *p = w->pack = gvm_calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->in = p->out = -1;
    p->first = p->index = first;
    p->cctx = ZSTD_createCCtx();
    p->dctx = ZSTD_createDCtx();
    if (!p->cctx || !p->dctx ||
        ZSTD_isError(ZSTD_CCtx_setParameter(p->cctx, ZSTD_c_compressionLevel, LEVEL)))
        return -ENOMEM;
    ledger_segment_name(name, first, LEDGER_PLAIN);
    ledger_segment_name(fresh, first, LEDGER_PACKING);
    p->in = w->ops->open(w->ops->arg, w->eventsfd, name, O_RDONLY | O_NONBLOCK, 0);
    if (p->in < 0)
        return p->in;
    p->out = w->ops->open(w->ops->arg, w->eventsfd, fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    return p->out < 0 ? p->out : 1;
}

/* Packs n bytes of whole lines from p->plain into p->packed; returns how many bytes that gave. */
static ssize_t pack_block(struct ledger_writer *w, struct ledger_pack *p, size_t n)
{
    size_t packed = ZSTD_compress2(p->cctx, p->packed + HEAD, PACKED_MAX, p->plain, n);
    if (ZSTD_isError(packed))
        return -EIO;
    size_t back = ZSTD_decompressDCtx(p->dctx, p->again, sizeof p->again, p->packed + HEAD, packed);
    if (ZSTD_isError(back) || back != n || memcmp(p->again, p->plain, n) != 0)
        return -EIO;
    make_head(p->packed, count_lines(p->plain, n), p->index, n, packed);
    ledger_hash_bytes(&w->hasher, p->packed + HEAD, packed, p->packed + 32);
    return (ssize_t)(HEAD + packed);
}

/* The next block: 1 done, 0 at the end of the segment. */
static int one_block(struct ledger_writer *w, struct ledger_pack *p)
{
    ssize_t n = ledger_read_at(w->ops, p->in, p->plain, BLOCK, p->in_off);
    if (n <= 0)
        return (int)n;
    const uint8_t *last = memrchr(p->plain, '\n', (size_t)n);
    if (!last)
        return -EBADMSG; /* a closed segment holds whole lines, none longer than a block */
    size_t take = (size_t)(last - p->plain) + 1;
    ssize_t packed = pack_block(w, p, take);
    int r = packed < 0 ? (int)packed
                       : ledger_write_at(w->ops, p->out, p->packed, (size_t)packed, p->out_off);
    if (r < 0)
        return r;
    p->in_off += take;
    p->out_off += (uint64_t)packed;
    p->index += count_lines(p->plain, take);
    return 1;
}

/* The packed form takes the place of the plain one. */
static int finish(struct ledger_writer *w, struct ledger_pack *p, struct ledger_closed *c)
{
    char name[SEGMENT_NAME], packed[SEGMENT_NAME], fresh[SEGMENT_NAME];
    ledger_segment_name(name, p->first, LEDGER_PLAIN);
    ledger_segment_name(packed, p->first, LEDGER_PACKED);
    ledger_segment_name(fresh, p->first, LEDGER_PACKING);
    int r = w->ops->datasync(w->ops->arg, p->out);
    if (!r)
        r = w->ops->rename(w->ops->arg, w->eventsfd, fresh, packed);
    if (!r)
        r = ledger_sync_dir(w->ops, w->dirfd, "events");
    if (!r)
        r = w->ops->unlink(w->ops->arg, w->eventsfd, name, 0);
    if (r < 0)
        return r;
    w->closed_bytes -= c->bytes;
    c->bytes = p->out_off;
    w->closed_bytes += c->bytes;
    c->packed = true;
    return 0;
}

static struct ledger_closed *next_plain(struct ledger_writer *w)
{
    for (size_t i = 0; i < w->nclosed; i++)
        if (!w->closed[i].packed && w->closed[i].first != w->pack_failed)
            return &w->closed[i];
    return NULL;
}

int ledger_pack_step(struct ledger_writer *w)
{
    struct ledger_closed *c = next_plain(w);
    if (!c) {
        ledger_pack_drop(w);
        return 0;
    }
    if (w->pack && w->pack->first != c->first)
        ledger_pack_drop(w); /* it was pruned meanwhile */
    uint64_t end = c + 1 < w->closed + w->nclosed ? c[1].first : w->seg.first;
    int r = w->pack ? 0 : begin(w, c->first);
    if (!r)
        r = one_block(w, w->pack);
    if (!r && w->pack->index != end)
        r = -EBADMSG;
    if (!r)
        r = finish(w, w->pack, c);
    if (r > 0)
        return 1;
    if (r < 0) { /* it stays plain until the next start */
        char fresh[SEGMENT_NAME];
        ledger_segment_name(fresh, c->first, LEDGER_PACKING);
        (void)w->ops->unlink(w->ops->arg, w->eventsfd, fresh, 0);
        w->pack_failed = c->first;
    }
    ledger_pack_drop(w);
    return 1;
}

/* ---- reading back, for recovery ---- */

/* The block at *off into dst: bytes, 0 at the end. */
static ssize_t read_block(const struct ledger_file_ops *ops, int fd, struct ledger_pack *p,
                          struct ledger_hasher *h, uint64_t *off)
{
    uint8_t hash[HASH];
    ssize_t n = ledger_read_at(ops, fd, p->packed, HEAD, *off);
    if (n <= 0)
        return n;
    uint64_t plain = get_little(p->packed + 24, 4), packed = get_little(p->packed + 28, 4);
    if (n != HEAD || get_little(p->packed, 4) != SKIPPABLE || !plain || plain > BLOCK_MAX ||
        packed > PACKED_MAX)
        return -EBADMSG;
    n = ledger_read_at(ops, fd, p->packed + HEAD, packed, *off + HEAD);
    if (n < 0 || (uint64_t)n != packed)
        return n < 0 ? n : -EBADMSG;
    ledger_hash_bytes(h, p->packed + HEAD, packed, hash);
    size_t got = ZSTD_decompressDCtx(p->dctx, p->plain, plain, p->packed + HEAD, packed);
    if (memcmp(hash, p->packed + 32, HASH) != 0 || ZSTD_isError(got) || got != plain)
        return -EBADMSG;
    *off += HEAD + packed;
    return (ssize_t)got;
}

int ledger_pack_scan(struct ledger_writer *w, int fd,
                     void (*line)(void *arg, const uint8_t *p, size_t n), void *arg,
                     struct ledger_scan *ret)
{
    struct ledger_scan out = {0};
    struct ledger_pack *p = gvm_calloc(1, sizeof *p);
    ssize_t n = p && (p->dctx = ZSTD_createDCtx()) ? 1 : -ENOMEM;
    while (n > 0 && (n = read_block(w->ops, fd, p, &w->hasher, &out.size)) > 0) {
        const uint8_t *at = p->plain, *end = at + n;
        for (const uint8_t *nl; at < end; at = nl + 1) {
            nl = memchr(at, '\n', (size_t)(end - at));
            if (!nl || !ledger_line_ok((struct gvm_str){(const char *)at, (size_t)(nl - at)})) {
                n = -EBADMSG;
                break;
            }
            line(arg, at, (size_t)(nl - at));
            out.lines++;
        }
    }
    if (p)
        ZSTD_freeDCtx(p->dctx);
    free(p);
    if (n < 0)
        return (int)n;
    out.good = out.end = out.size;
    *ret = out;
    return 0;
}
