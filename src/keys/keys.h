/* keys - the process that holds secrets: run CAs, leaf keys, credentials, the log's signing key.
 *
 * Owns:       every private key and credential value. No network, no files after start.
 * Threads:    one.
 * On failure: the asker gets FAILED and must deny.
 */
#ifndef GVM_KEYS_H
#define GVM_KEYS_H

#include "core/core.h"

/* main() of `gvmd --child keys`. START JSON {"origin":TEXT,"last_size":N,"last_root":BASE64} + 3
 * fds: the log signing seed and the sealing key (32 bytes each, read at once and closed), and the
 * file that remembers the last signed head (for reading and writing; may be left out). last_*: the
 * head in the log, if there is one. No head is signed that is smaller than, or unequal at the size
 * of, the larger of both. */
int gvm_keys_main(int fd);

/* Makes the two 32-byte key files below `dirfd` when absent (0600, durable); opens both for
 * reading, and `signed-head` for reading and writing. Called by the parent. */
int gvm_keys_open_files(int dirfd, int ret_fds[3], struct gvm_err *err) GVM_MUST_CHECK;
/* Verifier key text "name+hex8+base64" for a 32-byte seed. */
int gvm_keys_verifier(const uint8_t seed[32], const char *origin, struct gvm_buf *out,
                      struct gvm_err *err) GVM_MUST_CHECK;

#endif
