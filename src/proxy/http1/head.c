#include "proxy/http1/head.h"

/* Fields of one hop, and those we write ourselves. */
static const struct gvm_str hop[] = {
    {"connection", 10},        {"keep-alive", 10},     {"te", 2}, {"trailer", 7}, {"upgrade", 7},
    {"transfer-encoding", 17}, {"http2-settings", 14},
};
static const struct gvm_str of_requests[] = {{"host", 4}, {"expect", 6}, {"content-length", 14}};

static bool in_list(struct gvm_str name, const struct gvm_str *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].n == name.n && gvm_str_ieq(list[i], name))
            return true;
    return false;
}

static bool istarts(struct gvm_str s, struct gvm_str prefix)
{
    return s.n >= prefix.n && gvm_str_ieq((struct gvm_str){s.p, prefix.n}, prefix);
}

static bool is_ours(struct gvm_str name)
{
    char c = name.n ? gvm_lower(name.p[0]) : '\0';
    return (c == 'x' && istarts(name, GVM_STR("x-gvm-"))) ||
           (c == 'p' && istarts(name, GVM_STR("proxy-")));
}

bool px_field_is_hop(struct gvm_str name)
{
    return in_list(name, hop, sizeof hop / sizeof *hop) || is_ours(name);
}

bool px_trailer_ok(struct gvm_str name)
{
    static const struct gvm_str never[] = {
        {"host", 4},           {"content-length", 14},
        {"content-type", 12},  {"content-encoding", 16},
        {"authorization", 13}, {"cookie", 6},
        {"set-cookie", 10},    {"expect", 6},
        {"cache-control", 13}, {"location", 8},
        {"content-range", 13}, {"www-authenticate", 16},
    };
    return !px_field_is_hop(name) && !in_list(name, never, sizeof never / sizeof *never);
}

/* Does some Connection field name this one? */
static bool is_nominated(const struct gvm_http1_head *h, struct gvm_str name)
{
    for (unsigned i = 0; i < h->nheaders; i++) {
        if (!gvm_str_ieq(h->headers[i].name, GVM_STR("connection")))
            continue;
        struct gvm_str rest = h->headers[i].value, token;
        while (rest.n) {
            gvm_str_cut(&rest, ',', &token);
            if (gvm_str_ieq(gvm_str_trim(token), name))
                return true;
        }
    }
    return false;
}

bool px_http1_nominates(const struct gvm_http1_head *h)
{
    const struct gvm_header *c = gvm_http1_find(h, "connection");
    return c && !gvm_str_ieqz(c->value, "keep-alive") && !gvm_str_ieqz(c->value, "close");
}

static void add_field(struct gvm_buf *out, const struct gvm_header *f)
{
    gvm_buf_adds(out, f->name);
    gvm_buf_add(out, ": ", 2);
    gvm_buf_adds(out, f->value);
    gvm_buf_add(out, "\r\n", 2);
}

bool px_http1_websocket(const struct gvm_http1_head *h)
{
    const struct gvm_header *u = h->upgrade ? gvm_http1_find(h, "upgrade") : NULL;
    return u && gvm_str_ieqz(u->value, "websocket");
}

static void add_length(struct gvm_buf *out, uint64_t n)
{
    gvm_buf_addz(out, "Content-Length: ");
    gvm_buf_addu(out, n);
    gvm_buf_add(out, "\r\n", 2);
}

void px_http1_request_head(const struct gvm_http1_head *h, const struct px_http1_line *l,
                           struct gvm_buf *out)
{
    bool nominates = px_http1_nominates(h);
    gvm_buf_addz(out, l->method);
    gvm_buf_addc(out, ' ');
    gvm_buf_adds(out, l->path);
    if (l->has_query) {
        gvm_buf_addc(out, '?');
        gvm_buf_adds(out, l->query);
    }
    gvm_buf_addz(out, " HTTP/1.1\r\nHost: ");
    if (gvm_authority_format(l->host, l->port, l->tls, out) < 0)
        out->failed = true;
    gvm_buf_add(out, "\r\n", 2);
    for (unsigned i = 0; i < h->nheaders; i++) {
        struct gvm_str name = h->headers[i].name;
        if (px_field_is_hop(name) ||
            in_list(name, of_requests, sizeof of_requests / sizeof *of_requests) ||
            (nominates && is_nominated(h, name)))
            continue;
        add_field(out, &h->headers[i]);
    }
    if (h->body == GVM_BODY_LENGTH)
        add_length(out, h->content_length);
    else if (h->body == GVM_BODY_CHUNKED)
        gvm_buf_addz(out, "Transfer-Encoding: chunked\r\n");
    else if (gvm_http1_find(h, "content-length"))
        gvm_buf_addz(out, "Content-Length: 0\r\n");
    if (l->websocket)
        gvm_buf_addz(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
}

static bool no_length(unsigned status)
{
    return status < 200 || status == 204;
}

bool px_http1_stays(const struct gvm_http1_head *h, const struct gvm_header *f, bool nominates)
{
    return !px_field_is_hop(f->name) && !(nominates && is_nominated(h, f->name)) &&
           !(no_length(h->status) && gvm_str_ieqz(f->name, "content-length"));
}

/* A version that ends its messages in another way needs no length where HTTP/1 does. */
static bool needs_zero(const struct gvm_http1_head *h, const struct px_http1_status *l)
{
    return h->body == GVM_BODY_NONE && h->status >= 200 && !no_length(h->status) &&
           h->status != 304 && !l->to_head && !gvm_http1_find(h, "content-length");
}

void px_http1_response_head(const struct gvm_http1_head *h, const struct px_http1_status *l,
                            struct gvm_buf *out)
{
    bool nominates = px_http1_nominates(h);
    gvm_buf_addz(out, "HTTP/1.1 ");
    gvm_buf_addu(out, h->status);
    gvm_buf_addc(out, ' ');
    gvm_buf_adds(out, h->reason);
    gvm_buf_add(out, "\r\n", 2);
    for (unsigned i = 0; i < h->nheaders; i++)
        if (px_http1_stays(h, &h->headers[i], nominates))
            add_field(out, &h->headers[i]);
    if (l->chunked)
        gvm_buf_addz(out, "Transfer-Encoding: chunked\r\n");
    else if (needs_zero(h, l))
        gvm_buf_addz(out, "Content-Length: 0\r\n");
    if (h->status == 101)
        gvm_buf_addz(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    else if (l->close && h->status >= 200)
        gvm_buf_addz(out, "Connection: close\r\n");
    else if (!l->minor && h->status >= 200)
        gvm_buf_addz(out, "Connection: keep-alive\r\n");
    gvm_buf_add(out, "\r\n", 2);
}

void px_http1_remove(struct gvm_buf *head, struct gvm_str name)
{
    char *p = (char *)gvm_buf_data(head);
    size_t n = head->len, to = 0;
    for (size_t at = 0; at < n;) {
        const char *end = memchr(p + at, '\n', n - at);
        size_t len = end ? (size_t)(end - (p + at)) + 1 : n - at;
        bool match = at && len > name.n && p[at + name.n] == ':' &&
                     gvm_str_ieq((struct gvm_str){p + at, name.n}, name);
        if (!match) {
            memmove(p + to, p + at, len);
            to += len;
        }
        at += len;
    }
    head->len = to;
}

void px_http1_chunk(struct gvm_buf *out, struct gvm_str span)
{
    if (!span.n)
        return;
    gvm_buf_addf(out, "%zx\r\n", span.n);
    gvm_buf_adds(out, span);
    gvm_buf_add(out, "\r\n", 2);
}

bool px_field_next(struct gvm_str *lines, struct gvm_header *ret)
{
    struct gvm_str line;
    while (lines->n) {
        gvm_str_cut(lines, '\n', &line);
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        struct gvm_str value = line;
        gvm_str_cut(&value, ':', &ret->name);
        ret->value = gvm_str_trim(value);
        if (ret->name.n && ret->name.n < line.n)
            return true;
    }
    return false;
}

void px_http1_last_chunk(struct gvm_buf *out, struct gvm_str trailers)
{
    struct gvm_header f;
    gvm_buf_addz(out, "0\r\n");
    while (px_field_next(&trailers, &f))
        if (px_trailer_ok(f.name))
            add_field(out, &f);
    gvm_buf_add(out, "\r\n", 2);
}
