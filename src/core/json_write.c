#include "core/json.h"

void gvm_jw_init(struct gvm_jw *w, struct gvm_buf *out)
{
    *w = (struct gvm_jw){.out = out, .start = out->len};
}

/* Errors stay in out->failed, which is why the results of the appends are not looked at here. */
static void item(struct gvm_jw *w)
{
    if (w->comma)
        (void)gvm_buf_addc(w->out, ',');
    w->comma = true;
}

static void begin(struct gvm_jw *w, char c)
{
    item(w);
    (void)gvm_buf_addc(w->out, c);
    w->comma = false;
}

static void end(struct gvm_jw *w, char c)
{
    (void)gvm_buf_addc(w->out, c);
    w->comma = true;
}

void gvm_jw_object(struct gvm_jw *w)
{
    begin(w, '{');
}

void gvm_jw_object_end(struct gvm_jw *w)
{
    end(w, '}');
}

void gvm_jw_array(struct gvm_jw *w)
{
    begin(w, '[');
}

void gvm_jw_array_end(struct gvm_jw *w)
{
    end(w, ']');
}

/* True when the sequence of `len` bytes at p may stand in a string as it is. */
static bool plain(const uint8_t *p, size_t len)
{
    if (len == 1)
        return p[0] >= 0x20 && p[0] < 0x7f && p[0] != '"' && p[0] != '\\';
    if (len == 2)
        return p[0] != 0xc2 || p[1] >= 0xa0; /* C1 controls speak to terminals */
    return !(len == 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9));
}

static void escaped(struct gvm_buf *out, const uint8_t *p, size_t len)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = len == 1 && p[0] ? strchr(from, p[0]) : NULL;
    if (at)
        (void)gvm_buf_addf(out, "\\%c", to[at - from]);
    else if (len == 1)
        (void)gvm_buf_addf(out, "\\u%04x", (unsigned)p[0]);
    else if (len == 2)
        (void)gvm_buf_addf(out, "\\u%04x", (unsigned)p[1]); /* C1: U+0080..9f is its second byte */
    else if (len == 3)
        (void)gvm_buf_addf(out, "\\u20%02x", (unsigned)p[2] - 0x80u);
    else
        (void)gvm_buf_addz(out, "\xef\xbf\xbd"); /* not UTF-8 */
}

#define EACH(byte) (0x0101010101010101u * (byte))

/* Is one of eight bytes other than printable ASCII, a quote or a backslash? (A borrow out of one
 * that is may accuse the next, never acquit it.) */
static bool has_special(uint64_t w)
{
    uint64_t quote = w ^ EACH('"'), back = w ^ EACH('\\');
    uint64_t below = (w - EACH(0x20)) & ~w;
    uint64_t zero = ((quote - EACH(1)) & ~quote) | ((back - EACH(1)) & ~back);
    return (w | (w + EACH(1)) | below | zero) & EACH(0x80);
}

/* Bytes in front that stand for themselves. */
static size_t plain_prefix(struct gvm_str s)
{
    size_t i = 0;
    uint64_t w;
    for (; i + 8 <= s.n; i += 8) {
        memcpy(&w, s.p + i, 8);
        if (has_special(w))
            break;
    }
    while (i < s.n && (uint8_t)s.p[i] < 0x80 && plain((const uint8_t *)s.p + i, 1))
        i++;
    return i;
}

static void string(struct gvm_jw *w, struct gvm_str s)
{
    size_t start = 0, i = plain_prefix(s);
    const uint8_t *p = (const uint8_t *)s.p;
    uint8_t *at = i == s.n ? gvm_buf_space(w->out, s.n + 2) : NULL;
    if (at) { /* the usual case, in one piece */
        at[0] = at[1 + s.n] = '"';
        if (s.n)
            memcpy(at + 1, s.p, s.n);
        gvm_buf_grew(w->out, s.n + 2);
        return;
    }
    (void)gvm_buf_addc(w->out, '"');
    while (i < s.n) {
        size_t len = p[i] < 0x80 ? 1 : gvm_utf8_next((struct gvm_str){s.p + i, s.n - i});
        if (len && plain(p + i, len)) {
            i += len;
            continue;
        }
        (void)gvm_buf_add(w->out, p + start, i - start);
        escaped(w->out, p + i, len);
        i += len ? len : 1;
        start = i;
    }
    (void)gvm_buf_add(w->out, p + start, i - start);
    (void)gvm_buf_addc(w->out, '"');
}

void gvm_jw_key(struct gvm_jw *w, const char *key)
{
    item(w);
    string(w, gvm_str(key));
    (void)gvm_buf_addc(w->out, ':');
    w->comma = false;
}

void gvm_jw_str(struct gvm_jw *w, struct gvm_str s)
{
    item(w);
    if (s.p || s.n)
        string(w, s);
    else
        (void)gvm_buf_addz(w->out, "\"\"");
}

void gvm_jw_strz(struct gvm_jw *w, const char *z)
{
    if (z)
        gvm_jw_str(w, gvm_str(z));
    else
        gvm_jw_null(w);
}

void gvm_jw_int(struct gvm_jw *w, int64_t v)
{
    item(w);
    if (v < 0)
        (void)gvm_buf_addc(w->out, '-');
    (void)gvm_buf_addu(w->out, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void gvm_jw_uint(struct gvm_jw *w, uint64_t v)
{
    item(w);
    (void)gvm_buf_addu(w->out, v);
}

void gvm_jw_bool(struct gvm_jw *w, bool v)
{
    item(w);
    (void)gvm_buf_addz(w->out, v ? "true" : "false");
}

void gvm_jw_null(struct gvm_jw *w)
{
    item(w);
    (void)gvm_buf_addz(w->out, "null");
}

void gvm_jw_raw(struct gvm_jw *w, struct gvm_str json)
{
    item(w);
    (void)gvm_buf_adds(w->out, json);
}

void gvm_jw_kstr(struct gvm_jw *w, const char *key, struct gvm_str s)
{
    gvm_jw_key(w, key);
    gvm_jw_str(w, s);
}

void gvm_jw_kstrz(struct gvm_jw *w, const char *key, const char *z)
{
    gvm_jw_key(w, key);
    gvm_jw_strz(w, z);
}

void gvm_jw_kint(struct gvm_jw *w, const char *key, int64_t v)
{
    gvm_jw_key(w, key);
    gvm_jw_int(w, v);
}

void gvm_jw_kbool(struct gvm_jw *w, const char *key, bool v)
{
    gvm_jw_key(w, key);
    gvm_jw_bool(w, v);
}
