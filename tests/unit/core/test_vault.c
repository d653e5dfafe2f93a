/* A secret under a passphrase: opens with it, and with nothing else, and not when a character was
 * changed. */
#include <errno.h>
#include <stdlib.h>
#include "../unit.h"
#include "core/vault.h"

static const struct gvm_str pass = {"correct horse", 13};

static struct gvm_buf seal(struct gvm_str secret)
{
    struct gvm_buf text;
    struct gvm_err err = {0};
    gvm_buf_init(&text, GVM_VAULT_TEXT);
    if (gvm_vault_seal(pass, secret, &text, &err) < 0)
        fail_msg("%s", err.text);
    return text;
}

static int open_as(struct gvm_str with, struct gvm_str text, struct gvm_buf *out)
{
    gvm_buf_reset(out);
    return gvm_vault_open(with, text, out, NULL);
}

static void test_round(void **state)
{
    uint8_t secret[32];
    struct gvm_buf out;
    gvm_buf_init(&out, GVM_VAULT_TEXT);
    for (size_t i = 0; i < sizeof secret; i++)
        secret[i] = (uint8_t)(i * 7);
    struct gvm_buf a = seal((struct gvm_str){(char *)secret, sizeof secret}),
                   b = seal((struct gvm_str){(char *)secret, sizeof secret});
    assert_true(gvm_vault_looks(gvm_buf_str(&a)));
    assert_false(gvm_str_eq(gvm_buf_str(&a), gvm_buf_str(&b))); /* salt and nonce are fresh */
    assert_null(memmem(gvm_buf_data(&a), a.len, secret + 4, 8));
    assert_int_equal(open_as(pass, gvm_buf_str(&a), &out), 0);
    assert_int_equal(out.len, sizeof secret);
    assert_memory_equal(gvm_buf_data(&out), secret, sizeof secret);
    assert_int_equal(open_as(GVM_STR("correct horsf"), gvm_buf_str(&a), &out), -EBADMSG);
    assert_int_equal(open_as(GVM_STR(""), gvm_buf_str(&a), &out), -EBADMSG);
    assert_int_equal(out.len, 0);
    gvm_buf_done(&a);
    gvm_buf_done(&b);
    gvm_buf_done(&out);
}

static void test_changed(void **state)
{
    struct gvm_buf out, a = seal(GVM_STR("twelve bytes"));
    gvm_buf_init(&out, GVM_VAULT_TEXT);
    uint8_t *p = gvm_buf_data(&a);
    for (size_t i = 0; i < a.len; i += 11) {
        uint8_t was = p[i];
        p[i] = was == 'A' ? 'B' : 'A';
        if (open_as(pass, gvm_buf_str(&a), &out) != -EBADMSG)
            fail_msg("byte %zu changed, and it opens", i);
        p[i] = was;
    }
    gvm_buf_done(&a);
    gvm_buf_done(&out);
}

static void test_bounds(void **state)
{
    static const char *const bad[] = {
        "",
        "gvm-vault@v1",
        "gvm-vault@v1 ",
        "gvm-vault@v1 40 8 1 AAAA AAAA AAAA\n",
        "gvm-vault@v1 16 0 1 AAAAAAAAAAAAAAAAAAAAAA== AAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAAA==\n",
        "gvm-vault@v1 16 8 99 AAAAAAAAAAAAAAAAAAAAAA== AAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAAA==\n",
        "gvm-vault@v1 1 8 1 AAAAAAAAAAAAAAAAAAAAAA== AAAAAAAAAAAAAAAA AAAA\n",
        "gvm-vault@v1 1 8 1 AAAAAAAAAAAAAAAAAAAAAA== AAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAAA==",
        "gvm-vault@v1 1 8 1 AAAAAAAAAAAAAAAAAAAAAA== AAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAAA==\nx",
    };
    struct gvm_buf out;
    static char big[GVM_VAULT_SECRET + 1];
    gvm_buf_init(&out, 3 * GVM_VAULT_TEXT);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(open_as(pass, gvm_str(bad[i]), &out), -EBADMSG);
    assert_int_equal(gvm_vault_seal(pass, (struct gvm_str){big, sizeof big}, &out, NULL), -EINVAL);
    assert_int_equal(gvm_vault_seal(GVM_STR(""), GVM_STR("x"), &out, NULL), -EINVAL);
    gvm_buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
