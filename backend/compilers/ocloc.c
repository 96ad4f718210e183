/* Intel's compiler (IGC) through its program ocloc, which needs no GPU: kernels as OpenCL texts,
 * and binaries with what became of them. */
#include "parts.h"
#include "file.h"
#include "threads.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef DART_HAVE_OPENCL
static dart_status absent(const dart_gpu *gpu)
{
    return dart_fail(DART_DEVICE,
        "%s: OpenCL is not in this build, and with it the texts of the kernels: CMake found no "
        "headers or ICD loader",
        gpu->name);
}
dart_status dart_ocloc_caps(const dart_gpu *gpu, dart_caps *out)
{
    (void)out;
    return absent(gpu);
}
dart_status dart_ocloc_make(
    const dart_gpu *gpu, const dart_launch *list, uint32_t count, dart_made *out)
{
    (void)list, (void)count, (void)out;
    return absent(gpu);
}
#else

/* Whether a program of this name is in one of the folders of PATH. */
static bool has_program(const char *name)
{
    char path[1024];
    const char *at = getenv("PATH");
    while (at && *at) {
        const int n = (int)strcspn(at, ":");
        if (snprintf(path, sizeof path, "%.*s/%s", n, at, name) < (int)sizeof path &&
            access(path, X_OK) == 0)
            return true;
        at += n + (at[n] == ':');
    }
    return false;
}

typedef struct job {
    const dart_gpu *gpu;
    const dart_launch *list;
    dart_made *out;
    char folder[64]; /* of this call */
} job;

/* Runs ocloc in the folder, its output into the file `log` there. The exit code; -1: none. */
static int run_ocloc(const char *folder, const char *const *arguments)
{
    const pid_t pid = fork();
    int state = 0;
    if (pid == 0) {
        if (chdir(folder) != 0) _exit(127);
        const int to = open("log", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (to >= 0) dup2(to, STDOUT_FILENO), dup2(to, STDERR_FILENO);
        setenv("IGC_EnableZEBinary", "1", 1); /* else figures are in a form without a name */
        alarm(300);
        execvp("ocloc", (char *const *)(void *)arguments);
        _exit(127);
    }
    if (pid < 0) return -1;
    while (waitpid(pid, &state, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static dart_status make_folder(char out[64])
{
    strcpy(out, "/tmp/dart-ocloc-XXXXXX");
    if (mkdtemp(out)) return DART_OK;
    return dart_fail(DART_IO, "no folder for ocloc in /tmp: %s", strerror(errno));
}

/* "ocloc 22.43.24595"; without a number where it does not say. */
static dart_status read_version(char *out, size_t size)
{
    static const char *const arguments[] = {"ocloc", "query", "OCL_DRIVER_VERSION", NULL};
    char folder[64], path[128], *text = NULL;
    size_t length;
    DART_TRY(make_folder(folder));
    snprintf(path, sizeof path, "%s/OCL_DRIVER_VERSION", folder);
    const bool said =
        run_ocloc(folder, arguments) == 0 && dart_file_read(path, &text, &length) == DART_OK;
    snprintf(out, size, "ocloc %.40s", said ? text : "");
    out[strcspn(out, "\n")] = 0;
    for (size_t n = strlen(out); n && out[n - 1] == ' '; n--) out[n - 1] = 0;
    free(text);
    return dart_remove_tree(folder);
}

/* What Intel's OpenCL driver would say of such a device. */
dart_status dart_ocloc_caps(const dart_gpu *gpu, dart_caps *out)
{
    if (!has_program("ocloc"))
        return dart_fail(DART_DEVICE,
            "%s: the program ocloc is not installed (Debian: intel-opencl-icd)", gpu->name);
    *out = (dart_caps){.api = "OpenCL 3.0 NEO",
        .max_alloc = ((uint64_t)gpu->gib << 30) / 2,
        .max_binding = ((uint64_t)gpu->gib << 30) / 2,
        .max_groups = {UINT32_MAX, UINT32_MAX, UINT32_MAX},
        .max_invocations = gpu->group,
        .max_shared = 65536,
        .max_buffers = 8,
        .max_params = 512,
        .offset_align = 256,
        .word = 4,
        .vendor = DART_VENDOR_INTEL,
        .storage16 = true,
        .arith16 = true};
    return read_version(out->driver, sizeof out->driver);
}

/* The last words of a compiler that failed. */
static void read_log(const char *folder, dart_made *out)
{
    char path[128], *text = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/log", folder);
    if (dart_file_read(path, &text, &size) != DART_OK || !size) {
        snprintf(out->why, sizeof out->why, "ocloc failed without a word");
        return;
    }
    for (size_t i = 0; i < size; i++)
        if (text[i] == '\n') text[i] = ' ';
    const size_t most = sizeof out->why - 1;
    snprintf(out->why, sizeof out->why, "%s", size > most ? text + size - most : text);
    free(text);
}

static dart_status make(const job *j, const char *folder, const dart_launch *launch, dart_made *out)
{
    char options[512], path[128], *text = NULL, *binary = NULL;
    size_t size = 0;
    DART_TRY(dart_mkdirs(folder));
    DART_TRY(dart_opencl_source(launch, &text, options));
    snprintf(path, sizeof path, "%s/kernel.cl", folder);
    dart_status status = dart_file_write_sync(path, text, strlen(text));
    free(text);
    DART_TRY(status);
    const char *arguments[] = {"ocloc", "compile", "-file", "kernel.cl", "-device", j->gpu->family,
        "-output", "kernel", "-output_no_suffix", "-options", options, NULL};
    const int code = run_ocloc(folder, arguments);
    snprintf(path, sizeof path, "%s/kernel", folder);
    if (code != 0 || dart_file_read(path, &binary, &size) != DART_OK) {
        read_log(folder, out);
        return DART_OK;
    }
    out->made = dart_zebin_read(binary, size, &out->figures);
    if (!out->made)
        snprintf(out->why, sizeof out->why, "ocloc made a binary without the section .ze_info");
    free(binary);
    return DART_OK;
}

/* Work-groups that fit beside each other, by threads and by work-group memory, in waves of an
 * execution unit. */
static void fill_waves(const dart_gpu *gpu, const dart_launch *launch, dart_figures *f)
{
    const double lanes = (double)launch->tune[0] * launch->tune[1];
    const double threads = (double)(uint64_t)((lanes + f->width - 1) / f->width);
    double groups = (double)(uint64_t)(gpu->threads * gpu->sharers / threads);
    if (f->shared > 0 && groups > 1024.0 * gpu->shared_kib / f->shared)
        groups = (double)(uint64_t)(1024.0 * gpu->shared_kib / f->shared);
    f->waves = groups * threads / gpu->sharers;
    if (f->waves > gpu->threads) f->waves = gpu->threads;
    f->scratch /= f->width; /* of a thread until here */
}

static void make_one(void *context, uint32_t i)
{
    const job *j = context;
    char folder[96];
    dart_made *out = &j->out[i];
    *out = (dart_made){.figures = DART_NO_FIGURES};
    snprintf(folder, sizeof folder, "%s/%u", j->folder, i);
    if (make(j, folder, &j->list[i], out) != DART_OK)
        snprintf(out->why, sizeof out->why, "%s", dart_error_text());
    if (out->made) fill_waves(j->gpu, &j->list[i], &out->figures);
}

dart_status dart_ocloc_make(
    const dart_gpu *gpu, const dart_launch *list, uint32_t count, dart_made *out)
{
    job j = {.gpu = gpu, .list = list, .out = out};
    DART_TRY(make_folder(j.folder));
    dart_for_each(count, make_one, &j);
    return dart_remove_tree(j.folder);
}
#endif
