/* body/decode.c - one step per coding; each step is a loop around its library's streaming decoder,
 * with the caps checked as bytes come out, never after. */
#include "body/decode.h"

#include <brotli/decode.h>
#include <errno.h>
#include <zlib.h>
#include <zstd.h>

/* zlib's own best is 1032:1; texts that people send stay far below this. */
enum { RATIO = 200, RATIO_FREE = 64 * 1024, PIECE = 16 * 1024, WINDOW_LOG = 23 };

struct step {
    struct gvm_str in;
    size_t max; /* bytes that may come out */
    bool prefix;
    struct gvm_buf *out;
    struct gvm_err *err;
};

static int broken(const struct step *s, const char *coding)
{
    return gvm_err_set(s->err, EINVAL, "the body is not whole, valid %s", coding);
}

/* May `n` more bytes be kept? A prefix ends there, anything else is refused. 1: stop here. */
static int room(struct step *s, size_t n)
{
    size_t total = s->out->len + n;
    bool bomb = total > RATIO_FREE && total / RATIO > s->in.n;
    if (total <= s->max && !bomb)
        return 0;
    if (s->prefix && !bomb)
        return 1;
    return gvm_err_set(s->err, EFBIG,
                       bomb ? "the body expands more than %d times"
                            : "the body is too large when expanded",
                       (int)RATIO);
}

/* Adds a piece. 1: enough for a prefix. */
static int put(struct step *s, const uint8_t *p, size_t n)
{
    int r = room(s, n);
    if (r == 1)
        n = s->max - s->out->len;
    if (r >= 0 && gvm_buf_add(s->out, p, n) < 0)
        return gvm_err_set(s->err, ENOMEM, "no memory to expand a body");
    return r;
}

/* ---- gzip and deflate ---- */

static int inflate_all(struct step *s, z_stream *z, bool gzip, const char *name)
{
    uint8_t piece[PIECE];
    for (;;) {
        z->next_out = piece;
        z->avail_out = sizeof piece;
        int zr = inflate(z, Z_NO_FLUSH);
        if (zr != Z_OK && zr != Z_STREAM_END && zr != Z_BUF_ERROR)
            return broken(s, name);
        size_t got = sizeof piece - z->avail_out;
        int r = got ? put(s, piece, got) : 0;
        if (r != 0)
            return r < 0 ? r : 0;
        if (zr == Z_STREAM_END) {
            if (z->avail_in == 0)
                return 0;
            /* RFC 1952 2.2: members may follow one another. */
            if (!gzip || inflateReset(z) != Z_OK)
                return broken(s, name);
        } else if (z->avail_in == 0 && got == 0) {
            return s->prefix ? 0 : broken(s, name);
        } else if (zr == Z_BUF_ERROR && got == 0) {
            return broken(s, name);
        }
    }
}

static int inflate_with(struct step *s, int window, bool gzip, const char *name)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)s->in.p, .avail_in = (uInt)s->in.n};
    if (inflateInit2(&z, window) != Z_OK)
        return gvm_err_set(s->err, ENOMEM, "no memory to expand a body");
    int r = inflate_all(s, &z, gzip, name);
    (void)inflateEnd(&z);
    return r;
}

static int step_gzip(struct step *s)
{
    return inflate_with(s, 16 + MAX_WBITS, true, "gzip");
}

/* The coding is the zlib format (RFC 9110 8.4.1.2), but bare deflate is sent under its name, too. A
 * zlib header is a multiple of 31 and names method 8. */
static int step_deflate(struct step *s)
{
    const uint8_t *p = (const uint8_t *)s->in.p;
    bool zlib = s->in.n >= 2 && (p[0] & 15) == 8 && (p[0] * 256u + p[1]) % 31 == 0;
    return inflate_with(s, zlib ? MAX_WBITS : -MAX_WBITS, false, "deflate");
}

/* ---- br ---- */

static int brotli_all(struct step *s, BrotliDecoderState *b)
{
    uint8_t piece[PIECE];
    const uint8_t *in = (const uint8_t *)s->in.p;
    size_t left = s->in.n;
    for (;;) {
        uint8_t *at = piece;
        size_t space = sizeof piece;
        BrotliDecoderResult x = BrotliDecoderDecompressStream(b, &left, &in, &space, &at, NULL);
        if (x == BROTLI_DECODER_RESULT_ERROR)
            return broken(s, "br");
        int r = put(s, piece, sizeof piece - space);
        if (r != 0)
            return r < 0 ? r : 0;
        if (x == BROTLI_DECODER_RESULT_SUCCESS)
            return left == 0 ? 0 : broken(s, "br");
        if (x == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT)
            return s->prefix ? 0 : broken(s, "br");
    }
}

static int step_br(struct step *s)
{
    BrotliDecoderState *b = BrotliDecoderCreateInstance(NULL, NULL, NULL);
    if (!b)
        return gvm_err_set(s->err, ENOMEM, "no memory to expand a body");
    int r = brotli_all(s, b);
    BrotliDecoderDestroyInstance(b);
    return r;
}

/* ---- zstd ---- */

static int zstd_all(struct step *s, ZSTD_DCtx *d)
{
    uint8_t piece[PIECE];
    ZSTD_inBuffer in = {s->in.p, s->in.n, 0};
    for (;;) {
        ZSTD_outBuffer out = {piece, sizeof piece, 0};
        size_t left = ZSTD_decompressStream(d, &out, &in);
        if (ZSTD_isError(left))
            return broken(s, "zstd");
        int r = put(s, piece, out.pos);
        if (r != 0)
            return r < 0 ? r : 0;
        /* 0: a frame ended, another may follow (RFC 8878 3.1). */
        if (in.pos == in.size && (left == 0 || out.pos < out.size))
            return left == 0 || s->prefix ? 0 : broken(s, "zstd");
    }
}

static int step_zstd(struct step *s)
{
    ZSTD_DCtx *d = ZSTD_createDCtx();
    if (!d)
        return gvm_err_set(s->err, ENOMEM, "no memory to expand a body");
    /* RFC 8878 3.1.1.1.2 recommends 8 MB as the largest window to support. */
    (void)ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, WINDOW_LOG);
    int r = zstd_all(s, d);
    (void)ZSTD_freeDCtx(d);
    return r;
}

/* ---- chains ---- */

typedef int step_fn(struct step *s);

static const struct {
    struct gvm_str name;
    step_fn *run; /* NULL: leaves the bytes as they are */
} codings_known[] = {
    {{"identity", 8}, NULL},        {{"gzip", 4}, step_gzip}, {{"x-gzip", 6}, step_gzip},
    {{"deflate", 7}, step_deflate}, {{"br", 2}, step_br},     {{"zstd", 4}, step_zstd},
};

/* Fills `steps` in the order written; the number of them, or negative. */
static int read_codings(struct gvm_str text, step_fn *steps[GVM_MAX_CODINGS], struct gvm_err *err)
{
    int n = 0;
    struct gvm_str one;
    for (bool more = text.n > 0; more;) {
        more = gvm_str_cut(&text, ',', &one);
        one = gvm_str_trim(one);
        if (one.n == 0) /* RFC 9110 5.6.1.2: empty elements are ignored */
            continue;
        size_t i = 0, known = sizeof codings_known / sizeof *codings_known;
        while (i < known && !gvm_str_ieq(one, codings_known[i].name))
            i++;
        if (i == known)
            return gvm_err_set(err, ENOTSUP, "the body has an unknown coding");
        if (!codings_known[i].run)
            continue;
        if (n == (int)GVM_MAX_CODINGS)
            return gvm_err_set(err, ENOTSUP, "the body has more than %u codings", GVM_MAX_CODINGS);
        /* cppcheck-suppress AssignmentAddressToInteger ; it does not see the typedef */
        steps[n++] = codings_known[i].run;
    }
    return n;
}

static int run_steps(step_fn *const *steps, int n, struct step *s)
{
    struct gvm_buf spare, *target = s->out;
    size_t start = target->len;
    gvm_buf_init(&spare, s->max);
    int r = 0;
    while (n-- > 0 && r >= 0) {
        struct gvm_buf fresh;
        gvm_buf_init(&fresh, s->max);
        s->out = &fresh;
        r = steps[n](s);
        gvm_buf_done(&spare);
        spare = fresh;
        s->in = gvm_buf_str(&spare);
    }
    if (r >= 0 && (s->in.n > s->max || start > s->max - s->in.n)) {
        if (s->prefix)
            s->in.n = start > s->max ? 0 : s->max - start;
        else
            r = gvm_err_set(s->err, EFBIG, "the body is too large");
    }
    if (r >= 0 && gvm_buf_adds(target, s->in) < 0)
        r = gvm_err_set(s->err, ENOMEM, "no memory to expand a body");
    gvm_buf_done(&spare);
    return r;
}

static int decode(struct gvm_str codings, struct gvm_str in, size_t max, bool prefix,
                  struct gvm_buf *out, struct gvm_err *err)
{
    step_fn *steps[GVM_MAX_CODINGS];
    struct step s = {.in = in, .max = max, .prefix = prefix, .out = out, .err = err};
    int n = read_codings(codings, steps, err);
    if (n < 0)
        return n;
    if (in.n > UINT32_MAX / 2)
        return gvm_err_set(err, EFBIG, "the body is too large");
    return run_steps(steps, n, &s);
}

int gvm_decode(struct gvm_str codings, struct gvm_str in, size_t max, struct gvm_buf *out,
               struct gvm_err *err)
{
    return decode(codings, in, max, false, out, err);
}

int gvm_decode_prefix(struct gvm_str codings, struct gvm_str in, size_t max, struct gvm_buf *out,
                      struct gvm_err *err)
{
    return decode(codings, in, max, true, out, err);
}
