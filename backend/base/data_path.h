/* Files that are installed beside the library. */
#ifndef DART_DATA_PATH_H
#define DART_DATA_PATH_H

#include "status.h"

/* Whether share/dart-llm/<name> is installed beside this code, as dart_data_path says; its path. */
bool dart_data_find(const char *name, char *out, size_t size);
/* How a user calls the script that gets data sets: "datasets/fetch" in the sources, else its path.
 */
const char *dart_fetch_command(char out[512]);

#endif
