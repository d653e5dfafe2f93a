/* proxy/stream - one byte stream with back-pressure: TCP (libuv), with TLS over memory BIOs when asked.
 *
 * Owns:       its socket, its SSL, the bytes waiting to be written.
 * Threads:    the loop's.
 * On failure: on_close(err) is called exactly once; after it the stream is gone (freed by itself).
 *             Callbacks never run inside stream_new/connect; they may run inside the loop only.
 *
 * Rules: on_data bytes are valid during the call; the callee takes all of them (it buffers what it must
 * and calls stream_pause() to stop more). stream_write() copies or encrypts at once; compare
 * stream_queued() with GVM_STREAM_HIGH and pause the other side; on_drain fires when queued falls below
 * GVM_STREAM_LOW after it had been above HIGH. TCP_NODELAY is set.
 */
#ifndef GVM_PROXY_STREAM_H
#define GVM_PROXY_STREAM_H

#include <openssl/ssl.h>
#include <uv.h>
#include "core/core.h"
#include "wire/wire.h"

struct stream;

struct stream_events {
    void (*on_data)(void *arg, const uint8_t *p, size_t n);
    void (*on_eof)(void *arg);   /* the other side finished sending (FIN or close_notify) */
    void (*on_drain)(void *arg);
    void (*on_close)(void *arg, const struct gvm_err *err); /* err NULL: orderly */
};

/* Accepts one pending connection of a listening uv_tcp/uv_stream into a new, paused stream. */
int stream_accept(uv_stream_t *listener, const struct stream_events *ev, void *arg, struct stream **ret,
                  struct gvm_err *err) GVM_MUST_CHECK;
/* Connects to a numeric address; cb(arg, err) once, err NULL when connected. On error the stream is gone. */
int stream_connect(uv_loop_t *loop, const struct sockaddr *to, uint64_t timeout_ms,
                   const struct stream_events *ev, void *arg,
                   void (*connected)(void *arg, struct stream *s, const struct gvm_err *err),
                   struct stream **ret, struct gvm_err *err) GVM_MUST_CHECK;
/* Changes who listens. */
void stream_set_events(struct stream *s, const struct stream_events *ev, void *arg);
/* Becomes a TLS server/client. `ssl` is taken. `head` = bytes already read from the wire (the ClientHello
 * that was peeked). done(arg, err) once; on error the stream is closed. Data callbacks are plaintext then. */
int stream_start_tls(struct stream *s, SSL *ssl, bool server, struct gvm_str head, uint64_t timeout_ms,
                     void (*done)(void *arg, const struct gvm_err *err), void *arg, struct gvm_err *err)
    GVM_MUST_CHECK;
SSL *stream_ssl(struct stream *s); /* NULL when plain */

void stream_resume(struct stream *s); /* streams start paused */
void stream_pause(struct stream *s);
/* -ENOBUFS past a hard cap (4 x GVM_STREAM_HIGH): a bug of the caller; -EPIPE closed. */
int stream_write(struct stream *s, const void *p, size_t n) GVM_MUST_CHECK;
size_t stream_queued(const struct stream *s);
/* Sends FIN/close_notify after what is queued. */
void stream_shutdown(struct stream *s);
/* Closes after what is queued was sent (at most `linger_ms`, 0 = at once). No callback after this but
 * on_close is NOT called: the caller gave it up. */
void stream_close(struct stream *s, uint64_t linger_ms);
/* Peer and original destination (SO_ORIGINAL_DST / IP6T_SO_ORIGINAL_DST); -ENOENT when it was not
 * redirected. */
int stream_original_dst(struct stream *s, struct gvm_ip *ret_ip, uint16_t *ret_port) GVM_MUST_CHECK;
int stream_peer(struct stream *s, struct gvm_ip *ret_ip, uint16_t *ret_port) GVM_MUST_CHECK;
/* Fires cb(arg) when nothing was read for ms; 0 stops. One per stream. */
void stream_idle(struct stream *s, uint64_t ms, void (*cb)(void *arg));

#endif
