/* TLS over a window of ciphertext.
 *
 * The BIO reads from s->window (what libuv just read, or `rest`) and writes to the loop's `wire`,
 * which never refuses, so OpenSSL only ever wants more to read. Every entry below ends by sending
 * `wire`; no user callback runs before that, which is why one buffer per loop is enough. The end of
 * the window is always "try again": a FIN is judged here, not by OpenSSL, because a peer that
 * leaves without close_notify is common and must still be told apart (stream_truncated()).
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include "proxy/stream/stream_int.h"

#define ALERT_LINGER_MS 500u
#define KEEPERS         128u  /* streams of a loop that keep their buffers */
#define KEEP_MS         1000u /* after the last read */

/* ---- the BIO ---- */

static int window_read(BIO *b, char *dst, int n)
{
    struct stream *s = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (n <= 0)
        return 0;
    if (!s->window_len) {
        BIO_set_retry_read(b);
        return -1;
    }
    size_t take = s->window_len < (size_t)n ? s->window_len : (size_t)n;
    memcpy(dst, s->window, take);
    s->window += take;
    s->window_len -= take;
    return (int)take;
}

static int wire_write(BIO *b, const char *src, int n)
{
    struct stream *s = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    return n > 0 && gvm_buf_add(&s->sl->wire, src, (size_t)n) == 0 ? n : -1;
}

static long control(BIO *b, int cmd, long n, void *p)
{
    (void)b;
    (void)n;
    (void)p;
    return cmd == BIO_CTRL_FLUSH;
}

/* Made once per process; the loop's thread is the only user. */
static const BIO_METHOD *window_method(void)
{
    static BIO_METHOD *m;
    if (m)
        return m;
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "gvm stream");
    if (!made || !BIO_meth_set_read(made, window_read) || !BIO_meth_set_write(made, wire_write) ||
        !BIO_meth_set_ctrl(made, control)) {
        BIO_meth_free(made);
        return NULL;
    }
    m = made;
    return m;
}

/* OpenSSL wants a clean slate before each of its calls; clearing sixteen empty slots is not free.
 */
static void forget_errors(void)
{
    if (ERR_peek_error())
        ERR_clear_error();
}

static void send_wire(struct stream *s)
{
    struct gvm_buf *w = &s->sl->wire;
    if (w->len)
        stream_send(s, gvm_buf_data(w), w->len);
    gvm_buf_reset(w);
}

/* ---- failure in words ---- */

static const char *ssl_reason(void)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    return why ? why : "protocol error";
}

/* The name or address the certificate had to be for. */
static void asked_name(SSL *ssl, char *dst, size_t cap)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    const char *host = X509_VERIFY_PARAM_get0_host(param, 0);
    char *ip = host ? NULL : X509_VERIFY_PARAM_get1_ip_asc(param);
    (void)snprintf(dst, cap, "%s", host ? host : ip ? ip : "the peer");
    OPENSSL_free(ip);
}

static void tls_error_text(struct stream *s, struct gvm_err *err)
{
    long verify = s->server ? X509_V_OK : SSL_get_verify_result(s->ssl);
    if (verify != X509_V_OK && s->handshaking) {
        char host[GVM_MAX_HOST + 1];
        asked_name(s->ssl, host, sizeof host);
        gvm_err_set(err, EPROTO, "certificate of %s does not verify: %s", host,
                    X509_verify_cert_error_string(verify));
        return;
    }
    bool no_alpn =
        ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL;
    gvm_err_set(err, no_alpn ? EPROTONOSUPPORT : EPROTO, "TLS%s: %s",
                s->handshaking ? " handshake" : "", ssl_reason());
}

/* Ends a handshake that cannot succeed: the peer gets our alert, the owner done(err). */
static void handshake_failed(struct stream *s, const struct gvm_err *err)
{
    void (*done)(void *, const struct gvm_err *) = s->tls_done;
    s->handshaking = false;
    s->ssl_bad = true;
    s->pend.len = 0;
    s->ev = NULL;
    s->shut_wanted = true;
    s->shut_sent = true; /* no close_notify, no more bytes: the alert was the last */
    if (s->broken || s->eof_wire) {
        stream_drop(s);
    } else {
        s->state =
            STREAM_LINGER; /* unread bytes would turn the close into a reset that eats the alert */
        gvm_buf_reset(&s->rest);
        stream_timer_set(s, ALERT_LINGER_MS);
        (void)shutdown(s->fd, SHUT_WR);
        stream_read_more(s);
    }
    done(s->tls_arg, err);
}

static void tls_failed(struct stream *s, const struct gvm_err *err)
{
    s->ssl_bad = true;
    if (s->handshaking)
        handshake_failed(s, err);
    else
        stream_fail(s, err);
}

void stream_tls_timeout(struct stream *s)
{
    struct gvm_err err = {0};
    gvm_err_set(&err, ETIMEDOUT, "TLS handshake: no answer in time");
    handshake_failed(s, &err);
}

/* ---- the pump: ciphertext in, plaintext out, until it stops by itself ---- */

/* 1 = go on, 0 = wait or over. */
static int pump_handshake(struct stream *s)
{
    forget_errors();
    int r = SSL_do_handshake(s->ssl);
    int why = r == 1 ? SSL_ERROR_NONE : SSL_get_error(s->ssl, r);
    if (why == SSL_ERROR_NONE) {
        send_wire(s);
        s->handshaking = false;
        stream_timer_set(s, 0);
        s->tls_done(s->tls_arg, NULL);
        if (s->state == STREAM_OPEN)
            stream_flush(s);
        return 1;
    }
    struct gvm_err err = {0};
    if (why != SSL_ERROR_WANT_READ) {
        tls_error_text(s, &err);
        send_wire(s);
        tls_failed(s, &err);
        return 0;
    }
    send_wire(s);
    if (s->eof_wire) {
        gvm_err_set(&err, ECONNRESET, "TLS handshake: the peer closed the connection");
        handshake_failed(s, &err);
    }
    return 0;
}

/* What SSL_read stopped at, when it was not an error. */
static int after_read(struct stream *s, int why)
{
    if (why == SSL_ERROR_NONE)
        return 1;
    if (why == SSL_ERROR_ZERO_RETURN) {
        s->window_len = 0; /* nothing may follow a close_notify */
        stream_end_in(s);
    } else if (s->eof_wire) {
        s->truncated = true;
        stream_end_in(s);
    }
    return 0;
}

static int pump_read(struct stream *s)
{
    struct stream_loop *sl = s->sl;
    struct gvm_err err = {0};
    size_t got = 0, n = 0;
    int why = SSL_ERROR_NONE;
    forget_errors();
    while (got < STREAM_CHUNK) {
        int r = SSL_read_ex(s->ssl, sl->plain + got, STREAM_CHUNK - got, &n);
        if (r != 1) {
            why = SSL_get_error(s->ssl, r);
            break;
        }
        got += n;
        if (!s->window_len && !SSL_has_pending(s->ssl)) {
            why = SSL_ERROR_WANT_READ; /* what the next call would say */
            break;
        }
    }
    bool bad = why != SSL_ERROR_NONE && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_ZERO_RETURN;
    if (bad)
        tls_error_text(s, &err);
    send_wire(s);
    if (got)
        stream_deliver(s, sl->plain, got);
    if (s->state != STREAM_OPEN)
        return 0;
    if (bad) {
        tls_failed(s, &err);
        return 0;
    }
    if (s->pend.len)
        stream_flush(s); /* a write that had to wait for this read */
    return s->paused ? 0 : after_read(s, why);
}

/* ---- buffers ---- */

static void keep_buffers(struct stream *s)
{
    if (s->keeps || s->sl->keepers >= KEEPERS)
        return;
    s->keeps = true;
    s->sl->keepers++;
    (void)SSL_clear_mode(s->ssl, SSL_MODE_RELEASE_BUFFERS);
    stream_timer_look(s);
}

static void forget_buffers(struct stream *s)
{
    if (s->keeps)
        s->sl->keepers--;
    s->keeps = false;
}

uint64_t stream_tls_trim_at(const struct stream *s)
{
    return s->keeps ? s->idle_from + KEEP_MS : 0;
}

void stream_tls_trim(struct stream *s, uint64_t now)
{
    if (!s->keeps || now < stream_tls_trim_at(s))
        return;
    forget_buffers(s);
    (void)SSL_set_mode(s->ssl, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_free_buffers(s->ssl); /* one that holds part of a record goes with the next release */
}

static void pump(struct stream *s)
{
    int go = 1;
    while (go && s->state == STREAM_OPEN && !s->broken) {
        if (s->handshaking)
            go = pump_handshake(s);
        else if (s->paused || s->eof_in || !s->ev)
            go = 0;
        else
            go = pump_read(s);
    }
    s->more = s->state == STREAM_OPEN && !s->eof_in && (s->paused || !s->ev);
}

void stream_tls_feed(struct stream *s, const uint8_t *p, size_t n)
{
    s->window = p;
    s->window_len = n;
    if (n && !s->handshaking)
        keep_buffers(s);
    pump(s);
    if (s->window_len && s->state == STREAM_OPEN && !s->eof_in &&
        gvm_buf_add(&s->rest, s->window, s->window_len) < 0)
        stream_break(s, ENOMEM, "read");
    s->window = NULL;
    s->window_len = 0;
}

void stream_tls_kick(struct stream *s)
{
    if (s->state != STREAM_OPEN)
        return;
    struct gvm_buf was = s->rest;
    gvm_buf_init(&s->rest, was.max);
    gvm_buf_bill(&s->rest, was.bill);
    stream_tls_feed(s, gvm_buf_data(&was), was.len);
    gvm_buf_done(&was);
}

/* ---- writing ---- */

size_t stream_tls_write(struct stream *s, const uint8_t *p, size_t n)
{
    size_t done = 0;
    forget_errors();
    while (done < n && !s->broken) {
        size_t chunk = n - done < STREAM_RECORD ? n - done : STREAM_RECORD;
        size_t taken = 0;
        int r = SSL_write_ex(s->ssl, p + done, chunk, &taken);
        if (r != 1) {
            if (SSL_get_error(s->ssl, r) != SSL_ERROR_WANT_READ) {
                s->ssl_bad = true;
                stream_break(s, EPROTO, "TLS write");
            }
            break; /* else: tried again after the next read */
        }
        done += taken;
        if (s->sl->wire.len >= STREAM_CHUNK)
            send_wire(s);
    }
    send_wire(s);
    return done;
}

void stream_tls_notify(struct stream *s)
{
    if (s->ssl_bad || (SSL_get_shutdown(s->ssl) & SSL_SENT_SHUTDOWN))
        return;
    forget_errors();
    (void)SSL_shutdown(s->ssl); /* 0: sent, theirs not seen yet */
    forget_errors();
    send_wire(s);
}

/* ---- begin and end ---- */

static int attach(struct stream *s, SSL *ssl, struct gvm_str head)
{
    const BIO_METHOD *m = window_method();
    BIO *bio = m ? BIO_new(m) : NULL;
    if (!bio)
        return -ENOMEM;
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    return gvm_buf_adds(&s->rest, head);
}

int stream_start_tls(struct stream *s, SSL *ssl, bool server, struct gvm_str head,
                     uint64_t timeout_ms, void (*done)(void *arg, const struct gvm_err *err),
                     void *arg, struct gvm_err *err)
{
    if (s->ssl || s->state != STREAM_OPEN || s->broken) {
        SSL_free(ssl);
        return gvm_err_set(err, EPIPE, "TLS: the connection is not open");
    }
    stream_flush(s);
    int r = attach(s, ssl, head);
    if (r < 0) {
        SSL_free(ssl);
        return gvm_err_set(err, -r, "TLS: out of memory");
    }
    SSL_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                          SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY);
    SSL_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    (void)SSL_set_min_proto_version(ssl, TLS1_2_VERSION);
    if (server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    s->ssl = ssl;
    s->server = server;
    s->handshaking = true;
    s->tls_done = done;
    s->tls_arg = arg;
    stream_timer_set(s, timeout_ms);
    stream_kick(s);
    return 0;
}

void stream_tls_free(struct stream *s)
{
    if (!s->ssl)
        return;
    forget_buffers(s);
    /* Without this OpenSSL takes the missing close_notify for a failure and forgets the session. */
    if (!s->ssl_bad && !s->handshaking)
        SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(s->ssl);
    s->ssl = NULL;
}
