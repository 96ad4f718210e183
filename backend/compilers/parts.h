/* What the files of this room share. */
#ifndef DART_COMPILERS_PARTS_H
#define DART_COMPILERS_PARTS_H

#include "compilers.h"

/* ---- child.c ---- */
/* Runs `work` in a child process, with a pipe to write records of `size` bytes to, and `take`s each
 * here. out_signal: what ended the child, 0: it ended by itself. A child that writes nothing for
 * five minutes is ended. IO, MEMORY: there is no child. */
typedef struct dart_child {
    void (*work)(void *context, int pipe);
    void (*take)(void *context, const void *record);
    void *context;
    size_t size; /* of a record, at most PIPE_BUF */
} dart_child;
DART_NODISCARD dart_status dart_child_run(const dart_child *child, int *out_signal);
void dart_child_send(int pipe, const void *record, size_t size);

/* ---- through Vulkan, vulkan.c; with Intel's compiler, ocloc.c ---- */
DART_NODISCARD dart_status dart_vulkan_gpu_caps(const dart_gpu *gpu, dart_caps *out);
DART_NODISCARD dart_status dart_vulkan_gpu_make(
    const dart_gpu *gpu, const dart_launch *list, uint32_t count, dart_made *out);
DART_NODISCARD dart_status dart_ocloc_caps(const dart_gpu *gpu, dart_caps *out);
DART_NODISCARD dart_status dart_ocloc_make(
    const dart_gpu *gpu, const dart_launch *list, uint32_t count, dart_made *out);

/* ---- zebin.c ---- */
/* Figures of the only kernel in a binary of Intel's compiler (an ELF file with the section
 * .ze_info). False: it is none. */
bool dart_zebin_read(const void *data, size_t size, dart_figures *out);

#endif
