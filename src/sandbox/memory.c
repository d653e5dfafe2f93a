/* How much memory a sandbox holds, counted from outside where no control group can do it.
 *
 * What each of the init's descendants holds for
 * itself is in its status file; pages that processes share after a fork would count for each of
 * them, so when that sum is over the limit the exact shares (smaps_rollup) decide, where they may
 * be read. Between two looks an agent can take more; RLIMIT_DATA bounds what one process can take
 * in between, and /tmp, /dev/shm and /run inside are no larger than the limit.
 */
#include "sandbox/sandbox_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Sum of the values (kB) of the lines whose names are given, in bytes. */
static uint64_t sum_lines(struct gvm_str text, const char *const *names)
{
    struct gvm_str line, name;
    uint64_t sum = 0;
    while (text.n) {
        uint64_t v = 0;
        gvm_str_cut(&text, '\n', &line);
        if (!gvm_str_cut(&line, ':', &name))
            continue;
        bool counts = false;
        for (size_t i = 0; names[i]; i++)
            counts |= gvm_str_eqz(name, names[i]);
        line = gvm_str_trim(line);
        if (counts && line.n > 3 &&
            gvm_parse_u64((struct gvm_str){line.p, line.n - 3}, UINT64_MAX >> 10, &v) == 0)
            sum += v << 10;
    }
    return sum;
}

static uint64_t held_by(uint32_t pid, bool exact, struct gvm_buf *mem)
{
    static const char *const shares[] = {"Pss_Anon", "Pss_Shmem", NULL};
    static const char *const whole[] = {"RssAnon", "RssShmem", NULL};
    char path[64];
    gvm_buf_reset(mem);
    snprintf(path, sizeof(path), "/proc/%u/smaps_rollup", pid);
    if (exact && gvm_read_file(path, mem, NULL) == 0)
        return sum_lines(gvm_buf_str(mem), shares);
    gvm_buf_reset(mem);
    snprintf(path, sizeof(path), "/proc/%u/status", pid);
    return gvm_read_file(path, mem, NULL) == 0 ? sum_lines(gvm_buf_str(mem), whole) : 0;
}

static uint64_t count(const struct sandbox_family *f, bool exact, struct gvm_buf *mem)
{
    uint64_t sum = 0;
    for (unsigned i = 1; i < f->n; i++) /* the init is ours */
        sum += held_by(f->pid[i], exact, mem);
    return sum;
}

uint64_t sandbox_memory(pid_t init, uint64_t limit)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf mem;
    GVM_AUTOFREE struct sandbox_family *f = gvm_calloc(1, sizeof(*f));
    gvm_buf_init(&mem, 1u << 20);
    if (!f)
        return 0;
    sandbox_find_family(init, f);
    uint64_t sum = count(f, false, &mem);
    return sum > limit ? count(f, true, &mem) : sum;
}
