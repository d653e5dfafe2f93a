/* Test hook, linked only into builds with tests: makes one named step of the setup fail. */
#include "sandbox/sandbox_int.h"

#include <stdlib.h>

bool sandbox_test_fails(const char *step)
{
    static char wanted[32];
    static bool read_once;
    /* Read before the init wipes its environment. */
    if (!read_once) {
        const char *v = getenv("GVM_TEST_FAIL");
        if (v && gvm_str_copy(wanted, sizeof(wanted), gvm_str(v)) < 0)
            wanted[0] = '\0';
        read_once = true;
    }
    return wanted[0] && strcmp(wanted, step) == 0;
}
