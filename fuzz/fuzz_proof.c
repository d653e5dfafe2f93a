/* Proof texts from anywhere, with the entry they are for. Input: entry, newline, proof. A proof
 * that holds must not hold for another entry. */
#include <stdlib.h>
#include "ledger/evidence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    static struct gvm_keychain keys = {.n = 1};
    struct gvm_str proof = {(const char *)data, size}, entry;
    struct gvm_checkpoint head;
    struct gvm_err err = {0};
    uint64_t index;
    if (!keys.key[0].name[0] && gvm_vkey_from_seed(seed, "gvm.test/unit", &keys.key[0], NULL) < 0)
        abort();
    if (!gvm_str_cut(&proof, '\n', &entry))
        return 0;
    if (gvm_proof_check(proof, entry, &keys, &index, &head, &err) < 0)
        return 0;
    if (index >= head.size ||
        gvm_proof_check(proof, GVM_STR("{}"), &keys, &index, &head, NULL) == 0)
        abort();
    return 0;
}
