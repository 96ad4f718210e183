/* The dialect as GLSL 4.50 (compiled to SPIR-V 1.3 at build time). See ../README.md for the rules. */
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_memory_scope_semantics : require
#define DEVICE 1
#define IS_GLSL 1
#define EXTENSION(name) /* of GLSL, which this text needs: CMake asks for it before anything else */
#define u32 uint
#define i32 int
#define f32 float
#define TO_F32(x) float(x)
#define TO_U32(x) uint(x)
#define TO_I32(x) int(x)
#define AS_F32(x) uintBitsToFloat(x)
#define AS_U32(x) floatBitsToUint(x)

/* f32x4: four words in one register or place of shared memory; see cl.h. FOURS lets LOAD4 read a buffer as such. */
#define f32x4 vec4
#define SPLAT4(x) vec4(x)
#define FOURS(slot, acc, x)                                                                        \
    layout(std430, set = 0, binding = slot) ACC_##acc buffer x##_fours_block { vec4 x##_fours[]; };
#define LOAD4(x, i) x##_fours[(i) / 4u]
#define WORDS4(x, i) vec4(x[i], x[(i) + 1u], x[(i) + 2u], x[(i) + 3u])
#define STORE4(v, to, i)                                                                           \
    {                                                                                              \
        to[i] = (v).x;                                                                             \
        to[(i) + 1u] = (v).y;                                                                      \
        to[(i) + 2u] = (v).z;                                                                      \
        to[(i) + 3u] = (v).w;                                                                      \
    }
#define WORD4(x, four, word) x[(four) + (word) / 4u][(word) % 4u]

#define CONSTANT(name, value) const u32 name = value;
#define CONSTANT_F(name, value) const f32 name = value;

/* Words of the step block. */
#define ISCAL(name, word) CONSTANT(ISCAL_##name, word)
#define FSCAL(name, word) CONSTANT(FSCAL_##name, word)
#define METRIC(name, word)
#include "step_block.def"

#define TUNE(slot, name, value) layout(constant_id = slot) const uint name = value;
#define MODE(slot, name, value) TUNE(slot, name, value)
/* DART_PLACE: a launch may be started in pieces (backend/cuts.h). Where the piece begins, and the groups of the whole. */
#define DART_PLACE u32 first0_, first1_, whole0_, whole1_;
#define PARAMS(name, fields)                                                                       \
    layout(push_constant) uniform name##_params { fields DART_PLACE } p;
#define ACC_IN readonly
#define ACC_OUT writeonly
#define ACC_INOUT
#define ACC_GROUP coherent
#define BUFFER_(slot, acc, type, x)                                                                \
    layout(std430, set = 0, binding = slot) ACC_##acc buffer x##_block { type x[]; };
#define BUF0(acc, type, x) BUFFER_(0, acc, type, x)
#define BUF1(acc, type, x) BUFFER_(1, acc, type, x)
#define BUF2(acc, type, x) BUFFER_(2, acc, type, x)
#define BUF3(acc, type, x) BUFFER_(3, acc, type, x)
#define LOCAL(type, x, n) shared type x[n];
#define NOLOCAL
#define MAIN_                                                                                      \
    layout(local_size_x_id = 0, local_size_y_id = 1, local_size_z = 1) in;                         \
    void main()                                                                                    \
    {
#define KERNEL1(name, locals, a) BUF0 a locals MAIN_
#define KERNEL2(name, locals, a, b) BUF0 a BUF1 b locals MAIN_
#define KERNEL3(name, locals, a, b, c) BUF0 a BUF1 b BUF2 c locals MAIN_
#define KERNEL4(name, locals, a, b, c, d) BUF0 a BUF1 b BUF2 c BUF3 d locals MAIN_
#define END }

#define LID(d) gl_LocalInvocationID[d]
#define WGID(d) (gl_WorkGroupID[d] + p.first##d##_)
#define NWG(d) p.whole##d##_
#define BARRIER()                                                                                  \
    {                                                                                              \
        memoryBarrierShared();                                                                     \
        barrier();                                                                                 \
    }
/* What a work-group wrote into GROUP buffers before, it reads after. One instruction that orders both kinds of
 * memory: barrier() alone orders only what is shared, on both sides of it. */
#define BARRIER_GLOBAL()                                                                           \
    controlBarrier(gl_ScopeWorkgroup, gl_ScopeWorkgroup,                                           \
        gl_StorageSemanticsBuffer | gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);

#define EXP(x) exp(x)
#define LOG(x) log(x)
#define POW(x, y) pow(x, y)
#define SQRT(x) sqrt(x)
#define RSQRT(x) inversesqrt(x)
#define TANH(x) tanh(x)
#define ABS(x) abs(x)
#define MAXF(x, y) max(x, y)
#define MINF(x, y) min(x, y)
#define FMA(x, y, z) fma(x, y, z)
/* By its exponent: compilers that assume finite numbers leave out isnan and isinf. */
#define ISBAD(x) ((floatBitsToUint(x) & 0x7f800000u) == 0x7f800000u)
#define SELECT(cond, x, y) ((cond) ? (x) : (y))
#define MULHI(a, b) umulExtended_hi_(a, b)
uint umulExtended_hi_(uint a, uint b)
{
    uint hi, lo;
    umulExtended(a, b, hi, lo);
    return hi;
}

/* floor(x / d), x < 2^31, for many x and one d without an integer division (slow on GPUs, scalar in lavapipe).
 * INVERSE: 2^32 / d from a float quotient that is too small by 2^-21 .. 2^-19 of itself, then one Newton step; the
 * estimate of QUOTIENT is then at most 1 too small. */
#define INVERSE(d) inverse_(d)
#define QUOTIENT(x, d, inverse) quotient_(x, d, inverse)
u32 inverse_(u32 d)
{
    u32 z = TO_U32(4294963200.0f / TO_F32(d));
    return z + MULHI(z, 0u - d * z);
}
u32 quotient_(u32 x, u32 d, u32 inverse)
{
    u32 q = MULHI(x, inverse);
    return q + SELECT(x - q * d >= d, 1u, 0u);
}
/* GROUP_INDEX: work-groups counted over the folded axes 0 and 1 (65535 an axis is all a device promises). */
#define GROUP_INDEX() (WGID(1) * NWG(0) + WGID(0))
#define INDEX uint
#define UNROLL [[unroll]]
#define MAD(x, y, z) ((x) * (y) + (z))

/* Vector words, see cl.h; here a vector is one float and TUNE VW must be 1. */
#define V float
#define VSET(x) (x)
#define VLOAD(x, i) x[i]
#define VSTORE(v, x, i) x[i] = (v)
#define VGATHER(x, i, stride) x[i]
#define VSPILL(v, lanes) lanes[0] = (v)
#define VSUM(v) (v)
#define VMAX(v) (v)
#define VBAD(v) SELECT(ISBAD(v), 1.0f, 0.0f)
#define VREACHES(v, least) SELECT((v) >= (least), 1.0f, 0.0f)

/* The fold of `value` over a work-group of WGX x 1 (a power of two), in a fixed order, for every invocation;
 * LOCAL part[WGX] is the scratch. */
#define GROUP_FOLD_(out, value, fold)                                                              \
    {                                                                                              \
        part[LID(0)] = (value);                                                                    \
        BARRIER()                                                                                  \
        for (u32 s_ = WGX / 2u; s_ > 0u; s_ >>= 1u) {                                              \
            if (LID(0) < s_) part[LID(0)] = fold(part[LID(0)], part[LID(0) + s_]);                 \
            BARRIER()                                                                              \
        }                                                                                          \
        out = part[0];                                                                             \
        BARRIER()                                                                                  \
    }
#define ADD_(x, y) ((x) + (y))
#define GROUP_SUM(out, value) GROUP_FOLD_(out, value, ADD_)
#define GROUP_MAX(out, value) GROUP_FOLD_(out, value, MAXF)
