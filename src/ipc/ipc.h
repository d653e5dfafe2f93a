/* ipc - framed messages and descriptors between our own processes, over SOCK_SEQPACKET.
 *
 * Owns:       one connected socket per channel and the frames waiting to go out on it.
 * Threads:    a channel belongs to one thread.
 * On failure: -EPROTO means the other side broke the catalogue (messages.h): close the channel.
 *             -EPROTONOSUPPORT: it is of another version, with another catalogue. -EPIPE: it is
 * gone. Nothing partial is ever delivered.
 *
 * A frame is one packet: struct gvm_frame, then `len` payload bytes, with 0..8 descriptors beside
 * it. Each type has a row in the catalogue: who may send it to whom, payload size limits,
 * descriptor limit. gvm_chan_recv() drops the connection on anything that is not in the row.
 */
#ifndef GVM_IPC_H
#define GVM_IPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/core.h"
#include "ipc/messages.h"

/* On the wire, native byte order (both ends are the same program on one machine). */
struct gvm_frame {
    uint16_t type; /* enum gvm_msg_type */
    uint16_t
        catalogue; /* gvm_catalogue(): a gvm that was replaced under its daemon is told apart */
    uint32_t len;  /* payload bytes */
    uint64_t id;   /* chosen by the asker, repeated in the answer; 0 when no answer is awaited */
};
_Static_assert(sizeof(struct gvm_frame) == 16, "frame header");

struct gvm_msg {
    enum gvm_msg_type type;
    uint64_t id;
    const uint8_t *data; /* payload, valid until the next recv on this channel */
    uint32_t len;
    int fds[GVM_MAX_FRAME_FDS]; /* owned by the receiver: steal what you keep, gvm_msg_done() the
                                   rest */
    unsigned nfds;
};
void gvm_msg_done(struct gvm_msg *m);
static inline struct gvm_str gvm_msg_str(const struct gvm_msg *m)
{
    return (struct gvm_str){(const char *)m->data, m->len};
}

struct gvm_chan;

/* Takes `fd` (closed by gvm_chan_free). `self` and `peer` select the catalogue rows. At most
 * `max_queued` bytes wait to be sent. NULL when out of memory (fd then still belongs to the
 * caller). */
struct gvm_chan *gvm_chan_new(int fd, enum gvm_role self, enum gvm_role peer,
                              size_t max_queued) GVM_MUST_CHECK;
void gvm_chan_free(struct gvm_chan *c);
int gvm_chan_fd(const struct gvm_chan *c);
enum gvm_role gvm_chan_peer(const struct gvm_chan *c);

/* Queues a frame and tries to send. `fds` are duplicated when they have to wait, so the caller
 * keeps its own. 0; -ENOBUFS when the queue is full; -EPIPE when the peer is gone. */
int gvm_chan_send(struct gvm_chan *c, enum gvm_msg_type type, uint64_t id, const void *data,
                  size_t len, const int *fds, unsigned nfds) GVM_MUST_CHECK;
/* Two-part payload (a fixed struct, then text). */
int gvm_chan_send2(struct gvm_chan *c, enum gvm_msg_type type, uint64_t id, const void *a,
                   size_t alen, const void *b, size_t blen, const int *fds,
                   unsigned nfds) GVM_MUST_CHECK;
/* Call when the socket is writable and gvm_chan_wants_write(). 0 or -EPIPE. */
int gvm_chan_flush(struct gvm_chan *c) GVM_MUST_CHECK;
bool gvm_chan_wants_write(const struct gvm_chan *c);
/* Never blocks. 1 = *ret filled, 0 = nothing now, -EPIPE = closed, -EPROTO = refused,
 * -EPROTONOSUPPORT = another version. */
int gvm_chan_recv(struct gvm_chan *c, struct gvm_msg *ret) GVM_MUST_CHECK;

/* For simple clients: send, then wait for the frame whose id matches, up to timeout_ms
 * (-1: for ever). A GVM_MSG_FAILED answer becomes a negative errno with its text in `err`.
 * Other frames that arrive meanwhile go to `other` (may be NULL: dropped). On success *ret must be
 * given to gvm_msg_done(). */
int gvm_chan_call(struct gvm_chan *c, enum gvm_msg_type type, const void *data, size_t len,
                  const int *fds, unsigned nfds, int timeout_ms,
                  void (*other)(void *arg, const struct gvm_msg *m), void *arg, struct gvm_msg *ret,
                  struct gvm_err *err) GVM_MUST_CHECK;
/* Answers a request with GVM_MSG_FAILED {code, text} taken from `err`. */
int gvm_chan_fail(struct gvm_chan *c, uint64_t id, const struct gvm_err *err);

/* A connected pair, both ends O_CLOEXEC and non-blocking. */
int gvm_ipc_pair(int ret_fds[2]) GVM_MUST_CHECK;
/* Listening and connecting by path (0600, same uid checked with SO_PEERCRED on accept).
 * Paths longer than sun_path go through /proc/self/fd. */
int gvm_ipc_listen(const char *path, int *ret_fd, struct gvm_err *err) GVM_MUST_CHECK;
int gvm_ipc_accept(int listen_fd, int *ret_fd) GVM_MUST_CHECK; /* -EPERM: other uid, closed */
int gvm_ipc_connect(const char *path, int *ret_fd, struct gvm_err *err) GVM_MUST_CHECK;

#endif
