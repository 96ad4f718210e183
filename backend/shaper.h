/* What the files of the tune table share: a launch that is being given its shape. */
#ifndef DART_SHAPER_H
#define DART_SHAPER_H

#include "backend.h"
#include <string.h>

typedef struct shaper {
    const dart_caps *caps;
    dart_launch *launch;
    const dart_kernel_info *info;
    uint64_t groups;  /* all axes; folded over two of them at the end */
    uint32_t simpler; /* dart_launch_simpler */
} shaper;

static inline uint64_t ceil_div(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Largest power of two that is at most x; 1 for 0. */
static inline uint32_t floor_pow2(uint32_t x)
{
    uint32_t p = 1;
    while (p <= x / 2) p *= 2;
    return p;
}

/* The number of a form beside the portable one; that one where the driver wants simpler texts. */
static inline uint8_t variant_of(const shaper *s, const char *feature)
{
    return s->simpler ? 0 : (uint8_t)dart_kernel_variant(s->launch->kernel, feature);
}

static inline uint32_t tune_of(const shaper *s, const char *name)
{
    for (uint32_t i = 0; i < s->info->tunes; i++)
        if (strcmp(s->info->tune_name[i], name) == 0) return s->launch->tune[i];
    return 0;
}

static inline void tune_set(shaper *s, const char *name, uint32_t value)
{
    for (uint32_t i = 0; i < s->info->tunes; i++)
        if (strcmp(s->info->tune_name[i], name) == 0) s->launch->tune[i] = value;
}

static inline bool has_vectors(const shaper *s)
{
    return s->caps->simd > 1;
}

static inline uint32_t threads_of(const shaper *s)
{
    return s->caps->threads ? s->caps->threads : 1;
}

static inline uint32_t group_limit(const shaper *s, uint32_t wanted)
{
    uint32_t most = s->caps->max_invocations ? s->caps->max_invocations : wanted;
    return floor_pow2(min_u32(wanted, most));
}

/* geometry_gemm.c */
void dart_shape_gemm(shaper *s);
void dart_shape_gemm_packed(shaper *s);
/* The shape that matrix units multiply for a launch of gemm which lets them round; m 0: none do. */
dart_matrix dart_gemm_matrix(const dart_caps *caps, const dart_launch *launch);
/* Which operands of a gemm may be read four words at a time: bit 0 op(A), bit 1 op(B). */
uint32_t dart_gemm_fours(const dart_launch *launch);
/* Whether a launch of gemm reads in fours only what lies so, as its form wants it (DOWN of
 * gemm.pipelined.k; both operands of gemm.broadcast.k). */
bool dart_gemm_fours_hold(const dart_launch *launch);

#endif
