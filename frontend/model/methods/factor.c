/* Splits dimensions into modes: exhaustive over the ordered factorisations, the even ones win. */
#include "method.h"
#include <stdio.h>
#include <string.h>

typedef struct search {
    uint32_t count, pick[DART_MAX_MODES], best[DART_MAX_MODES];
    uint64_t
        best_sum; /* modes cost parameters by their sum: the smallest sum is the most even split */
} search;

static void split(search *s, uint32_t level, uint32_t rest, uint32_t least, uint64_t sum)
{
    if (level >= DART_MAX_MODES) return;
    if (level + 1 == s->count) {
        if (rest < least || sum + rest >= s->best_sum) return;
        s->pick[level] = rest;
        memcpy(s->best, s->pick, sizeof s->best);
        s->best_sum = sum + rest;
        return;
    }
    for (uint32_t f = least; (uint64_t)f * f <= rest; f++)
        if (rest % f == 0) {
            s->pick[level] = f;
            split(s, level + 1, rest / f, f, sum + f);
        }
}

static bool best_split(uint32_t n, uint32_t count, uint32_t *out_modes, uint64_t *out_sum)
{
    search s = {.count = count, .best_sum = UINT64_MAX};
    split(&s, 0, n, count > 1 ? 2 : 1, 0);
    if (s.best_sum == UINT64_MAX) return false;
    memcpy(out_modes, s.best, count * sizeof *out_modes);
    if (out_sum) *out_sum = s.best_sum;
    return true;
}

static dart_status check_count(uint32_t n, uint32_t count)
{
    if (count < 1 || count > DART_MAX_MODES)
        return dart_fail(DART_INPUT, "a dimension splits into 1 to %d modes, %u were asked for",
            DART_MAX_MODES, count);
    if (n == 0) return dart_fail(DART_INPUT, "a dimension of 0 cannot be split into modes");
    return DART_OK;
}

dart_status dart_factor(uint32_t n, uint32_t count, uint32_t *out_modes)
{
    DART_TRY(check_count(n, count));
    if (n == 1) {
        for (uint32_t k = 0; k < count; k++) out_modes[k] = 1;
        return DART_OK;
    }
    if (best_split(n, count, out_modes, NULL)) return DART_OK;
    char primes[96] = "";
    size_t length = 0;
    uint32_t rest = n;
    for (uint32_t f = 2; rest > 1; f = (uint64_t)f * f > rest ? rest : f + 1)
        for (; rest % f == 0; rest /= f)
            length += (size_t)snprintf(
                primes + length, sizeof primes - length, "%s%u", length ? "*" : "", f);
    return dart_fail(DART_INPUT,
        "dimension %u = %s does not factor into %u modes of at least 2: choose a dimension with "
        "more prime factors (%u) or fewer modes",
        n, primes, count, (n + 15) / 16 * 16);
}

dart_status dart_factor_padded(uint32_t n, uint32_t count, uint32_t *out_modes, uint32_t *out_n)
{
    DART_TRY(check_count(n, count));
    uint32_t slack = n / 20 > 16 ? n / 20 : 16, modes[DART_MAX_MODES];
    if (n > UINT32_MAX - slack) return dart_fail(DART_INPUT, "dimension %u is too large", n);
    uint64_t best = UINT64_MAX, sum;
    for (uint32_t size = n; size <= n + slack; size++) {
        if (!best_split(size, count, modes, &sum)) continue;
        bool even = 2 * (uint64_t)modes[count - 1] <= 3 * (uint64_t)modes[0];
        if (sum < best || even) {
            memcpy(out_modes, modes, count * sizeof *out_modes);
            *out_n = size;
            best = sum;
        }
        if (even) break;
    }
    if (best == UINT64_MAX)
        return dart_fail(DART_INPUT,
            "dimension %u cannot be padded to a product of %u modes within %u: use fewer modes", n,
            count, slack);
    return DART_OK;
}
