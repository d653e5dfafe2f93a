#include "core/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST 256u

struct gvm_bill {
    size_t used, max;
    struct gvm_bill *up;
    unsigned refs;
};

struct gvm_bill *gvm_bill_new(size_t max, struct gvm_bill *up)
{
    struct gvm_bill *bill = calloc(1, sizeof *bill);
    if (bill)
        *bill = (struct gvm_bill){.max = max, .up = gvm_bill_ref(up), .refs = 1};
    return bill;
}

struct gvm_bill *gvm_bill_ref(struct gvm_bill *bill)
{
    if (bill)
        bill->refs++;
    return bill;
}

void gvm_bill_unref(struct gvm_bill *bill)
{
    while (bill && !--bill->refs) {
        struct gvm_bill *up = bill->up;
        free(bill);
        bill = up;
    }
}

size_t gvm_bill_used(const struct gvm_bill *bill)
{
    return bill->used;
}

bool gvm_bill_high(const struct gvm_bill *bill)
{
    for (; bill; bill = bill->up)
        if (bill->used > bill->max / 4 * 3)
            return true;
    return false;
}

static bool has_room(const struct gvm_bill *bill, size_t n)
{
    for (; bill; bill = bill->up)
        if (bill->used > bill->max || n > bill->max - bill->used)
            return false;
    return true;
}

static void charge(struct gvm_bill *bill, size_t n)
{
    for (; bill; bill = bill->up)
        bill->used += n;
}

static void give_back(struct gvm_bill *bill, size_t n)
{
    for (; bill; bill = bill->up)
        bill->used -= n;
}

void gvm_buf_bill(struct gvm_buf *b, struct gvm_bill *bill)
{
    give_back(b->bill, b->cap);
    b->bill = bill;
    charge(b->bill, b->cap);
}

void gvm_buf_init(struct gvm_buf *b, size_t max)
{
    *b = (struct gvm_buf){.max = max < SIZE_MAX ? max : SIZE_MAX - 1};
}

void gvm_buf_done(struct gvm_buf *b)
{
    if (b->secret && b->mem)
        explicit_bzero(b->mem, b->cap);
    free(b->mem);
    give_back(b->bill, b->cap);
    *b = (struct gvm_buf){.max = b->max, .secret = b->secret, .bill = b->bill};
}

void gvm_buf_wipe(struct gvm_buf *b)
{
    if (b->mem)
        explicit_bzero(b->mem, b->cap);
    gvm_buf_done(b);
}

void gvm_buf_reset(struct gvm_buf *b)
{
    b->off = b->len = 0;
    b->failed = false;
}

const char *gvm_buf_cstr(struct gvm_buf *b)
{
    if (!b->mem)
        return "";
    b->mem[b->off + b->len] = '\0'; /* the spare byte */
    return (const char *)b->mem + b->off;
}

static int fail(struct gvm_buf *b, int r)
{
    b->failed = true;
    return r;
}

/* Moves the content into a larger block. realloc() would leave copies of secrets behind. */
static int regrow(struct gvm_buf *b, size_t cap)
{
    uint8_t *mem = NULL;
    if (!has_room(b->bill, cap - b->cap))
        return fail(b, -ENOBUFS);
    if (b->secret || b->off) {
        mem = malloc(cap);
        if (!mem)
            return fail(b, -ENOMEM);
        if (b->len)
            memcpy(mem, b->mem + b->off, b->len);
        if (b->secret && b->mem)
            explicit_bzero(b->mem, b->cap);
        free(b->mem);
    } else {
        mem = realloc(b->mem, cap);
        if (!mem)
            return fail(b, -ENOMEM);
    }
    charge(b->bill, cap - b->cap);
    b->mem = mem;
    b->off = 0;
    b->cap = cap;
    return 0;
}

static int reserve(struct gvm_buf *b, size_t n)
{
    if (n > b->max || b->len > b->max - n)
        return fail(b, -ENOBUFS);
    size_t need = b->len + n + 1;
    if (b->cap >= need && b->cap - b->off >= need)
        return 0;
    /* Sliding down is cheap when the hole in front is at least as large as the content. */
    if (b->cap >= need && b->off >= b->len) {
        memmove(b->mem, b->mem + b->off, b->len);
        b->off = 0;
        return 0;
    }
    size_t cap = b->cap ? b->cap : BUF_FIRST;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (cap > b->max + 1)
        cap = b->max + 1;
    return regrow(b, cap < need ? need : cap);
}

uint8_t *gvm_buf_space(struct gvm_buf *b, size_t n)
{
    return reserve(b, n) < 0 ? NULL : b->mem + b->off + b->len;
}

void gvm_buf_grew(struct gvm_buf *b, size_t n)
{
    b->len += n;
}

int gvm_buf_add_slow(struct gvm_buf *b, const void *p, size_t n)
{
    int r = reserve(b, n);
    if (r < 0)
        return r;
    memcpy(b->mem + b->off + b->len, p, n);
    b->len += n;
    return 0;
}

int gvm_buf_addu(struct gvm_buf *b, uint64_t v)
{
    char text[20]; /* digits of UINT64_MAX */
    size_t at = sizeof text;
    do
        text[--at] = (char)('0' + v % 10);
    while (v /= 10);
    return gvm_buf_add(b, text + at, sizeof text - at);
}

int gvm_buf_addf(struct gvm_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    size_t room = b->mem ? b->cap - b->off - b->len : 0;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(room ? (char *)b->mem + b->off + b->len : NULL, room, fmt, ap);
    va_end(ap);
    int r = n < 0 ? fail(b, -EINVAL) : 0;
    if (r == 0 && (size_t)n >= room) { /* it did not fit into what was there */
        r = reserve(b, (size_t)n);
        if (r == 0)
            (void)vsnprintf((char *)b->mem + b->off + b->len, (size_t)n + 1, fmt, again);
    }
    if (r == 0)
        b->len += (size_t)n;
    va_end(again);
    return r;
}

void gvm_buf_consume(struct gvm_buf *b, size_t n)
{
    if (n >= b->len) {
        b->off = b->len = 0;
        return;
    }
    b->off += n;
    b->len -= n;
}
