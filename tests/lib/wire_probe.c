/* wire_probe - shows other languages what the codecs of wire say. Test tool, never installed.
 *
 * Reads lines "COMMAND HEX" and answers each with one line of JSON; bytes are hex in both
 * directions.
 *
 *   ip HEX          {"ok":true,"text":"...","class":"..."}
 *   authority HEX   {"ok":true,"host":"...","ip":bool,"port":n}
 *   target HEX      {"ok":true,"path":"...","query":null|"..."}
 *   requests HEX
 * {"messages":[{method,target,minor,headers,body,keep_alive}...],"end":"more|done|refused",
 *                    "why":"..."}  - a whole connection
 *   json HEX        {"ok":true,"text":"..."}: read and written again
 *   sni HEX         {"ok":true,"sni":"...","h2":bool} | {"ok":false,"more":true}
 */
#include <stdio.h>
#include <stdlib.h>
#include "wire/wire.h"

enum { LINE_MAX_BYTES = 1 << 20 };

static void key_hex(struct gvm_jw *w, const char *key, struct gvm_str s)
{
    char *hex = malloc(2 * s.n + 1);
    if (!hex)
        abort();
    gvm_hex(hex, s.p, s.n);
    gvm_jw_kstrz(w, key, hex);
    free(hex);
}

static bool say_ok(struct gvm_jw *w, int r, const struct gvm_err *err)
{
    gvm_jw_kbool(w, "ok", r >= 0);
    if (r < 0)
        gvm_jw_kstrz(w, "why", err->text);
    return r >= 0;
}

static void do_ip(struct gvm_str in, struct gvm_jw *w)
{
    struct gvm_ip ip;
    char text[INET6_ADDRSTRLEN];
    int r = gvm_ip_parse(in, &ip);
    gvm_jw_kbool(w, "ok", r == 0);
    if (r < 0)
        return;
    gvm_ip_text(&ip, text);
    gvm_jw_kstrz(w, "text", text);
    gvm_jw_kstrz(w, "class", gvm_ip_class_name(gvm_ip_class(&ip)));
}

static void do_authority(struct gvm_str in, struct gvm_jw *w)
{
    struct gvm_authority a;
    struct gvm_err err = {0};
    if (!say_ok(w, gvm_authority_parse(in, &a, &err), &err))
        return;
    gvm_jw_kstrz(w, "host", a.host);
    gvm_jw_kbool(w, "ip", a.is_ip);
    gvm_jw_kint(w, "port", a.port);
}

/* Token by token into a new text. */
static void write_again(struct gvm_str in, struct gvm_buf *out)
{
    struct gvm_json_reader r;
    struct gvm_json_token t;
    struct gvm_buf s;
    struct gvm_jw w;
    gvm_buf_init(&s, LINE_MAX_BYTES);
    gvm_jw_init(&w, out);
    gvm_json_open(&r, in);
    while (gvm_json_next(&r, &t) == 0 && t.type != GVM_JSON_END) {
        gvm_buf_reset(&s);
        if ((t.type == GVM_JSON_STRING || t.type == GVM_JSON_KEY) &&
            gvm_json_unescape(t.raw, &s) < 0)
            abort();
        if (t.type == GVM_JSON_OBJECT)
            gvm_jw_object(&w);
        else if (t.type == GVM_JSON_OBJECT_END)
            gvm_jw_object_end(&w);
        else if (t.type == GVM_JSON_ARRAY)
            gvm_jw_array(&w);
        else if (t.type == GVM_JSON_ARRAY_END)
            gvm_jw_array_end(&w);
        else if (t.type == GVM_JSON_STRING)
            gvm_jw_str(&w, gvm_buf_str(&s));
        else if (t.type == GVM_JSON_KEY) {
            gvm_jw_str(&w, gvm_buf_str(&s));
            gvm_buf_addc(out, ':');
            w.comma = false;
        } else
            gvm_jw_raw(&w, t.raw);
    }
    gvm_buf_done(&s);
}

static void do_json(struct gvm_str in, struct gvm_jw *w)
{
    struct gvm_arena *a = gvm_arena_new(64u << 20);
    struct gvm_json *v;
    struct gvm_buf out;
    struct gvm_err err = {0};
    gvm_buf_init(&out, LINE_MAX_BYTES);
    if (!a)
        abort();
    if (say_ok(w, gvm_json_parse(a, in, &v, &err), &err)) {
        write_again(in, &out);
        key_hex(w, "text", gvm_buf_str(&out));
    }
    gvm_buf_done(&out);
    gvm_arena_free(a);
}

static void do_target(struct gvm_str in, struct gvm_jw *w)
{
    struct gvm_buf path, query;
    struct gvm_err err = {0};
    bool has = false;
    gvm_buf_init(&path, GVM_MAX_TARGET);
    gvm_buf_init(&query, GVM_MAX_TARGET);
    if (say_ok(w, gvm_target_canon(in, &path, &query, &has, &err), &err)) {
        key_hex(w, "path", gvm_buf_str(&path));
        if (has)
            key_hex(w, "query", gvm_buf_str(&query));
    }
    gvm_buf_done(&path);
    gvm_buf_done(&query);
}

static void say_head(const struct gvm_http1_head *h, struct gvm_jw *w)
{
    key_hex(w, "method", h->method);
    key_hex(w, "target", h->target);
    gvm_jw_kint(w, "minor", h->minor);
    gvm_jw_kbool(w, "keep_alive", h->keep_alive);
    gvm_jw_kbool(w, "upgrade", h->upgrade);
    gvm_jw_key(w, "headers");
    gvm_jw_array(w);
    for (unsigned i = 0; i < h->nheaders; i++) {
        gvm_jw_object(w);
        key_hex(w, "name", h->headers[i].name);
        key_hex(w, "value", h->headers[i].value);
        gvm_jw_object_end(w);
    }
    gvm_jw_array_end(w);
}

/* One request from the front of *in. 1 read, 0 bytes missing, negative refused. *ret_last: HTTP
 * ends here. */
static int one_request(struct gvm_str *in, struct gvm_jw *w, bool *ret_last, struct gvm_err *err)
{
    static struct gvm_http1_head head;
    int r = gvm_http1_request(*in, &head, err);
    if (r <= 0)
        return r;
    *ret_last = !head.keep_alive || head.upgrade || gvm_str_eqz(head.method, "CONNECT");
    in->p += head.length;
    in->n -= head.length;
    struct gvm_http1_body body;
    struct gvm_buf bytes;
    gvm_buf_init(&bytes, LINE_MAX_BYTES);
    gvm_http1_body_init(&body, head.body, head.content_length);
    r = body.done;
    while (r == 0 && in->n > 0) {
        struct gvm_str payload;
        r = gvm_http1_body_feed(&body, in, &payload, err);
        if (r >= 0 && gvm_buf_adds(&bytes, payload) < 0)
            abort();
    }
    gvm_jw_object(w);
    say_head(&head, w);
    gvm_jw_kstrz(w, "body_end", r < 0 ? "refused" : r ? "done" : "more");
    key_hex(w, "body", gvm_buf_str(&bytes));
    gvm_jw_object_end(w);
    gvm_buf_done(&bytes);
    return r;
}

static void do_requests(struct gvm_str in, struct gvm_jw *w)
{
    struct gvm_err err = {0};
    int r = 1;
    gvm_jw_key(w, "messages");
    gvm_jw_array(w);
    bool last = false;
    while (r > 0 && in.n > 0 && !last)
        r = one_request(&in, w, &last, &err);
    gvm_jw_array_end(w);
    gvm_jw_kstrz(w, "end", r < 0 ? "refused" : r ? "done" : "more");
    gvm_jw_kstrz(w, "why", err.text);
}

static void do_sni(struct gvm_str in, struct gvm_jw *w)
{
    struct gvm_buf scratch;
    struct gvm_tls_hello hello;
    struct gvm_err err = {0};
    gvm_buf_init(&scratch, GVM_MAX_TLS_HELLO + 16384);
    int r = gvm_tls_hello_parse(in, &scratch, &hello, &err);
    gvm_jw_kbool(w, "ok", r == 1);
    gvm_jw_kbool(w, "more", r == 0);
    if (r < 0)
        gvm_jw_kstrz(w, "why", err.text);
    if (r == 1) {
        gvm_jw_kstr(w, "sni", hello.sni);
        gvm_jw_kbool(w, "h2", hello.alpn_h2);
        gvm_jw_kbool(w, "http1", hello.alpn_http1);
    }
    gvm_buf_done(&scratch);
}

static const struct {
    const char *name;
    void (*fn)(struct gvm_str, struct gvm_jw *);
} commands[] = {
    {"ip", do_ip},   {"authority", do_authority}, {"target", do_target}, {"requests", do_requests},
    {"sni", do_sni}, {"json", do_json},
};

/* Answers one line into `out`; false when it is no command. */
static bool answer(struct gvm_str line, struct gvm_buf *out)
{
    struct gvm_str command, hex = line;
    (void)gvm_str_cut(&hex, ' ', &command);
    size_t n = hex.n / 2;
    char *bytes = malloc(n + 1);
    if (!bytes)
        abort();
    bool known = gvm_unhex(bytes, n, hex) == 0;
    struct gvm_jw w;
    gvm_jw_init(&w, out);
    gvm_jw_object(&w);
    size_t i = 0;
    while (i < sizeof commands / sizeof *commands && !gvm_str_eqz(command, commands[i].name))
        i++;
    known = known && i < sizeof commands / sizeof *commands;
    if (known)
        commands[i].fn((struct gvm_str){bytes, n}, &w);
    gvm_jw_object_end(&w);
    free(bytes);
    return known;
}

int main(void)
{
    static char line[LINE_MAX_BYTES];
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf out;
    gvm_buf_init(&out, 8 * LINE_MAX_BYTES);
    while (fgets(line, sizeof line, stdin)) {
        struct gvm_str text = gvm_str(line);
        if (text.n > 0 && text.p[text.n - 1] == '\n')
            text.n--;
        gvm_buf_reset(&out);
        if (!answer(text, &out) || out.failed)
            return 2;
        (void)puts(gvm_buf_cstr(&out));
        (void)fflush(stdout);
    }
    return 0;
}
