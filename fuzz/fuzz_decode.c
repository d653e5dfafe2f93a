/* Content codings: the first line names them, the rest is the body. What a whole body gives is also
 * what its prefix form gives; the caps hold. */
#include <stdint.h>
#include <stdlib.h>
#include "body/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_str in = {(const char *)data, size}, codings;
    struct gvm_buf whole, prefix;
    struct gvm_err err = {0};
    gvm_buf_init(&whole, MAX);
    gvm_buf_init(&prefix, MAX);
    (void)gvm_str_cut(&in, '\n', &codings);
    int r = gvm_decode(codings, in, MAX, &whole, &err);
    int p = gvm_decode_prefix(codings, in, MAX, &prefix, NULL);
    if (r < 0 && (err.code != -r || !err.text[0]))
        abort();
    if (whole.len > MAX || prefix.len > MAX)
        abort();
    if (r == 0 && (p < 0 || !gvm_str_eq(gvm_buf_str(&whole), gvm_buf_str(&prefix))))
        abort();
    gvm_buf_done(&whole);
    gvm_buf_done(&prefix);
    return 0;
}
