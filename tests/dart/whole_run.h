/* A small model trained in two stages, at tiny_path("whole"): what tests of the public handles open
 * and compare with. */
#ifndef DART_TEST_WHOLE_RUN_H
#define DART_TEST_WHOLE_RUN_H

#include "dart.h"
#include "handles.h"
#include "tiny_run.h"

#define STAGES                                                                                     \
    "stages:\n  - {name: shrink, max_steps: 12, reg: bond-nuclear, lambda_reg: 0.01}\n"            \
    "  - {name: pick, select: threshold, threshold: 0.3, max_steps: 9}\n"

static inline int set_up_whole(void **state)
{
    static tiny_watch watch;
    static dart_result result;
    if (tiny_set_up(state)) return 1;
    dart_recipe *recipe = tiny_recipe(tiny_path("whole"), STAGES);
    dart_status status = tiny_train(recipe, &watch, &result);
    dart_recipe_free(recipe);
    if (status != DART_OK) print_message("%s\n", dart_last_error());
    return status != DART_OK;
}

static inline void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("status %d: %s", (int)status, dart_last_error());
}

static inline void refused(dart_status status, dart_status wanted, const char *says)
{
    if (status != wanted || !strstr(dart_last_error(), says))
        fail_msg(
            "status %d, not %d with '%s': %s", (int)status, (int)wanted, says, dart_last_error());
}

#endif
