/* What a library may be given. */
#include "provider.h"
#include "cuts.h"
#include <string.h>

bool dart_provided(const dart_launch *launch)
{
    return launch->kernel == DART_K_gemm && launch->variant &&
           launch->variant == dart_kernel_variant(DART_K_gemm, DART_PROVIDER);
}

bool dart_gemm_plain(const dart_launch *launch)
{
    const dart_kernel_info *info = dart_kernel_info_of(DART_K_gemm);
    const uint32_t known = 1u << DART_GEMM_TA | 1u << DART_GEMM_TB | 1u << DART_GEMM_ADD;
    for (uint32_t i = 0; i < info->tunes; i++)
        if ((info->modes & ~known) >> i & 1 && launch->tune[i]) return false;
    return true;
}

bool dart_gemm_strided(const gemm_params *p, dart_strided *out)
{
    const uint32_t count[3] = {p->batch2, p->batch1, p->batch0}; /* the innermost first */
    const uint32_t a[3] = {p->a2, p->a1, p->a0}, b[3] = {p->b2, p->b1, p->b0},
                   c[3] = {p->c2, p->c1, p->c0};
    *out = (dart_strided){.count = 1};
    for (int level = 0; level < 3; level++) {
        if (count[level] == 1) continue;
        if (out->count == 1) {
            *out = (dart_strided){count[level], a[level], b[level], c[level]};
            continue;
        }
        if (a[level] != out->a * out->count || b[level] != out->b * out->count ||
            c[level] != out->c * out->count)
            return false;
        out->count *= count[level];
    }
    return true;
}

bool dart_provider_can(const dart_caps *caps, const dart_launch *launch)
{
    const gemm_params *p = (const gemm_params *)launch->param;
    const uint32_t *tune = launch->tune;
    dart_strided batch;
    if (!caps->blas || !dart_gemm_plain(launch) || tune[DART_GEMM_ADD] || !p->k) return false;
    if (p->lda < (tune[DART_GEMM_TA] ? p->m : p->k) ||
        p->ldb < (tune[DART_GEMM_TB] ? p->k : p->n) || p->ldc < p->n)
        return false;
    if (!dart_gemm_strided(p, &batch)) return false;
    return caps->submit_s <= 0 || dart_launch_guess(caps, launch) <= caps->submit_s;
}
