/* Commits and discards on record: one ledger entry, or several when the list is long. */
#include "cli/changes.h"

#include <errno.h>
#include <stdlib.h>

#define ENTRY_ROOM      48000u /* bytes of one entry's list; control adds the common members */
#define NOTE_TIMEOUT_MS 15000

struct note {
    const struct cli_changes *c;
    const char *kind;
    struct gvm_chan *chan;
    struct gvm_buf list; /* the members of the array, with commas */
    size_t part, noted, total;
};

static int send_part(struct note *n, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, GVM_MAX_ENTRY);
    struct gvm_jw w;
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "kind", n->kind);
    gvm_jw_kstrz(&w, "run", n->c->id);
    gvm_jw_kstrz(&w, "agent", n->c->rec.agent);
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

static int put_change(const struct note *n, const struct gvm_change *ch, struct gvm_buf *out,
                      struct gvm_err *err)
{
    char before[65], after[65];
    int r = gvm_change_hashes(n->c->dir, ch, before, after, err);
    if (r < 0)
        return r;
    /* A path may be longer than an entry: its beginning names it, its hash stays whole. */
    struct gvm_str path = {ch->path.p, ch->path.n < 4096 ? ch->path.n : 4096};
    struct gvm_jw w;
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    gvm_jw_kstr(&w, "path", path);
    gvm_jw_kstrz(&w, "change", gvm_change_kind_name(ch->kind));
    gvm_jw_kstrz(&w, "class", gvm_change_class_name(ch->class_));
    gvm_jw_kstrz(&w, "before", *before ? before : NULL);
    gvm_jw_kstrz(&w, "after", *after ? after : NULL);
    gvm_jw_object_end(&w);
    return out->failed ? gvm_err_set(err, ENOMEM, "out of memory") : 0;
}

static int note_all(struct note *n, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf one;
    gvm_buf_init(&one, ENTRY_ROOM);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n->c->all.n; i++) {
        if (!n->c->chosen[i])
            continue;
        gvm_buf_reset(&one);
        r = put_change(n, &n->c->all.list[i], &one, err);
        if (r == 0 && n->list.len + one.len + 1 > ENTRY_ROOM)
            r = send_part(n, err);
        if (r == 0 && ((n->list.len && gvm_buf_addc(&n->list, ',') < 0) ||
                       gvm_buf_adds(&n->list, gvm_buf_str(&one)) < 0))
            r = gvm_err_set(err, ENOMEM, "out of memory");
    }
    return r == 0 && n->list.len ? send_part(n, err) : r;
}

int cli_changes_note(const struct cli_changes *c, const char *kind, struct gvm_err *err)
{
    struct note n = {.c = c, .kind = kind};
    gvm_buf_init(&n.list, ENTRY_ROOM + 1);
    for (size_t i = 0; i < c->all.n; i++)
        n.total += c->chosen[i];
    int r = n.total ? cli_connect(true, &n.chan, err) : 0;
    if (r == 0)
        r = note_all(&n, err);
    gvm_chan_free(n.chan);
    gvm_buf_done(&n.list);
    return r;
}
