/* http1.c - request and response heads (RFC 9112), read in one pass over the bytes.
 *
 *     head = [CRLF] start-line *( name ":" OWS value OWS CRLF ) CRLF
 *
 * Every inner step returns 1 (done, cursor moved on), 0 (the bytes end before the step does) or a
 * negative errno. A head that can no longer become valid is refused at the byte that spoils it, not
 * when it is complete. Fields that decide about framing or identity have a row in `field_rules`;
 * what they said is kept in `struct facts` and judged together in finish(), after the last field.
 *
 * Strict where the RFC lets a recipient be kind: whoever is behind us may be kind in another way,
 * and between two readings of one message there is room for a second message.
 */
#include "wire/http1.h"

#include "wire/url.h"
#include "wire/wire_int.h"

struct cursor {
    const char *p, *end;
};

/* What the fields said. */
struct facts {
    bool length, chunked, host, expect; /* the field was seen */
    bool close, keep, upgrade_option;   /* options of Connection */
    bool upgrade;                       /* Upgrade field */
    bool response;
};

static int bad(struct gvm_err *err, const char *why)
{
    return gvm_err_set(err, EINVAL, "%s", why);
}

/* CR LF; anything else in its place is an error. */
static int line_end(struct cursor *c, struct gvm_err *err)
{
    if (c->p == c->end)
        return 0;
    if (*c->p != '\r')
        return bad(err, *c->p == '\n' ? "a line ends in a bare LF" : "a line has a control byte");
    if (c->p + 1 == c->end)
        return 0;
    if (c->p[1] != '\n')
        return bad(err, "a CR without LF");
    c->p += 2;
    return 1;
}

/* The longest run of bytes of `classes`; 0 when the bytes end inside it. */
static int run(struct cursor *c, unsigned classes, struct gvm_str *ret)
{
    const char *start = c->p, *p = start;
    while (p < c->end && wire_is(*p, classes))
        p++;
    *ret = (struct gvm_str){start, (size_t)(p - start)};
    if (p == c->end)
        return 0;
    c->p = p;
    return 1;
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Steps over bytes eight at a time as long as none is below `low` or DEL; it may stop early. */
static const char *skip_plain(const char *p, const char *end, uint8_t low)
{
    for (uint64_t v; end - p >= 8; p += 8) {
        memcpy(&v, p, sizeof v);
        uint64_t del = v ^ EACH(0x7f);
        if ((((v - EACH(low)) & ~v) | ((del - EACH(1)) & ~del)) & EACH(0x80))
            break;
    }
    return p;
}

/* run() for field values and targets, where nearly all bytes are plain. */
static int long_run(struct cursor *c, unsigned classes, uint8_t low, struct gvm_str *ret)
{
    const char *start = c->p;
    c->p = skip_plain(start, c->end, low);
    int r = run(c, classes, ret);
    *ret = (struct gvm_str){start, (size_t)(ret->p - start) + ret->n};
    return r;
}

/* "HTTP/1.0" or "HTTP/1.1". */
static int version(struct cursor *c, uint8_t *ret_minor, struct gvm_err *err)
{
    static const char prefix[] = "HTTP/1.";
    size_t have = (size_t)(c->end - c->p), n = sizeof prefix - 1;
    if (memcmp(c->p, prefix, have < n ? have : n) != 0)
        return bad(err, "the HTTP version is not 1.0 or 1.1");
    if (have <= n)
        return 0;
    if (c->p[n] != '0' && c->p[n] != '1')
        return bad(err, "the HTTP version is not 1.0 or 1.1");
    *ret_minor = (uint8_t)(c->p[n] - '0');
    c->p += n + 1;
    return 1;
}

/* RFC 9112 3.2: which form of target goes with which method. */
static int check_target(const struct gvm_http1_head *h, struct gvm_err *err)
{
    bool origin = h->target.p[0] == '/';
    if (gvm_str_eqz(h->method, "CONNECT"))
        return origin ? bad(err, "CONNECT needs host:port") : 1;
    if (gvm_str_eqz(h->target, "*"))
        return gvm_str_eqz(h->method, "OPTIONS") ? 1 : bad(err, "only OPTIONS may ask for \"*\"");
    struct gvm_str rest = h->target, scheme;
    bool url =
        gvm_str_cut(&rest, ':', &scheme) && scheme.n > 0 && gvm_str_starts(rest, GVM_STR("//"));
    return origin || url ? 1 : bad(err, "the request target is neither a path nor a URL");
}

static int method_and_target(struct cursor *c, struct gvm_http1_head *h, struct gvm_err *err)
{
    int r = run(c, WIRE_TOKEN, &h->method);
    if (h->method.n > GVM_MAX_METHOD)
        return gvm_err_set(err, EINVAL, "the method is longer than %u bytes", GVM_MAX_METHOD);
    if (r == 0)
        return 0;
    if (h->method.n == 0 || *c->p != ' ')
        return bad(err, "the method is no token");
    c->p++;
    r = long_run(c, WIRE_TARGET, ' ' + 1, &h->target);
    if (h->target.n > GVM_MAX_TARGET)
        return gvm_err_set(err, E2BIG, "the request target is longer than %u bytes",
                           GVM_MAX_TARGET);
    if (r == 0)
        return 0;
    if (h->target.n == 0 || *c->p != ' ')
        return bad(err, "the request line is malformed");
    c->p++;
    return check_target(h, err);
}

static int request_line(struct cursor *c, struct gvm_http1_head *h, struct gvm_err *err)
{
    int r = 1;
    /* RFC 9112 2.2: old clients send one empty line after a body. */
    if (c->p < c->end && *c->p == '\r')
        r = line_end(c, err);
    if (r > 0)
        r = method_and_target(c, h, err);
    if (r > 0)
        r = version(c, &h->minor, err);
    return r > 0 ? line_end(c, err) : r;
}

/* "HTTP/1.1 200 OK"; the reason may be empty, and the space before it missing. */
static int status_line(struct cursor *c, struct gvm_http1_head *h, struct gvm_err *err)
{
    int r = version(c, &h->minor, err);
    if (r <= 0)
        return r;
    if (c->end - c->p < 5)
        return 0;
    unsigned status = 0;
    for (int i = 1; i <= 3; i++) {
        if (!wire_is(c->p[i], WIRE_DIGIT))
            return bad(err, "the status is not three digits");
        status = status * 10 + (unsigned)(c->p[i] - '0');
    }
    if (*c->p != ' ' || status < 100 || (c->p[4] != ' ' && c->p[4] != '\r'))
        return bad(err, "the status line is malformed");
    h->status = (uint16_t)status;
    c->p += c->p[4] == ' ' ? 5 : 4;
    return run(c, WIRE_VALUE, &h->reason) ? line_end(c, err) : 0;
}

/* ---- fields with a meaning ---- */

static int on_length(struct facts *f, struct gvm_http1_head *h, struct gvm_str v,
                     struct gvm_err *err)
{
    if (f->length)
        return bad(err, "two Content-Length fields");
    f->length = true;
    if (gvm_parse_u64(v, INT64_MAX, &h->content_length) < 0)
        return bad(err, "Content-Length is not one plain number");
    return 1;
}

static int on_transfer(struct facts *f, struct gvm_http1_head *h, struct gvm_str v,
                       struct gvm_err *err)
{
    if (f->chunked)
        return bad(err, "two Transfer-Encoding fields");
    f->chunked = true;
    return gvm_str_ieqz(v, "chunked") ? 1 : bad(err, "Transfer-Encoding is not just \"chunked\"");
}

static int on_host(struct facts *f, struct gvm_http1_head *h, struct gvm_str v, struct gvm_err *err)
{
    if (f->response)
        return 1;
    if (f->host)
        return bad(err, "two Host fields");
    f->host = true;
    h->host = v;
    struct gvm_authority a;
    int r = gvm_authority_parse(v, &a, err);
    return r < 0 ? gvm_err_wrap(err, r, "Host") : 1;
}

/* The sender must not have fields dropped that say where the message ends or whom it is for. */
static bool is_protected(struct gvm_str option)
{
    return gvm_str_ieqz(option, "host") || gvm_str_ieqz(option, "content-length") ||
           gvm_str_ieqz(option, "transfer-encoding");
}

static int on_connection(struct facts *f, struct gvm_http1_head *h, struct gvm_str v,
                         struct gvm_err *err)
{
    for (bool more = true; more;) {
        struct gvm_str option;
        more = gvm_str_cut(&v, ',', &option);
        option = gvm_str_trim(option);
        f->close |= gvm_str_ieqz(option, "close");
        f->keep |= gvm_str_ieqz(option, "keep-alive");
        f->upgrade_option |= gvm_str_ieqz(option, "upgrade");
        if (!wire_all(option, WIRE_TOKEN))
            return bad(err, "Connection is not a list of tokens");
        if (!f->response && is_protected(option))
            return bad(err, "Connection names a field that must stay");
    }
    return 1;
}

static int on_expect(struct facts *f, struct gvm_http1_head *h, struct gvm_str v,
                     struct gvm_err *err)
{
    if (f->response)
        return 1;
    if (f->expect || !gvm_str_ieqz(v, "100-continue"))
        return bad(err, "Expect is not just \"100-continue\"");
    f->expect = true;
    return 1;
}

static int on_upgrade(struct facts *f, struct gvm_http1_head *h, struct gvm_str v,
                      struct gvm_err *err)
{
    f->upgrade = true;
    return 1;
}

static const struct field_rule {
    struct gvm_str name;
    int (*fn)(struct facts *, struct gvm_http1_head *, struct gvm_str, struct gvm_err *);
} field_rules[] = {
    {{"host", 4}, on_host},
    {{"expect", 6}, on_expect},
    {{"upgrade", 7}, on_upgrade},
    {{"connection", 10}, on_connection},
    {{"content-length", 14}, on_length},
    {{"transfer-encoding", 17}, on_transfer},
};

static int note(struct facts *f, struct gvm_http1_head *h, const struct gvm_header *field,
                struct gvm_err *err)
{
    char first = gvm_lower(field->name.p[0]);
    for (size_t i = 0; i < sizeof field_rules / sizeof *field_rules; i++) {
        const struct field_rule *rule = &field_rules[i];
        if (field->name.n == rule->name.n && first == rule->name.p[0] &&
            gvm_str_ieq(field->name, rule->name))
            return rule->fn(f, h, field->value, err);
    }
    return 1;
}

/* ---- the fields as such ---- */

static int field_name(struct cursor *c, struct gvm_str *ret, struct gvm_err *err)
{
    if (*c->p == ' ' || *c->p == '\t')
        return bad(err, "a folded field line");
    if (!run(c, WIRE_TOKEN, ret))
        return 0;
    if (*c->p == ' ' || *c->p == '\t')
        return bad(err, "white space before the colon of a field");
    if (ret->n == 0 || *c->p != ':')
        return bad(err, "a field name is no token");
    c->p++;
    return 1;
}

static int field(struct cursor *c, struct gvm_header *ret, struct gvm_err *err)
{
    int r = field_name(c, &ret->name, err);
    if (r <= 0)
        return r;
    struct gvm_str value;
    if (!long_run(c, WIRE_VALUE, ' ', &value))
        return 0;
    ret->value = gvm_str_trim(value);
    return line_end(c, err);
}

static int fields(struct cursor *c, struct facts *f, struct gvm_http1_head *h, struct gvm_err *err)
{
    for (;;) {
        if (c->p == c->end)
            return 0;
        if (*c->p == '\r' || *c->p == '\n')
            return line_end(c, err);
        if (h->nheaders == GVM_MAX_HEADERS)
            return gvm_err_set(err, EINVAL, "more than %u fields", GVM_MAX_HEADERS);
        struct gvm_header *slot = &h->headers[h->nheaders];
        int r = field(c, slot, err);
        if (r > 0)
            r = note(f, h, slot, err);
        if (r <= 0)
            return r;
        h->nheaders++;
    }
}

/* ---- all of it together ---- */

static int finish(const struct facts *f, struct gvm_http1_head *h, struct gvm_err *err)
{
    if (f->length && f->chunked)
        return bad(err, "Content-Length together with Transfer-Encoding");
    if (f->chunked && h->minor == 0)
        return bad(err, "Transfer-Encoding in HTTP/1.0");
    if (!f->response && !f->host && h->minor == 1)
        return bad(err, "no Host field");
    bool body = f->chunked || h->content_length > 0;
    if (!f->response && body && gvm_str_eqz(h->method, "CONNECT"))
        return bad(err, "CONNECT with a body");
    h->keep_alive = !f->close && (h->minor == 1 || f->keep);
    h->expect_continue = f->expect && h->minor == 1;
    h->body = f->chunked ? GVM_BODY_CHUNKED : f->length ? GVM_BODY_LENGTH : GVM_BODY_NONE;
    /* Some servers take even a body behind an upgrade for the new protocol. */
    h->upgrade = f->upgrade && f->upgrade_option && h->minor == 1 && !body;
    return 1;
}

/* RFC 9112 6.3: which responses have no body whatever they say. */
static void finish_response(const struct facts *f, struct gvm_str method, struct gvm_http1_head *h)
{
    bool bodiless = h->status < 200 || h->status == 204;
    bool may_describe = gvm_str_eqz(method, "HEAD") || h->status == 304;
    bool tunnel = gvm_str_eqz(method, "CONNECT") && h->status / 100 == 2;
    if (bodiless || may_describe || tunnel) {
        /* A body announced where none can be: whatever follows is not the next response. */
        if (!may_describe && (f->chunked || h->content_length > 0))
            h->keep_alive = false;
        h->body = GVM_BODY_NONE;
    } else if (h->body == GVM_BODY_NONE) {
        h->body = GVM_BODY_CLOSE;
        h->keep_alive = false;
    }
}

/* *ret_c spans what may be a head. The big array of fields is left as it is. */
static void begin(struct gvm_str in, bool response, struct cursor *ret_c, struct gvm_http1_head *h)
{
    *ret_c = (struct cursor){in.p, in.p + (in.n < GVM_MAX_HEAD ? in.n : GVM_MAX_HEAD)};
    h->response = response;
    h->method = h->target = h->reason = h->host = (struct gvm_str){in.p, 0};
    h->status = 0;
    h->nheaders = 0;
    h->content_length = 0;
}

/* 0 means "more bytes", unless there are too many already. */
static int end(int r, struct gvm_str in, const struct cursor *c, struct gvm_http1_head *h,
               struct gvm_err *err)
{
    if (r == 0 && in.n >= GVM_MAX_HEAD)
        return gvm_err_set(err, E2BIG, "the head is longer than %u bytes", GVM_MAX_HEAD);
    if (r > 0)
        h->length = (size_t)(c->p - in.p);
    return r;
}

int gvm_http1_request(struct gvm_str in, struct gvm_http1_head *ret, struct gvm_err *err)
{
    if (in.n == 0)
        return 0;
    struct cursor c;
    struct facts f = {0};
    begin(in, false, &c, ret);
    int r = request_line(&c, ret, err);
    if (r > 0)
        r = fields(&c, &f, ret, err);
    if (r > 0)
        r = finish(&f, ret, err);
    return end(r, in, &c, ret, err);
}

int gvm_http1_response(struct gvm_str in, struct gvm_str method, struct gvm_http1_head *ret,
                       struct gvm_err *err)
{
    if (in.n == 0)
        return 0;
    struct cursor c;
    struct facts f = {.response = true};
    begin(in, true, &c, ret);
    int r = status_line(&c, ret, err);
    if (r > 0)
        r = fields(&c, &f, ret, err);
    if (r > 0)
        r = finish(&f, ret, err);
    if (r > 0)
        finish_response(&f, method, ret);
    return end(r, in, &c, ret, err);
}

const struct gvm_header *gvm_http1_find(const struct gvm_http1_head *h, const char *name)
{
    struct gvm_str want = gvm_str(name);
    for (unsigned i = 0; i < h->nheaders; i++)
        if (h->headers[i].name.n == want.n && gvm_str_ieq(h->headers[i].name, want))
            return &h->headers[i];
    return NULL;
}
