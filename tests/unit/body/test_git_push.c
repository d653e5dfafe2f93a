/* Commands of a push, and what a pack shows of ancestry. The packs are made here, object by object;
 * tests/interop pushes with git itself. */
#include "../unit.h"
#include <errno.h>
#include <stdio.h>
#include <openssl/evp.h>
#include <zlib.h>
#include "body/body.h"

#define ZERO "0000000000000000000000000000000000000000"
#define ONE  "1111111111111111111111111111111111111111"
#define TWO  "2222222222222222222222222222222222222222"

static struct gvm_buf in;
static struct gvm_arena *arena;

static int setup(void **state)
{
    (void)state;
    gvm_buf_init(&in, 4u << 20);
    arena = gvm_arena_new(32u << 20);
    return arena ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    gvm_buf_done(&in);
    gvm_arena_free(arena);
    return 0;
}

static void command(const char *before, const char *after, const char *ref, const char *caps)
{
    size_t n = 4 + 40 + 1 + 40 + 1 + strlen(ref) + (caps ? 1 + strlen(caps) : 0);
    gvm_buf_addf(&in, "%04zx%s %s %s", n, before, after, ref);
    if (caps) {
        gvm_buf_addc(&in, '\0');
        gvm_buf_addz(&in, caps);
    }
}

static int parse(bool whole, struct gvm_git_push *p)
{
    return gvm_git_push_parse(arena, gvm_buf_str(&in), whole, p, NULL);
}

static void test_commands(void **state)
{
    struct gvm_git_push p;
    (void)state;
    gvm_buf_reset(&in);
    command(ZERO, ONE, "refs/heads/new", "report-status side-band-64k");
    command(ONE, ZERO, "refs/heads/old", NULL);
    command(ONE, TWO, "refs/heads/main", NULL);
    gvm_buf_addz(&in, "0000");
    assert_int_equal(parse(true, &p), 0);
    assert_int_equal(p.n, 3);
    assert_true(gvm_str_eqz(p.refs[0].name, "refs/heads/new") && p.refs[0].create);
    assert_true(p.refs[1].delete &&p.refs[1].force == GVM_GIT_FORWARD);
    assert_int_equal(p.refs[2].force, GVM_GIT_UNKNOWN);
    gvm_buf_reset(&in);
    gvm_buf_addz(&in, "0000");
    assert_int_equal(parse(true, &p), 0);
    assert_int_equal(p.n, 0);
    assert_int_equal(parse(false, &p), -EINVAL);
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "000",
        "zzzz",
        "0001",
        "0004",
        "0005x",
        "0032shallow " ONE "\n0000",
        "0010push-cert\0 x0000",
        "00671111 2222 refs/heads/main",
        "0000PACK", /* git asks with "0000" alone */
    };
    struct gvm_git_push p;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        gvm_buf_reset(&in);
        gvm_buf_addz(&in, bad[i]);
        if (parse(true, &p) != -EINVAL)
            fail_msg("row %zu was taken", i);
    }
    gvm_buf_reset(&in);
    command(ZERO, ONE, "refs/heads/new", NULL); /* without the flush */
    assert_int_equal(parse(true, &p), -EINVAL);
    assert_int_equal(parse(false, &p), -E2BIG);
    gvm_buf_reset(&in);
    for (int i = 0; i < 1001; i++)
        command(ZERO, ONE, "refs/heads/new", NULL);
    gvm_buf_addz(&in, "0000");
    assert_int_equal(parse(true, &p), -E2BIG);
}

/* ---- packs ---- */

static void put_object(unsigned type, const char *text)
{
    uint8_t z[1024];
    uLongf zn = sizeof z;
    size_t n = strlen(text), rest = n >> 4;
    gvm_buf_addc(&in, (char)(type << 4 | (n & 15) | (rest ? 0x80 : 0)));
    while (rest) {
        gvm_buf_addc(&in, (char)((rest & 0x7f) | (rest >> 7 ? 0x80 : 0)));
        rest >>= 7;
    }
    assert_int_equal(compress(z, &zn, (const Bytef *)text, n), Z_OK);
    gvm_buf_add(&in, z, zn);
}

static void name_of(const char *text, char hex[41])
{
    char whole[1024];
    unsigned char md[20];
    int h = snprintf(whole, sizeof whole, "commit %zu", strlen(text));
    memcpy(whole + h + 1, text, strlen(text));
    EVP_Digest(whole, (size_t)h + 1 + strlen(text), md, NULL, EVP_sha1(), NULL);
    gvm_hex(hex, md, 20);
}

static void commit_text(char dst[512], const char *parent)
{
    snprintf(dst, 512, "tree " TWO "\n%s%s%sauthor a <a> 1 +0000\n\nx\n", parent ? "parent " : "",
             parent ? parent : "", parent ? "\n" : "");
}

static void pack_head(unsigned objects)
{
    const char head[] = {'P', 'A', 'C', 'K', 0, 0, 0, 2, 0, 0, 0, (char)objects};
    gvm_buf_add(&in, head, sizeof head);
}

static enum gvm_git_force push_of(const char *before, const char *a, const char *b, unsigned blobs)
{
    struct gvm_git_push p;
    char name[41];
    name_of(b, name);
    gvm_buf_reset(&in);
    command(before, name, "refs/heads/main", "push-options");
    gvm_buf_addz(&in, "00000007abc0000");
    pack_head((a ? 2 : 1) + blobs);
    put_object(1, b);
    if (a)
        put_object(1, a);
    for (unsigned i = 0; i < blobs; i++)
        put_object(3, "a blob that is not a commit");
    assert_int_equal(parse(true, &p), 0);
    assert_int_equal(p.n, 1);
    return p.refs[0].force;
}

static void test_ancestry(void **state)
{
    char a[512], b[512], name[41];
    (void)state;
    commit_text(a, ONE); /* ONE <- a <- b */
    name_of(a, name);
    commit_text(b, name);
    assert_int_equal(push_of(ONE, a, b, 1), GVM_GIT_FORWARD);
    assert_int_equal(push_of(name, NULL, b, 0), GVM_GIT_FORWARD);
    assert_int_equal(push_of(TWO, a, b, 1), GVM_GIT_UNKNOWN); /* ONE may have TWO behind it */
    commit_text(a, NULL);                                     /* a history of its own */
    name_of(a, name);
    commit_text(b, name);
    assert_int_equal(push_of(ONE, a, b, 1), GVM_GIT_FORCED);
    gvm_buf_consume(&in, 0);
    struct gvm_git_push p;
    in.len -= 3; /* a pack that is cut short shows less */
    assert_int_equal(parse(false, &p), 0);
    assert_int_equal(p.refs[0].force, GVM_GIT_UNKNOWN);
}

static void test_repository(void **state)
{
    static const struct {
        const char *path, *want;
    } rows[] = {
        {"/org/repo.git/git-receive-pack", "org/repo"},
        {"/org/repo/info/refs", "org/repo"},
        {"/a/b/c.git/git-upload-pack", "a/b/c"},
        {"/git-receive-pack", NULL},
        {"/org/repo", NULL},
        {"/org/repo/git-receive-pack/x", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gvm_str s;
        bool ok = gvm_git_repository(gvm_str(rows[i].path), &s);
        assert_int_equal(ok, rows[i].want != NULL);
        if (ok)
            assert_true(gvm_str_eqz(s, rows[i].want));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_ancestry), cmocka_unit_test(test_repository)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
