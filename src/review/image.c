/* Pictures in one phrase: type and size, from their first bytes. Pure. */
#include "review/review_int.h"

#include <stdio.h>
#include <string.h>

static unsigned le16(const uint8_t *p)
{
    return (unsigned)(p[0] | p[1] << 8);
}

/* JPEG (ISO 10918-1): segments of marker and length; the frame header holds height and width. */
static bool jpeg_size(const uint8_t *p, size_t n, unsigned *w, unsigned *h)
{
    for (size_t i = 2; i + 9 < n;) {
        if (p[i] != 0xff)
            return false;
        unsigned marker = p[i + 1];
        if (marker == 0xff) { /* filling */
            i++;
            continue;
        }
        bool frame =
            marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
        if (frame) {
            *h = gvm_get16(p + i + 5);
            *w = gvm_get16(p + i + 7);
            return true;
        }
        size_t length = gvm_get16(p + i + 2);
        if (length < 2)
            return false;
        i += 2 + length;
    }
    return false;
}

static const char *size_of(const uint8_t *p, size_t n, unsigned *w, unsigned *h)
{
    if (n >= 24 && memcmp(p, "\x89PNG\r\n\x1a\n", 8) == 0 && memcmp(p + 12, "IHDR", 4) == 0) {
        *w = gvm_get32(p + 16);
        *h = gvm_get32(p + 20);
        return "PNG";
    }
    if (n >= 10 && memcmp(p, "GIF8", 4) == 0) {
        *w = le16(p + 6);
        *h = le16(p + 8);
        return "GIF";
    }
    if (n >= 26 && memcmp(p, "BM", 2) == 0 && le16(p + 16) == 0) {
        *w = le16(p + 18) | le16(p + 20) << 16;
        *h = le16(p + 22) | le16(p + 24) << 16;
        return "BMP";
    }
    if (n >= 30 && memcmp(p, "RIFF", 4) == 0 && memcmp(p + 8, "WEBPVP8X", 8) == 0) {
        *w = 1 + (le16(p + 24) | (unsigned)p[26] << 16);
        *h = 1 + (le16(p + 27) | (unsigned)p[29] << 16);
        return "WebP";
    }
    return n >= 4 && memcmp(p, "\xff\xd8\xff", 3) == 0 && jpeg_size(p, n, w, h) ? "JPEG" : NULL;
}

bool review_image(struct gvm_str head, char dst[REVIEW_IMAGE])
{
    unsigned w = 0, h = 0;
    const char *type = head.p ? size_of((const uint8_t *)head.p, head.n, &w, &h) : NULL;
    if (!type)
        return false;
    snprintf(dst, REVIEW_IMAGE, "%s picture %ux%u", type, w, h);
    return true;
}
