/* A file under a passphrase, with anything in it. Parameters above 2^9 are passed over: scrypt is
 * slow on purpose, and the bounds have a unit test. Nothing opens: nobody sealed it with this
 * passphrase. */
#include <stdlib.h>
#include "core/vault.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t log_n = sizeof "gvm-vault@v1 " - 1;
    struct gvm_buf out;
    if (size > log_n + 1 && data[log_n + 1] != ' ')
        return 0;
    gvm_buf_init(&out, GVM_VAULT_TEXT);
    if (gvm_vault_open(GVM_STR("no"), (struct gvm_str){(const char *)data, size}, &out, NULL) == 0)
        abort();
    gvm_buf_done(&out);
    return 0;
}
