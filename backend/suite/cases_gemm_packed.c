/* Cases of gemm_packed: every format, few rows and more, columns that fill groups and that do not.
 */
#include "cases_packed.h"
#include <math.h>

static void one(suite *s, dart_packed format, gemm_packed_params p)
{
    p.pitch = dart_packed_pitch(format, p.k);
    p.codes = dart_packed_codes(format, p.k);
    dart_suite_case(s, DART_K_gemm_packed, &p, SUITE_PRODUCT,
        "%s m %u n %u k %u ldx %u y %u, %u alpha %g beta %g", dart_packed_info_of(format).name, p.m,
        p.n, p.k, p.ldx, p.y_row, p.y_col, (double)p.alpha, (double)p.beta);
    dart_suite_mode(s, "FORMAT", format);
    dart_suite_normal(s, (uint64_t)(p.m - 1) * p.ldx + p.k, 0.1, 1);
    dart_suite_packed(s, format, p.n, p.k);
    float *y = dart_suite_normal(
        s, (uint64_t)(p.m - 1) * p.y_row + (uint64_t)(p.n - 1) * p.y_col + 1, 0, 1);
    if (p.beta == 0) /* it is never read then: NaN in it must not come through */
        for (uint32_t i = 0; i < p.m; i++)
            for (uint32_t j = 0; j < p.n; j++)
                y[(uint64_t)i * p.y_row + (uint64_t)j * p.y_col] = NAN;
    dart_suite_done(s);
}

void dart_suite_cases_gemm_packed(suite *s)
{
    static const uint32_t blocks[] = {1, 2, 3, 9, 18, 33}, rows[] = {1, 2, 3, 5, 31, 70};
    for (int f = 0; f < DART_PACKED_FORMATS; f++) {
        const dart_packed format = (dart_packed)f;
        const uint32_t block = dart_packed_info_of(format).block;
        for (uint32_t i = 0; i < 6 * 9; i++) {
            const uint32_t m = 1 + i % 9,
                           k = block * blocks[i / 9] + (block == 1 && i % 2 ? 64 : 0);
            const uint32_t n = rows[(i + i / 9) % 6];
            const bool turned = i % 4 == 3; /* the result's rows are those of the matrix */
            gemm_packed_params p = {.m = m,
                .n = n,
                .k = k,
                .ldx = k + i % 3,
                .y_row = turned ? 1 : n + i % 2,
                .y_col = turned ? m + i % 2 : 1,
                .alpha = i % 5 == 2 ? -0.5f : 1,
                .beta = i % 3 == 1   ? 1
                        : i % 3 == 2 ? 0.75f
                                     : 0};
            one(s, format, p);
        }
        /* long sums: two groups of nf4_double's scales; a row of more than one task */
        const uint32_t k = 64 * 260;
        one(s, format,
            (gemm_packed_params){
                .m = 1, .n = 3, .k = k, .ldx = k, .y_row = 3, .y_col = 1, .alpha = 1});
        one(s, format,
            (gemm_packed_params){
                .m = 8, .n = 2, .k = k, .ldx = k, .y_row = 2, .y_col = 1, .alpha = 1});
        /* as in a small model: several tasks */
        one(s, format,
            (gemm_packed_params){.m = 4,
                .n = 257,
                .k = 576,
                .ldx = 576,
                .y_row = 257,
                .y_col = 1,
                .alpha = 1,
                .beta = 1});
    }
}
