/* Compiled kernels: each kernel file once for each set of TUNE values, kept in the device's list
 * and, as the driver's binary, in the user's cache folder unless the driver keeps it itself. */
#include "internal.h"
#include "figures.h"
#include "file.h"
#include "log.h"
#include "opencl_sources.h"
#include "sealed.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const char cache_kind[DART_SEALED_KIND] = "dartcl2";

static const char *text_of(const char *name)
{
    for (const opencl_source *s = dart_opencl_sources; s->name; s++)
        if (strcmp(s->name, name) == 0) return s->text;
    return NULL;
}

static void options_of(bool narrow, const dart_launch *launch, char *out, size_t size)
{
    const dart_kernel_info *info = dart_kernel_info_of(launch->kernel);
    size_t used = (size_t)snprintf(out, size, "-cl-std=CL1.2%s", narrow ? " -DOFFSET=uint" : "");
    for (uint32_t i = 0; i < launch->tunes && used < size; i++)
        used += (size_t)snprintf(
            out + used, size - used, " -D%s=%u", info->tune_name[i], launch->tune[i]);
}

/* False: there is no usable cache folder, which is not an error. */
static bool cache_path(
    const opencl_device *device, const char *name, const char *options, char *out, size_t size)
{
    char folder[512];
    if (dart_cache_dir(folder, sizeof folder) != DART_OK) return false;
    XXH3_state_t *state = XXH3_createState();
    if (!state) return false;
    XXH3_128bits_reset(state);
    const char *parts[] = {dart_opencl_prelude, text_of(name), options, device->identity};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        XXH3_128bits_update(state, parts[i], strlen(parts[i]) + 1);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    int n = snprintf(out, size, "%s/opencl", folder);
    if (n < 0 || (size_t)n >= size || dart_mkdirs(out) != DART_OK) return false;
    n = snprintf(out, size, "%s/opencl/%s-%016llx%016llx.bin", folder, name,
        (unsigned long long)hash.high64, (unsigned long long)hash.low64);
    return n > 0 && (size_t)n < size;
}

static cl_program from_cache(const opencl_device *device, const char *path, const char *options)
{
    char *file;
    const void *data;
    size_t size = 0;
    cl_program program = NULL;
    if (dart_sealed_read(path, cache_kind, &file, &data, &size) != DART_OK) return NULL;
    const unsigned char *binary = data;
    cl_int error, loaded = CL_SUCCESS;
    program =
        clCreateProgramWithBinary(device->context, 1, &device->id, &size, &binary, &loaded, &error);
    if (error == CL_SUCCESS && loaded == CL_SUCCESS)
        error = clBuildProgram(program, 1, &device->id, options, NULL, NULL);
    if ((error != CL_SUCCESS || loaded != CL_SUCCESS) && program) {
        clReleaseProgram(program);
        program = NULL;
    }
    free(file);
    return program;
}

static void to_cache(cl_program program, const char *path)
{
    size_t bytes = 0;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) !=
            CL_SUCCESS ||
        !bytes)
        return;
    unsigned char *binary = dart_calloc(1, bytes);
    if (!binary) return;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) ==
            CL_SUCCESS &&
        dart_sealed_write(path, cache_kind, binary, bytes) != DART_OK)
        dart_log(1, "opencl: kernel not cached: %s", dart_error_text());
    free(binary);
}

static dart_status compile(
    opencl_device *device, const char *name, const char *options, cl_program *out_program)
{
    const char *texts[] = {dart_opencl_prelude, "\n#line 1\n", text_of(name)};
    cl_int error;
    cl_program program = clCreateProgramWithSource(device->context, 3, texts, NULL, &error);
    DART_TRY(dart_opencl_status(device, error, "creating a program"));
    error = clBuildProgram(program, 1, &device->id, options, NULL, NULL);
    if (error == CL_SUCCESS) {
        *out_program = program;
        return DART_OK;
    }
    if (dart_opencl_is_memory(error)) {
        clReleaseProgram(program);
        return dart_opencl_status(device, error, "compiling a kernel");
    }
    /* a device that was lost makes nothing else either */
    device->refuses = error == CL_BUILD_PROGRAM_FAILURE || error == CL_COMPILE_PROGRAM_FAILURE ||
                      error == CL_LINK_PROGRAM_FAILURE;
    size_t size = 0;
    clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size);
    char *log = dart_calloc(size + 1, 1);
    if (log) clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, size, log, NULL);
    dart_status status = dart_fail(DART_DEVICE,
        "kernel %s does not compile on %s (%s, options %s): %.600s", name, device->base.caps.name,
        dart_opencl_error_name(error), options, log && *log ? log : "the driver gives no reason");
    free(log);
    clReleaseProgram(program);
    return status;
}

/* The name of the kernel's file. */
static dart_status name_of(const dart_launch *launch, char out[64])
{
    const char *feature = dart_kernel_feature(launch->kernel, launch->variant);
    snprintf(
        out, 64, "%s%s%s", dart_kernel_info_of(launch->kernel)->name, *feature ? "." : "", feature);
    return text_of(out) ? DART_OK
                        : dart_fail(DART_DEVICE, "the OpenCL backend has no kernel %s", out);
}

dart_status dart_opencl_source(const dart_launch *launch, char **out_text, char options[512])
{
    char name[64];
    *out_text = NULL;
    DART_TRY(name_of(launch, name));
    options_of(false, launch, options, 512);
    const char *text = text_of(name);
    const size_t size = strlen(dart_opencl_prelude) + strlen(text) + 2;
    *out_text = dart_calloc(size, 1);
    if (!*out_text) return DART_MEMORY;
    snprintf(*out_text, size, "%s\n%s", dart_opencl_prelude, text);
    return DART_OK;
}

dart_status dart_opencl_code_find(
    opencl_device *device, const dart_launch *launch, cl_program *out_program)
{
    for (size_t i = 0; i < device->code_count; i++) {
        const opencl_code *code = &device->codes[i];
        if (code->kernel == launch->kernel && code->variant == launch->variant &&
            memcmp(code->tune, launch->tune, launch->tunes * sizeof *launch->tune) == 0) {
            *out_program = code->program;
            device->base.kernels_found++;
            return DART_OK;
        }
    }
    char name[64];
    DART_TRY(name_of(launch, name));
    char options[512], path[640];
    options_of(device->narrow, launch, options, sizeof options);
    bool cached =
        !device->base.caps.keeps_binaries && cache_path(device, name, options, path, sizeof path);
    cl_program program = cached ? from_cache(device, path, options) : NULL;
    if (!program) {
        dart_log(1, "opencl: compiling %s %s", name, options);
        DART_TRY(compile(device, name, options, &program));
        if (cached) to_cache(program, path);
    }
    void *codes = device->codes;
    dart_status status =
        dart_grow(&codes, &device->code_capacity, device->code_count + 1, sizeof *device->codes);
    if (status != DART_OK) {
        clReleaseProgram(program);
        return status;
    }
    device->codes = codes;
    opencl_code *code = &device->codes[device->code_count++];
    code->kernel = launch->kernel;
    code->variant = launch->variant;
    memcpy(code->tune, launch->tune, sizeof code->tune);
    code->program = program;
    device->base.kernels_made++;
    *out_program = program;
    return DART_OK;
}
