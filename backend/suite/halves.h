/* Numbers of 16 bits, two a word, in tensors of cases: kind 1 is f16, 2 bf16 (shaders/halves.def).
 */
#ifndef DART_SUITE_HALVES_H
#define DART_SUITE_HALVES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Random words become numbers of any sign between 2^-3 and 2. */
static inline uint32_t dart_suite_half_word(uint32_t kind, uint32_t random)
{
    return kind == 1 ? (random & 0x8fff8fff) | 0x30003000 : (random & 0x81ff81ff) | 0x3e003e00;
}

/* Every number of such a word is none. */
static inline uint32_t dart_suite_half_nan(uint32_t kind)
{
    return kind == 1 ? 0x7e007e00 : 0x7fc07fc0;
}

/* The number in the lower (place 0) or the upper half of a word. */
static inline double dart_suite_half_number(uint32_t kind, uint32_t word, uint32_t place)
{
    const uint32_t code = word >> 16 * place & 0xffff, exponent = code >> 10 & 31;
    const uint32_t bits = code << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    if (kind == 2) return (double)x;
    const double size = exponent == 31 ? (code & 1023 ? NAN : INFINITY)
                        : exponent     ? ldexp(1024 + (code & 1023), (int)exponent - 25)
                                       : ldexp(code & 1023, -24);
    return code & 0x8000 ? -size : size;
}

#endif
