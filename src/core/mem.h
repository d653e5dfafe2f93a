/* core/mem.h - the three ways memory is held: cleanup attributes, arenas, owner structs. */
#ifndef GVM_CORE_MEM_H
#define GVM_CORE_MEM_H

#include <stddef.h>
#include <stdint.h>
#include "core/err.h"

void gvm_autofree_(void *p);
void gvm_autoclose_(int *fd);

/* A pointer freed with free(), or a descriptor closed, when its scope ends. Initialise both
 * (NULL, -1) at declaration; give away with gvm_steal_ptr()/gvm_steal_fd(). */
#define GVM_AUTOFREE    __attribute__((cleanup(gvm_autofree_)))
#define GVM_AUTOCLOSE   __attribute__((cleanup(gvm_autoclose_)))
#define GVM_CLEANUP(fn) __attribute__((cleanup(fn)))

/* Takes the value out of an owning variable and leaves it empty. */
#define gvm_steal_ptr(pp)                                                                          \
    __extension__({                                                                                \
        __typeof__(*(pp)) gvm_tmp_ = *(pp);                                                        \
        *(pp) = NULL;                                                                              \
        gvm_tmp_;                                                                                  \
    })
int gvm_steal_fd(int *fd);

/* Closes *fd if >= 0 and sets it to -1; errno is kept. */
void gvm_close(int *fd);

/* calloc with overflow check; NULL when out of memory. Free with free(). */
void *gvm_calloc(size_t n, size_t size) GVM_MUST_CHECK;

/* An arena: many small allocations, one end. Never grows past `max` bytes. */
struct gvm_arena;
/* Returns NULL when out of memory. Owned by the caller; gvm_arena_free(NULL) is fine. */
struct gvm_arena *gvm_arena_new(size_t max) GVM_MUST_CHECK;
void gvm_arena_free(struct gvm_arena *a);
/* Zeroed memory aligned to 16, valid until the arena is freed; NULL past the limit. */
void *gvm_arena_alloc(struct gvm_arena *a, size_t n) GVM_MUST_CHECK;
/* Copies `n` bytes and adds a NUL. */
char *gvm_arena_dup(struct gvm_arena *a, const void *p, size_t n) GVM_MUST_CHECK;
char *gvm_arena_printf(struct gvm_arena *a, const char *fmt, ...) GVM_PRINTF(2, 3) GVM_MUST_CHECK;

#endif
