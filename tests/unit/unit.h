/* What unit tests share: cmocka's headers in the order it wants them, and failing allocations. */
#ifndef GVM_TEST_UNIT_H
#define GVM_TEST_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define assert_str(got, want) /* a struct gvm_str against a literal */                             \
    do {                                                                                           \
        struct gvm_str got_ = (got);                                                               \
        assert_int_equal(got_.n, strlen(want));                                                    \
        assert_memory_equal(got_.p, want, got_.n);                                                 \
    } while (0)

/* Define UNIT_FAIL_ALLOC before including this in ONE file of a program: malloc, calloc and realloc
 * then fail at the unit_fail_at-th call from when it was set (0 = never). Not under
 * AddressSanitizer, which has its own allocator: unit_can_fail says so. */
#ifdef UNIT_FAIL_ALLOC
#if defined(__SANITIZE_ADDRESS__)
#define UNIT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNIT_ASAN 1
#endif
#endif

static long unit_fail_at;
#ifdef UNIT_ASAN
static const int unit_can_fail = 0;
#else
static const int unit_can_fail = 1;
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

static int unit_fails(void)
{
    return unit_fail_at > 0 && --unit_fail_at == 0;
}
__attribute__((visibility("default"))) void *malloc(size_t n)
{
    return unit_fails() ? NULL : __libc_malloc(n);
}
__attribute__((visibility("default"))) void *calloc(size_t n, size_t size)
{
    return unit_fails() ? NULL : __libc_calloc(n, size);
}
__attribute__((visibility("default"))) void *realloc(void *p, size_t n)
{
    return unit_fails() ? NULL : __libc_realloc(p, n);
}
#endif
#endif

#endif
