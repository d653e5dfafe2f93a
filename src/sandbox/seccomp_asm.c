/* BPF for a table of system calls.
 *
 * The filter is a binary search over ranges of call numbers, assembled at each start in a few
 * microseconds, where libseccomp takes 1-2 ms for the same list. On x86-64 the x32 numbers, and
 * everywhere a call from another architecture (int 0x80), kill the process.
 *
 *   ld arch; jeq native else kill; ld nr; [x32: kill]
 *   jge mid ? upper half : lower half        (far jumps; conditional ones span 255 at most)
 *   ...
 *   range: the owner's rules, then GVM's check or plain return
 */
#include "sandbox/seccomp_int.h"

#include <errno.h>
#include <linux/audit.h>
#include <stddef.h>

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#endif

#ifndef NATIVE_ARCH
_Static_assert(0, "no system call table for this architecture");
#define NATIVE_ARCH 0
#endif

void seccomp_emit(struct seccomp_program *p, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
    if (p->n < SECCOMP_MAX_INSNS)
        p->insn[p->n] = (struct sock_filter){code, jt, jf, k};
    p->n++;
}

void seccomp_return(struct seccomp_program *p, uint32_t value)
{
    seccomp_emit(p, BPF_RET | BPF_K, value, 0, 0);
}

static void load(struct seccomp_program *p, size_t offset)
{
    seccomp_emit(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* Both architectures are little-endian. */
void seccomp_load_arg(struct seccomp_program *p, unsigned i)
{
    load(p, offsetof(struct seccomp_data, args) + i * 8);
}

static void load_arg_high(struct seccomp_program *p, unsigned i)
{
    load(p, offsetof(struct seccomp_data, args) + i * 8 + 4);
}

void seccomp_return_if(struct seccomp_program *p, uint32_t v, uint32_t ret)
{
    seccomp_emit(p, BPF_JMP | BPF_JEQ | BPF_K, v, 0, 1);
    seccomp_return(p, ret);
}

unsigned seccomp_begin_if(struct seccomp_program *p, uint32_t v)
{
    seccomp_emit(p, BPF_JMP | BPF_JEQ | BPF_K, v, 0, 0);
    return p->n - 1;
}

void seccomp_end_if(struct seccomp_program *p, unsigned at)
{
    if (at < SECCOMP_MAX_INSNS)
        p->insn[at].jf = (uint8_t)(p->n - at - 1);
}

/* ---- far jumps ---- */

/* A jump whose target is not known yet; land() makes it the next instruction. */
static unsigned jump(struct seccomp_program *p)
{
    seccomp_emit(p, BPF_JMP | BPF_JA, 0, 0, 0);
    return p->n - 1;
}

static void land(struct seccomp_program *p, unsigned at)
{
    if (at < SECCOMP_MAX_INSNS)
        p->insn[at].k = p->n - at - 1;
}

/* ---- the owner's conditions: 64-bit comparisons ---- */

/* Jumps that a condition takes when it does not hold. */
struct misses {
    unsigned at[2 * SECCOMP_MAX_ARGS];
    unsigned n;
};

static void miss(struct seccomp_program *p, struct misses *m)
{
    m->at[m->n++] = jump(p);
}

/* Goes on when (argument & mask) equals v. */
static void want_equal(struct seccomp_program *p, unsigned arg, uint64_t mask, uint64_t v,
                       struct misses *m)
{
    load_arg_high(p, arg);
    seccomp_emit(p, BPF_ALU | BPF_AND | BPF_K, (uint32_t)(mask >> 32), 0, 0);
    seccomp_emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(v >> 32), 1, 0);
    miss(p, m);
    seccomp_load_arg(p, arg);
    seccomp_emit(p, BPF_ALU | BPF_AND | BPF_K, (uint32_t)mask, 0, 0);
    seccomp_emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)v, 1, 0);
    miss(p, m);
}

static void want_other(struct seccomp_program *p, unsigned arg, uint64_t v, struct misses *m)
{
    load_arg_high(p, arg);
    seccomp_emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(v >> 32), 0, 3); /* differs: holds */
    seccomp_load_arg(p, arg);
    seccomp_emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)v, 0, 1);
    miss(p, m);
}

/* Goes on when the argument is greater than v, or, with `or_equal`, not less. */
static void want_greater(struct seccomp_program *p, unsigned arg, uint64_t v, bool or_equal,
                         struct misses *m)
{
    uint16_t low = or_equal ? BPF_JGE : BPF_JGT;
    load_arg_high(p, arg);
    seccomp_emit(p, BPF_JMP | BPF_JGT | BPF_K, (uint32_t)(v >> 32), 4, 0);
    seccomp_emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(v >> 32), 0, 2);
    seccomp_load_arg(p, arg);
    seccomp_emit(p, BPF_JMP | low | BPF_K, (uint32_t)v, 1, 0);
    miss(p, m);
}

/* The same turned round: goes on when the argument is less than v (or equal). */
static void want_less(struct seccomp_program *p, unsigned arg, uint64_t v, bool or_equal,
                      struct misses *m)
{
    uint16_t low = or_equal ? BPF_JGT : BPF_JGE;
    load_arg_high(p, arg);
    seccomp_emit(p, BPF_JMP | BPF_JGT | BPF_K, (uint32_t)(v >> 32), 3, 0); /* greater: misses */
    seccomp_emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(v >> 32), 0, 3); /* less: holds */
    seccomp_load_arg(p, arg);
    seccomp_emit(p, BPF_JMP | low | BPF_K, (uint32_t)v, 0, 1);
    miss(p, m);
}

static void emit_condition(struct seccomp_program *p, const struct seccomp_condition *c,
                           struct misses *m)
{
    switch ((enum seccomp_op)c->op) {
    case OP_EQ:
        want_equal(p, c->arg, UINT64_MAX, c->value, m);
        break;
    case OP_MASKED_EQ:
        want_equal(p, c->arg, c->value, c->second, m);
        break;
    case OP_NE:
        want_other(p, c->arg, c->value, m);
        break;
    case OP_GT:
    case OP_GE:
        want_greater(p, c->arg, c->value, c->op == OP_GE, m);
        break;
    case OP_LT:
    case OP_LE:
        want_less(p, c->arg, c->value, c->op == OP_LE, m);
        break;
    }
}

/* ---- one call ---- */

/* What GVM itself does about a call that the owner's profile lets through or refuses with `ret`. */
static void emit_outcome(struct seccomp_program *p, const struct seccomp_entry *e, uint32_t ret)
{
    if (ret == SECCOMP_RET_ALLOW && e->check) {
        e->check(p);
        return;
    }
    if (ret == SECCOMP_RET_ALLOW)
        ret = e->ret;
    seccomp_return(p, ret == SECCOMP_RET_USER_NOTIF ? p->refuse : ret);
}

static void emit_entry(struct seccomp_program *p, const struct seccomp_entry *e)
{
    for (const struct seccomp_rule *r = e->rules; r; r = r->next) {
        struct misses m = {.n = 0};
        for (unsigned i = 0; i < r->n; i++)
            emit_condition(p, &r->when[i], &m);
        emit_outcome(p, e, r->ret);
        while (m.n)
            land(p, m.at[--m.n]);
    }
    emit_outcome(p, e, e->rules ? e->otherwise : SECCOMP_RET_ALLOW);
}

/* ---- the whole ---- */

struct range {
    uint32_t from;
    const struct seccomp_entry *entry;
};

static bool is_plain(const struct seccomp_entry *e)
{
    return !e->check && !e->rules;
}

/* Neighbours with the same plain return share a range. Ends with one that has no upper bound. */
static unsigned make_ranges(const struct seccomp_table *t, const struct seccomp_entry *beyond,
                            struct range *out)
{
    unsigned n = 0;
    for (uint32_t nr = 0; nr <= SECCOMP_LAST + 1u; nr++) {
        const struct seccomp_entry *e = nr > SECCOMP_LAST ? beyond : &t->call[nr];
        bool same =
            n && is_plain(e) && is_plain(out[n - 1].entry) && e->ret == out[n - 1].entry->ret;
        if (!same)
            out[n++] = (struct range){nr, e};
    }
    return n;
}

/* Binary search over ranges [lo, hi): no recursion deeper than log2 of their number. */
static void emit_search(struct seccomp_program *p, const struct range *r, unsigned lo, unsigned hi)
{
    if (hi - lo == 1) {
        emit_entry(p, r[lo].entry);
        return;
    }
    unsigned mid = lo + (hi - lo) / 2;
    seccomp_emit(p, BPF_JMP | BPF_JGE | BPF_K, r[mid].from, 0, 1);
    unsigned upper = jump(p);
    emit_search(p, r, lo, mid);
    land(p, upper);
    emit_search(p, r, mid, hi);
}

int seccomp_assemble(struct seccomp_program *p, const struct seccomp_table *t)
{
    struct range ranges[SECCOMP_LAST + 2];
    const struct seccomp_entry beyond = {.ret = t->beyond};
    unsigned n = make_ranges(t, &beyond, ranges);
    p->n = 0;
    load(p, offsetof(struct seccomp_data, arch));
    seccomp_emit(p, BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0);
    seccomp_return(p, SECCOMP_RET_KILL_PROCESS);
    load(p, offsetof(struct seccomp_data, nr));
#if defined(__x86_64__)
    seccomp_emit(p, BPF_JMP | BPF_JSET | BPF_K, 0x40000000, 0, 1); /* x32 */
    seccomp_return(p, SECCOMP_RET_KILL_PROCESS);
#endif
    emit_search(p, ranges, 0, n);
    return p->n <= SECCOMP_MAX_INSNS ? 0 : -E2BIG;
}
