/* body/json_path.h - a small JSONPath over the tree of core/json.h.
 *
 *   $            the whole text            .name  ['name']  ["name"]   a member
 *   [3]          an element, from 0        .*  [*]                     every member or element
 *   ..name ..*   at any depth below
 *
 * Programs differ in how they match names (Go's encoding/json ignores case), so a member whose name
 * differs in case only is selected too, marked loose. A path that begins with a member also looks
 * into the elements of an array at the top (a batch), marked loose.
 */
#ifndef GVM_BODY_JSON_PATH_H
#define GVM_BODY_JSON_PATH_H

#include <stdbool.h>
#include "core/core.h"

struct gvm_json_step {
    enum { GVM_STEP_MEMBER, GVM_STEP_INDEX, GVM_STEP_EACH } kind;
    bool deep; /* at any depth */
    struct gvm_str name;
    uint32_t index;
};

struct gvm_json_path {
    struct gvm_json_step *steps;
    unsigned n;
};

/* Memory from `a`; `text` need not outlive the call. -EINVAL with a reason, -ENOMEM. */
int gvm_json_path_compile(struct gvm_arena *a, struct gvm_str text, struct gvm_json_path *ret,
                          struct gvm_err *err) GVM_MUST_CHECK;

/* What a walk found on its way besides the values it gave to `see`. */
struct gvm_json_found {
    unsigned exact; /* values selected as the path says */
    unsigned loose; /* values that a laxer reader would select */
    bool gap;       /* something the path goes through lacked what it asks for */
    bool gave_up;   /* more than GVM_MAX_JSON_WALK nodes were looked at */
};

/* Calls `see` for every selected value, in the order of the text. */
void gvm_json_path_walk(const struct gvm_json_path *path, const struct gvm_json *root,
                        void (*see)(void *ctx, const struct gvm_json *v, bool loose), void *ctx,
                        struct gvm_json_found *ret);

#endif
