/* body/content.h - what one request carries beside its head, decoded when a rule asks for it and
 * then kept for the next rule.
 */
#ifndef GVM_BODY_CONTENT_H
#define GVM_BODY_CONTENT_H

#include <stdbool.h>
#include "body/form.h"
#include "body/git_push.h"
#include "body/graphql.h"
#include "core/core.h"

/* Views; they must outlive the content. */
struct gvm_content_in {
    bool present;          /* there is a body at all */
    bool whole;            /* `raw` is all of it */
    struct gvm_str raw;    /* the body without its framing, as it will be forwarded */
    struct gvm_str type;   /* Content-Type, "" when absent */
    struct gvm_str coding; /* Content-Encoding, "" when absent */
    struct gvm_str query;  /* of the URL, without '?' */
    size_t max;            /* the most that any rule looks at, bytes, raw and decoded */
};

struct gvm_content;

/* NULL when out of memory. */
struct gvm_content *gvm_content_new(const struct gvm_content_in *in) GVM_MUST_CHECK;
void gvm_content_free(struct gvm_content *c);

/* Each of these is 0, -ENODATA when there is nothing of the kind to be seen (no body, no query), or
 * another negative number when there is something that cannot be seen; gvm_content_why() then says
 * why, in a few words. `max` is the limit of the rule that asks. */
const char *gvm_content_why(const struct gvm_content *c);

/* The body as it is, decoded. */
int gvm_content_plain(struct gvm_content *c, size_t max, struct gvm_str *ret) GVM_MUST_CHECK;

/* The body as JSON. *ret_loose: it was wrapped in base64, which few servers undo. */
int gvm_content_json(struct gvm_content *c, size_t max, const struct gvm_json **ret,
                     bool *ret_loose) GVM_MUST_CHECK;

/* The body as a form of either kind. */
int gvm_content_form(struct gvm_content *c, size_t max, const struct gvm_form **ret) GVM_MUST_CHECK;

/* The query of the URL as pairs. */
int gvm_content_query(struct gvm_content *c, const struct gvm_form **ret) GVM_MUST_CHECK;

/* Every GraphQL document: of a JSON body (one or a batch), of application/graphql, of a form, of
 * ?query=. A persisted query without its text, or with a text that its hash does not fit, cannot be
 * seen. `operation` is the operationName, "" when absent. */
struct gvm_graphql_request {
    struct gvm_graphql doc;
    struct gvm_str operation;
};
int gvm_content_graphql(struct gvm_content *c, size_t max, const struct gvm_graphql_request **ret,
                        size_t *ret_n) GVM_MUST_CHECK;

/* Does an object have a member, in any case, by which a GraphQL server would find a document? */
bool gvm_graphql_is_request(const struct gvm_json *object);

/* JSON-RPC messages: one or a batch. An answer has no method. */
struct gvm_rpc_call {
    struct gvm_str method;
    const struct gvm_json *params; /* NULL when absent */
};
int gvm_content_rpc(struct gvm_content *c, size_t max, const struct gvm_rpc_call **ret,
                    size_t *ret_n) GVM_MUST_CHECK;

/* The commands of a git push; of a large body the beginning is enough. */
int gvm_content_git(struct gvm_content *c, size_t max,
                    const struct gvm_git_push **ret) GVM_MUST_CHECK;

/* A member by its name; *ret NULL when absent. -EINVAL when there is one that differs in case, so
 * that programs do not agree which one it is. */
int gvm_json_member(const struct gvm_json *object, const char *key,
                    const struct gvm_json **ret) GVM_MUST_CHECK;

/* Base64 of either alphabet, with or without padding, white space ignored. Appends. -EINVAL. */
int gvm_base64_lax(struct gvm_str text, struct gvm_buf *out) GVM_MUST_CHECK;

#endif
