/* gvm audit verify: does the record hold what was signed? */
#include "cli/audit_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

enum { MAX_VERIFIED = 8192, MAX_THREADS = 16 };

static int load_since(const char *path, const struct gvm_keychain *keys, struct gvm_checkpoint *ret,
                      struct gvm_err *err)
{
    struct gvm_buf note;
    int r = audit_read(path, GVM_MAX_NOTE, &note, err);
    if (!r)
        r = gvm_err_wrap(err, gvm_keychain_open(gvm_buf_str(&note), keys, ret, NULL, err), "%s",
                         path);
    gvm_buf_done(&note);
    return r;
}

/* A head verified before; one that is not there is none. */
static int load_resume(const char *path, struct gvm_verified *ret, bool *ret_there,
                       struct gvm_err *err)
{
    struct gvm_buf text;
    int r = audit_read(path, MAX_VERIFIED, &text, err);
    *ret_there = r == 0;
    if (!r)
        r = gvm_err_wrap(err, gvm_verified_parse(gvm_buf_str(&text), ret, err), "%s", path);
    gvm_buf_done(&text);
    return r == -ENOENT ? 0 : r;
}

/* Replaces `path` whole. */
static int keep_resume(const char *path, const struct gvm_verified *v, struct gvm_err *err)
{
    char dir[GVM_PATH_MAX];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    struct gvm_str above = {slash ? path : ".", slash ? (size_t)(slash - path) + 1 : 1};
    if (gvm_str_copy(dir, sizeof dir, above) < 0)
        return gvm_err_set(err, ENAMETOOLONG, "the name of the file is too long");
    GVM_AUTOCLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gvm_err_sys(err, errno, "cannot open %s", dir);
    struct gvm_buf text;
    gvm_buf_init(&text, MAX_VERIFIED);
    int r = gvm_verified_write(v, &text);
    r = r < 0 ? gvm_err_sys(err, -r, "cannot write %s", path)
              : gvm_write_file_at(fd, name, gvm_buf_data(&text), text.len, 0600, err);
    gvm_buf_done(&text);
    return r;
}

static void say_json(const struct audit_opts *o, const struct gvm_verify_report *rep)
{
    struct gvm_buf out;
    struct gvm_jw w;
    char root[GVM_B64_LEN(GVM_LEDGER_HASH) + 1];
    gvm_b64(root, rep->head.root, GVM_LEDGER_HASH);
    gvm_buf_init(&out, 8192);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kbool(&w, "ok", rep->ok);
    gvm_jw_kint(&w, "entries", (int64_t)rep->entries);
    gvm_jw_kint(&w, "signed", (int64_t)rep->head.size);
    gvm_jw_kint(&w, "unsigned", (int64_t)rep->unsigned_entries);
    gvm_jw_kstrz(&w, "origin", rep->head.origin[0] ? rep->head.origin : NULL);
    gvm_jw_kstrz(&w, "root", rep->head.origin[0] ? root : NULL);
    gvm_jw_kint(&w, "segments", (int64_t)rep->segments);
    gvm_jw_kint(&w, "tiles", (int64_t)rep->tiles);
    gvm_jw_kint(&w, "bytes", (int64_t)rep->bytes);
    gvm_jw_kbool(&w, "torn_tail", rep->torn_tail);
    gvm_jw_kint(&w, "pruned", (int64_t)rep->pruned);
    gvm_jw_kint(&w, "from", (int64_t)rep->from);
    gvm_jw_kbool(&w, "outside_head", o->since != NULL);
    if (!rep->ok) {
        if (rep->have_bad_index)
            gvm_jw_kint(&w, "first_bad", (int64_t)rep->bad_index);
        gvm_jw_kstrz(&w, "file", rep->bad_file[0] ? rep->bad_file : NULL);
        gvm_jw_kstrz(&w, "reason", rep->reason);
    }
    gvm_jw_object_end(&w);
    printf("%s\n", gvm_buf_cstr(&out));
    gvm_buf_done(&out);
}

static void say_bad(const struct gvm_verify_report *rep)
{
    fputs("TAMPERED: ", stdout);
    cli_print_safe(stdout, gvm_str(rep->reason));
    fputc('\n', stdout);
    if (rep->have_bad_index)
        printf("first bad entry: %" PRIu64 "\n", rep->bad_index);
    if (rep->bad_file[0])
        printf("file: %s\n", rep->bad_file);
}

static void say_good(const struct audit_opts *o, const struct gvm_verify_report *rep)
{
    char root[GVM_B64_LEN(GVM_LEDGER_HASH) + 1];
    gvm_b64(root, rep->head.root, GVM_LEDGER_HASH);
    printf("ok: %" PRIu64 " entries, %" PRIu64 " segment%s, %" PRIu64 " tile%s\n", rep->entries,
           rep->segments, rep->segments == 1 ? "" : "s", rep->tiles, rep->tiles == 1 ? "" : "s");
    if (rep->head.origin[0])
        printf("root %s\ncheckpoint signed by %s for %" PRIu64 " entries\n", root, rep->head.origin,
               rep->head.size);
    if (rep->pruned)
        printf("pruned up to %" PRIu64 ": of the entries before it only hashes are here\n",
               rep->pruned);
    if (rep->from)
        printf("the first %" PRIu64 " entries were verified before\n", rep->from);
    if (rep->unsigned_entries)
        printf("%" PRIu64 " entries are newer than the checkpoint and not signed yet\n",
               rep->unsigned_entries);
    if (rep->torn_tail)
        puts("after the last entry lie bytes of a crash, never acknowledged; the next start moves "
             "them aside");
    if (o->since)
        printf("the record extends the checkpoint in %s\n", o->since);
    else
        printf("no outside head known: a record cut short together with its checkpoint would look "
               "the\n"
               "same; keep `gvm audit checkpoint` elsewhere and verify with --since\n");
}

int audit_verify(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct gvm_keychain keys;
    struct gvm_checkpoint since;
    struct gvm_verify_report rep = {0};
    if (audit_keys_load(o, &keys, &err) < 0)
        return cli_fail(GVM_EXIT_USAGE, &err);
    if (o->since) {
        int r = load_since(o->since, &keys, &since, &err);
        if (r < 0)
            return cli_fail(r == -EKEYREJECTED ? GVM_EXIT_DENIED : GVM_EXIT_USAGE, &err);
    }
    unsigned by = audit_signer(o, &keys);
    struct gvm_verified from;
    bool resumed = false;
    if (o->resume && load_resume(o->resume, &from, &resumed, &err) < 0)
        return cli_fail(GVM_EXIT_USAGE, &err);
    struct gvm_verify_opts opts = {.key = &keys.key[by],
                                   .since = o->since ? &since : NULL,
                                   .from = resumed ? &from : NULL,
                                   .threads = MAX_THREADS};
    if ((o->tiles ? gvm_tiles_verify : gvm_ledger_verify)(o->dir, &opts, &rep, &err) < 0)
        return cli_fail(GVM_EXIT_USAGE, &err);
    if (rep.ok && !o->tiles && audit_check_changes(o, &keys, by, &rep, &err) < 0)
        return cli_fail(GVM_EXIT_ERROR, &err);
    if (o->resume && rep.ok && rep.head.size && keep_resume(o->resume, &rep.verified, &err) < 0)
        return cli_fail(GVM_EXIT_ERROR, &err);
    if (o->json)
        say_json(o, &rep);
    else if (rep.ok)
        say_good(o, &rep);
    else
        say_bad(&rep);
    int flushed = cli_flush();
    return rep.ok ? flushed : GVM_EXIT_DENIED;
}
