/* Content codings: what the reference encoders make comes back; caps, chains and damage. */
#include "../unit.h"
#include <errno.h>
#include <zlib.h>
#include <zstd.h>
#include "body/body.h"

static struct gvm_buf packed, out;

static int setup(void **state)
{
    (void)state;
    gvm_buf_init(&packed, 64u << 20);
    gvm_buf_init(&out, 64u << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gvm_buf_done(&packed);
    gvm_buf_done(&out);
    return 0;
}

/* window: 31 gzip, 15 zlib, -15 bare */
static void deflate_into(struct gvm_str in, int window, struct gvm_buf *to)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in.p, .avail_in = (uInt)in.n};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t cap = deflateBound(&z, in.n) + 64;
    z.next_out = gvm_buf_space(to, cap);
    z.avail_out = (uInt)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    gvm_buf_grew(to, cap - z.avail_out);
    deflateEnd(&z);
}

static void zstd_into(struct gvm_str in, struct gvm_buf *to)
{
    size_t cap = ZSTD_compressBound(in.n);
    uint8_t *p = gvm_buf_space(to, cap);
    size_t n = ZSTD_compress(p, cap, in.p, in.n, 3);
    assert_false(ZSTD_isError(n));
    gvm_buf_grew(to, n);
}

static int decode(const char *codings, size_t max)
{
    gvm_buf_reset(&out);
    return gvm_decode(gvm_str(codings), gvm_buf_str(&packed), max, &out, NULL);
}

static bool is(const char *want)
{
    return gvm_str_eqz(gvm_buf_str(&out), want);
}

static void test_plain(void **state)
{
    (void)state;
    gvm_buf_reset(&packed);
    gvm_buf_addz(&packed, "hello");
    assert_int_equal(decode("", 5), 0);
    assert_true(is("hello"));
    assert_int_equal(decode("identity", 5), 0);
    assert_int_equal(decode(" , identity,", 5), 0);
    assert_int_equal(decode("", 4), -EFBIG);
    assert_int_equal(decode("snappy", 100), -ENOTSUP);
    assert_int_equal(decode("aes128gcm", 100), -ENOTSUP);
    assert_int_equal(decode("gzip,gzip,gzip,gzip,gzip", 100), -ENOTSUP);
    assert_int_equal(decode("gzip", 100), -EINVAL);
    assert_int_equal(decode("br", 100), -EINVAL);
    assert_int_equal(decode("zstd", 100), -EINVAL);
    assert_int_equal(decode("deflate", 100), -EINVAL);
}

static void test_zlib_family(void **state)
{
    static const struct {
        const char *coding;
        int window;
    } rows[] = {{"gzip", 31}, {"x-gzip", 31}, {"GZIP", 31}, {"deflate", 15}, {"deflate", -15}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gvm_buf_reset(&packed);
        deflate_into(GVM_STR("{\"amount\":5000}"), rows[i].window, &packed);
        assert_int_equal(decode(rows[i].coding, 100), 0);
        assert_true(is("{\"amount\":5000}"));
        assert_int_equal(decode(rows[i].coding, 14), -EFBIG);
        assert_int_equal(decode(rows[i].coding, 15), 0);
        /* cut short, and with something behind */
        packed.len--;
        assert_int_equal(decode(rows[i].coding, 100), -EINVAL);
        packed.len++;
        gvm_buf_addc(&packed, 'x');
        assert_int_equal(decode(rows[i].coding, 100), -EINVAL);
    }
}

/* RFC 1952: members one behind the other are one body. */
static void test_members(void **state)
{
    (void)state;
    gvm_buf_reset(&packed);
    deflate_into(GVM_STR("one "), 31, &packed);
    deflate_into(GVM_STR("two"), 31, &packed);
    assert_int_equal(decode("gzip", 100), 0);
    assert_true(is("one two"));
}

static void test_zstd(void **state)
{
    (void)state;
    gvm_buf_reset(&packed);
    zstd_into(GVM_STR("one "), &packed);
    zstd_into(GVM_STR("two"), &packed);
    assert_int_equal(decode("zstd", 100), 0);
    assert_true(is("one two"));
    packed.len--;
    assert_int_equal(decode("zstd", 100), -EINVAL);
}

/* printf 'hello hello hello' | brotli */
static void test_brotli(void **state)
{
    static const uint8_t bytes[] = {0x0b, 0x02, 0x80, 'h', 'e', 'l', 'l', 'o', 0x03};
    (void)state;
    gvm_buf_reset(&packed);
    gvm_buf_add(&packed, bytes, sizeof bytes);
    assert_int_equal(decode("br", 100), 0);
    assert_true(is("hello"));
    gvm_buf_addc(&packed, 'x');
    assert_int_equal(decode("br", 100), -EINVAL);
    packed.len -= 2;
    assert_int_equal(decode("br", 100), -EINVAL);
}

/* The last coding was applied last. */
static void test_chain(void **state)
{
    struct gvm_buf inner;
    (void)state;
    gvm_buf_init(&inner, 1000);
    deflate_into(GVM_STR("inside"), 15, &inner);
    gvm_buf_reset(&packed);
    zstd_into(gvm_buf_str(&inner), &packed);
    gvm_buf_done(&inner);
    assert_int_equal(decode("deflate, zstd", 100), 0);
    assert_true(is("inside"));
    assert_int_equal(decode("zstd, deflate", 100), -EINVAL);
    assert_int_equal(decode("deflate, identity, zstd", 100), 0);
}

static void test_bombs(void **state)
{
    (void)state;
    char *zeros = calloc(1, 8u << 20);
    gvm_buf_reset(&packed);
    deflate_into((struct gvm_str){zeros, 8u << 20}, 31, &packed);
    assert_int_equal(decode("gzip", 32u << 20), -EFBIG); /* the ratio */
    assert_true(out.len < (4u << 20));
    assert_int_equal(decode("gzip", 1000), -EFBIG);
    gvm_buf_reset(&packed);
    zstd_into((struct gvm_str){zeros, 8u << 20}, &packed);
    assert_int_equal(decode("zstd", 32u << 20), -EFBIG);
    free(zeros);
}

static void test_prefix(void **state)
{
    (void)state;
    gvm_buf_reset(&packed);
    deflate_into(GVM_STR("0123456789"), 31, &packed);
    gvm_buf_reset(&out);
    assert_int_equal(gvm_decode_prefix(GVM_STR("gzip"), gvm_buf_str(&packed), 4, &out, NULL), 0);
    assert_true(is("0123"));
    packed.len -= 8; /* without its trailer */
    gvm_buf_reset(&out);
    assert_int_equal(gvm_decode_prefix(GVM_STR("gzip"), gvm_buf_str(&packed), 40, &out, NULL), 0);
    assert_true(is("0123456789"));
    gvm_buf_reset(&out);
    assert_int_equal(gvm_decode_prefix(GVM_STR(""), GVM_STR("abcdef"), 3, &out, NULL), 0);
    assert_true(is("abc"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),   cmocka_unit_test(test_zlib_family),
        cmocka_unit_test(test_members), cmocka_unit_test(test_zstd),
        cmocka_unit_test(test_brotli),  cmocka_unit_test(test_chain),
        cmocka_unit_test(test_bombs),   cmocka_unit_test(test_prefix),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
