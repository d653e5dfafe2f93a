/* core/log.h - words for the operator on stderr. Rooms return errors; only programs, process mains
 * and the connection edge call this. Control bytes are escaped, secrets must never get here. */
#ifndef GVM_CORE_LOG_H
#define GVM_CORE_LOG_H

#include "core/err.h"

enum gvm_log_level { GVM_LOG_ERROR, GVM_LOG_WARN, GVM_LOG_INFO, GVM_LOG_DEBUG };

/* `who` is put before each line ("gvm", "gvmd[proxy]"); level from $GVM_LOG (error|warn|info|debug,
 * default warn). Call once at start. */
void gvm_log_open(const char *who);
void gvm_log(enum gvm_log_level level, const char *fmt, ...) GVM_PRINTF(2, 3);

#endif
