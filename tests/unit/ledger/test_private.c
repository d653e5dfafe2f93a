/* Private members: the seam in a line, the commitment, and that the log notices every change behind
 * it. */
#include "ledger_test.h"
#include "ledger/private.h"

#define BLANK44 "............................................"
#define BLANK24 "........................"
#define HEAD    "{\"v\":2,\"t\":\"2026-11-23T23:13:00.000000001Z\",\"kind\":\"test\""
#define SEAM    HEAD ",\"private\":\"" BLANK44 "\",\"salt\":\"" BLANK24 "\""

static struct ledger_hasher hasher;

static int hasher_setup(void **state)
{
    return ledger_hasher_init(&hasher) || dir_setup(state);
}

static int hasher_teardown(void **state)
{
    ledger_hasher_done(&hasher);
    return dir_teardown(state);
}

static void test_producer(void **state)
{
    struct gvm_buf b;
    struct gvm_jw w;
    struct private_seam s;
    struct private_member m[PRIVATE_MAX];
    unsigned n = 0;
    gvm_buf_init(&b, GVM_MAX_ENTRY);
    assert_int_equal(gvm_buf_addz(&b, "before"), 0);
    gvm_entry_begin(&w, &b, "test", "run", NULL);
    gvm_entry_private(&w);
    gvm_jw_kstrz(&w, "host", "a.test");
    gvm_jw_kstrz(&w, "path", "/\"},{");
    assert_int_equal(gvm_entry_end(&w), 0);
    char *line = (char *)gvm_buf_data(&b) + 6;
    assert_int_equal(private_seal(hasher.ctx, line, b.len - 6), 0);
    assert_true(private_seam((struct gvm_str){line, b.len - 6}, &s));
    assert_true(private_open(hasher.ctx, &s, m, &n));
    assert_int_equal(n, 2);
    assert_true(gvm_str_eqz(m[0].name, "host") && gvm_str_eqz(m[0].value, "\"a.test\""));
    assert_true(gvm_str_eqz(m[1].name, "path") && gvm_str_eqz(m[1].value, "\"/\\\"},{\""));
    assert_memory_not_equal(m[0].salt, m[1].salt, PRIVATE_SALT);
    /* The line is JSON with everything in it, the entry JSON without. */
    struct gvm_arena *a = gvm_arena_new(1 << 20);
    struct gvm_json *j = NULL;
    assert_int_equal(gvm_json_parse(a, (struct gvm_str){line, b.len - 6}, &j, NULL), 0);
    assert_string_equal(gvm_json_text(j, "host", ""), "a.test");
    line[s.head.n] = '}';
    assert_int_equal(gvm_json_parse(a, (struct gvm_str){line, s.head.n + 1}, &j, NULL), 0);
    assert_null(gvm_json_get(j, "salt"));
    gvm_arena_free(a);
    gvm_buf_done(&b);
}

/* The definition once more, in other words, over a value chosen by hand. */
static void test_definition(void **state)
{
    static const uint8_t salt[16] = {7};
    uint8_t in[64] = {0x02}, own[32], hash[32], want[32], got[32];
    struct private_member m = {.name = GVM_STR("n"), .value = GVM_STR("12")};
    memcpy(in + 1, salt, 16);
    in[17] = 0;
    ledger_hash_bytes(&hasher, in, 18, own);
    in[0] = 0x03;
    memcpy(in + 1, own, 16);
    memcpy(in + 17, "12", 2);
    ledger_hash_bytes(&hasher, in, 19, hash);
    memcpy(in, "\x04\0\1n", 4);
    memcpy(in + 4, hash, 32);
    ledger_hash_bytes(&hasher, in, 36, want);
    private_salt(hasher.ctx, salt, 0, m.salt);
    private_hash(hasher.ctx, m.salt, m.value, m.hash);
    private_commit(hasher.ctx, &m, 1, got);
    assert_memory_equal(got, want, 32);
}

static void test_refused_lines(void **state)
{
    char many[8192];
    static const char *const bad[] = {
        HEAD "}",
        HEAD ",\"private\":\"" BLANK44 "\"}",
        HEAD ",\"private\":\"short\",\"salt\":\"" BLANK24 "\",\"a\":1}",
        HEAD ",\"x\":{\"y\":1,\"private\":\"z\"},\"private\":\"" BLANK44 "\",\"salt\":\"" BLANK24
             "\"}",
        SEAM ",\"a\":1,\"a\":2}",
        SEAM ",\"a\":}",
        SEAM ",\"\":1}",
        SEAM ",\"a\":1},\"b\":2}",
        SEAM ",\"a\":[1}",
        SEAM ",\"a\":\"1}",
        SEAM ",a:1}",
        SEAM ",}",
        SEAM "\"a\":1}",
    };
    struct ledger_writer *w = writer_open(0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ledger_writer_add(w, gvm_str(bad[i])) != -EINVAL)
            fail_msg("taken: %s", bad[i]);
    size_t n = (size_t)snprintf(many, sizeof many, "%s", SEAM);
    for (unsigned i = 0; i <= PRIVATE_MAX; i++)
        n += (size_t)snprintf(many + n, sizeof many - n, ",\"m%u\":1", i);
    (void)snprintf(many + n, sizeof many - n, "}");
    assert_int_equal(ledger_writer_add(w, gvm_str(many)), -EINVAL);
    assert_int_equal(w->count, 0);
    assert_int_equal(w->batch.len, 0);
    assert_int_equal(ledger_writer_add(w, gvm_str(SEAM "}")), 0);
    assert_int_equal(ledger_writer_add(w, gvm_str(SEAM ",\"a\":[{\"b\":\"]\\\\\"}],\"c\":null}")),
                     0);
    ledger_writer_abandon(w);
}

static void make_private_log(void)
{
    struct gvm_err err = {0};
    struct ledger_writer *w = writer_open(0);
    append(w, 2, 1);
    assert_int_equal(ledger_writer_add(w, gvm_str(SEAM ",\"host\":\"a.test\",\"path\":\"/x\"}")),
                     0);
    assert_int_equal(ledger_writer_commit(w, &err), 0);
    assert_int_equal(ledger_writer_settle(w, &err), 0);
    append(w, 2, 1);
    publish(w);
    ledger_writer_close(w);
}

/* The writer that reads its log again, the verifier and a proof agree on what the entry is. */
static void test_in_the_log(void **state)
{
    make_private_log();
    assert_verifies(5);
    struct ledger_writer *w = writer_open(0);
    append(w, 3, 1);
    publish(w);
    ledger_writer_close(w);
    assert_verifies(8);
    struct gvm_buf text, line, entry;
    struct gvm_keychain keys = test_keys();
    struct gvm_checkpoint head;
    struct gvm_err err = {0};
    uint64_t index;
    gvm_buf_init(&text, GVM_MAX_PROOF);
    gvm_buf_init(&line, GVM_MAX_ENTRY + 1);
    gvm_buf_init(&entry, GVM_MAX_ENTRY + 1);
    assert_int_equal(gvm_proof_make(test_dir, 2, &text, &line, &err), 0);
    assert_int_equal(gvm_line_entry(gvm_buf_str(&line), &entry), 0);
    assert_null(memmem(gvm_buf_data(&entry), entry.len, "a.test", 6));
    assert_int_equal(
        gvm_proof_check(gvm_buf_str(&text), gvm_buf_str(&entry), &keys, &index, &head, &err), 0);
    gvm_buf_done(&text);
    gvm_buf_done(&line);
    gvm_buf_done(&entry);
}

/* One bit anywhere in a line with private members. */
static void test_every_bit(void **state)
{
    static const char segment[] = "events/00000000000000000000.jsonl";
    make_private_log();
    struct gvm_buf b = slurp(segment);
    uint8_t *p = gvm_buf_data(&b), *at = memmem(p, b.len, "{\"v\":2", 6),
            *end = memchr(at, '\n', 400);
    for (uint8_t *q = at; q < end; q++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            *q ^= (uint8_t)(1u << bit);
            spew(segment, p, b.len);
            struct gvm_verify_report rep = verify_since(NULL);
            if (rep.ok || !rep.have_bad_index || rep.bad_index > 2)
                fail_msg("bit %u of byte %td: ok %d, first bad %" PRIu64 " (%s)", bit, q - at,
                         rep.ok, rep.bad_index, rep.reason);
            *q ^= (uint8_t)(1u << bit);
        }
    }
    gvm_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_producer, hasher_setup, hasher_teardown),
        cmocka_unit_test_setup_teardown(test_definition, hasher_setup, hasher_teardown),
        cmocka_unit_test_setup_teardown(test_refused_lines, hasher_setup, hasher_teardown),
        cmocka_unit_test_setup_teardown(test_in_the_log, hasher_setup, hasher_teardown),
        cmocka_unit_test_setup_teardown(test_every_bit, hasher_setup, hasher_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
