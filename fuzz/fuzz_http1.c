/* A stream of messages. The first byte chooses request or response and the pieces it comes in; the
 * outcome must be the same as in one piece. */
#include <stdint.h>
#include <stdlib.h>
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct gvm_http1_head head;

static void check(bool good)
{
    if (!good)
        abort();
}

static bool inside(struct gvm_str view, struct gvm_str in)
{
    return view.n == 0 || (view.p >= in.p && view.p + view.n <= in.p + in.n);
}

static int parse_head(struct gvm_str in, bool response)
{
    return response ? gvm_http1_response(in, GVM_STR("GET"), &head, NULL)
                    : gvm_http1_request(in, &head, NULL);
}

static void check_head(struct gvm_str in)
{
    check(head.length >= 2 && head.length <= in.n && head.length <= GVM_MAX_HEAD);
    check(memcmp(in.p + head.length - 2, "\r\n", 2) == 0);
    struct gvm_str whole = {in.p, head.length};
    check(inside(head.method, whole) && inside(head.target, whole) && inside(head.host, whole));
    check(head.nheaders <= GVM_MAX_HEADERS);
    unsigned framing = 0;
    for (unsigned i = 0; i < head.nheaders; i++) {
        const struct gvm_header *h = &head.headers[i];
        check(inside(h->name, whole) && inside(h->value, whole) && h->name.n > 0);
        check(memchr(h->name.p, ' ', h->name.n) == NULL &&
              memchr(h->name.p, ':', h->name.n) == NULL);
        if (h->value.n)
            check(!memchr(h->value.p, '\r', h->value.n) && !memchr(h->value.p, '\n', h->value.n) &&
                  !memchr(h->value.p, '\0', h->value.n));
        framing +=
            gvm_str_ieqz(h->name, "content-length") || gvm_str_ieqz(h->name, "transfer-encoding");
    }
    check(framing <= 1);
    if (!head.response)
        check(head.body != GVM_BODY_CLOSE && (framing == 1) == (head.body != GVM_BODY_NONE));
}

/* Feeds the body in pieces of 1 to `step` bytes (SIZE_MAX: at once); returns the last code. */
static int feed(enum gvm_body_kind kind, uint64_t length, struct gvm_str in, size_t step,
                struct gvm_buf *out, size_t *ret_used)
{
    struct gvm_http1_body b;
    gvm_http1_body_init(&b, kind, length);
    size_t used = 0;
    int r = b.done;
    for (size_t i = 0; r == 0 && used < in.n; i++) {
        size_t n = step == SIZE_MAX ? in.n : 1 + i % step;
        n = n < in.n - used ? n : in.n - used;
        struct gvm_str piece = {in.p + used, n}, payload;
        while (r == 0 && piece.n > 0) {
            size_t before = piece.n;
            r = gvm_http1_body_feed(&b, &piece, &payload, NULL);
            check(r != 0 || piece.n < before);
            if (r >= 0) {
                check(inside(payload, in));
                (void)!gvm_buf_adds(out, payload);
            }
        }
        used += n - piece.n;
    }
    *ret_used = used;
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool response = data[0] & 1;
    size_t step = 1 + (data[0] >> 1);
    struct gvm_str in = {(const char *)data + 1, size - 1};
    for (unsigned messages = 0; messages < 8 && in.n > 0; messages++) {
        int r = parse_head(in, response);
        enum gvm_body_kind kind = head.body;
        uint64_t length = head.content_length;
        if (r <= 0) {
            for (size_t n = 0; r == 0 && n < in.n; n += step)
                check(parse_head((struct gvm_str){in.p, n}, response) == 0);
            return 0;
        }
        check_head(in);
        size_t head_length = head.length;
        for (size_t n = 0; n < head_length; n += step)
            check(parse_head((struct gvm_str){in.p, n}, response) == 0);
        in.p += head_length;
        in.n -= head_length;
        struct gvm_buf whole, pieces;
        size_t used, used2;
        gvm_buf_init(&whole, 1 << 20);
        gvm_buf_init(&pieces, 1 << 20);
        r = feed(kind, length, in, SIZE_MAX, &whole, &used);
        int r2 = feed(kind, length, in, step, &pieces, &used2);
        check(r == r2 && gvm_str_eq(gvm_buf_str(&whole), gvm_buf_str(&pieces)));
        check(r < 0 || used == used2);
        gvm_buf_done(&whole);
        gvm_buf_done(&pieces);
        if (r <= 0)
            return 0;
        in.p += used;
        in.n -= used;
    }
    return 0;
}
