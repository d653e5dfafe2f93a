/* The upstream's side of HTTP/2: requests of the same key (upstream_key()) share a connection. One
 * that the server turns away (GOAWAY, REFUSED_STREAM) was not touched and may be sent again. */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#include "proxy/h2/up.h"

#define SESSIONS_MAX 512u
#define BODY_ROOM    16384u /* window of the whole connection that a new body needs */

static_assert(offsetof(struct h2_up, s) == 0, "callbacks get the session");

static struct gvm_str key_of(const struct h2_up *up)
{
    return (struct gvm_str){up->key, up->key_len};
}

/* ---- calls ---- */

void h2_call_free(struct h2_call *call)
{
    *call->link = call->next;
    if (call->next)
        call->next->link = call->link;
    call->up->ncalls--;
    gvm_buf_wipe(&call->out);
    gvm_buf_done(&call->trailers);
    free(call);
}

static struct h2_call *new_call(struct h2_up *up, struct px_request *rq)
{
    struct h2_call *call = gvm_calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->up = up;
    call->rq = rq;
    gvm_buf_init(&call->out, PX_IN_MAX);
    gvm_buf_init(&call->trailers, GVM_MAX_TRAILERS);
    gvm_buf_bill(&call->out, rq->run->bill);
    gvm_buf_bill(&call->trailers, rq->run->bill);
    call->next = up->calls;
    if (call->next)
        call->next->link = &call->next;
    call->link = &up->calls;
    up->calls = call;
    up->ncalls++;
    return call;
}

/* ---- sessions ---- */

void h2_up_unlist(struct h2_up *up)
{
    struct px *px = up->s.px;
    up->closing = true;
    if (gvm_map_get(px->ups, key_of(up)) == up)
        gvm_map_take(px->ups, key_of(up));
}

/* Not from inside nghttp2. Requests that are not answered yet learn `why`. */
static void end_session(struct h2_up *up, const char *why)
{
    h2_up_unlist(up);
    *up->link = up->next;
    if (up->next)
        up->next->link = up->link;
    up->s.px->nups--;
    while (up->calls) {
        struct px_request *rq = up->calls->rq;
        h2_call_free(up->calls);
        if (rq) {
            rq->call = NULL;
            px_reply_cut(rq, false, why);
        }
    }
    if (up->s.stream)
        stream_close(up->s.stream, PX_LINGER_MS);
    h2_session_done(&up->s);
    free(up);
}

static void over(struct h2_session *s)
{
    end_session((struct h2_up *)s, s->broken ? s->broken : "the server ended the connection");
}

static void on_idle(void *arg)
{
    end_session(arg, "the connection was idle");
}

void h2_up_rest(struct h2_up *up)
{
    if (up->s.stream)
        stream_idle(up->s.stream, up->ncalls ? 0 : up->closing ? 1 : up->idle_ms, on_idle);
}

static void on_read(void *arg, const uint8_t *p, size_t n)
{
    struct h2_up *up = arg;
    h2_read(&up->s, p, n);
}

static void on_eof(void *arg)
{
    end_session(arg, "the server closed the connection before its answer was whole");
}

static void on_drain(void *arg)
{
    struct h2_up *up = arg;
    h2_mark(&up->s);
}

static void on_close(void *arg, const struct gvm_err *err)
{
    struct h2_up *up = arg;
    up->s.stream = NULL;
    end_session(up, err ? err->text : "the server closed the connection");
}

static const struct stream_events events = {on_read, on_eof, on_drain, on_close};

/* ---- joining ---- */

/* A server that takes no more of other bodies would not take this one either. */
static bool has_room(const struct h2_up *up, bool body)
{
    if (stream_age(up->s.stream) >= up->life_ms)
        return false;
    if (body && nghttp2_session_get_remote_window_size(up->s.ng) < (int32_t)BODY_ROOM)
        return false;
    uint32_t most =
        nghttp2_session_get_remote_settings(up->s.ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return !up->closing && !up->s.broken && up->ncalls < GVM_MAX_STREAMS && up->ncalls < most &&
           nghttp2_session_check_request_allowed(up->s.ng);
}

static bool join(struct px_request *rq, struct h2_up *up)
{
    struct h2_call *call = new_call(up, rq);
    if (!call)
        return false;
    rq->call = call;
    rq->back = &h2_back;
    rq->up_ip = up->ip;
    rq->up_port = up->port;
    stream_idle(up->s.stream, 0, NULL);
    return true;
}

bool px_h2_join(struct px_request *rq, struct gvm_str key)
{
    struct h2_up *up = key.n ? gvm_map_get(rq->px->ups, key) : NULL;
    if (!up || !has_room(up, rq->body != GVM_BODY_NONE) || !join(rq, up))
        return false;
    rq->reused = true;
    return true;
}

/* The one unused for longest, or the oldest. */
static void make_room(struct px *px)
{
    struct h2_up *last = NULL;
    for (struct h2_up *up = px->all_ups; up; up = up->next)
        if (!up->ncalls)
            last = up;
    if (last && px->nups >= SESSIONS_MAX)
        end_session(last, "too many connections");
}

static struct h2_up *new_up(struct px *px, struct stream *stream, struct gvm_str key)
{
    make_room(px);
    struct h2_up *up = px->nups < SESSIONS_MAX ? gvm_calloc(1, sizeof *up + key.n) : NULL;
    if (!up)
        return NULL;
    if (key.n)
        memcpy(up->key, key.p, key.n);
    up->key_len = key.n;
    up->s.over = over;
    if (h2_session_init(&up->s, px, stream, false, h2_up_callbacks()) < 0) {
        h2_session_done(&up->s);
        free(up);
        return NULL;
    }
    up->next = px->all_ups;
    if (up->next)
        up->next->link = &up->next;
    up->link = &px->all_ups;
    px->all_ups = up;
    px->nups++;
    return up;
}

/* Full, or as old as it may become: it ends when its last request does. */
static void retire(struct h2_up *up)
{
    up->closing = true;
    h2_up_rest(up);
}

bool px_h2_open(struct px_request *rq, struct gvm_str key)
{
    struct px *px = rq->px;
    struct stream *stream = rq->up;
    rq->up = NULL;
    struct h2_up *up = new_up(px, stream, key);
    if (!up) {
        stream_close(stream, 0);
        return false;
    }
    up->ip = rq->up_ip;
    up->port = rq->up_port;
    up->idle_ms = rq->policy->conf->timeouts.pool_idle;
    up->life_ms = rq->policy->conf->timeouts.pool_life;
    if (key.n) {
        struct h2_up *old = gvm_map_take(px->ups, key);
        if (old)
            retire(old);
        if (gvm_map_put(px->ups, key, up) < 0)
            up->closing = true;
    }
    stream_set_events(stream, &events, up);
    stream_resume(stream);
    return join(rq, up);
}

void px_h2_forget_run(struct px *px, const char *run)
{
    struct gvm_str id = gvm_str(run);
    struct h2_up *next;
    for (struct h2_up *up = px->all_ups; up; up = next) {
        next = up->next;
        struct gvm_str key = key_of(up);
        if (gvm_str_starts(key, id) && key.n > id.n && key.p[id.n] == '\n')
            end_session(up, "the run ended");
    }
}
