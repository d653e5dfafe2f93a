/* A WebSocket: the first byte says from whom and how it is looked at, the second in what pieces it
 * comes. Nothing is lost or made up: what goes on are the bytes that came, control frames sooner
 * than a message that is held. */
#include <stdint.h>
#include <stdlib.h>
#include "body/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t sum_of(const char *p, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (uint8_t)p[i];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct gvm_ws_options o = {.masked = data[0] & 1,
                               .look = data[0] & 2,
                               .deflate = data[0] & 4,
                               .keep_context = data[0] & 8,
                               .max = data[0] & 16 ? 64 : 65536};
    struct gvm_ws *w = gvm_ws_new(&o);
    struct gvm_str all = {(const char *)data + 2, size - 2};
    size_t step = data[1] ? data[1] : 1, out = 0, used = 0;
    uint64_t out_sum = 0;
    int r = 0;
    if (!w)
        abort();
    while (all.n && r == 0) {
        struct gvm_str part = {all.p, all.n < step ? all.n : step};
        struct gvm_ws_got got;
        all.p += part.n;
        all.n -= part.n;
        used += part.n;
        for (;;) {
            r = gvm_ws_feed(w, &part, &got, NULL);
            if (r < 0 || got.event == GVM_WS_MORE)
                break;
            out += got.bytes.n;
            out_sum += sum_of(got.bytes.p, got.bytes.n);
            if (got.event == GVM_WS_MESSAGE && !got.unseen && got.text.n > o.max)
                abort();
        }
        if (out > used)
            abort();
    }
    /* Between frames and with nothing held, all of it went on. */
    if (r == 0 && !o.look && gvm_ws_between_frames(w) &&
        (out != used || out_sum != sum_of((const char *)data + 2, used)))
        abort();
    gvm_ws_free(w);
    struct gvm_buf close;
    bool d, c, s;
    gvm_buf_init(&close, 256);
    if (gvm_ws_close(1008, (struct gvm_str){(const char *)data, size}, NULL, &close) < 0 ||
        close.len > 127)
        abort();
    gvm_buf_done(&close);
    if (gvm_ws_extensions((struct gvm_str){(const char *)data, size}, &d, &c, &s) == 0 && !d &&
        (!c || !s))
        abort();
    return 0;
}
