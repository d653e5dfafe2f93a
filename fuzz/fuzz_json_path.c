/* A path, a newline, a JSON text. Every value that is selected is of the tree; counts agree. */
#include <stdint.h>
#include <stdlib.h>
#include "body/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct gvm_str text;
static unsigned seen;

static void see(void *ctx, const struct gvm_json *v, bool loose)
{
    (void)ctx;
    (void)loose;
    seen++;
    if (v->raw.p < text.p || v->raw.p + v->raw.n > text.p + text.n)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_str path_text;
    struct gvm_arena *a = gvm_arena_new(64u << 20);
    struct gvm_json_path path;
    struct gvm_json *root;
    struct gvm_json_found found;
    text = (struct gvm_str){(const char *)data, size};
    (void)gvm_str_cut(&text, '\n', &path_text);
    if (gvm_json_path_compile(a, path_text, &path, NULL) == 0 &&
        gvm_json_parse(a, text, &root, NULL) == 0) {
        seen = 0;
        gvm_json_path_walk(&path, root, see, NULL, &found);
        if (seen != found.exact + found.loose || (path.n == 0 && found.exact != 1))
            abort();
    }
    int c = 0;
    struct gvm_str one = text, two;
    (void)gvm_str_cut(&one, '\n', &two);
    if (gvm_decimal_compare(one, two, &c) == 0) {
        int d = 0;
        if (gvm_decimal_compare(two, one, &d) != 0 || (c > 0) != (d < 0) || (c == 0) != (d == 0))
            abort();
    }
    gvm_arena_free(a);
    return 0;
}
