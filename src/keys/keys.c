/* keys.c - the keys process: `gvmd --child keys`. A poll loop that answers one question at a time.
 *
 *   parent   START (log seed, sealing key), CREDENTIALS
 *   control  CA, CA_DROP
 *   proxy    LEAF, CRED
 *   ledger   SIGN
 *
 * Should:  compute with the secrets it holds, answer on sockets it was given.
 * Mustn't: open a file or a socket, execute, or let a secret leave but for a leaf key to the proxy
 * of that run and a credential for a host that is being called.
 */
#include "keys/keys.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "confine/confine.h"
#include "ipc/ipc.h"
#include "keys/keys_int.h"

enum { QUEUE = 4 * 1024 * 1024, SECURE_HEAP = 1 << 20, SECURE_HEAP_UNIT = 32 };

struct keys {
    struct gvm_chan *chan[GVM_ROLE_MAX];
    struct gvm_map *cas; /* run -> struct keys_ca */
    struct keys_creds *creds;
    struct keys_signer signer;
    uint8_t seal_key[KEYS_SEED];
    bool serving, stop;
};

/* Sends; a peer that does not take its answers is dropped. */
static void reply(struct keys *k, enum gvm_role role, enum gvm_msg_type type, uint64_t id,
                  const void *a, size_t alen, const void *b, size_t blen)
{
    struct gvm_chan *c = k->chan[role];
    if (c && gvm_chan_send2(c, type, id, a, alen, b, blen, NULL, 0) < 0) {
        gvm_chan_free(c);
        k->chan[role] = NULL;
    }
}

static void fail(struct keys *k, enum gvm_role role, uint64_t id, const struct gvm_err *err)
{
    if (k->chan[role] && gvm_chan_fail(k->chan[role], id, err) < 0) {
        gvm_chan_free(k->chan[role]);
        k->chan[role] = NULL;
    }
}

/* ---- start ---- */

static int read_secret(int fd, uint8_t out[KEYS_SEED])
{
    return pread(fd, out, KEYS_SEED, 0) == KEYS_SEED ? 0 : -EIO;
}

static int confine(struct gvm_err *err)
{
    struct gvm_confine_spec spec = {
        .name = "gvmd-keys", .lists = GVM_CONFINE_BASE | GVM_CONFINE_LOOP | GVM_CONFINE_UNIX};
    return gvm_confine(&spec, err);
}

/* What was signed before us: as the file remembers it, as the log shows it. */
static int learn_heads(struct keys *k, struct gvm_msg *m, const struct gvm_json *start,
                       struct gvm_err *err)
{
    struct gvm_m_sign head = {.size = (uint64_t)gvm_json_int(start, "last_size", 0)};
    size_t n = 0;
    int r = m->nfds > 2 ? keys_signer_remember(&k->signer, m->fds[2], err) : 0;
    if (r < 0)
        return r;
    if (m->nfds > 2)
        m->fds[2] = -1;
    if (!head.size)
        return 0;
    if (gvm_unb64(head.root, sizeof head.root, gvm_str(gvm_json_text(start, "last_root", "")), &n) <
            0 ||
        n != sizeof head.root)
        return gvm_err_set(err, EPROTO, "a START with half a head");
    return keys_signer_known(&k->signer, &head, err);
}

static int on_start(struct keys *k, struct gvm_msg *m, struct gvm_err *err)
{
    uint8_t seed[KEYS_SEED];
    struct gvm_json *root = NULL;
    if (k->serving || m->nfds < 2 || m->nfds > 3)
        return gvm_err_set(err, EPROTO, "a second or empty START");
    struct gvm_arena *a = gvm_arena_new(64 * 1024);
    int r = a ? gvm_json_parse(a, gvm_msg_str(m), &root, err) : -ENOMEM;
    if (r == 0 && (read_secret(m->fds[0], seed) < 0 || read_secret(m->fds[1], k->seal_key) < 0))
        r = gvm_err_set(err, EIO, "cannot read the key files");
    if (r == 0)
        r = keys_signer_init(&k->signer, seed, gvm_json_text(root, "origin", ""), err);
    if (r == 0)
        r = learn_heads(k, m, root, err);
    explicit_bzero(seed, sizeof seed);
    gvm_arena_free(a);
    return r;
}

/* Before the confinement: OpenSSL loads what it needs (algorithms, random pool) on first use. */
static int warm_up(struct gvm_err *err)
{
    struct keys_ca *ca = NULL;
    struct gvm_m_leaf_cert lengths;
    struct gvm_buf out;
    gvm_buf_init(&out, GVM_MAX_FRAME);
    int r = keys_ca_new("warm-up", &ca, err);
    if (r == 0)
        r = keys_ca_leaf(ca, "warm.up", &lengths, &out, err);
    keys_ca_free(ca);
    gvm_buf_wipe(&out);
    return r;
}

static int serve(struct keys *k, struct gvm_msg *m, struct gvm_err *err)
{
    int r = on_start(k, m, err);
    if (r == 0)
        r = warm_up(err);
    if (r == 0)
        r = confine(err);
    if (r < 0)
        return r;
    k->serving = true;
    reply(k, GVM_ROLE_PARENT, GVM_MSG_READY, 0, NULL, 0, NULL, 0);
    return 0;
}

static void on_peer(struct keys *k, struct gvm_msg *m)
{
    struct gvm_m_peer peer;
    if (m->nfds != 1 || m->len != sizeof peer)
        return;
    memcpy(&peer, m->data, sizeof peer);
    if (peer.role >= GVM_ROLE_MAX || peer.role == GVM_ROLE_PARENT)
        return;
    struct gvm_chan *c = gvm_chan_new(m->fds[0], GVM_ROLE_KEYS, (enum gvm_role)peer.role, QUEUE);
    if (!c)
        return;
    m->fds[0] = -1;
    gvm_chan_free(k->chan[peer.role]);
    k->chan[peer.role] = c;
}

static int on_credentials(struct keys *k, const struct gvm_msg *m, struct gvm_err *err)
{
    struct gvm_m_policy p;
    struct gvm_buf text;
    if (m->nfds != 1 || m->len != sizeof p)
        return gvm_err_set(err, EPROTO, "credentials without their text");
    memcpy(&p, m->data, sizeof p);
    gvm_buf_init(&text, GVM_MAX_CONFIG);
    int r = lseek(m->fds[0], 0, SEEK_SET) < 0 ? -errno : gvm_read_fd(m->fds[0], &text);
    r = r < 0 ? gvm_err_sys(err, -r, "cannot read the credentials")
              : keys_creds_load(k->creds, p.policy, gvm_buf_str(&text), err);
    gvm_buf_wipe(&text);
    return r;
}

/* ---- control ---- */

static int ca_from(struct keys *k, const char *run, const char *sealed, struct keys_ca **ret,
                   struct gvm_err *err)
{
    if (!sealed)
        return keys_ca_new(run, ret, err);
    uint8_t blob[16384];
    size_t n = 0;
    struct gvm_buf plain;
    if (gvm_unb64(blob, sizeof blob, gvm_str(sealed), &n) < 0)
        return gvm_err_set(err, EBADMSG, "the sealed CA of run %s is broken", run);
    gvm_buf_init(&plain, sizeof blob);
    int r = keys_unseal(k->seal_key, run, (struct gvm_str){(char *)blob, n}, &plain, err);
    if (r == 0)
        r = keys_ca_import(run, gvm_buf_str(&plain), ret, err);
    gvm_buf_wipe(&plain);
    return r;
}

static int seal_text(struct keys *k, const struct keys_ca *ca, const char *run, struct gvm_buf *out,
                     struct gvm_err *err)
{
    struct gvm_buf plain, sealed;
    gvm_buf_init(&plain, 16384);
    gvm_buf_init(&sealed, 16384);
    int r = keys_ca_export(ca, &plain, err);
    if (r == 0)
        r = keys_seal(k->seal_key, run, gvm_buf_str(&plain), &sealed, err);
    uint8_t *room = r == 0 ? gvm_buf_space(out, GVM_B64_LEN(sealed.len) + 1) : NULL;
    if (room) {
        gvm_b64((char *)room, gvm_buf_data(&sealed), sealed.len);
        gvm_buf_grew(out, GVM_B64_LEN(sealed.len));
    }
    gvm_buf_wipe(&plain);
    gvm_buf_done(&sealed);
    return r == 0 && !room ? gvm_err_set(err, ENOMEM, "out of memory") : r;
}

static int write_ca(struct keys *k, const struct keys_ca *ca, const char *run, struct gvm_buf *out,
                    struct gvm_err *err)
{
    struct gvm_buf pem, sealed, key;
    struct gvm_jw w;
    gvm_buf_init(&pem, 16384);
    gvm_buf_init(&sealed, 32768);
    gvm_buf_init(&key, 1024);
    int r = keys_ca_pem(ca, &pem, err);
    if (r == 0)
        r = seal_text(k, ca, run, &sealed, err);
    if (r == 0)
        r = keys_verifier_text(&k->signer, &key);
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    gvm_jw_kstr(&w, "pem", gvm_buf_str(&pem));
    gvm_jw_kstr(&w, "sealed", gvm_buf_str(&sealed));
    gvm_jw_kstr(&w, "log_key", gvm_buf_str(&key));
    gvm_jw_object_end(&w);
    gvm_buf_done(&pem);
    gvm_buf_done(&sealed);
    gvm_buf_done(&key);
    return r == 0 && out->failed ? gvm_err_set(err, ENOMEM, "out of memory") : r;
}

static int make_ca(struct keys *k, const struct gvm_json *ask, struct gvm_buf *out,
                   struct gvm_err *err)
{
    struct keys_ca *ca = NULL;
    const char *run = gvm_json_text(ask, "run", "");
    if (!*run || strlen(run) > GVM_MAX_RUN_ID)
        return gvm_err_set(err, EINVAL, "a CA without a run");
    int r = ca_from(k, run, gvm_json_text(ask, "sealed", NULL), &ca, err);
    if (r == 0)
        r = write_ca(k, ca, run, out, err);
    if (r == 0 && gvm_map_put(k->cas, gvm_str(run), ca) == 0)
        return 0;
    keys_ca_free(ca);
    return r < 0 ? r : gvm_err_set(err, ENOBUFS, "too many runs have a CA");
}

static void on_ca(struct keys *k, const struct gvm_msg *m)
{
    struct gvm_err err = {0};
    struct gvm_json *ask = NULL;
    struct gvm_buf out;
    struct gvm_arena *a = gvm_arena_new(4 * GVM_MAX_FRAME);
    gvm_buf_init(&out, GVM_MAX_FRAME);
    int r = a ? gvm_json_parse(a, gvm_msg_str(m), &ask, &err)
              : gvm_err_set(&err, ENOMEM, "out of memory");
    if (r == 0 && m->type == GVM_MSG_CA_DROP)
        (void)gvm_map_del(k->cas, gvm_str(gvm_json_text(ask, "run", "")));
    else if (r == 0)
        r = make_ca(k, ask, &out, &err);
    if (r < 0)
        fail(k, GVM_ROLE_CONTROL, m->id, &err);
    else
        reply(k, GVM_ROLE_CONTROL, m->type == GVM_MSG_CA ? GVM_MSG_CA_CERT : GVM_MSG_OK, m->id,
              gvm_buf_data(&out), out.len, NULL, 0);
    gvm_buf_done(&out);
    gvm_arena_free(a);
}

/* ---- proxy and ledger ---- */

static void on_leaf(struct keys *k, const struct gvm_msg *m)
{
    struct gvm_m_leaf ask;
    struct gvm_m_leaf_cert lengths;
    struct gvm_err err = {0};
    struct gvm_buf out;
    memcpy(&ask, m->data, sizeof ask);
    ask.run[sizeof ask.run - 1] = ask.host[sizeof ask.host - 1] = 0;
    struct keys_ca *ca = gvm_map_get(k->cas, gvm_str(ask.run));
    gvm_buf_init(&out, GVM_MAX_FRAME);
    int r = ca ? keys_ca_leaf(ca, ask.host, &lengths, &out, &err)
               : gvm_err_set(&err, ENOENT, "run %s has no CA", ask.run);
    if (r < 0)
        fail(k, GVM_ROLE_PROXY, m->id, &err);
    else
        reply(k, GVM_ROLE_PROXY, GVM_MSG_LEAF_CERT, m->id, &lengths, sizeof lengths,
              gvm_buf_data(&out), out.len);
    gvm_buf_wipe(&out);
}

static void on_cred(struct keys *k, const struct gvm_msg *m)
{
    struct gvm_m_cred ask;
    struct gvm_err err = {0};
    struct gvm_buf out;
    memcpy(&ask, m->data, sizeof ask);
    gvm_buf_init(&out, GVM_MAX_FRAME);
    if (keys_creds_answer(k->creds, &ask, &out, &err) < 0)
        fail(k, GVM_ROLE_PROXY, m->id, &err);
    else
        reply(k, GVM_ROLE_PROXY, GVM_MSG_CRED_HEADERS, m->id, gvm_buf_data(&out), out.len, NULL, 0);
    gvm_buf_wipe(&out);
}

static void on_sign(struct keys *k, const struct gvm_msg *m)
{
    struct gvm_m_sign ask;
    struct gvm_m_signed answer;
    struct gvm_err err = {0};
    uint8_t nodes[GVM_SIGN_NODES][32];
    const struct keys_signer *s = &k->signer;
    memcpy(&ask, m->data, sizeof ask);
    size_t n = (m->len - sizeof ask) / sizeof *nodes;
    memcpy(nodes, m->data + sizeof ask, n * sizeof *nodes);
    if (s->signed_before && ask.size > s->last.size && ask.from != s->last.size) {
        struct gvm_m_sign_from from = {s->last.size};
        reply(k, GVM_ROLE_LEDGER, GVM_MSG_SIGN_FROM, m->id, &from, sizeof from, NULL, 0);
        return;
    }
    if (keys_sign(&k->signer, &ask, (const uint8_t(*)[32])nodes, n, &answer, &err) < 0)
        fail(k, GVM_ROLE_LEDGER, m->id, &err);
    else
        reply(k, GVM_ROLE_LEDGER, GVM_MSG_SIGNED, m->id, &answer, sizeof answer, NULL, 0);
}

/* ---- loop ---- */

static int from_parent(struct keys *k, struct gvm_msg *m, struct gvm_err *err)
{
    if (m->type == GVM_MSG_START)
        return serve(k, m, err);
    if (m->type == GVM_MSG_PEER) {
        on_peer(k, m);
    } else if (m->type == GVM_MSG_STOP) {
        k->stop = true;
    } else if (m->type == GVM_MSG_CREDENTIALS) {
        struct gvm_err why = {0};
        if (on_credentials(k, m, &why) < 0)
            fail(k, GVM_ROLE_PARENT, m->id, &why);
        else
            reply(k, GVM_ROLE_PARENT, GVM_MSG_OK, m->id, NULL, 0, NULL, 0);
    }
    return 0;
}

/* The catalogue has checked sender and size of each of these. */
static void from_peer(struct keys *k, const struct gvm_msg *m)
{
    if (m->type == GVM_MSG_CA || m->type == GVM_MSG_CA_DROP)
        on_ca(k, m);
    else if (m->type == GVM_MSG_LEAF)
        on_leaf(k, m);
    else if (m->type == GVM_MSG_CRED)
        on_cred(k, m);
    else if (m->type == GVM_MSG_SIGN)
        on_sign(k, m);
}

/* Everything that waits on one channel. Before the process serves, only its parent is heard. */
static int drain(struct keys *k, enum gvm_role role, struct gvm_err *err)
{
    struct gvm_msg m;
    int got = 0;
    while (k->chan[role] && !k->stop && (got = gvm_chan_recv(k->chan[role], &m)) == 1) {
        int r = 0;
        if (role == GVM_ROLE_PARENT)
            r = from_parent(k, &m, err);
        else
            from_peer(k, &m);
        gvm_msg_done(&m);
        if (r < 0)
            return r;
    }
    if (got >= 0 || !k->chan[role])
        return 0;
    gvm_chan_free(k->chan[role]);
    k->chan[role] = NULL;
    k->stop = k->stop || role == GVM_ROLE_PARENT;
    return 0;
}

static int turn(struct keys *k, struct gvm_err *err)
{
    struct pollfd fds[GVM_ROLE_MAX];
    enum gvm_role roles[GVM_ROLE_MAX];
    nfds_t n = 0;
    for (unsigned role = 1; role < GVM_ROLE_MAX; role++) {
        if (!k->chan[role] || (!k->serving && role != GVM_ROLE_PARENT))
            continue;
        short want = gvm_chan_wants_write(k->chan[role]) ? POLLIN | POLLOUT : POLLIN;
        roles[n] = (enum gvm_role)role;
        fds[n++] = (struct pollfd){.fd = gvm_chan_fd(k->chan[role]), .events = want};
    }
    if (poll(fds, n, -1) < 0)
        return errno == EINTR ? 0 : gvm_err_sys(err, errno, "poll");
    for (nfds_t i = 0; i < n; i++) {
        struct gvm_chan *c = k->chan[roles[i]];
        if (c && fds[i].revents & POLLOUT && gvm_chan_flush(c) < 0) {
            gvm_chan_free(c);
            k->chan[roles[i]] = NULL;
        }
        int r = fds[i].revents & (POLLIN | POLLHUP | POLLERR) ? drain(k, roles[i], err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static void drop_ca(void *ca)
{
    keys_ca_free(ca);
}

static int init(struct keys *k, int fd)
{
    k->cas = gvm_map_new(2 * GVM_MAX_RUNS, drop_ca);
    k->creds = keys_creds_new();
    k->chan[GVM_ROLE_PARENT] = gvm_chan_new(fd, GVM_ROLE_KEYS, GVM_ROLE_PARENT, QUEUE);
    return k->cas && k->creds && k->chan[GVM_ROLE_PARENT] ? 0 : -ENOMEM;
}

static void done(struct keys *k)
{
    for (unsigned role = 0; role < GVM_ROLE_MAX; role++)
        gvm_chan_free(k->chan[role]);
    gvm_map_free(k->cas);
    keys_creds_free(k->creds);
    keys_signer_done(&k->signer);
    explicit_bzero(k->seal_key, sizeof k->seal_key);
}

int gvm_keys_main(int fd)
{
    static struct keys k;
    struct gvm_err err = {0};
    /* Best effort: without the right to lock memory, values live on the ordinary heap. */
    (void)CRYPTO_secure_malloc_init(SECURE_HEAP, SECURE_HEAP_UNIT);
    (void)mlock(&k, sizeof k); /* the sealing key */
    int r = init(&k, fd);
    if (r < 0)
        (void)gvm_err_set(&err, ENOMEM, "out of memory");
    while (r == 0 && !k.stop)
        r = turn(&k, &err);
    if (r < 0)
        gvm_log(GVM_LOG_ERROR, "%s", err.text);
    done(&k);
    return r < 0;
}
