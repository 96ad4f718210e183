/* Where launch lists are cut. */
#include "cuts.h"
#include "extent.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double embedded_s = 0.1, discrete_s = 0.25;
/* Operations and bytes a second of the slowest GPUs of either kind: a Raspberry Pi 4, and cards of
 * ten years ago at a kernel that suits them badly. */
static const double embedded_flops = 4e9, embedded_bytes = 1e9, discrete_flops = 1e11,
                    discrete_bytes = 1e10;

void dart_caps_submit(dart_caps *caps)
{
    caps->submit_s = caps->on_cpu ? 0 : caps->unified ? embedded_s : discrete_s;
}

double dart_launch_guess(const dart_caps *caps, const dart_launch *launch)
{
    double bytes = 0;
    for (uint32_t b = 0; b < launch->buffers; b++)
        bytes += (double)launch->buf[b].words * caps->word;
    return caps->unified ? dart_launch_flops(launch) / embedded_flops + bytes / embedded_bytes
                         : dart_launch_flops(launch) / discrete_flops + bytes / discrete_bytes;
}

/* Parts of so many things, each of which takes so long, that none takes longer than the limit. */
static uint32_t parts_of(uint32_t things, double each, double limit)
{
    const double fit = floor(limit / each);
    if (fit >= things) return 1;
    return fit < 2 ? things : (uint32_t)ceil(things / fit);
}

/* How many pieces a launch is started in: whole rows of axis 0 where one fits, else parts of rows.
 */
static void pieces_of(const dart_launch *launch, double seconds, double limit, uint32_t out[2])
{
    out[0] = out[1] = 1;
    if (limit <= 0 || seconds <= limit) return;
    const double row = seconds / launch->groups[1];
    out[1] = parts_of(launch->groups[1], row, limit);
    if (row > limit) out[0] = parts_of(launch->groups[0], row / launch->groups[0], limit);
}

static uint32_t share(uint32_t groups, uint32_t parts, uint32_t part)
{
    return (uint32_t)((uint64_t)groups * part / parts);
}

/* The part of its launch's work-groups that a piece has. */
static double part_of(const dart_launch *list, const dart_piece *piece)
{
    const uint32_t *all = list[piece->launch].groups;
    return (double)piece->groups[0] * piece->groups[1] / ((double)all[0] * all[1]);
}

dart_status dart_cuts_new(
    const dart_launch *list, uint32_t count, const double *seconds, double limit, dart_cuts *out)
{
    uint64_t pieces = 0;
    uint32_t parts[2];
    *out = (dart_cuts){0};
    for (uint32_t i = 0; i < count; i++) {
        pieces_of(&list[i], seconds[i], limit, parts);
        pieces += (uint64_t)parts[0] * parts[1];
    }
    if (pieces >= UINT32_MAX)
        return dart_fail(DART_DEVICE,
            "submissions of %.3g s would need %llu pieces of launches; allow longer ones "
            "(--watchdog)",
            limit, (unsigned long long)pieces);
    out->piece = dart_calloc(pieces + 1, sizeof *out->piece);
    out->begin = dart_calloc(pieces + 2, sizeof *out->begin);
    if (!out->piece || !out->begin) {
        dart_cuts_free(out);
        return DART_MEMORY;
    }
    double sum = 0; /* of the submission that is being filled */
    for (uint32_t i = 0; i < count; i++) {
        const dart_launch *launch = &list[i];
        pieces_of(launch, seconds[i], limit, parts);
        for (uint32_t y = 0; y < parts[1]; y++)
            for (uint32_t x = 0; x < parts[0]; x++) {
                const uint32_t column = share(launch->groups[0], parts[0], x);
                const uint32_t row = share(launch->groups[1], parts[1], y);
                const dart_piece piece = {i, {column, row},
                    {share(launch->groups[0], parts[0], x + 1) - column,
                        share(launch->groups[1], parts[1], y + 1) - row}};
                const double piece_s = part_of(list, &piece) * seconds[i];
                if (out->submissions == 0 || (limit > 0 && sum > 0 && sum + piece_s > limit)) {
                    out->begin[out->submissions++] = out->pieces;
                    sum = 0;
                }
                sum += piece_s;
                if (sum > out->longest) out->longest = sum;
                out->piece[out->pieces++] = piece;
            }
    }
    out->begin[out->submissions] = out->pieces;
    return DART_OK;
}

void dart_cuts_free(dart_cuts *cuts)
{
    free(cuts->piece);
    free(cuts->begin);
    *cuts = (dart_cuts){0};
}

void dart_cuts_measured(
    const dart_cuts *cuts, const dart_launch *list, double *measured, double *seconds)
{
    /* from seconds to factors, all of them before a launch's own are changed */
    for (uint32_t s = 0; s < cuts->submissions; s++) {
        double assumed = 0;
        for (uint32_t i = cuts->begin[s]; i < cuts->begin[s + 1]; i++)
            assumed += part_of(list, &cuts->piece[i]) * seconds[cuts->piece[i].launch];
        measured[s] = assumed > 0 ? measured[s] / assumed : 1;
    }
    for (uint32_t s = 0, at = 0; at < cuts->pieces;) {
        const uint32_t launch = cuts->piece[at].launch;
        double factor = 0;
        for (; at < cuts->pieces && cuts->piece[at].launch == launch; at++) {
            while (at >= cuts->begin[s + 1]) s++;
            factor += part_of(list, &cuts->piece[at]) * measured[s];
        }
        seconds[launch] *= factor;
    }
}

uint32_t dart_piece_params(const dart_launch *launch, const dart_piece *piece, uint32_t *out)
{
    const uint32_t words = launch->param_bytes / 4u;
    memcpy(out, launch->param, launch->param_bytes);
    for (uint32_t d = 0; d < 2; d++) {
        out[words + d] = piece->first[d];
        out[words + 2 + d] = launch->groups[d];
    }
    return launch->param_bytes + DART_PLACE_BYTES;
}

/* ---- over the life of a program ---- */

/* A run has to take so much longer than expected, and by so many seconds, before cuts are doubted.
 */
static const double slower = 1.5, slower_s = 0.02;

static dart_status want_measures(dart_pace *pace)
{
    pace->measured = dart_calloc(pace->cuts.submissions, sizeof *pace->measured);
    return pace->measured ? DART_OK : DART_MEMORY;
}

dart_status dart_pace_begin(
    dart_pace *pace, const dart_caps *caps, const dart_launch *list, uint32_t count)
{
    pace->count = count;
    pace->seconds = dart_calloc(count, sizeof *pace->seconds);
    if (!pace->seconds) return DART_MEMORY;
    for (uint32_t i = 0; i < count; i++) pace->seconds[i] = dart_launch_guess(caps, &list[i]);
    DART_TRY(dart_cuts_new(list, count, pace->seconds, caps->submit_s, &pace->cuts));
    return caps->submit_s > 0 ? want_measures(pace) : DART_OK;
}

void dart_pace_end(dart_pace *pace)
{
    dart_cuts_free(&pace->cuts);
    free(pace->seconds);
    free(pace->measured);
    *pace = (dart_pace){0};
}

static bool same_cuts(const dart_cuts *a, const dart_cuts *b)
{
    return a->pieces == b->pieces && a->submissions == b->submissions &&
           !memcmp(a->piece, b->piece, a->pieces * sizeof *a->piece) &&
           !memcmp(a->begin, b->begin, a->submissions * sizeof *a->begin);
}

static void note_longest(dart_device *device, double seconds)
{
    if (seconds > device->longest_submit_s) device->longest_submit_s = seconds;
}

dart_status dart_pace_measured(
    dart_pace *pace, dart_device *device, const dart_launch *list, bool *out_moved)
{
    dart_cuts cuts;
    pace->expected = 0;
    for (uint32_t s = 0; s < pace->cuts.submissions; s++) {
        pace->expected += pace->measured[s];
        note_longest(device, pace->measured[s]);
    }
    dart_cuts_measured(&pace->cuts, list, pace->measured, pace->seconds);
    free(pace->measured);
    pace->measured = NULL;
    DART_TRY(dart_cuts_new(list, pace->count, pace->seconds, device->caps.submit_s, &cuts));
    *out_moved = !same_cuts(&cuts, &pace->cuts);
    dart_cuts_free(&pace->cuts);
    pace->cuts = cuts;
    return DART_OK;
}

dart_status dart_pace_ran(dart_pace *pace, dart_device *device, double seconds)
{
    const double factor = pace->expected > 0 ? seconds / pace->expected : 1;
    note_longest(device, pace->expected > 0 ? factor * pace->cuts.longest : seconds);
    if (device->caps.submit_s <= 0 || factor <= slower || seconds <= pace->expected + slower_s)
        return DART_OK;
    return want_measures(pace);
}
