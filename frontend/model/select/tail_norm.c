/* tail-norm: keeps the smallest rank whose discarded singular values have at most the norm
 * epsilon ||W|| / sqrt(bonds of W). Cutting all bonds then changes W by at most epsilon ||W||
 * (Oseledets 2011): the one rule with a promise about W. It does not lower ranks that the
 * neighbours cannot carry: the cut ends there by itself and without further error, whereas
 * lowering them first would discard more than was promised. */
#include "rules.h"
#include <math.h>

static const dart_option_row error = {.key = "tail_epsilon",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.1",
    .most = 0.999,
    .help = "tail-norm: the largest change of a weight, relative to its norm"};
static const dart_option_row *const option_rows[] = {&error, &dart_row_min_rank, NULL};

static dart_status choose(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    const double epsilon = dart_options_get(&options->values, &error);
    if (!(epsilon >= 0.0 && epsilon < 1.0))
        return dart_fail(
            DART_INPUT, "tail-norm: relative error %g, expected at least 0 and below 1", epsilon);
    for (uint32_t k = 0; k < count; k++) {
        uint32_t first = k, last = k, r = bonds[k].rank;
        while (first > 0 && bonds[first - 1].weight == bonds[k].weight) first--;
        while (last + 1 < count && bonds[last + 1].weight == bonds[k].weight) last++;
        double total = 0.0, tail = 0.0, share = epsilon / sqrt(last - first + 1.0);
        for (uint32_t j = r; j-- > 0;) total += bonds[k].sigma[j] * bonds[k].sigma[j];
        while (r > 1) {
            double next = tail + bonds[k].sigma[r - 1] * bonds[k].sigma[r - 1];
            if (next > share * share * total) break;
            tail = next;
            r--;
        }
        ranks[k] = dart_select_clamp(&bonds[k], options, r);
    }
    return DART_OK;
}

const dart_select dart_selects_tail_norm = {.name = "tail-norm",
    .help = "smallest ranks that change each weight by at most tail_epsilon of its norm",
    .choose = choose,
    .options = option_rows};
