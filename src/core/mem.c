#include "core/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void gvm_autofree_(void *p)
{
    free(*(void **)p);
}

void gvm_autoclose_(int *fd)
{
    gvm_close(fd);
}

int gvm_steal_fd(int *fd)
{
    int r = *fd;
    *fd = -1;
    return r;
}

void gvm_close(int *fd)
{
    if (*fd < 0)
        return;
    int keep = errno;
    (void)close(*fd);
    errno = keep;
    *fd = -1;
}

void *gvm_calloc(size_t n, size_t size)
{
    return calloc(n ? n : 1, size ? size : 1);
}

/* ---- arena: a list of chunks, the newest first; big pieces get a chunk of their own ---- */

#define ARENA_FIRST 4096u
#define ARENA_CHUNK (64u * 1024u)

struct chunk {
    struct chunk *next;
    size_t cap, used;
    max_align_t mem[];
};

struct gvm_arena {
    struct chunk *head;
    size_t total, max, next_size;
};

struct gvm_arena *gvm_arena_new(size_t max)
{
    struct gvm_arena *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->max = max;
    a->next_size = ARENA_FIRST;
    return a;
}

void gvm_arena_free(struct gvm_arena *a)
{
    if (!a)
        return;
    for (struct chunk *c = a->head; c;) {
        struct chunk *next = c->next;
        free(c);
        c = next;
    }
    free(a);
}

/* A new chunk with room for `n`; a piece as large as a chunk goes behind the head, whose free room
 * stays in use. */
static struct chunk *grow(struct gvm_arena *a, size_t n)
{
    size_t cap = n > a->next_size ? n : a->next_size;
    if (cap > a->max - a->total)
        cap = n;
    struct chunk *c = calloc(1, sizeof *c + cap);
    if (!c)
        return NULL;
    c->cap = cap;
    a->total += cap;
    if (a->head && n >= a->next_size) {
        c->next = a->head->next;
        a->head->next = c;
    } else {
        c->next = a->head;
        a->head = c;
    }
    if (a->next_size < ARENA_CHUNK)
        a->next_size *= 2;
    return c;
}

void *gvm_arena_alloc(struct gvm_arena *a, size_t n)
{
    if (n > a->max || n > SIZE_MAX - 64)
        return NULL;
    n = (n + 15) & ~(size_t)15;
    if (n == 0)
        n = 16;
    struct chunk *c = a->head;
    if (!c || c->cap - c->used < n) {
        if (n > a->max - a->total)
            return NULL;
        c = grow(a, n);
        if (!c)
            return NULL;
    }
    void *p = (uint8_t *)c->mem + c->used;
    c->used += n;
    return p;
}

char *gvm_arena_dup(struct gvm_arena *a, const void *p, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *d = gvm_arena_alloc(a, n + 1);
    if (d && n)
        memcpy(d, p, n);
    return d;
}

char *gvm_arena_printf(struct gvm_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *d = n < 0 ? NULL : gvm_arena_alloc(a, (size_t)n + 1);
    if (d)
        (void)vsnprintf(d, (size_t)n + 1, fmt, again);
    va_end(again);
    return d;
}
