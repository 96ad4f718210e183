/* The texts of the kernels, made at build time by cmake/opencl_embed.cmake. */
#ifndef DART_OPENCL_SOURCES_H
#define DART_OPENCL_SOURCES_H

typedef struct opencl_source {
    const char *name, *text; /* name of the kernel file without .k; NULL ends the table */
} opencl_source;

extern const char *const dart_opencl_prelude;
extern const opencl_source dart_opencl_sources[];

#endif
