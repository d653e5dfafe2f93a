/* An entry with anything in it: what the index takes from it must be what the strict parser finds.
 */
#include <errno.h>
#include <stdlib.h>
#include "index/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_text(const struct gvm_json *e, const char *key, struct gvm_str got)
{
    const struct gvm_json *v = gvm_json_get(e, key);
    struct gvm_str want = v && v->type == GVM_JSON_STRING ? v->text : GVM_STR("");
    if (!gvm_str_eq(got, want))
        abort();
}

static void same_number(const struct gvm_json *e, const char *key, int64_t got)
{
    int64_t want = gvm_json_int(e, key, 0);
    if (got != (want < 0 || want > INT64_C(1) << 53 ? 0 : want))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_buf scratch GVM_CLEANUP(gvm_buf_done);
    struct gvm_index_facts f;
    struct gvm_json *e = NULL;
    struct gvm_str line = {(const char *)data, size};
    if (size > GVM_MAX_ENTRY)
        return 0;
    gvm_buf_init(&scratch, GVM_MAX_ENTRY + 1);
    gvm_index_facts(line, &scratch, &f);
    struct gvm_arena *a = gvm_arena_new(64u << 20);
    if (!a)
        abort();
    int r = gvm_json_parse(a, line, &e, NULL);
    bool object = r == 0 && e->type == GVM_JSON_OBJECT;
    /* The parser refuses any member that stands there twice, we those that are ours. */
    if (object != f.whole && !(f.whole && r == -EEXIST))
        abort();
    if (object) {
        same_text(e, "kind", f.kind);
        same_text(e, "run", f.run);
        same_text(e, "agent", f.agent);
        same_text(e, "decision", f.decision);
        same_text(e, "id", f.id);
        same_text(e, gvm_json_get(e, "host") ? "host" : "name", f.host);
        same_number(e, "bytes_in", f.bytes_in);
        same_number(e, "bytes_out", f.bytes_out);
        same_number(e, "ms", f.ms);
        same_number(gvm_json_get(e, "llm"), "tokens_in", f.tokens_in);
        same_number(gvm_json_get(e, "llm"), "tokens_out", f.tokens_out);
    }
    gvm_arena_free(a);
    return 0;
}
