/* TOML text -> configuration -> policy text -> configuration: same bytes, same hash. */
#include <stdint.h>
#include <stdlib.h>
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(const struct gvm_err *err)
{
    if (err->code <= 0 || !err->text[0])
        abort();
    for (const char *p = err->text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            abort();
}

/* Files and the environment stay out of a fuzzer. */
static int names_outside(const uint8_t *data, size_t size)
{
    static const char *const words[] = {"ca_file", "file:", "env:"};
    for (size_t w = 0; w < sizeof words / sizeof *words; w++)
        if (memmem(data, size, words[w], strlen(words[w])))
            return 1;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_conf *c = NULL, *back = NULL;
    struct gvm_err err = {0};
    struct gvm_buf one, two;
    if (names_outside(data, size))
        return 0;
    if (gvm_conf_parse((struct gvm_str){(const char *)data, size}, "gvm.toml", NULL, &c, &err) <
        0) {
        check_error(&err);
        return 0;
    }
    gvm_buf_init(&one, GVM_MAX_POLICY);
    gvm_buf_init(&two, GVM_MAX_POLICY);
    if (gvm_policy_encode(c, &one) < 0 || gvm_policy_decode(gvm_buf_str(&one), &back, &err) < 0 ||
        gvm_policy_encode(back, &two) < 0)
        abort();
    if (!gvm_str_eq(gvm_buf_str(&one), gvm_buf_str(&two)) || strcmp(c->hash, back->hash) != 0)
        abort();
    if (c->nrules != back->nrules || c->dflt.type != back->dflt.type)
        abort();
    gvm_buf_done(&one);
    gvm_buf_done(&two);
    gvm_conf_free(back);
    gvm_conf_free(c);
    return 0;
}
