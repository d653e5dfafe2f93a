/* body/git_push.h - what a push over git's smart HTTP asks for (gitprotocol-pack, -http).
 *
 * The body of POST .../git-receive-pack: pkt-lines "OLD NEW ref[\0capabilities]", a flush, options,
 * then the pack. Only the beginning is looked at. A push does not say that it is forced; it is not
 * when the new commit descends from the old one, and that can be shown when the commits between
 * them stand in the pack.
 */
#ifndef GVM_BODY_GIT_PUSH_H
#define GVM_BODY_GIT_PUSH_H

#include <stdbool.h>
#include "core/core.h"

enum gvm_git_force {
    GVM_GIT_FORWARD, /* a new ref, or the new commit descends from the old one */
    GVM_GIT_FORCED,  /* the whole history in between is here and the old commit is not in it */
    GVM_GIT_UNKNOWN, /* the pack does not show it, or not as far as was read */
};

struct gvm_git_ref {
    struct gvm_str name;          /* "refs/heads/main"; view into the body */
    struct gvm_str before, after; /* object names in hex */
    bool create, delete;
    enum gvm_git_force force;
};

struct gvm_git_push {
    struct gvm_git_ref *refs;
    size_t n;
};

/* `in` is the body's beginning, decoded; `whole` when it is all of it. Memory from `a`. -EINVAL:
 * not a push (also a shallow or signed one, whose commands stand elsewhere, and an empty one that
 * is not git's own question, a flush and nothing else); -E2BIG: more refs than
 * GVM_MAX_GIT_REFS, or the commands do not end within `in`; -ENOMEM. */
int gvm_git_push_parse(struct gvm_arena *a, struct gvm_str in, bool whole, struct gvm_git_push *ret,
                       struct gvm_err *err) GVM_MUST_CHECK;

/* The repository in a canonical path that ends in "/git-receive-pack", "/git-upload-pack" or
 * "/info/refs": what stands before, without its first slash and a ".git" at the end. False when the
 * path is none of these. */
bool gvm_git_repository(struct gvm_str path, struct gvm_str *ret);

#endif
