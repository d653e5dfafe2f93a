/* Pairs of queries and forms. */
#include "../unit.h"
#include <errno.h>
#include <stdio.h>
#include "body/body.h"

static struct gvm_arena *arena;

static int setup(void **state)
{
    (void)state;
    arena = gvm_arena_new(8u << 20);
    return arena ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    gvm_arena_free(arena);
    return 0;
}

static const char *show(const struct gvm_form *f)
{
    static char text[512];
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < f->n; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s%.*s=%.*s", n ? "|" : "",
                              f->pairs[i].loose ? "~" : "", GVM_STR_ARG(f->pairs[i].name),
                              GVM_STR_ARG(f->pairs[i].value));
    return text;
}

static void test_urlencoded(void **state)
{
    static const struct {
        const char *in, *want;
    } rows[] = {
        {"", ""},
        {"a", "a="},
        {"a=1&b=2", "a=1|b=2"},
        {"a=1&&b=", "a=1|b="},
        {"a=b=c", "a=b=c"},
        {"a+b=c+d", "a b=c d"},
        {"%61=%62%63", "a=bc"},
        {"a=%zz%4", "a=%zz%4"},
        {"a=1;b=2", "a=1;b=2|~a=1|~b=2"},
        {"a=1&a=2", "a=1|a=2"},
        {"=x", "=x"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gvm_form f = {0};
        assert_int_equal(gvm_form_urlencoded(arena, gvm_str(rows[i].in), &f, NULL), 0);
        assert_string_equal(show(&f), rows[i].want);
    }
    char many[4096];
    memset(many, '&', sizeof many);
    for (size_t i = 0; i < sizeof many; i += 2)
        many[i] = 'a';
    struct gvm_form f;
    assert_int_equal(gvm_form_urlencoded(arena, (struct gvm_str){many, sizeof many}, &f, NULL),
                     -E2BIG);
}

#define PART(name, value)                                                                          \
    "--b\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"

static void test_multipart(void **state)
{
    static const struct {
        const char *type, *in, *want; /* NULL: refused */
    } rows[] = {
        {"multipart/form-data; boundary=b", PART("a", "1") PART("c", "x\r\n--by") "--b--\r\n",
         NULL},
        {"multipart/form-data; boundary=b", PART("a", "1") PART("c", "2") "--b--\r\n", "a=1|c=2"},
        {"multipart/form-data; boundary=\"b\"", PART("a", "1") "--b--", "a=1"},
        {"Multipart/Form-Data; charset=x; BOUNDARY=b", PART("a", "") "--b--", "a="},
        {"multipart/form-data; boundary=b",
         "--b \r\ncontent-disposition: form-data; name=f; filename=\"x\"\r\ncontent-type: "
         "text/plain\r\n\r\nfile\r\n--b--",
         "f=file"},
        {"multipart/form-data", PART("a", "1") "--b--", NULL},
        {"multipart/form-data; boundary=b; boundary=c", PART("a", "1") "--b--", NULL},
        {"multipart/form-data; boundary=b", "preamble\r\n" PART("a", "1") "--b--", NULL},
        {"multipart/form-data; boundary=b", PART("a", "1") "--b--\r\nepilogue", NULL},
        {"multipart/form-data; boundary=b", PART("a", "1"), NULL},
        {"multipart/form-data; boundary=b", "--b\r\n\r\nno name\r\n--b--", NULL},
        {"multipart/form-data; boundary=b",
         "--b\r\nContent-Disposition: form-data; name=\"a\"; name=\"b\"\r\n\r\n1\r\n--b--", NULL},
        {"multipart/form-data; boundary=b",
         "--b\r\nContent-Disposition: form-data; name=\"a\\\"b\"\r\n\r\n1\r\n--b--", NULL},
        {"multipart/form-data; boundary=b",
         "--b\r\nContent-Disposition: form-data; name*=utf-8''a; name=\"b\"\r\n\r\n1\r\n--b--",
         NULL},
        {"multipart/form-data; boundary=b",
         "--b\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: form-data; "
         "name=\"a\"\r\n\r\nMQ==\r\n--b--",
         NULL},
        {"multipart/form-data; boundary=b",
         "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n folded\r\n\r\n1\r\n--b--", NULL},
        {"multipart/form-data; boundary=b",
         "--b\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; "
         "name=\"b\"\r\n\r\n1\r\n--b--",
         NULL},
        {"multipart/form-data; boundary=b", "--b--", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gvm_form f = {0};
        int r = gvm_form_multipart(arena, gvm_str(rows[i].type), gvm_str(rows[i].in), &f, NULL);
        if ((r == 0) != (rows[i].want != NULL))
            fail_msg("row %zu: %d", i, r);
        if (r == 0)
            assert_string_equal(show(&f), rows[i].want);
    }
}

static void test_media_type(void **state)
{
    char t[8];
    (void)state;
    gvm_media_type(GVM_STR(" Text/X ; a=b"), t, sizeof t);
    assert_string_equal(t, "text/x");
    gvm_media_type(GVM_STR("application/json"), t, sizeof t);
    assert_string_equal(t, "applica");
    gvm_media_type(GVM_STR(""), t, sizeof t);
    assert_string_equal(t, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_urlencoded),
                                       cmocka_unit_test(test_multipart),
                                       cmocka_unit_test(test_media_type)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
