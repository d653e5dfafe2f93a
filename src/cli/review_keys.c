/* What the keys of gvm review do. */
#include "cli/review.h"

#include <stdio.h>

static void say(struct review *r, const char *text)
{
    snprintf(r->message, sizeof(r->message), "%.*s", (int)sizeof(r->message) - 1, text);
}

/* A question on the last line; any key but y is a no. */
static bool ask(struct review *r, const char *question)
{
    say(r, question);
    review_draw(r);
    int key;
    do {
        key = cli_term_key();
        if (key == CLI_KEY_NONE)
            review_draw(r);
    } while (key == CLI_KEY_NONE);
    say(r, "");
    return key == 'y' || key == 'Y';
}

static int load(struct review *r, struct gvm_err *err)
{
    return r->n ? review_load(r, &r->files[r->at], err) : 0;
}

/* ---- deciding ---- */

/* What runs on the host needs a yes of its own, once for each file. */
static bool may_accept(struct review *r, struct review_file *f)
{
    const struct gvm_change *ch = review_change(r, f);
    const char *bar = review_barred(r, f);
    char text[160];
    if (bar) {
        snprintf(r->message, sizeof(r->message), "cannot land: %s", bar);
        return false;
    }
    if (ch->class_ != GVM_CLASS_RUNS_ON_HOST || f->sure)
        return true;
    snprintf(text, sizeof(text), "RUNS ON YOUR MACHINE (%s). Accept it? y/N", ch->why);
    f->sure = ask(r, text);
    return f->sure;
}

static void next_file(struct review *r)
{
    if (r->at + 1 < r->n)
        r->at++;
}

static int decide_file(struct review *r, enum verdict v, struct gvm_err *err)
{
    struct review_file *f = &r->files[r->at];
    /* Whether it can be accepted, and what is in it, is known after it was read. */
    int x = v == ACCEPT ? load(r, err) : 0;
    if (x < 0 || (v == ACCEPT && !may_accept(r, f)))
        return x;
    review_decide(f, v);
    next_file(r);
    return 0;
}

static void show_hunk(struct review *r)
{
    size_t row = review_hunk_row(r), rows = r->term.rows - 3;
    if (row < r->line || row + rows / 3 >= r->line + rows)
        r->line = row;
}

static void decide_hunk(struct review *r, enum verdict v)
{
    struct review_file *f = &r->files[r->at];
    if (v == ACCEPT && !may_accept(r, f))
        return;
    if (!f->is_text || v == DROP) {
        review_decide(f, v);
        return;
    }
    if (f->has_edit)
        review_decide(f, UNDECIDED); /* a decision by hunks replaces the edited text */
    f->whole = UNDECIDED;
    f->hunk[r->at_hunk] = v;
    if (r->at_hunk + 1 < f->n)
        r->at_hunk++;
    show_hunk(r);
}

/* The same kind and class as the one the person is on. What runs on the host is never among them.
 */
static int accept_kind(struct review *r, struct gvm_err *err)
{
    const struct gvm_change *like = review_change(r, &r->files[r->at]);
    size_t n = 0;
    if (like->class_ == GVM_CLASS_RUNS_ON_HOST) {
        say(r, "what runs on your machine is accepted one by one");
        return 0;
    }
    for (size_t i = 0; i < r->n; i++) {
        struct review_file *f = &r->files[i];
        const struct gvm_change *ch = review_change(r, f);
        bool part;
        if (ch->kind != like->kind || ch->class_ != like->class_ ||
            review_verdict(f, &part) != UNDECIDED)
            continue;
        int x = review_load(r, f, err);
        if (x < 0)
            return x;
        if (review_barred(r, f) || f->clash)
            continue;
        review_decide(f, ACCEPT);
        n++;
    }
    snprintf(r->message, sizeof(r->message), "%zu accepted: %s, %s", n,
             gvm_change_kind_name(like->kind), gvm_change_class_name(like->class_));
    return 0;
}

static int edit(struct review *r, struct gvm_err *err)
{
    struct review_file *f = &r->files[r->at];
    int x = load(r, err);
    if (x < 0)
        return x;
    if (!f->is_text || !may_accept(r, f)) {
        if (!r->message[0])
            say(r, "only a text can be edited");
        return 0;
    }
    struct gvm_err e = {0};
    x = review_edit(f, &e);
    if (x == 1)
        say(r, "not changed");
    if (x < 0) /* what was decided so far is not lost over it */
        say(r, e.text);
    return 0;
}

/* ---- moving ---- */

static void search_next(struct review *r)
{
    if (!review_search(r))
        say(r, r->search[0] ? "not found" : "nothing to search for");
}

static void read_search(struct review *r)
{
    size_t n = 0;
    r->search[0] = '\0';
    for (;;) {
        snprintf(r->message, sizeof(r->message), "/%s", r->search);
        review_draw(r);
        int key = cli_term_key();
        if (key == '\r' || key == '\n')
            break;
        if (key == CLI_KEY_ESCAPE || key == CLI_KEY_END || key == 3) {
            r->search[0] = '\0';
            break;
        }
        if ((key == 127 || key == 8) && n)
            r->search[--n] = '\0';
        if (key >= ' ' && key < 127 && n + 1 < sizeof(r->search)) {
            r->search[n++] = (char)key;
            r->search[n] = '\0';
        }
    }
    say(r, "");
    if (r->search[0])
        search_next(r);
}

static size_t moved(size_t at, size_t n, int key, size_t page)
{
    if (n == 0)
        return 0;
    switch (key) {
    case 'j':
    case CLI_KEY_DOWN:
        return at + 1 < n ? at + 1 : at;
    case 'k':
    case CLI_KEY_UP:
        return at ? at - 1 : 0;
    case ' ':
    case CLI_KEY_PAGE_DOWN:
        return at + page < n ? at + page : n - 1;
    case 'b':
    case CLI_KEY_PAGE_UP:
        return at > page ? at - page : 0;
    case 'g':
    case CLI_KEY_HOME:
        return 0;
    case 'G':
    case CLI_KEY_LAST:
        return n - 1;
    default:
        return at;
    }
}

static int open_file(struct review *r, size_t at, struct gvm_err *err)
{
    if (at >= r->n)
        return 0;
    r->at = at;
    r->at_hunk = r->line = 0;
    r->column = 0;
    r->in_file = true;
    return load(r, err);
}

/* ---- finishing ---- */

static bool any_rejected_part(const struct review *r)
{
    for (size_t i = 0; i < r->n; i++) {
        bool part;
        if (review_verdict(&r->files[i], &part) == ACCEPT && part)
            return true;
    }
    return false;
}

static void finish(struct review *r)
{
    struct review_result n;
    char text[160];
    review_count(r, &n);
    if (!n.landed && !n.dropped) {
        r->quit = true;
        return;
    }
    if (any_rejected_part(r))
        r->drop_rest = ask(r, "throw the rejected hunks away? y, or they stay staged N");
    snprintf(text, sizeof(text), "land %zu (%zu in part), throw away %zu, leave %zu? y/N", n.landed,
             n.parts, n.dropped, n.waiting);
    r->done = ask(r, text);
}

/* ---- the keys ---- */

static int list_key(struct review *r, int key, struct gvm_err *err)
{
    switch (key) {
    case '\r':
    case '\n':
    case 'l':
    case CLI_KEY_RIGHT:
        return open_file(r, r->at, err);
    case 'a':
        return r->n ? decide_file(r, ACCEPT, err) : 0;
    case 'A':
        return r->n ? accept_kind(r, err) : 0;
    case 'r':
        return r->n ? decide_file(r, REJECT, err) : 0;
    case 'd':
        return r->n ? decide_file(r, DROP, err) : 0;
    case 's':
        return r->n ? decide_file(r, UNDECIDED, err) : 0;
    case 'q':
        finish(r);
        return 0;
    default:
        r->at = moved(r->at, r->n, key, r->term.rows - 2);
        return 0;
    }
}

static int file_key(struct review *r, int key, struct gvm_err *err)
{
    struct review_file *f = &r->files[r->at];
    switch (key) {
    case 'a':
        decide_hunk(r, ACCEPT);
        return 0;
    case 'r':
        decide_hunk(r, REJECT);
        return 0;
    case 's':
        decide_hunk(r, UNDECIDED);
        return 0;
    case 'd':
        decide_hunk(r, DROP);
        return 0;
    case 'A':
        if (may_accept(r, f))
            review_decide(f, ACCEPT);
        return 0;
    case 'v':
        r->side_by_side = !r->side_by_side;
        return 0;
    case ']':
        r->at_hunk += r->at_hunk + 1 < f->n;
        show_hunk(r);
        return 0;
    case '[':
        r->at_hunk -= r->at_hunk > 0;
        show_hunk(r);
        return 0;
    case '>':
        return open_file(r, r->at + 1, err);
    case '<':
        return open_file(r, r->at ? r->at - 1 : 0, err);
    case CLI_KEY_RIGHT:
        r->column += r->column < 100000 ? 16 : 0;
        return 0;
    case CLI_KEY_LEFT:
        r->column -= r->column >= 16 ? 16 : 0;
        return 0;
    case 'q':
    case CLI_KEY_ESCAPE:
        r->in_file = false;
        return 0;
    default:
        r->line = moved(r->line, r->lines, key, r->term.rows - 3);
        return 0;
    }
}

static int take_key(struct review *r, int key, struct gvm_err *err)
{
    if (key == CLI_KEY_NONE)
        return 0;
    r->message[0] = '\0';
    if (key == CLI_KEY_END || key == 3 || key == 'Q') {
        r->quit = true;
        return 0;
    }
    if (r->help || key == '?') {
        r->help = !r->help;
        return 0;
    }
    if (key == '/') {
        read_search(r);
        return 0;
    }
    if (key == 'n') {
        search_next(r);
        return 0;
    }
    if (key == 'e')
        return r->n ? edit(r, err) : 0;
    return r->in_file ? file_key(r, key, err) : list_key(r, key, err);
}

int review_interactive(struct review *r, struct gvm_err *err)
{
    int x = cli_term_open(&r->term, err);
    while (x == 0 && !r->done && !r->quit) {
        review_draw(r);
        x = take_key(r, cli_term_key(), err);
    }
    cli_term_close(&r->term);
    return x;
}
