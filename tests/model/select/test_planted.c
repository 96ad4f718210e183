/* Planted ranks are found by a rule after a penalty has shrunk the students, with no penalty as
 * control. */
#include "planted_table.h"

static const penalty_row penalties[] = {{NULL, 0, 1000, false, {0}},
    {"bond-nuclear", 0.05, 1000, true, {0}}, {"log-det", 0.05, 1000, true, {0}},
    {"schatten-p", 0.03, 1000, true, {.p = 0.5}}, {"column-norm", 0.05, 1000, true, {0}},
    {"group-lasso", 0.1, 2000, true, {0}}, {"svt", 0.01, 1000, true, {0}},
    {"svt-nuclear", 0.01, 1000, true, {0}}, {"bond-nuclear", 0.05, 1000, false, {.price = true}},
    {"core-nuclear", 0.03, 1000, false, {0}}};

static void planted_ranks_are_found(void **state)
{
    (void)state;
    assert_true(planted_table(penalties, sizeof penalties / sizeof *penalties) >= 28);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(planted_ranks_are_found)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
