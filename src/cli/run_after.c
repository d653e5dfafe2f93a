/* After the agent ended: what it wrote is listed, new safe files land by themselves, the rest
 * waits. */
#include "cli/changes.h"
#include "cli/run.h"

#include <errno.h>
#include <stdlib.h>

#define SHOWN 10 /* changes named one by one; the rest is counted */

static bool is_auto(const struct gvm_change *ch)
{
    return ch->class_ == GVM_CLASS_AUTO && !ch->conflict && !ch->refusal;
}

/* Files that land are on record, with their hashes, before they do. */
static int merge_auto(struct cli_changes *c, size_t *ret_done, struct gvm_err *err)
{
    size_t n = 0;
    *ret_done = 0;
    for (size_t i = 0; i < c->all.n; i++)
        n += c->chosen[i] = is_auto(&c->all.list[i]);
    c->how = "auto";
    return n ? cli_changes_land(c, false, ret_done, err) : 0;
}

static size_t count_kind(const struct gvm_changes *all, enum gvm_change_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < all->n; i++)
        n += all->list[i].kind == kind;
    return n;
}

/* {"created":..,"modified":..,"deleted":..,"auto_merged":..}, alone or as an entry. */
static void put_counts(struct gvm_jw *w, const struct gvm_changes *all, size_t merged)
{
    gvm_jw_kint(w, "created",
                (int64_t)count_kind(all, GVM_CHANGE_CREATED) +
                    (int64_t)count_kind(all, GVM_CHANGE_RENAMED));
    gvm_jw_kint(w, "modified",
                (int64_t)(count_kind(all, GVM_CHANGE_MODIFIED) + count_kind(all, GVM_CHANGE_MODE) +
                          count_kind(all, GVM_CHANGE_ATTRIBUTES) +
                          count_kind(all, GVM_CHANGE_TYPE)));
    gvm_jw_kint(w, "deleted", (int64_t)count_kind(all, GVM_CHANGE_DELETED));
    gvm_jw_kint(w, "auto_merged", (int64_t)merged);
}

static int note_summary(struct run *r, const struct gvm_changes *all, size_t merged,
                        struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    struct gvm_jw w;
    if (all->n == 0)
        return 0;
    gvm_buf_init(&out, 4096);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    gvm_jw_kstrz(&w, "kind", "fs.change");
    put_counts(&w, all, merged);
    gvm_jw_object_end(&w);
    return run_note(r, &out, err);
}

static bool waits(const struct gvm_change *ch, bool merged)
{
    return !(merged && is_auto(ch)) && ch->class_ != GVM_CLASS_DISCARD;
}

/* What landed and what waits, and how to go on; nothing when nothing was written. */
static void tell(const struct run *r, const struct gvm_changes *all, size_t merged)
{
    size_t waiting = 0, shown = 0;
    char text[64];
    for (size_t i = 0; i < all->n; i++)
        waiting += waits(&all->list[i], merged > 0);
    if (merged)
        fprintf(stderr, "gvm: %s landed in the workspace\n", cli_count(merged, "new file", text));
    if (!waiting)
        return;
    fprintf(stderr, "gvm: %s wait%s for you:\n", cli_count(waiting, "change", text),
            waiting == 1 ? "s" : "");
    for (size_t i = 0; i < all->n && shown < SHOWN; i++) {
        if (!waits(&all->list[i], merged > 0))
            continue;
        cli_print_change(stderr, &all->list[i], cli_color(2));
        shown++;
    }
    if (waiting > shown)
        fprintf(stderr, "  and %zu more\n", waiting - shown);
    fprintf(stderr, "gvm: next: gvm review %s, gvm diff %s, gvm commit %s, gvm discard %s\n", r->id,
            r->id, r->id, r->id);
}

/* While the daemon records the end. Only a run that left something must be found after a power
 * loss. */
static void close_record(struct run *r)
{
    struct gvm_err err = {0};
    gvm_sandbox_tidy(r->sandbox);
    r->record.ended_ns = gvm_now_ns();
    r->record.exit_code = r->exit_code;
    int x = r->changed ? gvm_run_record_write(r->dir, &r->record, &err)
                       : gvm_run_record_put(r->dir, &r->record, &err);
    if (x < 0)
        cli_fail(GVM_EXIT_ERROR, &err);
}

static int open_changes(struct run *r, struct cli_changes *c, struct gvm_err *err)
{
    memcpy(c->id, r->id, sizeof(c->id));
    memcpy(c->dir, r->dir, sizeof(c->dir));
    c->rec = r->record;
    int x = cli_file_rules_load(r->has_config ? r->config : NULL, r->workspace, &c->rules, err);
    if (x == 0)
        x = gvm_changes_scan(r->dir, &c->rules.patterns, &c->all, err);
    return x < 0 ? x : cli_changes_alloc(c, err);
}

static void put_changes(struct gvm_buf *out, const struct gvm_changes *all, size_t merged)
{
    struct gvm_jw w;
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    put_counts(&w, all, merged);
    gvm_jw_object_end(&w);
}

/* The first failure is kept and told; the steps after it are done all the same. */
static void keep_first(struct gvm_err *first, const struct gvm_err *e, int x)
{
    if (x < 0 && !first->code)
        *first = *e;
}

int run_after(struct run *r, struct gvm_err *err)
{
    struct cli_changes c = {0};
    struct gvm_err first = {0}, e = {0};
    size_t merged = 0;
    run_denied_end(r);
    int x = open_changes(r, &c, &e);
    keep_first(&first, &e, x);
    if (x == 0) {
        x = gvm_changes_remember(r->dir, &c.all, &e);
        keep_first(&first, &e, x);
        x = merge_auto(&c, &merged, &e);
        keep_first(&first, &e, x);
        x = note_summary(r, &c.all, merged, &e);
        keep_first(&first, &e, x);
    }
    r->changed = x < 0 || c.all.n > 0;
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf counts;
    gvm_buf_init(&counts, 4096);
    put_changes(&counts, &c.all, merged);
    x = run_finish(r, gvm_buf_cstr(&counts), close_record, &e);
    keep_first(&first, &e, x);
    if (r->watch)
        run_watch_tick(r);
    if (r->opt.watch && !r->opt.json)
        run_watch_summary(r);
    tell(r, &c.all, merged);
    if (r->opt.ask)
        run_ask(r);
    cli_changes_done(&c);
    if (first.code && err)
        *err = first;
    return first.code ? -first.code : 0;
}
