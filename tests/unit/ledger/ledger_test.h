/* What the ledger's tests share: a directory of their own, a signer, and ways to write a log. */
#ifndef LEDGER_TEST_H
#define LEDGER_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include "ledger/ledger_int.h"

#define ORIGIN "gvm.test/unit"

__attribute__((unused)) static char test_dir[64];
static const uint8_t test_seed[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

/* A fresh directory; memory-backed when there is one, so that syncs cost nothing. */
__attribute__((unused)) static int dir_setup(void **state)
{
    (void)snprintf(test_dir, sizeof test_dir, "%s/gvm-ledger-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(test_dir) ? 0 : -1;
}

__attribute__((unused)) static int dir_teardown(void **state)
{
    struct gvm_err err = {0};
    return gvm_remove_tree_at(AT_FDCWD, test_dir, &err);
}

__attribute__((unused)) static struct gvm_vkey test_key(void)
{
    struct gvm_vkey k;
    struct gvm_err err = {0};
    assert_int_equal(gvm_vkey_from_seed(test_seed, ORIGIN, &k, &err), 0);
    return k;
}

__attribute__((unused)) static struct gvm_keychain test_keys(void)
{
    struct gvm_keychain k = {.n = 1};
    k.key[0] = test_key();
    return k;
}

/* What the keys process does: signs origin, size and root. */
__attribute__((unused)) static struct gvm_m_signed sign_as(const uint8_t seed[32], const char *origin,
                                                           const struct gvm_m_sign *head)
{
    struct gvm_m_signed out = {.size = head->size};
    struct gvm_vkey k;
    struct gvm_err err = {0};
    char root[GVM_B64_LEN(32) + 1], text[512];
    size_t n = 64;
    assert_int_equal(gvm_vkey_from_seed(seed, origin, &k, &err), 0);
    memcpy(out.key_id, k.id, 4);
    gvm_b64(root, head->root, 32);
    int len = snprintf(text, sizeof text, "%s\n%" PRIu64 "\n%s\n", origin, head->size, root);
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey), 1);
    assert_int_equal(EVP_DigestSign(ctx, out.signature, &n, (uint8_t *)text, (size_t)len), 1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return out;
}

__attribute__((unused)) static int writer_open_at(const char *dir, const struct ledger_file_ops *ops,
                                                  uint64_t segment_max, struct ledger_writer **ret,
                                                  struct gvm_err *err)
{
    struct ledger_writer_opts opts = {.origin = ORIGIN, .ops = ops, .segment_max = segment_max};
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    int r = ledger_writer_open(fd, &opts, ret, err);
    if (r < 0)
        close(fd);
    return r;
}

__attribute__((unused)) static struct ledger_writer *writer_open(uint64_t segment_max)
{
    struct gvm_err err = {0};
    struct ledger_writer *w = NULL;
    int r = writer_open_at(test_dir, NULL, segment_max, &w, &err);
    if (r < 0)
        fail_msg("open: %s", err.text);
    return w;
}

/* The i-th test entry: deterministic, of varying length. */
__attribute__((unused)) static struct gvm_str test_line(char *buf, size_t cap, uint64_t i)
{
    int n = snprintf(buf, cap,
                     "{\"v\":1,\"t\":\"2026-11-23T23:13:00.%09" PRIu64 "Z\",\"kind\":\"test\",\"id\":\"r.%" PRIu64
                     "\",\"pad\":\"%.*s\"}",
                     i % 1000000000, i, (int)(i % 7), "abcdefg");
    return (struct gvm_str){buf, (size_t)n};
}

__attribute__((unused)) static int try_publish(struct ledger_writer *w, struct gvm_err *err)
{
    struct gvm_m_sign head;
    if (!ledger_writer_head(w, &head))
        return 0;
    struct gvm_m_signed sig = sign_as(test_seed, ORIGIN, &head);
    return ledger_writer_publish(w, &head, &sig, true, err);
}

__attribute__((unused)) static void publish(struct ledger_writer *w)
{
    struct gvm_err err = {0};
    if (try_publish(w, &err) < 0)
        fail_msg("publish: %s", err.text);
}

/* Appends `n` entries, numbered from the log's size, `batch` at a time. */
__attribute__((unused)) static void append(struct ledger_writer *w, unsigned n, unsigned batch)
{
    struct gvm_err err = {0};
    char buf[256];
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(ledger_writer_add(w, test_line(buf, sizeof buf, w->durable + w->count)), 0);
        if (w->count < batch && i + 1 < n)
            continue;
        assert_int_equal(ledger_writer_commit(w, &err), 0);
        assert_int_equal(ledger_writer_settle(w, &err), 0);
    }
}

/* A finished, signed log of n entries in test_dir. */
__attribute__((unused)) static void make_log(unsigned n, uint64_t segment_max)
{
    struct ledger_writer *w = writer_open(segment_max);
    append(w, n, 7);
    publish(w);
    ledger_writer_close(w);
}

__attribute__((unused)) static struct gvm_verify_report verify_since(const struct gvm_checkpoint *since)
{
    struct gvm_vkey key = test_key();
    struct gvm_verify_opts opts = {.key = &key, .since = since};
    struct gvm_verify_report rep = {0};
    struct gvm_err err = {0};
    if (gvm_ledger_verify(test_dir, &opts, &rep, &err) < 0)
        fail_msg("verify: %s", err.text);
    return rep;
}

__attribute__((unused)) static void assert_verifies(uint64_t entries)
{
    struct gvm_verify_report rep = verify_since(NULL);
    if (!rep.ok)
        fail_msg("does not verify: %s (%s)", rep.reason, rep.bad_file);
    assert_int_equal(rep.entries, entries);
}

__attribute__((unused)) static void path_in(char dst[256], const char *name)
{
    (void)snprintf(dst, 256, "%s/%s", test_dir, name);
}

__attribute__((unused)) static struct gvm_buf slurp(const char *name)
{
    char path[256];
    struct gvm_buf b;
    struct gvm_err err = {0};
    path_in(path, name);
    gvm_buf_init(&b, 64 << 20);
    if (gvm_read_file(path, &b, &err) < 0)
        fail_msg("%s: %s", path, err.text);
    return b;
}

__attribute__((unused)) static void spew(const char *name, const void *p, size_t n)
{
    char path[256];
    path_in(path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(gvm_write_all(fd, p, n), 0);
    close(fd);
}

#endif
