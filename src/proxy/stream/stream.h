/* proxy/stream - one byte stream with back-pressure: TCP (libuv), with TLS over memory BIOs when
 * asked.
 *
 * Owns:       its socket, its SSL, the bytes waiting to be written.
 * Threads:    the loop's; one loop per thread.
 * On failure: on_close(err) is called exactly once; after it the stream is gone (freed by itself).
 *             Callbacks run inside the loop only, never inside a function of this header.
 *             The process ignores SIGPIPE (streams_init()).
 *
 * Rules: on_data bytes are valid during the call; the callee takes all of them (it buffers what it
 * must and calls stream_pause() to stop more). stream_write() takes its bytes at once; compare
 * stream_queued() with GVM_STREAM_HIGH and pause the other side; on_drain fires when queued falls
 * below GVM_STREAM_LOW after it had been above HIGH. TCP_NODELAY is set.
 *
 * Small writes made inside a callback of any stream are sent together when that callback returns,
 * in one TLS record and one packet. Other callers get the same between stream_batch_begin() and
 * _end(). Pausing costs nothing unless bytes arrive meanwhile. While a stream is paused its end of
 * stream is held back too; an error is not.
 */
#ifndef GVM_PROXY_STREAM_H
#define GVM_PROXY_STREAM_H

#include <openssl/ssl.h>
#include <uv.h>
#include "core/core.h"
#include "wire/wire.h"

struct stream;

/* Once per process, before it confines itself: ignores SIGPIPE. */
void streams_init(void);

struct stream_events {
    void (*on_data)(void *arg, const uint8_t *p, size_t n);
    void (*on_eof)(void *arg); /* the other side finished sending (FIN or close_notify) */
    void (*on_drain)(void *arg);
    void (*on_close)(void *arg, const struct gvm_err *err); /* err NULL: orderly */
};

/* Accepts one pending connection of a listening uv_tcp/uv_stream into a new, paused stream. */
int stream_accept(uv_stream_t *listener, const struct stream_events *ev, void *arg,
                  struct stream **ret, struct gvm_err *err) GVM_MUST_CHECK;
/* Connects to a numeric address; cb(arg, err) once, err NULL when connected. On error the stream is
 * gone. */
int stream_connect(uv_loop_t *loop, const struct sockaddr *to, uint64_t timeout_ms,
                   const struct stream_events *ev, void *arg,
                   void (*connected)(void *arg, struct stream *s, const struct gvm_err *err),
                   struct stream **ret, struct gvm_err *err) GVM_MUST_CHECK;
uint64_t stream_age(const struct stream *s); /* milliseconds since it was made */
/* Changes who listens. A stream without events may be held only paused and is not written to. */
void stream_set_events(struct stream *s, const struct stream_events *ev, void *arg);
/* Puts the bytes that wait in it, now and until it is gone, on that bill; a reference is kept. */
void stream_bill(struct stream *s, struct gvm_bill *bill);
/* Becomes a TLS server/client. `ssl` is taken (also on failure). `head` = bytes already read from
 * the wire (the ClientHello that was peeked); it is copied. What was written before goes out in
 * plain text first; what is written before done() waits and is encrypted. done(arg, err) once; on
 * error the stream is gone and on_close is not called. Data callbacks are plaintext then. A
 * client's error text for a certificate that does not verify names the host that was asked of
 * SSL_set1_host(). */
int stream_start_tls(struct stream *s, SSL *ssl, bool server, struct gvm_str head,
                     uint64_t timeout_ms, void (*done)(void *arg, const struct gvm_err *err),
                     void *arg, struct gvm_err *err) GVM_MUST_CHECK;
SSL *stream_ssl(struct stream *s); /* NULL when plain */

void stream_resume(struct stream *s); /* streams start paused */
void stream_pause(struct stream *s);
/* All or nothing. -ENOBUFS past a hard cap (4 x GVM_STREAM_HIGH): a bug of the caller; -EPIPE after
 * stream_shutdown() or when the connection broke (on_close comes from the loop then). */
int stream_write(struct stream *s, const void *p, size_t n) GVM_MUST_CHECK;
/* Collects the writes to all streams of a loop; calls nest. */
void stream_batch_begin(uv_loop_t *loop);
void stream_batch_end(uv_loop_t *loop);
size_t stream_queued(const struct stream *s);
/* True when nothing is waiting to be read and the other side has not ended: fit to be used again.
 */
bool stream_quiet(struct stream *s);
/* True when the TLS peer ended with a bare FIN, so that the end may have been cut; with on_eof. */
bool stream_truncated(const struct stream *s);
/* Sends FIN/close_notify after what is queued. When both directions ended: on_close(NULL). */
void stream_shutdown(struct stream *s);
/* Closes after what is queued was sent and the other side answered the FIN (at most `linger_ms`;
 * what still arrives is dropped). 0 = at once, without close_notify, so that a TLS peer sees a cut.
 * No callback after this, on_close neither: the caller gave the stream up. Harmless inside
 * on_close. */
void stream_close(struct stream *s, uint64_t linger_ms);
/* Like stream_close(s, 0) but with RST: a plain peer cannot take it for an orderly end. */
void stream_abort(struct stream *s);
/* Peer and original destination (SO_ORIGINAL_DST / IP6T_SO_ORIGINAL_DST); -ENOENT when it was not
 * redirected. */
int stream_original_dst(struct stream *s, struct gvm_ip *ret_ip, uint16_t *ret_port) GVM_MUST_CHECK;
int stream_peer(struct stream *s, struct gvm_ip *ret_ip, uint16_t *ret_port) GVM_MUST_CHECK;
/* Fires cb(arg) once when nothing was read for ms, counted from now; 0 stops. One per stream; `arg`
 * is that of the events. Cheap enough to call per request. */
void stream_idle(struct stream *s, uint64_t ms, void (*cb)(void *arg));

#endif
