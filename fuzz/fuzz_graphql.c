/* GraphQL: what is accepted has names inside the text, and root fields among the fields. */
#include <stdint.h>
#include <stdlib.h>
#include "body/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct gvm_str text;
static unsigned roots;

static void inside(struct gvm_str s)
{
    if (s.n == 0 || s.p < text.p || s.p + s.n > text.p + text.n)
        abort();
}

static void see(void *ctx, struct gvm_str field)
{
    (void)ctx;
    inside(field);
    roots++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_arena *a = gvm_arena_new(16u << 20);
    struct gvm_graphql g;
    struct gvm_err err = {0};
    text = (struct gvm_str){(const char *)data, size};
    if (gvm_graphql_parse(a, text, &g, &err) == 0) {
        for (uint32_t i = 0; i < g.nfields; i++)
            inside(g.fields[i].name);
        for (uint32_t i = 0; i < g.ndefs; i++) {
            roots = 0;
            gvm_graphql_roots(&g, i, see, NULL);
            if (roots > g.nfields)
                abort();
        }
        if (g.ndefs == 0 || g.nfields + g.nspreads == 0)
            abort();
    } else if (err.code <= 0 || !err.text[0]) {
        abort();
    }
    gvm_arena_free(a);
    return 0;
}
