/* What a resolver may send. Properties: addresses only with a clean code, never more than fit, all
 * of the asked family. First byte: type; the id and the question are copied from the input so that
 * most inputs get past them. */
#include <stdlib.h>
#include "proxy/upstream/dns_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    uint16_t type = data[0] & 1 ? GVM_DNS_AAAA : GVM_DNS_A;
    struct gvm_str in = {(const char *)data + 1, size - 1};
    struct dns_answer a = {.n = 12345};
    int r = dns_answer_parse(in, "api.test", type, gvm_get16(data + 1), &a);
    if (r < 0) {
        if (a.n != 12345)
            abort(); /* touched on failure */
        return 0;
    }
    if (a.n > DNS_MAX_ADDRS || (a.n && (a.rcode || a.truncated)))
        abort();
    for (unsigned i = 0; i < a.n; i++) {
        if (a.addrs[i].family != (type == GVM_DNS_A ? 4 : 6))
            abort();
    }
    return 0;
}
