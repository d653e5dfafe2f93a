#include "core/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Error text goes to terminals and logs: one printable line, whatever was formatted into it. */
static void clean(char *text)
{
    for (char *p = text; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    }
}

GVM_PRINTF(3, 0)
static void set_text(struct gvm_err *err, int code, const char *fmt, va_list ap)
{
    err->code = code;
    if (vsnprintf(err->text, sizeof err->text, fmt, ap) < 0)
        err->text[0] = '\0';
    clean(err->text);
}

int gvm_err_set(struct gvm_err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        set_text(err, code, fmt, ap);
        va_end(ap);
    }
    return -code;
}

int gvm_err_sys(struct gvm_err *err, int code, const char *fmt, ...)
{
    if (!err)
        return -code;
    va_list ap;
    va_start(ap, fmt);
    set_text(err, code, fmt, ap);
    va_end(ap);
    const char *why = strerrordesc_np(code);
    size_t n = strlen(err->text);
    snprintf(err->text + n, sizeof err->text - n, ": %s", why ? why : "unknown error");
    return -code;
}

int gvm_err_wrap(struct gvm_err *err, int r, const char *fmt, ...)
{
    if (!err)
        return r;
    char was[GVM_ERR_TEXT];
    memcpy(was, err->text, sizeof was);
    va_list ap;
    va_start(ap, fmt);
    set_text(err, err->code ? err->code : -r, fmt, ap);
    va_end(ap);
    size_t n = strlen(err->text);
    snprintf(err->text + n, sizeof err->text - n, ": %s", was);
    return r;
}
