/* gvm audit prove, verify-proof: one entry, for somebody who has only the key. */
#include "cli/audit_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

/* ---- which entry ---- */

struct found {
    uint64_t first, others;
    bool any;
};

/* True when the entry's own member "id" is the one looked for. */
static bool has_id(struct gvm_arena *a, struct gvm_str line, const char *id)
{
    struct gvm_json *e = NULL;
    return gvm_json_parse(a, line, &e, NULL) == 0 && strcmp(gvm_json_text(e, "id", ""), id) == 0;
}

static int look_at(uint64_t index, struct gvm_str line, const char *id, struct found *f, struct gvm_err *err)
{
    if (!memmem(line.p, line.n, id, strlen(id)))
        return 0;
    struct gvm_arena *a = gvm_arena_new(8u << 20);
    if (!a)
        return gvm_err_set(err, ENOMEM, "out of memory");
    if (has_id(a, line, id)) {
        if (!f->any)
            f->first = index;
        f->others += f->any;
        f->any = true;
    }
    gvm_arena_free(a);
    return 0;
}

/* The first entry with this id: of a request, its decision. */
static int find_event(const char *dir, const char *id, struct found *f, struct gvm_err *err)
{
    struct gvm_ledger_reader *r = NULL;
    uint64_t index = 0;
    struct gvm_str line;
    int e = gvm_ledger_reader_open(dir, 0, &r, err);
    while (!e && (e = gvm_ledger_reader_next(r, &index, &line, err)) > 0)
        e = look_at(index, line, id, f, err);
    gvm_ledger_reader_free(r);
    if (e < 0)
        return e;
    return f->any ? 0 : gvm_err_set(err, ENOENT, "no entry has the id %s", id);
}

static int which(const struct audit_opts *o, uint64_t *ret, struct gvm_err *err)
{
    struct found f = {0};
    if (gvm_parse_u64(gvm_str(o->arg), INT64_MAX, ret) == 0)
        return 0;
    int r = find_event(o->dir, o->arg, &f, err);
    if (r < 0)
        return r;
    *ret = f.first;
    if (f.others)
        cli_say("%s has %" PRIu64 " more entries (gvm events --json); this is the first, entry %" PRIu64,
                o->arg, f.others, f.first);
    return 0;
}

/* ---- prove ---- */

static int write_out(const char *path, const struct gvm_buf *b, struct gvm_err *err)
{
    GVM_AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot write %s", path);
    int r = gvm_write_all(fd, gvm_buf_data(b), b->len);
    return r < 0 ? gvm_err_sys(err, -r, "cannot write %s", path) : 0;
}

static int give(const struct audit_opts *o, const struct gvm_buf *proof, const struct gvm_buf *entry,
                struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    if (!o->out) {
        fwrite(gvm_buf_data(proof), 1, proof->len, stdout);
        return 0;
    }
    int n = snprintf(path, sizeof path, "%s.entry", o->out);
    if (n < 0 || (size_t)n >= sizeof path)
        return gvm_err_set(err, ENAMETOOLONG, "the name is too long");
    int r = write_out(path, entry, err);
    if (!r)
        r = write_out(o->out, proof, err);
    return r;
}

int audit_prove(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct gvm_buf proof, entry;
    uint64_t index = 0;
    if (!o->arg)
        return cli_usage("audit", "prove needs the index or the id of an entry");
    gvm_buf_init(&proof, GVM_MAX_PROOF);
    gvm_buf_init(&entry, GVM_MAX_ENTRY + 1);
    int r = which(o, &index, &err);
    if (!r)
        r = gvm_proof_make(o->dir, index, &proof, &entry, &err);
    int code = r == -EBADMSG ? GVM_EXIT_DENIED : GVM_EXIT_ERROR;
    if (!r)
        r = give(o, &proof, &entry, &err);
    if (!r && o->out)
        printf("entry %" PRIu64 ": %s and %s.entry\n", index, o->out, o->out);
    gvm_buf_done(&proof);
    gvm_buf_done(&entry);
    return r < 0 ? cli_fail(code, &err) : cli_flush();
}

/* ---- verify-proof ---- */

static void say_result(const struct audit_opts *o, bool ok, uint64_t index,
                       const struct gvm_checkpoint *head, const struct gvm_err *err)
{
    struct gvm_buf out;
    struct gvm_jw w;
    if (!o->json && !ok) {
        fputs("REFUSED: ", stdout);
        cli_print_safe(stdout, gvm_str(err->text));
        putchar('\n');
    } else if (!o->json) {
        printf("ok: this is entry %" PRIu64 " of %" PRIu64 " in the record signed by %s\n", index,
               head->size, head->origin);
    } else {
        gvm_buf_init(&out, 4096);
        gvm_jw_init(&w, &out);
        gvm_jw_object(&w);
        gvm_jw_kbool(&w, "ok", ok);
        if (ok) {
            gvm_jw_kint(&w, "index", (int64_t)index);
            gvm_jw_kint(&w, "size", (int64_t)head->size);
            gvm_jw_kstrz(&w, "origin", head->origin);
        } else {
            gvm_jw_kstrz(&w, "reason", err->text);
        }
        gvm_jw_object_end(&w);
        printf("%s\n", gvm_buf_cstr(&out));
        gvm_buf_done(&out);
    }
}

/* 0, 1 refused, negative could not read. */
static int check(const struct audit_opts *o, const char *entry_path, const struct gvm_vkey *key,
                 struct gvm_err *err)
{
    struct gvm_buf proof, entry;
    struct gvm_checkpoint head = {0};
    uint64_t index = 0;
    int r = audit_read(o->arg, GVM_MAX_PROOF, &proof, err);
    if (r < 0) {
        gvm_buf_done(&proof);
        return r;
    }
    r = audit_read(entry_path, GVM_MAX_ENTRY + 2, &entry, err);
    if (!r) {
        struct gvm_str s = gvm_buf_str(&entry);
        s.n -= s.n && s.p[s.n - 1] == '\n'; /* an entry never ends in one; an editor's file does */
        int bad = gvm_proof_check(gvm_buf_str(&proof), s, key, &index, &head, err);
        say_result(o, bad == 0, index, &head, err);
        r = bad < 0;
    }
    gvm_buf_done(&proof);
    gvm_buf_done(&entry);
    return r;
}

int audit_verify_proof(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct gvm_vkey key;
    char path[GVM_PATH_MAX];
    if (!o->arg)
        return cli_usage("audit", "verify-proof needs the file of the proof");
    if (!o->key)
        return cli_usage("audit", "verify-proof needs --key: whose signature would it trust?");
    if (audit_key_load(o, &key, &err) < 0)
        return cli_fail(GVM_EXIT_USAGE, &err);
    int n = snprintf(path, sizeof path, "%s.entry", o->arg);
    if (n < 0 || (size_t)n >= sizeof path)
        return cli_usage("audit", "the name is too long");
    int r = check(o, o->entry ? o->entry : path, &key, &err);
    if (r < 0)
        return cli_fail(GVM_EXIT_ERROR, &err);
    int flushed = cli_flush();
    return r ? GVM_EXIT_DENIED : flushed;
}
