/* wire/tls_hello.h - reads the server name out of a ClientHello (RFC 8446 4.1.2, RFC 6066 3). */
#ifndef GVM_WIRE_TLS_HELLO_H
#define GVM_WIRE_TLS_HELLO_H

#include "core/core.h"

struct gvm_tls_hello {
    struct gvm_str
        sni; /* view; empty when there is none, else parses as an authority without port */
    bool alpn_h2, alpn_http1;
    bool ech; /* encrypted_client_hello extension present */
};

/* Does the first byte look like TLS? (0x16) */
bool gvm_tls_looks_like(uint8_t first);
/* `in` starts at the first record; the hello may span records. 1 filled, 0 more bytes wanted,
 * -EINVAL not a ClientHello or malformed (also a server name that is no host name, an extension
 * twice, bytes behind the hello), -E2BIG past GVM_MAX_TLS_HELLO. `scratch` (not NULL) holds a
 * reassembled hello when it spans records; views point into it or into `in`. */
int gvm_tls_hello_parse(struct gvm_str in, struct gvm_buf *scratch, struct gvm_tls_hello *ret,
                        struct gvm_err *err) GVM_MUST_CHECK;

#endif
