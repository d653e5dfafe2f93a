/* seccomp_int.h - the parts of the filter: the assembler, the owner's profile, names.
 *
 * seccomp.c holds the table and the checks and puts them together; profile.c reads an owner's
 * filter; seccomp_asm.c writes BPF.
 */
#ifndef GVM_SANDBOX_SECCOMP_INT_H
#define GVM_SANDBOX_SECCOMP_INT_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include "sandbox/sandbox_int.h"

#define SECCOMP_LAST      468  /* file_getattr, Linux 6.17; 424 and up are the same everywhere */
#define SECCOMP_MAX_INSNS 4096 /* the kernel's own bound (BPF_MAXINSNS) */
#define SECCOMP_MAX_ARGS  6

/* ---- what is to be done about one call ---- */

enum seccomp_op { OP_NE, OP_LT, OP_LE, OP_EQ, OP_GE, OP_GT, OP_MASKED_EQ };

struct seccomp_condition {
    uint8_t arg, op;
    uint64_t value, second; /* OP_MASKED_EQ: mask and what must be left; else only `value` */
};

/* A rule of the owner's with conditions on arguments, which must all hold. */
struct seccomp_rule {
    uint32_t ret; /* SECCOMP_RET_*; SECCOMP_RET_USER_NOTIF for "refused and recorded" */
    unsigned n;
    struct seccomp_condition when[SECCOMP_MAX_ARGS];
    struct seccomp_rule *next; /* strictest first */
};

struct seccomp_program;
typedef void seccomp_check_fn(struct seccomp_program *p);

struct seccomp_entry {
    uint32_t ret;                     /* without a check */
    seccomp_check_fn *check;          /* GVM's own, by arguments; NULL = none */
    const struct seccomp_rule *rules; /* the owner's; asked first */
    uint32_t otherwise;               /* of the owner's, when none of them holds */
};

struct seccomp_table {
    struct seccomp_entry call[SECCOMP_LAST + 1];
    uint32_t beyond; /* numbers that are not in it */
};

/* ---- seccomp_asm.c ---- */

struct seccomp_program {
    struct sock_filter insn[SECCOMP_MAX_INSNS];
    unsigned n;      /* more than SECCOMP_MAX_INSNS: it did not fit */
    uint32_t refuse; /* for what is worth a record: SECCOMP_RET_USER_NOTIF, or EPERM without */
};

void seccomp_emit(struct seccomp_program *p, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf);
void seccomp_return(struct seccomp_program *p, uint32_t value);
/* Loads the low half of argument `i`: where the kernel takes an int, that is all it sees. */
void seccomp_load_arg(struct seccomp_program *p, unsigned i);
/* If the accumulator equals `v`, ends with `ret`. */
void seccomp_return_if(struct seccomp_program *p, uint32_t v, uint32_t ret);
/* What stands between the two runs only when the accumulator equals `v`. */
unsigned seccomp_begin_if(struct seccomp_program *p, uint32_t v);
void seccomp_end_if(struct seccomp_program *p, unsigned at);
/* The whole filter; -E2BIG when it does not fit. p->refuse must be set. */
int seccomp_assemble(struct seccomp_program *p, const struct seccomp_table *t);

/* ---- seccomp.c ---- */

/* The table of a sandbox: GVM's own rows, narrowed by the plan's profile. */
void seccomp_fill(struct seccomp_table *t, const struct gvm_sandbox_plan *plan, bool own_limits);

/* ---- profile.c ---- */

struct gvm_sandbox_profile {
    struct gvm_arena *arena;
    uint32_t otherwise; /* calls that no rule names */
    struct {
        bool plain;   /* a rule without conditions names it: */
        uint32_t ret; /* ... the strictest of those */
        struct seccomp_rule *rules;
    } call[SECCOMP_LAST + 1];
};
/* True when `a` lets less through than `b`. */
bool seccomp_stricter(uint32_t a, uint32_t b);

/* ---- seccomp_names.c, and the table made of syscalls.txt ---- */

struct seccomp_call {
    const char *name;
    int number; /* -1: other architectures have it */
};
extern const struct seccomp_call seccomp_calls[]; /* sorted by name */
extern const unsigned seccomp_ncalls;

/* Its number here, -1 when only other architectures have it, -2 when there is no such call. */
int seccomp_number(struct gvm_str name);
const char *seccomp_name(int number); /* NULL when unknown */

#endif
