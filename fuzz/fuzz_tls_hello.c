/* Any bytes as the first flight of a TLS client: the outcome does not depend on how much more has
 * come, and a name is one that the authority parser takes. */
#include <stdint.h>
#include <stdlib.h>
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_buf scratch;
    struct gvm_tls_hello hello;
    struct gvm_authority a;
    gvm_buf_init(&scratch, GVM_MAX_TLS_HELLO + 16384);
    struct gvm_str in = {(const char *)data, size};
    int r = gvm_tls_hello_parse(in, &scratch, &hello, NULL);
    if (r == 1 && hello.sni.n > 0) {
        check(!memchr(hello.sni.p, '\0', hello.sni.n));
        check(gvm_authority_parse(hello.sni, &a, NULL) == 0 && a.port == 0);
    }
    if (r >= 0) /* no beginning of it is an error */
        for (size_t n = 0; n < size; n += 1 + size / 16) {
            int part = gvm_tls_hello_parse((struct gvm_str){in.p, n}, &scratch, &hello, NULL);
            check(part == 0 || (part == 1 && r == 1));
        }
    gvm_buf_done(&scratch);
    return 0;
}
