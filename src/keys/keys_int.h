/* keys_int.h - what the files of this room share. */
#ifndef GVM_KEYS_INT_H
#define GVM_KEYS_INT_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include "core/core.h"
#include "ipc/messages.h"
#include "keys/keys.h"

#define KEYS_SEED 32u

/* ---- ca.c: the certificate authority of one run ---- */

struct keys_ca;
/* A fresh CA. Owned by the caller. */
int keys_ca_new(const char *run, struct keys_ca **ret, struct gvm_err *err) GVM_MUST_CHECK;
void keys_ca_free(struct keys_ca *ca);
/* The CA as DER: certificate, then private key, each with a 32-bit length before it. Secret. */
int keys_ca_export(const struct keys_ca *ca, struct gvm_buf *out,
                   struct gvm_err *err) GVM_MUST_CHECK;
int keys_ca_import(const char *run, struct gvm_str blob, struct keys_ca **ret,
                   struct gvm_err *err) GVM_MUST_CHECK;
int keys_ca_pem(const struct keys_ca *ca, struct gvm_buf *out, struct gvm_err *err) GVM_MUST_CHECK;
/* A certificate for a canonical host name or IP text: appends certificate, key and CA as DER to
 * `out` and their lengths to *ret. The key is one per run: certificates of one run are never
 * compared by key. */
int keys_ca_leaf(struct keys_ca *ca, const char *host, struct gvm_m_leaf_cert *ret,
                 struct gvm_buf *out, struct gvm_err *err) GVM_MUST_CHECK;

/* ---- seal.c: AES-256-GCM under the sealing key; the run id is authenticated with it ---- */

int keys_seal(const uint8_t key[KEYS_SEED], const char *run, struct gvm_str plain,
              struct gvm_buf *out, struct gvm_err *err) GVM_MUST_CHECK;
/* -EBADMSG when the blob was changed, belongs to another run or another key. */
int keys_unseal(const uint8_t key[KEYS_SEED], const char *run, struct gvm_str sealed,
                struct gvm_buf *out, struct gvm_err *err) GVM_MUST_CHECK;

/* ---- sign.c: the log's signing key ---- */

struct keys_signer {
    EVP_PKEY *key;
    char origin[256];
    uint8_t key_id[4];
    uint8_t public_key[32];
    bool signed_before;
    struct gvm_m_sign last; /* never signed anything that contradicts this */
    int head_fd;            /* where it is remembered; -1: nowhere */
};
int keys_signer_init(struct keys_signer *s, const uint8_t seed[KEYS_SEED], const char *origin,
                     struct gvm_err *err) GVM_MUST_CHECK;
void keys_signer_done(struct keys_signer *s);
/* Takes `fd` (on success too it is closed by keys_signer_done) and the head remembered in it.
 * -EBADMSG when what is there is no head. */
int keys_signer_remember(struct keys_signer *s, int fd, struct gvm_err *err) GVM_MUST_CHECK;
/* A head that the log shows as signed. -EPERM when it contradicts what is remembered. */
int keys_signer_known(struct keys_signer *s, const struct gvm_m_sign *head,
                      struct gvm_err *err) GVM_MUST_CHECK;
/* Signs the checkpoint text of (size, root). -EPERM for a head smaller than, or different at the
 * size of, the last one, and for one that the `n` nodes do not show to extend it. */
int keys_sign(struct keys_signer *s, const struct gvm_m_sign *head, const uint8_t (*nodes)[32],
              size_t n, struct gvm_m_signed *ret, struct gvm_err *err) GVM_MUST_CHECK;
/* extends.c: whether the nodes (see GVM_MSG_SIGN) lead from the one head to the other. */
bool keys_extends(const struct gvm_m_sign *old, const struct gvm_m_sign *now,
                  const uint8_t (*nodes)[32], size_t n);
/* Verifier key text of a public key. */
int keys_verifier_text(const struct keys_signer *s, struct gvm_buf *out) GVM_MUST_CHECK;

/* ---- creds.c: credentials, one set per policy ---- */

struct keys_creds;
struct keys_creds *keys_creds_new(void) GVM_MUST_CHECK;
void keys_creds_free(struct keys_creds *c);
/* Replaces the whole set of a policy with {"credentials":[...]}; on failure the old set stays. */
int keys_creds_load(struct keys_creds *c, uint32_t policy, struct gvm_str json,
                    struct gvm_err *err) GVM_MUST_CHECK;
/* Answer to GVM_MSG_CRED as JSON. */
int keys_creds_answer(const struct keys_creds *c, const struct gvm_m_cred *ask, struct gvm_buf *out,
                      struct gvm_err *err) GVM_MUST_CHECK;

#endif
