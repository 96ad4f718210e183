/* What this room offers: whole trainings, and the same steps on several devices. */
#ifndef DART_TRAIN_H
#define DART_TRAIN_H

#include "results.h"
#include <stdio.h>

struct dart_result {
    char run_dir[512], device[32];
    uint32_t rows;
    dart_table_row row[DART_TABLE_ROWS];
    dart_protocol protocol;
    double final_loss;
    uint64_t steps;
};

/* What dart_train does. */
DART_NODISCARD dart_status dart_train_run(
    const dart_recipe *recipe, const dart_hooks *hooks, dart_result *out);
/* What dart_compare does. */
DART_NODISCARD dart_status dart_compare_print(const dart_recipe *recipe, const char *devices,
    double bound, const dart_hooks *hooks, bool json, FILE *out);

#endif
