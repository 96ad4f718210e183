/* A library that looks like CLBlast and misbehaves as FAKE_CLBLAST says: "fail N": after N products
 * it refuses all; "wrong": its products are other ones. Else it passes all on to the real one. */
#include <CL/cl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NO_LOCAL_MEMORY = -2046, TRANSPOSED = 112, AS_IT_IS = 111 };

static void *real(const char *name)
{
    static void *library;
    if (!library) library = dlopen("libclblast.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    return library ? dlsym(library, name) : NULL;
}

/* 0, or the error of this call; what it does to the sums. */
static int misbehave(float *alpha)
{
    static unsigned calls;
    unsigned good = 0;
    const char *how = getenv("FAKE_CLBLAST");
    if (how && !strcmp(how, "wrong")) *alpha *= 1.0001f;
    if (how && sscanf(how, "fail %u", &good) == 1 && calls++ >= good) return NO_LOCAL_MEMORY;
    return 0;
}

typedef int (*sgemm)(int, int, int, size_t, size_t, size_t, float, cl_mem, size_t, size_t, cl_mem,
    size_t, size_t, float, cl_mem, size_t, size_t, cl_command_queue *, cl_event *);
typedef int (*sgemm_batched)(int, int, int, size_t, size_t, size_t, float, cl_mem, size_t, size_t,
    size_t, cl_mem, size_t, size_t, size_t, float, cl_mem, size_t, size_t, size_t, size_t,
    cl_command_queue *, cl_event *);

int CLBlastSgemm(int layout, int ta, int tb, size_t m, size_t n, size_t k, float alpha, cl_mem a,
    size_t a_at, size_t lda, cl_mem b, size_t b_at, size_t ldb, float beta, cl_mem c, size_t c_at,
    size_t ldc, cl_command_queue *queue, cl_event *event);
int CLBlastSgemm(int layout, int ta, int tb, size_t m, size_t n, size_t k, float alpha, cl_mem a,
    size_t a_at, size_t lda, cl_mem b, size_t b_at, size_t ldb, float beta, cl_mem c, size_t c_at,
    size_t ldc, cl_command_queue *queue, cl_event *event)
{
    sgemm of;
    *(void **)&of = real("CLBlastSgemm");
    const int error = misbehave(&alpha);
    return error ? error
                 : of(layout, ta, tb, m, n, k, alpha, a, a_at, lda, b, b_at, ldb, beta, c, c_at,
                       ldc, queue, event);
}

#ifndef WITHOUT_BATCHES
int CLBlastSgemmStridedBatched(int layout, int ta, int tb, size_t m, size_t n, size_t k,
    float alpha, cl_mem a, size_t a_at, size_t lda, size_t a_step, cl_mem b, size_t b_at,
    size_t ldb, size_t b_step, float beta, cl_mem c, size_t c_at, size_t ldc, size_t c_step,
    size_t count, cl_command_queue *queue, cl_event *event);
int CLBlastSgemmStridedBatched(int layout, int ta, int tb, size_t m, size_t n, size_t k,
    float alpha, cl_mem a, size_t a_at, size_t lda, size_t a_step, cl_mem b, size_t b_at,
    size_t ldb, size_t b_step, float beta, cl_mem c, size_t c_at, size_t ldc, size_t c_step,
    size_t count, cl_command_queue *queue, cl_event *event)
{
    sgemm_batched of;
    *(void **)&of = real("CLBlastSgemmStridedBatched");
    const int error = misbehave(&alpha);
    return error ? error
                 : of(layout, ta, tb, m, n, k, alpha, a, a_at, lda, a_step, b, b_at, ldb, b_step,
                       beta, c, c_at, ldc, c_step, count, queue, event);
}
#endif

int CLBlastClearCache(void);
int CLBlastClearCache(void)
{
    int (*of)(void);
    *(void **)&of = real("CLBlastClearCache");
    return of();
}
