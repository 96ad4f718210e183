/* Training: what dart/train.h declares. */
#include "train.h"
#include "mem.h"
#include "caller.h"
#include <stdlib.h>
#include <string.h>

dart_status dart_train(const dart_recipe *recipe, const dart_hooks *hooks, dart_result **out)
{
    DART_IN_C_LOCALE;
    dart_hooks h;
    *out = NULL;
    DART_TRY(dart_options_take(hooks, sizeof h, "dart_hooks", &h));
    dart_result *result = dart_calloc(1, sizeof *result);
    if (!result) return DART_MEMORY;
    dart_status status = dart_train_run(recipe, &h, result);
    if (status == DART_OK)
        *out = result;
    else
        free(result);
    return status;
}

const char *dart_result_dir(const dart_result *result)
{
    return result->run_dir;
}

const char *dart_result_device(const dart_result *result)
{
    return result->device;
}

uint64_t dart_result_steps(const dart_result *result)
{
    return result->steps;
}

double dart_result_loss(const dart_result *result)
{
    return result->final_loss;
}

const dart_protocol *dart_result_protocol(const dart_result *result)
{
    return &result->protocol;
}

uint32_t dart_result_rows(const dart_result *result)
{
    return result->rows;
}

const dart_table_row *dart_result_row(const dart_result *result, uint32_t index)
{
    return index < result->rows ? &result->row[index] : NULL;
}

dart_status dart_result_json(const dart_result *result, dart_write write, void *user)
{
    char *text;
    DART_TRY(dart_table_json(result->row, result->rows, &text));
    const int refused = write ? write(user, text, strlen(text)) : 0;
    free(text);
    return refused ? dart_fail(DART_IO, "the caller took no more text") : DART_OK;
}

void dart_result_free(dart_result *result)
{
    free(result);
}

dart_status dart_compare(const dart_recipe *recipe, const char *devices, double bound,
    const dart_hooks *hooks, bool json, dart_write write, void *user)
{
    DART_IN_C_LOCALE;
    FILE *sink;
    dart_hooks h;
    DART_TRY(dart_options_take(hooks, sizeof h, "dart_hooks", &h));
    DART_TRY(dart_sink_open(write, user, &sink));
    return dart_sink_close(sink, dart_compare_print(recipe, devices, bound, &h, json, sink));
}
