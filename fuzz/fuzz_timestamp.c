/* Answers of a time-stamping authority from anywhere. First two bytes: how much of the rest is the
 * answer; what follows is the request. Nothing may hold for this head, signed by these authorities
 * (there are none). */
#include <stdlib.h>
#include "ledger/evidence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char ca[] = "-----BEGIN CERTIFICATE-----\n"
                         "MIIBeDCCAR2gAwIBAgIUGiQNZ4++zAC9MxErEnA3UT/EclYwCgYIKoZIzj0EAwIw\n"
                         "EDEOMAwGA1UEAwwFb3RoZXIwIBcNMjYxMTI0MTU1OTQ2WhgPMjEyNjEwMzExNTU5\n"
                         "NDZaMBAxDjAMBgNVBAMMBW90aGVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n"
                         "mPbuqm/tE+1c0chfCNgwWyoZbonqnrN8W6nIcRojbgYrFuswgcL40KhNJq6DwC5F\n"
                         "YIf9rVXjV42UN7C9J2c0eKNTMFEwHQYDVR0OBBYEFPra0p5UMwtFhH4agnfPn5/e\n"
                         "eFEZMB8GA1UdIwQYMBaAFPra0p5UMwtFhH4agnfPn5/eeFEZMA8GA1UdEwEB/wQF\n"
                         "MAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAOsc08aK0EW0knhMNrWyOyXfBpv9IJRa\n"
                         "0VKijRTxT2ZVAiEA+g10q+h/w/ZqT3hNarhqfAdDme11Gxobjmz3KMV6nmo=\n"
                         "-----END CERTIFICATE-----\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t seconds;
    if (size < 2)
        return 0;
    size_t n = gvm_get16(data) % (size - 1);
    struct gvm_str answer = {(const char *)data + 2, n},
                   request = {(const char *)data + 2 + n, size - 2 - n};
    if (gvm_timestamp_check(answer, request, GVM_STR("a head\n"), GVM_STR(ca), &seconds, NULL) == 0)
        abort();
    (void)!gvm_timestamp_check(answer, GVM_STR(""), GVM_STR("a head\n"), GVM_STR(""), &seconds,
                               NULL);
    return 0;
}
