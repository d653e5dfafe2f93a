/* Changes of key, as verify sees them: which key signed the head, and does the record itself say
 * how the first one led to it? */
#include "cli/audit_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

unsigned audit_signer(const struct audit_opts *o, const struct gvm_keychain *keys)
{
    char path[GVM_PATH_MAX + 32];
    struct gvm_buf note;
    struct gvm_checkpoint cp;
    unsigned by = keys->n - 1;
    (void)snprintf(path, sizeof path, "%s/checkpoint", o->dir);
    if (audit_read(path, GVM_MAX_NOTE, &note, NULL) == 0)
        (void)!gvm_keychain_open(gvm_buf_str(&note), keys, &cp, &by, NULL);
    gvm_buf_done(&note);
    return by;
}

struct changes {
    const struct gvm_keychain *keys;
    uint64_t at[GVM_MAX_KEYS]; /* index + 1 of the entry by which key i came */
    uint64_t first;            /* entry that was read */
};

/* An entry "ledger.key": which key of the chain comes by it. */
static void take_entry(struct changes *c, uint64_t index, struct gvm_str line)
{
    struct gvm_json *v = NULL;
    struct gvm_vkey to;
    struct gvm_arena *a = gvm_arena_new(1u << 20);
    const char *voucher =
        a && gvm_json_parse(a, line, &v, NULL) == 0 ? gvm_json_text(v, "voucher", "") : "";
    for (unsigned i = 1; i < c->keys->n; i++)
        if (!c->at[i] && gvm_voucher_open(gvm_str(voucher), &c->keys->key[i - 1], &to, NULL) == 0 &&
            memcmp(to.key, c->keys->key[i].key, sizeof to.key) == 0)
            c->at[i] = index + 1;
    gvm_arena_free(a);
}

static int read_changes(const struct audit_opts *o, struct changes *c, struct gvm_err *err)
{
    static const char kind[] = "\"kind\":\"ledger.key\"";
    struct gvm_ledger_reader *r = NULL;
    struct gvm_str line;
    uint64_t index = 0;
    int e = gvm_ledger_reader_open(o->dir, 0, &r, err);
    for (bool any = false; !e && (e = gvm_ledger_reader_next(r, &index, &line, err)) > 0; e = 0) {
        if (!any)
            c->first = index;
        any = true;
        struct gvm_str head = {line.p, line.n < 96 ? line.n : 96}; /* where the kind stands */
        if (memmem(head.p, head.n, kind, sizeof kind - 1))
            take_entry(c, index, line);
    }
    gvm_ledger_reader_free(r);
    return e;
}

static void blame(struct gvm_verify_report *rep, const char *fmt, ...) GVM_PRINTF(2, 3);
static void blame(struct gvm_verify_report *rep, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    rep->ok = false;
    (void)vsnprintf(rep->reason, sizeof rep->reason, fmt, ap);
    va_end(ap);
}

int audit_check_changes(const struct audit_opts *o, const struct gvm_keychain *keys, unsigned by,
                        struct gvm_verify_report *rep, struct gvm_err *err)
{
    struct changes *c = keys->n > 1 ? gvm_calloc(1, sizeof *c) : NULL;
    if (keys->n == 1)
        return 0;
    if (!c)
        return gvm_err_set(err, ENOMEM, "out of memory");
    c->keys = keys;
    int r = read_changes(o, c, err);
    for (unsigned i = 1; !r && rep->ok && i < keys->n; i++) {
        bool in_head = c->at[i] && c->at[i] <= rep->head.size;
        if (i <= by && !in_head && c->first == 0)
            blame(
                rep,
                "the head is signed by a key whose coming is not in the record (change of key %u)",
                i);
        if (i > by && in_head)
            blame(rep, "the head is signed by a key that was replaced before it, at entry %" PRIu64,
                  c->at[i] - 1);
    }
    free(c);
    return r;
}
