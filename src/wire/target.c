/* target.c - the path of a request in the one form that is matched, recorded and forwarded.
 *
 * Pass 1, unescape(): every byte is pushed to the end of the output, and after each push the tail
 * is reduced as long as one of these applies (h = hex digit):
 *
 *     %hh    of an unreserved byte (RFC 3986 2.3)      -> that byte
 *     %25hh  where %hh is an unreserved byte or '%'    -> %hh
 *
 * so that "%2e", "%252e", "%25%32%65" all end as ".", and "%2F", "%252F" stay what they are (one is
 * a slash inside a segment, the other the three characters "%2F"; Jenkins and GitLab need both).
 * Each reduction shortens the output, so the pass is linear. Bytes a path must escape are escaped,
 * "\" becomes "/".
 *
 * Pass 2, fold(): empty segments go, dot segments (also with ";..." behind the dots) are resolved.
 *
 * Pass 3, check_deep(): what remains escaped is decoded completely, to a fixed point, into a
 * scratch copy. If a dot segment, a control byte or an overlong UTF-8 form of an ASCII byte appears
 * there, some server behind us would see another path than we judged: refused.
 */
#include "wire/url.h"

#include <stdlib.h>
#include "wire/wire_int.h"

/* A text that grows at its end; memory for the longest outcome is there from the start. */
struct tail {
    char *p;
    size_t n;
};

static bool is_escape(const char *p)
{
    return p[0] == '%' && wire_is(p[1], WIRE_HEX) && wire_is(p[2], WIRE_HEX);
}

static unsigned escape_value(const char *p)
{
    return wire_hex(p[1]) << 4 | wire_hex(p[2]);
}

static void reduce(struct tail *t)
{
    while (t->n >= 3) {
        char *last = t->p + t->n - 3;
        if (is_escape(last)) {
            char c = (char)escape_value(last);
            if (!wire_is(c, WIRE_UNRESERVED))
                return;
            *last = c;
            t->n -= 2;
            continue;
        }
        if (t->n < 5 || memcmp(last - 2, "%25", 3) != 0)
            return;
        char inner[3] = {'%', last[1], last[2]};
        if (!is_escape(inner))
            return;
        char c = (char)escape_value(inner);
        if (c != '%' && !wire_is(c, WIRE_UNRESERVED))
            return;
        memcpy(last - 2, inner, 3);
        t->n -= 2;
    }
}

static void push(struct tail *t, char c)
{
    t->p[t->n++] = c;
    reduce(t);
}

static void push_escape(struct tail *t, uint8_t v)
{
    static const char digits[] = "0123456789ABCDEF";
    push(t, '%');
    push(t, digits[v >> 4]);
    push(t, digits[v & 15]);
}

static bool is_control(uint8_t c)
{
    return c < 0x20 || c == 0x7f;
}

static int unescape(struct gvm_str path, struct tail *t, struct gvm_err *err)
{
    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i];
        if (c == '%') {
            if (path.n - i < 3 || !is_escape(path.p + i))
                return gvm_err_set(err, EINVAL, "the path has a broken percent escape");
            unsigned v = escape_value(path.p + i);
            if (is_control((uint8_t)v))
                return gvm_err_set(err, EINVAL, "the path has an escaped control byte");
            push_escape(t, (uint8_t)v);
            i += 2;
        } else if (wire_is(c, WIRE_PCHAR)) {
            push(t, c);
        } else if (c == '\\') {
            push(t, '/');
        } else if (wire_is(c, WIRE_TARGET) && c != '#') {
            push_escape(t, (uint8_t)c);
        } else {
            return gvm_err_set(err, EINVAL, "the path has a byte that no path has");
        }
    }
    return 0;
}

/* 1 for ".", 2 for "..", each also with parameters behind it; else 0. */
static unsigned dots(struct gvm_str segment)
{
    struct gvm_str name = segment;
    (void)gvm_str_cut(&segment, ';', &name);
    return (gvm_str_eq(name, GVM_STR(".")) ? 1 : 0) + (gvm_str_eq(name, GVM_STR("..")) ? 2 : 0);
}

/* In place; the text starts with '/'. Never writes ahead of what was read. */
static void fold(struct tail *t)
{
    size_t out = 1;
    for (size_t i = 1; i < t->n;) {
        const char *slash = memchr(t->p + i, '/', t->n - i);
        size_t end = slash ? (size_t)(slash - t->p) : t->n;
        size_t len = end - i;
        unsigned d = dots((struct gvm_str){t->p + i, len});
        if (d == 2 && out > 1) {
            out--;
            while (t->p[out - 1] != '/')
                out--;
        } else if (d == 0 && len > 0) {
            memmove(t->p + out, t->p + i, len);
            out += len;
            if (slash)
                t->p[out++] = '/';
        }
        i = end + 1;
    }
    t->n = out;
}

/* Decodes escapes of any byte until none is left. */
static void decode_all(struct gvm_str path, struct tail *t)
{
    for (size_t i = 0; i < path.n; i++) {
        t->p[t->n++] = path.p[i];
        while (t->n >= 3 && is_escape(t->p + t->n - 3)) {
            t->p[t->n - 3] = (char)escape_value(t->p + t->n - 3);
            t->n -= 2;
        }
    }
}

/* A UTF-8 sequence longer than it need be that some decoders read as an ASCII byte. */
static bool is_overlong(const uint8_t *p, size_t n)
{
    if (n >= 2 && (p[0] == 0xc0 || p[0] == 0xc1))
        return p[1] >> 6 == 2;
    if (n >= 3 && p[0] == 0xe0)
        return p[1] >= 0x80 && p[1] <= 0x9f && p[2] >> 6 == 2;
    return n >= 4 && p[0] == 0xf0 && p[1] >= 0x80 && p[1] <= 0x8f && p[2] >> 6 == 2;
}

static int check_deep(struct gvm_str path, struct gvm_err *err)
{
    if (gvm_str_find(path, '%') < 0)
        return 0;
    GVM_AUTOFREE char *mem = malloc(path.n);
    if (!mem)
        return gvm_err_set(err, ENOMEM, "out of memory");
    struct tail t = {mem, 0};
    decode_all(path, &t);
    size_t start = 0;
    for (size_t i = 0; i <= t.n; i++) {
        if (i == t.n || t.p[i] == '/' || t.p[i] == '\\') {
            if (dots((struct gvm_str){t.p + start, i - start}))
                return gvm_err_set(err, EINVAL, "the path hides a dot segment behind an escape");
            start = i + 1;
        } else if (is_control((uint8_t)t.p[i])) {
            return gvm_err_set(err, EINVAL, "the path hides a control byte behind escapes");
        } else if (is_overlong((const uint8_t *)t.p + i, t.n - i)) {
            return gvm_err_set(err, EINVAL, "the path has an overlong UTF-8 form");
        }
    }
    return 0;
}

/* Nothing to do: only bytes of a path, no escape, no empty segment, none that starts with a dot. */
static bool is_plain(struct gvm_str path)
{
    for (size_t i = 0; i < path.n; i++) {
        if (!wire_is(path.p[i], WIRE_PCHAR))
            return false;
        if (path.p[i] == '/' && i + 1 < path.n && (path.p[i + 1] == '/' || path.p[i + 1] == '.'))
            return false;
    }
    return true;
}

/* Appends the canonical form of a path that starts with '/' (or "\"). */
static int canon_path(struct gvm_str path, struct gvm_buf *out, struct gvm_err *err)
{
    if (is_plain(path))
        return gvm_buf_adds(out, path) < 0 ? gvm_err_set(err, ENOBUFS, "no room for the path") : 0;
    GVM_AUTOFREE char *mem = malloc(3 * path.n);
    if (!mem)
        return gvm_err_set(err, ENOMEM, "out of memory");
    struct tail t = {mem, 0};
    int r = unescape(path, &t, err);
    if (r < 0)
        return r;
    fold(&t);
    if (t.n > GVM_MAX_TARGET)
        return gvm_err_set(err, E2BIG, "the path is longer than %u bytes", GVM_MAX_TARGET);
    r = check_deep((struct gvm_str){t.p, t.n}, err);
    if (r < 0)
        return r;
    return gvm_buf_add(out, t.p, t.n) < 0 ? gvm_err_set(err, ENOBUFS, "no room for the path") : 0;
}

int gvm_target_canon(struct gvm_str target, struct gvm_buf *path, struct gvm_buf *query,
                     bool *ret_has_query, struct gvm_err *err)
{
    if (target.n > GVM_MAX_TARGET)
        return gvm_err_set(err, E2BIG, "the request target is longer than %u bytes",
                           GVM_MAX_TARGET);
    struct gvm_str given = target, rest = target;
    bool has_query = gvm_str_cut(&rest, '?', &given);
    if (given.n == 0)
        given = GVM_STR("/");
    if (given.p[0] != '/' && given.p[0] != '\\')
        return gvm_err_set(err, EINVAL, "the path does not start with a slash");
    if (has_query && (!wire_all(rest, WIRE_TARGET) || gvm_str_find(rest, '#') >= 0))
        return gvm_err_set(err, EINVAL, "the query has a control byte, a space or a '#'");
    size_t before = path->len;
    int r = canon_path(given, path, err);
    if (r < 0)
        return r;
    if (has_query && gvm_buf_adds(query, rest) < 0) {
        path->len = before;
        return gvm_err_set(err, ENOBUFS, "no room for the query");
    }
    *ret_has_query = has_query;
    return 0;
}

/* One segment of the fully decoded path, escaped again; parameters are left out. */
static void add_segment(struct tail *t, struct gvm_str segment)
{
    static const char digits[] = "0123456789ABCDEF";
    struct gvm_str name = segment;
    (void)gvm_str_cut(&segment, ';', &name);
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = (uint8_t)name.p[i];
        if (wire_is((char)c, WIRE_PCHAR)) {
            t->p[t->n++] = (char)c;
            continue;
        }
        t->p[t->n++] = '%';
        t->p[t->n++] = digits[c >> 4];
        t->p[t->n++] = digits[c & 15];
    }
}

int gvm_path_loose(struct gvm_str path, struct gvm_buf *out)
{
    if (gvm_str_find(path, '%') < 0 && gvm_str_find(path, ';') < 0)
        return gvm_buf_adds(out, path);
    GVM_AUTOFREE char *decoded = malloc(path.n);
    GVM_AUTOFREE char *text = malloc(3 * path.n + 1);
    if (!decoded || !text)
        return -ENOMEM;
    struct tail d = {decoded, 0}, t = {text, 0};
    decode_all(path, &d);
    t.p[t.n++] = '/';
    for (size_t i = 0, start = 0; i <= d.n; i++) {
        if (i < d.n && d.p[i] != '/' && d.p[i] != '\\')
            continue;
        size_t before = t.n;
        add_segment(&t, (struct gvm_str){d.p + start, i - start});
        if (t.n > before && i < d.n)
            t.p[t.n++] = '/';
        start = i + 1;
    }
    return gvm_buf_add(out, t.p, t.n);
}
