/* core/buf.h - a growable byte buffer that must be told its maximum, and a maximum that many share.
 */
#ifndef GVM_CORE_BUF_H
#define GVM_CORE_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "core/err.h"
#include "core/str.h"

/* What the memory of many buffers may come to together. A bill may be part of another one, which
 * then counts the same bytes. Not for more than one thread. */
struct gvm_bill;
/* `up` (NULL: none) is kept alive. NULL without memory. One reference for the caller. */
struct gvm_bill *gvm_bill_new(size_t max, struct gvm_bill *up) GVM_MUST_CHECK;
struct gvm_bill *gvm_bill_ref(struct gvm_bill *bill);
/* Every buffer on it must be gone, or off it, with the last reference. */
void gvm_bill_unref(struct gvm_bill *bill);
size_t gvm_bill_used(const struct gvm_bill *bill); /* bytes */
/* Is more than three quarters of it, or of one it is part of, in use? */
bool gvm_bill_high(const struct gvm_bill *bill);

/* Bytes [off, off+len) of `mem` are the content. Use gvm_buf_data()/len. Always keeps one spare
 * byte, so that gvm_buf_cstr() can end the text with NUL. */
struct gvm_buf {
    uint8_t *mem;
    size_t off, len, cap, max;
    struct gvm_bill *bill; /* that `cap` is on, NULL: none */
    bool failed;           /* an append did not fit or memory ran out: sticky until reset */
    bool secret;           /* set after init: memory left behind while growing is wiped */
};

void gvm_buf_init(struct gvm_buf *b, size_t max);
/* Its memory is counted on `bill` (NULL: on none) from now on, also what it has already, for which
 * there always is room; growing fails with -ENOBUFS when the bill is full. */
void gvm_buf_bill(struct gvm_buf *b, struct gvm_bill *bill);
/* Frees the memory; the buffer is empty and usable again with the same maximum. */
void gvm_buf_done(struct gvm_buf *b);
/* Wipes the whole memory (secrets), then frees. */
void gvm_buf_wipe(struct gvm_buf *b);
/* Drops the content, keeps the memory, clears `failed`. */
void gvm_buf_reset(struct gvm_buf *b);
static inline uint8_t *gvm_buf_data(const struct gvm_buf *b)
{
    return b->mem ? b->mem + b->off : NULL;
}
static inline struct gvm_str gvm_buf_str(const struct gvm_buf *b)
{
    return (struct gvm_str){(const char *)gvm_buf_data(b), b->len};
}
/* The content with a NUL behind it ("" when empty). */
const char *gvm_buf_cstr(struct gvm_buf *b);

int gvm_buf_add_slow(struct gvm_buf *b, const void *p, size_t n); /* gvm_buf_add() with growing */

/* Appends; 0, -ENOBUFS past the maximum, -ENOMEM. On failure the content is as before and
 * `failed` is set, so a run of appends may be checked once at the end. */
static inline int gvm_buf_add(struct gvm_buf *b, const void *p, size_t n)
{
    /* Every byte of a message passes here in small pieces. Memory grows to the maximum and its
     * spare byte at most, so what fits into it needs no other check. */
    if (n == 0)
        return 0;
    if (n >= b->cap - b->off - b->len)
        return gvm_buf_add_slow(b, p, n);
    memcpy(b->mem + b->off + b->len, p, n);
    b->len += n;
    return 0;
}
static inline int gvm_buf_addc(struct gvm_buf *b, char c)
{
    return gvm_buf_add(b, &c, 1);
}
static inline int gvm_buf_adds(struct gvm_buf *b, struct gvm_str s)
{
    return gvm_buf_add(b, s.p, s.n);
}
static inline int gvm_buf_addz(struct gvm_buf *b, const char *z)
{
    return gvm_buf_add(b, z, strlen(z));
}
int gvm_buf_addu(struct gvm_buf *b, uint64_t v); /* in decimal digits */
int gvm_buf_addf(struct gvm_buf *b, const char *fmt, ...) GVM_PRINTF(2, 3);
/* Room for `n` more bytes at the end: returns where to write, NULL on failure. Then
 * gvm_buf_grew(b, written). */
uint8_t *gvm_buf_space(struct gvm_buf *b, size_t n) GVM_MUST_CHECK;
void gvm_buf_grew(struct gvm_buf *b, size_t n);
/* Removes `n` bytes from the front (n <= len). */
void gvm_buf_consume(struct gvm_buf *b, size_t n);

#endif
