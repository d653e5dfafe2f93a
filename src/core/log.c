#include "core/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {"error", "warn", "info", "debug"};

/* The two values a process sets once at start; everything else in core is stateless. */
static char who[32] = "gvm";
static enum gvm_log_level threshold = GVM_LOG_WARN;

void gvm_log_open(const char *name)
{
    snprintf(who, sizeof who, "%s", name);
    const char *want = getenv("GVM_LOG");
    for (unsigned i = 0; want && i < sizeof names / sizeof *names; i++) {
        if (strcmp(want, names[i]) == 0)
            threshold = (enum gvm_log_level)i;
    }
}

void gvm_log(enum gvm_log_level level, const char *fmt, ...)
{
    if (level > threshold)
        return;
    char line[1200], text[1024];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0)
        text[0] = '\0';
    va_end(ap);
    for (char *p = text; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    }
    int n = snprintf(line, sizeof line, "%s: %s: %s\n", who, names[level], text);
    if (n > 0)
        (void)!write(STDERR_FILENO, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}
