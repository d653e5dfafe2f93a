/* core - what every other room stands on: errors, memory, text, JSON, time, files.
 *
 * Owns:       nothing but the memory it hands out.
 * Threads:    no shared state; every object belongs to the thread that made it.
 * On failure: functions return a negative errno, leave their outputs untouched and set `err` once.
 */
#ifndef GVM_CORE_H
#define GVM_CORE_H

#include "core/limits.h"
#include "core/err.h"
#include "core/mem.h"
#include "core/str.h"
#include "core/buf.h"
#include "core/map.h"
#include "core/encode.h"
#include "core/time.h"
#include "core/json.h"
#include "core/fs.h"
#include "core/vault.h"
#include "core/log.h"

#endif
