/* Cases of pack, whose words have to be the oracle's: numbers of every exponent, ties, what is too
 * large and what is no number. */
#include "cases.h"
#include "packed.h"
#include <math.h>
#include <string.h>

/* Bits of numbers around what both formats round, lose and cannot hold. */
static const uint32_t hard[] = {0x00000000, 0x80000000, 0x00000001, 0x33000000, 0x33000001,
    0x33800000, 0x33bfffff, 0x33c00000, 0x38000000, 0x387fe000, 0x387fefff, 0x387ff000, 0x387fffff,
    0x38800000, 0x3f800000, 0x3f801000, 0x3f803000, 0x3f800fff, 0x3f801001, 0x3f808000, 0x3f818000,
    0x3f807fff, 0x3f808001, 0x477fe000, 0x477fefff, 0x477ff000, 0x47800000, 0x7f7f7fff, 0x7f7f8000,
    0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001, 0x7fffffff};

static void one(suite *s, uint32_t format, uint32_t n, bool any)
{
    const pack_params p = {n};
    dart_suite_case(s, DART_K_pack, &p, SUITE_EXACT, "%s n %u%s",
        dart_packed_info_of((dart_packed)format).name, n, any ? " of any size" : "");
    dart_suite_mode(s, "FORMAT", format);
    float *x = dart_suite_normal(s, n, 0, 1);
    for (uint32_t i = 0; any && i < n; i++) {
        const uint32_t e = dart_suite_random(s, 44); /* 2^-28 to 2^15 */
        x[i] = ldexpf(x[i], (int)e - 28);
        if (i % 3 == 1) memcpy(&x[i], &hard[i / 3 % (sizeof hard / sizeof *hard)], sizeof *hard);
    }
    dart_suite_bits_output(s, (n + 1) / 2);
    dart_suite_done(s);
}

void dart_suite_cases_pack(suite *s)
{
    static const uint32_t sizes[] = {1, 2, 3, 31, 33, 64, 257, 1000, 70001};
    for (uint32_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        one(s, i % 2, sizes[i / 2], false);
        one(s, i % 2, sizes[i / 2], true);
    }
}
