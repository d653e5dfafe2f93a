/* Signed notes and verifier keys from anywhere. What was taken is taken whole: a checkpoint that parses
 * has a name, and one that opens under a key also parses. */
#include <stdlib.h>
#include "ledger/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_key(struct gvm_str s)
{
    struct gvm_vkey k, again;
    struct gvm_buf out;
    if (gvm_vkey_parse(s, &k, NULL) < 0)
        return;
    gvm_buf_init(&out, 4096);
    if (gvm_vkey_text(&k, &out) < 0 || gvm_vkey_parse(gvm_buf_str(&out), &again, NULL) < 0)
        abort();
    gvm_buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    static struct gvm_vkey key;
    struct gvm_str s = {(const char *)data, size};
    struct gvm_checkpoint cp, opened;
    struct gvm_err err = {0};
    if (!key.name[0] && gvm_vkey_from_seed(seed, "gvm.test/unit", &key, NULL) < 0)
        abort();
    as_key(s);
    bool parsed = gvm_checkpoint_parse(s, &cp, &err) == 0;
    if (parsed && (!gvm_vkey_name_ok(gvm_str(cp.origin)) || cp.size > INT64_MAX))
        abort();
    if (gvm_checkpoint_open(s, &key, &opened, NULL) == 0 && (!parsed || opened.size != cp.size))
        abort();
    return 0;
}
