/* The dialect as OpenCL C 1.2. TUNE values come as -D<name>=<value>; a buffer travels as (base, offset). */
#define DEVICE 1
#define IS_CL 1
typedef uint u32;
typedef int i32;
typedef float f32;
#define TO_F32(x) ((float)(x))
#define TO_U32(x) ((uint)(x))
#define TO_I32(x) ((int)(x))
#define AS_F32(x) as_float(x)

#define TUNE(slot, name, value)
#define PARAMS(name, fields)                                                                       \
    typedef struct {                                                                               \
        fields                                                                                     \
    } name##_params;
#define ACC_IN const
#define ACC_OUT
#define ACC_INOUT
#define ARG(acc, type, x) __global ACC_##acc type *x##_base, const ulong x##_offset
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
#define WGID(d) ((uint)get_group_id(d))
#define NWG(d) ((uint)get_num_groups(d))
#define BARRIER() barrier(CLK_LOCAL_MEM_FENCE);
#define BARRIER_GLOBAL() barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);

#define EXP(x) exp(x)
#define LOG(x) log(x)
#define SQRT(x) sqrt(x)
#define RSQRT(x) rsqrt(x)
#define TANH(x) tanh(x)
#define ABS(x) fabs(x)
#define MAXF(x, y) fmax(x, y)
#define MINF(x, y) fmin(x, y)
#define FMA(x, y, z) fma(x, y, z)
#define ISBAD(x) (isnan(x) || isinf(x))
#define SELECT(cond, x, y) ((cond) ? (x) : (y))
#define MULHI(a, b) mul_hi((uint)(a), (uint)(b))

/* floor(x / d) for many x and one d: inverse = INVERSE(d) makes the estimate at most 1 too small. */
#define INVERSE(d) (0xffffffffu / (d))
#define QUOTIENT(x, d, inverse) quotient_(x, d, inverse)
static inline u32 quotient_(u32 x, u32 d, u32 inverse)
{
    u32 q = MULHI(x, inverse);
    return q + SELECT(x - q * d >= d, 1u, 0u);
}
