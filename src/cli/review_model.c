/* What was decided, and carrying it out. */
#include "cli/review.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MAX_TEXT  (4u << 20)
#define MAX_SHOWN (16u << 20)

int review_init(struct review *r, struct cli_changes *c, struct gvm_err *err)
{
    *r = (struct review){.c = c};
    r->files = gvm_calloc(c->all.n + 1, sizeof(*r->files));
    if (!r->files)
        return gvm_err_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < c->all.n; i++)
        if (c->chosen[i])
            r->files[r->n++].index = i;
    return 0;
}

static void unload(struct review_file *f)
{
    gvm_diff_free(f->diff);
    free(f->hunk);
    gvm_buf_done(&f->before);
    gvm_buf_done(&f->after);
    gvm_buf_done(&f->edit);
    gvm_buf_done(&f->shown);
}

void review_done(struct review *r)
{
    for (size_t i = 0; r->files && i < r->n; i++)
        if (r->files[i].loaded)
            unload(&r->files[i]);
    free(r->files);
    r->files = NULL;
}

const struct gvm_change *review_change(const struct review *r, const struct review_file *f)
{
    return &r->c->all.list[f->index];
}

/* Hunks can be taken one by one where a plain text stays or becomes a plain text. */
static bool has_hunks(const struct gvm_change *ch)
{
    bool before = ch->host_mode == 0 || S_ISREG(ch->host_mode);
    return S_ISREG(ch->mode) && before && ch->kind != GVM_CHANGE_MODE &&
           ch->kind != GVM_CHANGE_ATTRIBUTES;
}

static int load_hunks(struct review_file *f, struct gvm_err *err)
{
    int r = gvm_diff_new(gvm_buf_str(&f->before), gvm_buf_str(&f->after), &f->diff, err);
    if (r)
        return r;
    f->hunks = gvm_diff_hunks(f->diff, &f->n);
    f->hunk = gvm_calloc(f->n + 1, sizeof(*f->hunk));
    if (!f->hunk)
        return gvm_err_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < f->n; i++)
        f->hunk[i] = f->whole;
    f->is_text = f->n > 0;
    return 0;
}

int review_load(struct review *r, struct review_file *f, struct gvm_err *err)
{
    const struct gvm_change *ch = review_change(r, f);
    if (f->loaded)
        return 0;
    gvm_buf_init(&f->before, MAX_TEXT);
    gvm_buf_init(&f->after, 2 * MAX_TEXT);
    gvm_buf_init(&f->edit, MAX_TEXT);
    gvm_buf_init(&f->shown, MAX_SHOWN);
    f->loaded = true;
    int x = 1;
    if (has_hunks(ch)) {
        x = gvm_change_texts(r->c->dir, ch, &f->before, &f->after, &f->merged, err);
        if (x == 0)
            x = load_hunks(f, err);
    }
    f->clash = ch->conflict && !f->merged;
    if (x < 0 || f->is_text)
        return x;
    return gvm_change_diff(r->c->dir, ch, &f->shown, err);
}

void review_decide(struct review_file *f, enum verdict v)
{
    f->whole = v;
    f->has_edit = f->has_edit && v == ACCEPT;
    for (size_t i = 0; i < f->n; i++)
        f->hunk[i] = v == DROP ? REJECT : v;
}

enum verdict review_verdict(const struct review_file *f, bool *ret_part)
{
    size_t accepted = 0, rejected = 0;
    *ret_part = false;
    if (!f->is_text || f->has_edit || f->whole == DROP)
        return f->whole;
    for (size_t i = 0; i < f->n; i++) {
        accepted += f->hunk[i] == ACCEPT;
        rejected += f->hunk[i] == REJECT;
    }
    if (accepted == f->n)
        return ACCEPT;
    *ret_part = accepted > 0;
    return accepted ? ACCEPT : rejected == f->n ? REJECT : UNDECIDED;
}

const char *review_barred(const struct review *r, const struct review_file *f)
{
    const struct gvm_change *ch = review_change(r, f);
    if (ch->refusal)
        return ch->refusal;
    if (ch->conflict && !has_hunks(ch))
        return "your file changed since the run began (gvm commit --force lands the agent's)";
    if (f->loaded && f->clash && !f->is_text)
        return "your file changed since the run began, and it is no text that could be merged";
    return NULL;
}

int review_text(const struct review_file *f, struct gvm_buf *out)
{
    GVM_AUTOFREE bool *take = gvm_calloc(f->n + 1, sizeof(*take));
    if (!take)
        return -ENOMEM;
    for (size_t i = 0; i < f->n; i++)
        take[i] = f->hunk[i] == ACCEPT;
    return gvm_diff_apply(f->diff, take, out);
}

/* ---- carrying out ---- */

void review_count(const struct review *r, struct review_result *ret)
{
    *ret = (struct review_result){0};
    for (size_t i = 0; i < r->n; i++) {
        bool part;
        enum verdict v = review_verdict(&r->files[i], &part);
        ret->landed += v == ACCEPT;
        ret->parts += v == ACCEPT && part;
        ret->dropped += v == DROP;
        ret->waiting += v == UNDECIDED || v == REJECT;
    }
}

/* Where a renamed file was goes with it, unless that was decided by itself. */
static void choose_old_name(struct review *r, const struct gvm_change *ch)
{
    for (size_t i = 0; ch->kind == GVM_CHANGE_RENAMED && i < r->n; i++) {
        bool part;
        const struct review_file *f = &r->files[i];
        if (gvm_str_eq(review_change(r, f)->path, ch->from) &&
            review_verdict(f, &part) == UNDECIDED)
            r->c->chosen[f->index] = true;
    }
}

static int choose(struct review *r, struct review_file *f, struct gvm_buf *text,
                  struct gvm_err *err)
{
    struct gvm_choice *choice = &r->c->choices[f->index];
    bool part;
    if (review_verdict(f, &part) != ACCEPT || review_barred(r, f))
        return 0;
    r->c->chosen[f->index] = true;
    choose_old_name(r, review_change(r, f));
    *choice = (struct gvm_choice){0};
    if (!f->is_text)
        return 0;
    choice->has_seen = true;
    choice->seen = gvm_buf_str(&f->before);
    gvm_buf_init(text, 2 * MAX_TEXT);
    if (f->has_edit)
        gvm_buf_adds(text, gvm_buf_str(&f->edit));
    else if (review_text(f, text) < 0)
        return gvm_err_set(err, ENOMEM, "out of memory");
    /* What was looked at is what lands. */
    choice->has_text = true;
    choice->text = gvm_buf_str(text);
    choice->keep = part && !r->drop_rest;
    return text->failed ? gvm_err_set(err, ENOMEM, "out of memory") : 0;
}

static bool is_dropped(void *arg, const struct gvm_change *ch)
{
    const struct cli_changes *c = arg;
    return c->chosen[cli_change_index(c, ch)];
}

static int drop(struct review *r, struct review_result *ret, struct gvm_err *err)
{
    size_t n = 0, done = 0;
    for (size_t i = 0; i < r->c->all.n; i++)
        r->c->chosen[i] = false;
    for (size_t i = 0; i < r->n; i++) {
        bool part;
        bool goes = review_verdict(&r->files[i], &part) == DROP;
        r->c->chosen[r->files[i].index] = goes;
        n += goes;
    }
    if (n == 0)
        return 0;
    int x = cli_changes_note_discard(r->c, err);
    if (x == 0)
        x = gvm_changes_discard(r->c->dir, &r->c->all, is_dropped, r->c, &done, err);
    ret->dropped = done;
    ret->failed += x == 0 ? n - done : 0;
    return x;
}

int review_apply(struct review *r, struct review_result *ret, struct gvm_err *err)
{
    GVM_AUTOFREE struct gvm_buf *texts = gvm_calloc(r->n + 1, sizeof(*texts));
    size_t done = 0, n = 0;
    int x = texts ? 0 : gvm_err_set(err, ENOMEM, "out of memory");
    review_count(r, ret);
    for (size_t i = 0; i < r->c->all.n; i++)
        r->c->chosen[i] = false;
    for (size_t i = 0; x == 0 && i < r->n; i++)
        x = choose(r, &r->files[i], &texts[i], err);
    for (size_t i = 0; i < r->c->all.n; i++)
        n += r->c->chosen[i];
    r->c->how = "review";
    if (x == 0 && n)
        x = cli_changes_land(r->c, false, &done, err);
    for (size_t i = 0; texts && i < r->n; i++)
        gvm_buf_done(&texts[i]);
    ret->failed = n - done;
    ret->landed = done;
    return x < 0 ? x : drop(r, ret, err);
}
