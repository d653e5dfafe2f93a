/* keys - the process that holds secrets: run CAs, leaf keys, credentials, the log's signing key.
 *
 * Owns:       every private key and credential value. No network, no files after start.
 * Threads:    one.
 * On failure: the asker gets FAILED and must deny.
 */
#ifndef GVM_KEYS_H
#define GVM_KEYS_H

#include "core/core.h"

/* main() of `gvmd --child keys`. START JSON {"origin":TEXT} + 2 fds: the log signing seed and the sealing
 * key (32 bytes each, read at once and closed). */
int gvm_keys_main(int fd);

/* Makes the two 32-byte key files below `dirfd` when absent (0600, durable); opens both for reading.
 * Called by the parent. */
int gvm_keys_open_files(int dirfd, int ret_fds[2], struct gvm_err *err) GVM_MUST_CHECK;
/* Verifier key text "name+hex8+base64" for a 32-byte seed. */
int gvm_keys_verifier(const uint8_t seed[32], const char *origin, struct gvm_buf *out, struct gvm_err *err)
    GVM_MUST_CHECK;

#endif
