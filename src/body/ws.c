/* body/ws.c - frames:
 *
 *   0  fin(1) rsv(3) opcode(4)        opcodes: 0 continuation, 1 text, 2 binary, 8 close, 9 ping,
 * 10 pong 1  mask(1) length(7)              126: 2 more bytes of length, 127: 8 more .  masking key
 * (4) when masked, then the payload, XORed with it
 *
 * A control frame is short, whole, and may stand between the parts of a message. RSV1 on the first
 * frame of a message says that it is compressed.
 */
#include "body/ws.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

enum { HEAD_MAX = 14, CONTROL_MAX = 125, RATIO = 200, RATIO_FREE = 64 * 1024 };

struct gvm_ws {
    struct gvm_ws_options o;
    uint8_t head[HEAD_MAX];
    unsigned head_n;
    /* the frame that is read */
    bool in_frame, fin, control;
    uint64_t left;
    uint8_t mask[4];
    unsigned phase;
    /* the message that is read */
    bool in_message, through, compressed, binary;
    struct gvm_buf held;  /* its frames */
    struct gvm_buf data;  /* its payload, unmasked */
    struct gvm_buf plain; /* inflated */
    struct gvm_buf small; /* a control frame */
    const char *unseen;
    bool head_waits;
    struct gvm_buf *given; /* was given and is to be emptied */
    z_stream z;
    bool z_open, z_lost;
    uint64_t messages, bytes;
};

struct gvm_ws *gvm_ws_new(const struct gvm_ws_options *o)
{
    struct gvm_ws *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->o = *o;
    /* Frames of one byte each need heads, too. */
    gvm_buf_init(&w->held, 2 * o->max + 4096);
    gvm_buf_init(&w->data, o->max);
    gvm_buf_init(&w->plain, o->max);
    gvm_buf_init(&w->small, HEAD_MAX + CONTROL_MAX);
    if (o->look && o->deflate && inflateInit2(&w->z, -MAX_WBITS) != Z_OK) {
        free(w);
        return NULL;
    }
    w->z_open = o->look && o->deflate;
    return w;
}

void gvm_ws_free(struct gvm_ws *w)
{
    if (!w)
        return;
    if (w->z_open)
        (void)inflateEnd(&w->z);
    gvm_buf_wipe(&w->held);
    gvm_buf_wipe(&w->data);
    gvm_buf_wipe(&w->plain);
    gvm_buf_done(&w->small);
    free(w);
}

void gvm_ws_counts(const struct gvm_ws *w, uint64_t *ret_messages, uint64_t *ret_bytes)
{
    *ret_messages = w->messages;
    *ret_bytes = w->bytes;
}

bool gvm_ws_between_frames(const struct gvm_ws *w)
{
    bool held = w->o.look && !w->through;
    return held || (!w->in_frame && w->head_n == 0);
}

/* ---- heads ---- */

static unsigned head_size(const struct gvm_ws *w)
{
    if (w->head_n < 2)
        return 2;
    unsigned length = w->head[1] & 0x7f;
    return 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + (w->head[1] & 0x80 ? 4 : 0);
}

static int bad(struct gvm_err *err, const char *what)
{
    return gvm_err_set(err, EINVAL, "not a WebSocket frame: %s", what);
}

static int check_kind(struct gvm_ws *w, unsigned op, unsigned rsv, struct gvm_err *err)
{
    w->control = op >= 8;
    if (op > 10 || (op > 2 && op < 8))
        return bad(err, "a reserved opcode");
    if (w->control && (!w->fin || w->left > CONTROL_MAX || rsv))
        return bad(err, "a control frame that is long, in parts or with reserved bits");
    if (w->control)
        return 0;
    if ((op == 0) != w->in_message)
        return bad(err, op == 0 ? "a part of no message" : "a message inside a message");
    if (rsv && (op == 0 || rsv != 4 || !w->o.deflate))
        return bad(err, "reserved bits that were not agreed on");
    return 0;
}

/* The head is whole. */
static int begin_frame(struct gvm_ws *w, struct gvm_err *err)
{
    const uint8_t *h = w->head;
    unsigned op = h[0] & 15, rsv = h[0] >> 4 & 7, at = 2;
    uint64_t n = h[1] & 0x7f;
    w->fin = (h[0] & 0x80) != 0;
    if (!!(h[1] & 0x80) != w->o.masked)
        return bad(err, w->o.masked ? "it is not masked" : "it is masked");
    if (n == 126) {
        n = gvm_get16(h + 2);
        at = 4;
        if (n < 126)
            return bad(err, "a length in too many bytes");
    } else if (n == 127) {
        n = (uint64_t)gvm_get32(h + 2) << 32 | gvm_get32(h + 6);
        at = 10;
        if (n <= UINT16_MAX || n > INT64_MAX)
            return bad(err, "a length in too many bytes");
    }
    w->left = n;
    memset(w->mask, 0, sizeof w->mask);
    if (w->o.masked)
        memcpy(w->mask, h + at, 4);
    w->phase = 0;
    int r = check_kind(w, op, rsv, err);
    if (r < 0)
        return r;
    if (!w->control && op) {
        w->in_message = true;
        w->through = !w->o.look;
        w->compressed = rsv != 0;
        w->binary = op == 2;
        w->unseen = NULL;
        w->messages++;
    }
    w->in_frame = true;
    return 0;
}

/* ---- content ---- */

static void take_payload(struct gvm_ws *w, const char *p, size_t n)
{
    uint8_t *to = gvm_buf_space(&w->data, n);
    if (!to) {
        w->unseen = "the message is larger than is looked at";
        return;
    }
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)p[i] ^ w->mask[(w->phase + i) & 3];
    gvm_buf_grew(&w->data, n);
}

/* One piece of input through the inflater. False: broken or too much. */
static bool inflate_piece(struct gvm_ws *w, const uint8_t *p, size_t n)
{
    uint8_t out[8192];
    w->z.next_in = (Bytef *)(uintptr_t)p;
    w->z.avail_in = (uInt)n;
    do {
        w->z.next_out = out;
        w->z.avail_out = sizeof out;
        int r = inflate(&w->z, Z_SYNC_FLUSH);
        size_t got = sizeof out - w->z.avail_out;
        size_t total = w->plain.len + got;
        bool bomb = total > RATIO_FREE && total / RATIO > w->data.len;
        if ((r != Z_OK && r != Z_BUF_ERROR) || bomb || gvm_buf_add(&w->plain, out, got) < 0)
            return false;
    } while (w->z.avail_in || w->z.avail_out == 0);
    return true;
}

static void undo_deflate(struct gvm_ws *w)
{
    static const uint8_t tail[] = {0, 0, 0xff, 0xff}; /* RFC 7692 7.2.2 */
    gvm_buf_reset(&w->plain);
    if (w->z_lost) {
        w->unseen = "what came before is needed to inflate the message, and was not looked at";
        return;
    }
    if (!w->o.keep_context)
        (void)inflateReset(&w->z);
    if (!inflate_piece(w, gvm_buf_data(&w->data), w->data.len) ||
        !inflate_piece(w, tail, sizeof tail)) {
        w->unseen = "the message cannot be inflated within its limit";
        w->z_lost = w->o.keep_context;
    }
}

static void give(struct gvm_ws *w, struct gvm_buf *frames, enum gvm_ws_event event,
                 struct gvm_ws_got *ret)
{
    *ret = (struct gvm_ws_got){.event = event, .bytes = gvm_buf_str(frames)};
    w->given = frames;
}

static void give_message(struct gvm_ws *w, struct gvm_ws_got *ret)
{
    bool inflated = w->compressed && !w->unseen;
    if (w->compressed && w->unseen)
        w->z_lost = w->o.keep_context;
    if (inflated)
        undo_deflate(w);
    give(w, &w->held, GVM_WS_MESSAGE, ret);
    ret->binary = w->binary;
    ret->unseen = w->unseen;
    ret->text = gvm_buf_str(inflated ? &w->plain : &w->data);
    if (!w->binary && !w->unseen && !gvm_utf8_valid(ret->text))
        ret->unseen = "a text message that is not UTF-8";
}

/* ---- bytes ---- */

static void empty_given(struct gvm_ws *w)
{
    if (!w->given)
        return;
    gvm_buf_reset(w->given);
    if (w->given == &w->held)
        gvm_buf_reset(&w->data);
    w->given = NULL;
}

/* Where the bytes of the current frame go; NULL: they are passed on as they are. */
static struct gvm_buf *keeper(struct gvm_ws *w)
{
    if (w->control)
        return &w->small;
    return w->through ? NULL : &w->held;
}

/* Keeps bytes of a frame; false when the message got too large: it is given as it is so far. */
static bool keep(struct gvm_ws *w, const void *p, size_t n)
{
    struct gvm_buf *to = keeper(w);
    if (!to || gvm_buf_add(to, p, n) == 0)
        return true;
    w->unseen = "the message is larger than is looked at";
    return false;
}

static void end_frame(struct gvm_ws *w, struct gvm_ws_got *ret)
{
    w->in_frame = false;
    w->head_n = 0;
    if (w->control) {
        give(w, &w->small, GVM_WS_PASS, ret);
        return;
    }
    if (!w->fin)
        return;
    w->in_message = false;
    if (!w->through)
        give_message(w, ret);
    w->through = false;
}

/* Too large: what is held is given now, the rest goes through if it may. */
static void give_up(struct gvm_ws *w, struct gvm_ws_got *ret)
{
    give_message(w, ret);
    w->through = true;
}

/* The payload in *in. */
static void payload(struct gvm_ws *w, struct gvm_str *in, struct gvm_ws_got *ret)
{
    size_t n = w->left < in->n ? (size_t)w->left : in->n;
    struct gvm_str part = {in->p, n};
    struct gvm_buf *to = keeper(w);
    if (to && !w->control && to->max - to->len < n)
        w->unseen = "the message is larger than is looked at";
    if (to && !w->control && !w->unseen)
        take_payload(w, part.p, n);
    if (w->unseen && to == &w->held) {
        give_up(w, ret);
        return;
    }
    if (to)
        (void)gvm_buf_add(to, part.p, n);
    w->bytes += w->control ? 0 : n;
    w->phase = (unsigned)((w->phase + n) & 3);
    w->left -= n;
    in->p += n;
    in->n -= n;
    if (!to && n)
        *ret = (struct gvm_ws_got){.event = GVM_WS_PASS, .bytes = part};
}

/* Bytes of the head. 1 when it is whole. */
static int head(struct gvm_ws *w, struct gvm_str *in)
{
    while (in->n && w->head_n < head_size(w)) {
        w->head[w->head_n++] = (uint8_t)in->p[0];
        in->p++;
        in->n--;
    }
    return w->head_n >= 2 && w->head_n == head_size(w);
}

static void pass_head(struct gvm_ws *w, struct gvm_ws_got *ret)
{
    struct gvm_ws_got none;
    *ret =
        (struct gvm_ws_got){.event = GVM_WS_PASS, .bytes = {(const char *)w->head, head_size(w)}};
    if (w->left == 0)
        end_frame(w, &none);
}

int gvm_ws_feed(struct gvm_ws *w, struct gvm_str *in, struct gvm_ws_got *ret, struct gvm_err *err)
{
    empty_given(w);
    *ret = (struct gvm_ws_got){.event = GVM_WS_MORE};
    if (w->head_waits) { /* of a frame of a message that goes through after all */
        w->head_waits = false;
        pass_head(w, ret);
    }
    while (ret->event == GVM_WS_MORE) {
        if (!w->in_frame) {
            if (!head(w, in))
                return 0;
            int r = begin_frame(w, err);
            if (r < 0)
                return r;
            if (!keep(w, w->head, w->head_n)) {
                give_up(w, ret);
                w->head_waits = true;
                return 0;
            }
            if (!keeper(w)) {
                pass_head(w, ret);
                return 0;
            }
        }
        if (w->left)
            payload(w, in, ret);
        if (w->in_frame && w->left == 0 && ret->event != GVM_WS_MESSAGE) {
            struct gvm_ws_got done = {.event = GVM_WS_MORE};
            end_frame(w, &done);
            if (done.event != GVM_WS_MORE)
                *ret = done;
        }
        if (ret->event == GVM_WS_MORE && in->n == 0)
            return 0;
    }
    return 0;
}

int gvm_ws_close(uint16_t code, struct gvm_str reason, const uint8_t mask[4], struct gvm_buf *out)
{
    uint8_t f[2 + 4 + 2 + 123];
    size_t n = reason.n > 123 ? 123 : reason.n, at = 2;
    while (n < reason.n && n && ((uint8_t)reason.p[n] & 0xc0) == 0x80)
        n--; /* not in the middle of a character */
    f[0] = 0x88;
    f[1] = (uint8_t)((mask ? 0x80 : 0) | (2 + n));
    if (mask) {
        memcpy(f + 2, mask, 4);
        at = 6;
    }
    gvm_put16(f + at, code);
    memcpy(f + at + 2, reason.p, n);
    for (size_t i = 0; mask && i < 2 + n; i++)
        f[at + i] ^= mask[i & 3];
    return gvm_buf_add(out, f, at + 2 + n);
}

int gvm_ws_extensions(struct gvm_str value, bool *ret_deflate, bool *ret_client_context,
                      bool *ret_server_context)
{
    struct gvm_str one, name;
    *ret_deflate = false;
    *ret_client_context = *ret_server_context = true;
    value = gvm_str_trim(value);
    if (value.n == 0)
        return 0;
    if (gvm_str_find(value, ',') >= 0)
        return -ENOTSUP;
    bool more = gvm_str_cut(&value, ';', &name);
    if (!gvm_str_ieqz(gvm_str_trim(name), "permessage-deflate"))
        return -ENOTSUP;
    *ret_deflate = true;
    while (more) {
        more = gvm_str_cut(&value, ';', &one);
        (void)gvm_str_cut(&one, '=', &name);
        name = gvm_str_trim(name);
        if (gvm_str_ieqz(name, "client_no_context_takeover"))
            *ret_client_context = false;
        else if (gvm_str_ieqz(name, "server_no_context_takeover"))
            *ret_server_context = false;
        else if (!gvm_str_ieqz(name, "client_max_window_bits") &&
                 !gvm_str_ieqz(name, "server_max_window_bits"))
            return -ENOTSUP;
    }
    return 0;
}
