/* tls_hello.c - the first flight of a TLS client, read without answering it.
 *
 *     record    = 22 | version 3.x | length16 | fragment            RFC 8446 5.1
 *     handshake = 1 | length24 | ClientHello                        RFC 8446 4
 *     hello     = version16 | random[32] | session<0..32> | suites<2..2^16-2> | compression<1..255>
 *                 | [ extensions<0..2^16-1> ]                       RFC 8446 4.1.2
 *     sni       = list16 { 0 | name16 }                             RFC 6066 3
 *
 * The hello may be cut over records at any byte. Nothing may follow it: a client waits for the
 * answer. Every length is read through struct view, which never hands out more than it holds.
 */
#include "wire/tls_hello.h"

#include "wire/url.h"
#include "wire/wire_int.h"

enum { RECORD_HEAD = 5, RECORD_MAX = 1 << 14, HANDSHAKE = 22, CLIENT_HELLO = 1, HELLO_HEAD = 4 };
enum { EXT_SERVER_NAME = 0, EXT_ALPN = 16, EXT_ECH = 0xfe0d };

bool gvm_tls_looks_like(uint8_t first)
{
    return first == HANDSHAKE;
}

/* Bytes still to be read. */
struct view {
    const uint8_t *p;
    size_t n;
};

static bool take(struct view *v, size_t n, struct view *ret)
{
    if (v->n < n)
        return false;
    *ret = (struct view){v->p, n};
    v->p += n;
    v->n -= n;
    return true;
}

/* A big-endian number of `size` bytes (1 to 3). */
static bool take_uint(struct view *v, unsigned size, uint32_t *ret)
{
    struct view f;
    if (!take(v, size, &f))
        return false;
    *ret = 0;
    for (unsigned i = 0; i < size; i++)
        *ret = *ret << 8 | f.p[i];
    return true;
}

/* A vector: its length in `size` bytes, then as many bytes. */
static bool take_vector(struct view *v, unsigned size, struct view *ret)
{
    uint32_t n;
    return take_uint(v, size, &n) && take(v, n, ret);
}

static int bad(struct gvm_err *err, const char *why)
{
    return gvm_err_set(err, EINVAL, "%s", why);
}

/* The body of one record. 1, 0 more bytes wanted, -EINVAL. */
static int next_record(struct view *in, struct view *ret, struct gvm_err *err)
{
    if (in->n >= 1 && in->p[0] != HANDSHAKE)
        return bad(err, "not a TLS handshake record");
    if (in->n >= 2 && in->p[1] != 3)
        return bad(err, "not a TLS version");
    if (in->n < RECORD_HEAD)
        return 0;
    size_t n = gvm_get16(in->p + 3);
    if (n == 0 || n > RECORD_MAX)
        return bad(err, "a TLS record of impossible length");
    /* What is there of a record not yet whole is useful too. */
    size_t have = in->n - RECORD_HEAD;
    *ret = (struct view){in->p + RECORD_HEAD, have < n ? have : n};
    in->p += RECORD_HEAD + ret->n;
    in->n -= RECORD_HEAD + ret->n;
    return have >= n;
}

/* Type and length of a handshake message whose first bytes are `m`. 1 known, 0 not yet. */
static int message_length(struct view m, size_t *ret, struct gvm_err *err)
{
    if (m.n >= 1 && m.p[0] != CLIENT_HELLO)
        return bad(err, "the TLS handshake does not start with a ClientHello");
    if (m.n < HELLO_HEAD)
        return 0;
    *ret = HELLO_HEAD + ((size_t)m.p[1] << 16 | (size_t)m.p[2] << 8 | m.p[3]);
    if (*ret > GVM_MAX_TLS_HELLO)
        return gvm_err_set(err, E2BIG, "the ClientHello is longer than %u bytes",
                           GVM_MAX_TLS_HELLO);
    return 1;
}

/* Fills *ret_message with the whole message (view into `in` or `scratch`). 1, 0, negative. */
static int assemble(struct view in, struct gvm_buf *scratch, struct view *ret_message,
                    struct gvm_err *err)
{
    struct view message = {NULL, 0};
    gvm_buf_reset(scratch);
    for (bool first = true;; first = false) {
        struct view record = {NULL, 0};
        int whole = next_record(&in, &record, err);
        if (whole < 0)
            return whole;
        if (first) {
            message = record;
        } else if (record.n > 0) {
            /* The first record goes into the scratch when a second one appears. */
            if ((scratch->len == 0 && gvm_buf_add(scratch, message.p, message.n) < 0) ||
                gvm_buf_add(scratch, record.p, record.n) < 0)
                return gvm_err_set(err, E2BIG, "no room for the ClientHello");
            message = (struct view){gvm_buf_data(scratch), scratch->len};
        }
        size_t want = 0;
        int known = message_length(message, &want, err);
        if (known < 0)
            return known;
        if (known && message.n > want)
            return bad(err, "something follows the ClientHello");
        if (known && message.n == want && whole) {
            *ret_message = message;
            return 1;
        }
        if (!whole)
            return 0;
    }
}

static int read_sni(struct view ext, struct gvm_tls_hello *h, struct gvm_err *err)
{
    struct view list, name;
    uint32_t type;
    if (!take_vector(&ext, 2, &list) || ext.n != 0 || !take_uint(&list, 1, &type) || type != 0 ||
        !take_vector(&list, 2, &name) || list.n != 0)
        return bad(err, "the server name extension is malformed");
    struct gvm_str text = {(const char *)name.p, name.n};
    struct gvm_authority a;
    if (!wire_all(text, WIRE_HOST) || gvm_authority_parse(text, &a, NULL) < 0)
        return bad(err, "the server name is no host name");
    h->sni = text;
    return 0;
}

static int read_alpn(struct view ext, struct gvm_tls_hello *h, struct gvm_err *err)
{
    struct view list, name;
    if (!take_vector(&ext, 2, &list) || ext.n != 0 || list.n == 0)
        return bad(err, "the ALPN extension is malformed");
    while (list.n > 0) {
        if (!take_vector(&list, 1, &name) || name.n == 0)
            return bad(err, "the ALPN extension is malformed");
        struct gvm_str text = {(const char *)name.p, name.n};
        h->alpn_h2 |= gvm_str_eqz(text, "h2");
        h->alpn_http1 |= gvm_str_eqz(text, "http/1.1");
    }
    return 0;
}

static int read_extensions(struct view exts, struct gvm_tls_hello *h, struct gvm_err *err)
{
    bool sni = false, alpn = false;
    while (exts.n > 0) {
        uint32_t type;
        struct view body;
        if (!take_uint(&exts, 2, &type) || !take_vector(&exts, 2, &body))
            return bad(err, "an extension runs over the end of the ClientHello");
        if ((type == EXT_SERVER_NAME && sni) || (type == EXT_ALPN && alpn))
            return bad(err, "an extension appears twice");
        int r = 0;
        if (type == EXT_SERVER_NAME) {
            sni = true;
            r = read_sni(body, h, err);
        } else if (type == EXT_ALPN) {
            alpn = true;
            r = read_alpn(body, h, err);
        } else if (type == EXT_ECH) {
            h->ech = true;
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_hello(struct view m, struct gvm_tls_hello *ret, struct gvm_err *err)
{
    struct gvm_tls_hello h = {0};
    struct view random, session, suites, compression, exts;
    uint32_t version;
    if (!take_uint(&m, 2, &version) || version >> 8 != 3 || !take(&m, 32, &random))
        return bad(err, "the ClientHello is malformed");
    if (!take_vector(&m, 1, &session) || session.n > 32 || !take_vector(&m, 2, &suites) ||
        suites.n < 2 || suites.n % 2 || !take_vector(&m, 1, &compression) || compression.n < 1)
        return bad(err, "the ClientHello is malformed");
    if (m.n > 0) {
        if (!take_vector(&m, 2, &exts) || m.n != 0)
            return bad(err, "the extensions do not fill the ClientHello");
        int r = read_extensions(exts, &h, err);
        if (r < 0)
            return r;
    }
    *ret = h;
    return 1;
}

int gvm_tls_hello_parse(struct gvm_str in, struct gvm_buf *scratch, struct gvm_tls_hello *ret,
                        struct gvm_err *err)
{
    struct view message = {NULL, 0};
    int r = assemble((struct view){(const uint8_t *)in.p, in.n}, scratch, &message, err);
    if (r == 0 && in.n >= GVM_MAX_TLS_HELLO)
        return gvm_err_set(err, E2BIG, "the ClientHello is longer than %u bytes",
                           GVM_MAX_TLS_HELLO);
    if (r <= 0)
        return r;
    message.p += HELLO_HEAD;
    message.n -= HELLO_HEAD;
    return read_hello(message, ret, err);
}
