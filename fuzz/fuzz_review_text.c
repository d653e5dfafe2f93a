/* Comparing, taking parts, merging: on texts an agent chose. Input: three texts, parted by NUL.
 *
 * Taking no hunk gives the first text, taking all the second. A merge with an unchanged side is the
 * other side; one of a text with itself is the text; a merge that works is the same from either
 * side. Whatever the bytes are, what is said about content and pictures stays within bounds. */
#include <stdint.h>
#include <stdlib.h>
#include "review/review_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX (1u << 20)

static void must_be(bool good)
{
    if (!good)
        abort();
}

static void take(const struct gvm_diff *d, size_t n, bool all, struct gvm_str want)
{
    struct gvm_buf out;
    gvm_buf_init(&out, MAX);
    bool *choose = malloc(n + 1);
    must_be(choose != NULL);
    memset(choose, all, n + 1);
    must_be(gvm_diff_apply(d, choose, &out) == 0 && gvm_str_eq(gvm_buf_str(&out), want));
    free(choose);
    gvm_buf_done(&out);
}

static void compare(struct gvm_str a, struct gvm_str b)
{
    struct gvm_diff *d = NULL;
    size_t n = 0;
    if (gvm_diff_new(a, b, &d, NULL) != 0)
        return;
    const struct gvm_hunk *h = gvm_diff_hunks(d, &n);
    for (size_t i = 1; i < n; i++)
        must_be(h[i].a > h[i - 1].a + h[i - 1].na && h[i].b > h[i - 1].b + h[i - 1].nb);
    take(d, n, false, a);
    take(d, n, true, b);
    gvm_diff_free(d);
}

static int merge(struct gvm_str base, struct gvm_str ours, struct gvm_str theirs,
                 struct gvm_buf *out)
{
    gvm_buf_init(out, MAX);
    return review_merge(base, ours, theirs, out);
}

static void check_merges(struct gvm_str base, struct gvm_str x, struct gvm_str y)
{
    struct gvm_buf one, other;
    int r = merge(base, x, y, &one), s = merge(base, y, x, &other);
    must_be(r == s && (r || gvm_str_eq(gvm_buf_str(&one), gvm_buf_str(&other))));
    gvm_buf_done(&one);
    gvm_buf_done(&other);
    r = merge(base, base, y, &one);
    must_be(r || gvm_str_eq(gvm_buf_str(&one), y));
    gvm_buf_done(&one);
    r = merge(base, x, x, &one);
    must_be(r || gvm_str_eq(gvm_buf_str(&one), x));
    gvm_buf_done(&one);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_str rest = {(const char *)data, size}, base, x;
    char text[REVIEW_IMAGE];
    if (size > 64u << 10)
        return 0;
    (void)review_content_reason(rest);
    (void)review_content_lies(GVM_STR("a.pdf"), rest);
    (void)review_image(rest, text);
    (void)gvm_str_cut(&rest, '\0', &base);
    (void)gvm_str_cut(&rest, '\0', &x);
    compare(base, x);
    compare(x, rest);
    check_merges(base, x, rest);
    return 0;
}
