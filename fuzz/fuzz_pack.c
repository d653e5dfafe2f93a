/* A packed segment with anything in it. Reader and verifier must come to an end within their
 * limits, agree on what they read, and say the same twice; nothing that is not whole may be called
 * good. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ledger/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];

static void remove_dir(void)
{
    (void)!gvm_remove_tree_at(AT_FDCWD, dir, NULL);
}

static void put(const char *name, const uint8_t *p, size_t n)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || gvm_write_all(fd, p, n) < 0)
        abort();
    close(fd);
}

static void make_dir(void)
{
    char path[160];
    (void)snprintf(dir, sizeof dir, "%s/gvm-fuzz-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir))
        abort();
    (void)atexit(remove_dir);
    (void)snprintf(path, sizeof path, "%s/events", dir);
    if (mkdir(path, 0700) < 0)
        abort();
}

/* Entries that can be read from `from` on. */
static uint64_t read_from(uint64_t from)
{
    struct gvm_ledger_reader *r = NULL;
    struct gvm_str line;
    uint64_t index = 0, n = 0;
    if (gvm_ledger_reader_open(dir, from, &r, NULL) < 0)
        return 0;
    while (gvm_ledger_reader_next(r, &index, &line, NULL) > 0) {
        if (line.n > GVM_MAX_ENTRY || memchr(line.p, '\n', line.n) || index < from)
            abort();
        n++;
    }
    gvm_ledger_reader_free(r);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    static struct gvm_vkey key;
    struct gvm_verify_report rep = {0};
    struct gvm_verified kept;
    struct gvm_err err = {0};
    struct gvm_buf text;
    if (!key.name[0]) {
        if (gvm_vkey_from_seed(seed, "gvm.test/unit", &key, NULL) < 0)
            abort();
        make_dir();
    }
    put("events/00000000000000000000.jsonl.zst", data, size);
    struct gvm_verify_opts opts = {.key = &key, .still = true};
    if (gvm_ledger_verify(dir, &opts, &rep, &err) < 0)
        abort();
    uint64_t n = read_from(0);
    if (rep.entries > n || (n && rep.ok)) /* nothing is signed here */
        abort();
    if (n > 1 && read_from(n - 1) != 1)
        abort();
    /* The same bytes as a verified head: what is taken must come out as it went in. */
    if (gvm_verified_parse((struct gvm_str){(const char *)data, size}, &kept, NULL) < 0)
        return 0;
    gvm_buf_init(&text, 1 << 16);
    if (gvm_verified_write(&kept, &text) < 0 || text.len != size ||
        memcmp(gvm_buf_data(&text), data, size) != 0)
        abort();
    gvm_buf_done(&text);
    return 0;
}
