/* cli/trust.h - which files the owner has trusted: state/trust, one "sha256 path" a line, 0600.
 *
 * A gvm.toml inside a workspace came with the workspace: whoever wrote the repository wrote it. It
 * is used only while its path and every byte of it are what the owner trusted.
 */
#ifndef GVM_CLI_TRUST_H
#define GVM_CLI_TRUST_H

#include "core/core.h"

enum cli_trust { CLI_TRUST_NONE = 0, CLI_TRUST_CHANGED, CLI_TRUST_YES };

/* Is the file at `path` (absolute, resolved) trusted as it stands now? A file that cannot be read
 * is an error, a state directory that does not exist is not. */
int cli_trust_look(const char *path, enum cli_trust *ret, struct gvm_err *err) GVM_MUST_CHECK;
/* Remembers the file as it stands now, in place of what was remembered for that path. `ret_hex`
 * (may be NULL) takes its SHA-256. */
int cli_trust_add(const char *path, char ret_hex[65], struct gvm_err *err) GVM_MUST_CHECK;
/* Forgets the path; *ret_was tells whether it was there. */
int cli_trust_remove(const char *path, bool *ret_was, struct gvm_err *err) GVM_MUST_CHECK;
/* Calls `see` for each line. */
int cli_trust_list(void (*see)(void *ctx, struct gvm_str hex, struct gvm_str path), void *ctx,
                   struct gvm_err *err) GVM_MUST_CHECK;

#endif
