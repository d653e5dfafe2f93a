/* gvm audit prove: proofs of entries, for somebody who has only the key. */
#include "cli/audit_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

/* ---- which entries ---- */

struct wanted {
    const struct audit_opts *o;
    const char *id;  /* of an event, or NULL */
    bool first_only; /* of an event, the first row; the others are only counted */
    struct gvm_str key[AUDIT_WHERE], value[AUDIT_WHERE];
    unsigned n;
    uint64_t first, others;
    bool any;
    FILE *out;
};

static bool is(const struct gvm_json *e, struct gvm_str key, struct gvm_str value)
{
    for (const struct gvm_json *m = e->type == GVM_JSON_OBJECT ? e->child : NULL; m; m = m->next)
        if (gvm_str_eq(m->key, key))
            return gvm_str_eq(m->type == GVM_JSON_STRING ? m->text : m->raw, value);
    return false;
}

static bool fits(const struct wanted *w, const struct gvm_json *e)
{
    if (w->id && !is(e, GVM_STR("id"), gvm_str(w->id)))
        return false;
    if (w->o->run && !is(e, GVM_STR("run"), gvm_str(w->o->run)))
        return false;
    for (unsigned i = 0; i < w->n; i++)
        if (!is(e, w->key[i], w->value[i]))
            return false;
    return true;
}

/* Most lines can be passed over without being parsed: the words looked for stand in them as they
 * are. */
static bool may_fit(const struct wanted *w, struct gvm_str line)
{
    return (!w->id || memmem(line.p, line.n, w->id, strlen(w->id))) &&
           (!w->o->run || memmem(line.p, line.n, w->o->run, strlen(w->o->run)));
}

/* 1 yes, 0 no, -ENOMEM. */
static int look(void *arg, uint64_t index, struct gvm_str line, struct gvm_err *err)
{
    struct wanted *w = arg;
    struct gvm_json *e = NULL;
    if (!may_fit(w, line))
        return 0;
    struct gvm_arena *a = gvm_arena_new(8u << 20);
    if (!a)
        return gvm_err_set(err, ENOMEM, "out of memory");
    bool yes = gvm_json_parse(a, line, &e, NULL) == 0 && fits(w, e);
    gvm_arena_free(a);
    if (yes && !w->any)
        w->first = index;
    w->others += yes && w->any;
    w->any |= yes;
    return yes;
}

/* The first entry with this id: of a request, its decision. */
static int find_event(struct wanted *w, struct gvm_err *err)
{
    struct gvm_ledger_reader *r = NULL;
    uint64_t index = 0;
    struct gvm_str line;
    int e = gvm_ledger_reader_open(w->o->dir, 0, &r, err);
    while (!e && (e = gvm_ledger_reader_next(r, &index, &line, err)) > 0) {
        e = look(w, index, line, err);
        e = e < 0 ? e : 0;
    }
    gvm_ledger_reader_free(r);
    if (e < 0)
        return e;
    return w->any ? 0 : gvm_err_set(err, ENOENT, "no entry has the id %s", w->id);
}

static int which(struct wanted *w, uint64_t *ret, struct gvm_err *err)
{
    if (gvm_parse_u64(gvm_str(w->o->arg), INT64_MAX, ret) == 0)
        return 0;
    w->id = w->o->arg;
    int r = find_event(w, err);
    if (r < 0)
        return r;
    *ret = w->first;
    if (w->others)
        cli_say("%s has %" PRIu64
                " more entries; --bundle proves them all, this is the first, entry %" PRIu64,
                w->id, w->others, w->first);
    return 0;
}

/* ---- what is left out ---- */

struct redaction {
    char text[4096];
    const char *names[GVM_MAX_REDACT];
    struct gvm_redact r;
};

static int read_redact(const char *list, struct redaction *ret, struct gvm_err *err)
{
    if (!list)
        return 0;
    if (gvm_str_copy(ret->text, sizeof ret->text, gvm_str(list)) < 0)
        return gvm_err_set(err, EINVAL, "--redact is too long");
    for (char *p = ret->text; p;) {
        char *name = p;
        p = strchr(p, ',');
        if (p)
            *p++ = '\0';
        if (!*name || ret->r.n == GVM_MAX_REDACT)
            return gvm_err_set(err, EINVAL,
                               "--redact wants at most %u names, with commas between them",
                               GVM_MAX_REDACT);
        ret->r.all |= strcmp(name, "all") == 0;
        ret->names[ret->r.n++] = name;
    }
    ret->r.names = ret->names;
    return 0;
}

/* Somebody who asked for a member to be hidden must not hand out a proof that shows it elsewhere.
 */
static int check_redact(const struct redaction *red, struct gvm_err *err)
{
    for (unsigned i = 0; i < red->r.n; i++)
        if (!red->r.all && !(red->r.used >> i & 1))
            return gvm_err_set(err, ENOENT,
                               "no entry here has a private member %s to leave out; what is not "
                               "private is part of what was signed (gvm audit prove --redact all)",
                               red->names[i]);
    return 0;
}

/* ---- one entry: three files ---- */

static int give(const struct audit_opts *o, const struct gvm_buf *proof,
                const struct gvm_buf *entry, const struct gvm_buf *private, struct gvm_err *err)
{
    if (!o->out) {
        fwrite(gvm_buf_data(proof), 1, proof->len, stdout);
        return 0;
    }
    int r = audit_write(o->out, ".entry", entry, err);
    if (!r && private->len > 2) /* not [] */
        r = audit_write(o->out, ".private", private, err);
    if (!r)
        r = audit_write(o->out, "", proof, err);
    return r;
}

static int prove_one(struct wanted *w, struct redaction *red, struct gvm_err *err)
{
    struct gvm_buf proof, line, entry, private;
    struct gvm_jw jw;
    uint64_t index = 0;
    gvm_buf_init(&proof, GVM_MAX_PROOF);
    gvm_buf_init(&line, GVM_MAX_ENTRY + 1);
    gvm_buf_init(&entry, GVM_MAX_ENTRY + 1);
    gvm_buf_init(&private, GVM_MAX_BUNDLE_LINE);
    gvm_jw_init(&jw, &private);
    int r = which(w, &index, err);
    if (!r)
        r = gvm_proof_make(w->o->dir, index, &proof, &line, err);
    if (!r)
        r = gvm_disclose(gvm_buf_str(&line), &red->r, &jw, err);
    if (!r)
        r = check_redact(red, err);
    if (!r && gvm_line_entry(gvm_buf_str(&line), &entry) < 0)
        r = gvm_err_set(err, ENOMEM, "out of memory");
    if (!r)
        r = give(w->o, &proof, &entry, &private, err);
    if (!r && w->o->out)
        printf(private.len > 2 ? "entry %" PRIu64 ": %s, %s.entry and %s.private\n"
                               : "entry %" PRIu64 ": %s and %s.entry\n",
               index, w->o->out, w->o->out, w->o->out);
    gvm_buf_done(&proof);
    gvm_buf_done(&line);
    gvm_buf_done(&entry);
    gvm_buf_done(&private);
    return r;
}

/* ---- many: a bundle ---- */

static int write_line(void *arg, struct gvm_str line)
{
    struct wanted *w = arg;
    return fwrite(line.p, 1, line.n, w->out) == line.n ? 0 : -EIO;
}

static int make_bundle(struct wanted *w, struct redaction *red, struct gvm_err *err)
{
    uint64_t rows = 0;
    struct gvm_bundle_opts opts = {.want = look, .redact = &red->r, .write = write_line, .arg = w};
    int r = gvm_bundle_make(w->o->dir, &opts, &rows, err);
    if (!r && !rows)
        r = gvm_err_set(err, ENOENT, "no signed entry is like that");
    if (!r)
        r = check_redact(red, err);
    if (!r && w->out != stdout)
        printf("%" PRIu64 " entries: %s\n", rows, w->o->out);
    return r;
}

static int prove_many(struct wanted *w, struct redaction *red, struct gvm_err *err)
{
    uint64_t index;
    if (w->o->arg && gvm_parse_u64(gvm_str(w->o->arg), INT64_MAX, &index) == 0)
        return gvm_err_set(err, EINVAL, "an index is one entry; --bundle wants the id of an event");
    w->id = w->o->arg;
    w->out = w->o->out ? fopen(w->o->out, "we") : stdout;
    if (!w->out)
        return gvm_err_sys(err, errno, "cannot write %s", w->o->out);
    int r = make_bundle(w, red, err);
    bool flushed = w->out == stdout ? fflush(stdout) == 0 : fclose(w->out) == 0;
    if (!r && !flushed)
        r = gvm_err_sys(err, errno, "cannot write the bundle");
    if (r < 0 && w->o->out) /* half of one, or one that shows too much, is nobody's evidence */
        (void)unlink(w->o->out);
    return r;
}

static int read_where(const struct audit_opts *o, struct wanted *w, struct gvm_err *err)
{
    for (unsigned i = 0; i < o->nwhere; i++) {
        struct gvm_str text = gvm_str(o->where[i]);
        if (!gvm_str_cut(&text, '=', &w->key[i]) || !w->key[i].n)
            return gvm_err_set(err, EINVAL, "--where wants NAME=VALUE, not %s", o->where[i]);
        w->value[i] = text;
        w->n++;
    }
    return 0;
}

int audit_prove(const struct audit_opts *o)
{
    struct gvm_err err = {0};
    struct wanted w = {.o = o};
    struct redaction red = {0};
    bool many = o->bundle || o->run || o->nwhere;
    if (!o->arg && !many)
        return cli_usage("audit", "prove needs the index or the id of an entry, --run or --where");
    if (read_where(o, &w, &err) < 0 || read_redact(o->redact, &red, &err) < 0)
        return cli_fail(GVM_EXIT_USAGE, &err);
    if (o->redact && !many && !o->out)
        return cli_usage("audit", "--redact needs --out FILE: a proof alone shows no members");
    int r = many ? prove_many(&w, &red, &err) : prove_one(&w, &red, &err);
    if (r < 0)
        return cli_fail(r == -EBADMSG  ? GVM_EXIT_DENIED
                        : r == -EINVAL ? GVM_EXIT_USAGE
                                       : GVM_EXIT_ERROR,
                        &err);
    return cli_flush();
}
