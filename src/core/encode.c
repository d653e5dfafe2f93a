#include "core/encode.h"

#include <errno.h>
#include <stdbool.h>

void gvm_hex(char *dst, const void *src, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i++) {
        *dst++ = digits[p[i] >> 4];
        *dst++ = digits[p[i] & 15];
    }
    *dst = '\0';
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = gvm_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int gvm_unhex(void *dst, size_t n, struct gvm_str hex)
{
    if (hex.n / 2 != n || hex.n % 2)
        return -EINVAL;
    for (size_t i = 0; i < hex.n; i++) {
        if (nibble(hex.p[i]) < 0)
            return -EINVAL;
    }
    uint8_t *p = dst;
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(nibble(hex.p[2 * i]) << 4 | nibble(hex.p[2 * i + 1]));
    return 0;
}

static const char b64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void gvm_b64(char *dst, const void *src, size_t n)
{
    const uint8_t *p = src;
    for (; n >= 3; n -= 3, p += 3) {
        *dst++ = b64_digits[p[0] >> 2];
        *dst++ = b64_digits[(p[0] & 3) << 4 | p[1] >> 4];
        *dst++ = b64_digits[(p[1] & 15) << 2 | p[2] >> 6];
        *dst++ = b64_digits[p[2] & 63];
    }
    if (n) {
        uint8_t second = n == 2 ? p[1] : 0;
        *dst++ = b64_digits[p[0] >> 2];
        *dst++ = b64_digits[(p[0] & 3) << 4 | second >> 4];
        *dst++ = n == 2 ? b64_digits[(second & 15) << 2] : '=';
        *dst++ = '=';
    }
    *dst = '\0';
}

/* Value + 1 of the digits from '+' to 'z'; 0: no digit. */
static const uint8_t b64_values['z' - '+' + 1] = {
    63, 0,  0,  0,  64, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 0,  0,  0,  0,  0,
    0,  0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18,
    19, 20, 21, 22, 23, 24, 25, 26, 0,  0,  0,  0,  0,  0,  27, 28, 29, 30, 31, 32,
    33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
};

static int b64_value(char c)
{
    unsigned i = (uint8_t)c - (unsigned)'+';
    return i < sizeof b64_values ? b64_values[i] - 1 : -1;
}

/* How many '=' end the text: 0..2, or -EINVAL when a character is foreign or a spare bit is set. */
static int b64_check(struct gvm_str t)
{
    if (t.n % 4)
        return -EINVAL;
    int pad = 0;
    while (pad < 2 && t.n && t.p[t.n - 1] == '=') {
        t.n--;
        pad++;
    }
    bool foreign = false;
    for (size_t i = 0; i < t.n; i++)
        foreign |= b64_value(t.p[i]) < 0;
    if (foreign)
        return -EINVAL;
    int spare = pad == 2 ? 15 : pad == 1 ? 3 : 0;
    if (t.n && (b64_value(t.p[t.n - 1]) & spare))
        return -EINVAL;
    return pad;
}

int gvm_unb64(void *dst, size_t cap, struct gvm_str text, size_t *ret_n)
{
    int pad = b64_check(text);
    if (pad < 0)
        return pad;
    size_t n = text.n / 4 * 3 - (size_t)pad;
    if (n > cap)
        return -ENOBUFS;
    uint8_t *d = dst;
    uint32_t acc = 0;
    size_t out = 0;
    for (size_t i = 0; i < text.n - (size_t)pad; i++) {
        acc = acc << 6 | (uint32_t)b64_value(text.p[i]);
        if (i %
            4) /* the first digit of four completes no byte; the others leave 4, 2, 0 bits over */
            d[out++] = (uint8_t)(acc >> (6 - 2 * (i % 4)));
    }
    *ret_n = n;
    return 0;
}
