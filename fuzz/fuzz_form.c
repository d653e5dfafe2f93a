/* Forms: the first line is the Content-Type, the rest the body. Pairs stay inside what was given.
 */
#include <stdint.h>
#include <stdlib.h>
#include "body/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct gvm_form *f, size_t size)
{
    size_t sum = 0;
    if (f->n > GVM_MAX_FORM)
        abort();
    for (size_t i = 0; i < f->n; i++)
        sum += f->pairs[i].loose ? 0 : f->pairs[i].name.n + f->pairs[i].value.n;
    if (sum > size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_str in = {(const char *)data, size}, type;
    struct gvm_arena *a = gvm_arena_new(16u << 20);
    struct gvm_form f = {0};
    char media[64];
    (void)gvm_str_cut(&in, '\n', &type);
    gvm_media_type(type, media, sizeof media);
    if (gvm_form_urlencoded(a, in, &f, NULL) == 0)
        check(&f, size);
    if (gvm_form_multipart(a, type, in, &f, NULL) == 0)
        check(&f, size);
    gvm_arena_free(a);
    return 0;
}
