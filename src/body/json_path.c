/* body/json_path.c - compiled into steps; walked with a stack of its own, no recursion. */
#include "body/json_path.h"

#include <errno.h>

/* ---- compile ---- */

struct compile {
    struct gvm_arena *a;
    struct gvm_str s;
    struct gvm_json_path *path;
    struct gvm_err *err;
};

static int bad(struct compile *c, const char *what)
{
    return gvm_err_set(c->err, EINVAL, "%s; write it like $.items[*].price or $..name", what);
}

static void skip(struct compile *c, size_t n)
{
    c->s.p += n;
    c->s.n -= n;
}

static int add_step(struct compile *c, const struct gvm_json_step *s, struct gvm_str name)
{
    if (c->path->n == GVM_MAX_JSON_STEPS)
        return gvm_err_set(c->err, EINVAL, "the path has more than %u steps", GVM_MAX_JSON_STEPS);
    struct gvm_json_step *to = &c->path->steps[c->path->n];
    *to = *s;
    if (name.n) {
        char *p = gvm_arena_dup(c->a, name.p, name.n);
        if (!p)
            return gvm_err_set(c->err, ENOMEM, "out of memory");
        to->name = (struct gvm_str){p, name.n};
    }
    c->path->n++;
    return 0;
}

/* [*], [3], ['name'] */
static int bracket(struct compile *c, bool deep)
{
    struct gvm_json_step s = {.deep = deep};
    struct gvm_str name = {0};
    char quote = c->s.n > 1 ? c->s.p[1] : '\0';
    ptrdiff_t end;
    skip(c, 1);
    if (quote == '\'' || quote == '"') {
        skip(c, 1);
        end = gvm_str_find(c->s, quote);
        if (end <= 0 || (size_t)end + 1 >= c->s.n || c->s.p[end + 1] != ']')
            return bad(c, "a quoted name is empty or not closed");
        name = (struct gvm_str){c->s.p, (size_t)end};
        s.kind = GVM_STEP_MEMBER;
        skip(c, (size_t)end + 2);
        return add_step(c, &s, name);
    }
    end = gvm_str_find(c->s, ']');
    uint64_t index = 0;
    if (end <= 0)
        return bad(c, "a bracket is empty or not closed");
    struct gvm_str inside = {c->s.p, (size_t)end};
    s.kind = gvm_str_eqz(inside, "*") ? GVM_STEP_EACH : GVM_STEP_INDEX;
    if (s.kind == GVM_STEP_INDEX && gvm_parse_u64(inside, 1000000, &index) < 0)
        return bad(c, "a bracket holds neither *, nor a number, nor a quoted name");
    s.index = (uint32_t)index;
    skip(c, (size_t)end + 1);
    return add_step(c, &s, name);
}

/* name or * behind a dot */
static int dotted(struct compile *c, bool deep)
{
    struct gvm_json_step s = {.deep = deep, .kind = GVM_STEP_MEMBER};
    size_t n = 0;
    while (n < c->s.n && c->s.p[n] != '.' && c->s.p[n] != '[')
        n++;
    struct gvm_str name = {c->s.p, n};
    if (n == 0)
        return bad(c, "a name is empty");
    if (gvm_str_eqz(name, "*")) {
        s.kind = GVM_STEP_EACH;
        name.n = 0;
    } else if (memchr(name.p, '*', n) || memchr(name.p, ' ', n) || memchr(name.p, '\'', n)) {
        return bad(c, "a name with special characters stands in ['...']");
    }
    skip(c, n);
    return add_step(c, &s, name);
}

int gvm_json_path_compile(struct gvm_arena *a, struct gvm_str text, struct gvm_json_path *ret,
                          struct gvm_err *err)
{
    struct gvm_json_path path = {.steps =
                                     gvm_arena_alloc(a, GVM_MAX_JSON_STEPS * sizeof *path.steps)};
    struct compile c = {.a = a, .s = text, .path = &path, .err = err};
    if (!path.steps)
        return gvm_err_set(err, ENOMEM, "out of memory");
    if (!gvm_str_starts(text, GVM_STR("$")))
        return bad(&c, "a path begins with $");
    skip(&c, 1);
    int r = 0;
    while (c.s.n && r == 0) {
        bool deep = gvm_str_starts(c.s, GVM_STR(".."));
        bool dot = c.s.p[0] == '.';
        skip(&c, deep ? 2 : dot);
        if (c.s.n == 0)
            r = bad(&c, "a path ends in a dot");
        else if (c.s.p[0] == '[' && (deep || !dot))
            r = bracket(&c, deep);
        else if (dot)
            r = dotted(&c, deep);
        else
            r = bad(&c, "a member is written with a dot before its name");
    }
    if (r == 0)
        *ret = path;
    return r;
}

/* ---- walk ---- */

/* A container whose children are tried against one step. Every frame stands for a node one level
 * below that of the frame it came from, and a child begets two at most (it matches, and it is
 * searched deeper), which bounds the stack. */
struct frame {
    const struct gvm_json *parent, *next;
    uint32_t number; /* of `next` among its siblings */
    unsigned step;
    bool loose, batch, hit;
};

struct walk {
    const struct gvm_json_path *path;
    struct frame stack[2 * GVM_MAX_JSON_DEPTH + 2];
    unsigned depth, work;
    void (*see)(void *, const struct gvm_json *, bool);
    void *ctx;
    struct gvm_json_found found;
};

static bool is_container(const struct gvm_json *v)
{
    return v->type == GVM_JSON_OBJECT || v->type == GVM_JSON_ARRAY;
}

static void push(struct walk *w, const struct gvm_json *v, unsigned step, bool loose)
{
    const struct gvm_json_step *s = &w->path->steps[step];
    if (w->depth == sizeof w->stack / sizeof *w->stack) {
        w->found.gave_up = true;
        return;
    }
    bool batch = step == 0 && w->depth == 0 && s->kind == GVM_STEP_MEMBER && !s->deep &&
                 v->type == GVM_JSON_ARRAY;
    w->stack[w->depth++] =
        (struct frame){.parent = v, .next = v->child, .step = step, .loose = loose, .batch = batch};
}

/* v is what the first `step` steps select. */
static void selected(struct walk *w, const struct gvm_json *v, unsigned step, bool loose)
{
    if (step < w->path->n) {
        push(w, v, step, loose);
        return;
    }
    w->found.loose += loose;
    w->found.exact += !loose;
    w->see(w->ctx, v, loose);
}

/* Does a child match the step? 1 yes, 2 for a lax reader. */
static int fits(const struct gvm_json_step *s, const struct frame *f, const struct gvm_json *child,
                uint32_t number)
{
    if (s->kind == GVM_STEP_EACH)
        return 1;
    if (s->kind == GVM_STEP_INDEX)
        return f->parent->type == GVM_JSON_ARRAY && number == s->index;
    if (f->parent->type != GVM_JSON_OBJECT)
        return 0;
    if (gvm_str_eq(child->key, s->name))
        return 1;
    return gvm_str_ieq(child->key, s->name) ? 2 : 0;
}

static void try_child(struct walk *w, struct frame *f)
{
    const struct gvm_json_step *s = &w->path->steps[f->step];
    const struct gvm_json *child = f->next;
    uint32_t number = f->number++;
    f->next = child->next;
    int fit = fits(s, f, child, number);
    f->hit = f->hit || fit == 1;
    if ((s->deep || f->batch) && is_container(child))
        push(w, child, f->step, f->loose || f->batch);
    if (fit)
        selected(w, child, f->step + 1, f->loose || fit == 2);
}

void gvm_json_path_walk(const struct gvm_json_path *path, const struct gvm_json *root,
                        void (*see)(void *ctx, const struct gvm_json *v, bool loose), void *ctx,
                        struct gvm_json_found *ret)
{
    struct walk w;
    w.path = path;
    w.depth = 0;
    w.work = GVM_MAX_JSON_WALK;
    w.see = see;
    w.ctx = ctx;
    w.found = (struct gvm_json_found){0};
    selected(&w, root, 0, false);
    while (w.depth && !w.found.gave_up) {
        struct frame *f = &w.stack[w.depth - 1];
        if (!f->next) {
            w.found.gap = w.found.gap || (!f->hit && !path->steps[f->step].deep);
            w.depth--;
        } else if (w.work-- == 0) {
            w.found.gave_up = true;
        } else {
            try_child(&w, f);
        }
    }
    *ret = w.found;
}
