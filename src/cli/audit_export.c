/* gvm audit checkpoint, extends, export, head: what leaves for others, and what others' heads say.
 */
#include "cli/audit_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- our own head ---- */

int audit_checkpoint(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct gvm_buf note;
    struct gvm_checkpoint cp;
    char path[GVM_PATH_MAX + 32];
    (void)snprintf(path, sizeof path, "%s/checkpoint", o->dir);
    int r = audit_read(path, GVM_MAX_NOTE, &note, &err);
    if (!r) /* so that nothing but a checkpoint reaches the terminal */
        r = gvm_err_wrap(&err, gvm_checkpoint_parse(gvm_buf_str(&note), &cp, &err), "%s", path);
    if (!r)
        fwrite(gvm_buf_data(&note), 1, note.len, stdout);
    gvm_buf_done(&note);
    return r < 0 ? cli_fail(GVM_EXIT_ERROR, &err) : cli_flush();
}

/* The proof that the record extends an older head, as a witness wants it. */
int audit_extends(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct gvm_buf note, proof;
    struct gvm_checkpoint old;
    if (!o->since)
        return cli_usage("audit", "extends needs the older checkpoint: --since FILE");
    gvm_buf_init(&proof, GVM_MAX_PROOF);
    int r = audit_read(o->since, GVM_MAX_NOTE, &note, &err);
    if (!r)
        r = gvm_err_wrap(&err, gvm_checkpoint_parse(gvm_buf_str(&note), &old, &err), "%s",
                         o->since);
    int code = GVM_EXIT_ERROR;
    if (!r) {
        r = gvm_extends_make(o->dir, &old, &proof, &err);
        code = r == -EBADMSG ? GVM_EXIT_DENIED : GVM_EXIT_ERROR;
    }
    if (!r && o->out)
        r = audit_write(o->out, "", &proof, &err);
    else if (!r)
        fwrite(gvm_buf_data(&proof), 1, proof.len, stdout);
    gvm_buf_done(&note);
    gvm_buf_done(&proof);
    return r < 0 ? cli_fail(code, &err) : cli_flush();
}

/* ---- export ---- */

static int export_tiles(const struct audit_opts *o, struct gvm_err *err)
{
    struct gvm_export_report rep;
    int r = gvm_export_tiles(o->dir, o->out, &rep, err);
    if (!r)
        printf("%s: checkpoint of %" PRIu64 " entries by %s, %" PRIu64 " tiles, %" PRIu64
               " new entries in %" PRIu64 " bundles\n",
               o->out, rep.head.size, rep.head.origin, rep.tiles, rep.entries, rep.bundles);
    return r;
}

static int put_line(FILE *f, struct gvm_str line, bool whole, struct gvm_buf *entry)
{
    gvm_buf_reset(entry);
    if (!whole) {
        if (gvm_line_entry(line, entry) < 0)
            return -ENOMEM;
        line = gvm_buf_str(entry);
    }
    fwrite(line.p, 1, line.n, f);
    return putc('\n', f) == EOF ? -errno : 0;
}

/* The signed entries, one a line as they stand, or without their private members. */
static int write_lines(const struct audit_opts *o, uint64_t size, FILE *f, struct gvm_err *err)
{
    struct gvm_ledger_reader *r = NULL;
    struct gvm_buf entry;
    struct gvm_str line;
    uint64_t index = 0;
    gvm_buf_init(&entry, GVM_MAX_ENTRY + 1);
    int e = gvm_ledger_reader_open(o->dir, 0, &r, err);
    while (!e && index + 1 < size) {
        e = gvm_ledger_reader_next(r, &index, &line, err);
        if (e == 0)
            e = gvm_err_set(err, EBADMSG, "entry %" PRIu64 " was signed and is not here",
                            index + 1);
        if (e > 0 && index < size) {
            e = put_line(f, line, !o->redact, &entry);
            if (e < 0)
                gvm_err_sys(err, -e, "cannot write the entries");
        }
        e = e < 0 ? e : 0;
    }
    gvm_ledger_reader_free(r);
    gvm_buf_done(&entry);
    return e;
}

static int export_jsonl(const struct audit_opts *o, struct gvm_err *err)
{
    struct gvm_buf note;
    struct gvm_checkpoint head = {0};
    char path[GVM_PATH_MAX + 32];
    (void)snprintf(path, sizeof path, "%s/checkpoint", o->dir);
    int r = audit_read(path, GVM_MAX_NOTE, &note, err);
    if (!r)
        r = gvm_err_wrap(err, gvm_checkpoint_parse(gvm_buf_str(&note), &head, err), "%s", path);
    gvm_buf_done(&note);
    FILE *f = r < 0 ? NULL : o->out ? fopen(o->out, "we") : stdout;
    if (!r && !f)
        r = gvm_err_sys(err, errno, "cannot write %s", o->out);
    if (!r && head.size)
        r = write_lines(o, head.size, f, err);
    if (f && f != stdout && fclose(f) != 0 && !r)
        r = gvm_err_sys(err, errno, "cannot write %s", o->out);
    return r;
}

int audit_export(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    bool tiles = o->format && strcmp(o->format, "tlog-tiles") == 0;
    if (!o->format || (!tiles && strcmp(o->format, "jsonl") != 0))
        return cli_usage("audit", "export needs --format jsonl or --format tlog-tiles");
    if (tiles && !o->out)
        return cli_usage("audit", "export --format tlog-tiles needs --out DIR");
    if (o->redact && strcmp(o->redact, "all") != 0)
        return cli_usage("audit", "export leaves out all private members or none: --redact all");
    int r = tiles ? export_tiles(o, &err) : export_jsonl(o, &err);
    if (r < 0)
        return cli_fail(r == -EBADMSG ? GVM_EXIT_DENIED : GVM_EXIT_ERROR, &err);
    return cli_flush();
}

/* ---- head ---- */

int audit_witnesses(const struct audit_opts *o, struct gvm_vkey *ret, struct gvm_err *err)
{
    for (unsigned i = 0; i < o->nwitness; i++) {
        struct gvm_buf text;
        if (gvm_witness_parse(gvm_str(o->witness[i]), &ret[i], err) == 0)
            continue;
        int r = audit_read(o->witness[i], 4096, &text, NULL);
        if (!r)
            r = gvm_witness_parse(gvm_buf_str(&text), &ret[i], err);
        gvm_buf_done(&text);
        if (r < 0)
            return gvm_err_set(err, EINVAL,
                               "%s is no witness's key (name+hex+base64, type 0x04), nor a file "
                               "that holds one",
                               o->witness[i]);
    }
    return 0;
}

static void head_json(const struct gvm_checkpoint *cp, const struct gvm_vkey *w,
                      const uint64_t *times, unsigned n)
{
    char root[GVM_B64_LEN(GVM_LEDGER_HASH) + 1];
    struct gvm_buf out;
    struct gvm_jw j;
    gvm_b64(root, cp->root, GVM_LEDGER_HASH);
    gvm_buf_init(&out, 65536);
    gvm_jw_init(&j, &out);
    gvm_jw_object(&j);
    gvm_jw_kbool(&j, "ok", true);
    gvm_jw_kstrz(&j, "origin", cp->origin);
    gvm_jw_kint(&j, "size", (int64_t)cp->size);
    gvm_jw_kstrz(&j, "root", root);
    gvm_jw_key(&j, "witnesses");
    gvm_jw_array(&j);
    for (unsigned i = 0; i < n; i++) {
        gvm_jw_object(&j);
        gvm_jw_kstrz(&j, "name", w[i].name);
        gvm_jw_key(&j, "time");
        if (times[i])
            gvm_jw_uint(&j, times[i]);
        else
            gvm_jw_null(&j);
        gvm_jw_object_end(&j);
    }
    gvm_jw_array_end(&j);
    gvm_jw_object_end(&j);
    printf("%s\n", gvm_buf_cstr(&out));
    gvm_buf_done(&out);
}

static void head_text(const struct gvm_checkpoint *cp, const struct gvm_vkey *w,
                      const uint64_t *times, unsigned n)
{
    char root[GVM_B64_LEN(GVM_LEDGER_HASH) + 1], when[GVM_TIME_TEXT];
    gvm_b64(root, cp->root, GVM_LEDGER_HASH);
    printf("ok: head of %" PRIu64 " entries, signed by %s\nroot %s\n", cp->size, cp->origin, root);
    for (unsigned i = 0; i < n; i++) {
        if (!times[i] || times[i] > INT64_MAX / 1000000000) {
            printf("not cosigned by %s\n", w[i].name);
            continue;
        }
        gvm_time_text(when, (int64_t)times[i] * 1000000000);
        printf("cosigned by %s at %.19sZ\n", w[i].name, when);
    }
}

/* Opens a checkpoint from a file, with the log's key and the witnesses'. 0, or a negative errno. */
static int open_head(const struct audit_opts *o, struct gvm_err *err)
{
    struct gvm_keychain keys;
    struct gvm_vkey w[AUDIT_WITNESSES];
    uint64_t times[AUDIT_WITNESSES];
    struct gvm_checkpoint cp;
    struct gvm_buf note;
    bool missing = false;
    if (audit_keys_load(o, &keys, err) < 0 || audit_witnesses(o, w, err) < 0)
        return -EINVAL;
    int r = audit_read(o->arg, GVM_MAX_NOTE, &note, err);
    if (!r)
        r = gvm_keychain_open(gvm_buf_str(&note), &keys, &cp, NULL, err);
    if (!r)
        r = gvm_checkpoint_witnessed(gvm_buf_str(&note), w, o->nwitness, times, err);
    int stamped = !r && o->timestamp ? audit_stamped(o, gvm_buf_str(&note), err) : 0;
    gvm_buf_done(&note);
    if (stamped < 0)
        return stamped;
    for (unsigned i = 0; !r && i < o->nwitness; i++)
        missing |= !times[i];
    if (r < 0)
        return r;
    if (o->json)
        head_json(&cp, w, times, o->nwitness);
    else
        head_text(&cp, w, times, o->nwitness);
    return missing;
}

int audit_head(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    if (!o->arg)
        return cli_usage("audit", "head needs the file of a checkpoint");
    int r = open_head(o, &err);
    if (r < 0)
        return cli_fail(r == -EINVAL                          ? GVM_EXIT_USAGE
                        : r == -EKEYREJECTED || r == -EBADMSG ? GVM_EXIT_DENIED
                                                              : GVM_EXIT_ERROR,
                        &err);
    int flushed = cli_flush();
    return r ? GVM_EXIT_DENIED : flushed;
}
