/* gvm_glob() against the obvious recursive definition, on texts short enough for it. Input:
 * pattern, a newline, text. */
#include <stdint.h>
#include <stdlib.h>
#include "core/core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 24 };

/* table[p][t]: does the rest of the pattern from p match the rest of the text from t? */
static bool plain(struct gvm_str pattern, struct gvm_str text)
{
    bool table[MAX + 1][MAX + 1] = {{0}};
    table[pattern.n][text.n] = true;
    for (size_t p = pattern.n; p-- > 0;) {
        for (size_t t = text.n + 1; t-- > 0;) {
            char c = pattern.p[p];
            if (c == '*')
                table[p][t] = table[p + 1][t] || (t < text.n && table[p][t + 1]);
            else
                table[p][t] = t < text.n && (c == '?' || c == text.p[t]) && table[p + 1][t + 1];
        }
    }
    return table[0][0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_str text = {(const char *)data, size}, pattern;
    (void)gvm_str_cut(&text, '\n', &pattern);
    bool got = gvm_glob(pattern, text);
    if (pattern.n <= MAX && text.n <= MAX && got != plain(pattern, text))
        abort();
    return 0;
}
