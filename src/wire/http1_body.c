/* http1_body.c - where a body ends (RFC 9112 6 and 7.1), fed in pieces of any size.
 *
 *     chunked = *( size *ext CRLF data CRLF ) 1*"0" *ext CRLF *( name ":" value CRLF ) CRLF
 *     ext     = ";" token [ "=" ( token | quoted-string ) ]
 *
 * One byte decides one step of the framing; `framing` is the state machine, data is passed in
 * spans. What is behind us gets its own framing from us, so extensions end here; they
 * are checked all the same, because a line that two parsers end at different places is how requests
 * are smuggled.
 */
#include "wire/http1.h"

#include <assert.h>
#include "wire/wire_int.h"

/* A chunk-size line, and all trailer fields together, bytes. */
#define SIZE_LINE_MAX 256u
#define TRAILER_MAX   GVM_MAX_TRAILERS

enum state {
    SIZE_FIRST = 0, /* first digit of a size */
    SIZE,
    EXT_FIRST, /* behind the ';' */
    EXT_NAME,
    EXT_EQUALS, /* behind the '=' */
    EXT_VALUE,
    EXT_QUOTED,
    EXT_ESCAPED,
    EXT_END, /* behind the closing quote */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST, /* first byte of a trailer line, or the CR of the end */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    DONE,
    BROKEN,
};

void gvm_http1_body_init(struct gvm_http1_body *b, enum gvm_body_kind kind, uint64_t length)
{
    *b = (struct gvm_http1_body){.kind = kind, .state = SIZE_FIRST};
    b->left = kind == GVM_BODY_LENGTH ? length : 0;
    b->done = kind == GVM_BODY_NONE || (kind == GVM_BODY_LENGTH && length == 0);
}

static int expect(char c, char want, enum state next)
{
    return c == want ? (int)next : BROKEN;
}

static int on_size_first(struct gvm_http1_body *b, char c)
{
    b->left = 0;
    if (!wire_is(c, WIRE_HEX))
        return BROKEN;
    b->left = wire_hex(c);
    return SIZE;
}

static int on_size(struct gvm_http1_body *b, char c)
{
    if (c == '\r')
        return SIZE_LF;
    if (c == ';')
        return EXT_FIRST;
    if (!wire_is(c, WIRE_HEX) || b->left > (uint64_t)INT64_MAX >> 4)
        return BROKEN;
    b->left = b->left << 4 | wire_hex(c);
    return SIZE;
}

static int on_ext_first(struct gvm_http1_body *b, char c)
{
    return wire_is(c, WIRE_TOKEN) ? EXT_NAME : BROKEN;
}

static int on_ext_end(struct gvm_http1_body *b, char c)
{
    return c == '\r' ? SIZE_LF : c == ';' ? EXT_FIRST : BROKEN;
}

static int on_ext_name(struct gvm_http1_body *b, char c)
{
    if (c == '=')
        return EXT_EQUALS;
    return wire_is(c, WIRE_TOKEN) ? EXT_NAME : on_ext_end(b, c);
}

static int on_ext_equals(struct gvm_http1_body *b, char c)
{
    if (c == '"')
        return EXT_QUOTED;
    return wire_is(c, WIRE_TOKEN) ? EXT_VALUE : BROKEN;
}

static int on_ext_value(struct gvm_http1_body *b, char c)
{
    return wire_is(c, WIRE_TOKEN) ? EXT_VALUE : on_ext_end(b, c);
}

static int on_ext_quoted(struct gvm_http1_body *b, char c)
{
    if (c == '"')
        return EXT_END;
    if (c == '\\')
        return EXT_ESCAPED;
    return wire_is(c, WIRE_VALUE) ? EXT_QUOTED : BROKEN;
}

static int on_ext_escaped(struct gvm_http1_body *b, char c)
{
    return wire_is(c, WIRE_VALUE) ? EXT_QUOTED : BROKEN;
}

static int on_size_lf(struct gvm_http1_body *b, char c)
{
    b->line = 0;
    return expect(c, '\n', b->left ? DATA : TRAILER_FIRST);
}

static int on_data_cr(struct gvm_http1_body *b, char c)
{
    return expect(c, '\r', DATA_LF);
}

static int on_data_lf(struct gvm_http1_body *b, char c)
{
    b->line = 0;
    return expect(c, '\n', SIZE_FIRST);
}

/* Fields that say where a message ends must not come behind its end (RFC 9110 6.5.1). While a
 * trailer name goes by, b->left holds its length so far, and above it one bit per field that it may
 * still be. */
static const struct gvm_str not_in_trailers[] = {{"content-length", 14}, {"transfer-encoding", 17}};
enum { NAMES = sizeof not_in_trailers / sizeof *not_in_trailers, MASK_SHIFT = 16 };
static_assert(TRAILER_MAX < 1u << MASK_SHIFT, "a trailer name's length fits below the mask");

static void trailer_name_byte(struct gvm_http1_body *b, char c)
{
    uint64_t at = b->left & ((1u << MASK_SHIFT) - 1), mask = b->left >> MASK_SHIFT;
    for (unsigned i = 0; i < NAMES; i++)
        if (at >= not_in_trailers[i].n || gvm_lower(c) != not_in_trailers[i].p[at])
            mask &= ~(UINT64_C(1) << i);
    b->left = mask << MASK_SHIFT | (at + 1);
}

static bool trailer_name_is_bad(const struct gvm_http1_body *b)
{
    uint64_t at = b->left & ((1u << MASK_SHIFT) - 1), mask = b->left >> MASK_SHIFT;
    for (unsigned i = 0; i < NAMES; i++)
        if ((mask >> i & 1) && at == not_in_trailers[i].n)
            return true;
    return false;
}

static int on_trailer_first(struct gvm_http1_body *b, char c)
{
    if (c == '\r')
        return LAST_LF;
    b->left = ((UINT64_C(1) << NAMES) - 1) << MASK_SHIFT;
    trailer_name_byte(b, c);
    return wire_is(c, WIRE_TOKEN) ? TRAILER_NAME : BROKEN;
}

static int on_trailer_name(struct gvm_http1_body *b, char c)
{
    if (c == ':')
        return trailer_name_is_bad(b) ? BROKEN : TRAILER_VALUE;
    trailer_name_byte(b, c);
    return wire_is(c, WIRE_TOKEN) ? TRAILER_NAME : BROKEN;
}

static int on_trailer_value(struct gvm_http1_body *b, char c)
{
    if (c == '\r')
        return TRAILER_LF;
    return wire_is(c, WIRE_VALUE) ? TRAILER_VALUE : BROKEN;
}

static int on_trailer_lf(struct gvm_http1_body *b, char c)
{
    return expect(c, '\n', TRAILER_FIRST);
}

static int on_last_lf(struct gvm_http1_body *b, char c)
{
    return expect(c, '\n', DONE);
}

static const struct step {
    int (*fn)(struct gvm_http1_body *, char); /* returns the next state */
    uint32_t max;                             /* of b->line */
    const char *why;
} framing[] = {
    [SIZE_FIRST] = {on_size_first, SIZE_LINE_MAX, "a chunk does not start with its size"},
    [SIZE] = {on_size, SIZE_LINE_MAX, "a chunk size is malformed or too large"},
    [EXT_FIRST] = {on_ext_first, SIZE_LINE_MAX, "a chunk extension is malformed"},
    [EXT_NAME] = {on_ext_name, SIZE_LINE_MAX, "a chunk extension is malformed or too long"},
    [EXT_EQUALS] = {on_ext_equals, SIZE_LINE_MAX, "a chunk extension is malformed"},
    [EXT_VALUE] = {on_ext_value, SIZE_LINE_MAX, "a chunk extension is malformed or too long"},
    [EXT_QUOTED] = {on_ext_quoted, SIZE_LINE_MAX, "a chunk extension is malformed or too long"},
    [EXT_ESCAPED] = {on_ext_escaped, SIZE_LINE_MAX, "a chunk extension is malformed or too long"},
    [EXT_END] = {on_ext_end, SIZE_LINE_MAX, "a chunk extension is malformed"},
    [SIZE_LF] = {on_size_lf, SIZE_LINE_MAX, "a chunk size does not end in CR LF"},
    [DATA_CR] = {on_data_cr, SIZE_LINE_MAX, "a chunk is longer than its size"},
    [DATA_LF] = {on_data_lf, SIZE_LINE_MAX, "a chunk does not end in CR LF"},
    [TRAILER_FIRST] = {on_trailer_first, TRAILER_MAX, "a trailer is malformed"},
    [TRAILER_NAME] = {on_trailer_name, TRAILER_MAX,
                      "a trailer name is malformed, forbidden or too long"},
    [TRAILER_VALUE] = {on_trailer_value, TRAILER_MAX, "a trailer is malformed or too long"},
    [TRAILER_LF] = {on_trailer_lf, TRAILER_MAX, "a trailer does not end in CR LF"},
    [LAST_LF] = {on_last_lf, TRAILER_MAX, "the chunked body does not end in CR LF"},
};

/* At most b->left bytes from the front of *in. */
static void take_span(struct gvm_http1_body *b, struct gvm_str *in, struct gvm_str *ret_payload)
{
    size_t n = in->n < b->left ? in->n : (size_t)b->left;
    *ret_payload = (struct gvm_str){in->p, n};
    in->p += n;
    in->n -= n;
    b->left -= n;
}

static bool in_trailer(const struct gvm_http1_body *b, char c)
{
    return (b->state == TRAILER_FIRST && c != '\r') ||
           (b->state > TRAILER_FIRST && b->state <= TRAILER_LF);
}

static int feed_chunked(struct gvm_http1_body *b, struct gvm_str *in, struct gvm_str *ret_payload,
                        struct gvm_err *err)
{
    while (in->n > 0) {
        if (b->state == DATA) {
            take_span(b, in, ret_payload);
            if (b->left == 0)
                b->state = DATA_CR;
            return 0;
        }
        if (b->state >= DONE)
            return gvm_err_set(err, EINVAL, "the chunked body is broken");
        const struct step *s = &framing[b->state];
        if (b->trailers && in_trailer(b, *in->p))
            gvm_buf_addc(b->trailers, *in->p);
        int next = ++b->line > s->max ? BROKEN : s->fn(b, *in->p);
        b->state = (unsigned)next;
        if (next == BROKEN)
            return gvm_err_set(err, EINVAL, "%s", s->why);
        in->p++;
        in->n--;
        if (next == DONE) {
            b->done = true;
            return 1;
        }
    }
    return 0;
}

int gvm_http1_body_feed(struct gvm_http1_body *b, struct gvm_str *in, struct gvm_str *ret_payload,
                        struct gvm_err *err)
{
    *ret_payload = (struct gvm_str){in->p, 0};
    if (b->done)
        return 1;
    switch (b->kind) {
    case GVM_BODY_LENGTH:
        take_span(b, in, ret_payload);
        b->done = b->left == 0;
        return b->done;
    case GVM_BODY_CLOSE:
        *ret_payload = *in;
        in->p += in->n;
        in->n = 0;
        return 0;
    case GVM_BODY_CHUNKED:
        return feed_chunked(b, in, ret_payload, err);
    case GVM_BODY_NONE:
        break;
    }
    b->done = true;
    return 1;
}
