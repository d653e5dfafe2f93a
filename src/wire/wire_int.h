/* wire_int.h - what the files of this room share: one table that says what each byte may be. */
#ifndef GVM_WIRE_INT_H
#define GVM_WIRE_INT_H

#include <errno.h>
#include "core/core.h"

enum {
    WIRE_TOKEN = 1,       /* RFC 9110 tchar: method and field names */
    WIRE_VALUE = 2,       /* field values: HTAB, SP, VCHAR, obs-text */
    WIRE_TARGET = 4,      /* request target on the wire: VCHAR and bytes >= 0x80 */
    WIRE_HOST = 8,        /* [A-Za-z0-9._-] */
    WIRE_UNRESERVED = 16, /* RFC 3986 2.3 */
    WIRE_PCHAR = 32,      /* RFC 3986 3.3 without the escapes, and "/" */
    WIRE_HEX = 64,
    WIRE_DIGIT = 128,
};

extern const uint8_t wire_class[256];

static inline bool wire_is(char c, unsigned classes)
{
    return (wire_class[(uint8_t)c] & classes) != 0;
}

/* True when every byte is in one of the classes; also for the empty text. */
static inline bool wire_all(struct gvm_str s, unsigned classes)
{
    for (size_t i = 0; i < s.n; i++)
        if (!wire_is(s.p[i], classes))
            return false;
    return true;
}

/* Value of a hex digit; only for bytes of WIRE_HEX. */
static inline unsigned wire_hex(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

#endif
