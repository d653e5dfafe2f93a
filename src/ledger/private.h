/* ledger/private.h - the members of an entry that a proof may leave out.
 *
 * A line of the log whose entry has such members is one JSON object with a seam in it:
 *
 *   {"v":2, public members ,"private":"<commitment>"  ,"salt":"<salt>", private members }
 *   '-------------- the entry, closed by '}' -------'
 *
 * The entry, what the tree is made of, ends behind the commitment: the bytes up to there and a '}'.
 * What follows is only committed to, so it may be shown, or not, or be thrown away, and the entry
 * stays what was signed. All values are base64 (RFC 4648, padded): 44 characters of commitment, 24
 * of salt.
 *
 *   salt_i     = first 16 bytes of SHA-256(0x02 || salt, 16 bytes || i, 1 byte)    i from 0
 *   hash_i     = SHA-256(0x03 || salt_i || value_i)      the value's bytes as they stand in the
 * line commitment = SHA-256(0x04 || for each i: length of name_i, 2 bytes big-endian || name_i ||
 * hash_i)
 *
 * Who shows member i shows salt_i and value_i; who does not shows hash_i. Names and their number
 * are always known, values only when shown: a salt of its own keeps short ones from being guessed.
 * Shared by writer and verifier, like the reading of notes: pure functions over bytes.
 */
#ifndef GVM_LEDGER_PRIVATE_H
#define GVM_LEDGER_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>
#include "core/core.h"

#define PRIVATE_MAX  64u /* private members of one entry */
#define PRIVATE_NAME 64u /* bytes of a private member's name */
#define PRIVATE_SALT 16u
#define PRIVATE_HASH 32u

struct evp_md_ctx_st;

/* Where a line's entry ends. `head` and "}" together are the entry. */
struct private_seam {
    struct gvm_str head;   /* the entry without its last '}' */
    struct gvm_str commit; /* base64 */
    struct gvm_str salt;   /* base64 */
    struct gvm_str rest;   /* from the ',' before the first private member, or '}', to the end */
};
/* True when the line has a seam: it begins {"v":2, and its first ,"private":" is followed by what
 * must stand there. A line without one is its own entry. */
bool private_seam(struct gvm_str line, struct private_seam *ret);
/* True for a line that begins like one with private members. */
static inline bool private_claims(struct gvm_str line)
{
    return gvm_str_starts(line, GVM_STR("{\"v\":2,"));
}

struct private_member {
    struct gvm_str name;  /* as it stands between the quotes */
    struct gvm_str value; /* JSON as it stands; p NULL: not shown */
    uint8_t salt[PRIVATE_SALT];
    uint8_t hash[PRIVATE_HASH];
};
/* The members of a seam's rest; salts and hashes are not computed. False when it is malformed, has
 * more than PRIVATE_MAX or names one twice. */
bool private_members(struct gvm_str rest, struct private_member *ret, unsigned *ret_n);

/* `md` is a context that was initialised with SHA-256. */
void private_salt(struct evp_md_ctx_st *md, const uint8_t salt[PRIVATE_SALT], unsigned i,
                  uint8_t ret[PRIVATE_SALT]);
void private_hash(struct evp_md_ctx_st *md, const uint8_t salt[PRIVATE_SALT], struct gvm_str value,
                  uint8_t ret[PRIVATE_HASH]);
void private_commit(struct evp_md_ctx_st *md, const struct private_member *m, unsigned n,
                    uint8_t ret[PRIVATE_HASH]);

/* Reads the private members of a line with a seam, salts and hashes computed, and holds them
 * against the commitment. False when anything does not fit. */
bool private_open(struct evp_md_ctx_st *md, const struct private_seam *s,
                  struct private_member *ret, unsigned *ret_n);
/* The writer's side: gives a line that claims private members its salt and commitment, in place,
 * over what stands there. -EINVAL when the line has no seam or its members are malformed; -EIO
 * without random. */
int private_seal(struct evp_md_ctx_st *md, char *line, size_t n) GVM_MUST_CHECK;

#endif
