/* Settings with their values taken out: what a program needs to see is there, no value is. */
#include "../unit.h"
#include "sandbox/sandbox_int.h"

#include <errno.h>

static const char *mask(const char *text, struct gvm_buf *out)
{
    gvm_buf_init(out, 1u << 20);
    assert_int_equal(sandbox_settings_mask(gvm_str(text), "/w/.env", out), 0);
    return gvm_buf_cstr(out);
}

/* The lines of `text` with each placeholder shortened to P, which is also checked. */
static void shape(const char *text, char *dst, size_t cap)
{
    size_t n = 0;
    while (*text && n + 2 < cap) {
        if (strncmp(text, SANDBOX_PLACEHOLDER, 7) == 0) {
            assert_int_equal(strspn(text + 7, "0123456789abcdef"), 24);
            text += 31;
            dst[n++] = 'P';
        } else {
            dst[n++] = *text++;
        }
    }
    dst[n] = '\0';
}

static void values_become_placeholders(void **state)
{
    static const struct {
        const char *text, *shown;
    } rows[] = {
        {"", ""},
        {"A=1\nB=two\n", "A=P\nB=P\n"},
        {"A=1", "A=P\n"},
        {"EMPTY=\nB=x", "EMPTY=\nB=P\n"},
        {"export KEY=abc\r\n", "KEY=P\n"},
        {"  SPACED = value # why\n", "SPACED=P\n"},
        {"# OLD=sk-secret\n#comment\nA=1\n", "A=P\n"},
        {"Q=\"quoted value\"\nB=1\n", "Q=P\nB=P\n"},
        {"Q=\"with \\\" quote\"\nB=1\n", "Q=P\nB=P\n"},
        {"Q=\"two\nSECRET=lines\"\nB=1\n", "Q=P\nB=P\n"},
        {"Q='one\nX=2\n'\nB=1\n", "Q=P\nB=P\n"},
        {"Q=`one\nX=2`\nB=1\n", "Q=P\nB=P\n"},
        {"Q=\"never closed\nX=2\nY=3\n", "Q=P\n"},
        {"A.B_c=1\n1BAD=2\nC=3\n", "A.B_c=P\nC=P\n"},
        {"-----BEGIN PRIVATE KEY-----\nMIIabc+/x\nabcd==\n-----END PRIVATE KEY-----\nA=1\n",
         "A=P\n"},
        {"some words\nabcd=\nA=1\n", "A=P\n"},
        {"some words\n\nEMPTY=\n", "EMPTY=\n"},
        {"URL=postgres://u:p@h/db?x=y\n", "URL=P\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct gvm_buf out;
        char got[512];
        shape(mask(rows[i].text, &out), got, sizeof(got));
        assert_string_equal(got, rows[i].shown);
        gvm_buf_done(&out);
    }
}

static void same_name_same_placeholder(void **state)
{
    struct gvm_buf a, b, c;
    (void)state;
    const char *one = mask("A=1\nB=2\n", &a), *two = mask("A=other\n", &b);
    assert_memory_equal(one, two, strlen("A=") + 31);
    assert_memory_not_equal(one + 2, one + strlen("A=") + 31 + strlen("\nB="), 31);
    gvm_buf_init(&c, 4096);
    assert_int_equal(sandbox_settings_mask(GVM_STR("A=1"), "/other/.env", &c), 0);
    assert_memory_not_equal(one, gvm_buf_cstr(&c), 33);
    gvm_buf_done(&a);
    gvm_buf_done(&b);
    gvm_buf_done(&c);
}

static void binary_is_no_settings(void **state)
{
    struct gvm_buf out;
    (void)state;
    gvm_buf_init(&out, 4096);
    assert_int_equal(sandbox_settings_mask((struct gvm_str){"A=1\0B=2", 7}, "/w/.env", &out),
                     -EINVAL);
    gvm_buf_done(&out);
    gvm_buf_init(&out, 16); /* too small: an error, not half a file */
    assert_int_not_equal(sandbox_settings_mask(GVM_STR("A=1"), "/w/.env", &out), 0);
    gvm_buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_become_placeholders),
        cmocka_unit_test(same_name_same_placeholder),
        cmocka_unit_test(binary_is_no_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
