/* tunnel.c - through a company's proxy: CONNECT, its answer, and then the stream is the other
 * end's.
 *
 * Nothing of the agent's is in the request. What a proxy sends behind its answer before anything
 * was sent through it is refused: no server that we speak TLS or HTTP with speaks first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/upstream/upstream_int.h"
#include "wire/http1.h"

struct tunnel {
    struct stream *s;
    void (*done)(void *arg, const struct gvm_err *err);
    void *arg;
    char to[GVM_MAX_HOST + 10];
    struct gvm_buf in;
};

static void tunnel_free(struct tunnel *t)
{
    gvm_buf_done(&t->in);
    free(t);
}

void tunnel_cancel(struct tunnel *t)
{
    if (!t)
        return;
    stream_close(t->s, 0);
    tunnel_free(t);
}

/* `gone`: the stream has closed by itself. */
static void fail(struct tunnel *t, bool gone, const struct gvm_err *why)
{
    struct gvm_err err = *why;
    void (*done)(void *, const struct gvm_err *) = t->done;
    void *arg = t->arg;
    (void)gvm_err_wrap(&err, -err.code, "[upstream] proxy, CONNECT %s", t->to);
    if (!gone)
        stream_close(t->s, 0);
    tunnel_free(t);
    done(arg, &err);
}

static void fail_text(struct tunnel *t, const char *text)
{
    struct gvm_err err = {0};
    gvm_err_set(&err, EPROTO, "%s", text);
    fail(t, false, &err);
}

static void on_data(void *arg, const uint8_t *p, size_t n)
{
    struct tunnel *t = arg;
    struct gvm_http1_head *h = gvm_calloc(1, sizeof *h);
    struct gvm_err err = {0};
    int r = !h || gvm_buf_add(&t->in, p, n) < 0
                ? gvm_err_set(&err, EPROTO, "the answer is too long")
                : gvm_http1_response(gvm_buf_str(&t->in), GVM_STR("CONNECT"), h, &err);
    unsigned status = r == 1 ? h->status : 0;
    bool more = r == 1 && h->length != t->in.len;
    free(h);
    if (r < 0) {
        err.code = EPROTO;
        fail(t, false, &err);
    } else if (r == 1 && (status < 200 || status > 299)) {
        gvm_err_set(&err, EPROTO, "answered %u", status);
        fail(t, false, &err);
    } else if (more) {
        fail_text(t, "sent bytes behind its answer");
    } else if (r == 1) {
        void (*done)(void *, const struct gvm_err *) = t->done;
        void *whom = t->arg;
        stream_pause(t->s);
        stream_idle(t->s, 0, NULL);
        stream_set_events(t->s, NULL, NULL);
        tunnel_free(t);
        done(whom, NULL);
    }
}

static void on_eof(void *arg)
{
    fail_text(arg, "ended without an answer");
}

static void on_silence(void *arg)
{
    struct gvm_err err = {0};
    gvm_err_set(&err, ETIMEDOUT, "no answer in time");
    fail(arg, false, &err);
}

static void on_close(void *arg, const struct gvm_err *err)
{
    struct gvm_err none = {0};
    if (!err)
        gvm_err_set(&none, EPROTO, "closed");
    fail(arg, true, err ? err : &none);
}

static const struct stream_events events = {
    .on_data = on_data, .on_eof = on_eof, .on_close = on_close};

int tunnel_begin(struct stream *s, const char *host, uint16_t port, uint64_t ms,
                 void (*done)(void *arg, const struct gvm_err *err), void *arg, struct tunnel **ret,
                 struct gvm_err *err)
{
    char text[2 * GVM_MAX_HOST + 64];
    struct tunnel *t = gvm_calloc(1, sizeof *t);
    if (!t) {
        stream_close(s, 0);
        return gvm_err_set(err, ENOMEM, "upstream: out of memory");
    }
    t->s = s;
    t->done = done;
    t->arg = arg;
    gvm_buf_init(&t->in, GVM_MAX_HEAD);
    bool v6 = strchr(host, ':') != NULL;
    (void)snprintf(t->to, sizeof t->to, "%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "", port);
    int n = snprintf(text, sizeof text, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", t->to, t->to);
    stream_set_events(s, &events, t);
    if (n < 0 || (size_t)n >= sizeof text || stream_write(s, text, (size_t)n) < 0) {
        tunnel_cancel(t);
        return gvm_err_set(err, EPIPE, "[upstream] proxy, CONNECT %s: cannot be asked", host);
    }
    stream_idle(s, ms, on_silence);
    stream_resume(s);
    *ret = t;
    return 0;
}
