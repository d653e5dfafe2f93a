/* JSON: whatever is accepted can be written again and reads back as the same tree; the reader and
 * the tree agree; offsets stay inside the text. */
#include <stdint.h>
#include <stdlib.h>

#include "core/core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* Token by token into the writer. */
static void rewrite(struct gvm_str text, struct gvm_buf *out)
{
    struct gvm_json_reader r;
    struct gvm_json_token t;
    struct gvm_jw w;
    struct gvm_buf s;
    gvm_buf_init(&s, text.n + 1);
    gvm_jw_init(&w, out);
    gvm_json_open(&r, text);
    for (;;) {
        must(gvm_json_next(&r, &t) == 0);
        if (t.type == GVM_JSON_END)
            break;
        must(t.off < text.n && t.raw.p >= text.p && t.raw.p + t.raw.n <= text.p + text.n);
        gvm_buf_reset(&s);
        if (t.type == GVM_JSON_STRING || t.type == GVM_JSON_KEY) {
            must(gvm_json_unescape(t.raw, &s) == 0 && s.len <= t.raw.n &&
                 gvm_utf8_valid(gvm_buf_str(&s)));
            must(t.escaped || s.len == t.raw.n);
        }
        if (t.type == GVM_JSON_OBJECT)
            gvm_jw_object(&w);
        else if (t.type == GVM_JSON_OBJECT_END)
            gvm_jw_object_end(&w);
        else if (t.type == GVM_JSON_ARRAY)
            gvm_jw_array(&w);
        else if (t.type == GVM_JSON_ARRAY_END)
            gvm_jw_array_end(&w);
        else if (t.type == GVM_JSON_STRING)
            gvm_jw_str(&w, gvm_buf_str(&s));
        else if (t.type == GVM_JSON_KEY) {
            gvm_jw_str(&w, gvm_buf_str(&s)); /* a key may hold NUL, which gvm_jw_key() cannot */
            (void)gvm_buf_addc(out, ':');
            w.comma = false;
        } else
            gvm_jw_raw(&w, t.raw);
    }
    gvm_buf_done(&s);
}

/* Both trees in the same order, without recursion: children are pushed on a list. */
static void same(const struct gvm_json *a, const struct gvm_json *b)
{
    struct pair {
        const struct gvm_json *a, *b;
    } stack[GVM_MAX_JSON_DEPTH + 1];
    unsigned depth = 0;
    stack[depth++] = (struct pair){a, b};
    while (depth) {
        struct pair *p = &stack[depth - 1];
        if (!p->a || !p->b) {
            must(p->a == p->b);
            depth--;
            continue;
        }
        struct pair now = *p;
        p->a = depth == 1 ? NULL : now.a->next; /* the top value has no siblings */
        p->b = depth == 1 ? NULL : now.b->next;
        must(now.a->type == now.b->type && gvm_str_eq(now.a->key, now.b->key));
        if (now.a->type == GVM_JSON_OBJECT || now.a->type == GVM_JSON_ARRAY)
            stack[depth++] = (struct pair){now.a->child, now.b->child};
        else
            must(gvm_str_eq(now.a->text, now.b->text));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_str text = {(const char *)data, size};
    struct gvm_arena *a = gvm_arena_new(64u << 20);
    struct gvm_json *first = NULL, *second = NULL;
    struct gvm_err err = {0};
    must(a != NULL);
    int r = gvm_json_parse(a, text, &first, &err);
    if (r == 0) {
        struct gvm_buf out;
        gvm_buf_init(&out, 8 * size + 64);
        rewrite(text, &out);
        must(!out.failed);
        must(gvm_json_parse(a, gvm_buf_str(&out), &second, NULL) == 0);
        same(first, second);
        struct gvm_str s = gvm_buf_str(&out);
        must(gvm_str_find(s, '\n') < 0); /* one line, whatever was in it */
        gvm_buf_done(&out);
    } else {
        must(err.code == -r && !first);
    }
    gvm_arena_free(a);
    return 0;
}
