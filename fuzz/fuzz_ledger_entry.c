/* A segment file with anything in it: what a reader shows and what the writer's recovery makes of
 * it. Both must agree on the whole entries, and after recovery the log must be readable to its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ledger/ledger_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];

static void make_dir(void)
{
    (void)snprintf(dir, sizeof dir, "%s/gvm-fuzz-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir))
        abort();
}

static void remove_dir(void)
{
    if (gvm_remove_tree_at(AT_FDCWD, dir, NULL) < 0)
        abort();
}

static void put(const uint8_t *data, size_t size)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/events", dir);
    if (mkdir(path, 0700) < 0)
        abort();
    (void)snprintf(path, sizeof path, "%s/events/00000000000000000000.jsonl", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || gvm_write_all(fd, data, size) < 0)
        abort();
    close(fd);
}

/* Entries until the first that the writer would not take; *ret_end: nothing was damaged. */
static uint64_t read_all(bool *ret_end)
{
    struct gvm_ledger_reader *r = NULL;
    struct gvm_str line;
    uint64_t index, n = 0;
    int got;
    if (gvm_ledger_reader_open(dir, 0, &r, NULL) < 0)
        abort();
    while ((got = gvm_ledger_reader_next(r, &index, &line, NULL)) > 0) {
        if (index != n || memchr(line.p, '\n', line.n) || memchr(line.p, 0, line.n) ||
            line.n > GVM_MAX_ENTRY)
            abort();
        if (!ledger_line_ok(line))
            break;
        n++;
    }
    *ret_end = got == 0;
    gvm_ledger_reader_free(r);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ledger_writer_opts opts = {.origin = "gvm.test/unit"};
    struct ledger_writer *w = NULL;
    struct gvm_err err = {0};
    bool end;
    make_dir();
    put(data, size);
    uint64_t n = read_all(&end);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ledger_writer_open(fd, &opts, &w, &err) < 0)
        abort();
    n += w->recovered;
    if (w->durable != n)
        abort();
    ledger_writer_close(w);
    if (read_all(&end) != n || !end)
        abort();
    remove_dir();
    return 0;
}
