/* proxy/stream/stream_int.h - what the files of this folder share.
 *
 * How a byte travels. Reading: libuv reads into the loop's one `in` buffer. Plain bytes go from
 * there to on_data. For TLS a window over `in` is what the BIO hands to OpenSSL; plaintext gathers
 * in the loop's `plain` buffer and goes to on_data in pieces of up to 64 KiB. If the callee pauses,
 * ciphertext not yet taken moves to the stream's `rest` and is fed again after stream_resume().
 * Writing: small writes wait in `pend` (plain bytes) until the outermost callback ends, large ones
 * go on at once. TLS encrypts into the loop's `wire` buffer, which is sent before anything else can
 * run, so one buffer serves all streams. What the kernel does not take waits in `out`; while libuv
 * writes, it owns `flying`. OpenSSL has two buffers of 17 KB for each connection, which it would
 * allocate and free for every record: those read from lately keep theirs, as long as they are few.
 */
#ifndef GVM_PROXY_STREAM_INT_H
#define GVM_PROXY_STREAM_INT_H

#include "proxy/stream/defer.h"
#include "proxy/stream/stream.h"

#define STREAM_CHUNK  (64u * 1024u) /* bytes read or decrypted at a time */
#define STREAM_SMALL  (8u * 1024u)  /* writes up to this may wait for the end of the callback */
#define STREAM_RECORD 16384u        /* largest TLS record, plaintext */
#define STREAM_CAP    (4u * GVM_STREAM_HIGH)

enum stream_state {
    STREAM_CONNECTING,
    STREAM_OPEN,
    STREAM_LINGER, /* given up by its owner: sends what is left, drops what comes */
    STREAM_GONE,   /* handles are closing; the memory goes with them */
};

struct stream_loop {
    uv_loop_t *loop;
    struct stream_loop *next;
    uv_idle_t idle; /* runs what was deferred */
    unsigned refs;
    unsigned depth;   /* callbacks or batches being inside */
    unsigned batches; /* of depth, those begun by stream_batch_begin() */
    unsigned keepers; /* streams that keep their TLS buffers */
    struct defer *deferred;
    struct stream *dirty; /* streams with `pend` to send */
    struct gvm_buf wire;  /* TLS bytes made by the call being inside */
    uint8_t in[STREAM_CHUNK];
    uint8_t plain[STREAM_CHUNK];
};

struct stream {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_connect_t connecting;
    uv_write_t writing;
    struct stream_loop *sl;
    const struct stream_events *ev;
    void *arg;
    void (*connected)(void *arg, struct stream *s, const struct gvm_err *err);
    int fd;
    enum stream_state state;
    unsigned handles; /* that are not closed yet */
    bool paused;
    bool reading;  /* libuv reads */
    bool eof_wire; /* FIN was read */
    bool eof_in;   /* on_eof was called */
    bool shut_wanted, shut_sent;
    bool above; /* queued had passed HIGH */
    bool is_dirty;
    int broken; /* errno that on_close will tell, 0 = none */
    const char *broken_what;

    struct gvm_buf pend, out, flying, rest;
    struct gvm_bill *bill; /* that they are on */
    struct stream *next_dirty, **prev_dirty;
    struct defer kick; /* pump, fail or finish from the loop */

    uint64_t phase_at; /* connect, handshake or linger ends here (loop time), 0 = never */
    uint64_t idle_ms, idle_from, timer_at, born;
    void (*idle_cb)(void *arg);

    struct gvm_ip peer; /* once asked */
    uint16_t peer_port;

    SSL *ssl;
    const uint8_t *window; /* ciphertext for the BIO to take */
    size_t window_len;
    bool handshaking, server, truncated;
    bool more;    /* the pump stopped because of a pause */
    bool ssl_bad; /* a fatal error: the session must not be resumed */
    bool keeps;   /* its TLS buffers, until nothing was read for a while */
    void (*tls_done)(void *arg, const struct gvm_err *err);
    void *tls_arg;
};

/* stream.c */
void stream_enter(struct stream_loop *sl);
void stream_leave(struct stream_loop *sl);
void stream_flush(struct stream *s);
/* Sends or queues wire bytes; a failure breaks the stream (on_close comes from the loop). */
void stream_send(struct stream *s, const uint8_t *p, size_t n);
void stream_break(struct stream *s, int code, const char *what);
void stream_deliver(struct stream *s, const uint8_t *p, size_t n);
void stream_end_in(struct stream *s);
void stream_fail(struct stream *s, const struct gvm_err *err);
void stream_kick(struct stream *s); /* looks at it again from the loop */
void stream_drop(struct stream *s); /* to STREAM_GONE, without a callback */
void stream_read_more(struct stream *s);
void stream_timer_set(struct stream *s, uint64_t phase_ms);
void stream_timer_look(struct stream *s); /* something became due earlier */

/* stream_tls.c */
void stream_tls_feed(struct stream *s, const uint8_t *p, size_t n);
void stream_tls_kick(struct stream *s);
/* Encrypts and sends; returns the bytes of `p` taken. */
size_t stream_tls_write(struct stream *s, const uint8_t *p, size_t n);
void stream_tls_notify(struct stream *s); /* close_notify */
/* When buffers that are kept are to go (loop time), 0: there are none. */
uint64_t stream_tls_trim_at(const struct stream *s);
void stream_tls_trim(struct stream *s, uint64_t now);
void stream_tls_timeout(struct stream *s);
void stream_tls_free(struct stream *s);

#endif
