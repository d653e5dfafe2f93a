/* ledger/seed.h - the log's signing seed as it lies on disk: 32 bytes, or those under a passphrase.
 *
 * The passphrase is the first line of the file that GVM_LOG_PASSPHRASE_FILE names, or of the
 * systemd credential gvm-log-passphrase; nobody but its owner may be able to read it.
 */
#ifndef GVM_LEDGER_SEED_H
#define GVM_LEDGER_SEED_H

#include "core/core.h"

#define GVM_SEED 32u

/* Reads dirfd/name. *ret_protected (may be NULL): it lies under a passphrase. -ENOKEY: no
 * passphrase; -EBADMSG: another one. The caller wipes `ret`. */
int gvm_seed_read(int dirfd, const char *name, uint8_t ret[GVM_SEED], bool *ret_protected,
                  struct gvm_err *err) GVM_MUST_CHECK;
/* Writes dirfd/name, durably, 0600; under the passphrase if `protect`. */
int gvm_seed_write(int dirfd, const char *name, const uint8_t seed[GVM_SEED], bool protect,
                   struct gvm_err *err) GVM_MUST_CHECK;

#endif
