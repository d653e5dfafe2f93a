/* A static tlog-tiles directory whose head is signed and whose only bundle and tile are anything.
 * First byte: how many entries the head says. It must be judged, and nothing but the right entries
 * may be accepted. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ledger/evidence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];

static void put(const char *name, const void *p, size_t n)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || gvm_write_all(fd, p, n) < 0)
        abort();
    close(fd);
}

static void folder(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (mkdir(path, 0700) < 0)
        abort();
}

/* Signed with the unit tests' seed, a root of zeros: heads of 1 to 3 entries. */
static const char *const heads[] = {
    "gvm.test/unit\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u2014 gvm.test/unit "
    "VAJCI0cEqWweYn8H0F8f84c5DvEFQjIMOY4rraxYvg+/t/mCjj9LeKEiN+6TUBY/"
    "WZM+pSJFQ7x1SJyP+Ji5hPhbHwg=\n",
    "gvm.test/unit\n2\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u2014 gvm.test/unit "
    "VAJCI7bjif+GyOMK+JAkP07Q28WBptRugMFpZ+1FYOUqFskbRrYipML93NlcLxjjB2pQpz/"
    "aW0ZNTqWs9DkKy94JSwA=\n",
    "gvm.test/unit\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u2014 gvm.test/unit "
    "VAJCI3dB+6GlXtnhnBW19sLC6r0R9FELYgXrHqZ+i11GP8Z9hhqeDWHF1VTJMpKsMptUIafNKY3tH3Tsp7eBfU50iQ4="
    "\n",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct gvm_vkey key;
    struct gvm_verify_report rep;
    struct gvm_verify_opts opts = {.key = &key};
    char name[64];
    if (size < 1 || gvm_vkey_from_seed(seed, "gvm.test/unit", &key, NULL) < 0)
        return 0;
    unsigned n = data[0] % 3;
    (void)snprintf(dir, sizeof dir, "%s/gvm-fuzz-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir))
        abort();
    folder("tile");
    folder("tile/entries");
    folder("tile/entries/000.p");
    put("checkpoint", heads[n], strlen(heads[n]));
    (void)snprintf(name, sizeof name, "tile/entries/000.p/%u", n + 1);
    put(name, data + 1, size - 1);
    if (gvm_tiles_verify(dir, &opts, &rep, NULL) == 0 && rep.ok)
        abort(); /* nobody has entries with a root of zeros */
    if (gvm_remove_tree_at(AT_FDCWD, dir, NULL) < 0)
        abort();
    return 0;
}
