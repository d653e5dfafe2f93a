/* Bundles of evidence from anywhere, line by line, and single lists of private members. A row that
 * holds must show a JSON object, and the same row must not hold under another entry. Extension
 * proofs: what is accepted must not be accepted for another old root. */
#include <stdlib.h>
#include "ledger/evidence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct gvm_keychain keys = {.n = 1};

static void need_key(void)
{
    static const uint8_t seed[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    if (!keys.key[0].name[0] && gvm_vkey_from_seed(seed, "gvm.test/unit", &keys.key[0], NULL) < 0)
        abort();
}

static void need_object(struct gvm_str event)
{
    struct gvm_json *v = NULL;
    struct gvm_arena *a = gvm_arena_new(64u << 20);
    if (!a || gvm_json_parse(a, event, &v, NULL) < 0 || v->type != GVM_JSON_OBJECT)
        abort();
    gvm_arena_free(a);
}

static void try_bundle(struct gvm_str text)
{
    struct gvm_bundle *b = NULL;
    struct gvm_bundle_row row;
    struct gvm_checkpoint head;
    struct gvm_str line;
    uint64_t rows = 0, seen = 0;
    int r = 0;
    if (gvm_bundle_new(&keys, &b, NULL) < 0)
        abort();
    while (r >= 0 && text.n) {
        (void)gvm_str_cut(&text, '\n', &line);
        r = gvm_bundle_line(b, line, &row, NULL);
        if (r == 1) {
            seen++;
            need_object(row.event);
        }
    }
    if (r >= 0 && gvm_bundle_end(b, &head, &rows, NULL) == 0 && rows != seen)
        abort();
    gvm_bundle_free(b);
}

/* Entry, newline, list of its private members. */
static void try_members(struct gvm_str text)
{
    struct gvm_str entry;
    struct gvm_buf event, hidden;
    struct gvm_jw w;
    if (!gvm_str_cut(&text, '\n', &entry))
        return;
    gvm_buf_init(&event, 1u << 20);
    gvm_buf_init(&hidden, 1u << 20);
    gvm_jw_init(&w, &hidden);
    if (gvm_disclosed(entry, text, &event, &w, NULL) == 0)
        need_object(gvm_buf_str(&event));
    gvm_buf_done(&event);
    gvm_buf_done(&hidden);
}

static void try_line(struct gvm_str line)
{
    struct gvm_redact none = {0};
    struct gvm_buf entry, list;
    struct gvm_jw w;
    gvm_buf_init(&entry, 1u << 20);
    gvm_buf_init(&list, 8u << 20);
    gvm_jw_init(&w, &list);
    if (gvm_disclose(line, &none, &w, NULL) == 0 && gvm_line_entry(line, &entry) < 0)
        abort();
    gvm_buf_done(&entry);
    gvm_buf_done(&list);
}

static void try_extends(struct gvm_str text)
{
    struct gvm_checkpoint head, old = {.origin = "gvm.test/unit", .size = 3};
    if (gvm_extends_check(text, &old, &keys, &head, NULL) == 0)
        abort(); /* nobody has an old root of zeros */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_str text = {(const char *)data, size};
    need_key();
    try_bundle(text);
    try_members(text);
    try_line(text);
    try_extends(text);
    return 0;
}
