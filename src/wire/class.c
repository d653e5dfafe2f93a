/* class.c - the byte classes of wire_int.h, worked out by the compiler. */
#include "wire/wire_int.h"

#define IN(c, lo, hi) ((c) >= (lo) && (c) <= (hi))
#define ALPHA(c)      (IN(c, 'a', 'z') || IN(c, 'A', 'Z'))
#define DIGIT(c)      IN(c, '0', '9')
#define UNRESERVED(c) (ALPHA(c) || DIGIT(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
#define SUB_DELIM(c)                                                                               \
    ((c) == '!' || (c) == '$' || (c) == '&' || (c) == '\'' || (c) == '(' || (c) == ')' ||          \
     (c) == '*' || (c) == '+' || (c) == ',' || (c) == ';' || (c) == '=')
#define PCHAR(c) (UNRESERVED(c) || SUB_DELIM(c) || (c) == ':' || (c) == '@' || (c) == '/')
#define TOKEN(c)                                                                                   \
    (UNRESERVED(c) || (c) == '!' || (c) == '#' || (c) == '$' || (c) == '%' || (c) == '&' ||        \
     (c) == '\'' || (c) == '*' || (c) == '+' || (c) == '^' || (c) == '`' || (c) == '|')
#define HOST(c) (ALPHA(c) || DIGIT(c) || (c) == '-' || (c) == '.' || (c) == '_')
#define HEX(c)  (DIGIT(c) || IN(c, 'a', 'f') || IN(c, 'A', 'F'))

#define B(c)                                                                                       \
    ((TOKEN(c) ? WIRE_TOKEN : 0) |                                                                 \
     (((c) == '\t' || ((c) >= ' ' && (c) != 127)) ? WIRE_VALUE : 0) |                              \
     (((c) > ' ' && (c) != 127) ? WIRE_TARGET : 0) | (HOST(c) ? WIRE_HOST : 0) |                   \
     (UNRESERVED(c) ? WIRE_UNRESERVED : 0) | (PCHAR(c) ? WIRE_PCHAR : 0) |                         \
     (HEX(c) ? WIRE_HEX : 0) | (DIGIT(c) ? WIRE_DIGIT : 0))
#define B4(c)  B(c), B((c) + 1), B((c) + 2), B((c) + 3)
#define B16(c) B4(c), B4((c) + 4), B4((c) + 8), B4((c) + 12)
#define B64(c) B16(c), B16((c) + 16), B16((c) + 32), B16((c) + 48)

const uint8_t wire_class[256] = {B64(0), B64(64), B64(128), B64(192)};
