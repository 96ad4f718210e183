/* A launch list cut into submissions that end in time: drivers and systems take a device away from
 * who keeps it too long (a second on some, ten on others), and a desktop does not draw meanwhile. A
 * launch that is too long by itself is started in pieces of its work-groups. Neither the order of
 * anything nor a bit of a result depends on where the cuts are. */
#ifndef DART_CUTS_H
#define DART_CUTS_H

#include "backend.h"

/* Work-groups [first, first + groups) of a launch, on axes 0 and 1; axis 2 is not used. */
typedef struct dart_piece {
    uint32_t launch, first[2], groups[2];
} dart_piece;

typedef struct dart_cuts {
    dart_piece *piece; /* (pieces), in the order of the list */
    uint32_t *begin;   /* (submissions + 1): the first piece of each, and `pieces` */
    uint32_t pieces, submissions;
    double longest; /* seconds of the longest submission */
} dart_cuts;

/* What a submission may take by default: any time on the host's processor, 100 ms on a GPU that
 * shares its memory, 250 ms on others. Sets caps->submit_s from on_cpu and unified. */
void dart_caps_submit(dart_caps *caps);
/* Seconds of a launch before anyone has measured it, for the slowest device of the kind: too many
 * cuts cost little, and only once. */
double dart_launch_guess(const dart_caps *caps, const dart_launch *launch);
/* limit: seconds of a submission; 0: all launches in one. seconds: (count). A piece that is one
 * work-group is not cut further. MEMORY. */
DART_NODISCARD dart_status dart_cuts_new(
    const dart_launch *list, uint32_t count, const double *seconds, double limit, dart_cuts *out);
void dart_cuts_free(dart_cuts *cuts);
/* Seconds of the launches, as they were assumed when the cuts were made, brought to what the
 * submissions really took. measured: (submissions) seconds; factors afterwards. */
void dart_cuts_measured(
    const dart_cuts *cuts, const dart_launch *list, double *measured, double *seconds);

/* What travels behind a launch's parameters (DART_PLACE in shaders/prelude): where the piece is,
 * and the groups of the whole launch. `out` has DART_MAX_PARAM_BYTES; returns the bytes of both. */
uint32_t dart_piece_params(const dart_launch *launch, const dart_piece *piece, uint32_t *out);

/* The cuts of one program over its life. Guesses cut it first, finely; its first run measures each
 * submission by itself and the cuts are made anew. When a run takes much longer than that one (a
 * device that grew hot, or has other work) the next run measures again. */
typedef struct dart_pace {
    dart_cuts cuts;
    uint32_t count;
    double *seconds;  /* (count) of each launch, as it is assumed at present */
    double *measured; /* (submissions): the next run is to measure into this; NULL: it is not */
    double expected;  /* seconds of a whole run; 0: not known */
} dart_pace;

/* Begins with guesses where caps have a limit, else with one submission. Zeroed before. MEMORY. */
DART_NODISCARD dart_status dart_pace_begin(
    dart_pace *pace, const dart_caps *caps, const dart_launch *list, uint32_t count);
void dart_pace_end(dart_pace *pace);
/* After a run that measured: cuts anew. *out_moved: they differ, so what was recorded is of no use.
 * Keeps device->longest_submit_s, as the next function. */
DART_NODISCARD dart_status dart_pace_measured(
    dart_pace *pace, dart_device *device, const dart_launch *list, bool *out_moved);
/* After another run of so many seconds in all. */
DART_NODISCARD dart_status dart_pace_ran(dart_pace *pace, dart_device *device, double seconds);

#endif
