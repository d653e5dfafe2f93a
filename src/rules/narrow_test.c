/* rules/narrow_test.c - one value against one test, and what many such answers come to.
 *
 * Programs convert values: "5000" may be read as a number, ["admin"] as "admin", 1 as true. Where a
 * conversion decides, the answer is MAYBE; where we cannot say what a program would make of it,
 * BLIND. */
#include "rules/narrow.h"

#include <errno.h>

bool rules_any_glob(const struct gvm_conf_texts *globs, struct gvm_str s)
{
    for (uint32_t i = 0; i < globs->n; i++)
        if (gvm_glob(globs->list[i], s))
            return true;
    return globs->n == 0;
}

static enum rules_fit yes(bool b)
{
    return b ? RULES_FITS : RULES_MISS;
}

/* ---- numbers ---- */

static bool order_holds(enum gvm_op op, int c)
{
    return (op == GVM_OP_LT && c < 0) || (op == GVM_OP_LE && c <= 0) ||
           (op == GVM_OP_GT && c > 0) || (op == GVM_OP_GE && c >= 0) || (op == GVM_OP_EQ && c == 0);
}

/* Equal or in order? `op` is EQ or an order. */
static enum rules_fit number_fits(enum gvm_op op, struct gvm_str s, struct gvm_str limit)
{
    int c = 0;
    if (gvm_decimal_compare(s, limit, &c) < 0)
        return RULES_BLIND;
    return yes(order_holds(op, c));
}

/* A text where a number is wanted. */
static enum rules_fit text_as_number(enum gvm_op op, struct gvm_str s, struct gvm_str limit)
{
    if (gvm_decimal_valid(s))
        return number_fits(op, s, limit);
    struct gvm_str t = gvm_str_trim(s);
    bool numeric = t.n && t.p[0] && strchr("0123456789+-.", t.p[0]);
    return op == GVM_OP_EQ && !numeric ? RULES_MISS : RULES_BLIND;
}

/* ---- one text ---- */

static enum rules_fit equals_text(const struct gvm_conf_value *v, struct gvm_str s)
{
    if (v->type == GVM_VALUE_NUMBER)
        return text_as_number(GVM_OP_EQ, s, v->text);
    return yes(gvm_str_eq(v->text, s));
}

static enum rules_fit regex_fits(struct rules_query *q, const struct rules_test *t, uint32_t i,
                                 struct gvm_str s)
{
    int r = rules_regex_match(q, t->regex[i], s);
    return r < 0 ? RULES_FAILED : yes(r > 0);
}

/* Any of the values; the surest answer counts. */
static enum rules_fit any_text(struct rules_query *q, const struct rules_test *t, struct gvm_str s)
{
    enum rules_fit best = RULES_MISS;
    for (uint32_t i = 0; i < t->nvalues && best != RULES_FITS; i++) {
        enum rules_fit f = t->op == GVM_OP_REGEX  ? regex_fits(q, t, i, s)
                           : t->op == GVM_OP_GLOB ? yes(gvm_glob(t->values[i].text, s))
                           : t->op >= GVM_OP_LT   ? text_as_number(t->op, s, t->values[i].text)
                                                  : equals_text(&t->values[i], s);
        if (f == RULES_FITS || f > best)
            best = f;
    }
    return best;
}

static enum rules_fit negate(enum rules_fit f)
{
    return f == RULES_FITS ? RULES_MISS : f == RULES_MISS ? RULES_FITS : f;
}

enum rules_fit rules_test_text(struct rules_query *q, const struct rules_test *t, struct gvm_str s)
{
    if (t->op == GVM_OP_EXISTS || t->op == GVM_OP_ABSENT)
        return RULES_FITS; /* being there is what counts: rules_tally_op() */
    enum rules_fit f = any_text(q, t, s);
    return t->op == GVM_OP_NE ? negate(f) : f;
}

/* ---- one JSON value ---- */

static enum rules_fit at_most_maybe(enum rules_fit f)
{
    return f == RULES_FITS ? RULES_MAYBE : f;
}

/* EQ: a scalar of JSON and a value, each of three types. */
static enum rules_fit equals_json(const struct gvm_conf_value *want, const struct gvm_json *v)
{
    bool boolean = v->type == GVM_JSON_TRUE || v->type == GVM_JSON_FALSE;
    struct gvm_str text = v->text;
    if (boolean)
        text = v->type == GVM_JSON_TRUE ? GVM_STR("true") : GVM_STR("false");
    if (want->type == GVM_VALUE_STRING)
        return v->type == GVM_JSON_STRING ? yes(gvm_str_eq(want->text, text))
                                          : at_most_maybe(yes(gvm_str_eq(want->text, text)));
    if (want->type == GVM_VALUE_BOOL) {
        bool one = gvm_str_eqz(want->text, "true");
        if (boolean)
            return yes(one == (v->type == GVM_JSON_TRUE));
        return at_most_maybe(
            yes(gvm_str_ieq(want->text, text) || gvm_str_eqz(text, one ? "1" : "0")));
    }
    if (v->type == GVM_JSON_NUMBER)
        return number_fits(GVM_OP_EQ, text, want->text);
    if (boolean)
        return at_most_maybe(yes(gvm_str_eqz(want->text, v->type == GVM_JSON_TRUE ? "1" : "0")));
    return at_most_maybe(text_as_number(GVM_OP_EQ, text, want->text));
}

static enum rules_fit order_json(const struct rules_test *t, const struct gvm_json *v)
{
    if (v->type == GVM_JSON_NUMBER)
        return number_fits(t->op, v->text, t->values[0].text);
    if (v->type == GVM_JSON_STRING)
        return at_most_maybe(text_as_number(t->op, v->text, t->values[0].text));
    return RULES_BLIND;
}

static enum rules_fit scalar(struct rules_query *q, const struct rules_test *t,
                             const struct gvm_json *v)
{
    enum rules_fit best = RULES_MISS;
    if (t->op >= GVM_OP_LT && t->op <= GVM_OP_GE)
        return order_json(t, v);
    if (t->op == GVM_OP_GLOB || t->op == GVM_OP_REGEX) {
        struct gvm_str s = v->type == GVM_JSON_TRUE    ? GVM_STR("true")
                           : v->type == GVM_JSON_FALSE ? GVM_STR("false")
                                                       : v->text;
        best = any_text(q, t, s);
        return v->type == GVM_JSON_STRING ? best : at_most_maybe(best);
    }
    for (uint32_t i = 0; i < t->nvalues && best != RULES_FITS; i++) {
        enum rules_fit f = equals_json(&t->values[i], v);
        if (f == RULES_FITS || f > best)
            best = f;
    }
    return t->op == GVM_OP_NE ? negate(best) : best;
}

enum rules_fit rules_test_json(struct rules_query *q, const struct rules_test *t,
                               const struct gvm_json *v)
{
    if (t->op == GVM_OP_EXISTS || t->op == GVM_OP_ABSENT)
        return RULES_FITS;
    if (v->type == GVM_JSON_NULL)
        return yes(t->op == GVM_OP_NE);
    if (v->type == GVM_JSON_OBJECT || v->type == GVM_JSON_ARRAY)
        return RULES_BLIND;
    return scalar(q, t, v);
}

/* ---- tallies ---- */

void rules_tally_start(struct rules_tally *t)
{
    *t = (struct rules_tally){.every = true};
}

void rules_tally_add(struct rules_tally *t, enum rules_fit fit, bool loose)
{
    t->exact += !loose;
    t->loose += loose;
    t->any = t->any || fit == RULES_FITS || fit == RULES_MAYBE;
    t->every = t->every && fit == RULES_FITS;
    t->blind = t->blind || fit == RULES_BLIND;
    t->failed = t->failed || fit == RULES_FAILED;
    if (fit == RULES_BLIND && !t->why)
        t->why = "a value cannot be compared with the rule's";
}

void rules_tally_end(const struct rules_tally *t, struct rules_seen *ret)
{
    *ret = (struct rules_seen){.some = t->any,
                               .all = t->any && t->every && t->exact > 0,
                               .blind = t->blind,
                               .failed = t->failed,
                               .why = t->why};
}

void rules_tally_op(const struct rules_tally *t, enum gvm_op op, struct rules_seen *ret)
{
    if (op != GVM_OP_ABSENT) {
        rules_tally_end(t, ret);
        return;
    }
    *ret = (struct rules_seen){.some = t->exact == 0, .all = t->exact + t->loose == 0};
}

/* ---- JSON ---- */

struct json_walk {
    struct rules_query *q;
    const struct rules_test *t;
    struct rules_tally tally;
};

static void see_value(void *ctx, const struct gvm_json *v, bool loose)
{
    struct json_walk *w = ctx;
    rules_tally_add(&w->tally, rules_test_json(w->q, w->t, v), loose);
}

void rules_judge_json(struct rules_query *q, const struct rules_tests *t,
                      const struct gvm_json *root, bool loose, struct rules_seen *ret)
{
    *ret = (struct rules_seen){.all = true, .some = true};
    for (uint32_t i = 0; i < t->n && rules_possible(ret); i++) {
        struct json_walk w = {.q = q, .t = &t->list[i]};
        struct gvm_json_found found;
        struct rules_seen one;
        rules_tally_start(&w.tally);
        gvm_json_path_walk(&t->list[i].path, root, see_value, &w, &found);
        rules_tally_op(&w.tally, t->list[i].op, &one);
        if (t->list[i].op != GVM_OP_ABSENT)
            one.all = one.all && !found.gap;
        if (found.gave_up) {
            one.blind = true;
            one.why = "the body has too many values to look at";
        }
        one.all = one.all && !loose;
        rules_and(ret, &one);
    }
}
