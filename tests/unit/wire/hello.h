/* hello.h - builds ClientHellos for the tests. */
#ifndef TEST_HELLO_H
#define TEST_HELLO_H

#include "core/core.h"

static inline void hello_u(struct gvm_buf *b, unsigned size, size_t v)
{
    while (size-- > 0)
        (void)gvm_buf_addc(b, (char)(v >> (8 * size)));
}

static inline void hello_vector(struct gvm_buf *b, unsigned size, struct gvm_str s)
{
    hello_u(b, size, s.n);
    (void)gvm_buf_adds(b, s);
}

static inline void hello_ext(struct gvm_buf *exts, unsigned type, struct gvm_str body)
{
    hello_u(exts, 2, type);
    hello_vector(exts, 2, body);
}

/* The server_name extension for one host_name. */
static inline void hello_sni(struct gvm_buf *exts, struct gvm_str name)
{
    hello_u(exts, 2, 0);
    hello_u(exts, 2, name.n + 5);
    hello_u(exts, 2, name.n + 3);
    hello_u(exts, 1, 0);
    hello_vector(exts, 2, name);
}

/* The handshake message around `exts` (left out when NULL). */
static inline void hello_message(struct gvm_buf *b, const struct gvm_buf *exts)
{
    size_t body = 2 + 32 + 1 + 2 + 4 + 1 + 1 + (exts ? 2 + exts->len : 0);
    hello_u(b, 1, 1);
    hello_u(b, 3, body);
    hello_u(b, 2, 0x0303);
    for (int i = 0; i < 32; i++)
        hello_u(b, 1, (size_t)i);
    hello_u(b, 1, 0);
    hello_vector(b, 2, GVM_STR("\x13\x01\x13\x02"));
    hello_vector(b, 1, (struct gvm_str){"\0", 1});
    if (exts)
        hello_vector(b, 2, gvm_buf_str(exts));
}

/* `message` in records of at most `size` bytes. */
static inline void hello_records(struct gvm_buf *b, struct gvm_str message, size_t size)
{
    while (message.n > 0) {
        size_t n = message.n < size ? message.n : size;
        hello_u(b, 1, 22);
        hello_u(b, 2, 0x0301);
        hello_vector(b, 2, (struct gvm_str){message.p, n});
        message.p += n;
        message.n -= n;
    }
}

#endif
