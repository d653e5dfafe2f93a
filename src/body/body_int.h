/* body/body_int.h - what the views of a struct gvm_content share. */
#ifndef GVM_BODY_INT_H
#define GVM_BODY_INT_H

#include "body/body.h"

/* Memory of the views of one body, beside four times what is looked at: a tree of many small values
 * takes more than its text, and past this it counts as one that cannot be seen. */
#define BODY_ARENA (16u << 20)

enum body_view {
    BODY_PLAIN,
    BODY_JSON,
    BODY_QUERY,
    BODY_FORM,
    BODY_RPC,
    BODY_GIT,
    BODY_GRAPHQL,
    BODY_VIEWS
};

struct body_memo {
    bool done;
    int result;
    struct gvm_err why;
};

struct gvm_content {
    struct gvm_content_in in;
    struct gvm_arena *arena;
    struct gvm_err why; /* of the last view that could not be made */
    struct body_memo memo[BODY_VIEWS];
    struct gvm_buf plain;     /* decoded */
    struct gvm_buf unwrapped; /* and out of base64 */
    struct gvm_buf start;     /* decoded beginning, for git */
    struct gvm_json *json;
    bool json_loose;
    struct gvm_form query, form;
    struct gvm_rpc_call *calls;
    size_t ncalls;
    struct gvm_git_push git;
    struct gvm_graphql_request *docs;
    size_t ndocs, cap_docs;
};

/* Sets `why`; returns -code. */
int body_blind(struct gvm_content *c, int code, const char *what);
/* Runs `make` the first time, gives its result again later. */
int body_once(struct gvm_content *c, enum body_view which,
              int (*make)(struct gvm_content *c)) GVM_MUST_CHECK;
int body_plain(struct gvm_content *c, size_t max, struct gvm_str *ret) GVM_MUST_CHECK;

#endif
