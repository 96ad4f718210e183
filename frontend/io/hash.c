/* XXH3-128 through xxHash. */
#include "hash.h"
#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

dart_hash dart_hash_bytes(const void *data, size_t size)
{
    XXH128_hash_t value = XXH3_128bits(data, size);
    dart_hash hash;
    snprintf(hash.text, sizeof hash.text, "%016" PRIx64 "%016" PRIx64, (uint64_t)value.high64,
        (uint64_t)value.low64);
    return hash;
}
