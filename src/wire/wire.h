/* wire - pure codecs for bytes from outside: (state, bytes) -> events. No I/O, clock or global.
 *
 * Owns:       nothing; results are views into the caller's bytes unless said otherwise.
 * On failure: the bytes are refused with a reason; a caller answers 400/FORMERR and closes.
 */
#ifndef GVM_WIRE_H
#define GVM_WIRE_H

#include "wire/url.h"
#include "wire/http1.h"
#include "wire/tls_hello.h"
#include "wire/dns_msg.h"
#include "wire/ip.h"

#endif
