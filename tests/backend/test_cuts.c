/* Where launch lists are cut into submissions: nothing lost, nothing twice, in order, in time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "cuts.h"
#include "rng.h"
#include <math.h>
#include <string.h>

enum { COUNT = 40 };

static dart_launch launch_of(uint32_t x, uint32_t y)
{
    return (dart_launch){.kernel = DART_K_map, .groups = {x, y, 1}, .param_bytes = 8};
}

/* Every work-group of every launch is in exactly one piece, launches follow each other, submissions
 * are not empty. */
static void check_whole(const dart_launch *list, uint32_t count, const dart_cuts *cuts)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t x = list[i].groups[0], y = list[i].groups[1];
        static unsigned char seen[1 << 16];
        assert_true((size_t)x * y <= sizeof seen);
        memset(seen, 0, (size_t)x * y);
        for (; at < cuts->pieces && cuts->piece[at].launch == i; at++) {
            const dart_piece *p = &cuts->piece[at];
            assert_true(p->groups[0] > 0 && p->groups[1] > 0);
            for (uint32_t r = 0; r < p->groups[1]; r++)
                for (uint32_t c = 0; c < p->groups[0]; c++) {
                    unsigned char *cell = &seen[(size_t)(p->first[1] + r) * x + p->first[0] + c];
                    assert_int_equal(*cell, 0);
                    *cell = 1;
                }
        }
        for (size_t g = 0; g < (size_t)x * y; g++) assert_int_equal(seen[g], 1);
    }
    assert_int_equal(at, cuts->pieces);
    assert_int_equal(cuts->begin[0], 0);
    assert_int_equal(cuts->begin[cuts->submissions], cuts->pieces);
    for (uint32_t s = 0; s < cuts->submissions; s++)
        assert_true(cuts->begin[s] < cuts->begin[s + 1]);
}

static double seconds_of(const dart_launch *list, const dart_piece *piece, const double *seconds)
{
    const dart_launch *l = &list[piece->launch];
    return seconds[piece->launch] * piece->groups[0] * piece->groups[1] /
           ((double)l->groups[0] * l->groups[1]);
}

enum { MOST_GROUPS = 300 }; /* of a launch along axis 0 */

static uint32_t below(uint64_t seed, uint64_t *index, uint32_t limit)
{
    return (uint32_t)(dart_uniform(seed, DART_STREAM_TEST, (*index)++) * limit);
}

static void nothing_is_lost(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        static dart_launch list[COUNT];
        static double seconds[COUNT];
        uint64_t index = 0;
        for (int i = 0; i < COUNT; i++) {
            const uint32_t rows = below(seed, &index, 2) ? 1 + below(seed, &index, 100) : 1;
            list[i] = launch_of(1 + below(seed, &index, MOST_GROUPS), rows);
            seconds[i] = (below(seed, &index, 4) ? 1e-4 : 3.0) *
                         dart_uniform(seed, DART_STREAM_TEST, index++);
        }
        const bool cut = below(seed, &index, 5) > 0;
        const double limit = cut ? 0.001 + dart_uniform(seed, DART_STREAM_TEST, index) : 0;
        dart_cuts cuts;
        assert_int_equal(dart_cuts_new(list, COUNT, seconds, limit, &cuts), DART_OK);
        check_whole(list, COUNT, &cuts);
        if (!cut) {
            assert_int_equal(cuts.submissions, 1);
            assert_int_equal(cuts.pieces, COUNT);
        }
        for (uint32_t s = 0; s < cuts.submissions; s++) {
            double sum = 0;
            const uint32_t pieces = cuts.begin[s + 1] - cuts.begin[s];
            for (uint32_t i = cuts.begin[s]; i < cuts.begin[s + 1]; i++)
                sum += seconds_of(list, &cuts.piece[i], seconds);
            assert_true(sum <= cuts.longest * (1 + 1e-9));
            /* one work-group is never cut */
            const uint32_t *groups = cuts.piece[cuts.begin[s]].groups;
            if (cut && (pieces > 1 || groups[0] * groups[1] > 1))
                assert_true(sum <= limit * (1 + 1e-9));
        }
        dart_cuts_free(&cuts);
    }
}

/* Assumed far too short; after one measured run each launch has what it took, and cuts fit. */
static void measured_times_cut_anew(void **state)
{
    (void)state;
    static dart_launch list[COUNT];
    static double truth[COUNT];
    for (int i = 0; i < COUNT; i++) {
        list[i] = launch_of(64, 64);
        list[i].buffers = 1;
        list[i].buf[0] = (dart_slice){1, 0, 1000000};
        truth[i] = 0.02 + dart_uniform(7, DART_STREAM_TEST, (uint64_t)i);
    }
    dart_device device = {.caps = {.word = 4, .submit_s = 0.1}};
    dart_pace pace = {0};
    assert_int_equal(dart_pace_begin(&pace, &device.caps, list, COUNT), DART_OK);
    check_whole(list, COUNT, &pace.cuts);
    for (int round = 0; round < 3; round++) {
        assert_non_null(pace.measured);
        double total = 0;
        for (uint32_t s = 0; s < pace.cuts.submissions; s++) {
            pace.measured[s] = 0;
            for (uint32_t i = pace.cuts.begin[s]; i < pace.cuts.begin[s + 1]; i++)
                pace.measured[s] += seconds_of(list, &pace.cuts.piece[i], truth);
            total += pace.measured[s];
        }
        const uint32_t before = pace.cuts.submissions;
        bool moved;
        assert_int_equal(dart_pace_measured(&pace, &device, list, &moved), DART_OK);
        assert_null(pace.measured);
        check_whole(list, COUNT, &pace.cuts);
        assert_true(fabs(pace.expected / total - 1) < 1e-9);
        if (round == 0) assert_true(moved && pace.cuts.submissions > before);
        /* a run as long as expected changes nothing; one twice as long wants to know why */
        assert_int_equal(dart_pace_ran(&pace, &device, total), DART_OK);
        assert_null(pace.measured);
        assert_int_equal(dart_pace_ran(&pace, &device, 2 * total), DART_OK);
    }
    assert_true(pace.cuts.longest <= 0.1 * 1.001);
    for (int i = 0; i < COUNT; i++) assert_true(fabs(pace.seconds[i] / truth[i] - 1) < 0.25);
    dart_pace_end(&pace);
    assert_null(pace.cuts.piece);
}

static void places_travel_behind_parameters(void **state)
{
    (void)state;
    dart_launch launch = launch_of(100, 7);
    launch.param[0] = 11, launch.param[1] = 12;
    const dart_piece piece = {0, {30, 2}, {10, 5}};
    uint32_t out[DART_MAX_PARAM_BYTES / 4] = {0};
    assert_int_equal(dart_piece_params(&launch, &piece, out), 8 + DART_PLACE_BYTES);
    const uint32_t expected[] = {11, 12, 30, 2, 100, 7};
    assert_memory_equal(out, expected, sizeof expected);
}

static void kinds_have_their_limits(void **state)
{
    (void)state;
    dart_caps caps = {.on_cpu = true};
    dart_caps_submit(&caps);
    assert_true(caps.submit_s == 0);
    caps = (dart_caps){.unified = true};
    dart_caps_submit(&caps);
    assert_true(caps.submit_s == 0.1);
    caps = (dart_caps){0};
    dart_caps_submit(&caps);
    assert_true(caps.submit_s == 0.25);
}

/* A limit that would need more pieces than there can be is refused. */
static void too_many_pieces(void **state)
{
    (void)state;
    static dart_launch list[3];
    const double seconds[3] = {1, 1, 1};
    dart_cuts cuts;
    for (int i = 0; i < 3; i++) list[i] = launch_of(65535, 65535);
    assert_int_equal(dart_cuts_new(list, 3, seconds, 1e-12, &cuts), DART_DEVICE);
    assert_non_null(strstr(dart_error_text(), "--watchdog"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost),
        cmocka_unit_test(measured_times_cut_anew),
        cmocka_unit_test(places_travel_behind_parameters),
        cmocka_unit_test(kinds_have_their_limits),
        cmocka_unit_test(too_many_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
