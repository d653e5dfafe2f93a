/* The screen of gvm review: a list of changes, and one change with its hunks. */
#include "cli/review.h"

#include <stdio.h>
#include <sys/stat.h>

#define CONTEXT 3u /* unchanged lines around a hunk */
#define MARKS   5u /* columns before a line of text */

static const char *const marks[] = {"[ ]", "[+]", "[-]", "[x]"};

static enum cli_style style_of(enum verdict v)
{
    static const enum cli_style styles[] = {CLI_PLAIN, CLI_GREEN, CLI_YELLOW, CLI_RED};
    return styles[v];
}

static void put(struct cli_term *t, const char *text)
{
    cli_term_text(t, gvm_str(text), 0, t->cols);
}

/* ---- the list ---- */

static void draw_head(struct review *r)
{
    struct cli_term *t = &r->term;
    struct review_result n;
    char text[256];
    review_count(r, &n);
    snprintf(text, sizeof(text), "run %s, %zu changes: %zu accepted, %zu to throw away, %zu stay",
             r->c->id, r->n, n.landed, n.dropped, n.waiting);
    cli_term_style(t, CLI_BOLD, false);
    put(t, text);
    cli_term_newline(t);
}

static void draw_row(struct review *r, size_t i)
{
    static const char letters[] = "AMDmTxR";
    static const enum cli_style classes[] = {CLI_YELLOW, CLI_RED, CLI_GREEN, CLI_DIM};
    struct cli_term *t = &r->term;
    const struct review_file *f = &r->files[i];
    const struct gvm_change *ch = review_change(r, f);
    bool part, here = i == r->at;
    enum verdict v = review_verdict(f, &part);
    char text[200];
    cli_term_style(t, style_of(v), here);
    snprintf(text, sizeof(text), "%s %c  ", part ? "[~]" : marks[v], letters[ch->kind]);
    put(t, text);
    cli_term_style(t, CLI_PLAIN, here);
    /* The class must stay in sight however long the name is. */
    snprintf(text, sizeof(text), " %s%s: %s", ch->conflict ? "CONFLICT " : "",
             gvm_change_class_name(ch->class_), ch->why);
    unsigned right = (unsigned)strlen(text);
    unsigned room = t->cols - t->at;
    unsigned width = right + 20 < room ? room - right : room > 40 ? room / 2 : 20;
    cli_term_text(t, ch->path, 0, width - 1);
    put(t, S_ISDIR(ch->mode ? ch->mode : ch->host_mode) ? "/" : "");
    cli_term_fill(t, t->cols > 80 ? 40 : 24);
    cli_term_style(t, ch->conflict ? CLI_RED : classes[ch->class_], here);
    put(t, text);
    cli_term_fill(t, here ? t->cols : 0);
    cli_term_newline(t);
}

static void draw_list(struct review *r)
{
    struct cli_term *t = &r->term;
    size_t rows = t->rows - 2;
    if (r->at < r->top)
        r->top = r->at;
    if (r->at >= r->top + rows)
        r->top = r->at - rows + 1;
    for (size_t k = 0; k < rows; k++) {
        if (r->top + k < r->n)
            draw_row(r, r->top + k);
        else
            cli_term_newline(t);
    }
}

/* ---- one change ---- */

enum row_kind { ROW_HEAD, ROW_SAME, ROW_OLD, ROW_NEW, ROW_BOTH, ROW_SHOWN };
struct row {
    enum row_kind kind;
    size_t hunk, a, b; /* line numbers of both texts; SIZE_MAX = none on this side */
};
/* Walks over the rows of a change, in order; draws those that are on the screen. */
struct rows {
    struct review *r;
    const struct review_file *f;
    size_t at;      /* rows passed so far */
    size_t at_hunk; /* the row of r->at_hunk's head */
    bool draw;
    size_t found, after; /* search: first row past `after` that has the text */
};

static void draw_marked(struct rows *w, enum cli_style style, const char *mark, struct gvm_str line)
{
    struct cli_term *t = &w->r->term;
    if (line.n && line.p[line.n - 1] == '\n')
        line.n--;
    cli_term_style(t, style, false);
    put(t, mark);
    cli_term_text(t, line, w->r->column, t->cols - t->at);
    cli_term_newline(t);
}

static void draw_hunk_head(struct rows *w, size_t k)
{
    struct cli_term *t = &w->r->term;
    const struct gvm_hunk *h = &w->f->hunks[k];
    char text[128];
    snprintf(text, sizeof(text), "%s hunk %zu of %zu   @@ -%zu,%zu +%zu,%zu @@",
             w->f->has_edit ? "[e]" : marks[w->f->hunk[k]], k + 1, w->f->n, h->a + 1, h->na,
             h->b + 1, h->nb);
    cli_term_style(t, k == w->r->at_hunk ? style_of(w->f->hunk[k]) : CLI_CYAN, k == w->r->at_hunk);
    put(t, text);
    cli_term_fill(t, k == w->r->at_hunk ? t->cols : 0);
    cli_term_newline(t);
}

static void draw_half(struct rows *w, bool second, size_t i, enum cli_style style, unsigned to)
{
    struct cli_term *t = &w->r->term;
    struct gvm_str line = i == SIZE_MAX ? GVM_STR("") : gvm_diff_line(w->f->diff, second, i);
    if (line.n && line.p[line.n - 1] == '\n')
        line.n--;
    cli_term_style(t, i == SIZE_MAX ? CLI_PLAIN : style, false);
    cli_term_text(t, line, w->r->column, to > t->at ? to - t->at : 0);
    cli_term_style(t, CLI_PLAIN, false);
    cli_term_fill(t, to);
}

static void draw_pair(struct rows *w, const struct row *row)
{
    struct cli_term *t = &w->r->term;
    bool same = row->kind == ROW_SAME;
    unsigned half = t->cols / 2;
    draw_half(w, false, row->a, same ? CLI_PLAIN : CLI_RED, half - 1);
    cli_term_style(t, CLI_DIM, false);
    put(t, "|");
    draw_half(w, true, row->b, same ? CLI_PLAIN : CLI_GREEN, t->cols);
    cli_term_newline(t);
}

static void draw_row_of(struct rows *w, const struct row *row)
{
    const struct gvm_diff *d = w->f->diff;
    if (row->kind == ROW_HEAD)
        draw_hunk_head(w, row->hunk);
    else if (w->r->side_by_side)
        draw_pair(w, row);
    else if (row->kind == ROW_SAME)
        draw_marked(w, CLI_PLAIN, "  ", gvm_diff_line(d, false, row->a));
    else if (row->kind == ROW_OLD)
        draw_marked(w, CLI_RED, "- ", gvm_diff_line(d, false, row->a));
    else
        draw_marked(w, CLI_GREEN, "+ ", gvm_diff_line(d, true, row->b));
}

static bool has_text(struct gvm_str line, const char *needle)
{
    return line.p && memmem(line.p, line.n, needle, strlen(needle));
}

static void pass(struct rows *w, struct row row)
{
    const struct review *r = w->r;
    if (w->draw && w->at >= r->line && w->at < r->line + r->term.rows - 3)
        draw_row_of(w, &row);
    if (!w->draw && r->search[0] && w->found == SIZE_MAX && w->at > w->after &&
        row.kind != ROW_HEAD &&
        ((row.a != SIZE_MAX && has_text(gvm_diff_line(w->f->diff, false, row.a), r->search)) ||
         (row.b != SIZE_MAX && has_text(gvm_diff_line(w->f->diff, true, row.b), r->search))))
        w->found = w->at;
    w->at++;
}

static void pass_hunk(struct rows *w, size_t k)
{
    const struct gvm_hunk *h = &w->f->hunks[k];
    size_t most = h->na > h->nb ? h->na : h->nb;
    if (w->r->side_by_side) {
        for (size_t i = 0; i < most; i++)
            pass(w, (struct row){ROW_BOTH, k, i < h->na ? h->a + i : SIZE_MAX,
                                 i < h->nb ? h->b + i : SIZE_MAX});
        return;
    }
    for (size_t i = 0; i < h->na; i++)
        pass(w, (struct row){ROW_OLD, k, h->a + i, SIZE_MAX});
    for (size_t i = 0; i < h->nb; i++)
        pass(w, (struct row){ROW_NEW, k, SIZE_MAX, h->b + i});
}

static void pass_text(struct rows *w)
{
    const struct review_file *f = w->f;
    size_t shown = 0; /* lines of the first text that were passed */
    for (size_t k = 0; k < f->n; k++) {
        const struct gvm_hunk *h = &f->hunks[k];
        size_t from = h->a > shown + CONTEXT ? h->a - CONTEXT : shown;
        if (k == w->r->at_hunk)
            w->at_hunk = w->at;
        pass(w, (struct row){ROW_HEAD, k, SIZE_MAX, SIZE_MAX});
        for (size_t i = from; i < h->a; i++)
            pass(w, (struct row){ROW_SAME, k, i, h->b - (h->a - i)});
        pass_hunk(w, k);
        shown = h->a + h->na;
        size_t end = k + 1 < f->n ? f->hunks[k + 1].a : SIZE_MAX;
        for (size_t i = 0; i < CONTEXT && shown < end && gvm_diff_line(f->diff, false, shown).p;
             i++, shown++)
            pass(w, (struct row){ROW_SAME, k, shown, h->b + h->nb + i});
    }
}

static void pass_shown(struct rows *w)
{
    struct gvm_str rest = gvm_buf_str(&w->f->shown), line;
    const struct review *r = w->r;
    while (rest.n) {
        gvm_str_cut(&rest, '\n', &line);
        enum cli_style style = !line.n            ? CLI_PLAIN
                               : line.p[0] == '-' ? CLI_RED
                               : line.p[0] == '+' ? CLI_GREEN
                                                  : CLI_PLAIN;
        if (w->draw && w->at >= r->line && w->at < r->line + r->term.rows - 3)
            draw_marked(w, style, "", line);
        if (!w->draw && r->search[0] && w->found == SIZE_MAX && w->at > w->after &&
            has_text(line, r->search))
            w->found = w->at;
        w->at++;
    }
}

static void pass_all(struct rows *w)
{
    if (w->f->is_text)
        pass_text(w);
    else
        pass_shown(w);
}

static void draw_file_head(struct review *r, const struct review_file *f)
{
    struct cli_term *t = &r->term;
    const struct gvm_change *ch = review_change(r, f);
    bool part;
    enum verdict v = review_verdict(f, &part);
    char text[256];
    cli_term_style(t, CLI_BOLD, false);
    snprintf(text, sizeof(text), "%s %s  ", part ? "[~]" : marks[v],
             gvm_change_kind_name(ch->kind));
    put(t, text);
    cli_term_text(t, ch->path, 0, t->cols - t->at);
    cli_term_newline(t);
    cli_term_style(t, ch->class_ == GVM_CLASS_RUNS_ON_HOST || f->clash ? CLI_RED : CLI_DIM, false);
    snprintf(text, sizeof(text), "%s: %s%s%s", gvm_change_class_name(ch->class_), ch->why,
             f->clash    ? "; CONFLICT: your file changed since, accepted lines replace yours"
             : f->merged ? "; your file changed since, both are merged here"
                         : "",
             f->has_edit ? "; edited by you" : "");
    put(t, text);
    cli_term_newline(t);
}

static void draw_file(struct review *r)
{
    struct cli_term *t = &r->term;
    const struct review_file *f = &r->files[r->at];
    struct rows count = {.r = r, .f = f, .found = SIZE_MAX};
    pass_all(&count);
    r->lines = count.at;
    size_t rows = t->rows - 3;
    if (r->line + rows > r->lines)
        r->line = r->lines > rows ? r->lines - rows : 0;
    draw_file_head(r, f);
    struct rows draw = {.r = r, .f = f, .draw = true};
    pass_all(&draw);
    while (t->row + 1 < t->rows)
        cli_term_newline(t);
}

size_t review_hunk_row(struct review *r)
{
    struct rows w = {.r = r, .f = &r->files[r->at], .found = SIZE_MAX};
    pass_all(&w);
    return w.at_hunk;
}

/* ---- help and the last line ---- */

static void draw_help(struct review *r)
{
    static const char *const lines[] = {
        "gvm review",
        "",
        "  a   accept         lands when you finish",
        "  r   reject         stays staged",
        "  d   throw away     is forgotten when you finish",
        "  s   skip           decide later",
        "  A   accept all of this kind: the same change and class (in a file: all hunks)",
        "  e   edit what lands, in your editor",
        "  v   side by side",
        "  /   search          n  next",
        "  j k arrows pages    move           left, right: long lines",
        "  [ ] previous, next hunk            < > previous, next file",
        "  enter  open         q  back; in the list: finish",
        "  Q ctrl-c            leave; nothing is done",
        "",
        "  [+] accepted  [~] in part  [-] rejected  [x] thrown away  [ ] not decided",
    };
    struct cli_term *t = &r->term;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]) && t->row + 2 < t->rows; i++) {
        cli_term_style(t, i ? CLI_PLAIN : CLI_BOLD, false);
        put(t, lines[i]);
        cli_term_newline(t);
    }
    while (t->row + 1 < t->rows)
        cli_term_newline(t);
}

void review_draw(struct review *r)
{
    struct cli_term *t = &r->term;
    cli_term_begin(t);
    if (r->help) {
        draw_help(r);
    } else if (r->in_file) {
        draw_file(r);
    } else {
        draw_head(r);
        draw_list(r);
    }
    cli_term_style(t, r->message[0] ? CLI_BOLD : CLI_DIM, false);
    put(t,
        r->message[0] ? r->message
        : r->help     ? "any key goes back"
        : r->in_file
            ? "a accept  r reject  s skip  A all  e edit  v side by side  [ ] hunks  q back  ? help"
            : "enter open  a accept  r reject  d throw away  A all of a kind  q finish  ? help");
    gvm_buf_addz(&t->frame, "\033[0m\033[K");
    cli_term_show(t);
}

/* ---- searching ---- */

static bool search_list(struct review *r)
{
    for (size_t k = 1; k <= r->n; k++) {
        size_t i = (r->at + k) % r->n;
        if (has_text(review_change(r, &r->files[i])->path, r->search)) {
            r->at = i;
            return true;
        }
    }
    return false;
}

bool review_search(struct review *r)
{
    if (!r->search[0] || !r->n)
        return false;
    if (!r->in_file)
        return search_list(r);
    struct rows w = {.r = r, .f = &r->files[r->at], .found = SIZE_MAX, .after = r->line};
    pass_all(&w);
    if (w.found == SIZE_MAX)
        return false;
    r->line = w.found;
    return true;
}
