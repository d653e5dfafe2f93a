/* The processes of a sandbox, seen from outside: the init's descendants, followed through
 * /proc/PID/task/TID/children. */
#include "sandbox/sandbox_int.h"

#include <dirent.h>
#include <stdio.h>

static void add_children(struct sandbox_family *f, uint32_t pid, struct gvm_buf *mem)
{
    char path[96];
    snprintf(path, sizeof(path), "/proc/%u/task", pid);
    DIR *d = opendir(path);
    for (const struct dirent *e; d && (e = readdir(d));) {
        uint64_t tid, child;
        if (gvm_parse_u64(gvm_str(e->d_name), UINT32_MAX, &tid) < 0)
            continue;
        gvm_buf_reset(mem);
        snprintf(path, sizeof(path), "/proc/%u/task/%u/children", pid, (uint32_t)tid);
        struct gvm_str word,
            text = gvm_read_file(path, mem, NULL) == 0 ? gvm_buf_str(mem) : (struct gvm_str){"", 0};
        while (text.n && f->n < SANDBOX_MAX_FAMILY) {
            gvm_str_cut(&text, ' ', &word);
            if (gvm_parse_u64(word, UINT32_MAX, &child) == 0)
                f->pid[f->n++] = (uint32_t)child;
        }
    }
    if (d)
        closedir(d);
}

void sandbox_find_family(pid_t init, struct sandbox_family *ret)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf mem;
    gvm_buf_init(&mem, 1u << 20);
    ret->n = 0;
    ret->pid[ret->n++] = (uint32_t)init;
    for (unsigned i = 0; i < ret->n; i++)
        add_children(ret, ret->pid[i], &mem);
}
