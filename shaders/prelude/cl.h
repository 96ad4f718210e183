/* The dialect as OpenCL C 1.2. TUNE and MODE values come as -D<name>=<value>; a buffer travels as (base, offset). */
#define DEVICE 1
#define IS_CL 1
typedef uint u32;
typedef int i32;
typedef float f32;
#define TO_F32(x) ((float)(x))
#define TO_U32(x) ((uint)(x))
#define TO_I32(x) ((int)(x))
#define AS_F32(x) as_float(x)
#define AS_U32(x) as_uint(x)

/* f32x4: four words in one register or place of work-group memory, of which .x .y .z .w are the words. A buffer that
 * FOURS names (its place in KERNELn, how it is used, its name) may be read by LOAD4, at multiples of four words; WORDS4
 * and STORE4 need no more than words do. WORD4: word `word` of an array of f32x4 in work-group memory, counted from its
 * element `four` on. */
typedef float4 f32x4;
#define SPLAT4(x) ((float4)(x))
#define FOURS(slot, acc, x)
#define LOAD4(x, i) vload4(0, (x) + (i))
#define WORDS4(x, i) vload4(0, (x) + (i))
#define STORE4(v, x, i) vstore4(v, 0, (x) + (i))
#define WORD4(x, four, word) ((__local float *)(x))[4u * (four) + (word)]

#define CONSTANT(name, value) enum { name = value };
#define CONSTANT_F(name, value) __constant float name = value;

/* Words of the step block. */
#define ISCAL(name, word) CONSTANT(ISCAL_##name, word)
#define FSCAL(name, word) CONSTANT(FSCAL_##name, word)
#define METRIC(name, word)
#include "step_block.def"

#define TUNE(slot, name, value)
#define MODE(slot, name, value)
/* DART_PLACE: a launch may be started in pieces (backend/cuts.h). Where the piece begins, and the groups of the whole. */
#define DART_PLACE u32 first0_, first1_, whole0_, whole1_;
#define PARAMS(name, fields)                                                                       \
    typedef struct {                                                                               \
        fields DART_PLACE                                                                          \
    } name##_params;
#define ACC_IN const
#define ACC_OUT
#define ACC_INOUT
#define ACC_GROUP
#ifndef OFFSET /* uint where an embedded profile has no 64-bit integers */
#define OFFSET ulong
#endif
#define ARG(acc, type, x) __global ACC_##acc type *x##_base, const OFFSET x##_offset
#define PTR(acc, type, x) __global ACC_##acc type *x = x##_base + x##_offset;
#define LOCAL(type, x, n) __local type x[n];
#define NOLOCAL
#define HEAD_ __kernel __attribute__((reqd_work_group_size(WGX, WGY, 1))) void
#define KERNEL1(name, locals, a)                                                                   \
    HEAD_ name(ARG a, const name##_params p)                                                       \
    {                                                                                              \
        PTR a locals
#define KERNEL2(name, locals, a, b)                                                                \
    HEAD_ name(ARG a, ARG b, const name##_params p)                                                \
    {                                                                                              \
        PTR a PTR b locals
#define KERNEL3(name, locals, a, b, c)                                                             \
    HEAD_ name(ARG a, ARG b, ARG c, const name##_params p)                                         \
    {                                                                                              \
        PTR a PTR b PTR c locals
#define KERNEL4(name, locals, a, b, c, d)                                                          \
    HEAD_ name(ARG a, ARG b, ARG c, ARG d, const name##_params p)                                  \
    {                                                                                              \
        PTR a PTR b PTR c PTR d locals
#define END }

#define LID(d) ((uint)get_local_id(d))
#define WGID(d) ((uint)get_group_id(d) + p.first##d##_)
#define NWG(d) p.whole##d##_
#if WGX == 1 && WGY == 1 /* alone, nobody to wait for; and compilers for processors work hard on barriers */
#define BARRIER()
#define BARRIER_GLOBAL()
#else
#define BARRIER() barrier(CLK_LOCAL_MEM_FENCE);
#define BARRIER_GLOBAL() barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
#endif

#define EXP(x) exp(x)
#define LOG(x) log(x)
#define POW(x, y) pow(x, y)
#define SQRT(x) sqrt(x)
#define RSQRT(x) rsqrt(x)
#define TANH(x) tanh(x)
#define ABS(x) fabs(x)
#define MAXF(x, y) fmax(x, y)
#define MINF(x, y) fmin(x, y)
#define FMA(x, y, z) fma(x, y, z)
/* By its exponent: compilers that assume finite numbers leave out isnan and isinf. */
#define ISBAD(x) ((as_uint(x) & 0x7f800000u) == 0x7f800000u)
#define SELECT(cond, x, y) ((cond) ? (x) : (y))
#define MULHI(a, b) mul_hi((uint)(a), (uint)(b))

/* floor(x / d), x < 2^31, for many x and one d without an integer division (slow on GPUs, scalar in lavapipe).
 * INVERSE: 2^32 / d from a float quotient that is too small by 2^-21 .. 2^-19 of itself, then one Newton step; the
 * estimate of QUOTIENT is then at most 1 too small. */
#define INVERSE(d) inverse_(d)
#define QUOTIENT(x, d, inverse) quotient_(x, d, inverse)
static inline u32 inverse_(u32 d)
{
    u32 z = TO_U32(4294963200.0f / TO_F32(d));
    return z + MULHI(z, 0u - d * z);
}
static inline u32 quotient_(u32 x, u32 d, u32 inverse)
{
    u32 q = MULHI(x, inverse);
    return q + SELECT(x - q * d >= d, 1u, 0u);
}
/* GROUP_INDEX: work-groups counted over the folded axes 0 and 1 (65535 an axis is all a device promises). */
#define GROUP_INDEX() (WGID(1) * NWG(0) + WGID(0))
typedef size_t index_t_; /* 64 bits where pointers are: folds into address arithmetic */
#define INDEX index_t_
#define UNROLL _Pragma("unroll")
/* x * y + z, fused where that is fast */
#define MAD(x, y, z) mad(x, y, z)

/* V is a vector of VW floats where TUNE VW says so (processors), and one float everywhere else and in GLSL.
 * VLOAD/VSTORE need element alignment only; VGATHER takes VW elements `stride` apart; VSPILL writes the lanes to a
 * private array; VTRANSPOSE turns a private array of VW vectors, as a matrix, in place. VBAD counts: 1 in each lane
 * that is NaN or infinite; so does VREACHES, those that are `least` at least. */
#ifndef VW
#define VW 1
#endif
#define CAT2_(a, b) a##b
#define CAT_(a, b) CAT2_(a, b)
#if VW == 1
#define V float
#define VSET(x) (x)
#define VLOAD(x, i) (x)[i]
#define VSTORE(v, x, i) (x)[i] = (v)
#define VGATHER(x, i, stride) (x)[i]
#define VSPILL(v, lanes) (lanes)[0] = (v)
#define VSUM(v) (v)
#define VMAX(v) (v)
#define VBAD(v) SELECT(ISBAD(v), 1.0f, 0.0f)
#define VREACHES(v, least) SELECT((v) >= (least), 1.0f, 0.0f)
#define VTRANSPOSE(rows)
#else
#define V CAT_(float, VW)
#define VSET(x) ((V)(x))
#define VLOAD(x, i) CAT_(vload, VW)(0, (x) + (i))
#define VSTORE(v, x, i) CAT_(vstore, VW)(v, 0, (x) + (i))
#define VSPILL(v, lanes) CAT_(vstore, VW)(v, 0, lanes)
#define VBAD(v) (-CAT_(convert_float, VW)(isnan(v) | isinf(v)))
#define VREACHES(v, least) (-CAT_(convert_float, VW)((v) >= VSET(least)))
/* log2(VW) perfect shuffles of the rows are a transposition */
#define VTRANSPOSE(rows)                                                                           \
    UNROLL for (u32 width_ = 1u; width_ < VW; width_ *= 2u) {                                      \
        V turned_[VW];                                                                             \
        UNROLL for (u32 e_ = 0u; e_ < VW / 2; e_++) {                                              \
            turned_[2 * e_].even = rows[e_].lo;                                                    \
            turned_[2 * e_].odd = rows[e_ + VW / 2].lo;                                            \
            turned_[2 * e_ + 1].even = rows[e_].hi;                                                \
            turned_[2 * e_ + 1].odd = rows[e_ + VW / 2].hi;                                        \
        }                                                                                          \
        UNROLL for (u32 e_ = 0u; e_ < VW; e_++) rows[e_] = turned_[e_];                            \
    }
#define GATHER_2(x, i, s) (x)[i], (x)[(i) + (s)]
#define GATHER_4(x, i, s) GATHER_2(x, i, s), GATHER_2(x, (i) + 2 * (s), s)
#define GATHER_8(x, i, s) GATHER_4(x, i, s), GATHER_4(x, (i) + 4 * (s), s)
#define GATHER_16(x, i, s) GATHER_8(x, i, s), GATHER_8(x, (i) + 8 * (s), s)
#define VGATHER(x, i, stride) ((V)(CAT_(GATHER_, VW)(x, i, stride)))
float fold_sum_2(float2 v) { return v.x + v.y; }
float fold_sum_4(float4 v) { return fold_sum_2(v.lo + v.hi); }
float fold_sum_8(float8 v) { return fold_sum_4(v.lo + v.hi); }
float fold_sum_16(float16 v) { return fold_sum_8(v.lo + v.hi); }
float fold_max_2(float2 v) { return fmax(v.x, v.y); }
float fold_max_4(float4 v) { return fold_max_2(fmax(v.lo, v.hi)); }
float fold_max_8(float8 v) { return fold_max_4(fmax(v.lo, v.hi)); }
float fold_max_16(float16 v) { return fold_max_8(fmax(v.lo, v.hi)); }
#define VSUM(v) CAT_(fold_sum_, VW)(v)
#define VMAX(v) CAT_(fold_max_, VW)(v)
#endif

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
#if WGX == 1
#define GROUP_SUM(out, value) out = (value);
#define GROUP_MAX(out, value) out = (value);
#else
#define GROUP_SUM(out, value) GROUP_FOLD_(out, value, ADD_)
#define GROUP_MAX(out, value) GROUP_FOLD_(out, value, MAXF)
#endif
