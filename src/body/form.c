#include "body/form.h"

#include <errno.h>

struct build {
    struct gvm_arena *a;
    struct gvm_form form;
    size_t cap;
    struct gvm_err *err;
};

static int start(struct build *b, struct gvm_arena *a, struct gvm_err *err)
{
    *b = (struct build){.a = a, .err = err, .cap = GVM_MAX_FORM};
    b->form.pairs = gvm_arena_alloc(a, b->cap * sizeof *b->form.pairs);
    return b->form.pairs ? 0 : gvm_err_set(err, ENOMEM, "no memory for a form");
}

static int add(struct build *b, struct gvm_pair p)
{
    if (b->form.n == b->cap)
        return gvm_err_set(b->err, E2BIG, "the form has more than %u fields", GVM_MAX_FORM);
    b->form.pairs[b->form.n++] = p;
    return 0;
}

/* ---- urlencoded ---- */

static int hex_digit(char c)
{
    c = gvm_lower(c);
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int decode(struct build *b, struct gvm_str s, struct gvm_str *ret)
{
    char *p = gvm_arena_alloc(b->a, s.n + 1);
    size_t n = 0;
    if (!p)
        return gvm_err_set(b->err, ENOMEM, "no memory for a form");
    for (size_t i = 0; i < s.n; i++) {
        int hi = s.p[i] == '%' && i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
        int lo = hi >= 0 ? hex_digit(s.p[i + 2]) : -1;
        if (lo >= 0) {
            p[n++] = (char)(hi << 4 | lo);
            i += 2;
        } else {
            p[n++] = s.p[i] == '+' ? ' ' : s.p[i];
        }
    }
    *ret = (struct gvm_str){p, n};
    return 0;
}

static int add_encoded(struct build *b, struct gvm_str one, bool loose)
{
    struct gvm_str name;
    struct gvm_pair p = {.loose = loose};
    if (one.n == 0)
        return 0;
    (void)gvm_str_cut(&one, '=', &name);
    int r = decode(b, name, &p.name);
    if (r == 0)
        r = decode(b, one, &p.value);
    return r == 0 ? add(b, p) : r;
}

int gvm_form_urlencoded(struct gvm_arena *a, struct gvm_str text, struct gvm_form *ret,
                        struct gvm_err *err)
{
    struct build b;
    struct gvm_str one, part;
    int r = start(&b, a, err);
    for (bool more = r == 0; more && r == 0;) {
        more = gvm_str_cut(&text, '&', &one);
        r = add_encoded(&b, one, false);
        /* HTML 4 recommended ";" as a separator, and some servers still take it. */
        bool semicolon = gvm_str_find(one, ';') >= 0;
        for (bool again = semicolon; again && r == 0;) {
            again = gvm_str_cut(&one, ';', &part);
            r = add_encoded(&b, part, true);
        }
    }
    if (r == 0)
        *ret = b.form;
    return r;
}

/* ---- header parameters ---- */

void gvm_media_type(struct gvm_str content_type, char *dst, size_t cap)
{
    struct gvm_str type;
    (void)gvm_str_cut(&content_type, ';', &type);
    type = gvm_str_trim(type);
    size_t n = type.n < cap ? type.n : cap - 1;
    for (size_t i = 0; i < n; i++)
        dst[i] = gvm_lower(type.p[i]);
    dst[n] = '\0';
}

/* Value of a parameter behind the first ';'. -ENOENT when absent; -EINVAL when given twice, or in a
 * form that readers take differently (escapes in quotes, "name*"). */
static int parameter(struct gvm_str header, const char *name, struct gvm_str *ret)
{
    int found = -ENOENT;
    ptrdiff_t at = gvm_str_find(header, ';');
    while (at >= 0) {
        struct gvm_str key, value;
        header = gvm_str_trim((struct gvm_str){header.p + at + 1, header.n - (size_t)at - 1});
        ptrdiff_t equals = gvm_str_find(header, '=');
        if (equals < 0)
            return header.n ? -EINVAL : found;
        key = gvm_str_trim((struct gvm_str){header.p, (size_t)equals});
        value =
            gvm_str_trim((struct gvm_str){header.p + equals + 1, header.n - (size_t)equals - 1});
        if (value.n && value.p[0] == '"') {
            value = (struct gvm_str){value.p + 1, value.n - 1};
            ptrdiff_t quote = gvm_str_find(value, '"');
            if (quote < 0 || memchr(value.p, '\\', (size_t)quote))
                return -EINVAL;
            header = (struct gvm_str){value.p + quote + 1, value.n - (size_t)quote - 1};
            value.n = (size_t)quote;
            struct gvm_str rest = gvm_str_trim(header);
            if (rest.n && rest.p[0] != ';')
                return -EINVAL;
        } else {
            header = value;
            ptrdiff_t end = gvm_str_find(value, ';');
            value = gvm_str_trim((struct gvm_str){value.p, end < 0 ? value.n : (size_t)end});
        }
        at = gvm_str_find(header, ';');
        if (gvm_str_ieq(key, gvm_str(name))) {
            if (found == 0)
                return -EINVAL;
            *ret = value;
            found = 0;
        } else if (key.n && key.p[key.n - 1] == '*') {
            return -EINVAL;
        }
    }
    return found;
}

/* ---- multipart ---- */

static int broken(struct build *b, const char *what)
{
    return gvm_err_set(b->err, EINVAL, "the multipart form %s", what);
}

/* One header line of a part. */
static int part_header(struct build *b, struct gvm_str line, struct gvm_str *ret_name,
                       bool *ret_named)
{
    struct gvm_str key;
    if (!gvm_str_cut(&line, ':', &key) || key.n == 0 || key.p[0] == ' ' || key.p[0] == '\t')
        return broken(b, "has a broken part header");
    line = gvm_str_trim(line);
    if (gvm_str_ieqz(key, "content-transfer-encoding") && !gvm_str_ieqz(line, "binary") &&
        !gvm_str_ieqz(line, "8bit") && !gvm_str_ieqz(line, "7bit"))
        return broken(b, "has a part with a transfer encoding");
    if (!gvm_str_ieqz(key, "content-disposition"))
        return 0;
    char kind[16];
    gvm_media_type(line, kind, sizeof kind);
    if (*ret_named || strcmp(kind, "form-data") != 0 || parameter(line, "name", ret_name) < 0)
        return broken(b, "has a part without one plain name");
    *ret_named = true;
    return 0;
}

/* One part between two boundaries: headers, an empty line, content. */
static int add_part(struct build *b, struct gvm_str part)
{
    struct gvm_pair pair = {0};
    bool named = false;
    for (;;) {
        const char *end = memmem(part.p, part.n, "\r\n", 2);
        if (!end)
            return broken(b, "has a part without an empty line");
        struct gvm_str line = {part.p, (size_t)(end - part.p)};
        part = (struct gvm_str){end + 2, part.n - line.n - 2};
        if (line.n == 0)
            break;
        int r = part_header(b, line, &pair.name, &named);
        if (r < 0)
            return r;
    }
    if (!named)
        return broken(b, "has a part without a name");
    pair.value = part;
    return add(b, pair);
}

/* The next delimiter line in `s` (which begins behind "\r\n" or at the start of the body): its
 * offset, and in *ret_after where the part begins; *ret_last for the closing one. -1: none. */
static ptrdiff_t find_boundary(struct gvm_str s, const char *mark, size_t n, size_t *ret_after,
                               bool *ret_last)
{
    const char *at = memmem(s.p, s.n, mark, n);
    if (!at)
        return -1;
    size_t i = (size_t)(at - s.p) + n;
    *ret_last = s.n - i >= 2 && memcmp(s.p + i, "--", 2) == 0;
    if (*ret_last)
        i += 2;
    while (i < s.n && (s.p[i] == ' ' || s.p[i] == '\t'))
        i++;
    bool line_end = s.n - i >= 2 && memcmp(s.p + i, "\r\n", 2) == 0;
    if (!line_end && !(*ret_last && i == s.n))
        return -1; /* the boundary with more behind it: readers differ */
    *ret_after = line_end ? i + 2 : i;
    return at - s.p;
}

static int all_parts(struct build *b, struct gvm_str body, const char *mark, size_t n)
{
    size_t after = 0;
    bool last = false;
    /* The first delimiter has no line end before it; a preamble is not taken. */
    if (find_boundary(body, mark + 2, n - 2, &after, &last) != 0)
        return broken(b, "does not begin with its boundary");
    while (!last) {
        body = (struct gvm_str){body.p + after, body.n - after};
        ptrdiff_t end = find_boundary(body, mark, n, &after, &last);
        if (end < 0)
            return broken(b, "does not end with its boundary");
        int r = add_part(b, (struct gvm_str){body.p, (size_t)end});
        if (r < 0)
            return r;
    }
    return after == body.n ? 0 : broken(b, "has bytes behind its last boundary");
}

int gvm_form_multipart(struct gvm_arena *a, struct gvm_str type, struct gvm_str body,
                       struct gvm_form *ret, struct gvm_err *err)
{
    struct build b;
    struct gvm_str boundary;
    char mark[4 + 70];
    int r = start(&b, a, err);
    if (r < 0)
        return r;
    /* RFC 2046 5.1.1: 1 to 70 characters. */
    if (parameter(type, "boundary", &boundary) < 0 || boundary.n == 0 || boundary.n > 70)
        return broken(&b, "has no usable boundary");
    memcpy(mark, "\r\n--", 4);
    memcpy(mark + 4, boundary.p, boundary.n);
    r = all_parts(&b, body, mark, 4 + boundary.n);
    if (r == 0)
        *ret = b.form;
    return r;
}
