/* Philox-4x32-10 through Random123. */
#include "rng.h"
#include <Random123/philox.h>
#include <math.h>

void dart_philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out[4])
{
    philox4x32_ctr_t counter = {
        {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    philox4x32_ctr_t word = philox4x32(counter, key);
    for (int i = 0; i < 4; i++) out[i] = word.v[i];
}

static double unit(uint32_t high, uint32_t low)
{
    uint64_t bits = ((uint64_t)high << 32 | low) >> 11; /* 53 bits */
    return ((double)bits + 0.5) * 0x1p-53;
}

double dart_uniform(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t word[4];
    dart_philox(seed, stream, index, word);
    return unit(word[0], word[1]);
}

double dart_normal(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t word[4];
    dart_philox(seed, stream, index, word);
    return sqrt(-2 * log(unit(word[0], word[1]))) * cos(6.283185307179586 * unit(word[2], word[3]));
}

void dart_permutation(uint64_t seed, uint64_t stream, uint32_t *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) out[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t word[4];
        dart_philox(seed, stream, i, word);
        uint32_t j = (uint32_t)(((uint64_t)word[0] << 32 | word[1]) % i);
        uint32_t swap = out[i - 1];
        out[i - 1] = out[j];
        out[j] = swap;
    }
}
