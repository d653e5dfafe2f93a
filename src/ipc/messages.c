/* The catalogue as a table: who may send what to whom, how large, with how many descriptors. */
#include "ipc/ipc.h"

#define PARENT  (1u << GVM_ROLE_PARENT)
#define PROXY   (1u << GVM_ROLE_PROXY)
#define KEYS    (1u << GVM_ROLE_KEYS)
#define LEDGER  (1u << GVM_ROLE_LEDGER)
#define CONTROL (1u << GVM_ROLE_CONTROL)
#define CLIENT  (1u << GVM_ROLE_CLIENT)
#define CHILD   (PROXY | KEYS | LEDGER | CONTROL)
#define ANY     (PARENT | CHILD | CLIENT)

#define MOST      (GVM_MAX_FRAME - (uint32_t)sizeof(struct gvm_frame))
#define TEXT      65536u /* JSON that is not bounded more tightly by its meaning */
#define SMALL     4096u
#define SIZE(s)   (uint32_t)sizeof(struct s), (uint32_t)sizeof(struct s)
#define JSON(max) 2, (max)
#define EMPTY     0, 0
#define RUN_FDS   6

static const struct gvm_msg_row rows[GVM_MSG_MAX] = {
    [GVM_MSG_FAILED] = {"FAILED", ANY, ANY, sizeof(struct gvm_m_failed),
                        sizeof(struct gvm_m_failed) + GVM_ERR_TEXT, 0},
    [GVM_MSG_OK] = {"OK", ANY, ANY, EMPTY, 0},
    [GVM_MSG_START] = {"START", PARENT, CHILD, JSON(MOST), GVM_MAX_FRAME_FDS},
    [GVM_MSG_PEER] = {"PEER", PARENT, CHILD, SIZE(gvm_m_peer), 1},
    [GVM_MSG_STOP] = {"STOP", PARENT, CHILD, EMPTY, 0},
    [GVM_MSG_READY] = {"READY", CHILD, PARENT, EMPTY, 0},
    [GVM_MSG_POLICY] = {"POLICY", PARENT, PROXY, SIZE(gvm_m_policy), 1},
    [GVM_MSG_CREDENTIALS] = {"CREDENTIALS", PARENT, KEYS, SIZE(gvm_m_policy), 1},
    [GVM_MSG_NAMES] = {"NAMES", PARENT, PROXY, JSON(MOST), 0},
    [GVM_MSG_POLICY_LOAD] = {"POLICY_LOAD", CONTROL, PARENT, JSON(TEXT), 0},
    [GVM_MSG_POLICY_RELOAD] = {"POLICY_RELOAD", CONTROL, PARENT, 0, TEXT, 0},
    [GVM_MSG_POLICY_INFO] = {"POLICY_INFO", PARENT, CONTROL, JSON(TEXT), 0},
    [GVM_MSG_SHUTDOWN] = {"SHUTDOWN", CONTROL, PARENT, EMPTY, 0},
    [GVM_MSG_STATUS] = {"STATUS", CONTROL, PARENT, EMPTY, 0},
    [GVM_MSG_STATUS_INFO] = {"STATUS_INFO", PARENT, CONTROL, JSON(TEXT), 0},
    [GVM_MSG_APPEND] = {"APPEND", PROXY | CONTROL | PARENT, LEDGER, sizeof(struct gvm_m_append) + 2,
                        sizeof(struct gvm_m_append) + GVM_MAX_ENTRY, 0},
    [GVM_MSG_APPENDED] = {"APPENDED", LEDGER | CONTROL, PROXY | CONTROL | PARENT | CLIENT,
                          SIZE(gvm_m_appended), 0},
    [GVM_MSG_GATE] = {"GATE", LEDGER, PROXY | CONTROL | PARENT, SIZE(gvm_m_gate), 0},
    [GVM_MSG_KEEP] = {"KEEP", PARENT, LEDGER, SIZE(gvm_m_keep), 0},
    [GVM_MSG_SIGN] = {"SIGN", LEDGER, KEYS, sizeof(struct gvm_m_sign),
                      sizeof(struct gvm_m_sign) + GVM_SIGN_NODES * 32, 0},
    [GVM_MSG_SIGN_FROM] = {"SIGN_FROM", KEYS, LEDGER, SIZE(gvm_m_sign_from), 0},
    [GVM_MSG_SIGNED] = {"SIGNED", KEYS, LEDGER, SIZE(gvm_m_signed), 0},
    [GVM_MSG_LEAF] = {"LEAF", PROXY, KEYS, SIZE(gvm_m_leaf), 0},
    [GVM_MSG_LEAF_CERT] = {"LEAF_CERT", KEYS, PROXY, sizeof(struct gvm_m_leaf_cert), TEXT, 0},
    [GVM_MSG_CRED] = {"CRED", PROXY, KEYS, SIZE(gvm_m_cred), 0},
    [GVM_MSG_CRED_HEADERS] = {"CRED_HEADERS", KEYS, PROXY, JSON(MOST), 0},
    [GVM_MSG_CA] = {"CA", CONTROL, KEYS, JSON(TEXT), 0},
    [GVM_MSG_CA_CERT] = {"CA_CERT", KEYS, CONTROL, JSON(TEXT), 0},
    [GVM_MSG_CA_DROP] = {"CA_DROP", CONTROL, KEYS, JSON(SMALL), 0},
    [GVM_MSG_RUN_ADD] = {"RUN_ADD", CONTROL, PROXY, JSON(TEXT), RUN_FDS},
    [GVM_MSG_RUN_END] = {"RUN_END", CONTROL, PROXY, JSON(SMALL), 0},
    [GVM_MSG_RUN_STATS] = {"RUN_STATS", PROXY, CONTROL, JSON(SMALL), 0},
    [GVM_MSG_ASK] = {"ASK", PROXY, CONTROL, JSON(TEXT), 0},
    [GVM_MSG_ASK_GONE] = {"ASK_GONE", PROXY, CONTROL, JSON(SMALL), 0},
    [GVM_MSG_ANSWER] = {"ANSWER", CONTROL, PROXY, JSON(SMALL), 0},
    [GVM_MSG_RUN_REGISTER] = {"RUN_REGISTER", CLIENT, CONTROL, JSON(MOST), RUN_FDS},
    [GVM_MSG_RUN_READY] = {"RUN_READY", CONTROL, CLIENT, JSON(MOST), 0},
    [GVM_MSG_RUN_FINISH] = {"RUN_FINISH", CLIENT, CONTROL, JSON(TEXT), 0},
    [GVM_MSG_RUN_DONE] = {"RUN_DONE", CONTROL, CLIENT, JSON(TEXT), 0},
    [GVM_MSG_NOTE] = {"NOTE", CLIENT, CONTROL, JSON(GVM_MAX_ENTRY), 0},
    [GVM_MSG_CLIENT_STATUS] = {"CLIENT_STATUS", CLIENT, CONTROL, EMPTY, 0},
    [GVM_MSG_CLIENT_STOP] = {"CLIENT_STOP", CLIENT, CONTROL, 0, SMALL, 0},
    [GVM_MSG_CLIENT_RELOAD] = {"CLIENT_RELOAD", CLIENT, CONTROL, EMPTY, 0},
    [GVM_MSG_APPROVALS] = {"APPROVALS", CLIENT, CONTROL, EMPTY, 0},
    [GVM_MSG_DECIDE] = {"DECIDE", CLIENT, CONTROL, JSON(SMALL), 0},
    [GVM_MSG_SUBSCRIBE] = {"SUBSCRIBE", CLIENT, CONTROL, EMPTY, 0},
    [GVM_MSG_APPROVAL_NEWS] = {"APPROVAL_NEWS", CONTROL, CLIENT, JSON(TEXT), 0},
    [GVM_MSG_INFO] = {"INFO", CONTROL, CLIENT, JSON(MOST), 0},
};

const struct gvm_msg_row *gvm_msg_row(unsigned type)
{
    return type < GVM_MSG_MAX && rows[type].name ? &rows[type] : NULL;
}

/* FNV-1a. */
static uint32_t mix(uint32_t h, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)p)[i]) * 16777619u;
    return h;
}

uint16_t gvm_catalogue(void)
{
    static uint16_t known; /* every thread would compute the same */
    if (known)
        return known;
    uint32_t h = 2166136261u;
    for (unsigned i = 0; i < GVM_MSG_MAX; i++) {
        const struct gvm_msg_row *r = &rows[i];
        const uint32_t numbers[] = {i, r->from, r->to, r->min, r->max, r->max_fds};
        h = mix(h, numbers, sizeof numbers);
        h = mix(h, r->name ? r->name : "", r->name ? strlen(r->name) : 0);
    }
    uint16_t folded = (uint16_t)(h >> 16 ^ h);
    known = folded ? folded : 1;
    return known;
}

const char *gvm_role_name(enum gvm_role role)
{
    static const char *const names[GVM_ROLE_MAX] = {"none",   "parent",  "proxy", "keys",
                                                    "ledger", "control", "client"};
    return (unsigned)role < GVM_ROLE_MAX ? names[role] : "unknown";
}
