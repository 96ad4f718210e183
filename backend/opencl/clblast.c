/* CLBlast as a second provider of gemm. It is loaded when a device is opened and left out where it
 * is not installed, so that neither building nor running needs it; the declarations are our own, of
 * the C interface of its version 1.
 *
 * A first product that is known shows whether it works on the device, before a program has it: that
 * is also when it compiles its kernels. What it refuses in a run is computed by the shipped kernel
 * (program.c), and no later program is given it. */
#include "cuts.h"
#include "internal.h"
#include "log.h"
#include "provider.h"
#include <dlfcn.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROW_MAJOR = 101, AS_IT_IS = 111, TRANSPOSED = 112 };

/* The version that the file's name ends with ("libclblast.so.1.5.3"), as caps have it; 0: none. */
static uint32_t version_of(void *symbol, char path[PATH_MAX])
{
    Dl_info info;
    unsigned major, minor, patch;
    path[0] = 0;
    if (!dladdr(symbol, &info) || !info.dli_fname || !realpath(info.dli_fname, path)) return 0;
    const char *name = strrchr(path, '/'), *end = name ? strstr(name, ".so.") : NULL;
    if (!end || sscanf(end, ".so.%u.%u.%u", &major, &minor, &patch) != 3) return 0;
    return major > 99 || minor > 99 || patch > 99 ? 0 : 10000 * major + 100 * minor + patch;
}

void dart_opencl_blas_open(opencl_device *device)
{
    const char *wanted = getenv("DART_CLBLAST");
    opencl_blas *blas = &device->blas;
    char path[PATH_MAX];
    if (device->base.caps.max_loop || (wanted && !strcmp(wanted, "0"))) return;
    /* it stays loaded: what it keeps for its own end outlives our handle */
    void *handle = dlopen(
        wanted && *wanted ? wanted : "libclblast.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle) {
        dart_log(2, "opencl: CLBlast is not used: %s", dlerror());
        return;
    }
    *(void **)&blas->gemm = dlsym(handle, "CLBlastSgemm");
    *(void **)&blas->batched = dlsym(handle, "CLBlastSgemmStridedBatched");
    *(void **)&blas->forget = dlsym(handle, "CLBlastClearCache");
    const uint32_t version = blas->gemm ? version_of(*(void **)&blas->gemm, path) : 0;
    if (!blas->gemm || !blas->batched || !blas->forget)
        dart_log(1, "opencl: CLBlast is not used: the library lacks %s",
            !blas->gemm      ? "CLBlastSgemm"
            : !blas->batched ? "CLBlastSgemmStridedBatched, which came with version 1.4"
                             : "CLBlastClearCache");
    else if (version / 10000 != 1)
        dart_log(1, "opencl: CLBlast is not used: %s is not version 1, whose calls we know", path);
    else
        device->base.caps.blas = version;
    dlclose(handle);
}

void dart_opencl_blas_close(opencl_device *device)
{
    for (int batched = 0; batched < 2; batched++)
        if (device->blas.state[batched] != OPENCL_BLAS_UNTRIED) {
            device->blas.forget(); /* its kernels keep our context alive */
            return;
        }
}

/* One call; 0, or what it says was wrong, which are OpenCL's numbers or its own below -1000. */
static int call(const opencl_device *device, const gemm_params *p, const uint32_t *tune,
    const cl_mem buffer[3], const uint64_t offset[3], cl_command_queue queue)
{
    const int ta = tune[DART_GEMM_TA] ? TRANSPOSED : AS_IT_IS;
    const int tb = tune[DART_GEMM_TB] ? TRANSPOSED : AS_IT_IS;
    dart_strided batch;
    if (!dart_gemm_strided(p, &batch)) return CL_INVALID_VALUE;
    if (batch.count == 1)
        return device->blas.gemm(ROW_MAJOR, ta, tb, p->m, p->n, p->k, p->alpha, buffer[0],
            offset[0], p->lda, buffer[1], offset[1], p->ldb, p->beta, buffer[2], offset[2], p->ldc,
            &queue, NULL);
    return device->blas.batched(ROW_MAJOR, ta, tb, p->m, p->n, p->k, p->alpha, buffer[0], offset[0],
        p->lda, batch.a, buffer[1], offset[1], p->ldb, batch.b, p->beta, buffer[2], offset[2],
        p->ldc, batch.c, batch.count, &queue, NULL);
}

int dart_opencl_blas_run(
    const opencl_device *device, const dart_launch *launch, cl_command_queue queue)
{
    cl_mem buffer[3];
    uint64_t offset[3];
    for (int i = 0; i < 3; i++) {
        buffer[i] = device->buffers[launch->buf[i].buffer - 1];
        offset[i] = launch->buf[i].offset;
    }
    return call(device, (const gemm_params *)(const void *)launch->param, launch->tune, buffer,
        offset, queue);
}

/* ---- a product that is known ---- */

enum { M = 5, N = 6, K = 7, MATRICES = 2 };

static float number(uint32_t i)
{
    return (float)(i * 7 % 11) - 5;
}

static cl_int try_with(const opencl_device *device, uint32_t matrices, cl_mem buffer[3], float *c)
{
    const gemm_params p = {.m = M,
        .n = N,
        .k = K,
        .lda = K,
        .ldb = N,
        .ldc = N,
        .batch0 = 1,
        .batch1 = 1,
        .batch2 = matrices,
        .a2 = M * K,
        .b2 = K * N,
        .c2 = M * N,
        .alpha = 1};
    const uint32_t tune[DART_MAX_TUNE] = {0};
    const uint64_t offset[3] = {0};
    const int error = call(device, &p, tune, buffer, offset, device->queue);
    if (error) return error;
    return clEnqueueReadBuffer(
        device->queue, buffer[2], CL_TRUE, 0, matrices * M * N * sizeof(float), c, 0, NULL, NULL);
}

/* Whole numbers, so that their sums are exact; C is NaN before, which beta 0 must not let through.
 */
static bool is_right(const float *a, const float *b, const float *c, uint32_t matrices)
{
    for (uint32_t at = 0; at < matrices * M * N; at++) {
        const uint32_t z = at / (M * N), i = at / N % M, j = at % N;
        float sum = 0;
        for (uint32_t l = 0; l < K; l++) sum += a[z * M * K + i * K + l] * b[z * K * N + l * N + j];
        if (!(c[at] == sum)) return false;
    }
    return true;
}

/* 0: it works; 1: its results are wrong; else its or OpenCL's number of what was wrong. */
static cl_int try_it(const opencl_device *device, uint32_t matrices)
{
    float a[MATRICES * M * K], b[MATRICES * K * N], c[MATRICES * M * N];
    float *host[3] = {a, b, c};
    const size_t bytes[3] = {sizeof a, sizeof b, sizeof c};
    cl_mem buffer[3] = {NULL, NULL, NULL};
    cl_int error = CL_SUCCESS;
    for (uint32_t i = 0; i < MATRICES * M * K; i++) a[i] = number(i);
    for (uint32_t i = 0; i < MATRICES * K * N; i++) b[i] = number(3 * i + 1);
    for (uint32_t i = 0; i < MATRICES * M * N; i++) c[i] = NAN;
    for (int i = 0; i < 3 && error == CL_SUCCESS; i++)
        buffer[i] = clCreateBuffer(
            device->context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, bytes[i], host[i], &error);
    if (error == CL_SUCCESS) error = try_with(device, matrices, buffer, c);
    for (int i = 0; i < 3; i++)
        if (buffer[i]) clReleaseMemObject(buffer[i]);
    if (error != CL_SUCCESS) return error;
    return is_right(a, b, c, matrices) ? 0 : 1;
}

dart_status dart_opencl_blas_ready(opencl_device *device, const dart_launch *launch)
{
    opencl_blas *blas = &device->blas;
    dart_strided batch;
    const uint32_t version = device->base.caps.blas;
    const gemm_params *p = (const gemm_params *)(const void *)launch->param;
    const bool batched = dart_gemm_strided(p, &batch) && batch.count > 1;
    if (version && blas->state[batched] == OPENCL_BLAS_UNTRIED) {
        dart_log(1, "opencl: CLBlast compiles its kernels of %s", batched ? "batches" : "products");
        blas->said[batched] = try_it(device, batched ? MATRICES : 1);
        blas->state[batched] = blas->said[batched] ? OPENCL_BLAS_BROKEN : OPENCL_BLAS_WORKS;
    }
    if (version && blas->state[batched] == OPENCL_BLAS_WORKS && !blas->failed) return DART_OK;
    device->refuses = true;
    char why[64] = "it is not loaded";
    if (version && blas->failed)
        snprintf(why, sizeof why, "it failed in a run before");
    else if (version && blas->said[batched] == 1)
        snprintf(why, sizeof why, "its product is wrong");
    else if (version)
        snprintf(why, sizeof why, "status %d", blas->said[batched]);
    return dart_fail(
        DART_DEVICE, "CLBlast does not multiply on %s: %s", device->base.caps.name, why);
}

void dart_opencl_blas_fail(opencl_device *device, int error)
{
    if (!device->blas.failed)
        dart_log(0,
            "CLBlast refused a product on %s (status %d); our own kernels take its place, now and "
            "later",
            device->base.caps.name, error);
    device->blas.failed = true;
}
