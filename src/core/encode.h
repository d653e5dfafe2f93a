/* core/encode.h - hex and base64 (RFC 4648), and big-endian integers. */
#ifndef GVM_CORE_ENCODE_H
#define GVM_CORE_ENCODE_H

#include <stddef.h>
#include <stdint.h>
#include "core/buf.h"
#include "core/err.h"

/* Lower-case hex with NUL; dst holds 2*n+1. */
void gvm_hex(char *dst, const void *src, size_t n);
/* Exactly 2*n hex digits of either case; -EINVAL otherwise. */
int gvm_unhex(void *dst, size_t n, struct gvm_str hex) GVM_MUST_CHECK;

/* Characters needed for n bytes of padded base64, without NUL. */
#define GVM_B64_LEN(n) (((n) + 2) / 3 * 4)
/* Standard alphabet with padding, NUL added; dst holds GVM_B64_LEN(n)+1. */
void gvm_b64(char *dst, const void *src, size_t n);
/* Strict: standard alphabet, padding required, no white space, unused bits zero. Writes at most
 * cap bytes; -EINVAL or -ENOBUFS. */
int gvm_unb64(void *dst, size_t cap, struct gvm_str text, size_t *ret_n) GVM_MUST_CHECK;

static inline void gvm_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline uint16_t gvm_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t gvm_get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void gvm_put32(uint8_t *p, uint32_t v)
{
    gvm_put16(p, (uint16_t)(v >> 16));
    gvm_put16(p + 2, (uint16_t)v);
}

#endif
