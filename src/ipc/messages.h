/* ipc/messages.h - the catalogue: every message our processes may exchange.
 *
 * Structs travel as they stand. "JSON" payloads are one strict JSON object (core/json.h).
 * The table itself (sender, receiver, sizes, descriptors) is in messages.c.
 */
#ifndef GVM_IPC_MESSAGES_H
#define GVM_IPC_MESSAGES_H

#include <stdint.h>
#include "core/limits.h"

enum gvm_role {
    GVM_ROLE_NONE = 0,
    GVM_ROLE_PARENT,
    GVM_ROLE_PROXY,
    GVM_ROLE_KEYS,
    GVM_ROLE_LEDGER,
    GVM_ROLE_CONTROL,
    GVM_ROLE_CLIENT, /* gvm, on the control socket */
    GVM_ROLE_MAX
};

enum gvm_msg_type {
    GVM_MSG_NONE = 0,
    /* any -> any: the request with this id failed; struct gvm_m_failed, then text */
    GVM_MSG_FAILED,
    /* any -> any: the request with this id is done, nothing to say; empty */
    GVM_MSG_OK,

    /* parent -> child. START: JSON, role-specific, see below; first message after the child said
     * nothing yet. PEER: struct gvm_m_peer + 1 fd, replaces an older channel to that role.
     * STOP: empty; finish and exit 0. */
    GVM_MSG_START,
    GVM_MSG_PEER,
    GVM_MSG_STOP,
    /* child -> parent: confined and serving; empty */
    GVM_MSG_READY,

    /* parent -> proxy: struct gvm_m_policy + 1 fd (memfd: policy text of conf/policy.h). Answer OK
     * or FAILED. An id that exists is replaced for all its runs at once. */
    GVM_MSG_POLICY,
    /* parent -> keys: struct gvm_m_policy + 1 fd (memfd: JSON of credentials). Answer OK | FAILED
     */
    GVM_MSG_CREDENTIALS,
    /* parent -> proxy: JSON {"resolvers":[ADDRESS...],"hosts":TEXT} as in START: the network has
     * changed; no answer */
    GVM_MSG_NAMES,

    /* control -> parent: JSON {"config":PATH or null,"in_use":[policy ids of live runs]} ; answer
     * POLICY_INFO JSON
     * {"policy":ID,"hash":HEX,"config":PATH,"rules":N} | FAILED */
    GVM_MSG_POLICY_LOAD,
    /* control -> parent: empty or JSON {"in_use":[..]}; reread the default file and every file in
     * use, all or nothing; answer POLICY_INFO, with "policies":[..] of all, | FAILED */
    GVM_MSG_POLICY_RELOAD,
    GVM_MSG_POLICY_INFO,
    /* control -> parent: end the daemon; no answer */
    GVM_MSG_SHUTDOWN,
    /* control -> parent: empty; answer STATUS_INFO JSON
       {"pid":..,"children":[{"role","pid","restarts"}]} */
    GVM_MSG_STATUS,
    GVM_MSG_STATUS_INFO,

    /* proxy, control, parent -> ledger: struct gvm_m_append, then one JSON line without newline;
     * with GVM_APPEND_NO_WAIT one or more, a newline between them. Answer APPENDED struct
     * gvm_m_appended once durable (or, with GVM_APPEND_NO_WAIT, never). control -> client: the same
     * as answer to NOTE. */
    GVM_MSG_APPEND,
    GVM_MSG_APPENDED,
    /* ledger -> proxy, control, parent: struct gvm_m_gate: the log went bad or well again */
    GVM_MSG_GATE,
    /* parent -> ledger: struct gvm_m_keep: how the log is kept from now on; no answer */
    GVM_MSG_KEEP,

    /* ledger -> keys: struct gvm_m_sign, then hashes of complete subtrees, 32 bytes each: those of
     * the first `from` entries from the left, then those from there to `size`. Answer SIGNED struct
     * gvm_m_signed | FAILED | SIGN_FROM struct gvm_m_sign_from: the head signed last has not `from`
     * entries but this many, to be asked again from there. keys refuses a head smaller than, or
     * unequal at the size of, one it signed before, and one that does not extend it. */
    GVM_MSG_SIGN,
    GVM_MSG_SIGNED,
    GVM_MSG_SIGN_FROM,

    /* proxy -> keys: struct gvm_m_leaf; answer LEAF_CERT struct gvm_m_leaf_cert, then cert DER and
     * PKCS#8 key DER and CA cert DER | FAILED */
    GVM_MSG_LEAF,
    GVM_MSG_LEAF_CERT,
    /* proxy -> keys: struct gvm_m_cred; answer CRED_HEADERS JSON
     * {"remove":["authorization",...],"set":[["Authorization","Bearer ..."]],"identity":PEM} ;
     * both lists empty and no PEM when the host has no credential */
    GVM_MSG_CRED,
    GVM_MSG_CRED_HEADERS,

    /* control -> keys: JSON {"run":R,"agent":A,"sealed":BASE64 or null}; answer CA_CERT JSON
     * {"pem":TEXT,"sealed":BASE64,"log_key":VERIFIER_KEY_TEXT}. With "sealed" the same CA comes
     * back. */
    GVM_MSG_CA,
    GVM_MSG_CA_CERT,
    /* control -> keys: JSON {"run":R}; forget that CA; answer OK */
    GVM_MSG_CA_DROP,

    /* control -> proxy: JSON {"run","agent","policy":ID,"watch":bool,"hash":HEX,"default":TEXT or
     * null,"no_intercept":[HOST...]} + 6 fds: TCP v4, TCP v6, DNS UDP v4, DNS UDP v6, DNS TCP v4,
     * DNS TCP v6 (all bound inside the sandbox). Answer OK | FAILED. Same run again: replaced. */
    GVM_MSG_RUN_ADD,
    /* control -> proxy: JSON {"run"}; close its listeners and connections, record what is open;
     * answer RUN_STATS JSON
     * {"connections","dns_connections","requests","denied","bytes_out","bytes_in"} after the last
     * outcome of the run is durable */
    GVM_MSG_RUN_END,
    GVM_MSG_RUN_STATS,

    /* proxy -> control: JSON
     * {"ask":N,"run","agent","rule","method","url","host","digest","excerpt",
     * "reason","expires_ms"}; a request is held */
    GVM_MSG_ASK,
    /* proxy -> control: JSON {"ask":N,"why"}; the held request is gone (client left, timeout) */
    GVM_MSG_ASK_GONE,
    /* control -> proxy: JSON {"ask":N,"allow":bool,"who","how","scope":"once|run|for","until_ns"}
     */
    GVM_MSG_ANSWER,

    /* client -> control: JSON {"run":ID,"agent","command":[...],"workspace","config":PATH or null,
     * "watch":bool,"mode":"sandbox|cooperative","default":TEXT|null,"no_intercept":[..],"sealed":..|null,
     * "publish":["H:P"..],"waived":[LAYER..],"mounts":[..],"devices":[..],"persist":[..],"seccomp":TEXT
     * (each may be absent)}
     * + 6 fds as RUN_ADD. Answer RUN_READY JSON {"run","pem","sealed","policy_hash","config"} |
     * FAILED. The run lives until RUN_FINISH or until this connection closes. */
    GVM_MSG_RUN_REGISTER,
    GVM_MSG_RUN_READY,
    /* client -> control: JSON {"exit":N,"signal":N,"why":TEXT (may be absent: who ended
     * it),"changes":{...},"kernel":{"tcp","dns_tcp", "dns_udp","refused"} or null: what the packet
     * rules counted}; answer RUN_DONE JSON: the counts of proxy and kernel, and "alert": TEXT or
     * null */
    GVM_MSG_RUN_FINISH,
    GVM_MSG_RUN_DONE,
    /* client -> control: JSON one ledger event
     * {"kind":"fs.commit"|"fs.discard"|"fs.change"|...,...}; control checks the kind, adds the
     * common fields and appends; answer APPENDED */
    GVM_MSG_NOTE,
    /* client -> control: empty; answer INFO JSON (status) */
    GVM_MSG_CLIENT_STATUS,
    /* client -> control: empty; answer OK, then the daemon ends. Refused with EBUSY while runs live
     * unless payload is JSON {"force":true} */
    GVM_MSG_CLIENT_STOP,
    /* client -> control: empty; answer INFO JSON (policy info) | FAILED */
    GVM_MSG_CLIENT_RELOAD,
    /* client -> control: empty; answer INFO JSON {"pending":[ASK objects with "id","run",...]} */
    GVM_MSG_APPROVALS,
    /* client -> control: JSON
     * {"id":TEXT,"allow":bool,"for":"once"|"run"|MILLISECONDS,"reason":TEXT,
     * "terminal":PATH or null}; answer OK | FAILED
     * ENOENT (unknown, answered or gone) */
    GVM_MSG_DECIDE,
    /* client -> control: empty; from now on APPROVAL_NEWS frames arrive */
    GVM_MSG_SUBSCRIBE,
    /* control -> client: JSON one ASK object, or {"id","gone":true} */
    GVM_MSG_APPROVAL_NEWS,
    GVM_MSG_INFO,
    GVM_MSG_MAX
};

struct gvm_m_failed {
    int32_t code; /* positive errno */
};
struct gvm_m_peer {
    uint32_t role;
};
struct gvm_m_policy {
    uint32_t policy; /* id */
    uint32_t zero;
};
enum { GVM_APPEND_NO_WAIT = 1 };
struct gvm_m_append {
    uint32_t flags;
    uint32_t zero;
};
struct gvm_m_appended {
    int32_t error; /* 0 or positive errno: not in the log */
    uint32_t zero;
    uint64_t index; /* position in the log, from 0 */
};
struct gvm_m_keep { /* as in START: 0 for what is not limited, or not said */
    uint64_t segment_bytes, keep_bytes, keep_ms;
};
struct gvm_m_gate {
    uint32_t open; /* 1: entries are being made durable; 0: forward nothing */
    uint32_t zero;
};
struct gvm_m_sign {
    uint64_t size;
    uint8_t root[32];
    uint64_t from; /* of the head signed last, as far as the sender knows; 0: none */
};
#define GVM_SIGN_NODES 192u /* hashes behind it, at most */
struct gvm_m_sign_from {
    uint64_t size;
};
struct gvm_m_signed {
    uint64_t size;
    uint8_t key_id[4];
    uint8_t signature[64];
};
struct gvm_m_leaf {
    char run[GVM_MAX_RUN_ID + 1];
    char host[GVM_MAX_HOST + 1]; /* canonical name or IP text */
};
struct gvm_m_leaf_cert {
    uint32_t cert_len, key_len, ca_len, zero;
};
struct gvm_m_cred {
    uint32_t policy;
    uint32_t tls; /* 1: verified TLS peer; 0: only hosts marked private get theirs */
    char host[GVM_MAX_HOST + 1];
};

/* One row of the catalogue. Role sets are bit masks of 1u << role. */
struct gvm_msg_row {
    const char *name;
    uint32_t from, to;
    uint32_t min, max; /* payload bytes */
    uint32_t max_fds;
};
const struct gvm_msg_row *gvm_msg_row(unsigned type); /* NULL when unknown */
/* A number made of the whole table: two versions that could misunderstand each other differ in it
 * (but for one case in 65,535). Never 0. */
uint16_t gvm_catalogue(void);
const char *gvm_role_name(enum gvm_role role);

#endif
