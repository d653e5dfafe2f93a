/* What somebody asks a tlog-tiles server for. A name that is taken stands for one tile, which no
 * other name stands for, and reaches no file but by numbers. */
#include <stdlib.h>
#include "ledger/verify_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_str path = {(const char *)data, size};
    struct vtile_name t, again;
    char changed[256];
    if (!vtile_name_parse(path, &t))
        return 0;
    if (t.level >= 8 || (t.entries && t.level) || !t.width || t.width > VTILE ||
        size >= sizeof changed)
        abort();
    for (size_t i = 0; i < size; i++) {
        memcpy(changed, data, size);
        changed[i] ^= 1;
        if (vtile_name_parse((struct gvm_str){changed, size}, &again) && again.index == t.index &&
            again.entries == t.entries && again.level == t.level && again.width == t.width)
            abort();
    }
    return 0;
}
