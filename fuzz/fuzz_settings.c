/* Settings of any kind: only NAME= and placeholders come out. */
#include <stdlib.h>
#include "sandbox/sandbox_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(struct gvm_str line)
{
    struct gvm_str name, value = line;
    if (!gvm_str_cut(&value, '=', &name) || !name.n)
        abort();
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] != '_' && name.p[i] != '.' && !(name.p[i] >= '0' && name.p[i] <= '9') &&
            !(name.p[i] >= 'A' && name.p[i] <= 'Z') && !(name.p[i] >= 'a' && name.p[i] <= 'z'))
            abort();
    if (value.n && (value.n != 31 || !gvm_str_starts(value, GVM_STR(SANDBOX_PLACEHOLDER))))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_buf out;
    gvm_buf_init(&out, 4u << 20);
    int r = sandbox_settings_mask((struct gvm_str){(const char *)data, size}, "/x/.env", &out);
    struct gvm_str rest = gvm_buf_str(&out), line;
    while (r == 0 && rest.n) {
        gvm_str_cut(&rest, '\n', &line);
        check_line(line);
    }
    gvm_buf_done(&out);
    return 0;
}
