/* core/err.h - the error object and the rule for using it.
 *
 * A function that can fail returns 0 or a negative errno and takes `struct gvm_err *err` last.
 * On failure it sets `err` once; callers add where it happened with gvm_err_wrap() on the way up.
 * On success `err` is untouched. `err` may be NULL.
 */
#ifndef GVM_CORE_ERR_H
#define GVM_CORE_ERR_H

#include <stdarg.h>

#define GVM_MUST_CHECK   __attribute__((warn_unused_result))
#define GVM_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Longest error text kept, with the NUL; longer text is cut. */
#define GVM_ERR_TEXT 768

struct gvm_err {
    int code;                /* positive errno, 0 while unset */
    char text[GVM_ERR_TEXT]; /* one sentence: what, where, what to do; no newline, printable */
};

/* Sets code and text. `code` is a positive errno. Returns -code, so that a caller can
 * `return gvm_err_set(err, EINVAL, "...")`. Control bytes in the text become '?'. */
int gvm_err_set(struct gvm_err *err, int code, const char *fmt, ...) GVM_PRINTF(3, 4);

/* Like gvm_err_set() with ": " and strerror(code) added. */
int gvm_err_sys(struct gvm_err *err, int code, const char *fmt, ...) GVM_PRINTF(3, 4);

/* Puts "<fmt>: " before the text already there. Returns `r` unchanged. */
int gvm_err_wrap(struct gvm_err *err, int r, const char *fmt, ...) GVM_PRINTF(3, 4);

#endif
