/* A whole ledger directory with anything in it. Input: three parts, each with its length before it
 * (two bytes, big-endian): checkpoint, tile/0/000, partial tile of width 3; the rest is the first
 * segment. The verifier must come to a verdict, and a verdict "good" must be the same the second
 * time. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ledger/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];

static void put(const char *name, const uint8_t *p, size_t n)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || gvm_write_all(fd, p, n) < 0)
        abort();
    close(fd);
}

static void put_or_drop(const char *name, const uint8_t *p, size_t n)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (n)
        put(name, p, n);
    else
        (void)unlink(path);
}

static void remove_dir(void)
{
    (void)!gvm_remove_tree_at(AT_FDCWD, dir, NULL);
}

static void make_dir(void)
{
    static const char *const below[] = {"", "/events", "/tile", "/tile/0", "/tile/0/000.p"};
    char path[160];
    (void)snprintf(dir, sizeof dir, "%s/gvm-fuzz-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir))
        abort();
    (void)atexit(remove_dir);
    for (size_t i = 1; i < sizeof below / sizeof below[0]; i++) {
        (void)snprintf(path, sizeof path, "%s%s", dir, below[i]);
        if (mkdir(path, 0700) < 0)
            abort();
    }
}

static void part(const uint8_t **data, size_t *size, const char *name)
{
    size_t n = *size >= 2 ? gvm_get16(*data) : 0, skip = *size >= 2 ? 2 : *size;
    *data += skip;
    *size -= skip;
    if (n > *size)
        n = *size;
    put_or_drop(name, *data, n);
    *data += n;
    *size -= n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    static struct gvm_vkey key;
    if (!key.name[0]) {
        if (gvm_vkey_from_seed(seed, "gvm.test/unit", &key, NULL) < 0)
            abort();
        make_dir();
    }
    part(&data, &size, "checkpoint");
    part(&data, &size, "tile/0/000");
    part(&data, &size, "tile/0/000.p/3");
    put("events/00000000000000000000.jsonl", data, size);
    struct gvm_verify_opts opts = {.key = &key, .still = true};
    struct gvm_verify_report rep = {0}, again = {0};
    struct gvm_err err = {0};
    if (gvm_ledger_verify(dir, &opts, &rep, &err) < 0)
        abort();
    if (rep.ok == (rep.reason[0] != '\0') || (rep.ok && rep.entries < rep.head.size))
        abort();
    if (rep.ok && (gvm_ledger_verify(dir, &opts, &again, &err) < 0 || !again.ok))
        abort();
    return 0;
}
