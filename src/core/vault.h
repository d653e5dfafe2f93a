/* core/vault.h - a small secret under a passphrase: scrypt (RFC 7914) and AES-256-GCM.
 *
 *   gvm-vault@v1 <log2 N> <r> <p> <salt> <nonce> <ciphertext and tag> \n        base64, one space
 * between
 *
 * What stands before the salt is authenticated with the secret (as associated data).
 */
#ifndef GVM_CORE_VAULT_H
#define GVM_CORE_VAULT_H

#include <stdbool.h>
#include "core/buf.h"
#include "core/err.h"

#define GVM_VAULT_SECRET 4096u /* bytes of a secret, at most */
#define GVM_VAULT_TEXT   8192u /* bytes of the text, at most */

bool gvm_vault_looks(struct gvm_str text);
/* Appends the text. Takes some 64 MiB and a quarter of a second, on purpose. */
int gvm_vault_seal(struct gvm_str passphrase, struct gvm_str secret, struct gvm_buf *out,
                   struct gvm_err *err) GVM_MUST_CHECK;
/* Appends the secret to `out` (set out->secret). -EBADMSG: malformed, changed, or another
 * passphrase. */
int gvm_vault_open(struct gvm_str passphrase, struct gvm_str text, struct gvm_buf *out,
                   struct gvm_err *err) GVM_MUST_CHECK;

#endif
