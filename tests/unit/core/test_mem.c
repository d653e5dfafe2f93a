#define UNIT_FAIL_ALLOC
#include "../unit.h"

#include <errno.h>
#include <stdio.h>

#include "core/core.h"

static void buffer_keeps_its_maximum(void **state)
{
    struct gvm_buf b;
    gvm_buf_init(&b, 10);
    assert_int_equal(gvm_buf_addz(&b, "0123456789"), 0);
    assert_int_equal(gvm_buf_addc(&b, 'x'), -ENOBUFS);
    assert_true(b.failed);
    assert_str(gvm_buf_str(&b), "0123456789");
    assert_string_equal(gvm_buf_cstr(&b), "0123456789");
    gvm_buf_consume(&b, 4);
    assert_str(gvm_buf_str(&b), "456789");
    assert_int_equal(gvm_buf_addz(&b, "abcd"), 0);
    assert_string_equal(gvm_buf_cstr(&b), "456789abcd");
    assert_int_equal(gvm_buf_addf(&b, "%d", 1), -ENOBUFS);
    gvm_buf_consume(&b, 10);
    assert_string_equal(gvm_buf_cstr(&b), "");
    gvm_buf_reset(&b);
    assert_false(b.failed);
    assert_null(gvm_buf_space(&b, 11));
    assert_null(gvm_buf_space(&b, SIZE_MAX));
    gvm_buf_done(&b);
    gvm_buf_init(&b, 30);
    assert_int_equal(gvm_buf_addu(&b, 0), 0);
    assert_int_equal(gvm_buf_addu(&b, UINT64_MAX), 0);
    assert_int_equal(gvm_buf_addf(&b, "%s", "123456789"), 0);
    assert_string_equal(gvm_buf_cstr(&b), "018446744073709551615123456789");
    assert_int_equal(gvm_buf_addu(&b, 1), -ENOBUFS);
    gvm_buf_done(&b);
    gvm_buf_init(&b, SIZE_MAX);
    assert_int_equal(gvm_buf_addz(&b, "x"), 0);
    assert_null(gvm_buf_space(&b, SIZE_MAX));
    gvm_buf_done(&b);
}

/* Many buffers keep one bound, and a bill is part of another. */
static void buffers_share_a_bill(void **state)
{
    struct gvm_bill *all = gvm_bill_new(8192, NULL), *one = gvm_bill_new(4096, all),
                    *two = gvm_bill_new(6000, all);
    struct gvm_buf a, b, c;
    gvm_buf_init(&a, 100000);
    gvm_buf_init(&b, 100000);
    gvm_buf_init(&c, 100000);
    gvm_buf_bill(&a, one);
    gvm_buf_bill(&b, one);
    gvm_buf_bill(&c, two);
    uint8_t some[3000] = {0};
    assert_int_equal(gvm_buf_add(&a, some, 1500), 0);
    assert_int_equal(gvm_bill_used(one), a.cap);
    assert_false(gvm_bill_high(one));
    assert_int_equal(gvm_buf_add(&b, some, 3000), -ENOBUFS);
    assert_true(b.failed && !b.len && !b.cap);
    assert_int_equal(gvm_buf_add(&b, some, 1500), 0);
    assert_true(gvm_bill_high(one) && !gvm_bill_high(two));
    assert_int_equal(gvm_buf_add(&c, some, 3000), 0);
    assert_int_equal(gvm_bill_used(all), a.cap + b.cap + c.cap);
    assert_true(gvm_bill_high(two)); /* by what it is part of */
    assert_int_equal(gvm_buf_add(&c, some, 3000), -ENOBUFS);
    gvm_buf_bill(&c, NULL);
    assert_int_equal(gvm_bill_used(two), 0);
    assert_int_equal(gvm_buf_add(&c, some, 3000), 0);
    gvm_buf_bill(&c, two); /* what it has is taken as it is */
    assert_true(gvm_bill_used(two) >= 6000);
    gvm_buf_done(&a);
    gvm_buf_wipe(&b);
    gvm_buf_done(&c);
    assert_int_equal(gvm_bill_used(all), 0);
    gvm_bill_unref(all); /* lives on in the other two */
    gvm_bill_unref(one);
    gvm_bill_unref(two);
}

/* A stream of appends and takes must give back what went in, whatever the sizes. */
static void buffer_is_a_queue(void **state)
{
    struct gvm_buf b;
    gvm_buf_init(&b, 5000);
    uint8_t in = 0, out = 0;
    unsigned seed = 1;
    for (int i = 0; i < 20000; i++) {
        seed = seed * 1103515245 + 12345;
        size_t n = (seed >> 16) % 700;
        if (seed & 0x80000000u) {
            uint8_t *p = gvm_buf_space(&b, n);
            for (size_t k = 0; p && k < n; k++)
                p[k] = in++;
            if (p)
                gvm_buf_grew(&b, n);
        } else {
            n = n < b.len ? n : b.len;
            for (size_t k = 0; k < n; k++)
                assert_int_equal(gvm_buf_data(&b)[k], out++);
            gvm_buf_consume(&b, n);
        }
        assert_true(b.len <= 5000 && b.off + b.len < b.cap + (b.cap == 0) && b.cap <= 5001);
    }
    gvm_buf_done(&b);
}

static void secret_buffer_grows(void **state)
{
    struct gvm_buf b;
    gvm_buf_init(&b, 100000);
    b.secret = true;
    for (int i = 0; i < 10000; i++)
        assert_int_equal(gvm_buf_addz(&b, "secret"), 0);
    assert_int_equal(b.len, 60000);
    assert_memory_equal(gvm_buf_data(&b) + 59994, "secret", 6);
    gvm_buf_wipe(&b);
    assert_int_equal(b.len, 0);
}

static void arena_is_bounded_and_aligned(void **state)
{
    struct gvm_arena *a = gvm_arena_new(100000);
    size_t total = 0;
    for (size_t n = 1;; n = n % 5000 + 7) {
        uint8_t *p = gvm_arena_alloc(a, n);
        if (!p)
            break;
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xee, n);
        total += n;
    }
    assert_true(total > 50000 && total <= 100000);
    assert_null(gvm_arena_alloc(a, SIZE_MAX));
    assert_null(gvm_arena_dup(a, "", SIZE_MAX));
    gvm_arena_free(a);
    a = gvm_arena_new(1000);
    assert_string_equal(gvm_arena_printf(a, "%s-%d", "x", 7), "x-7");
    assert_string_equal(gvm_arena_dup(a, "abc", 2), "ab");
    assert_string_equal(gvm_arena_dup(a, NULL, 0), "");
    assert_null(gvm_arena_alloc(a, 1001));
    assert_non_null(gvm_arena_alloc(a, 900));
    gvm_arena_free(a);
    gvm_arena_free(NULL);
}

static unsigned freed;

static void count_free(void *p)
{
    freed++;
    free(p);
}

static void map_holds_and_forgets(void **state)
{
    struct gvm_map *m = gvm_map_new(3000, count_free);
    char key[32];
    freed = 0;
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        int *v = malloc(sizeof *v);
        assert_non_null(v);
        if (v)
            *v = i;
        assert_int_equal(gvm_map_put(m, gvm_str(key), v), 0);
    }
    assert_int_equal(gvm_map_put(m, GVM_STR("one more"), NULL), -ENOBUFS);
    assert_int_equal(gvm_map_size(m), 3000);
    for (int i = 0; i < 3000; i += 2) { /* every deletion must leave the others findable */
        snprintf(key, sizeof key, "key-%d", i);
        assert_true(gvm_map_del(m, gvm_str(key)));
        assert_false(gvm_map_del(m, gvm_str(key)));
    }
    assert_int_equal(freed, 1500);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        int *v = gvm_map_get(m, gvm_str(key));
        assert_true(i % 2 ? v && *v == i : !v);
    }
    size_t pos = 0, seen = 0;
    struct gvm_str k;
    void *v;
    while (gvm_map_next(m, &pos, &k, &v))
        seen++;
    assert_int_equal(seen, 1500);
    int *other = malloc(sizeof *other);
    assert_int_equal(gvm_map_put(m, GVM_STR("key-1"), other), 0); /* replaces */
    assert_int_equal(freed, 1501);
    assert_ptr_equal(gvm_map_take(m, GVM_STR("key-1")), other);
    free(other);
    assert_int_equal(freed, 1501);
    assert_null(gvm_map_take(m, GVM_STR("key-1")));
    gvm_map_free(m);
    assert_int_equal(freed, 1501 + 1499);
    gvm_map_free(NULL);
}

static void map_keys_are_bytes(void **state)
{
    struct gvm_map *m = gvm_map_new(10, NULL);
    int a, b, c;
    assert_int_equal(gvm_map_put(m, (struct gvm_str){"a\0b", 3}, &a), 0);
    assert_int_equal(gvm_map_put(m, (struct gvm_str){"a\0c", 3}, &b), 0);
    assert_int_equal(gvm_map_put(m, (struct gvm_str){"", 0}, &c), 0);
    assert_ptr_equal(gvm_map_get(m, (struct gvm_str){"a\0b", 3}), &a);
    assert_ptr_equal(gvm_map_get(m, (struct gvm_str){"a\0c", 3}), &b);
    assert_ptr_equal(gvm_map_get(m, (struct gvm_str){NULL, 0}), &c);
    assert_null(gvm_map_get(m, GVM_STR("a")));
    gvm_map_free(m);
}

/* ---- fail the 1st, 2nd, ... allocation until all of it passes ---- */

static int work(void)
{
    struct gvm_err err = {0};
    struct gvm_json *v = NULL;
    struct gvm_buf b;
    struct gvm_arena *a = gvm_arena_new(1 << 20);
    struct gvm_map *m = gvm_map_new(100, NULL);
    gvm_buf_init(&b, 1 << 20);
    int r = a && m ? 0 : -ENOMEM;
    char key[16];
    for (int i = 0; r == 0 && i < 40; i++) {
        snprintf(key, sizeof key, "k%d", i);
        r = gvm_map_put(m, gvm_str(key), m);
    }
    struct gvm_jw w;
    gvm_jw_init(&w, &b);
    gvm_jw_object(&w);
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "k\n%d", i);
        gvm_jw_kstrz(&w, key, "a text that is long enough to make the buffer grow, more than once");
    }
    gvm_jw_object_end(&w);
    if (r == 0 && b.failed)
        r = -ENOMEM;
    if (r == 0)
        r = gvm_json_parse(a, gvm_buf_str(&b), &v, &err);
    if (r == 0 && strcmp(gvm_json_text(v, "k\n39", ""), gvm_json_text(v, "k\n0", "x")) != 0)
        r = -EIO;
    gvm_buf_done(&b);
    gvm_map_free(m);
    gvm_arena_free(a);
    return r;
}

static void every_allocation_may_fail(void **state)
{
    if (!unit_can_fail)
        return; /* AddressSanitizer has its own allocator */
    for (long n = 1; n < 1000; n++) {
        unit_fail_at = n;
        int r = work();
        bool reached = unit_fail_at == 0;
        unit_fail_at = 0;
        if (!reached) {
            assert_int_equal(r, 0);
            assert_true(n > 20); /* the loop did something */
            return;
        }
        assert_int_equal(r, -ENOMEM);
    }
    fail_msg("never passes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_keeps_its_maximum),
        cmocka_unit_test(buffers_share_a_bill),
        cmocka_unit_test(buffer_is_a_queue),
        cmocka_unit_test(secret_buffer_grows),
        cmocka_unit_test(arena_is_bounded_and_aligned),
        cmocka_unit_test(map_holds_and_forgets),
        cmocka_unit_test(map_keys_are_bytes),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
