/* gvm audit verify-proof: what somebody else handed out, held against nothing but the key. */
#include "cli/audit_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct result {
    uint64_t index, rows;
    bool bundle, extension;
    struct gvm_checkpoint head;
    struct gvm_checkpoint old;
};

/* ---- one proven event ---- */

static void print_hidden(struct gvm_str hidden)
{
    if (hidden.n <= 2) /* [] */
        return;
    fputs("        left out: ", stdout);
    cli_print_safe(stdout, hidden);
    putchar('\n');
}

static void show_event(const struct audit_opts *o, uint64_t index, struct gvm_str event,
                       struct gvm_str hidden)
{
    struct gvm_json *v = NULL;
    struct gvm_arena *a = o->json ? NULL : gvm_arena_new(16u << 20);
    if (o->json)
        printf("{\"index\":%" PRIu64 ",\"event\":%.*s,\"hidden\":%.*s}\n", index, (int)event.n,
               event.p, (int)hidden.n, hidden.p);
    else if (a && gvm_json_parse(a, event, &v, NULL) == 0 && gvm_json_get(v, "kind"))
        cli_print_event(stdout, index, v, false);
    if (!o->json)
        print_hidden(hidden);
    gvm_arena_free(a);
}

/* ---- the verdict ---- */

static void say_json(const struct result *res, bool ok, const struct gvm_err *err)
{
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, 8192);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kbool(&w, "ok", ok);
    if (!ok) {
        gvm_jw_kstrz(&w, "reason", err->text);
    } else {
        if (res->bundle)
            gvm_jw_kint(&w, "entries", (int64_t)res->rows);
        else if (res->extension)
            gvm_jw_kint(&w, "old", (int64_t)res->old.size);
        else
            gvm_jw_kint(&w, "index", (int64_t)res->index);
        gvm_jw_kint(&w, "size", (int64_t)res->head.size);
        gvm_jw_kstrz(&w, "origin", res->head.origin);
    }
    gvm_jw_object_end(&w);
    printf("%s\n", gvm_buf_cstr(&out));
    gvm_buf_done(&out);
}

static void say(const struct audit_opts *o, const struct result *res, bool ok,
                const struct gvm_err *err)
{
    if (o->json) {
        say_json(res, ok, err);
    } else if (!ok) {
        fputs("REFUSED: ", stdout);
        cli_print_safe(stdout, gvm_str(err->text));
        putchar('\n');
    } else if (res->bundle) {
        printf("ok: these are %" PRIu64 " of %" PRIu64 " entries in the record signed by %s\n",
               res->rows, res->head.size, res->head.origin);
    } else if (res->extension) {
        printf("ok: the record of %" PRIu64 " entries signed by %s extends the one of %" PRIu64
               "\n",
               res->head.size, res->head.origin, res->old.size);
    } else {
        printf("ok: this is entry %" PRIu64 " of %" PRIu64 " in the record signed by %s\n",
               res->index, res->head.size, res->head.origin);
    }
}

/* ---- one entry: FILE, FILE.entry and FILE.private ---- */

/* The members that were handed out with the entry; -ENOENT is no failure. */
static int read_private(const struct audit_opts *o, struct gvm_buf *out, bool *ret_there,
                        struct gvm_err *err)
{
    char path[GVM_PATH_MAX];
    struct gvm_err why = {0};
    int n = snprintf(path, sizeof path, "%s.private", o->arg);
    if (n < 0 || (size_t)n >= sizeof path)
        return gvm_err_set(err, ENAMETOOLONG, "the name is too long");
    int r = audit_read(path, GVM_MAX_BUNDLE_LINE, out, &why);
    *ret_there = r == 0;
    return r == 0 || why.code == ENOENT ? 0 : gvm_err_set(err, why.code, "%s", why.text);
}

static int show_private(const struct audit_opts *o, const struct result *res, struct gvm_str entry,
                        struct gvm_err *err)
{
    struct gvm_buf private, event, hidden;
    struct gvm_jw w;
    bool there = false;
    gvm_buf_init(&event, 4 * GVM_MAX_ENTRY);
    gvm_buf_init(&hidden, GVM_MAX_ENTRY);
    gvm_jw_init(&w, &hidden);
    int r = read_private(o, &private, &there, err);
    int bad = 0;
    if (!r && there)
        bad = gvm_disclosed(entry, gvm_buf_str(&private), &event, &w, err);
    if (!r && there && !bad)
        show_event(o, res->index, gvm_buf_str(&event), gvm_buf_str(&hidden));
    else if (!r && !bad && !o->json)
        show_event(o, res->index, entry, GVM_STR("[]"));
    gvm_buf_done(&private);
    gvm_buf_done(&event);
    gvm_buf_done(&hidden);
    return r < 0 ? r : bad < 0;
}

/* 0, 1 refused, negative could not read; *err says why. */
static int check_one(const struct audit_opts *o, struct gvm_str proof,
                     const struct gvm_keychain *keys, struct result *res, struct gvm_err *err)
{
    struct gvm_buf entry;
    char path[GVM_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s.entry", o->arg);
    if (n < 0 || (size_t)n >= sizeof path)
        return gvm_err_set(err, ENAMETOOLONG, "the name is too long");
    int r = audit_read(o->entry ? o->entry : path, GVM_MAX_ENTRY + 2, &entry, err);
    if (!r) {
        struct gvm_str s = gvm_buf_str(&entry);
        s.n -= s.n && s.p[s.n - 1] == '\n'; /* an entry never ends in one; an editor's file does */
        r = gvm_proof_check(proof, s, keys, &res->index, &res->head, err) < 0;
        if (!r)
            r = show_private(o, res, s, err);
    }
    gvm_buf_done(&entry);
    return r;
}

/* ---- a bundle, an extension ---- */

/* The next line without its newline; false at the end. One longer than any row is given as far as
 * it was read, and refused as such. */
static bool next_line(FILE *f, char *buf, struct gvm_str *ret)
{
    size_t n = 0;
    int c = EOF;
    while (n <= GVM_MAX_BUNDLE_LINE && (c = getc_unlocked(f)) != EOF && c != '\n')
        buf[n++] = (char)c;
    *ret = (struct gvm_str){buf, n};
    return n || c == '\n';
}

static int check_bundle(const struct audit_opts *o, FILE *f, const struct gvm_keychain *keys,
                        struct result *res, struct gvm_err *err)
{
    struct gvm_bundle *b = NULL;
    struct gvm_bundle_row row;
    struct gvm_str line;
    GVM_AUTOFREE char *buf = malloc(GVM_MAX_BUNDLE_LINE + 1);
    res->bundle = true;
    int r = buf ? gvm_bundle_new(keys, &b, err) : gvm_err_set(err, ENOMEM, "out of memory");
    if (r < 0)
        return r;
    while (r >= 0 && next_line(f, buf, &line)) {
        r = gvm_bundle_line(b, line, &row, err);
        if (r == 1)
            show_event(o, row.index, row.event, row.hidden);
    }
    if (r >= 0)
        r = gvm_bundle_end(b, &res->head, &res->rows, err);
    bool failed = ferror(f) != 0 || r == -ENOMEM;
    gvm_bundle_free(b);
    return failed ? gvm_err_set(err, EIO, "cannot read %s", o->arg) : r < 0;
}

static int check_extension(const struct audit_opts *o, struct gvm_str proof,
                           const struct gvm_keychain *keys, struct result *res, struct gvm_err *err)
{
    struct gvm_buf note;
    if (!o->since)
        return gvm_err_set(
            err, EINVAL, "this proves that a record extends an older head: give that with --since");
    res->extension = true;
    int r = audit_read(o->since, GVM_MAX_NOTE, &note, err);
    if (!r) {
        r = gvm_err_wrap(err, gvm_keychain_open(gvm_buf_str(&note), keys, &res->old, NULL, err),
                         "%s", o->since) < 0;
        if (!r)
            r = gvm_extends_check(proof, &res->old, keys, &res->head, err) < 0;
    }
    gvm_buf_done(&note);
    return r;
}

static int check(const struct audit_opts *o, const struct gvm_keychain *keys, struct result *res,
                 struct gvm_err *err)
{
    char start[16] = "";
    struct gvm_buf proof;
    FILE *f = fopen(o->arg, "re");
    if (!f)
        return gvm_err_sys(err, errno, "cannot open %s", o->arg);
    size_t n = fread(start, 1, sizeof start, f);
    int r;
    if (gvm_bundle_looks((struct gvm_str){start, n})) {
        rewind(f);
        r = check_bundle(o, f, keys, res, err);
        fclose(f);
        return r;
    }
    fclose(f);
    r = audit_read(o->arg, GVM_MAX_PROOF, &proof, err);
    if (!r && n > 4 && memcmp(start, "old ", 4) == 0)
        r = check_extension(o, gvm_buf_str(&proof), keys, res, err);
    else if (!r)
        r = check_one(o, gvm_buf_str(&proof), keys, res, err);
    gvm_buf_done(&proof);
    return r;
}

int audit_verify_proof(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct gvm_keychain keys;
    struct result res = {0};
    if (!o->arg)
        return cli_usage("audit", "verify-proof needs the file of the proof");
    if (!o->key)
        return cli_usage("audit", "verify-proof needs --key: whose signature would it trust?");
    struct audit_opts stranger = *o; /* what lies on this machine has no say */
    stranger.dir[0] = '\0';
    if (audit_keys_load(&stranger, &keys, &err) < 0)
        return cli_fail(GVM_EXIT_USAGE, &err);
    int r = check(o, &keys, &res, &err);
    if (r < 0)
        return cli_fail(r == -EINVAL ? GVM_EXIT_USAGE : GVM_EXIT_ERROR, &err);
    say(o, &res, r == 0, &err);
    int flushed = cli_flush();
    return r ? GVM_EXIT_DENIED : flushed;
}
