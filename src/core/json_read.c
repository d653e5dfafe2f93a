/* The pull reader. One state byte per open container says what may come next; there is no
 * recursion, so the depth of hostile input costs a byte each and stops at GVM_MAX_JSON_DEPTH. */
#include <errno.h>

#include "core/json.h"

enum state {
    OBJECT_FIRST, /* a key or '}' */
    OBJECT_VALUE, /* the value of the key just given */
    OBJECT_NEXT,  /* ',' and a key, or '}' */
    ARRAY_FIRST,  /* a value or ']' */
    ARRAY_NEXT,   /* ',' and a value, or ']' */
};

void gvm_json_open(struct gvm_json_reader *r, struct gvm_str text)
{
    *r = (struct gvm_json_reader){.p = text.p, .n = text.n};
}

static void skip_space(struct gvm_json_reader *r)
{
    while (r->pos < r->n) {
        char c = r->p[r->pos];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
            break;
        r->pos++;
    }
}

static int peek(const struct gvm_json_reader *r)
{
    return r->pos < r->n ? (unsigned char)r->p[r->pos] : -1;
}

static int hex4(const char *p, size_t n)
{
    int v = 0;
    if (n < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = gvm_lower(p[i]);
        if (c >= '0' && c <= '9')
            v = v << 4 | (c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (c - 'a' + 10);
        else
            return -1;
    }
    return v;
}

/* Code point of the escape at p ("\\" is p[0]) and its length in *ret_n; -1 when malformed. */
static int32_t escape(const char *p, size_t n, size_t *ret_n)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (n < 2)
        return -1;
    if (p[1] != 'u') {
        const char *at = p[1] ? strchr(from, p[1]) : NULL;
        *ret_n = 2;
        return at ? (unsigned char)to[at - from] : -1;
    }
    int32_t hi = hex4(p + 2, n - 2);
    *ret_n = 6;
    if (hi < 0xd800 || hi > 0xdfff)
        return hi;
    if (hi > 0xdbff || n < 12 || p[6] != '\\' || p[7] != 'u')
        return -1; /* lone surrogate */
    int32_t lo = hex4(p + 8, n - 8);
    *ret_n = 12;
    return lo < 0xdc00 || lo > 0xdfff ? -1 : 0x10000 + ((hi - 0xd800) << 10) + (lo - 0xdc00);
}

/* The string whose opening quote is at r->pos; leaves pos behind the closing one. */
static int read_string(struct gvm_json_reader *r, struct gvm_json_token *t)
{
    size_t start = ++r->pos;
    for (;;) {
        int c = peek(r);
        size_t len = 1;
        if (c == '"')
            break;
        if (c < 0x20)
            return -EINVAL; /* the end of the text, too */
        if (c == '\\') {
            if (escape(r->p + r->pos, r->n - r->pos, &len) < 0)
                return -EINVAL;
            t->escaped = true;
        } else if (c >= 0x80) {
            len = gvm_utf8_next((struct gvm_str){r->p + r->pos, r->n - r->pos});
            if (len == 0)
                return -EINVAL;
        }
        r->pos += len;
    }
    t->raw = (struct gvm_str){r->p + start, r->pos - start};
    r->pos++;
    return 0;
}

static bool digits(struct gvm_json_reader *r)
{
    size_t start = r->pos;
    while (peek(r) >= '0' && peek(r) <= '9')
        r->pos++;
    return r->pos > start;
}

static int read_number(struct gvm_json_reader *r, struct gvm_json_token *t)
{
    size_t start = r->pos;
    if (peek(r) == '-')
        r->pos++;
    if (peek(r) == '0')
        r->pos++;
    else if (!digits(r))
        return -EINVAL;
    if (peek(r) == '.') {
        r->pos++;
        if (!digits(r))
            return -EINVAL;
    }
    if (peek(r) == 'e' || peek(r) == 'E') {
        r->pos++;
        if (peek(r) == '+' || peek(r) == '-')
            r->pos++;
        if (!digits(r))
            return -EINVAL;
    }
    t->type = GVM_JSON_NUMBER;
    t->raw = (struct gvm_str){r->p + start, r->pos - start};
    return 0;
}

static int read_word(struct gvm_json_reader *r, struct gvm_json_token *t)
{
    static const struct {
        struct gvm_str text;
        enum gvm_json_type type;
    } words[] = {
        {{"true", 4}, GVM_JSON_TRUE}, {{"false", 5}, GVM_JSON_FALSE}, {{"null", 4}, GVM_JSON_NULL}};
    struct gvm_str rest = {r->p + r->pos, r->n - r->pos};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!gvm_str_starts(rest, words[i].text))
            continue;
        t->type = words[i].type;
        t->raw = (struct gvm_str){rest.p, words[i].text.n};
        r->pos += words[i].text.n;
        return 0;
    }
    return -EINVAL;
}

static int open_container(struct gvm_json_reader *r, struct gvm_json_token *t, bool object)
{
    if (r->depth == GVM_MAX_JSON_DEPTH)
        return -E2BIG;
    r->stack[r->depth++] = object ? OBJECT_FIRST : ARRAY_FIRST;
    t->type = object ? GVM_JSON_OBJECT : GVM_JSON_ARRAY;
    t->raw = (struct gvm_str){r->p + r->pos, 1};
    r->pos++;
    return 0;
}

static int read_value(struct gvm_json_reader *r, struct gvm_json_token *t)
{
    int c = peek(r);
    t->off = r->pos;
    if (c == '{' || c == '[')
        return open_container(r, t, c == '{');
    if (c == '"') {
        t->type = GVM_JSON_STRING;
        return read_string(r, t);
    }
    if (c == '-' || (c >= '0' && c <= '9'))
        return read_number(r, t);
    return c < 0 ? -EINVAL : read_word(r, t);
}

static int read_key(struct gvm_json_reader *r, struct gvm_json_token *t)
{
    if (peek(r) != '"')
        return -EINVAL;
    t->off = r->pos;
    t->type = GVM_JSON_KEY;
    int x = read_string(r, t);
    if (x < 0)
        return x;
    skip_space(r);
    if (peek(r) != ':')
        return -EINVAL;
    r->pos++;
    r->stack[r->depth - 1] = OBJECT_VALUE;
    return 0;
}

static int close_container(struct gvm_json_reader *r, struct gvm_json_token *t, bool object)
{
    t->type = object ? GVM_JSON_OBJECT_END : GVM_JSON_ARRAY_END;
    t->off = r->pos;
    t->raw = (struct gvm_str){r->p + r->pos, 1};
    r->pos++;
    r->depth--;
    return 0;
}

/* What may come inside the innermost container. */
static int read_inside(struct gvm_json_reader *r, struct gvm_json_token *t)
{
    uint8_t *state = &r->stack[r->depth - 1];
    bool object = *state <= OBJECT_NEXT;
    int c = peek(r);
    if (*state != OBJECT_VALUE && c == (object ? '}' : ']'))
        return close_container(r, t, object);
    if (*state == OBJECT_NEXT || *state == ARRAY_NEXT) {
        if (c != ',')
            return -EINVAL;
        r->pos++;
        skip_space(r);
    }
    if (object && *state != OBJECT_VALUE)
        return read_key(r, t);
    *state = object ? OBJECT_NEXT : ARRAY_NEXT;
    return read_value(r, t);
}

static int read_top(struct gvm_json_reader *r, struct gvm_json_token *t)
{
    if (!r->started) {
        r->started = true;
        return read_value(r, t);
    }
    t->off = r->pos;
    return r->pos == r->n ? 0 : -EINVAL;
}

int gvm_json_next(struct gvm_json_reader *r, struct gvm_json_token *ret)
{
    if (r->failed)
        return r->failed;
    struct gvm_json_token t = {0};
    skip_space(r);
    int x = r->depth ? read_inside(r, &t) : read_top(r, &t);
    if (x < 0) {
        r->failed = x;
        return x;
    }
    *ret = t;
    return 0;
}

static size_t put_utf8(char d[4], uint32_t c)
{
    if (c < 0x80) {
        d[0] = (char)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len; i-- > 1; c >>= 6)
        d[i] = (char)(0x80 | (c & 0x3f));
    d[0] = (char)(lead[len] | c);
    return len;
}

int gvm_json_unescape(struct gvm_str raw, struct gvm_buf *out)
{
    while (raw.n) {
        const char *slash = memchr(raw.p, '\\', raw.n);
        size_t plain = slash ? (size_t)(slash - raw.p) : raw.n;
        int r = gvm_buf_add(out, raw.p, plain);
        if (r < 0)
            return r;
        raw.p += plain;
        raw.n -= plain;
        if (!slash)
            break;
        size_t used = 0;
        int32_t c = escape(raw.p, raw.n, &used);
        if (c < 0)
            return -EINVAL;
        char utf8[4];
        r = gvm_buf_add(out, utf8, put_utf8(utf8, (uint32_t)c));
        if (r < 0)
            return r;
        raw.p += used;
        raw.n -= used;
    }
    return 0;
}
