/* Signed notes and verifier keys from anywhere. What was taken is taken whole: a checkpoint that
 * parses has a name, and one that opens under a key also parses. */
#include <stdlib.h>
#include "ledger/evidence.h"

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

/* The first of these witnesses cosigned a note of the corpus; nobody has the secret of the second.
 */
static void as_witnessed(struct gvm_str s)
{
    static const char *const texts[] = {
        "witness.example+da9edd5f+BL8WuN6DWQ97FUojIBYhxYLunGZsFX3t/nfuSof5xZEw",
        "stranger.example+5e95443e+BC86xh9eDezFwcg+rOC4TiiadJGIVWZko94flEHHXxAK",
    };
    struct gvm_vkey w[2];
    uint64_t times[2] = {1, 1};
    for (unsigned i = 0; i < 2; i++)
        if (gvm_witness_parse(gvm_str(texts[i]), &w[i], NULL) < 0)
            abort();
    if (gvm_checkpoint_witnessed(s, w, 2, times, NULL) == 0 && times[1])
        abort();
}

/* Nothing leads from our key to another one, unless it signed. */
static void as_vouchers(struct gvm_str s)
{
    static const uint8_t seed[32] = {42};
    struct gvm_keychain chain;
    struct gvm_vkey first;
    if (gvm_vkey_from_seed(seed, "gvm.test/unit", &first, NULL) < 0 ||
        (gvm_keychain_follow(&first, s, &chain, NULL) == 0 && chain.n != 1))
        abort();
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
    as_witnessed(s);
    as_vouchers(s);
    bool parsed = gvm_checkpoint_parse(s, &cp, &err) == 0;
    if (parsed && (!gvm_vkey_name_ok(gvm_str(cp.origin)) || cp.size > INT64_MAX))
        abort();
    if (gvm_checkpoint_open(s, &key, &opened, NULL) == 0 && (!parsed || opened.size != cp.size))
        abort();
    return 0;
}
