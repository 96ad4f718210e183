/* The data folder of an installation is found from where this code lies, so that an installation
 * may be moved. */
#include "data_path.h"
#include "file.h"
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

enum { UP = 3 }; /* <prefix>/lib/x86_64-linux-gnu/libdart.so: two folders up from its own */

/* The file that this code was loaded from: the program or a shared library. */
static bool own_file(char out[PATH_MAX])
{
    Dl_info mine, program;
    static const char here;
    if (!dladdr(&here, &mine)) return false;
    const void *headers = (const void *)(uintptr_t)getauxval(AT_PHDR);
    const bool inside = dladdr(headers, &program) && program.dli_fbase == mine.dli_fbase;
    return realpath(inside ? "/proc/self/exe" : mine.dli_fname, out) != NULL;
}

bool dart_data_find(const char *name, char *out, size_t size)
{
    char file[PATH_MAX], *end;
    if (!own_file(file)) return false;
    for (int up = 0; up < UP && (end = strrchr(file, '/')) != NULL; up++) {
        *end = 0;
        int n = snprintf(out, size, "%s/share/dart-llm/%s", file, name);
        if (n > 0 && (size_t)n < size && dart_file_exists(out)) return true;
    }
    if (size) out[0] = 0;
    return false;
}

dart_status dart_data_path(const char *name, char *out, size_t size)
{
    if (dart_data_find(name, out, size)) return DART_OK;
    return dart_fail(DART_INPUT, "%s is not installed beside this program", name);
}

const char *dart_fetch_command(char out[512])
{
    return dart_data_find("datasets/fetch", out, 512) ? out : "datasets/fetch";
}
