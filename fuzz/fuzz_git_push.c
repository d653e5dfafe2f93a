/* A push: whole and as a beginning. What is read of a beginning does not contradict the whole. */
#include <stdint.h>
#include <stdlib.h>
#include "body/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_str in = {(const char *)data, size}, repo;
    struct gvm_arena *a = gvm_arena_new(32u << 20);
    struct gvm_git_push whole, part;
    if (gvm_git_repository(in, &repo) && (repo.n == 0 || repo.p < in.p || repo.n > in.n))
        abort();
    int r = gvm_git_push_parse(a, in, true, &whole, NULL);
    int p = gvm_git_push_parse(a, in, false, &part, NULL);
    bool question = r == 0 && whole.n == 0; /* "0000" and nothing else: only seen when all is */
    if (r == 0 && !question && (p < 0 || whole.n != part.n))
        abort();
    if (question && p >= 0)
        abort();
    for (size_t i = 0; r == 0 && i < whole.n; i++)
        if (whole.refs[i].name.n == 0 || !gvm_str_eq(whole.refs[i].name, part.refs[i].name) ||
            whole.refs[i].force != part.refs[i].force)
            abort();
    gvm_arena_free(a);
    return 0;
}
