/* Planted ranks are found by gates that appear on trained students, by themselves or told a size; a
 * rule or the gates' own counts choose. */
#include "planted_table.h"

static const penalty_row gates[] = {{"bond-diagonal", 0.15, 2000, true, {0}, 500},
    {"hard-concrete", 0.3, 2000, true, {0}, 500}, {"gumbel", 0.1, 2000, true, {0}, 500},
    {"bond-diagonal", 0, 2000, true, {0}, 500, true},
    {"hard-concrete", 0, 2000, false, {0}, 500, true}, {"gumbel", 0, 2000, false, {0}, 500, true}};

static void gates_find_planted_ranks(void **state)
{
    (void)state;
    assert_true(planted_table(gates, sizeof gates / sizeof *gates) >= 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gates_find_planted_ranks)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
