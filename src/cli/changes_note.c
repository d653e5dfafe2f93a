/* Commits, undos and discards on record: one ledger entry, or several when the list is long. */
#include "cli/changes.h"

#include <errno.h>
#include <stdlib.h>

#define ENTRY_ROOM      48000u /* bytes of one entry's list; control adds the common members */
#define NOTE_TIMEOUT_MS 15000

struct note {
    const struct gvm_run_record *rec;
    const char *kind, *how;
    struct gvm_chan *chan;
    struct gvm_buf list; /* the members of the array, with commas */
    size_t part, total;
};

/* One path as it is recorded. */
struct noted {
    struct gvm_str path;
    const struct gvm_change *change; /* NULL: a folder on the way, or an undo */
    const char *before, *after;
    bool merged;
};

static int send_part(struct note *n, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, GVM_MAX_ENTRY);
    struct gvm_jw w;
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "kind", n->kind);
    gvm_jw_kstrz(&w, "run", n->rec->run);
    gvm_jw_kstrz(&w, "agent", n->rec->agent);
    gvm_jw_kstrz(&w, "how", n->how);
    gvm_jw_kint(&w, "part", (int64_t)++n->part);
    gvm_jw_kint(&w, "total", (int64_t)n->total);
    gvm_jw_key(&w, "paths");
    gvm_jw_array(&w);
    gvm_buf_adds(&out, gvm_buf_str(&n->list));
    gvm_jw_array_end(&w);
    gvm_jw_object_end(&w);
    if (out.failed)
        return gvm_err_set(err, E2BIG, "the record of the change is too long");
    struct gvm_msg m = {0};
    int r = gvm_chan_call(n->chan, GVM_MSG_NOTE, gvm_buf_data(&out), out.len, NULL, 0,
                          NOTE_TIMEOUT_MS, NULL, NULL, &m, err);
    if (r < 0)
        return gvm_err_wrap(err, r, "the record could not be written, so nothing was done");
    struct gvm_m_appended done;
    bool good = m.type == GVM_MSG_APPENDED && m.len == sizeof(done);
    if (good)
        memcpy(&done, m.data, sizeof(done));
    gvm_msg_done(&m);
    if (!good)
        return gvm_err_set(err, EPROTO, "gvmd gave an answer this gvm does not understand");
    gvm_buf_reset(&n->list);
    return done.error ? gvm_err_sys(err, done.error,
                                    "the record could not be written, so nothing was done")
                      : 0;
}

static void put_noted(const struct noted *p, struct gvm_buf *out)
{
    /* A path may be longer than an entry: its beginning names it, its hash stays whole. */
    struct gvm_str path = {p->path.p, p->path.n < 4096 ? p->path.n : 4096};
    struct gvm_jw w;
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    gvm_jw_kstr(&w, "path", path);
    if (p->change) {
        gvm_jw_kstrz(&w, "change", gvm_change_kind_name(p->change->kind));
        gvm_jw_kstrz(&w, "class", gvm_change_class_name(p->change->class_));
    }
    gvm_jw_kstrz(&w, "before", *p->before ? p->before : NULL);
    gvm_jw_kstrz(&w, "after", *p->after ? p->after : NULL);
    if (p->merged)
        gvm_jw_kbool(&w, "merged", true);
    gvm_jw_object_end(&w);
}

static int add_noted(struct note *n, const struct noted *p, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf one;
    gvm_buf_init(&one, ENTRY_ROOM);
    put_noted(p, &one);
    if (one.failed)
        return gvm_err_set(err, ENOMEM, "out of memory");
    int r = n->list.len + one.len + 1 > ENTRY_ROOM ? send_part(n, err) : 0;
    if (r < 0)
        return r;
    if (n->list.len)
        gvm_buf_addc(&n->list, ',');
    gvm_buf_adds(&n->list, gvm_buf_str(&one));
    return n->list.failed ? gvm_err_set(err, ENOMEM, "out of memory") : 0;
}

static int begin(struct note *n, struct gvm_err *err)
{
    gvm_buf_init(&n->list, ENTRY_ROOM + 1);
    return cli_connect(true, &n->chan, err);
}

static int finish(struct note *n, int r, struct gvm_err *err)
{
    if (r == 0 && n->list.len)
        r = send_part(n, err);
    gvm_chan_free(n->chan);
    gvm_buf_done(&n->list);
    return r;
}

int cli_note_landings(const struct gvm_run_record *rec, const char *kind, const char *how,
                      const struct gvm_changes *all, const struct gvm_landing *list, size_t count,
                      struct gvm_err *err)
{
    struct note n = {.rec = rec, .kind = kind, .how = how, .total = count};
    int r = begin(&n, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        const struct gvm_landing *l = &list[i];
        const struct noted p = {.path = l->path,
                                .change = all && l->index < all->n ? &all->list[l->index] : NULL,
                                .before = l->before,
                                .after = l->after,
                                .merged = l->merged};
        r = add_noted(&n, &p, err);
    }
    return finish(&n, r, err);
}

int cli_changes_note_discard(const struct cli_changes *c, struct gvm_err *err)
{
    struct note n = {.rec = &c->rec, .kind = "fs.discard", .how = c->how};
    for (size_t i = 0; i < c->all.n; i++)
        n.total += c->chosen[i];
    if (!n.total)
        return 0;
    int r = begin(&n, err);
    for (size_t i = 0; r == 0 && i < c->all.n; i++) {
        char before[65], after[65];
        if (!c->chosen[i])
            continue;
        r = gvm_change_hashes(c->dir, &c->all.list[i], before, after, err);
        const struct noted p = {.path = c->all.list[i].path,
                                .change = &c->all.list[i],
                                .before = before,
                                .after = after};
        if (r == 0)
            r = add_noted(&n, &p, err);
    }
    return finish(&n, r, err);
}
