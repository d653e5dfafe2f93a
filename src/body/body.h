/* body - pure codecs for what a message carries: content codings, JSON paths, forms, GraphQL, git.
 *
 * Owns:       nothing but what it was asked to build. No descriptor, clock or global.
 * Threads:    none of its own; a struct gvm_content is used by one thread at a time.
 * On failure: the caller learns that the content could not be seen; it never gets half of a
 * meaning.
 */
#ifndef GVM_BODY_H
#define GVM_BODY_H

#include "body/content.h"
#include "body/decode.h"
#include "body/decimal.h"
#include "body/form.h"
#include "body/git_push.h"
#include "body/graphql.h"
#include "body/json_path.h"
#include "body/ws.h"

#endif
