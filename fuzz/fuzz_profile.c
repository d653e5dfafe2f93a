/* A seccomp profile of any kind: what is accepted assembles, and opens nothing. */
#include <stdlib.h>
#include <sys/syscall.h>
#include "sandbox/seccomp_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct seccomp_table t;
    static struct seccomp_program p = {.refuse = SECCOMP_RET_USER_NOTIF};
    struct gvm_sandbox_profile *f = NULL;
    struct gvm_err err = {0};
    if (size > 64 * 1024 ||
        gvm_sandbox_profile_parse((struct gvm_str){(const char *)data, size}, "p", &f, &err) < 0)
        return 0;
    seccomp_fill(&t, &(struct gvm_sandbox_plan){.profile = f}, false);
    if (seccomp_assemble(&p, &t) == 0)
        for (unsigned i = 0; i < p.n; i++) /* every jump stays inside */
            if ((p.insn[i].code & 7) == BPF_JMP && p.insn[i].code != (BPF_JMP | BPF_JA) &&
                (i + 1 + p.insn[i].jt >= p.n || i + 1 + p.insn[i].jf >= p.n))
                abort();
    if (t.call[SYS_mount].ret == SECCOMP_RET_ALLOW || t.call[SYS_mount].rules)
        abort();
    gvm_sandbox_profile_free(f);
    return 0;
}
