/* body/graphql.h - which operations and fields a GraphQL document asks for (spec October 2021).
 *
 * A lexer and parser for executable documents. Values are checked for balance only. Anything else,
 * type definitions too, is an error: what we read differently from the server could hide a field.
 */
#ifndef GVM_BODY_GRAPHQL_H
#define GVM_BODY_GRAPHQL_H

#include <stdbool.h>
#include "core/core.h"

enum gvm_graphql_type { GVM_GRAPHQL_QUERY, GVM_GRAPHQL_MUTATION, GVM_GRAPHQL_SUBSCRIPTION };

/* All text is views into the document. `owner` is the number of the definition something is in. */
struct gvm_graphql_def {
    bool fragment;
    enum gvm_graphql_type type; /* operations */
    struct gvm_str name;        /* may be empty for operations */
    uint32_t fields,
        spreads; /* where those of this definition begin; they end where the next's do */
};
struct gvm_graphql_field {
    struct gvm_str name; /* the field's own, never its alias */
    uint32_t owner;
    bool root; /* directly selected by its definition; inline fragments do not count as a level */
};
struct gvm_graphql_spread {
    struct gvm_str name;
    uint32_t owner, to; /* `to`: the fragment's definition */
    bool root;
};

struct gvm_graphql {
    struct gvm_graphql_def *defs;
    struct gvm_graphql_field *fields;
    struct gvm_graphql_spread *spreads;
    uint32_t ndefs, nfields, nspreads;
    bool *reached;   /* scratch of gvm_graphql_roots(): one per definition, ... */
    uint32_t *queue; /* ... and those still to be looked at */
};

/* Memory from `a`; `text` must outlive it. -EINVAL with the offset, -E2BIG past GVM_MAX_GRAPHQL of
 * a kind or too deep, -ENOMEM. Every fragment that is spread exists, and no two have one name. */
int gvm_graphql_parse(struct gvm_arena *a, struct gvm_str text, struct gvm_graphql *ret,
                      struct gvm_err *err) GVM_MUST_CHECK;

/* Calls `see` for every root field of operation `def`, those of fragments that it spreads at its
 * root included. */
void gvm_graphql_roots(const struct gvm_graphql *g, uint32_t def,
                       void (*see)(void *ctx, struct gvm_str field), void *ctx);

#endif
