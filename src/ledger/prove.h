/* ledger/prove.h - proofs out of the tiles: what proof.c and bundle.c make their texts from. */
#ifndef GVM_LEDGER_PROVE_H
#define GVM_LEDGER_PROVE_H

#include "ledger/evidence.h"
#include "ledger/verify_int.h"

#define PROVE_LEVELS 8u
#define PROVE_PATH   63u /* hashes of an inclusion path, at most; one of consistency has one more */

struct prover {
    const char *dir;
    int dirfd;
    struct gvm_buf note; /* the checkpoint as it stands in the file */
    struct gvm_checkpoint head;
    struct vhasher hasher;
    uint8_t tail[VTILE][VHASH]; /* leaf hashes behind the last full tile */
    struct gvm_buf tile;
};
/* Against the checkpoint of the ledger in `dir`, which must stay valid. Its signature is not looked
 * at. */
int prover_open(const char *dir, struct prover **ret, struct gvm_err *err) GVM_MUST_CHECK;
void prover_free(struct prover *p);
/* The path of the entry with this leaf hash, checked against the head's root. -ERANGE: not signed
 * yet; -EBADMSG: the log does not fit its checkpoint. */
int prover_path(struct prover *p, uint64_t index, const uint8_t leaf[VHASH],
                uint8_t ret[PROVE_PATH][VHASH], size_t *ret_n, struct gvm_err *err) GVM_MUST_CHECK;
/* RFC 6962 section 2.1.2: that the first `size` entries are those of the tree with this root,
 * checked. */
int prover_extends(struct prover *p, const struct gvm_checkpoint *old,
                   uint8_t ret[PROVE_PATH + 1][VHASH], size_t *ret_n,
                   struct gvm_err *err) GVM_MUST_CHECK;

/* The hash at a tile level, by its position there; the root of everything signed, out of the tiles.
 */
int prover_hash(struct prover *p, unsigned level, uint64_t i, uint8_t ret[VHASH]) GVM_MUST_CHECK;
int prover_root(struct prover *p, uint8_t ret[VHASH]) GVM_MUST_CHECK;

/* Calls back with the lines of entries [from, to), all of which must be there. The callback returns
 * 0, or an error that it has set. */
int prover_walk(const char *dir, uint64_t from, uint64_t to,
                int (*fn)(void *arg, uint64_t index, struct gvm_str line, struct gvm_err *err),
                void *arg, struct gvm_err *err) GVM_MUST_CHECK;

#endif
