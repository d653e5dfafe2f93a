/* Numbers compared exactly, and where readers would disagree, not at all. */
#include "../unit.h"
#include <errno.h>
#include <stdio.h>
#include "body/body.h"

static void test_compare(void **state)
{
    static const struct {
        const char *a, *b;
        int want; /* 2: -ERANGE, 3: -EINVAL */
    } rows[] = {
        {"0", "0", 0},
        {"-0", "0", 0},
        {"0.0e5", "0", 0},
        {"1", "2", -1},
        {"10", "9", 1},
        {"1e3", "1000", 0},
        {"1000.0", "1e3", 0},
        {"0.1", "0.10", 0},
        {"1E+2", "100", 0},
        {"12e-1", "1.2", 0},
        {"-5", "3", -1},
        {"-5", "-7", 1},
        {"0.001", "1e-3", 0},
        {"1001", "1e3", 1},
        {"999.999", "1e3", -1},
        {"100e-2", "1", 0},
        {"9007199254740993", "9007199254740992", 1},
        {"12345678901234567", "12345678901234566", 1},
        {"123456789012345678", "1", 2},
        {"1e301", "1", 2},
        {"1e-302", "0", 2},
        {"1e400", "1", 2},
        {"1e99999999999999999999", "1", 2},
        {"0e99999999999999999999", "0", 0},
        {"100000000000000000000000000000", "1e29", 0},
        {"0.00000000000000000000000000001", "1e-29", 0},
        {"01", "1", 3},
        {"+1", "1", 3},
        {"1.", "1", 3},
        {".5", "1", 3},
        {"1e", "1", 3},
        {"", "1", 3},
        {"0x10", "1", 3},
        {"1 ", "1", 3},
        {"NaN", "1", 3},
        {"-", "1", 3},
        {"1e+", "1", 3},
        {"1_000", "1", 3},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int c = 7, r = gvm_decimal_compare(gvm_str(rows[i].a), gvm_str(rows[i].b), &c);
        int got = r == -ERANGE ? 2 : r == -EINVAL ? 3 : (c > 0) - (c < 0);
        if (got != rows[i].want)
            fail_msg("%s ? %s is %d, not %d", rows[i].a, rows[i].b, got, rows[i].want);
        if (r == 0) {
            assert_int_equal(gvm_decimal_compare(gvm_str(rows[i].b), gvm_str(rows[i].a), &c), 0);
            assert_int_equal((c > 0) - (c < 0), -rows[i].want);
        }
    }
}

/* Against the processor's own arithmetic where that is exact. */
static void test_generated(void **state)
{
    uint64_t seed = 88172645463325252ull;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        char text[2][32];
        int64_t v[2];
        for (int k = 0; k < 2; k++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            v[k] = (int64_t)(seed >> (16 + seed % 40)) * (seed & 1 ? 1 : -1);
            snprintf(text[k], sizeof text[k], "%lld%s", (long long)v[k], seed & 2 ? ".000" : "");
        }
        int c = 7, want = (v[0] > v[1]) - (v[0] < v[1]);
        assert_int_equal(gvm_decimal_compare(gvm_str(text[0]), gvm_str(text[1]), &c), 0);
        if ((c > 0) - (c < 0) != want)
            fail_msg("%s ? %s", text[0], text[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_compare),
                                       cmocka_unit_test(test_generated)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
