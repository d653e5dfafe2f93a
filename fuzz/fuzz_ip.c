/* Any text as an address: what is one has a text that is the same address, and a class. */
#include <stdint.h>
#include <stdlib.h>
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gvm_ip ip, again;
    char text[INET6_ADDRSTRLEN];
    if (gvm_ip_parse((struct gvm_str){(const char *)data, size}, &ip) < 0)
        return 0;
    gvm_ip_text(&ip, text);
    if (gvm_ip_parse(gvm_str(text), &again) < 0 || !gvm_ip_eq(&ip, &again))
        abort();
    if (gvm_ip_class(&ip) != gvm_ip_class(&again))
        abort();

    struct sockaddr_storage sa;
    uint16_t port;
    if (gvm_ip_to_sockaddr(&ip, 7, &sa) == 0)
        abort();
    gvm_ip_from_sockaddr((struct sockaddr *)&sa, &again, &port);
    if (port != 7 || gvm_ip_class(&again) != gvm_ip_class(&ip))
        abort();
    return 0;
}
