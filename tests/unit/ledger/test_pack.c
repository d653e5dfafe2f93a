/* Packed segments: made when there is time, read like others, and every bit of them checked. */
#include <zstd.h>
#include "ledger_test.h"

static void rest(struct ledger_writer *w)
{
    while (ledger_writer_idle(w))
        ;
}

/* A log of n entries in several segments, all closed ones packed. */
static void make_packed(unsigned n, uint64_t segment_max)
{
    struct ledger_writer *w = writer_open(segment_max);
    append(w, n, 7);
    publish(w);
    rest(w);
    for (size_t i = 0; i < w->nclosed; i++)
        assert_true(w->closed[i].packed);
    assert_true(w->nclosed > 1);
    ledger_writer_close(w);
}

static bool there(const char *name)
{
    char path[256];
    path_in(path, name);
    return access(path, F_OK) == 0;
}

static void expect_lines(uint64_t from, uint64_t to)
{
    struct gvm_ledger_reader *r = NULL;
    struct gvm_err err = {0};
    struct gvm_str line;
    uint64_t index = 0;
    char buf[256];
    assert_int_equal(gvm_ledger_reader_open(test_dir, from, &r, &err), 0);
    for (uint64_t i = from; i < to; i++) {
        if (gvm_ledger_reader_next(r, &index, &line, &err) != 1)
            fail_msg("entry %" PRIu64 ": %s", i, err.text);
        assert_int_equal(index, i);
        assert_true(gvm_str_eq(line, test_line(buf, sizeof buf, i)));
    }
    assert_int_equal(gvm_ledger_reader_next(r, &index, &line, &err), 0);
    gvm_ledger_reader_free(r);
}

static void test_reads_like_plain(void **state)
{
    make_packed(1000, 30000);
    assert_true(there("events/00000000000000000000.jsonl.zst"));
    assert_false(there("events/00000000000000000000.jsonl"));
    assert_false(there("events/00000000000000000000.jsonl.zst.new"));
    assert_verifies(1000);
    for (uint64_t from = 0; from <= 1000; from += 111)
        expect_lines(from, 1000);
    uint64_t size = 0;
    assert_int_equal(gvm_ledger_size(test_dir, &size, NULL), 0);
    assert_int_equal(size, 1000);
}

/* Segments of several blocks: seeking by index and by place steps over blocks. */
static void test_many_blocks(void **state)
{
    struct gvm_ledger_reader *r = NULL;
    struct gvm_err err = {0};
    struct gvm_str line;
    struct gvm_ledger_place *place = calloc(20000, sizeof *place);
    uint64_t index;
    char buf[256];
    make_packed(20000, 700000);
    assert_verifies(20000);
    assert_int_equal(gvm_ledger_reader_open(test_dir, 0, &r, &err), 0);
    for (uint64_t i = 0; i < 20000; i++) {
        assert_int_equal(gvm_ledger_reader_next(r, &index, &line, &err), 1);
        place[i] = gvm_ledger_reader_place(r);
    }
    static const uint64_t at[] = {0, 19999, 1, 5000, 4999, 12345, 7777, 7778, 3000, 3001, 19000};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        assert_int_equal(gvm_ledger_reader_seek(r, at[i], place[at[i]], &err), 0);
        assert_int_equal(gvm_ledger_reader_next(r, &index, &line, &err), 1);
        assert_int_equal(index, at[i]);
        assert_true(gvm_str_eq(line, test_line(buf, sizeof buf, at[i])));
        expect_lines(at[i] > 50 ? at[i] - 50 : 0, 20000);
    }
    gvm_ledger_reader_free(r);
    free(place);
}

/* A place learnt from the plain segment holds when it is packed; so does a reader that is in it. */
static void test_packed_while_read(void **state)
{
    struct gvm_ledger_reader *r = NULL;
    struct gvm_err err = {0};
    struct gvm_str line;
    uint64_t index;
    char buf[256];
    struct ledger_writer *w = writer_open(30000);
    append(w, 1000, 7);
    publish(w);
    assert_int_equal(gvm_ledger_reader_open(test_dir, 0, &r, &err), 0);
    struct gvm_ledger_place place = {0, 0};
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(gvm_ledger_reader_next(r, &index, &line, &err), 1);
        if (i == 100)
            place = gvm_ledger_reader_place(r);
        if (i == 250)
            rest(w);
        assert_true(gvm_str_eq(line, test_line(buf, sizeof buf, i)));
    }
    assert_false(there("events/00000000000000000000.jsonl"));
    assert_int_equal(gvm_ledger_reader_seek(r, 100, place, &err), 0);
    assert_int_equal(gvm_ledger_reader_next(r, &index, &line, &err), 1);
    assert_true(gvm_str_eq(line, test_line(buf, sizeof buf, 100)));
    gvm_ledger_reader_free(r);
    ledger_writer_close(w);
    assert_verifies(1000);
}

/* A writer that starts over a packed log reads it, also when its tiles are gone. */
static void test_recovers_from_packed(void **state)
{
    char path[256];
    make_packed(1000, 30000);
    path_in(path, "tile");
    struct gvm_err err = {0};
    assert_int_equal(gvm_remove_tree_at(AT_FDCWD, path, &err), 0);
    struct ledger_writer *w = writer_open(30000);
    assert_int_equal(w->durable, 1000);
    append(w, 300, 7);
    publish(w);
    ledger_writer_close(w);
    assert_verifies(1300);
    expect_lines(0, 1300);
}

/* Row L1: every bit of a packed segment. */
static void test_flip_every_bit(void **state)
{
    static const char name[] = "events/00000000000000000000.jsonl.zst";
    char path[256];
    make_packed(40, 1200);
    struct gvm_buf b = slurp(name);
    path_in(path, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < b.len; i++) {
        uint8_t was = gvm_buf_data(&b)[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t now = (uint8_t)(was ^ (1u << bit));
            assert_int_equal(pwrite(fd, &now, 1, (off_t)i), 1);
            struct gvm_verify_report rep = verify_since(NULL);
            if (rep.ok || strcmp(rep.bad_file, name) != 0 || rep.bad_index != 0)
                fail_msg("byte %zu bit %u: ok %d, blames '%s': %s", i, bit, rep.ok, rep.bad_file,
                         rep.reason);
        }
        assert_int_equal(pwrite(fd, &was, 1, (off_t)i), 1);
    }
    for (size_t n = 0; n < b.len; n += 7) { /* cut short */
        spew(name, gvm_buf_data(&b), n);
        assert_false(verify_since(NULL).ok);
    }
    close(fd);
    gvm_buf_done(&b);
}

static void put_head(uint8_t *p, uint32_t entries, uint64_t first, uint32_t plain, uint32_t packed)
{
    memset(p, 0, 64);
    memcpy(p, "\x5c\x2a\x4d\x18\x38\0\0\0gvmb", 12);
    for (unsigned i = 0; i < 4; i++) {
        p[12 + i] = (uint8_t)(entries >> 8 * i);
        p[24 + i] = (uint8_t)(plain >> 8 * i);
        p[28 + i] = (uint8_t)(packed >> 8 * i);
    }
    p[16] = (uint8_t)first;
    unsigned n = 32;
    EVP_Digest(p + 64, packed, p + 32, &n, EVP_sha256(), NULL);
}

/* A few bytes that claim, or unpack to, more than any block may hold. */
static void test_bombs(void **state)
{
    static const char name[] = "events/00000000000000000000.jsonl.zst";
    size_t huge = 64 << 20;
    uint8_t *plain = calloc(1, huge), *file = malloc(1 << 20);
    memset(plain, '\n', huge);
    make_packed(40, 1200);
    static const uint32_t claims[] = {64, 1 << 20, 64 << 20, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        size_t n = ZSTD_compress(file + 64, (1 << 20) - 64, plain, huge, 3);
        assert_false(ZSTD_isError(n));
        put_head(file, claims[i], 0, claims[i], (uint32_t)n);
        spew(name, file, 64 + n);
        struct gvm_verify_report rep = verify_since(NULL);
        assert_false(rep.ok);
        assert_string_equal(rep.bad_file, name);
    }
    put_head(file, 1, 0, 100, 0);
    file[31] = 0x40; /* a frame of a gigabyte */
    spew(name, file, 64);
    assert_false(verify_since(NULL).ok);
    free(plain);
    free(file);
}

#define T(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_reads_like_plain),     T(test_many_blocks),    T(test_packed_while_read),
        T(test_recovers_from_packed), T(test_flip_every_bit), T(test_bombs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
